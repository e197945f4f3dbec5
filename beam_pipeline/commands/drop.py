"""`drop`: removes the tables with all that was loaded, once it is told the database's name."""

from __future__ import annotations

from beam_pipeline.commands.base import (
    OK,
    Command,
    Invocation,
    checked_connection,
    print_json,
    print_text,
    where,
)
from beam_pipeline.option_parser import OptionsError
from beam_pipeline.options import CONFIRM, CONNECTION, INPUT, OUTPUT
from beam_pipeline.runs_under_way import refuse_runs
from beam_pipeline.schema import connect_if_there, drop_all_tables
from transforms.storage import input_root


def run(invocation: Invocation) -> int:
    """Drops everything that migrate creates, and nothing else."""
    values = invocation.values
    config = checked_connection(values)
    if values["confirm"] != config.database:
        raise OptionsError(
            [f"--confirm: to drop the tables of {where(config)} with all their rows, say --confirm={config.database}"]
        )
    dropped = []
    client = connect_if_there(config)
    if client is not None:
        with client:
            refuse_runs(client, *([input_root(values["input"])] if values["input"] else []))
            dropped = drop_all_tables(client, confirm=values["confirm"])
    if values["json"]:
        print_json({"dropped": dropped})
    else:
        print_text(f"dropped {', '.join(dropped)}" if dropped else "there was nothing to drop")
    return OK


COMMAND = Command(
    name="drop",
    options=(CONFIRM, INPUT, *CONNECTION, *OUTPUT),
    run=run,
    details="Files in processed/ stay where they are. They are not loaded again unless they are moved back.",
)
