"""The JSON Schemas of the four kinds (draft 2020-12), for editors and other tools: made of the models and a catalogue.

With a catalogue they also know its providers: which job types and methods each has, and by `if`/`then` on provider and
job type what a `config` may hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from reconciler.core.document import Kind
from reconciler.core.duration import PATTERN, format_duration
from reconciler.core.provider import Catalogue, Provider

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema(kind: Kind, catalogue: Catalogue) -> dict[str, Any]:
    """The schema of one document of a kind; plain values, in a settled order."""
    from reconciler.core.spec import MODELS

    schema = MODELS[kind].model_json_schema(by_alias=True)
    definitions = schema.setdefault("$defs", {})
    if kind == "Job":
        definitions["JobSpec"]["properties"]["schedule"]["examples"] = [
            {"every": "1h"},
            {"cron": "0 3 * * *"},
            {"once": True},
        ]
        definitions["Schedule"]["oneOf"] = [{"required": [way]} for way in _ways()]
        definitions["Schedule"]["dependentRequired"] = {"timezone": ["cron"]}
        in_lane = {"properties": {"lane": {"const": "backfill"}}, "required": ["lane"]}
        definitions["JobSpec"]["dependentSchemas"] = {"backfill": in_lane}
        _add_job_types(definitions, catalogue)
    if kind == "Stream":
        definitions["Attribute"]["not"] = {"required": ["from", "expr"]}
        definitions["StreamSpec"]["dependentRequired"] = {"attributes": ["identity"]}
    if kind == "Authorization":
        definitions["Reference"] |= {"minProperties": 1, "maxProperties": 1}
        _add_methods(definitions, catalogue)
    for definition in (schema, *definitions.values()):
        _tidy(definition)
    return {"$schema": DIALECT, "title": f"reconciler {kind}", **_without_titles(schema)}


def render(kind: Kind, catalogue: Catalogue) -> str:
    """The text of `schemas/<kind>.json`."""
    return json.dumps(json_schema(kind, catalogue), indent=2, ensure_ascii=False) + "\n"


def _ways() -> tuple[str, ...]:
    from reconciler.core.spec import Schedule

    return tuple(Schedule.WAYS.values())


def _tidy(definition: dict[str, Any]) -> None:
    """Defaults as they are written in a spec; what only stands for "not given" is none."""
    for one in definition.get("properties", {}).values():
        if "patternProperties" in one:
            one["additionalProperties"] = False
        default = one.get("default")
        if default in (None, "") or "$ref" in one or one.get("const") is True:
            one.pop("default", None)
        elif one.get("pattern") == PATTERN:
            one["default"] = format_duration(default)


def _without_titles(value: Any) -> Any:
    """Without the titles that pydantic makes of names. A property may itself be called `title`: that is a mapping."""
    if isinstance(value, dict):
        return {
            name: _without_titles(one) for name, one in value.items() if not (name == "title" and isinstance(one, str))
        }
    return [_without_titles(one) for one in value] if isinstance(value, list) else value


# --- what the catalogue adds ----------------------------------------------------------------------------------------


def _add_job_types(definitions: dict[str, Any], catalogue: Catalogue) -> None:
    spec, providers = definitions["JobSpec"], _sorted(catalogue)
    if not providers:
        return
    spec["properties"]["provider"] |= {"enum": [one.name for one in providers]}
    rules = [
        _when({"provider": one.name}, {"jobType": {"enum": [job_type.name for job_type in one.job_types]}})
        for one in providers
    ]
    for provider in providers:
        for job_type in provider.job_types:
            name = f"{provider.name}.{job_type.name}"
            definitions |= _as_definitions(name, job_type.schema)
            given = {"provider": provider.name, "jobType": job_type.name}
            rules.append(_when(given, {"config": {"$ref": f"#/$defs/{name}"}}, job_type.authorization == "required"))
    spec["allOf"] = rules


def _add_methods(definitions: dict[str, Any], catalogue: Catalogue) -> None:
    spec, providers = definitions["AuthorizationSpec"], [one for one in _sorted(catalogue) if one.methods]
    if not providers:
        return
    spec["properties"]["provider"] |= {"enum": [one.name for one in providers]}
    rules = [
        _when({"provider": one.name}, {"method": {"enum": [method.name for method in one.methods]}})
        for one in providers
    ]
    for provider in providers:
        for method in provider.methods:
            fields = {name: {"description": text} for name, text in (*method.fields.items(), *method.optional.items())}
            credentials = {"properties": fields, "required": list(method.fields), "additionalProperties": False}
            held = {"properties": {"credentials": credentials}, "required": ["credentials"] if method.fields else []}
            rules.append(_when({"provider": provider.name, "method": method.name}, {}) | {"then": held})
    spec["allOf"] = rules


def _sorted(catalogue: Catalogue) -> list[Provider]:
    return [catalogue[name] for name in sorted(catalogue)]


def _when(given: Mapping[str, str], then: Mapping[str, Any], needs_authorization: bool = False) -> dict[str, Any]:
    condition = {"properties": {name: {"const": value} for name, value in given.items()}, "required": list(given)}
    result: dict[str, Any] = {"properties": dict(then)}
    if needs_authorization:
        result["required"] = ["authorization"]
    return {"if": condition, "then": result}


def _as_definitions(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """A job type's schema as one of ours, its own definitions beside it under its name."""
    own = dict(schema)
    own.pop("$schema", None)
    inner = own.pop("$defs", {})
    moved = {f"{name}.{one}": _moved(definition, name) for one, definition in inner.items()}
    return {name: _moved(own, name), **moved}


def _moved(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        moved = {key: _moved(one, name) for key, one in value.items()}
        reference = moved.get("$ref")
        if isinstance(reference, str) and reference.startswith("#/$defs/"):
            moved["$ref"] = f"#/$defs/{name}.{reference.removeprefix('#/$defs/')}"
        return moved
    return [_moved(one, name) for one in value] if isinstance(value, list) else value
