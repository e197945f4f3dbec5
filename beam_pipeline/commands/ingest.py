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
from dataclasses import asdict, replace
from types import FrameType
from typing import Any

from rich.console import Console

from beam_pipeline.commands.base import (
    FAILED,
    OK,
    Command,
    CommandError,
    Invocation,
    log_console,
    print_json,
    print_text,
    printable,
    where,
)
from beam_pipeline.commands.continuous import Log
from beam_pipeline.commands.notices import notices
from beam_pipeline.commands.tables import print_table
from beam_pipeline.dataflow import dataflow_problems, reason_of
from beam_pipeline.options import (
    CONTINUOUS,
    DRY_RUN,
    INGEST,
    METRICS_PORT,
    ONCE,
    OUTPUT,
    PROFILE,
    QUIET,
    STREAMED,
    OptionsError,
    ingest_config,
    input_problems,
)
from beam_pipeline.process import SIGNALS, keep_engine_memory_low
from beam_pipeline.progress import Display, Tracker, duration, make_display
from beam_pipeline.results import ProcessingResult
from beam_pipeline.runners import (
    FLINK_RUNNERS,
    LOCAL_RUNNERS,
    PRISM,
    checkpointing_interval_of,
    direct_running_mode_of,
    only_submits,
    prism_location_of,
    runner_of,
)
from beam_pipeline.wording import counted
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
    config = _config(invocation)
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
        print_json(_as_json(config, result))
    elif not values["quiet"]:
        _print_summary(config, result)
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


def _config(invocation: Invocation) -> IngestConfig:
    """The configuration of the run. Raises OptionsError with everything that is wrong."""
    problems = input_problems(invocation.values["input"]) if invocation.values["input"] else []
    try:
        config = ingest_config(invocation.values)
    except OptionsError as error:
        raise OptionsError(problems + error.problems) from None
    problems += _continuous_problems(invocation) + _streaming_problems(invocation)
    if invocation.values["streaming"] and not problems:
        config = replace(
            config,
            look_every_s=invocation.values["poll_interval"],
            max_load_delay_s=invocation.values["max_load_delay"],
            loads_in_flight=invocation.values["loads_in_flight"],
        )
    if config.clickhouse.embedded:
        # An embedded database belongs to one process.
        if runner_of(invocation.beam_flags) not in LOCAL_RUNNERS:
            problems.append(
                f"--clickhouse_url: {runner_of(invocation.beam_flags)} has workers of its own, which cannot share an embedded "
                "database; give the http(s) URL of a server"
            )
        elif direct_running_mode_of(invocation.beam_flags) == "multi_processing":
            problems.append("--direct_running_mode: with an embedded database it must be in_memory or multi_threading")
    problems += dataflow_problems(invocation.beam_flags, invocation.values) + _prism_problems(invocation.beam_flags)
    if problems:
        raise OptionsError(problems)
    return config


def _continuous_problems(invocation: Invocation) -> list[str]:
    """Why a run cannot be repeated."""
    values = invocation.values
    problems = [f"--poll_interval: {values['poll_interval']:g}s must be more than 0"] * (values["poll_interval"] <= 0)
    port = values["metrics_port"]
    if port is not None and not 0 <= port < 1 << 16:
        problems.append(f"--metrics_port: {port} must be from 0 to 65535")
    if not values["continuous"]:
        return problems + ["--metrics_port: only a worker has metrics to serve; add --continuous"] * (port is not None)
    for other in ("once", "dry_run", "profile"):
        if values[other]:
            problems.append(f"--continuous: loads again and again, so it does not go with --{other}")
    runner = runner_of(invocation.beam_flags)
    if runner not in LOCAL_RUNNERS:
        problems.append(f"--continuous: works in this process, and so not with --runner={runner}; use DirectRunner")
    return problems


def _streaming_problems(invocation: Invocation) -> list[str]:
    """Why a run cannot be one unbounded job."""
    values, flags = invocation.values, invocation.beam_flags
    if not values["streaming"]:
        return []
    runner = runner_of(flags)
    problems = []
    if runner in LOCAL_RUNNERS:
        problems.append(f"--streaming: {runner} runs no unbounded job; --continuous does the same on one machine")
    elif runner in FLINK_RUNNERS and not _is_positive(checkpointing_interval_of(flags)):
        problems.append(
            "--checkpointing_interval: is missing, and Flink runs no streaming job without it; give the milliseconds between "
            "two checkpoints, such as --checkpointing_interval=10000"
        )
    problems += [
        f"--streaming: one job that never ends, so it does not go with --{other}"
        for other in ("continuous", "once", "dry_run", "profile")
        if values[other]
    ]
    if values["max_files"] is not None:
        problems.append("--max_files: with --streaming use --loads_in_flight, which bounds what is under way at once")
    if values["max_attempts"]:
        problems.append("--max_attempts: counts runs, and a streaming job is one; let a scheduled run do it")
    if 0 < values["poll_interval"] < 1:
        problems.append(f"--poll_interval: {values['poll_interval']:g}s must be at least 1s with --streaming")
    if values["loads_in_flight"] < 1:
        problems.append(f"--loads_in_flight: {values['loads_in_flight']} must be at least 1")
    return problems


def _prism_problems(flags: Sequence[str]) -> list[str]:
    """Why Prism cannot be started."""
    location = prism_location_of(flags)
    if runner_of(flags) != PRISM or not location or is_url(location) or os.path.isfile(location):
        return []
    return [
        f"--prism_location: there is no file {printable(location)}; give the program that `go install` has built, or leave the "
        "option out, and Beam downloads it"
    ]


def _is_positive(text: str) -> bool:
    return text.isdecimal() and int(text) > 0


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


def _as_json(config: IngestConfig, result: ProcessingResult) -> dict[str, Any]:
    return {
        "input": config.input,
        "clickhouse_url": config.clickhouse.url,
        "clickhouse_database": config.clickhouse.database,
    } | asdict(result)


def _print_summary(config: IngestConfig, result: ProcessingResult) -> None:
    if result.job_id is not None:
        job = f"job {result.job_id} is submitted" if result.job_id else "a job is written for the launcher to submit"
        every_s = config.look_every_s
        what = f"looks for files every {every_s:g} s" if every_s else f"for {counted(result.submitted, 'file')}"
        print_text(f"{job}, {what}; the load log calls it run {result.run_id}")
        if result.left:
            print_text(f"{counted(result.left, 'file')} left for the next job")
        return
    if result.files_processed or result.loads:
        counts = [(name, f"{rows:,}") for name, rows in result.events_by_type.items()]
        print_table({"events": "left", "loaded": "right"}, [*counts, ("all", f"{result.events_ingested:,}")])
        seconds = result.duration_ms / 1000
        rate = f", {result.events_ingested / seconds:,.0f} events/s" if seconds else ""
        size = f"{result.bytes_read / 1e6:,.1f} MB"
        loaded = f"{counted(result.files_processed, 'file')} in {counted(result.loads, 'load')}"
        print_text(f"{loaded}, {size} in {duration(seconds)}{rate}")
        if result.adopted:
            how = "left unfinished by an earlier run and taken up by this one"
            if config.streaming:
                how = "taken up again, after a failure or a restart"
            print_text(f"{counted(result.adopted, 'load')} {how}")
    elif not (
        result.errors or result.known or result.changed or result.skipped or result.unfinished or result.interrupted
    ):
        print_text(f"nothing to load: no pending files in {printable(config.input)}{_hint(config)}")


def profile(result: ProcessingResult) -> str:
    """Where the time of a run went, and what it is bound by: what took most of the time in which nothing else was done."""
    beside = ("inserting", "load log")
    after_another = {name: spent for name, spent in result.seconds.items() if name not in beside}
    after_another["everything else"] = max(result.duration_ms / 1000 - sum(after_another.values()), 0.0)
    most = max(after_another, key=lambda name: after_another[name])
    bound = {"waiting for inserts": "ClickHouse", "everything else": "starting and ending"}.get(most, most)
    shares = ", ".join(f"{name} {spent:.2f} s" for name, spent in after_another.items())
    at_once = ", ".join(f"{name} {result.seconds.get(name, 0.0):.2f} s" for name in beside)
    return f"time: {shares}; beside it: {at_once}; bound by {bound}"


def _hint(config: IngestConfig) -> str:
    if is_url(config.input):
        return f" (files are pending as {config.event_types[0]}/PROJECT/NAME.jsonl)"
    if any(os.path.isdir(os.path.join(config.input, event_type)) for event_type in config.event_types):
        return ""
    if os.path.isdir(os.path.join(config.input, "observability")):
        return f" itself; did you mean --input={printable(os.path.join(config.input, 'observability'))}?"
    return f" (it has no directory {'/, '.join(config.event_types)}/)"


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
