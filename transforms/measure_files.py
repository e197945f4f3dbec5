"""How much pending files hold: of compressed ones only reading them tells."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from transforms import interrupt
from transforms.storage import FileChanged, PendingFile, StorageError
from transforms.storage.compression import compression_of_name
from transforms.storage.contents import Contents
from transforms.storage.open_files import Measure
from transforms.storage.overlap import overlapped

_AT_ONCE = 4
"""Files that are decompressed at once, as long as there are processors for it."""


@dataclass
class Measured:
    """What was found out about some files."""

    measures: dict[str, Measure] = field(default_factory=dict)
    """By path. Files that are gone, or that were not come to when the run was interrupted, are in nothing."""
    failed: dict[str, OSError | StorageError] = field(default_factory=dict)
    """Why others could not be read, by path."""
    changed: int = 0
    """Those that are not as they were listed."""


def measure_files(
    files: Sequence[PendingFile], known: Container[str], contents: Contents, run_id: str = ""
) -> Measured:
    """How much each of these files holds. Stops where the run is asked to.

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

    def measure(file: PendingFile) -> Measure | OSError | StorageError | None:
        if interrupt.is_requested(run_id):
            return None
        try:
            return contents.measure(file.path, file.etag, file.size)
        except (OSError, StorageError) as error:
            return error

    at_once = max(contents.storage.files_at_once, _AT_ONCE)
    for file, found in zip(looked_at, overlapped(measure, looked_at, at_once), strict=True):
        if isinstance(found, Measure):
            result.measures[file.path] = found
        elif isinstance(found, FileChanged):
            result.changed += 1
        elif found is not None and not isinstance(found, FileNotFoundError):  # which another run has taken
            result.failed[file.path] = found
    return result
