"""`rejected`: the lines that could not be stored as events, to be looked at, mended and fed again."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from beam_pipeline.commands.base import (
    OK,
    Command,
    CommandError,
    Invocation,
    checked_connection,
    print_json,
    print_table,
    print_text,
    printable,
    where,
)
from beam_pipeline.history import History, RejectedFilter
from beam_pipeline.options import CONNECTION, INPUT, OUTPUT, REJECTED, local_path
from beam_pipeline.schema import connect_if_there


def rejected_filter(values: Mapping[str, Any]) -> RejectedFilter:
    """Which lines the options mean. A file that is here is meant by its full path."""
    file = values["file"] or ""
    if file and os.path.exists(file):
        file = os.path.realpath(file)
    return RejectedFilter(
        input=local_path(values["input"]) if values["input"] else "",
        file=file,
        line=values["line"],
        reason=values["reason"] or "",
        project_id=values["project_id"] or "",
        event_type=values["event_type"] or "",
        load_id=values["load_id"] or "",
    )


def run(invocation: Invocation) -> int:
    """Prints rejected lines; `show` with their bytes."""
    values = invocation.values
    config = checked_connection(values)
    client = connect_if_there(replace(config, retry_attempts=1))
    if client is None:
        raise CommandError(f"{where(config)} is not there yet; nothing has been loaded into it")
    with client:
        history = History(client)
        if not history.exists():
            raise CommandError(f"{where(config)} does not have the tables yet; nothing has been loaded into it")
        wanted = rejected_filter(values)
        if invocation.action == "show":
            _show(history, wanted, values)
        else:
            _list(history, wanted, values)
    return OK


def _list(history: History, wanted: RejectedFilter, values: Mapping[str, Any]) -> None:
    lines = history.rejected(wanted, values["limit"])
    total = history.count_rejected(wanted)
    if values["json"]:
        print_json({"total": total, "rejected": [asdict(line) for line in lines]})
        return
    if lines:
        rows = [
            (
                f"{line.rejected_at:%Y-%m-%d %H:%M:%SZ}",
                line.file,
                str(line.line),
                line.event_type,
                line.project_id,
                line.reason,
            )
            for line in lines
        ]
        titles = {
            "rejected": "left",
            "file": "left",
            "line": "right",
            "type": "left",
            "project": "left",
            "reason": "left",
        }
        print_table(titles, rows)
    print_text(f"{len(lines):,} of {total:,} rejected lines")


def _show(history: History, wanted: RejectedFilter, values: Mapping[str, Any]) -> None:
    lines = history.rejected(wanted, values["limit"])
    if values["json"] and values["raw"]:
        raise CommandError("--raw and --json cannot both be; --json holds the bytes too")
    if values["json"]:
        shown = [asdict(line) | _bytes_as_json(raw) for line, raw in history.raw(lines)]
        print_json({"total": history.count_rejected(wanted), "rejected": shown})
        return
    for line, raw in history.raw(lines):
        if values["raw"]:
            sys.stdout.buffer.write(raw + b"\n")
            continue
        for name, value in asdict(line).items():
            print_text(f"{name + ':':13}{printable(str(value))}")
        print_text(f"{'raw:':13}{printable(raw.decode(errors='backslashreplace'))}\n")
    if not values["raw"]:
        print_text(f"{len(lines):,} of {history.count_rejected(wanted):,} rejected lines")


def _bytes_as_json(raw: bytes) -> dict[str, str]:
    """`raw` where the bytes are UTF-8, `raw_base64` where they are not."""
    try:
        return {"raw": raw.decode()}
    except UnicodeDecodeError:
        return {"raw_base64": base64.b64encode(raw).decode()}


COMMAND = Command(
    name="rejected",
    options=(INPUT, *CONNECTION, *REJECTED, *OUTPUT),
    run=run,
    actions=("list", "show"),
    details=(
        "To mend lines and load them:\n"
        "  python -m beam_pipeline rejected show --raw --input=DIR --file=NAME --limit=100000 > mended.jsonl\n"
        "  (mend them in mended.jsonl)\n"
        "  mv mended.jsonl DIR/TYPE/PROJECT/20260101T000000Z_mended1.jsonl"
    ),
)
