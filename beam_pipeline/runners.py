"""What Beam's own options say about where a pipeline runs, read without Beam."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

DATAFLOW = "DataflowRunner"
LOCAL_RUNNERS = ("DirectRunner", "BundleBasedDirectRunner", "FnApiRunner")
"""Runners that work in the process that starts them."""


FLINK_RUNNERS = ("FlinkRunner", "PortableRunner")
"""Runners that hand a pipeline to Flink; PortableRunner does so wherever we know of it."""

PRISM = "PrismRunner"
"""Beam starts its program beside the command, and the stages run in the command's process unless another place is named."""


def runner_of(flags: Sequence[str]) -> str:
    """The runner that the flags name."""
    return _value(flags, "--runner", LOCAL_RUNNERS[0])


def runs_here(flags: Sequence[str]) -> bool:
    """Whether the pipeline runs in this process. Flags that cannot be read count as such: the command will tell of them."""
    try:
        return runner_of(flags) in LOCAL_RUNNERS
    except argparse.ArgumentError:
        return True


def direct_running_mode_of(flags: Sequence[str]) -> str:
    """How the local runner is to work."""
    return _value(flags, "--direct_running_mode", "in_memory")


def template_location_of(flags: Sequence[str]) -> str:
    """Where the job is to be written to instead of being submitted; '' for nowhere."""
    return _value(flags, "--template_location", "")


def only_submits(flags: Sequence[str]) -> bool:
    """Whether the process is to end once the job is submitted or written down, instead of waiting for its end."""
    return "--no_wait_until_finish" in flags or bool(template_location_of(flags))


def prism_location_of(flags: Sequence[str]) -> str:
    """The program of Prism: a path or a URL; '' when Beam is to download its own."""
    return _value(flags, "--prism_location", "")


def checkpointing_interval_of(flags: Sequence[str]) -> str:
    """Milliseconds between two checkpoints of Flink, as they were given; '' when they were not."""
    return _value(flags, "--checkpointing_interval", "")


def _value(flags: Sequence[str], name: str, default: str) -> str:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(name, dest="value", default=default)
    found: str = parser.parse_known_args(list(flags))[0].value
    return found or default
