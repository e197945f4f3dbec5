"""`python -m beam_pipeline`: see beam_pipeline/cli.py."""

import gc
import sys

from beam_pipeline.process import (
    collect_garbage_seldom,
    end_on_signals,
    flush_output,
    keep_libraries_small,
    leave_out_what_is_not_needed,
    prepare_streams,
)
from beam_pipeline.runners import runs_here


def main() -> int:
    """Runs the command of this process's command line, and returns the exit code."""
    end_on_signals()
    prepare_streams()
    leave_out_what_is_not_needed(runs_here=runs_here(sys.argv[1:]))
    keep_libraries_small()
    collect_garbage_seldom()
    # Imports for a second or two: only now an interrupt ends it in silence.
    from beam_pipeline.cli import main as run_command

    code = flush_output(run_command())
    # With Beam it takes a quarter of a second to look through all of it once more.
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(main())
