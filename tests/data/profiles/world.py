"""Streams of messages as the controller would keep them: segments that units landed, compaction, builds one after another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from reconciler.core.messages import SegmentRef
from reconciler.core.profile import BuildWork, ProfileRules, ProfileSet, profile_rules
from reconciler.core.provider import Staged
from reconciler.data.engine import workspace
from reconciler.data.lines import parse_lines
from reconciler.data.profiles.build import build
from reconciler.data.profiles.read import ProfileReader
from reconciler.data.profiles.tables import Tables, merges
from reconciler.data.store import Origin, compact, with_meta, write_segment
from reconciler.data.timestamps import TIME
from tests.data.profiles.reference import Expressions, Message, profiles

Rows = Sequence[Mapping[str, Any]]


@dataclass
class World:
    folder: Path
    rules: ProfileRules
    expressions: Expressions = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    segments: dict[str, list[Staged]] = field(default_factory=dict)
    profiles: ProfileSet = field(default_factory=ProfileSet)
    builds: int = 0
    written: int = 0

    def land(self, stream: str, rows: Rows, *, received: int = 0, times: Sequence[int | None] = ()) -> None:
        """One unit: JSON messages on a stream."""
        table = parse_lines("\n".join(json.dumps(row) for row in rows).encode(), 1).table
        at = self.end(stream)
        times = times or [None] * len(rows)
        self.land_table(stream, table, received=received, times=times)
        self.messages += [
            Message(
                stream=stream, position=at + index, received=received, timestamp=times[index],
                texts={name: shown(value) for name, value in row.items()},
            )
            for index, row in enumerate(rows)
        ]  # fmt: skip

    def land_table(self, stream: str, table: pa.Table, *, received: int = 0, times: Sequence[int | None] = ()) -> None:
        """The same of any table, which the reference does not see."""
        own = pa.array(times, pa.int64()).cast(TIME) if times else None
        self.written += 1
        made = with_meta(table, own, Origin(received, "job", 1, self.written))
        file = f"streams/{stream}/job-1-1-{self.written}-1.parquet"
        self.segments.setdefault(stream, []).append(write_segment(self.folder, stream, file, [made]))

    def end(self, stream: str) -> int:
        return sum(one.rows for one in self.segments.get(stream, ()))

    def compact(self, stream: str) -> None:
        """Neighbours of one schema become one segment."""
        kept: list[list[Staged]] = []
        for one in self.segments.get(stream, ()):
            if kept and kept[-1][0].schema == one.schema:
                kept[-1].append(one)
            else:
                kept.append([one])
        self.segments[stream] = [self._compacted(stream, group) for group in kept]

    def _compacted(self, stream: str, group: list[Staged]) -> Staged:
        if len(group) == 1:
            return group[0]
        self.written += 1
        return compact(self.folder, stream, group, f"compacted-{self.written}")

    def refs(self) -> dict[str, tuple[SegmentRef, ...]]:
        found = {}
        for stream, segments in self.segments.items():
            ends = [0]
            for one in segments:
                ends.append(ends[-1] + one.rows)
            found[stream] = tuple(
                SegmentRef(file=one.file, first=first, rows=after - first)
                for one, (first, after) in zip(segments, pairwise(ends), strict=True)
            )
        return found

    # --- builds ---

    def built(self, base: ProfileSet, stops: Mapping[str, int] | None = None, **options: Any) -> ProfileSet:
        self.builds += 1
        work = BuildWork(
            rules=self.rules, base=base, streams=self.refs(), build=self.builds,
            stops={stream: self.end(stream) for stream in self.segments} if stops is None else stops,
        )  # fmt: skip
        return build(self.folder, work, memory_mb=256, **options)

    def build(self, stops: Mapping[str, int] | None = None) -> ProfileSet:
        """What is new, up to the stops (the end of each stream where there are none)."""
        self.profiles = self.built(self.profiles, stops)
        return self.profiles

    # --- what it comes to ---

    def seen(self, profiles: ProfileSet) -> dict[str, Any]:
        """Everything that the engine says of a set."""
        reader = ProfileReader(self.folder, profiles, self.rules)
        view = reader.view_sql(self.rules.attributes, self.rules.keys)
        tables = Tables(self.folder, profiles.files, list(merges(self.rules).values()))
        with workspace(self.folder, memory_mb=256) as connection:
            rows = connection.execute(view).fetchall()
            void = connection.execute(f"SELECT key, value FROM ({tables.identifiers()}) WHERE pk = 0").fetchall()
        keys = self.rules.keys
        return {
            "profiles": {
                row[0]: {
                    **{f"key:{key}": values for key, values in zip(keys, row[1:], strict=False)},
                    **dict(zip(self.rules.attributes, row[1 + len(keys) :], strict=True)),
                }
                for row in rows
            },
            "void": {(keys[key], value) for key, value in void},
            "count": reader.count(),
            **{name: profiles.facts[name] for name in ("messages", "untimed", "identifiers", "void")},
        } | {"rows": len(rows), "void": {(keys[key], value) for key, value in void}, "voids": profiles.facts["void"]}

    def expected(self, stops: Mapping[str, int] | None = None) -> dict[str, Any]:
        """What the reference says of the messages before the stops."""
        messages = [one for one in self.messages if stops is None or one.position < stops.get(one.stream, 0)]
        made, void, untimed = profiles(self.rules, messages, self.expressions)
        identifiers = sum(len(one["identifiers"]) for one in made.values()) + len(void)
        return {
            "profiles": {id_: self._row(one) for id_, one in made.items()},
            "void": void, "voids": len(void), "count": len(made), "rows": len(made),
            "messages": len(messages), "untimed": untimed, "identifiers": identifiers,
        }  # fmt: skip

    def _row(self, one: Mapping[str, Any]) -> dict[str, Any]:
        values = {f"key:{key}": [value for k, value in one["identifiers"] if k == key] for key in self.rules.keys}
        return {**values, **one["attributes"]}


def shown(value: Any) -> str | None:
    """A value as the message's JSON shows it; a string without its quotes."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def rules_of(**specs: Mapping[str, Any]) -> ProfileRules:
    return profile_rules(specs.items())
