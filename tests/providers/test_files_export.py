"""Exporting a stream into files: what they hold, and what a crash leaves."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reconciler.errors import Fatal, Retriable
from tests.providers.files_world import Crash, World, WorldContext

IMPORT = {"path": "*.csv", "stream": "s"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "specs", tmp_path / "data")


def read(world: World, name: str) -> str:
    return (world.folder / name).read_text()


def test_a_csv_comes_out_as_it_went_in(world: World) -> None:
    content = 'id,name,note\n001,"a,b","say ""hi""\nthere"\n2,, x \n'
    world.write("a.csv", content)
    world.start("import-csv", IMPORT)
    (unit,) = world.start("export-csv", {"stream": "s", "path": "out/a.csv"}, job="export")
    assert read(world, "out/a.csv") == content
    assert (unit.rows, unit.message, unit.cursor) == (2, "wrote out/a.csv", {"position": 2, "run": 2})


def test_csv_is_written_with_the_delimiter_quote_and_header_asked_for(world: World) -> None:
    world.write("a.csv", "id,x\n1,a;b\n2,it's\n")
    world.start("import-csv", IMPORT)
    config = {"stream": "s", "path": "o.csv", "delimiter": ";", "quote": "'", "header": False}
    world.start("export-csv", config, job="export")
    assert read(world, "o.csv") == "1;'a;b'\n2;'it''s'\n"


@pytest.mark.parametrize("header", [True, False])
def test_columns_come_back_as_they_went_whatever_they_are_called_and_begin_with(world: World, header: bool) -> None:
    names = ["\ufeffid", "ID", "id", "Id"] if header else ["a", "b", "c", "d"]
    world.write("a.csv", '"' + '","'.join(names) + '"\n\ufeff1,2,3,\n')
    world.start("import-csv", IMPORT)
    assert world.messages("s") == [dict(zip(names, ["\ufeff1", "2", "3", ""], strict=True))]
    for kind in ("csv", "ndjson", "parquet"):
        config = {"header": header} if kind == "csv" else {}
        world.start(f"export-{kind}", {"stream": "s", "path": f"o.{kind}", **config}, job=f"out-{kind}")
        config |= {"columns": names} if kind == "csv" and not header else {}
        world.start(f"import-{kind}", {"stream": kind, "path": f"o.{kind}", **config}, job=f"in-{kind}")
        assert world.messages(kind) == world.messages("s")


def test_a_lone_empty_field_is_not_an_empty_line(world: World) -> None:
    world.write("a.csv", 'id\n""\n1\n')
    world.start("import-csv", IMPORT)
    world.start("export-csv", {"stream": "s", "path": "o.csv"}, job="export")
    assert read(world, "o.csv") == 'id\n""\n1\n'


def test_columns_that_come_and_go_are_exported_together(world: World) -> None:
    world.write("a.csv", "id,x\n1,a\n")
    world.write("b.csv", "y,id\nb,2\n")
    world.start("import-csv", IMPORT)
    world.start("export-csv", {"stream": "s", "path": "o.csv"}, job="e1")
    world.start("export-ndjson", {"stream": "s", "path": "o.ndjson"}, job="e2")
    world.start("export-parquet", {"stream": "s", "path": "o.parquet"}, job="e3")
    assert read(world, "o.csv") == "id,x,y\n1,a,\n2,,b\n"
    assert read(world, "o.ndjson") == '{"id":"1","x":"a"}\n{"y":"b","id":"2"}\n'
    assert pq.read_table(world.folder / "o.parquet").to_pylist() == [
        {"id": "1", "x": "a", "y": None}, {"id": "2", "x": None, "y": "b"},
    ]  # fmt: skip


def test_ndjson_comes_out_as_it_went_in(world: World) -> None:
    lines = [
        '{"a":1,"n":null,"s":"é\\u2028\\"","big":123456789012345678901234567890,"d":1.10}',
        '{"a":-0,"d":1e2,"nested":{"x":[1.0,{"y":"}"}]},"t":"2013-01-01T00:00:00Z"}',
        "{}",
        '{"n":7,"A":true}',
    ]
    world.write("a.ndjson", "\n".join(lines))
    world.start("import-ndjson", {"path": "a.ndjson", "stream": "s"})
    world.start("export-ndjson", {"stream": "s", "path": "o.ndjson"}, job="export")
    exported = read(world, "o.ndjson").split("\n")[:-1]
    exact: dict[str, Any] = {"parse_float": str, "parse_int": str}
    assert [json.loads(line, **exact) for line in exported] == [json.loads(line, **exact) for line in lines]


def test_meta_adds_what_is_known_of_each_message(world: World) -> None:
    world.write("a.csv", "id,_job\n1,mine\n")
    world.start("import-csv", IMPORT)
    world.start("export-ndjson", {"stream": "s", "path": "o.ndjson", "meta": True}, job="export")
    assert json.loads(read(world, "o.ndjson")) == {
        "id": "1", "__job": "mine", "_timestamp": None, "_received": "2096-10-02T07:06:40Z",
        "_job": "job", "_run": 1, "_unit": 1,
    }  # fmt: skip


def test_the_path_names_the_compression(world: World) -> None:
    world.write("a.csv", "id\n1\n")
    world.start("import-csv", IMPORT)
    world.start("export-csv", {"stream": "s", "path": "o.csv.gz"}, job="e1")
    world.start("export-ndjson", {"stream": "s", "path": "o.ndjson", "compression": "zstd"}, job="e2")
    assert gzip.decompress((world.folder / "o.csv.gz").read_bytes()) == b"id\n1\n"
    with pa.input_stream(str(world.folder / "o.ndjson"), compression="zstd") as stream:
        assert stream.read() == b'{"id":"1"}\n'


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
def test_an_empty_stream_makes_a_file_that_can_be_read(world: World, kind: str) -> None:
    (unit,) = world.start(f"export-{kind}", {"stream": "s", "path": f"o.{kind}"}, job="export")
    assert unit.rows == 0
    if kind == "parquet":
        assert pq.read_table(world.folder / "o.parquet").num_rows == 0
    else:
        assert read(world, f"o.{kind}") == ""


def test_only_new_writes_what_came_since_the_last_run(world: World) -> None:
    config = {"stream": "s", "path": "out/{run}.csv", "only": "new"}
    world.write("a.csv", "id\n1\n")
    world.start("import-csv", IMPORT)
    world.start("export-csv", config, job="export")
    assert world.start("export-csv", config, job="export") == []
    world.write("b.csv", "id\n2\n")
    world.start("import-csv", IMPORT)
    world.start("export-csv", config, job="export")
    assert sorted(path.name for path in world.folder.glob("out/*")) == ["2.csv", "5.csv"]
    assert read(world, "out/5.csv") == "id\n2\n"


def test_a_second_attempt_of_a_run_does_not_replace_what_its_first_wrote(world: World) -> None:
    config = {"stream": "s", "path": "out/{run}.csv", "only": "new"}
    world.write("a.csv", "id\n1\n")
    world.start("import-csv", IMPORT)
    world.start("export-csv", config, job="export")
    world.write("b.csv", "id\n2\n")
    world.attempt("import-csv", IMPORT, attempt=2)
    assert world.attempt("export-csv", config, job="export", attempt=2) == []
    assert read(world, "out/2.csv") == "id\n1\n"


def test_only_new_replaces_no_file_of_another(world: World) -> None:
    world.write("a.csv", "id\n1\n")
    world.start("import-csv", IMPORT)
    world.write("out/2.csv", "precious")
    with pytest.raises(Fatal) as caught:
        world.start("export-csv", {"stream": "s", "path": "out/{run}.csv", "only": "new"}, job="export")
    assert str(caught.value) == "out/2.csv is there already, and `only: new` replaces no file"


@pytest.mark.parametrize("after_rename", [False, True])
@pytest.mark.parametrize("only", ["all", "new"])
def test_a_crash_between_intent_and_commit_writes_the_same_file_again(
    world: World, only: str, after_rename: bool
) -> None:
    config = {"stream": "s", "path": "out/{run}.csv", "only": only}
    world.write("a.csv", "id\n1\n")
    world.start("import-csv", IMPORT)
    world.run += 1
    context = WorldContext(world, "export", "export-csv", config, 1)
    if not after_rename:

        def die(*_: Any, **__: Any) -> int:
            raise Crash

        context.data.write_file = die  # type: ignore[method-assign]
        with pytest.raises(Crash):
            next(context.units())
    else:
        next(context.units())  # the file is there, and its unit is never committed
    assert len(world.intents["export"]) == 1
    world.write("b.csv", "id\n2\n")
    world.attempt("import-csv", IMPORT)
    world.attempt("export-csv", config, job="export", attempt=2)
    assert world.intents["export"] == []
    assert read(world, "out/2.csv") == ("id\n1\n" if only == "new" else "id\n1\n2\n")
    world.start("export-csv", config, job="export")
    assert read(world, "out/3.csv") == ("id\n2\n" if only == "new" else "id\n1\n2\n")


def test_a_stream_shorter_than_what_was_exported_is_fatal(world: World) -> None:
    world.cursors["export"] = {"position": 5, "run": 0}
    with pytest.raises(Fatal, match=r"^stream s ends at 0, before position 5; `restart` exports it anew$"):
        world.start("export-csv", {"stream": "s", "path": "out/{run}.csv", "only": "new"}, job="export")


def test_a_file_that_cannot_be_written_is_tried_again_and_leaves_nothing(world: World) -> None:
    world.write("a.csv", "id\n1\n")
    world.write("out", "a file where a folder is wanted")
    world.start("import-csv", IMPORT)
    with pytest.raises(Retriable, match=r"^cannot write o\.csv: "):
        world.start("export-csv", {"stream": "s", "path": "out/o.csv"}, job="export")
    assert sorted(path.name for path in world.folder.iterdir()) == ["a.csv", "out"]


def test_a_missing_segment_is_tried_again_and_a_damaged_one_is_fatal(world: World) -> None:
    world.write("a.csv", "id\n1\n")
    world.start("import-csv", IMPORT)
    path = world.data_dir / world.streams["s"][0].file
    path.write_bytes(b"not Parquet")
    with pytest.raises(Fatal, match=r"^segment streams/s/job-1-1-1-1\.parquet of stream s is damaged: "):
        world.start("export-csv", {"stream": "s", "path": "o.csv"}, job="export")
    path.unlink()
    with pytest.raises(Retriable, match=r"^segment streams/s/job-1-1-1-1\.parquet of stream s is missing$"):
        world.start("export-csv", {"stream": "s", "path": "o.csv"}, job="export")
