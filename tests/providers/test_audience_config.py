"""What an export of an audience may say: schema and model take the same."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from reconciler.core.config_schema import compile_schema
from reconciler.core.members import Calls, MappedField
from reconciler.core.mirror import Guard
from reconciler.providers import files, http

BASES: dict[str, dict[str, Any]] = {
    "http": {"url": "https://example.com/in"},
    "files": {"path": "out.csv", "format": "csv"},
}
BOTH = {"audience": "people", "fields": {"email": {"from": "email"}}}
PROVIDERS = {"http": http.PROVIDER, "files": files.PROVIDER}


def accepted(provider: str, config: dict[str, Any]) -> bool:
    """Whether schema and model both take it; they must agree."""
    job_type = PROVIDERS[provider].job_type("export-audience")
    assert job_type is not None
    by_schema = jsonschema.Draft202012Validator(dict(job_type.schema)).is_valid(config)
    try:
        job_type.config(config)
        by_model = True
    except ValidationError:
        by_model = False
    assert by_schema == by_model, config
    return by_schema


@pytest.mark.parametrize("provider", BASES)
@pytest.mark.parametrize(
    ("config", "fits"),
    [
        ({}, True),
        ({"audience": "No"}, False),
        ({"fields": {}}, False),
        ({"fields": {"email": {}}}, False),
        ({"fields": {"previous": {"from": "email"}}}, False),
        ({"fields": {"action": {"from": "email"}}}, False),
        ({"fields": {"a b": {"from": "email"}}}, False),
        ({"fields": {"EMAIL-1": {"from": "key:email", "required": True, "identifier": False}}}, True),
        ({"fields": {"id": {"from": "profile-id"}}}, True),
        ({"fields": {"id": {"from": "Profile"}}}, False),
        ({"fields": {"id": {"from": "a:b"}}}, False),
        ({"fields": {"e": {"from": "email", "transform": ["lower", "sha256"]}}}, True),
        ({"fields": {"e": {"from": "email", "transform": "lower"}}}, False),
        ({"fields": {"e": {"from": "email", "transform": [""]}}}, False),
        ({"fields": {f"f{number}": {"from": "email"} for number in range(101)}}, False),
        ({"mode": "mirror", "events": "exit", "backfill": False}, True),
        ({"mode": "add-only", "events": "exit"}, False),
        ({"mode": "update-only", "events": "exit"}, False),
        ({"mode": "add-only", "events": "enter"}, True),
        ({"mode": "upsert"}, False),
        ({"events": "none"}, False),
        ({"backfill": "no"}, False),
        ({"guard": {}}, True),
        ({"guard": {"maxRemovePercent": 5.5, "maxAddPercent": 1000, "emptyAudience": "allow"}}, True),
        ({"guard": {"maxRemovePercent": 101}}, False),
        ({"guard": {"maxAddPercent": -1}}, False),
        ({"guard": {"emptyAudience": "yes"}}, False),
        ({"guard": {"maxRemoves": 5}}, False),
        ({"stream": "orders"}, False),
    ],
)
def test_what_all_destinations_may_say(provider: str, config: dict[str, Any], fits: bool) -> None:
    assert accepted(provider, {**BASES[provider], **BOTH, **config}) is fits


@pytest.mark.parametrize(
    ("config", "fits"),
    [
        ({"batchSize": 10_000}, True),
        ({"batchSize": 10_001}, False),
        ({"urls": {"add": "https://example.com/add"}, "methods": {"add": "PUT", "remove": "DELETE"}}, True),
        ({"urls": {"add": "ftp://x"}}, False),
        ({"methods": {"add": "GET"}}, False),
        ({"replay": {"add": "unsafe", "update": "ordered", "remove": "idempotent"}}, True),
        ({"replay": {"add": "maybe"}}, False),
        ({"replay": "keyed"}, False),
        ({"errors": {"path": "errors"}}, True),
        ({"errors": {"path": "errors", "index": "row.number", "message": "why", "first": 1}}, True),
        ({"errors": {}}, False),
        ({"errors": {"path": "errors", "first": 2}}, False),
        ({"maxRejects": 0}, True),
        ({"maxRejects": -1}, False),
    ],
)
def test_what_an_http_destination_may_say(config: dict[str, Any], fits: bool) -> None:
    assert accepted("http", {**BASES["http"], **BOTH, **config}) is fits


def test_an_audience_is_named_as_read() -> None:
    for provider in PROVIDERS.values():
        job_type = provider.job_type("export-audience")
        assert job_type is not None
        assert job_type.schema["properties"]["audience"]["x-audience"] == "reads"
        assert job_type.type == "export"


def test_a_file_of_changes_needs_the_run_in_its_name() -> None:
    job_type = files.PROVIDER.job_type("export-audience")
    assert job_type is not None
    check = jsonschema.Draft202012Validator(dict(job_type.schema))
    assert not check.is_valid({**BASES["files"], **BOTH, "only": "new"})
    assert check.is_valid({**BASES["files"], **BOTH, "only": "new", "path": "{run}.csv"})
    assert not accepted("files", {**BASES["files"], **BOTH, "path": "{date}-{run}.csv"})


def test_a_config_says_what_is_compared_and_how_careful_a_run_is() -> None:
    job_type = http.PROVIDER.job_type("export-audience")
    assert job_type is not None
    config = job_type.config({**BASES["http"], **BOTH, "backfill": False, "guard": {"maxAddPercent": 50}})
    wish = config.wish(is_first=True, retry="")
    assert wish.fields == (MappedField(name="email", source="email"),)
    assert wish.calls == Calls(add=True, update=True, remove=True)
    assert wish.notes_all
    assert not config.wish(is_first=False, retry="").notes_all
    assert config.limits() == Guard(
        max_remove_percent=20, max_add_percent=50, adds_to_at_least=0, empty_audience="block"
    )


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({}, ("fields",), "expected a mapping of at least 1 field, found a mapping"),
        (
            {"email": {"from": "email"}, "Näme": {"from": "email"}},
            ("fields", "Näme"),
            "expected a name of a-z, A-Z, 0-9, _ and -, not previous or action, found 'Näme'",
        ),
    ],
)
def test_what_a_field_may_be_called_is_said_at_that_field(
    fields: dict[str, Any], path: tuple[str, ...], message: str
) -> None:
    job_type = http.PROVIDER.job_type("export-audience")
    assert job_type is not None
    found = compile_schema(job_type.schema).issues({**BASES["http"], **BOTH, "fields": fields})
    assert [(one.path, one.message) for one in found] == [(path, message)]
