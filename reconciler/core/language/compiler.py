"""From sqlglot's tree to checked DuckDB SQL: what may stand in an expression, and what types it takes and gives.

Nothing passes through: the SQL is written anew from the parts that a handler knows, and a part without a handler, or
with an option that its handler does not know, is refused. The functions are in `functions.py`, comparisons with now()
in `moments.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from sqlglot import exp

from reconciler.core.language.growth import bound_growth
from reconciler.core.language.moments import RULE, against_now, interval, is_now, mentions_now, shifted
from reconciler.core.language.syntax import TOO_DEEP, operands, parse
from reconciler.core.language.terms import (
    Term,
    mismatch,
    negated,
    number_literal,
    refusal,
    text_literal,
    time_literal,
    unified,
    widened,
)
from reconciler.core.language.types import (
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    MACHINE_DIGITS,
    NULL,
    TEXT,
    TIMESTAMP,
    BadExpression,
    Type,
    added,
    as_decimal,
    decimal,
    multiplied,
    remaining,
)

Handler = Callable[["Compiler", Any], Term]


class Scope(Protocol):
    """The names that an expression may use."""

    def column(self, name: str, node: exp.Column) -> Term:
        """The column of that name. Raises BadExpression where there is none."""


class Compiler:
    """Compiles one expression. `moments` is where comparisons with now() are kept, None where there may be none."""

    def __init__(self, scope: Scope, handlers: Mapping[type[Any], Handler], moments: list[str] | None = None) -> None:
        self._scope = scope
        self._handlers = {**_HANDLERS, **handlers}
        self.moments = moments
        self.used: set[str] = set()

    def compile(self, text: str, functions: Sequence[str]) -> Term:
        """The whole expression of a text. Raises BadExpression."""
        tree = parse(text, functions)
        try:
            bound_growth(tree)
            return self.term(tree)
        except RecursionError:
            raise BadExpression(TOO_DEEP) from None

    def term(self, node: Any) -> Term:
        """One part of the tree, checked."""
        handler = self._handlers.get(type(node))
        if handler is None:
            raise refusal(_foreign(node), node)
        return handler(self, node)

    def boolean(self, node: Any, what: str) -> str:
        """The SQL of a part that must be true or false."""
        term = self.term(node)
        if term.type not in (BOOLEAN, NULL):
            raise refusal(f"expected true or false {what}, found {term.type}{term.hint}", node)
        return widened(term, BOOLEAN)

    def column(self, node: exp.Column) -> Term:
        if not isinstance(node.this, exp.Identifier):
            raise refusal("'*' cannot stand in an expression", node)
        if len(node.parts) > 1:
            raise refusal("a name with a point in it stands in double quotes", node)
        if not node.name:
            raise refusal("a name is not empty; a text stands in single quotes", node)
        term = self._scope.column(node.name, node)
        self.used.add(node.name)
        return term


def only(node: Any, *known: str) -> None:
    """Refuses a node that has more to it than a handler knows."""
    extra = sorted(name for name, value in node.args.items() if value and name not in known)
    if extra:
        raise refusal(f"'{extra[0]}' of '{node.key}' is not part of the expression language", node)


def _foreign(node: Any) -> str:
    if isinstance(node, (exp.Query, exp.Subquery, exp.Exists)):
        return "a query cannot stand in an expression"
    if isinstance(node, exp.Star):
        return "'*' cannot stand in an expression"
    if isinstance(node, exp.Interval):
        return "an interval can only be added to a date or time, or subtracted from one"
    if isinstance(node, (exp.CurrentDate, exp.CurrentTimestamp)):
        return "of the current time there is only now(), and it can stand only in the `where` of an Audience"
    if is_now(node):
        return RULE
    return f"'{_SYMBOLS.get(node.key, node.key)}' is not part of the expression language"


#: How sqlglot's names of some operators are written.
_SYMBOLS: Final = {
    "pow": "**", "intdiv": "//", "bitwiseand": "&", "bitwiseor": "|", "bitwisexor": "xor", "bitwisenot": "~",
    "bitwiseleftshift": "<<", "bitwiserightshift": ">>", "regexplike": "~", "similarto": "similar to",
    "bytestring": "e'…'", "rawstring": "$$…$$", "national": "n'…'", "attimezone": "at time zone", "tuple": "(…, …)",
    "arrayoverlaps": "&&", "arraycontainsall": "@>", "arraycontainedby": "<@", "startswith": "^@",
    "currentuser": "current_user",
}  # fmt: skip


# --- the simplest parts ---------------------------------------------------------------------------------------------


def _literal(_compiler: Compiler, node: exp.Literal) -> Term:
    return text_literal(node.this, node) if node.is_string else number_literal(node.this, node)


def _boolean(_compiler: Compiler, node: exp.Boolean) -> Term:
    return Term("TRUE" if node.this else "FALSE", BOOLEAN, node)


def _null(_compiler: Compiler, node: exp.Null) -> Term:
    return Term("NULL", NULL, node)


def _paren(compiler: Compiler, node: exp.Paren) -> Term:
    only(node, "this")
    return compiler.term(node.this)


# --- arithmetic -----------------------------------------------------------------------------------------------------


def _numbers(compiler: Compiler, node: Any, what: str) -> tuple[Term, Term]:
    left, right = compiler.term(node.this), compiler.term(node.expression)
    for one in (left, right):
        if not (one.type.is_number or one.type == NULL):
            raise mismatch(what, (left, right), node)
    return left, right


def _is_double(left: Term, right: Term) -> bool:
    return DOUBLE in (left.type, right.type) or left.type == right.type == NULL


def _inexact(left: Term, right: Term, symbol: str, node: Any) -> Term:
    return Term(f"({widened(left, DOUBLE)} {symbol} {widened(right, DOUBLE)})", DOUBLE, node)


def _integers(left: Term, right: Term, symbol: str, node: Any) -> Term:
    """NULL where the result is no integer of 64 bits."""
    return Term(f"TRY({widened(left, INTEGER)} {symbol} {widened(right, INTEGER)})", INTEGER, node)


def _settled(left: Term, right: Term) -> tuple[Type, Type]:
    """The types of two exact numbers; a bare NULL has the other's, and an integer that is written out beside a decimal
    needs no more digits than it has."""
    if "decimal" in (left.type.kind, right.type.kind):
        one, other = left.least_type, right.least_type
    else:
        one, other = left.type, right.type
    return (other if one == NULL else one), (one if other == NULL else other)


def _sum(compiler: Compiler, node: Any, what: str, symbol: str) -> Term:
    left, right = compiler.term(node.this), compiler.term(node.expression)
    if symbol == "-" and left.type == right.type == DATE:
        return Term(f"TRY({left.sql} - {right.sql})", INTEGER, node)
    for one in (left, right):
        if not (one.type.is_number or one.type == NULL):
            hint = "; write `interval 3 day` for a span of time" if one.type.is_time else ""
            raise mismatch(what, (left, right), node, hint)
    if _is_double(left, right):
        return _inexact(left, right, symbol, node)
    return _exact_sum(left, right, symbol, added(*_settled(left, right)), node)


def _exact_sum(left: Term, right: Term, symbol: str, wanted: Type, node: Any) -> Term:
    """Both sides are given the result's type first, so that DuckDB has nothing to choose."""
    if wanted == INTEGER:
        return _integers(left, right, symbol, node)
    sides = [f"TRY_CAST({one.sql} AS {wanted.sql})" for one in (left, right)]
    return Term(f"TRY_CAST(TRY({sides[0]} {symbol} {sides[1]}) AS {wanted.sql})", wanted, node)


def _add(compiler: Compiler, node: exp.Add) -> Term:
    for time, span in ((node.this, node.expression), (node.expression, node.this)):
        found = interval(span)
        if found:
            return shifted(compiler.term(time), "+", found, node)
    return _sum(compiler, node, "add", "+")


def _subtract(compiler: Compiler, node: exp.Sub) -> Term:
    found = interval(node.expression)
    if found:
        return shifted(compiler.term(node.this), "-", found, node)
    return _sum(compiler, node, "subtract", "-")


def _multiply(compiler: Compiler, node: exp.Mul) -> Term:
    left, right = _numbers(compiler, node, "multiply")
    if _is_double(left, right):
        return _inexact(left, right, "*", node)
    wanted = multiplied(*_settled(left, right))
    if wanted is None:
        raise refusal("the product has more than 38 digits behind the point; round a factor first", node)
    if wanted == INTEGER:
        return _integers(left, right, "*", node)
    sides = [_as_factor(left, MACHINE_DIGITS + 1 if wanted.digits > MACHINE_DIGITS else 1), _as_factor(right)]
    return Term(f"TRY_CAST(TRY({sides[0]} * {sides[1]}) AS {wanted.sql})", wanted, node)


def _as_factor(term: Term, digits: int = 1) -> str:
    """Of so many digits at least. DuckDB gives the product of two decimals that fit a machine's word no more than such a
    word's digits, unless one of them has more."""
    found = as_decimal(term.least_type) if term.type != NULL else decimal(1, 0)
    return widened(term, decimal(max(found.digits, digits), found.scale))


def _divide(compiler: Compiler, node: exp.Div) -> Term:
    only(node, "this", "expression", "typed", "safe")
    left, right = _numbers(compiler, node, "divide")
    return Term(f"({widened(left, DOUBLE)} / nullif({widened(right, DOUBLE)}, 0))", DOUBLE, node)


def _modulo(compiler: Compiler, node: exp.Mod) -> Term:
    left, right = _numbers(compiler, node, "take the remainder of")
    if _is_double(left, right):
        return Term(f"({widened(left, DOUBLE)} % nullif({widened(right, DOUBLE)}, 0))", DOUBLE, node)
    wanted = remaining(*_settled(left, right))
    if wanted is None:
        raise refusal("these decimals have too many digits for a remainder; round one first", node)
    sides = [widened(one, wanted) for one in (left, right)]
    return Term(f"TRY_CAST(TRY({sides[0]} % {sides[1]}) AS {wanted.sql})", wanted, node)


def _negate(compiler: Compiler, node: exp.Neg) -> Term:
    term = compiler.term(node.this)
    if not (term.type.is_number or term.type == NULL):
        raise mismatch("negate", (term,), node)
    literal = negated(term, node)
    if literal:
        return literal
    return Term(f"TRY(-{widened(term, INTEGER) if term.type == NULL else term.sql})", _known(term.type), node)


def _known(found: Type) -> Type:
    return INTEGER if found == NULL else found


def _join(compiler: Compiler, node: exp.DPipe) -> Term:
    only(node, "this", "expression", "safe")
    left, right = compiler.term(node.this), compiler.term(node.expression)
    for one in (left, right):
        if one.type not in (TEXT, NULL):
            raise mismatch("join", (left, right), node, "; use concat(), or cast to text")
    return Term(f"({widened(left, TEXT)} || {widened(right, TEXT)})", TEXT, node)


# --- true or false --------------------------------------------------------------------------------------------------


def _connective(symbol: str) -> Handler:
    def handle(compiler: Compiler, node: Any) -> Term:
        parts = [compiler.boolean(one, f"beside `{symbol.lower()}`") for one in operands(node)]
        return Term(f"({f' {symbol} '.join(parts)})", BOOLEAN, node)

    return handle


def _not(compiler: Compiler, node: exp.Not) -> Term:
    return Term(f"(NOT {compiler.boolean(node.this, 'after `not`')})", BOOLEAN, node)


def _comparison(symbol: str) -> Handler:
    def handle(compiler: Compiler, node: Any) -> Term:
        return compared(compiler, node.this, symbol, node.expression, node)

    return handle


def compared(compiler: Compiler, left_node: Any, symbol: str, right_node: Any, node: Any) -> Term:
    """A comparison of two parts, now() among them or not."""
    if compiler.moments is not None and (mentions_now(left_node) or mentions_now(right_node)):
        term, flips = against_now(compiler.term, left_node, symbol, right_node, node)
        compiler.moments.append(flips)
        return term
    left, right = compiler.term(left_node), compiler.term(right_node)
    found, sides = unified((left, right), "compare", node)
    if found.kind == "list(text)":
        raise refusal("a list cannot be compared; ask contains(list, 'value')", node)
    if found == BOOLEAN and symbol in ("<", "<=", ">", ">="):
        raise refusal("true and false have no order; use = or <>", node)
    return Term(f"({sides[0]} {symbol} {sides[1]})", BOOLEAN, node)


def _between(compiler: Compiler, node: exp.Between) -> Term:
    """Taken apart, because either bound may be now(); what is compared is then a column, or short."""
    only(node, "this", "low", "high")
    if compiler.moments is not None and any(map(mentions_now, (node.this, node.args["low"], node.args["high"]))):
        least = compared(compiler, node.this, ">=", node.args["low"], node)
        most = compared(compiler, node.this, "<=", node.args["high"], node)
        return Term(f"({least.sql} AND {most.sql})", BOOLEAN, node)
    terms = [compiler.term(one) for one in (node.this, node.args["low"], node.args["high"])]
    found, (value, low, high) = unified(terms, "compare", node)
    if found.kind in ("list(text)", "boolean"):
        raise mismatch("order", terms[:1], node)
    return Term(f"({value} BETWEEN {low} AND {high})", BOOLEAN, node)


def _in(compiler: Compiler, node: exp.In) -> Term:
    if node.args.get("query"):
        raise refusal("a query cannot stand in an expression", node)
    if node.args.get("field"):
        raise refusal("expected values in brackets after `in`; of a list, ask contains(list, 'value')", node)
    only(node, "this", "expressions")
    value, listed = compiler.term(node.this), [compiler.term(one) for one in node.expressions]
    if not listed:
        raise refusal("expected values in brackets after `in`", node)
    for one in listed:
        if one.constant is None and one.sql not in ("TRUE", "FALSE", "NULL") and one.type != DOUBLE:
            raise refusal("expected only values that are written out after `in`", one.node)
    found, (first, *others) = unified([value, *listed], "compare", node)
    if found.kind == "list(text)":
        raise refusal("a list cannot be compared; ask contains(list, 'value')", node)
    return Term(f"({first} IN ({', '.join(others)}))", BOOLEAN, node)


def _like(symbol: str) -> Handler:
    def handle(compiler: Compiler, node: Any) -> Term:
        only(node, "this", "expression", "negate")
        value, pattern = compiler.term(node.this), compiler.term(node.expression)
        if value.type not in (TEXT, NULL):
            raise refusal(f"expected a text before `{symbol.lower()}`, found {value.type}", node)
        if not isinstance(pattern.constant, str):
            raise refusal(f"expected a pattern in single quotes after `{symbol.lower()}`", node)
        negation = "NOT " if node.args.get("negate") else ""
        return Term(f"({widened(value, TEXT)} {negation}{symbol} {pattern.sql})", BOOLEAN, node)

    return handle


def _is(compiler: Compiler, node: exp.Is) -> Term:
    match node.expression:
        case exp.Null():
            return Term(f"({compiler.term(node.this).sql} IS NULL)", BOOLEAN, node)
        case exp.Boolean():
            truth = "TRUE" if node.expression.this else "FALSE"
            return Term(f"({compiler.boolean(node.this, 'before `is`')} IS {truth})", BOOLEAN, node)
        case _:
            raise refusal("expected null, true or false after `is`", node)


# --- choices --------------------------------------------------------------------------------------------------------


def _case(compiler: Compiler, node: exp.Case) -> Term:
    only(node, "this", "ifs", "default")
    ifs = node.args["ifs"]
    default = node.args.get("default")
    results = [compiler.term(one.args["true"]) for one in ifs]
    results.append(compiler.term(default) if default else Term("NULL", NULL, node))
    wanted, (*then, otherwise) = unified(results, "mix {} in one case", node)
    if node.this:
        compared_with = [compiler.term(one.this) for one in ifs]
        _, (value, *choices) = unified([compiler.term(node.this), *compared_with], "compare", node)
        head = f"CASE {value}"
    else:
        head, choices = "CASE", [compiler.boolean(one.this, "after `when`") for one in ifs]
    branches = " ".join(f"WHEN {when} THEN {result}" for when, result in zip(choices, then, strict=True))
    return Term(f"({head} {branches} ELSE {otherwise} END)", wanted, node)


def written_time(term: Term, wanted: Type) -> Term | None:
    """A date or time that is written out as a literal with its type before it."""
    if not isinstance(term.constant, str) or not wanted.is_time:
        return None
    found = time_literal(term)
    sql = found.sql if found.type == wanted else f"CAST({found.sql} AS {wanted.sql})"
    return Term(sql, wanted, term.node) if wanted in (DATE, TIMESTAMP) else None


_HANDLERS: Final[Mapping[type[Any], Handler]] = {
    exp.Literal: _literal,
    exp.Boolean: _boolean,
    exp.Null: _null,
    exp.Paren: _paren,
    exp.Column: Compiler.column,
    exp.Add: _add,
    exp.Sub: _subtract,
    exp.Mul: _multiply,
    exp.Div: _divide,
    exp.Mod: _modulo,
    exp.Neg: _negate,
    exp.DPipe: _join,
    exp.And: _connective("AND"),
    exp.Or: _connective("OR"),
    exp.Not: _not,
    exp.EQ: _comparison("="),
    exp.NEQ: _comparison("<>"),
    exp.NullSafeEQ: _comparison("IS NOT DISTINCT FROM"),
    exp.NullSafeNEQ: _comparison("IS DISTINCT FROM"),
    exp.LT: _comparison("<"),
    exp.LTE: _comparison("<="),
    exp.GT: _comparison(">"),
    exp.GTE: _comparison(">="),
    exp.Between: _between,
    exp.In: _in,
    exp.Like: _like("LIKE"),
    exp.ILike: _like("ILIKE"),
    exp.Is: _is,
    exp.Case: _case,
}
