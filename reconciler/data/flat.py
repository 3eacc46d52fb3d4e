"""Records that are all alike: objects with the same keys, and in each of them texts, whole numbers, truth values or nothing but
null. Nearly all pages of an API are so, and their columns can be taken from what the parser has made of them, where that
shows what was written: in a document without a backslash or a key that stands twice. Anything else is `lines`' affair, which
makes the same table of these, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from reconciler.data.jsontext import ABSENT, json_field

#: More keys than this are judged by `lines`.
MAX_KEYS: Final = 1_000

_APART: Final = re.compile(rb'"[ \t\r\n]+:')
#: A whole number that is written otherwise than it is read.
_MINUS_ZERO: Final = re.compile(rb"[: \t\r\n]-0[,} \t\r\n]")
_SPACE: Final = ord(" ")
_TYPES: Final = {str: pa.string(), bool: pa.bool_(), int: pa.int64()}


def flat_table(data: bytes, document: Any, records: Sequence[Any]) -> pa.Table | None:
    """The table of the records, which are some of a document's; `data` is the document as it was written. None where they
    are not all alike, or something is not what it seems."""
    if b"\\" in data or set(map(type, records)) != {dict}:
        return None
    names = list(records[0])
    if not 0 < len(names) <= MAX_KEYS or set(map(len, records)) != {len(names)}:
        return None
    codes = np.frombuffer(data, np.uint8)
    follows = codes[np.flatnonzero(codes[:-1] == ord('"')) + 1]  # what stands behind each quote
    keys = int(np.count_nonzero(follows == ord(":")))
    if keys != len(names) * len(records) + _keys_beside(document, records):
        return None
    if (follows <= _SPACE).any() and _APART.search(data):
        return None
    columns = [_column(name, data, codes, records) for name in names]
    if any(one is None for one in columns):
        return None
    fields, arrays = zip(*(one for one in columns if one is not None), strict=True)
    return pa.table(list(arrays), schema=pa.schema(fields))


def _keys_beside(document: Any, records: Sequence[Any]) -> int:
    """How many keys the document has beside those of the records."""
    count, left = 0, [document]
    while left:
        one = left.pop()
        if one is records:
            continue
        if isinstance(one, dict):
            count += len(one)
            left += one.values()
        elif isinstance(one, list):
            left += one
    return count


def _has_minus_zero(data: bytes, codes: npt.NDArray[np.uint8]) -> bool:
    """Looked for with care only where a minus stands before a zero, and not within a date."""
    places = np.flatnonzero(codes[1:-1] == ord("-")) + 1
    places = places[(codes[places + 1] == ord("0")) & ((codes[places - 1] <= _SPACE) | (codes[places - 1] == ord(":")))]
    return bool(places.size) and _MINUS_ZERO.search(data) is not None


def _column(
    name: str, data: bytes, codes: npt.NDArray[np.uint8], records: Sequence[Any]
) -> tuple[pa.Field, pa.Array] | None:
    """A column where all its values are of one kind."""
    try:
        values = list(map(itemgetter(name), records))
    except KeyError:
        return None
    kinds = set(map(type, values))
    if kinds == {type(None)}:
        return json_field(name), pa.array(["null"] * len(values), pa.string())
    kind = kinds.pop()
    if kinds or kind not in _TYPES or (kind is int and 0 in values and _has_minus_zero(data, codes)):
        return None
    try:
        return pa.field(name, _TYPES[kind], metadata={ABSENT: b"1"}), pa.array(values, _TYPES[kind])
    except OverflowError:
        return None
