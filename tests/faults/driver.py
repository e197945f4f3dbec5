"""Runs the command line in this process, killed, held or paused at a point if asked, or checked afterwards against a dataset.

python -m tests.faults.driver [--kill=POINT | --kill=NUMBER,SECONDS] [--hold=POINT,FILE] [--pause=POINT,FILE]
                              [--check=DATASET.json] -- <arguments of beam_pipeline>
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path

from beam_pipeline.cli import main as cli
from beam_pipeline.options import CONNECTION, INPUT, clickhouse_config
from tests.faults.points import (
    POINTS,
    POINTS_OF_ADOPTION,
    POINTS_OF_GIVING_UP,
    kill_around_statement,
    pause,
    wait_to_be_killed,
)
from tests.support.dataset import Dataset, wrongs


def main(arguments_given: list[str]) -> int:
    split = arguments_given.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--kill", help="a named point, or a statement's number and how many seconds after it")
    parser.add_argument("--hold", help="a named point, and the file that is made when it is reached")
    parser.add_argument("--pause", help="the same, for a process that goes on when it is sent SIGCONT")
    parser.add_argument("--check", type=Path)
    arguments = parser.parse_args(arguments_given[:split])
    points = {**POINTS, **POINTS_OF_ADOPTION, **POINTS_OF_GIVING_UP}
    if arguments.kill in points:
        points[arguments.kill].arm()
    elif arguments.kill:
        number, seconds = arguments.kill.split(",")
        kill_around_statement(int(number), float(seconds))
    for wanted, act in ((arguments.hold, wait_to_be_killed), (arguments.pause, pause)):
        if wanted:
            point, file = wanted.split(",")
            points[point].arm(functools.partial(act, Path(file)))
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
