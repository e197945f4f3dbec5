"""ParseJsonl: a load's lines become blocks of rows, one table and one month each, and rejected rows."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace

import apache_beam as beam
from apache_beam.coders import PickleCoder
from apache_beam.coders.coder_impl import CallbackCoderImpl

from transforms import interrupt, report
from transforms.blocks.row_block import LoadPart, RowBlock
from transforms.clickhouse import ClickHouseError
from transforms.config import IngestConfig
from transforms.load_parser import LoadFailed, LoadParser
from transforms.loads import Load, Slice, describe_files
from transforms.loads.rows import LoadCounts, SliceOutcome
from transforms.loads.runs import TakenOver
from transforms.record_loads import record_loads
from transforms.run import RunFn
from transforms.storage import PendingFile, StorageError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ParsedLoad(LoadPart):
    """Comes after the last block of a load: what the blocks before it must add up to, or why it failed."""

    load: Load
    """Its slices end where their lines were read to."""
    counts: LoadCounts = field(default_factory=LoadCounts)
    blocks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Rows by (table, label)."""
    outcomes: Mapping[int, SliceOutcome] = field(default_factory=dict)
    """By the slice's position."""
    problems: Mapping[int, str] = field(default_factory=dict)
    """Slices of which a part, or all, was left to a later load, with the reason."""
    changed: frozenset[int] = frozenset()
    """Slices whose file is not as it was recorded: where it goes is for the next look to say."""
    error: str = ""
    started: float = 0.0
    """time.time() when its first chunk was read."""


class LoadPartCoder(PickleCoder):  # type: ignore[misc]
    """Pickles, as Beam would, but knows how large a block is: Beam samples sizes, and would pickle blocks for that."""

    def _create_impl(self) -> CallbackCoderImpl:
        return CallbackCoderImpl(pickle.dumps, pickle.loads, lambda part: part.num_bytes)


beam.coders.registry.register_coder(LoadPart, LoadPartCoder)


def parsed_load(parser: LoadParser, error: str = "") -> ParsedLoad:
    """What was parsed so far, with the reason when that is not everything."""
    return ParsedLoad(
        load=parser.load,
        counts=parser.counts(),
        blocks=parser.blocks,
        outcomes=parser.outcomes(),
        problems=parser.problems,
        changed=parser.changed,
        error=error,
        started=parser.started,
    )


class _ParseJsonlFn(RunFn):
    def process(self, load: Load) -> Iterator[RowBlock | ParsedLoad]:
        for more in (yield from self._parse(load)):
            yield from self._parse(more)

    def _parse(self, load: Load) -> Generator[RowBlock | ParsedLoad, None, list[Load]]:
        """Parses a load; the loads that come of files which turned out to be compressed are left to the caller."""
        parser, error, is_left = LoadParser(load, self), "", False
        try:
            # A runner may retry a bundle after the load was committed, without a file that could not be read then.
            if load.committed or self.log.is_committed(load.load_id):
                parser.load = replace(load, committed=True)
            elif interrupt.is_requested(self.config.run_id):
                is_left = True  # it stays recorded as it is, and the next run takes it up
            else:
                yield from parser
        except Exception as caught:  # one bad load never blocks the others
            expected = isinstance(caught, (LoadFailed, TakenOver, StorageError, OSError, ClickHouseError))
            error = str(caught) if expected else repr(caught)
            _log.debug("%s", load.describe(), exc_info=caught)
        if not is_left:
            yield parsed_load(parser, error)
        return self._recorded_anew(parser)

    def _recorded_anew(self, parser: LoadParser) -> list[Load]:
        """Loads of files that were given back because they are compressed, now that it is known: with what they hold."""
        files = [_pending(part, parser.load) for part in parser.compressed.values()]
        try:
            return record_loads(files, self) if files else []
        except (ClickHouseError, OSError) as error:
            report.fail(describe_files([file.path for file in files]), f"could not be assigned to a load: {error}")
            return []


def _pending(part: Slice, load: Load) -> PendingFile:
    return PendingFile(
        timestamp_ms=part.timestamp_ms,
        path=part.path,
        event_type=part.event_type,
        project_id=part.project_id,
        size=part.size,
        modified_ms=part.modified_ms,
        etag=part.etag,
        version_ms=load.end_ms,
    )


@dataclass(eq=False)
class ParseJsonl(beam.PTransform):  # type: ignore[misc]
    """Reads and parses loads.

    Input: recorded `Load`s. Elements of the output, for each load: its `RowBlock`s, then one `ParsedLoad` that says what
    they add up to. A retry yields the same blocks with the same content, or none when the load was committed before it was
    emitted. Holds one chunk in memory at a time.
    """

    config: IngestConfig

    def expand(self, loads: beam.PCollection[Load]) -> beam.PCollection[RowBlock | ParsedLoad]:
        return loads | "ParseLoads" >> beam.ParDo(_ParseJsonlFn(self.config)).with_output_types(LoadPart)
