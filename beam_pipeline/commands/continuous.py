"""`ingest --continuous`: loads what is pending again and again, and says what is new each time."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from datetime import datetime, timezone

from rich.console import Console

from beam_pipeline.commands.base import print_json
from beam_pipeline.commands.notices import notices
from beam_pipeline.progress import duration
from beam_pipeline.results import ProcessingResult, WorkerStatus
from beam_pipeline.wording import counted
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig
from transforms.storage import StorageError


class Log:
    """Prints one line for each run that has loaded something, and what is wrong when it begins and when it is over.

    A run that finds nothing, and an error or warning that was there the last time, print nothing.
    """

    def __init__(self, config: IngestConfig, console: Console, *, quiet: bool, as_json: bool) -> None:
        self._config = config
        self._console = console
        self._quiet = quiet
        self._as_json = as_json
        self._lasting: set[str] = set()
        """The subjects of what the last run has said that lasts."""
        self._away_since: datetime | None = None

    def add(self, outcome: ProcessingResult | Exception) -> None:
        """Prints what is new of one run, or of the error that kept it from being begun."""
        if isinstance(outcome, Exception):
            self._add_error(outcome)
        else:
            self._add_result(outcome)

    def end(self, status: WorkerStatus) -> None:
        """Prints what the worker has done in all."""
        if not self._quiet:
            files, events = (
                counted(status.total_files_processed, "file"),
                counted(status.total_events_ingested, "event"),
            )
            self._say(f"stopped; loaded {files}, {events} since it was started")

    def _add_error(self, error: Exception) -> None:
        expected = isinstance(error, (ClickHouseError, StorageError, OSError))
        reason = str(error) if expected else f"unexpected {type(error).__name__}: {error}"
        subject = f"run: {reason}"
        if self._away_since is None or subject not in self._lasting:
            self._say(f"error: {reason}; trying again until it is over")
        self._away_since = self._away_since or _now()
        self._lasting.add(subject)

    def _add_result(self, result: ProcessingResult) -> None:
        if self._away_since is not None:
            self._say(f"going on after {duration((_now() - self._away_since).total_seconds())}")
            self._away_since = None
        has_loaded = result.loads or result.files_processed
        if has_loaded and not self._quiet:
            seconds = result.duration_ms / 1000
            loaded = f"{counted(result.files_processed, 'file')} in {counted(result.loads, 'load')}"
            self._say(f"loaded {counted(result.events_ingested, 'event')} from {loaded} in {seconds:.1f} s")
        said = set()
        for notice in notices(self._config, replace(result, interrupted=False), quiet=self._quiet):
            said.add(notice.subject)
            if not (notice.lasting and notice.subject in self._lasting):
                self._say(notice.text)
        if self._as_json and (has_loaded or said - self._lasting):
            print_json(asdict(result))
            sys.stdout.flush()
        self._lasting = said

    def _say(self, text: str) -> None:
        self._console.print(f"{_now():%Y-%m-%dT%H:%M:%SZ} {text}")


def _now() -> datetime:
    return datetime.now(timezone.utc)
