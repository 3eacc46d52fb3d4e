"""Parts of an expression that are checked: their DuckDB SQL, their type, and how several of them become comparable.

Every SQL here holds the SQL of its parts once, but for what is short, so that it grows as the text does; and none of it
raises for a value: what can fail stands in TRY or TRY_CAST, and is NULL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from sqlglot import exp

from reconciler.core.issue import both_of, quoted
from reconciler.core.language import reading
from reconciler.core.language.syntax import place
from reconciler.core.language.types import (
    DATE,
    DOUBLE,
    INTEGER,
    MAX_DIGITS,
    NULL,
    TEXT,
    TIMESTAMP,
    BadExpression,
    Type,
    common,
    decimal,
)
from reconciler.core.value import dataclass

_MAX_INTEGER: Final = 2**63 - 1
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?([Zz]|[+-]\d{2}:\d{2})?")


@dataclass(frozen=True, slots=True)
class Term:
    """A part of an expression. `constant` is the value of a literal; `column` the name of a bare column; `hint` what
    may mend it where its type does not fit."""

    sql: str
    type: Type
    node: exp.Expr
    constant: str | int | Decimal | None = None
    column: str = ""
    hint: str = ""

    @property
    def least_type(self) -> Type:
        """An integer that is written out needs no more digits than it has."""
        if isinstance(self.constant, int) and self.type == INTEGER:
            return decimal(len(str(abs(self.constant))), 0)
        return self.type


def refusal(message: str, node: exp.Expr) -> BadExpression:
    return BadExpression(message, place(node))


def mismatch(what: str, terms: Sequence[Term], node: exp.Expr, hint: str = "") -> BadExpression:
    """`cannot multiply text and integer`, with what may mend it. `{}` in `what` is where the types stand."""
    types = list(dict.fromkeys(str(one.type) for one in terms))
    shown = both_of(types * 2 if len(types) == 1 and len(terms) > 1 else types)
    hint = hint or next((one.hint for one in terms if one.hint), "")
    return refusal(f"cannot {what.format(shown) if '{}' in what else f'{what} {shown}'}{hint}", node)


# --- literals -------------------------------------------------------------------------------------------------------


def text_literal(value: str, node: exp.Expr) -> Term:
    escaped = value.replace("'", "''")
    hint = "; a number stands without quotes" if value[:1].isdigit() else ""
    return Term(f"'{escaped}'", TEXT, node, value, hint=hint)


def number_literal(text: str, node: exp.Expr) -> Term:
    """An integer, a decimal of as many digits as it is written with, or with an exponent a double."""
    if "e" in text.lower():
        try:
            number = float(text)
        except ValueError:  # the parser takes an exponent without digits
            raise refusal(f"'{text}' is no number", node) from None
        if not math.isfinite(number):
            raise refusal("this number is too large", node)
        return Term(f"CAST({number!r} AS DOUBLE)", DOUBLE, node)
    try:
        return exact_literal(Decimal(text), "." in text, node)
    except InvalidOperation:  # the parser takes two points
        raise refusal(f"'{text}' is no number", node) from None


def exact_literal(value: Decimal, is_decimal: bool, node: exp.Expr) -> Term:
    """An exact number, negative too."""
    _, digits, exponent = value.as_tuple()
    scale = max(-int(exponent), 0)
    count = max(len(digits), scale, 1)
    if count > MAX_DIGITS:
        raise refusal(f"a number has at most {MAX_DIGITS} digits", node)
    if not is_decimal and abs(value) <= _MAX_INTEGER:
        return Term(f"CAST({value:f} AS BIGINT)", INTEGER, node, int(value))
    wanted = decimal(count, scale)  # from text: DuckDB takes a number of very many digits for a double
    return Term(f"CAST('{value:f}' AS {wanted.sql})", wanted, node, value)


def negated(term: Term, node: exp.Expr) -> Term | None:
    """A literal with the other sign; None for what is no number that is written out."""
    if isinstance(term.constant, str) or term.constant is None:
        return None
    return exact_literal(-Decimal(term.constant), term.type.kind == "decimal", node)


def time_literal(term: Term) -> Term:
    """A text literal as the date or the time in UTC that it writes. Raises where it writes none."""
    text = str(term.constant)
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            return replace(term, sql=f"DATE '{day.isoformat()}'", type=DATE)
        if _MOMENT.fullmatch(text):
            moment = datetime.fromisoformat(text.upper())
            moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
            return replace(term, sql=f"TIMESTAMP '{moment.isoformat(' ')}'", type=TIMESTAMP)
    except (ValueError, OverflowError):
        pass
    message = f"expected a date or time such as '2026-01-31' or '2026-01-31T10:00:00Z', found {quoted(text)}"
    raise refusal(message, term.node)


# --- casts ----------------------------------------------------------------------------------------------------------


def widened(term: Term, wanted: Type) -> str:
    """A term's SQL as a type that holds all of its values."""
    if term.type == wanted:
        return term.sql
    attempt = "TRY_CAST" if term.type == DATE else "CAST"  # more dates than times
    return f"{attempt}({term.sql} AS {wanted.sql})"


def cast_sql(sql: str, given: Type, wanted: Type) -> str:
    """What `cast` means: the value, or NULL where the type cannot hold it. A text is read as in a column of that type."""
    if given == wanted:
        return sql
    return reading.cast_sql(sql, wanted) if given == TEXT else f"TRY_CAST({sql} AS {wanted.sql})"


def can_cast(given: Type, wanted: Type) -> bool:
    scalar = given.kind != "list(text)" and wanted.kind != "list(text)"
    if given == wanted or NULL in (given, wanted):
        return True
    if TEXT in (given, wanted) or (given.is_number and wanted.is_number) or (given.is_time and wanted.is_time):
        return scalar
    return given.kind == "boolean" and wanted == INTEGER


# --- several terms --------------------------------------------------------------------------------------------------


def unified(terms: Sequence[Term], what: str, node: exp.Expr) -> tuple[Type, list[str]]:
    """The type in which these can be mixed, and each one's SQL in it. A text literal beside dates and times is one."""
    if any(one.type.is_time for one in terms):
        terms = [time_literal(one) if isinstance(one.constant, str) else one for one in terms]
    wanted = common(_types(terms))
    if wanted is None:
        raise mismatch(what, terms, node)
    return wanted, [widened(one, wanted) for one in terms]


def _types(terms: Iterable[Term]) -> list[Type]:
    terms = list(terms)
    exact = any(one.type.kind == "decimal" for one in terms)
    return [one.least_type if exact else one.type for one in terms]
