"""What `tests.support.processes` imports once: everything that a command imports before it does anything."""

import gc

from beam_pipeline.cli import COMMANDS, load_command

for name in COMMANDS:
    load_command(name)

# Or else each process would look through all of it for garbage, and so copy it: a tenth of a second of a processor.
gc.collect()
gc.freeze()
