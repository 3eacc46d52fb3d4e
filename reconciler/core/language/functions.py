"""The functions of the expression language: what each takes, what it gives, and its DuckDB SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlglot import exp

from reconciler.core.issue import quoted
from reconciler.core.language.compiler import Compiler, Handler, only, written_time
from reconciler.core.language.terms import Term, can_cast, cast_sql, mismatch, refusal, unified, widened
from reconciler.core.language.types import (
    BOOLEAN,
    COLUMN_TYPES,
    DATE,
    DOUBLE,
    INTEGER,
    MAX_DIGITS,
    NULL,
    TEXT,
    TEXTS,
    TIMESTAMP,
    Type,
    decimal,
)
from reconciler.core.suggest import did_you_mean

#: As they are written; sqlglot gives some of them the same class.
FUNCTIONS: Final = (
    "abs", "cast", "ceil", "ceiling", "coalesce", "concat", "contains", "date_trunc", "day", "extract", "floor",
    "greatest", "ifnull", "least", "length", "list_contains", "lower", "mod", "month", "nullif", "replace", "round",
    "substr", "substring", "trim", "try_cast", "upper", "year",
)  # fmt: skip

#: What `extract` takes of a time.
PARTS: Final = (
    "year", "quarter", "month", "week", "day", "dayofweek", "dow", "isodow", "dayofyear", "doy", "hour", "minute",
    "second", "epoch",
)  # fmt: skip
#: What `date_trunc` cuts to.
UNITS: Final = ("year", "quarter", "month", "week", "day", "hour", "minute", "second")

#: Digits behind the point to which a double is rounded at most.
MAX_DOUBLE_DIGITS: Final = 15


# --- texts ----------------------------------------------------------------------------------------------------------


def _text(compiler: Compiler, node: Any, what: str) -> str:
    term = compiler.term(node)
    if term.type not in (TEXT, NULL):
        raise refusal(f"{what} takes a text, found {term.type}{term.hint}", node)
    return widened(term, TEXT)


def _of_text(name: str) -> Handler:
    def handle(compiler: Compiler, node: Any) -> Term:
        only(node, "this")
        return Term(f"{name}({_text(compiler, node.this, f'{name}()')})", TEXT, node)

    return handle


def _trim(compiler: Compiler, node: exp.Trim) -> Term:
    if any(value for name, value in node.args.items() if name != "this"):
        raise refusal("trim() takes a text alone, and takes the spaces around it away", node)
    return Term(f"trim({_text(compiler, node.this, 'trim()')})", TEXT, node)


def _length(compiler: Compiler, node: exp.Length) -> Term:
    only(node, "this")
    term = compiler.term(node.this)
    if term.type == TEXTS:
        return Term(f"len({term.sql})", INTEGER, node)
    return Term(f"length({_text(compiler, node.this, 'length()')})", INTEGER, node)


def _substring(compiler: Compiler, node: exp.Substring) -> Term:
    only(node, "this", "start", "length")
    if not node.args.get("start"):
        raise refusal("substring() takes a text, the number of its first character, and how many", node)
    given = [compiler.term(one) for one in (node.args["start"], node.args.get("length")) if one]
    for one in given:
        if one.type not in (INTEGER, NULL):
            raise refusal(f"substring() takes integers after the text, found {one.type}{one.hint}", one.node)
    text = _text(compiler, node.this, "substring()")
    return Term(f"TRY(substring({', '.join([text, *(widened(one, INTEGER) for one in given)])}))", TEXT, node)


def _concat(compiler: Compiler, node: exp.Concat) -> Term:
    """NULL counts as nothing here, other than with ||."""
    only(node, "expressions", "safe", "coalesce")
    terms = [compiler.term(one) for one in node.expressions]
    for one in terms:
        if one.type == TEXTS:
            raise refusal("concat() takes single values, found a list", one.node)
    return Term(f"concat({', '.join(widened(one, TEXT) for one in terms)})", TEXT, node)


def _replace(compiler: Compiler, node: exp.Replace) -> Term:
    only(node, "this", "expression", "replacement")
    given = [compiler.term(one) for one in (node.expression, node.args.get("replacement")) if one]
    if len(given) != 2 or not all(isinstance(one.constant, str) for one in given):
        raise refusal("replace() takes a text, and two texts in single quotes: what is replaced, and by what", node)
    text = _text(compiler, node.this, "replace()")
    return Term(f"replace({text}, {given[0].sql}, {given[1].sql})", TEXT, node)


def _contains(compiler: Compiler, node: Any) -> Term:
    only(node, "this", "expression", "json_scope", "ensure_variant")
    held, wanted = compiler.term(node.this), _text(compiler, node.expression, "contains()")
    if held.type == TEXTS:
        return Term(f"list_contains({held.sql}, {wanted})", BOOLEAN, node)
    if held.type in (TEXT, NULL) and isinstance(node, exp.Contains):
        return Term(f"contains({widened(held, TEXT)}, {wanted})", BOOLEAN, node)
    raise refusal(f"contains() looks into a list or a text, found {held.type}", node)


# --- numbers --------------------------------------------------------------------------------------------------------


def _number(compiler: Compiler, node: Any, what: str) -> Term:
    term = compiler.term(node)
    if term.type == NULL:
        return Term(widened(term, INTEGER), INTEGER, node)
    if not term.type.is_number:
        raise refusal(f"{what} takes a number, found {term.type}{term.hint}", node)
    return term


def _to_whole(name: str) -> Handler:
    """floor and ceil: a decimal may need a digit more."""

    def handle(compiler: Compiler, node: Any) -> Term:
        only(node, "this")
        term = _number(compiler, node.this, f"{name}()")
        match term.type.kind:
            case "integer":
                return term
            case "double":
                return Term(f"{name}({term.sql})", DOUBLE, node)
            case _:
                wanted = _rounded(term.type, 0)
                return Term(f"TRY_CAST(TRY({name}({term.sql})) AS {wanted.sql})", wanted, node)

    return handle


def _rounded(given: Type, scale: int) -> Type:
    return decimal(min(given.digits - given.scale + 1 + scale, MAX_DIGITS), scale)


def _round(compiler: Compiler, node: exp.Round) -> Term:
    """Half away from zero; a decimal stays one."""
    only(node, "this", "decimals")
    term = _number(compiler, node.this, "round()")
    places = compiler.term(node.args["decimals"]).constant if node.args.get("decimals") else 0
    most = MAX_DOUBLE_DIGITS if term.type == DOUBLE else MAX_DIGITS
    if not isinstance(places, int) or not 0 <= places <= most:
        raise refusal(f"round() takes a number and how many digits stay behind the point, 0 to {most}", node)
    if term.type == DOUBLE:
        return Term(f"round({term.sql}, {places})", DOUBLE, node)
    if places >= term.type.scale:
        return Term(term.sql, term.type, node)
    wanted = _rounded(term.type, places)
    return Term(f"TRY_CAST({term.sql} AS {wanted.sql})", wanted, node)


def _abs(compiler: Compiler, node: exp.Abs) -> Term:
    only(node, "this")
    term = _number(compiler, node.this, "abs()")
    return Term(f"TRY(abs({term.sql}))", term.type, node)


# --- choices --------------------------------------------------------------------------------------------------------


def _of_several(name: str) -> Handler:
    """coalesce, least and greatest: values that have a type in common. NULL counts as nothing."""

    def handle(compiler: Compiler, node: Any) -> Term:
        only(node, "this", "expressions", "ignore_nulls")
        terms = [compiler.term(one) for one in (node.this, *node.expressions)]
        wanted, values = unified(terms, f"mix {{}} in {name}()", node)
        if wanted in (TEXTS, BOOLEAN) and name != "coalesce":
            raise mismatch("order", terms, node)
        return Term(f"{name}({', '.join(values)})", wanted, node)

    return handle


def _nullif(compiler: Compiler, node: exp.Nullif) -> Term:
    only(node, "this", "expression")
    terms = [compiler.term(one) for one in (node.this, node.expression)]
    wanted, values = unified(terms, "compare", node)
    return Term(f"nullif({', '.join(values)})", wanted, node)


# --- casts and times ------------------------------------------------------------------------------------------------


_TYPES: Final[Mapping[Any, Type]] = {
    exp.DType.TEXT: TEXT, exp.DType.VARCHAR: TEXT,
    exp.DType.INT: INTEGER, exp.DType.BIGINT: INTEGER,
    exp.DType.DOUBLE: DOUBLE, exp.DType.FLOAT: DOUBLE,
    exp.DType.BOOLEAN: BOOLEAN,
    exp.DType.DATE: DATE,
    exp.DType.TIMESTAMP: TIMESTAMP, exp.DType.TIMESTAMPNTZ: TIMESTAMP, exp.DType.DATETIME: TIMESTAMP,
}  # fmt: skip


def _cast(compiler: Compiler, node: Any) -> Term:
    only(node, "this", "to", "safe")
    wanted, term = _wanted(node.args["to"], node), compiler.term(node.this)
    written = written_time(term, wanted)
    if written:
        return written
    if term.type == NULL:
        return Term(f"CAST(NULL AS {wanted.sql})", wanted, node)
    if not can_cast(term.type, wanted):
        raise refusal(f"cannot cast {term.type} to {wanted}", node)
    return Term(cast_sql(term.sql, term.type, wanted), wanted, node)


def _wanted(to: Any, node: Any) -> Type:
    kind = to.this
    if kind == exp.DType.DECIMAL:
        return _decimal(to, node)
    found = _TYPES.get(kind)
    if found is None or to.args.get("nested"):
        names = sorted({*COLUMN_TYPES.values(), "decimal(12,2)"})
        word = to.args.get("kind") if kind == exp.DType.USERDEFINED else kind.value
        shown = str(word).lower()
        raise refusal(f"unknown type {quoted(shown)}; expected one of {', '.join(names)}", node)
    return found


def _decimal(to: Any, node: Any) -> Type:
    given = [one.name for one in to.expressions]
    numbers = [int(one) for one in given if one.isdigit() and len(one) <= 3]
    digits, scale = (*numbers, 0)[:2] if len(numbers) == len(given) and numbers else (0, 0)
    if not (1 <= digits <= MAX_DIGITS and scale <= digits):
        raise refusal(f"a decimal has 1 to {MAX_DIGITS} digits, no more of them behind the point", node)
    return decimal(digits, scale)


def _time(compiler: Compiler, node: Any, what: str) -> Term:
    term = compiler.term(node)
    if not (term.type.is_time or term.type == NULL):
        raise refusal(f"{what} takes a date or time, found {term.type}{term.hint}", node)
    return term


def _extract(compiler: Compiler, node: exp.Extract) -> Term:
    part = _word(node.this, PARTS, "extract()", node)
    return _part(part, _time(compiler, node.expression, "extract()"), node)


def _part(part: str, term: Term, node: Any) -> Term:
    value = widened(term, TIMESTAMP)
    if part == "epoch":
        return Term(f"TRY_CAST(floor(epoch({value})) AS BIGINT)", INTEGER, node)
    return Term(f"CAST(extract({part} FROM {value}) AS BIGINT)", INTEGER, node)  # of a constant NULL it is a double


def _part_function(part: str) -> Handler:
    def handle(compiler: Compiler, node: Any) -> Term:
        only(node, "this")
        return _part(part, _time(compiler, node.this, f"{part}()"), node)

    return handle


def _truncate(compiler: Compiler, node: Any) -> Term:
    only(node, "this", "unit", "input_type_preserved")
    unit = _word(node.args.get("unit"), UNITS, "date_trunc()", node)
    term = _time(compiler, node.this, "date_trunc()")
    wanted = DATE if term.type == DATE else TIMESTAMP
    return Term(f"TRY_CAST(TRY(date_trunc('{unit}', {widened(term, TIMESTAMP)})) AS {wanted.sql})", wanted, node)


def _word(given: Any, known: tuple[str, ...], what: str, node: Any) -> str:
    word = given.name.lower() if given is not None else ""
    if word not in known:
        hint = did_you_mean(word, known) or f"; expected one of {', '.join(known)}"
        raise refusal(f"unknown part {quoted(word)} in {what}{hint}", node)
    return word


HANDLERS: Final[Mapping[type[Any], Handler]] = {
    exp.Lower: _of_text("lower"),
    exp.Upper: _of_text("upper"),
    exp.Trim: _trim,
    exp.Length: _length,
    exp.Substring: _substring,
    exp.Concat: _concat,
    exp.Replace: _replace,
    exp.Contains: _contains,
    exp.ArrayContains: _contains,
    exp.Floor: _to_whole("floor"),
    exp.Ceil: _to_whole("ceil"),
    exp.Round: _round,
    exp.Abs: _abs,
    exp.Coalesce: _of_several("coalesce"),
    exp.Least: _of_several("least"),
    exp.Greatest: _of_several("greatest"),
    exp.Nullif: _nullif,
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.Extract: _extract,
    exp.Year: _part_function("year"),
    exp.Month: _part_function("month"),
    exp.Day: _part_function("day"),
    exp.TimestampTrunc: _truncate,
    exp.DateTrunc: _truncate,
}
