"""Opening an embedded database: what is there, what is in the way, and who has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from beam_pipeline.query import ClickHouseQueryProvider, SchemaNotMigrated
from beam_pipeline.schema import connect_if_there
from transforms.clickhouse import ClickHouse, ClickHouseConfig, ClickHouseError, SchemaError


@pytest.mark.parametrize("there", ["nothing", "an empty directory", "files of somebody else"])
def test_reading_never_makes_a_database(tmp_path: Path, there: str) -> None:
    path = tmp_path / "database"
    if there != "nothing":
        path.mkdir()
    if there == "files of somebody else":
        (path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    config = ClickHouseConfig(url=f"chdb://{path}")
    with pytest.raises(SchemaError, match=f"the embedded database {path} does not exist"):
        config.connect()
    with pytest.raises(
        SchemaNotMigrated, match=rf"{path} does not exist\. To create or update the tables: .* migrate$"
    ):
        ClickHouseQueryProvider(config)
    assert connect_if_there(config) is None
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize("below", ["", "/database"])
def test_a_file_in_the_way_of_a_database_is_told(tmp_path: Path, below: str, create: bool) -> None:
    (tmp_path / "file").touch()
    path = f"{tmp_path}/file{below}"
    with pytest.raises(
        ClickHouseError, match=f"{path} cannot be opened: it must be a directory, and a file is in the way"
    ):
        ClickHouseConfig(url=f"chdb://{path}").connect(create=create)


ASK = """
import sys
from beam_pipeline.query import ClickHouseQueryProvider, DatabaseBusy
from transforms.clickhouse import ClickHouseConfig
try:
    ClickHouseQueryProvider(ClickHouseConfig(url=f"chdb://{sys.argv[1]}"))
except DatabaseBusy as error:
    print(error)
"""


def test_a_query_of_a_database_that_another_process_has_says_which(embedded_admin: ClickHouse) -> None:
    path = embedded_admin.config.path
    command = [sys.executable, "-c", ASK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False)
    assert done.stdout.startswith(f"the embedded database {path} is in use by process {os.getpid()}; one process"), done
    assert "Wait until that one ends, or run a ClickHouse server" in done.stdout
