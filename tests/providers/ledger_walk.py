"""A random life of one export of an audience: who is in it, what its spec says, what the destination does and when the
controller dies; and, in plain Python, whom the destination must hold when a run has come to its end.

The export is the real one, with its real ledger, on the conformance suite's bench. The destination is in this process: it
keeps an entry for each identifier that it is told, finds a member by any of them, and may leave out updates of strangers.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpcore
import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.clock import Now
from reconciler.controller.compared import Export
from reconciler.controller.member import judge
from reconciler.core.members import ACTIONS, Difference
from reconciler.core.mirror import Progress
from reconciler.core.provider import JobType
from reconciler.data.forget import held
from reconciler.data.members import Selection
from reconciler.data.plan_rows import PlanReader
from reconciler.errors import NeedsApproval, Retriable, RunError
from reconciler.providers.http.client import Answer
from reconciler.providers.http.export_audience import deliver
from reconciler.testing import Attempt, Cut, attempt
from tests.providers.audience_bench import Job

Fields = Mapping[str, Any]
#: An identifier: the field's name and its value.
Ident = tuple[str, Any]

#: The fields by which this destination knows members.
KNOWN_BY: Final = ("email", "user", "pid")
EMAIL: Final = {"from": "email", "transform": ["trim", "lower"]}
USER: Final = {"from": "user"}
PLAN: Final = {"from": "plan"}
MAPPINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "email": {"email": EMAIL, "plan": PLAN},
    "both": {"email": EMAIL, "user": USER, "plan": PLAN},
    "email needed": {"email": {**EMAIL, "required": True}, "user": USER, "plan": PLAN},
    "both needed": {"email": {**EMAIL, "required": True}, "user": {**USER, "required": True}},
    "user": {"user": USER, "plan": PLAN},
    "hashed": {"email": {"from": "email", "transform": ["trim", "lower", "sha256"]}, "plan": PLAN},
    "plain": {"email": {"from": "email"}, "user": USER, "plan": PLAN},
    "plan needed": {"email": EMAIL, "plan": {**PLAN, "required": True}},
    "by id": {"pid": {"from": "profile-id"}, "address": EMAIL | {"identifier": False}, "plan": PLAN},
}
KINDS: Final = (
    ("mirror", "both"), ("mirror", "both"), ("mirror", "both"), ("mirror", "enter"), ("mirror", "exit"),
    ("add-only", "both"), ("update-only", "both"),
)  # fmt: skip
REPLAYS: Final = ("keyed", "keyed", "idempotent", "ordered", "unsafe")
PLANS: Final = ("gold", "silver", None)
WIDE_OPEN: Final = {"maxRemovePercent": 100, "maxAddPercent": 1e9, "emptyAudience": "allow"}


class Broken(AssertionError):
    """A law does not hold."""


def require(holds: bool, law: str) -> None:
    if not holds:
        raise Broken(law)


# --- who there is ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Person:
    """One profile. The identifiers stand in order: of each key the first is sent."""

    emails: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    plan: str | None = "gold"


class Crowd:
    """The profiles. An identifier belongs to one of them at a time."""

    def __init__(self, dice: random.Random, most: int) -> None:
        self.dice = dice
        self.most = most
        self.people: dict[int, Person] = {}
        self._next = 1
        for _ in range(dice.randrange(most)):
            self.come()

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"id": ident(number), "email": one.emails, "user": one.users, "plan": one.plan}
            for number, one in sorted(self.people.items())
        ]

    def change(self) -> str:
        ways = (
            self.come, self.come, self.go, self.plan, self.lose, self.lose, self.gain, self.gain, self.move, self.move,
            self.swap, self.swap, self.merge, self.part, self.shuffle,
        )  # fmt: skip
        return self.dice.choice(ways)()

    def come(self) -> str:
        back = self.dice.randrange(1, self._next) if self._next > 1 and self.dice.random() < 0.4 else self._next
        if back in self.people:
            return "nobody comes"
        self._next = max(self._next, back + 1)
        emails = self._free("emails", "p{}@x.org")
        users = self._free("users", "u{}")
        kind = self.dice.random()
        self.people[back] = Person(
            (self.dice.choice(emails),) if kind < 0.8 else (), (self.dice.choice(users),) if kind > 0.3 else (),
            self.dice.choice(PLANS),
        )  # fmt: skip
        return f"{back} comes as {self.people[back]}"

    def go(self) -> str:
        return self._of_one(lambda number, one: self.people.pop(number) and "goes")

    def plan(self) -> str:
        return self._put(lambda one: replace(one, plan=self.dice.choice(PLANS)))

    def lose(self) -> str:
        name = self.dice.choice(("emails", "users"))
        return self._put(lambda one: replace(one, **{name: getattr(one, name)[1:]}))

    def gain(self) -> str:
        name, form = self.dice.choice((("emails", "p{}@x.org"), ("users", "u{}")))
        new = self.dice.choice(self._free(name, form))
        return self._put(lambda one: replace(one, **{name: (new, *getattr(one, name))[: self.dice.choice((1, 2))]}))

    def move(self) -> str:
        """An identifier goes over to another one."""
        if len(self.people) < 2:
            return "nobody"
        name = self.dice.choice(("emails", "users"))
        one, other = self.dice.sample(sorted(self.people), 2)
        taken = getattr(self.people[one], name)[:1]
        self.people[one] = replace(self.people[one], **{name: getattr(self.people[one], name)[1:]})
        kept = getattr(self.people[other], name) if self.dice.random() < 0.5 else ()
        self.people[other] = replace(self.people[other], **{name: (*taken, *kept)})
        return f"{name} {taken} go from {one} to {other}"

    def swap(self) -> str:
        """Identifiers go round a circle, or along a chain of which the last gets none."""
        count = min(len(self.people), self.dice.choice((2, 2, 3, 4)))
        if count < 2:
            return "nobody"
        names = self.dice.choice((("emails",), ("users",), ("emails", "users")))
        round_ = self.dice.sample(sorted(self.people), count)
        for name in names:
            had = [getattr(self.people[one], name) for one in round_]
            passed = [had[-1] if self.dice.random() < 0.6 else (), *had[:-1]]
            for one, values in zip(round_, passed, strict=True):
                self.people[one] = replace(self.people[one], **{name: values})
        return f"{'+'.join(names)} go round {round_}"

    def merge(self) -> str:
        if len(self.people) < 2:
            return "nobody"
        one, other = sorted(self.dice.sample(sorted(self.people), 2))
        gone = self.people.pop(other)
        kept = self.people[one]
        first, second = (kept, gone) if self.dice.random() < 0.7 else (gone, kept)
        self.people[one] = Person(first.emails + second.emails, first.users + second.users, gone.plan)
        return f"{other} turns out to be {one}"

    def part(self) -> str:
        """What was one turns out to be two: one of them has the id."""
        several = [number for number, one in sorted(self.people.items()) if len(one.emails) + len(one.users) > 1]
        if not several:
            return "nobody"
        number = self.dice.choice(several)
        one = self.people[number]
        cut_e, cut_u = self.dice.randint(0, len(one.emails)), self.dice.randint(0, len(one.users))
        other = self._next if self.dice.random() < 0.5 else self.dice.randrange(1, self._next)
        if other in self.people:
            return "nobody"
        self._next = max(self._next, other + 1)
        self.people[number] = replace(one, emails=one.emails[:cut_e], users=one.users[:cut_u])
        self.people[other] = replace(one, emails=one.emails[cut_e:], users=one.users[cut_u:])
        return f"{number} is parted from {other}"

    def shuffle(self) -> str:
        return self._put(lambda one: replace(one, emails=one.emails[::-1], users=one.users[::-1]))

    def _free(self, name: str, form: str) -> list[str]:
        taken = {value for one in self.people.values() for value in getattr(one, name)}
        return [one for one in (form.format(number) for number in range(2 * self.most + 4)) if one not in taken]

    def _put(self, made: Callable[[Person], Person]) -> str:
        def put(number: int, one: Person) -> str:
            self.people[number] = made(one)
            return f"becomes {self.people[number]}"

        return self._of_one(put)

    def _of_one(self, do: Callable[[int, Person], Any]) -> str:
        if not self.people:
            return "nobody"
        number = self.dice.choice(sorted(self.people))
        return f"{number} {do(number, self.people[number])}"


def ident(number: int) -> str:
    return f"{number:032x}"


# --- the destination ------------------------------------------------------------------------------------------------


STRANGERS: Final[Mapping[Ident, Fields]] = {("email", "stranger@x.org"): {}, ("user", "stranger"): {}}


def identifiers(fields: Fields | None) -> list[Ident]:
    return [(name, fields[name]) for name in KNOWN_BY if fields.get(name) is not None] if fields else []


class Destination:
    """An entry for each identifier, with the fields that came with it last."""

    def __init__(self, dice: random.Random, walk: Walk) -> None:
        self.dice = dice
        self._walk = walk
        self.is_strict = dice.random() < 0.5
        self.entries: dict[Ident, Fields] = dict(STRANGERS)
        self.writers: dict[Ident, str] = {}  # whose an entry is
        self.refused: set[Ident] = set()
        self.stuck: set[Ident] = set()  # whose removal is refused
        self.is_calm = True
        self.requests = 0
        self.verdicts: dict[str, Answer] = {}
        self.bodies: dict[str, bytes] = {}
        self.carried: set[str] = set()
        self.judged: dict[str, set[int]] = {}  # the rows of a batch that are refused
        self.rows: list[
            tuple[str, str, str, Fields]
        ] = []  # key, action, whose, fields: every row that was acknowledged
        self.last: dict[str, tuple[str, Fields]] = {}  # by member: the last call that was acknowledged
        self.under: dict[str, str] = {}

    # a client, as the provider knows it

    def request(self, method: str, url: str, *, headers: Mapping[str, str], content: bytes, **_: Any) -> Answer:
        key = headers["Idempotency-Key"]
        self.requests += 1
        require(self.bodies.setdefault(key, content) == content, f"{key} came with two bodies")
        mood = "well" if self.is_calm else self.dice.choice(
            ("well",) * 10 + ("dropped", "lost", "unsent", "broken", "limited", "forbidden", "dies", "dies after")
        )  # fmt: skip
        body = json.loads(content)
        self._walk.note(f"  {mood}: {key} {body['action']} {json.dumps(body['members'])}")
        match mood:
            case "unsent":
                raise Retriable("connection refused") from httpcore.ConnectError("refused")
            case "dropped":
                raise Retriable("no answer") from httpcore.ReadTimeout("late")
            case "limited":
                return Answer(429, {"retry-after": "1"}, b"", "")
            case "forbidden":
                return Answer(401, {}, b"who?", "")
            case "dies":
                raise Cut
        answer = self._verdict(key, body)
        match mood:
            case "lost":
                raise Retriable("no answer") from httpcore.ReadTimeout("late")
            case "dies after":
                raise Cut
            case "broken":
                return Answer(500, {}, b"", "")
        self._acknowledge(key, body, answer)
        return answer

    def _verdict(self, key: str, body: Any) -> Answer:
        """Takes a batch; under one key only once where the job relies on that."""
        replay = self._walk.settings["replay"].get(body["action"], "keyed")
        if key in self.verdicts and (replay == "keyed" or key not in self.carried):
            return self.verdicts[key]
        require(key not in self.carried or replay != "unsafe", f"{key} is unsafe, was carried out, and came again")
        bad = {at for at, one in enumerate(body["members"]) if self._is_bad(body["action"], one)}
        bad = self.judged.setdefault(key, bad)  # it does not change its mind about what it was sent
        named = json.dumps({"errors": [{"index": at, "message": "no"} for at in sorted(bad)]}).encode()
        if bad and key not in self.carried and self.dice.random() < 0.6:
            answer = Answer(422, {}, named if self.dice.random() < 0.5 else b"something is bad", "")
        else:
            answer = Answer(207 if bad else 200, {}, named, "")
            self.carried.add(key)
            for at, (who, one) in enumerate(zip(self._walk.whose(key), body["members"], strict=True)):
                if at not in bad:
                    self.take(body["action"], dict(one), who)
        self.verdicts[key] = answer
        return answer

    def _is_bad(self, action: str, member: Fields) -> bool:
        return any(one in (self.stuck if action == "remove" else self.refused) for one in identifiers(member))

    def take(self, action: str, member: dict[str, Any], who: str = "") -> None:
        previous = member.pop("previous", None)
        if (
            action == "update"
            and self.is_strict
            and not any(one in self.entries for one in identifiers(previous or member))
        ):
            return
        for one in identifiers(member if action == "remove" else previous):
            require(one not in STRANGERS, f"{one} was there before us, and is removed")
            self.entries.pop(one, None)
        if action != "remove":
            self.entries.update(dict.fromkeys(identifiers(member), member))
            self.writers.update(dict.fromkeys(identifiers(member), who))

    def _acknowledge(self, key: str, body: Any, answer: Answer) -> None:
        """Notes what the sender knows now, and refuses what it knew before."""
        if answer.status >= 300:
            return
        bad = {one["index"] for one in json.loads(answer.body)["errors"]}
        for at, (who, member) in enumerate(zip(self._walk.whose(key), body["members"], strict=True)):
            if at in bad:
                continue
            fields = {name: value for name, value in member.items() if name != "previous"}
            said = (body["action"], fields)
            require(
                self.last.get(who) != said or self.under[who] == key,
                f"{key} says again what was acknowledged as {self.under.get(who)}: {said}",
            )
            for other, (_, had) in list(self.last.items()):
                if other != who and set(identifiers(had)) & set(
                    identifiers(member) + identifiers(member.get("previous"))
                ):
                    del self.last[other]
            self.last[who], self.under[who] = said, key
            self.rows.append((key, body["action"], who, fields))


# --- what must be so ------------------------------------------------------------------------------------------------


def mapped(mapping: str, number: int, one: Person) -> Fields | None:
    """What is sent of somebody; None where it cannot be."""
    email = one.emails[0] if one.emails else None
    user = one.users[0] if one.users else None
    match mapping:
        case "email":
            return {"email": email, "plan": one.plan} if email else None
        case "plan needed":
            return {"email": email, "plan": one.plan} if email and one.plan else None
        case "both" | "plain":
            return {"email": email, "user": user, "plan": one.plan} if email or user else None
        case "email needed":
            return {"email": email, "user": user, "plan": one.plan} if email else None
        case "both needed":
            return {"email": email, "user": user} if email and user else None
        case "user":
            return {"user": user, "plan": one.plan} if user else None
        case "hashed":
            return {"email": hashlib.sha256(email.encode()).hexdigest(), "plan": one.plan} if email else None
        case "by id":
            return {"pid": ident(number), "address": email, "plan": one.plan}
    raise AssertionError(mapping)


class Walk:
    """One life."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.trace: list[str] = []
        dice = self.dice = random.Random(seed)
        self.crowd = Crowd(dice, dice.choice((3, 5, 8)))
        self.there = Destination(dice, self)
        self.mapping = dice.choice(sorted(MAPPINGS))
        self.settings: dict[str, Any] = {}
        self.job = _InProcess(self)
        self.folder = folder
        self.requests: dict[str, int] = {}  # to forget: whom, and the last run before
        self.draw_settings(first=True)

    def note(self, text: str) -> None:
        self.trace.append(text)

    def draw_settings(self, *, first: bool = False) -> None:
        dice, settings = self.dice, self.settings
        if first or dice.random() < 0.3:
            settings["mode"], settings["events"] = ("mirror", "both") if dice.random() < 0.4 else dice.choice(KINDS)
        if first or dice.random() < 0.3:
            settings["backfill"] = dice.random() < 0.7
        if first or dice.random() < 0.3:
            settings["replay"] = {one: dice.choice(REPLAYS) for one in ("add", "update", "remove")}
        if first or dice.random() < 0.3:
            settings["guard"] = WIDE_OPEN if dice.random() < 0.6 else {}
        if dice.random() < 0.2:
            self.mapping = dice.choice(sorted(MAPPINGS))
        settings["batchSize"] = dice.choice((1, 2, 3, 500))
        settings["errors"] = {"path": "errors"}
        settings["fields"] = MAPPINGS[self.mapping]
        self.note(f"settings {self.mapping}: { {k: v for k, v in settings.items() if k not in ('fields', 'errors')} }")

    def whose(self, key: str) -> list[str]:
        intent = self.place.ledger.keys[key]
        rows = PlanReader(self.place.data_dir, intent.detail["plan"]).rows(intent.first, intent.last + 1)
        refused = {row for row, _ in intent.detail.get("refused", ())}
        return [who for at, who in enumerate(rows.ids) if intent.first + at not in refused]

    # --- living

    def live(self, steps: int) -> None:
        with self.job.place(self.folder) as self.place:
            self.enroll()
            for _ in range(steps):
                self.step()
            self.settle_down()

    def step(self) -> None:
        dice = self.dice
        for _ in range(dice.choice((0, 1, 1, 2, 4))):
            self.note(self.crowd.change())
        if dice.random() < 0.3:
            self.draw_settings()
        if dice.random() < 0.2:
            self.there.refused = set(dice.sample(sorted(self.all_idents()), min(2, len(self.all_idents()))))
            self.note(f"refused {self.there.refused}")
        if dice.random() < 0.1:
            self.there.stuck = set(dice.sample(sorted(self.there.entries), 1)) - STRANGERS.keys()
            self.note(f"stuck {self.there.stuck}")
        if dice.random() < 0.4:
            self.there.refused, self.there.stuck = set(), set()
        if dice.random() < 0.1 and self.crowd.people:
            self.forget()
        if dice.random() < 0.15:
            self.ask("refused" if dice.random() < 0.5 else "all")
        self.enroll()
        self.there.is_calm = dice.random() < 0.5
        dies_at = dice.choice((0, 0, 0, dice.randrange(1, 16)))
        new_run = dice.random() < 0.7
        self.run(new_run=new_run, dies_at=dies_at)

    def all_idents(self) -> set[Ident]:
        fields = (mapped(self.mapping, number, one) for number, one in self.crowd.people.items())
        return {one for some in fields for one in identifiers(some)}

    def enroll(self) -> None:
        """Makes the crowd the profiles."""
        rows = self.crowd.rows()
        names = {"key:email": "email", "key:user": "user"}
        file = self.place.data_dir / "people.parquet"
        table = pa.table({
            "id": pa.array([one["id"] for one in rows], pa.string()),
            **{name: pa.array([one[of] for one in rows], pa.list_(pa.string())) for name, of in names.items()},
            "attribute:plan": pa.array([one["plan"] for one in rows], pa.string()),
        })  # fmt: skip
        pq.write_table(table, file)
        view = f"SELECT * FROM read_parquet('{file}')"
        self.place.selection = Selection(lambda _a, _k: view, "true", (), False, {"plan": "text"}, ("email", "user"))

    def forget(self) -> None:
        """Somebody is to be forgotten, and may come back as if never seen before."""
        number = self.dice.choice(sorted(self.crowd.people))
        del self.crowd.people[number]
        self.note(f"{number} is to be forgotten")
        self.requests[ident(number)] = self.place.run
        self.place.forgotten = tuple(sorted(self.requests))

    def check_forgotten(self) -> None:
        """Whoever stands in no file of the ledger any more, or only by a run since, is nowhere at the destination."""
        cursor = self.place.ledger.cursor
        files = [one["file"] for one in cursor["ledger"]["files"]] if cursor else []
        still = held(self.place.data_dir, files, self.place.forgotten)
        for gone in [one for one, run in self.requests.items() if still.get(one, run + 1) > run]:
            del self.requests[gone]
            left = [one for one, who in self.there.writers.items() if who == gone and one in self.there.entries]
            require(gone in still or not left, f"{gone} is forgotten, and {left} are still there")
        self.place.forgotten = tuple(sorted(self.requests))

    def ask(self, what: str) -> None:
        cursor = self.place.ledger.cursor
        if cursor is not None:
            self.note(f"asked to try {what}")
            if what == "all":  # what may have arrived may have changed whom it was not about: they may be sent again
                self.there.last.clear()
            self.place.ledger.cursor = {**cursor, "retry": "all" if cursor["retry"] == "all" else what}

    def run(self, *, new_run: bool = True, dies_at: int = 0) -> Attempt:
        self.job.settings = {**self.job.settings, **self.settings}
        there = self.there
        progress = Progress.load(self.place.ledger.cursor)
        is_plain = there.is_calm and not (
            there.refused or there.stuck or dies_at or progress.plan or self.place.ledger.open
        )
        foreseen = self.foreseen(progress) if is_plain else None
        next_ = self.next_of_some(progress) if is_plain else {}
        rows = len(there.rows)
        made = attempt(self.job, self.place, new_run=new_run or is_plain, dies_at=dies_at)
        for who, key in there.under.items():
            if key in self.place.ledger.open:  # whoever had the answer died with it
                there.last.pop(who, None)
        if foreseen is not None and made.how == "completed":
            done = Counter(action for _, action, _, _ in there.rows[rows:])
            said = {one: foreseen.count(one) for one in ACTIONS}
            require({one: done[one] for one in said} == said, f"a plan says {said}, and the run did {done}")
            for who, said_of_one in next_.items():
                did = next((action for _, action, whose, _ in there.rows[rows:] if whose == who), "")
                require(did == said_of_one, f"of {who} why says '{said_of_one}', and the run did '{did}'")
            self.check_forgotten()
            if self.dice.random() < 0.5:
                before = there.requests
                second = attempt(self.job, self.place, new_run=True)
                require(second.how == "completed" and not second.units, f"a second run made {second.units} units")
                require(there.requests == before, "a second run sent something")
        self.note(f"run {self.place.run}.{self.place.attempt}: {made.how} {made.error or ''} {self.facts}")
        if made.how == "completed":
            self.check_forgotten()
        if isinstance(made.error, NeedsApproval) and self.dice.random() < 0.7:
            self.place.approved = {made.error.digest}
        return made

    def next_of_some(self, progress: Progress) -> dict[str, str]:
        """What `why --member` says that the next run does, of two members."""
        assert self.place.selection is not None
        export = self.export(progress)
        some = self.dice.sample(sorted(self.crowd.people), min(len(self.crowd.people), 2))
        found = {}
        for who in map(ident, some):
            judged = judge(export, self.place.selection, who, Now(wall_ms=0, alive_ms=0))
            found[who] = judged["next"] if judged["next"] != "omit" else ""
        return found

    def export(self, progress: Progress) -> Export:
        return Export(
            job="conformance", config=self.job.model(self.place), progress=progress, data=self.place.data_dir,
            memory_mb=256, forgotten=self.place.forgotten,
        )  # fmt: skip

    def foreseen(self, progress: Progress) -> Difference:
        """What `plan --data` counts."""
        assert self.place.selection is not None
        export = self.export(progress)
        with export.scratch() as scratch:
            return export.difference(self.place.selection, progress.ledger, Now(wall_ms=0, alive_ms=0), scratch)

    @property
    def facts(self) -> Mapping[str, int]:
        cursor = self.place.ledger.cursor
        empty = dict.fromkeys(("sent", "noted", "maybe", "out", "amiss"), 0)
        return empty if cursor is None else cursor["ledger"]["facts"]

    # --- the end

    def settle_down(self) -> None:
        """All calls are made, nobody is refused, what was doubted is released: the destination holds the members."""
        there = self.there
        there.is_calm, there.refused, there.stuck = True, set(), set()
        self.settings |= {"mode": "mirror", "events": "both", "backfill": True, "guard": WIDE_OPEN}
        self.note("it settles down")
        self.ask("all")
        made = self.run()
        if made.how != "completed":
            raise Broken(f"a calm run ends with {made.error}")
        self.is_quiet()
        self.compare()

    def is_quiet(self) -> None:
        before = self.there.requests
        made = self.run()
        require(made.how == "completed" and made.units == 0, f"a second run made {made.units} units")
        require(self.there.requests == before, "a second run sent something")

    def compare(self) -> None:
        expected: dict[Ident, list[Fields]] = {}
        usable = 0
        for number, one in self.crowd.people.items():
            fields = mapped(self.mapping, number, one)
            usable += fields is not None
            for who in identifiers(fields):
                expected.setdefault(who, []).append(fields or {})
        found = {who: fields for who, fields in self.there.entries.items() if who not in STRANGERS}
        wrong = [
            f"{who}: {found.get(who)} instead of {expected.get(who)}"
            for who in sorted(found.keys() | expected.keys())
            if who not in found or found[who] not in expected.get(who, [])
        ]
        require(not wrong, "; ".join(wrong))
        require(self.facts["sent"] == usable, f"{self.facts['sent']} of {usable} count as sent")
        omitted = self.facts["out"] + self.facts["amiss"] + self.facts["maybe"]
        require(omitted == len(self.crowd.people) - usable, f"{self.facts} count as out")


class _InProcess(Job):
    """The job, with a client that leads straight to the destination."""

    def __init__(self, walk: Walk) -> None:
        super().__init__({"url": "http://there.test/in"})
        self._walk = walk

    def the_job_type(self) -> JobType:
        return replace(super().the_job_type(), run=lambda context: deliver(context, self._walk.there))  # type: ignore[arg-type]


def live(seed: int, folder: Path, steps: int = 8) -> Walk:
    """Lives through a seed; raises Broken with what came before."""
    walk = Walk(seed, folder)
    try:
        walk.live(steps)
    except (Broken, RunError, AssertionError) as error:
        said = "\n".join(walk.trace)
        raise Broken(f"{said}\nseed {seed}: {error}") from error
    return walk
