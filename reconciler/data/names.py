"""How raw columns are named inside a segment, and how column names that clash are told apart.

A segment holds raw columns and, beside them, what is known of each message itself (`META`). A raw column whose name
would clash with one of those is stored with one more underscore (`_job` as `__job`, `__job` as `___job`), and loses it
again on reading. Case is ignored in the comparison, so that tools which fold case can read segments too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

META: Final = ("_timestamp", "_received", "_job", "_run", "_unit")

#: Every message has it: where it is null, the message is gone.
RECEIVED: Final = "_received"

#: A file with more columns than this is an error: it is data in the place of names.
MAX_COLUMNS: Final = 10_000

_RESERVED: Final = re.compile(r"_+(?:timestamp|received|job|run|unit)", re.IGNORECASE)


def stored(name: str) -> str:
    """The name under which a raw column stands in a segment."""
    return f"_{name}" if _RESERVED.fullmatch(name) else name


def raw(name: str) -> str:
    """The raw name of a stored column; the opposite of `stored`."""
    return name[1:] if name.startswith("__") and _RESERVED.fullmatch(name) else name


def repeated(names: Iterable[str]) -> str | None:
    """The first name that has stood there before; None where all differ. An empty one names nothing."""
    seen: set[str] = set()
    for name in names:
        if name and name in seen:
            return name
        seen.add(name)
    return None


def distinct(names: Iterable[str]) -> list[str]:
    """The names, each made unique as DuckDB does: an empty one becomes `column<index>`, a repeated one gets `_1`, `_2`
    and so on. Names that differ only in case are different names."""
    given = [name or f"column{index}" for index, name in enumerate(names)]
    taken: set[str] = set(given)
    seen: set[str] = set()
    result = []
    for name in given:
        unique, count = name, 0
        while unique in seen or (count and unique in taken):
            count += 1
            unique = f"{name}_{count}"
        seen.add(unique)
        result.append(unique)
    return result


def placeholders(count: int) -> list[str]:
    """`c0`, `c1`, …: the names under which columns are given to DuckDB, which ignores case."""
    return [f"c{index}" for index in range(count)]


def sql_string(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def without_meta(names: Sequence[str]) -> list[str]:
    """The stored names of raw columns."""
    return [name for name in names if name not in META]
