"""What a spec of the http provider may say, and what `auth check` finds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from reconciler.core.provider import Secret
from reconciler.errors import Fatal, Retriable
from reconciler.providers.http import PROVIDER
from tests.end_to_end.daemon import reconcile
from tests.servers import Play, serving

SCHEMAS = {one.name: one.schema for one in PROVIDER.job_types}
MODELS = {one.name: one.config for one in PROVIDER.job_types}
BASE = {"url": "https://example.com/x", "stream": "s"}


def accepted(job_type: str, config: dict[str, Any]) -> bool:
    """Whether schema and model both take it; they must agree."""
    by_schema = jsonschema.Draft202012Validator(SCHEMAS[job_type]).is_valid(config)
    try:
        MODELS[job_type](config)
        by_model = True
    except ValidationError:
        by_model = False
    assert by_schema == by_model, config
    return by_schema


@pytest.mark.parametrize("job_type", SCHEMAS)
@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/",
        "https://user@a/",
        "https://u:p@a/",
        "https:///x",
        "http://a b/",
        "http://a/\nb",
        "//a",
        "",
        "http://a\\b/",
        "x" * 2001,
    ],
)
def test_a_url_is_http_without_a_user(job_type: str, url: str) -> None:
    assert not accepted(job_type, {**BASE, "url": url})


@pytest.mark.parametrize(
    "url", ["http://a", "https://a:8443/b?c=d@e#f", "http://[::1]:80/", "http://127.0.0.1:9000/hook"]
)
def test_a_url_may_have_a_port_a_path_and_a_query(url: str) -> None:
    assert accepted("export-webhook", {**BASE, "url": url})


@pytest.mark.parametrize(
    "name", ["Authorization", "COOKIE", "host", "Content-Length", "Idempotency-Key", "bad name", "a:b", "", "é"]
)
def test_a_header_that_is_not_the_specs_to_set_is_refused(name: str) -> None:
    assert not accepted("export-webhook", {**BASE, "headers": {name: "x"}})
    assert not accepted("import-json", {**BASE, "apiKeyHeader": name})


@pytest.mark.parametrize(
    "name", ["X-API-Key", "apikey", "x-auth-token", "PRIVATE-TOKEN", "X_Api-Key", "Ocp-Apim-Subscription-Key"]
)
def test_a_header_that_holds_a_credential_is_for_an_authorization(name: str) -> None:
    assert not accepted("import-json", {**BASE, "headers": {name: "x"}})
    assert accepted("import-json", {**BASE, "apiKeyHeader": name})


@pytest.mark.parametrize(
    "name", ["api_key", "apiKey", "API-KEY", "token", "access_token", "x.client_secret", "clientSecret"]
)
def test_a_query_that_holds_a_credential_is_for_an_authorization(name: str) -> None:
    for url in (f"https://a.example/in?{name}=x", f"https://a.example/in?page=1&{name}=x#top"):
        assert not accepted("import-json", {**BASE, "url": url})
        assert not accepted("export-webhook", {**BASE, "url": url})
    assert not accepted("import-json", {**BASE, "params": {name: "x"}})
    lookup = {"stream": "s", "key": {"identity": "email"}, "attributes": {"a": "a"}}
    assert accepted("enrich-lookup", {**lookup, "url": "https://a.example/{value}"})
    assert not accepted("enrich-lookup", {**lookup, "url": f"https://a.example/{{value}}?{name}=x"})
    assert not accepted("enrich-lookup", {**lookup, "url": "https://a.example", "method": "POST", "body": {name: "x"}})


def test_other_parameters_may_be_named_much_like_a_credential() -> None:
    params = {"page_token": "x", "tokens": 3, "key": "a", "keyword": "shoes", "secretary": True, "é": 1.5}
    assert accepted("import-json", {**BASE, "params": params})
    query = "&".join(f"{name}=x" for name in params)
    assert accepted("import-json", {**BASE, "url": f"https://a.example/token=1/api_key/?{query}#token=1"})


def test_a_credential_in_a_query_is_refused_and_not_shown(tmp_path: Path) -> None:
    config = {**BASE, "url": "https://a.example/in?x=1&api_key=hunter2&y=2", "params": {"access_token": "hunter2"}}
    spec = {"provider": "http", "jobType": "import-json", "config": config}
    job = {"apiVersion": "reconciler/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": spec}
    (tmp_path / "a.yaml").write_text(json.dumps(job))
    said = reconcile("validate", "--root", str(tmp_path)).stdout
    assert (
        "spec.config.url: expected an http or https URL without a user name or a credential, found "
        "'https://a.example/in?x=1&api_key=***&y=2'"
    ) in said
    assert (
        "spec.config.params.access_token: expected a name of 1 to 200 characters that stands for no credential, found 'access_token'"
    ) in said
    assert "hunter2" not in said


def test_any_other_header_may_be_set() -> None:
    headers = {"X-Team": "growth", "Accept": "application/vnd.x+json", "X-Token-Count": "3", "X-Keys": "a"}
    assert accepted("import-json", {**BASE, "headers": headers})


def test_a_header_that_may_not_be_set_is_said_in_words(tmp_path: Path) -> None:
    config = {**BASE, "headers": {"X-Api-Key": "hunter2"}, "apiKeyHeader": "Cookie"}
    spec = {"provider": "http", "jobType": "import-json", "config": config}
    job = {"apiVersion": "reconciler/v1", "kind": "Job", "metadata": {"name": "a"}, "spec": spec}
    (tmp_path / "a.yaml").write_text(json.dumps(job))
    said = reconcile("validate", "--root", str(tmp_path)).stdout
    assert "spec.config.apiKeyHeader: expected a header that is not reserved, found 'Cookie'" in said
    assert (
        "spec.config.headers.X-Api-Key: expected a header that is not reserved and holds no credential, found 'X-Api-Key'"
        in said
    )
    assert "hunter2" not in said


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "", " a", "é", "a\n"])
def test_a_headers_value_is_one_line_of_ascii(value: str) -> None:
    assert not accepted("import-json", {**BASE, "headers": {"X-A": value}})


@pytest.mark.parametrize(
    ("pagination", "fits"),
    [
        ({"type": "link"}, True),
        ({"type": "link", "nextPath": "a.b", "maxPages": 5}, True),
        ({"type": "link", "size": 5}, False),
        ({"type": "page", "param": "p", "start": 0, "size": 100, "sizeParam": "n"}, True),
        ({"type": "page", "size": 100}, False),
        ({"type": "page", "cursorPath": "a"}, False),
        ({"type": "offset", "start": -1}, False),
        ({"type": "cursor", "cursorPath": "a"}, True),
        ({"type": "cursor"}, False),
        ({"type": "cursor", "cursorPath": "a", "start": 1}, False),
        ({"type": "seek"}, False),
        ({}, False),
    ],
)
def test_each_way_of_paging_has_its_own_fields(pagination: dict[str, Any], fits: bool) -> None:
    assert accepted("import-json", {**BASE, "pagination": pagination}) is fits


@pytest.mark.parametrize(
    ("config", "fits"),
    [
        ({"batchSize": 500, "compression": "gzip", "signature": {"header": "X-Sig"}, "maxRejects": 0}, True),
        ({"batchSize": 5.0}, True),
        ({"batchSize": 0}, False),
        ({"batchSize": 10_001}, False),
        ({"batchSize": True}, False),
        ({"batchSize": "5"}, False),
        ({"compression": "zip"}, False),
        ({"signature": {"secret": "literal"}}, False),
        ({"timeoutSeconds": 601}, False),
        ({"allowPrivateAddresses": "yes"}, False),
        ({"batchsize": 1}, False),
        ({"maxRejects": None}, False),
    ],
)
def test_a_webhooks_config_is_checked(config: dict[str, Any], fits: bool) -> None:
    assert accepted("export-webhook", {**BASE, **config}) is fits


def test_what_resets_the_cursor_is_said() -> None:
    resets = {
        name: {key for key, rules in schema["properties"].items() if rules.get("x-resetsCursor")}
        for name, schema in SCHEMAS.items()
    }
    assert {name: found for name, found in resets.items() if found} == {
        "import-json": {"url", "stream", "incremental"},
        "export-webhook": {"stream"},
        "enrich-lookup": {"url", "key", "stream", "attributes", "method", "body"},
    }


def test_the_schemas_hold_no_references_and_describe_every_field() -> None:
    for schema in SCHEMAS.values():
        assert "$ref" not in repr(schema)
        assert all(rules["description"] for rules in schema["properties"].values())


def check(method: str, credentials: dict[str, str], *uses: tuple[str, dict[str, Any]]) -> str:
    assert PROVIDER.check is not None
    return PROVIDER.check(method, {name: Secret(value) for name, value in credentials.items()}, uses)


def test_a_check_asks_every_address_once_and_changes_nothing() -> None:
    with serving([Play(200), Play(405)]) as server:
        url = {"url": f"{server.url}/a", "stream": "s", "allowPrivateAddresses": True}
        found = check("bearer", {"token": "t"}, ("import-json", url), ("import-json", url), ("export-webhook", url))
    assert found == f"GET {server.url}/a: answered 200; OPTIONS {server.url}/a: answered 405"
    assert [(one.method, one.headers["authorization"]) for one in server.requests] == [
        ("GET", "Bearer t"),
        ("OPTIONS", "Bearer t"),
    ]


@pytest.mark.parametrize("status", [401, 403])
def test_a_check_tells_refused_credentials(status: int) -> None:
    with serving([Play(status, b"token t0p is wrong")]) as server:
        url = {"url": server.url, "stream": "s", "allowPrivateAddresses": True}
        with pytest.raises(Fatal, match=r"the credentials .*: token \*\*\* is wrong"):
            check("bearer", {"token": "t0p"}, ("export-webhook", url))


def test_a_check_of_a_server_in_trouble_can_be_tried_again() -> None:
    with serving([Play(502)]) as server:
        url = {"url": server.url, "stream": "s", "allowPrivateAddresses": True}
        with pytest.raises(Retriable, match="answered 502"):
            check("none", {}, ("export-webhook", url))


def test_every_job_type_can_be_checked_and_nobody_is_looked_up() -> None:
    with serving(lambda request: Play(204 if request.method == "OPTIONS" else 500)) as server:
        found = check(
            "bearer", {"token": "t"},
            ("enrich-lookup", {
                "url": f"{server.url}/p?q={{value}}", "stream": "s", "key": {"identity": "email"},
                "attributes": {"a": "b"}, "allowPrivateAddresses": True,
            }),
        )  # fmt: skip
    assert found == f"OPTIONS {server.url}/p: answered 204"
    assert [request.query for request in server.requests] == [{"q": "nobody"}]


def test_a_check_without_jobs_says_so() -> None:
    assert check("none", {}) == "the credentials are there; no job uses them, so there was no address to ask"


def test_a_credential_that_is_missing_is_named() -> None:
    with pytest.raises(Fatal, match="the credential `password` is missing"):
        check("basic", {"username": "a"})
    with pytest.raises(Fatal, match="unknown authorization method 'oauth'"):
        check("oauth", {})
    with pytest.raises(Fatal, match="holds a colon"):
        check("basic", {"username": "a:b", "password": "c"})


def test_the_provider_is_known_without_importing_what_only_a_run_needs() -> None:
    code = (
        "import sys; from reconciler.providers.http import PROVIDER; "
        "heavy = {'httpx', 'httpcore', 'ssl', 'duckdb', 'pyarrow', 'jsonschema'}; print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
