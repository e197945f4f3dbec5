"""The order of lists, and positions in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.sources import Row, Source

AT = "fromUnixTimestamp64Milli({{{}:Int64}}, 'UTC')"
"""SQL for a time that is a parameter; takes the parameter's name."""

Direction = Literal["newest", "oldest"]
"""Which events come first."""

Position = tuple[Any, ...]
"""The position of a row in an order: the values that it is ordered by."""


@dataclass(frozen=True)
class Order:
    """Descending or ascending by some columns, of which the last is the time; then by id and project.

    Only versions of one event are equal in all of these. The newest of them comes first, so that a limit includes it.
    """

    source: Source[Any]
    measure: str = ""
    """An integer column to order by before the time."""
    first: Direction = "newest"

    @property
    def direction(self) -> str:
        return "ASC" if self.first == "oldest" else "DESC"

    @property
    def farther(self) -> str:
        """How a key compares to a key before it."""
        return ">" if self.first == "oldest" else "<"

    @property
    def up_to(self) -> str:
        """How a key compares to itself or to a key after it."""
        return "<=" if self.first == "oldest" else ">="

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """The expressions to order by, and SQL for a value of each that is a parameter."""
        measure = ((self.measure, "{{{}:Int64}}"),) if self.measure else ()
        return (*measure, (self.source.time, AT))

    @property
    def ties(self) -> tuple[str, ...]:
        return (*reversed(self.source.identity), "project_id")

    @property
    def sql(self) -> str:
        return ", ".join(
            [
                *(f"{column} {self.direction}" for column, _ in self.keys),
                *self.ties,
                "ingested_at DESC",
                "sequence DESC",
            ]
        )

    @property
    def selection(self) -> str:
        measure = [self.measure] if self.measure else []
        values = [*measure, f"toUnixTimestamp64Milli({self.source.time})", *self.ties]
        return ", ".join(f"{value} AS _key_{place}" for place, value in enumerate(values))

    def position(self, row: Row) -> Position:
        return tuple(row[f"_key_{place}"] for place in range(len(self.keys) + len(self.ties)))

    def time_ms(self, row: Row) -> int:
        return int(row[f"_key_{len(self.keys) - 1}"])

    def identity(self, row: Row) -> tuple[str, ...]:
        """What identifies the event of a row; see `Source.identifying`."""
        return self.identity_at(self.position(row))

    def identity_at(self, position: Position) -> tuple[str, ...]:
        return position[: len(self.keys) - 1 : -1]

    def comes_before(self, position: Position, other: Position) -> bool:
        return self.ascending(position) < self.ascending(other)

    def ascending(self, position: Position) -> Position:
        """A key for sorting positions in Python."""
        sign = 1 if self.first == "oldest" else -1
        return (*(sign * value for value in position[: len(self.keys)]), *position[len(self.keys) :])

    def behind(self, conditions: Conditions, position: Position) -> Conditions:
        """The conditions, restricted to rows after a position."""
        names = [f"after_{place}" for place in range(len(position))]
        keys = [(column, bound.format(name)) for (column, bound), name in zip(self.keys, names, strict=False)]
        ties = ", ".join(f"{{{name}:String}}" for name in names[len(keys) :])
        behind = f"({', '.join(self.ties)}) > ({ties})"
        for column, value in reversed(keys):
            behind = f"({column} {self.farther} {value} OR ({column} = {value} AND {behind}))"
        # The first comparison is implied by the rest, but only in this form the primary key is used.
        column, value = keys[0]
        return conditions.only(
            f"{column} {self.farther}= {value} AND {behind}", **dict(zip(names, position, strict=True))
        )
