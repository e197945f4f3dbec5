"""`python -m beam_pipeline`: see beam_pipeline/cli.py."""

import sys

from beam_pipeline.process import (
    end_on_signals,
    flush_output,
    keep_memory_low,
    leave_out_what_is_not_needed,
    prepare_streams,
)


def main() -> int:
    """Runs the command of this process's command line, and returns the exit code."""
    end_on_signals()
    prepare_streams()
    leave_out_what_is_not_needed()
    keep_memory_low()
    # Imports for a second or two: only now an interrupt ends it in silence.
    from beam_pipeline.cli import main as run_command

    return flush_output(run_command())


if __name__ == "__main__":
    sys.exit(main())
