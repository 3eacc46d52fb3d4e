"""The JSON Schemas of the four kinds, and of all of them as one, for editors and other tools: made of the models and a
catalogue, in draft-07, which editors understand best.

With a catalogue they also know its providers: which job types and methods each has, and by `if`/`then` on provider and
job type what a `config` may hold, on provider and method what `credentials`.

They never refuse what `validate` accepts. They accept more: what no JSON Schema can say (names that other documents declare,
cron expressions, time zones, SQL, which fields exclude each other), `validate` alone knows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from reconciler.core.dialect import DRAFT_07, as_part, beside, when
from reconciler.core.document import KINDS, Kind
from reconciler.core.duration import PATTERN, format_duration
from reconciler.core.provider import Catalogue, JobType, Method, Provider


def json_schema(kind: Kind, catalogue: Catalogue) -> dict[str, Any]:
    """The schema of one document of a kind; plain values, in a settled order."""
    from reconciler.core.spec import MODELS

    schema = MODELS[kind].model_json_schema(by_alias=True)
    definitions = schema.setdefault("$defs", {})
    if kind in _ADDED:
        _ADDED[kind](definitions, catalogue)
    for definition in (schema, *definitions.values()):
        _tidy(definition)
    made: dict[str, Any] = _without_titles(schema)
    definitions = made.pop("$defs")
    if kind == "Job":
        definitions |= _configs(catalogue)
    return {"$schema": DRAFT_07, "title": f"reconciler {kind}", **made, "$defs": definitions}


def spec_schema(catalogue: Catalogue) -> dict[str, Any]:
    """The schema of a document of any kind, which its `kind` picks: for an editor's setting that covers whole folders."""
    kinds = {kind: json_schema(kind, catalogue) for kind in KINDS}
    return {
        "$schema": DRAFT_07,
        "title": "reconciler spec",
        "description": "One document of a spec file.",
        "type": "object",
        "properties": {
            "apiVersion": kinds["Job"]["properties"]["apiVersion"],
            "kind": {
                "description": "What this document declares.",
                "enum": list(KINDS),
                "enumDescriptions": [kinds[kind]["description"] for kind in KINDS],
            },
            "metadata": {"description": "Who this document is."},
            "spec": {"description": "What it declares."},
        },
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
        "allOf": [when({"kind": kind}, {"$ref": f"#/$defs/{kind}"}) for kind in KINDS],
        "$defs": {kind: as_part(schema, f"#/$defs/{kind}") for kind, schema in kinds.items()},
    }


def render(kind: Kind | None, catalogue: Catalogue) -> str:
    """The text of `schemas/<kind>.json`; of `schemas/spec.json` where no kind is named."""
    schema = spec_schema(catalogue) if kind is None else json_schema(kind, catalogue)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


# --- what the models do not say -------------------------------------------------------------------------------------


def _add_to_job(definitions: dict[str, Any], catalogue: Catalogue) -> None:
    from reconciler.core.spec import Schedule

    spec, schedule = definitions["JobSpec"], definitions["Schedule"]
    spec["properties"]["schedule"]["examples"] = [{"every": "1h"}, {"cron": "0 3 * * *"}, {"once": True}]
    schedule["oneOf"] = [{"required": [way]} for way in Schedule.WAYS.values()]
    schedule["allOf"] = [beside("timezone", {"required": ["cron"]})]
    in_lane = {"properties": {"lane": {"const": "backfill"}}, "required": ["lane"]}
    follows = {"properties": {"schedule": {"required": ["afterDependencies"]}}, "required": ["schedule"]}
    followed = {"properties": {"dependsOn": {"minItems": 1}}, "required": ["dependsOn"]}
    spec["allOf"] = [beside("backfill", in_lane), {"if": follows, "then": followed}, *_job_types(spec, catalogue)]


def _add_to_authorization(definitions: dict[str, Any], catalogue: Catalogue) -> None:
    reference = definitions["Reference"]
    ways = list(reference["properties"])
    alone = [beside(way, {"properties": {other: False for other in ways if other != way}}) for way in ways]
    reference |= {"minProperties": 1, "allOf": alone}
    spec = definitions["AuthorizationSpec"]
    spec["properties"]["credentials"]["examples"] = [{"token": {"env": "API_TOKEN"}}]
    if rules := _methods(spec, catalogue):
        spec["allOf"] = rules


def _add_to_stream(definitions: dict[str, Any], _: Catalogue) -> None:
    definitions["Attribute"]["not"] = {"required": ["from", "expr"]}
    counts = {"properties": {"merge": {"const": "count"}}, "required": ["merge"]}
    definitions["Attribute"] |= {"if": counts, "else": {"anyOf": [{"required": ["from"]}, {"required": ["expr"]}]}}
    some = {"properties": {"attributes": {"minProperties": 1}}, "required": ["attributes"]}
    definitions["StreamSpec"] |= {"if": some, "then": {"required": ["identity"]}}


_ADDED: Final[Mapping[str, Callable[[dict[str, Any], Catalogue], None]]] = {
    "Job": _add_to_job,
    "Authorization": _add_to_authorization,
    "Stream": _add_to_stream,
}


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
            name: one if name == "examples" else _without_titles(one)
            for name, one in value.items()
            if not (name == "title" and isinstance(one, str))
        }
    return [_without_titles(one) for one in value] if isinstance(value, list) else value


# --- what the catalogue adds ----------------------------------------------------------------------------------------


def _job_types(spec: dict[str, Any], catalogue: Catalogue) -> list[dict[str, Any]]:
    """The rules for each provider and job type. A provider without job types is none that a Job can name."""
    providers = [one for one in _sorted(catalogue) if one.job_types]
    if providers:
        spec["properties"]["provider"] |= _choice(providers)
    rules = [when({"provider": one.name}, {"properties": {"jobType": _choice(one.job_types)}}) for one in providers]
    for provider in providers:
        rules += [
            when({"provider": provider.name, "jobType": one.name}, _of_job_type(provider, one))
            for one in provider.job_types
        ]
    return rules


def _of_job_type(provider: Provider, job_type: JobType) -> dict[str, Any]:
    properties: dict[str, Any] = {"config": {"$ref": _place(provider, job_type)}}
    if job_type.authorization == "none":
        properties["authorization"] = False
    needs = ["config"] if job_type.schema.get("required") else []
    if job_type.authorization == "required":
        needs.append("authorization")
    return {"properties": properties} | ({"required": needs} if needs else {})


def _configs(catalogue: Catalogue) -> dict[str, Any]:
    """The schema of each job type's config, by provider and job type."""
    return {
        f"{provider.name}.{job_type.name}": as_part(job_type.schema, _place(provider, job_type))
        | {"title": job_type.title}
        for provider in _sorted(catalogue)
        for job_type in provider.job_types
    }


def _place(provider: Provider, job_type: JobType) -> str:
    """The JSON pointer to a config's schema (RFC 6901)."""
    name = f"{provider.name}.{job_type.name}".replace("~", "~0").replace("/", "~1")
    return f"#/$defs/{name}"


def _methods(spec: dict[str, Any], catalogue: Catalogue) -> list[dict[str, Any]]:
    providers = [one for one in _sorted(catalogue) if one.methods]
    if providers:
        spec["properties"]["provider"] |= _choice(providers)
    rules = [when({"provider": one.name}, {"properties": {"method": _choice(one.methods)}}) for one in providers]
    for provider in providers:
        rules += [when({"provider": provider.name, "method": one.name}, _of_method(one)) for one in provider.methods]
    return rules


def _of_method(method: Method) -> dict[str, Any]:
    fields = {**method.fields, **method.optional}
    credentials = {
        "properties": {name: {"description": text} for name, text in fields.items()},
        "required": list(method.fields),
        "additionalProperties": False,
    }
    return {"properties": {"credentials": credentials}, "required": ["credentials"] if method.fields else []}


def _choice(named: Sequence[Provider] | Sequence[JobType] | Sequence[Method]) -> dict[str, Any]:
    return {"enum": [one.name for one in named], "enumDescriptions": [one.title for one in named]}


def _sorted(catalogue: Catalogue) -> list[Provider]:
    return [catalogue[name] for name in sorted(catalogue)]
