"""What a worker tells of its runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from transforms.report import Failure
from transforms.storage.ignored_files import IgnoredGroup


@dataclass(frozen=True)
class ProcessingResult:
    """What one `process_once` did. Counts are of this run only; `errors` name what is left for a later run, and why."""

    run_id: str = ""
    """What the load log calls this run."""
    files_processed: int = 0
    events_ingested: int = 0
    events_by_type: dict[str, int] = field(default_factory=dict)
    rejected: int = 0
    expired: int = 0
    """Events older than their table's TTL: ClickHouse will delete them."""
    loads: int = 0
    adopted: int = 0
    """Loads of earlier runs that were finished by this one."""
    known: int = 0
    """Files that came again with a content that is loaded already, and were moved without being loaded again."""
    changed: int = 0
    """Files that changed while they were loaded; what they hold now is compared with what was loaded by the next run."""
    given_up: int = 0
    """Files that were moved to `failed/`, since `max_attempts` attempts have failed at them; `errors` names them."""
    skipped: int = 0
    """Files left alone because another live run has them."""
    skipped_for: list[str] = field(default_factory=list)
    """Which runs have these: where they are, and when they were last active."""
    unfinished: int = 0
    """Files of loads of earlier runs that could not be finished in this run either; the next one takes them up again."""
    ignored: list[IgnoredGroup] = field(default_factory=list)
    """Files that are not loaded although nothing failed, such as those under a name that is not of an event file."""
    left: int = 0
    """Files that were found and not taken up: there may be so many a run (`max_files`), or it was interrupted."""
    job_id: str | None = None
    """The job that was submitted and not waited for; '' when it was written to `--template_location`."""
    submitted: int = 0
    """Files that this job is to load."""
    bytes_read: int = 0
    errors: list[Failure] = field(default_factory=list)
    statements: int = 0
    """Statements that this process has sent to ClickHouse, repeated ones too."""
    requests: dict[str, int] = field(default_factory=dict)
    """Requests that this process has sent to an object store, by kind (LIST, HEAD, GET, PUT, COPY, DELETE)."""
    interrupted: bool = False
    duration_ms: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Where the time of the stages went, by what they did: see `transforms.metrics`."""


@dataclass(frozen=True)
class WorkerStatus:
    """What a worker has done since it was made."""

    is_running: bool
    """Whether it looks for files again and again, from `start` to `stop`."""
    is_processing: bool
    """Whether it is looking or loading right now."""
    started_at: datetime | None
    last_processed_at: datetime | None
    total_files_processed: int
    total_events_ingested: int
    total_events_by_type: dict[str, int]
    current_errors: list[Failure]
    """What failed in the last run; what kept it from being begun is there as `run`."""


@dataclass
class Activity:
    """What a worker knows besides its status: what its last look has found, and how its runs ended."""

    runs: int = 0
    runs_failed: int = 0
    """Those that could not be begun, or broke off."""
    problem: str = ""
    """Why the last one was among these."""
    pending_files: int = 0
    pending_bytes: int = 0
    oldest_pending_ms: int = 0
    """Time in the name of the oldest pending file, in epoch milliseconds; 0 when there is none."""
    listing_s: float = 0.0
    unfinished_loads: dict[str, int] = field(default_factory=dict)
    """Loads that the journal has as unfinished, by state."""
