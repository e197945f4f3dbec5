"""Filters, checked and turned into SQL conditions with bound parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from beam_pipeline.query.errors import BadArgument, shown
from beam_pipeline.query.filters import FILTERS, Parameters
from beam_pipeline.query.json_sql import SIMPLER
from beam_pipeline.query.sources import Source
from beam_pipeline.query.times import HOUR_MS, ago_ms, clamped, first_ms, last_ms

SHORT_MS = 6 * HOUR_MS
MOVED_MS = 6 * HOUR_MS
"""The default of how far outside a time range newer versions are looked for."""
_ON_TIME = ("start_ms", "end_ms", "near_start_ms", "near_end_ms")
"""The parameters of the time range."""
_NOT_COLUMNS = ("start", "end", "ignore_case")
MAX_FILTER_BYTES = 4 << 20
_MAX_SQL = 24_000
"""Bytes of one filter, which a statement may repeat three times: servers accept 128 KiB of SQL beside long parameters."""


@dataclass(frozen=True)
class Conditions:
    """Conditions on the rows of one table."""

    source: Source[Any]
    identifying: tuple[str, ...]
    """Conditions that all versions of an event meet or none, such as those on its project."""
    other: tuple[str, ...]
    """Conditions that some versions of an event may meet and others not."""
    parameters: Parameters
    given: Mapping[str, Any]
    """The given filters without `start` and `end`."""
    start_ms: int | None
    end_ms: int | None
    moved_ms: int = MOVED_MS
    near: tuple[str, ...] = ()
    """Conditions on the time of versions to compare: in the range, or up to `moved_ms` before or after it."""
    start_ago_ms: int | None = None
    """How long ago the start is, if it was given that way."""
    end_ago_ms: int | None = None

    @property
    def where(self) -> str:
        """All conditions, for the rows themselves."""
        return _all(*self.identifying, *self.other)

    @property
    def where_versions(self) -> str:
        """The conditions on the versions of these events that are compared."""
        return _all(*self.identifying, *self.near)

    @property
    def are_on_time_only(self) -> bool:
        """Whether no condition but the time range can differ between versions of an event."""
        return not self._beside_time

    @property
    def may_leave_few(self) -> bool:
        """Whether only a few scattered events of a large range may match."""
        return not self.is_short and not self.are_on_time_only

    @property
    def matches(self) -> str:
        """The other conditions as 1 or 0; NULL counts as 0."""
        return f"toUInt8(ifNull({_all(*self.other)}, 0))"

    @property
    def fixed(self) -> frozenset[str]:
        """The identifying columns that are restricted to one value."""
        return frozenset(name for name in self.source.identifying if name in self.given)

    @property
    def distinguishing(self) -> tuple[str, ...]:
        """The columns that distinguish the matching events."""
        return tuple(name for name in self.source.identifying if name not in self.fixed) or self.source.identity

    @property
    def digest(self) -> str:
        """A digest of the conditions, whatever their order and the time range."""
        conditions = sorted((*self.identifying, *self._beside_time))
        parameters = sorted((name, value) for name, value in self.parameters.items() if name not in _ON_TIME)
        asked = (self.source.event_type, conditions, parameters, self.moved_ms)
        return hashlib.sha256(repr(asked).encode()).hexdigest()[:12]

    @property
    def _beside_time(self) -> tuple[str, ...]:
        """The other conditions without the time range."""
        return self.other[(self.start_ms is not None) + (self.end_ms is not None) :]

    @property
    def is_short(self) -> bool:
        """Whether the time range is less than six hours."""
        if self.start_ms is None or self.end_ms is None:
            return False
        return self.end_ms - self.start_ms < SHORT_MS

    def among(self, ids: Mapping[str, Sequence[str]], hashes: Sequence[int]) -> Conditions:
        """Restricts them to some events, by the ids in each column and by the hashes.

        The ids make use of the indexes. Alone they would also match an event with the project of one and the id of another.
        """
        where = ["event_hash IN {among_events:Array(UInt64)}"]
        parameters: Parameters = {"among_events": hashes}
        for place, (column, among) in enumerate(ids.items()):
            where.append(f"{column} IN {{among_{place}:Array(String)}}")
            parameters[f"among_{place}"] = among
        return replace(self, identifying=(*self.identifying, *where), parameters={**self.parameters, **parameters})

    def identified(self, sql: str, **parameters: Any) -> Conditions:
        """Adds a condition that all versions of an event meet or none."""
        return replace(self, identifying=(*self.identifying, sql), parameters={**self.parameters, **parameters})

    def since(self, ingested_ms: int) -> Conditions:
        """Restricts them to rows ingested at this time or later: earlier rows are no newer versions of these."""
        return self.identified("ingested_at >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')", since_ms=ingested_ms)

    def between(self, start_ms: int | None, end_ms: int | None, name: str = "") -> Conditions:
        """The same for another time range; `name` keeps its parameters apart from those of other ranges."""
        on_time, near, parameters = _on_time(self.source, start_ms, end_ms, self.moved_ms, name)
        return replace(
            self,
            other=(*on_time, *self._beside_time),
            near=near,
            parameters={**self.parameters, **parameters},
            start_ms=start_ms,
            end_ms=end_ms,
        )

    def only(self, sql: str, **parameters: Any) -> Conditions:
        """Adds a condition that some versions of an event may meet and others not."""
        return replace(self, other=(*self.other, sql), parameters={**self.parameters, **parameters})


def conditions(
    source: Source[Any], filters: Mapping[str, Any], project_id: str | None, moved_ms: int = MOVED_MS
) -> Conditions:
    """Conditions for filters; with a `project_id` they only match that project. Raises BadArgument.

    Versions are compared whose time is in the range or up to `moved_ms` outside it.
    """
    given = {name: value for name, value in filters.items() if value is not None}
    known = FILTERS[source.event_type]
    for name in given:
        if name not in known and name not in _NOT_COLUMNS:
            raise BadArgument("filter", name, f"one of {', '.join(sorted({*known, *_NOT_COLUMNS}))}")
    if project_id is not None:
        if given.get("project_id", project_id) != project_id:
            raise BadArgument(
                "project_id", given["project_id"], f"{project_id!r}, the project of this provider, or None"
            )
        given["project_id"] = project_id
    ignore_case = given.pop("ignore_case", False)
    if not isinstance(ignore_case, bool):
        raise BadArgument("ignore_case", ignore_case, "True or False")
    now, start, end = datetime.now(timezone.utc), given.pop("start", None), given.pop("end", None)
    start_ms = None if start is None else first_ms("start", start, now)
    end_ms = None if end is None else last_ms("end", end, now)
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise BadArgument("start", start, f"no later than the end, {shown(end)}")
    identifying = list[str]()
    on_time, near, parameters = _on_time(source, start_ms, end_ms, moved_ms)
    other = list(on_time)
    for name, value in given.items():
        compiled, values = known[name].compile(name, known[name].column, value, ignore_case)
        if sum(map(len, compiled)) > _MAX_SQL:
            raise BadArgument(name, value, f"{SIMPLER}: it takes more than {_MAX_SQL} bytes of SQL")
        if sum(map(_bytes_of, values.values())) > MAX_FILTER_BYTES:
            raise BadArgument(name, value, f"shorter: at most {MAX_FILTER_BYTES} bytes of text per filter")
        (identifying if name in source.identifying else other).extend(compiled)
        parameters |= values
    return Conditions(
        *(source, tuple(identifying), tuple(other), parameters, given, start_ms, end_ms, moved_ms, tuple(near)),
        start_ago_ms=ago_ms(start),
        end_ago_ms=ago_ms(end),
    )


def _bytes_of(parameter: Any) -> int:
    texts = parameter if isinstance(parameter, list) else [parameter]
    return sum(len(text.encode()) for text in texts if isinstance(text, str))


def _on_time(
    source: Source[Any], start_ms: int | None, end_ms: int | None, moved_ms: int, name: str = ""
) -> tuple[tuple[str, ...], tuple[str, ...], Parameters]:
    """Conditions on a time range, the same extended by `moved_ms`, and the parameters of both."""
    inside, near, parameters = list[str](), list[str](), Parameters()
    for bound, value, comparison, moved in (
        ("start_ms", start_ms, ">=", -moved_ms),
        ("end_ms", end_ms, "<=", moved_ms),
    ):
        if value is not None:
            for where, place, limit in ((inside, bound, value), (near, f"near_{bound}", value + moved)):
                where.append(f"{source.time} {comparison} fromUnixTimestamp64Milli({{{name}{place}:Int64}}, 'UTC')")
                parameters[f"{name}{place}"] = clamped(limit)
    return tuple(inside), tuple(near), parameters


def _all(*conditions: str) -> str:
    return " AND ".join(conditions) or "1"
