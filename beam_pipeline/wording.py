"""How messages put a number and its noun."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun, and with more of the sentence where that depends on the number.

    `1 line`, `2,000 lines`; `many` is for what more than an s makes a plural: `1 line was`, `2,000 lines were`.
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def sized(size: int) -> str:
    """A number of bytes in the unit of which there are at least one: `999 bytes`, `1.5 kB`, `64.0 MB`, `1.2 TB`."""
    if size < 1000:
        return counted(size, "byte")
    number, units = size / 1000, iter(("kB", "MB", "GB", "TB"))
    unit = next(units)
    for larger in units:
        if number < 999.95:
            break
        number, unit = number / 1000, larger
    return f"{number:,.1f} {unit}"
