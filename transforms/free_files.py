"""What a look of a streaming job takes: pending files that no load under way has, as far as there is room for them.

The job itself remembers nothing. Which files are under way, and how many loads, is asked of the journal, by each look.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from transforms.config import IngestConfig, month_of
from transforms.failed_files import waits
from transforms.loads.journal import Holding, Tail, wait_ms
from transforms.loads.rows import FileRecord
from transforms.storage import PendingFile


def under_way(tail: Tail, run_id: str) -> int:
    """How many loads of a run are being worked on: those that are neither finished nor failed."""
    return sum(holding.run_id == run_id and not holding.error for holding in tail.unfinished.values())


def lost(tail: Tail, run_id: str, *, anew: bool) -> list[Holding]:
    """Unfinished loads of a run that nobody works on any more, and that are due: failed ones, and `anew` all of them."""
    return [
        holding
        for holding in tail.unfinished.values()
        if holding.run_id == run_id and (holding.age_ms >= wait_ms(holding.attempt) if holding.error else anew)
    ]


def free_files(
    files: Iterable[PendingFile], known: Mapping[str, Sequence[FileRecord]], tail: Tail
) -> Iterator[PendingFile]:
    """The files that no unfinished load has a part of, and that do not wait for their next attempt."""
    for file in files:
        records = known.get(file.path, ())
        if not any(_is_held(record, tail) for record in records) and not waits(file, records):
            yield file


def _is_held(record: FileRecord, tail: Tail) -> bool:
    holding = tail.unfinished.get(record.load_id)
    if holding is None or record.state == "released":
        return False
    # A committed load with an error could not move a file; RecordLoads tries it again.
    return not (record.committed and holding.error)


def fitting(files: Iterable[PendingFile], loads: int, config: IngestConfig) -> list[PendingFile]:
    """The first of these files, in order of age: as many as make so many loads, and at least one.

    Files of another month make another load.
    """
    taken: list[PendingFile] = []
    month, size, count = "", 0, 0
    for file in files:
        if month_of(file.timestamp_ms) != month or count == config.load_files or size + file.size > config.load_bytes:
            loads -= max(math.ceil(file.size / config.load_bytes), 1)
            if loads < 0 and taken:
                break
            month, size, count = month_of(file.timestamp_ms), 0, 0
        taken.append(file)
        size += file.size
        count += 1
    return taken


def is_worth_a_load(files: Sequence[PendingFile], config: IngestConfig, now_ms: float) -> bool:
    """Whether files make a whole load, or one of them has waited for others as long as it may."""
    if len(files) >= config.load_files or sum(file.size for file in files) >= config.load_bytes:
        return True
    # A time in the future says nothing about the age, unless it is that of another clock.
    return any(abs(now_ms - file.modified_ms) >= config.max_load_delay_s * 1000 for file in files)
