"""Loads from buckets as a user does: `python -m beam_pipeline` on real HTTP, files of mixed sizes, twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from beam_pipeline import IngestConfig, IngestionWorker
from tests.support.command_line import CommandLine
from tests.support.dataset import Dataset, event, row_wrongs
from tests.support.fault_proxy import Answer, FaultProxy
from tests.support.object_stores import gcs_environment, s3_environment
from tests.support.places import GcsPlace, MemoryPlace, Place, S3Place
from transforms.clickhouse import ClickHouseConfig
from transforms.events import EVENT_TYPES

NEVER_LOADED = "log/p1/notes.txt"


@pytest.fixture(params=["s3", "gcs"])
def store(request: pytest.FixtureRequest) -> tuple[Place, Mapping[str, str]]:
    """An empty bucket, and the environment in which a program finds it."""
    url = request.getfixturevalue(request.param)
    return (S3Place(url), s3_environment(url)) if request.param == "s3" else (GcsPlace(url), gcs_environment(url))


def write(dataset: Dataset, place: Place, lines_of: Callable[[int], int], files: int) -> None:
    """Makes files of all types, and uploads them."""
    for number in range(files):
        kind = EVENT_TYPES[number % len(EVENT_TYPES)]
        lines: list[tuple[str, str | None]] = []
        for line in range(lines_of(number)):
            identity = f"{number}-{line}"
            lines.append((event(kind, identity, deploymentId=identity), identity))
        if number % 3 == 0:
            lines.append(('{"broken', None))
        path = dataset.add_file(kind, f"p{number % 2}", f"20991120T1200{number:02}Z_{number:04x}.jsonl", lines)
        place.put(path, (Path(dataset.root) / path).read_bytes())


def test_a_bucket_is_loaded_once(
    store: tuple[Place, Mapping[str, str]], tmp_path: Path, http_config: ClickHouseConfig
) -> None:
    place, environment = store
    dataset = Dataset(str(tmp_path / "copies"))
    write(dataset, place, lambda number: 3000 if number == 4 else number, 12)
    place.put(NEVER_LOADED)
    connection = [f"--clickhouse_url={http_config.url}", f"--clickhouse_database={http_config.database}"]
    line = CommandLine(connection, {**environment, "CLICKHOUSE_PASSWORD": ""})
    small = ("--load_bytes=200K", "--block_bytes=100K")
    seen = line.run("ingest", f"--input={place.storage.root}/", "--dry_run", "--json").json
    assert sum(found["files"] for found in seen["pending"].values()) == 12
    first = line.run("ingest", f"--input={place.storage.root}/", "--json", *small)
    assert first.code == 0, first.err
    loaded = first.json
    assert (loaded["files_processed"], loaded["errors"]) == (12, [])
    assert loaded["events_ingested"] == sum(map(len, dataset.events.values()))
    assert [group["reason"] for group in loaded["ignored"]] == ["suffix"]
    with http_config.connect() as client:
        assert not row_wrongs(client, dataset)
    moved = sorted(f"{path.rpartition('/')[0]}/processed/{path.rpartition('/')[2]}" for path in dataset.files)
    assert place.names() == sorted([*moved, NEVER_LOADED])
    again = line.run("ingest", f"--input={place.storage.root}", "--json", *small).json
    assert (again["files_processed"], again["events_ingested"], again["errors"]) == (0, 0, [])
    status = line.run("status", f"--input={place.storage.root}", "--json").json["inputs"][0]
    assert (status["input"], status["pending"]["files"]) == (place.storage.root, 0)
    rejected = ("rejected", "list", f"--input={place.storage.root}", "--json")
    assert line.run(*rejected).json["total"] == 4
    assert line.run(*rejected, f"--file={place.path(dataset.files[3])}").json["total"] == 1


def test_a_dry_run_of_a_bucket_needs_no_server(store: tuple[Place, Mapping[str, str]], tmp_path: Path) -> None:
    place, environment = store
    dataset = Dataset(str(tmp_path / "copies"))
    write(dataset, place, lambda number: 2, 6)
    line = CommandLine([f"--input={place.storage.root}"], environment)
    seen = line.run("ingest", "--dry_run", "--json")
    assert (seen.code, seen.json["clickhouse_url"], seen.json["unfinished_loads"]) == (0, None, None)
    assert sum(found["files"] for found in seen.json["pending"].values()) == 6
    told = line.run("ingest", "--dry_run")
    assert told.code == 0 and "without --clickhouse_url there is no load log" in told.out
    loading = line.run("ingest")
    assert loading.code == 2 and "--clickhouse_url: is missing" in loading.err


def test_a_loaded_file_that_comes_again_is_recognised_and_deleted_when_asked(
    store: tuple[Place, Mapping[str, str]], tmp_path: Path, http_config: ClickHouseConfig
) -> None:
    place, environment = store
    dataset = Dataset(str(tmp_path / "copies"))
    write(dataset, place, lambda number: 3, 3)
    connection = [f"--clickhouse_url={http_config.url}", f"--clickhouse_database={http_config.database}"]
    line = CommandLine([f"--input={place.storage.root}", *connection], {**environment, "CLICKHOUSE_PASSWORD": ""})
    assert line.run("ingest", "--delete_after_process").code == 0
    assert place.names() == []
    path = dataset.files[1]
    content = (Path(dataset.root) / path).read_bytes()
    place.put(path, content)
    again = line.run("ingest", "--json").json
    assert (again["known"], again["events_ingested"]) == (1, 0)
    more = event("span", "1-3", deploymentId="1-3")
    dataset.events["span"].append("1-3")
    place.put(path, content + f"{more}\n".encode())
    assert line.run("ingest", "--json").json["events_ingested"] == 1
    with http_config.connect() as client:
        assert not row_wrongs(client, dataset)
    directory, _, name = path.rpartition("/")
    assert place.names() == [
        f"{directory}/processed/{name.replace('.jsonl', '.2.jsonl')}",
        f"{directory}/processed/{name}",
    ]


def test_a_worker_loads_from_any_file_system_that_can_do_what_is_needed(
    tmp_path: Path, http_config: ClickHouseConfig
) -> None:
    place = MemoryPlace()
    dataset = Dataset(str(tmp_path / "copies"))
    write(dataset, place, lambda number: number, 6)
    worker = IngestionWorker(IngestConfig(f"{place.storage.root}/", http_config))
    worker.init()
    result = worker.process_once()
    assert (result.files_processed, result.errors) == (6, [])
    assert not row_wrongs(worker.client, dataset)
    assert all("/processed/" in name for name in place.names())
    assert worker.process_once().files_processed == 0
    worker.close()


DENIED = {
    "s3": Answer(403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"),
    "gcs": Answer(403, b'{"error": {"code": 403, "message": "denied"}}', "application/json"),
}


@pytest.mark.parametrize("kind", ["s3", "gcs"])
def test_files_that_may_not_be_moved_are_loaded_once_and_moved_by_a_run_that_may(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    http_config: ClickHouseConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = request.getfixturevalue(kind)
    place = S3Place(url) if kind == "s3" else GcsPlace(url)
    dataset = Dataset(str(tmp_path / "copies"))
    write(dataset, place, lambda number: 2, 4)
    with FaultProxy(url) as proxy:
        for name, value in (s3_environment(proxy.url) if kind == "s3" else gcs_environment(proxy.url)).items():
            monkeypatch.setenv(name, value)
        proxy.fault("PUT .*/processed/|POST .*/(moveTo|rewriteTo)/", DENIED[kind], times=1000)
        worker = IngestionWorker(IngestConfig(place.storage.root, http_config))
        worker.init()
        first = worker.process_once()
        assert (first.events_ingested, first.files_processed, len(first.errors)) == (8, 0, 4)
        assert all("is loaded, but could not be moved: access denied to " in error.reason for error in first.errors)
        assert place.names() == sorted(dataset.files)
        proxy.clear()
        second = worker.process_once()
        assert (second.events_ingested, second.files_processed, second.errors) == (0, 4, [])
        assert not row_wrongs(worker.client, dataset)
        assert all("/processed/" in name for name in place.names())
        worker.close()


# What cannot be an input


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3://AKIAKEY:hush-4f1d7c@bucket/x", "the s3 URL has credentials in it"),
        ("gs://hush-4f1d7c@bucket/x", "the gs URL has credentials in it"),
        ("sftp://me:hush-4f1d7c@host/x", "the sftp URL has credentials in it"),
        ("s3://", "names no bucket"),
        ("s3://bucket//x", "has an empty or relative part"),
        ("gs://bucket/../x", "has an empty or relative part"),
        ("simplecache::s3://bucket/x", "joins several file systems"),
    ],
)
def test_a_url_that_cannot_be_one_is_refused_without_a_secret(url: str, reason: str) -> None:
    done = CommandLine(["--clickhouse_url=http://127.0.0.1:9"]).run("ingest", f"--input={url}")
    assert done.code == 2 and reason in done.err


@pytest.mark.parametrize("command", ["status", "drop", "rejected list", "query logs", "migrate"])
def test_every_command_refuses_a_url_with_a_secret(command: str) -> None:
    done = CommandLine(["--clickhouse_url=http://127.0.0.1:9"]).run(
        *command.split(), "--input=s3://AKIAKEY:hush-4f1d7c@bucket/x"
    )
    assert done.code == 2 and "the s3 URL has credentials in it" in done.err


def test_without_a_place_for_the_database_none_is_made() -> None:
    done = CommandLine().run("ingest", "--input=s3://bucket/x")
    assert done.code == 2 and "--clickhouse_url: is missing" in done.err and "s3://bucket/x" in done.err


def test_an_input_that_cannot_be_used_is_one_line(s3: str, gcs: str, tmp_path: Path) -> None:
    line = CommandLine([f"--clickhouse_url=chdb://{tmp_path}/db"], s3_environment(s3) | gcs_environment(gcs))
    for url, reason in (
        ("s3://no-such-bucket/x", "bucket no-such-bucket does not exist"),
        ("gs://no-such-bucket/x", "bucket no-such-bucket does not exist"),
        ("https://example.com/x", "https:// cannot be an input: HTTPFileSystem cannot move, delete"),
        ("nothing://x/y", "nothing:// cannot be used: Protocol not known: nothing"),
    ):
        for arguments in (("ingest",), ("ingest", "--dry_run")):
            done = line.run(*arguments, f"--input={url}", "--quiet")
            assert done.code == 1, done
            assert done.err == f"error: --input: {url}: {reason}\n"
        assert reason in str(line.run("status", f"--input={url}", "--json").json["inputs"][0]["pending"]["errors"])


# What is tried before, and what fails again and again


def test_a_check_tries_a_bucket_and_leaves_nothing_in_it(
    store: tuple[Place, Mapping[str, str]], http_config: ClickHouseConfig
) -> None:
    place, environment = store
    connection = [f"--clickhouse_url={http_config.url}", f"--clickhouse_database={http_config.database}"]
    line = CommandLine([f"--input={place.storage.root}", *connection], {**environment, "CLICKHOUSE_PASSWORD": ""})
    for names in ([], ["trace/p1/20991120T120000Z_a.jsonl"]):
        for name in names:
            place.put(name)
        done = line.run("check", "--json")
        assert done.code == 0, done.out
        checks = {check["name"]: check for check in done.json["checks"]}
        assert checks["list files"]["found"] == f"{len(names)} file{'s' * (not names)} pending"
        assert {checks[name]["outcome"] for name in ("input exists", "move a file", "clock of the input")} == {"ok"}
        assert place.names() == names


def test_a_check_of_a_bucket_that_is_not_there_names_it(
    store: tuple[Place, Mapping[str, str]], http_config: ClickHouseConfig
) -> None:
    place, environment = store
    root = place.storage.root.replace("://", "://no-")
    line = CommandLine(["--clickhouse_url=http://127.0.0.1:1"], environment)
    done = line.run("check", f"--input={root}", "--json")
    first = done.json["checks"][0]
    assert (done.code, first["name"], first["outcome"]) == (1, "input exists", "failed")
    assert "does not exist" in first["found"] and "no-events" in first["found"]


def test_a_file_in_a_bucket_that_always_fails_moves_to_failed_and_goes_on_from_there(
    store: tuple[Place, Mapping[str, str]], tmp_path: Path, http_config: ClickHouseConfig
) -> None:
    place, environment = store
    connection = [f"--clickhouse_url={http_config.url}", f"--clickhouse_database={http_config.database}"]
    line = CommandLine([f"--input={place.storage.root}", *connection], {**environment, "CLICKHOUSE_PASSWORD": ""})
    content = f"{event('trace', '1')}\n{{\n".encode()
    name, failed = "trace/p1/20991120T120000Z_a.jsonl", "trace/p1/failed/20991120T120000Z_a.jsonl"
    place.put(name, content)
    options = ("--max_rejected=0", "--max_attempts=1", "--json")
    assert [line.run("ingest", *options).json["given_up"] for _ in range(2)] == [0, 1]
    assert place.names() == [failed, f"{failed}.reason.txt"]
    assert b"1 of 2 lines are bad" in (place.get(f"{failed}.reason.txt") or b"")
    (problem,) = line.run("status", "--json").json["inputs"][0]["file_problems"]
    assert problem["moved_to"] == failed and "lines are bad" in problem["error"]
    etag = place.storage.etag(place.path(failed))
    assert etag is not None
    place.storage.delete(place.path(failed), etag)
    place.put(name, content)
    done = line.run("ingest", "--json").json
    assert (done["events_ingested"], done["rejected"], done["errors"]) == (1, 1, [])
