"""Exports to files: of a stream, a file for what is new in each run; and of an audience, one file that holds all members. Others read
there, so a file is whole whenever it is there, and says nothing that another one has said."""

from __future__ import annotations

import csv
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.drawing import draw_job
from tests.simulation.laws import require
from tests.simulation.mirrors import WIDE_OPEN
from tests.simulation.parts import HISTORY, Deed, Part

if TYPE_CHECKING:
    from tests.simulation.people import Wanted
    from tests.simulation.world import World

NEW: Final = "file-0"
ALL: Final = "list-0"
FIELDS: Final = "fields: {email: {from: email}, score: {from: score}, visits: {from: visits}}"


class Outboxes(Part):
    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._dice = random.Random(f"outboxes {seed}")
        self._folder = world.inbox / "out"
        self._stream = ""
        self._files: dict[str, list[str]] = {}  # by name: whom each holds

    def jobs(self) -> list[Wanted]:
        world = self._world
        self._stream = world.streams.sources[-1]
        path = f'path: "{self._folder}/new-{{run}}.csv", only: new'
        work = f"provider: files, jobType: export-csv, config: {{stream: {self._stream}, {path}}}"
        found = [replace(draw_job(world, NEW, reads=self._stream, is_steady=True), work=work)]
        if world.mirrors.there:
            config = f'audience: keen, format: csv, path: "{self._folder}/all.csv", guard: {WIDE_OPEN}, {FIELDS}'
            work = f"provider: files, jobType: export-audience, config: {{{config}}}"
            after = () if world.backfills is None else (HISTORY,)
            job = draw_job(world, ALL, reads=world.mirrors.stream, is_steady=True)
            found.append(replace(job, work=work, after=after))
        return found

    def deeds(self) -> list[tuple[int, Deed]]:
        return [(self._dice.choice([0, 0, 2]), self.lose)]

    def lose(self) -> str:
        """Somebody takes the list away."""
        path = self._folder / "all.csv"
        if path.exists():
            path.unlink()
        return "all.csv is gone"

    # --- laws

    def look(self) -> None:
        """Every file is whole, and no message is in two of them."""
        fresh = [one for one in sorted(self._folder.glob("new-*.csv")) if one.name not in self._files]
        for path in fresh:
            self._files[path.name] = [row["id"] for row in self._read(path)]
        if fresh:
            said = Counter(one for ids in self._files.values() for one in ids)
            twice = sorted(one for one, count in said.items() if count > 1)
            require(not twice, f"{NEW} has written messages twice: {twice[:5]}")

    def _read(self, path: Path) -> list[dict[str, Any]]:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        require(path.read_bytes().endswith(b"\n"), f"{path.name} is not whole")
        require(
            all(None not in row and None not in row.values() for row in rows),
            f"{path.name} has rows that are not whole",
        )
        return rows

    def unfinished(self) -> list[str]:
        world, found = self._world, list[str]()
        if world.is_served(NEW):
            written = {one for ids in self._files.values() for one in ids}
            lacking = sorted(set(world.streams.messages(self._stream)) - written)
            found += [f"{NEW} has not written {len(lacking)} messages: {lacking[:5]}"] if lacking else []
        if world.is_served(ALL) and (differs := self._differs()):
            found.append(differs)
        return found

    def _differs(self) -> str:
        expected = {one["email"]: one for one in self._world.mirrors.members() if one["email"]}
        path = self._folder / "all.csv"
        rows = self._read(path) if path.exists() else []
        there = {row["email"]: {**row, "score": int(row["score"]), "visits": int(row["visits"])} for row in rows}
        require(len(there) == len(rows), f"{path.name} has somebody twice")
        wrong = sorted(who for who in there.keys() | expected.keys() if there.get(who) != expected.get(who))
        return f"{ALL}: {len(wrong)} members are not as the audience says: {wrong[:3]}" if wrong else ""

    def check(self) -> None:
        """Nobody's message is there who never sent it."""
        sent = self._world.streams.sent_in(self._stream)
        strange = sorted({one for ids in self._files.values() for one in ids} - sent)
        require(not strange, f"{NEW} has written what nobody sent: {strange[:5]}")
