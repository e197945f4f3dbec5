"""How a run of `ingest` ended: what was loaded and how fast, and where the time went."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from beam_pipeline.commands.base import print_text, printable
from beam_pipeline.commands.tables import print_table
from beam_pipeline.progress import duration
from beam_pipeline.results import ProcessingResult
from beam_pipeline.wording import counted
from transforms.config import IngestConfig
from transforms.storage import is_url


def as_json(config: IngestConfig, result: ProcessingResult) -> dict[str, Any]:
    """The result with where it came from and went to, for `--json`."""
    return {
        "input": config.input,
        "clickhouse_url": config.clickhouse.url,
        "clickhouse_database": config.clickhouse.database,
    } | asdict(result)


def print_summary(config: IngestConfig, result: ProcessingResult) -> None:
    """Prints what was loaded, by event type, and how fast."""
    if result.job_id is not None:
        job = f"job {result.job_id} is submitted" if result.job_id else "a job is written for the launcher to submit"
        every_s = config.look_every_s
        what = f"looks for files every {every_s:g} s" if every_s else f"for {counted(result.submitted, 'file')}"
        print_text(f"{job}, {what}; the load log calls it run {result.run_id}")
        if result.left:
            print_text(f"{counted(result.left, 'file')} left for the next job")
        return
    if result.files_processed or result.loads:
        counts = [(name, f"{rows:,}") for name, rows in result.events_by_type.items()]
        print_table({"events": "left", "loaded": "right"}, [*counts, ("all", f"{result.events_ingested:,}")])
        seconds = result.duration_ms / 1000
        rate = f", {result.events_ingested / seconds:,.0f} events/s" if seconds else ""
        size = f"{result.bytes_read / 1e6:,.1f} MB"
        loaded = f"{counted(result.files_processed, 'file')} in {counted(result.loads, 'load')}"
        print_text(f"{loaded}, {size} in {duration(seconds)}{rate}")
        if result.adopted:
            how = "left unfinished by an earlier run and taken up by this one"
            if config.streaming:
                how = "taken up again, after a failure or a restart"
            print_text(f"{counted(result.adopted, 'load')} {how}")
    elif not (
        result.errors or result.known or result.changed or result.skipped or result.unfinished or result.interrupted
    ):
        print_text(f"nothing to load: no pending files in {printable(config.input)}{_hint(config)}")


def profile(result: ProcessingResult) -> str:
    """Where the time of a run went, and what it is bound by: what took most of the time in which nothing else was done."""
    beside = ("inserting", "load log")
    after_another = {name: spent for name, spent in result.seconds.items() if name not in beside}
    after_another["everything else"] = max(result.duration_ms / 1000 - sum(after_another.values()), 0.0)
    most = max(after_another, key=lambda name: after_another[name])
    bound = {"waiting for inserts": "ClickHouse", "everything else": "starting and ending"}.get(most, most)
    shares = ", ".join(f"{name} {spent:.2f} s" for name, spent in after_another.items())
    at_once = ", ".join(f"{name} {result.seconds.get(name, 0.0):.2f} s" for name in beside)
    return f"time: {shares}; beside it: {at_once}; bound by {bound}"


def _hint(config: IngestConfig) -> str:
    if is_url(config.input):
        return f" (files are pending as {config.event_types[0]}/PROJECT/NAME.jsonl)"
    if any(os.path.isdir(os.path.join(config.input, event_type)) for event_type in config.event_types):
        return ""
    if os.path.isdir(os.path.join(config.input, "observability")):
        return f" itself; did you mean --input={printable(os.path.join(config.input, 'observability'))}?"
    return f" (it has no directory {'/, '.join(config.event_types)}/)"
