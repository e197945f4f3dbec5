"""The pipeline's options: names, defaults, environment variables, and everything that is checked before anything runs."""

from __future__ import annotations

import argparse
import os
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from transforms.clickhouse import ClickHouseConfig
from transforms.config import MIB, IngestConfig
from transforms.events import EVENT_TYPES

_SIZE = re.compile(r"^(\d+)\s*([kmgt]?)(i?b)?$", re.IGNORECASE)
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class OptionsError(Exception):
    """Options that cannot work, all of them at once; `problems` has one sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def size(text: str) -> int:
    """A number of bytes: 1048576, 512K, 16M, 2G (powers of 1024)."""
    match = _SIZE.match(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; give bytes, or a number with K, M or G, such as 64M")
    return int(match[1]) << (10 * " kmgt".index(match[2].lower() or " "))


def seconds(text: str) -> float:
    """A duration in seconds: 10, 1.5, 500ms, 30s, 5m, 2h, 1d."""
    match = _DURATION.match(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; give seconds, or a number with ms, s, m, h or d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def instant(text: str) -> int:
    """A point in time as epoch milliseconds: ISO 8601 (no offset means UTC), such as 2026-11-20 or 2026-11-20T12:00Z."""
    try:
        parsed = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time; give ISO 8601, such as 2026-11-20 or 2026-11-20T12:00:00Z"
        ) from None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=timezone.utc)
    return int(parsed.timestamp() * 1000)


def _event_types(text: str) -> tuple[str, ...]:
    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [part for part in chosen if part not in EVENT_TYPES]
    if unknown or not chosen:
        raise argparse.ArgumentTypeError(f"{text!r} must be some of {','.join(EVENT_TYPES)}, with commas between")
    return chosen


@dataclass(frozen=True)
class Option:
    """One option: its flag without dashes, how its text becomes a value, and what it is for."""

    name: str
    parse: Callable[[str], Any] | None
    """None for a switch."""
    default: Any
    help: str
    env: str = ""
    """An environment variable that gives the default."""
    metavar: str = ""

    def add_to(self, parser: argparse._ActionsContainer) -> None:
        """Adds the option to a parser. An environment variable is read when the parser is made."""
        text = self.help + (f" [env: {self.env}]" if self.env else "")
        if self.parse is None:
            parser.add_argument(f"--{self.name}", action="store_true", default=self.default, help=text)
            return
        default = os.environ.get(self.env) or self.default if self.env else self.default
        metavar = self.metavar or self.name.rpartition("_")[2].upper()
        parser.add_argument(f"--{self.name}", type=self.parse, default=default, help=text, metavar=metavar)


INPUT = Option("input", str, None, "directory of event files: holds trace/, span/, log/, metric/, score/", "INGEST_INPUT", "DIR")

CONNECTION = (
    Option(
        "clickhouse_url",
        str,
        None,
        "chdb:///path for an embedded database, or http(s)://host:port; default: an embedded database beside the input",
        "CLICKHOUSE_URL",
        "URL",
    ),
    Option("clickhouse_user", str, "default", "user on the server; the password is read from CLICKHOUSE_PASSWORD", "CLICKHOUSE_USER"),
    Option("clickhouse_database", str, "default", "database that holds the tables", "CLICKHOUSE_DATABASE"),
    Option(
        "clickhouse_password_from",
        str,
        "env:CLICKHOUSE_PASSWORD",
        "where the password is read on each worker: env:NAME or file:/path (a reference, never the password itself)",
        "",
        "REFERENCE",
    ),
    Option("retry_attempts", int, 3, "how often an operation that may work later is tried", "", "N"),
    Option("retry_delay", seconds, 1.0, "wait before the second try; doubles with each further one", "", "DURATION"),
)

INGEST = (
    INPUT,
    *CONNECTION,
    Option("project_id", str, None, "only files of this project", "", "ID"),
    Option("event_types", _event_types, EVENT_TYPES, "only files of these types, with commas between", "", "TYPES"),
    Option("since", instant, None, "only files whose name has this time or a later one", "", "TIME"),
    Option("until", instant, None, "only files whose name has an earlier time", "", "TIME"),
    Option(
        "min_file_age",
        seconds,
        0.0,
        "leave files modified more recently than this for a later run; raise it when writers append in place",
        "",
        "DURATION",
    ),
    Option("max_files", int, 50_000, "files taken up at a time; bounds memory, a run goes on until none is left", "", "N"),
    Option("insert_batch_size", int, 250_000, "rows in an insert at most", "", "ROWS"),
    Option("block_bytes", size, 16 * MIB, "bytes of files parsed into one insert; memory grows with it", "", "SIZE"),
    Option("load_bytes", size, 64 * MIB, "bytes of files that are committed together", "", "SIZE"),
    Option("load_files", int, 1000, "files that are committed together", "", "N"),
    Option("inserts_in_flight", int, 2, "inserts under way at once on a worker", "", "N"),
    Option("max_line_bytes", size, 8 * MIB, "a longer line is rejected", "", "SIZE"),
    Option("max_rejected", int, None, "fail a load with more bad lines than this; its files stay pending", "", "N"),
    Option(
        "max_rejected_ratio",
        float,
        1.0,
        "fail a load with a larger part of bad lines than this (0 to 1); its files stay pending",
        "",
        "RATIO",
    ),
    Option("delete_after_process", None, False, "delete loaded files instead of moving them to processed/"),
)


class IngestOptions(PipelineOptions):  # type: ignore[misc]
    """What `ingest` can be told, as Beam pipeline options. There is no option that holds a secret."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        for option in INGEST:
            option.add_to(parser)


def clickhouse_config(values: Mapping[str, Any]) -> ClickHouseConfig:
    """The connection that these option values describe; without a URL, an embedded database beside the input."""
    url = values.get("clickhouse_url")
    if not url:
        url = f"chdb://{os.path.abspath(values['input']).rstrip(os.sep)}.clickhouse" if values.get("input") else ""
    return ClickHouseConfig(
        url=url,
        user=values["clickhouse_user"],
        database=values["clickhouse_database"],
        password=values["clickhouse_password_from"],
        retry_attempts=values["retry_attempts"],
        retry_delay_s=values["retry_delay"],
    )


def connection_problems(values: Mapping[str, Any]) -> list[str]:
    """Why these option values cannot make a connection."""
    if not values.get("clickhouse_url") and not values.get("input"):
        return ["--clickhouse_url: is missing, and there is no --input beside which an embedded database could be"]
    return clickhouse_config(values).problems()


def ingest_config(values: Mapping[str, Any]) -> IngestConfig:
    """The configuration of a run. Raises OptionsError with everything that is wrong with the values."""
    problems = [f"--input: is missing; {INPUT.help}"] if not values["input"] else []
    problems += connection_problems(values) if values["input"] else []
    for name in ("max_files", "insert_batch_size", "block_bytes", "load_bytes", "load_files", "inserts_in_flight", "max_line_bytes"):
        if values[name] < 1:
            problems.append(f"--{name}: {values[name]} must be at least 1")
    if values["block_bytes"] > values["load_bytes"]:
        problems.append(f"--block_bytes: {values['block_bytes']} must not be more than --load_bytes, {values['load_bytes']}")
    if values["max_rejected"] is not None and values["max_rejected"] < 0:
        problems.append(f"--max_rejected: {values['max_rejected']} must be at least 0")
    if not 0 <= values["max_rejected_ratio"] <= 1:
        problems.append(f"--max_rejected_ratio: {values['max_rejected_ratio']} must be between 0 and 1")
    if values["since"] is not None and values["until"] is not None and values["since"] >= values["until"]:
        problems.append("--since: must be before --until")
    if problems:
        raise OptionsError(problems)
    return IngestConfig(
        input=os.path.abspath(values["input"].removeprefix("file://")),
        clickhouse=clickhouse_config(values),
        run_id=uuid.uuid4().hex,
        event_types=tuple(values["event_types"]),
        project_id=values["project_id"],
        since_ms=values["since"],
        until_ms=values["until"],
        min_file_age_s=values["min_file_age"],
        delete_after_process=values["delete_after_process"],
        load_bytes=values["load_bytes"],
        load_files=values["load_files"],
        block_bytes=values["block_bytes"],
        block_rows=values["insert_batch_size"],
        inserts_in_flight=values["inserts_in_flight"],
        max_line_bytes=values["max_line_bytes"],
        max_rejected=values["max_rejected"],
        max_rejected_ratio=values["max_rejected_ratio"],
    )
