"""The JSON Schema of a config model, in one shape for every provider: nested models stand inline, so that an error names its
field and `x-` annotations are found without following references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from reconciler.core import time_format

#: What a pattern asks for, in words that an error says (`x-expected`): a pattern says little to a person.
_WORDS: Final[Mapping[str, str]] = {
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": "a name of lower-case letters, digits and hyphens",
    r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$(?!\n)": "a name of lower-case letters, digits and hyphens",
    r"^[a-z][a-z0-9_]*$": "an identity key",
    r"^[a-z][a-z0-9_]{0,62}$(?!\n)": "an identity key",
    r"^(((key|attribute):)?[a-z][a-z0-9_]{0,62}|profile-id)$(?!\n)": "the name of an attribute or identity key, or profile-id",
    r"^(?!(previous|action)$)[A-Za-z_][A-Za-z0-9_-]{0,62}$(?!\n)": "a name of a-z, A-Z, 0-9, _ and -, not previous or action",
    r"^(?!enriched_at$)[^\x00-\x1f]{1,200}$(?!\n)": "a column's name, which is not enriched_at",
    time_format.PATTERN: time_format.EXPECTED,
    r"^[\t !#-&(-_a-~]$": "one printable ASCII character that is no quote, or a tab",
    r"^([^*?\[\]{}]|\{run\})+$": "a path without * ? [ ], and with { } only in {run}",
    r"\{run\}": "a path with {run} in it",
    r"\{value\}": "a URL with {value} in it",
    r"^[!-~]([ -~]*[!-~])?$(?!\n)": "printable ASCII text without spaces at its ends",
    r"^(?=[0-9])([0-9]{1,2}w)?([0-9]{1,3}d)?([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$(?!\n)": "a duration such as 12h or 30d",
}


def in_words(schema: Any) -> Any:
    """A schema whose patterns say in words what they ask for."""
    if isinstance(schema, list):
        return [in_words(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    said = {name: in_words(one) for name, one in schema.items()}
    words = _WORDS.get(schema["pattern"]) if isinstance(schema.get("pattern"), str) else None
    return {**said, "x-expected": words} if words else said


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a model, with nested models inline and without what only names a Python class."""
    raw = model.model_json_schema(by_alias=True)
    defs = raw.pop("$defs", {})
    schema: dict[str, Any] = _inlined(raw, defs)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


#: What pydantic calls the limits of a number that a function has looked at first.
_KEYWORDS: Final = {"ge": "minimum", "le": "maximum"}


def _inlined(node: Any, defs: Mapping[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(one, defs) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = defs[node["$ref"].rpartition("/")[2]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    kept = {
        _KEYWORDS.get(key, key): {name: _inlined(one, defs) for name, one in value.items()}
        if key == "properties"
        else _inlined(value, defs)
        for key, value in node.items()
        if not (key == "default" and value is None) and key != "discriminator"
    }
    if isinstance(kept.get("title"), str):  # a keyword here, not a property's name: those are mapped above
        del kept["title"]
    return kept
