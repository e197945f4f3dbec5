"""`--json` of every command with every action: one JSON value on standard output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from beam_pipeline.cli import COMMANDS, load_command, main
from transforms.clickhouse import ClickHouseConfig

ACTIONS = [(name, action) for name in COMMANDS for action in load_command(name).actions or ("",)]
OPTIONS = {"query series": ["--interval=1h"], "query trace": ["--trace_id=none"]}
FAILS = {"query trace"}


def test_every_command_prints_json(
    embedded_config: ClickHouseConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [f"--clickhouse_url={embedded_config.url}", f"--clickhouse_database={embedded_config.database}"]

    def printed(*arguments: str, code: int = 0) -> object:
        assert main([*arguments, "--json"]) == code, arguments
        value: object = json.loads(capsys.readouterr().out)
        return value

    written = printed("generate", f"--output={tmp_path}/in", "--events=50", "--seed=1", "--bad_ratio=0.1")
    assert isinstance(written, dict) and set(written["events"]) == {"trace", "span", "log", "metric", "score"}
    assert sum(written["events"].values()) + written["bad_lines"] == 50
    loaded = printed(f"--input={tmp_path}/in", *where)
    assert isinstance(loaded, dict) and loaded["events_ingested"] == sum(written["events"].values())
    printed(f"--input={tmp_path}/in", "--dry_run", *where)
    printed("migrate", "--check", *where)
    printed("check", f"--input={tmp_path}/in", *where)
    for name, action in ACTIONS:
        if name in ("generate", "ingest", "check", "drop"):
            continue
        words = f"{name} {action}".strip()
        printed(*words.split(), *OPTIONS.get(words, ()), *where, code=int(words in FAILS))
    printed("drop", f"--confirm={embedded_config.database}", *where)
