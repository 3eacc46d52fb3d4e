"""Nobody is removed by identifiers that another member has, in the plan of an export of an audience, nor twice by the same.

The table `changed` holds who is looked at, `planned` the plan's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from reconciler.core.members import Wish
from reconciler.data.heirs import add_unknown, inherit, left_behind
from reconciler.data.leavers import among
from reconciler.data.ledger import DEBT, HELD, LEFT, OWED, SILENT, State, counted
from reconciler.data.mapping import identified, without_sql

#: By what a row of the plan names a member.
_NAMED: Final = "list_filter(idents, lambda i: i IS NOT NULL)"


def spare(db: Any, wish: Wish, forgotten: Sequence[str], ledger: str) -> tuple[int, int]:
    """Nobody is removed by identifiers that another member has now (two profiles became one, say), and no update says
    that its member was known by them before. A removal goes by the identifiers that nobody else has.

    Whoever holds them now may have them by a call of this very plan, which may fail: a removal waits for the next
    comparison then, and what an update leaves behind gets a row of its own in the ledger (a debt), which leaves with
    that one. Returned is how many wait for the calls of the plan, or are looked at again, and how many debts are new. `ledger`
    is the SQL of the ledger.
    """
    _find_taken(db, wish, forgotten, ledger)
    if not counted(db, "count(*)", "taken")[0]:
        return 0, 0
    (waiting,) = counted(db, "count(*)", "taken JOIN planned USING (id) WHERE action = 2 AND waits")
    behind = "false"
    if wish.spares == "later":  # else there is no other comparison in which it could be removed
        renamed = "taken JOIN planned USING (id) WHERE action = 1"
        behind = f"action = 1 AND id IN (SELECT id FROM {renamed} AND (waits OR {_leaves_one('kept')}))"
    db.execute(f"INSERT INTO planned BY NAME {left_behind(behind)}").fetchall()
    # An update names what nobody else has by itself where there is no debt.
    known_by = "NULL"
    if wish.spares != "later":
        known_by = f"CASE WHEN {_leaves_one('held')} THEN {without_sql('previous', 'held')} END"
    db.execute(
        f"UPDATE planned SET previous = {known_by} FROM taken WHERE action < 2 AND planned.id = taken.id"
    ).fetchall()
    if wish.calls.add:
        add_unknown(db, ledger)
    db.execute(
        # Who is released, or tried again, and waits is looked at then unasked.
        f"UPDATE planned SET action = {SILENT}, state = {State.SENT:d}, source = {OWED}, tried = '', reason = '' "
        "WHERE action = 2 AND id IN (SELECT id FROM taken WHERE waits) AND "
        f"id IN (SELECT id FROM ({ledger}) WHERE state = {State.MAYBE:d} OR reason <> '');"
        "DELETE FROM planned WHERE action = 2 AND id IN (SELECT id FROM taken WHERE waits);"
        f"{_PARTLY_HELD}"
        f"UPDATE planned SET action = {SILENT}, idents = NULL WHERE action = 2 AND id IN (SELECT id FROM taken)"
    ).fetchall()
    heirs = inherit(db, ledger, adds=wish.calls.add)
    debts = f"action = {SILENT} AND state = {State.SENT:d} AND contains(id, '{DEBT}')"
    made = counted(db, f"count(*) FILTER ({debts} AND id NOT IN (SELECT id FROM ({ledger})))", "planned")
    return waiting + heirs, made[0]


def remove_once(db: Any, forgotten: Sequence[str]) -> None:
    """A removal by identifiers that are all among those of another one is not made beside that; one of somebody who is
    forgotten is not left to that of somebody who is not."""
    db.execute(
        f"UPDATE planned SET action = {SILENT} WHERE action = 2 AND id IN (SELECT id FROM (SELECT id, row_number() OVER "
        f"(PARTITION BY list_sort({_NAMED}) ORDER BY NOT {among('id', forgotten)}, id) AS place "
        "FROM planned WHERE action = 2) WHERE place > 1);"
        f"CREATE TEMP TABLE removed AS SELECT id, {_NAMED} AS named, {among('id', forgotten)} AS goes "
        "FROM planned WHERE action = 2;"
        # Whoever names all that one names also names what the fewest name: by that few are compared.
        "CREATE TEMP TABLE each AS SELECT id, ident, count(*) OVER (PARTITION BY ident) AS holders "
        "FROM (SELECT id, unnest(named) AS ident FROM removed);"
        f"UPDATE planned SET action = {SILENT} WHERE action = 2 AND id IN (SELECT one.id "
        "FROM (SELECT id, arg_min(ident, holders) AS ident FROM each GROUP BY id HAVING min(holders) > 1) rarest "
        "JOIN removed one ON rarest.id = one.id JOIN each ON rarest.ident = each.ident JOIN removed other ON each.id = other.id "
        "WHERE len(one.named) < len(other.named) AND list_has_all(other.named, one.named) AND (other.goes OR NOT one.goes))"
    ).fetchall()


def _find_taken(db: Any, wish: Wish, forgotten: Sequence[str], ledger: str) -> None:
    """Makes the tables `left_behind` (the identifiers of those who leave, or were known by others before) and `taken` (whose
    of them others have, which, and whether that depends on a call of this plan), and `elsewhere`: who has any of them and is
    not looked at."""
    is_later = wish.spares == "later"
    # Who is to be known by others may be refused, and stay known by those from before.
    leaving = "UNION ALL SELECT id, unnest(former), true, false, true FROM planned WHERE action = 1" if is_later else ""
    # What is sent of nobody any more keeps nobody there who is forgotten.
    stale = f"reason <> '' OR source IN (0, {OWED}, {LEFT})" if forgotten else "false"
    holds = f"NOT (held.stale AND {among('left_behind.id', forgotten)})" if forgotten else "true"
    db.execute(
        "CREATE TEMP TABLE left_behind AS SELECT id, unnest(CASE WHEN action = 2 THEN idents ELSE former END) AS ident "
        "FROM planned WHERE action = 2 OR previous IS NOT NULL; CREATE TEMP TABLE elsewhere AS "
        f"SELECT id, ident, stale FROM (SELECT id, unnest(idents) AS ident, ({stale}) AS stale FROM ({ledger}) "
        f"WHERE state IN ({HELD})) l SEMI JOIN left_behind USING (ident) ANTI JOIN changed USING (id);"
        "CREATE TEMP TABLE taken AS "
        "SELECT id, bool_or(waits) AS waits, list(ident) AS held, coalesce(list(ident) FILTER (NOT leaves), []) AS kept "
        "FROM (SELECT left_behind.id, left_behind.ident, bool_and(waits) AS waits, bool_and(leaves) AS leaves "
        "FROM left_behind JOIN ("
        f"SELECT id, unnest(idents) AS ident, action < 2 AND {is_later} AS waits, action > 2 AND ({stale}) AS stale, "
        "false AS leaves "
        f"FROM planned WHERE action < 2 OR (action = {SILENT} AND state IN ({HELD})) {leaving} UNION ALL "
        "SELECT id, ident, false, stale, false FROM elsewhere) held "
        f"ON left_behind.ident = held.ident AND left_behind.id <> held.id AND {holds} "
        "GROUP BY ALL) GROUP BY id"
    ).fetchall()


def _keeps_one(others: str) -> str:
    """The SQL of whether a row has an identifier that is not among the `others`."""
    return f"len(list_filter(idents, lambda i: i IS NOT NULL AND NOT list_contains({others}, i))) > 0"


def _leaves_one(others: str) -> str:
    """The SQL of whether a row has left an identifier of before behind that is not among the `others`."""
    return (
        f"len(list_filter(former, lambda i: i IS NOT NULL AND NOT list_contains({others}, i) "
        "AND NOT coalesce(list_contains(idents, i), false))) > 0"
    )


#: A removal by several identifiers, of which others have some: those are null in what is sent, and the row is not `taken` any
#: more. Where the fields of all that others have cannot be told (they came of another mapping), nothing is sent.
_PARTLY_HELD: Final = f"""
    CREATE TEMP TABLE partly AS
    SELECT id, held, payload, idents FROM planned JOIN taken USING (id) WHERE action = 2;
    DELETE FROM partly WHERE NOT ({_keeps_one("held")})
        OR len(list_filter(json_keys(payload), lambda k: {identified("payload", "held", "k")})) <> len(held);
    UPDATE planned SET idents = list_filter(partly.idents, lambda i: i IS NOT NULL AND NOT list_contains(held, i)),
        payload = {without_sql("partly.payload", "held")}
    FROM partly WHERE planned.action = 2 AND planned.id = partly.id;
    DELETE FROM taken WHERE id IN (SELECT id FROM partly);
"""
