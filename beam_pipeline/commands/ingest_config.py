"""The configuration of a run of `ingest`, or everything that is wrong with its options."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from beam_pipeline.commands.base import Invocation, printable
from beam_pipeline.dataflow import dataflow_problems
from beam_pipeline.option_parser import OptionsError
from beam_pipeline.options import ingest_config, input_problems
from beam_pipeline.runners import (
    FLINK_RUNNERS,
    LOCAL_RUNNERS,
    PRISM,
    checkpointing_interval_of,
    direct_running_mode_of,
    prism_location_of,
    runner_of,
)
from transforms.config import IngestConfig
from transforms.storage import is_url


def run_config(invocation: Invocation) -> IngestConfig:
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
