"""Whether lines are parsed in Rust or in Python."""

from __future__ import annotations

from beam_pipeline.checks.check import Check, ok, warning

PARSER = "parser"


def check_parser() -> Check:
    """Tells which parser is installed here. Workers elsewhere may have the other one; both make the same rows."""
    from transforms.events.compiled import is_built  # with Arrow, for which --help does not wait

    if is_built():
        return ok(PARSER, "lines are parsed in Rust")
    return warning(
        PARSER,
        "lines are parsed in Python, which takes about three times as long",
        "install Rust 1.88 or newer, then this package again",
    )
