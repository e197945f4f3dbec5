"""Runs what is measured in processes of their own: wall-clock time with start-up, CPU time and peak memory of each."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Measured:
    """One process from start to end."""

    seconds: float
    cpu_seconds: float
    peak_rss_mb: int
    output: str


def scratch_directory(parent: Path | None = None) -> Path:
    """A new directory that is there until this process ends.

    Deleting one between two measurements would slow the second one down: for some minutes ext4 passes over every inode that was
    freed whenever it looks for one for a new file.
    """
    directory = Path(tempfile.mkdtemp(dir=parent))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


def measure(*arguments: str) -> Measured:
    """Runs `python -m …` to its end. Raises RuntimeError with its output when it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode}:\n{output}")
    return Measured(
        seconds=time.perf_counter() - started,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_rss_mb=usage.ru_maxrss // 1024,
        output=output,
    )


def generate(directory: Path, events: int, *, events_per_file: int = 2_000, projects: int = 3) -> int:
    """Writes events in the flat dialect, which the engine can read by itself, unless they are there; returns their bytes."""
    done = directory.with_name(f"{directory.name}.done")
    if not done.exists():
        shutil.rmtree(directory, ignore_errors=True)
        measure(
            *("beam_pipeline", "generate", f"--output={directory}", f"--events={events}", "--dialect=flat"),
            *(f"--events_per_file={events_per_file}", f"--projects={projects}"),
        )
        done.touch()
    return sum(file.stat().st_size for file in directory.glob("*/*/*.jsonl"))


def linked_copy(source: Path, target: Path) -> Path:
    """A directory with the same pending files under names of its own, without their bytes being copied."""
    for file in source.glob("*/*/*.jsonl"):
        link = target / file.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.hardlink_to(file)
    return target
