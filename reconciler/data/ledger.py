"""The ledger of an audience export as Parquet: a base and deltas, the later file winning for a member.

    id       the profile's
    source   a hash of what the fields were made of: a member whose source is the same need not be mapped again
    state    what the destination holds of it (`State`)
    payload  the mapped fields that were acknowledged last (or may have arrived), by which it can be removed
    idents   a number for each identifier of the payload; null where that one is missing. Of one that is gone, those by which it
             was removed, or none once the base holds it; null where it was not removed by a call
    tried    what was refused last: the MD5 of the fields, or `remove`. The same is not tried again by itself. `update`,
             before that or alone, of one of whom nobody knows whether the destination has it (it was sent as updates alone,
             `mode: update-only`), and who is added where additions are made
    reason   why the member is omitted, empty where it is not
    run      which run decided it, and `moment` when

A plan of which every row was accepted is a file of the ledger as it is: it holds these columns among others.

A ledger is small beside its audience and its deltas smaller still, so a base is written anew when the deltas hold a
quarter of its rows; memory stays bounded, because DuckDB joins and writes them. The last of those who were removed stand in it,
so that the ledger can say when that was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

from reconciler.core.members import ACTIONS, Facts, Ledger, LedgerFile
from reconciler.data.durable import replaced
from reconciler.data.names import sql_string
from reconciler.data.segments import TEMPORARY


class State(IntEnum):
    """What the destination holds of a member. GONE is nothing: such a row ends an earlier one."""

    GONE = 0
    SENT = 1
    NOTED = 2
    MAYBE = 3
    OUT = 4


#: The states of those whom the destination holds, as far as is known.
HELD: Final = f"{State.SENT:d}, {State.NOTED:d}, {State.MAYBE:d}"
#: The number, among those of the actions, of a plan's rows that are only written down.
SILENT: Final = len(ACTIONS)

#: The columns of a ledger, in order, with their types.
COLUMNS: Final = {
    "id": "VARCHAR",
    "source": "UBIGINT",
    "state": "UTINYINT",
    "payload": "VARCHAR",
    "idents": "UBIGINT[]",
    "tried": "VARCHAR",
    "reason": "VARCHAR",
    "run": "BIGINT",
    "moment": "TIMESTAMP",
}

#: A refused removal, in `tried`.
REMOVAL: Final = "remove"
#: Sent, but as updates alone, in `tried`: the destination may have left the member out.
TOLD: Final = "update"
#: Between a member's id and the rest of the id of a debt.
DEBT: Final = "~"
#: The two parts of `tried` in SQL.
IS_TOLD: Final = f"starts_with(tried, '{TOLD}')"
REFUSED: Final = f"CASE WHEN {IS_TOLD} THEN substr(tried, {len(TOLD) + 2}) ELSE tried END"
#: The source of a member who left while no removals are made, and is still there: it is looked at again when they are, or
#: when it comes back.
LEFT: Final = 2
#: The source of what is owed: it is removed when it is looked at next, as what a member left behind under other identifiers.
OWED: Final = 1
#: A ledger has at most so many deltas, and they hold at most this share of the base's rows.
MAX_DELTAS: Final = 8
MAX_DELTA_SHARE: Final = 0.25
#: So many of those who were removed stand in a base.
REMOVED: Final = 1000
#: Rows of a row group: what is read to send a batch again.
GROUP_ROWS: Final = 20_480
#: How files are written. A dictionary is given up early: ids, fields and hashes are all different, and looked up in it in vain.
_WRITTEN: Final = "FORMAT parquet, USE_TMP_FILE false, COMPRESSION snappy, DICTIONARY_SIZE_LIMIT 256"


def tried_sql(is_told: str, refused: str) -> str:
    """The SQL of `tried`."""
    return f"trim(CASE WHEN {is_told} THEN '{TOLD} ' ELSE '' END || {refused})"


def debt_id(member: str, payload: str) -> str:
    """The SQL of the id of a debt: what the destination may still hold of a member under identifiers that it had before."""
    return f"{member} || '{DEBT}' || left(md5({payload}), 8)"


def parquet(data_dir: Path, file: str, *, numbered: bool = False) -> str:
    """The SQL of a file as a table, with `file_row_number` where it is asked for."""
    options = ", file_row_number = true" if numbered else ""
    return f"read_parquet({sql_string(str(data_dir / file))}{options})"


def ledger_sql(data_dir: Path, files: Sequence[LedgerFile], columns: Sequence[str]) -> str:
    """A SELECT of these columns of the ledger: one row a member, none for those that are gone."""
    if not files:
        nothing = ", ".join(f"NULL::{COLUMNS[one]} AS {one}" for one in columns)
        return f"SELECT {nothing} WHERE false"
    named = ", ".join(columns)
    needed = ", ".join(dict.fromkeys(["id", "state", *columns]))
    base, *deltas = (parquet(data_dir, one.file) for one in files)
    alive = f"state <> {State.GONE:d}"
    if not deltas:
        return f"SELECT {named} FROM {base} WHERE {alive}"
    known = " UNION ".join(f"SELECT id FROM {one}" for one in deltas)
    all_rows = " UNION ALL ".join(
        f"SELECT {needed}, {number} AS number FROM {one}" for number, one in enumerate(deltas)
    )
    latest = f"SELECT *, row_number() OVER (PARTITION BY id ORDER BY number DESC) AS place FROM ({all_rows})"
    return (
        f"SELECT {named} FROM (SELECT {needed} FROM {base}) ANTI JOIN ({known}) USING (id) WHERE {alive} "
        f"UNION ALL SELECT {named} FROM ({latest}) WHERE place = 1 AND {alive}"
    )


def copy(db: Any, data_dir: Path, file: str, sql: str, parameters: Mapping[str, Any] | None = None) -> int:
    """Writes what a query selects as a file of the data folder, fsynced, and returns its rows."""
    path = data_dir / file
    with replaced(path, path.with_name(path.name + TEMPORARY)) as temporary:
        target = sql_string(str(temporary))
        options = f"{_WRITTEN}, ROW_GROUP_SIZE {GROUP_ROWS}"
        (counted,) = db.execute(f"COPY ({sql}) TO {target} ({options})", parameters or {}).fetchall()
    return int(counted[0])


def counted(db: Any, counts: str, table: str) -> tuple[int, ...]:
    """Counts of a table, each as SQL."""
    (row,) = db.execute(f"SELECT {counts} FROM {table}").fetchall()
    return tuple(int(one) for one in row)


def grown(db: Any, data_dir: Path, ledger: Ledger, delta: LedgerFile, base: str, *, anew: bool = False) -> Ledger:
    """The ledger with one more delta, or written anew as the file `base` where the deltas have grown (or `anew`)."""
    files = (*ledger.files, delta)
    if anew or is_heavy(files):
        removed = "" if anew else f" UNION ALL {_removed_sql(data_dir, files)}"
        rows = copy(db, data_dir, base, ledger_sql(data_dir, files, list(COLUMNS)) + removed)
        files = (LedgerFile(file=base, rows=rows),)
    return Ledger(files, facts(db, data_dir, files))


def is_heavy(files: Sequence[LedgerFile]) -> bool:
    """Whether reading the deltas costs more than writing a new base."""
    deltas = files[1:]
    return len(deltas) > MAX_DELTAS or sum(one.rows for one in deltas) > MAX_DELTA_SHARE * files[0].rows


def latest_sql(data_dir: Path, files: Sequence[LedgerFile], where: str) -> str:
    """A SELECT of what these files say last of each member that fits, gone or not."""
    rows = " UNION ALL ".join(
        f"SELECT {', '.join(COLUMNS)}, {number} AS number FROM {parquet(data_dir, one.file)} WHERE {where}"
        for number, one in enumerate(files)
    )
    return f"SELECT {', '.join(COLUMNS)} FROM ({rows}) QUALIFY row_number() OVER (PARTITION BY id ORDER BY number DESC) = 1"


def _removed_sql(data_dir: Path, files: Sequence[LedgerFile]) -> str:
    """A SELECT of the last of those who were removed by a call, and are not back; by what they were known is not kept."""
    gone = f"state = {State.GONE:d} AND idents IS NOT NULL"
    ids = " UNION ALL ".join(f"SELECT id FROM {parquet(data_dir, one.file)} WHERE {gone}" for one in files)
    rows = latest_sql(data_dir, files, f"id IN ({ids})")
    bare = "* REPLACE (NULL::VARCHAR AS payload, []::UBIGINT[] AS idents)"
    return f"SELECT {bare} FROM (SELECT * FROM ({rows}) WHERE {gone} ORDER BY run DESC, id LIMIT {REMOVED})"


def facts(db: Any, data_dir: Path, files: Sequence[LedgerFile]) -> Facts:
    """Counts what the files hold."""
    counted = ledger_sql(data_dir, files, ["state", "reason"])
    held = f"state IN ({State.SENT:d}, {State.NOTED:d})"
    names = {"sent": State.SENT, "noted": State.NOTED, "maybe": State.MAYBE, "out": State.OUT}
    sums = [f"count(*) FILTER (state = {state:d})" for state in names.values()]
    (row,) = db.execute(
        f"SELECT {', '.join(sums)}, count(*) FILTER ({held} AND reason <> '') FROM ({counted})"
    ).fetchall()
    return Facts(**dict(zip([*names, "amiss"], map(int, row), strict=True)))


def omitted(db: Any, data_dir: Path, files: Sequence[LedgerFile], limit: int) -> list[tuple[str, str, int, str | None]]:
    """Whom the ledger holds as omitted, at most so many, the latest first: id, reason, run, and the payload."""
    rows = ledger_sql(data_dir, files, ["id", "state", "reason", "run", "payload"])
    found: list[tuple[str, str, int, str | None]] = db.execute(
        f"SELECT id, reason, run, payload FROM ({rows}) "
        f"WHERE state IN ({State.MAYBE:d}, {State.OUT:d}) OR reason <> '' ORDER BY run DESC, id LIMIT {limit:d}"
    ).fetchall()
    return found


def receipt(db: Any, data_dir: Path, files: Sequence[LedgerFile], member: str) -> dict[str, Any] | None:
    """What the ledger says of one member, by column; None where it says nothing. `state` is a `State`'s name, `gone` where the
    member was removed by a call."""
    found = db.execute(latest_sql(data_dir, files, "id = $member"), {"member": member}).fetchall() if files else []
    if not found:
        return None
    row = dict(zip(COLUMNS, found[0], strict=True))
    if row["state"] == State.GONE and row["idents"] is None:
        return None
    return {**row, "state": State(row["state"]).name.lower()}
