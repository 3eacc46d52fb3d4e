"""Audiences over profiles: how many are in each, and when the next one enters or leaves though nothing arrives.

All audiences are counted in one reading of the profiles, because every one of them would read the same columns again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from reconciler.core.language import BadExpression, Condition, attribute_types, compile_condition
from reconciler.core.profile import ProfileRules, ProfileSet
from reconciler.core.value import dataclass
from reconciler.data.engine import workspace
from reconciler.data.profiles.read import ProfileReader

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = datetime(9999, 12, 31)


@dataclass(frozen=True, slots=True, kw_only=True)
class AudienceSize:
    """How many members an audience has at a moment, and when that next changes by itself (epoch milliseconds; None where
    only new messages change it). `size` is None where its condition does not fit the attributes any more."""

    size: int | None
    next_change_ms: int | None = None


def audience_sizes(
    data_dir: Path, profiles: ProfileSet, rules: ProfileRules, wheres: Mapping[str, str], now_ms: int, *, memory_mb: int
) -> dict[str, AudienceSize]:
    """The size of every audience, by name."""
    conditions = _conditions(rules, wheres)
    found = {name: AudienceSize(size=None) for name in wheres}
    if not conditions:
        return found
    if not profiles.files:
        return found | {name: AudienceSize(size=0) for name in conditions}
    attributes = sorted({one for condition in conditions.values() for one in condition.attributes})
    view = ProfileReader(data_dir, profiles, rules).view_sql(attributes, [])
    columns = [column for condition in conditions.values() for column in _columns(condition)]
    with workspace(data_dir, memory_mb=memory_mb) as connection:
        sql = f"SELECT {', '.join(columns)} FROM ({view})"
        given = {"now": moment(now_ms)} if any("$now" in column for column in columns) else {}
        row = connection.execute(sql, given).fetchall()[0]
    for index, name in enumerate(conditions):
        found[name] = AudienceSize(size=row[2 * index], next_change_ms=_milliseconds(row[2 * index + 1]))
    return found


def sample(
    data_dir: Path, profiles: ProfileSet, rules: ProfileRules, where: str, now_ms: int, *, memory_mb: int, limit: int
) -> list[dict[str, Any]]:
    """The first members by id: their ids, identifiers by key, and the attributes that the condition reads. Raises
    BadExpression."""
    if not profiles.files:
        return []
    condition = compile_condition(where, attribute_types(rules))
    view = ProfileReader(data_dir, profiles, rules).view_sql(condition.attributes, rules.keys)
    sql = f"SELECT * FROM ({view}) WHERE ({condition.sql}) IS TRUE ORDER BY id LIMIT {limit:d}"
    with workspace(data_dir, memory_mb=memory_mb) as connection:
        cursor = connection.execute(sql, _given(condition, now_ms))
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def audiences_of(
    data_dir: Path, profiles: ProfileSet, rules: ProfileRules, wheres: Mapping[str, str], now_ms: int, *,
    memory_mb: int, profile: str,
) -> list[str]:  # fmt: skip
    """The audiences that one profile is in, sorted."""
    conditions = _conditions(rules, wheres)
    if not conditions or not profiles.files:
        return []
    attributes = sorted({one for condition in conditions.values() for one in condition.attributes})
    view = ProfileReader(data_dir, profiles, rules).view_sql(attributes, [])
    columns = ", ".join(f"({condition.sql}) IS TRUE" for condition in conditions.values())
    given = {"id": profile, **next((_given(one, now_ms) for one in conditions.values() if one.reads_now), {})}
    with workspace(data_dir, memory_mb=memory_mb) as connection:
        rows = connection.execute(f"SELECT {columns} FROM ({view}) WHERE id = $id", given).fetchall()
    return [name for name, within in zip(conditions, rows[0] if rows else (), strict=False) if within]


def moment(now_ms: int) -> datetime:
    """A moment as the condition's `$now`: UTC without a zone."""
    return (_EPOCH + timedelta(milliseconds=now_ms)).replace(tzinfo=None)


def _given(condition: Condition, now_ms: int) -> dict[str, Any]:
    return {"now": moment(now_ms)} if condition.reads_now else {}


def _conditions(rules: ProfileRules, wheres: Mapping[str, str]) -> dict[str, Condition]:
    """Those that can be judged by these rules."""
    found: dict[str, Condition] = {}
    try:
        types = attribute_types(rules)
    except BadExpression:
        return found
    for name, where in sorted(wheres.items()):
        try:
            found[name] = compile_condition(where, types)
        except BadExpression:
            continue
    return found


def _columns(condition: Condition) -> Sequence[str]:
    """The size, and the least moment ahead at which a comparison with the present flips."""
    ahead = [f"min({one}) FILTER (WHERE {one} > $now)" for one in condition.moments]
    return f"count(*) FILTER (WHERE ({condition.sql}) IS TRUE)", f"least({', '.join(ahead)})" if ahead else "NULL"


def _milliseconds(value: object) -> int | None:
    """Rounded up: at that millisecond the change has come. What lies at the end of all calendars never comes; behind it
    the engine gives text."""
    if not isinstance(value, datetime) or value >= _NEVER:
        return None
    return -((_EPOCH - value.replace(tzinfo=UTC)) // timedelta(milliseconds=1))
