"""Reads a byte range by one streaming request, and by another one from where it broke off, of the same content."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from transforms.storage.contract import Content, StorageError

PART_BYTES = 1024 * 1024
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """A store's answer to a request for a range, of which the body is still to come."""

    etag: str
    pin: str
    """What tells the store to go on with this content only."""
    size: int
    """Of the whole object."""
    encoding: str
    is_partial: bool
    """Whether it is the range that was asked for, and not the whole object."""
    body: AsyncIterator[bytes]


Request = Callable[[int, str], AbstractAsyncContextManager[Answer]]
"""Asks for the object from an offset on, to the end of the range; pinned to a content unless the pin is ''."""


async def read_resumed(
    request: Request, start: int, end: int, *, is_broken: Callable[[BaseException], bool]
) -> Content:
    """The bytes [start, end) of an object, fewer where it ends before. Raises what `request` raises."""
    parts: list[bytes] = []
    reached = start
    first: Answer | None = None
    async for attempt in AsyncRetrying(
        retry=retry_if_exception(is_broken),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(0.1, 5),
        reraise=True,
    ):
        with attempt:
            async with request(reached, first.pin if first else "") as answer:
                if reached and not answer.is_partial:
                    raise StorageError("the store does not answer requests for ranges")
                first = first or answer
                async for part in answer.body:
                    parts.append(part)
                    reached += len(part)
                    if reached >= end:
                        break
                if reached < min(end, first.size):
                    raise ConnectionError(
                        f"the store has ended its answer {min(end, first.size) - reached} bytes early"
                    )
    assert first is not None
    return Content(b"".join(parts)[: end - start], first.etag, first.size, first.encoding)
