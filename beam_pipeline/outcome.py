"""What a run did, by the journal's entries of it and the load log: wherever its workers were, and however often restarted."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beam_pipeline.results import ProcessingResult
from beam_pipeline.wording import counted
from transforms import interrupt, metrics, report
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig
from transforms.loads.journal import JOURNAL_TABLE
from transforms.loads.rows import FILES_TABLE, LOADS_TABLE
from transforms.report import Failure
from transforms.storage import open_storage

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

_MINE = (
    f"load_id IN (SELECT load_id FROM {JOURNAL_TABLE} "
    "WHERE input = {input:String} AND number > {since:UInt64} AND run_id = {run_id:String})"
)


@dataclass
class Outcome:
    """What is known of a run that has ended."""

    config: IngestConfig
    client: ClickHouse
    counts: Counter[str]
    """By the names of `transforms.metrics`, as far as the runner tells."""
    began_at: int | None
    """The last entry of the journal before the run; None when it had nothing to do."""
    is_local: bool
    """Whether its stages ran in this process."""

    def result(self) -> ProcessingResult:
        """The counts and failures. Raises ClickHouseError."""
        counts = self.counts
        if self.began_at is not None and not self.is_local:
            # A runner that starts a job again counts anew, and may tell nothing of what it did before.
            counts |= load_counts(self.client, self.config, since=self.began_at)
        by_type = {name: counts[metric.name] for name, metric in metrics.EVENTS_BY_TYPE.items() if counts[metric.name]}
        return ProcessingResult(
            run_id=self.config.run_id,
            files_processed=counts[metrics.FILES_LOADED.name],
            events_ingested=sum(by_type.values()),
            events_by_type=by_type,
            rejected=counts[metrics.LINES_REJECTED.name],
            expired=counts[metrics.EVENTS_EXPIRED.name],
            loads=counts[metrics.LOADS_COMMITTED.name],
            adopted=counts[metrics.LOADS_ADOPTED.name],
            known=counts[metrics.FILES_KNOWN.name],
            changed=counts[metrics.FILES_CHANGED.name],
            given_up=counts[metrics.FILES_GIVEN_UP.name],
            skipped=counts[metrics.FILES_SKIPPED.name],
            skipped_for=[owner.describe() for owner in report.owners()],
            unfinished=counts[metrics.FILES_UNFINISHED.name],
            ignored=report.ignored(),
            bytes_read=counts[metrics.BYTES_READ.name],
            errors=self._failures(),
            interrupted=interrupt.is_requested(self.config.run_id),
            seconds={name: round(counts[metric.name] / 1e6, 3) for name, metric in metrics.TIMES.items()},
        )

    def _failures(self) -> list[Failure]:
        """What failed in this process, and what the load log says of workers elsewhere."""
        found = {failure.name: failure.reason for failure in report.failures()}
        if self.began_at is not None:
            try:
                for failure in load_failures(self.client, self.config, since=self.began_at):
                    if not (self.config.streaming and self._has_left(failure.name)):
                        found.setdefault(failure.name, failure.reason)
            except ClickHouseError as error:
                found["load log"] = f"cannot be read: {error}"
        if not self.is_local:
            # What a worker elsewhere says of files that are in none of the run's loads.
            given_up, failed = (self.counts[metric.name] for metric in (metrics.FILES_GIVEN_UP, metrics.FILES_FAILED))
            if given_up:
                found[counted(given_up, "file")] = "moved to failed/; `status` tells why"
            elif failed and not found:
                found[counted(failed, "file")] = "could not be loaded; `status` tells why"
        return sorted(Failure(name, reason) for name, reason in found.items())

    def _has_left(self, name: str) -> bool:
        """Whether something is a file that is not pending any more: a later look of a streaming job has loaded it."""
        return name.startswith(self.config.input) and open_storage(self.config.input).etag(name) is None


def load_failures(client: ClickHouse, config: IngestConfig, *, since: int) -> list[Failure]:
    """Loads of a run that failed, and files that it could not load or move.

    `since` is the last entry of the journal before the run: what was loaded earlier is not read. Raises ClickHouseError.
    """
    rows = client.query(
        f"""
        SELECT 'load' AS kind, load_id AS name, error AS reason FROM {LOADS_TABLE} FINAL
        WHERE {_MINE} AND run_id = {{run_id:String}} AND state = 'failed'
        UNION ALL
        SELECT 'file' AS kind, path AS name, error AS reason FROM {FILES_TABLE} FINAL WHERE {_MINE} AND error != ''
        """,
        _parameters(config, since),
    )
    return [
        Failure(
            f"load {row['name']}" if row["kind"] == "load" else os.path.join(config.input, row["name"]), row["reason"]
        )
        for row in rows
    ]


def load_counts(client: ClickHouse, config: IngestConfig, *, since: int) -> Counter[str]:
    """The metrics of a run that can be told from the load log, by name. Raises ClickHouseError."""
    (loads,) = client.query(
        f"""
        SELECT count() AS loads, sum(rejected) AS rejected, sum(expired) AS expired, countIf(attempt > 1) AS adopted,
               sum(bytes) AS bytes_read, sumMap(events) AS by_type
        FROM {LOADS_TABLE} FINAL
        WHERE {_MINE} AND run_id = {{run_id:String}} AND state IN ('committed', 'finalized')
        """,
        _parameters(config, since),
    )
    (files,) = client.query(
        f"SELECT uniqExact(path) AS moved FROM {FILES_TABLE} FINAL WHERE {_MINE} AND state = 'finalized'",
        _parameters(config, since),
    )
    return Counter(
        {
            metrics.LOADS_COMMITTED.name: int(loads["loads"]),
            metrics.LOADS_ADOPTED.name: int(loads["adopted"]),
            metrics.LINES_REJECTED.name: int(loads["rejected"]),
            metrics.EVENTS_EXPIRED.name: int(loads["expired"]),
            metrics.BYTES_READ.name: int(loads["bytes_read"]),
            metrics.FILES_LOADED.name: int(files["moved"]),
        }
        | {metrics.EVENTS_BY_TYPE[name].name: int(rows) for name, rows in loads["by_type"].items()}
    )


def _parameters(config: IngestConfig, since: int) -> dict[str, str | int]:
    return {"input": config.name, "since": since, "run_id": config.run_id}
