"""What the models take, what they make of it, and what they say to the rest."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from reconciler.core.document import Document
from reconciler.core.explain import explain
from reconciler.core.issue import field_path, field_text, found
from reconciler.core.spec import MODELS, document
from tests.specs import IMPORT_SCHEMA

BASE: dict[str, Any] = {"provider": "s3", "jobType": "import-csv"}


def raw(kind: str, spec: Any, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "reconciler/v1", "kind": kind, "metadata": {"name": "a", **metadata}, "spec": spec}


def read(kind: str, spec: Any, **metadata: Any) -> Document:
    model = MODELS[kind].model_validate(raw(kind, spec, **metadata))
    return document(model, path="a.yaml", ordinal=0, line=1, config_defaults={"prefix": "", "header": True, "tags": []})


def job(**fields: Any) -> dict[str, Any]:
    spec = dict(read("Job", BASE | fields).spec)
    assert list(spec) == sorted(spec)
    return {name: value for name, value in spec.items() if name not in BASE}


def refused(kind: str, spec: Any, **metadata: Any) -> list[str]:
    with pytest.raises(ValidationError) as error:
        MODELS[kind].model_validate(raw(kind, spec, **metadata))
    return [f"{field_text(issue.path)}: {issue.message}" for issue in explain(error.value, kind)]


# --- what a spec becomes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "normal"),
    [
        ({"schedule": {"every": "90m"}}, {"schedule": {"every": 5_400_000}}),
        ({"schedule": {"cron": "0  3 * * mon"}}, {"schedule": {"cron": "0 3 * * MON", "timezone": "UTC"}}),
        (
            {"schedule": {"cron": "@daily", "timezone": "Europe/Paris"}},
            {"schedule": {"cron": "@daily", "timezone": "Europe/Paris"}},
        ),
        ({"schedule": {"continuous": True}}, {"schedule": {"continuous": True}}),
        (
            {"schedule": {"afterDependencies": True}, "dependsOn": ["b"]},
            {"schedule": {"afterDependencies": True}, "dependsOn": ["b"]},
        ),
        ({"timeout": "2h"}, {"timeout": 7_200_000}),
        ({"retry": {"factor": 3, "initial": "1m"}}, {"retry": {"factor": 3.0, "initial": 60_000}}),
        ({"retry": {"failAfter": "1d", "jitter": 0, "max": "1h"}}, {"retry": {"failAfter": 86_400_000, "jitter": 0.0, "max": 3_600_000}}),
        ({"dependsOn": ["c", "b"]}, {"dependsOn": ["b", "c"]}),
        ({"quiet": {"from": "22:00", "to": "06:00"}}, {"quiet": {"from": "22:00", "timezone": "UTC", "to": "06:00"}}),
        ({"expiresAt": "2027-06-30T02:00:00+02:00"}, {"expiresAt": 1_814_313_600_000}),
        ({"expiresAt": "2027-06-30T00:00:00.250z"}, {"expiresAt": 1_814_313_600_250}),
        ({"rerun": 7, "restart": "x"}, {"rerun": "7", "restart": "x"}),
        ({"suspend": True, "deletionPolicy": "protect"}, {"suspend": True, "deletionPolicy": "protect"}),
        ({"authorization": "main"}, {"authorization": "main"}),
        ({"config": {"b": {"z": 1, "a": [{"y": 1, "x": None}]}}}, {"config": {"b": {"a": [{"x": None, "y": 1}], "z": 1}}}),
    ],
)  # fmt: skip
def test_a_job_is_normalised(fields: dict[str, Any], normal: dict[str, Any]) -> None:
    assert job(**fields) == normal


@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": {"once": True}},
        {"suspend": False, "rerun": "", "restart": ""},
        {"retry": {"initial": "30s", "factor": 2, "max": "1800s", "jitter": 0.2, "failAfter": "600m"}},
        {"retry": {}},
        {"dependsOn": [], "deletionPolicy": "delete"},
        {"config": {}},
        {"config": {"prefix": "", "header": True, "tags": []}},
    ],
)
def test_what_equals_its_default_is_left_out(fields: dict[str, Any]) -> None:
    assert job(**fields) == {}


def test_a_config_value_that_only_looks_like_its_default_in_python_stays() -> None:
    assert job(config={"header": 1, "prefix": None}) == {"config": {"header": 1, "prefix": None}}


def test_spelling_is_not_in_the_digest() -> None:
    one = read("Job", BASE | {"timeout": "60m", "config": {"a": 1, "b": 2}})
    two = read("Job", {"config": {"b": 2, "a": 1}, "timeout": "1h", **BASE}, title="Other", labels={"x": "y"})
    assert one.digest == two.digest
    assert one.metadata_digest != two.metadata_digest


def test_an_authorization_keeps_its_references() -> None:
    credentials = {"b": {"exec": ["pass", "show", "x"]}, "a": {"env": "A"}, "c": {"file": "/run/c"}}
    assert read("Authorization", {"provider": "s3", "method": "m", "credentials": credentials}).spec == {
        "credentials": credentials,
        "method": "m",
        "provider": "s3",
    }
    assert read("Authorization", {"provider": "s3", "method": "none"}).spec == {"method": "none", "provider": "s3"}


def test_a_streams_columns_have_one_name_a_type() -> None:
    columns = {
        "a": "decimal( 12, 2)",
        "b": "string",
        "c": "int",
        "d": "FLOAT",
        "e": "bool",
        "f": "datetime",
        "g": "date",
    }
    assert read("Stream", {"columns": columns}).spec == {
        "columns": {"a": "decimal(12,2)", "b": "text", "c": "integer", "d": "double", "e": "boolean", "f": "timestamp", "g": "date"}
    }  # fmt: skip
    assert read("Stream", {}).spec == {}


def test_an_audience_is_its_expression() -> None:
    assert read("Audience", {"where": "spent > 1000"}).spec == {"where": "spent > 1000"}


def test_metadata_is_kept_beside_the_spec() -> None:
    one = read("Stream", {}, title="T", description="two\nlines", labels={"b": "2", "a": "1"}, renamedFrom="old")
    assert (one.title, one.description, list(one.labels.items()), one.renamed_from) == (
        "T", "two\nlines", [("a", "1"), ("b", "2")], "old",
    )  # fmt: skip


def test_a_model_cannot_be_changed() -> None:
    model = MODELS["Stream"].model_validate(raw("Stream", {}))
    with pytest.raises(ValidationError):
        model.kind = "Job"  # type: ignore[assignment]


# --- what is refused ------------------------------------------------------------------------------------------------

DURATION = "such as 30s, 15m, 1h30m or 7d"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"suspend": "no"}, "spec.suspend: expected true or false, found 'no'"),
        ({"suspend": 1}, "spec.suspend: expected true or false, found 1"),
        ({"suspend": None}, "spec.suspend: expected true or false, found nothing"),
        ({"shedule": {}}, "spec.shedule: unknown field; did you mean 'schedule'?"),
        ({"schedule": "1h"}, "spec.schedule: expected a mapping such as {every: 1h}, found '1h'"),
        (
            {"schedule": {}},
            "spec.schedule: expected exactly one of every, cron, once, continuous or afterDependencies, found none",
        ),
        (
            {"schedule": {"every": "1h", "once": True}},
            "spec.schedule: expected exactly one of every, cron, once, continuous or afterDependencies, found every and once",
        ),
        ({"schedule": {"once": False}}, "spec.schedule.once: expected true, found false"),
        (
            {"schedule": {"every": "1h", "timezone": "UTC"}},
            "spec.schedule.timezone: a time zone has a meaning only beside cron",
        ),
        ({"schedule": {"every": "0s"}}, "spec.schedule.every: expected a duration from 1ms to 522w6d, found '0s'"),
        ({"schedule": {"every": 60}}, f"spec.schedule.every: expected a duration with a unit (w, d, h, m, s or ms), {DURATION}, found 60"),
        ({"schedule": {"every": True}}, "spec.schedule.every: expected a duration such as 1h, found true; put it in quotes"),
        (
            {"schedule": {"cron": "0 3 * *"}},
            "spec.schedule.cron: cron expression '0 3 * *': expected five fields: minute, hour, day of month, month, day of week",
        ),
        ({"schedule": {"cron": "0 " * 200}}, "spec.schedule.cron: expected a cron expression of at most 200 printable characters"),
        (
            {"schedule": {"cron": "@daily", "timezone": "Europe/Pariss"}},
            "spec.schedule.timezone: expected a time zone such as Europe/Paris, found 'Europe/Pariss'; did you mean 'Europe/Paris'?",
        ),
        (
            {"schedule": {"cron": "@daily", "timezone": "Europe"}},
            "spec.schedule.timezone: expected a time zone such as Europe/Paris, found 'Europe'",
        ),
        (
            {"schedule": {"cron": "@daily", "timezone": "../../etc/passwd"}},
            "spec.schedule.timezone: expected a time zone such as Europe/Paris, found '../../etc/passwd'",
        ),
        ({"schedule": {"afterDependencies": True}}, "spec.schedule.afterDependencies: expected dependsOn beside it, found none"),
        ({"timeout": "0ms"}, "spec.timeout: expected a duration from 1ms to 522w6d, found '0ms'"),
        ({"timeout": None}, "spec.timeout: expected a duration such as 2h, found nothing"),
        ({"retry": {"factor": 0.5}}, "spec.retry.factor: expected a number of at least 1, found 0.5"),
        ({"retry": {"factor": "2"}}, "spec.retry.factor: expected a number, found '2'"),
        ({"retry": {"factor": True}}, "spec.retry.factor: expected a number, found true"),
        ({"retry": {"jitter": 1.5}}, "spec.retry.jitter: expected a number of at most 1, found 1.5"),
        ({"retry": {"initial": "1h"}}, "spec.retry.max: expected at least retry.initial (1h), found 30m"),
        ({"dependsOn": "b"}, "spec.dependsOn: expected a list, found 'b'"),
        ({"dependsOn": ["b", "b"]}, "spec.dependsOn[1]: 'b' stands here twice"),
        ({"dependsOn": ["b"] * 1001}, "spec.dependsOn: expected at most 1000 of them, found a list"),
        ({"deletionPolicy": "protct"}, "spec.deletionPolicy: expected delete, orphan or protect, found 'protct'; did you mean 'protect'?"),
        ({"quiet": {"from": "22:00"}}, "spec.quiet.to: this field is required, and missing"),
        ({"quiet": {"from": "24:00", "to": "1:00"}}, "spec.quiet.from: expected a time of day such as 22:00, found '24:00'"),
        ({"quiet": {"from": "22:00", "to": "22:00"}}, "spec.quiet.to: expected a time other than that of from"),
        ({"quiet": None}, 'spec.quiet: expected a mapping such as {from: "22:00", to: "06:00"}, found nothing'),
        ({"expiresAt": "2027-06-30"}, "spec.expiresAt: expected a time with its offset such as 2027-06-30T00:00:00Z, found '2027-06-30'"),
        ({"expiresAt": "2027-02-30T00:00:00Z"}, "spec.expiresAt: expected a time with its offset such as 2027-06-30T00:00:00Z, found '2027-02-30T00:00:00Z'"),
        ({"expiresAt": "0001-01-01T00:00:00+10:00"}, "spec.expiresAt: expected a time with its offset such as 2027-06-30T00:00:00Z, found '0001-01-01T00:00:00+10:00'"),
        ({"rerun": True}, "spec.rerun: expected a string, found true; put it in quotes"),
        ({"rerun": "x" * 201}, "spec.rerun: expected at most 200 characters, found 201"),
        ({"authorization": "Main AWS"}, "spec.authorization: expected a name of lower-case letters, digits and hyphens, at most 63, with no hyphen at an end, found 'Main AWS'; did you mean 'main-aws'?"),
        ({"provider": ""}, "spec.provider: expected a text, found an empty one"),
        ({"config": None}, "spec.config: expected a mapping, found nothing"),
        ({"title": "x"}, "spec.title: unknown field; 'title' belongs in metadata"),
        ({"evil\x1b[31m": 1}, r'spec."evil\u001b[31m": unknown field'),
    ],
)  # fmt: skip
def test_a_job_is_refused_in_words_that_help(fields: dict[str, Any], message: str) -> None:
    assert message in refused("Job", BASE | fields)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"name": "a" * 64}, "metadata.name: expected a name of lower-case letters, digits and hyphens, at most 63, with no hyphen at an end, found '" + "a" * 59 + "…'; did you mean '" + "a" * 63 + "'?"),
        ({"name": "-a"}, "metadata.name: expected a name of lower-case letters, digits and hyphens, at most 63, with no hyphen at an end, found '-a'; did you mean 'a'?"),
        ({"name": 5}, "metadata.name: expected a name, found 5; put it in quotes"),
        ({"title": "two\nlines"}, "metadata.title: expected printable text on one line, found 'two\\nlines'"),
        ({"title": "x" * 201}, "metadata.title: expected at most 200 characters, found 201"),
        ({"description": "\x1b[2J"}, "metadata.description: expected printable text, found '\\x1b[2J'"),
        ({"labels": {"team": 1}}, "metadata.labels.team: expected a string, found 1; put it in quotes"),
        ({"labels": {"_x": "1"}}, "metadata.labels._x: expected a label's name: at most 100 letters, digits and . _ - /"),
        ({"labels": {str(one): "x" for one in range(65)}}, "metadata.labels: expected at most 64 of them, found a mapping"),
        ({"renamedFrom": "a"}, "metadata.renamedFrom: expected the name that this had before, found its own name"),
        ({"schedule": 1}, "metadata.schedule: unknown field; 'schedule' belongs in spec"),
    ],
)  # fmt: skip
def test_metadata_are_refused_in_words_that_help(metadata: dict[str, Any], message: str) -> None:
    assert message in refused("Job", BASE, **metadata)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"columns": {"a": "decimal"}}, "spec.columns.a: expected one of boolean, date, double, integer, text, timestamp or decimal(12,2), found 'decimal'"),
        ({"columns": {"a": "decimal(5"}}, "spec.columns.a: expected one of boolean, date, double, integer, text, timestamp or decimal(12,2), found 'decimal(5'; a type with a comma in it stands in quotes"),
        ({"columns": {"a": "timestmp"}}, "spec.columns.a: expected one of boolean, date, double, integer, text, timestamp or decimal(12,2), found 'timestmp'; did you mean 'timestamp'?"),
        ({"columns": {"a": "decimal(39,2)"}}, "spec.columns.a: expected a decimal of 1 to 38 digits, no more of them behind the point, found 'decimal(39,2)'"),
        ({"columns": {"a": "decimal(2,3)"}}, "spec.columns.a: expected a decimal of 1 to 38 digits, no more of them behind the point, found 'decimal(2,3)'"),
        ({"columns": {"a": 5}}, "spec.columns.a: expected a column type, found 5; put it in quotes"),
        ({"columns": {"": "text"}}, 'spec.columns."": expected a column\'s name of 1 to 256 printable characters'),
        ({"columns": ["a"]}, "spec.columns: expected a mapping such as {ordered_at: timestamp}, found a list"),
        (None, "spec: expected a mapping, found nothing"),
    ],
)  # fmt: skip
def test_a_stream_is_refused_in_words_that_help(spec: Any, message: str) -> None:
    assert message in refused("Stream", spec)


CANARY = "hunter2hunter2"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"credentials": {"token": CANARY}}, "spec.credentials.token: expected {env: NAME}, {file: PATH} or {exec: [COMMAND, …]}, found a value; a secret never stands in a spec"),
        ({"credentials": {"token": 5}}, "spec.credentials.token: expected {env: NAME}, {file: PATH} or {exec: [COMMAND, …]}, found a value; a secret never stands in a spec"),
        ({"credentials": {"token": [CANARY]}}, "spec.credentials.token: expected {env: NAME}, {file: PATH} or {exec: [COMMAND, …]}, found a value; a secret never stands in a spec"),
        ({"credentials": {"token": {"value": CANARY}}}, "spec.credentials.token: expected exactly one of env, file or exec, found another field"),
        ({"credentials": {"token": {CANARY: None}}}, "spec.credentials.token: expected exactly one of env, file or exec, found another field"),
        ({"credentials": {"token": {"evn": CANARY}}}, "spec.credentials.token: expected exactly one of env, file or exec, found another field; did you mean 'env'?"),
        ({"credentials": {"token": {"env": CANARY + "!"}}}, "spec.credentials.token.env: expected the name of an environment variable such as API_TOKEN"),
        ({"credentials": {"token": {"file": 5}}}, "spec.credentials.token.file: expected the path of a file such as /run/secrets/token"),
        ({"credentials": {"token": {"exec": CANARY}}}, "spec.credentials.token.exec: expected a list"),
        ({"credentials": {"token": {"exec": []}}}, "spec.credentials.token.exec: expected at least 1 of them"),
        ({"credentials": {"token": {"exec": ["a", {"b": CANARY}]}}}, "spec.credentials.token.exec[1]: expected a word of a command, in quotes where it is a number"),
        ({"credentials": {"token": {}}}, "spec.credentials.token: expected exactly one of env, file or exec, found none"),
        ({"credentials": {"token": {"env": "A", "file": "b"}}}, "spec.credentials.token: expected exactly one of env, file or exec, found env and file"),
        ({"credentials": CANARY}, "spec.credentials: expected a mapping"),
        ({"token": CANARY}, "spec.token: unknown field"),
    ],
)  # fmt: skip
def test_a_literal_secret_is_refused_and_not_repeated(fields: dict[str, Any], message: str) -> None:
    found = refused("Authorization", {"provider": "hook", "method": "bearer", **fields})
    assert message in found
    assert CANARY not in "\n".join(found)


def test_a_document_without_anything_says_all_that_is_missing() -> None:
    with pytest.raises(ValidationError) as error:
        MODELS["Job"].model_validate({"kind": "Job"})
    assert [field_text(issue.path) for issue in explain(error.value, "Job")] == ["apiVersion", "metadata", "spec"]


@given(st.lists(st.text(max_size=8) | st.integers(0, 99), max_size=5))
def test_a_fields_text_leads_back_to_its_path(path: list[str | int]) -> None:
    assert field_path(field_text(path)) == tuple(path)


def test_the_schema_of_the_tests_has_the_defaults_that_are_left_out() -> None:
    from reconciler.core.config_schema import top_defaults

    assert top_defaults(IMPORT_SCHEMA) == {
        "prefix": "", "timestampField": None, "maxRejects": 0, "compression": "none", "tags": [], "header": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:SECRET@example.org/in", "'https://***@example.org/in'"),
        ("https://user:SEC/RE?T@example.org/in", "'https://***@example.org/in'"),
        ("https://SECRET@example.org", "'https://***@example.org'"),
        ("see https://example.org/@ada", "'see https://example.org/@ada'"),
        ("ada@example.org", "'ada@example.org'"),
    ],
)
def test_a_message_repeats_no_password_of_an_address(text: str, shown: str) -> None:
    assert found(text) == shown
