"""Runs the command line in this process, killed at a named point if asked, or checked afterwards against a dataset.

python -m tests.faults.driver [--kill=POINT] [--check=DATASET.json] -- <arguments of beam_pipeline>
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from beam_pipeline.cli import main as cli
from beam_pipeline.options import CONNECTION, INPUT, clickhouse_config
from tests.faults.points import POINTS, POINTS_OF_ADOPTION
from tests.support.dataset import Dataset, wrongs


def main(arguments_given: list[str]) -> int:
    split = arguments_given.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--kill")
    parser.add_argument("--check", type=Path)
    arguments = parser.parse_args(arguments_given[:split])
    if arguments.kill:
        {**POINTS, **POINTS_OF_ADOPTION}[arguments.kill].arm()
    code = cli(arguments_given[split + 1 :])
    if arguments.check:
        options = argparse.ArgumentParser()
        for option in (INPUT, *CONNECTION):
            option.add_to(options)
        values = vars(options.parse_known_args(arguments_given[split + 1 :])[0])
        with clickhouse_config(values).connect() as client:
            print("WRONGS " + json.dumps(wrongs(client, Dataset.load(arguments.check))), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
