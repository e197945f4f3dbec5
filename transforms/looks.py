"""Looks: when the input is looked at: once, or by a streaming job again and again.

Nothing but looks comes out of a streaming job's source. What was seen is in the journal, so that the runner's state is the
number of the next look and the timer of it, however many files and looks there are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.transforms.core import RestrictionProvider
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer
from apache_beam.utils.timestamp import Duration

from transforms.config import IngestConfig

_ALL = 1 << 62
_START_EVERY_S = 24 * 3600
"""How often the series of looks is started. Once would do; each time adds up to 5 kB to the state of Flink (Beam issue 27648)."""
_begun: dict[str, int] = {}
"""How many looks of each run have begun, as far as this process has seen it."""
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the input."""

    anew: bool = True
    """Whether loads that the run has recorded may have been lost on their way, so that they are taken up once more."""


def begin_look(run_id: str, number: int) -> Look:
    """The look of a number, as the runner has it in its state; the first one is 0.

    A runner that starts a job again restores the number together with everything that was on its way, and so repeats
    numbers. What this process has counted is restored by nobody: when the two differ, loads were recorded since that
    are in nobody's hands now.
    """
    with _lock:
        anew = _begun.get(run_id) != number
        _begun[run_id] = number + 1
    return Look(anew)


def look_anew(run_id: str) -> None:
    """Makes the run's next look begin anew: something was recorded, perhaps, that was not handed on."""
    with _lock:
        _begun.pop(run_id, None)


class _Numbers(OffsetRestrictionTracker):  # type: ignore[misc]
    """Gives away all numbers to come, to go on later, but never a part of them: there would be two sources of starts."""

    def try_split(self, fraction_of_remainder: float) -> Any:
        return super().try_split(0) if fraction_of_remainder == 0 else None


class _OneByOne(RestrictionProvider):  # type: ignore[misc]
    """The numbers of all starts to come."""

    def initial_restriction(self, _: Any) -> OffsetRange:
        return OffsetRange(0, _ALL)

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return _Numbers(restriction)

    def restriction_size(self, _: Any, restriction: OffsetRange) -> int:
        return 1

    def split(self, _: Any, restriction: OffsetRange) -> Iterator[OffsetRange]:
        yield restriction

    def truncate(self, _: Any, restriction: OffsetRange) -> None:
        """Nothing is left to do when the job drains."""


_NUMBERS = beam.DoFn.RestrictionParam(_OneByOne())
_WATERMARK = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider())


class _StartFn(beam.DoFn):  # type: ignore[misc]
    """Starts the looks, and keeps the watermark from ending: a timer behind an input that has ended never fires on Flink."""

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator]
    def process(self, _: Any, numbers: Any = _NUMBERS, watermark: Any = _WATERMARK) -> Iterator[tuple[str, int]]:
        number = numbers.current_restriction().start
        if numbers.try_claim(number):
            yield "looks", number
            numbers.defer_remainder(Duration(_START_EVERY_S))


_NEXT = TimerSpec("next", TimeDomain.REAL_TIME)
_NEXT_TIME = beam.DoFn.TimerParam(_NEXT)
_NEXT_NUMBER = beam.DoFn.StateParam(ReadModifyWriteStateSpec("number", VarIntCoder()))


class _LookAgainFn(beam.DoFn):  # type: ignore[misc]
    """One look after another, never two at once: the timer of the next one is set when this one is over.

    There is one timer, so that a start sets the time of the next look and never begins a second series.
    """

    def __init__(self, config: IngestConfig) -> None:
        self._run_id = config.run_id
        self._interval_s = config.look_every_s or 0

    def start_bundle(self) -> None:
        self._looked = False

    def process(self, _: tuple[str, int], next_time: Any = _NEXT_TIME) -> None:
        next_time.set(time.time())

    @on_timer(_NEXT)  # type: ignore[untyped-decorator]
    def look(self, number: Any = _NEXT_NUMBER, next_time: Any = _NEXT_TIME) -> Iterator[Look]:
        began = time.time()
        # What a look finds is recorded at the end of its bundle, before which another one would find it again.
        if not self._looked:
            self._looked = True
            current = number.read() or 0
            yield begin_look(self._run_id, current)
            number.write(current + 1)
        next_time.set(max(began + self._interval_s, time.time()))


@dataclass(eq=False)
class Looks(beam.PTransform):  # type: ignore[misc]
    """When to look for files.

    Input: the pipeline. An element of the output is a `Look`: one of a bounded run; of a streaming run one every
    `look_every_s` seconds, from the beginning of one to that of the next, or right after one that took longer. A retry
    repeats looks; nothing rests on their number.
    """

    config: IngestConfig

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection[Look]:
        start = pipeline | "Start" >> beam.Impulse()
        if not self.config.streaming:
            return start | "LookOnce" >> beam.Map(lambda _: Look()).with_output_types(Look)
        starts = start | "KeepGoing" >> beam.ParDo(_StartFn()).with_output_types(tuple[str, int])
        return starts | "LookAgain" >> beam.ParDo(_LookAgainFn(self.config)).with_output_types(Look)
