"""The options of all commands: names, defaults, environment variables, and the configurations that they become."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from beam_pipeline.generate import COMPRESSIONS, DIALECTS
from beam_pipeline.option_parser import Option, OptionsError
from beam_pipeline.option_values import choice, event_types, instant, number, place, seconds, size, whole
from beam_pipeline.schema.options import DEFAULT_DEDUP_WINDOW
from transforms.clickhouse import ClickHouseConfig
from transforms.clickhouse.passwords import FORMS
from transforms.config import LEASE_S, MIB, IngestConfig, InvalidConfig
from transforms.events import EVENT_TYPES
from transforms.storage import StorageError, input_root, is_url, open_storage
from transforms.storage.urls import missing_library

INPUT = Option(
    "input",
    place,
    None,
    "directory, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX of event files: holds trace/, span/, log/, metric/, score/",
    "INGEST_INPUT",
    "DIR",
)

JSON = Option("json", None, False, "print one JSON object on standard output")
DEBUG = Option("debug", None, False, "log what happens, and show the traceback of an error")
OUTPUT = (JSON, DEBUG)
QUIET = Option("quiet", None, False, "print nothing but warnings and errors")
PROFILE = Option("profile", None, False, "print where the time went, and what a run like this is bound by")
ONCE = Option("once", None, False, "load what is pending and end, which is what happens without it, too")
CONTINUOUS = Option("continuous", None, False, "load what is pending again and again, until it is stopped")
POLL_INTERVAL = Option(
    "poll_interval",
    seconds,
    10.0,
    "with continuous or streaming: from one look for pending files to the next",
    "",
    "DURATION",
)
STREAMING = Option(
    "streaming",
    None,
    False,
    "on Flink or Dataflow: one job that looks for files at every poll interval, and never ends",
)
MAX_LOAD_DELAY = Option(
    "max_load_delay",
    seconds,
    0.0,
    "with streaming: how long a file may wait for others, so that loads are larger",
    "",
    "DURATION",
)
LOADS_IN_FLIGHT = Option(
    "loads_in_flight", whole, 8, "with streaming: loads begun and not finished; at so many nothing is taken up", "", "N"
)
STREAMED = (STREAMING, POLL_INTERVAL, MAX_LOAD_DELAY, LOADS_IN_FLIGHT)
"""What a streaming job has beside `INGEST`."""
METRICS_PORT = Option(
    "metrics_port",
    whole,
    None,
    "with continuous: serve /metrics for Prometheus, /livez and /readyz on this port; 0 for any free one",
    "",
    "PORT",
)
DRY_RUN = Option(
    "dry_run", None, False, "tell how much would be loaded, by type and day, and which files, and load nothing"
)

CONNECTION = (
    Option(
        "clickhouse_url",
        str,
        None,
        "chdb:///path for an embedded database, or http(s)://host:port; default: an embedded database beside the input directory",
        "CLICKHOUSE_URL",
        "URL",
    ),
    Option(
        "clickhouse_user",
        str,
        "default",
        "user on the server; the password is read from CLICKHOUSE_PASSWORD",
        "CLICKHOUSE_USER",
    ),
    Option("clickhouse_database", str, "default", "database that holds the tables", "CLICKHOUSE_DATABASE"),
    Option(
        "clickhouse_password_from",
        str,
        "env:CLICKHOUSE_PASSWORD",
        f"where each worker reads the password: {FORMS} (a reference, never the password itself)",
        "",
        "REFERENCE",
    ),
    Option("retry_attempts", whole, 3, "how often an operation that may work later is tried", "", "N"),
    Option("retry_delay", seconds, 1.0, "wait before the second try; doubles with each further one", "", "DURATION"),
)

INGEST = (
    INPUT,
    *CONNECTION,
    Option("project_id", str, None, "only files of this project", "", "ID"),
    Option("event_types", event_types, EVENT_TYPES, "only files of these types, with commas between", "", "TYPES"),
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
    Option(
        "max_files", whole, None, "load at most so many files, the oldest first; the rest is for later runs", "", "N"
    ),
    Option("page_files", whole, 50_000, "files taken up at a time; bounds memory", "", "N"),
    Option("insert_batch_size", whole, 250_000, "rows in an insert at most", "", "ROWS"),
    Option("block_bytes", size, 32 * MIB, "bytes of files parsed into one insert; memory grows with it", "", "SIZE"),
    Option("load_bytes", size, 128 * MIB, "bytes of files, of all types, that are committed together", "", "SIZE"),
    Option("load_files", whole, 1000, "files that are committed together", "", "N"),
    Option("inserts_in_flight", whole, 2, "inserts under way at once on a worker", "", "N"),
    Option("max_line_bytes", size, 8 * MIB, "a longer line is rejected", "", "SIZE"),
    Option(
        "max_rejected",
        whole,
        None,
        "leave the worst files of a load pending when it has more bad lines than this",
        "",
        "N",
    ),
    Option(
        "max_rejected_ratio",
        number,
        1.0,
        "leave the worst files of a load pending when a larger part of its lines is bad (0 to 1)",
        "",
        "RATIO",
    ),
    Option(
        "max_attempts",
        whole,
        0,
        "move a file to failed/ after so many runs that could not load it by its own fault; 0: it stays pending",
        "",
        "N",
    ),
    Option("delete_after_process", None, False, "delete loaded files instead of moving them to processed/"),
    Option("reload", None, False, "load files again although their content is loaded; tables then keep the new rows"),
    Option(
        "input_name",
        str,
        None,
        "what the input is called in the load log, wherever it is mounted; default: where it was first loaded from",
        "",
        "NAME",
    ),
    Option(
        "lease",
        seconds,
        LEASE_S,
        "a run that is not heard of for so long is taken for dead, and its loads are taken up by others",
        "",
        "DURATION",
    ),
)


CHECK = Option("check", None, False, "change nothing; tell whether everything is up to date")
CONFIRM = Option("confirm", str, None, "the name of the database, to show that it is meant", "", "DATABASE")
SCHEMA = (
    Option("ttl_days", whole, None, "days that events are kept, 0 for ever; new tables: 90", "", "N"),
    Option("logs_ttl_days", whole, None, "days that logs are kept, 0 for ever; new tables: 30", "", "N"),
    Option("dedup_window", whole, DEFAULT_DEDUP_WINDOW, "inserts per table that are recognised when repeated", "", "N"),
    Option("cluster", str, None, "create everything ON CLUSTER of this name", "", "NAME"),
    Option("replicated", None, False, "use Replicated engines"),
)

REJECTED = (
    Option("file", str, None, "only lines of this file: its path, or the end of it from a name on", "", "PATH"),
    Option("line", whole, None, "only the line with this number", "", "N"),
    Option("reason", str, None, "only lines whose reason contains this", "", "TEXT"),
    Option("project_id", str, None, "only lines of this project", "", "ID"),
    Option("event_type", str, None, "only lines of this type", "", "TYPE"),
    Option("load_id", str, None, "only lines of this load", "", "ID"),
    Option("limit", whole, 50, "so many lines at most, those that were rejected last", "", "N"),
    Option(
        "raw",
        None,
        False,
        "with show: nothing but the lines, byte for byte; on a terminal with control characters escaped",
    ),
)


GENERATE = (
    Option("output", str, None, "directory to write into: the later --input", "", "DIR"),
    Option("events", whole, 200_000, "how many events", "", "N"),
    Option("events_per_file", whole, 2_000, "events in a file", "", "N"),
    Option("event_types", event_types, EVENT_TYPES, "which types, with commas between", "", "TYPES"),
    Option("projects", whole, 3, "how many projects", "", "N"),
    Option("deployments", whole, 2, "how many deployments a project has", "", "N"),
    Option("start", instant, None, "time of the earliest event; default: a day before the end", "", "TIME"),
    Option("end", instant, None, "time of the latest event; default: now", "", "TIME"),
    Option("seed", whole, 0, "the same seed gives the same events", "", "N"),
    Option("dialect", choice(*DIALECTS), "mixed", "how events are written: flat, envelope or mixed"),
    Option("bad_ratio", number, 0.0, "part of the lines that are broken on purpose, 0 to 1"),
    Option("compression", choice(*COMPRESSIONS), "none", "compress the files: gz, zst or none"),
)


def input_problems(directory: str) -> list[str]:
    """Why nothing can be loaded from this directory."""
    try:
        open_storage(directory)
    except StorageError as error:
        return [str(error)]
    if is_url(directory):
        missing = missing_library(directory)
        return [f"--input: {missing}"] if missing else []
    path = input_root(directory)
    if os.path.isdir(path):
        return []
    what = "is not a directory" if os.path.exists(path) else "does not exist"
    return [f"--input: {path} {what}; give the directory that holds {'/, '.join(EVENT_TYPES)}/"]


def clickhouse_config(values: Mapping[str, Any]) -> ClickHouseConfig:
    """The connection that these option values describe; without a URL, an embedded database beside the input."""
    url = values.get("clickhouse_url")
    if not url:
        beside = values.get("input") and not is_url(values["input"])
        url = url_beside(input_root(values["input"])) if beside else ""
    return ClickHouseConfig(
        url=url,
        user=values["clickhouse_user"],
        database=values["clickhouse_database"],
        password=values["clickhouse_password_from"],
        retry_attempts=values["retry_attempts"],
        retry_delay_s=values["retry_delay"],
    )


def url_beside(path: str) -> str:
    """The URL of the embedded database beside an input."""
    directory, name = os.path.split(path)
    # The engine takes what follows a question mark for settings.
    return f"chdb://{os.path.join(directory, name.replace('?', '%3F'))}.clickhouse"


def connection_problems(values: Mapping[str, Any]) -> list[str]:
    """Why these option values cannot make a connection."""
    if not values.get("clickhouse_url") and not values.get("input"):
        return ["--clickhouse_url: is missing, and there is no --input beside which an embedded database could be"]
    if not values.get("clickhouse_url") and is_url(values["input"]):
        if values.get("dry_run"):
            return []  # what is pending is in the bucket
        return [
            f"--clickhouse_url: is missing, and an embedded database cannot be beside {values['input']}; give the URL of a "
            "server, http(s)://host:port, or a place on this machine, chdb:///path, and the same one each time"
        ]
    if not values.get("clickhouse_url") and "?" in os.path.dirname(input_root(values["input"])):
        return [
            f"--input: {input_root(values['input'])} is below a directory with a question mark in its name, where the "
            "embedded engine cannot open a database; give another place for it: --clickhouse_url=chdb:///path"
        ]
    return clickhouse_config(values).problems()


def ingest_config(values: Mapping[str, Any]) -> IngestConfig:
    """The configuration of a run. Raises OptionsError with everything that is wrong with the values."""
    problems = [f"--input: is missing; {INPUT.help}"] if not values["input"] else []
    problems += connection_problems(values) if values["input"] else []
    problems += [
        f"--{name}: {values[name]} must be at least 1"
        for name in ("max_files", "page_files")
        if values[name] is not None and values[name] < 1
    ]
    try:
        config = IngestConfig(
            input=input_root(values["input"] or ""),
            clickhouse=clickhouse_config(values),
            event_types=tuple(values["event_types"]),
            project_id=values["project_id"],
            since_ms=values["since"],
            until_ms=values["until"],
            min_file_age_s=values["min_file_age"],
            input_name=values["input_name"] or "",
            lease_s=values["lease"],
            delete_after_process=values["delete_after_process"],
            reload=values["reload"],
            load_bytes=values["load_bytes"],
            load_files=values["load_files"],
            block_bytes=values["block_bytes"],
            block_rows=values["insert_batch_size"],
            inserts_in_flight=values["inserts_in_flight"],
            max_line_bytes=values["max_line_bytes"],
            max_rejected=values["max_rejected"],
            max_rejected_ratio=values["max_rejected_ratio"],
            max_attempts=values["max_attempts"],
        )
    except InvalidConfig as error:
        problems += error.problems
    if problems:
        raise OptionsError(problems)
    return config
