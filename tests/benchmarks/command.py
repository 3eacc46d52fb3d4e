"""Measures rows, says what was found, and keeps it: what the one command and each module's own share."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import results
from tests.benchmarks.rows import Bench, Row, Unavailable

LEAST_ROUNDS: Final = 5
#: Characters of an error that are kept.
KEPT_ERROR: Final = 300
#: Of one row, where signals are minded.
LONGEST_S: Final = 60 * 60


def measure(row: Row, bench: Bench) -> dict[str, Any]:
    """One row's results; an error is one of them."""
    bench.notes.clear()
    pairs: dict[str, list[Sequence[float]]] = {key: [] for key in row.figures}
    loads, begin, error = [os.getloadavg()[0]], time.perf_counter(), ""
    try:
        for round_ in row.measure(bench):
            loads.append(os.getloadavg()[0])
            for key, pair in round_.items():
                pairs[key].append([float(f"{side:.6g}") for side in pair])
    except Unavailable as problem:
        error = one_line(str(problem))
    except Exception as problem:  # whatever it is, it is this row's result, and the others go on
        error = one_line(f"{type(problem).__name__}: {problem}")
    return {
        "command": f"python -m tests.benchmarks {row.name}",
        "commit": results.commit(),
        "error": error,
        "figures": {} if error else pairs,
        "load": [round(min(loads), 2), round(max(loads), 2)],
        "machine": results.machine(),
        "notes": list(bench.notes),
        "took_s": round(time.perf_counter() - begin, 1),
    }


def one_line(text: str) -> str:
    """Of an error: without line breaks, and without the paths of this machine."""
    text = re.sub(r"(?<![\w.])/(?:[\w.+-]+/)+([\w.+-]*)", r"…/\1", " ".join(text.split())).replace("|", "\\|")
    return text if len(text) <= KEPT_ERROR else f"{text[:KEPT_ERROR]}…"


def say(row: Row, one: dict[str, Any]) -> None:
    low, high = one["load"]
    print(f"{row.name} ({one['took_s']:.0f} s, load {low:.1f} to {high:.1f})")
    if one["error"]:
        print(f"  not measured: {one['error']}")
    for figure, pairs in results.found(row, one):
        if pairs:
            said = results.measured(figure, pairs)
            beside = f"; ours {said.ours}, {figure.yardstick}: {said.theirs}" if said.theirs else ""
            aim = f"aim {figure.aim}: {said.verdict.strip('*')}" if figure.aim else "no aim"
            print(f"  {figure.what}: {said.ratio}{beside}; {aim}")
    for note in one["notes"]:
        print(f"  {note}")
    sys.stdout.flush()


def run(
    rows: Sequence[Row], rounds: int, *, quick: bool = False, keep: Sequence[Row] = (), kept_in: Path = results.HERE
) -> int:
    """Measures rows one after the other; 1 where one could not be measured. Each is kept as soon as it is there, where
    `keep` are all the rows that are kept."""
    failed = False
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        bench = Bench(Path(name), rounds, quick=quick)
        for row in rows:
            if signal.getsignal(signal.SIGALRM) is _give_up:
                signal.alarm(LONGEST_S)
            one = measure(row, bench)
            say(row, one)
            failed = failed or bool(one["error"])
            if keep:
                results.store({**results.load(kept_in), row.name: one}, keep, kept_in)
    return int(failed)


def mind_signals() -> None:
    """From now on SIGTERM ends this process as an exception does: folders and daemons go with it; and a row that hangs is
    given up, and is no reason not to measure the others."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    signal.signal(signal.SIGALRM, _give_up)


def _give_up(*_: object) -> None:
    raise TimeoutError(f"given up after {LONGEST_S // 60} minutes")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS, help="at least 5, which is the default")
    parser.add_argument("--quick", action="store_true", help="a small size and one round, to try a row; kept nowhere")


def rounds_of(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    if given.quick:
        return 1
    if given.rounds < LEAST_ROUNDS:
        parser.error(f"--rounds is at least {LEAST_ROUNDS}")
    return int(given.rounds)


def alone(about: str | None, rows: Sequence[Row]) -> int:
    """The command of one module: its rows, shown and kept nowhere."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="the name of a row, or how it begins; all by default")
    options(parser)
    given = parser.parse_args()
    mind_signals()
    return run(chosen(rows, given.rows), rounds_of(parser, given), quick=given.quick)


def chosen(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Rows of these names, or of those that begin so where none has just that name; all where nothing is named. Raises
    SystemExit for an unknown one."""
    wanted: set[str] = set()
    for name in names:
        found = {row.name for row in rows if row.name == name} or {
            row.name for row in rows if row.name.startswith(name)
        }
        if not found:
            raise SystemExit(f"no row is called {name}; there are {', '.join(row.name for row in rows)}")
        wanted |= found
    return [row for row in rows if not names or row.name in wanted]
