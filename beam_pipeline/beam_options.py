"""Where our options meet Beam's: `ingest`'s own as pipeline options, and which of a command line's are Beam's."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipeline.option_parser import OptionsError
from beam_pipeline.options import INGEST
from beam_pipeline.runners import LOCAL_RUNNERS
from transforms.config import IngestConfig


class IngestOptions(PipelineOptions):  # type: ignore[misc]
    """What `ingest` can be told, as Beam pipeline options. There is no option that holds a secret."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        for option in INGEST:
            option.add_to(parser)


def options_of(config: IngestConfig) -> dict[str, Any]:
    """The options that a configuration was made of, by name, for a service that shows them; without those that were not given.

    Beam would show defaults and what is in environment variables in their place. None of them is a secret.
    """
    clickhouse = config.clickhouse
    told = {
        "input": config.input,
        "input_name": config.input_name or None,
        "clickhouse_url": clickhouse.place,
        "clickhouse_user": clickhouse.user,
        "clickhouse_database": clickhouse.database,
        "clickhouse_password_from": clickhouse.password,
        "retry_attempts": clickhouse.retry_attempts,
        "retry_delay": clickhouse.retry_delay_s,
        "project_id": config.project_id,
        "event_types": list(config.event_types),
        "since": config.since_ms,
        "until": config.until_ms,
        "min_file_age": config.min_file_age_s,
        "insert_batch_size": config.block_rows,
        "block_bytes": config.block_bytes,
        "load_bytes": config.load_bytes,
        "load_files": config.load_files,
        "inserts_in_flight": config.inserts_in_flight,
        "max_line_bytes": config.max_line_bytes,
        "max_attempts": config.max_attempts,
        "max_rejected": config.max_rejected,
        "max_rejected_ratio": config.max_rejected_ratio,
        "delete_after_process": config.delete_after_process,
        "reload": config.reload,
        "lease": config.lease_s,
    }
    return {name: value for name, value in told.items() if value is not None}


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
