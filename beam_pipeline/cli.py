"""The command line: finds the command, reads its options, and turns what goes wrong into a message and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import logging
import os
import signal
import sys
import textwrap
import traceback
import warnings
from collections.abc import Iterable, Sequence

from beam_pipeline import __version__
from beam_pipeline.commands.base import (
    FAILED,
    OK,
    USAGE,
    Command,
    CommandError,
    Invocation,
    print_json,
    printable_lines,
)
from beam_pipeline.option_parser import OptionsError, option_parser, read_values
from beam_pipeline.option_values import SHOWN, shown
from beam_pipeline.options import INPUT
from beam_pipeline.other_names import with_our_names
from transforms.clickhouse import ClickHouseError
from transforms.storage import StorageError

PROGRAM = "python -m beam_pipeline"
COMMANDS = {
    "ingest": "load the files that are pending",
    "check": "try everything that a run needs, and change nothing",
    "migrate": "create or complete the tables, or check them",
    "status": "tell what was loaded, what is pending, what failed and why",
    "rejected": "show lines that could not be stored, to look at or to feed again",
    "query": "ask what was loaded: traces, spans, logs, metrics, scores, series, percentiles",
    "generate": "write synthetic events, for a demonstration or a load test",
    "drop": "drop the tables and everything in them",
}
BEAM_OPTIONS = ("runner", "direct_num_workers")
"""Options of Beam that a hint may name. It has two hundred, and most are of no use to anybody here."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code. Without a command, options mean `ingest`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    _prepare_process(debug)
    try:
        code = _dispatch(given)
        sys.stdout.flush()
        return code
    except OptionsError as error:
        return _fail(given, error.problems, USAGE, debug)
    except (CommandError, ClickHouseError, StorageError) as error:
        return _fail(given, [str(error)], FAILED, debug)
    except BrokenPipeError:
        return FAILED  # whoever reads our output has seen enough
    except OSError as error:
        return _fail(
            given,
            [f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)],
            FAILED,
            debug,
        )
    except KeyboardInterrupt as error:
        print("interrupted", file=sys.stderr)
        return 128 + (error.args[0] if error.args else signal.SIGINT)
    except Exception as error:
        hint = "" if debug else "; run it again with --debug for where it happened"
        return _fail(given, [f"unexpected {type(error).__name__}: {error}{hint}"], FAILED, debug)


class _Help(argparse.RawDescriptionHelpFormatter):
    def _split_lines(self, text: str, width: int) -> list[str]:
        # What may be copied, such as gcp-secret:…, stays in one piece.
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False, break_long_words=False)


def load_command(name: str) -> Command:
    """A command by its name. Imports what it needs, which for `ingest` takes a second or two."""
    command: Command = importlib.import_module(f"beam_pipeline.commands.{name}").COMMAND
    return command


def overview() -> str:
    """The help for the program as a whole."""
    commands = "\n".join(f"  {name:8}  {summary}" for name, summary in COMMANDS.items())
    return (
        f"usage: {PROGRAM} [COMMAND] [--option=value …]\n\n"
        "Loads observability events from JSONL files into ClickHouse, exactly once.\n\n"
        f"commands (ingest is the default):\n{commands}\n\n"
        f"Options of a command: {PROGRAM} COMMAND --help\n"
        f"To begin with:        {PROGRAM} --input=DIR\n"
    )


def command_help(command: Command) -> str:
    """The help for one command."""
    actions = f" [{'|'.join(command.actions)}]" if command.actions else ""
    return option_parser(
        command.options,
        prog=f"{PROGRAM} {command.name}",
        usage=f"{PROGRAM} {command.name}{actions} [--option=value …]",
        description=COMMANDS[command.name],
        epilog=command.details,
        formatter_class=_Help,
    ).format_help()


def _dispatch(arguments: list[str]) -> int:
    if not arguments and not os.environ.get(INPUT.env):
        print(overview(), end="", file=sys.stderr)
        return USAGE
    first = arguments[0] if arguments else ""
    if first in ("-h", "--help", "help"):
        print(overview(), end="")
        return OK
    if first == "--version":
        print(__version__)
        return OK
    if first and not first.startswith("-"):
        arguments = arguments[1:]
        if first not in COMMANDS:
            raise OptionsError(
                [f"{shown(first)} is not a command{_nearest(first, COMMANDS)}; there are {', '.join(COMMANDS)}"]
            )
    command = load_command(first if first in COMMANDS else "ingest")
    if "--help" in arguments or "-h" in arguments:
        print(command_help(command), end="")
        return OK
    return command.run(_read(command, arguments))


def _read(command: Command, arguments: list[str]) -> Invocation:
    action = command.actions[0] if command.actions else ""
    if command.actions and arguments and not arguments[0].startswith("-"):
        action, arguments = arguments[0], arguments[1:]
        if action not in command.actions:
            raise OptionsError([f"{command.name}: {shown(action)} is not one of {', '.join(command.actions)}"])
        if action in command.operands and arguments and not arguments[0].startswith("-"):
            arguments = [f"--{command.operands[action]}={arguments[0]}", *arguments[1:]]
    names = [option.name for option in command.options]
    values, rest = read_values(command.options, with_our_names(arguments, names))
    if command.takes_beam_options and rest:
        from beam_pipeline.beam_options import unknown_to_beam

        unknown = unknown_to_beam(rest)
        names += BEAM_OPTIONS
    else:
        unknown = [argument for argument in rest if argument.startswith("-")]
    problems = [f"{flag}: there is no such option{_nearest(flag, names, '--')}" for flag in map(_flag, unknown)]
    problems += [
        f"{shown(argument)}: what is it for? Every argument is an option, such as --input=DIR"
        for argument in _stray(rest)
    ]
    if problems:
        raise OptionsError(problems)
    return Invocation(values, action, rest)


def _flag(argument: str) -> str:
    """An option without its value, which may be a secret."""
    return argument.partition("=")[0][:SHOWN]


def _stray(arguments: list[str]) -> list[str]:
    """Arguments that are neither an option nor the value of one."""
    before = ["", *arguments]
    return [
        argument
        for previous, argument in zip(before, arguments, strict=False)
        if not argument.startswith("-") and (not previous.startswith("--") or "=" in previous)
    ]


def _nearest(word: str, candidates: Iterable[str], prefix: str = "") -> str:
    word, names = word[:SHOWN].lstrip("-").replace("-", "_"), list(candidates)
    ending = [name for name in names if name.endswith(f"_{word}")]  # --user: --clickhouse_user
    found = ending if len(ending) == 1 else difflib.get_close_matches(word, names, 1)
    return f"; did you mean {prefix}{found[0]}?" if found else ""


def _fail(arguments: list[str], problems: list[str], code: int, debug: bool) -> int:
    if debug and code != USAGE:
        traceback.print_exc()
    for problem in problems:
        print(f"error: {printable_lines(problem)}", file=sys.stderr)
    if "--json" in arguments:
        with contextlib.suppress(OSError):  # where standard output is what failed
            print_json({"error": "; ".join(problems)})
    return code


def _prepare_process(debug: bool) -> None:
    """Keeps the libraries' own talk away from people."""
    # Before anything imports Beam, which logs at import, and gRPC, which reads these once. The level is the handler's,
    # since Beam changes that of the root logger.
    level = logging.DEBUG if debug else logging.CRITICAL + 1
    handler = logging.StreamHandler()
    handler.setLevel(level)
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[handler])
    if not debug:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        os.environ.setdefault("GLOG_minloglevel", "3")
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
