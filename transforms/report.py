"""What went wrong, by name, and what was ignored: logged where it happens, and kept in this process for a run's summary."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from transforms.loads.runs import Owner
from transforms.storage.ignored_files import IgnoredFile, IgnoredFiles, IgnoredGroup

_logger = logging.getLogger("beam_pipeline")
_MOST = 100_000
"""Failures that are kept: a worker of a streaming job lives for months."""
_lock = threading.Lock()
_failures: dict[str, str] = {}
_ignored = IgnoredFiles()
_owners: dict[str, Owner] = {}


@dataclass(frozen=True, slots=True, order=True)
class Failure:
    """A file, directory or load that is left for a later run, and why."""

    name: str
    reason: str


def fail(name: str, reason: str) -> None:
    """Notes that something failed; the last reason for a name counts."""
    _logger.warning("%s: %s", name, reason)
    with _lock:
        _failures[name] = reason
        if len(_failures) > _MOST:
            del _failures[next(iter(_failures))]


def failures() -> list[Failure]:
    """What failed in this process since `clear`, by name."""
    with _lock:
        return sorted(Failure(name, reason) for name, reason in _failures.items())


def ignore(file: IgnoredFile) -> None:
    """Notes that a file is not loaded."""
    _logger.info("%s: ignored: %s", file.path, file.describe())
    with _lock:
        _ignored.add(file)


def ignored() -> list[IgnoredGroup]:
    """What was ignored in this process since `clear` or `clear_ignored`, by reason."""
    with _lock:
        return _ignored.groups()


def skip(files: Mapping[str, Owner]) -> None:
    """Notes that files are left alone, by path, and which runs are loading them."""
    for path, owner in files.items():
        _logger.info("%s: skipped: %s is loading it", path, owner.describe())
    with _lock:
        _owners.update((owner.run_id, owner) for owner in files.values())


def owners() -> list[Owner]:
    """The runs whose files were left alone in this process since `clear` or `clear_look`."""
    with _lock:
        return list(_owners.values())


def recognise(path: str) -> None:
    """Notes that a file came again with a content that is loaded already."""
    _logger.info("%s: its content is loaded already; moved to processed/ without loading it again", path)


def clear_look() -> None:
    """Forgets what was ignored or skipped, before another look that finds the same files."""
    with _lock:
        _ignored.clear()
        _owners.clear()


def clear() -> None:
    with _lock:
        _failures.clear()
        _ignored.clear()
        _owners.clear()
