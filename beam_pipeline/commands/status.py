"""`status`: what was loaded from where, what was not and why. Reads only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from beam_pipeline.commands.base import (
    OK,
    Command,
    Invocation,
    checked_connection,
    print_json,
    print_text,
    printable,
    where,
)
from beam_pipeline.commands.tables import FIXED, NUMBER, Column, print_table
from beam_pipeline.commands.times import TZ, TimeColumn
from beam_pipeline.history import FileProblem, History, LoadRecord, StateTotals
from beam_pipeline.options import CONNECTION, INPUT, OUTPUT
from beam_pipeline.schema import connect_if_there
from beam_pipeline.wording import counted
from transforms.events import EVENT_TYPES
from transforms.loads.journal import Journal, Tail
from transforms.loads.runs import Owner, live_runs
from transforms.storage import Storage, StorageError, input_root, is_url, open_storage
from transforms.storage.ignored_files import IgnoredFiles, IgnoredGroup

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

_SHOWN = 10


@dataclass
class Pending:
    """Files that wait in a directory, what could not be listed, and files that are not loaded, by reason."""

    files: int = 0
    bytes: int = 0
    by_type: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    ignored: list[IgnoredGroup] = field(default_factory=list)


@dataclass(frozen=True)
class Unfinished:
    """A load that is not done, with its first file and the run that has it; None when that has ended."""

    load: LoadRecord
    first_file: str
    owner: Owner | None
    wait_s: float = 0.0
    """Seconds until it is tried again, after it has failed several times."""


@dataclass(frozen=True)
class InputStatus:
    """What there is to say about one input directory."""

    input: str
    pending: Pending | None
    """None when the directory is not here."""
    states: list[StateTotals]
    rows: dict[str, int]
    rejected: list[tuple[str, int]]
    unfinished: list[Unfinished]
    problems: list[FileProblem]
    last: list[LoadRecord]


def pending_files(storage: Storage) -> Pending:
    """Counts the files that wait now."""
    found = Pending()
    ignored = IgnoredFiles()
    if is_url(storage.root):
        try:
            storage.check_writable()
        except StorageError as error:
            found.errors[storage.root] = str(error).removeprefix(f"--input: {storage.root}: ")
            return found
    for file in storage.list_pending(EVENT_TYPES, None, found.errors.__setitem__, ignored.add):
        found.files += 1
        found.bytes += file.size
        found.by_type[file.event_type] = found.by_type.get(file.event_type, 0) + 1
    found.ignored = ignored.groups()
    return found


def input_status(client: ClickHouse | None, name: str, directory: str) -> InputStatus:
    """What there is to say about an input and the directory that it is; without a client, what is in the directory."""
    pending = pending_files(open_storage(directory)) if is_url(directory) or os.path.isdir(directory) else None
    if client is None:
        return InputStatus(directory, pending, [], {}, [], [], [], [])
    history = History(client)
    loads = history.unfinished(name)
    owners = live_runs(client, (load.run_id for load in loads))
    tail = Journal(client, name, "").look() if loads else Tail()
    waits = {load_id: holding.wait_ms for load_id, holding in tail.unfinished.items()}
    first = history.first_files(load.load_id for load in loads)
    return InputStatus(
        input=directory,
        pending=pending,
        states=history.states(name),
        rows=history.rows_by_type(name),
        rejected=history.top_reasons(name, _SHOWN),
        unfinished=[
            Unfinished(load, first.get(load.load_id, ""), owners.get(load.run_id), waits.get(load.load_id, 0) / 1000)
            for load in loads
        ],
        problems=history.file_problems(name),
        last=history.last_loads(name, _SHOWN),
    )


def run(invocation: Invocation) -> int:
    """Prints the state of one input, or of all that the database knows."""
    values = invocation.values
    config = checked_connection(values)
    chosen = [input_root(values["input"])] if values["input"] else []
    # One try is enough for somebody who waits at a terminal.
    client = connect_if_there(replace(config, retry_attempts=1))
    with client or nullcontext():
        history = History(client) if client is not None else None
        initialized = history is not None and history.exists()
        known = history.inputs() if history is not None and initialized else {}
        inputs = {
            history.name_of(directory) if history and initialized else directory: directory for directory in chosen
        }
        found = [
            input_status(client if initialized else None, name, directory)
            for name, directory in (inputs or known).items()
        ]
    if values["json"]:
        print_json(
            {
                "clickhouse_url": config.url,
                "clickhouse_database": config.database,
                "initialized": initialized,
                "inputs": [_as_json(status) for status in found],
            },
            values["tz"],
        )
        return OK
    print_text(f"database: {where(config)}")
    if not initialized:
        print_text("nothing has been loaded here: the tables do not exist yet; ingest makes them, or migrate")
    elif not found:
        print_text("nothing has been loaded yet")
    for status in found:
        _print(status, values["tz"])
    return OK


def _as_json(status: InputStatus) -> dict[str, Any]:
    return {
        "input": status.input,
        "pending": asdict(status.pending) if status.pending else None,
        "loads": {totals.state: asdict(totals) for totals in status.states},
        "rows": status.rows,
        "rejected": [{"reason": reason, "lines": lines} for reason, lines in status.rejected],
        "unfinished": [
            asdict(item.load)
            | {
                "first_file": item.first_file,
                "owner_lives": item.owner is not None,
                "owner": item.owner.describe() if item.owner else "",
            }
            for item in status.unfinished
        ],
        "file_problems": [asdict(problem) for problem in status.problems],
        "last_loads": [asdict(load) for load in status.last],
    }


def _print(status: InputStatus, zone: tzinfo) -> None:
    print_text(f"\ninput: {printable(status.input)}")
    if status.pending is None:
        print_text("  the directory is not here")
    else:
        kinds = ", ".join(f"{name} {count:,}" for name, count in status.pending.by_type.items())
        size = f"{counted(status.pending.files, 'file')}, {counted(status.pending.bytes, 'byte')}"
        print_text(f"  pending: {size}{f' ({kinds})' if kinds else ''}")
        for path, reason in status.pending.errors.items():
            print_text(f"  {printable(path)}: {printable(reason)}")
        for group in status.pending.ignored:
            print_text(f"  {printable(group.describe())}")
    if status.states:
        print_text("")
        print_table(
            {
                "loads": Column(styles={"failed": "red"}),
                "count": NUMBER,
                "files": NUMBER,
                "bytes": Column(right=True, rank=1),
                "inserted": NUMBER,
                "rejected": NUMBER,
            },
            [
                (t.state, f"{t.loads:,}", f"{t.files:,}", f"{t.bytes:,}", f"{t.inserted:,}", f"{t.rejected:,}")
                for t in status.states
            ],
        )
    _print_counts("events", "loaded", status.rows)
    _print_counts("rejected because", "lines", dict(status.rejected))
    if status.unfinished:
        print_text("\nloads that are not done:")
        for item in status.unfinished[:_SHOWN]:
            print_text(f"  {_describe(item)}")
        _print_more(len(status.unfinished))
    if status.problems:
        print_text("\nfiles that could not be loaded or moved:")
        for problem in status.problems[:_SHOWN]:
            print_text(f"  {printable(problem.path)}: {printable(problem.error)}")
        _print_more(len(status.problems))
    if status.last:
        times = TimeColumn((load.updated_at for load in status.last), zone, "seconds")
        print_text("")
        print_table(
            {
                "last loads": Column(note=times.note),
                "type": FIXED,
                "files": Column(right=True, rank=2),
                "inserted": NUMBER,
                "rejected": NUMBER,
                "took": Column(right=True, rank=1),
            },
            [
                (
                    times.cell(load.updated_at),
                    load.event_type,
                    f"{load.files:,}",
                    f"{load.inserted:,}",
                    f"{load.rejected:,}",
                    f"{load.duration_ms / 1000:.1f}s",
                )
                for load in status.last
            ],
        )


def _print_counts(title: str, unit: str, counts: Mapping[str, int]) -> None:
    if counts:
        print_text("")
        print_table({title: "left", unit: "right"}, [(name, f"{count:,}") for name, count in counts.items()])


def _print_more(count: int) -> None:
    if count > _SHOWN:
        print_text(f"  and {count - _SHOWN:,} more; --json has them")


def _describe(item: Unfinished) -> str:
    load = item.load
    what = {
        "assigned": "begun, not finished",
        "failed": "failed",
        "committed": "loaded, but its files are not all moved",
    }[load.state]
    if item.owner:
        owner = f"{item.owner.describe()} is at it"
    elif item.wait_s:
        owner = f"next attempt in {item.wait_s:.0f} s"
    else:
        owner = "its run has ended, and the next one takes it up"
    files = f"{printable(item.first_file)}{f' and {load.files - 1:,} more' if load.files > 1 else ''}"
    error = f": {printable(load.error)}" if load.error else ""
    return f"{load.load_id} ({load.event_type}, attempt {load.attempt}), {what}, {owner}; {files}{error}"


COMMAND = Command(
    name="status",
    options=(INPUT, *CONNECTION, TZ, *OUTPUT),
    run=run,
    details=(
        "Without --input: every directory that was ever loaded into this database.\n"
        "Exit code: 0 when it could be found out, also when nothing was loaded yet; 1 when the database cannot be read."
    ),
)
