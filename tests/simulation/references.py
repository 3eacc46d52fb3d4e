"""A reference file that says of people where they live (`enrich-join`). It changes: as a whole, or torn, a part of it in its place
and the rest later; a second file comes and goes; and it is young, so that it may change again without another time or size.

Whatever any content of it said may land: nobody can know that a file is torn while it lies there. But nothing else may, and
nothing twice in a row.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow.parquet as pq

from tests.end_to_end.membership import address
from tests.simulation.drawing import draw_job
from tests.simulation.laws import require
from tests.simulation.parts import JOIN, Deed, Part

if TYPE_CHECKING:
    from tests.simulation.people import Wanted
    from tests.simulation.world import World

STREAM: Final = "regions-0"
#: So long a file may change again without showing it in its time.
YOUNG_MS: Final = 1_900
REGIONS: Final = ("north", "south", "east", "west")

SPEC: Final = """apiVersion: reconciler/v1
kind: Stream
metadata: {name: regions-0}
spec:
  timestamp: {field: enriched_at}
  identity: [{key: email, from: who, normalize: [trim, lower]}]
  attributes: {region: {from: region}}
"""

Row = tuple[str, str]


class References(Part):
    streams = (STREAM,)

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        dice = self._dice = random.Random(f"references {seed}")
        self._young = random.Random(f"young {seed}")
        self._everyone = dice.random() < 0.2
        self._folder = world.inbox / "reference"
        self._folder.mkdir()
        self._texts: dict[str, str] = {}
        self._torn: dict[str, str] = {}  # by name: the whole text
        self._said: set[Row] = set()  # by any content that there ever was
        self._landed: dict[str, list[Row]] = {}  # by segment
        self._put("a.csv", self._text())

    def jobs(self) -> list[Wanted]:
        world = self._world
        reads = world.mirrors.stream
        match = ", match: all" if self._everyone else ""
        config = f'path: "{self._folder}/*.csv", stream: {STREAM}, key: {{column: who, identity: email}}{match}'
        work = f"provider: files, jobType: enrich-join, config: {{{config}}}"
        return [replace(draw_job(world, JOIN, reads=reads, is_steady=True), work=work)]

    def files(self) -> dict[str, str]:
        return {"regions.yaml": SPEC}

    def deeds(self) -> list[tuple[int, Deed]]:
        return [(self._dice.randint(4, 15), self.change), (self._dice.choice([0, 3]), self.come_or_go)]

    # --- the files

    def change(self) -> str:
        """Somebody writes the reference anew, some of them carelessly."""
        name, text, dice = self._dice.choice(sorted(self._texts)), self._text(), self._dice
        way = dice.choice(["whole", "whole", "torn", "again"])
        match way:
            case "whole":
                self._put(name, text)
            case "torn":
                self._write(name, text[: dice.randrange(len(text))])
                self._torn[name] = text
                self._later(dice.choice([1, 30, 400, 90_000]), name, text)
            case "again":
                self._put_twice(name, text)
        return f"{name}, {way}"

    def starts(self, job: str) -> None:
        """Now and then somebody writes it while it is about to be read."""
        if job == JOIN and not self._world.rests and self._young.random() < 0.2:
            self._put_twice("a.csv", self._texts["a.csv"].replace("west", "north"))

    def _put_twice(self, name: str, text: str) -> None:
        """It changes again, which neither its time nor its size shows."""
        self._put(name, text)
        again = partial(self._finish, name, self._other(text), self._world.timeline.wall_ms)
        self._world.timeline.after(self._young.randint(1, YOUNG_MS), again)

    def come_or_go(self) -> str:
        """A second file."""
        if "b.csv" in self._texts:
            del self._texts["b.csv"]
            (self._folder / "b.csv").unlink()
            return "b.csv goes"
        self._put("b.csv", self._text())
        return "b.csv comes"

    def _later(self, milliseconds: int, name: str, text: str) -> None:
        self._world.timeline.after(milliseconds, partial(self._finish, name, text))

    def _finish(self, name: str, text: str, at_ms: int | None = None) -> None:
        if name in self._texts and not self._world.rests:
            self._write(name, text, at_ms)

    def _text(self) -> str:
        dice, count = self._dice, self._world.mirrors.count
        rows = []
        for _ in range(dice.choice([1, 4, 20])):
            who = f"guest-{dice.randrange(9)}@example.org" if self._everyone else address(dice.randrange(count))
            rows.append(f"{dice.choice([who, who, who.upper(), f' {who}'])},{dice.choice(REGIONS)}\n")
        return "who,region\n" + "".join(rows)

    def _other(self, text: str) -> str:
        """As long, and says something else."""
        return text.replace("north", "south") if "north" in text else text.replace("east", "west")

    def _put(self, name: str, text: str) -> None:
        beside = self._world.folder / "coming"
        beside.write_text(text)
        self._know(beside, name, text)
        beside.rename(self._folder / name)

    def _write(self, name: str, text: str, at_ms: int | None = None) -> None:
        (self._folder / name).write_text(text)
        self._know(self._folder / name, name, text, at_ms)

    def _know(self, path: Path, name: str, text: str, at_ms: int | None = None) -> None:
        at_ns = (self._world.timeline.wall_ms if at_ms is None else at_ms) * 1_000_000
        os.utime(path, ns=(at_ns, at_ns))
        self._texts[name] = text
        self._torn.pop(name, None)
        self._said |= set(_rows(text))

    def settle_down(self) -> None:
        """Whole files, from now on."""
        for name in sorted(self._torn.keys() & self._texts.keys()):
            self._put(name, self._torn[name])

    # --- laws

    def unfinished(self) -> list[str]:
        world = self._world
        if not world.is_served(JOIN):
            return []
        known = world.truth.values("email") - world.forgets.asked
        last = {_person(who): (who, region) for _, text in sorted(self._texts.items()) for who, region in _rows(text)}
        heard = {_person(who): (who, region) for who, region in self._all()}
        wanted = last.keys() if self._everyone else last.keys() & known
        lacking = sorted(who for who in wanted if heard.get(who) != last[who])
        return [f"{STREAM} lacks what the reference says of {lacking[:3]}"] if lacking else []

    def check(self) -> None:
        last: dict[str, Row] = {}
        for who, region in self._all():
            require((who, region) in self._said, f"{STREAM}: {who} lives in {region}, and no file ever said so")
            require(last.get(_person(who)) != (who, region), f"{STREAM}: {who} lives in {region} twice in a row")
            last[_person(who)] = (who, region)

    def _all(self) -> list[Row]:
        world = self._world
        assert world.record is not None
        found: list[Row] = []
        for segment in world.record.streams.segments(STREAM):
            if segment.file not in self._landed:
                path = world.state / "data" / segment.file
                table = pq.read_table(path, columns=["who", "region"], use_threads=False)
                rows = ((row["who"], row["region"]) for row in table.to_pylist())
                self._landed[segment.file] = [(who, region) for who, region in rows if who is not None]
            found += self._landed[segment.file]
        return found


def _rows(text: str) -> list[Row]:
    """The rows that whoever reads this finds; a line that is cut off may be one too."""
    cells = [line.split(",") for line in text.splitlines()[1:]]
    return [(who, region) for who, region in (one for one in cells if len(one) == 2)]


def _person(who: str) -> str:
    return who.strip().lower()
