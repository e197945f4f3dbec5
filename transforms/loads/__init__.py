"""What a load is: which slices of which files, how its lines are read, and the journal and the log that record it."""

from transforms.loads.load import (
    Load,
    Slice,
    cut_loads,
    delivery_ms,
    describe_files,
    make_load,
)

__all__ = [
    "Load",
    "Slice",
    "cut_loads",
    "delivery_ms",
    "describe_files",
    "make_load",
]
