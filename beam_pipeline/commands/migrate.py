"""`migrate`: creates or completes the tables, or only looks whether it would have to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beam_pipeline.commands.base import (
    FAILED,
    OK,
    Command,
    Invocation,
    checked_connection,
    print_json,
    print_text,
    where,
)
from beam_pipeline.option_parser import OptionsError
from beam_pipeline.options import CHECK, CONNECTION, INPUT, OUTPUT, SCHEMA
from beam_pipeline.runs_under_way import refuse_older_runs
from beam_pipeline.schema import (
    SchemaOptions,
    check_schema_status,
    connect_if_there,
    connect_or_create,
    run_migrations,
)
from transforms.clickhouse import ClickHouseConfig
from transforms.storage import input_root


def schema_options(values: Mapping[str, Any], config: ClickHouseConfig) -> SchemaOptions:
    """What the options say about tables. Raises OptionsError."""
    options = SchemaOptions(
        ttl_days=values["ttl_days"],
        logs_ttl_days=values["logs_ttl_days"],
        dedup_window=values["dedup_window"],
        cluster=values["cluster"],
        replicated=values["replicated"],
        embedded=config.embedded,
    )
    problems = options.problems()
    if problems:
        raise OptionsError(problems)
    return options


def run(invocation: Invocation) -> int:
    """Migrates, or with --check tells what is not as it should be; exit code 1 when something is not."""
    values = invocation.values
    config = checked_connection(values)
    options = schema_options(values, config)
    if values["check"]:
        return _check(config, as_json=values["json"])
    with connect_or_create(config, cluster=options.cluster) as client:
        refuse_older_runs(client, *([input_root(values["input"])] if values["input"] else []))
        report = run_migrations(client, options)
    if values["json"]:
        print_json({"applied": report.applied, "changed": report.changed})
        return OK
    for version in report.applied:
        print_text(f"migration {version}: done")
    for change in report.changed:
        print_text(f"changed {change}")
    if not report.applied and not report.changed:
        print_text("nothing to do")
    print_text(f"{where(config)} is up to date")
    return OK


def _check(config: ClickHouseConfig, *, as_json: bool) -> int:
    status = None
    client = connect_if_there(config)
    if client is not None:
        with client:
            status = check_schema_status(client)
    lacks = status.shortcomings() if status else ["there is no database yet"]
    if as_json:
        print_json(
            {
                "up_to_date": not lacks,
                "version": status.version if status else 0,
                "problems": lacks,
                "ttl_days": dict(status.ttl_days) if status else {},
            }
        )
    elif lacks:
        print_text(f"{where(config)} is not up to date:")
        for lack in lacks:
            print_text(f"  {lack}")
    else:
        print_text(f"{where(config)} is up to date (version {status.version if status else 0})")
    return FAILED if lacks else OK


COMMAND = Command(
    name="migrate",
    options=(CHECK, *SCHEMA, INPUT, *CONNECTION, *OUTPUT),
    run=run,
    details=(
        "Safe to repeat, and to interrupt. ingest creates missing tables by itself, with the default options.\n"
        "Exit code: 0 done, or up to date; 1 not up to date (--check), or something failed."
    ),
)
