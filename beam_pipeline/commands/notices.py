"""What somebody has to know of a run even when nothing else is printed: one line each."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from beam_pipeline.commands.base import printable
from beam_pipeline.options import url_beside
from beam_pipeline.results import ProcessingResult
from beam_pipeline.wording import counted
from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig
from transforms.storage import input_root, is_url

_NAMED_ERRORS = 20
_NUMBER = re.compile(r"\d[\d,.]*")


@dataclass(frozen=True)
class Notice:
    """One line about a run."""

    text: str
    lasting: bool = False
    """Whether the next run says the same, unless something has changed."""

    @property
    def subject(self) -> str:
        """The text without its numbers: times and counts change from run to run while the thing remains the same."""
        return _NUMBER.sub("#", self.text)


def notices(config: IngestConfig, result: ProcessingResult, *, quiet: bool) -> Iterator[Notice]:
    """The lines about one run, in the order in which they are to be read."""
    if result.rejected:
        yield Notice(
            f"warning: {counted(result.rejected, 'line was', 'lines were')} rejected; see: "
            f"{_command('rejected', config)}"
        )
    if result.expired:
        events = counted(
            result.expired,
            "event is older than its table keeps events, so ClickHouse will delete it",
            "events are older than their tables keep events, so ClickHouse will delete them",
        )
        yield Notice(
            f"warning: {events}; to keep old events: {_command('migrate', config)} --ttl_days=0 --logs_ttl_days=0"
        )
    for group in result.ignored:
        if not (quiet and group.reason.expected):
            yield Notice(f"{'' if group.reason.expected else 'warning: '}{printable(group.describe())}", lasting=True)
    if result.known:
        files = counted(
            result.known,
            "file was not loaded again: its content is loaded already",
            "files were not loaded again: their content is loaded already",
        )
        yield Notice(f"{files} (to load it anyway: --reload)")
    if result.changed:
        files = counted(result.changed, "file changed while it was loaded", "files changed while they were loaded")
        yield Notice(f"{files}; what is new is for the next run")
    if result.skipped:
        owners = ", ".join(map(printable, result.skipped_for))
        yield Notice(f"{counted(result.skipped, 'file')} skipped: being loaded by {owners}", lasting=True)
    if result.unfinished:
        files = counted(
            result.unfinished,
            "file is still pending: its load was begun by an earlier run",
            "files are still pending: their loads were begun by an earlier run",
        )
        yield Notice(f"{files} and could not be finished (the errors say why); the next run tries again", lasting=True)
    if result.left and not result.interrupted and not quiet:
        yield Notice(f"{counted(result.left, 'file')} left for later runs (--max_files)", lasting=True)
    if result.interrupted:
        yield Notice("stopped before everything was loaded; run the same command again to go on")
    for failure in result.errors[:_NAMED_ERRORS]:
        yield Notice(f"error: {printable(failure.name)}: {printable(failure.reason)}", lasting=True)
    if len(result.errors) > _NAMED_ERRORS:
        more = len(result.errors) - _NAMED_ERRORS
        yield Notice(
            f"error: and {more:,} more; see: {_command('status', config)}",
            lasting=True,
        )
    if result.given_up:
        files = counted(result.given_up, "file was", "files were")
        yield Notice(f"{files} moved to failed/, with the reason beside it; to try one again, move it back")
    if len(result.errors) > result.given_up and not (result.unfinished or result.interrupted):
        yield Notice("what failed is still pending, and the next run tries it again", lasting=True)


def _command(name: str, config: IngestConfig) -> str:
    """A command on the same input and the same database, to be copied: it has what is not the default of its options."""
    database, default = config.clickhouse, ClickHouseConfig(_url_beside(config.input))
    flags = {
        "input": config.input,
        "clickhouse_url": database.place if database.url != default.url else "",
        "clickhouse_user": database.user if database.user != default.user else "",
        "clickhouse_database": database.database if database.database != default.database else "",
        "clickhouse_password_from": database.password if database.password != default.password else "",
    }
    written = (shlex.quote(printable(f"--{flag}={value}")) for flag, value in flags.items() if value)
    return " ".join([f"python -m beam_pipeline {name}", *written])


def _url_beside(path: str) -> str:
    return "" if is_url(path) else url_beside(input_root(path))
