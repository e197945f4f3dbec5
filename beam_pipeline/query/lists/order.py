"""The order of lists, and places in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from beam_pipeline.query.conditions import Conditions
from beam_pipeline.query.sources import Row, Source

AT = "fromUnixTimestamp64Milli({{{}:Int64}}, 'UTC')"
"""How a time is bound; takes the parameter's name."""

Direction = Literal["newest", "oldest"]
"""Which events of a list come first."""

Position = tuple[Any, ...]
"""Where a row is in an order: the values that it is ordered by."""


@dataclass(frozen=True)
class Order:
    """Greatest first by some columns, or least first, the last of which is the time; then by id and project.

    Only versions of one event are equal in all these; the latest of them comes first, so that a limit leaves it in.
    """

    source: Source[Any]
    measure: str = ""
    """A whole number that comes before the time."""
    first: Direction = "newest"

    @property
    def direction(self) -> str:
        return "ASC" if self.first == "oldest" else "DESC"

    @property
    def farther(self) -> str:
        """How a key compares to one that comes before it."""
        return ">" if self.first == "oldest" else "<"

    @property
    def up_to(self) -> str:
        """How a key compares to one that comes behind it, or to itself."""
        return "<=" if self.first == "oldest" else ">="

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """Expressions that are sent, as they compare, and how a value of them is bound."""
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
        """What identifies the row's event, as `Source.identifying`."""
        return self.identity_at(self.position(row))

    def identity_at(self, position: Position) -> tuple[str, ...]:
        return position[: len(self.keys) - 1 : -1]

    def comes_before(self, position: Position, other: Position) -> bool:
        return self.ascending(position) < self.ascending(other)

    def ascending(self, position: Position) -> Position:
        """What is less for a position that comes before."""
        sign = 1 if self.first == "oldest" else -1
        return (*(sign * value for value in position[: len(self.keys)]), *position[len(self.keys) :])

    def behind(self, conditions: Conditions, position: Position) -> Conditions:
        """Conditions on rows behind a position."""
        names = [f"after_{place}" for place in range(len(position))]
        keys = [(column, bound.format(name)) for (column, bound), name in zip(self.keys, names, strict=False)]
        ties = ", ".join(f"{{{name}:String}}" for name in names[len(keys) :])
        behind = f"({', '.join(self.ties)}) > ({ties})"
        for column, value in reversed(keys):
            behind = f"({column} {self.farther} {value} OR ({column} = {value} AND {behind}))"
        # Said twice, since the primary key is of use for the plain comparison.
        column, value = keys[0]
        return conditions.only(
            f"{column} {self.farther}= {value} AND {behind}", **dict(zip(names, position, strict=True))
        )
