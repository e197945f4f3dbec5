"""What `query` prints, asked in this process: exports, columns, order, levels and time zones."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from beam_pipeline.commands import query, query_events
from beam_pipeline.commands.base import Invocation
from beam_pipeline.option_parser import OptionsError, read_values
from tests.conftest import NO_PASSWORD
from tests.support import query_events as events
from transforms.clickhouse import ClickHouse

SPANS = 130
LEVELS = ["debug", "info", "warn", "error"]
ODD = 'a, "b"\n\x1b[31mc\rd'
Asked = Callable[..., str]


@pytest.fixture(scope="module")
def database(server_admin: ClickHouse) -> Iterator[ClickHouse]:
    with events.migrated_database(server_admin) as client:
        spans = [
            events.row("span", id=f"s{n:03}", trace_id="t", start_time=events.at(n * 1000), name=f"span {n}")
            for n in range(SPANS)
        ]
        logs = [
            events.row("log", id=f"l{n}", level=level, message=ODD, timestamp=events.at(n))
            for n, level in enumerate(LEVELS)
        ]
        scores = [events.row("score", id=f"c{n}", value=n / 10, timestamp=events.at(n)) for n in range(5)]
        for event_type, rows in (("span", spans), ("log", logs), ("score", scores)):
            events.insert(client, event_type, rows)
        yield client


@pytest.fixture
def asked(database: ClickHouse, capsys: pytest.CaptureFixture[str]) -> Asked:
    """Runs `query` and returns its standard output, and with `err=True` also standard error."""
    connection = (
        f"--clickhouse_url={database.config.url}",
        f"--clickhouse_user={database.config.user}",
        f"--clickhouse_database={database.config.database}",
        f"--clickhouse_password_from={database.config.password or NO_PASSWORD}",
    )

    def ask(action: str, *arguments: str, err: bool = False) -> Any:
        values, rest = read_values(query.COMMAND.options, [*arguments, *connection])
        assert rest == []
        assert query.run(Invocation(values, action)) == 0
        told = capsys.readouterr()
        assert told.err == "" or err
        return (told.out, told.err) if err else told.out

    return ask


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_has_all_events_and_not_only_the_first_page(asked: Asked) -> None:
    ids = [f"s{n:03}" for n in range(SPANS)]
    assert [row["id"] for row in table(asked("spans", "--csv"))] == ids[::-1]
    assert [row["id"] for row in table(asked("spans", "--csv", "--order=oldest"))] == ids
    assert [row["id"] for row in table(asked("spans", "--csv", "--limit=105"))] == ids[:-106:-1]
    assert len(table(asked("spans", "--csv", "--name=span 7"))) == 1


def test_csv_holds_no_more_than_some_of_it_in_memory(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_events, "_FIRST_PAGE", 3)
    monkeypatch.setattr(query_events, "_PAGE_CHARACTERS", 1000)  # of about 150 an event
    sizes = []
    listed = query.ClickHouseQueryProvider.list_spans

    def list_spans(*arguments: Any, **named: Any) -> Any:
        sizes.append(named["per_page"])
        return listed(*arguments, **named)

    monkeypatch.setattr(query.ClickHouseQueryProvider, "list_spans", list_spans)
    assert len({row["id"] for row in table(asked("spans", "--csv"))}) == SPANS
    assert sizes[0] == 3 and all(4 <= size <= 10 for size in sizes[1:])


def test_csv_of_one_page_says_what_is_left(asked: Asked) -> None:
    for arguments in (("--per_page=3",), ("--per_page=3", "--page=1")):
        out, err = asked("spans", "--csv", *arguments, err=True)
        assert len(table(out)) == 3
        assert err.startswith(f"3 of {SPANS} spans; continue with --cursor=")
    cursor = err.split()[-1]
    out, err = asked("spans", "--csv", cursor, "--per_page=1000", err=True)
    assert (len(table(out)), err) == (SPANS - 6, "")


@pytest.mark.parametrize(
    ("question", "header"),
    [
        ("metrics", "id,project_id,deployment_id,name,type,value,unit,timestamp,labels,recorded_at,ingested_at"),
        ("metrics --columns=value,id", "value,id"),
        ("slowest --columns=id", "id"),
        ("series --interval=1h", "timestamp,count"),
        ("series --interval=1h --measure=error_rate", "timestamp,count,error_count,error_rate"),
        (
            "series --interval=1h --measure=latency --group_by=status,name",
            "timestamp,status,name,count,p50,p90,p95,p99",
        ),
        ("series --interval=1h --measure=latency --percentiles=0.5", "timestamp,count,p50"),
        ("series --interval=1h --measure=throughput", "timestamp,count,per_second"),
        ("series --interval=1h --measure=logs --project_id=x", "timestamp,level,count"),
        (
            "series --interval=1h --measure=metrics --group_by=name,labels.host --percentiles=0.9",
            "timestamp,name,labels.host,count,sum,avg,min,max,p90",
        ),
        ("percentiles --group_by=name", "name,count,p50,p90,p95,p99"),
        ("errors --group_by=name", "name,count,error_count,error_rate"),
        ("distribution --project_id=x", "low,high,count"),
        ("distribution --project_id=x --interval=1h", "part,low,high,timestamp,count,sum,avg,min,max"),
    ],
)
def test_csv_of_nothing_is_a_header(asked: Asked, question: str, header: str) -> None:
    action, *arguments = question.split(" ")
    assert asked(action, "--csv", *arguments) == f"{header}\n"


def test_csv_of_a_distribution_has_its_trend(asked: Asked) -> None:
    rows = table(asked("distribution", "--csv", "--bins=2", "--interval=1h"))
    assert [(row["part"], row["low"], row["timestamp"], row["count"], row["avg"]) for row in rows] == [
        ("histogram", "0.0", "", "2", ""),
        ("histogram", "0.2", "", "3", ""),
        ("trend", "", "2100-11-20T12:00:00.000+00:00", "5", "0.2"),
    ]


def test_csv_has_the_text_that_was_stored_and_a_table_shows_control_characters(asked: Asked) -> None:
    assert {row["message"] for row in table(asked("logs", "--csv"))} == {ODD}
    assert 'a, "b"\\n\\x1b[31mc\\rd' in asked("logs")


def test_columns_are_chosen_by_name_in_tables_json_and_csv(asked: Asked) -> None:
    chosen = ("--columns=level,id,level", "--level=warn")
    assert asked("logs", *chosen).splitlines()[0].split() == ["level", "id"]
    assert json.loads(asked("logs", "--json", *chosen))["logs"] == [{"level": "warn", "id": "l2"}]
    assert asked("logs", "--csv", *chosen) == "level,id\nwarn,l2\n"
    for output in ("--csv", "--json", "--debug"):
        with pytest.raises(OptionsError, match=r"--columns: 'text' must be one of id, .*message, .*attributes"):
            asked("logs", "--columns=id,text", output)


def test_the_oldest_come_first_and_a_cursor_goes_on_from_there(asked: Asked) -> None:
    page = json.loads(asked("spans", "--json", "--order=oldest", "--per_page=2", "--columns=id"))
    assert page["spans"] == [{"id": "s000"}, {"id": "s001"}]
    following = json.loads(
        asked("spans", "--json", "--order=oldest", "--per_page=2", "--columns=id", f"--cursor={page['next_cursor']}")
    )
    assert following["spans"] == [{"id": "s002"}, {"id": "s003"}]
    with pytest.raises(OptionsError, match=r"--cursor: .* the same filters and order"):
        asked("spans", f"--cursor={page['next_cursor']}")


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_and_those_above_it(asked: Asked, level: str) -> None:
    rows = table(asked("logs", "--csv", f"--min_level={level}", "--order=oldest"))
    assert [row["level"] for row in rows] == LEVELS[LEVELS.index(level) :]


def test_what_is_no_level(asked: Asked) -> None:
    with pytest.raises(OptionsError, match="--min_level: 'fatal' must be one of debug, info, warn, error"):
        asked("logs", "--min_level=fatal")


def test_times_are_of_the_zone_that_is_named_as_given_and_as_printed(asked: Asked) -> None:
    """2100-11-20 12:00 in UTC is 13:00 in Berlin."""
    for since in ("2100-11-20T13:02:09", "2100-11-20 13:02:09", "2100-11-20T12:02:09Z", "2100-11-20T14:02:09+02:00"):
        page = json.loads(asked("spans", "--json", "--tz=Europe/Berlin", f"--since={since}"))
        assert [span["start_time"] for span in page["spans"]] == ["2100-11-20T13:02:09.000+01:00"]
    assert len(table(asked("spans", "--csv", "--tz=Asia/Tokyo", "--since=2100-11-20", "--until=2100-11-21"))) == SPANS
    assert len(table(asked("spans", "--csv", "--tz=Asia/Tokyo", "--until=2100-11-20"))) == 0
    assert "2100-11-20 13:02:09.000" in asked("spans", "--tz=Europe/Berlin")
    assert asked("spans", "--tz=Europe/Berlin").startswith("start_time (+01:00)")
    assert asked("spans").startswith("start_time (UTC)")
    series = asked("series", "--measure=throughput", "--of=span", "--interval=1h", "--tz=Europe/Berlin")
    assert series.splitlines()[2].startswith("2100-11-20 13:00 ")


def test_the_longest_is_told_with_how_long_it_took_in_a_narrow_terminal(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    told = asked("slowest", "--of=span", "--limit=1")
    assert "duration_ms" in told.splitlines()[0] and "no room for" in told and "start_time" in told.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("logs", "--limit=3"), "--limit: is for lists with --csv and without"),
        (("logs", "--limit=3", "--csv", "--per_page=2"), "--limit: is for lists with --csv and without"),
        (("logs", "--limit=0", "--csv"), "--limit: 0 must be at least 1"),
        (("logs", "--order=random"), "--order: 'random' is not one of newest, oldest"),
        (("errors", "--order=oldest"), "--order: is not for query errors"),
        (("errors", "--columns=count"), "--columns: is not for query errors"),
        (("logs", "--columns=,"), "--columns: is empty"),
        (("logs", "--tz=Mars"), "--tz: 'Mars' is not a time zone"),
        (("traces", "--min_level=warn"), "--min_level: query traces has no such filter"),
    ],
)
def test_what_cannot_be_asked(asked: Asked, arguments: tuple[str, ...], problem: str) -> None:
    with pytest.raises(OptionsError) as error:
        asked(*arguments)
    assert problem in str(error.value)


def test_python_takes_the_order_and_the_level_too(database: ClickHouse) -> None:
    provider = query.ClickHouseQueryProvider(database)
    first = provider.list_logs(order="oldest", min_level="warn", per_page=1)
    assert [log.level for log in first] == ["warn"]
    assert [log.level for log in provider.list_logs(order="oldest", min_level="warn", cursor=first.next_cursor)] == [
        "error"
    ]
    asked: Any = "latest"
    with pytest.raises(ValueError, match="order: 'latest' must be newest or oldest"):
        provider.list_logs(order=asked)
    assert events.NOON - first.items[0].timestamp < timedelta(seconds=1)
