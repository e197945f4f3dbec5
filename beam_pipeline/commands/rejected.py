"""`rejected`: shows the lines that could not be stored as events, so that they can be fixed and loaded again."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from beam_pipeline.commands.base import (
    OK,
    Command,
    CommandError,
    Invocation,
    checked_connection,
    print_json,
    print_text,
    printable,
    where,
)
from beam_pipeline.commands.tables import FIXED, NUMBER, Column, is_terminal, print_table
from beam_pipeline.commands.times import TZ, TimeColumn
from beam_pipeline.history import History, RejectedFilter
from beam_pipeline.option_parser import OptionsError
from beam_pipeline.options import CONNECTION, INPUT, OUTPUT, REJECTED
from beam_pipeline.schema import connect_if_there
from beam_pipeline.wording import counted
from transforms.storage import input_root


def rejected_filter(values: Mapping[str, Any]) -> RejectedFilter:
    """Which lines the options mean. A file that is here is meant by its full path."""
    file = values["file"] or ""
    if file and os.path.exists(file):
        file = os.path.realpath(file)
    return RejectedFilter(
        input=input_root(values["input"]) if values["input"] else "",
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
    problems = [f"--{name}: {values[name]} must be at least 0" for name in ("line", "limit") if (values[name] or 0) < 0]
    if problems:
        raise OptionsError(problems)
    config = checked_connection(values)
    client = connect_if_there(replace(config, retry_attempts=1))
    if client is None:
        raise CommandError(f"{where(config)} is not there yet; nothing has been loaded into it")
    with client:
        history = History(client)
        if not history.exists():
            raise CommandError(f"{where(config)} does not have the tables yet; nothing has been loaded into it")
        wanted = rejected_filter(values)
        if wanted.input:
            wanted = replace(wanted, input=history.name_of(wanted.input))
        if invocation.action == "show":
            _show(history, wanted, values)
        else:
            _list(history, wanted, values)
    return OK


def _list(history: History, wanted: RejectedFilter, values: Mapping[str, Any]) -> None:
    lines = history.rejected(wanted, values["limit"])
    total = history.count_rejected(wanted)
    if values["json"]:
        print_json({"total": total, "rejected": [asdict(line) for line in lines]}, values["tz"])
        return
    if lines:
        times = TimeColumn((line.rejected_at for line in lines), values["tz"], "seconds")
        rows = [
            (
                times.cell(line.rejected_at),
                line.project_id,
                line.event_type,
                os.path.basename(line.file),  # which is what --file takes; its whole path seldom fits
                str(line.line),
                line.reason,
            )
            for line in lines
        ]
        titles = {
            "rejected": Column(rank=3, note=times.note),
            "project": Column(rank=1),
            "type": Column(rank=2),
            "file": FIXED,
            "line": NUMBER,
            "reason": Column(least=24),
        }
        print_table(titles, rows)
    print_text(f"{len(lines):,} of {counted(total, 'rejected line')}")


def _show(history: History, wanted: RejectedFilter, values: Mapping[str, Any]) -> None:
    lines = history.rejected(wanted, values["limit"])
    if values["json"] and values["raw"]:
        raise CommandError("--raw and --json cannot both be; --json holds the bytes too")
    if values["json"]:
        shown = [asdict(line) | _bytes_as_json(raw) for line, raw in history.raw(lines)]
        print_json({"total": history.count_rejected(wanted), "rejected": shown}, values["tz"])
        return
    if values["raw"]:
        _print_raw(raw for _, raw in history.raw(lines))
        return
    for line, raw in history.raw(lines):
        for name, value in asdict(line).items():
            if isinstance(value, datetime):
                value = value.astimezone(values["tz"]).isoformat(" ", "milliseconds")
            print_text(f"{name + ':':13}{printable(str(value))}")
        print_text(f"{'raw:':13}{_as_text(raw)}\n")
    print_text(f"{len(lines):,} of {counted(history.count_rejected(wanted), 'rejected line')}")


def _print_raw(lines: Iterable[bytes]) -> None:
    """The bytes of lines; on a terminal, which would obey them, as text."""
    if is_terminal():
        for raw in lines:
            print_text(_as_text(raw))
    else:
        sys.stdout.buffer.writelines(raw + b"\n" for raw in lines)


def _as_text(raw: bytes) -> str:
    return printable(raw.decode(errors="backslashreplace"))


def _bytes_as_json(raw: bytes) -> dict[str, str]:
    """`raw` where the bytes are UTF-8, `raw_base64` where they are not."""
    try:
        return {"raw": raw.decode()}
    except UnicodeDecodeError:
        return {"raw_base64": base64.b64encode(raw).decode()}


COMMAND = Command(
    name="rejected",
    options=(INPUT, *CONNECTION, *REJECTED, TZ, *OUTPUT),
    run=run,
    actions=("list", "show"),
    details=(
        "To fix lines and load them:\n"
        "  python -m beam_pipeline rejected show --raw --input=DIR --file=NAME --limit=100000 > fixed.jsonl\n"
        "  (fix them in fixed.jsonl)\n"
        "  mv fixed.jsonl DIR/TYPE/PROJECT/20260101T000000Z_fixed1.jsonl"
    ),
)
