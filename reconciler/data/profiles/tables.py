"""The tables of a set of profiles as files, and what they say together.

| kind       | a row |
|---|---|
| identifier | `no`, its number for ever; `key` (number), `value`; `r`, `p`: its first commit; `pk` of its profile, 0 if void |
| pair       | two identifiers of different keys that one message carried: `a`, `ak`, `b`, `bk` (number, key), `ak` < `bk` |
| state      | what some messages of `pk` fold into: `id`, `r`, `p` (of the first identifier), `m` (messages), `a<n>` |
| state-<n>  | the same of a further sheet of attributes: `pk`, `a<n>` |
| move       | `pk` has become `target`; 0 where its states count no more, because it was built anew |

A row of a thousand states would fill the memory, so the attributes are cut into sheets of `SHEET`, each with files of its
own. `r` is the time of receipt in milliseconds, `p` the position and the stream's number in one. A base has been folded: one
state a profile, one row an identifier, no moves. Each later build adds a delta: new rows of what it touched, of which
the later build's count (identifiers) or all fold together (states); and one file of all moves since the base, which
replaces the one before it. `pk` numbers a profile inside a set and is never used again; the id that everybody sees is a
state like any other: that of the identifier with the least first commit. It is NULL in a delta of what was known before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from reconciler.core.language import attribute_types
from reconciler.core.profile import SHEET, ProfileFile, ProfileRules
from reconciler.core.value import dataclass
from reconciler.data.durable import Shelf, whole_or_nothing
from reconciler.data.names import sql_string
from reconciler.data.profiles.merges import Merge
from reconciler.data.segments import PROFILES, TEMPORARY

IDENTIFIER: Final = "identifier"
PAIR: Final = "pair"
STATE: Final = "state"
MOVE: Final = "move"

#: The part of a delta; parts of a base count from 0.
DELTA: Final = -1

#: The columns of each kind, beside the attributes' states.
COLUMNS: Final = {
    IDENTIFIER: {"no": "BIGINT", "key": "SMALLINT", "value": "VARCHAR", "r": "BIGINT", "p": "BIGINT", "pk": "BIGINT"},
    PAIR: {"a": "BIGINT", "ak": "SMALLINT", "b": "BIGINT", "bk": "SMALLINT"},
    STATE: {"pk": "BIGINT", "id": "BLOB", "r": "BIGINT", "p": "BIGINT", "m": "BIGINT"},
    MOVE: {"pk": "BIGINT", "target": "BIGINT"},
}

#: How files are written: numbers and texts as differences, which takes half the bytes, and half the time to read.
#: A dictionary is given up early: most columns are of values that are all different, which are looked up in it in vain.
_WRITTEN: Final = "USE_TMP_FILE false, COMPRESSION snappy, PARQUET_VERSION V2, DICTIONARY_SIZE_LIMIT 2048"

#: Rows of a row group, which is held in memory to be written: so many with up to eight attributes, less with more.
_GROUP_ROWS: Final = 122_880
_GROUP_ATTRIBUTES: Final = 8

#: Between key and value in what an id is a digest of; no key contains it.
_SEPARATOR: Final = "\x1f"


def identifier_id(key: str, value: str) -> str:
    """The id of an identifier for ever: the first 32 hexadecimal digits of SHA-256 over key, U+001F and value."""
    return hashlib.sha256(f"{key}{_SEPARATOR}{value}".encode()).hexdigest()[:32]


def id_sql(keys: Sequence[str], key: str, value: str) -> str:
    """The same as a BLOB in SQL; `key` is the number of a key."""
    names = "[" + ", ".join(sql_string(one) for one in keys) + "]"
    return f"unhex(substr(sha256(({names})[{key} + 1] || chr({ord(_SEPARATOR)}) || {value}), 1, 32))"


def state_kind(sheet: int) -> str:
    """The kind of the files of a sheet's states."""
    return f"{STATE}-{sheet}" if sheet else STATE


def merges(rules: ProfileRules) -> dict[str, Merge]:
    """How each attribute merges, by name in the order of `rules.attributes`. Raises BadExpression."""
    types = attribute_types(rules)
    kinds = {one.name: one.merge for stream in reversed(rules.streams) for one in stream.attributes}
    return {name: Merge(kinds[name], types[name]) for name in rules.attributes}


@dataclass(frozen=True, slots=True)
class Tables:
    """The files of a set as SQL. A table without files is empty, and of the same columns."""

    data_dir: Path
    files: tuple[ProfileFile, ...]
    merges: Sequence[Merge]

    def has(self, kind: str) -> bool:
        return any(one.kind == kind for one in self.files)

    @property
    def is_folded(self) -> bool:
        """Whether there is nothing beside a base."""
        return all(one.part != DELTA for one in self.files)

    def rows(self, kind: str, *, delta: bool | None = None) -> str:
        """All rows as they stand in base (`delta` False), deltas (True) or both, each with its `build`."""
        builds: dict[int, list[str]] = {}
        for one in self.files:
            if one.kind == kind and delta in (None, one.part == DELTA):
                builds.setdefault(one.build, []).append(sql_string(str(self.data_dir.resolve() / one.file)))
        parts = [
            f"SELECT *, {build}::BIGINT AS build FROM read_parquet([{', '.join(paths)}])"
            for build, paths in sorted(builds.items())
        ]
        return " UNION ALL BY NAME ".join(parts) or self._empty(kind)

    @property
    def sheets(self) -> list[range]:
        """The attributes of each sheet, by number; always one at least."""
        count = len(self.merges)
        return [range(first, min(first + SHEET, count)) for first in range(0, max(count, 1), SHEET)]

    def _empty(self, kind: str) -> str:
        number = int(kind.removeprefix(STATE).removeprefix("-") or 0) if kind.startswith(STATE) else -1
        types = {"pk": "BIGINT"} if number > 0 else dict(COLUMNS[STATE if number == 0 else kind])
        if number >= 0:
            types |= {f"a{index}": self.merges[index].state for index in self.sheets[number]}
        nothing = [f"NULL::{type_} AS {name}" for name, type_ in types.items()]
        return f"SELECT {', '.join(nothing)}, 0::BIGINT AS build WHERE false"

    # --- what counts ---

    def identifiers(self) -> str:
        """The identifiers, one row each, with the `pk` of the profile that they belong to now."""
        if self.is_folded:
            return f"SELECT * EXCLUDE (build) FROM ({self.rows(IDENTIFIER)})"
        latest = f"""
            SELECT * FROM ({self.rows(IDENTIFIER, delta=True)})
            QUALIFY row_number() OVER (PARTITION BY no ORDER BY build DESC) = 1"""
        return f"""
            WITH latest AS MATERIALIZED ({latest})
            SELECT rows.* EXCLUDE (build) REPLACE (coalesce(move.target, rows.pk) AS pk) FROM (
                SELECT * FROM latest UNION ALL BY NAME
                SELECT * FROM ({self.rows(IDENTIFIER, delta=False)}) AS base ANTI JOIN latest USING (no)
            ) AS rows LEFT JOIN ({self.rows(MOVE)}) AS move ON move.pk = rows.pk"""

    def pairs(self) -> str:
        return f"SELECT * EXCLUDE (build) FROM ({self.rows(PAIR)})"

    def states(self, attributes: Sequence[int]) -> str:
        """The states, one row a profile, with those of the named attributes."""
        wanted = [[index for index in attributes if index in sheet] for sheet in self.sheets]
        first, *others = (self._sheet(number, found) for number, found in enumerate(wanted) if found or not number)
        joined = [f"LEFT JOIN ({one}) AS sheet_{number} USING (pk)" for number, one in enumerate(others)]
        return f"SELECT * FROM ({first}) AS sheet {' '.join(joined)}" if others else first

    def sheet(self, number: int) -> str:
        """The states of one sheet, one row a profile."""
        return self._sheet(number, self.sheets[number])

    def _sheet(self, number: int, attributes: Sequence[int]) -> str:
        who = ["pk"] if number else ["pk", "id", "r", "p", "m"]
        chosen = ", ".join([*who, *(f"a{index}" for index in attributes)])
        kind = state_kind(number)
        if self.is_folded:
            return f"SELECT {chosen} FROM ({self.rows(kind)})"
        base, delta = (self._moved(kind, chosen, delta=one) for one in (False, True))
        return f"""
            WITH move AS MATERIALIZED ({self.rows(MOVE)}),
            delta AS MATERIALIZED ({delta}),
            touched AS MATERIALIZED (SELECT DISTINCT pk FROM delta UNION SELECT DISTINCT target FROM move)
            SELECT {chosen} FROM ({base}) AS base ANTI JOIN touched USING (pk)
            UNION ALL BY NAME
            SELECT {self._refolded(number, attributes)} FROM (
                SELECT * FROM delta UNION ALL BY NAME SELECT * FROM ({base}) AS base SEMI JOIN touched USING (pk)
            ) GROUP BY pk"""

    def _moved(self, kind: str, chosen: str, *, delta: bool) -> str:
        return f"""
            SELECT s.* REPLACE (coalesce(m.target, s.pk) AS pk)
            FROM (SELECT {chosen} FROM ({self.rows(kind, delta=delta)})) AS s LEFT JOIN move AS m ON m.pk = s.pk
            WHERE coalesce(m.target, s.pk) <> 0"""

    def _refolded(self, number: int, attributes: Sequence[int]) -> str:
        """The columns that states of one `pk` fold into."""
        folded = [f"{self.merges[index].refold(f'a{index}')} AS a{index}" for index in attributes]
        if number:
            return ", ".join(["pk", *folded])
        least = "arg_min(id, {'r': r, 'p': p}) AS id, min({'r': r, 'p': p}).r AS r, min({'r': r, 'p': p}).p AS p"
        return ", ".join(["pk", least, "sum(m)::BIGINT AS m", *folded])


class Writer:
    """Writes the files of one build, to be used in a `with`: each is put on the disk while the next is written. Raises
    Retriable where the disk refuses."""

    def __init__(self, connection: Any, data_dir: Path, build: int) -> None:
        self._connection = connection
        self._data_dir = data_dir
        self._build = build
        self._shelf = Shelf(data_dir / PROFILES)

    def __enter__(self) -> Self:
        self._shelf.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._shelf.__exit__(*error)

    def write(self, kind: str, part: int, select: str, attributes: int = 0) -> list[ProfileFile]:
        """The rows of a query, which have states of so many attributes, as a file, which is whole and on the disk once it
        has been waited for (`settle`); none where there are no rows."""
        file = f"{PROFILES}/{self._build}-{kind}-{'delta' if part == DELTA else part}.parquet"
        path = self._data_dir / file
        temporary = path.with_name(path.name + TEMPORARY)
        with whole_or_nothing(path, temporary):
            rows = self._copied(select, temporary, attributes)
            size = temporary.stat().st_size
            if not rows:
                temporary.unlink()
                return []
        self._shelf.put(temporary, path)
        return [ProfileFile(file=file, kind=kind, part=part, build=self._build, rows=rows, size=size)]

    def _copied(self, select: str, path: Path, attributes: int) -> int:
        """Writes the rows; how many."""
        group = _GROUP_ROWS * _GROUP_ATTRIBUTES // max(_GROUP_ATTRIBUTES, attributes)
        to = f"TO {sql_string(str(path.resolve()))} (FORMAT parquet, {_WRITTEN}, ROW_GROUP_SIZE {group})"
        return int(self._connection.execute(f"COPY ({select}) {to}").fetchall()[0][0])

    def settle(self) -> None:
        """Waits until all that was written is whole and on the disk."""
        self._shelf.settle()

    def discard(self, files: Sequence[ProfileFile]) -> None:
        """Removes files that this build has written and that nothing will name."""
        for one in files:
            (self._data_dir / one.file).unlink(missing_ok=True)
