"""What an editor shows of specs: the real YAML language server, set up as the README says, asked over its protocol."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.language_server import LanguageServer
from tests.programs import LANGUAGE_SERVER

pytestmark = pytest.mark.xdist_group("editor")

REPOSITORY: Final = Path(__file__).parents[1]

JOB: Final = """\
apiVersion: reconciler/v1
kind: Job
metadata:
  name: import-orders
spec:
  provider: files
  jobType: import-csv
  schedule: {every: 1h}
  config:
    path: data/orders.csv
    stream: orders
"""
AUTHORIZATION: Final = """\
apiVersion: reconciler/v1
kind: Authorization
metadata: {name: shop}
spec:
  provider: http
  method: basic
  credentials:
    password:
      file: /run/secrets/shop
"""
STREAM: Final = "apiVersion: reconciler/v1\nkind: Stream\nmetadata: {name: orders}\nspec:\n  columns: {a: text}\n"


def settings() -> dict[str, Any]:
    """The README's settings of VS Code, as the server asks for them: by section."""
    (text,) = re.findall(
        r"^```json\n(.*?)^```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    yaml: dict[str, Any] = {name.removeprefix("yaml."): value for name, value in json.loads(text).items()}
    quiet = {"schemaStore": {"enable": False, "url": ""}}  # nothing but loopback is asked
    return {"yaml": {"validate": True, "hover": True, "completion": True, **quiet, **yaml}}


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LanguageServer]:
    folder = tmp_path_factory.mktemp("editor")
    shutil.copytree(REPOSITORY / "schemas", folder / "schemas")
    (folder / "jobs.d").mkdir()
    with LanguageServer(folder, settings()) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "text", "offered"),
    [
        ("kind", JOB.replace("kind: Job", "kind: |"), {"Job", "Authorization", "Stream", "Audience"}),
        ("provider", JOB.replace("provider: files", "provider: |"), {"files", "http"}),
        (
            "job-type",
            JOB.replace("jobType: import-csv", "jobType: |").replace("files", "http"),
            {"import-json", "export-webhook", "export-audience", "enrich-lookup"},
        ),
        ("config", JOB + "    tim|\n", {"timestampField", "timestampFormat", "delimiter", "header"}),
        ("schedule", JOB.replace("{every: 1h}", "\n    |"), {"every", "cron", "timezone", "continuous"}),
        ("method", AUTHORIZATION.replace("method: basic", "method: |"), {"none", "basic", "bearer", "api-key"}),
        ("credential", AUTHORIZATION.replace("    password:", "    |\n    password:"), {"username"}),
        ("reference", AUTHORIZATION.replace("file: /run/secrets/shop", "|"), {"env", "file", "exec"}),
        ("type", STREAM.replace("a: text", "a: |"), {"integer", "timestamp", "date"}),
        ("second-document", JOB + "---\n" + AUTHORIZATION.replace("provider: http", "provider: |"), {"collect", "http"}),
    ],
    ids=lambda one: one if isinstance(one, str) and "\n" not in one else "",
)  # fmt: skip
def test_an_editor_offers_what_can_stand_there(editor: LanguageServer, name: str, text: str, offered: set[str]) -> None:
    found = editor.completions(f"jobs.d/offers-{name}.yaml", text)
    assert offered <= found.keys()


def test_an_editor_offers_nothing_of_another_provider_or_job_type(editor: LanguageServer) -> None:
    files = editor.completions("jobs.d/of-files.yaml", JOB.replace("jobType: import-csv", "jobType: |"))
    assert "import-parquet" in files
    assert "import-json" not in files
    fields = editor.completions("jobs.d/of-csv.yaml", JOB + "    |\n")
    assert "delimiter" in fields
    assert not {"url", "batchSize"} & fields.keys()


def test_what_is_offered_comes_with_its_meaning_and_its_default(editor: LanguageServer) -> None:
    field = editor.completions("jobs.d/meaning.yaml", JOB + "    |\n")["delimiter"]
    assert field["documentation"] == "The character between fields."
    assert "," in field["insertText"]
    job_types = editor.completions("jobs.d/titles.yaml", JOB.replace("jobType: import-csv", "jobType: |"))
    assert job_types["import-parquet"]["documentation"] == "Import Parquet files"


def test_a_hover_says_what_a_field_is_and_how_it_is_written(editor: LanguageServer) -> None:
    path = editor.hover("jobs.d/hover-path.yaml", JOB.replace("path:", "|path:"))
    assert "Import CSV files" in path
    assert "A file or a glob, relative to the spec's folder." in path
    assert "data/orders-*.csv.gz" in path
    schedule = editor.hover("jobs.d/hover-schedule.yaml", JOB.replace("schedule:", "|schedule:"))
    assert "When runs are owed; once by default." in schedule
    assert "cron: 0 3 * * *" in schedule


@pytest.mark.parametrize(
    ("name", "text", "line", "said"),
    [
        ("field", JOB.replace("schedule:", "shedule:"), 7, "Property shedule is not allowed."),
        ("config", JOB + "    delimeter: ;\n", 11, "Property delimeter is not allowed."),
        ("provider", JOB.replace("files", "filez"), 5, "Value is not accepted."),
        ("type", JOB.replace("stream: orders", "stream: 5"), 10, 'Incorrect type. Expected "string".'),
        ("missing", JOB.replace("    stream: orders\n", ""), 8, 'Missing property "stream".'),
        ("second", JOB + "---\n" + STREAM.replace("text", "txt"), 16, "Value is not accepted."),
    ],
)
def test_a_mistake_is_marked_where_it_stands(
    editor: LanguageServer, name: str, text: str, line: int, said: str
) -> None:
    (problem,) = editor.problems(f"jobs.d/mistake-{name}.yaml", text)
    assert (problem["range"]["start"]["line"], said in problem["message"]) == (line, True), problem


def test_what_ships_is_marked_nowhere(editor: LanguageServer) -> None:
    examples = {f"jobs.d/{path.parent.name}-{path.name}": path for path in (REPOSITORY / "examples").rglob("*.yaml")}
    own = {f"jobs.d/{path.name}": path for path in (REPOSITORY / "jobs.d").glob("*.yaml")}
    names = {name: path for name, path in (examples | own).items() if not name.endswith(".status.yaml")}
    for name, path in names.items():
        editor.open(name, path.read_text(encoding="utf-8"))
    assert {name: editor.reported(name) for name in names} == {name: [] for name in names}


def test_what_the_product_writes_beside_a_spec_is_no_spec(editor: LanguageServer) -> None:
    status = "apiVersion: reconciler/v1\nkind: JobStatus\nmetadata: {name: import-orders}\nstatus: {status: Sleeping}\n"
    assert editor.problems("jobs.d/import-orders.status.yaml", status) == []
    assert editor.problems("jobs.d/import-orders.yaml", status) != []


def test_a_file_s_own_line_names_its_schema_too(editor: LanguageServer) -> None:
    text = "# yaml-language-server: $schema=../schemas/job.json\n" + JOB.replace("schedule:", "shedule:")
    (problem,) = editor.problems("elsewhere/own.yaml", text)
    assert problem["message"] == "Property shedule is not allowed."


@pytest.mark.parametrize("file", ["README.md", ".ci/run"])
def test_the_server_that_the_tests_drive_is_the_one_that_is_installed(file: str) -> None:
    assert f"--prefix .venv/node {LANGUAGE_SERVER}" in (REPOSITORY / file).read_text(encoding="utf-8")
