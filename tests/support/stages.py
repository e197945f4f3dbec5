"""The stages of the pipeline without a runner, one step after the other, so that a test can act between any two steps.

A step is a statement to ClickHouse or an operation on a file: what a worker does between two steps nobody else can see.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp

from transforms.adopt_loads import adopt_loads
from transforms.blocks.row_block import RowBlock
from transforms.clickhouse import ClickHouse
from transforms.config import IngestConfig
from transforms.finalize_files import LoadResult, _FinalizeFilesFn
from transforms.listing import in_delivery_order, match_files
from transforms.loads import Load
from transforms.loads.runs import Lease
from transforms.parse_jsonl import ParsedLoad, _ParseJsonlFn
from transforms.record_loads import record_loads
from transforms.run import RunFn, contents_of
from transforms.storage import Storage, open_storage
from transforms.write_to_clickhouse import _WriteBlocksFn

READS = ("query", "query_arrow", "list_pending", "etag", "read")
WRITES = ("insert", "command", "move", "delete")

Before = Callable[[int, str], None]
"""Called before each step of a worker with its number, from 0 on, and its name."""
Fn = TypeVar("Fn", bound=RunFn)


class Killed(BaseException):
    """Raised before a step by a test that wants the worker to end there."""


class InThisThread(Executor):
    """Does at once what it is given to do."""

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*arguments, **named))
        except Exception as error:
            future.set_exception(error)
        return future


class _Stepwise:
    """Stands before a client or a storage and announces each step."""

    def __init__(self, target: object, announce: Callable[[str], None]) -> None:
        self._target, self._announce = target, announce

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in READS + WRITES:
            return found

        def step(*arguments: Any, **named: Any) -> Any:
            self._announce(f"{name} {' '.join(str(arguments[0]).split())[:80]}" if arguments else name)
            return found(*arguments, **named)

        return step


@dataclass
class Worker:
    """A worker of a run, which does one thing at a time."""

    client: ClickHouse
    config: IngestConfig
    before: Before = lambda number, name: None
    steps: list[str] = field(default_factory=list)
    """The names of those that it came to."""

    def run(self) -> list[LoadResult]:
        """What the pipeline does: takes up what dead runs left, then loads what is pending."""
        stage = self.stage(RunFn)
        adopted = adopt_loads(stage.journal, stage.log, stage.client, self.config.run_id)
        return self.finish(adopted) + self.finish(self.record())

    def record(self) -> list[Load]:
        """The loads of what is pending."""
        stage = self.stage(RunFn)
        first_ms = max(int(time.time() * 1000), stage.journal.look().versions_end_ms)
        found = match_files(stage.storage, self.config, lambda path, reason: None)
        files = list(in_delivery_order(found, first_ms, self.config))
        return record_loads(files, stage) if files else []

    def finish(self, loads: Iterable[Load]) -> list[LoadResult]:
        """Parses and inserts loads, commits them and moves their files, one load after the other."""
        parse, write, finalize = (self.stage(kind) for kind in (_ParseJsonlFn, _WriteBlocksFn, _FinalizeFilesFn))
        return [
            result
            for load in loads
            for parsed in one_bundle(cast(_WriteBlocksFn, write), parse.process(load))
            for result in finalize._finalize([parsed])
        ]

    def stage(self, kind: type[Fn]) -> Fn:
        """A stage's DoFn with everything that its `setup` would open."""
        fn = kind(self.config)
        fn.client = cast(ClickHouse, _Stepwise(self.client, self._announce))
        fn.storage = cast(Storage, _Stepwise(open_storage(self.config.input), self._announce))
        fn.contents = contents_of(fn.storage, self.config)
        fn.journal = self.config.journal(fn.client)
        fn.log = self.config.load_log(fn.client)
        fn.lease = Lease(
            fn.client, run_id=self.config.run_id, input=self.config.name, lease_s=1e9, holder=fn.journal.holder
        )
        if isinstance(fn, _WriteBlocksFn):
            fn._pool = cast(Any, InThisThread())
        return fn

    def _announce(self, name: str) -> None:
        self.steps.append(name)
        self.before(len(self.steps) - 1, name)


def one_bundle(fn: _WriteBlocksFn, elements: Iterable[RowBlock | ParsedLoad]) -> Iterator[ParsedLoad]:
    """What WriteToClickHouse makes of the elements of one bundle."""
    fn.start_bundle()
    for element in elements:
        yield from fn.process(element, Timestamp(0), GlobalWindow())
    for ended in fn.finish_bundle():
        yield ended.value


def writes(steps: Sequence[str]) -> list[int]:
    """The numbers of the steps that change something."""
    return [number for number, name in enumerate(steps) if name.split()[0] in WRITES]
