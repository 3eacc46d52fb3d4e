"""The messages' own times in segments that were landed without any: those that the stream's `timestamp` reads from a raw
column, as profiles read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from reconciler.core.messages import SegmentRef
from reconciler.core.profile import ProfileRules, StreamRules
from reconciler.core.streams import Times
from reconciler.data.engine import workspace
from reconciler.data.profiles.messages import Messages


def own_times(
    data_dir: Path, rules: StreamRules, segments: Iterable[SegmentRef], *, memory_mb: int
) -> Iterator[tuple[str, Times]]:
    """Of each segment, by its file. Raises Retriable where one is missing, Fatal where one is damaged, OSError where the
    data folder cannot be written to."""
    bare = ProfileRules(streams=(replace(rules, identity=(), attributes=()),))
    with workspace(data_dir, memory_mb=memory_mb) as connection:
        for one in segments:
            found = Messages(data_dir, bare, 0, {}).sql(connection, [one], one.first, one.first + one.rows)
            sums = "count(*) FILTER (u), min(t) FILTER (NOT u) // 1000, max(t) FILTER (NOT u) // 1000"
            untimed, first_ms, last_ms = connection.execute(f"SELECT {sums} FROM ({found})").fetchall()[0]
            yield one.file, Times(first_ms=first_ms, last_ms=last_ms, untimed=untimed)
