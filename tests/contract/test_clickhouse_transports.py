"""One suite for both transports: what the pipeline rests on when it talks to ClickHouse."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transforms.clickhouse import (
    ClickHouse,
    ClickHouseConfig,
    ClickHouseError,
    DataError,
    SchemaError,
    Unavailable,
)

UTC = timezone.utc
TIME = pa.timestamp("ms", "UTC")
EVERY_KIND = """
    CREATE TABLE kinds (
        text String, bytes String, word LowCardinality(String), state Enum8('ok' = 1, 'error' = 2),
        at DateTime64(3, 'UTC'), maybe_at Nullable(DateTime64(3, 'UTC')), maybe Nullable(Float64), real Float64,
        counts Map(LowCardinality(String), UInt64), big UInt64, signed Int64, small UInt32, words Array(String)
    ) ENGINE = MergeTree ORDER BY text"""
KINDS = pa.schema(
    [
        ("text", pa.string()),
        ("bytes", pa.binary()),
        ("word", pa.dictionary(pa.int32(), pa.string())),
        ("state", pa.string()),
        ("at", TIME),
        ("maybe_at", TIME),
        ("maybe", pa.float64()),
        ("real", pa.float64()),
        ("counts", pa.map_(pa.string(), pa.uint64())),
        ("big", pa.uint64()),
        ("signed", pa.int64()),
        ("small", pa.uint32()),
        ("words", pa.list_(pa.string())),
    ]
)
FIRST: dict[str, Any] = {
    "text": "",
    "bytes": b"",
    "word": "",
    "state": "ok",
    "at": datetime(1900, 1, 1, tzinfo=UTC),
    "maybe_at": None,
    "maybe": None,
    "real": float("inf"),
    "counts": [],
    "big": 0,
    "signed": -(2**63),
    "small": 0,
    "words": [],
}
SECOND: dict[str, Any] = {
    "text": "x\0y\n'\\ü",
    "bytes": b"\xff\xfe\0\n",
    "word": "w",
    "state": "error",
    "at": datetime(2299, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
    "maybe_at": datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
    "maybe": 0.0,
    "real": 0.1,
    "counts": [("k", 2**64 - 1), ("l", 0)],
    "big": 2**64 - 1,
    "signed": 2**63 - 1,
    "small": 2**32 - 1,
    "words": ["", "q'"],
}


@pytest.fixture
def kinds(clickhouse: ClickHouse) -> ClickHouse:
    clickhouse.command(EVERY_KIND)
    return clickhouse


def naive(row: dict[str, Any]) -> dict[str, Any]:
    """As `query` gives it: times in UTC without a zone, maps as dictionaries, bytes that are not UTF-8 as their digits."""
    changed = {name: value.replace(tzinfo=None) for name, value in row.items() if isinstance(value, datetime)}
    return {**row, **changed, "counts": dict(row["counts"]), "bytes": row["bytes"].hex()}


def test_every_kind_of_column_comes_back_as_it_went(kinds: ClickHouse) -> None:
    kinds.insert("kinds", pa.RecordBatch.from_pylist([FIRST, SECOND], KINDS))
    assert kinds.query("SELECT * FROM kinds ORDER BY text") == [naive(FIRST), naive(SECOND)]


def test_arrow_answers_hold_the_same(kinds: ClickHouse) -> None:
    kinds.insert("kinds", pa.RecordBatch.from_pylist([FIRST, SECOND], KINDS))
    answer = kinds.query_arrow("SELECT * EXCEPT state, CAST(state, 'String') AS state FROM kinds ORDER BY text")
    assert answer["bytes"].cast(pa.binary()).to_pylist() == [FIRST["bytes"], SECOND["bytes"]]
    columns = [name for name in KINDS.names if name != "bytes"]
    expected = [{name: row[name] for name in columns} for row in (FIRST, SECOND)]
    assert answer.select(columns).to_pylist() == expected


def test_columns_left_out_get_their_defaults_and_order_does_not_matter(kinds: ClickHouse) -> None:
    kinds.insert("kinds", pa.RecordBatch.from_pydict({"small": pa.array([3], pa.uint32()), "text": ["a"]}))
    (row,) = kinds.query("SELECT * FROM kinds")
    assert (row["text"], row["small"], row["word"], row["maybe"]) == ("a", 3, "", None)


def test_an_insert_of_no_rows_is_none(kinds: ClickHouse) -> None:
    kinds.insert("kinds", pa.RecordBatch.from_pylist([], KINDS), token="t")
    kinds.insert("kinds", KINDS.empty_table())
    assert kinds.query("SELECT count() AS n FROM kinds") == [{"n": 0}]


def test_names_may_be_anything(clickhouse: ClickHouse) -> None:
    clickhouse.command(r"CREATE TABLE `odd ``'\" name` (`a b``'` UInt8) ENGINE = MergeTree ORDER BY ()")
    clickhouse.insert("odd `'\" name", pa.RecordBatch.from_pydict({"a b`'": pa.array([1], pa.uint8())}))
    assert clickhouse.query(r"SELECT * FROM `odd ``'\" name`") == [{"a b`'": 1}]


# Blocks, parts and tokens


WINDOW = "SETTINGS non_replicated_deduplication_window = 1000"


@pytest.fixture
def rolled_up(clickhouse: ClickHouse) -> ClickHouse:
    """A table by month, and its counts by hour kept by a materialized view."""
    clickhouse.command(
        "CREATE TABLE events (id UInt64, at DateTime64(3, 'UTC'), payload String) "
        f"ENGINE = MergeTree PARTITION BY toYYYYMM(at) ORDER BY id {WINDOW}"
    )
    clickhouse.command(
        "CREATE TABLE hourly (hour DateTime('UTC'), count SimpleAggregateFunction(sum, UInt64)) "
        f"ENGINE = AggregatingMergeTree PARTITION BY toYYYYMM(hour) ORDER BY hour {WINDOW}"
    )
    clickhouse.command(
        "CREATE MATERIALIZED VIEW hourly_mv TO hourly AS "
        "SELECT toStartOfHour(at) AS hour, count() AS count FROM events GROUP BY hour"
    )
    return clickhouse


def events(count: int, *, start: int = 0, months: int = 1, payload: str = "p") -> pa.RecordBatch:
    at = [datetime(2026, 1 + number % months, 20, number % 24, tzinfo=UTC) for number in range(min(count, 24 * months))]
    times = pa.array(at, TIME).take(pa.array([number % len(at) for number in range(count)]))
    return pa.RecordBatch.from_arrays(
        [pa.array(range(start, start + count), pa.uint64()), times, pa.repeat(payload, count)],
        names=["id", "at", "payload"],
    )


def parts(client: ClickHouse) -> dict[str, int]:
    """How many parts inserts have made, by table, whatever was merged since."""
    rows = client.query(
        "SELECT table, count() AS n FROM system.parts "
        "WHERE database = currentDatabase() AND min_block_number = max_block_number GROUP BY table"
    )
    return {row["table"]: row["n"] for row in rows}


def sums(client: ClickHouse) -> tuple[int, int]:
    """Rows in the table, and rows that the rollup has counted."""
    (row,) = client.query("SELECT (SELECT count() FROM events) AS rows, (SELECT sum(count) FROM hourly) AS counted")
    return row["rows"], row["counted"]


@pytest.mark.parametrize("rows", [1, 100_000])
def test_an_insert_makes_one_part_in_the_table_and_one_in_its_rollup(rolled_up: ClickHouse, rows: int) -> None:
    rolled_up.insert("events", events(rows), token="t")
    assert (parts(rolled_up), sums(rolled_up)) == ({"events": 1, "hourly": 1}, (rows, rows))


def test_more_rows_than_any_default_block_make_one_part(rolled_up: ClickHouse) -> None:
    rolled_up.insert("events", events(1_500_000, payload=""), token="t")
    assert (parts(rolled_up), sums(rolled_up)) == ({"events": 1, "hourly": 1}, (1_500_000, 1_500_000))


def test_more_bytes_than_any_default_block_make_one_part(rolled_up: ClickHouse) -> None:
    rolled_up.insert("events", events(36, payload="x" * (8 << 20)), token="t")
    assert (parts(rolled_up), sums(rolled_up)) == ({"events": 1, "hourly": 1}, (36, 36))


def test_a_table_of_many_batches_makes_one_part(rolled_up: ClickHouse) -> None:
    table = pa.Table.from_batches([events(100, start=100 * number) for number in range(20)])
    rolled_up.insert("events", table, token="t")
    assert (parts(rolled_up), sums(rolled_up)) == ({"events": 1, "hourly": 1}, (2000, 2000))


def test_each_month_gets_one_part(rolled_up: ClickHouse) -> None:
    rolled_up.insert("events", events(300, months=3), token="t")
    assert (parts(rolled_up), sums(rolled_up)) == ({"events": 3, "hourly": 3}, (300, 300))


def test_a_slice_of_a_batch_is_inserted_as_the_slice_only(rolled_up: ClickHouse) -> None:
    rolled_up.insert("events", events(100).slice(10, 5), token="t")
    assert rolled_up.query("SELECT id FROM events ORDER BY id") == [{"id": number} for number in range(10, 15)]


def test_a_token_is_inserted_once_in_table_and_rollup(rolled_up: ClickHouse) -> None:
    token = "load:events:0.202601.0:'\\ü"
    for _ in range(3):
        rolled_up.insert("events", events(10), token=token)
    assert sums(rolled_up) == (10, 10)
    rolled_up.insert("events", events(10), token=token + "'")
    assert sums(rolled_up) == (20, 20)


def test_equal_rollup_rows_of_different_tokens_both_count(rolled_up: ClickHouse) -> None:
    rolled_up.insert("events", events(10), token="a")
    rolled_up.insert("events", events(10, start=100), token="b")
    assert sums(rolled_up) == (20, 20)


def test_a_failure_in_the_rollup_is_told_and_healed_by_the_token(rolled_up: ClickHouse) -> None:
    rolled_up.command("ALTER TABLE hourly ADD CONSTRAINT none CHECK count = 0")
    with pytest.raises(ClickHouseError) as raised:
        rolled_up.insert("events", events(10), token="t")
    assert raised.value.code == 469
    rolled_up.command("ALTER TABLE hourly DROP CONSTRAINT none")
    rolled_up.insert("events", events(10), token="t")
    assert sums(rolled_up) == (10, 10)


# Parameters and settings


TEXTS = [
    "",
    "it's",
    "back\\slash",
    "\\N",
    "\\n",
    "new\nline",
    "tab\t",
    "cr\r",
    "nul\0x",
    "ü😀",
    "%_",
    "{x:String}",
    '`"',
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_bound_text_arrives_as_it_is(clickhouse: ClickHouse, text: str) -> None:
    answer = clickhouse.query("SELECT {text:String} AS text, length({text:String}) AS n", {"text": text})
    assert answer == [{"text": text, "n": len(text.encode())}]


def test_a_bound_list_arrives_as_it_is(clickhouse: ClickHouse) -> None:
    assert clickhouse.query("SELECT {texts:Array(String)} AS texts", {"texts": TEXTS}) == [{"texts": TEXTS}]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_bound_text_arrives_as_it_is(clickhouse: ClickHouse, text: str) -> None:
    answer = clickhouse.query(
        "SELECT {text:String} AS text, {texts:Array(String)} AS texts", {"text": text, "texts": [text]}
    )
    assert answer == [{"text": text, "texts": [text]}]


def test_a_bound_text_is_never_read_as_a_statement(clickhouse: ClickHouse) -> None:
    clickhouse.command("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
    answer = clickhouse.query("SELECT count() AS n FROM t WHERE a = {a:String}", {"a": "' OR 1; DROP TABLE t --"})
    assert answer == [{"n": 0}]
    assert clickhouse.query("EXISTS t") == [{"result": 1}]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("UInt64", 2**64 - 1, 2**64 - 1),
        ("Int64", -(2**63), -(2**63)),
        ("Float64", 1e-7, 1e-7),
        ("Bool", True, True),
        ("Nullable(String)", None, None),
        ("Array(UInt32)", [1, 2], [1, 2]),
        (
            "DateTime64(3, 'UTC')",
            datetime(1955, 5, 5, 1, 2, 3, 456000, tzinfo=UTC),
            datetime(1955, 5, 5, 1, 2, 3, 456000),
        ),
    ],
)
def test_bound_values_of_other_types(clickhouse: ClickHouse, kind: str, value: Any, expected: Any) -> None:
    assert clickhouse.query(f"SELECT {{value:{kind}}} AS value", {"value": value}) == [{"value": expected}]


def test_a_long_bound_text_and_a_long_list(clickhouse: ClickHouse) -> None:
    text = "y'\\" * 300_000
    texts = [f"{number:032x}" for number in range(5000)]
    answer = clickhouse.query(
        "SELECT length({text:String}) AS n, length({texts:Array(String)}) AS m", {"text": text, "texts": texts}
    )
    assert answer == [{"n": 900_000, "m": 5000}]


def test_settings_are_those_of_one_statement(clickhouse: ClickHouse) -> None:
    ask = "SELECT value FROM system.settings WHERE name = 'max_block_size'"
    before = clickhouse.query(ask)
    assert clickhouse.query(ask, settings={"max_block_size": 123}) == [{"value": "123"}]
    clickhouse.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a", settings={"max_block_size": 124})
    assert clickhouse.query(ask) == before


def test_a_setting_that_only_makes_faster_is_left_out_where_it_is_unknown(
    clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"such_a_setting_is_unknown": 0, "use_skip_indexes_on_data_read": 0}
    with pytest.raises(ClickHouseError, match="such_a_setting_is_unknown"):
        clickhouse.query("SELECT 1", settings=asked)
    monkeypatch.setattr("transforms.clickhouse.client.OPTIONAL_SETTINGS", frozenset(asked))
    name = "use_skip_indexes_on_data_read"
    assert clickhouse.query(f"SELECT toString(getSetting('{name}')) AS value", settings=asked) == [{"value": "false"}]


def test_a_command_takes_parameters(clickhouse: ClickHouse) -> None:
    clickhouse.command("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
    clickhouse.command("INSERT INTO t SELECT {a:String} FROM numbers(3)", {"a": "x'"})
    clickhouse.command("INSERT INTO t VALUES ('y'), ('z')")
    assert clickhouse.query("SELECT a, count() AS n FROM t GROUP BY a ORDER BY a") == [
        {"a": "x'", "n": 3},
        {"a": "y", "n": 1},
        {"a": "z", "n": 1},
    ]


# Errors


@pytest.mark.parametrize(
    ("statement", "kind", "code"),
    [
        ("SELECT * FROM missing", SchemaError, 60),
        ("SELECT missing", SchemaError, 47),
        ("SELECT * FROM missing.missing", SchemaError, 81),
        ("CREATE TABLE kinds (a UInt8) ENGINE = MergeTree ORDER BY a", SchemaError, 57),
        ("SELEC 1", DataError, 62),
        ("SELECT throwIf(1)", DataError, 395),
        ("SELECT 'Code: 241. DB::Exception: memory', throwIf(1)", DataError, 395),
        ("SELECT toUInt8('x')", DataError, 6),
        ("SELECT {a:UInt8}", DataError, 456),
        ("SELECT sleep(3) SETTINGS function_sleep_max_microseconds_per_block = 1000", Unavailable, 160),
        ("SELECT groupArray(repeat('x', 1000) || toString(number)) FROM numbers(1000000)", Unavailable, 241),
        ("SELECT sleepEachRow(0.1) FROM numbers(100) SETTINGS max_block_size = 2", Unavailable, 159),
    ],
)
def test_errors_are_told_apart_by_code(kinds: ClickHouse, statement: str, kind: type, code: int) -> None:
    limits = {"max_memory_usage": 100_000_000, "max_execution_time": 0.5}
    client = ClickHouse(no_retries(kinds.config))
    with client, pytest.raises(ClickHouseError) as raised:
        client.query(statement, settings=limits) if statement.startswith("SELECT") else client.command(statement)
    assert (type(raised.value), raised.value.code) == (kind, code), raised.value
    assert "(version" not in str(raised.value)
    assert "DB::Exception" not in str(raised.value).split("'Code")[0]


def no_retries(config: ClickHouseConfig) -> ClickHouseConfig:
    return replace(config, retry_attempts=1)


@pytest.mark.parametrize(
    ("table", "row", "kind", "code"),
    [
        ("missing", {"text": "a"}, SchemaError, 60),
        ("kinds", {"missing": "a"}, SchemaError, 16),
        ("kinds", {"state": "neither"}, DataError, 691),
        ("kinds", {"big": "not a number"}, DataError, 6),
    ],
)
def test_errors_of_inserts(kinds: ClickHouse, table: str, row: dict[str, Any], kind: type, code: int) -> None:
    with pytest.raises(ClickHouseError) as raised:
        kinds.insert(table, pa.RecordBatch.from_pylist([row]))
    assert (type(raised.value), raised.value.code) == (kind, code), raised.value
    assert "/dev/fd" not in str(raised.value)
    assert kinds.query("SELECT count() AS n FROM kinds") == [{"n": 0}]


def test_too_many_parts_may_pass(clickhouse: ClickHouse) -> None:
    clickhouse.command(
        "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS parts_to_throw_insert = 1, parts_to_delay_insert = 1"
    )
    clickhouse.command("SYSTEM STOP MERGES t")
    with pytest.raises(Unavailable) as raised:
        for number in range(5):
            clickhouse.insert("t", pa.RecordBatch.from_pydict({"a": pa.array([number], pa.uint64())}))
    assert raised.value.code == 252


def test_a_missing_database_is_told_when_connecting(clickhouse_config: ClickHouseConfig) -> None:
    with pytest.raises(SchemaError) as raised:
        replace(clickhouse_config, database="missing").connect()
    assert raised.value.code == 81


def test_what_a_failed_query_had_put_out_is_in_no_later_answer(clickhouse: ClickHouse) -> None:
    """The embedded engine answers the next query on the same handle with it."""
    failing = (
        "SELECT number, throwIf(number = 150000) FROM numbers(200000) SETTINGS max_block_size = 1000, max_threads = 1"
    )
    for ask in (clickhouse.query, clickhouse.query_arrow, clickhouse.command):
        with pytest.raises(DataError):
            ask(failing)
        assert clickhouse.query("SELECT 1 AS one") == [{"one": 1}]
        with pytest.raises(DataError):
            ask(failing)
        assert clickhouse.query_arrow("SELECT 1 AS one").to_pylist() == [{"one": 1}]


# Answers, threads, the end


def test_answers_without_rows(clickhouse: ClickHouse) -> None:
    assert clickhouse.query("SELECT 1 AS one WHERE 0") == []
    assert clickhouse.query("SELECT 1 AS one LIMIT 0") == []
    assert clickhouse.query_arrow("SELECT 1 AS one WHERE 0").to_pylist() == []


def test_a_large_answer(clickhouse: ClickHouse) -> None:
    rows = clickhouse.query("SELECT number AS n, repeat('x', 100) AS x FROM numbers(100000)")
    assert (len(rows), sum(row["n"] for row in rows)) == (100_000, 4_999_950_000)
    answer = clickhouse.query_arrow("SELECT number AS n FROM numbers(1000000)")
    assert answer.num_rows == 1_000_000


def test_threads_may_share_a_client(rolled_up: ClickHouse) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(5):
                start = 1000 * number + 100 * turn
                rolled_up.insert("events", events(100, start=start), token=f"{start}")
                with pytest.raises(SchemaError):
                    rolled_up.query("SELECT * FROM missing")
                low, high = start, start + 100
                (row,) = rolled_up.query(f"SELECT count() AS n FROM events WHERE id >= {low} AND id < {high}")
                assert row["n"] == 100
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sums(rolled_up) == (3000, 3000)


@pytest.fixture
def closed(clickhouse_config: ClickHouseConfig) -> Iterator[ClickHouse]:
    client = clickhouse_config.connect()
    client.close()
    client.close()
    yield client


def test_a_closed_client_says_so(closed: ClickHouse) -> None:
    with pytest.raises(ClickHouseError, match="has been closed"):
        closed.query("SELECT 1")


def test_one_client_closed_leaves_others_working(clickhouse: ClickHouse) -> None:
    with clickhouse.config.connect() as other:
        assert other.query("SELECT 1 AS one") == [{"one": 1}]
    assert clickhouse.query("SELECT 1 AS one") == [{"one": 1}]
    assert clickhouse.server_version.split(".")[0].isdigit()
