"""Random lives of an enrichment: references that change, profiles that come and go, an API that refuses, fails and limits, runs
that die; and, in plain Python, which messages must have landed.

What is asked of an API depends on what died when, so of look-ups laws are held instead: nobody is asked for again while an
answer holds, nothing is said twice, and once all is calm what was said last of everybody is what the API answers.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from reconciler.clock import iso
from reconciler.core.profile import Identity
from reconciler.core.words import DAY_MS
from reconciler.errors import RunError
from reconciler.providers.files import PROVIDER as FILES
from reconciler.providers.http import PROVIDER as HTTP
from tests.lives import require, telling
from tests.providers.enrich_world import NOW_MS, STREAM, Crash, World
from tests.servers import Play, Request, as_json, serving

KEYS: Final = ("n1", "N1", " n1 ", "N2", "N3", "é", "É", "日本", "n 4", 'q"q', "x,y", "", "0", "00", "N5")
VALUES: Final = ("", "a", "b", "01", "1.0", "é", "two\nlines", "\x00", "null", 'say "hi"', "a,b")
TIMES: Final = {"2026-01-02": 1767312000, "1970-01-01T00:00:01Z": 1, "": None, "never": None}
TTL_MS: Final = 2 * DAY_MS


def normalized(value: str) -> str:
    return value.strip().upper()


def run_to_its_end(job: World, dice: random.Random, note: Callable[[str], None]) -> None:
    """Attempts of one run, of which some die."""
    new = True
    while True:
        try:
            job.run(new_run=new, dies_at=dice.choice((0, 0, 1, 2, 3, 4)))
            return
        except Crash:
            note(f"run {job.place.run}.{job.place.attempt} dies")
            new = False


class JoinWalk:
    """A life of `enrich-join`."""

    def __init__(self, seed: int, folder: Path) -> None:
        dice = self.dice = random.Random(seed)
        self.trace: list[str] = []
        self.everyone = dice.random() < 0.4
        self.timed = dice.random() < 0.4
        self.form = dice.choice(("csv", "ndjson"))
        config: dict[str, Any] = {
            "path": "ref/*", "stream": STREAM, "key": {"column": "tailnum", "identity": "tail"}, "format": self.form,
            "match": "all" if self.everyone else "profiles", "maxRejects": 1_000_000,
        }  # fmt: skip
        if self.timed:
            config["timestampField"] = "since"
        self.job = World(FILES, "enrich-join", folder, config)
        self.files: dict[str, list[dict[str, str]]] = {}
        self.people: list[list[str]] = []
        self.said: dict[str, str] = {}
        self.due: list[tuple[dict[str, str], int | None]] = []
        self.bad = 0

    def live(self, steps: int) -> None:
        for _ in range(steps):
            for _ in range(self.dice.choice((0, 1, 2))):
                self.dice.choice((self.write, self.write, self.change, self.remove, self.meet))()
            if not self.job.profiles.files and not self.everyone:
                self.meet()
            self.run()

    def row(self) -> dict[str, str]:
        dice = self.dice
        found = {"tailnum": dice.choice(KEYS), "a": dice.choice(VALUES), "b": dice.choice(VALUES)}
        return found | ({"since": dice.choice([*TIMES, *["2026-01-02"] * 5])} if self.timed else {})

    def write(self) -> None:
        name = self.dice.choice("abc")
        self.files[name] = [self.row() for _ in range(self.dice.choice((1, 3, 12)))]
        self.put(name)

    def change(self) -> None:
        if self.files:
            name = self.dice.choice(sorted(self.files))
            rows = self.files[name]
            rows[self.dice.randrange(len(rows))] = self.row()
            self.put(name)

    def put(self, name: str) -> None:
        rows = self.files[name]
        if self.form == "csv":
            out = io.StringIO(newline="")
            writer = csv.DictWriter(out, list(rows[0]), quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(rows)
            text = out.getvalue()
        else:
            text = "".join(json.dumps(row) + "\n" for row in rows)
        path = self.job.write(f"ref/{name}.{self.form}", "")
        path.write_bytes(text.encode())
        self.trace.append(f"{name}: {text!r}")

    def remove(self) -> None:
        if self.files:
            name = self.dice.choice(sorted(self.files))
            del self.files[name]
            (self.job.place.root / "ref" / f"{name}.{self.form}").unlink()
            self.trace.append(f"{name} goes")

    def meet(self) -> None:
        known = sorted({normalized(one) for one in KEYS if normalized(one)})
        chosen = self.dice.sample(known, self.dice.randrange(len(known)))
        middle = len(chosen) // 2
        self.people = [[one] for one in chosen[:middle]] + ([chosen[middle:]] if chosen[middle:] else [])
        self.job.has_profiles(*self.people)
        self.trace.append(f"profiles {self.people}")

    def run(self) -> None:
        job = self.job
        job.now_ms += self.dice.choice((0, 1, DAY_MS))
        if not self.files:
            (job.place.root / "ref").mkdir(exist_ok=True)
        run_to_its_end(job, self.dice, self.trace.append)
        self.expect(iso(job.now_ms), job.now_ms)
        landed = self.landed()
        wanted = [(json.dumps(one, sort_keys=True), at) for one, at in self.due]
        require(
            landed == wanted,
            lambda: (
                f"{[x for x in wanted if x not in landed][:3]} missing, {[x for x in landed if x not in wanted][:3]} more; {len(wanted)} were due, {len(landed)} landed"
            ),
        )
        rejected = len(job.rejects())
        require(rejected == self.bad, lambda: f"{self.bad} bad rows, {rejected} rejected")

    def expect(self, at: str, now_ms: int) -> None:
        known = {value for one in self.people for value in one}
        last: dict[str, tuple[int, dict[str, str]]] = {}
        rows = [row for name in sorted(self.files) for row in self.files[name]]
        for place, row in enumerate(rows):
            key = normalized(row["tailnum"])
            if key and (self.everyone or key in known):
                last[key] = (place, row)
        for key, (_, row) in sorted(last.items(), key=lambda one: one[1][0]):
            text = json.dumps(row, sort_keys=True)
            if self.said.get(key) == text:
                continue
            self.said[key] = text
            if self.timed and row["since"] == "never":
                self.bad += 1
            elif self.timed:
                moment = TIMES[row["since"]]
                self.due.append((row, None if moment is None else moment * 1000))
            else:
                self.due.append(({**row, "enriched_at": at}, now_ms))

    def landed(self) -> list[tuple[str, int | None]]:
        reader = self.job.place.stream(STREAM)
        texts = [text for _, some in reader.json_messages(0, reader.end) for text in some]
        times = [
            one
            for _, table in reader.tables(0, reader.end, meta=True)
            for one in table.column("_timestamp").to_pylist()
        ]
        return [
            (json.dumps(json.loads(text), sort_keys=True), None if at is None else round(at.timestamp() * 1000))
            for text, at in zip(texts, times, strict=True)
        ]


class LookupWalk:
    """A life of `enrich-lookup`."""

    def __init__(self, seed: int, folder: Path) -> None:
        dice = self.dice = random.Random(seed)
        self.trace: list[str] = []
        self.answers: dict[str, str] = {}
        self.asked: list[str] = []
        self.gaps: Counter[str] = Counter()  # how often nothing was said of somebody
        self.is_calm = False
        self.fresh: dict[str, int] = {}
        self.folder = folder
        self.most = dice.choice((2, 5, 10_000))
        self.people: list[str] = []

    def live(self, steps: int) -> None:
        with serving(self.answer) as server:
            config = {
                "url": server.url + "/people?q={value}", "stream": STREAM, "key": {"identity": "email"}, "ttl": "2d",
                "attributes": {"company": "person.company"}, "allowPrivateAddresses": True, "requestsPerSecond": 1000,
                "concurrency": self.dice.choice((1, 4)), "maxRequestsPerRun": self.most,
            }  # fmt: skip
            email = (Identity(key="email", column="email", normalize=("trim", "lower")),)
            self.job = World(HTTP, "enrich-lookup", self.folder, config, identities=email)
            self.meet()
            for _ in range(steps):
                self.step()
            self.settle()

    def answer(self, request: Request) -> Play:
        value = request.query["q"]
        self.asked.append(value)
        said = self.answers.setdefault(value, "one")
        if not self.is_calm:
            mood = self.dice.random()
            if mood < 0.06:
                return Play(500)
            if mood < 0.1:
                return Play(429, b"", {"Retry-After": "1"})
            if mood < 0.13:
                self.gaps[value] += 1
                return as_json({"person": "nobody"})
            if mood < 0.15:
                return Play(200, b"{")
        if said in ("refused", "nothing"):
            self.gaps[value] += 1
        if said == "refused":
            return Play(422)
        return Play(404) if said == "nothing" else as_json({"person": {"company": said}})

    def meet(self) -> None:
        people = [f"p{number}@x.org" for number in range(12)] + ["é+ö@x.org", "a b&c=d@x.org", "日本@x.org"]
        self.people = self.dice.sample(people, self.dice.randint(1, len(people)))
        self.job.has_profiles(*([one] for one in self.people))
        self.trace.append(f"profiles {self.people}")

    def step(self) -> None:
        dice = self.dice
        if dice.random() < 0.3:
            self.meet()
        for one in self.people:
            if dice.random() < 0.2:
                self.answers[one] = dice.choice(("one", "two", "three", "nothing", "refused"))
        self.job.now_ms += dice.choice((0, 1000, DAY_MS, TTL_MS))
        self.is_calm = dice.random() < 0.4
        self.attempts()

    def attempts(self) -> None:
        """Attempts of one run, until it ends well or in an error."""
        new = True
        while True:
            before = len(self.asked)
            died = False
            try:
                self.job.run(new_run=new, dies_at=self.dice.choice((0, 0, 0, 1, 2, 3)))
            except Crash:
                died = True
            except RunError as error:
                self.trace.append(f"run {self.job.place.run}: {error}")
                died = True
            asked = self.asked[before:]
            self.trace.append(f"run {self.job.place.run} asked {asked}{' and died' if died else ''}")
            self.judge(asked, died=died)
            if not died or self.dice.random() < 0.5:
                return
            new = False

    def judge(self, asked: Sequence[str], *, died: bool) -> None:
        now_ms = self.job.now_ms
        early = [one for one in asked if self.fresh.get(one, -TTL_MS) > now_ms - TTL_MS]
        require(not early, lambda: f"{early} were asked for while an answer held")
        require(len(set(asked)) == len(asked) and len(asked) <= self.most, lambda: f"asked twice, or too many: {asked}")
        if not died and self.is_calm:
            self.fresh.update(dict.fromkeys(asked, now_ms))
        self.last: dict[str, str] = {}
        repeated: Counter[str] = Counter()
        for message in self.job.landed():
            value, said = message["email"], message["company"]
            repeated[value] += self.last.get(value) == said
            self.last[value] = said
        twice = repeated - self.gaps  # behind an answer that there is nothing, the one before is news again
        require(not twice, lambda: f"said twice: {twice}")

    def settle(self) -> None:
        """All answer, for ever the same: what was said last of everybody is what the API says."""
        self.is_calm = True
        self.job.now_ms += TTL_MS
        for _ in range(30):
            self.job.now_ms += 1
            before = len(self.asked)
            self.job.run()
            self.judge(self.asked[before:], died=False)
            if len(self.asked) == before:
                break
        wrong = [
            (one, self.answers.get(one), self.last.get(one))
            for one in self.people
            if self.answers.get(one, "one") not in ("nothing", "refused", self.last.get(one))
        ]
        require(not wrong, lambda: f"said last, and answered: {wrong}")
        at = {iso(self.job.now_ms)[:4], iso(NOW_MS)[:4]}
        times = {
            row["_timestamp"]
            for _, table in self.job.place.stream(STREAM).tables(0, 1, meta=True)
            for row in table.to_pylist()
        }
        require(
            all(str(one.year) in at and one > datetime(2000, 1, 1, tzinfo=UTC) for one in times), lambda: f"{times}"
        )


def live(kind: type[JoinWalk] | type[LookupWalk], seed: int, folder: Path, steps: int = 10) -> None:
    """A life. Raises Broken, with what came before."""
    folder.mkdir(parents=True, exist_ok=True)
    walk = kind(seed, folder)
    with telling(seed, walk.trace):
        walk.live(steps)
