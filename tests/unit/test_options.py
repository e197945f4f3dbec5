from __future__ import annotations

from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipeline.beam_options import IngestOptions, options_of, unknown_to_beam
from beam_pipeline.cli import COMMANDS, command_help, load_command
from beam_pipeline.option_parser import OptionsError, read_values
from beam_pipeline.options import INGEST, clickhouse_config, connection_problems, ingest_config, input_problems
from tests.support.ingest_values import values
from tests.support.option_table import README, option_tables, tables_in
from transforms.storage import input_root

pytestmark = pytest.mark.usefixtures("no_environment")


def test_a_url_with_a_password_is_refused_and_not_repeated() -> None:
    problems = connection_problems(values("--clickhouse_url=http://me:hush@h:8123"))
    assert len(problems) == 1 and "CLICKHOUSE_PASSWORD" in problems[0] and "hush" not in problems[0]


def test_a_password_instead_of_a_reference_is_refused_and_not_repeated() -> None:
    problems = connection_problems(values("--input=x", "--clickhouse_password_from=hush"))
    assert len(problems) == 1 and "env:NAME" in problems[0] and "hush" not in problems[0]


def test_the_default_database_is_beside_the_input(tmp_path: Path) -> None:
    for spelling in (f"{tmp_path}/in", f"{tmp_path}/in/", f"file://{tmp_path}/in", f"{tmp_path}/x/../in"):
        assert clickhouse_config(values(f"--input={spelling}")).path == str(tmp_path / "in.clickhouse")


def test_an_input_has_one_name_however_it_is_spelled(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    assert input_root(f"{tmp_path}/link/") == str(tmp_path / "in")


def test_without_url_and_input_there_is_no_database() -> None:
    (problem,) = connection_problems(values())
    assert "--clickhouse_url" in problem and "--input" in problem


def test_an_input_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert input_problems(str(tmp_path)) == []
    assert "is not a directory" in input_problems(str(tmp_path / "file"))[0]
    assert "does not exist" in input_problems(str(tmp_path / "none"))[0]
    assert input_problems("s3://bucket/x") == input_problems("gs://bucket") == input_problems("memory://x/y") == []


def test_every_problem_of_a_run_is_told_at_once() -> None:
    with pytest.raises(OptionsError) as caught:
        ingest_config(
            values(
                "--input=x",
                "--clickhouse_url=ftp://h",
                "--clickhouse_database=a-b",
                "--retry_attempts=0",
                "--max_files=0",
                "--block_bytes=2M",
                "--load_bytes=1M",
                "--max_rejected=-1",
                "--max_rejected_ratio=2",
                "--since=2026-02-01",
                "--until=2026-01-01",
            )
        )
    assert sorted(problem.split(":")[0] for problem in caught.value.problems) == sorted(
        [
            "--clickhouse_url",
            "--clickhouse_database",
            "--retry_attempts",
            "--max_files",
            "--block_bytes",
            "--max_rejected",
            "--max_rejected_ratio",
            "--since",
        ]
    )


def test_a_block_fits_into_memory() -> None:
    with pytest.raises(OptionsError, match=r"^--block_bytes: 1073741825 must be at most 1073741824"):
        ingest_config(values("--input=x", "--block_bytes=1073741825", "--load_bytes=2G"))


def test_options_become_the_configuration(tmp_path: Path) -> None:
    config = ingest_config(
        values(
            f"--input={tmp_path}",
            "--event_types=log,trace,log",
            "--since=1970-01-01T00:00:01Z",
            "--min_file_age=5s",
            "--insert_batch_size=9",
            "--delete_after_process",
            "--max_rejected_ratio=0.5",
            "--input_name=events",
            "--lease=90s",
            "--reload",
        )
    )
    assert config.input == str(tmp_path)
    assert (config.name, config.lease_s, config.reload) == ("events", 90.0, True)
    assert config.event_types == ("log", "trace")
    assert (config.since_ms, config.min_file_age_s, config.block_rows) == (1000, 5.0, 9)
    assert config.delete_after_process and config.max_rejected_ratio == 0.5


def test_an_input_without_a_name_is_called_by_its_directory(tmp_path: Path) -> None:
    assert ingest_config(values(f"--input={tmp_path}")).name == str(tmp_path)


def test_a_lease_is_long_enough_to_be_renewed() -> None:
    with pytest.raises(OptionsError, match=r"^--lease: 1\.5s must be at least 2s"):
        ingest_config(values("--input=x", "--lease=1500ms"))
    assert ingest_config(values("--input=x", "--lease=2s")).lease_s == 2


def test_a_lease_is_not_longer_than_can_be_written_down() -> None:
    """In milliseconds, in 32 bits."""
    with pytest.raises(OptionsError, match=r"^--lease: .* must be at most "):
        ingest_config(values("--input=x", "--lease=50d"))


def test_beam_reads_the_same_options_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_INPUT", "from-the-environment")
    arguments = [
        "--max_files=7",
        "--event_types=log,trace",
        "--block_bytes=1M",
        "--since=2026-01-01",
        "--delete_after_process",
    ]
    ours, _ = read_values(INGEST, arguments)
    beams = PipelineOptions(arguments).view_as(IngestOptions)
    assert {name: getattr(beams, name) for name in ours} == ours


def test_a_configuration_is_described_by_the_options_that_it_was_made_of() -> None:
    given = values(
        "--input=/data", "--clickhouse_url=http://h:1", "--event_types=log", "--since=2026-01-01", "--until=2026-02-01",
        "--project_id=p", "--input_name=n", "--min_file_age=5s", "--max_rejected=3", "--reload", "--lease=90s",
        "--clickhouse_password_from=file:/p", "--retry_delay=2s", "--insert_batch_size=9", "--delete_after_process",
    )  # fmt: skip
    told = options_of(ingest_config(given))
    # How many files are taken up at a time is the launcher's business.
    expected = {
        name: value for name, value in given.items() if value is not None and name not in ("max_files", "page_files")
    }
    assert told == expected | {"event_types": ["log"]}


def test_options_of_beam_pass_and_others_do_not() -> None:
    assert unknown_to_beam(["--runner=DirectRunner", "--direct_num_workers", "2", "--streaming"]) == []
    assert unknown_to_beam(["--no_such=1", "--direct_num_workers=2", "-x"]) == ["--no_such=1", "-x"]


def test_other_runners_have_options_of_their_own() -> None:
    assert unknown_to_beam(["--runner=FlinkRunner", "--checkpointing_interval=3000"]) == []


def test_a_value_that_beam_does_not_understand_is_told() -> None:
    with pytest.raises(OptionsError, match=r"direct_num_workers.*abc"):
        unknown_to_beam(["--direct_num_workers=abc"])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_all_its_options_and_defaults(name: str) -> None:
    command = load_command(name)
    text = " ".join(command_help(command).split())
    for option in command.options:
        assert f"--{option.name}" in text
        assert " ".join(option.help.split()) in text
        if option.default_text:
            assert f"default: {option.default_text}" in text
        if option.env:
            assert f"env: {option.env}" in text


def test_the_option_tables_of_the_readme_are_those_of_the_code() -> None:
    """When this fails: python -m tests.support.option_table"""
    assert tables_in(README.read_text(encoding="utf-8")) == option_tables()


def test_an_input_with_a_question_mark_has_its_database_beside_it(tmp_path: Path) -> None:
    given = values(f"--input={tmp_path}/a?b%20#c")
    assert clickhouse_config(given).url == f"chdb://{tmp_path}/a%3Fb%20#c.clickhouse"
    assert connection_problems(given) == []


def test_where_no_database_can_lie_beside_the_input_the_input_is_named(tmp_path: Path) -> None:
    (problem,) = connection_problems(values(f"--input={tmp_path}/a?b/in"))
    assert problem.startswith(f"--input: {tmp_path}/a?b/in ") and "question mark" in problem
    assert connection_problems(values(f"--input={tmp_path}/a?b/in", "--clickhouse_url=http://h:1")) == []
    with pytest.raises(OptionsError) as raised:
        ingest_config(values(f"--input={tmp_path}/a?b/in"))
    assert raised.value.problems == [problem]


def test_a_link_to_where_no_database_can_be_is_no_way_round(tmp_path: Path) -> None:
    """The engine would follow it, and open another directory than this one."""
    (tmp_path / "a?b").mkdir()
    (tmp_path / "plain").symlink_to(tmp_path / "a?b")
    (problem,) = connection_problems(values(f"--clickhouse_url=chdb://{tmp_path}/plain/db"))
    assert problem.startswith("--clickhouse_url: ") and "question mark" in problem
