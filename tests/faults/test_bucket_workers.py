"""Three workers on one bucket that are killed again and again: each line is there once, each file in processed/ once.

`BUCKET_FILES=2000` makes it a long one.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from beam_pipeline.schema import SchemaOptions, run_migrations
from tests.faults.test_workers import deliver
from tests.faults.workers import start_loop
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.dataset import Dataset, row_wrongs
from tests.support.object_stores import gcs_environment, s3_environment
from tests.support.places import GcsPlace, S3Place
from transforms.clickhouse import ClickHouseConfig

pytestmark = [pytest.mark.faults, pytest.mark.timeout(3600)]

FILES = int(os.environ.get("BUCKET_FILES", "60"))
KILLS = max(FILES // 100, 4)


@pytest.mark.parametrize("kind", ["s3", "gcs"])
def test_workers_on_a_bucket_are_killed(
    kind: str,
    server: ClickHouseEndpoint,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = request.getfixturevalue(kind)
    place = S3Place(url) if kind == "s3" else GcsPlace(url)
    for name, value in (s3_environment(url) if kind == "s3" else gcs_environment(url)).items():
        monkeypatch.setenv(name, value)
    with ClickHouseConfig(server.url).connect() as client:
        run_migrations(client, SchemaOptions())
    dataset = Dataset(str(tmp_path / "copies"))
    enough = tmp_path / "enough"
    chance = random.Random(7)
    for _ in range(FILES):
        deliver(dataset, chance, sizes=(1, 60, 60, 240), suffixes=("", ".gz", ".zst"))
        place.put(dataset.files[-1], (Path(dataset.root) / dataset.files[-1]).read_bytes())
    runs = [start_loop(server.url, dataset, enough, input=place.storage.root) for _ in range(3)]
    kills = 0
    try:
        while any(place.storage.list_pending(("trace", "span", "log", "metric", "score"), None, fail)):
            time.sleep(chance.uniform(1, 4))
            if kills == KILLS:
                continue
            victim = chance.randrange(len(runs))
            runs[victim].process.kill()
            runs[victim] = start_loop(server.url, dataset, enough, input=place.storage.root)
            kills += 1
        enough.touch()
        for run in runs:
            code, said = run.finish()
            assert code == 0 and "Traceback" not in said, said
    finally:
        for run in runs:
            run.process.kill()
    with ClickHouseConfig(server.url).connect() as client:
        assert not row_wrongs(client, dataset), f"after {kills} kills"
        loads = client.query("SELECT DISTINCT toString(state) AS state FROM mastra_admin_ingest_loads FINAL")
        assert [row["state"] for row in loads] == ["finalized"]
    assert place.names() == sorted(processed(path) for path in dataset.files)
    assert kills


def fail(path: str, reason: str) -> None:
    pytest.fail(f"{path}: {reason}")


def processed(path: str) -> str:
    directory, _, name = path.rpartition("/")
    return f"{directory}/processed/{name}"
