"""Generated files have the same events, and the same bytes each time, whatever they are compressed with."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_pipeline.generate import GenerateOptions, generate
from transforms.storage.compression import Decompressor


def generated(directory: Path, compression: str) -> dict[str, bytes]:
    options = GenerateOptions(str(directory), events=300, start_ms=0, end_ms=10**9, compression=compression)
    assert options.problems() == []
    written = generate(options)
    files = {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert (written.files, written.bytes) == (len(files), sum(map(len, files.values())))
    return files


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_compressed_files_hold_the_same_events(tmp_path: Path, compression: str) -> None:
    plain = generated(tmp_path / "plain", "none")
    files = generated(tmp_path / "one", compression)
    assert files == generated(tmp_path / "other", compression)
    assert {name: Decompressor([stored]).read() for name, stored in files.items()} == {
        f"{name}.{compression}": content for name, content in plain.items()
    }


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    (problem,) = GenerateOptions(str(tmp_path), compression="xz").problems()
    assert problem == "--compression: 'xz' must be one of none, gz, zst"
