"""For tests of the parser in Rust, which are not skipped where it is not built."""

from __future__ import annotations

import pytest

from transforms.events import compiled


def require_compiled() -> None:
    """Fails, and says how to get it."""
    if not compiled.is_built():
        pytest.fail(
            "the parser in Rust is not built: install Rust 1.88 or newer (https://rustup.rs) and a C compiler, then "
            "`rm .venv/test; make .venv/test`"
        )
