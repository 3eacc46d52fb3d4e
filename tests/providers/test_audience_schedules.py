"""A receiver that refuses, times out, answers late and loses answers, and a controller that dies anywhere, over random
schedules: once faults stop, the membership is that of the audience, and nothing was sent twice under another key."""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import pytest

from reconciler.errors import NeedsApproval
from tests.providers.audience_bench import Bench, bench, person
from tests.servers import Play, Request

#: More of them: `python -m tests.providers.test_audience_schedules 1000`.
SCHEDULES: Final = 24
GROUPS: Final = 4
PLANS: Final = ("gold", "silver", "bronze")


class World:
    """Who is in the audience, whom the receiver refuses, and how the next requests go wrong."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.plans = {number: self.random.choice(PLANS) for number in range(self.random.randrange(1, 14))}
        self.bad = {number for number in range(20) if self.random.random() < 0.08}
        self.is_calm = False

    def people(self) -> list[dict[str, Any]]:
        return [person(number, plan) for number, plan in self.plans.items()]

    def change(self) -> None:
        for number in range(20):
            if self.random.random() < 0.2:
                if self.random.random() < 0.5:
                    self.plans.pop(number, None)
                else:
                    self.plans[number] = self.random.choice(PLANS)

    def answer(self, request: Request) -> Play:
        addresses = {one["email"] for one in request.json["members"]}
        refused = request.json["action"] != "remove" and any(f"p{one}@x.org" in addresses for one in self.bad)
        if not self.is_calm and self.random.random() < 0.3:
            late = Play(drop=True) if refused else Play(lose=True)
            return self.random.choice([
                late, late, Play(drop=True), Play(500), Play(503), Play(429, headers={"Retry-After": "1"}), Play(401),
            ])  # fmt: skip
        return Play(422, b'{"error": "no such address"}') if refused else Play()

    def expected(self) -> dict[str, str]:
        return {f"p{number}@x.org": plan for number, plan in self.plans.items() if number not in self.bad}


class Strict:
    """A receiver to which every change under a new key must be news."""

    def __init__(self, job: Bench) -> None:
        self._job = job
        self._apply = job.receiver._apply

    def __call__(self, action: str, members: list[dict[str, Any]]) -> None:
        before = {one["email"]: self._job.receiver.members.get(one["email"]) for one in members}
        self._apply(action, members)
        for one in members:
            now = self._job.receiver.members.get(one["email"])
            assert now != before[one["email"]], f"{action} of {one} was sent twice under two keys"


def converge(world: World, job: Bench) -> None:
    """A few runs among faults and deaths, then calm."""
    open_run = False
    for _ in range(world.random.randrange(3, 9)):
        dies_at = world.random.choice([0, world.random.randrange(1, 14)])
        stop_after = world.random.choice([0, 0, 1, 2])
        made = job.run(new_run=not open_run or world.random.random() < 0.2, dies_at=dies_at, stop_after=stop_after)
        open_run = made.how != "completed"
        if isinstance(made.error, NeedsApproval):
            job.place.approved.add(made.error.digest)
        if world.random.random() < 0.5:
            world.change()
            job.enroll(world.people())
    world.is_calm = True
    for _ in range(3):
        made = job.run()
        if isinstance(made.error, NeedsApproval):
            job.place.approved.add(made.error.digest)
            made = job.again()
        assert made.how == "completed", made


def hold(folder: Path, seed: int) -> None:
    world = World(seed)
    with bench(folder / str(seed), world.people(), world.answer, batchSize=4) as job:
        job.receiver._apply = Strict(job)  # type: ignore[method-assign]
        converge(world, job)
        found = {email: one["plan"] for email, one in job.receiver.members.items()}
        assert found == world.expected(), f"seed {seed}"
        assert not job.ledger.open, f"seed {seed}"
        assert job.completes().units == 0, f"seed {seed}"
        assert job.facts["sent"] == len(world.expected()), f"seed {seed}"
        assert job.facts["out"] == len(world.bad & world.plans.keys()), f"seed {seed}"


@pytest.mark.parametrize("group", range(GROUPS))
def test_the_membership_becomes_that_of_the_audience_whatever_happens_in_between(tmp_path: Path, group: int) -> None:
    for seed in range(group, SCHEDULES, GROUPS):
        hold(tmp_path, seed)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(int(sys.argv[1])):
            hold(Path(scratch), number)
    print(f"{sys.argv[1]} schedules hold")
