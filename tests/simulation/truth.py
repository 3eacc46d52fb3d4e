"""What the profiles should be, by the plain reference (`tests.data.profiles.reference`), of the messages on the streams; and the
law that what was built step by step is that, and what is built at once too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import pyarrow.parquet as pq

from reconciler.controller.rebuilds import observed_rules
from reconciler.core.profile import BuildWork, ProfileRules, ProfileSet, rules_digest
from reconciler.data.profiles.build import build
from tests.data.profiles.reference import Message, profiles
from tests.data.profiles.world import World as ProfileWorld
from tests.simulation.laws import require
from tests.simulation.parts import Part

if TYPE_CHECKING:
    from tests.simulation.world import World

#: No build of a world has this number.
ANEW: Final = 1_000_000
META: Final = frozenset({"_timestamp", "_received", "_job", "_run", "_unit"})


class Truth(Part):
    """There in every world with people that may have more in it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rows: dict[str, list[Mapping[str, Any]]] = {}  # by segment
        self._of: Any = None
        self._made: dict[str, Any] = {}

    # --- who there is

    def people(self) -> dict[str, Any]:
        """The profiles by id, by the rules that are in force and all that has landed."""
        record = self._world.record
        assert record is not None
        rules = observed_rules(record)
        files = [one.file for stream in rules.streams for one in record.streams.segments(stream.name)]
        if self._of != (rules_digest(rules), files):
            self._made = profiles(rules, self._messages(rules), {})[0]
            self._of = rules_digest(rules), files
        return self._made

    def values(self, key: str) -> set[str]:
        """Every identifier of this kind that somebody has."""
        return {value for one in self.people().values() for name, value in one["identifiers"] if name == key}

    def members(self, limit: int) -> list[dict[str, Any]]:
        """Whoever's score is at least `limit`, as the mirror sends them."""
        found = []
        for one in self.people().values():
            score = one["attributes"].get("score")
            addresses = [value for key, value in one["identifiers"] if key == "email"]
            if score is not None and score >= limit:
                visits = int(one["attributes"]["visits"])
                found.append({"email": [*addresses, ""][0], "score": int(score), "visits": visits})
        return found

    def _messages(self, rules: ProfileRules) -> list[Message]:
        record, found = self._world.record, list[Message]()
        assert record is not None
        for stream in rules.streams:
            for segment in record.streams.segments(stream.name):
                if segment.file not in self._rows:
                    table = pq.read_table(self._world.state / "data" / segment.file, use_threads=False)
                    self._rows[segment.file] = table.to_pylist()
                found += [
                    _message(stream.name, segment.first + index, row)
                    for index, row in enumerate(self._rows[segment.file])
                    if row["_received"] is not None
                ]
        return found

    # --- laws

    def unfinished(self) -> list[str]:
        record = self._world.record
        assert record is not None
        current, rules, ends = record.profiles.current(), observed_rules(record), record.streams.ends()
        built = {one.name: ends.get(one.name, 0) for one in rules.streams}
        if not any(built.values()) or self._world.mode == "passes":  # a pass builds what its runs need
            return []
        is_old = current.rules != rules_digest(rules) or dict(current.built) != built
        return ["profiles are not built yet"] if is_old else []

    def check(self) -> None:
        """Incremental equals rebuild equals the reference."""
        record, folder = self._world.record, self._world.state / "data"
        assert record is not None
        current, rules = record.profiles.current(), record.profiles.rules()
        if not current.build:
            return
        there = ProfileWorld(folder, rules)
        there.messages = self._messages(rules)
        streams = {one.name: record.streams.segments(one.name) for one in rules.streams}
        work = BuildWork(rules=rules, base=ProfileSet(), streams=streams, build=ANEW, stops=current.built)
        anew = build(folder, work, memory_mb=256)
        try:
            seen, again, expected = there.seen(current), there.seen(anew), there.expected(current.built)
        finally:
            for one in anew.files:
                (folder / one.file).unlink()
        for name, other in (("a rebuild", again), ("the reference", expected)):
            wrong = {what: (seen[what], other[what]) for what in seen if seen[what] != other[what]}
            require(not wrong, f"the profiles are not those of {name}: {_shown(wrong) if wrong else ''}")


def _message(stream: str, position: int, row: Mapping[str, Any]) -> Message:
    own, received = row["_timestamp"], row["_received"]
    return Message(
        stream=stream,
        position=position,
        received=round(received.timestamp() * 1000),
        timestamp=None if own is None else round(own.timestamp() * 1_000_000),
        texts={name: None if value is None else str(value) for name, value in row.items() if name not in META},
    )


def _shown(wrong: Mapping[str, tuple[Any, Any]]) -> str:
    """The first thing that differs, of profiles the first of those."""
    what, (one, other) = next(iter(wrong.items()))
    if isinstance(one, dict):
        who = next(who for who in sorted(one.keys() | other.keys()) if one.get(who) != other.get(who))
        one, other = one.get(who), other.get(who)
    return f"{what}: {one} and {other}"
