"""What `line_parser/src/lib.rs` makes."""

from collections.abc import Sequence

from transforms.events.compiled import FieldSpec, Left

class LineParser:
    """Parses the lines of several files into rows. Not for threads; others run while it parses."""

    def __init__(
        self,
        types: Sequence[tuple[str, Sequence[FieldSpec], int]],
        earliest_ms: int,
        latest_ms: int,
        mistaken: Sequence[tuple[int, int]],
        max_line_bytes: int,
    ) -> None: ...
    def add(
        self, data: bytes, start: int, end: int, project_id: str, recorded_at_ms: int, sequence: int
    ) -> tuple[int, int, list[Left]]:
        """Takes the lines in `data[start:end]`, all of one file.

        Returns how many became rows, how many newlines there are, and the lines that did not become rows."""

    def finish(self) -> list[tuple[str, int, Batch]]:
        """The rows of everything that was added: event type, month as YYYYMM, rows in the order of their lines."""

class Batch:
    """Rows, for `pyarrow.record_batch`."""

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]: ...
