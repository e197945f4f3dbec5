"""The parameters of the Dataflow template, from the options of `ingest`. Run as a program it writes metadata.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from beam_pipeline.option_values import number, whole
from beam_pipeline.options import INGEST, Option

METADATA = Path(__file__).parents[2] / "templates" / "dataflow" / "metadata.json"
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


def metadata() -> dict[str, Any]:
    """What Google's service and its console are told of the template."""
    return {
        "name": "Observability events to ClickHouse",
        "description": (
            "Loads the pending JSONL files of traces, spans, logs, metrics and scores below a bucket's directory into "
            "ClickHouse, each line exactly once, and ends"
        ),
        "streaming": False,
        "parameters": [*map(parameter, INGEST), IMAGE],
    }


def parameter(option: Option) -> dict[str, Any]:
    """One option as a parameter of a template."""
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
    """Writes the file."""
    METADATA.write_text(json.dumps(metadata(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
