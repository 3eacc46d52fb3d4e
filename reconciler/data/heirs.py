"""Identifiers that pass from one member of an audience to another, in the plan of an export.

The table `planned` holds the plan's rows, `left_behind` the identifiers of those who leave or were known by others before,
and `taken` the ids of those of them whose identifiers others have now.
"""

from __future__ import annotations

from typing import Any, Final

from reconciler.data.ledger import DEBT, HELD, IS_TOLD, LEFT, OWED, SILENT, State, debt_id, tried_sql
from reconciler.data.mapping import without_sql

#: The states of those whom the destination may hold by a call of ours.
SENT_OR_SO: Final = f"{State.SENT:d}, {State.MAYBE:d}"


def left_behind(which: str) -> str:
    """The SQL of rows for what those members of the plan leave behind: each has an id of its own, and leaves when it is
    looked at next."""
    return (
        f"SELECT {SILENT} AS action, {debt_id('id', 'former_payload')} AS id, former_payload AS payload, {OWED} AS source, "
        f"{State.SENT:d} AS state, '' AS tried, '' AS reason, former AS idents, false AS is_news FROM planned WHERE {which}"
    )


def leave_doubted(db: Any, ledger: str) -> int:
    """Gives what may have arrived a row of its own, where a member is added under other identifiers now: how many. One that
    has a row already, by a plan that was not done, keeps it. `ledger` is the SQL of the ledger."""
    doubted = "action = 0 AND former IS NOT NULL"
    if not db.execute(f"SELECT 1 FROM planned WHERE {doubted} LIMIT 1").fetchall():
        return 0  # without a look at the whole ledger
    which = f"{doubted} AND {debt_id('id', 'former_payload')} NOT IN (SELECT id FROM ({ledger}))"
    ((count,),) = db.execute(f"SELECT count(*) FROM planned WHERE {which}").fetchall()
    if count:
        db.execute(f"INSERT INTO planned BY NAME {left_behind(which)}").fetchall()
    return int(count)


def add_unknown(db: Any, ledger: str) -> None:
    """Makes an addition of an update that cannot say by what its member was known, and whose identifiers are all new: it
    would reach nobody. `ledger` is the SQL of the ledger."""
    renamed = "SELECT id, unnest(idents) AS ident FROM planned WHERE action = 1 AND id IN (SELECT id FROM taken)"
    there = f"SELECT unnest(idents) AS ident FROM ({ledger}) WHERE state IN ({HELD})"
    db.execute(
        "UPDATE planned SET action = 0, tried = '', former = NULL, "
        f"source = CASE WHEN {IS_TOLD} THEN xor(source, 1) ELSE source END WHERE action = 1 AND previous IS NULL "
        f"AND id IN (SELECT id FROM taken) AND id NOT IN (SELECT n.id FROM ({renamed}) n JOIN ({there}) t ON n.ident = t.ident)"
    ).fetchall()


def inherit(db: Any, ledger: str, *, adds: bool) -> int:
    """Whoever stays, and has an identifier under which another one was sent later, is there by what was sent of that one: a
    member that was only noted, or one that was sent before. It is added with fields of its own; where no additions are
    made, or its own fields were refused, that waits; returned is how many are looked at again for that. `ledger` is the SQL of
    the ledger."""
    stays = f"state IN ({State.SENT:d}, {State.NOTED:d}) AND source NOT IN (0, {OWED}, {LEFT}) AND NOT contains(id, '{DEBT}')"
    silent = f"SELECT id, unnest(idents) AS ident FROM planned WHERE action = {SILENT} AND {stays}"
    db.execute(
        "CREATE TEMP TABLE shared AS SELECT h.id, h.ident, b.id AS other FROM "
        f"({silent} UNION ALL SELECT id, ident FROM elsewhere) h JOIN left_behind b ON h.ident = b.ident AND h.id <> b.id"
    ).fetchall()
    if not db.execute("SELECT 1 FROM shared LIMIT 1").fetchall():
        return 0
    known = f"SELECT * FROM known WHERE {stays} AND id NOT IN (SELECT id FROM planned)"
    planned = f"SELECT id, state FROM planned WHERE action = {SILENT} AND {stays}"
    left = f"SELECT id AS other, state AS os, run AS orun, reason AS oreason FROM known WHERE state IN ({SENT_OR_SO})"
    db.execute(
        f"CREATE TEMP TABLE known AS SELECT * FROM ({ledger}) "
        "WHERE id IN (SELECT id FROM shared UNION ALL SELECT other FROM shared);"
        "CREATE TEMP TABLE heirs AS SELECT id, list(DISTINCT ident) AS got FROM shared JOIN ("
        f"SELECT id, state, run, reason FROM ({planned}) LEFT JOIN (SELECT id, run, reason FROM known) USING (id) "
        f"UNION ALL SELECT id, state, run, reason FROM ({known})) USING (id) JOIN ({left}) USING (other) "
        f"WHERE state = {State.NOTED:d} OR (os = {State.MAYBE:d} AND orun >= run) "
        "OR (oreason = '' AND (orun > run OR (orun = run AND reason <> ''))) GROUP BY id"
    ).fetchall()
    others = "list_filter(planned.idents, lambda i: i IS NOT NULL AND NOT list_contains(got, i))"
    heirs = "id IN (SELECT id FROM heirs)"
    db.execute(
        f"INSERT INTO planned BY NAME SELECT {SILENT} AS action, id, source, state, payload, idents, tried, reason, "
        f"false AS is_news FROM ({known}) WHERE {heirs};"
        f"UPDATE planned SET action = 0, state = {State.SENT:d}, tried = '' WHERE {heirs} AND reason = '' AND {adds};"
        # Of one who was only noted no more is ours than what it inherits.
        f"UPDATE planned SET payload = {without_sql('payload', others)}, idents = list_intersect(planned.idents, got) "
        f"FROM heirs WHERE planned.id = heirs.id AND action = {SILENT} AND state = {State.NOTED:d};"
        f"UPDATE planned SET state = {State.SENT:d}, tried = CASE WHEN {IS_TOLD} THEN tried ELSE "
        f"{tried_sql('true', 'tried')} END, source = {'xor(source, 1)' if adds else 'source'} "
        f"WHERE {heirs} AND action = {SILENT}"
    ).fetchall()
    if not adds:
        return 0
    ((count,),) = db.execute(f"SELECT count(*) FROM planned WHERE {heirs} AND action = {SILENT}").fetchall()
    return int(count)
