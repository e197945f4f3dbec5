"""How tables are created: how long rows are kept, how far back inserts are recognised, on which kind of server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from transforms.events import EVENT_TYPES

DEFAULT_TTL_DAYS = 90
DEFAULT_LOGS_TTL_DAYS = 30
MIN_DEDUP_WINDOW = 1000
DEFAULT_DEDUP_WINDOW = 100_000
"""Inserts per table that are recognised when repeated. Measured to cost nothing, at ten times as many neither."""
REPLICATED_WINDOW_SECONDS = 30 * 86_400

_CLUSTER = re.compile(r"[A-Za-z0-9_.{}-]+")


@dataclass(frozen=True)
class SchemaOptions:
    """What `run_migrations` is told."""

    ttl_days: int | None = None
    """Days that traces, spans, metrics and scores are kept; 0 for ever; None 90 for new tables, others as they are."""
    logs_ttl_days: int | None = None
    """Days that logs are kept; 0 for ever; None 30 for new tables, others as they are."""
    dedup_window: int = DEFAULT_DEDUP_WINDOW
    """Inserts per table whose repetition is recognised."""
    cluster: str | None = None
    """Creates everything ON CLUSTER of this name."""
    replicated: bool = False
    """Uses the Replicated engines, with the server's default paths."""
    embedded: bool = False
    """For the embedded engine: merges column by column, which bounds its memory."""

    def problems(self) -> list[str]:
        """Everything that is wrong with the options."""
        found = []
        for name in ("ttl_days", "logs_ttl_days"):
            days = getattr(self, name)
            if days is not None and not 0 <= days <= 36_500:
                found.append(f"--{name}: {days} must be from 0 (keep for ever) to 36500")
        if self.dedup_window < MIN_DEDUP_WINDOW:
            found.append(f"--dedup_window: {self.dedup_window} must be at least {MIN_DEDUP_WINDOW}")
        if self.cluster is not None and not _CLUSTER.fullmatch(self.cluster):
            found.append(f"--cluster: {self.cluster!r} is not a cluster's name")
        return found

    @property
    def on_cluster(self) -> str:
        """What follows a table's name in a statement that changes it."""
        return f" ON CLUSTER `{self.cluster}`" if self.cluster else ""

    def ttl_of(self, event_type: str) -> int | None:
        """What is asked for a type: days, 0 for ever, None for nothing in particular."""
        return self.logs_ttl_days if event_type == "log" else self.ttl_days

    def new_ttls(self) -> Mapping[str, int]:
        """Days by event type for tables that are created."""
        ttls = {}
        for event_type in EVENT_TYPES:
            asked = self.ttl_of(event_type)
            default = DEFAULT_LOGS_TTL_DAYS if event_type == "log" else DEFAULT_TTL_DAYS
            ttls[event_type] = default if asked is None else asked
        return ttls
