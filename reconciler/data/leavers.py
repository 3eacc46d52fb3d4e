"""Those who are forgotten, in the ledger of an export of an audience.

They are removed whatever the mode, and no file of the ledger is to hold them afterwards. Who has come back, by messages from
after the request, is a member like any other: their row is written anew, so that it tells of a run since.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from reconciler.core.members import ACTIONS, DOUBTED, LedgerFile
from reconciler.data.ledger import DEBT, REFUSED, REMOVAL, State, ledger_sql, parquet
from reconciler.data.names import sql_string

#: The columns of a plan, for a row that says nothing but that somebody is gone.
_COLUMNS: Final = ("action", "id", "payload", "previous", "source", "state", "tried", "reason", "idents", "is_news")


def among(column: str, ids: Sequence[str]) -> str:
    """The SQL of whether a row of a ledger is of one of these members, or of what one of them left behind (a debt)."""
    listed = ", ".join(map(sql_string, ids)) or "''"
    return f"split_part({column}, '{DEBT}', 1) IN ({listed})"


def without_doubted(
    db: Any, data_dir: Path, files: Sequence[LedgerFile], forgotten: Sequence[str], run: int
) -> Sequence[str]:
    """Those who are forgotten, but for whose removal may have arrived and must not be repeated unasked, or was refused in
    this very run."""
    if not forgotten:
        return forgotten
    doubted = sql_string(DOUBTED.format(action=ACTIONS[2]))
    rows = ledger_sql(data_dir, files, ["id", "state", "tried", "reason", "run"])
    found = db.execute(
        f"SELECT id FROM ({rows}) WHERE {among('id', forgotten)} AND ((state = {State.MAYBE:d} AND "
        f"starts_with(reason, {doubted})) OR (run = {run} AND {REFUSED} = '{REMOVAL}'))"
    ).fetchall()
    return sorted({*forgotten}.difference(id_.partition(DEBT)[0] for (id_,) in found))


def gone_row(db: Any, data_dir: Path, files: Sequence[LedgerFile], forgotten: Sequence[str]) -> str:
    """The SQL of a plan of one row without a call, with which the ledger is written anew; empty where no file of it still
    holds one who is forgotten and has left."""
    alive = f"SELECT id FROM ({ledger_sql(data_dir, files, ['id'])}) WHERE {among('id', forgotten)}"
    rows = " UNION ALL ".join(f"SELECT id FROM {parquet(data_dir, one.file)}" for one in files)
    if not forgotten or not rows:
        return ""
    found = db.execute(
        f"SELECT min(id) FROM ({rows}) WHERE {among('id', forgotten)} AND id NOT IN ({alive})"
    ).fetchall()
    ((left,),) = found
    if left is None:
        return ""
    gone = {
        "action": f"{len(ACTIONS)}::UTINYINT", "id": sql_string(left), "source": "0::UBIGINT",
        "state": f"{State.GONE:d}::UTINYINT", "tried": "''", "reason": "''", "is_news": "false",
        "idents": "NULL::UBIGINT[]",
    }  # fmt: skip
    return "SELECT " + ", ".join(f"{gone.get(one, 'NULL::VARCHAR')} AS {one}" for one in _COLUMNS)
