"""The JSON Schemas beside the code are those of the models and of the providers that ship with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from reconciler.core.document import KINDS, Kind
from reconciler.core.schema import json_schema, render, spec_schema
from tests.specs import AUDIENCE, AUTHORIZATION, CATALOGUE, CRON_JOB, JOB, STREAM

SCHEMAS = Path(__file__).parent.parent / "schemas"


def errors(kind: Kind, text: str) -> list[str]:
    import ryaml

    document = ryaml.loads(text)  # type: ignore[attr-defined]
    alone, among_all = json_schema(kind, CATALOGUE), spec_schema(CATALOGUE)
    found = sorted(error.json_path for error in Draft7Validator(alone).iter_errors(document))
    assert sorted(error.json_path for error in Draft7Validator(among_all).iter_errors(document)) == found
    assert sorted(error.json_path for error in Draft202012Validator(alone).iter_errors(document)) == found
    return found


def shipped() -> Any:
    from reconciler.providers import collect, files, http

    return {one.PROVIDER.name: one.PROVIDER for one in (collect, files, http)}


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_the_schema_in_the_repository_is_the_one_that_the_code_makes(kind: Kind | None) -> None:
    name = kind.lower() if kind else "spec"
    assert (SCHEMAS / f"{name}.json").read_text(encoding="utf-8") == render(kind, shipped()), (
        f"write it anew: python -m reconciler schema {kind or ''} > schemas/{name}.json"
    )


def test_there_is_no_other_schema_in_the_repository() -> None:
    assert sorted(path.name for path in SCHEMAS.iterdir()) == sorted(
        [*(f"{kind.lower()}.json" for kind in KINDS), "spec.json"]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_a_schema_and_every_field_has_a_description(kind: Kind) -> None:
    schema = json_schema(kind, CATALOGUE)
    Draft7Validator.check_schema(schema)
    Draft7Validator.check_schema(spec_schema(CATALOGUE))
    ours = [one for name, one in schema["$defs"].items() if "." not in name]
    assert ours
    for definition in (schema, *ours):
        assert definition["additionalProperties"] is False
        for name, field in definition["properties"].items():
            assert "description" in field or "description" in schema["$defs"][field["$ref"].split("/")[-1]], name


@pytest.mark.parametrize(
    ("kind", "text"),
    [("Job", JOB), ("Job", CRON_JOB), ("Authorization", AUTHORIZATION), ("Stream", STREAM), ("Audience", AUDIENCE)],
)
def test_a_valid_spec_is_valid_by_its_schema(kind: Kind, text: str) -> None:
    assert errors(kind, text) == []


@pytest.mark.parametrize(
    ("kind", "text", "places"),
    [
        ("Job", JOB.replace("provider: s3", "provider: s4"), ["$.spec.provider"]),
        ("Job", JOB.replace("import-csv", "export-webhook"), ["$.spec.jobType"]),
        ("Job", JOB.replace("bucket: shop-exports", "bucket: 5"), ["$.spec.config.bucket"]),
        ("Job", JOB.replace("bucket: shop-exports", "page: {size: x}"), ["$.spec.config", "$.spec.config.page.size"]),
        ("Job", JOB.replace("  config:", "  konfig:"), ["$.spec", "$.spec"]),
        ("Job", JOB.replace("{every: 1h}", "{every: 1h, once: true}"), ["$.spec.schedule"]),
        ("Job", JOB.replace("{every: 1h}", "{every: 1h, timezone: UTC}"), ["$.spec.schedule"]),
        ("Job", JOB.replace("timeout: 2h", "timeout: 2 hours"), ["$.spec.timeout"]),
        (
            "Job",
            JOB.replace("import-csv", "import-private").replace("  authorization: main-aws\n", ""),
            ["$.spec"],
        ),
        ("Job", JOB.replace("team: growth", "_team: growth"), ["$.metadata.labels"]),
        ("Authorization", AUTHORIZATION.replace("access-key", "bearer"), ["$.spec.method"]),
        (
            "Authorization",
            AUTHORIZATION.replace("accessKeyId:", "keyId:"),
            ["$.spec.credentials", "$.spec.credentials"],
        ),
        (
            "Authorization",
            AUTHORIZATION.replace("{env: AWS_ACCESS_KEY_ID}", "hunter2"),
            ["$.spec.credentials.accessKeyId"],
        ),
        ("Stream", STREAM.replace("timestamp", "timestmp"), ["$.spec.columns.ordered_at"]),
    ],
    ids=range(14),
)
def test_what_an_editor_can_know_to_be_wrong_is_wrong_by_the_schema(kind: Kind, text: str, places: list[str]) -> None:
    assert errors(kind, text) == places


def fields(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every field that a schema declares, wherever in it; not what `if` asks, or `then` adds to a field."""
    if isinstance(schema, list):
        for one in schema:
            yield from fields(one, path)
    elif isinstance(schema, dict):
        for name, field in schema.get("properties", {}).items():
            yield f"{path}.{name}", field
            yield from fields(field, f"{path}.{name}")
        for name, one in schema.get("$defs", {}).items():
            yield from fields(one, name)
        for keyword in ("items", "additionalProperties", "anyOf", "oneOf"):
            yield from fields(schema.get(keyword), f"{path}[]")


def test_every_field_that_ships_has_a_description_and_what_shows_how_it_is_written() -> None:
    """An example, a default, or the few values that there are; a mapping is shown by its fields."""
    shows = {"examples", "default", "enum", "const", "$ref", "oneOf"}
    silent = []
    for path, field in (one for kind in KINDS for one in fields(json_schema(kind, shipped()), kind)):
        if "description" not in field and "$ref" not in field:
            silent.append(f"{path} has no description")
        if not shows & field.keys() and field.get("type") not in ("boolean", "object"):
            silent.append(f"{path} shows nothing")
    assert not silent


def test_what_a_choice_means_is_beside_it() -> None:
    job, authorization = json_schema("Job", shipped())["$defs"], json_schema("Authorization", shipped())["$defs"]
    provider = job["JobSpec"]["properties"]["provider"]
    assert dict(zip(provider["enum"], provider["enumDescriptions"], strict=True)) == {
        name: one.title for name, one in shipped().items() if one.job_types
    }
    ways = [rule["then"]["properties"] for rule in authorization["AuthorizationSpec"]["allOf"]]
    assert {"enum": ["bearer"], "enumDescriptions": ["A token that senders show"]} in [
        one.get("method") for one in ways
    ]


def test_defaults_are_written_as_in_a_spec() -> None:
    retry = json_schema("Job", CATALOGUE)["$defs"]["Retry"]["properties"]
    assert {name: field["default"] for name, field in retry.items()} == {
        "initial": "30s", "factor": 2.0, "max": "30m", "jitter": 0.2, "failAfter": "10h",
    }  # fmt: skip


def test_a_schema_is_the_same_text_each_time() -> None:
    assert render("Job", CATALOGUE) == render("Job", dict(reversed(CATALOGUE.items())))
    assert json.loads(render("Job", CATALOGUE)) == json_schema("Job", CATALOGUE)
