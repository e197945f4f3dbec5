"""How messages put a number and its noun."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun, and with more of the sentence where that depends on the number.

    `1 line`, `2,000 lines`; `many` is for what more than an s makes a plural: `1 line was`, `2,000 lines were`.
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
