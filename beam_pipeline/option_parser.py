"""Options as text: from the command line, from the environment or by default, with everything that is wrong told at once."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from beam_pipeline.option_values import seconds, shown, size

_PASSWORD = re.compile(r"^-*\w*(password|passwd)\w*$", re.IGNORECASE)


class OptionsError(Exception):
    """Options that cannot work, all of them at once; `problems` has one sentence for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Option:
    """One option: its flag without dashes, how its text becomes a value, and what it is for."""

    name: str
    parse: Callable[[str], Any] | None
    """Raises ArgumentTypeError. None for a switch."""
    default: Any
    help: str
    env: str = ""
    """An environment variable that gives the default."""
    metavar: str = ""
    several: Callable[[Sequence[Any]], Any] | None = None
    """What becomes of the values when it may be given more than once. None: the last one counts."""

    @property
    def placeholder(self) -> str:
        """What stands for the value in help texts; '' for a switch."""
        return "" if self.parse is None else self.metavar or self.name.rpartition("_")[2].upper()

    @property
    def default_text(self) -> str:
        """The default as one would type it; '' when there is none."""
        if self.parse is None or self.default is None:
            return ""
        if self.parse is size:
            unit = next(shift for shift in (30, 20, 10, 0) if self.default % (1 << shift) == 0)
            return f"{self.default >> unit}{' KMG'[unit // 10].strip()}"
        if self.parse is seconds:
            return f"{self.default:g}s"
        return ",".join(map(str, self.default)) if isinstance(self.default, tuple) else str(self.default)

    def value_of(self, text: str) -> Any:
        """What the text of an option that is no switch means. Raises ArgumentTypeError."""
        assert self.parse is not None
        try:
            text.encode()
        except UnicodeEncodeError:
            raise argparse.ArgumentTypeError(f"{shown(text)} must be text in UTF-8") from None
        if "\0" in text:
            raise argparse.ArgumentTypeError(f"{shown(text)} must not hold a NUL character")
        return self.parse(text)

    def add_to(self, parser: argparse._ActionsContainer, *, as_text: bool = False) -> None:
        """Adds the option to a parser.

        The value is parsed, and its default is that of the environment variable or of the option; with `as_text` it is
        left as it is and is None when not given, for `read_values`, which tells everything that is wrong at once.
        """
        notes = ([f"default: {self.default_text}"] if self.default_text else []) + (
            [f"env: {self.env}"] if self.env else []
        )
        text = (self.help + (f" [{'; '.join(notes)}]" if notes else "")).replace("%", "%%")
        if self.parse is None:
            parser.add_argument(f"--{self.name}", action="store_true", default=self.default, help=text)
        elif as_text:
            action = "append" if self.several else "store"
            parser.add_argument(f"--{self.name}", action=action, default=None, help=text, metavar=self.placeholder)
        else:
            default = (os.environ.get(self.env) if self.env else None) or self.default
            parser.add_argument(f"--{self.name}", type=self.parse, default=default, help=text, metavar=self.placeholder)


class _TextParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        said = message.removeprefix("argument ").replace(
            "ignored explicit argument", "is a switch and takes no value, not"
        )
        raise OptionsError([said])


def option_parser(options: Iterable[Option], **settings: Any) -> argparse.ArgumentParser:
    """A parser that leaves values as text, and raises OptionsError where argparse would end the process."""
    parser = _TextParser(allow_abbrev=False, add_help=False, **settings)
    for option in options:
        option.add_to(parser, as_text=True)
    return parser


def _with_dashes(text: Any) -> Any:
    """What was given for an option. Before Python 3.13, argparse makes an empty list of the value `--`."""
    if isinstance(text, list):
        return ["--" if one == [] else one for one in text] if text else "--"
    return text


def read_values(options: Sequence[Option], arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The options' values by name (of the arguments, else the environment, else defaults), and what arguments are left.

    Names may be written with dashes for underscores. Raises OptionsError with every value that cannot be understood,
    and for a password, which it does not repeat.
    """
    names = {option.name for option in options}
    _refuse_passwords(names, arguments)
    spelled = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        plain = flag[2:].replace("-", "_") if flag.startswith("--") else ""
        spelled.append(f"--{plain}{equals}{value}" if plain in names else argument)
    given, rest = option_parser(options).parse_known_args(spelled)
    values: dict[str, Any] = {}
    problems: list[str] = []
    for option in options:
        text = _with_dashes(getattr(given, option.name))
        source = f"--{option.name}"
        if text is None and option.env and os.environ.get(option.env):
            text, source = os.environ[option.env], option.env
        if option.parse is None or text is None:
            values[option.name] = text if option.parse is None else option.default
            continue
        try:
            parsed = [option.value_of(one) for one in ([text] if isinstance(text, str) else text)]
            values[option.name] = option.several(parsed) if option.several else parsed[0]
        except argparse.ArgumentTypeError as error:
            problems.append(f"{source}: {error}")
    if problems:
        raise OptionsError(problems)
    return values, rest


def _refuse_passwords(names: Container[str], arguments: Iterable[str]) -> None:
    for argument in arguments:
        flag = argument.partition("=")[0]
        if (
            flag.startswith("-")
            and _PASSWORD.match(flag.replace("-", "_"))
            and flag.lstrip("-").replace("-", "_") not in names
        ):
            raise OptionsError(
                [
                    f"{flag}: a password is not taken from the command line, where every user of the machine can read "
                    "it; set the environment variable CLICKHOUSE_PASSWORD, or name a file with "
                    "--clickhouse_password_from=file:/path"
                ]
            )
