"""A message's own time, read from one of its raw columns.

Text is read as the rule's format says; columns that are already times or dates are taken as they are; numbers need
`epoch_s` or `epoch_ms`. An empty or missing value is no time at all, which is not an error. A time without an offset is
UTC. Text is read as `core.language.reading` says, which a build of profiles asks as well. Times are kept to the
microsecond, between the years 1 and 9999.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from reconciler.core.language.reading import microseconds_sql
from reconciler.core.provider import TimestampRule
from reconciler.data.jsontext import plain_text, whole
from reconciler.errors import Fatal

TIME: Final = pa.timestamp("us", "UTC")

_UNITS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
FIRST_US: Final = -62_135_596_800_000_000  # 0001-01-01
LAST_US: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999


def read_times(table: pa.Table, rule: TimestampRule) -> tuple[pa.Array, pa.Array]:
    """The time of each row (null where it has none or it cannot be read), and whether it cannot be read. Raises Fatal
    where the column is missing and not optional, of a type that holds no times, or the pattern is not one."""
    if rule.is_optional and rule.field not in table.column_names:
        return pa.nulls(table.num_rows, TIME), _all_false(table.num_rows)
    column = _column(table, rule.field)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        times = _bounded(_microseconds(column))
        return times, _unread(column.is_valid(), times)
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), TIME), _all_false(len(column))
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        column = _numbers_as_text(column, rule)
    if not pa.types.is_string(column.type):
        raise Fatal(f"timestampField: column {rule.field!r} is of type {column.type}, which holds no times")
    present = pc.fill_null(pc.not_equal(column, ""), False)
    times = _bounded(_read_text(column, rule.format))
    return times, _unread(present, times)


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        raise Fatal(f"timestampField: there is no column {name!r}")
    return whole(plain_text(table.column(name), table.schema.field(name)))


def _numbers_as_text(column: pa.Array, rule: TimestampRule) -> pa.Array:
    if rule.format == "iso8601":
        raise Fatal(
            f"timestampField: column {rule.field!r} holds numbers; say `timestampFormat: epoch_s` or `epoch_ms`"
        )
    return column.cast(pa.string())


def _read_text(column: pa.Array, how: str) -> pa.Array:
    """Microseconds since the epoch, null where a value cannot be read."""
    if how == "iso8601":
        quick = _all_alike(column)
        if quick is not None:
            return quick
    return _ask(column, microseconds_sql(how, "c0"))


def _all_alike(column: pa.Array) -> pa.Array | None:
    """The quick way, where every value is written alike; what it reads, the careful way reads the same."""
    for kind in (TIME, pa.timestamp("us")):
        try:
            return column.cast(kind).cast(pa.int64())
        except pa.ArrowInvalid:
            continue
    return None


def _ask(column: pa.Array, microseconds: str) -> pa.Array:
    from reconciler.data.engine import EngineError, query  # where all is written alike, nobody is asked

    try:
        found = query(f"SELECT {microseconds}::BIGINT AS c0 FROM given", given=pa.table({"c0": column}))
    except EngineError as error:
        raise Fatal(f"timestampFormat: {str(error).splitlines()[0]}") from None
    except UnicodeDecodeError:  # DuckDB cuts what it says of a pattern in the middle of a character
        raise Fatal("timestampFormat: the pattern is none that strptime reads") from None
    return whole(found.column("c0"))


def _bounded(microseconds: pa.Array) -> pa.Array:
    inside = pc.and_(pc.greater_equal(microseconds, FIRST_US), pc.less_equal(microseconds, LAST_US))
    return pc.if_else(inside, microseconds, None).cast(TIME)


def _microseconds(column: pa.Array) -> pa.Array:
    """Microseconds since the epoch of a column of times or dates; null where they do not fit."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("ns")).cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    if pa.types.is_date32(kind):
        counts, factor = column.cast(pa.int32()).cast(pa.int64()), 86_400_000_000
    else:
        counts, factor = column.cast(pa.int64()), 1_000 if pa.types.is_date64(kind) else _UNITS[kind.unit]
    fits = pc.less_equal(pc.abs(counts), LAST_US // factor)
    return pc.multiply(pc.if_else(fits, counts, None), factor)


def _unread(present: pa.Array, times: pa.Array) -> pa.Array:
    return pc.and_(present, pc.is_null(times))


def _all_false(count: int) -> pa.Array:
    return pa.repeat(pa.scalar(False), count)
