"""The rooms of the house and the arrows between them: imports point down only (docs/architecture.md)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("loads", "blocks", "events", "clickhouse", "storage")
STAGES = "stages"
"""The modules of `transforms` that are in no room: the stages, and what every stage has."""
MAY_IMPORT = {
    "beam_pipeline": {STAGES, *ROOMS},
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
    return package if package in MAY_IMPORT else None


def imports(path: Path) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from transforms import metrics` imports a module, too.
            found |= (
                {f"{node.module}.{name.name}" for name in node.names} if node.module == "transforms" else {node.module}
            )
    return found


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


def test_rooms_have_no_room_that_nobody_knows() -> None:
    folders = {path.name for path in (ROOT / "transforms").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ROOMS)
