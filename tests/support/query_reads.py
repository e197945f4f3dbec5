"""How many rows ClickHouse reads for queries."""

from __future__ import annotations

import json
import re
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
    statements: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """With their parameters."""
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
            self.statements.append((sql, dict(parameters or {})))
        return self.client.query(sql, parameters, settings)

    def reset(self) -> None:
        self.rows = self.bytes = 0
        self.statements.clear()

    def granules(self) -> list[dict[str, tuple[int, int]]]:
        """Of each statement, by index: how many granules it has left of how many, as EXPLAIN tells."""
        return [self._granules(sql, parameters) for sql, parameters in self.statements]

    def _granules(self, sql: str, parameters: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
        found, name = {}, ""
        for row in self.client.query(f"EXPLAIN indexes = 1 {sql}", parameters):
            line = row["explain"].strip(" │├└─")
            if line in ("PrimaryKey", "Min-Max", "Partition") or line.startswith("Name: "):
                name = line.removeprefix("Name: ")
            match = re.fullmatch(r"Granules: (\d+)/(\d+)", line)
            if match:
                found[name] = (int(match[1]), int(match[2]))
        return found
