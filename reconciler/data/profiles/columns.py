"""Raw columns of a segment as SQL: as text, as the type that a Stream declares, as a time, as an identifier.

A value is first the text that the message's JSON shows (strings without their quotes), and everything else is read from
that text (`core.language.reading`): a number means the same whether its segment holds it as text, as a double or as JSON.
Only where reading the text would give back the very value that the column holds is it taken as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from reconciler.core.language.reading import Once, in_place, iso8601_sql, microseconds_sql, read_sql
from reconciler.core.language.results import result_sql
from reconciler.core.language.types import type_of
from reconciler.data.jsontext import is_json
from reconciler.data.names import sql_string
from reconciler.data.render import text_sql
from reconciler.data.timestamps import FIRST_US, LAST_US

_T: Final = pa.types

#: An identifier of more characters than this is none.
MAX_IDENTIFIER: Final = 1_000

#: What `trim` takes from both ends: the characters that Unicode calls white space, and the byte order mark.
WHITE_SPACE: Final = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)

#: How an identifier is normalised. `lower` and `upper` map each character by itself (Unicode's simple mapping, whatever
#: stands beside it): a final sigma becomes the plain one, and nothing becomes longer.
NORMALIZERS: Final = {
    "lower": "lower({0})",
    "upper": "upper({0})",
    "digits": "regexp_replace({0}, '[^0-9]', '', 'g')",
}


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def as_text(field: pa.Field, column: str) -> str:
    """The text of a value; NULL where the message has none, or JSON's null. `column` is the SQL of the column."""
    if is_json(field):
        string = f"TRY(json_extract_string({column}, '$'))"
        return f"CASE WHEN {column} LIKE '\"%' THEN {string} WHEN {column} <> 'null' THEN {column} END"
    if _T.is_null(field.type):
        return "NULL::VARCHAR"
    if _T.is_floating(field.type):
        return f"CASE WHEN isfinite({column}) THEN {column}::VARCHAR END"
    return text_sql(field, column)


def typed(field: pa.Field, column: str, type_name: str, once: Once = in_place) -> str:
    """A value as the type that a Stream's `columns` declares."""
    wanted = type_of(type_name)
    if wanted.kind == "text":
        return as_text(field, column)
    if _is_already(field, wanted.kind):
        return result_sql(f"{column}::{wanted.sql}", wanted)
    return read_sql(once(as_text(field, column)), wanted, once)


def _is_already(field: pa.Field, kind: str) -> bool:
    """Whether the column holds what reading its text would give."""
    if is_json(field):
        return False
    return any(holds(field.type) for holds in _HOLDING.get(kind, ()))


#: The columns that hold values of a type as they are, by type.
_HOLDING: Final = {
    "integer": (_T.is_signed_integer, _T.is_uint8, _T.is_uint16, _T.is_uint32),
    "double": (_T.is_float64,),
    "boolean": (_T.is_boolean,),
    "date": (_T.is_date32,),
}


def own_time(field: pa.Field, column: str, how: str, once: Once = in_place) -> str:
    """The microseconds since the epoch that a message's own time says; NULL where it says none."""
    kind = field.type
    if not is_json(field) and (_T.is_timestamp(kind) or _T.is_date(kind)):
        return _bounded(once(f"epoch_us({column})"))
    if not is_json(field) and how == "iso8601" and not _T.is_string(kind):
        return "NULL::BIGINT"
    text = once(as_text(field, column))
    return _bounded(iso8601_sql(text, once) if how == "iso8601" else once(microseconds_sql(how, text)))


def of_time(microseconds: str, type_name: str) -> str:
    """A message's own time as the type that `columns` declares for its column; empty for a type that is no time."""
    wanted = type_of(type_name)
    return f"make_timestamp({microseconds})::{wanted.sql}" if wanted.is_time else ""


def _bounded(microseconds: str) -> str:
    return f"CASE WHEN {microseconds} BETWEEN {FIRST_US} AND {LAST_US} THEN {microseconds} END"


def identifier(field: pa.Field, column: str, normalize: Sequence[str], once: Once = in_place) -> str:
    """The identifier that a column gives; NULL where it is empty or too long."""
    return normalized(as_text(field, column), normalize, once)


def normalized(text: str, normalize: Sequence[str], once: Once = in_place) -> str:
    """The identifier that a text gives."""
    value = once(text)
    for step in normalize:
        value = once(_trimmed(value, once) if step == "trim" else NORMALIZERS[step].format(value))
    return f"CASE WHEN {value} <> '' AND length({value}) <= {MAX_IDENTIFIER} THEN {value} END"


def _trimmed(value: str, once: Once) -> str:
    """Without white space at its ends. Most values have none but plain spaces, which are quicker to take away; so is to look
    at the characters that are then at the ends, compared with a pattern."""
    plain = once(f"trim({value})")
    careful = f"trim({value}, {sql_string(WHITE_SPACE)})"
    is_done = f"{plain} >= '!' AND {plain} < chr(127) AND {plain}[-1] BETWEEN '!' AND '~'"
    return f"CASE WHEN {is_done} THEN {plain} ELSE {careful} END"
