"""How a text is read as a value, as DuckDB SQL: of a column that a Stream declares, by `cast`, and as a message's own time.

A text is read as DuckDB's TRY_CAST reads it, but for words and spellings that only SQL has (`epoch`, `infinity`, `nan`,
`1_000`, `0x10`), and with all of ISO 8601 that RFC 3339 and PostgreSQL take too: what does not fit is NULL, and a number
with more digits than its type has is rounded, half away from zero, also where it has an exponent. A time without an
offset is UTC, the session's TimeZone; a date is the day that is written, also where a time follows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from reconciler.core.language.results import result_sql
from reconciler.core.language.types import MAX_DIGITS, Type, decimal

#: Where a value that is used more than once is named: takes its SQL, returns what stands for it.
Once = Callable[[str], str]

#: SQL of so many characters is read in place: DuckDB computes most of what stands there several times but once, and what
#: lambdas hold takes two to five times as long.
_SHORT: Final = 100

#: A number with an exponent: its sign, its digits before and behind the point, and the exponent.
_SCALED: Final = r"^[\s\v]*([+-]?)(?:(\d+)\.?(\d*)|\.(\d+))[eE]([+-]?\d+)[\s\v]*$"
_PARTS: Final = "['sign', 'whole', 'part', 'only', 'exponent']"

#: How a time is written as a number: the type in which it is read, and how many microseconds its unit has.
_EPOCH: Final = decimal(28, 9)
_EPOCHS: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000}

#: ISO 8601's extended format: a date, or a date and a time with or without an offset.
_ISO: Final = (
    r"\d{4}-\d{2}-\d{2}"
    r"([T ]([01]\d|2[0-3])(:\d{2}(:[0-5]\d([.,]\d{1,9})?)?)?(Z|[+-]\d{2}(:?\d{2})?)?)?"
)
#: What few write: lower-case letters (RFC 3339), the basic format, a leap second, and the midnight that ends a day. A basic
#: date alone is none: it would be a number.
_RARE: Final = (
    r"(\d{4}-\d{2}-\d{2}[Tt ](([01]\d|2[0-3])(:\d{2}(:([0-5]\d|60)([.,]\d{1,9})?)?)?|24(:00(:00([.,]0{1,9})?)?)?)"
    r"|\d{8}[Tt ](([01]\d|2[0-3])(\d{2}(([0-5]\d|60)([.,]\d{1,9})?)?)?|24(00(00([.,]0{1,9})?)?)?))"
    r"([Zz]|[+-]\d{2}(:?\d{2})?)?"
)
#: Makes of it the extended format, step by step: the date, the hour, the minute.
_EXTENDED: Final = (
    (r"^(\d{4})(\d\d)(\d\d)[T ]", r"\1-\2-\3T"),
    (r"^(.{13})(\d\d)", r"\1:\2"),
    (r"^(.{13}:\d\d)(\d\d)", r"\1:\2"),
)
_DAY: Final = (r"^(\d{4})-?(\d\d)-?(\d\d).*$", r"\1-\2-\3")


def in_place(sql: str) -> str:
    """Every use of a value computes it: DuckDB does so too where they stand in a CASE."""
    return f"({sql})"


def cast_sql(sql: str, wanted: Type) -> str:
    """A text, whatever SQL gives it, as a value of a type. Its SQL stands there once, unless it is short."""
    if len(sql) <= _SHORT:
        return read_sql(f"({sql})", wanted)
    value = f"list_transform([{sql}], lambda given: {_value('given', wanted, in_place)})"
    checked = result_sql("found", wanted)
    return f"{value}[1]" if checked == "found" else f"list_transform({value}, lambda found: {checked})[1]"


def read_sql(text: str, wanted: Type, once: Once = in_place) -> str:
    """The same of a text that has a name."""
    return result_sql(once(_value(text, wanted, once)), wanted)


def _value(text: str, wanted: Type, once: Once) -> str:
    if wanted.kind == "timestamp":
        return f"make_timestamp({iso8601_sql(text, once)})"
    if wanted.is_exact:
        return _exact(text, wanted)
    value = f"TRY_CAST({text} AS {wanted.sql})"
    if wanted.kind == "double":
        return f"CASE WHEN NOT contains({text}, '_') THEN {value} END"
    if wanted.kind != "date":
        return value
    value = once(value)
    day = f"TRY_CAST(regexp_replace({text}, '{_DAY[0]}', '{_DAY[1]}') AS DATE)"
    by_time = f"CASE WHEN {microseconds_sql('iso8601', text)} IS NOT NULL THEN {day} END"
    return f"coalesce(CASE WHEN {value} <> DATE '1970-01-01' OR {_is_no_word(text)} THEN {value} END, {by_time})"


def _exact(text: str, wanted: Type) -> str:
    """DuckDB reads SQL's `1_000` as a number, and as an integer `0x10` and `0b11`; of a number with an exponent it rounds
    some wrongly, and refuses others."""
    is_odd = f"lower({text}) <> upper({text}) OR contains({text}, '_')"
    odd, even = (f"TRY_CAST({one} AS {wanted.sql})" for one in (_without_exponent(text), text))
    return f"CASE WHEN {is_odd} THEN {odd} ELSE {even} END"


def _without_exponent(text: str) -> str:
    """A number with an exponent as one without; NULL for every other text. The point moves no further than matters: beyond
    that, the number is nothing or too large for every type."""
    furthest = f"length({text}) + {MAX_DIGITS + 2}"
    moved = f"greatest(least(TRY_CAST(found.exponent AS DOUBLE), {furthest}), -({furthest}))::BIGINT"
    zeros = "repeat('0', abs(moved))"
    digits = f"{zeros} || found.whole || found.part || found.only || {zeros}"
    point = "abs(moved) + length(found.whole) + moved"
    made = f"found.sign || left(digits, {point}) || '.' || substr(digits, {point} + 1)"
    made = f"list_transform([{moved}], lambda moved: list_transform([{digits}], lambda digits: {made})[1])[1]"
    parts = f"regexp_extract({text}, '{_SCALED}', {_PARTS})"
    return f"list_transform([{parts}], lambda found: CASE WHEN found.exponent <> '' THEN {made} END)[1]"


def _is_no_word(text: str) -> str:
    """DuckDB reads `epoch` as a time, and as a date. It is asked only of what it reads as that one: it costs something."""
    return f"NOT contains(lower({text}), 'epoch')"


# --- times ----------------------------------------------------------------------------------------------------------


def iso8601_sql(text: str, once: Once = in_place) -> str:
    """Microseconds since the epoch. DuckDB is asked first, which is a little more lenient: `2026-1-2`."""
    moment = once(f"TRY_CAST({text} AS TIMESTAMPTZ)")
    is_meant = f"{moment} <> TIMESTAMPTZ '1970-01-01 00:00:00+00' OR {_is_no_word(text)}"
    quick = once(f"CASE WHEN isfinite({moment}) AND ({is_meant}) THEN epoch_us({moment}) END")
    return once(f"coalesce({quick}, {microseconds_sql('iso8601', text)})")


def microseconds_sql(how: str, text: str) -> str:
    """The microseconds since the epoch that a text says, read strictly as `how` (a timestamp format); NULL where it cannot be
    read. They may lie beyond the years 1 and 9999."""
    if how == "iso8601":
        usual = f"epoch_us({_moment(text)})"
        return (
            f"CASE WHEN regexp_full_match({text}, '{_ISO}') THEN {usual} "
            f"WHEN regexp_full_match({text}, '{_RARE}') THEN {_rare(text)} END"
        )
    if how in _EPOCHS:
        return f"TRY_CAST(floor({_exact(text, _EPOCH)} * {_EPOCHS[how]}) AS BIGINT)"
    pattern = how.replace("'", "''")
    is_word = (
        rf"regexp_full_match({text}, '(?i)[\s\v]*epoch[\s\v]*')"  # which DuckDB reads as 1970, whatever the pattern
    )
    return f"CASE WHEN NOT {is_word} THEN epoch_us(try_strptime({text}, '{pattern}')) END"


def _moment(text: str) -> str:
    """What DuckDB reads of the extended format; it wants minutes, and a point."""
    full = f"regexp_replace(replace({text}, ',', '.'), '([T ]\\d\\d)(Z|[+-].*)?$', '\\1:00\\2')"
    return f"TRY_CAST({full} AS TIMESTAMPTZ)"


def _rare(text: str) -> str:
    """A leap second is the one that follows, as PostgreSQL has it."""
    extended = f"upper({text})"
    for found, made in _EXTENDED:
        extended = f"regexp_replace({extended}, '{found}', '{made}')"
    before = f"regexp_replace({extended}, '(:\\d\\d):60', '\\1:59')"
    return f"epoch_us({_moment(before)}) + CASE WHEN {before} <> {extended} THEN 1000000 ELSE 0 END"
