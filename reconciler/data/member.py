"""One member of an audience: whether it is one, and what a plan does with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from reconciler.core.members import ACTIONS
from reconciler.data.audiences import moment
from reconciler.data.members import Selection


def is_member(db: Any, chosen: Selection, now_ms: int) -> bool:
    """Whether any profile of the selection makes its condition true."""
    view = chosen.view(chosen.attributes, [])
    given = {"now": moment(now_ms)} if chosen.reads_now else {}
    return bool(db.execute(f"SELECT 1 FROM ({view}) WHERE ({chosen.where}) IS TRUE LIMIT 1", given).fetchall())


def planned(data_dir: Path, plan: str, member: str) -> tuple[str, str]:
    """What a plan does with a member: an action and "", `omit` and the reason, or nothing."""
    table = pq.read_table(data_dir / plan, columns=["action", "id", "reason"])
    rows = table.filter(pc.equal(table.column("id"), member)).to_pylist()
    if not rows:
        return "", ""
    action, reason = rows[0]["action"], rows[0]["reason"]
    if action < len(ACTIONS):
        return ACTIONS[action], ""
    return ("omit", reason) if reason else ("", "")
