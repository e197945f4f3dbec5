"""How far a run is, while it runs: one live line in a terminal, a plain line now and then elsewhere.

What there is to do is known from the listing, which is complete before the first file is loaded."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from beam_pipeline.wording import counted, sized
from transforms import metrics
from transforms.listing import Page

LOG_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far a run is. Totals are of the files found; those that another run has or that fail are in them but not loaded."""

    files: int = 0
    total_files: int = 0
    bytes: int = 0
    total_bytes: int = 0
    events: int = 0
    rejected: int = 0
    errors: int = 0
    elapsed_s: float = 0.0
    """Since the first files were taken up."""

    @property
    def events_per_second(self) -> float:
        return self.events / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def fraction(self) -> float | None:
        """Part of the bytes that is read, 0 to 1; None while nothing is known to be there."""
        return min(self.bytes / self.total_bytes, 1.0) if self.total_bytes else None

    @property
    def remaining_s(self) -> float | None:
        """Seconds left at the pace so far; None until a hundredth is done."""
        fraction = self.fraction
        return self.elapsed_s * (1 - fraction) / fraction if fraction is not None and fraction >= 0.01 else None

    def describe(self) -> str:
        """The counts in words."""
        parts = [
            f"{self.files:,}/{counted(self.total_files, 'file')}",
            f"{sized(min(self.bytes, self.total_bytes))} of {sized(self.total_bytes)}",
        ]
        if self.remaining_s is not None and self.fraction != 1:
            parts.append(f"{duration(self.remaining_s)} left")
        parts += [
            counted(self.events, "event"),
            f"{self.events_per_second:,.0f}/s",
            f"{self.rejected:,} rejected",
            counted(self.errors, "error"),
        ]
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in the two largest units that say something: 12s, 3m05s, 2h10m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


class Tracker:
    """Adds up what there is to do and what is done. Safe to use from two threads: one adds pages, one asks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_files: int | None = None) -> None:
        self._max_files = max_files
        self._clock = clock
        self._started: float | None = None
        self._total_files = 0
        self._total_bytes = 0

    def add_page(self, page: Page) -> None:
        """Counts what a listing has found, when the first page of it is taken up."""
        if self._started is None:
            self._started = self._clock()
        if page.number == 0:
            self._total_files += min(page.listed_files, self._max_files or page.listed_files)
            # Of fewer files than were found nobody knows the size; they are taken to be as large as all others.
            part = min(self._max_files / page.listed_files, 1.0) if self._max_files and page.listed_files else 1.0
            self._total_bytes += int(page.listed_bytes * part)

    def snapshot(self, counts: Mapping[str, int], errors: int) -> Snapshot:
        """How far the run is, by the counts of `transforms.metrics.local_counts()`."""
        return Snapshot(
            files=counts.get(metrics.FILES_LOADED.name, 0),
            total_files=self._total_files,
            bytes=counts.get(metrics.BYTES_READ.name, 0),
            # Of a compressed file it is only known how much it holds when it is taken up.
            total_bytes=self._total_bytes + counts.get(metrics.BYTES_EXPANDED.name, 0),
            events=sum(counts.get(metric.name, 0) for metric in metrics.EVENTS_BY_TYPE.values()),
            rejected=counts.get(metrics.LINES_REJECTED.name, 0),
            errors=errors,
            elapsed_s=self._clock() - self._started if self._started is not None else 0.0,
        )


class Display(Protocol):
    """Shows snapshots for as long as it is entered. Used from one thread."""

    def __enter__(self) -> Display: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, snapshot: Snapshot) -> None:
        """Shows how far the run is; call it a few times a second."""

    def say(self, text: str) -> None:
        """Prints a line that stays."""


class LiveDisplay:
    """One line at the bottom of a terminal that changes in place."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=10),
            TextColumn("{task.percentage:>3.0f}% {task.description}", markup=False),
            console=console,
            transient=True,
            expand=False,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> LiveDisplay:
        self._progress.start()
        self._task = self._progress.add_task("looking for files", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, snapshot: Snapshot) -> None:
        if self._task is not None:
            self._progress.update(
                self._task,
                description=snapshot.describe(),
                total=snapshot.total_bytes or None,
                completed=min(snapshot.bytes, snapshot.total_bytes),
            )

    def say(self, text: str) -> None:
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)


class LogDisplay:
    """A plain line every half minute, for logs."""

    def __init__(
        self, console: Console, every_s: float = LOG_EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._every_s = every_s
        self._clock = clock
        self._last = clock()

    def __enter__(self) -> LogDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, snapshot: Snapshot) -> None:
        now = self._clock()
        if now - self._last >= self._every_s:
            self._last = now
            percent = f"{snapshot.fraction:.0%}, " if snapshot.fraction is not None else ""
            self.say(f"{percent}{snapshot.describe()}")

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class QuietDisplay(LogDisplay):
    """Only lines that somebody has to know."""

    def show(self, snapshot: Snapshot) -> None:
        pass


def make_display(console: Console, *, quiet: bool = False) -> Display:
    """The display that fits where the console goes."""
    if quiet:
        return QuietDisplay(console)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveDisplay(console)
    return LogDisplay(console)
