"""What comes in by files, and what the streams hold of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from tests.simulation import feeds
from tests.simulation.laws import require
from tests.simulation.people import LIVE

if TYPE_CHECKING:
    from tests.simulation.world import World


class Streams:
    """Of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.sources: list[str] = []  # those that files come in for
        self._messages = 0
        self._ids: dict[str, list[str]] = {}  # by segment
        self._sent: dict[str, list[str]] = {}

    # --- what comes in

    def bring(self) -> str:
        """A file with new messages comes in, whole."""
        stream = self._world.dice.choice(
            [*self.sources, *[self._world.mirrors.stream] * (3 if self._world.mirrors.there else 0)]
        )
        ids = self.next_ids(self._world.dice.choice([1, 2, 5, 12]))
        self.arrive(stream, ids, self._lines(stream, ids))
        return f"{len(ids)} messages for {stream}"

    def next_ids(self, count: int) -> list[str]:
        self._messages += count
        return [f"m{number}" for number in range(self._messages - count, self._messages)]

    def arrive(self, stream: str, ids: list[str], text: str) -> None:
        """A file comes in, whole."""
        beside = self._world.folder / "coming"
        beside.write_text(text)
        if self._world.is_wide:
            at_ns = self._world.timeline.wall_ms * 1_000_000
            os.utime(beside, ns=(at_ns, at_ns))
        (self._world.inbox / stream).mkdir(exist_ok=True)
        beside.rename(self._world.inbox / stream / f"{self._messages:06d}.csv")
        self._sent.setdefault(stream, []).extend(ids)

    def _lines(self, stream: str, ids: list[str]) -> str:
        if stream == self._world.mirrors.stream:
            return self._world.mirrors.lines(ids)
        return "id,amount\n" + "".join(f"{one},{len(one)}\n" for one in ids)

    # --- what the streams hold

    def messages(self, stream: str) -> list[str]:
        assert self._world.record is not None
        found: list[str] = []
        for segment in self._world.record.streams.segments(stream):
            if segment.file not in self._ids:
                table = pq.read_table(self._world.state / "data" / segment.file, columns=["id"], use_threads=False)
                require(
                    table.num_rows == segment.rows, f"{segment.file} holds {table.num_rows} rows, not {segment.rows}"
                )
                self._ids[segment.file] = [one for one in table.column("id").to_pylist() if one is not None]
            found += self._ids[segment.file]
        return found

    def check_positions(self, stream: str) -> None:
        assert self._world.record is not None
        at = 0
        for segment in self._world.record.streams.segments(stream):
            require(segment.first == at, f"{stream}: a gap before {segment.first}")
            at += segment.rows

    def sent_in(self, stream: str) -> set[str]:
        if stream == LIVE:
            return self._world.intake.attempted()
        if stream == feeds.STREAM:
            return set(self._world.feeds.ids())
        return set(self._sent.get(stream, ()))

    def _wanted_in(self, stream: str) -> list[str]:
        if stream == LIVE:
            return self._world.intake.accepted()
        return self._world.feeds.ids() if stream == feeds.STREAM else self._sent.get(stream, [])

    def lacking(self, stream: str) -> list[str]:
        assert self._world.record is not None
        count = sum(segment.rows for segment in self._world.record.streams.segments(stream))
        wanted = self._wanted_in(stream)
        if count == len(wanted) and stream != feeds.STREAM:
            return []
        gone = self._world.forgets.may_lack(stream)
        return sorted(set(wanted) - set(self.messages(stream)) - gone)

    def undelivered(self, job: str, stream: str) -> list[str]:
        """What the destination of a job should have and has not."""
        taken = self._world.receiver.taken.get(f"receiver.test/{job}", {})
        good = [one for one in self._wanted_in(stream) if not (self._world.has_poison and one.endswith("7"))]
        if len(taken) == len(good) and stream != LIVE:
            return []
        landed = set(self.messages(stream))
        return sorted(one for one in good if one in landed and one not in taken)
