"""RowBlock: rows that go into one table and one monthly partition with one insert, named so that it can be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import xxhash

from transforms.events import REJECTED_TABLE, TABLES
from transforms.events.parsing import ParsedChunk
from transforms.events.schemas import TIME


class LoadPart:
    """What the parsing of a load yields: a `RowBlock`, or what they add up to at its end."""

    __slots__ = ()

    @property
    def num_bytes(self) -> int:
        """Bytes in memory, about."""
        return 0


@dataclass(frozen=True, slots=True)
class RowBlock(LoadPart):
    """Rows of one table and one month of one load. Equal label and digest mean equal rows in equal order."""

    load_id: str
    label: str
    """`{chunk}.{YYYYMM}.{part}.{digest}`, unique for the load and the table; `{chunk}.rejected.0.{digest}` for rejected lines.

    The digest is that of the chunk's lines, so that the label says which content of the files is in the block. Loads of
    version 0.1 have none.
    """
    table: str
    rows: pa.RecordBatch
    digest: str
    attempt: int = 1
    """Of its load."""
    resumed: bool = False
    """Whether an earlier attempt may have inserted it."""

    @property
    def token(self) -> str:
        """What ClickHouse tells a repeated insert by."""
        return f"{self.load_id}:{self.table}:{self.label}:{self.digest}"

    @property
    def month(self) -> str:
        """YYYYMM of its rows; `rejected` for rejected lines."""
        return self.label.split(".")[1]

    @property
    def num_rows(self) -> int:
        return int(self.rows.num_rows)

    @property
    def num_bytes(self) -> int:
        return int(self.rows.nbytes)

    def __reduce__(self) -> tuple[object, tuple[str, str, str, bytes, str, int, bool]]:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.rows.schema) as writer:
            writer.write_batch(self.rows)
        data = sink.getvalue().to_pybytes()
        return _restore, (self.load_id, self.label, self.table, data, self.digest, self.attempt, self.resumed)


def _restore(load_id: str, label: str, table: str, data: bytes, digest: str, attempt: int, resumed: bool) -> RowBlock:
    with pa.ipc.open_stream(data) as reader:
        return RowBlock(load_id, label, table, reader.read_next_batch(), digest, attempt, resumed)


def cut_blocks(
    load_id: str,
    chunk: int,
    parsed: ParsedChunk,
    *,
    ingested_at_ms: int,
    block_rows: int,
    digest: str = "",
    attempt: int = 1,
    resumed: bool = False,
    suffix: str = "",
) -> Iterator[RowBlock]:
    """The blocks of a parsed chunk: by table and month, at most `block_rows` rows each, always cut alike.

    `ingested_at_ms` is the version of the first block's rows, and each further one's is one greater: of two rows of one
    key in two blocks, a merge keeps the later. In one block it keeps the last. `digest` is that of the chunk's lines; ''
    for labels as version 0.1 made them. `suffix` sets labels apart from those of blocks that an earlier attempt has cut
    the chunk into; then all have the same version.
    """
    end = f"{suffix}.{digest}" if digest else suffix
    for (event_type, month), rows in parsed.rows.items():
        for part, start in enumerate(range(0, rows.num_rows, block_rows)):
            label = f"{chunk}.{month}.{part}{end}"
            block = rows.slice(start, block_rows)
            at_ms = ingested_at_ms if suffix else ingested_at_ms + part
            yield _block(load_id, label, TABLES[event_type].table, block, "ingested_at", at_ms, attempt, resumed)
    if parsed.rejected is not None:
        label = f"{chunk}.rejected.0{end}"
        yield _block(load_id, label, REJECTED_TABLE, parsed.rejected, "rejected_at", ingested_at_ms, attempt, resumed)


def _block(
    load_id: str,
    label: str,
    table: str,
    rows: pa.RecordBatch,
    time_column: str,
    time_ms: int,
    attempt: int,
    resumed: bool,
) -> RowBlock:
    count = rows.num_rows
    lineage = {
        time_column: pa.repeat(pa.scalar(time_ms, pa.int64()), count).cast(TIME),
        "load_id": _all(load_id, count),
        "block": _all(label, count),
    }
    whole = pa.RecordBatch.from_arrays([*rows.columns, *lineage.values()], names=[*rows.schema.names, *lineage])
    return RowBlock(load_id, label, table, whole, _digest(rows), attempt, resumed)


def _all(value: str, count: int) -> pa.DictionaryArray:
    """A column of one value, which takes next to nothing here, on the way, and to be read as a LowCardinality."""
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int8()), count), pa.array([value]))


class _Hashed:
    """A file that keeps nothing of what is written but its digest."""

    closed = False

    def __init__(self) -> None:
        self.digest = xxhash.xxh3_128()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _digest(rows: pa.RecordBatch) -> str:
    """Of the rows' values, whatever they were cut out of."""
    written = _Hashed()
    # Written as a stream, since a slice is written without what is outside of it.
    with pa.ipc.new_stream(pa.PythonFile(written, "w"), rows.schema) as writer:
        writer.write_batch(rows)
    return written.digest.hexdigest()


def label_digest(label: str) -> str:
    """The digest of the chunk's lines in a label of a block that the chunk was first cut into; '' in any other."""
    parts = label.split(".")
    return parts[3] if len(parts) == 4 and "-" not in parts[2] else ""
