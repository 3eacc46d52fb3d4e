"""A JSON Schema of draft 2020-12, said again as a part of one of draft-07.

Job types bring their config's schema in 2020-12; editors understand draft-07 best, and one file holds every job type's. What
draft-07 has no word for is left out, so the outcome may accept more than the schema did, and never less. Nothing else of
what is said here differs between the two drafts, so a validator of either takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

DRAFT_07: Final = "http://json-schema.org/draft-07/schema#"

#: Keywords whose value is a schema, schemas by name, a list of schemas. All others hold plain values.
_ONE: Final = {
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "additionalProperties",
    "items",
    "additionalItems",
}
_NAMED: Final = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}
_LISTED: Final = {"allOf", "anyOf", "oneOf", "prefixItems"}

#: What says where a schema is, which as a part of another it is not; and `format`, which 2020-12 does not check.
_DROPPED: Final = {"$schema", "$id", "$anchor", "$dynamicAnchor", "$vocabulary", "$comment", "format"}
#: What draft-07 has no word for.
_UNSAYABLE: Final = {"$dynamicRef", "unevaluatedProperties", "unevaluatedItems", "minContains", "maxContains"}
#: What may stand beside a `$ref`, of which draft-07 reads nothing that counts.
_BESIDE: Final = {
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "enumDescriptions",
    "$defs",
    "definitions",
}


def as_part(schema: Schema, place: str) -> dict[str, Any]:
    """The schema as it stands at `place` of another (`#/$defs/files.import-csv`), its own references led there."""
    said: dict[str, Any] = _Restating(schema, place).said(schema)
    return said


def when(given: Mapping[str, Any], then: Schema) -> dict[str, Any]:
    """`then` holds where these fields have these values."""
    condition = {"properties": {name: {"const": value} for name, value in given.items()}, "required": list(given)}
    return {"if": condition, "then": dict(then)}


def beside(name: str, then: Schema) -> dict[str, Any]:
    """`then` holds where this field is given."""
    return {"if": {"required": [name]}, "then": dict(then)}


def _parts(schema: Any) -> Iterator[Schema]:
    """A schema and all schemas in it."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    for keyword, value in schema.items():
        inner: list[Any] = []
        if keyword in _NAMED and isinstance(value, Mapping):
            inner = list(value.values())
        elif keyword in _LISTED | _ONE:
            inner = value if isinstance(value, list) else [value]
        for one in inner:
            yield from _parts(one)


class _Restating:
    """One schema's saying again. Where a part cannot be said whole, nothing may stand on its being refused: a `not` or an
    `if` would refuse more, and of `oneOf` two might hold."""

    def __init__(self, schema: Schema, place: str) -> None:
        self._place = place
        self._is_whole = not any(self._is_unsayable(one) for one in _parts(schema))

    def _is_unsayable(self, schema: Schema) -> bool:
        reference = schema.get("$ref")
        return bool(_UNSAYABLE & schema.keys()) or (reference is not None and self._led(reference) is None)

    def _led(self, reference: Any) -> str | None:
        """Where a reference leads now; None for one out of the schema, or by an anchor."""
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            return None
        return f"{self._place}{reference[1:]}"

    def said(self, schema: Any) -> Any:
        if not isinstance(schema, Mapping):
            return schema
        made: dict[str, Any] = {}
        for keyword, value in schema.items():
            if keyword in _DROPPED | _UNSAYABLE or (keyword in ("not", "if", "then", "else") and not self._is_whole):
                continue
            if keyword in _HELD:
                _HELD[keyword](self, made, value, schema)
            elif keyword in _ONE:
                made[keyword] = [self.said(one) for one in value] if isinstance(value, list) else self.said(value)
            elif keyword in _NAMED and isinstance(value, Mapping):
                made[keyword] = {name: self.said(one) for name, one in value.items()}
            elif keyword in _LISTED:
                name = "anyOf" if keyword == "oneOf" and not self._is_whole else keyword
                made[name] = [*made.get(name, ()), *(self.said(one) for one in value)]
            else:
                made[keyword] = value
        return self._apart(made)

    def _apart(self, made: dict[str, Any]) -> dict[str, Any]:
        """What counts beside a `$ref` would not be read; it stands beside it in `allOf`."""
        counting = [name for name in made if name not in _BESIDE and name != "$ref" and not name.startswith("x-")]
        if "$ref" in made and counting:
            made["allOf"] = [{"$ref": made.pop("$ref")}, *made.get("allOf", ())]
        return made

    def _reference(self, made: dict[str, Any], value: Any, _schema: Schema) -> None:
        if (led := self._led(value)) is not None:
            made["$ref"] = led

    def _required_beside(self, made: dict[str, Any], value: Any, _schema: Schema) -> None:
        made.setdefault("allOf", []).extend(beside(name, {"required": names}) for name, names in value.items())

    def _schemas_beside(self, made: dict[str, Any], value: Any, _schema: Schema) -> None:
        made.setdefault("allOf", []).extend(beside(name, self.said(one)) for name, one in value.items())

    def _all_of(self, made: dict[str, Any], value: Any, _schema: Schema) -> None:
        made.setdefault("allOf", []).extend(self.said(one) for one in value)

    def _first_items(self, made: dict[str, Any], value: Any, schema: Schema) -> None:
        made["items"] = [self.said(one) for one in value]
        if "items" in schema:
            made["additionalItems"] = self.said(schema["items"])

    def _items(self, made: dict[str, Any], value: Any, schema: Schema) -> None:
        if "prefixItems" not in schema:
            made["items"] = [self.said(one) for one in value] if isinstance(value, list) else self.said(value)

    def _contains(self, made: dict[str, Any], value: Any, schema: Schema) -> None:
        if schema.get("minContains", 1) > 0:
            made["contains"] = self.said(value)


#: Keywords that are said in other words.
_HELD: Final = {
    "$ref": _Restating._reference,
    "dependentRequired": _Restating._required_beside,
    "dependentSchemas": _Restating._schemas_beside,
    "allOf": _Restating._all_of,
    "prefixItems": _Restating._first_items,
    "items": _Restating._items,
    "contains": _Restating._contains,
}
