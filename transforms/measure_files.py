"""How much pending files hold: of compressed ones only reading them tells."""

from __future__ import annotations

from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from transforms import interrupt, report
from transforms.storage import FileChanged, PendingFile, StorageError
from transforms.storage.compression import compression_of_name
from transforms.storage.contents import Contents
from transforms.storage.open_files import Measure

_AT_ONCE = 8


@dataclass
class Measured:
    """What was found out about some files."""

    measures: dict[str, Measure] = field(default_factory=dict)
    """By path. Files that are gone, or that were not come to when the run was interrupted, are in nothing."""
    failed: dict[str, str] = field(default_factory=dict)
    """Those that could not be read, with the reason."""
    changed: int = 0
    """Those that are not as they were listed."""


def measure_files(files: Sequence[PendingFile], known: Container[str], contents: Contents) -> Measured:
    """How much each of these files holds.

    Reads those that are compressed by their name, a few at once, and the first bytes of those that the log knows (by path) or
    that are cut into several loads. Any other file is taken for what it is called: should it turn out to be compressed when it
    is loaded, it is given back and recorded anew (`transforms.parse_jsonl`). So a plain file costs no request here.
    """
    result = Measured()
    looked_at = [
        file
        for file in files
        if compression_of_name(file.path) or file.path in known or file.size > contents.lines_apart
    ]
    result.measures = {file.path: Measure(file.size) for file in files}
    for file in looked_at:
        del result.measures[file.path]

    def measure(file: PendingFile) -> Measure | None:
        return None if interrupt.requested.is_set() else contents.measure(file.path, file.etag, file.size)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="measure") as pool:
        under_way = [(file, pool.submit(measure, file)) for file in looked_at]
        for file, future in under_way:
            try:
                found = future.result()
            except FileNotFoundError:
                continue  # taken by another run since it was listed
            except FileChanged:
                result.changed += 1
            except (OSError, StorageError) as error:
                result.failed[file.path] = report.reason_of(error)
            else:
                if found is not None:
                    result.measures[file.path] = found
    return result
