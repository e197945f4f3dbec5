"""The option tables of the README. Run as a program it writes them there; a test compares."""

from __future__ import annotations

from pathlib import Path

from beam_pipeline.cli import COMMANDS, load_command
from beam_pipeline.option_parser import Option
from beam_pipeline.options import CONNECTION, OUTPUT

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- options -->\n", "<!-- /options -->\n"


def option_tables() -> str:
    """A table of the options of each command, in Markdown; what all have in common comes once."""
    common = {option.name for option in (*CONNECTION, *OUTPUT)}
    of_ingest = set(load_command("ingest").options)
    parts = [_table("All commands that connect", (*CONNECTION, *OUTPUT))]
    for name in COMMANDS:
        own = tuple(option for option in load_command(name).options if option.name not in common)
        if name != "ingest" and len(own) > 1 and of_ingest.issuperset(own):
            parts.append(f"`{name}` has those of `ingest` that say what is loaded and how.\n")
        elif own:
            parts.append(_table(f"`{name}`", own))
    return "\n".join(parts)


def tables_in(text: str) -> str:
    """What stands between the markers."""
    return text.partition(BEGIN)[2].partition(END)[0]


def _table(title: str, options: tuple[Option, ...]) -> str:
    lines = [f"{title}:\n", "| option | default | environment | meaning |", "|---|---|---|---|"]
    for option in options:
        value = f"={option.placeholder}" if option.placeholder else ""
        default = f"`{option.default_text}`" if option.default_text else ""
        env = f"`{option.env}`" if option.env else ""
        lines.append(f"| `--{option.name}{value}` | {default} | {env} | {option.help} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes the tables into the README."""
    text = README.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{README}: lacks the markers {BEGIN.strip()} and {END.strip()}")
    README.write_text(before + begin + option_tables() + end + after, encoding="utf-8")


if __name__ == "__main__":
    main()
