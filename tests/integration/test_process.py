"""The process around a command: streams that are full or closed, signals at any moment, nowhere to put temporary files."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.command_line import CommandLine, Finished, with_own_mounts
from tests.support.dataset import event

FULL = "error: standard output: No space left on device\n"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose events are in the embedded database beside it."""
    directory = tmp_path_factory.mktemp("process") / "in"
    assert CommandLine().run("generate", f"--output={directory}", "--events=100").code == 0
    assert CommandLine().run(f"--input={directory}", "--quiet").code == 0
    return directory


def redirected(redirections: str, *arguments: str, **env: str) -> Finished:
    """A command with redirections as a shell makes them."""
    return CommandLine().run(*arguments, wrapper=["sh", "-c", f'exec "$@" {redirections}', "sh"], **env)


# Streams


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["status", "--json"],
        ["query", "traces", "--csv"],
        ["ingest", "--dry_run"],
    ],
    ids=" ".join,
)
def test_output_that_finds_no_room_is_told_in_one_line(loaded: Path, arguments: list[str]) -> None:
    done = redirected(">/dev/full", *arguments, INGEST_INPUT=str(loaded), PYTHONUNBUFFERED="")
    assert (done.code, done.err) == (1, FULL)


def test_output_that_finds_no_room_is_told_in_one_line_by_an_unbuffered_interpreter(loaded: Path) -> None:
    done = redirected(">/dev/full", "status", "--json", INGEST_INPUT=str(loaded), PYTHONUNBUFFERED="1")
    assert (done.code, done.err) == (1, FULL)


def test_an_error_of_a_command_line_is_told_also_when_json_finds_no_room() -> None:
    done = redirected(">/dev/full", "status", "--json", "--no_such")
    assert (done.code, done.err) == (2, "error: --no_such: there is no such option\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_closed_stream_leads_nowhere(loaded: Path, closed: str) -> None:
    done = redirected(closed, "status", INGEST_INPUT=str(loaded))
    assert (done.code, done.err) == (0, "")
    assert bool(done.out) == (">&-" not in closed.replace("2>&-", ""))


def test_an_error_does_not_go_to_standard_output_when_standard_error_is_closed() -> None:
    done = redirected("2>&-", "no_such_command")
    assert (done.code, done.out) == (2, "")


@pytest.mark.parametrize("lost", ["2>/dev/full", "2>&-"])
def test_a_load_goes_on_when_nobody_can_be_told(tmp_path: Path, lost: str) -> None:
    assert CommandLine().run("generate", f"--output={tmp_path}/in", "--events=50").code == 0
    done = redirected(lost, f"--input={tmp_path}/in", "--json")
    assert (done.code, done.json["events_ingested"]) == (0, 50)


def test_names_that_are_not_ascii_are_printed_escaped_where_the_terminal_has_ascii_only(tmp_path: Path) -> None:
    directory = tmp_path / "ü"
    directory.mkdir()
    done = CommandLine().run("status", f"--input={directory}", interpreter=True, PYTHONIOENCODING="ascii")
    assert done.code == 0 and f"input: {tmp_path}/\\xfc\n" in done.out


# Signals


SITE = """
import os, signal, sys

class SignalAtImport:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["SIGNAL_AT"]:
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))

sys.meta_path.insert(0, SignalAtImport())
"""
"""A `sitecustomize` that has a process get a signal in the middle of importing a module."""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["beam_pipeline.cli", "pyarrow", "apache_beam", "chdb"])
def test_a_signal_during_imports_ends_without_a_traceback(tmp_path: Path, module: str, signum: signal.Signals) -> None:
    pending = tmp_path / "in/log/p/20261120T120000Z_a.jsonl"  # without one, Beam would not be imported
    pending.parent.mkdir(parents=True)
    pending.write_text(event("log", "1") + "\n")
    (tmp_path / "sitecustomize.py").write_text(SITE)
    # A shell's exit code is what people and schedulers see. One that was started in the background ignores SIGINT.
    script = '"$@"; exit $?'
    done = CommandLine().run(
        f"--input={tmp_path}/in",
        wrapper=["env", "--default-signal=INT", "sh", "-c", script, "sh"],
        PYTHONPATH=str(tmp_path),
        SIGNAL_AT=module,
        SIGNAL=str(int(signum)),
    )
    assert done.code == 128 + signum and done.out == ""
    assert [line for line in done.err.splitlines() if not re.match("loading |(Terminated|Interrupt)?$", line)] == []
    assert pending.exists()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_also_process_1_of_a_container(loaded: Path, tmp_path: Path, signum: signal.Signals) -> None:
    wrapper = as_process_1()
    if wrapper is None:
        pytest.skip("this user may not have processes of its own")
    (tmp_path / "sitecustomize.py").write_text(SITE)
    done = CommandLine().run(
        f"--input={loaded}",
        wrapper=["env", "--default-signal=INT", *wrapper],
        PYTHONPATH=str(tmp_path),
        SIGNAL_AT="msgspec",  # before anything is printed
        SIGNAL=str(int(signum)),
    )
    assert (done.code, done.out, done.err) == (128 + signum, "", "")


def test_a_signal_that_the_parent_ignores_is_ignored(loaded: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE)
    done = CommandLine().run(
        "status",
        f"--input={loaded}",
        wrapper=["env", "--ignore-signal=INT"],
        PYTHONPATH=str(tmp_path),
        SIGNAL_AT="pyarrow",
        SIGNAL=str(int(signal.SIGINT)),
    )
    assert (done.code, done.err) == (0, "")


def as_process_1() -> Sequence[str] | None:
    """Words before a command that make it process 1 of its own name space; None where that is not allowed."""
    if shutil.which("unshare"):
        for unshare in (["unshare", "--pid", "--fork"], ["unshare", "--user", "--map-root-user", "--pid", "--fork"]):
            if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0:
                return unshare
    return None


# Temporary files


def test_a_directory_for_temporary_files_that_is_read_only_is_told_in_one_line(loaded: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    wrapper = with_own_mounts(f"mount -t tmpfs -o ro tmpfs {temporary}")
    if wrapper is None:
        pytest.skip("this user may not mount")
    done = CommandLine().run("status", f"--input={loaded}", wrapper=wrapper, TMPDIR=str(temporary))
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert f"error: the embedded database {loaded}.clickhouse cannot be opened: " in done.err
    assert f"{temporary} is not writable: set TMPDIR" in done.err


def test_a_full_disk_under_generated_files_is_named(tmp_path: Path) -> None:
    wrapper = with_own_mounts(f"mount -t tmpfs -o size=64k tmpfs {tmp_path}")
    if wrapper is None:
        pytest.skip("this user may not mount")
    done = CommandLine().run("generate", f"--output={tmp_path}/out", wrapper=wrapper)
    assert done.code == 1 and re.fullmatch(rf"error: {tmp_path}/out/\S+\.jsonl: No space left on device\n", done.err)


def test_a_database_without_room_is_named(tmp_path: Path) -> None:
    wrapper = with_own_mounts(f"mount -t tmpfs -o size=64k tmpfs {tmp_path}")
    if wrapper is None:
        pytest.skip("this user may not mount")
    done = CommandLine().run("migrate", f"--clickhouse_url=chdb://{tmp_path}/db", "--retry_attempts=1", wrapper=wrapper)
    assert done.code == 1 and f"error: chdb://{tmp_path}/db: Cannot reserve" in done.err


def test_a_warning_that_is_made_an_error_is_none_of_ours(loaded: Path) -> None:
    assert CommandLine().run(f"--input={loaded}", "--quiet", PYTHONWARNINGS="error").err == ""


def test_the_environment_may_be_empty(loaded: Path) -> None:
    done = CommandLine().run("status", f"--input={loaded}", wrapper=["env", "-i"])
    assert done.code == 0 and "pending: 0 files" in done.out


# Memory

_LOAD_AND_ASK = """
import re, sys
from beam_pipeline.cli import main
from transforms.clickhouse import ClickHouseConfig

assert main(["ingest", f"--input={sys.argv[1]}", f"--clickhouse_url={sys.argv[2]}", "--quiet"]) == 0
with ClickHouseConfig(sys.argv[2]).connect() as client:
    (told,) = client.query("SELECT * FROM system.jemalloc_stats")
print(re.search(r"opt\\.narenas: (\\d+)", str(told))[1])
"""


@pytest.mark.parametrize(("given", "arenas"), [({}, "1"), ({"JE_MALLOC_CONF": "percpu_arena:disabled,narenas:3"}, "3")])
def test_the_engine_of_a_load_keeps_little_of_what_it_has_freed(
    tmp_path: Path, given: dict[str, str], arenas: str
) -> None:
    """Unless its environment says otherwise."""
    (tmp_path / "in/log/p").mkdir(parents=True)
    (tmp_path / "in/log/p/20261120T120000Z_a.jsonl").write_text(event("log", "1") + "\n")
    done = subprocess.run(
        [sys.executable, "-c", _LOAD_AND_ASK, str(tmp_path / "in"), f"chdb://{tmp_path}/db"],
        env={**{name: value for name, value in os.environ.items() if name != "JE_MALLOC_CONF"}, **given},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.split() == [arenas]
