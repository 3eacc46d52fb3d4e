"""One schema for columns that came with several types: widening loses nothing, or goes to text.

| types                                   | become                                              |
|---|---|
| the same                                | that type                                           |
| only nulls, and another                 | the other                                           |
| integers                                | the smallest signed integer that holds both         |
| integers and floats                     | double, where every integer is one; else text       |
| decimals                                | the decimal that holds both, up to 38 digits        |
| times of s, ms, us; both with zone or not | the finer                                         |
| any, where one is JSON text of no type, or nested | JSON text                                 |
| everything else                         | text                                                |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pyarrow as pa

from reconciler.data.jsontext import is_json, json_field, plain, plain_type
from reconciler.data.render import as_json, as_text

#: Integers up to this are doubles without loss.
EXACT_INTEGER: Final = 1 << 53

_UNITS: Final = ("s", "ms", "us")
_T: Final = pa.types


def widened(one: pa.Field, other: pa.Field, fits_double: Callable[[], bool]) -> pa.Field:
    """The field that holds the values of both; `fits_double` says whether the integers among them are all doubles."""
    first, second = plain_type(one), plain_type(other)
    if first is None or second is None:
        return json_field(one.name)
    kind = _join(first, second, fits_double)
    if kind is None:
        return json_field(one.name)
    return pa.field(one.name, kind)


def as_plain(field: pa.Field) -> pa.Field:
    """The field as it reads where it stands alone."""
    kind = plain_type(field)
    return json_field(field.name) if kind is None else pa.field(field.name, kind)


def cast_to(column: pa.ChunkedArray, field: pa.Field, wanted: pa.Field) -> pa.ChunkedArray:
    """A column of a segment as its widened field has it."""
    if is_json(wanted):
        return as_json(column, field)
    if is_json(field):
        column = plain(column, field)
        field = pa.field(field.name, column.type)
    if column.type == wanted.type:
        return column
    return as_text(column, field) if _T.is_string(wanted.type) else column.cast(wanted.type)


def _join(one: pa.DataType, other: pa.DataType, fits_double: Callable[[], bool]) -> pa.DataType | None:
    """The type that holds both; None for JSON text."""
    if one == other or _T.is_null(other):
        return one
    if _T.is_null(one):
        return other
    if _T.is_nested(one) or _T.is_nested(other):
        return None
    return _numbers(one, other, fits_double) or _times(one, other) or pa.string()


def _numbers(one: pa.DataType, other: pa.DataType, fits_double: Callable[[], bool]) -> pa.DataType | None:
    if _T.is_integer(one) and _T.is_integer(other):
        return _integers(one, other)
    if _T.is_floating(one) and _T.is_floating(other):
        return pa.float64()
    both = {_T.is_integer(one) or _T.is_integer(other), _T.is_floating(one) or _T.is_floating(other)}
    if both == {True} and fits_double():
        return pa.float64()
    return _decimals(one, other) if _T.is_decimal(one) and _T.is_decimal(other) else None


def _integers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if _T.is_signed_integer(one) == _T.is_signed_integer(other):
        return one if one.bit_width >= other.bit_width else other
    unsigned, signed = (one, other) if _T.is_unsigned_integer(one) else (other, one)
    bits = max(unsigned.bit_width * 2, signed.bit_width)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(bits)


def _decimals(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    scale = max(one.scale, other.scale)
    digits = max(one.precision - one.scale, other.precision - other.scale) + scale
    return pa.decimal128(digits, scale) if digits <= 38 else None


def _times(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if not (_T.is_timestamp(one) and _T.is_timestamp(other)) or bool(one.tz) != bool(other.tz):
        return None
    if one.unit not in _UNITS or other.unit not in _UNITS:
        return None
    return pa.timestamp(max(one.unit, other.unit, key=_UNITS.index), "UTC" if one.tz else None)
