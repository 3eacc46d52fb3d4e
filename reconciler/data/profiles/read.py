"""Reading profiles: all of them as a query, or one by what is known of it.

A reader is of one set. Its files stay as long as the record, or a run that was given them, names them, whatever builds
do meanwhile; so a reader never waits and never sees half a build.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from reconciler.core.profile import SHOWN_ID, ProfileRules, ProfileSet
from reconciler.core.value import dataclass
from reconciler.data.profiles.columns import identifier, quoted
from reconciler.data.profiles.tables import Tables, id_sql, identifier_id, merges


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One profile. `identifiers` are (key, value) in the order of their first commits, `aliases` the ids of all but the
    first of them, under which it can be found too. `attributes` are Python values by name: `Decimal` for decimals,
    times in UTC without a zone, a list of texts for a set, None where nothing is known."""

    id: str
    aliases: tuple[str, ...]
    identifiers: tuple[tuple[str, str], ...]
    attributes: Mapping[str, Any]
    messages: int


class ProfileReader:
    """Reads one set of profiles; `connection` is always one of a workspace over the same data folder."""

    def __init__(self, data_dir: Path, profiles: ProfileSet, rules: ProfileRules) -> None:
        self._rules = rules
        self._set = profiles
        self._merges = merges(rules)
        self._numbers = {name: index for index, name in enumerate(self._merges)}
        self._tables = Tables(data_dir, profiles.files, list(self._merges.values()))

    def count(self) -> int:
        """How many profiles there are."""
        return int(self._set.facts.get("profiles", 0))

    def view_sql(self, attributes: Sequence[str], keys: Sequence[str]) -> str:
        """A query with one row for each profile: `id` (32 hexadecimal digits), `key:<key>` for each key asked for (its
        values, in the order of their first commits; empty where it has none) and `attribute:<name>`."""
        numbers = [self._numbers[name] for name in attributes]
        asked = sorted({self._key(key) for key in keys})
        shown = ["lower(hex(s.id)) AS id"]
        shown += [f"coalesce(i{self._key(key)}.found, []::VARCHAR[]) AS {quoted(f'key:{key}')}" for key in keys]
        shown += [
            f"{self._merges[name].show(f's.a{number}')} AS {quoted(f'attribute:{name}')}"
            for name, number in zip(attributes, numbers, strict=True)
        ]
        joins = "".join(f" LEFT JOIN ({_values(key)}) AS i{key} ON i{key}.pk = s.pk" for key in asked)
        source = f"({self._tables.states(sorted(set(numbers)))}) AS s"
        return f"{self._identifiers(asked)}SELECT {', '.join(shown)} FROM {source}{joins}"

    def aliases_sql(self) -> str:
        """A query with one row for each identifier of a profile: `alias`, the id that is of this identifier, and the profile's
        own `id`."""
        alias = id_sql(self._rules.keys, "i.key", "i.value")
        return (
            f"SELECT lower(hex({alias})) AS alias, lower(hex(s.id)) AS id "
            f"FROM ({self._tables.identifiers()}) AS i JOIN ({self._tables.states([])}) AS s USING (pk)"
        )

    def _key(self, key: str) -> int:
        return self._rules.keys.index(key)

    def _identifiers(self, keys: Sequence[int]) -> str:
        """The beginning of a query: `identifier`, those of profiles, and for each key `several_<key>`: the profiles which
        have more than one of its values."""
        if not keys:
            return ""
        wanted = ", ".join(map(str, keys))
        mine = f"SELECT pk, key, value, r, p FROM ({self._tables.identifiers()}) WHERE key IN ({wanted}) AND pk <> 0"
        several = "".join(
            f", several_{key} AS MATERIALIZED (SELECT pk FROM identifier WHERE key = {key} GROUP BY pk HAVING count(*) > 1)"
            for key in keys
        )
        return f"WITH identifier AS MATERIALIZED ({mine}){several} "

    # --- one profile ---

    def named(self, connection: Any, key: str, value: str) -> Profile | None:
        """The profile that has this identifier; of the key `id` also the one with this id or alias."""
        found = self.lookup(connection, key, value)
        return self.find(connection, value) if found is None and key == "id" else found

    def lookup(self, connection: Any, key: str, value: str) -> Profile | None:
        """The profile that has this identifier: the value as it is or, where nobody has that, as the streams normalise
        it. None where there is none, or the value is void."""
        if key not in self._rules.keys:
            return None
        for one in self._spellings(connection, key, value):
            found = self._owner(connection, f"key = {self._key(key)} AND value = $given", one)
            if found:
                return self._profile(connection, found)
        return None

    def is_void(self, connection: Any, key: str, value: str) -> bool:
        """Whether this identifier has come with so many of another key that it belongs to nobody."""
        sql = f"SELECT 1 FROM ({self._tables.identifiers()}) WHERE key = $key AND value = $given AND pk = 0"
        return key in self._rules.keys and any(
            connection.execute(sql, {"key": self._key(key), "given": one}).fetchall()
            for one in self._spellings(connection, key, value)
        )

    def find(self, connection: Any, id_: str) -> Profile | None:
        """The profile with this id, or with this alias; or the one whose id begins so, as `audience` shows it."""
        given = id_.lower()
        shown = "lower(hex(id))" if len(given) != SHOWN_ID else f"left(lower(hex(id)), {SHOWN_ID})"
        is_id = f"SELECT pk FROM ({self._tables.states([])}) WHERE {shown} = $given LIMIT 2"
        found = connection.execute(is_id, {"given": given}).fetchall()
        if len(found) == 1:
            return self._profile(connection, found[0][0])
        alias = f"lower(hex({id_sql(self._rules.keys, 'key', 'value')})) = $given"
        owner = self._owner(connection, alias, given)
        return self._profile(connection, owner) if owner else None

    def _spellings(self, connection: Any, key: str, value: str) -> list[str]:
        ways = {one.normalize: None for stream in self._rules.streams for one in stream.identity if one.key == key}
        spelled = [identifier(pa.field("v", pa.string()), "v", way) for way in ways]
        sql = f"SELECT {', '.join(spelled)} FROM (SELECT $given AS v)"
        row = connection.execute(sql, {"given": value}).fetchall()[0]
        return list(dict.fromkeys([value, *(one for one in row if one is not None)]))

    def _owner(self, connection: Any, condition: str, given: str) -> int:
        """The `pk` of the profile of an identifier; 0 where there is none."""
        sql = f"SELECT pk FROM ({self._tables.identifiers()}) WHERE {condition}"
        rows = connection.execute(sql, {"given": given}).fetchall()
        return int(rows[0][0]) if rows else 0

    def _profile(self, connection: Any, pk: int) -> Profile:
        keys = self._rules.keys
        found = connection.execute(
            f"SELECT key, value FROM ({self._tables.identifiers()}) WHERE pk = {pk} ORDER BY r, p, key, value"
        ).fetchall()
        identifiers = tuple((keys[key], value) for key, value in found)
        shown: list[Any] = []
        messages = 0
        for sheet in self._tables.sheets:  # a row of all sheets would be as wide as there are attributes
            columns = ["m", *(self._tables.merges[index].show(f"a{index}") for index in sheet)]
            states = f"SELECT {', '.join(columns)} FROM ({self._tables.states(sheet)}) WHERE pk = {pk}"
            messages, *values = connection.execute(states).fetchall()[0]
            shown += values
        ids = [identifier_id(key, value) for key, value in identifiers]
        return Profile(
            id=ids[0], aliases=tuple(ids[1:]), identifiers=identifiers, messages=messages,
            attributes=dict(zip(self._merges, shown, strict=True)),
        )  # fmt: skip


def _values(key: int) -> str:
    """The values of a key for each profile. Only where there are several need they be gathered and put in order, which takes
    seven times as long."""
    return f"""
        SELECT pk, [value] AS found FROM identifier ANTI JOIN several_{key} USING (pk) WHERE key = {key}
        UNION ALL
        SELECT pk, list(value ORDER BY r, p, value) AS found FROM identifier SEMI JOIN several_{key} USING (pk)
        WHERE key = {key} GROUP BY pk"""
