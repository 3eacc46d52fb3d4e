"""All benchmarks, or those that are named; what they found is kept in tests/benchmarks/RESULTS.md. README.md beside this
file says what each row is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.benchmarks import command, results
from tests.benchmarks.table import ROWS


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="the name of a row, or how it begins; all by default")
    command.options(parser)
    parser.add_argument("--list", action="store_true", help="name the rows and what they measure")
    parser.add_argument(
        "--render", action="store_true", help="write RESULTS.md anew from results.json; measure nothing"
    )
    given = parser.parse_args(arguments)
    rows = command.chosen(ROWS, given.rows)
    if given.list:
        for row in rows:
            print(f"{row.name:26} {'; '.join(figure.what for figure in row.figures.values())}")
        return 0
    if given.render:
        results.store(results.load(), ROWS)
        return 0
    rounds = command.rounds_of(parser, given)
    return command.run(rows, rounds, quick=given.quick, keep=() if given.quick else ROWS)


if __name__ == "__main__":
    command.mind_signals()
    sys.exit(main(sys.argv[1:]))
