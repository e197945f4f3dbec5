"""A command that a notice names can be copied: it is about the same input and the same database."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from beam_pipeline.cli import load_command
from beam_pipeline.commands.notices import notices
from beam_pipeline.option_parser import read_values
from beam_pipeline.options import clickhouse_config
from beam_pipeline.results import ProcessingResult
from transforms.clickhouse import ClickHouseConfig
from transforms.config import IngestConfig
from transforms.report import Failure

NOTICED = ProcessingResult(rejected=1, expired=1, errors=[Failure("f", "why")] * 21)


def commands(config: IngestConfig) -> dict[str, list[str]]:
    """The options of each command that is named, by the command."""
    found = {}
    for notice in notices(config, NOTICED, quiet=True):
        _, named, command = notice.text.partition("python -m beam_pipeline ")
        if named:
            name, *options = shlex.split(command)
            found[name] = options
    return found


@pytest.mark.parametrize(
    "clickhouse",
    [
        ClickHouseConfig("chdb:///data/else where"),
        ClickHouseConfig("http://clickhouse:8123"),
        ClickHouseConfig("https://clickhouse", user="loader", database="events", password="file:/secret"),
    ],
)
@pytest.mark.parametrize("place", ["DIRECTORY", "s3://bucket/events"])
def test_commands_are_about_the_same_database(clickhouse: ClickHouseConfig, place: str, tmp_path: Path) -> None:
    root = str(tmp_path) if place == "DIRECTORY" else place
    found = commands(IngestConfig(root, clickhouse))
    assert found.keys() == {"rejected", "migrate", "status"}
    for name, options in found.items():
        values, rest = read_values(load_command(name).options, options)
        assert rest == []
        again = clickhouse_config({"retry_attempts": 3, "retry_delay": 1.0, **values})
        assert (values["input"], again) == (root, clickhouse)


def test_what_is_the_default_is_not_said(tmp_path: Path) -> None:
    root = f"{tmp_path}/my events"
    found = commands(IngestConfig(root, ClickHouseConfig(f"chdb://{root}.clickhouse")))
    assert found["rejected"] == found["status"] == [f"--input={root}"]


def test_a_secret_in_a_url_is_not_repeated(tmp_path: Path) -> None:
    for options in commands(IngestConfig(str(tmp_path), ClickHouseConfig("http://me:hidden@clickhouse:8123"))).values():
        assert "hidden" not in " ".join(options)
