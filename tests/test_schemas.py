"""The JSON Schemas beside the code are those of the models and of the providers that ship with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler.core.document import KINDS, Kind
from reconciler.core.schema import json_schema, render
from tests.specs import AUDIENCE, AUTHORIZATION, CATALOGUE, CRON_JOB, JOB, STREAM

SCHEMAS = Path(__file__).parent.parent / "schemas"


def errors(kind: Kind, text: str) -> list[str]:
    import ryaml

    found = Draft202012Validator(json_schema(kind, CATALOGUE)).iter_errors(ryaml.loads(text))  # type: ignore[attr-defined]
    return sorted(error.json_path for error in found)


def shipped() -> Any:
    from reconciler.providers import collect, files, http

    return {one.PROVIDER.name: one.PROVIDER for one in (collect, files, http)}


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_in_the_repository_is_the_one_that_the_code_makes(kind: Kind) -> None:
    assert (SCHEMAS / f"{kind.lower()}.json").read_text(encoding="utf-8") == render(kind, shipped()), (
        f"write it anew: python -m reconciler schema {kind} > schemas/{kind.lower()}.json"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_schema_is_a_schema_and_every_field_has_a_description(kind: Kind) -> None:
    schema = json_schema(kind, CATALOGUE)
    Draft202012Validator.check_schema(schema)
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
    ids=range(13),
)
def test_what_an_editor_can_know_to_be_wrong_is_wrong_by_the_schema(kind: Kind, text: str, places: list[str]) -> None:
    assert errors(kind, text) == places


def test_defaults_are_written_as_in_a_spec() -> None:
    retry = json_schema("Job", CATALOGUE)["$defs"]["Retry"]["properties"]
    assert {name: field["default"] for name, field in retry.items()} == {
        "initial": "30s", "factor": 2.0, "max": "30m", "jitter": 0.2, "failAfter": "10h",
    }  # fmt: skip


def test_a_schema_is_the_same_text_each_time() -> None:
    assert render("Job", CATALOGUE) == render("Job", dict(reversed(CATALOGUE.items())))
    assert json.loads(render("Job", CATALOGUE)) == json_schema("Job", CATALOGUE)
