"""One member of an audience: whether it is one, and what a plan does with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from reconciler.core.members import ACTIONS, Ledger
from reconciler.core.mirror import Plan
from reconciler.data.audiences import moment
from reconciler.data.decisions import outcome_sql
from reconciler.data.ledger import COLUMNS, latest_sql, ledger_sql, parquet
from reconciler.data.members import Selection


def is_member(db: Any, chosen: Selection, now_ms: int) -> bool:
    """Whether any profile of the selection makes its condition true."""
    view = chosen.view(chosen.attributes, [])
    given = {"now": moment(now_ms)} if chosen.reads_now else {}
    return bool(db.execute(f"SELECT 1 FROM ({view}) WHERE ({chosen.where}) IS TRUE LIMIT 1", given).fetchall())


def receipt_sql(data_dir: Path, ledger: Ledger, plan: Plan | None, member: str) -> str:
    """A SELECT of the ledger's row of a member, as the plan that is being sent has left it so far."""
    before = (
        latest_sql(data_dir, ledger.files, f"id = '{member}'")
        if ledger.files
        else ledger_sql(data_dir, (), list(COLUMNS))
    )
    if plan is None or not (data_dir / plan.file).is_file():
        return before
    rows = outcome_sql(data_dir, ledger, plan.file, plan.done, plan.exceptions)
    mine = f"SELECT *, {plan.run}::BIGINT AS run, NULL::TIMESTAMP AS moment FROM ({rows}) WHERE id = '{member}'"
    return f"WITH mine AS ({mine}) SELECT * FROM mine UNION ALL SELECT * FROM ({before}) WHERE NOT EXISTS (FROM mine)"


def is_shared(db: Any, data_dir: Path, ledger: Ledger, member: str) -> bool:
    """Whether the ledger has an identifier of this member's for another one, too."""
    rows = f"SELECT id, unnest(idents) AS ident FROM ({ledger_sql(data_dir, ledger.files, ['id', 'idents'])})"
    shared = (
        f"SELECT 1 FROM ({rows}) SEMI JOIN (SELECT ident FROM ({rows}) WHERE id = $member) USING (ident) "
        "WHERE id <> $member LIMIT 1"
    )
    return bool(db.execute(shared, {"member": member}).fetchall())


def row_of(db: Any, data_dir: Path, plan: Plan, member: str) -> int | None:
    """The row of a plan that sends a member, where it has no outcome yet."""
    if not (data_dir / plan.file).is_file():
        return None
    rows = parquet(data_dir, plan.file, numbered=True)
    sql = f"SELECT file_row_number FROM {rows} WHERE id = $member AND file_row_number BETWEEN {plan.done} AND {plan.rows - 1}"
    found = db.execute(sql, {"member": member}).fetchall()
    return int(found[0][0]) if found else None


def planned(data_dir: Path, plan: str, member: str) -> tuple[str, str, bool]:
    """What a plan does with a member: an action and "", `omit` and the reason, or nothing; and whether it does so by
    identifiers from before, which others may have now. The plan is empty where nothing differs."""
    if not plan:
        return "", "", False
    table = pq.read_table(data_dir / plan, columns=["action", "id", "reason", "previous"])
    rows = table.filter(pc.equal(table.column("id"), member)).to_pylist()
    if not rows:
        return "", "", False
    action, reason = rows[0]["action"], rows[0]["reason"]
    if action < len(ACTIONS):
        return ACTIONS[action], "", ACTIONS[action] == "remove" or rows[0]["previous"] is not None
    return ("omit" if reason else ""), reason, False
