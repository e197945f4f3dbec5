"""What earlier attempts at a load have inserted. Asks the server once, when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING

from transforms.blocks.insert_block import complete_left_rollup
from transforms.blocks.receipts import read_blocks, read_receipts
from transforms.blocks.resume import Rows, read_rows
from transforms.blocks.row_block import label_digest
from transforms.events import REJECTED_TABLE

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse

Blocks = set[tuple[str, str]]
"""Blocks by (table, label)."""


class InsertedBefore:
    """The blocks of one load that were there when it was first asked. Every method may raise ClickHouseError."""

    def __init__(self, client: ClickHouse, load_id: str) -> None:
        self._client = client
        self._load_id = load_id

    @cached_property
    def blocks(self) -> Blocks:
        return read_blocks(self._client, self._load_id)

    def of_chunk(self, number: int) -> Blocks:
        return {(table, label) for table, label in self.blocks if chunk_of(label) == number}

    def chunks(self) -> set[int]:
        """The numbers of the chunks of which there is something."""
        return {chunk_of(label) for _, label in self.blocks}

    def is_cut_from(self, number: int, digest: str) -> bool:
        """Whether all that there is of a chunk was cut from lines of this digest."""
        return {label_digest(label) for _, label in self.of_chunk(number)} == {digest}

    def is_of_version_01(self, number: int | None = None) -> bool:
        """Whether blocks, those of a chunk or any, have labels without digests."""
        blocks = self.blocks if number is None else self.of_chunk(number)
        return any(label.count(".") == 2 for _, label in blocks)

    def rows(self, number: int | None = None) -> Rows:
        """The rows of a chunk, or all of them."""
        return read_rows(self._client, self._load_id, self.blocks if number is None else self.of_chunk(number))

    def without_rollup(self, blocks: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Those that a server which died has left in their table alone."""
        wanted = {(table, label) for table, label in blocks if table != REJECTED_TABLE}
        return sorted(wanted - set(read_receipts(self._client, [self._load_id])[self._load_id])) if wanted else []

    def complete_rollup(self, table: str, label: str) -> None:
        complete_left_rollup(self._client, self._load_id, table, label)


def chunk_of(label: str) -> int:
    """The number of the chunk that a block was cut from."""
    return int(label.partition(".")[0])
