"""What the stages are configured with: one picklable value, made and validated by the application."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from transforms.clickhouse import ClickHouse, ClickHouseConfig
from transforms.events import EVENT_TYPES
from transforms.loads.log import LoadLog

MIB = 1024 * 1024
MAX_BLOCK_BYTES = 1024 * MIB
"""Blocks are held in memory, and `sequence` numbers the lines of a chunk in 32 bits."""
SHARDS = 8
"""Critical sections per event type. Every run must agree on it, or two could assign one file twice."""


@dataclass(frozen=True)
class IngestConfig:
    """The configuration of one run of the pipeline."""

    input: str
    """The input directory, absolute."""
    clickhouse: ClickHouseConfig
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """What the load log calls the run. Never that of an earlier run: it would take that one's loads for its own."""
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
    delete_after_process: bool = False
    load_bytes: int = 64 * MIB
    """Bytes of files in a load. More means fewer entries in the load log and more to redo after a crash."""
    load_files: int = 1000
    """Files in a load."""
    block_bytes: int = 16 * MIB
    """Bytes of files that are read, parsed and inserted at a time: memory grows with it, inserts get fewer and larger."""
    block_rows: int = 250_000
    """Rows in an insert."""
    inserts_in_flight: int = 2
    """Inserts under way at once per worker, each holding a block in memory."""
    max_line_bytes: int = 8 * MIB
    """A longer line is rejected."""
    max_held_line_bytes: int = 128 * MIB
    """A longer line cannot even be stored as rejected: its file stays pending."""
    max_rejected: int | None = None
    """A load with more rejected lines fails, and its files stay pending."""
    max_rejected_ratio: float = 1.0
    """A load with a larger part of its lines rejected fails, and its files stay pending."""
    ttl_days: Mapping[str, int] = field(default_factory=dict)
    """Days that ClickHouse keeps each event type. Absent: for ever. 0: nobody knows, by rules that are not ours."""

    def connect(self) -> ClickHouse:
        """A client for this run. Blocks; raises ClickHouseError."""
        return self.clickhouse.connect()

    def load_log(self, client: ClickHouse) -> LoadLog:
        return LoadLog(client, input_root=self.input, run_id=self.run_id)


def shard_of(event_type: str, project_id: str) -> str:
    """The critical section in which files of this project and type are assigned; the same in every run and process."""
    return f"{event_type}-{zlib.crc32(project_id.encode()) % SHARDS}"


def month_of(epoch_ms: int) -> str:
    """The UTC calendar month of a time, as YYYYMM."""
    moment = datetime.fromtimestamp(epoch_ms / 1000, timezone.utc)
    return f"{moment.year:04}{moment.month:02}"
