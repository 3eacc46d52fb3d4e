"""A random life of one export of an audience: who is in it, what its spec says, what the destination does and when the
controller dies; and, in plain Python, whom the destination must hold when a run has come to its end.

The export is the real one, with its real ledger, on the conformance suite's bench. The destination is in this process: it
keeps an entry for each identifier that it is told, finds a member by any of them, and may leave out updates of strangers.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpcore
import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.core.mirror import Progress
from reconciler.core.provider import JobType
from reconciler.data.forget import held
from reconciler.data.members import Selection
from reconciler.data.plan_rows import PlanReader
from reconciler.errors import NeedsApproval, Retriable, RunError
from reconciler.providers.http.client import Answer
from reconciler.providers.http.export_audience import deliver
from reconciler.testing import Attempt, Cut, Place, attempt
from tests.lives import Broken, require
from tests.providers.audience_bench import Job
from tests.providers.ledger_crowd import MAPPINGS, STRANGERS, Crowd, Fields, Ident, ident, identifiers, mapped
from tests.providers.ledger_files import FilesJob, Shelf
from tests.providers.ledger_laws import (
    check_listed,
    check_merged,
    check_said,
    check_there,
    foresee,
)

KINDS: Final = (
    ("mirror", "both"), ("mirror", "both"), ("mirror", "both"), ("mirror", "enter"), ("mirror", "exit"),
    ("add-only", "both"), ("update-only", "both"),
)  # fmt: skip
REPLAYS: Final = ("keyed", "keyed", "idempotent", "ordered", "unsafe")
WIDE_OPEN: Final = {"maxRemovePercent": 100, "maxAddPercent": 1e9, "emptyAudience": "allow"}


# --- the destination ------------------------------------------------------------------------------------------------


class Destination:
    """An entry for each identifier, with the fields that came with it last."""

    tells_whose = True  # the members of a call are known

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
        self.blamed: set[str] = set()  # who was ever refused, or in doubt

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
        whose = self._walk.whose(key)
        self.blamed.update(whose[at] for at in bad)
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

    def hear(self, place: Place) -> None:
        """Of what is still open nobody knows that it was acknowledged, or that it was not sent: whoever knew died with it."""
        for key in place.ledger.open:
            self.blamed.update(self._walk.whose(key))
        for who, key in self.under.items():
            if key in place.ledger.open:
                self.last.pop(who, None)


# --- a life ---------------------------------------------------------------------------------------------------------


class Walk:
    """One life."""

    there: Destination | Shelf
    job: Job | FilesJob

    def __init__(self, seed: int, folder: Path, *, is_shelf: bool = False) -> None:
        self.trace: list[str] = []
        dice = self.dice = random.Random(seed)
        self.crowd = Crowd(dice, dice.choice((3, 5, 8)))
        self.there = Shelf(dice) if is_shelf else Destination(dice, self)
        self.mapping = dice.choice(sorted(MAPPINGS))
        self.settings: dict[str, Any] = {}
        self.job = (
            FilesJob(self.there, self.settings) if isinstance(self.there, Shelf) else _InProcess(self, self.there)
        )
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
        known = [(ident(one), ident(other)) for one, other in self.crowd.aliases.items() if other in self.crowd.people]
        listed = ", ".join(f"('{one}', '{other}')" for one, other in [("", ""), *known])
        self.place.selection = Selection(
            lambda _a, _k: view, "true", (), False, {"plan": "text"}, ("email", "user"),
            aliases=lambda: f"SELECT * FROM (VALUES {listed}) AS t(alias, id)",
        )  # fmt: skip

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
            require(
                gone in still or not left or self.facts["maybe"] > 0, f"{gone} is forgotten, and {left} are still there"
            )
        self.place.forgotten = tuple(sorted(self.requests))

    def ask(self, what: str) -> None:
        cursor = self.place.ledger.cursor
        if cursor is not None:
            self.note(f"asked to try {what}")
            if what == "all":  # what may have arrived may have changed whom it was not about: they may be sent again
                self.there.last.clear()
            self.place.ledger.cursor = {**cursor, "retry": "all" if cursor["retry"] == "all" else what}

    def run(self, *, new_run: bool = True, dies_at: int = 0) -> Attempt:
        there = self.there
        progress = Progress.load(self.place.ledger.cursor)
        is_plain = there.is_calm and not (
            there.refused or there.stuck or dies_at or progress.plan or self.place.ledger.open
        )
        said = foresee(self) if is_plain else None
        made = attempt(self.job, self.place, new_run=new_run or is_plain, dies_at=dies_at)
        there.hear(self.place)
        self.note(f"run {self.place.run}.{self.place.attempt}: {made.how} {made.error or ''} {self.facts}")
        if said is not None:
            check_said(self, said, made)
            check_merged(self, said)
        if made.how == "completed":
            self.check_forgotten()
            if self.place.attempt == 1:  # it has compared the audience as it is now
                check_listed(self)
                check_there(self)
                if not self.place.forgotten:  # who is to be forgotten is tried in every run
                    self.is_quiet()
        if isinstance(made.error, NeedsApproval) and self.dice.random() < 0.7:
            self.place.approved = {made.error.digest}
        return made

    def is_quiet(self) -> None:
        """Another run finds nothing, whoever is refused."""
        was_calm, self.there.is_calm = self.there.is_calm, True
        if isinstance(
            self.there, Shelf
        ):  # a run has one file: what is to be noted once it is written, the next one notes
            self.again()
        before, units = self.there.requests, len(self.place.ledger.units)
        made = self.again()
        said = [one.message for one in self.place.ledger.units[units:]]
        require(made.how == "completed" and not said, f"a second run says {said}, and ends with {made.error}")
        require(self.there.requests == before, "a second run sent something")
        self.there.is_calm = was_calm

    def again(self) -> Attempt:
        made = attempt(self.job, self.place, new_run=True)
        self.there.hear(self.place)
        return made

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
        self.compare()

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

    def __init__(self, walk: Walk, there: Destination) -> None:
        super().__init__({"url": "http://there.test/in"})
        self._walk = walk
        self._there = there

    def config(self, place: Place) -> Mapping[str, Any]:
        return {**self.settings, **self._walk.settings}

    def the_job_type(self) -> JobType:
        return replace(super().the_job_type(), run=lambda context: deliver(context, self._there))  # type: ignore[arg-type]


def live(seed: int, folder: Path, steps: int = 8) -> Walk:
    """Lives through a seed; raises Broken with what came before."""
    walk = Walk(seed, folder, is_shelf=seed % 4 == 3)
    try:
        walk.live(steps)
    except (Broken, RunError, AssertionError) as error:
        said = "\n".join(walk.trace)
        raise Broken(f"{said}\nseed {seed}: {error}") from error
    return walk
