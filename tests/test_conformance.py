"""Every provider passes the conformance suite, and the suite catches a provider that breaks any of its rules."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reconciler.core.provider import JobType
from reconciler.providers import files, http
from reconciler.testing import Nonconformance, Place, ProviderConformance
from tests import hostile_provider
from tests.servers import Play, Request, as_json, serving

THINGS = [{"id": str(number), "name": f"thing {number}"} for number in range(5)]


# --- http -----------------------------------------------------------------------------------------------------------


class _Http(ProviderConformance):
    provider = http.PROVIDER

    def prepare(self, place: Place) -> None:
        server = place.exit.enter_context(serving(lambda request: self.answer(place, request)))
        place.extra["server"] = server

    def spoil(self, place: Place) -> None:
        place.extra["spoilt"] = True
        if self.the_job_type().type == "export":
            place.put("things", [{"id": 99, "name": "one more"}])

    def answer(self, place: Place, request: Request) -> Play:
        if place.extra.get("spoilt"):
            return Play(401, json.dumps(request.headers).encode())
        return self.well(request)

    def well(self, request: Request) -> Play:
        return Play()

    def base(self, place: Place) -> dict[str, Any]:
        return {"url": f"{place.extra['server'].url}/things", "stream": "things", "allowPrivateAddresses": True}

    def config(self, place: Place) -> Mapping[str, Any]:
        return self.base(place)


class TestImportJson(_Http):
    job_type = "import-json"
    method = "bearer"

    def well(self, request: Request) -> Play:
        return as_json(THINGS)


class TestImportJsonByPages(_Http):
    job_type = "import-json"
    method = "basic"

    @pytest.fixture(autouse=True)
    def _small_units(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("reconciler.providers.http.import_json.UNIT_ROWS", 2)

    def well(self, request: Request) -> Play:
        at = 2 * (int(request.query["page"]) - 1)
        return as_json(THINGS[at : at + 2])

    def config(self, place: Place) -> Mapping[str, Any]:
        return {**self.base(place), "pagination": {"type": "page"}}


class TestImportJsonByWhatIsNew(TestImportJsonByPages):
    method = "api-key"

    def config(self, place: Place) -> Mapping[str, Any]:
        return {**self.base(place), "pagination": {"type": "page"}, "incremental": {"field": "id", "param": "since"}}


class TestExportWebhook(_Http):
    job_type = "export-webhook"
    method = "bearer"

    def config(self, place: Place) -> Mapping[str, Any]:
        return {**self.base(place), "batchSize": 2, "signature": {}, "compression": "gzip"}

    def arrived(self, place: Place) -> list[str]:
        by_key = {request.key: request.json["messages"] for request in place.extra["server"].processed}
        return [json.dumps(message) for messages in by_key.values() for message in messages]


class TestExportWebhookWithRefusedMessages(TestExportWebhook):
    method = "basic"

    def messages(self) -> Sequence[Mapping[str, Any]]:
        return [{"id": number} for number in range(8)]

    def well(self, request: Request) -> Play:
        refused = any(message["id"] in (2, 7) for message in request.json["messages"])
        return Play(422, json.dumps(request.headers).encode()) if refused else Play()

    def config(self, place: Place) -> Mapping[str, Any]:
        return {**self.base(place), "batchSize": 4}


class TestExportAudience(_Http):
    job_type = "export-audience"
    method = "bearer"

    def spoil(self, place: Place) -> None:
        place.extra["spoilt"] = True
        place.enroll([*self.people(), {"id": f"{99:032x}", "email": ["p99@x.org"], "plan": "gold"}])

    def config(self, place: Place) -> Mapping[str, Any]:
        return {
            "url": f"{place.extra['server'].url}/in", "audience": "people", "allowPrivateAddresses": True, "batchSize": 2,
            "fields": {"email": {"from": "email", "transform": ["trim", "lower", "sha256"]}, "plan": {"from": "plan"}},
            "signature": {},
        }  # fmt: skip

    def arrived(self, place: Place) -> list[str]:
        by_key = {request.key: request.json for request in place.extra["server"].processed}
        return [json.dumps([body["action"], one]) for body in by_key.values() for one in body["members"]]


class TestExportAudienceWithRefusedMembers(TestExportAudience):
    method = "basic"

    def well(self, request: Request) -> Play:
        refused = any(member["email"] in ("p2@x.org", "p6@x.org") for member in request.json["members"])
        return Play(422, json.dumps(request.headers).encode()) if refused else Play()

    def config(self, place: Place) -> Mapping[str, Any]:
        return {**super().config(place), "fields": {"email": {"from": "email"}}, "batchSize": 4}


# --- files ----------------------------------------------------------------------------------------------------------


class _FilesImport(ProviderConformance):
    provider = files.PROVIDER
    name = "things"

    def spoil(self, place: Place) -> None:
        (place.root / self.name).unlink()

    def config(self, place: Place) -> Mapping[str, Any]:
        return {"path": self.name, "stream": "things"}


class TestImportCsv(_FilesImport):
    job_type = "import-csv"
    name = "things.csv.gz"

    def prepare(self, place: Place) -> None:
        text = "id,name\n" + "".join(f"{one['id']},{one['name']}\n" for one in THINGS)
        (place.root / self.name).write_bytes(gzip.compress(text.encode()))


class TestImportNdjson(_FilesImport):
    job_type = "import-ndjson"
    name = "things.ndjson"

    def prepare(self, place: Place) -> None:
        (place.root / self.name).write_text("".join(json.dumps(one) + "\n" for one in THINGS))


class TestImportParquet(_FilesImport):
    job_type = "import-parquet"
    name = "things.parquet"

    def prepare(self, place: Place) -> None:
        pq.write_table(pa.Table.from_pylist(THINGS), place.root / self.name)


class TestImportOfSeveralFiles(_FilesImport):
    job_type = "import-ndjson"

    def prepare(self, place: Place) -> None:
        for number in range(3):
            (place.root / f"part-{number}.ndjson").write_text(json.dumps({"id": number}) + "\n")

    def spoil(self, place: Place) -> None:
        (place.root / "part-9.ndjson").write_text("not JSON\n")

    def config(self, place: Place) -> Mapping[str, Any]:
        return {"path": "part-*.ndjson", "stream": "things"}


class _FilesExport(ProviderConformance):
    provider = files.PROVIDER
    whole = True
    name = "out/things"

    def spoil(self, place: Place) -> None:
        """Where the folder should be, there is a file."""
        if (place.root / "out").exists():
            (place.root / "out").rename(place.root / "elsewhere")
        (place.root / "out").write_text("")

    def config(self, place: Place) -> Mapping[str, Any]:
        return {"path": self.name, "stream": "things"}

    def may_write(self, place: Place) -> Sequence[Path]:
        return [place.root / "out"]

    def arrived(self, place: Place) -> list[str]:
        return [line for path in sorted((place.root / "out").glob("*")) for line in self.lines(path)]

    def lines(self, path: Path) -> list[str]:
        return path.read_text().splitlines()


class TestExportCsv(_FilesExport):
    job_type = "export-csv"


class TestExportNdjson(_FilesExport):
    job_type = "export-ndjson"


class TestExportParquet(_FilesExport):
    job_type = "export-parquet"

    def lines(self, path: Path) -> list[str]:
        return [json.dumps(row) for row in pq.read_table(path).to_pylist()]


class TestExportOfWhatIsNew(_FilesExport):
    job_type = "export-ndjson"
    whole = False

    def spoil(self, place: Place) -> None:
        super().spoil(place)
        place.put("things", [{"id": 99}])

    def config(self, place: Place) -> Mapping[str, Any]:
        return {"path": "out/things-{run}.ndjson", "stream": "things", "only": "new"}


class TestExportAudienceToAFile(_FilesExport):
    job_type = "export-audience"
    whole = False

    def spoil(self, place: Place) -> None:
        super().spoil(place)
        place.enroll([*self.people(), {"id": f"{99:032x}", "email": ["p99@x.org"], "plan": "gold"}])

    def config(self, place: Place) -> Mapping[str, Any]:
        fields = {"email": {"from": "email"}, "plan": {"from": "plan"}}
        return {"audience": "people", "fields": fields, "path": "out/people.csv", "format": "csv"}


# --- the hostile provider -------------------------------------------------------------------------------------------


class _Hostile(ProviderConformance):
    provider = hostile_provider.PROVIDER
    method = "token"

    def prepare(self, place: Place) -> None:
        (place.root / "note.txt").write_text("mine")
        (place.root / "out").mkdir()
        (place.root / "things.json").write_text(json.dumps(THINGS))

    def config(self, place: Place) -> Mapping[str, Any]:
        return {"path": "out/inbox" if self.the_job_type().type == "export" else "things.json", "stream": "things"}

    def spoil(self, place: Place) -> None:
        (place.root / "things.json").unlink()
        (place.root / "out").rename(place.root / "gone")

    def may_write(self, place: Place) -> Sequence[Path]:
        return [place.root / "out"]

    def arrived(self, place: Place) -> list[str]:
        lines = (place.root / "out" / "inbox").read_text().splitlines()
        by_key = {json.loads(line)["key"]: json.loads(line)["texts"] for line in lines}
        return [text for texts in by_key.values() for text in texts]


class TestHonestImport(_Hostile):
    job_type = "honest-import"


class TestHonestExport(_Hostile):
    job_type = "honest-export"


def subject(**said: Any) -> _Hostile:
    made: _Hostile = type("Subject", (_Hostile,), said)()
    return made


@pytest.mark.parametrize("name", hostile_provider.HOSTILE)
def test_the_suite_catches_a_provider_that(name: str, tmp_path: Path) -> None:
    hostile = hostile_provider.HOSTILE[name]
    with pytest.raises(Nonconformance) as caught:
        getattr(subject(job_type=name, limit_s=0.5 if name == "sleeps" else 30.0), hostile.rule)(tmp_path)
    assert hostile.words in str(caught.value)


def described(**changes: Any) -> _Hostile:
    """A subject whose job type says something else of itself."""
    job_type: JobType = replace(TestHonestImport().the_job_type(), **changes)
    return subject(job_type=job_type.name, provider=replace(hostile_provider.PROVIDER, job_types=(job_type,)))


SCHEMA = hostile_provider.schema("writes")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({**SCHEMA, "type": "thing"}, "the schema is no JSON Schema: 'thing' is not valid"),
        ({**SCHEMA, "type": "string"}, "the schema does not ask for an object"),
        ({**SCHEMA, "additionalProperties": True}, "the schema lets unknown fields through"),
        ({**SCHEMA, "properties": {"path": {"type": "string"}}}, "the field path has no description"),
        (
            {**SCHEMA, "properties": {"path": {"description": "a", "x-stream": "both"}}},
            "x-stream of path is neither reads nor writes",
        ),
        ({**SCHEMA, "examples": {1, 2}}, "the schema is not JSON"),
    ],
)
def test_the_suite_catches_a_schema_that_is_none(schema: Any, words: str) -> None:
    with pytest.raises(Nonconformance) as caught:
        described(schema=schema).test_the_schema_is_a_json_schema()
    assert words in str(caught.value)


def test_the_suite_catches_a_schema_that_its_model_does_not_keep(tmp_path: Path) -> None:
    loose = {**SCHEMA, "properties": {**SCHEMA["properties"], "path": {"description": "The file"}}}
    with pytest.raises(Nonconformance, match="the schema takes what the model refuses: "):
        described(schema=loose).test_the_model_takes_what_the_schema_takes(tmp_path)


def test_the_suite_catches_a_name_that_is_no_label() -> None:
    with pytest.raises(Nonconformance, match="the name 'Import_Things' is no DNS-1123 label"):
        described(name="Import_Things").test_every_name_is_a_dns_label()


def test_a_subject_that_leaves_something_unsaid_is_told_what(tmp_path: Path) -> None:
    class Silent(ProviderConformance):
        provider, job_type = http.PROVIDER, "import-json"

    class Dull(Silent):
        def config(self, place: Place) -> Mapping[str, Any]:
            return {"url": "http://127.0.0.1:9/", "stream": "things"}

    with pytest.raises(Nonconformance, match=r"^Silent does not say its `config`$"):
        Silent().test_a_run_makes_units_that_can_be_committed(tmp_path / "silent")
    with pytest.raises(Nonconformance, match=r"^Dull does not say its `spoil`$"):
        Dull().test_a_run_that_fails_says_so_in_a_line(tmp_path / "dull")
