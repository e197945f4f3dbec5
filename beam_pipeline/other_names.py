"""The options of the TypeScript package (`@mastra/observability-clickhouse`), which mean ours by other names.

They are taken as they are, in no help, so that a command line from there works here or says why it cannot. See the table in
README.md.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence

from beam_pipeline.option_parser import OptionsError
from beam_pipeline.option_values import shown
from beam_pipeline.options import INPUT

BASE_PATH = "observability"
"""What event files are below there unless `--base-path` says otherwise."""
RENAMED = {"clickhouse_username": "clickhouse_user", "batch_size": "max_files"}
OF_INPUT = ("file_storage_type", "file_storage_path", "base_path")
POLL_INTERVAL = "poll_interval"
_TYPES = {"local": "", "s3": "s3://BUCKET/PREFIX", "gcs": "gs://BUCKET/PREFIX"}


def with_our_names(arguments: Sequence[str], names: Container[str]) -> list[str]:
    """The arguments with options that have one of our `names` in place of the other package's.

    Raises OptionsError for those that this program has no counterpart of.
    """
    found: dict[str, str] = {}
    rest: list[str] = []
    problems: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        flag, equals, value = argument.partition("=")
        name = flag[2:].replace("-", "_") if flag.startswith("--") else ""
        if name in names or not _is_taken(name, names):
            rest.append(argument)
            continue
        text = value if equals else next(remaining, None)
        if text is None:
            problems.append(f"--{name}: expected one argument")
        elif name in RENAMED:
            rest.append(f"--{RENAMED[name]}={text}")
        else:
            found[name] = text
    if POLL_INTERVAL in found and "--once" not in rest:
        problems.append(
            f"--{POLL_INTERVAL}: this program loads what is pending and ends; have a schedule run it as often, and leave the "
            "option out"
        )
    kind = found.get("file_storage_type", "local")
    if kind not in _TYPES:
        problems.append(f"--file_storage_type: {shown(kind)} is not one of {', '.join(_TYPES)}")
    elif _TYPES[kind] and not _own_input(rest).startswith(_TYPES[kind].partition("BUCKET")[0]):
        problems.append(f"--file_storage_type: for {kind}, give --input={_TYPES[kind]}")
    else:
        try:
            rest = _with_input(found, rest)
        except OptionsError as error:
            problems += error.problems
    if problems:
        raise OptionsError(problems)
    return rest


def _is_taken(name: str, names: Container[str]) -> bool:
    """Whether an option is one of the other package's that means something to this command."""
    if name in RENAMED:
        return RENAMED[name] in names
    return (name in OF_INPUT and INPUT.name in names) or (name == POLL_INTERVAL and "once" in names)


def _own_input(arguments: Sequence[str]) -> str:
    """The input that our own option names, or its environment variable; '' when neither does."""
    for number, argument in enumerate(arguments):
        flag, equals, value = argument.partition("=")
        if flag == f"--{INPUT.name}":
            return value if equals else "".join(arguments[number + 1 : number + 2])
    return os.environ.get(INPUT.env, "")


def _with_input(found: Mapping[str, str], rest: list[str]) -> list[str]:
    """The arguments with the input that a path and a base path name together."""
    path, base = found.get("file_storage_path"), found.get("base_path")
    if path is None and base is None:
        return rest
    own = _own_input(rest)
    if path is not None and any(argument.partition("=")[0] == f"--{INPUT.name}" for argument in rest):
        raise OptionsError(["--file_storage_path: --input says already where the files are; leave one of them out"])
    if path is None and not own:
        raise OptionsError(["--base_path: is below --file_storage_path or --input, and neither is given"])
    below = (BASE_PATH if base is None else base).strip("/")
    directory = (own if path is None else path) or "."
    # The last --input counts.
    return [*rest, f"--{INPUT.name}={directory.rstrip('/') or '/'}{f'/{below}' if below else ''}"]
