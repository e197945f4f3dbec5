"""Views as they are declared: what they select, and a digest of it by which an older one is told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from beam_pipeline.schema.options import SchemaOptions


@dataclass(frozen=True)
class View:
    """A view; one with a `target` is materialized into that table."""

    name: str
    select: str
    target: str = ""

    @property
    def engine(self) -> str:
        return "MaterializedView" if self.target else "View"

    @property
    def comment(self) -> str:
        """Kept with the view in the database. The server stores a SELECT in its own words, so those cannot be compared."""
        return f"select {hashlib.sha256(self.select.encode()).hexdigest()[:16]}"

    def create(self, options: SchemaOptions) -> str:
        """The statement that creates it unless it is there."""
        kind, target = ("MATERIALIZED VIEW", f" TO {self.target}") if self.target else ("VIEW", "")
        return f"CREATE {kind} IF NOT EXISTS {self.name}{options.on_cluster}{target} AS {self.select} COMMENT '{self.comment}'"

    def replace(self, options: SchemaOptions) -> Iterator[str]:
        """The statements that give a view that is there what is declared, without a moment in which it is not there."""
        if self.target:
            yield f"ALTER TABLE {self.name}{options.on_cluster} MODIFY QUERY {self.select}"
            yield f"ALTER TABLE {self.name}{options.on_cluster} MODIFY COMMENT '{self.comment}'"
        else:
            yield f"CREATE OR REPLACE VIEW {self.name}{options.on_cluster} AS {self.select} COMMENT '{self.comment}'"
