"""In half of the worlds with people a job asks an API about each of them, and what it answers becomes messages. The answers
change from time to time, and hold for a while: so long nobody is asked for again. The API says how often it may be asked.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

import pyarrow.parquet as pq

from reconciler.core.state import Outcome
from reconciler.providers.http.client import Answer
from tests.simulation.laws import require
from tests.simulation.people import FACTS

if TYPE_CHECKING:
    from tests.simulation.world import World

HOST: Final = "lookup.test/"
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS

STREAM: Final = """apiVersion: reconciler/v1
kind: Stream
metadata: {name: facts-0}
spec:
  timestamp: {field: enriched_at}
  identity: [{key: email, from: email, normalize: [trim, lower]}]
  attributes: {plan: {from: plan}}
"""


@dataclass
class Asked:
    """Somebody was asked for; whether an answer that holds got back."""

    run: int
    at_ms: int
    answered: bool = False


class Lookups:
    """What a world has of its own in which people are looked up; nothing where they are not."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        dice = self._dice = random.Random(f"lookups {seed}")
        self.there = world.mirrors.there and dice.random() < 0.5
        self._ttl_ms = max(1, world.span_ms // dice.choice([5, 40]) // HOUR_MS) * HOUR_MS
        self._per_run = dice.choice([3, 10, 1000])
        self._per_second = dice.choice([1, 5, 50])
        self._epoch = 0
        self._asked: dict[str, list[Asked]] = {}
        self._by_run: Counter[int] = Counter()
        self._last_ms: dict[tuple[int, int], int] = {}
        self._served: dict[str, set[str]] = {}
        self._said: dict[str, list[tuple[str, str]]] = {}  # by segment

    @property
    def spec(self) -> str:
        return STREAM

    def config(self) -> str:
        ttl = f"{self._ttl_ms // HOUR_MS}h"
        return (
            f'{{url: "http://{HOST}people?email={{value}}", key: {{identity: email}}, stream: {FACTS}, attributes: {{plan: plan}}, '
            f"ttl: {ttl}, requestsPerSecond: {self._per_second}, maxRequestsPerRun: {self._per_run}}}"
        )

    def change(self) -> str:
        """What is known of people changes."""
        self._epoch += 1
        return f"everybody's plan is another: {self._epoch}"

    # --- the API

    def is_of(self, path: str) -> bool:
        return path.startswith(HOST)

    def leaves(self, path: str, run: int, attempt: int) -> Asked:
        """A request is about to leave: nobody is asked for whose last answer still holds, and nobody too often."""
        value, now_ms = self._value(path), self._world.timeline.true_ms
        require(not self._holds(value), f"{value} is asked for again by run {run}, and the last answer still holds")
        self._by_run[run] += 1
        require(
            self._by_run[run] <= self._per_run * attempt,
            f"run {run} asks for more than {self._per_run} in {attempt} attempts",
        )
        before_ms = self._last_ms.get((run, attempt))
        gap_ms = 1000 // self._per_second
        require(
            before_ms is None or now_ms - before_ms >= gap_ms - 1,
            f"run {run} asks more than {self._per_second} times a second",
        )
        self._last_ms[run, attempt] = now_ms
        asked = Asked(run, now_ms)
        self._asked.setdefault(value, []).append(asked)
        return asked

    def _holds(self, value: str) -> bool:
        """Whether a run that has succeeded got an answer about somebody so short ago, by a clock that nobody has set since."""
        world = self._world
        assert world.record is not None
        for one in self._asked.get(value, ()):
            run = world.record.runs.run(one.run) if one.answered else None
            is_recent = world.timeline.true_ms - one.at_ms < self._ttl_ms - MINUTE_MS
            if is_recent and run is not None and run.outcome is Outcome.SUCCEEDED and not world.was_wrong_by(one.at_ms):
                return True
        return False

    def take(self, path: str) -> Answer:
        value = self._value(path)
        if sum(value.encode()) % 5 == 0:
            self._world.note(f"{value} is not known")
            return Answer(404, {}, b"", "")
        plan = f"plan {(sum(value.encode()) + self._epoch) % 3}"
        self._served.setdefault(value, set()).add(plan)
        self._world.note(f"{value} has {plan}")
        return Answer(200, {}, json.dumps({"plan": plan}).encode(), "")

    def _value(self, path: str) -> str:
        return parse_qs(path.partition("?")[2])["email"][0]

    # --- laws

    def check(self) -> None:
        """What landed was answered, and says each time something else."""
        world = self._world
        assert world.record is not None
        last: dict[str, str] = {}
        for segment in world.record.streams.segments(FACTS):
            if segment.file not in self._said:
                table = pq.read_table(world.state / "data" / segment.file, columns=["email", "plan"], use_threads=False)
                self._said[segment.file] = [(row["email"], row["plan"]) for row in table.to_pylist() if row["email"]]
            for email, plan in self._said[segment.file]:
                require(plan in self._served.get(email, ()), f"{FACTS}: {email} has {plan}, and nobody said so")
                require(last.get(email) != plan, f"{FACTS}: {email} has {plan} twice in a row")
                last[email] = plan
