"""What `tests.support.processes` imports once: everything that a command imports before it does anything."""

from beam_pipeline.cli import COMMANDS, load_command

for name in COMMANDS:
    load_command(name)
