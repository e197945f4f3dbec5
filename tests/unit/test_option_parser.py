"""Options as text: where a value comes from, and what is told of one that cannot be understood."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipeline.cli import COMMANDS, load_command
from beam_pipeline.commands.query_options import QUERY
from beam_pipeline.option_parser import Option, OptionsError, read_values
from beam_pipeline.option_values import whole
from beam_pipeline.options import INGEST
from tests.support.ingest_values import values

pytestmark = pytest.mark.usefixtures("no_environment")


def test_an_argument_beats_the_environment_beats_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert values("--input=x")["clickhouse_database"] == "default"
    monkeypatch.setenv("CLICKHOUSE_DATABASE", "events")
    assert values("--input=x")["clickhouse_database"] == "events"
    assert values("--input=x", "--clickhouse_database=other")["clickhouse_database"] == "other"


def test_names_may_have_dashes_and_values_may_follow() -> None:
    found = values("--clickhouse-url=http://h:1", "--max-files", "7", "--delete-after-process")
    assert (found["clickhouse_url"], found["max_files"], found["delete_after_process"]) == ("http://h:1", 7, True)


def test_what_is_left_is_given_back() -> None:
    _, rest = read_values(INGEST, ["--runner=X", "--input=y", "--flink_master", "z"])
    assert rest == ["--runner=X", "--flink_master", "z"]


def test_names_are_not_abbreviated() -> None:
    assert read_values(INGEST, ["--max_file=1"])[1] == ["--max_file=1"]


def test_everything_that_is_not_understood_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    option = Option("level", whole, 1, "", "INGEST_LEVEL")
    monkeypatch.setenv("INGEST_LEVEL", "high")
    with pytest.raises(OptionsError) as caught:
        read_values((*INGEST, option), ["--max_files=many", "--since=then", "--event_types=trace,alien"])
    assert [problem.split(" ")[0] for problem in caught.value.problems] == [
        "--event_types:",
        "--since:",
        "--max_files:",
        "INGEST_LEVEL:",
    ]


def test_a_missing_value_is_told() -> None:
    with pytest.raises(OptionsError, match="--max_files: expected one argument"):
        read_values(INGEST, ["--max_files"])


@pytest.mark.parametrize(
    "arguments",
    [["--clickhouse_password=hush"], ["--clickhouse-password", "hush"], ["--password=hush"], ["--db_passwd", "hush"]],
)
def test_a_password_is_refused_and_not_repeated(arguments: list[str]) -> None:
    with pytest.raises(OptionsError, match="CLICKHOUSE_PASSWORD") as caught:
        read_values(INGEST, arguments)
    assert "hush" not in str(caught.value)


ABSURD = (
    "9999999999999999",
    "9" * 400 + "d",
    "9" * 5000 + "T",
    "1e999",
    "nan",
    "\0",
    "\udcff",
    "0001-01-01T00:00+14:00",
    "--",
)
TEXTS = st.one_of(
    st.sampled_from(ABSURD),
    st.text(max_size=30),
    st.text("0123456789-+:.,TZWeKMGTmshd ", max_size=30),
    st.integers().map(str),
    st.floats().map(str),
)


@pytest.mark.parametrize("name", COMMANDS)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_an_option_is_given_is_a_value_or_an_error_that_names_the_option(
    name: str, data: st.DataObject
) -> None:
    option = data.draw(st.sampled_from([one for one in load_command(name).options if one.parse]))
    text = data.draw(TEXTS)
    try:
        found, rest = read_values([option], [f"--{option.name}={text}"])
    except OptionsError as error:
        (problem,) = error.problems
        assert problem.startswith(f"--{option.name}: ") and len(problem) < 400
    else:
        assert option.name in found and rest == []


def test_two_dashes_are_a_value_like_any_other() -> None:
    given, rest = read_values(QUERY, ["--project_id=--", "--name_contains=--", "--name_contains=", "--name_contains=a"])
    assert (given["project_id"], given["name_contains"], rest) == ("--", ("--", "", "a"), [])


def test_a_switch_with_a_value_is_told() -> None:
    with pytest.raises(OptionsError, match="--delete_after_process: is a switch and takes no value, not '1'"):
        read_values(INGEST, ["--delete_after_process=1"])


@pytest.mark.parametrize(("text", "why"), [("a\0b", "NUL"), ("/in/\udcff", "UTF-8")])
def test_text_that_cannot_be_written_down_is_told(text: str, why: str) -> None:
    with pytest.raises(OptionsError, match=f"^--input: .* must .*{why}"):
        values(f"--input={text}")
