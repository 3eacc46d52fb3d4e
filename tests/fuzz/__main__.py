"""Looks for inputs that break the law (`law.py`), target by target, each in a process of its own:

    python -m tests.fuzz [TARGET…] [--minutes N] [--findings DIR] [--corpus DIR]

atheris (libFuzzer) finds its way by the branches that an input takes; it is installed by `pip install -e '.[fuzz]'`.
Without it inputs are mutated at random. `--minutes` are for all targets together. What is found is written to
`--findings`, and reported with where; exit code 1 then. What it learnt is kept in `--corpus` from run to run, where
that is given; `tests/fuzz/corpus` is what the suite replays, and grows by hand.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.fuzz.targets import TARGETS

#: A target that finds something goes on in a new process, at most so often.
FINDINGS: Final = 20


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Looks for inputs that break the law.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    parser.add_argument("--corpus", type=Path)
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.targets) - TARGETS.keys())
    if unknown:
        parser.error(f"there is no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    names = given.targets or list(TARGETS)
    each_s = given.minutes * 60 / len(names)
    how = "atheris" if importlib.util.find_spec("atheris") else "mutations at random (atheris is not installed)"
    print(f"{len(names)} targets, {each_s:.0f} s each, by {how}", flush=True)
    found = executed = 0
    with tempfile.TemporaryDirectory() as name:
        for target in names:
            corpus = (given.corpus or Path(name)) / target
            corpus.mkdir(parents=True, exist_ok=True)
            runs, findings = hunt(target, each_s, corpus, given.findings)
            executed, found = executed + runs, found + findings
    print(f"{executed:,} inputs, {found} findings")
    return 1 if found else 0


def hunt(target: str, seconds: float, corpus: Path, findings: Path) -> tuple[int, int]:
    """Inputs tried and findings of one target; said as they come."""
    until_s, runs, found = time.monotonic() + seconds, 0, 0
    while (left_s := until_s - time.monotonic()) > 0 and found <= FINDINGS:
        command = [
            sys.executable,
            "-m",
            "tests.fuzz.one",
            target,
            str(max(1, round(left_s))),
            str(corpus),
            str(findings),
        ]
        ended = subprocess.run(command, capture_output=True, check=False)
        said = (ended.stdout + ended.stderr).decode("utf-8", "replace")
        runs += max(
            map(int, re.findall(r"^(?:#|stat::)?(?:number_of_executed_units: +)?(\d+)\b", said, re.MULTILINE)),
            default=0,
        )
        if ended.returncode == 0:
            break
        found += 1
        print(f"{target}: FOUND\n{_excerpt(said)}", flush=True)
    print(f"{target:12} {runs:>12,} inputs  {found} findings", flush=True)
    return runs, found


def _excerpt(said: str) -> str:
    lines = said.splitlines()
    marked = [at for at, line in enumerate(lines) if "BROKEN" in line] or [
        at for at, line in enumerate(lines) if "ERROR:" in line
    ]
    begin = marked[0] if marked else max(0, len(lines) - 30)
    return "\n".join(lines[begin : begin + 40])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
