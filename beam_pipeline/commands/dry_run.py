"""`ingest --dry_run`: what a run would take up, without touching a file or a row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from beam_pipeline.commands.base import FAILED, OK, print_json, print_text, printable, where
from beam_pipeline.commands.tables import print_table
from beam_pipeline.history import History, LoadRecord
from beam_pipeline.schema import connect_if_there
from beam_pipeline.wording import counted
from transforms import report
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig
from transforms.listing import match_files
from transforms.loads.runs import live_runs
from transforms.storage import Storage, is_url, open_storage
from transforms.storage.ignored_files import IgnoredFile

_MOST_IN_JSON = 10_000
"""Ignored files that JSON lists one by one; the groups count all of them."""


@dataclass
class Pending:
    """Pending files of one type."""

    files: int = 0
    bytes: int = 0


def pending_by_type(
    storage: Storage, config: IngestConfig, on_ignored: Callable[[IgnoredFile], None]
) -> dict[str, Pending]:
    """The files that are pending now and that the configuration selects; what cannot be listed goes to the report."""
    found: dict[str, Pending] = defaultdict(Pending)
    for file in match_files(storage, config, report.fail, on_ignored):
        found[file.event_type].files += 1
        found[file.event_type].bytes += file.size
    return {event_type: found[event_type] for event_type in config.event_types if event_type in found}


def dry_run(config: IngestConfig, *, as_json: bool) -> int:
    """Prints what would be loaded, and returns the exit code: 1 when that cannot be said for sure."""
    report.clear()
    storage = open_storage(config.input)
    if is_url(config.input):
        storage.check_writable()  # one error in place of one for each type
    listed: list[dict[str, str]] = []

    def on_ignored(file: IgnoredFile) -> None:
        report.ignore(file)
        if not as_json:
            print_text(f"ignored: {printable(file.path)}: {printable(file.describe())}")
        elif len(listed) < _MOST_IN_JSON:
            listed.append({"path": file.path, "reason": file.reason, "hint": file.hint})

    pending = pending_by_type(storage, config, on_ignored)
    loads: list[tuple[LoadRecord, bool]] = []
    error = ""
    try:
        client = connect_if_there(replace(config.clickhouse, retry_attempts=1))
        if client is not None:
            with client:
                history = History(client)
                unfinished = history.unfinished(history.name_of(config.input)) if history.exists() else []
                owners = live_runs(client, (load.run_id for load in unfinished))
                loads = [(load, load.run_id in owners) for load in unfinished]
    except ClickHouseError as caught:
        error = str(caught)
    if as_json:
        print_json(_as_json(config, pending, loads, error) | {"ignored_files": listed})
    else:
        _print(config, pending, loads, error)
    return FAILED if error or report.failures() else OK


def _as_json(
    config: IngestConfig, pending: dict[str, Pending], loads: list[tuple[LoadRecord, bool]], error: str
) -> dict[str, Any]:
    return {
        "dry_run": True,
        "input": config.input,
        "clickhouse_url": config.clickhouse.url,
        "clickhouse_database": config.clickhouse.database,
        "pending": {name: {"files": found.files, "bytes": found.bytes} for name, found in pending.items()},
        "unfinished_loads": [
            {
                "load_id": load.load_id,
                "event_type": load.event_type,
                "state": load.state,
                "files": load.files,
                "bytes": load.bytes,
                "taken_up": not lives,
            }
            for load, lives in loads
        ],
        "ignored": [asdict(group) for group in report.ignored()],
        "errors": [{"name": failure.name, "reason": failure.reason} for failure in report.failures()]
        + ([{"name": "load log", "reason": error}] if error else []),
    }


def _print(config: IngestConfig, pending: dict[str, Pending], loads: list[tuple[LoadRecord, bool]], error: str) -> None:
    print_text(f"would load {printable(config.input)} into {where(config.clickhouse)}")
    if pending:
        rows = [(name, f"{found.files:,}", f"{found.bytes:,}") for name, found in pending.items()]
        total = (f"{sum(found.files for found in pending.values()):,}", f"{sum(f.bytes for f in pending.values()):,}")
        print_table({"type": "left", "files": "right", "bytes": "right"}, [*rows, ("all", *total)])
    else:
        print_text("no pending files")
    taken_up = [load for load, lives in loads if not lives]
    if taken_up:
        loads_of = counted(len(taken_up), "unfinished load of an earlier run", "unfinished loads of earlier runs")
        size = counted(sum(load.bytes for load in taken_up), "byte")
        print_text(f"{loads_of} ({size}) would be taken up first")
    if len(taken_up) < len(loads):
        left = counted(
            len(loads) - len(taken_up),
            "unfinished load would be left alone: another run may be loading it",
            "unfinished loads would be left alone: other runs may be loading them",
        )
        print_text(left)
    for group in report.ignored():
        print_text(printable(group.describe()))
    for failure in report.failures():
        print_text(f"error: {failure.name}: {failure.reason}")
    if error:
        print_text(f"error: the load log cannot be read, so some of these may be loaded already: {error}")
