"""What a stream holds, with the times that its own `timestamp` declaration reads from the messages.

A message's time may come with it (`timestampField` of whoever landed it): then the record knows it. Where the stream
declares how its messages say their time, only their files know it. They never change, so what was read of each is kept in
the cache of the state directory, and each is read once under one declaration.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from reconciler.core.document import canonical
from reconciler.core.profile import StreamRules, stream_rules
from reconciler.core.streams import Times
from reconciler.data.durable import private
from reconciler.data.profiles.times import own_times
from reconciler.errors import RunError
from reconciler.record.store import Record
from reconciler.record.streams import StreamRow

#: The file in the cache.
FILE: Final = "times.json"
MEMORY_MB: Final = 512
TRIES: Final = 3


def stream_rows(record: Record, state: Path) -> dict[str, StreamRow]:
    """Every stream that ever held a message, by name. Where its segments cannot be read, as the record alone knows it."""
    rows = {row.name: row for row in record.streams.rows()}
    specs = {one.name: one.spec for one in record.resources.resources("Stream") if "timestamp" in one.spec}
    told = [stream_rules(name, spec) for name, spec in sorted(specs.items()) if name in rows and rows[name].messages]
    if not told:
        return rows
    known = _Known.read(state / "cache" / FILE)
    for rules in told:
        for _ in range(TRIES):  # compaction may take a segment away while it is read
            with contextlib.suppress(RunError, OSError):
                rows[rules.name] = _timed(record, state, rules, known, rows[rules.name])
                break
    known.keep({one.name for one in told})
    return rows


def _timed(record: Record, state: Path, rules: StreamRules, known: _Known, row: StreamRow) -> StreamRow:
    segments = record.streams.segments(rules.name)
    kept = known.of(rules)
    left = [one for one in segments if one.file not in kept]
    if left:
        kept = kept | dict(own_times(state / "data", rules, left, memory_mb=MEMORY_MB))
    found = {one.file: kept[one.file] for one in segments}
    known.note(rules, found)
    return replace(
        row,
        untimed=sum(one.untimed for one in found.values()),
        first_timestamp_ms=min((one.first_ms for one in found.values() if one.first_ms is not None), default=None),
        last_timestamp_ms=max((one.last_ms for one in found.values() if one.last_ms is not None), default=None),
    )


@dataclass(slots=True)
class _Known:
    """What the cache holds: by stream, the declaration it was read under, and the times by file."""

    path: Path
    held: dict[str, Any]
    changed: bool = False

    @classmethod
    def read(cls, path: Path) -> _Known:
        try:
            held = json.loads(path.read_bytes())
        except (OSError, ValueError):
            held = {}
        return cls(path, held if isinstance(held, dict) else {})

    def of(self, rules: StreamRules) -> dict[str, Times]:
        try:
            held = self.held[rules.name]
            return {file: Times(**told) for file, told in held["files"].items()} if held["as"] == _said(rules) else {}
        except (KeyError, TypeError, AttributeError):  # of another version
            return {}

    def note(self, rules: StreamRules, found: Mapping[str, Times]) -> None:
        told = {"as": _said(rules), "files": {file: asdict(times) for file, times in found.items()}}
        if self.held.get(rules.name) != told:
            self.held[rules.name], self.changed = told, True

    def keep(self, names: set[str]) -> None:
        """Whole or not at all; a cache that cannot be written is done without."""
        if not self.changed:
            return
        temporary = self.path.with_name(f"{FILE}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            with open(temporary, "w", encoding="utf-8", opener=private) as file:
                file.write(canonical({name: told for name, told in self.held.items() if name in names}))
            os.replace(temporary, self.path)


def _said(rules: StreamRules) -> list[str]:
    return [rules.timestamp_field, rules.timestamp_format]
