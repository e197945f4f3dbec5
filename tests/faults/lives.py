"""A few files that writers, people and kills do anything to, and a model of what must have arrived of them.

Each line has an id of its own, and a rollup cell of its own, so that two counts for each id say everything.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from beam_pipeline import IngestionWorker
from beam_pipeline.results import ProcessingResult
from tests.faults.moments import Killed, Steps
from tests.support.dataset import event
from tests.support.inbox import Arrived, arrivals
from transforms.config import IngestConfig

PLACES = (("trace", "a"), ("log", "a"), ("log", "b"))
"""Type and project of each file."""

What = Literal["add", "add and a half", "replace", "overwrite", "truncate", "touch", "upload", "away"]
WHATS: tuple[What, ...] = ("add", "add and a half", "replace", "overwrite", "truncate", "touch", "upload", "away")


@dataclass(frozen=True)
class Change:
    """What is done to a file that is pending, or to a path where nothing is pending (behind the bar).

    add             lines are appended, and the half line that it may end in is completed | a new file is written
    add and a half  the same, and the last line lacks its second half                     | the same
    replace         another file with other lines is renamed to its place                 | as `upload`
    overwrite       other lines are written into it, in place                             | as `upload`
    truncate        so many lines are left                                                | a loaded file is copied back
    touch           its modification time changes                                         | a loaded file is moved back
    upload          what its uploader sent last comes again, in a new file                | the same
    away            it is renamed to somewhere else                                       | it comes back from there
    """

    what: What
    file: int
    lines: int = 1


@dataclass(frozen=True)
class Run:
    """A run that is left alone."""


@dataclass(frozen=True)
class KilledRun:
    """A run that is killed at its nth insert into an event table, or at its nth statement or operation on files."""

    at: Literal["insert", "step"]
    nth: int
    after: bool


@dataclass(frozen=True)
class DisturbedRun:
    """A run in which something is done to a file before the nth read of a file."""

    change: Change
    before_read: int


@dataclass(frozen=True)
class Round:
    """Some changes, and then a run."""

    changes: Sequence[Change]
    run: Run | KilledRun | DisturbedRun


@dataclass
class File:
    """One path, where its file can be, and what its uploader sent last."""

    kind: str
    path: Path
    away: Path
    sent: bytes = b""
    stood: set[bytes] = field(default_factory=set)
    """What it held when a run began, and what it became in one."""
    loaded: set[bytes] = field(default_factory=set)
    """What it held when a run began in which it left pending."""

    @property
    def pending(self) -> bool:
        return self.path.exists()

    def processed(self) -> list[Path]:
        return sorted((self.path.parent / "processed").glob(f"{self.path.stem}*.jsonl"))

    def put(self, content: bytes) -> None:
        """A new file in the place of the path."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        coming = self.path.with_name(".coming")
        coming.write_bytes(content)
        coming.replace(self.path)


def ids_in(content: bytes) -> list[str]:
    """The ids of the whole lines of a file."""
    found = []
    for line in content.splitlines():
        with contextlib.suppress(ValueError):  # half a line
            found.append(json.loads(line)["id"])
    return found


class Lives:
    """The files below one input directory, and runs over them. `name` tells its ids and projects from those of others."""

    def __init__(self, directory: Path, name: str, config: IngestConfig) -> None:
        root = directory / name
        self.name = name
        self.files = [
            File(
                kind,
                root / kind / f"{name}{project}" / f"20261120T12000{number}Z_0{number}.jsonl",
                directory / f"{name}away{number}",
            )
            for number, (kind, project) in enumerate(PLACES)
        ]
        root.mkdir()
        self.worker = IngestionWorker(config)
        self.story: list[str] = []
        """What happened, for people."""
        self._numbers = itertools.count()
        self._halves: dict[bytes, bytes] = {}
        """What completes a line, by the half of it that was written."""
        self._due: set[str] = set()
        """Ids that stood still for a whole run, and so must be there from then on."""
        self._again: Counter[str] = Counter()
        """How often more than once an id may be there."""
        self._standing: dict[Path, bytes] = {}
        """What was pending when the present run began."""
        self._grew: set[Path] = set()
        """What went on while the present run loaded it: whether it was loaded as it stood, too, nobody knows."""
        self._running = False
        self._undisturbed = True
        """Nobody was killed yet, and nothing was changed while it was loaded, so that a run leaves nothing."""

    @property
    def pending(self) -> list[File]:
        return [file for file in self.files if file.pending]

    # What writers and people do.

    def change(self, change: Change) -> None:
        file = self.files[change.file]
        what = {
            "add": self._add if file.pending else self._write,
            "add and a half": self._add_and_a_half if file.pending else self._write,
            "replace": self._replace if file.pending else self._upload,
            "overwrite": self._overwrite if file.pending else self._upload,
            "truncate": self._truncate if file.pending else self._copy_back,
            "touch": self._touch if file.pending else self._move_back,
            "upload": self._upload,
            "away": self._take_away if file.pending else self._bring_back,
        }[change.what]
        self._tell(f"{what.__name__[1:]} {file.kind}/{file.path.parent.name}/{file.path.name}")
        what(file, change.lines)

    def _lines(self, file: File, count: int) -> bytes:
        made = b""
        for _ in range(count):
            identity = f"{self.name}{next(self._numbers):03}"
            made += event(file.kind, identity, deploymentId=identity).encode() + b"\n"
        return made

    def _write(self, file: File, lines: int) -> None:
        file.sent = self._lines(file, lines)
        file.put(file.sent)

    def _add(self, file: File, lines: int) -> None:
        begun = file.path.read_bytes().rpartition(b"\n")[2]
        with open(file.path, "ab") as output:
            output.write(self._halves.get(begun, b"") + self._lines(file, lines))

    def _add_and_a_half(self, file: File, lines: int) -> None:
        self._add(file, lines)
        line = self._lines(file, 1)
        half = line[: len(line) // 2]
        self._halves[half] = line[len(half) :]
        with open(file.path, "ab") as output:
            output.write(half)

    def _replace(self, file: File, lines: int) -> None:
        file.sent = self._lines(file, lines)
        file.put(file.sent)

    def _overwrite(self, file: File, lines: int) -> None:
        file.sent = self._lines(file, lines)
        file.path.write_bytes(file.sent)

    def _truncate(self, file: File, lines: int) -> None:
        content = file.path.read_bytes()
        kept = b"".join(content.splitlines(keepends=True)[:lines])
        kept = kept[: kept.rfind(b"\n") + 1]
        self._expect_again(file, kept, before=content)
        with open(file.path, "r+b") as output:
            output.truncate(len(kept))

    def _touch(self, file: File, lines: int) -> None:
        os.utime(file.path)

    def _upload(self, file: File, lines: int) -> None:
        if file.sent:
            self._expect_again(file, file.sent, before=file.path.read_bytes() if file.pending else b"")
            file.put(file.sent)

    def _expect_again(self, file: File, content: bytes, before: bytes) -> None:
        """What is neither loaded nor begins with what is loaded is other content: its lines may come again.

        So may the beginning of something that has been loaded further than that.
        """
        if content in file.loaded:
            return
        there = self.arrivals().keys()
        for other in file.stood:
            if not content.startswith(other) and not other.startswith(content):
                shared = set(ids_in(content)).intersection(ids_in(other))
                if shared:
                    self._again.update(shared)
                    return
        for longer in file.stood | {before}:
            rest = longer.removeprefix(content)
            if rest and rest != longer and (self._running or b"\n" not in rest or not there.isdisjoint(ids_in(rest))):
                self._again.update(ids_in(content))
                return

    def _copy_back(self, file: File, lines: int) -> None:
        if loaded := file.processed():
            shutil.copyfile(loaded[lines % len(loaded)], file.path)

    def _move_back(self, file: File, lines: int) -> None:
        if loaded := file.processed():
            loaded[lines % len(loaded)].rename(file.path)

    def _take_away(self, file: File, lines: int = 0) -> None:
        if not file.away.exists():
            file.path.rename(file.away)

    def _bring_back(self, file: File, lines: int = 0) -> None:
        if file.away.exists():
            self._expect_again(file, file.away.read_bytes(), before=b"")
            file.away.rename(file.path)

    # Runs.

    def run(self, run: Run | KilledRun | DisturbedRun) -> None:
        if not self.pending and self._undisturbed:
            return
        self._standing = {file.path: file.path.read_bytes() for file in self.pending}
        self._grew.clear()
        for file in self.pending:
            file.stood.add(self._standing[file.path])
        steps = Steps(0)
        if isinstance(run, KilledRun):
            steps = Steps(run.nth, only="insert" if run.at == "insert" else "", kill=True, after=run.after)
        elif isinstance(run, DisturbedRun):
            steps = Steps(run.before_read, only="read", act=lambda: self._disturb(run.change))
        result = None
        self._running = True
        with contextlib.suppress(*((Killed, RuntimeError) if isinstance(run, KilledRun) else ())), steps.watch():
            result = self.worker.process_once()
        self._running = False
        if steps.killed:
            self._tell(f"killed at {steps.reached}")
            self._undisturbed = False
            gc.collect()  # closes what the run has open, as the end of a process would
        else:
            assert result, self._told()
            self._ended(result)
        self._check()

    def _disturb(self, change: Change) -> None:
        file = self.files[change.file]
        if file.pending:  # what comes while it runs need not be loaded
            self._undisturbed = False
            self.change(change)
            if file.pending:
                file.stood.add(file.path.read_bytes())
            if change.what in ("add", "add and a half"):
                self._grew.add(file.path)
            elif change.what != "touch":
                self._standing.pop(file.path, None)

    def _ended(self, result: ProcessingResult) -> None:
        """What has left pending is loaded. Without a kill or a disturbance before, that is everything."""
        errors = [error.reason for error in result.errors]
        self._tell(f"{result.files_processed} files, {result.events_ingested} events, errors: {errors}")
        for file in self.files:
            if file.path in self._standing and not file.pending:
                if file.path not in self._grew:
                    file.loaded.add(self._standing[file.path])
                self._due.update(ids_in(self._standing[file.path]))
        left = [str(file.path) for file in self.pending]
        assert not self._undisturbed or not (errors or left), f"left: {left}, after\n{self._told()}"

    def finish(self) -> None:
        """In the end what is away is brought back, and a few runs load all that is there."""
        for _ in range(2):  # a path may have been taken by another file
            for file in self.files:
                if not file.pending:
                    self._bring_back(file)
            for _ in range(3):
                if self.pending:
                    self.run(Run())
            left = [str(file.path) for file in self.pending]
            assert not left, f"still pending: {left}, after\n{self._told()}"

    def arrivals(self) -> dict[str, Arrived]:
        kinds = {file.kind for file in self.files}
        return {
            identity: there
            for kind in kinds
            for identity, there in arrivals(self.worker.client, kind, self.name).items()
        }

    def _check(self) -> None:
        there = self.arrivals()
        missing = sorted(self._due - there.keys())
        wrong = {
            identity: arrived
            for identity, arrived in sorted(there.items())
            if not 1 <= arrived.rows <= arrived.rolled_up <= 1 + self._again[identity]
        }
        assert not missing and not wrong, f"missing: {missing}, wrong: {wrong}, after\n{self._told()}"

    def _tell(self, what: str) -> None:
        self.story.append(what)

    def _told(self) -> str:
        return "\n".join(self.story)
