"""`check`: tries everything that a run needs, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from beam_pipeline.checks.check import Check, Outcome
from beam_pipeline.checks.database import check_database
from beam_pipeline.checks.input import check_input
from beam_pipeline.checks.parser import check_parser
from beam_pipeline.commands.base import FAILED, OK, Command, Invocation, print_json, print_text, printable, where
from beam_pipeline.options import INGEST, OUTPUT, ingest_config
from beam_pipeline.wording import counted
from transforms.config import IngestConfig


def run(invocation: Invocation) -> int:
    """Prints a line for each check, and returns the exit code: 1 when one has failed."""
    config = ingest_config(invocation.values)
    as_json = invocation.values["json"]
    if not as_json:
        print_text(f"a run from {printable(config.input)} into {where(config.clickhouse)}")
    done: list[Check] = []
    for check in _checks(config):
        done.append(check)
        if not as_json:
            print_text(_line(check))
    failures = sum(check.outcome is Outcome.FAILED for check in done)
    if as_json:
        print_json(
            {
                "ok": not failures,
                "input": config.input,
                "clickhouse_url": config.clickhouse.url,
                "clickhouse_database": config.clickhouse.database,
                "checks": [asdict(check) for check in done],
            }
        )
    else:
        print_text(f"{counted(failures, 'check')} failed" if failures else "a run has all that it needs")
    return FAILED if failures else OK


def _checks(config: IngestConfig) -> Iterator[Check]:
    yield from check_input(config)
    yield from check_database(config.clickhouse)
    yield check_parser()


def _line(check: Check) -> str:
    advice = f"; {check.advice}" if check.advice else ""
    return printable(f"{check.outcome.value:8} {check.name}: {check.found}{advice}")


COMMAND = Command(
    name="check",
    options=(*INGEST, *OUTPUT),
    run=run,
    takes_beam_options=True,
    details=(
        "Takes the options of ingest, and tries what it would do: lists, reads and moves (a tiny hidden file, which is\n"
        "removed again), logs in, and inserts nothing into each table. Changes nothing in the database.\n"
        "Exit code: 0 a run has all that it needs, 1 something is missing."
    ),
)
