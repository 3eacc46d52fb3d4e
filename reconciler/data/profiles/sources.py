"""Which message said what a profile shows: asked for one person, of the raw messages, which are read through for it.

Of `latest` and `first` it is the message whose value stands; of `min` and `max` the first one with that value; what adds
up (`sum`, `count`, `set`, `any`) names the newest message that gave something, and how many did.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Final

from reconciler.core.messages import SegmentRef
from reconciler.core.profile import ProfileRules
from reconciler.core.value import dataclass
from reconciler.data.names import sql_string
from reconciler.data.profiles.merges import Merge
from reconciler.data.profiles.messages import STREAM_SLOTS, Messages
from reconciler.data.profiles.read import Profile
from reconciler.data.profiles.tables import merges
from reconciler.data.stream import open_stream

#: By merge, the order in which messages stand with the one that is named first.
_FIRST: Final[Mapping[str, str]] = {
    "latest": "t DESC, r DESC, p DESC",
    "first": "t, r, p",
    "min": "x, t, r, p",
    "max": "x DESC, t, r, p",
}
_NEWEST: Final = _FIRST["latest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The message that is named for an attribute, and of how many that gave something. Times in milliseconds."""

    attribute: str
    stream: str
    position: int
    time_ms: int
    received_ms: int
    job: str
    run: int
    unit: int
    messages: int


def sources(
    connection: Any, data_dir: Path, rules: ProfileRules, profile: Profile, streams: Mapping[str, Sequence[SegmentRef]]
) -> list[Source]:
    """The source of each attribute that has one, by name. `connection` is of a workspace over the data folder; `streams`
    are the segments, as far as the profile was built from them. Raises Retriable where a segment is missing."""
    kinds = merges(rules)
    given: dict[int, list[str]] = {}
    for slot, stream in enumerate(rules.streams):
        messages = Messages(data_dir, rules, slot, kinds)
        for index in _read(connection, messages, rules, profile, streams[stream.name]):
            given.setdefault(index, []).append(f"SELECT x{index} AS x, t, r, p FROM of_{slot}")
    found: list[Source] = []
    origins = _Origins(data_dir, rules, streams)
    for index, (name, merge) in enumerate(kinds.items()):
        if index in given:
            found += _source(connection, origins, name, " UNION ALL ".join(given[index]), merge)
    return found


def _read(
    connection: Any, messages: Messages, rules: ProfileRules, profile: Profile, segments: Sequence[SegmentRef]
) -> list[int]:
    """Reads this person's messages on one stream into a table; the numbers of the attributes that they may give."""
    only = [
        f"i{index} IN ({', '.join(map(sql_string, values))})"
        for index, key in enumerate(messages.keys)
        if (values := [value for known, value in profile.identifiers if known == rules.keys[key]])
    ]
    stop = segments[-1].first + segments[-1].rows if segments else 0
    query = messages.sql(connection, segments, 0, stop, " OR ".join(only)) if only and messages.contributions else ""
    if query:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE of_{messages.slot} AS {query}")
    return [one.index for one in messages.contributions] if query else []


@dataclass(frozen=True, slots=True)
class _Origins:
    """Where messages come from. One message may have said a thousand things, and is read once."""

    data_dir: Path
    rules: ProfileRules
    streams: Mapping[str, Sequence[SegmentRef]]
    known: dict[int, dict[str, Any]] = field(default_factory=dict)

    def of(self, place: int) -> dict[str, Any]:
        if place not in self.known:
            stream, position = self.named(place)
            reader = open_stream(self.data_dir, stream, self.streams[stream])
            for _, table in reader.tables(position, position + 1, meta=True):
                (self.known[place],) = table.select(["_job", "_run", "_unit"]).to_pylist()
        return self.known[place]

    def named(self, place: int) -> tuple[str, int]:
        return self.rules.streams[place % STREAM_SLOTS].name, place // STREAM_SLOTS


def _source(connection: Any, origins: _Origins, name: str, given: str, merge: Merge) -> Iterator[Source]:
    order = _FIRST.get(merge.kind, _NEWEST)
    rows = connection.execute(
        f"SELECT t, r, p, count(*) OVER () FROM ({given}) WHERE x IS NOT NULL ORDER BY {order} LIMIT 1"
    ).fetchall()
    for time_us, received_ms, place, count in rows:
        origin, (stream, position) = origins.of(place), origins.named(place)
        yield Source(
            attribute=name, stream=stream, position=position, time_ms=time_us // 1000, received_ms=received_ms,
            job=origin["_job"], run=origin["_run"], unit=origin["_unit"], messages=count,
        )  # fmt: skip
