"""Removals of a plan that name the same: each identifier is named once, whatever many share."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.data.engine import workspace
from reconciler.data.spared import remove_once

MANY = 100_000


@pytest.mark.parametrize("alone", [0, 1])
def test_many_who_left_and_share_an_identifier_are_not_compared_with_each_other(tmp_path: Path, alone: int) -> None:
    """Each is known by one that all share and one of its own; `alone` by the shared one only."""
    with workspace(tmp_path, memory_mb=128) as db:
        db.execute(
            "CREATE TEMP TABLE planned AS SELECT 2::UTINYINT AS action, lpad(range::VARCHAR, 32, '0') AS id, "
            f"[0, nullif(range + 1, {alone})::UBIGINT] AS idents FROM range({MANY})"
        ).fetchall()
        remove_once(db, ())
        assert db.execute("SELECT count(*) FROM planned WHERE action = 2").fetchall() == [(MANY - alone,)]
