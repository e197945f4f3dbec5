"""Events as tables of Arrow, pandas and Polars; the latter two are optional and imported when needed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from transforms.events import TABLES
from transforms.events.schemas import TIME, arrow_schema

if TYPE_CHECKING:
    import pandas
    import polars


def arrow_table(event_type: str, events: Sequence[Any]) -> pa.Table:
    """A column for each field, with the same types when there are no events."""
    schema = _schema(event_type)
    columns = {name: [getattr(event, name) for event in events] for name in schema.names}
    return pa.Table.from_pydict(columns, schema)


def pandas_frame(table: pa.Table) -> pandas.DataFrame:
    """Raises ImportError without pandas."""
    pandas = _imported("pandas", "to_pandas")
    # By default pandas turns integers with missing values into floats, which are not exact beyond 2**53.
    return table.to_pandas(types_mapper={pa.int64(): pandas.Int64Dtype()}.get)


def polars_frame(table: pa.Table) -> polars.DataFrame:
    """Raises ImportError without Polars."""
    return _imported("polars", "to_polars").from_arrow(table)


def _schema(event_type: str) -> pa.Schema:
    """The fields of an event by their names in the query API, with the stored types; JSON is text."""
    table = TABLES[event_type]
    columns = []
    for column in (*arrow_schema(event_type), pa.field("ingested_at", TIME)):
        is_json = pa.types.is_binary(column.type)
        name = "id" if column.name == table.id_column else column.name
        columns.append((f"{name}_json", pa.string()) if is_json else (name, column.type))
    return pa.schema(columns)


def _imported(package: str, method: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"{method}() needs {package}: pip install {package}", name=package) from error
