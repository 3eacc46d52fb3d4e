"""What becomes of each member of an audience, as SQL: whether it is looked at, what is called for it, what the ledger holds of
it when that was accepted, and when it was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from reconciler.core.members import Ledger, Wish
from reconciler.data.leavers import among
from reconciler.data.ledger import (
    HELD,
    IS_TOLD,
    LEFT,
    OWED,
    REMOVAL,
    SILENT,
    State,
    debt_id,
    ledger_sql,
    parquet,
    tried_sql,
)
from reconciler.data.mapping import Mapped
from reconciler.data.names import sql_string

#: The source of a member who left and could not be removed: the same is not tried again.
UNREMOVABLE: Final = 0


def changed_sql(wish: Wish, forgotten: Sequence[str], *, sends_noted: bool) -> str:
    """Which rows of the join are looked at any further."""
    left = f"m.id IS NULL AND l.state <> {State.MAYBE:d} AND l.source <> {UNREMOVABLE}"
    if wish.calls.keeps_leavers:
        left += f" AND l.state <> {State.SENT:d}"
    elif not wish.calls.remove:
        left += f" AND l.source <> {LEFT}"
    cases = ["l.id IS NULL", f"m.source <> l.source AND l.state <> {State.MAYBE:d}", left]
    if sends_noted:
        cases.append(f"m.id IS NOT NULL AND l.state = {State.NOTED:d} AND NOT l.amiss")
    if forgotten:
        cases.append(f"{among('l.id', forgotten)} AND (m.id IS NULL OR l.state <> {State.MAYBE:d})")
    if wish.retry == "refused":
        cases.append(f"l.amiss AND l.state <> {State.MAYBE:d}")
    elif wish.retry:
        cases.append(f"l.amiss OR l.state = {State.MAYBE:d}")
    return " OR ".join(f"({one})" for one in cases)


def planned_sql(wish: Wish, fields: Mapped, mapping: str, prior: str, forgotten: Sequence[str]) -> str:
    """What becomes of each member that is looked at. In the inner query `p`, `r`, `ni` are the fields now, the reason
    that leaves them out and their identifiers, and `ls`, `was`, `lp`, `li`, `lt` (what was refused), `told`, `lr` what the
    ledger says."""
    decided = f"SELECT *, {_action_sql(wish, forgotten)} AS action FROM ({mapping}) LEFT JOIN ({prior}) USING (id)"
    kept = f"SELECT *, {_state_sql(wish)} AS state FROM ({decided})"
    sent, noted = int(State.SENT), int(State.NOTED)
    old = f"(action = 2 OR (action = {SILENT} AND (state = {sent} OR (state = {noted} AND r <> ''))))"
    new = f"(action < 2 OR (action = {SILENT} AND state = {noted} AND r = ''))"
    # What was refused stays refused while it is the same; what is sent begins anew.
    stays = f"action = {SILENT} AND here AND r = '' AND coalesce(lt, '') <> '' AND NOT {_tryable(wish)}"
    reason = f"CASE WHEN {stays} THEN lr WHEN here AND r <> '' THEN r ELSE '' END"
    renamed = f"action = 1 AND was <> {State.OUT:d} AND li IS DISTINCT FROM ni AND lp IS NOT NULL"
    # Of one who is added under other identifiers than it may be there by, those are left behind.
    doubted = f"action = 0 AND was IN ({sent}, {State.MAYBE:d}) AND li IS DISTINCT FROM ni"
    left = f"(({renamed}) OR ({doubted}))"
    told_then = (
        f"state = {sent} AND ((coalesce(told, false) AND action <> 0) OR (action = 1 AND was IS DISTINCT FROM {sent}) "
        f"OR (action = {SILENT} AND was = {State.MAYBE:d}))"
    )
    unremoved = f"action = {SILENT} AND here AND r <> '' AND lt = '{REMOVAL}'"
    tried = tried_sql(told_then, f"CASE WHEN ({stays}) OR ({unremoved}) THEN lt ELSE '' END")
    # Who is told first by which identifier it was known is looked at once more (its source differs), and added then.
    is_half = f"action = 1 AND told AND {wish.calls.add}"
    source = f"CASE WHEN NOT here AND state = {sent} THEN {LEFT} WHEN {is_half} THEN xor(source, 1) ELSE source END"
    rows = (
        f"SELECT action::UTINYINT AS action, id, CASE WHEN {old} THEN lp WHEN {new} THEN p END AS payload, "
        f"CASE WHEN {renamed} THEN {fields.previous_sql('lp', 'li')} END "
        f"AS previous, {source} AS source, state::UTINYINT AS state, {tried} AS tried, "
        f"{reason} AS reason, CASE WHEN {old} THEN li WHEN {new} THEN ni END AS idents, "
        f"CASE WHEN {left} THEN li END AS former, CASE WHEN {left} THEN lp END AS former_payload, lr FROM ({kept})"
    )
    return f"SELECT * EXCLUDE (lr), reason <> '' AND reason IS DISTINCT FROM lr AS is_news FROM ({rows})"


def _tryable(wish: Wish) -> str:
    return "true" if wish.retry else "(lt IS NULL OR lt = '' OR lt <> md5(p))"


def _noted(wish: Wish) -> str:
    """Whether a member was there before the export began to look, which is all that is to be known of it: also where its
    fields cannot be sent yet."""
    return "NOT known" if wish.notes_all else "false"


def _action_sql(wish: Wish, forgotten: Sequence[str]) -> str:
    """The number of an action, `SILENT` where no call is made. Who is forgotten is removed, whatever the mode."""
    calls = wish.calls
    maybe_again = f"was = {State.MAYBE:d}"  # it is looked at only when a person has released it
    held = f"(was = {State.SENT:d} OR {maybe_again})"
    add = "0" if calls.add else "1" if calls.update else f"{SILENT}"
    update = "1" if calls.update else f"{SILENT}"
    remove = "2" if calls.remove else f"{SILENT}"
    unrefused = "true" if wish.retry else f"coalesce(lt, '') <> '{REMOVAL}'"
    # Whoever was sent as an update alone may be unknown there; whoever left while no removals are made comes anew.
    added = "CASE WHEN li IS DISTINCT FROM ni THEN 1 ELSE 0 END" if calls.update else "0"
    is_told = f"was = {State.SENT:d} AND told AND {calls.add} AND {_tryable(wish)}"
    is_back = f"was = {State.SENT:d} AND ls = {LEFT} AND {not calls.remove and not calls.keeps_leavers}"
    # Who was there before is as it is said to be; who was only there before has not come.
    said = f"{State.SENT:d}" if wish.sends_noted else f"{State.SENT:d}, {State.NOTED:d}"
    stays = f"was = {State.NOTED:d}" if calls.only_adds and not wish.sends_noted else "false"
    return f"""CASE
        WHEN NOT here AND {among("id", forgotten)} AND {held} THEN 2
        WHEN here AND r <> '' THEN CASE WHEN {held} AND {unrefused} THEN {remove} ELSE {SILENT} END
        WHEN here AND {is_told} THEN {added}
        WHEN here AND {is_back} THEN {add}
        WHEN here AND was IN ({said}) AND lp = p THEN {SILENT}
        WHEN here AND NOT {_tryable(wish)} THEN {SILENT}
        WHEN here AND was = {State.SENT:d} THEN {update}
        WHEN here THEN CASE WHEN {_noted(wish)} OR {stays} THEN {SILENT} ELSE {add} END
        WHEN {held} THEN {remove}
        WHEN was = {State.NOTED:d} AND lp IS NOT NULL AND {calls.removes_noted} THEN {remove}
        ELSE {SILENT} END"""


def _state_sql(wish: Wish) -> str:
    """The state after the action was accepted. Of one in doubt for which no call is made now, it is taken that the destination
    has it: what it may hold by a call of ours is not forgotten."""
    sent, noted, out, gone = (int(one) for one in (State.SENT, State.NOTED, State.OUT, State.GONE))
    stays = f"was IN ({sent}, {noted}) AND action = {SILENT}"
    return f"""CASE
        WHEN action < 2 THEN {sent}
        WHEN was = {State.MAYBE:d} AND action = {SILENT} THEN {sent}
        WHEN here AND r <> '' THEN CASE WHEN {stays} THEN was WHEN {_noted(wish)} THEN {noted} ELSE {out} END
        WHEN NOT here THEN CASE WHEN was = {sent} AND action = {SILENT} THEN {sent} ELSE {gone} END
        WHEN was IN ({sent}, {noted}) THEN was
        WHEN NOT {_tryable(wish)} THEN {out}
        ELSE {noted} END"""


# --- after sending --------------------------------------------------------------------------------------------------


def outcome_sql(data_dir: Path, ledger: Ledger, plan: str, done: int, exceptions: Sequence[str]) -> str:
    """The rows of the ledger that a plan leaves behind, but for the run and the time."""
    rows = parquet(data_dir, plan, numbered=True)
    over = f"action = {SILENT} OR file_row_number < {int(done)}"
    payload = f"CASE WHEN state IN ({HELD}) THEN payload END AS payload"
    idents = f"CASE WHEN state IN ({HELD}, {State.GONE:d}) THEN idents END AS idents"
    plain = f"SELECT id, source, state, {payload}, {idents}, tried, reason FROM {rows} WHERE ({over})"
    if not exceptions:
        return plain
    listed = "[" + ", ".join(sql_string(str(data_dir / one)) for one in exceptions) + "]"
    said = (
        f"SELECT * FROM read_json({listed}, format = 'newline_delimited', "
        "columns = {row: 'BIGINT', kind: 'VARCHAR', reason: 'VARCHAR'})"
    )
    old = ledger_sql(data_dir, ledger.files, ["id", "source", "state", "payload", "idents", "tried"])
    renamed = f"id, source AS ls, state AS was, payload AS lp, idents AS li, {IS_TOLD} AS told"
    return (
        f"WITH exceptional AS (SELECT * FROM "
        f"(SELECT p.*, e.kind, e.reason AS why FROM {rows} p JOIN ({said}) e ON p.file_row_number = e.row) "
        f"LEFT JOIN (SELECT {renamed} FROM ({old})) USING (id)) "
        f"{plain} AND file_row_number NOT IN (SELECT row FROM ({said})) UNION ALL SELECT id, {_EXCEPTIONAL} FROM exceptional "
        f"UNION ALL SELECT {_FORMERLY} FROM exceptional WHERE kind = 'maybe' AND action = 1 AND previous IS NOT NULL"
    )


#: What the ledger says of a row that was not simply accepted. A refused change leaves what was there before, or may have been;
#: who left and could not be removed has no source, so that coming back is a change.
_STAYS: Final = f"was IN ({State.SENT:d}, {State.NOTED:d}, {State.MAYBE:d})"
_EXCEPTIONAL: Final = f"""
    CASE WHEN action = 2 AND state = {State.GONE:d} THEN {UNREMOVABLE} ELSE source END AS source,
    CASE WHEN kind = 'maybe' THEN {State.MAYBE:d} WHEN was = {State.MAYBE:d} OR action = 2 THEN {State.SENT:d}
         WHEN {_STAYS} THEN was ELSE {State.OUT:d} END AS state,
    CASE WHEN kind = 'maybe' OR action = 2 THEN payload WHEN {_STAYS} THEN lp END AS payload,
    CASE WHEN kind = 'maybe' OR action = 2 THEN idents WHEN {_STAYS} THEN li END AS idents,
    CASE WHEN kind = 'maybe' THEN '' ELSE {
    tried_sql(
        f"was = {State.MAYBE:d} OR (was = {State.SENT:d} AND told)",
        f"CASE WHEN action = 2 THEN '{REMOVAL}' ELSE md5(payload) END",
    )
} END AS tried,
    why AS reason"""

#: An update that may have arrived has put away what was acknowledged before, or has not: that is in doubt as well.
_FORMERLY: Final = (
    f"{debt_id('id', 'lp')} AS id, {OWED}::UBIGINT AS source, {State.MAYBE:d}::UTINYINT AS state, lp AS payload, li AS idents, "
    "'' AS tried, why AS reason"
)
