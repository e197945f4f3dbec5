"""Rows of Python values as Arrow batches, for tables that take few of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def batch_of(rows: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> pa.RecordBatch:
    """The rows with columns of these types.

    Types are those that Arrow knows by name (`string`, `uint64`, `bool`, …), and `time` in milliseconds, `strings`, a list,
    and `counts`, a map of strings to uint64.
    """
    import pyarrow as pa

    special = {
        "time": pa.timestamp("ms", "UTC"),
        "strings": pa.list_(pa.string()),
        "counts": pa.map_(pa.string(), pa.uint64()),
    }
    schema = pa.schema([(name, special.get(kind) or pa.type_for_alias(kind)) for name, kind in columns.items()])
    return pa.RecordBatch.from_pylist(list(rows), schema)
