"""How many rows ClickHouse reads for queries."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transforms.clickhouse import ClickHouse


@dataclass
class CountingClient:
    """A client that adds up what its queries read: it asks each a second time, in a format that tells."""

    client: ClickHouse
    rows: int = 0
    bytes: int = 0
    queries: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def query(
        self, sql: str, parameters: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        answer = self.client._retrying(
            lambda driver: driver.raw_query(sql, dict(parameters or {}), dict(settings or {}), fmt="JSON")
        )
        statistics = json.loads(answer)["statistics"]
        with self._lock:
            self.rows += statistics["rows_read"]
            self.bytes += statistics["bytes_read"]
            self.queries += 1
        return self.client.query(sql, parameters, settings)

    def reset(self) -> None:
        self.rows = self.bytes = self.queries = 0
