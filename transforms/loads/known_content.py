"""What of a file is loaded, by what the log says of its path and by comparing contents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from transforms.loads.lines import line_start, range_digest
from transforms.loads.rows import FileRecord
from transforms.storage import PendingFile
from transforms.storage.contents import Contents


def loaded_prefix(
    contents: Contents, file: PendingFile, readable: int, records: Sequence[FileRecord]
) -> list[FileRecord]:
    """The slices that were loaded and that this file begins with, one behind the other.

    They end where all that was loaded of some content ends: a file that has only a part of it means something else. Several
    contents may have the same range, one as a part and one as a whole, so that each is looked at. What is behind `readable`
    is not compared. Raises OSError or StorageError.
    """
    covered: list[FileRecord] = []
    reached = 0
    for record in sorted(
        _still_there(contents, file, readable, records), key=lambda record: (record.start, -record.end)
    ):
        if record.start > reached:
            break
        covered.append(record)
        reached = max(reached, record.end)
    ends = [
        record
        for record in covered
        if record.at_end or not any(r.etag == record.etag and r.end > record.end for r in records)
    ]
    if not ends:
        return []
    last = max(ends, key=lambda record: record.end)
    if last.end == 0:
        return [last] if file.size == 0 else []
    # Rather those of one content than of several that go on from each other.
    of_one = _one_behind_the_other([record for record in covered if record.etag == last.etag], last.end)
    return of_one or _one_behind_the_other(covered, last.end)


def _one_behind_the_other(records: Iterable[FileRecord], end: int) -> list[FileRecord]:
    """Those that go on from where the one before ends, from the beginning to `end`; none when they do not come to it."""
    found: list[FileRecord] = []
    reached = 0
    for record in records:
        if record.start <= reached < record.end <= end:
            found.append(record)
            reached = record.end
    return found if reached == end else []


def _still_there(
    contents: Contents, file: PendingFile, readable: int, records: Iterable[FileRecord]
) -> Iterator[FileRecord]:
    """The slices whose bytes are the same in this file. Reads each range once."""
    digests: dict[tuple[int, int], str] = {}
    for record in records:
        if not record.digest or record.end > readable:
            continue
        span = record.start, record.end
        if span not in digests:
            digests[span] = range_digest(contents, file.path, file.etag, *span)
        if digests[span] == record.digest:
            yield record


def gaps(
    contents: Contents, file: PendingFile, readable: int, records: Sequence[FileRecord]
) -> Iterator[tuple[int, int]]:
    """The ranges of a file that none of these records has. An empty file that none has is one empty range."""
    if not records:
        yield 0, file.size
        return
    reached, was_end = 0, False
    for record in sorted(records, key=lambda record: record.start):
        if record.start > reached:
            yield reached, record.start
        if record.end > reached:
            reached, was_end = record.end, record.at_end
    if reached < file.size:
        # A file that grew may have ended in the middle of a line, which was taken for a line then. Take it whole now, unless
        # all that it lacked was its end.
        is_cut = was_end and reached < readable
        if is_cut:
            is_cut = contents.read(file.path, reached, reached + 1, etag=file.etag).data not in (b"\n", b"\r")
        yield line_start(contents, file.path, file.etag, reached) if is_cut else reached, file.size
