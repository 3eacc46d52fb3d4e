"""The types of the expression language, and which of them go together.

There are text, integer, double, boolean, date, timestamp, decimal(p,s) and list(text), each with its DuckDB type; and
`null`, the type of a bare NULL, which goes with every other. Arithmetic of integers and decimals is exact: its results
have as many digits as they may need, up to the 38 that a decimal has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from reconciler.core.value import dataclass

#: The digits that a decimal may have.
MAX_DIGITS: Final = 38
#: Digits that an integer of 64 bits may have.
INTEGER_DIGITS: Final = 19

#: Digits that a decimal has in DuckDB as long as it is kept in 64 bits.
MACHINE_DIGITS: Final = 18

#: A column's type, by every spelling that is taken.
COLUMN_TYPES: Final = {
    "text": "text", "string": "text", "varchar": "text",
    "integer": "integer", "int": "integer", "bigint": "integer",
    "double": "double", "float": "double",
    "boolean": "boolean", "bool": "boolean",
    "date": "date",
    "timestamp": "timestamp", "datetime": "timestamp",
}  # fmt: skip

_DECIMAL: Final = re.compile(r"decimal\(([0-9]+),([0-9]+)\)")
_SPELT_DECIMAL: Final = re.compile(r"decimal\(\s*([0-9]{1,3})\s*,\s*([0-9]{1,3})\s*\)")

_DUCKDB: Final = {
    "text": "VARCHAR", "integer": "BIGINT", "double": "DOUBLE", "boolean": "BOOLEAN", "date": "DATE",
    "timestamp": "TIMESTAMP", "list(text)": "VARCHAR[]", "null": "VARCHAR",
}  # fmt: skip


class BadExpression(Exception):
    """What is wrong with an expression, in a sentence; `offset` is the character, from 0, at which it is wrong."""

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


class UnknownAttribute(BadExpression):
    """A condition on something that no Stream declares; `name` is what it is called there."""

    def __init__(self, message: str, offset: int = 0, name: str = "") -> None:
        super().__init__(message, offset)
        self.name = name


@dataclass(frozen=True, slots=True)
class Type:
    """`digits` and `scale` are a decimal's; the others have none."""

    kind: str
    digits: int = 0
    scale: int = 0

    def __str__(self) -> str:
        return f"decimal({self.digits},{self.scale})" if self.kind == "decimal" else self.kind

    @property
    def sql(self) -> str:
        """The type in DuckDB."""
        return f"DECIMAL({self.digits},{self.scale})" if self.kind == "decimal" else _DUCKDB[self.kind]

    @property
    def is_exact(self) -> bool:
        return self.kind in ("integer", "decimal")

    @property
    def is_number(self) -> bool:
        return self.is_exact or self.kind == "double"

    @property
    def is_time(self) -> bool:
        return self.kind in ("date", "timestamp")


TEXT: Final = Type("text")
INTEGER: Final = Type("integer")
DOUBLE: Final = Type("double")
BOOLEAN: Final = Type("boolean")
DATE: Final = Type("date")
TIMESTAMP: Final = Type("timestamp")
TEXTS: Final = Type("list(text)")
NULL: Final = Type("null")

_BY_NAME: Final = {one.kind: one for one in (TEXT, INTEGER, DOUBLE, BOOLEAN, DATE, TIMESTAMP, TEXTS)}


def type_of(name: str) -> Type:
    """The type of a canonical name, as a normalised Stream and `attribute_types` have it."""
    match = _DECIMAL.fullmatch(name)
    return decimal(int(match[1]), int(match[2])) if match else _BY_NAME[name]


def is_decimal(text: str) -> bool:
    """Whether this is a decimal's spelling, with whatever numbers of digits."""
    return _SPELT_DECIMAL.fullmatch(text.lower()) is not None


def column_type(text: str) -> str | None:
    """The canonical name of a column's type, however it is spelt; None where it is none."""
    match = _SPELT_DECIMAL.fullmatch(text.lower())
    if match is None:
        return COLUMN_TYPES.get(text.lower())
    digits, scale = int(match[1]), int(match[2])
    return f"decimal({digits},{scale})" if 1 <= digits <= MAX_DIGITS and scale <= digits else None


def decimal(digits: int, scale: int) -> Type:
    return Type("decimal", digits, scale)


def as_decimal(one: Type) -> Type:
    """An exact number's type as a decimal."""
    return one if one.kind == "decimal" else decimal(INTEGER_DIGITS, 0)


def joined(types: Iterable[Type]) -> Type | None:
    """A decimal that holds all values of these exact types; None where that takes more digits than there are."""
    decimals = [as_decimal(one) for one in types]
    scale = max(one.scale for one in decimals)
    whole = max(one.digits - one.scale for one in decimals)
    return decimal(max(whole + scale, 1), scale) if whole + scale <= MAX_DIGITS else None


def common(types: Iterable[Type]) -> Type | None:
    """The type in which values of all these types can be compared and mixed; None where there is none. Exact numbers
    stay exact as long as the digits suffice; otherwise, and beside a double, they become doubles."""
    known = {one for one in types if one != NULL}
    if not known:
        return NULL
    if len(known) == 1:
        return next(iter(known))
    if all(one.is_exact for one in known):
        return joined(known) or DOUBLE
    if all(one.is_number for one in known):
        return DOUBLE
    return TIMESTAMP if all(one.is_time for one in known) else None


def added(left: Type, right: Type) -> Type:
    """The type of a sum or difference of exact numbers."""
    if left == right == INTEGER:
        return INTEGER
    one, other = as_decimal(left), as_decimal(right)
    scale = max(one.scale, other.scale)
    whole = max(one.digits - one.scale, other.digits - other.scale) + 1
    return decimal(min(whole + scale, MAX_DIGITS), scale)


def multiplied(left: Type, right: Type) -> Type | None:
    """The type of a product of exact numbers; None where it would have too many digits behind the point."""
    if left == right == INTEGER:
        return INTEGER
    one, other = as_decimal(left), as_decimal(right)
    scale = one.scale + other.scale
    return decimal(min(one.digits + other.digits, MAX_DIGITS), scale) if scale <= MAX_DIGITS else None


def remaining(left: Type, right: Type) -> Type | None:
    """The type of a remainder of exact numbers; None where they have no decimal in common."""
    return INTEGER if left == right == INTEGER else joined((left, right))
