"""Some worlds have profiles: messages speak of people, an audience selects them, and a job mirrors it to a destination that
keeps members. A guard holds back what it would do at once, until somebody approves it.

What the members should be is worked out by `tests.end_to_end.membership`, from the messages that landed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq

from reconciler.controller.requests import Request
from reconciler.record.store import Record
from tests.end_to_end.membership import Destination, Fields, People, audience
from tests.servers import Request as HttpRequest
from tests.simulation.asking import ask
from tests.simulation.laws import require
from tests.simulation.parts import is_wide

if TYPE_CHECKING:
    from tests.simulation.world import World

#: How many worlds in a hundred have people in them.
SHARE: Final = 25
WIDE_SHARE: Final = 55
#: The columns of such a message, as the file that brings it has them.
COLUMNS: Final = ("id", "email", "user", "score", "at")
#: Who was a member before we came, and is none of our business.
STRANGERS: Final = {
    f"stranger-{number}@example.org": {"email": f"stranger-{number}@example.org"} for number in range(4)
}
DAY_MS: Final = 86_400_000

STREAM: Final = """apiVersion: reconciler/v1
kind: Stream
metadata: {{name: {name}}}
spec:
  columns: {{score: integer, at: timestamp}}
  timestamp: {{field: at}}
  identity:
    - {{key: email, from: email, normalize: [trim, lower]}}
    - {{key: user, from: user}}
  attributes:
    score: {{from: score}}
    visits: {{merge: count}}
"""
AUDIENCE: Final = """apiVersion: reconciler/v1
kind: Audience
metadata: {{name: keen}}
spec: {{where: "score >= {limit}"}}
"""
WIDE_OPEN: Final = "{maxRemovePercent: 100, maxAddPercent: 1000000, emptyAudience: allow}"


class Mirrors:
    """What a world with people has of its own; nothing where it has none."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        dice = self._dice = random.Random(f"mirrors {seed}")
        self.there = dice.randrange(100) < (WIDE_SHARE if is_wide(seed) else SHARE)
        self.stream = "orders-0" if self.there else ""
        self._limit = dice.choice([30, 50, 80])
        count = dice.choice([6, 15, 40])
        refused = frozenset(range(0, count, 7)) if dice.random() < 0.4 else frozenset[int]()
        self._crowd = People(random.Random(f"crowd {seed}"), count, refused)
        if is_wide(seed):
            self._crowd.merges = 0.03
        self.count = count
        self.is_guarded = dice.random() < 0.5
        self._destinations: dict[str, Destination] = {}
        self._removed: Counter[str] = Counter()  # by job and the run that made the plan
        self._approvals: Counter[str] = Counter()
        self._approved: dict[str, int] = {}
        self._said: dict[str, list[dict[str, Any]]] = {}  # by segment
        self.messages: dict[str, Mapping[str, Any]] = {}  # by id: all that ever came in

    # --- what is declared, and what comes in

    @property
    def guard(self) -> str:
        return "{}" if self.is_guarded else WIDE_OPEN

    @property
    def wish(self) -> str:
        """Of what a mirror does, beside sending everything."""
        refusals = self._world.refusals
        return "" if refusals is None else refusals.wish

    @property
    def refused(self) -> set[str]:
        """Whom the destination takes by no means, for now."""
        return self._crowd.refused

    def approvals(self, job: str) -> int:
        """How often somebody has approved something of a job."""
        return self._approvals[job]

    def specs(self) -> str:
        return AUDIENCE.format(limit=self._limit)

    def stream_spec(self, name: str) -> str | None:
        if name != self.stream:
            return None
        changing = self._world.changing
        return STREAM.format(name=name) if changing is None else changing.spec(name)

    def lines(self, ids: list[str]) -> str:
        said = self._crowd.speak(len(ids))
        self.messages |= zip(ids, said, strict=True)
        rows = [
            [one, *(str(message.get(name, "")) for name in COLUMNS[1:])] for one, message in zip(ids, said, strict=True)
        ]
        return "".join(f"{','.join(row)}\n" for row in (COLUMNS, *rows))

    def change_limit(self) -> str:
        """Somebody selects other people."""
        if self._world.people.is_making:
            return "nothing: the tree is in the making"
        self._limit = self._dice.choice([0, 30, 50, 80, 101])
        self._world.people.make_true()
        return f"the audience is score >= {self._limit}"

    def settle_down(self) -> None:
        """The last audience; from now on somebody approves what is held, day by day."""
        self._limit = 50
        if self.is_guarded:
            for day in range(60):
                self._world.timeline.after(day * DAY_MS, self.approve)

    # --- approvals

    def approve(self) -> str:
        """Somebody approves what is held, whatever it is; or what was held when they last looked."""
        world = self._world
        done = []
        for name, job in sorted(world.all_jobs.items()):
            if not (job.mirrors or job.is_gated):
                continue
            with Record.reading(world.state) as record:
                row = record.jobs.job(name)
                held = None if row is None else record.approvals.held(row.id)
            if held is None or held.is_approved:
                continue
            self._approvals[job.ident] += 1
            ask(world, Request(do="approve", arguments={"job": name, "digest": held.digest}, by="ann"))
            done.append(f"{name} {held.digest}")
            world.note(f"ann approves {held.digest} of {name}")
        return ", ".join(done) or "nothing is held"

    # --- the destination

    def is_of(self, path: str) -> bool:
        return path.startswith("receiver.test/mirror-")

    def take(self, path: str, method: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        there = self._destination(path)
        request = HttpRequest(method, path, {}, {name.lower(): value for name, value in headers.items()}, body, body)
        known = request.key in there.verdicts
        play = there(request)
        require(not there.errors, f"{path}: {'; '.join(there.errors)}")
        said = request.json
        who = " ".join(one["email"] for one in said["members"])
        self._world.note(f"{path} answers {play.status} to {said['action']} {request.key}: {who}")
        strange = STRANGERS.keys() - there.members.keys()
        require(not strange, f"{path}: {sorted(strange)} were there before us, and are gone")
        if said["action"] == "remove" and not known:
            self._check_guard(path.rpartition("/")[2], request.key.partition("-")[0], len(said["members"]))
        return play.status, play.body

    def _destination(self, path: str) -> Destination:
        if path not in self._destinations:
            members: dict[str, Fields] = dict(STRANGERS)
            self._destinations[path] = Destination(
                random.Random(f"{self._world.seed} {path}"), self._crowd.refused, is_calm=True, members=members
            )
        return self._destinations[path]

    def _check_guard(self, job: str, run: str, count: int) -> None:
        """No run removes more than the guard lets it, unless somebody has approved something of that job since the last that
        did so."""
        self._removed[f"{job} {run}"] += count
        if not self.is_guarded or self._removed[f"{job} {run}"] * 5 <= max(10, self.count):
            return
        approved = self._approved.setdefault(f"{job} {run}", self._approvals[job])
        earlier = [at for one, at in self._approved.items() if one.startswith(f"{job} ") and one != f"{job} {run}"]
        require(
            approved > max(earlier, default=0),
            f"{job}: run {run} removes {self._removed[f'{job} {run}']} of at most {self.count}, and nobody approved that",
        )

    # --- the end

    def differs(self, job: str) -> str:
        """How the members differ from the audience; nothing where they do not."""
        expected = {
            one["email"]: one for one in self.members() if one["email"] and one["email"] not in self._crowd.refused
        }
        there = self._destination(f"receiver.test/{job}").members
        ours = {who: fields for who, fields in there.items() if who not in STRANGERS}
        if ours == expected:
            return ""
        wrong = sorted(who for who in ours.keys() | expected.keys() if ours.get(who) != expected.get(who))
        return f"{len(wrong)} members are not as the audience says: {wrong[:3]}"

    def members(self) -> list[Fields]:
        """Who is to be there, by what has landed; some without an address."""
        if self._world.is_wide:
            return list(self._world.truth.members(self._limit))
        return list(audience(self.landed(), self._limit))

    def landed(self) -> list[dict[str, Any]]:
        """The messages of the stream, in their order, as they were said."""
        world = self._world
        assert world.record is not None
        found: list[dict[str, Any]] = []
        for segment in world.record.streams.segments(self.stream):
            if segment.file not in self._said:
                table = pq.read_table(world.state / "data" / segment.file, columns=list(COLUMNS), use_threads=False)
                self._said[segment.file] = [_as_said(row) for row in table.to_pylist() if row["id"] is not None]
            found += self._said[segment.file]
        return found


def _as_said(row: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in row.items() if value not in (None, "")}
    return {**said, "score": int(said["score"])}
