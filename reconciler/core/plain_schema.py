"""What is surely valid by a plain JSON Schema, found without a library: most job types ask for types, lengths, choices and
patterns of plain texts, and to load the library takes longer than a plan of one changed job may take.

It may only accept what `jsonschema-rs` accepts. A schema with anything else in it than what stands here is declined as a
whole, and so is a value that it is not sure of; the library decides about both (`config_schema.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

#: Says whether a value is surely valid; where it is not, it may be.
Surely = Callable[[Any], bool]

_TYPES: Final[Mapping[str, type]] = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list}
#: Keywords that decide nothing, and of which type their value is.
_NOTES: Final[Mapping[str, type]] = {"title": str, "description": str, "examples": list, "$schema": str}
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
#: What regular expressions mean alike in Python, in ECMAScript and to Rust, where the text is printable ASCII.
_PLAIN_PATTERN: Final = re.compile(
    r"(?:[A-Za-z0-9 _:/%#@=,.^$|)-]|\\[.t]|\((?!\?)|\[\^?(?:[A-Za-z0-9 _:/%#@=,.!&(){}+*?~$-]|\\[][.t])+\]|[*+?](?![*+?]))*"
)
_IN_CLASS: Final = re.compile(r"--|&&|~~")


class _Declined(Exception):
    pass


def surely(schema: Mapping[str, Any]) -> Surely | None:
    """What says so by this schema (2020-12); None where the library has to look at the schema itself."""
    try:
        return _compiled(schema)
    except (_Declined, re.error):
        return None


def _compiled(schema: Any) -> Surely:
    if type(schema) is not dict:
        raise _Declined
    tests: list[Surely] = []
    for name, asked in sorted(schema.items(), key=lambda one: one[0] != "type"):  # the other tests go by it
        if name in _NOTES:
            if type(asked) is not _NOTES[name] or (name == "$schema" and asked != _DRAFT):
                raise _Declined
        elif name in _KEYWORDS:
            tests.append(_KEYWORDS[name](asked, schema))
        elif name != "default" and not name.startswith("x-"):
            raise _Declined
    return lambda value: all(test(value) for test in tests)


def _type(asked: Any, _: Any) -> Surely:
    if type(asked) is not str or asked not in _TYPES:
        raise _Declined
    wanted = _TYPES[asked]
    return lambda value: type(value) is wanted


def _enum(asked: Any, _: Any) -> Surely:
    if type(asked) is not list or not asked or len({*map(_text, asked)}) != len(asked):
        raise _Declined
    return lambda value: type(value) is str and value in asked


def _text(value: Any) -> str:
    if type(value) is not str:
        raise _Declined
    return value


def _bound(holds: Callable[[Any, int], bool]) -> Callable[[Any, Any], Surely]:
    def compiled(asked: Any, _: Any) -> Surely:
        if type(asked) is not int or not 0 <= asked < 1 << 53:
            raise _Declined
        return lambda value: holds(value, asked)

    return compiled


def _pattern(asked: Any, _: Any) -> Surely:
    if _PLAIN_PATTERN.fullmatch(_text(asked)) is None or _IN_CLASS.search(asked):
        raise _Declined
    search = re.compile(asked).search
    return lambda value: type(value) is str and value.isascii() and value.isprintable() and search(value) is not None


def _properties(asked: Any, schema: Mapping[str, Any]) -> Surely:
    if type(asked) is not dict or schema.get("type") != "object":
        raise _Declined
    known = {_text(name): _compiled(one) for name, one in asked.items()}
    return lambda value: all(name not in known or known[name](one) for name, one in value.items())


def _no_others(asked: Any, schema: Mapping[str, Any]) -> Surely:
    known = schema.get("properties")
    if asked is not False or type(known) is not dict or schema.get("type") != "object":
        raise _Declined
    return lambda value: value.keys() <= known.keys()


def _required(asked: Any, schema: Mapping[str, Any]) -> Surely:
    if type(asked) is not list or len({*map(_text, asked)}) != len(asked) or schema.get("type") != "object":
        raise _Declined
    return lambda value: all(name in value for name in asked)


def _items(asked: Any, schema: Mapping[str, Any]) -> Surely:
    if schema.get("type") != "array":
        raise _Declined
    item = _compiled(asked)
    return lambda value: all(map(item, value))


_KEYWORDS: Final[Mapping[str, Callable[[Any, Mapping[str, Any]], Surely]]] = {
    "type": _type,
    "enum": _enum,
    "minLength": _bound(lambda value, least: type(value) is str and len(value) >= least),
    "maxLength": _bound(lambda value, most: type(value) is str and len(value) <= most),
    "minimum": _bound(lambda value, least: type(value) is int and value >= least),
    "maximum": _bound(lambda value, most: type(value) is int and value <= most),
    "minItems": _bound(lambda value, least: type(value) is list and len(value) >= least),
    "maxItems": _bound(lambda value, most: type(value) is list and len(value) <= most),
    "pattern": _pattern,
    "properties": _properties,
    "additionalProperties": _no_others,
    "required": _required,
    "items": _items,
}
