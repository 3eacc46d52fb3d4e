"""A schema of 2020-12 said in draft-07: the same where that can be said, and never more strict."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from reconciler.core.dialect import DRAFT_07, as_part

VALUES: list[Any] = [
    None, True, 0, 1, 2.5, "", "a", "2027-06-30", [], [1], [1, "a"], ["a", 1], [1, "a", 2], [1, 1, 1], {}, {"a": 1},
    {"a": "x"}, {"b": 1}, {"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}, {"a": {"a": {"a": 1}}}, {"a": {"b": "x"}}, {"c": 1},
]  # fmt: skip

#: What both drafts can say.
SAID: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False},
    {"type": "object", "dependentRequired": {"a": ["b"]}},
    {"type": "object", "dependentSchemas": {"a": {"properties": {"b": {"const": 2}}}}, "allOf": [{"minProperties": 1}]},
    {"properties": {"a": {"$ref": "#"}}, "additionalProperties": {"type": "integer"}},
    {"$ref": "#/$defs/one/two", "$defs": {"one": {"two": {"type": "integer"}}}},
    {"definitions": {"x": {"type": "object"}}, "allOf": [{"$ref": "#/definitions/x", "minProperties": 2}]},
    {"properties": {"a": {"$ref": "#/properties/b"}, "b": {"type": "string"}}},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
    {"type": "array", "items": {"type": "integer"}, "contains": {"const": 1}},
    {"not": {"required": ["a"]}},
    {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"type": "string"}},
    {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"const": {"$ref": "a"}, "enum": [{"$ref": "a"}], "default": {"$ref": "#/x"}},
    {"$id": "https://example.com/x", "properties": {"a": {"$ref": "#/$defs/y"}}, "$defs": {"y": {"type": "integer"}}},
    {"format": "date", "type": "string"},
]

#: What only 2020-12 can.
UNSAID: list[dict[str, Any]] = [
    {"type": "object", "allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False},
    {"not": {"type": "object", "properties": {"a": {}}, "unevaluatedProperties": False}},
    {"if": {"properties": {"a": {}}, "unevaluatedProperties": False}, "then": {"type": "array"}},
    {"oneOf": [{"type": "object", "unevaluatedProperties": False}, {"type": "object", "required": ["a"]}]},
    {"type": "array", "contains": {"const": 1}, "minContains": 0},
    {"type": "array", "contains": {"const": 1}, "minContains": 2, "maxContains": 2},
    {"$defs": {"x": {"$anchor": "here", "type": "integer"}}, "$ref": "#here"},
    {"$defs": {"x": {"$anchor": "here", "type": "integer"}}, "not": {"$ref": "#here"}},
    {"not": {"$ref": "#/$defs/x"}, "$defs": {"x": {"type": "array", "contains": {}, "maxContains": 1}}},
    {"type": "array", "prefixItems": [True], "unevaluatedItems": False},
    {"properties": {"a": {"$dynamicRef": "#node"}}, "$dynamicAnchor": "node", "type": "object"},
]


def accepted(validator: Any) -> list[int]:
    return [index for index, value in enumerate(VALUES) if validator.is_valid(value)]


def before(schema: dict[str, Any]) -> list[int]:
    Draft202012Validator.check_schema(schema)
    return accepted(Draft202012Validator(schema))


def after(schema: dict[str, Any]) -> list[int]:
    host = {"$schema": DRAFT_07, "$ref": "#/$defs/a~1b", "$defs": {"a/b": as_part(schema, "#/$defs/a~1b")}}
    Draft7Validator.check_schema(host)
    return accepted(Draft7Validator(host))


@pytest.mark.parametrize("schema", SAID, ids=str)
def test_what_draft_07_can_say_means_the_same(schema: dict[str, Any]) -> None:
    assert after(schema) == before(schema)


@pytest.mark.parametrize("schema", UNSAID, ids=str)
def test_what_it_cannot_say_is_accepted(schema: dict[str, Any]) -> None:
    assert set(after(schema)) >= set(before(schema))


def test_what_is_no_schema_is_kept_as_it_is() -> None:
    plain = {"default": {"$id": "x", "format": "y"}, "examples": [{"$ref": "#/z"}], "x-more": {"unevaluatedItems": 1}}
    assert as_part(plain, "#/$defs/a") == plain


def test_words_about_a_reference_stay_beside_it_and_rules_do_not() -> None:
    field = {"$ref": "#/$defs/x", "description": "d", "default": 1, "x-stream": "reads"}
    assert as_part(field, "#/a") == {**field, "$ref": "#/a/$defs/x"}
    assert as_part({**field, "minimum": 1}, "#/a") == {
        "description": "d", "default": 1, "x-stream": "reads", "minimum": 1, "allOf": [{"$ref": "#/a/$defs/x"}],
    }  # fmt: skip
