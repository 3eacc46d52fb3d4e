"""The JSON Schema of a config model, in one shape for every provider: nested models stand inline, so that an error names its
field and `x-` annotations are found without following references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel


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
