"""What is particular about runs on Dataflow: what its options must be, and how a Flex Template's launcher gives ours."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from beam_pipeline.option_parser import Option
from beam_pipeline.runners import DATAFLOW, only_submits, runner_of, template_location_of
from transforms.clickhouse.passwords import google_says

IN_LAUNCHER = "FLEX_TEMPLATE_PYTHON_PY_FILE"
"""A variable that is set where a Flex Template is launched: its image says with it which program to start."""

_INVALID = "Pipeline has validations errors:"
"""How Beam begins to say what is wrong with its options."""


def dataflow_problems(flags: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """Why a run with these options of Beam and of ours cannot be submitted as it should; [] for other runners.

    Imports Beam.
    """
    if runner_of(flags) != DATAFLOW:
        return (
            [f"--no_wait_until_finish: only {DATAFLOW} works on once this process has ended"]
            if only_submits(flags)
            else []
        )
    problems = []
    if template_location_of(flags) and not os.environ.get(IN_LAUNCHER):
        problems.append(
            "--template_location: a classic template would repeat what the run that made it has found in the journal, its "
            "clock and its name, and load nothing new; build the Flex Template of templates/ instead"
        )
    kind, _, name = str(values["clickhouse_password_from"]).partition(":")
    if kind == "env" and os.environ.get(name):
        problems.append(
            f"--clickhouse_password_from: the variable {name} is set here, but Dataflow's workers do not get it; "
            "give gcp-secret:projects/P/secrets/S"
        )
    return problems + _beams_problems(flags, str(values["input"]))


def _beams_problems(flags: Sequence[str], directory: str) -> list[str]:
    """What Beam's options lack, and an input that only this machine has.

    What else may be wrong with the options, Beam says when it has asked Google.
    """
    from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

    try:
        import apache_beam.runners.dataflow.internal.apiclient  # noqa: F401
    except ImportError:
        return [f"--runner: {DATAFLOW} needs more of Beam: pip install 'observability-beam-pipeline[gcp]'"]
    options = PipelineOptions(list(flags))
    google = options.view_as(GoogleCloudOptions)
    missing = {
        "project": "" if google.project else "the Google Cloud project that the job is to run in",
        "region": "" if google.region else "the region that the job is to run in, such as europe-west1",
        # Beam would make a bucket of its own.
        "temp_location": ""
        if google.temp_location or google.staging_location
        else "a place for files of the job, gs://…",
    }
    problems = [f"--{name}: is missing; give {what}" for name, what in missing.items() if what]
    # A service on this machine, which Beam takes for one whose workers are here, too, is for tests.
    if "localhost" not in google.dataflow_endpoint and "://" not in directory.removeprefix("file://"):
        problems.append(
            f"--input: {directory} is a directory of this machine, which Dataflow's workers do not see; give gs://…"
        )
    return problems


def reason_of(error: Exception) -> str | None:
    """What a runner, or the way to its service, says in an error, in one line; None for an error that is not of these."""
    module = type(error).__module__
    if module.startswith("google.api_core."):
        return google_says(error)
    if module.startswith("google.auth."):
        return f"Google does not know who asks: {google_says(error)}"
    if isinstance(error, ValueError) and str(error).startswith(_INVALID):
        return " ".join(str(error).removeprefix(_INVALID).split())
    if isinstance(error, RuntimeError) or module.startswith("apache_beam."):
        # It holds what the workers said, tracebacks and all; the last line names the error.
        lines = [line for line in str(error).splitlines() if line.strip() not in ("", "None")]
        return lines[-1].strip() if lines else type(error).__name__
    return None


def launcher_arguments(arguments: Sequence[str], options: Iterable[Option]) -> list[str]:
    """The arguments of a Flex Template's launcher as the command line knows them.

    A parameter always has a value there: that of a switch is `true` or `false`.
    """
    switches = {f"--{option.name}" for option in options if option.parse is None}
    found = []
    for argument in arguments:
        flag, _, value = argument.partition("=")
        if flag in switches and value.lower() == "true":
            found.append(flag)
        elif flag not in switches or value.lower() != "false":
            found.append(argument)
    return found
