"""Runs queries within limits on time and memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from beam_pipeline.query.arguments import number
from beam_pipeline.query.errors import BadArgument, QueryError, translated

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

Result = TypeVar("Result")

_INDEX_LOOKUPS = 1000
"""With more values, looking into a bloom filter index takes longer than reading the rows that it would skip."""
_NO_MORE: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Limits:
    """What one query may take. Raises BadArgument."""

    max_execution_s: float
    max_memory_bytes: float

    def __post_init__(self) -> None:
        if number("max_execution_s", self.max_execution_s) <= 0:
            raise BadArgument("max_execution_s", self.max_execution_s, "more than 0")
        if number("max_memory_bytes", self.max_memory_bytes) < 1:
            raise BadArgument("max_memory_bytes", self.max_memory_bytes, "more than 0")


@dataclass(frozen=True)
class Database:
    """A client, the limits of each query, and the threads for queries that run beside another."""

    client: ClickHouse
    limits: Limits
    executor: Executor

    def meanwhile(self, ask: Callable[[Database], Result]) -> Future[Result]:
        """Runs a query in another thread. Raises QueryError once the provider is closed."""
        try:
            return self.executor.submit(ask, self)
        except RuntimeError:
            raise QueryError("the provider has been closed") from None

    def rows(self, sql: str, parameters: Mapping[str, Any], more: Mapping[str, Any] = _NO_MORE) -> list[dict[str, Any]]:
        """The rows of a query; `more` are settings besides the limits. Raises QueryError."""
        max_memory_bytes = int(self.limits.max_memory_bytes)
        settings = {
            "max_execution_time": self.limits.max_execution_s,
            "max_memory_usage": max_memory_bytes,
            "max_bytes_before_external_group_by": max_memory_bytes // 2,
            "use_index_for_in_with_subqueries_max_values": _INDEX_LOOKUPS,
            **more,
        }
        with translated():
            return self.client.query(sql, parameters, settings)
