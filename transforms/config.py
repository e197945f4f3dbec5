"""What the stages are configured with: one picklable value, made and validated by the application."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from transforms.clickhouse import ClickHouseConfig
from transforms.events import EVENT_TYPES
from transforms.loads.journal import Journal
from transforms.loads.log import LoadLog
from transforms.storage import input_root, is_url
from transforms.storage.urls import url_problem

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

MIB = 1024 * 1024
MAX_BLOCK_BYTES = 1024 * MIB
"""Blocks are held in memory, and `sequence` numbers the lines of a chunk in 32 bits."""
LEASE_S = 60.0
MIN_LEASE_S = 2.0
MAX_LEASE_S = 86_400.0


class InvalidConfig(ValueError):
    """A configuration cannot work; `problems` has a sentence for each reason, which names the option and its value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class IngestConfig:
    """The configuration of one run of the pipeline. Raises InvalidConfig with everything that is wrong with it."""

    input: str
    """The input directory, absolute, or the URL of a bucket: where it is now."""
    clickhouse: ClickHouseConfig
    input_name: str = ""
    """What the journal and the load log call the input, wherever it is mounted; '' for `input` itself."""
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """What the load log calls the run. Never that of an earlier run: it would take that one's loads for its own."""
    lease_s: float = LEASE_S
    """Seconds after which a run that has not been heard of is taken for dead, and its loads are taken up by others."""
    event_types: tuple[str, ...] = EVENT_TYPES
    project_id: str | None = None
    since_ms: int | None = None
    """Only files with this timestamp (epoch milliseconds) or a later one."""
    until_ms: int | None = None
    """Only files with an earlier timestamp than this."""
    min_file_age_s: float = 0.0
    """Files modified so little before or after the run began are left for a later one. Raise it when writers append in place."""
    looked_at_ms: int | None = None
    """The time that the age of files counts to, so that all looks of a run find the same ones; None: that of each look."""
    modified_until_ms: int | None = None
    """Only files last modified up to this time, so that a bounded run ends although files keep coming."""
    after: tuple[int, str] | None = None
    """Only files that come after this key (timestamp, path): the page that this pass works on begins here …"""
    up_to: tuple[int, str] | None = None
    """… and ends with this one."""
    first_version_ms: int | None = None
    """What the `ingested_at` of the first file's rows counts from: later than that of all rows before. None: the time."""
    reload: bool = False
    """Loads also files that the log says are loaded."""
    replicated: bool = False
    """Whether the tables are replicated, so that what the workers agree on has to reach a quorum of replicas."""
    delete_after_process: bool = False
    load_bytes: int = 128 * MIB
    """Bytes of files in a load, whatever their types. More means fewer loads and more to redo after a crash."""
    load_files: int = 1000
    """Files in a load."""
    block_bytes: int = 32 * MIB
    """Bytes of files that are read, parsed and inserted at a time: memory grows with it, inserts get fewer and larger."""
    block_rows: int = 250_000
    """Rows in an insert."""
    bundles_may_repeat: bool = True
    """Whether the runner may run a bundle again. Where it does not, an insert that succeeds at once needs no second look."""
    inserts_in_flight: int = 2
    """Inserts under way at once per worker, each holding a block in memory."""
    max_line_bytes: int = 8 * MIB
    """A longer line is rejected."""
    max_held_line_bytes: int = 128 * MIB
    """A longer line cannot even be stored as rejected: its file stays pending."""
    max_rejected: int | None = None
    """Of a load with more rejected lines, the files with most of them are left pending."""
    max_rejected_ratio: float = 1.0
    """Of a load with a larger part of its lines rejected, the files with most of them are left pending."""
    max_attempts: int = 0
    """Attempts that fail at a file by its own fault after which it is moved to `failed/`. 0: it stays pending for ever."""
    look_every_s: float | None = None
    """Seconds from one look of a streaming job to the next; None: a bounded run, which looks once and ends."""
    max_load_delay_s: float = 0.0
    """In a streaming job: how old the oldest file of a load may get while it waits for others. More means larger loads."""
    loads_in_flight: int = 8
    """In a streaming job: loads recorded and not finished at most. A look that finds so many takes nothing."""
    ttl_days: Mapping[str, int] = field(default_factory=dict)
    """Days that ClickHouse keeps each event type. Absent: for ever. 0: nobody knows, by rules that are not ours."""

    def __post_init__(self) -> None:
        if is_url(self.input):
            object.__setattr__(self, "input", input_root(self.input))  # paths within it are told by how it begins
        problems = self._problems()
        if problems:
            raise InvalidConfig(problems)

    def _problems(self) -> list[str]:
        numbers = {
            "insert_batch_size": self.block_rows,
            "block_bytes": self.block_bytes,
            "load_bytes": self.load_bytes,
            "load_files": self.load_files,
            "inserts_in_flight": self.inserts_in_flight,
            "loads_in_flight": self.loads_in_flight,
            "max_line_bytes": self.max_line_bytes,
        }
        found = [f"--{name}: {value} must be at least 1" for name, value in numbers.items() if value < 1]
        if problem := url_problem(self.input):
            found.append(f"--input: {problem}")
        if self.block_bytes > MAX_BLOCK_BYTES:
            found.append(f"--block_bytes: {self.block_bytes} must be at most {MAX_BLOCK_BYTES}: it is held in memory")
        if self.block_bytes > self.load_bytes:
            found.append(f"--block_bytes: {self.block_bytes} must not be more than --load_bytes, {self.load_bytes}")
        if self.max_rejected is not None and self.max_rejected < 0:
            found.append(f"--max_rejected: {self.max_rejected} must be at least 0")
        if self.max_attempts < 0:
            found.append(f"--max_attempts: {self.max_attempts} must be at least 0, which means for ever")
        if not 0 <= self.max_rejected_ratio <= 1:
            found.append(f"--max_rejected_ratio: {self.max_rejected_ratio} must be between 0 and 1")
        if self.lease_s > MAX_LEASE_S:
            found.append(
                f"--lease: {self.lease_s:g}s must be at most a day: for so long nobody takes up a dead run's loads"
            )
        if self.lease_s < MIN_LEASE_S:
            found.append(
                f"--lease: {self.lease_s:g}s must be at least {MIN_LEASE_S:g}s: it is renewed six times in its length"
            )
        if self.look_every_s is not None and self.look_every_s <= 0:
            found.append(f"--poll_interval: {self.look_every_s:g}s must be more than 0")
        if self.since_ms is not None and self.until_ms is not None and self.since_ms >= self.until_ms:
            found.append("--since: must be before --until")
        unknown = [name for name in self.event_types if name not in EVENT_TYPES]
        if unknown:
            found.append(f"--event_types: {unknown[0]!r} is none of {', '.join(EVENT_TYPES)}")
        return found

    @property
    def name(self) -> str:
        """What the journal and the load log call the input."""
        return self.input_name or self.input

    @property
    def streaming(self) -> bool:
        """Whether the run is one unbounded job."""
        return self.look_every_s is not None

    def connect(self) -> ClickHouse:
        """A client for this run. Blocks; raises ClickHouseError."""
        return self.clickhouse.connect()

    def journal(self, client: ClickHouse) -> Journal:
        return Journal(client, self.name, self.run_id, replicated=self.replicated)

    def load_log(self, client: ClickHouse) -> LoadLog:
        return LoadLog(client, input=self.name, root=self.input, run_id=self.run_id)


def month_of(epoch_ms: int) -> str:
    """The UTC calendar month of a time, as YYYYMM."""
    moment = datetime.fromtimestamp(epoch_ms / 1000, timezone.utc)
    return f"{moment.year:04}{moment.month:02}"
