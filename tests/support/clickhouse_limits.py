"""What ClickHouse's HTTP interface refuses, with its default settings, and how it says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.support.clickhouse_bodies import BadRequest

QUERY_BYTES = 256 << 10
"""ClickHouse's max_query_size: the longest statement, and how far into a body that of an INSERT may reach."""
URI_BYTES = 1 << 20
"""ClickHouse's http_max_uri_size."""
FIELD_BYTES = 128 << 10
"""ClickHouse's http_max_field_value_size: of a form's field, and of a parameter in the address, as they are sent."""
FORM_BYTES = 64 << 20
STATUS = {
    **dict.fromkeys((6, 25, 26, 27, 36, 37, 38, 41, 53, 62, 72, 117, 321, 457), 400),
    194: 401,
    **dict.fromkeys((192, 193, 512, 516), 403),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511), 404),
    159: 408,
    381: 411,
    229: 413,
    48: 501,
    **dict.fromkeys((76, 209, 439), 503),
}


class Refused(Exception):
    """An error of the server with ClickHouse's code."""

    def __init__(self, code: int, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status or STATUS.get(code, 500)


def limited(pieces: Iterator[bytes], limit: int) -> bytes:
    """A body as a whole; one that is too long is not read to its end."""
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > limit:
            raise BadRequest(f"the body has more than {limit} bytes")
    return bytes(body)


def check_fields(values: Iterable[str | bytes]) -> None:
    """Raises Refused for the value of a field that is too long."""
    if any(len(value) > FIELD_BYTES for value in values):
        raise Refused(1000, "Poco::Exception. Code: 1000, HTML Form Exception: Field value too long", 500)
