"""What the expressions of a Stream mean, by the plain values of its document, which are not taken for sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.core.issue import Issue, with_offset
from reconciler.core.language import BadExpression, merged_type
from reconciler.core.language.types import column_type
from reconciler.core.profile import MERGES, Attribute, StreamRules


def attribute_issues(spec: Mapping[str, Any]) -> Iterator[Issue]:
    """Expressions that are wrong, and merges that do not take what they are given. Where a column's type is unsound,
    nothing is said: its expressions may be sound."""
    columns, attributes = _columns(spec.get("columns", {})), spec.get("attributes")
    if columns is None or not isinstance(attributes, Mapping):
        return
    stream = StreamRules(name="", columns=columns)
    for name, one in attributes.items():
        attribute = _attribute(name, one) if isinstance(one, Mapping) else None
        if attribute is None:
            continue
        try:
            merged_type(stream, attribute)
        except BadExpression as error:
            field = "expr" if attribute.expression else "from"
            yield Issue(("spec", "attributes", name, field), with_offset(error.message, error.offset))


def _columns(given: Any) -> dict[str, str] | None:
    if not isinstance(given, Mapping):
        return None
    columns = {name: column_type(one) if isinstance(one, str) else None for name, one in given.items()}
    sound = {name: one for name, one in columns.items() if one is not None}
    return sound if len(sound) == len(columns) else None


def _attribute(name: str, given: Mapping[str, Any]) -> Attribute | None:
    """None where the model refuses it."""
    column, text, merge = given.get("from", ""), given.get("expr", ""), given.get("merge", MERGES[0])
    if not all(isinstance(one, str) for one in (column, text, merge)) or merge not in MERGES or (column and text):
        return None
    return Attribute(name=name, column=column, expression=text, merge=merge)
