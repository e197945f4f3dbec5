"""Command lines that were written for the TypeScript package."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_pipeline.commands.migrate import COMMAND as MIGRATE
from beam_pipeline.option_parser import OptionsError, read_values
from beam_pipeline.options import CONNECTION, INGEST, ONCE, ingest_config
from beam_pipeline.other_names import OF_INPUT, POLL_INTERVAL, RENAMED, with_our_names

NAMES = [option.name for option in (*INGEST, ONCE)]
README = Path(__file__).parents[2] / "README.md"


def ours(*arguments: str) -> list[str]:
    return with_our_names(arguments, NAMES)


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        (["--clickhouse-username", "loader"], ["--clickhouse_user=loader"]),
        (["--batch-size=10"], ["--max_files=10"]),
        (["--file-storage-type", "local", "--file-storage-path", "/var/m"], ["--input=/var/m/observability"]),
        (["--file-storage-path=/var/m/", "--base-path=/events/"], ["--input=/var/m/events"]),
        (["--file_storage_path=/", "--base_path="], ["--input=/"]),
        (["--input=/var/m", "--base-path", "events"], ["--input=/var/m", "--input=/var/m/events"]),
        (["--input", "s3://b/x", "--file-storage-type=s3"], ["--input", "s3://b/x"]),
        (["--once", "--poll-interval=10000"], ["--once"]),
        (["--input=x", "--project-id", "p", "--runner=Y"], ["--input=x", "--project-id", "p", "--runner=Y"]),
    ],
)
def test_they_mean_ours(theirs: list[str], mine: list[str]) -> None:
    assert ours(*theirs) == mine


def test_the_base_path_goes_below_the_input_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_INPUT", "/var/m")
    assert ours("--base-path=events") == ["--input=/var/m/events"]


def test_the_example_of_their_readme_is_a_run(tmp_path: Path) -> None:
    (tmp_path / "observability").mkdir()
    arguments = ["--file-storage-type", "local", "--file-storage-path", str(tmp_path)]
    arguments += ["--clickhouse-url", "http://localhost:8123", "--batch-size", "10", "--delete-after-process", "--once"]
    values, rest = read_values((*INGEST, ONCE), ours(*arguments))
    config = ingest_config(values)
    assert (config.input, config.clickhouse.url) == (str(tmp_path / "observability"), "http://localhost:8123")
    assert (values["max_files"], config.delete_after_process, values["once"], rest) == (10, True, True, [])


@pytest.mark.parametrize(
    ("theirs", "problem"),
    [
        (["--poll-interval=10000"], "--poll_interval: this program loads what is pending and ends"),
        (["--file-storage-type=ftp"], "--file_storage_type: 'ftp' is not one of local, s3, gcs"),
        (["--file-storage-type=s3", "--input=/var/m"], "--file_storage_type: for s3, give --input=s3://BUCKET/PREFIX"),
        (["--file-storage-path=/a", "--input=/b"], "--file_storage_path: --input says already where the files are"),
        (["--base-path=x"], "--base_path: is below --file_storage_path or --input, and neither is given"),
        (["--batch-size"], "--batch_size: expected one argument"),
    ],
)
def test_what_has_no_counterpart_is_told(theirs: list[str], problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INGEST_INPUT", raising=False)
    with pytest.raises(OptionsError) as caught:
        ours(*theirs)
    (told,) = caught.value.problems
    assert told.startswith(problem)


def test_everything_is_told_at_once() -> None:
    with pytest.raises(OptionsError) as caught:
        ours("--poll-interval=1", "--file-storage-type=ftp", "--batch-size")
    assert len(caught.value.problems) == 3


def test_a_password_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(OptionsError, match="CLICKHOUSE_PASSWORD"):
        read_values(INGEST, ours("--clickhouse-password", "hush"))


def test_a_command_takes_only_what_it_has_an_option_for() -> None:
    names = [option.name for option in CONNECTION]
    arguments = ["--batch-size=1", "--base-path=x", "--poll-interval=1"]
    assert with_our_names(arguments, names) == arguments
    assert with_our_names(["--clickhouse-username=u", "--check"], [o.name for o in MIGRATE.options]) == [
        "--clickhouse_user=u",
        "--check",
    ]


def test_an_option_of_ours_is_never_taken_for_another() -> None:
    assert not {*RENAMED, *OF_INPUT, POLL_INTERVAL} & set(NAMES)
    assert with_our_names(["--poll-interval=5"], [*NAMES, "poll_interval"]) == ["--poll-interval=5"]


def test_the_readme_has_all_of_them() -> None:
    text = README.read_text()
    for name in (*RENAMED, *OF_INPUT, POLL_INTERVAL):
        assert f"`--{name.replace('_', '-')}" in text
