"""Identifiers that pass from one member of an audience to another, in the plan of an export.

The table `planned` holds the plan's rows, `left_behind` the identifiers of those who leave or were known by others before,
and `taken` the ids of those of them whose identifiers others have now.
"""

from __future__ import annotations

from typing import Any

from reconciler.data.ledger import HELD, SILENT, State, debt_id, tried_sql


def left_behind(which: str) -> str:
    """The SQL of rows for what those members of the plan leave behind: each has an id of its own, and leaves when it is
    looked at next."""
    return (
        f"SELECT {SILENT} AS action, {debt_id('id', 'former_payload')} AS id, former_payload AS payload, 1 AS source, "
        f"{State.SENT:d} AS state, '' AS tried, '' AS reason, former AS idents, false AS is_news FROM planned WHERE {which}"
    )


def leave_doubted(db: Any, ledger: str) -> int:
    """Gives what may have arrived a row of its own, where a member is added under other identifiers now; how many. One that
    has it already, by a plan that was not done, keeps it. `ledger` is the SQL of the ledger."""
    known = f"SELECT id FROM ({ledger})"
    which = f"action = 0 AND former IS NOT NULL AND {debt_id('id', 'former_payload')} NOT IN ({known})"
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
        "UPDATE planned SET action = 0, tried = '', former = NULL WHERE action = 1 AND id IN (SELECT id FROM taken) "
        f"AND id NOT IN (SELECT n.id FROM ({renamed}) n JOIN ({there}) t ON n.ident = t.ident)"
    ).fetchall()


def inherit(db: Any, ledger: str, *, adds: bool) -> None:
    """Whoever is only noted, and has an identifier under which another one was sent, is there by what was sent. Where
    additions are made, that one is looked at once more, and added with fields of its own."""
    noted = f"action = {SILENT} AND state = {State.NOTED:d}"
    sent = f"SELECT id FROM ({ledger}) WHERE state = {State.SENT:d}"
    source = "xor(source, 1)" if adds else "source"
    tried = tried_sql("true", "coalesce(tried, '')")
    left = f"SELECT * FROM left_behind SEMI JOIN ({sent}) USING (id)"
    known = f"SELECT * FROM ({ledger}) l WHERE state = {State.NOTED:d} AND id NOT IN (SELECT id FROM planned)"
    db.execute(
        f"UPDATE planned SET state = {State.SENT:d}, tried = {tried}, source = {source} WHERE {noted} AND id IN ("
        f"SELECT n.id FROM (SELECT id, unnest(idents) AS ident FROM planned WHERE {noted}) n "
        f"JOIN ({left}) b ON n.ident = b.ident AND n.id <> b.id);"
        f"INSERT INTO planned BY NAME SELECT {SILENT} AS action, id, {source} AS source, {State.SENT:d} AS state, payload, "
        f"idents, {tried} AS tried, reason, false AS is_news FROM ({known}) WHERE id IN (SELECT k.id FROM "
        f"(SELECT id, unnest(idents) AS ident FROM ({known})) k JOIN ({left}) b ON k.ident = b.ident AND k.id <> b.id)"
    ).fetchall()
