from __future__ import annotations

import os

import pytest


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable gives an option its value."""
    for name in list(os.environ):
        if name.startswith(("CLICKHOUSE_", "INGEST_")):
            monkeypatch.delenv(name)
