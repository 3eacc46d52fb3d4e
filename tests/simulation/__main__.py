"""`python -m tests.simulation --seeds 1000`: worlds by number, until one breaks a law."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
import traceback

from tests.simulation.world import live


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=0, metavar="N", help="live through the worlds 0 to N-1")
    parser.add_argument("--seed", type=int, metavar="S", help="live through one world again")
    parser.add_argument("--first", type=int, default=0, metavar="S", help="with --seeds: the first of them")
    parser.add_argument(
        "--trace", type=int, default=40, metavar="LINES", help="so many last lines of a broken world; 0: all"
    )
    parser.add_argument("--go-on", action="store_true", help="do not end with the first broken world")
    said = parser.parse_args(arguments)
    if said.seed is None and said.seeds < 1:
        parser.error("say --seeds N or --seed S")
    seeds = [said.seed] if said.seed is not None else range(said.first, said.first + said.seeds)
    began_s, broken, days, turns = time.monotonic(), 0, 0, 0
    for count, seed in enumerate(seeds, start=1):
        one_s = time.process_time()
        try:
            world = live(seed)
        except Exception as error:
            broken += 1
            _tell(seed, error, said.trace)
            if not said.go_on:
                return 1
            continue
        days += world.timeline.true_ms // 86_400_000
        turns += world.turns
        if said.seed is not None:
            print("\n".join(world.trace if said.trace == 0 else world.trace[-said.trace :]))
            print(f"seed {seed}: {world.lives} lives, {world.turns} turns, digest {world.digest}")
        elif os.environ.get("SLOW"):
            print(f"{seed}: {world.mode} {world.turns} turns {time.process_time() - one_s:.2f} s", flush=True)
        elif count % 50 == 0:
            print(f"{count} worlds in {time.monotonic() - began_s:.0f} s", flush=True)
        gc.collect()
    spent_s = time.monotonic() - began_s
    print(f"{len(seeds)} worlds, {days / 365:,.0f} years, {turns:,} turns in {spent_s:.1f} s; {broken} broke a law")
    return 1 if broken else 0


def _tell(seed: int, error: Exception, lines: int) -> None:
    trace = getattr(error, "trace", [])
    print("\n".join(trace[-lines:] if lines else trace))
    if type(error).__name__ != "Broken":
        traceback.print_exception(error)
    print(f"seed {seed} broke a law: {error}\nagain: python -m tests.simulation --seed {seed} --trace 0", flush=True)


if __name__ == "__main__":
    sys.exit(main())
