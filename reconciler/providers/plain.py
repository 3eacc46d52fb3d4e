"""A config as its model reads it, without the model.

The models of configs take pydantic, and the first run after a start waits longer for that than for all of our own code. What
a config may be, its JSON Schema says as well as the model does, and by that it has been judged already; here it is judged by it
once more. Then its fields are read: under the names of the model's fields, with the schema's defaults; what is not set is None.
Where the model is loaded anyway, where the schema refuses a config, or says something of a field that is not known here, the
model reads it, and says what is wrong.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Final

from reconciler.providers.shipped import later, module_of

_UPPER: Final = re.compile("[A-Z]")
#: What is as it stands, whatever it is.
_AS_IT_IS: Final = ("string", "boolean", ["string", "number", "boolean"])

#: A whole number that came as a float, and is as large, is the model's to judge.
MAX_EXACT: Final = 2**53


class Plain(SimpleNamespace):
    """What a model's instance is: fields as attributes."""

    def model_dump(self) -> dict[str, Any]:
        """The fields by name, as the model's own gives them."""
        return {name: one.model_dump() if isinstance(one, Plain) else one for name, one in vars(self).items()}


class NotPlain(Exception):
    """A schema says more of a field than is read here."""


class PlainConfig:
    """Reads the configs of one job type. `model` is `module:function` below the providers, which reads what is not plain."""

    def __init__(self, schema: Mapping[str, Any], model: str) -> None:
        self._schema = schema
        self._module = module_of(model)
        self._model = later(model)

    def __call__(self, config: Any) -> Any:
        if self._module not in sys.modules and self._is_valid(config):
            try:
                return plain(self._schema, config)
            except NotPlain:
                pass
        return self._model(config)

    @cached_property
    def _is_valid(self) -> Callable[[Any], bool]:
        from reconciler.core.config_schema import compile_schema  # most commands read no config

        return compile_schema(self._schema).is_valid

    def prepare(self) -> None:
        """What a first config would wait for, unless the model is there."""
        if self._module not in sys.modules:
            self._is_valid({})


def plain(schema: Mapping[str, Any], config: Mapping[str, Any]) -> Plain:
    """The fields of a config that is valid by its schema. Raises NotPlain."""
    return Plain(**{_name(name): _field(node, name, config) for name, node in schema["properties"].items()})


def _name(field: str) -> str:
    """`timestampField` is `timestamp_field`."""
    return _UPPER.sub(lambda letter: f"_{letter[0].lower()}", field)


def _field(node: Mapping[str, Any], name: str, config: Mapping[str, Any]) -> Any:
    if name in config:
        return _value(node, config[name])
    return _value(node, node["default"]) if "default" in node else None


def _value(node: Mapping[str, Any], value: Any) -> Any:
    kind = node.get("type")
    if kind in _AS_IT_IS:
        return value
    if kind == "integer" and (isinstance(value, int) or abs(value) < MAX_EXACT):
        return int(value)  # JSON Schema counts 5.0 as one
    if kind == "array":
        return tuple(_value(node["items"], one) for one in value)
    if kind == "object" and "properties" in node:
        return plain(node, value)
    if kind == "object" and isinstance(node.get("additionalProperties"), Mapping):
        return {one: _value(node["additionalProperties"], of) for one, of in value.items()}
    raise NotPlain(f"a field of type {kind!r}")
