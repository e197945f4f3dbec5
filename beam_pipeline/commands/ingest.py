"""`ingest`: loads what is pending, shows how far it is, and says how it ended."""

from __future__ import annotations

import importlib
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import FrameType

from rich.console import Console

from beam_pipeline.commands.base import (
    FAILED,
    OK,
    Command,
    CommandError,
    Invocation,
    log_console,
    print_json,
    printable,
    where,
)
from beam_pipeline.commands.continuous import Log
from beam_pipeline.commands.ingest_config import run_config
from beam_pipeline.commands.notices import notices
from beam_pipeline.commands.summary import as_json, print_summary, profile
from beam_pipeline.dataflow import reason_of
from beam_pipeline.options import CONTINUOUS, DRY_RUN, INGEST, METRICS_PORT, ONCE, OUTPUT, PROFILE, QUIET, STREAMED
from beam_pipeline.process import SIGNALS, keep_engine_memory_low
from beam_pipeline.progress import Display, Tracker, make_display
from beam_pipeline.results import ProcessingResult
from beam_pipeline.runners import (
    LOCAL_RUNNERS,
    PRISM,
    only_submits,
    runner_of,
)
from beam_pipeline.worker import IngestionWorker
from transforms import interrupt, metrics, report
from transforms.config import IngestConfig
from transforms.listing import match_files
from transforms.storage import StorageError, is_url, open_storage

_LOOK_EVERY_S = 0.2
_STOPPING = "finishing the loads in hand, starting no new ones (press Ctrl-C again to end at once)"


class Stopping:
    """Which signal asked the run to stop; 0 while none has."""

    signum = 0


@contextmanager
def stop_on_signals(at_once: Sequence[int] = (signal.SIGINT,)) -> Iterator[Stopping]:
    """Makes SIGINT and SIGTERM ask the stages to finish the loads in hand; a further SIGINT ends the process at once.

    To be entered in the main thread after the database is connected, while the pipeline runs in another thread.
    """
    stopping = Stopping()

    def stop(signum: int, _: FrameType | None) -> None:
        if stopping.signum and signum in at_once:
            # Nothing needs an orderly end: the next run finishes what the load log says was begun.
            os._exit(128 + signum)
        stopping.signum = stopping.signum or signum
        interrupt.requested.set()

    previous = {signum: signal.signal(signum, stop) for signum in SIGNALS}
    try:
        yield stopping
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Makes SIGINT and SIGTERM raise KeyboardInterrupt, so that what a runner has started beside us is ended, too."""

    def stop(signum: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt(signum)

    previous = {signum: signal.signal(signum, stop) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _print_no_lost_connections() -> None:
    """Keeps Beam's threads from printing that the runner has ended under them. Whoever waits for the job tells of it."""
    tell = threading.excepthook

    def tell_others(raised: threading.ExceptHookArgs) -> None:
        if not raised.exc_type.__module__.startswith("grpc."):
            tell(raised)

    threading.excepthook = tell_others


def run(invocation: Invocation) -> int:
    """Loads, and returns the exit code."""
    keep_engine_memory_low()
    values = invocation.values
    config = run_config(invocation)
    console = log_console()
    if values["dry_run"]:
        from beam_pipeline.commands.dry_run import dry_run

        return dry_run(config, max_files=values["max_files"], as_json=values["json"])
    if values["continuous"]:
        return _run_on(invocation, config, console)
    tracker = Tracker(max_files=values["max_files"])
    worker = IngestionWorker(
        config,
        runner_options=invocation.beam_flags,
        max_files=values["max_files"],
        page_files=values["page_files"],
        on_page=tracker.add_page,
    )
    if not values["quiet"]:
        console.print(f"loading {printable(config.input)} into {where(config.clickhouse)}")
    try:
        _import_beam_meanwhile(config)
        worker.init()
        if runner_of(invocation.beam_flags) in LOCAL_RUNNERS:
            result, code = _run_here(worker, tracker, make_display(console, quiet=values["quiet"]))
        else:
            waits = not only_submits(invocation.beam_flags)
            result, code = _run_elsewhere(worker, runner_of(invocation.beam_flags), console, waits=waits)
    finally:
        worker.close()
    if values["json"]:
        print_json(as_json(config, result))
    elif not values["quiet"]:
        print_summary(config, result)
    if values["profile"]:
        console.print(profile(result))
    for notice in notices(config, result, quiet=values["quiet"]):
        console.print(notice.text)
    return code


def _run_on(invocation: Invocation, config: IngestConfig, console: Console) -> int:
    """Loads again and again, until a signal ends it."""
    values = invocation.values
    log = Log(config, console, quiet=values["quiet"], as_json=values["json"])
    worker = IngestionWorker(
        config,
        runner_options=invocation.beam_flags,
        max_files=values["max_files"],
        page_files=values["page_files"],
        poll_interval_s=values["poll_interval"],
        on_run=log.add,
    )
    if not values["quiet"]:
        into = f"{printable(config.input)} into {where(config.clickhouse)}"
        console.print(f"loading {into} every {values['poll_interval']:g} s")
    try:
        worker.init()
        with _serving(worker, values["metrics_port"], console), stop_on_signals(at_once=SIGNALS) as stopping:
            worker.start()
            while not stopping.signum and worker.get_status().is_running:
                time.sleep(_LOOK_EVERY_S)
            if worker.get_status().is_processing and not values["quiet"]:
                console.print(_STOPPING)
            worker.stop()
    finally:
        worker.close()
    log.end(worker.get_status())
    return OK


def _serving(worker: IngestionWorker, port: int | None, console: Console) -> AbstractContextManager[object]:
    """The server of the worker's metrics, if one is asked for."""
    if port is None:
        return nullcontext()
    from beam_pipeline.monitoring import MetricsServer

    try:
        server = MetricsServer(worker, port)
    except OSError as error:
        raise CommandError(f"--metrics_port: {port}: {error.strerror}") from error
    console.print(f"metrics: http://localhost:{server.port}/metrics")
    return server


def _import_beam_meanwhile(config: IngestConfig) -> None:
    """Imports Beam in a thread, if there is something to load, while the database is opened."""
    if is_url(config.input):
        return  # one look costs time and money there
    with suppress(StorageError, OSError):  # the run itself tells of them
        if next(match_files(open_storage(config.input), config, lambda path, reason: None), None):
            module = "beam_pipeline.run_pipeline"
            threading.Thread(target=importlib.import_module, args=(module,), name="import", daemon=True).start()


def _run_here(worker: IngestionWorker, tracker: Tracker, display: Display) -> tuple[ProcessingResult, int]:
    with stop_on_signals() as stopping, display, ThreadPoolExecutor(1, thread_name_prefix="pipeline") as pool:
        work = pool.submit(worker.process_once)
        said = False
        running = True
        while running:
            running = bool(wait([work], timeout=_LOOK_EVERY_S).not_done)
            if running:
                display.show(tracker.snapshot(metrics.local_counts(), len(report.failures())))
            if stopping.signum and not said:
                said = True
                display.say(_STOPPING)
        result = work.result()
    if result.interrupted:
        return result, 128 + (stopping.signum or signal.SIGINT)
    return result, FAILED if result.errors else OK


def _run_elsewhere(
    worker: IngestionWorker, runner: str, console: Console, *, waits: bool
) -> tuple[ProcessingResult, int]:
    """Waits for a run whose stages are in other processes: a signal here cannot ask them to stop."""
    every_s = worker.config.look_every_s
    _print_no_lost_connections()
    if waits:
        console.print(f"waiting for {runner}" + (f", which looks for files every {every_s:g} s" if every_s else ""))
    try:
        with _signals_raise():
            result = worker.process_stream() if every_s else worker.process_once()
    except KeyboardInterrupt:
        if runner == PRISM:
            console.print("the job has ended with this command; the next run takes up what it had begun")
        elif every_s:
            console.print(f"the job goes on in {runner}; stop it there, with a savepoint if it is to be restored")
        raise
    except Exception as error:
        reason = reason_of(error)
        if reason is None:
            raise
        raise CommandError(f"{runner}: {reason}") from error
    return result, FAILED if result.errors else OK


COMMAND = Command(
    name="ingest",
    options=(
        *INGEST,
        ONCE,
        CONTINUOUS,
        *STREAMED,
        METRICS_PORT,
        DRY_RUN,
        PROFILE,
        *OUTPUT,
        QUIET,
    ),
    run=run,
    takes_beam_options=True,
    details=(
        "Pipeline options of Apache Beam, such as --runner (default: DirectRunner), are passed on to it.\n"
        "Exit code: 0 all loaded, 1 something failed and stays pending (or, with --max_attempts, has moved to failed/),\n"
        "2 wrong options, 130 or 143 interrupted; with --continuous 0 when SIGINT or SIGTERM has ended it."
    ),
)
