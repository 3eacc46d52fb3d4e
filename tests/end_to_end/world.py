"""What stands in a state directory after a run, read from outside: with SQLite and DuckDB, not through our own code."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb

from reconciler.controller.drifting import find_drift
from reconciler.controller.settings import Settings
from tests.servers import Request, Server


def rows_of(state: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{state / 'record.db'}?mode=ro", uri=True)) as record:
        return record.execute(sql, values).fetchall()


def is_sound(state: Path) -> bool:
    """Nothing is damaged, and all that was written is as it was written."""
    drifts = find_drift(Settings(root=state.parent, state=state)).drifts
    assert drifts == (), drifts
    return rows_of(state, "PRAGMA integrity_check") == [("ok",)]


def segments(state: Path, stream: str) -> list[str]:
    """The committed files of a stream, in order."""
    found = rows_of(state, "SELECT file FROM segment WHERE stream = ? AND retired_ms IS NULL ORDER BY first", stream)
    return [str(state / "data" / file) for (file,) in found]


def column(state: Path, stream: str, name: str) -> list[Any]:
    """One column of all messages of a stream."""
    files = segments(state, stream)
    if not files:
        return []
    relation = duckdb.sql(f'SELECT "{name}" FROM read_parquet({files!r}, union_by_name=true)')
    return [value for (value,) in relation.fetchall()]


def positions_are_dense(state: Path, stream: str) -> bool:
    """Every message has one position, from 0, without a gap."""
    at = 0
    for first, rows in rows_of(
        state, "SELECT first, rows FROM segment WHERE stream = ? AND retired_ms IS NULL ORDER BY first", stream
    ):
        if first != at:
            return False
        at += rows
    return True


def batches(requests: list[Request]) -> dict[str, bytes]:
    """Each batch by its idempotency key. A key that came with two bodies is a failure."""
    found: dict[str, bytes] = {}
    for request in requests:
        assert found.setdefault(request.key, request.body) == request.body, f"{request.key} came with two bodies"
    return found


class Arrivals:
    """How many messages have arrived at a receiver so far, each batch counted once; costs what is new."""

    def __init__(self, receiver: Server) -> None:
        self._receiver = receiver
        self._looked_at = 0
        self._keys: set[str] = set()
        self.messages = 0

    def count(self) -> int:
        fresh = self._receiver.processed[self._looked_at :]
        self._looked_at += len(fresh)
        for request in fresh:
            if request.key not in self._keys:
                self._keys.add(request.key)
                self.messages += len(request.json["messages"])
        return self.messages


def delivered(requests: list[Request], field: str) -> Counter[Any]:
    """How often each value of a field arrived, a batch that came again under its own key counted once."""
    return Counter(message[field] for body in batches(requests).values() for message in json.loads(body)["messages"])
