"""What is built from this directory holds every package and the parser in Rust, and the base install wants no engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.compiled_parser import require_compiled

ROOT = Path(__file__).parents[2]
PACKAGES = ("beam_pipeline", "transforms")


def copy_source(target: Path) -> Path:
    """What a fresh clone has, so that nothing is left here and nothing that was built here is found."""
    for name in (*PACKAGES, "line_parser"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "target", "*.so"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, target / name)
    return target


def run(*command: str | Path, cwd: Path, **environment: str) -> None:
    # What the parser depends on was compiled here before.
    variables = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "line_parser/target"), **environment}
    words = [sys.executable, *map(str, command)]
    done = subprocess.run(words, cwd=cwd, env=variables, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built as `pip install .` builds it."""
    require_compiled()
    source, target = copy_source(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("wheel")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", target, source, cwd=source)
    return zipfile.ZipFile(next(target.glob("*.whl")))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as Beam builds it for --setup_file."""
    source, target = copy_source(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("sdist")
    run("-m", "build", "--no-isolation", "--sdist", "--outdir", target, source, cwd=source)
    return next(target.glob("*.tar.gz"))


def modules() -> set[str]:
    return {str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")}


TYPES = {*(f"{name}/py.typed" for name in PACKAGES), "transforms/events/_line_parser.pyi"}


def content(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


def test_every_module_is_in_the_wheel_and_the_compiled_parser_for_any_python(wheel: zipfile.ZipFile) -> None:
    assert content(wheel) == modules() | TYPES | {"transforms/events/_line_parser.abi3.so"}
    assert "-cp310-abi3-" in str(wheel.filename)


def test_the_sdist_has_all_that_a_wheel_is_built_from(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        packed = {member.name.partition("/")[2] for member in archive if member.isfile()}
    rust = {str(path.relative_to(ROOT)) for path in (ROOT / "line_parser/src").iterdir()}
    rust |= {"line_parser/Cargo.toml", "line_parser/Cargo.lock"}
    assert modules() | TYPES | rust | {"setup.py", "pyproject.toml"} <= packed
    assert [name for name in packed if name.endswith(".so") or "target" in name] == []


def test_what_setup_file_makes_is_installed_with_setuptools_alone(tmp_path: Path) -> None:
    """As Beam makes it where it has no `build`, and as its workers install it: without Rust and without setuptools-rust."""
    setuptools, alone = Path(find_spec("setuptools").origin).parent, tmp_path / "alone"
    alone.mkdir()
    for found in (*setuptools.parent.glob("setuptools*"), setuptools.parent / "_distutils_hack"):
        if not found.name.startswith("setuptools_"):
            (alone / found.name).symlink_to(found)
    source = copy_source(tmp_path / "source")
    environment = {"PYTHONPATH": str(alone), "PATH": str(alone)}
    run("-S", "setup.py", "-q", "sdist", "--dist-dir", tmp_path, cwd=source, **environment)
    (made,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(made, tmp_path)
    unpacked = tmp_path / made.name.removesuffix(".tar.gz")
    assert (unpacked / "line_parser/Cargo.lock").exists()
    run("-S", "setup.py", "-q", "bdist_wheel", "--dist-dir", tmp_path, cwd=unpacked, **environment)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        assert content(wheel) == modules() | TYPES


def test_the_engine_is_an_extra(wheel: zipfile.ZipFile) -> None:
    (metadata,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    required = [line for line in wheel.read(metadata).decode().splitlines() if line.startswith("Requires-Dist:")]
    (engine,) = [line for line in required if "chdb" in line]
    assert engine.endswith('extra == "embedded"')
    assert any("apache-beam" in line and "extra" not in line for line in required)
