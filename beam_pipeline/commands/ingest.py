"""`ingest`: loads what is pending, shows how far it is, and says how it ended."""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict
from types import FrameType
from typing import Any

from rich.console import Console

from beam_pipeline.commands.base import (
    FAILED,
    OK,
    Command,
    CommandError,
    Invocation,
    log_console,
    print_json,
    print_text,
    printable,
    where,
)
from beam_pipeline.commands.tables import print_table
from beam_pipeline.dataflow import dataflow_problems, reason_of
from beam_pipeline.options import (
    DRY_RUN,
    INGEST,
    ONCE,
    OUTPUT,
    PROFILE,
    QUIET,
    OptionsError,
    ingest_config,
    input_problems,
)
from beam_pipeline.process import SIGNALS
from beam_pipeline.progress import Display, Tracker, duration, make_display
from beam_pipeline.runners import LOCAL_RUNNERS, direct_running_mode_of, only_submits, runner_of
from beam_pipeline.wording import counted
from beam_pipeline.worker import IngestionWorker, ProcessingResult
from transforms import interrupt, metrics, report
from transforms.config import IngestConfig
from transforms.listing import match_files
from transforms.storage import StorageError, open_storage

_LOOK_EVERY_S = 0.2
_NAMED_ERRORS = 20


class Stopping:
    """Which signal asked the run to stop; 0 while none has."""

    signum = 0


@contextmanager
def stop_on_signals() -> Iterator[Stopping]:
    """Makes SIGINT and SIGTERM ask the stages to finish the loads in hand; a second SIGINT ends the process at once.

    To be entered in the main thread after the database is connected, while the pipeline runs in another thread.
    """
    stopping = Stopping()

    def stop(signum: int, _: FrameType | None) -> None:
        if stopping.signum and signum == signal.SIGINT:
            # Nothing needs an orderly end: the next run finishes what the load log says was begun.
            os._exit(128 + signum)
        stopping.signum = stopping.signum or signum
        interrupt.requested.set()

    previous = {signum: signal.signal(signum, stop) for signum in SIGNALS}
    try:
        yield stopping
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Makes SIGINT and SIGTERM raise KeyboardInterrupt, so that what a runner has started beside us is ended, too."""

    def stop(signum: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt(signum)

    previous = {signum: signal.signal(signum, stop) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def run(invocation: Invocation) -> int:
    """Loads, and returns the exit code."""
    values = invocation.values
    config = _config(invocation)
    console = log_console()
    if values["dry_run"]:
        from beam_pipeline.commands.dry_run import dry_run

        return dry_run(config, as_json=values["json"])
    tracker = Tracker()
    worker = IngestionWorker(
        config, runner_options=invocation.beam_flags, max_files=values["max_files"], on_page=tracker.add_page
    )
    if not values["quiet"]:
        console.print(f"loading {printable(config.input)} into {where(config.clickhouse)}")
    try:
        _import_beam_meanwhile(config)
        worker.init()
        if runner_of(invocation.beam_flags) in LOCAL_RUNNERS:
            result, code = _run_here(worker, tracker, make_display(console, quiet=values["quiet"]))
        else:
            if not only_submits(invocation.beam_flags):
                console.print(f"waiting for {runner_of(invocation.beam_flags)}")
            result, code = _run_elsewhere(worker, runner_of(invocation.beam_flags), console)
    finally:
        worker.close()
    if values["json"]:
        print_json(_as_json(config, result))
    elif not values["quiet"]:
        _print_summary(config, result)
    if values["profile"]:
        console.print(profile(result))
    _print_warnings(config, result, console, quiet=values["quiet"])
    return code


def _import_beam_meanwhile(config: IngestConfig) -> None:
    """Imports Beam in a thread, if there is something to load, while the database is opened."""
    with suppress(StorageError, OSError):  # the run itself tells of them
        if next(match_files(open_storage(config.input), config, lambda path, reason: None), None):
            module = "beam_pipeline.run_pipeline"
            threading.Thread(target=importlib.import_module, args=(module,), name="import", daemon=True).start()


def _config(invocation: Invocation) -> IngestConfig:
    """The configuration of the run. Raises OptionsError with everything that is wrong."""
    problems = input_problems(invocation.values["input"]) if invocation.values["input"] else []
    try:
        config = ingest_config(invocation.values)
    except OptionsError as error:
        raise OptionsError(problems + error.problems) from None
    if config.clickhouse.embedded:
        # An embedded database belongs to one process.
        if runner_of(invocation.beam_flags) not in LOCAL_RUNNERS:
            problems.append(
                f"--clickhouse_url: {runner_of(invocation.beam_flags)} has workers of its own, which cannot share an embedded "
                "database; give the http(s) URL of a server"
            )
        elif direct_running_mode_of(invocation.beam_flags) == "multi_processing":
            problems.append("--direct_running_mode: with an embedded database it must be in_memory or multi_threading")
    problems += dataflow_problems(invocation.beam_flags, invocation.values)
    if problems:
        raise OptionsError(problems)
    return config


def _run_here(worker: IngestionWorker, tracker: Tracker, display: Display) -> tuple[ProcessingResult, int]:
    with stop_on_signals() as stopping, display, ThreadPoolExecutor(1, thread_name_prefix="pipeline") as pool:
        work = pool.submit(worker.process_once)
        said = False
        running = True
        while running:
            running = bool(wait([work], timeout=_LOOK_EVERY_S).not_done)
            if running:
                display.show(tracker.snapshot(metrics.local_counts(), len(report.failures())))
            if stopping.signum and not said:
                said = True
                display.say("finishing the loads in hand, starting no new ones (press Ctrl-C again to end at once)")
        result = work.result()
    if result.interrupted:
        return result, 128 + (stopping.signum or signal.SIGINT)
    return result, FAILED if result.errors else OK


def _run_elsewhere(worker: IngestionWorker, runner: str, console: Console) -> tuple[ProcessingResult, int]:
    """Waits for a run whose stages are in other processes: a signal here cannot ask them to stop."""
    try:
        with _signals_raise():
            result = worker.process_once()
    except Exception as error:
        reason = reason_of(error)
        if reason is None:
            raise
        raise CommandError(f"{runner}: {reason}") from error
    return result, FAILED if result.errors else OK


def _as_json(config: IngestConfig, result: ProcessingResult) -> dict[str, Any]:
    return {
        "input": config.input,
        "clickhouse_url": config.clickhouse.url,
        "clickhouse_database": config.clickhouse.database,
    } | asdict(result)


def _print_summary(config: IngestConfig, result: ProcessingResult) -> None:
    if result.job_id is not None:
        job = f"job {result.job_id} is submitted" if result.job_id else "a job is written for the launcher to submit"
        print_text(f"{job}, for {counted(result.submitted, 'file')}; the load log calls it run {result.run_id}")
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
            print_text(f"{counted(result.adopted, 'load')} left unfinished by an earlier run and taken up by this one")
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


def _quoted(path: str) -> str:
    """A path as it is written in a command."""
    return shlex.quote(printable(path))


def _hint(config: IngestConfig) -> str:
    if any(os.path.isdir(os.path.join(config.input, event_type)) for event_type in config.event_types):
        return ""
    if os.path.isdir(os.path.join(config.input, "observability")):
        return f" itself; did you mean --input={printable(os.path.join(config.input, 'observability'))}?"
    return f" (it has no directory {'/, '.join(config.event_types)}/)"


def _print_warnings(config: IngestConfig, result: ProcessingResult, console: Console, *, quiet: bool) -> None:
    """What somebody has to know even when nothing else is printed."""
    if result.rejected:
        console.print(
            f"warning: {counted(result.rejected, 'line was', 'lines were')} rejected; see: "
            f"python -m beam_pipeline rejected --input={_quoted(config.input)}"
        )
    if result.expired:
        events = counted(
            result.expired,
            "event is older than its table keeps events, so ClickHouse will delete it",
            "events are older than their tables keep events, so ClickHouse will delete them",
        )
        console.print(
            f"warning: {events}; to keep old events: python -m beam_pipeline migrate --ttl_days=0 --logs_ttl_days=0"
        )
    for group in result.ignored:
        if not (quiet and group.reason.expected):
            console.print(f"{'' if group.reason.expected else 'warning: '}{printable(group.describe())}")
    if result.known:
        files = counted(
            result.known,
            "file was not loaded again: its content is loaded already",
            "files were not loaded again: their content is loaded already",
        )
        console.print(f"{files} (to load it anyway: --reload)")
    if result.changed:
        files = counted(result.changed, "file changed while it was loaded", "files changed while they were loaded")
        console.print(f"{files}; what is new is for the next run")
    if result.skipped:
        owners = ", ".join(map(printable, result.skipped_for))
        console.print(f"{counted(result.skipped, 'file')} skipped: being loaded by {owners}")
    if result.unfinished:
        files = counted(
            result.unfinished,
            "file is still pending: its load was begun by an earlier run",
            "files are still pending: their loads were begun by an earlier run",
        )
        console.print(f"{files} and could not be finished (the errors say why); the next run tries again")
    if result.interrupted:
        console.print("stopped before everything was loaded; run the same command again to go on")
    for failure in result.errors[:_NAMED_ERRORS]:
        console.print(f"error: {printable(failure.name)}: {printable(failure.reason)}")
    if len(result.errors) > _NAMED_ERRORS:
        more = len(result.errors) - _NAMED_ERRORS
        console.print(f"error: and {more:,} more; see: python -m beam_pipeline status --input={_quoted(config.input)}")
    if result.errors and not (result.unfinished or result.interrupted):
        console.print("what failed is still pending, and the next run tries it again")


COMMAND = Command(
    name="ingest",
    options=(*INGEST, ONCE, DRY_RUN, PROFILE, *OUTPUT, QUIET),
    run=run,
    takes_beam_options=True,
    details=(
        "Pipeline options of Apache Beam, such as --runner (default: DirectRunner), are passed on to it.\n"
        "Exit code: 0 all loaded, 1 something failed and stays pending, 2 wrong options, 130 or 143 interrupted."
    ),
)
