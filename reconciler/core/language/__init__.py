"""The language of a Stream's `expr` and an Audience's `where`: scalar SQL, of which only what is listed is taken.

    literals, names ("in quotes" where they are no plain words), brackets
    + - * / %  ||  = <> < <= > >=  and or not  between  in (…)  like ilike  is null, is true  case … end
    the functions of `functions.FUNCTIONS`, cast and try_cast to a column type, date '…', timestamp '…', intervals

There are no queries, files, parameters, aggregates or windows. Everything has a type, told before anything runs;
integers and decimals are exact, `/` gives a double. An evaluation never fails for a value: where one does not fit (an
overflow, a text that is no number, a division by zero) the result is NULL. A time is UTC.

sqlglot reads the text, and takes 150 ms to import: it is imported when there is an expression to read, not before.
Limits: 10,000 characters, 32 brackets within each other, 100 operators in a row (`and` and `or` aside), intervals of
1,000 years, texts made a hundred times as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from reconciler.core.language.types import BadExpression, UnknownAttribute, type_of
from reconciler.core.value import dataclass

if TYPE_CHECKING:
    from reconciler.core.profile import Attribute, ProfileRules, StreamRules

__all__ = [
    "BadExpression", "Condition", "Expression", "UnknownAttribute", "attribute_types", "compile_condition",
    "compile_expression", "input_expression", "merged_type",
]  # fmt: skip

#: Digits behind the point that a sum keeps at most; the others are for what stands before it.
MAX_SUM_SCALE: Final = 18


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression over one message. `sql` is DuckDB SQL over its columns, quoted, each of its declared type
    (text where none is declared); its value is of `type`, or NULL. The session's TimeZone is UTC."""

    sql: str
    type: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Condition:
    """A checked condition on one profile: who makes `(sql) IS TRUE` belongs.

    `sql` is over columns "attribute:<name>" and, where `reads_now`, the named parameter `$now` (a TIMESTAMP in UTC).
    `moments` are SQL expressions (TIMESTAMP) over the same columns, the first microsecond at which the outcome of a
    comparison with now() is another: what holds at `$now` holds until the least of them above `$now`.
    """

    sql: str
    attributes: tuple[str, ...]
    moments: tuple[str, ...]
    reads_now: bool


def compile_expression(text: str, columns: Mapping[str, str]) -> Expression:
    """An expression over columns of declared types; any other column is text. Raises BadExpression."""
    from reconciler.core.language.compile import expression

    sql, type_, used = expression(_readable(text), columns)
    return Expression(sql, type_, used)


def compile_condition(text: str, attributes: Mapping[str, str]) -> Condition:
    """A condition over attributes of known types, and no others. Raises BadExpression."""
    from reconciler.core.language.compile import condition

    sql, used, moments = condition(_readable(text), attributes)
    return Condition(sql, used, moments, bool(moments))


def _readable(text: str) -> str:
    """Neither NUL nor half of a surrogate pair can be said to DuckDB."""
    bad = next((index for index, one in enumerate(text) if one == "\x00" or "\ud800" <= one <= "\udfff"), None)
    if bad is not None:
        raise BadExpression(f"the character U+{ord(text[bad]):04X} cannot stand in an expression", bad)
    return text


# --- attributes -----------------------------------------------------------------------------------------------------


def input_expression(stream: StreamRules, attribute: Attribute) -> Expression | None:
    """What one message of a stream contributes to an attribute, of the type that its merge takes; None where messages
    are counted. Raises BadExpression."""
    if attribute.expression:
        return _merged(compile_expression(attribute.expression, stream.columns), attribute, stream)
    if attribute.column:
        return _merged(_column(attribute.column, stream.columns), attribute, stream)
    return None


def _column(name: str, columns: Mapping[str, str]) -> Expression:
    """A column as it is, which needs no parser."""
    from reconciler.core.language.results import column_sql, result_sql

    found = type_of(columns.get(name, "text"))
    return Expression(result_sql(column_sql(name), found), str(found), (name,))


def _merged(given: Expression, attribute: Attribute, stream: StreamRules) -> Expression:
    """`given`, checked to be what the merge takes."""
    found = type_of(given.type)
    match attribute.merge:
        case "sum" if not found.is_exact:
            raise BadExpression(f"cannot sum {found}: sums are exact; {_mend('decimal or integer', given, stream)}")
        case "sum" if found.scale > MAX_SUM_SCALE:
            raise BadExpression(
                f"a sum keeps at most {MAX_SUM_SCALE} digits behind the point, this has {found.scale}; round it first"
            )
        case "any" if found.kind != "boolean":
            raise BadExpression(f"any is of true and false, found {found}; {_mend('boolean', given, stream)}")
        case "set" if found.kind != "text":
            return Expression(f"CAST({given.sql} AS VARCHAR)", "text", given.columns)
        case _:
            return given


def _mend(wanted: str, given: Expression, stream: StreamRules) -> str:
    undeclared = [name for name in given.columns if name not in stream.columns]
    if given.type == "text" and undeclared:
        return f"declare column '{undeclared[0]}' as {wanted} in `columns`, or cast it"
    return f"cast it to {wanted}"


def attribute_types(rules: ProfileRules) -> dict[str, str]:
    """The type of every attribute once it is merged. Raises BadExpression, which names the attribute and its Stream;
    where several streams declare one, the first stream's type is its type, and `core.check` sees that the others
    agree."""
    types: dict[str, str] = {}
    for stream in rules.streams:
        for attribute in stream.attributes:
            try:
                types.setdefault(attribute.name, merged_type(stream, attribute))
            except BadExpression as error:
                message = f"attribute '{attribute.name}' of Stream '{stream.name}': {error.message}"
                raise BadExpression(message, error.offset) from None
    return dict(sorted(types.items()))


def merged_type(stream: StreamRules, attribute: Attribute) -> str:
    """The type of one stream's attribute once it is merged. Raises BadExpression."""
    given = input_expression(stream, attribute)
    if given is None or attribute.merge == "count":
        return "integer"
    if attribute.merge == "sum":
        return f"decimal(38,{type_of(given.type).scale})"
    return "list(text)" if attribute.merge == "set" else given.type
