"""What the schemas of the `files` job types accept, and what the catalogue holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from reconciler.data.content import ENCODINGS
from reconciler.errors import UsageError
from reconciler.providers import catalogue
from reconciler.providers.files import PROVIDER
from reconciler.providers.files.config import Encoding


def accepts(job_type: str, config: dict[str, Any]) -> bool:
    found = PROVIDER.job_type(job_type)
    assert found is not None
    jsonschema.Draft202012Validator.check_schema(dict(found.schema))
    return jsonschema.Draft202012Validator(dict(found.schema)).is_valid(config)


def test_the_catalogue_lists_files_and_its_job_types() -> None:
    assert [one.name for one in catalogue()["files"].job_types] == [
        "import-csv", "import-ndjson", "import-parquet", "export-csv", "export-ndjson", "export-parquet",
        "export-audience", "enrich-join",
    ]  # fmt: skip


def test_the_encodings_of_the_schema_are_those_that_can_be_read() -> None:
    assert get_args(Encoding) == ENCODINGS


@pytest.mark.parametrize("job_type", [one.name for one in PROVIDER.job_types if len(one.schema["required"]) == 2])
def test_stream_and_path_are_all_that_is_needed(job_type: str) -> None:
    assert accepts(job_type, {"stream": "s", "path": "x"})
    assert not accepts(job_type, {"stream": "s"})
    assert not accepts(job_type, {"path": "x"})
    assert not accepts(job_type, {"stream": "s", "path": "x", "pahts": "y"})
    assert not accepts(job_type, {"stream": "../s", "path": "x"})


@pytest.mark.parametrize(
    ("config", "fine"),
    [
        ({"delimiter": "\t"}, True),
        ({"delimiter": ";;"}, False),
        ({"delimiter": '"'}, False),
        ({"delimiter": "\n"}, False),
        ({"delimiter": "é"}, False),
        ({"quote": ""}, True),
        ({"quote": "x"}, False),
        ({"encoding": "utf-7"}, False),
        ({"maxRejects": -1}, False),
        ({"columns": []}, False),
        ({"header": False, "columns": ["a"]}, True),
        ({"timestampField": "at", "timestampFormat": "%d.%m.%Y"}, True),
        ({"timestampFormat": "%b %Y"}, True),
        ({"timestampFormat": "%-d/%-m/%y %%"}, True),
        ({"timestampFormat": "rfc1123"}, False),
        ({"timestampFormat": "%H"}, False),
        ({"timestampFormat": "%d/%m"}, False),
        ({"timestampFormat": "%%Y"}, False),
        ({"timestampFormat": "%Y %Q"}, False),
        ({"timestampFormat": "%Y %"}, False),
    ],
)
def test_an_import_of_csv_checks_its_fields(config: dict[str, Any], fine: bool) -> None:
    assert accepts("import-csv", {"stream": "s", "path": "x"} | config) is fine


def test_an_export_of_what_is_new_needs_the_run_in_its_path() -> None:
    assert not accepts("export-csv", {"stream": "s", "path": "o.csv", "only": "new"})
    assert accepts("export-csv", {"stream": "s", "path": "o-{run}.csv", "only": "new"})


@pytest.mark.parametrize("path", ["{date}/o-{run}.csv", "{run", "o-{}.csv", "{{run}}.csv", "{Run}.csv", "o}.csv"])
def test_a_path_of_an_export_has_no_placeholder_but_the_run(path: str) -> None:
    assert not accepts("export-csv", {"stream": "s", "path": path})
    assert accepts("export-csv", {"stream": "s", "path": "out-{run}/{run}.csv"})


def test_what_changes_the_meaning_of_landed_content_resets_the_cursor() -> None:
    resets = {
        one.name: [name for name, made in one.schema["properties"].items() if made.get("x-resetsCursor")]
        for one in PROVIDER.job_types
    }
    assert resets["import-csv"] == ["stream", "encoding", "delimiter", "quote", "header", "columns"]
    assert resets["import-parquet"] == ["stream"]
    assert resets["export-csv"] == ["stream"]


def test_the_schema_names_the_stream_that_a_job_reads_or_writes() -> None:
    streams = {one.name: (one.type, one.schema["properties"].get("stream")) for one in PROVIDER.job_types}
    uses = {(kind, stream["x-stream"]) for kind, stream in streams.values() if stream}
    assert uses == {("import", "writes"), ("export", "reads"), ("enrichment", "writes")}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_that_name", "provider 'mine' of mine_provider cannot be loaded: No module named 'nothing_of_that_name'"),
        ("PROVIDER = 5", "provider 'mine' of mine_provider is not a Provider"),
        ("from reconciler.providers.files import PROVIDER",
         "provider 'files' of mine_provider is there already; uninstall one of the two"),
    ],
)  # fmt: skip
def test_a_provider_of_others_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    ship(tmp_path, monkeypatch, source)
    with pytest.raises(UsageError) as caught:
        catalogue()
    assert str(caught.value) == message


def test_a_provider_of_others_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(
        tmp_path,
        monkeypatch,
        "from reconciler.core.provider import Provider\nPROVIDER = Provider(name='mine', title='Mine')",
    )
    assert list(catalogue()) == ["collect", "files", "http", "mine"]


def ship(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """An installed distribution that brings a provider."""
    (folder / "mine_provider.py").write_text(source)
    info = folder / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[reconciler.providers]\nmine = mine_provider\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "mine_provider", raising=False)
