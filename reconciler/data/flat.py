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
_TYPES: Final = (pa.string(), pa.bool_(), pa.int64())


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
    """A column where all its values are of one kind, which Arrow finds out while it takes them: it refuses a number beside a
    truth value or a text, and what it makes of others beside null, or of anything else, is none of these kinds."""
    try:
        values = list(map(itemgetter(name), records))
        found = pa.array(values)
    except (KeyError, OverflowError, pa.ArrowException):
        return None
    if pa.types.is_null(found.type):
        return json_field(name), pa.repeat(pa.scalar("null"), len(values))
    if found.null_count or found.type not in _TYPES:
        return None
    if pa.types.is_integer(found.type) and 0 in values and _has_minus_zero(data, codes):
        return None
    return pa.field(name, found.type, metadata={ABSENT: b"1"}), found
