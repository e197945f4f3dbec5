"""The parameters of the Dataflow templates, from the options of `ingest`. Run as a program it writes their metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from beam_pipeline.option_parser import Option
from beam_pipeline.option_values import number, whole
from beam_pipeline.options import INGEST, STREAMED, STREAMING

_DIRECTORY = Path(__file__).parents[2] / "templates" / "dataflow"
METADATA = {"batch": _DIRECTORY / "metadata.json", "streaming": _DIRECTORY / "metadata-streaming.json"}
BATCH_ONLY = ("max_files", "page_files", "max_attempts")
"""What bounds a run, or counts runs."""
OPTIONS = {"batch": INGEST, "streaming": (*(one for one in INGEST if one.name not in BATCH_ONLY), *STREAMED)}
NAMES = {"batch": "Observability events to ClickHouse", "streaming": "Observability events to ClickHouse, streaming"}
DESCRIPTIONS = {
    "batch": (
        "Loads the pending JSONL files of traces, spans, logs, metrics and scores below a bucket's directory into "
        "ClickHouse, each line exactly once, and ends"
    ),
    "streaming": (
        "Looks again and again for JSONL files of traces, spans, logs, metrics and scores below a bucket's directory and loads "
        "them into ClickHouse, each line exactly once"
    ),
}
REQUIRED = {"input": r"^gs://.+$", "clickhouse_url": r"^https?://.+$"}
"""Parameters that must be given, and what they look like where the workers are on other machines."""
PATTERNS = REQUIRED | {"clickhouse_password_from": r"^(gcp-secret:projects/.+|file:/.+|env:[A-Za-z_][A-Za-z0-9_]*)$"}
HELP = {
    "input": "gs:// URL of the event files: holds trace/, span/, log/, metric/, score/",
    "clickhouse_url": "http(s)://host:port of a server that both the launcher and the workers reach",
    "clickhouse_user": "user on the server",
}
"""Where an option means less here than on one machine."""
LABELS = {"clickhouse_url": "ClickHouse URL", "clickhouse_user": "ClickHouse user", "lease": "Lease"}
IMAGE = {
    "name": "sdk_container_image",
    "label": "Image of the workers",
    "helpText": "the image that this template was built from: it has all that the workers need",
    "isOptional": False,
    "paramType": "TEXT",
}
STREAMING_JOB = {
    "name": STREAMING.name,
    "label": "Streaming",
    "helpText": "true: this template is for streaming jobs",
    "isOptional": False,
    "paramType": "TEXT",
    "regexes": ["^true$"],
}


def metadata(kind: str) -> dict[str, Any]:
    """What Google's service and its console are told of the template for `batch` or `streaming` jobs."""
    return {
        "name": NAMES[kind],
        "description": DESCRIPTIONS[kind],
        "streaming": kind == "streaming",
        "parameters": [*map(parameter, OPTIONS[kind]), IMAGE],
    }


def parameter(option: Option) -> dict[str, Any]:
    """One option as a parameter of a template."""
    if option is STREAMING:
        return STREAMING_JOB
    kind = {None: "BOOLEAN", whole: "NUMBER", number: "NUMBER"}.get(option.parse, "TEXT")
    words = option.name.replace("_", " ").replace("clickhouse", "ClickHouse")
    found: dict[str, Any] = {
        "name": option.name,
        "label": LABELS.get(option.name, words[0].upper() + words[1:]),
        "helpText": HELP.get(option.name, option.help),
        "isOptional": option.name not in REQUIRED,
        "paramType": kind,
    }
    if option.name in PATTERNS:
        found["regexes"] = [PATTERNS[option.name]]
    default = "false" if option.parse is None else option.default_text
    if default and option.name != "clickhouse_password_from":
        found["defaultValue"] = default
    return found


def main() -> None:
    """Writes the files."""
    for kind, path in METADATA.items():
        path.write_text(json.dumps(metadata(kind), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
