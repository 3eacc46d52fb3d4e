"""A job's `config` against its job type's JSON Schema (2020-12), which may be one that the provider did not write.

`jsonschema-rs` decides, in microseconds; `jsonschema`, a hundred times slower, is asked only why a config is refused,
and only then imported. Neither ever fetches a schema: a `$ref` leads within the schema, or the schema is unusable.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from reconciler.core.issue import Issue, Path, clip, found, one_of, quoted
from reconciler.core.suggest import did_you_mean
from reconciler.core.value import dataclass

#: What is wrong with a config is told so often at most.
MAX_ISSUES: Final = 100

#: A larger config is refused without a reason: jsonschema's time may grow with the square of it.
MAX_EXPLAINED: Final = 5_000

_TYPES: Final = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}


@dataclass(frozen=True, slots=True)
class ConfigSchema:
    """One job type's schema, compiled. `unusable` says why it cannot be used; then nothing is valid by it."""

    schema: Mapping[str, Any]
    defaults: Mapping[str, Any]
    is_valid: Callable[[Any], bool]
    unusable: str = ""

    def issues(self, config: Any) -> list[Issue]:
        """What is wrong with `config`, by paths within it; empty for a valid one."""
        if self.unusable:
            return [Issue((), f"the job type's schema cannot be used: {self.unusable}")]
        if self.is_valid(config):
            return []
        if _size(config, MAX_EXPLAINED) > MAX_EXPLAINED:
            return [
                Issue(
                    (),
                    f"expected what the job type's schema allows, found other; over {MAX_EXPLAINED:,} values are not explained",
                )
            ]
        return _reasons(self.schema, config) or [Issue((), "expected what the job type's schema allows")]


def compile_schema(schema: Mapping[str, Any]) -> ConfigSchema:
    """Raises nothing: a schema that cannot be used is a finding of its own."""
    import jsonschema_rs

    try:
        validator = jsonschema_rs.Draft202012Validator(dict(schema), retriever=_refuse)
    except Exception as error:  # a third party's schema through a third party's compiler: any error is theirs
        return ConfigSchema(schema, {}, lambda _: False, clip(" ".join(str(error).split())) or "it is no JSON Schema")
    return ConfigSchema(schema, top_defaults(schema), validator.is_valid)


def _refuse(uri: str) -> Any:
    raise LookupError(f"{uri} is outside the schema")


def _size(value: Any, enough: int) -> int:
    """How many values there are in `value`, or more than `enough`."""
    if not isinstance(value, (dict, list)):
        return 1
    size = 1
    for one in value.values() if isinstance(value, dict) else value:
        size += _size(one, enough)
        if size > enough:
            break
    return size


def top_defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The `default` of each top-level property that has one."""
    properties = schema.get("properties", {})
    return {name: one["default"] for name, one in properties.items() if isinstance(one, Mapping) and "default" in one}


# --- why it is refused ----------------------------------------------------------------------------------------------


def _reasons(schema: Mapping[str, Any], config: Any) -> list[Issue]:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    issues: dict[Issue, None] = {}
    try:
        errors = Draft202012Validator(schema, registry=Registry()).iter_errors(config)
        for error in errors:
            issues.update(dict.fromkeys(_explain(error)))
            if len(issues) >= MAX_ISSUES:
                break
    except Exception as error:  # as above: the schema is not ours
        return [Issue((), f"the job type's schema cannot be used: {clip(' '.join(str(error).split()))}")]
    return list(issues)


def _explain(error: Any) -> Iterable[Issue]:
    """What is wrong with the name of a field is told at that field: jsonschema's path leads to the mapping."""
    path: Path = tuple(error.absolute_path)
    if not _is_of_a_name(error):
        return _explain_at(path, error)
    return [replace(one, on_key=True) for one in _explain_at((*path, error.instance), error)]


def _is_of_a_name(error: Any) -> bool:
    steps = list(error.absolute_schema_path)
    names = (index for index, step in enumerate(steps) if step == "propertyNames")
    return isinstance(error.instance, str) and any(steps[index - 1 : index] != ["properties"] for index in names)


def _explain_at(path: Path, error: Any) -> Iterable[Issue]:
    special = _SPECIAL.get(error.validator)
    if special is not None:
        return special(path, error)
    if error.validator == "pattern" and "x-expected" in error.schema:  # a pattern says little to a person
        return [Issue(path, f"expected {clip(str(error.schema['x-expected']))}, found {found(error.instance)}")]
    plain = _PLAIN.get(error.validator)
    if plain is None:
        return [
            Issue(path, f"does not meet the schema's {quoted(str(error.validator))}, found {found(error.instance)}")
        ]
    return [Issue(path, f"expected {plain(error.validator_value)}, found {found(error.instance)}")]


def _types(wanted: Any) -> str:
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    return one_of(_TYPES.get(name, str(name)) for name in names)


def _missing(path: Path, error: Any) -> Iterable[Issue]:
    absent = [name for name in error.validator_value if name not in error.instance]
    return [Issue((*path, name), "this field is required, and missing") for name in absent]


def _extra(path: Path, error: Any) -> Iterable[Issue]:
    import re

    known = error.schema.get("properties", {})
    patterns = error.schema.get("patternProperties", {})
    extras = [
        name for name in error.instance if name not in known and not any(re.search(one, name) for one in patterns)
    ]
    if error.validator == "additionalProperties" and error.validator_value is not False:
        return [Issue((*path, *error.relative_path), error.message)]
    hints = ((one, did_you_mean(one, known)) for one in extras[:MAX_ISSUES])
    return [Issue((*path, one), f"unknown field{hint}", on_key=True) for one, hint in hints]


def _choice(path: Path, error: Any) -> Iterable[Issue]:
    choices = list(error.validator_value) if error.validator == "enum" else [error.validator_value]
    texts = [one for one in choices if isinstance(one, str)]
    listed = one_of(one if isinstance(one, str) else json.dumps(one) for one in choices[:20])
    more = f" (or one of {len(choices) - 20} more)" if len(choices) > 20 else ""
    return [Issue(path, f"expected {listed}{more}, found {found(error.instance)}{did_you_mean(error.instance, texts)}")]


def _branches(path: Path, error: Any) -> Iterable[Issue]:
    """Of `anyOf` and `oneOf`: one sentence where the branches differ in type alone, else the branch that came
    closest."""
    context = list(error.context or ())
    if not context:
        return [Issue(path, f"expected exactly one of the forms that the schema allows, found {found(error.instance)}")]
    if all(one.validator == "type" and one.absolute_path == error.absolute_path for one in context):
        wanted = [name for one in context for name in _list(one.validator_value)]
        return [Issue(path, f"expected {_types(dict.fromkeys(wanted))}, found {found(error.instance)}")]
    fitting = [one for one in context if not (one.validator == "type" and one.absolute_path == error.absolute_path)]
    closest = max(fitting, key=lambda one: (len(one.absolute_path), -_index(one)))
    branch = [one for one in fitting if _index(one) == _index(closest)]
    return [issue for one in branch for issue in _explain(one)]


def _index(error: Any) -> int:
    first = next(iter(error.relative_schema_path), 0)
    return first if isinstance(first, int) else 0


def _list(wanted: Any) -> list[str]:
    return [wanted] if isinstance(wanted, str) else list(wanted)


_SPECIAL: Final[Mapping[str, Callable[[Path, Any], Iterable[Issue]]]] = {
    "required": _missing,
    "additionalProperties": _extra,
    "unevaluatedProperties": _extra,
    "enum": _choice,
    "const": _choice,
    "anyOf": _branches,
    "oneOf": _branches,
}

_PLAIN: Final[Mapping[str, Callable[[Any], str]]] = {
    "type": _types,
    "minimum": lambda bound: f"a number of at least {bound}",
    "maximum": lambda bound: f"a number of at most {bound}",
    "exclusiveMinimum": lambda bound: f"a number greater than {bound}",
    "exclusiveMaximum": lambda bound: f"a number less than {bound}",
    "multipleOf": lambda step: f"a multiple of {step}",
    "minLength": lambda count: "a text that is not empty" if count == 1 else f"a text of at least {count} characters",
    "maxLength": lambda count: f"a text of at most {count} characters",
    "pattern": lambda pattern: f"a text that matches {clip(str(pattern))}",
    "format": lambda name: f"a text in the format {name}",
    "minItems": lambda count: f"a list of at least {count}",
    "maxItems": lambda count: f"a list of at most {count}",
    "uniqueItems": lambda _: "a list in which nothing stands twice",
    "minProperties": lambda count: f"a mapping of at least {count} {'field' if count == 1 else 'fields'}",
    "maxProperties": lambda count: f"a mapping of at most {count} fields",
    "propertyNames": lambda _: "other names of fields",
    "not": lambda _: "something that the schema does not rule out",
    "contains": lambda _: "a list that holds what the schema asks for",
    "dependentRequired": lambda _: "the fields that belong with the ones given",
    "if": lambda _: "what the schema's condition asks for",
}
