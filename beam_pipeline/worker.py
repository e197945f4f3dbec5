"""IngestionWorker: the pipeline as a Python object, for programs that embed it and for the command line."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from beam_pipeline.outcome import Outcome
from beam_pipeline.polling import Polling
from beam_pipeline.results import Activity, ProcessingResult, WorkerStatus
from beam_pipeline.runners import LOCAL_RUNNERS, only_submits, runner_of, template_location_of
from beam_pipeline.runs_under_way import refuse_older_runs
from beam_pipeline.schema import SchemaOptions, SchemaStatus, check_schema_status, connect_or_create, run_migrations
from transforms import interrupt, metrics, report
from transforms.clickhouse import SchemaError
from transforms.config import IngestConfig, InvalidConfig
from transforms.listing import Page, handed_over, list_pages
from transforms.loads.inputs import resolve_input
from transforms.loads.journal import Journal, Tail
from transforms.loads.runs import left_behind
from transforms.report import Failure
from transforms.resources import lent_client, shared_files, shared_lease
from transforms.storage import StorageError, open_storage, requests

if TYPE_CHECKING:
    from transforms.clickhouse import ClickHouse


POLL_INTERVAL_S = 10.0


class SchemaOutOfDate(SchemaError):
    """The database lacks what exactly-once loading rests on; the message says what, and what to run."""


class IngestionWorker:
    """Loads pending files into ClickHouse.

    Args:
        config: what to load, and where to.
        runner_options: Beam pipeline options as a list of flags, such as `["--runner=FlinkRunner", …]`; the default, and
            `DirectRunner`, run in this process. With `--no_wait_until_finish` (Dataflow only) `process_once` submits one
            job for one page of files, and returns.
        schema: how `init` creates what is missing in the database.
        max_files: files that one `process_once` loads at most, the oldest first; None: all.
        page_files: files taken up by one pipeline; more are taken up by further ones.
        on_page: called with each `Page` of files before it is taken up.
        poll_interval_s: seconds from one run to the next between `start` and `stop`.
        on_run: called in the worker's thread with the result of each of these runs, or with the error that kept it from
            being begun.

    Usage::

        worker = IngestionWorker(config)
        worker.init()
        result = worker.process_once()

    or, for a program that lives on::

        worker.start()
        ...
        worker.stop()
        worker.close()
    """

    def __init__(
        self,
        config: IngestConfig,
        *,
        runner_options: list[str] | None = None,
        schema: SchemaOptions | None = None,
        max_files: int | None = None,
        page_files: int = 50_000,
        on_page: Callable[[Page], None] | None = None,
        poll_interval_s: float = POLL_INTERVAL_S,
        on_run: Callable[[ProcessingResult | Exception], None] | None = None,
    ) -> None:
        if poll_interval_s <= 0:
            raise InvalidConfig([f"poll_interval: {poll_interval_s} s must be more than 0"])
        self.config = config
        self._runner_options = runner_options or []
        self._only_submits = only_submits(self._runner_options)
        self._must_submit = bool(template_location_of(self._runner_options))
        """Whoever asks for a job in a file starts it, and takes it for a failure when there is none."""
        self._schema = schema or SchemaOptions(embedded=config.clickhouse.embedded)
        self._max_files = max_files
        self._page_files = page_files
        self._on_page = on_page or (lambda page: None)
        self._poll_interval_s = poll_interval_s
        self._on_run = on_run or (lambda result: None)
        self._polling: Polling | None = None
        self._run_id = ""
        self.activity = Activity()
        self._client: ClickHouse | None = None
        self._checked: SchemaStatus | None = None
        """What the database has, until it is used."""
        self._replicated = False
        self._journal: Journal | None = None
        self._named: tuple[tuple[str, str], str] | None = None
        """Where the input was when it was last looked at, and its name."""
        self._processing = threading.Lock()
        self._started_at: datetime | None = None
        self._last_processed_at: datetime | None = None
        self._files = 0
        self._events: Counter[str] = Counter()
        self._errors: list[Failure] = []

    @property
    def client(self) -> ClickHouse:
        """The worker's own connection, made when it is first needed. Raises ClickHouseError."""
        if self._client is None:
            self._client = self.config.connect()
        return self._client

    @property
    def retries(self) -> int:
        """Statements that were tried again, over the connection that it has now."""
        return self._client.retries if self._client is not None else 0

    @property
    def statements(self) -> int:
        """Statements that were sent, over the connection that it has now."""
        return self._client.statements if self._client is not None else 0

    def init(self) -> None:
        """Checks that files can be moved, and makes what is missing of database and tables.

        Raises StorageError or ClickHouseError.
        """
        self._check_input()
        if self._client is None:
            self._client = connect_or_create(self.config.clickhouse, cluster=self._schema.cluster)
        # Looking comes first, since a user that may load need not have the right to create tables.
        if not check_schema_status(self.client).up_to_date:
            refuse_older_runs(self.client, self.config.input)
            run_migrations(self.client, self._schema)

    def close(self) -> None:
        """Stops, and closes the connection."""
        self.stop()
        if self._client is not None:
            self._client.close()
            self._client = self._journal = None

    def process_once(self) -> ProcessingResult:
        """Loads everything that is pending now, and finishes what earlier runs left. Blocks until done.

        Errors of single files and loads are in the result. Raises ClickHouseError, StorageError or SchemaOutOfDate when
        nothing could be started at all, and RuntimeError when another thread is at it.
        """
        with self._alone():
            return self._process_once()

    def process_stream(self) -> ProcessingResult:
        """Runs one unbounded job that looks for files every `config.look_every_s` seconds. Blocks until it is stopped.

        The job goes on when this process does not. Raises what `process_once` does, and RuntimeError when the job was
        cancelled or has failed; what it had begun then is finished by whoever looks next.
        """
        with self._alone(), ExitStack() as run:
            started = time.time()
            config = replace(self._configured(started), looked_at_ms=None)
            run.enter_context(lent_client(self.client))
            config = replace(self._prepared(config, self._look(), run), first_version_ms=None)
            self._run_pipeline(config)
            return self._ended(config, started)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._processing.acquire(blocking=False):
            raise RuntimeError("process_once is already running in another thread")
        try:
            yield
        finally:
            interrupt.forget(self._run_id)
            self._processing.release()

    def start(self) -> None:
        """Loads what is pending at once and then at every poll interval, in a thread, until `stop`. Returns at once.

        An error that keeps a run from being begun, such as a server that is away, is passed to `on_run`, and the worker
        tries again after the interval, then after twice the time and so on, up to a minute. Raises RuntimeError when it
        is started already.
        """
        if self._polling is not None and self._polling.is_alive:
            raise RuntimeError("the worker is started already")
        self._polling = Polling(self._look_once, self._poll_interval_s)
        self._polling.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Finishes the loads in hand, starts no new ones, and waits for that; whether it has ended within `timeout_s`.

        Does nothing to a worker that was not started, so that it can be called twice.
        """
        if self._polling is None:
            return True
        self._polling.stop()
        if self._run_id:
            interrupt.request_of(self._run_id)
        return self._polling.wait(timeout_s)

    def get_status(self) -> WorkerStatus:
        """Totals since the worker was made, and what failed in the last run."""
        return WorkerStatus(
            is_running=self._polling is not None and self._polling.is_alive,
            is_processing=self._processing.locked(),
            started_at=self._started_at,
            last_processed_at=self._last_processed_at,
            total_files_processed=self._files,
            total_events_ingested=sum(self._events.values()),
            total_events_by_type=dict(self._events),
            current_errors=list(self._errors),
        )

    def _look_once(self) -> bool:
        """One run of those between `start` and `stop`; False when it could not be begun, or broke off."""
        try:
            result: ProcessingResult | Exception = self.process_once()
            self.activity.problem = ""
        except Exception as error:  # whatever it is, it may be gone the next time
            self._errors = [Failure("run", str(error))]
            self.activity.problem = str(error)
            self.activity.runs_failed += 1
            result = error
        self.activity.runs += 1
        self._on_run(result)
        return isinstance(result, ProcessingResult)

    def _process_once(self) -> ProcessingResult:
        started = time.time()
        config = self._configured(started)
        with ExitStack() as run:
            if self._polling is not None and self._polling.is_stopping:
                interrupt.request_of(config.run_id)  # `stop` may have come before it knew the run
            run.enter_context(lent_client(self.client))
            run.enter_context(shared_files())
            self._run_pages(config, run)
            if self._one_more_look():
                for metric in (metrics.FILES_SKIPPED, metrics.FILES_UNFINISHED):
                    self._counts[metric.name] = 0
                report.clear_look()
                self._run_pages(config, run)
        return self._ended(config, started)

    def _configured(self, started: float) -> IngestConfig:
        """The configuration of a run that begins now; the worker counts what it does."""
        self._started_at = self._started_at or _utc(started)
        report.clear()
        metrics.reset_local_counts()
        sent = Counter(requests.counts())
        self._check_input()
        self._sent_before = self.client.statements, sent
        if self._journal is None:
            self._checked = self._fit_schema()
        config = replace(
            self.config,
            replicated=self._replicated,
            # A run of its own each time: it takes up again what failed in the one before.
            run_id=uuid.uuid4().hex,
            input_name=self._input_name(),
            looked_at_ms=open_storage(self.config.input).now_ms(),
        )
        if self._journal is None or self._journal.input != config.name:
            self._journal = config.journal(self.client)
        self._counts: Counter[str] = Counter()
        self._left = 0
        self._began_at: int | None = None
        self._job_id: str | None = None
        self._submitted = 0
        self._run_id = config.run_id
        return config

    def _ended(self, config: IngestConfig, started: float) -> ProcessingResult:
        """The result of a run that has ended, which the worker's totals include from now on."""
        outcome = Outcome(config, self.client, self._counts, self._began_at, is_local=self._is_local())
        result = replace(
            outcome.result(),
            left=self._left,
            job_id=self._job_id,
            submitted=self._submitted,
            duration_ms=int((time.time() - started) * 1000),
            statements=self.client.statements - self._sent_before[0],
            requests=dict(Counter(requests.counts()) - self._sent_before[1]),
        )
        self._last_processed_at = _utc(time.time())
        self._files += result.files_processed
        self._events.update(result.events_by_type)
        self._errors = result.errors
        return result

    def _check_input(self) -> None:
        storage = open_storage(self.config.input)
        storage.check_writable()
        older = storage.older_runs()
        if older:
            raise StorageError(
                f"--input: run {older[0]} of version 0.1 is loading {self.config.input}; it and this version do not see each "
                f"other's work, so wait until it has ended (or remove {self.config.input}/.ingest if it has); nothing was loaded"
            )

    def _input_name(self) -> str:
        storage = open_storage(self.config.input)
        key = (storage.root, storage.identity())
        if self._named is None or self._named[0] != key:
            self._named = (key, resolve_input(self.client, *key, self.config.input_name))
        return self._named[1]

    def _run_pages(self, config: IngestConfig, run: ExitStack) -> None:
        """Runs the pipeline over one page of pending files after another, and over what earlier runs have left."""
        storage = open_storage(config.input)
        if interrupt.is_requested(config.run_id):
            return
        pages = run.enter_context(
            closing(
                list_pages(storage, config, self._page_files, report.fail, report.ignore, wanted=self._wanted_files)
            )
        )
        listing = time.monotonic()
        page = next(pages, None)
        self.activity.listing_s = time.monotonic() - listing
        self.activity.pending_files, self.activity.pending_bytes = (
            (page.listed_files, page.listed_bytes) if page else (0, 0)
        )
        self.activity.oldest_pending_ms = page.members[0].timestamp_ms if page else 0
        self._left = page.listed_files if page else 0
        if config.modified_until_ms is None:
            # All that is there now, and nothing that comes later. Where a clock differs, files are from the future.
            newest_ms = max(int(time.time() * 1000), page.modified_ms if page else 0)
            config = replace(config, modified_until_ms=newest_ms)
        tail = self._look()
        self.activity.unfinished_loads = dict(Counter(holding.state for holding in tail.unfinished.values()))
        self._note_waiting(tail)
        if page is None and not left_behind(tail, self.client, config.run_id) and not self._must_submit:
            return  # without a pipeline: there is nothing to do
        config = self._prepared(config, tail, run)
        if page is None:
            self._run_pipeline(config)
        while page is not None and not interrupt.is_requested(config.run_id):
            self._on_page(page)
            with handed_over(config, page):
                self._run_pipeline(replace(config, up_to=page.last))
            self._left -= page.files
            if self._only_submits:
                self._submitted = page.files
                return  # the next page would be a job of its own, beside this one
            config = replace(config, after=page.last)
            page = next(pages, None)
            if page is not None:
                config = replace(config, first_version_ms=_versions_from(self._look()))

    def _wanted_files(self) -> int | None:
        """How many more files this run may load. Those that fail do not count, so that they keep no others waiting."""
        if self._max_files is None:
            return None
        loaded = self._counts[metrics.FILES_LOADED.name] + self._counts[metrics.FILES_KNOWN.name]
        return max(self._max_files - loaded, 0)

    def _look(self) -> Tail:
        assert self._journal is not None
        return self._journal.look()

    def _prepared(self, config: IngestConfig, tail: Tail, run: ExitStack) -> IngestConfig:
        """The configuration of the run's pipelines, from before the first of which the run counts as alive."""
        self._began_at = tail.head if self._began_at is None else self._began_at
        status, self._checked = self._checked or self._fit_schema(), None
        run.enter_context(self.client.inserts_first())
        config = replace(
            config,
            ttl_days=dict(status.ttl_days),
            first_version_ms=_versions_from(tail),
            bundles_may_repeat=not self._is_local(),
        )
        run.enter_context(shared_lease(config, self.client, config.journal(self.client)))
        return config

    def _note_waiting(self, tail: Tail) -> None:
        """Names the loads that have failed so often that they wait for their next attempt."""
        for holding in tail.unfinished.values():
            if holding.wait_ms:
                report.fail(
                    f"load {holding.load_id}",
                    f"failed {holding.attempt} times, next attempt in {holding.wait_ms / 1000:.0f} s: {holding.error}",
                )

    def _run_pipeline(self, config: IngestConfig) -> None:
        # A look that finds nothing does without Beam.
        from beam_pipeline.run_pipeline import run_pipeline, submit_pipeline

        if self._only_submits:
            self._job_id = submit_pipeline(config, self._runner_options)
            return
        self._counts.update(run_pipeline(config, self._runner_options, local=self._is_local()))

    def _is_local(self) -> bool:
        return runner_of(self._runner_options) in LOCAL_RUNNERS

    def _one_more_look(self) -> bool:
        """Whether files of adopted loads may be free again: one had changed, say, and its load went on without it."""
        left = self._counts[metrics.FILES_SKIPPED.name] or self._counts[metrics.FILES_UNFINISHED.name]
        return bool(self._counts[metrics.LOADS_ADOPTED.name] and left)

    def _fit_schema(self) -> SchemaStatus:
        """What the database has. Raises SchemaOutOfDate when it is not fit for loading."""
        status = check_schema_status(self.client)
        if not status.up_to_date:
            raise SchemaOutOfDate(
                "the tables are not fit for loading:\n  "
                + "\n  ".join(status.shortcomings())
                + "\nrun: python -m beam_pipeline migrate"
            )
        self._replicated = status.replicated
        return status


def _versions_from(tail: Tail) -> int:
    """What the versions of rows count from now: the time, or what any load before has used, if that is later."""
    return max(int(time.time() * 1000), tail.versions_end_ms)


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
