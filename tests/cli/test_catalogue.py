"""`providers`, `schema` and `auth check`: what is installed, what a spec may say, and whether a credential works."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import jsonschema
import pytest

from reconciler.cli.auth import try_authorization
from reconciler.cli.options import call_of
from reconciler.cli.providers import type_words
from reconciler.cli.specs import read_specs
from reconciler.core.document import KINDS, Kind
from reconciler.core.provider import Provider
from reconciler.core.schema import render
from reconciler.providers import catalogue
from tests.cli.conftest import STREAM, World

# --- providers ------------------------------------------------------------------------------------------------------


def test_the_catalogue_lists_every_job_type_of_every_provider(world: World) -> None:
    lines = world.run("providers").out.splitlines()
    assert lines[0].split(maxsplit=4) == ["Provider", "Job", "type", "Type", "Authorization methods"]
    names = [(one.name, job_type.name) for one in catalogue().values() for job_type in one.job_types]
    assert [tuple(line.split()[:2]) for line in lines[1:]] == names


def test_one_provider_shows_its_methods_and_fields_within_80_columns(world: World) -> None:
    out = world.run("providers", "http").out
    for line in (
        "method bearer  Bearer token",
        "  token: credential, required",
        "job type export-webhook (export, authorization optional)  "
        + next(one.title for one in catalogue()["http"].job_types if one.name == "export-webhook"),
    ):
        assert line in out.splitlines()
    assert max(map(len, world.run("providers", "files").out.splitlines())) <= 80


def test_json_holds_the_schemas(world: World) -> None:
    everything = json.loads(world.run("providers", "-o", "json").out)
    assert [one["name"] for one in everything] == sorted(catalogue())
    files = json.loads(world.run("providers", "files", "-o", "json").out)
    assert files == next(one for one in everything if one["name"] == "files")
    assert files["jobTypes"][0]["schema"]["properties"]["path"]


def test_an_unknown_provider_is_a_usage_error_that_names_the_closest(world: World) -> None:
    result = world.run("providers", "file")
    assert (result.code, result.err) == (2, "Error: there is no provider 'file'; did you mean 'files'?\n")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string"}, "string"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"enum": ["a", 1]}, '"a" | 1'),
        ({"const": "a"}, '"a"'),
        ({"type": "array", "items": {"type": "integer"}}, "list of integer"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string"),
        ({"oneOf": [{"type": "string"}, {"type": "object"}]}, "string | object"),
        ({"$ref": "#/$defs/x"}, "boolean"),
        ({"$ref": "#/$defs/nowhere"}, "any"),
        ({"$ref": "#/$defs/loop"}, "any"),
    ],
)
def test_any_schema_has_its_type_in_words(schema: dict[str, object], words: str) -> None:
    root = {"$defs": {"x": {"type": "boolean"}, "loop": {"$ref": "#/$defs/loop"}}}
    assert type_words(schema, root) == words


# --- schema ---------------------------------------------------------------------------------------------------------

JOB = {
    "apiVersion": "reconciler/v1",
    "kind": "Job",
    "metadata": {"name": "a"},
    "spec": {"provider": "files", "jobType": "import-csv", "config": {"path": "a.csv", "stream": "s"}},
}


def test_the_schema_of_a_kind_accepts_that_kind(world: World) -> None:
    schema = json.loads(world.run("schema", "job").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(JOB, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**JOB, "spec": {**JOB["spec"], "config": {"path": 1}}}, schema)  # type: ignore[dict-item]


def test_the_schema_of_all_kinds_accepts_each_and_nothing_else(world: World) -> None:
    schema = json.loads(world.run("schema").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(JOB, schema)
    jsonschema.validate(
        {"apiVersion": "reconciler/v1", "kind": "Stream", "metadata": {"name": "s"}, "spec": {}}, schema
    )
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**JOB, "kind": "Jobb"}, schema)


@pytest.mark.parametrize("kind", [*KINDS, None])
def test_a_schema_is_printed_as_it_stands_in_a_file(world: World, kind: Kind | None) -> None:
    assert world.run("schema", *([kind] if kind else [])).out == render(kind, catalogue())


def test_an_unknown_kind_is_a_usage_error(world: World) -> None:
    assert world.run("schema", "jo").err == (
        "Error: there is no kind 'jo'; the kinds are Job, Authorization, Stream, Audience; did you mean 'Job'?\n"
    )


# --- auth check -----------------------------------------------------------------------------------------------------

TOKEN = "s3cr3t-t0ken"


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            body = b"[]" if allowed else f"not for {self.headers.get('Authorization')}".encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/orders"
        httpd.shutdown()
        thread.join()


def declare(world: World, url: str, reference: str = "{env: RECEIVER_TOKEN}") -> None:
    world.write(
        "auth.yaml",
        f"""\
apiVersion: reconciler/v1
kind: Authorization
metadata: {{name: receiver}}
spec: {{provider: http, method: bearer, credentials: {{token: {reference}}}}}
---
{STREAM}---
apiVersion: reconciler/v1
kind: Job
metadata: {{name: fetch}}
spec:
  provider: http
  jobType: import-json
  authorization: receiver
  config: {{url: "{url}", stream: orders, allowPrivateAddresses: true}}
""",
    )


def test_a_credential_that_works_is_ok_in_one_line(world: World, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIVER_TOKEN", TOKEN)
    declare(world, server)
    result = world.run("auth", "check", "receiver")
    assert result.code == 0, result
    assert result.out.startswith("receiver: ok: ")
    assert result.out.count("\n") == 1
    assert TOKEN not in result.out


def test_a_credential_that_is_refused_is_exit_code_1_and_never_printed(
    world: World, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECEIVER_TOKEN", "another-s3cret")
    declare(world, server)
    result = world.run("auth", "check", "receiver")
    assert result.code == 1
    assert result.out.startswith("receiver: failed: ")
    assert "another-s3cret" not in result.out + result.err


def test_a_secret_that_cannot_be_resolved_names_its_reference(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECEIVER_TOKEN", raising=False)
    declare(world, "http://127.0.0.1:9/")
    result = world.run("auth", "check", "receiver")
    assert (result.code, result.out) == (
        1,
        "receiver: failed: credentials.token: the environment variable RECEIVER_TOKEN is not set\n",
    )


def test_a_command_is_run_only_where_it_is_allowed(world: World, server: str) -> None:
    declare(world, server, f"{{exec: [printf, {TOKEN}]}}")
    refused = world.run("auth", "check", "receiver")
    assert (refused.code, refused.out) == (
        1,
        "receiver: failed: credentials.token: commands are run only with --allow-exec\n",
    )
    assert world.run("auth", "check", "--allow-exec", "receiver").code == 0
    assert world.run("--allow-exec", "auth", "check", "receiver").code == 0


def test_an_unknown_authorization_and_an_invalid_one_are_told_apart(world: World) -> None:
    declare(world, "http://127.0.0.1:9/")
    assert world.run("auth", "check", "reciever").err == (
        "Error: no spec below jobs.d declares an authorization 'reciever'; did you mean 'receiver'?\n"
    )
    declare(world, "http://127.0.0.1:9/", TOKEN)
    invalid = world.run("auth", "check", "receiver")
    assert invalid.code == 1
    assert invalid.err.startswith("jobs.d/auth.yaml:4:")
    assert TOKEN not in invalid.err


def test_a_provider_without_a_check_or_with_a_broken_one_is_said_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECEIVER_TOKEN", TOKEN)
    declare(world, "http://127.0.0.1:9/")
    call = call_of({"root": world.root})
    specs = read_specs(world.root)
    document = next(one for one in specs.documents if one.kind == "Authorization")

    def broken(*_: object) -> str:
        raise ZeroDivisionError(f"with {TOKEN}")

    without = Provider(name="http", title="")
    assert try_authorization(call, specs, document, without) == (
        "the provider http has no check; nothing was tried",
        True,
    )
    assert try_authorization(call, specs, document, replace(without, check=broken)) == (
        "the provider's check broke off: ZeroDivisionError: with ***",
        False,
    )
