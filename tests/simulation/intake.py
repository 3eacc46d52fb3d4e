"""In a quarter of the worlds messages also come over HTTP: people send them to a process that listens, which puts them into its
journals, and the controller folds those onto streams.

The process is `reconciler.web`, from a request to its answer, with its loop, its group commit, its keys and its limits; only
that it listens is simulated: a request is handed to it. It dies at any moment, also between the bytes of a frame, goes on
without its controller, is started again by it and ended by it. Senders are patient or not: they say a thing again under its
key where no answer came, and only what was refused where it has none.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pyarrow.parquet as pq

from reconciler.controller.requests import Request
from reconciler.data.journal import INTAKE, listing
from reconciler.record.store import Record
from reconciler.web.answers import Answer
from reconciler.web.limits import Limits
from tests.simulation import disk
from tests.simulation.asking import ask
from tests.simulation.laws import require
from tests.simulation.listener import Listener
from tests.simulation.parts import is_wide
from tests.simulation.people import LIVE
from tests.simulation.weather import Weather

if TYPE_CHECKING:
    from tests.simulation.world import World

#: How many worlds in a hundred take messages in.
SHARE: Final = 25
STREAM: Final = LIVE
TOKEN: Final = "a-token-that-nobody-guesses"
#: How long a sender waits for an answer, in milliseconds, and how often it tries.
PATIENCE_MS: Final = 30_000
TRIES: Final = 8
DAY_MS: Final = 86_400_000
#: A stream takes so many messages of one upload unasked, where it says so.
MAX_MESSAGES: Final = 6

#: What can go wrong with the process that listens and on the way to it, and how bad that gets.
WORST: Final[Mapping[str, float]] = {
    "unreachable": 0.9,  # no connection
    "lost request": 0.5,  # never arrives, and no answer comes
    "lost answer": 0.6,  # arrives, and no answer comes
    "slow": 0.5,  # takes minutes
    "torn": 0.2,  # the process dies in the middle of a write
    "full": 0.5,  # the disk takes a part of a write, and no more
    "unsynced": 0.4,  # what was written does not get onto the disk
    "not cut": 0.5,  # nor can what was written be cut off again
}

SPECS: Final = """apiVersion: reconciler/v1
kind: Stream
metadata: {{name: {stream}}}
spec: {spec}
---
apiVersion: reconciler/v1
kind: Authorization
metadata: {{name: shop}}
spec: {{provider: collect, method: bearer, credentials: {{token: {{file: "{token}"}}}}}}
"""


@dataclass
class Letter:
    """What one sender has to say, and what came of it. `decided` are the statuses that the process has answered with, whether
    they got back or not; `arrived` how often it was given to it. `doubts` are refusals of which the disk would let nothing go:
    what neither gets onto the disk for certain nor off it again may be read all the same."""

    number: int
    kind: str  # live, csv or json
    ids: list[str]
    body: bytes
    headers: dict[str, str]
    key: str = ""
    tries: int = 0
    arrived: int = 0
    decided: list[int] = field(default_factory=list)
    doubts: int = 0
    following: Letter | None = None

    @property
    def is_accepted(self) -> bool:
        return any(200 <= one < 300 for one in self.decided)

    @property
    def is_refused(self) -> bool:
        """Whether nothing of it may ever be on the stream."""
        return not self.is_accepted and len(self.decided) == self.arrived and not self.doubts


class Intake:
    """What a world that takes messages in has of its own; nothing where it does not."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        dice = self.dice = random.Random(f"intakes:{seed}")
        self.there = dice.randrange(100) < SHARE
        worst = {**WORST, disk.FOLDER: 0.3, disk.FILE: 0.2, "no file": 0.4} if is_wide(seed) else WORST
        self.weather = Weather(random.Random(f"intake weather {seed}"), worst)
        self.folder = world.state / INTAKE
        self.process: Listener | None = None
        self._buried: list[Listener] = []
        self._letters: list[Letter] = []
        self._count = 0
        self.synced: dict[int, int] = {}  # by inode: up to where a reader has seen to it that a journal is on the disk
        self.is_cut = True  # whether the disk has let go of all that it refused
        self._is_gated = dice.random() < 0.4
        self._sizes: dict[str, tuple[list[str], list[int], list[int]]] = {}  # by segment: ids, journals, places
        self._checked_rows = -1
        self.limits = Limits(
            free_bytes=0,
            backlog_bytes=dice.choice([2_000, 20_000, 1 << 30]),
            bulk_backlog_bytes=dice.choice([2_000, 1 << 30]),
            journal_s=max(600, world.span_ms // 40_000),
        )

    # --- what is declared

    def specs(self) -> str:
        token = self.world.folder / "token"
        token.write_text(TOKEN)
        spec = f"{{backfill: {{maxMessages: {MAX_MESSAGES}}}}}" if self._is_gated else "{}"
        return SPECS.format(stream=STREAM, spec=spec, token=token)

    # --- who sends

    def send(self) -> str:
        """Somebody sends something, one message or request after the other."""
        first, before, said = None, None, []
        for _ in range(self.dice.choice([1, 1, 2, 4])):
            letter = self._letter()
            said.append(f"{letter.kind} {' '.join(letter.ids)}")
            first = first or letter
            if before is not None:
                before.following = letter
            before = letter
        assert first is not None
        self.world.timeline.after(0, lambda: self._try(first))
        return "; ".join(said)

    def _letter(self) -> Letter:
        dice = self.dice
        kind = dice.choice(("live", "live", "live", "csv", "json"))
        ids = [f"w{self._count + number}" for number in range(dice.choice([1, 2, 5, 9]))]
        self._count += len(ids)
        rows = [{"id": one, "amount": len(one)} for one in ids]
        match kind:
            case "csv":
                text = "id,amount\n" + "".join(f"{one},{len(one)}\n" for one in ids)
            case "live" if dice.random() < 0.5:
                text = json.dumps(rows)
            case _:
                text = "".join(json.dumps(one) + "\n" for one in rows)
        number = len(self._letters)
        key = f"key-{number}" if dice.random() < 0.6 else ""
        body = text.encode()
        headers = {"authorization": f"Bearer {TOKEN}", "content-length": str(len(body))}
        headers |= {"idempotency-key": key} if key else {}
        letter = Letter(number, kind, ids, body, headers, key)
        self._letters.append(letter)
        return letter

    def _try(self, letter: Letter) -> None:
        """Once more, unless the world rests or the sender has had enough."""
        letter.tries += 1
        if self.world.rests or letter.tries > TRIES:
            self._go_on(letter)
            return
        strikes, dice, timeline = self.weather.strikes, self.dice, self.world.timeline
        if strikes("unreachable") or self.process is None or not self.process.is_ready:
            self._try_later(letter, dice.choice([1_000, 60_000, 3_600_000]))
            return
        there_ms = dice.randint(1, 80) + (dice.randint(1_000, 300_000) if strikes("slow") else 0)
        is_mute = strikes("lost answer")
        heard = Heard(letter, letter.tries)
        if strikes("lost request"):
            is_mute = True
        else:
            timeline.after(there_ms, lambda: self._arrive(letter, heard, is_mute))
        timeline.after(PATIENCE_MS, lambda: self._miss(heard))

    def _arrive(self, letter: Letter, heard: Heard, is_mute: bool) -> None:
        if self.process is None or not self.process.is_ready:
            return
        letter.arrived += 1

        def answered(answer: Answer) -> None:
            require(answer.status != 500, f"the process that listens has a bug: {answer.body}")
            require(
                answer.status not in (429, 503) or "Retry-After" in answer.headers,
                f"{answer.body} says not when to come",
            )
            self.world.note(f"request {letter.number} is answered {answer.status}: {dict(answer.body)}")
            letter.decided.append(answer.status)
            if answer.status == 202:
                self._check_disk()
            letter.doubts += answer.status == 503 and not self.is_cut
            if not is_mute:
                self.world.timeline.after(self.dice.randint(1, 80), lambda: self._hear(heard, answer))

        self.process.take(letter, answered)

    def _check_disk(self) -> None:
        """Whatever was accepted is in a file that is there for certain."""
        found = listing(self.folder)
        for one in [*(one for one in found.live if one.size), *found.bulk]:
            self.world.synced.require_named(self.folder, one.path)

    def _hear(self, heard: Heard, answer: Answer) -> None:
        """An answer gets back; it may be too late."""
        if heard.is_over:
            return
        heard.is_over = True
        if answer.status in (409, 429, 503):
            self._try_later(heard.letter, 1_000 * int(answer.headers["Retry-After"]) + self.dice.randint(0, 60_000))
        else:
            self._go_on(heard.letter)

    def _miss(self, heard: Heard) -> None:
        """No answer has come. What has no key is not said twice: it may have arrived."""
        if heard.is_over:
            return
        heard.is_over = True
        if heard.letter.key:
            self._try_later(heard.letter, self.dice.choice([100, 5_000, 600_000]))
        else:
            self._go_on(heard.letter)

    def _try_later(self, letter: Letter, milliseconds: int) -> None:
        self.world.timeline.after(milliseconds, lambda: self._try(letter))

    def _go_on(self, letter: Letter) -> None:
        following = letter.following
        if following is not None and not self.world.rests:
            self._try(following)

    def approve(self) -> str:
        """Somebody approves every upload that waits."""
        with Record.reading(self.world.state) as record:
            waiting = [one for one in record.uploads.all().values() if not one.is_approved]
        for one in waiting:
            ask(
                self.world,
                Request(do="approve-upload", arguments={"stream": one.stream, "digest": one.digest}, by="ann"),
            )
        return ", ".join(one.digest for one in waiting) or "no upload waits"

    def settle_down(self) -> None:
        self.weather.calm()
        for day in range(60):
            self.world.timeline.after(day * DAY_MS, self.approve)

    # --- the process

    def begin(self) -> Listener:
        assert self.process is None
        self.is_cut = True
        self.process = Listener(self, self.world.next_pid())
        return self.process

    def kill(self) -> str:
        if self.process is None:
            return "nothing listens"
        self.process.die("killed")
        return "the process that listens dies"

    def has_died(self, process: Listener) -> None:
        self._buried.append(process)
        if self.process is process:
            self.process = None

    @property
    def has_news(self) -> bool:
        """Whether the controller has word of something to fold, or the process that it started has died."""
        listening = self.world.listening
        return listening is not None and listening.has_news

    def waits(self) -> bool:
        """Whether the loop may have something to fold by itself."""
        return self.there and bool(self._unfolded())

    def _unfolded(self) -> list[int]:
        record = self.world.record
        assert record is not None
        known, found = record.intake.journals(), listing(self.folder)
        held = {number for number, one in record.uploads.all().items() if not one.is_approved}
        left = [
            one.number for one in found.live if one.size > (known[one.number].mark["at"] if one.number in known else 0)
        ]
        left += [one.number for one in found.bulk if not (one.number in known and known[one.number].whole)]
        return [one for one in left if one not in held]

    def close(self) -> None:
        """The world is over."""
        if self.process is not None:
            self.process.die("the world is over")
        for process in self._buried:
            process.bury()

    # --- laws

    def attempted(self) -> set[str]:
        return {one for letter in self._letters if not letter.is_refused for one in letter.ids}

    def doubts(self, message: str) -> int:
        """How often it was refused, and may be on the stream all the same."""
        if not message.startswith("w"):
            return 0
        return next((letter.doubts for letter in self._letters if message in letter.ids), 0)

    def accepted(self) -> list[str]:
        return [one for letter in self._letters if letter.is_accepted for one in letter.ids]

    def check(self) -> None:
        """What is on the stream is what was accepted, or may have been: once, whole, and in the order of its journal."""
        record = self.world.record
        if not self.there or record is None:
            return
        rows = sum(segment.rows for segment in record.streams.segments(STREAM))
        if rows == self._checked_rows:
            return
        self._checked_rows = rows
        ids, journals, places = self._landed()
        doubts = {one: letter.doubts for letter in self._letters for one in letter.ids if letter.doubts}
        twice = sorted(one for one, count in Counter(ids).items() if count > 1 + doubts.get(one, 0))
        require(not twice, f"{STREAM}: messages landed twice: {twice[:5]}")
        there = set(ids)
        strange = sorted(there - self.attempted())
        require(not strange, f"{STREAM}: messages landed that were refused, or never sent: {strange[:5]}")
        seen: dict[int, int] = {}
        for one, journal, place in zip(ids, journals, places, strict=True):
            require(
                seen.get(journal, 0) <= place, f"{STREAM}: {one} stands behind what came later to journal {journal}"
            )
            seen[journal] = place
        self._check_whole(ids)

    def _check_whole(self, ids: list[str]) -> None:
        at = {one: position for position, one in enumerate(ids)}
        for letter in self._letters:
            found = [at[one] for one in letter.ids if one in at]
            if letter.kind == "live" and found:
                whole = list(range(found[0], found[0] + len(letter.ids)))
                require(
                    found == whole, f"{STREAM}: of request {letter.number} ({letter.ids}) only a part landed, or mixed"
                )

    def lacking(self) -> list[str]:
        ids = set(self._landed()[0])
        return [one for one in self.accepted() if one not in ids]

    def unfinished(self) -> list[str]:
        if not self.there:
            return []
        lacking = self.lacking()
        return [f"{STREAM} lacks {len(lacking)} messages that were accepted: {lacking[:5]}"] if lacking else []

    def _landed(self) -> tuple[list[str], list[int], list[int]]:
        """What is on the stream: ids, the journals that they came by, and where in those they stood."""
        world = self.world
        assert world.record is not None
        ids, journals, places = list[str](), list[int](), list[int]()
        for segment in world.record.streams.segments(STREAM):
            if segment.file not in self._sizes:
                path = world.state / "data" / segment.file
                table = pq.read_table(path, columns=["id", "_run", "_unit"], use_threads=False)
                require(table.num_rows == segment.rows, f"{segment.file} holds {table.num_rows} rows")
                columns = [table.column(name).to_pylist() for name in ("id", "_run", "_unit")]
                self._sizes[segment.file] = (columns[0], columns[1], columns[2])
            found = self._sizes[segment.file]
            ids += found[0]
            journals += found[1]
            places += found[2]
        return ids, journals, places


@dataclass
class Heard:
    """One try of a sender, and whether it waits no longer."""

    letter: Letter
    number: int
    is_over: bool = False
