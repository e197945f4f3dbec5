"""`ingest --dry_run`: what a run would take up, without touching a file or a row."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from beam_pipeline.commands.base import FAILED, OK, print_json, print_text, printable, where
from beam_pipeline.commands.tables import print_table
from beam_pipeline.history import History, LoadRecord
from beam_pipeline.schema import connect_if_there
from beam_pipeline.wording import counted
from transforms import report
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig
from transforms.events import EVENT_TYPES
from transforms.listing import match_files
from transforms.loads.runs import live_runs
from transforms.storage import PendingFile, is_url, open_storage
from transforms.storage.ignored_files import IgnoredFile

_LISTED = 10_000
"""Files that are named one by one, the oldest, and as many ignored ones; the numbers are of all."""
_MOST_DAYS = 62
"""Days that a table shows; of more it shows months. JSON has the days."""


@dataclass
class Pending:
    """Files that a run would take up, counted by day and type, and the oldest of them by name.

    Grows with days and types, not with files.
    """

    files: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (day, event type); the day is that of the time in the name, YYYY-MM-DD in UTC."""
    bytes: Counter[tuple[str, str]] = field(default_factory=Counter)
    oldest: list[PendingFile] = field(default_factory=list)

    @staticmethod
    def of(files: Iterable[PendingFile], listed: int = _LISTED) -> Pending:
        """Counts the files as they come."""
        found = Pending()
        found.oldest = heapq.nsmallest(listed, found._counting(files))
        return found

    def _counting(self, files: Iterable[PendingFile]) -> Iterator[PendingFile]:
        for file in files:
            key = _day_of(file.timestamp_ms), file.event_type
            self.files[key] += 1
            self.bytes[key] += file.size
            yield file

    @property
    def total(self) -> int:
        return self.files.total()

    def by_type(self) -> dict[str, tuple[int, int]]:
        """Files and bytes of each type."""
        sums: dict[str, tuple[int, int]] = {}
        for event_type in EVENT_TYPES:
            keys = [key for key in self.files if key[1] == event_type]
            if keys:
                sums[event_type] = sum(self.files[key] for key in keys), sum(self.bytes[key] for key in keys)
        return sums

    def by_span(self, length: int) -> Pending:
        """The same counts by month, say, in place of days: by so many letters of the day."""
        found = Pending()
        for (day, event_type), files in self.files.items():
            found.files[day[:length], event_type] += files
            found.bytes[day[:length], event_type] += self.bytes[day, event_type]
        return found


def _day_of(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, timezone.utc).date().isoformat()


@dataclass(frozen=True)
class _Found:
    """All that there is to say."""

    pending: Pending
    ignored: list[IgnoredFile]
    """The first ones."""
    loads: list[tuple[LoadRecord, bool]] | None
    """Unfinished ones, and whether their runs live; None when it is not known where the load log is."""
    error: str = ""
    """Why the load log cannot be read."""


def dry_run(config: IngestConfig, *, max_files: int | None = None, as_json: bool) -> int:
    """Prints what would be loaded, and returns the exit code: 1 when that cannot be said for sure."""
    report.clear()
    storage = open_storage(config.input)
    if is_url(config.input):
        storage.check_writable()  # one error in place of one for each type
    ignored: list[IgnoredFile] = []

    def on_ignored(file: IgnoredFile) -> None:
        report.ignore(file)
        if len(ignored) < _LISTED:
            ignored.append(file)

    pending = Pending.of(match_files(storage, config, report.fail, on_ignored))
    loads: list[tuple[LoadRecord, bool]] | None = None
    error = ""
    try:
        if config.clickhouse.url:
            loads = _unfinished_loads(config)
    except ClickHouseError as caught:
        loads, error = [], str(caught)
    found = _Found(pending, ignored, loads, error)
    if as_json:
        print_json(_as_json(config, found, max_files))
    else:
        _print(config, found, max_files)
    return FAILED if error or report.failures() else OK


def _unfinished_loads(config: IngestConfig) -> list[tuple[LoadRecord, bool]]:
    """Those that the load log has, if there is one, and whether their runs live. Raises ClickHouseError."""
    client = connect_if_there(replace(config.clickhouse, retry_attempts=1))
    if client is None:
        return []
    with client:
        history = History(client)
        unfinished = history.unfinished(history.name_of(config.input)) if history.exists() else []
        owners = live_runs(client, (load.run_id for load in unfinished))
        return [(load, load.run_id in owners) for load in unfinished]


def _as_json(config: IngestConfig, found: _Found, max_files: int | None) -> dict[str, Any]:
    pending = found.pending
    days: dict[str, dict[str, dict[str, int]]] = {}
    for (day, event_type), files in sorted(pending.files.items()):
        days.setdefault(day, {})[event_type] = {"files": files, "bytes": pending.bytes[day, event_type]}
    return {
        "dry_run": True,
        "input": config.input,
        "clickhouse_url": config.clickhouse.url or None,
        "clickhouse_database": config.clickhouse.database,
        "pending": {name: {"files": files, "bytes": size} for name, (files, size) in pending.by_type().items()},
        "days": days,
        "max_files": max_files,
        "files": [
            {"path": file.path, "event_type": file.event_type, "project_id": file.project_id, "bytes": file.size}
            for file in pending.oldest
        ],
        "unfinished_loads": None
        if found.loads is None
        else [
            {
                "load_id": load.load_id,
                "event_type": load.event_type,
                "state": load.state,
                "files": load.files,
                "bytes": load.bytes,
                "taken_up": not lives,
            }
            for load, lives in found.loads
        ],
        "ignored": [asdict(group) for group in report.ignored()],
        "ignored_files": [{"path": file.path, "reason": file.reason, "hint": file.hint} for file in found.ignored],
        "errors": [{"name": failure.name, "reason": failure.reason} for failure in report.failures()]
        + ([{"name": "load log", "reason": found.error}] if found.error else []),
    }


def _print(config: IngestConfig, found: _Found, max_files: int | None) -> None:
    """Numbers first, then the files they are of."""
    pending = found.pending
    into = where(config.clickhouse) if config.clickhouse.url else "a database that is not given (--clickhouse_url)"
    print_text(f"would load {printable(config.input)} into {into}")
    if pending.total:
        counts = pending.by_type() | {"all": (pending.total, pending.bytes.total())}
        print_table(
            {"type": "left", "files": "right", "bytes": "right"},
            [(name, f"{files:,}", f"{size:,}") for name, (files, size) in counts.items()],
        )
        by_month = len({day for day, _ in pending.files}) > _MOST_DAYS
        print_text("")
        _print_days("month" if by_month else "day", pending.by_span(len("YYYY-MM")) if by_month else pending)
    else:
        print_text("no pending files")
    if max_files is not None and max_files < pending.total:
        print_text(f"the oldest {counted(max_files, 'file')} in one run (--max_files)")
    if found.loads is None:
        print_text(
            "unfinished loads of earlier runs are not shown: without --clickhouse_url there is no load log to read"
        )
    else:
        _print_loads(found.loads)
    for group in report.ignored():
        print_text(printable(group.describe()))
    for failure in report.failures():
        print_text(f"error: {failure.name}: {failure.reason}")
    if found.error:
        print_text(f"error: the load log cannot be read, so some of these may be loaded already: {found.error}")
    if pending.oldest or found.ignored:
        print_text("")
    for file in pending.oldest:
        print_text(f"pending: {printable(file.path)} ({counted(file.size, 'byte')})")
    if pending.total > len(pending.oldest):
        print_text(f"pending: and {pending.total - len(pending.oldest):,} more")
    for ignored in found.ignored:
        print_text(f"ignored: {printable(ignored.path)}: {printable(ignored.describe())}")
    more = sum(group.files for group in report.ignored()) - len(found.ignored)
    if more > 0:
        print_text(f"ignored: and {more:,} more")


def _print_days(title: str, pending: Pending) -> None:
    """Files of each type and day, and all files and bytes of a day."""
    types = list(pending.by_type())
    rows = []
    for day in sorted({day for day, _ in pending.files}):
        files = [pending.files[day, event_type] for event_type in types]
        size = sum(pending.bytes[day, event_type] for event_type in types)
        rows.append((day, *(f"{count:,}" for count in files), f"{sum(files):,}", f"{size:,}"))
    columns = {title: "left"} | dict.fromkeys((*types, "files", "bytes"), "right")
    print_table(columns, rows)


def _print_loads(loads: Sequence[tuple[LoadRecord, bool]]) -> None:
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
