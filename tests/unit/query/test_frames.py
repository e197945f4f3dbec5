"""Pages as tables of Arrow, pandas and Polars: types, and what is said where one is missing."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from typing import Any

import pandas
import polars
import pyarrow as pa
import pytest

from beam_pipeline.query import Page
from tests.support import query_events as events

TIME = pa.timestamp("ms", "UTC")
LATE = datetime(2299, 12, 31, 23, 59, 59, 999_000, tzinfo=timezone.utc)
EXACT = 2**53 + 1
TYPES: dict[str, dict[str, Any]] = {
    "trace": {
        **{"start_time": TIME, "end_time": TIME, "recorded_at": TIME, "ingested_at": TIME, "duration_ms": pa.int64()},
        **{"input_json": pa.string(), "metadata_json": pa.string(), "status": pa.string(), "id": pa.string()},
    },
    "span": {"end_time": TIME, "duration_ms": pa.int64(), "events_json": pa.string(), "parent_span_id": pa.string()},
    "log": {"timestamp": TIME, "attributes_json": pa.string(), "trace_id": pa.string()},
    "metric": {"timestamp": TIME, "value": pa.float64(), "labels_json": pa.string(), "unit": pa.string()},
    "score": {"timestamp": TIME, "value": pa.float64(), "normalized_value": pa.float64(), "comment": pa.string()},
}


def page(event_type: str, *rows: events.Delivery) -> Page[Any]:
    items = [events.MODELS[event_type](**row) for row in rows]
    return Page(items, event_type, per_page=50, page=0, total=None, has_more=False, next_cursor=None)


@pytest.mark.parametrize("event_type", TYPES)
def test_columns_have_the_names_of_the_fields_and_exact_types(event_type: str) -> None:
    schema = page(event_type).to_arrow().schema
    assert schema.names == [field.name for field in fields(events.MODELS[event_type])]
    assert {name: schema.field(name).type for name in TYPES[event_type]} == TYPES[event_type]


@pytest.fixture
def traces() -> Page[Any]:
    row = events.row("trace", id="a", start_time=LATE, duration_ms=EXACT, metadata_json='{"a":  1}')
    return page("trace", row, {**row, "id": "b", "duration_ms": None, "end_time": LATE - timedelta(milliseconds=1)})


def test_arrow_keeps_milliseconds_whole_numbers_and_the_text_of_json(traces: Page[Any]) -> None:
    first, second = traces.to_arrow().to_pylist()
    assert (first["start_time"], first["end_time"], first["duration_ms"]) == (LATE, None, EXACT)
    assert (second["end_time"], second["duration_ms"]) == (LATE - timedelta(milliseconds=1), None)
    assert first["metadata_json"] == '{"a":  1}'


def test_pandas_keeps_milliseconds_and_whole_numbers(traces: Page[Any]) -> None:
    frame = traces.to_pandas()
    assert str(frame["start_time"].dtype) == "datetime64[ms, UTC]" and str(frame["duration_ms"].dtype) == "Int64"
    assert frame["start_time"][0] == pandas.Timestamp(LATE) and frame["duration_ms"][0] == EXACT
    assert frame["duration_ms"].isna().tolist() == [False, True]
    assert list(page("trace").to_pandas().dtypes) == list(frame.dtypes) or len(page("trace").to_pandas()) == 0


def test_polars_keeps_milliseconds_and_whole_numbers(traces: Page[Any]) -> None:
    frame = traces.to_polars()
    assert frame.schema["start_time"] == polars.Datetime("ms", "UTC") and frame.schema["duration_ms"] == polars.Int64
    assert frame["start_time"].to_list() == [LATE, LATE]
    assert frame["duration_ms"].to_list() == [EXACT, None]
    assert page("trace").to_polars().schema == frame.schema


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_without_an_optional_package_it_is_said_what_to_install(
    traces: Page[Any], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"to_{package}\(\) needs {package}: pip install {package}"):
        getattr(traces, f"to_{package}")()


def test_optional_packages_are_imported_only_when_they_are_asked_for() -> None:
    code = "import sys, beam_pipeline.query; sys.exit(len({'pandas', 'polars'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
