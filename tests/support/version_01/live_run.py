"""A run of version 0.1 that is alive, as far as anybody else can tell: a process that has its locks and does nothing.

0.1 has two kinds of lock, both `flock` on files below the input directory: a shared one on `.ingest/runs/RUN` from the start
to the end of the run, and an exclusive one on `.ingest/locks/SHARD` while it assigns files of a shard to loads. The kernel
takes both away when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

CONTROL = ".ingest"


class LiveRun:
    """A run on an input directory, in a process of its own. It ends when this process does, however it ends.

    with LiveRun(input_dir, "a run"):                       # it loads
        with LiveRun(input_dir, "another", shard="log-0"):  # it assigns files of a shard
            ...
    """

    def __init__(self, input_dir: Path, run_id: str, *, shard: str = "") -> None:
        """`shard` is one that it is assigning files of: `TYPE-N` with N from 0 to 7; '' for a run that is past that."""
        self.run_file = input_dir / CONTROL / "runs" / run_id
        self.shard_file = input_dir / CONTROL / "locks" / shard if shard else None
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> LiveRun:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None, "the run is not alive"
        return self._process.pid

    def start(self) -> None:
        """Starts it, and waits until it has its locks. Blocks as long as somebody else has that of the shard."""
        assert self._process is None, "the run is alive"
        files = [str(self.run_file), *([str(self.shard_file)] if self.shard_file else [])]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "held\n":
            self.kill()
            raise RuntimeError(f"{self.run_file} could not be locked")

    def stop(self) -> None:
        """Ends it as a run that is done: its file goes, unless another process has it, too. A no-op when it is not alive."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._reap()

    def kill(self) -> None:
        """Ends it as kill -9 does: its file stays."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def _reap(self) -> None:
        process, self._process = self._process, None
        assert process is not None
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def hold(run_file: str, *shard_files: str) -> None:
    """What the process does: locks the files, says so, waits for the end of its standard input, and tidies up as 0.1 does."""
    descriptor = _lock(run_file, fcntl.LOCK_SH)
    for shard_file in shard_files:
        _lock(shard_file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
    os.close(descriptor)
    _lock(os.path.join(os.path.dirname(run_file), "..", "locks", "probe"), fcntl.LOCK_EX)
    descriptor = os.open(run_file, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(run_file)
    except BlockingIOError:
        pass  # another process of the run is alive


def _lock(path: str, kind: int) -> int:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(descriptor, kind)
        try:
            if os.fstat(descriptor).st_ino == os.stat(path).st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # somebody tidied the file away while we waited for it


if __name__ == "__main__":
    hold(*sys.argv[1:])
