"""Submission to Dataflow, at the wire: a stand-in for its service gets the job. Nothing of it is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beam_pipeline.dataflow import IN_LAUNCHER, reason_of
from tests.support.clickhouse_endpoint import ClickHouseEndpoint
from tests.support.command_line import ROOT, SECRET, CommandLine, Finished, pending
from tests.support.dataflow_job import (
    GOLDEN,
    JOBS,
    STREAMING_GOLDEN,
    described,
    payloads,
    pipeline_of,
    stages,
    submitted,
)
from tests.support.dataflow_service import JOB_ID, DataflowService
from tests.support.dataset import event
from tests.support.google_secrets import SecretManagerStub
from transforms.clickhouse.passwords import EMULATOR

pytestmark = pytest.mark.timeout(420)

PATIENCE_S = 360
"""A submission takes five seconds of a processor, which a busy machine may not have for minutes."""
NAME = "projects/my-project/secrets/clickhouse"
REFERENCE = f"--clickhouse_password_from=gcp-secret:{NAME}"
JOBS_PATH = "POST /v1b3/projects/my-project/locations/europe-west1/jobs"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[DataflowService]:
    with DataflowService(tmp_path / "dataflow") as service:
        yield service


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseEndpoint]:
    """A server that wants the password."""
    with ClickHouseEndpoint(tmp_path_factory.mktemp("clickhouse") / "data", password=SECRET) as endpoint:
        yield endpoint


@pytest.fixture
def secrets() -> Iterator[SecretManagerStub]:
    with SecretManagerStub({f"{NAME}/versions/latest": SECRET.encode()}) as stub:
        yield stub


@pytest.fixture
def line(server: ClickHouseEndpoint, secrets: SecretManagerStub, service: DataflowService) -> CommandLine:
    options = [f"--clickhouse_url={server.url}", REFERENCE, *service.options()]
    return CommandLine(options, {EMULATOR: secrets.address, "CLICKHOUSE_PASSWORD": ""})


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """An input with two files."""
    for project in ("p1", "p2"):
        directory = tmp_path / "in" / "log" / project
        directory.mkdir(parents=True)
        (directory / "20261120T120000Z_0a.jsonl").write_text(event("log", "1") + "\n")
    return tmp_path / "in"


def submit(line: CommandLine, events: Path, *more: str, **environment: str) -> Finished:
    return line.run(f"--input={events}", *more, timeout=PATIENCE_S, **environment)


@pytest.mark.parametrize("golden", JOBS, ids=lambda golden: golden.stem)
def test_the_job_is_the_one_that_is_written_down(service: DataflowService, golden: Path) -> None:
    """When options or stages are meant to change: python -m tests.support.dataflow_job"""
    assert submitted(service, JOBS[golden]) == json.loads(golden.read_text(encoding="utf-8"))


def test_a_streaming_job_is_submitted_whatever_is_pending(
    line: CommandLine, tmp_path: Path, service: DataflowService
) -> None:
    service.state = "JOB_STATE_RUNNING"
    (tmp_path / "empty/log").mkdir(parents=True)
    done = submit(line, tmp_path / "empty", "--streaming", "--poll_interval=10s", "--no_wait_until_finish")
    assert (done.code, service.asked) == (0, [JOBS_PATH]), done.err
    assert f"job {JOB_ID} is submitted, looks for files every 10 s" in done.out
    assert service.jobs[0]["environment"]["version"]["job_type"] == "FNAPI_STREAMING"
    assert stages(pipeline_of(service)) == json.loads(STREAMING_GOLDEN.read_text(encoding="utf-8"))["stages"]


def test_a_job_is_submitted_and_not_waited_for(line: CommandLine, events: Path, service: DataflowService) -> None:
    service.state = "JOB_STATE_RUNNING"  # waiting would have no end
    done = submit(line, events, "--no_wait_until_finish")
    assert (done.code, service.asked) == (0, [JOBS_PATH])
    assert f"job {JOB_ID} is submitted, for 2 files" in done.out
    assert stages(pipeline_of(service)) == json.loads(GOLDEN.read_text(encoding="utf-8"))["stages"]
    assert len(pending(events)) == 2


def test_without_that_the_end_of_the_job_is_waited_for(
    line: CommandLine, events: Path, service: DataflowService
) -> None:
    done = submit(line, events)
    assert (done.code, "waiting for DataflowRunner" in done.err) == (0, True)
    assert len(service.asked) > 1


def test_a_job_that_fails_is_told(line: CommandLine, events: Path, service: DataflowService) -> None:
    service.state = "JOB_STATE_FAILED"
    done = submit(line, events)
    assert done.code == 1
    assert done.err.splitlines()[1:] == [
        "waiting for DataflowRunner",
        "error: DataflowRunner: Dataflow pipeline failed. State: FAILED, Error:",
    ]


def test_what_the_service_refuses_is_told_in_one_line(
    line: CommandLine, events: Path, service: DataflowService
) -> None:
    service.status = 403
    done = submit(line, events, "--no_wait_until_finish")
    assert done.code == 1
    assert done.err.splitlines()[1:] == ["error: DataflowRunner: no such project"]


def test_nothing_is_submitted_when_nothing_is_pending(
    line: CommandLine, tmp_path: Path, service: DataflowService
) -> None:
    (tmp_path / "empty/log").mkdir(parents=True)
    done = submit(line, tmp_path / "empty", "--no_wait_until_finish", "--json")
    assert (done.code, done.json["job_id"], service.asked) == (0, None, [])


def test_a_job_takes_the_oldest_files_and_leaves_the_rest(
    line: CommandLine, events: Path, service: DataflowService
) -> None:
    done = submit(line, events, "--no_wait_until_finish", "--page_files=1", "--json")
    assert done.json["left"] > 0
    assert (done.json["submitted"], done.json["job_id"], len(service.jobs)) == (1, JOB_ID, 1)


def test_nothing_secret_is_in_the_job(
    line: CommandLine, events: Path, service: DataflowService, secrets: SecretManagerStub
) -> None:
    # What is in variables that are not used must not be shown either.
    done = submit(line, events, "--no_wait_until_finish", CLICKHOUSE_URL=f"http://me:{SECRET}@elsewhere:8123")
    assert done.code == 0 and secrets.asked  # the launcher has had the password
    carried = list(payloads(pipeline_of(service)))
    # The reference is there, so that a password would be found, too.
    assert sum(NAME.encode() in payload for payload in carried) >= 5
    staged = [path.read_bytes() for path in service.staging.rglob("*") if path.is_file()]
    for content in (*carried, *staged, json.dumps(service.jobs).encode(), done.out.encode(), done.err.encode()):
        assert SECRET.encode() not in content


def test_the_job_shows_what_it_was_told(line: CommandLine, events: Path, service: DataflowService) -> None:
    submit(line, events, "--no_wait_until_finish", "--since=2026-01-01", "--reload")
    shown = described(service)["ours"]
    assert (shown["input"], shown["reload"], shown["since"]) == (str(events), True, 1767225600000)
    assert shown["clickhouse_password_from"] == f"gcp-secret:{NAME}"


def test_the_package_is_staged(line: CommandLine, events: Path, service: DataflowService) -> None:
    done = line.run(
        f"--input={events}", "--no_wait_until_finish", "--setup_file=./setup.py", noise=True, timeout=PATIENCE_S
    )
    assert done.code == 0
    (pool,) = service.jobs[0]["environment"]["workerPools"]
    assert "workflow.tar.gz" in [package["name"] for package in pool["packages"]]
    assert (service.staging / "workflow.tar.gz").stat().st_size > 50_000


def test_the_launcher_of_a_flex_template_gets_its_job_even_when_nothing_is_pending(
    line: CommandLine, tmp_path: Path, service: DataflowService
) -> None:
    """It reads the job from there and submits it; without one it reports a failure."""
    (tmp_path / "empty/log").mkdir(parents=True)
    place = tmp_path / "launches/job_object"
    place.parent.mkdir()
    done = submit(line, tmp_path / "empty", f"--template_location={place}", **{IN_LAUNCHER: "/template/main.py"})
    assert (done.code, service.asked) == (0, [])
    assert "a job is written for the launcher to submit, for 0 files" in done.out
    written: dict[str, Any] = json.loads(place.read_text())
    assert written["name"] == "observability" and SECRET not in place.read_text()


def launch(line: CommandLine, place: Path, *parameters: str) -> subprocess.CompletedProcess[str]:
    """Runs what the launcher of a Flex Template runs, which writes a job to a place."""
    place.parent.mkdir()
    program = ROOT / "templates/dataflow/launch.py"
    environment = {**os.environ, **line.environment, IN_LAUNCHER: str(program), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, program, *parameters, f"--template_location={place}", *line.connection],
        capture_output=True,
        text=True,
        env=environment,
        timeout=PATIENCE_S,
        check=False,
    )


def test_the_launcher_starts_the_program_with_parameters_as_options(
    line: CommandLine, events: Path, service: DataflowService, tmp_path: Path
) -> None:
    place = tmp_path / "launches/job_object"
    done = launch(line, place, f"--input={events}", "--reload=true", "--delete_after_process=false")
    assert done.returncode == 0, done.stderr
    assert "a job is written for the launcher to submit, for 2 files" in done.stdout
    written = json.loads(place.read_text())
    assert written["environment"]["version"]["job_type"] == "FNAPI_BATCH"
    assert written["name"] == "observability" and service.asked == []


def test_the_launcher_of_the_streaming_template_writes_a_streaming_job(
    line: CommandLine, events: Path, service: DataflowService, tmp_path: Path
) -> None:
    place = tmp_path / "launches/job_object"
    done = launch(line, place, f"--input={events}", "--streaming=true", "--poll_interval=30s", "--reload=false")
    assert done.returncode == 0, done.stderr
    assert "a job is written for the launcher to submit, looks for files every 30 s" in done.stdout
    assert json.loads(place.read_text())["environment"]["version"]["job_type"] == "FNAPI_STREAMING"
    assert service.asked == []


REFUSED = [
    (["--template_location=/tmp/job"], "--template_location: a classic template would repeat"),
    (["--clickhouse_password_from=env:HERE"], "--clickhouse_password_from: the variable HERE is set here"),
    (["--runner=FlinkRunner", "--no_wait_until_finish"], "--no_wait_until_finish: only DataflowRunner works on"),
    (["--project="], "--project: is missing"),
    (["--region="], "--region: is missing"),
]


@pytest.mark.parametrize(("more", "said"), REFUSED, ids=lambda value: value[0] if isinstance(value, list) else "")
def test_what_cannot_be_submitted_is_refused_at_once(
    line: CommandLine, events: Path, service: DataflowService, more: list[str], said: str
) -> None:
    """`more` comes after what the fixture gives, and the last value counts."""
    line.connection = [*line.connection, *more]
    done = submit(line, events, HERE="hush")
    assert (done.code, service.asked) == (2, [])
    assert done.err.startswith(f"error: {said}") and len(done.err.splitlines()) == 1


def test_all_that_is_missing_is_told_at_once(server: ClickHouseEndpoint, events: Path) -> None:
    line = CommandLine([f"--clickhouse_url={server.url}", "--runner=DataflowRunner"])
    done = submit(line, events)
    assert done.code == 2
    assert [problem.split(": ")[1] for problem in done.err.splitlines()] == [
        "--clickhouse_password_from",
        "--project",
        "--region",
        "--temp_location",
        "--input",
    ]


def test_a_secret_that_cannot_be_read_is_told_in_one_line(
    line: CommandLine, events: Path, secrets: SecretManagerStub, service: DataflowService
) -> None:
    secrets.versions = {}
    done = submit(line, events, "--no_wait_until_finish")
    assert (done.code, service.asked) == (1, [])
    assert done.err.splitlines()[-1].startswith(
        f"error: --clickhouse_password_from: there is no {NAME}/versions/latest"
    )


def test_the_description_of_a_job_tells_another_one_from_it(
    line: CommandLine, events: Path, service: DataflowService
) -> None:
    """So that the first test can fail."""
    submit(line, events, "--no_wait_until_finish", "--labels=team=a")
    assert described(service)["beams"] != json.loads(GOLDEN.read_text(encoding="utf-8"))["beams"]


def test_what_beam_finds_wrong_with_its_options_is_one_line() -> None:
    error = ValueError("Pipeline has validations errors: \nInvalid Project ID (1234).\nInvalid job_name (A_B)")
    assert reason_of(error) == "Invalid Project ID (1234). Invalid job_name (A_B)"
    assert reason_of(ValueError("ours")) is None
