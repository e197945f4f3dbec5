"""`generate`: writes synthetic events, for a demonstration or a load test."""

from __future__ import annotations

from beam_pipeline.commands.base import OK, Command, Invocation, print_json, print_text, printable
from beam_pipeline.generate import GenerateOptions, generate
from beam_pipeline.option_parser import OptionsError
from beam_pipeline.options import GENERATE, OUTPUT
from beam_pipeline.wording import counted


def run(invocation: Invocation) -> int:
    """Writes the files and says what was written."""
    values = invocation.values
    if not values["output"]:
        raise OptionsError(["--output: is missing; give the directory to write into"])
    options = GenerateOptions(
        output=values["output"],
        events=values["events"],
        events_per_file=values["events_per_file"],
        event_types=values["event_types"],
        projects=values["projects"],
        deployments=values["deployments"],
        start_ms=values["start"],
        end_ms=values["end"],
        seed=values["seed"],
        dialect=values["dialect"],
        bad_ratio=values["bad_ratio"],
        compression=values["compression"],
    )
    problems = options.problems()
    if problems:
        raise OptionsError(problems)
    written = generate(options)
    if values["json"]:
        print_json({"output": options.output} | vars(written))
        return OK
    kinds = ", ".join(counted(count, name) for name, count in written.events.items())
    broken = f", {counted(written.bad_lines, 'line')} broken on purpose" if written.bad_lines else ""
    print_text(f"{counted(sum(written.events.values()), 'event')} ({kinds}){broken}")
    print_text(f"{counted(written.files, 'file')}, {written.bytes / 1e6:,.1f} MB in {printable(options.output)}")
    return OK


COMMAND = Command(
    name="generate",
    options=(*GENERATE, *OUTPUT),
    run=run,
)
