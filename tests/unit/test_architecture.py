"""The rooms of the house and the arrows between them: imports point down only (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("loads", "blocks", "events", "clickhouse", "storage")
STAGES = "stages"
"""The modules of `transforms` that are in no room: the stages, and what every stage has."""
QUERY_ROOMS = ("lists", "numbers")
QUERY = "query"
"""The facade of the query API: the package itself and its provider."""
SCHEMA = "schema"
QUERY_BASE = "query base"
"""The other modules of `beam_pipeline.query` that are in no room: what lists and numbers share."""
MAY_IMPORT = {
    "beam_pipeline": {QUERY, *QUERY_ROOMS, QUERY_BASE, SCHEMA, STAGES, *ROOMS},
    QUERY: {*QUERY_ROOMS, QUERY_BASE, SCHEMA, *ROOMS},
    SCHEMA: set(ROOMS),
    "lists": {QUERY_BASE, *ROOMS},
    "numbers": {QUERY_BASE, *ROOMS},
    QUERY_BASE: set(ROOMS),
    STAGES: set(ROOMS),
    "loads": {"events", "clickhouse", "storage"},
    "blocks": {"events", "clickhouse", "storage"},
    "events": set(),
    "clickhouse": set(),
    "storage": set(),
}


def room_of(module: str) -> str | None:
    """The room of one of our modules; None for a module of somebody else."""
    package, *parts = module.split(".")
    if package == "transforms":
        return parts[0] if parts and parts[0] in ROOMS else STAGES
    if package == "beam_pipeline" and parts[:1] == ["query"]:
        if parts[1:] in ([], ["provider"]):
            return QUERY
        return parts[1] if parts[1] in QUERY_ROOMS else QUERY_BASE
    if package == "beam_pipeline" and parts[:1] == [SCHEMA]:
        return SCHEMA
    return package if package == "beam_pipeline" else None


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from transforms import metrics` imports a module, too.
            names = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name if is_ours(name) else node.module for name in names}
    return found


def is_ours(module: str) -> bool:
    """Whether a name is that of a module or package of ours."""
    path = ROOT.joinpath(*module.split("."))
    return path.is_dir() or path.with_name(f"{path.name}.py").is_file()


@pytest.mark.parametrize("package", ["beam_pipeline", "transforms"])
def test_imports_point_down_only(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert len(paths) > 20
    wrong = []
    for path in paths:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        room = room_of(module)
        assert room is not None
        others = {other for other in map(room_of, imports(path)) if other is not None} - {room}
        wrong += [f"{module} imports {other}" for other in sorted(others - MAY_IMPORT[room])]
    assert wrong == []


@pytest.mark.parametrize(("package", "rooms"), [("transforms", ROOMS), ("beam_pipeline/query", QUERY_ROOMS)])
def test_rooms_have_no_room_that_nobody_knows(package: str, rooms: tuple[str, ...]) -> None:
    folders = {path.name for path in (ROOT / package).iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(rooms)


def test_folders_of_unit_tests_are_named_after_packages() -> None:
    packages = {
        path.parent.name for package in ("beam_pipeline", "transforms") for path in (ROOT / package).rglob("*.py")
    }
    folders = {path.parent.name for path in (ROOT / "tests" / "unit").rglob("test_*.py")} - {"unit"}
    assert folders <= packages


def test_an_import_of_a_module_by_its_package_counts_as_one_of_the_module(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "from beam_pipeline.query import Page, lists, model\nfrom transforms import metrics\n"
        "from transforms.events import TABLES\nimport beam_pipeline.query.numbers.series\n"
    )
    assert imports(path) == {
        *("beam_pipeline.query", "beam_pipeline.query.lists", "beam_pipeline.query.model"),
        *("transforms.metrics", "transforms.events", "beam_pipeline.query.numbers.series"),
    }
