"""Spans of time, and comparisons with now(): at which moment does one change?

now() stands only in comparing one attribute with now() plus or minus a constant interval. The interval is taken to the
attribute's side: `last_order_at > now() - interval 1 month` means that one month after the last order is still to
come. So the comparison changes once, at a moment that the attribute gives; with months on the side of now() it could
change back and forth, because they differ in length.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from sqlglot import exp

from reconciler.core.language.terms import Term, mismatch, refusal, widened
from reconciler.core.language.types import BOOLEAN, NULL, TIMESTAMP

#: The longest interval, in days.
MAX_INTERVAL_DAYS: Final = 366_000

#: Units of an interval, and their days (rounded up).
_UNITS: Final = {
    "year": 366, "quarter": 92, "month": 31, "week": 7, "day": 1, "hour": 1 / 24, "minute": 1 / 1440,
    "second": 1 / 86_400,
}  # fmt: skip
_COUNT: Final = re.compile(r"\d{1,12}")

_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}

RULE: Final = (
    "now() can stand only in comparing one attribute with now() plus or minus a constant interval, "
    "such as last_order_at > now() - interval 90 day"
)


def interval(node: Any) -> str | None:
    """The SQL of the interval that a part of the tree is; None where it is something else. Raises where it is one that
    the language does not have."""
    node = _bare(node)
    if not isinstance(node, exp.Interval):
        return None
    value, unit = _bare(node.this), node.args.get("unit")
    name = unit.name.lower() if isinstance(unit, exp.Var) else ""
    name = name.removesuffix("s")
    count = value.this if isinstance(value, exp.Literal) else ""
    if name not in _UNITS or not _COUNT.fullmatch(count):
        raise refusal(f"expected an interval such as `interval 90 day`, in one of {', '.join(_UNITS)}", node)
    if int(count) * _UNITS[name] > MAX_INTERVAL_DAYS:
        raise refusal("an interval is at most 1,000 years", node)
    return f"INTERVAL '{int(count)} {name}s'"


def shifted(term: Term, sign: str, span: str, node: Any) -> Term:
    """A date or time, an interval earlier or later."""
    if not (term.type.is_time or term.type == NULL):
        raise mismatch("add an interval to" if sign == "+" else "subtract an interval from", (term,), node)
    return Term(f"TRY({widened(term, TIMESTAMP)} {sign} {span})", TIMESTAMP, node)


def _bare(node: Any) -> Any:
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def is_now(node: Any) -> bool:
    return isinstance(node, exp.CurrentTimestamp) or (isinstance(node, exp.Anonymous) and node.name.lower() == "now")


def mentions_now(node: Any) -> bool:
    return any(is_now(one) for one in node.walk())


def against_now(term_of: Callable[[Any], Term], left: Any, symbol: str, right: Any, node: Any) -> tuple[Term, str]:
    """`attribute < now() - interval`, whichever side is which, and the SQL of the moment at which it changes."""
    if mentions_now(left):
        if mentions_now(right):
            raise refusal(RULE, node)
        left, right, symbol = right, left, _MIRRORED.get(symbol, symbol)
    moment = _moment(term_of, _bare(left), _bare(right))
    if symbol not in _MIRRORED:
        raise refusal("a time equals now() for a microsecond; compare with < or >", node)
    flips = moment if symbol in (">", "<=") else f"TRY({moment} + INTERVAL '1 microsecond')"
    return Term(f"({moment} {symbol} CAST($now AS TIMESTAMP))", BOOLEAN, node), flips


def _moment(term_of: Callable[[Any], Term], attribute: Any, now: Any) -> str:
    """The time that is compared with now(): the attribute's, with the interval on its side."""
    if not isinstance(attribute, exp.Column):
        raise refusal(RULE, attribute)
    term = term_of(attribute)
    if not term.type.is_time:
        raise mismatch("compare now() with", (term,), attribute)
    if is_now(now):
        return widened(term, TIMESTAMP)
    if isinstance(now, (exp.Add, exp.Sub)):
        sides = [_bare(now.this), _bare(now.expression)]
        if isinstance(now, exp.Add) and is_now(sides[1]):
            sides.reverse()
        span = interval(sides[1])
        if span and is_now(sides[0]):
            return shifted(term, "-" if isinstance(now, exp.Add) else "+", span, now).sql
    raise refusal(RULE, now)
