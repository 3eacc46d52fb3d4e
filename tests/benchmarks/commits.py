"""What following a branch costs: from a commit to the decision, of one changed spec and of many among all of them.

    python -m tests.benchmarks.commits [JOBS [ROUNDS]]

The yardstick is git's own answer to what differs between the same two commits (`git diff-tree`, a process of its own), for
many changed specs with reading and parsing these. Ours ends when the plan is made: the look at the ref, the difference, the
blobs, the record's transaction on the disk, and the plan, in a process that is already at work, as the daemon is. What a look
costs that finds nothing new is beside it, and a whole `reconcile plan` with nothing new against `git status`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from reconciler.clock import Clock
from reconciler.controller.enact import Enactor
from reconciler.controller.lives import Lives
from reconciler.controller.looking import installed, open_tree
from reconciler.controller.observe import Observer
from reconciler.controller.planning import Planner
from reconciler.controller.policing import Policing
from reconciler.controller.pruning import Pruner
from reconciler.controller.settings import Settings
from reconciler.record.store import Record
from reconciler.repo.git import Repository
from reconciler.repo.objects import differences, read_blobs
from reconciler.repo.parse import parse_many
from tests.benchmarks.tree import RECONCILE, cost, spec_path, write_tree

MANY = 1_000


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "gc.auto=0"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def change(root: Path, numbers: range, minutes: int) -> str:
    """Commits another timeout of these jobs; the commit."""
    for number in numbers:
        path = spec_path(root, number)
        path.write_text(re.sub(r"timeout: \S+", f"timeout: {minutes}m", path.read_text()))
    git(root.parent, "commit", "-q", "-a", "-m", f"{minutes} minutes")
    return git(root.parent, "rev-parse", "HEAD")


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def diff_tree_s(root: Path, old: str, new: str) -> float:
    command = ["git", "diff-tree", "-r", "-z", "--raw", old, new, "--", f"{root.name}/"]
    return seconds(lambda: subprocess.run(command, cwd=root.parent, check=True, capture_output=True))


def parsing_s(root: Path, old: str, new: str) -> float:
    """Of the changed specs: their bytes out of git, and parsing them."""
    repository = Repository.around(root)
    assert repository is not None
    blobs = {entry.blob: path for path, entry in differences(repository, old, new).items() if entry}

    def work() -> None:
        parse_many([(blobs[blob], content or b"") for blob, content in read_blobs(repository, blobs)], installed())

    return seconds(work)


class Follower:
    """A controller's look and plan over one record, without its loop."""

    def __init__(self, settings: Settings) -> None:
        self.record = Record.writing(settings.state)
        self.tree, origin = open_tree(settings, self.record, writable=True)
        policing = Policing(self.record, self.tree, installed)
        self.observer = Observer(self.record, self.tree, installed, policing)
        pruner = Pruner(self.record, settings.budget, origin.revision, None)
        self.planner = Planner(self.record, origin, installed, print, policing=policing, pruner=pruner)
        self.clock = Clock(self.record.alive_ms)

    def decide(self, changed: int) -> float:
        """From the look to the plan, which is then enacted, untimed."""
        now = self.clock.now()
        begin = time.perf_counter()
        self.observer.observe(now)
        plan = self.planner.plan(now)
        taken_s = time.perf_counter() - begin
        assert len(plan.actions) == changed, len(plan.actions)
        if plan.actions:
            lives = Lives(self.record, lambda: 0.5)
            Enactor(self.record, lives, installed()).enact(plan, self.planner.authors(plan), now)
        return taken_s


def main(jobs: int, rounds: int) -> None:
    many = min(MANY, jobs // 10)
    with tempfile.TemporaryDirectory() as name:
        root = write_tree(Path(name), jobs)
        branch, head = git(root.parent, "branch", "--show-current"), git(root.parent, "rev-parse", "HEAD")
        git(root.parent, "gc", "-q")
        flags = ("--source", f"git:{branch}", "--data-root", name)
        first_s = cost(*RECONCILE, *flags, cwd=root.parent).wall_s
        pairs = [
            (cost(*RECONCILE, "plan", *flags, cwd=root.parent).wall_s, cost("git", "status", cwd=root.parent).wall_s)
            for _ in range(rounds)
        ]
        settings = Settings(
            root=root, state=root / ".reconciler", source=f"git:{branch}", data_root=Path(name),
            status_dir=root / ".reconciler" / "status",
        )  # fmt: skip
        follower = Follower(settings)
        idle_s = median(follower.decide(0) for _ in range(10 * rounds))
        ratios: dict[int, list[tuple[float, float]]] = {1: [], many: []}
        for turn in range(rounds + 1):  # the first of them warms up
            for count, found in ratios.items():
                new = change(root, range(7, 7 + count), 100 + 2 * turn + (count > 1))
                yardstick_s = diff_tree_s(root, head, new) + (parsing_s(root, head, new) if count > 1 else 0)
                found.append((follower.decide(count), yardstick_s))
                head = new
        follower.tree.close()
        follower.record.close()
    print(f"{jobs:,} suspended jobs in git; a first pass {first_s:.1f} s; {rounds} rounds each")
    print(f"nothing new: a look and a plan {idle_s * 1000:.2f} ms")
    plan_s, status_s = (median(column) for column in zip(*pairs, strict=True))
    print(f"nothing new: `reconcile plan` {plan_s:.3f} s, `git status` {status_s:.3f} s, ratio {plan_s / status_s:.2f}")
    for count, found in ratios.items():
        what = "git diff-tree" if count == 1 else "git diff-tree, and parsing these"
        ours, theirs = (median(column) for column in zip(*found[1:], strict=True))
        spread = sorted(one / other for one, other in found[1:])
        print(
            f"{count:,} changed: commit to decision {ours * 1000:.1f} ms, {what} {theirs * 1000:.1f} ms, "
            f"ratio {ours / theirs:.2f} ({spread[0]:.2f} to {spread[-1]:.2f})"
        )


if __name__ == "__main__":
    main(*(int(one) for one in (*sys.argv[1:], *("10000", "5")[len(sys.argv) - 1 :])))
