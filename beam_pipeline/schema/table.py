"""What a declared table is: columns, engine, keys and settings, and the statements that make it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from beam_pipeline.schema.options import REPLICATED_WINDOW_SECONDS, SchemaOptions


@dataclass(frozen=True)
class Column:
    """A column; `extra` is what follows its type in the declaration (default, codec)."""

    name: str
    type: str
    extra: str = ""
    since: int = 1
    """The migration that adds it to tables which are there."""

    @property
    def sql(self) -> str:
        return f"`{self.name}` {self.type} {self.extra}".rstrip()


@dataclass(frozen=True)
class Table:
    """A table of the MergeTree family."""

    name: str
    columns: tuple[Column, ...]
    engine: str
    """Without `Replicated`, with its arguments, such as `ReplacingMergeTree(ingested_at)`."""
    order_by: tuple[str, ...]
    partition_by: str = ""
    indexes: tuple[str, ...] = ()
    time_column: str = ""
    """What a TTL counts from."""
    ttl_only: str = ""
    """A condition on the rows that a TTL deletes; all of them without one."""
    own_ttl: str = ""
    """A TTL rule that holds whatever the options say."""
    event_type: str = ""
    """For tables that follow an event type's TTL."""
    deduplicated: bool = False
    """Whether repeated inserts must be recognised: exactly-once loading rests on it."""
    index_granularity: int = 8192
    """Rows that are read at least."""
    since: int = 1
    """The migration that makes it."""

    def settings(self, options: SchemaOptions) -> Mapping[str, int]:
        """The engine settings that are declared."""
        settings = {"index_granularity": self.index_granularity}
        if self.deduplicated:
            settings |= dedup_settings(options)
        if options.embedded:
            settings |= {
                # A column begins to be written with a buffer of 16 kB in place of one of 1 MB.
                "min_columns_to_activate_adaptive_write_buffer": 1,
                "vertical_merge_algorithm_min_columns_to_activate": 1,
                "vertical_merge_algorithm_min_rows_to_activate": 1,
            }
        return settings

    def ttl(self, days: int) -> str:
        """The TTL rules for so many days, 0 for ever; '' for none."""
        condition = f" DELETE WHERE {self.ttl_only}" if self.ttl_only else ""
        rule = f"{self.time_column} + toIntervalDay({days}){condition}" if days and self.time_column else ""
        return ", ".join(filter(None, (rule, self.own_ttl)))

    def add_columns(self, version: int, options: SchemaOptions) -> Iterator[str]:
        """The statements that add what a migration has brought to a table which is there."""
        for column in self.columns:
            if column.since == version:
                yield f"ALTER TABLE {self.name}{options.on_cluster} ADD COLUMN IF NOT EXISTS {column.sql}"

    def create(self, options: SchemaOptions, days: int = 0) -> str:
        """The statement that creates it unless it is there."""
        body = ",\n    ".join([*(column.sql for column in self.columns), *self.indexes])
        engine = f"Replicated{self.engine}" if options.replicated else self.engine
        parts = [f"CREATE TABLE IF NOT EXISTS {self.name}{options.on_cluster}\n(\n    {body}\n)\nENGINE = {engine}"]
        if self.partition_by:
            parts.append(f"PARTITION BY {self.partition_by}")
        parts.append(f"ORDER BY ({', '.join(self.order_by)})")
        if self.ttl(days):
            parts.append(f"TTL {self.ttl(days)}")
        settings = self.settings(options)
        if settings:
            parts.append("SETTINGS " + ", ".join(f"{name} = {value}" for name, value in settings.items()))
        return "\n".join(parts)


def dedup_settings(options: SchemaOptions) -> Mapping[str, int]:
    """What makes a table recognise a repeated insert."""
    if options.replicated:
        return {
            "replicated_deduplication_window": options.dedup_window,
            "replicated_deduplication_window_seconds": REPLICATED_WINDOW_SECONDS,
        }
    return {"non_replicated_deduplication_window": options.dedup_window}
