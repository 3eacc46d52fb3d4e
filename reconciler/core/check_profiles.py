"""What Streams and Audiences say of each other's attributes: each is one thing everywhere, and an Audience asks only
for what is declared.

Expressions are compiled only where there is something to compare: an attribute that several Streams declare, or an
Audience.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from reconciler.core.document import Document
from reconciler.core.issue import Path, quoted, with_offset
from reconciler.core.language import BadExpression, UnknownAttribute, compile_condition, merged_type
from reconciler.core.profile import Attribute, StreamRules, stream_rules
from reconciler.core.value import dataclass

#: A document, a path in it, and what is wrong there.
Finding = tuple[Document, Path, str]


@dataclass(frozen=True)
class _Declaration:
    """An attribute as one Stream has it."""

    document: Document
    stream: StreamRules
    attribute: Attribute

    @cached_property
    def type(self) -> str | None:
        """None where it cannot be known: what the record keeps may be from before a rule."""
        try:
            return merged_type(self.stream, self.attribute)
        except BadExpression:
            return None

    @property
    def place(self) -> str:
        return f"Stream '{self.document.name}' ({self.document.path}:{self.document.line})"


def profile_findings(
    streams: Sequence[Document], kept: Iterable[Document], audiences: Sequence[Document], *, uncertain: bool
) -> Iterator[Finding]:
    """What is wrong between these. `kept` are Streams that are not declared validly now, as they last were; of others
    that are invalid nothing is known where it is `uncertain`: they may declare what an Audience misses."""
    declared = _declarations(streams)
    for same in declared.values():
        yield from _disagreements(same)
    if audiences:
        kept = list(kept)
        types = _types({**_declarations(kept), **declared})
        keys = {one["key"]: one["from"] for stream in (*kept, *streams) for one in stream.spec.get("identity", ())}
        for audience in audiences:
            yield from _condition(audience, types, keys, uncertain)


def _declarations(streams: Iterable[Document]) -> dict[str, list[_Declaration]]:
    found: defaultdict[str, list[_Declaration]] = defaultdict(list)
    for document in streams:
        if document.spec.get("attributes"):
            rules = stream_rules(document.name, document.spec)
            for attribute in rules.attributes:
                found[attribute.name].append(_Declaration(document, rules, attribute))
    return dict(found)


def _types(declared: Mapping[str, Sequence[_Declaration]]) -> dict[str, str]:
    first = {name: next((one.type for one in same if one.type), None) for name, same in declared.items()}
    return {name: found for name, found in first.items() if found is not None}


def _disagreements(same: Sequence[_Declaration]) -> Iterator[Finding]:
    """Told at each place, naming another. Few declare one attribute, and most of them alike."""
    for one in same if len(same) > 1 else ():
        path = ("spec", "attributes", one.attribute.name)
        other = next((other for other in same if other.attribute.merge != one.attribute.merge), None)
        if other is not None:
            message = f"expected one merge on all streams, found {one.attribute.merge} here and "
            yield one.document, path, f"{message}{other.attribute.merge} in {other.place}"
            continue
        other = next((other for other in same if other.type != one.type and other.type and one.type), None)
        if other is not None:
            message = f"expected one type on all streams, found {one.type} here and {other.type} in {other.place}"
            yield one.document, path, f"{message}; cast it"


def _condition(
    audience: Document, types: Mapping[str, str], keys: Mapping[str, str], uncertain: bool
) -> Iterator[Finding]:
    """`keys` are the columns of the identity keys, which people often mean for attributes."""
    try:
        compile_condition(audience.spec["where"], types)
    except UnknownAttribute as error:
        if not uncertain:
            message, column = error.message, keys.get(error.name)
            if column is not None:
                only = "only an identity key; declare one from column"
                message = f"there is no attribute {quoted(error.name)}, {only} {quoted(column)}"
            yield audience, ("spec", "where"), with_offset(message, error.offset)
    except BadExpression as error:
        yield audience, ("spec", "where"), with_offset(error.message, error.offset)
