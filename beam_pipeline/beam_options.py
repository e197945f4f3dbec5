"""Where our options meet Beam's: `ingest`'s own as pipeline options, and which of a command line's are Beam's."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipeline.options import INGEST, OptionsError
from beam_pipeline.runners import LOCAL_RUNNERS


class IngestOptions(PipelineOptions):  # type: ignore[misc]
    """What `ingest` can be told, as Beam pipeline options. There is no option that holds a secret."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        for option in INGEST:
            option.add_to(parser)


def unknown_to_beam(arguments: Sequence[str]) -> list[str]:
    """Flags that are no pipeline option, where that is an error: runners in other languages have options of their own.

    Raises OptionsError for a value that Beam does not understand.
    """
    options = PipelineOptions(list(arguments))
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            known = options.get_all_options()
            everything = options.get_all_options(retain_unknown_options=True)
    except SystemExit:
        raise OptionsError([complaint.getvalue().strip().rpartition("error: ")[2].removeprefix("argument ")]) from None
    if (known["runner"] or LOCAL_RUNNERS[0]) not in LOCAL_RUNNERS:
        return []
    unknown = set(everything) - set(known)
    return [
        flag for flag in arguments if flag.startswith("-") and (_name(flag) in unknown or not flag.startswith("--"))
    ]


def _name(flag: str) -> str:
    return flag.partition("=")[0].lstrip("-").replace("-", "_")
