"""The two whole things that can be compiled: an expression over a message's columns, a condition over attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlglot import exp

from reconciler.core.issue import quoted
from reconciler.core.language.compiler import Compiler
from reconciler.core.language.functions import FUNCTIONS, HANDLERS
from reconciler.core.language.results import column_sql, result_sql
from reconciler.core.language.syntax import place
from reconciler.core.language.terms import Term, widened
from reconciler.core.language.types import BOOLEAN, NULL, TEXT, BadExpression, UnknownAttribute, type_of
from reconciler.core.suggest import did_you_mean

_WITH_NOW: Final = (*FUNCTIONS, "now")


class _Message:
    """The columns of a message: any name may be one, and is text where no type is declared."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self._columns = columns

    def column(self, name: str, node: exp.Column) -> Term:
        declared = self._columns.get(name)
        hint = f"; declare the type of column {quoted(name)} in `columns`" if declared is None else ""
        near = did_you_mean(name, self._columns) if declared is None else ""
        return Term(column_sql(name), type_of(declared or "text"), node, column=name, hint=near or hint)


class _Profile:
    """The attributes of a profile: only what is declared."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self._attributes = attributes

    def column(self, name: str, node: exp.Column) -> Term:
        declared = self._attributes.get(name)
        if declared is None:
            message = f"there is no attribute {quoted(name)}{self._mend(name, node)}"
            raise UnknownAttribute(message, place(node), name)
        found = type_of(declared)
        hint = f"; cast attribute {quoted(name)}, or declare the type of its column" if found == TEXT else ""
        return Term(column_sql(f"attribute:{name}"), found, node, column=name, hint=hint)

    def _mend(self, name: str, node: exp.Column) -> str:
        if node.this.args.get("quoted"):
            return "; a text stands in single quotes"
        return did_you_mean(name, self._attributes) or ("" if self._attributes else "; no Stream declares any")


def expression(text: str, columns: Mapping[str, str]) -> tuple[str, str, tuple[str, ...]]:
    """SQL, type, and the columns that are used, sorted."""
    compiler = Compiler(_Message(columns), HANDLERS)
    term = compiler.compile(text, FUNCTIONS)
    found = TEXT if term.type == NULL else term.type
    return result_sql(widened(term, found), found), str(found), tuple(sorted(compiler.used))


def condition(text: str, attributes: Mapping[str, str]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """SQL, the attributes that are used, sorted, and the moments, each once."""
    moments: list[str] = []
    compiler = Compiler(_Profile(attributes), HANDLERS, moments)
    term = compiler.compile(text, _WITH_NOW)
    if term.type not in (BOOLEAN, NULL):
        raise BadExpression(f"expected a condition, which is true or false, found {term.type}")
    return widened(term, BOOLEAN), tuple(sorted(compiler.used)), tuple(dict.fromkeys(moments))
