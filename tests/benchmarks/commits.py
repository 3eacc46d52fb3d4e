"""What following a branch costs: from a commit to the decision, of one changed spec and of many among all of them.

    python -m tests.benchmarks.commits [ROW …] [--rounds N] [--quick]

The yardstick is git's own answer to what differs between the same two commits (`git diff-tree`, a process of its own), for
many changed specs with reading and parsing these. Ours ends when the plan is made: the look at the ref, the difference, the
blobs, the record's transaction on the disk, and the plan, in a process that is already at work, as the daemon is.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Final

from reconciler.clock import Clock
from reconciler.controller.enact import Enactor
from reconciler.controller.lives import Lives
from reconciler.controller.observe import Observer
from reconciler.controller.planning import Planner
from reconciler.controller.policing import Policing
from reconciler.controller.pruning import Pruner
from reconciler.controller.settings import Settings
from reconciler.controller.trees import installed, open_tree
from reconciler.record.store import Record
from reconciler.repo.git import Repository
from reconciler.repo.objects import differences, read_blobs
from reconciler.repo.parse import parse_many
from tests.benchmarks.command import alone
from tests.benchmarks.rows import Bench, Figure, Round, Row, under
from tests.benchmarks.tree import BRANCH, Jobs, jobs

#: Commits of one spec in a round: each takes milliseconds.
TIMES: Final = 5


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
    blobs = {entry.blob: path for path, entry in differences(repository, old, new).files.items() if entry}

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
        pruner = Pruner(self.record, settings.budget, origin.revision, "", None)
        self.planner = Planner(self.record, origin, installed, print, policing=policing, pruner=pruner)
        self.clock = Clock(self.record.alive_ms)

    def decide(self, changed: int) -> float:
        """From the look to the plan, which is then enacted, untimed."""
        now = self.clock.now()
        begin = time.perf_counter()
        self.observer.observe(now)
        plan = self.planner.plan(now)
        taken_s = time.perf_counter() - begin
        assert len(plan.actions) == changed, f"{len(plan.actions)} actions, where {changed} specs have changed"
        if plan.actions:
            lives = Lives(self.record, lambda: 0.5)
            Enactor(self.record, lives, installed()).enact(plan, self.planner.authors(plan), now)
        return taken_s

    def close(self) -> None:
        self.tree.close()
        self.record.close()


def follower(tree: Jobs) -> Follower:
    tree.settle_commit()
    state = tree.commit_state
    return Follower(
        Settings(
            root=tree.root, state=state, source=f"git:{BRANCH}", data_root=tree.folder, status_dir=state / "status"
        )
    )


def decisions(bench: Bench) -> Iterator[Round]:
    tree = jobs(bench, bench.size(100_000, 1_000))
    many = bench.size(1_000, 50)
    with closing(follower(tree)) as ours:
        bench.note(f"a look and a plan with nothing new {median(ours.decide(0) for _ in range(20)) * 1000:.2f} ms")
        for turn in range(bench.rounds + 1):  # the first of them warms up
            alone_s, theirs_s = (
                median(side) for side in zip(*(_decision(ours, tree, 1) for _ in range(TIMES)), strict=True)
            )
            found = {"one": (alone_s, theirs_s), "many": _decision(ours, tree, many)}
            if turn:
                yield found


def _decision(ours: Follower, tree: Jobs, count: int) -> tuple[float, float]:
    old, new = tree.change(range(7, 7 + count))
    theirs = diff_tree_s(tree.root, old, new) + (parsing_s(tree.root, old, new) if count > 1 else 0)
    return ours.decide(count), theirs


ROWS: Final = (
    Row(
        name="commit-to-decision",
        asks="commit to decision",
        figures={
            "many": Figure(
                what="commit to decision, 1,000 changed specs of 100,000",
                yardstick="`git diff-tree` plus reading and parsing those 1,000",
                aim=under(2),
            ),
            "one": Figure(
                what="commit to decision, one changed spec of 100,000",
                yardstick="`git diff-tree` of the same two commits",
                aim=under(2),
            ),
        },
        measure=decisions,
        differs=(
            "ours also commits what it has seen to the record (fsync) and plans, in a process that is at work; "
            "`git diff-tree` is a process of its own"
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(alone(__doc__, ROWS))
