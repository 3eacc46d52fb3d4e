"""Importing files: what lands, what lands again, and what is left out."""

from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reconciler.errors import Fatal, Retriable
from tests.providers.files_world import World

CSV: dict[str, Any] = {"path": "*.csv", "stream": "s"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "specs", tmp_path / "data")


def test_a_csv_file_lands_as_it_came(world: World) -> None:
    world.write("a.csv", "id,name,n\n00123,Ann,NA\n2,,1.50\n")
    (unit,) = world.start("import-csv", CSV)
    assert world.messages("s") == [{"id": "00123", "name": "Ann", "n": "NA"}, {"id": "2", "name": "", "n": "1.50"}]
    assert (unit.rows, unit.omitted, unit.message, unit.moved) == (2, 0, "", True)


def test_a_second_run_finds_nothing_and_makes_no_unit(world: World) -> None:
    world.write("a.csv", "id\n1\n")
    world.start("import-csv", CSV)
    assert world.start("import-csv", CSV) == []


def test_a_new_time_alone_lands_nothing_again(world: World) -> None:
    path = world.write("a.csv", "id\n1\n")
    world.start("import-csv", CSV)
    os.utime(path, (1, 1))
    assert world.start("import-csv", CSV) == []
    assert world.messages("s") == [{"id": "1"}]


def test_a_file_that_only_grew_goes_on_from_where_it_was(world: World) -> None:
    path = world.write("a.csv", "id\n1\n")
    world.start("import-csv", CSV)
    path.write_text("id\n1\n2\n3\n")
    (unit,) = world.start("import-csv", CSV)
    assert unit.rows == 2
    assert unit.message == "a.csv: it has grown, and goes on from line 3"
    assert [row["id"] for row in world.messages("s")] == ["1", "2", "3"]


def test_a_file_whose_last_row_had_no_newline_goes_on_behind_it(world: World) -> None:
    path = world.write("a.csv", "id\n1")
    world.start("import-csv", CSV)
    path.write_text("id\n1\n2\n")
    world.start("import-csv", CSV)
    assert [row["id"] for row in world.messages("s")] == ["1", "2"]


@pytest.mark.parametrize("changed", ["id\n12\n", "id\n7\n", "id\n", "ix\n1\n"])
def test_any_other_change_lands_the_file_whole_and_says_so(world: World, changed: str) -> None:
    path = world.write("a.csv", "id\n1")
    world.start("import-csv", CSV)
    path.write_text(changed)
    (unit,) = world.start("import-csv", CSV)
    assert unit.rows == changed.count("\n") - 1
    assert unit.message.startswith("a.csv: it has changed, so all of it lands again")


def test_a_run_that_was_cut_off_goes_on_from_its_last_unit(world: World) -> None:
    world.block_bytes = 64
    world.write("a.csv", "id\n" + "".join(f"{number:06}\n" for number in range(5000)))
    world.start("import-csv", CSV)
    whole = [row["id"] for row in world.messages("s")]
    assert whole == [f"{number:06}" for number in range(5000)]


def test_each_file_of_a_glob_lands_once_and_new_ones_later(world: World) -> None:
    world.write("a.csv", "id\n1\n")
    world.write("b.csv", "id\n2\n")
    (unit,) = world.start("import-csv", CSV)  # small files share a unit, and a segment
    assert (unit.rows, len(unit.segments)) == (2, 1)
    world.write("c.csv", "id,x\n3,y\n")
    (unit,) = world.start("import-csv", CSV)
    assert unit.rows == 1
    assert [row["id"] for row in world.messages("s")] == ["1", "2", "3"]


def test_a_glob_that_matches_nothing_has_nothing_to_do(world: World) -> None:
    assert world.start("import-csv", CSV) == []


def test_a_bad_row_fails_the_run_unless_it_is_allowed(world: World) -> None:
    world.write("a.csv", "id,x\n1,2\n3\n")
    with pytest.raises(Fatal) as caught:
        world.start("import-csv", CSV)
    assert str(caught.value) == "1 bad row, and maxRejects is 0; the first: a.csv:3: expected 2 columns, found 1"
    assert world.units == []


def test_bad_rows_are_kept_with_their_reasons(world: World) -> None:
    world.write("a.csv", b'id,x\n1,"a\nb"\n2\n\xff,3\n4,5,6\n7,8\n9,"open\n')
    (unit,) = world.start("import-csv", CSV | {"maxRejects": 4})
    assert (unit.rows, unit.omitted) == (2, 4)
    assert unit.rejects == ("rejects/job/run-1-unit-1.ndjson",)
    assert unit.message == "4 bad rows"
    kept = [json.loads(line) for line in (world.data_dir / unit.rejects[0]).read_text().splitlines()]
    assert kept == [
        {"source": "a.csv", "line": 4, "reason": "expected 2 columns, found 1", "text": "2"},
        {"source": "a.csv", "line": 5, "reason": "not valid text in the file's encoding", "text": "\\xff,3"},
        {"source": "a.csv", "line": 6, "reason": "expected 2 columns, found 3", "text": "4,5,6"},
        {"source": "a.csv", "line": 8, "reason": "a quote is opened and never closed", "text": '9,"open'},
    ]


def test_rejects_are_counted_over_all_files_and_attempts_of_a_run(world: World) -> None:
    world.write("a.csv", "id,x\n1\n2,3\n")
    world.write("b.csv", "id,x\n4\n")
    with pytest.raises(Fatal, match=r"^2 bad rows, and maxRejects is 1; the first: a\.csv:2: "):
        world.start("import-csv", CSV | {"maxRejects": 1})


def test_rejects_of_two_files_in_a_unit_share_its_rejects_file(world: World) -> None:
    world.write("a.csv", "id,x\n1\n2,3\n")
    world.write("b.csv", "id,x\n4\n")
    (unit,) = world.start("import-csv", CSV | {"maxRejects": 2})
    lines = (world.data_dir / unit.rejects[0]).read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["a.csv", "b.csv"]


def test_timestamps_stand_beside_the_raw_columns(world: World) -> None:
    world.write("a.csv", "id,at,_job\n1,2013-01-01T05:00:00-05:00,x\n2,,y\n")
    world.start("import-csv", CSV | {"timestampField": "at"})
    reader = world.reader("s")
    ((_, table),) = reader.tables(0, 2, meta=True)
    rows = table.to_pylist()
    assert [str(row["_timestamp"]) for row in rows] == ["2013-01-01 10:00:00+00:00", "None"]
    assert [(row["_job"], row["_run"], row["_unit"], row["__job"]) for row in rows] == [
        ("job", 1, 1, "x"), ("job", 1, 1, "y"),
    ]  # fmt: skip
    assert world.messages("s")[0] == {"id": "1", "at": "2013-01-01T05:00:00-05:00", "_job": "x"}


def test_a_time_that_cannot_be_read_is_a_bad_row_with_its_line(world: World) -> None:
    world.write("a.csv", 'id,at\n"1\n",2013-01-01\n\n2,2013-02-30\n3,soon\n')
    (unit,) = world.start("import-csv", CSV | {"timestampField": "at", "maxRejects": 2})
    kept = [json.loads(line) for line in (world.data_dir / unit.rejects[0]).read_text().splitlines()]
    assert [(one["line"], one["reason"], one["text"]) for one in kept] == [
        (5, "timestampField 'at': '2013-02-30' is not iso8601", "2,2013-02-30"),
        (6, "timestampField 'at': 'soon' is not iso8601", "3,soon"),
    ]


def test_a_missing_timestamp_column_is_fatal(world: World) -> None:
    world.write("a.csv", "id\n1\n")
    with pytest.raises(Fatal, match=r"^a\.csv: timestampField: there is no column 'at'$"):
        world.start("import-csv", CSV | {"timestampField": "at"})


def test_lines_of_json_that_do_not_say_when_have_no_time(world: World) -> None:
    world.write("a.ndjson", '{"id": 1}\n')
    config = {"path": "a.ndjson", "stream": "s", "timestampField": "at"}
    (unit,) = world.start("import-ndjson", config)
    assert (unit.rows, [staged.untimed for staged in unit.segments]) == (1, [1])
    world.write("a.ndjson", '{"id": 1}\n{"id": 2, "at": "2020-01-01"}\n')
    (unit,) = world.start("import-ndjson", config)
    assert (unit.rows, [staged.untimed for staged in unit.segments]) == (1, [0])


def test_a_time_is_written_as_the_stream_says_of_that_field_unless_the_import_says_itself(world: World) -> None:
    world.times["s", "at"] = "epoch_s"
    world.write("a.csv", "at,on\n1,1970-01-02\n")
    config = CSV | {"timestampField": "at"}
    for one in (config, CSV | {"timestampField": "on"}):
        world.start("import-csv", one, job=one["timestampField"])
    times = [row["_timestamp"] for _, table in world.reader("s").tables(0, 2, meta=True) for row in table.to_pylist()]
    assert times == [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(1970, 1, 2, tzinfo=UTC)]
    with pytest.raises(Fatal, match="'1' is not iso8601"):
        world.start("import-csv", config | {"timestampFormat": "iso8601"}, job="third")


def test_a_truncated_gzip_file_never_lands_as_if_it_were_whole(world: World) -> None:
    content = gzip.compress(b"id\n" + b"".join(b"%d\n" % number for number in range(100_000)))
    path = world.write("a.csv.gz", content[:-9])
    config = CSV | {"path": "*.gz"}
    with pytest.raises(Fatal, match=r"^a\.csv\.gz: the file cannot be read to its end: "):
        world.start("import-csv", config)
    path.write_bytes(content + gzip.compress(b"x\n"))  # members one after the other are one content
    world.attempt("import-csv", config, attempt=2)
    assert len(world.messages("s")) == 100_001


def test_a_file_that_is_no_file_is_fatal(world: World) -> None:
    os.makedirs(world.folder)
    os.mkfifo(world.folder / "a.csv")
    with pytest.raises(Fatal, match=r"^a\.csv: not a regular file$"):
        world.start("import-csv", CSV)


def test_a_file_that_vanishes_before_it_is_read_is_tried_again(world: World) -> None:
    os.makedirs(world.folder)
    (world.folder / "a.csv").symlink_to("gone")
    with pytest.raises(Retriable, match=r"^a\.csv: the file vanished before it could be read$"):
        world.start("import-csv", CSV)


def test_a_file_that_changes_while_it_is_read_is_tried_again_and_lands_once(world: World) -> None:
    world.block_bytes = 1 << 20
    row = "x" * 99 + "\n"
    path = world.write("a.csv", "id\n" + row * 700_000)
    units = iter(WorldRun(world))
    world_unit = next(units)
    path.write_text("id\n" + "y" * 99 + "\n")
    with pytest.raises(Retriable, match=r"^a\.csv: the file changed while it was being read; it is read again later$"):
        list(units)
    assert world_unit.rows > 0
    world.attempt("import-csv", CSV, attempt=2)
    assert world.messages("s")[-1] == {"id": "y" * 99}


@pytest.mark.parametrize(("name", "header", "row"), [("a.csv", "id\n", "{}\n"), ("a.ndjson", "", '{{"id":"{}"}}\n')])
def test_a_file_that_is_appended_to_while_it_is_read_lands_every_whole_row_once(
    world: World, name: str, header: str, row: str
) -> None:
    world.block_bytes = 1 << 16
    count = 60_000
    path = world.write(name, header + "".join(row.format(f"{i:09}") for i in range(count)))
    job_type = f"import-{name.split('.')[1]}"
    config = {"path": name, "stream": "s"}
    units = iter(WorldRun(world, job_type, config))
    next(units)
    whole, rest = row.format("000060000"), row.format("000060001")
    with path.open("a") as file:
        file.write(whole + rest[:4])
    list(units)
    landed = [message["id"] for message in world.messages("s")]
    assert landed in ([f"{i:09}" for i in range(count)], [f"{i:09}" for i in range(count + 1)])
    with path.open("a") as file:
        file.write(rest[4:])
    world.start(job_type, config)
    assert [message["id"] for message in world.messages("s")] == [f"{i:09}" for i in range(count + 2)]


def WorldRun(world: World, job_type: str = "import-csv", config: dict[str, Any] = CSV) -> Any:  # noqa: N802
    from tests.providers.files_world import WorldContext

    world.run += 1
    context = WorldContext(world, "job", job_type, config, 1)
    for unit in context.units():
        yield world.commit("job", context, unit)


def test_a_file_that_vanishes_while_it_is_read_is_tried_again(world: World) -> None:
    path = world.write("a.csv", "id\n" + ("x" * 99 + "\n") * 700_000)
    world.block_bytes = 1 << 20
    units = iter(WorldRun(world))
    next(units)
    path.unlink()
    with pytest.raises(Retriable, match=r"^a\.csv: the file vanished while it was being read; it is read again later$"):
        list(units)


def test_a_file_that_cannot_be_opened_is_fatal(world: World) -> None:
    os.makedirs(world.folder)
    (world.folder / "a.csv").symlink_to("a.csv")
    with pytest.raises(Fatal, match=r"^a\.csv: the file cannot be read: Too many levels of symbolic links$"):
        world.start("import-csv", CSV)


def test_a_big_file_with_a_new_time_is_read_again_only_once(world: World) -> None:
    path = world.write("a.csv", "id\n" + ("x" * 99 + "\n") * 170_000)
    world.start("import-csv", CSV)
    os.utime(path, (1, 1))
    (unit,) = world.start("import-csv", CSV)
    assert (unit.rows, unit.moved) == (0, False)
    assert unit.message == "nothing new; what the files hold was read again and is remembered"
    assert world.start("import-csv", CSV) == []


def test_a_file_as_young_as_its_reading_is_looked_into_again(world: World) -> None:
    path = world.write("a.csv", "id\n1\n")
    world.now_ms = path.stat().st_mtime_ns // 1_000_000
    world.start("import-csv", CSV)
    assert "seen" not in world.cursors["job"]["files"]["a.csv"]
    assert world.start("import-csv", CSV) == []
    world.now_ms += 60_000
    world.write("b.csv", "id\n2\n")
    world.start("import-csv", CSV)
    assert "seen" in world.cursors["job"]["files"]["a.csv"]


def test_the_log_tells_of_three_changed_files_and_counts_the_others(world: World) -> None:
    for content in ("id\n1\n", "id\n2\n"):
        for name in "abcde":
            world.write(f"{name}.csv", content)
        (unit,) = world.start("import-csv", CSV)
    assert unit.message.endswith("; c.csv: it has changed, so all of it lands again; and so for 2 more files")


def test_ndjson_lands_exactly(world: World) -> None:
    lines = [
        '{"a": 1, "b": "x", "n": null, "big": 12345678901234567890, "d": 1.10}',
        '{"a": 2, "c": [1, {"k": "v"}], "d": 0.5, "at": "2013-01-01"}',
    ]
    world.write("a.ndjson", "\n".join(lines) + "\n\n[1]\n")
    (unit,) = world.start("import-ndjson", {"path": "a.ndjson", "stream": "s", "maxRejects": 1})
    assert unit.omitted == 1
    ((_, texts),) = world.reader("s").json_messages(0, 2)
    assert [json.loads(text, parse_float=str) for text in texts] == [
        json.loads(line, parse_float=str) for line in lines
    ]


def test_parquet_keeps_its_types(world: World) -> None:
    os.makedirs(world.folder)
    table = pa.table({"id": pa.array([1, None], pa.int16()), "tags": [["a"], None], "Id": ["x", "y"]})
    pq.write_table(table, world.folder / "a.parquet")
    config = {"path": "a.parquet", "stream": "s"}
    world.start("import-parquet", config)
    assert world.messages("s") == table.to_pylist()
    assert world.start("import-parquet", config) == []


def test_many_rows_of_which_each_says_little_are_several_units(world: World) -> None:
    os.makedirs(world.folder)
    pq.write_table(
        pa.table({"n": pa.array([1], pa.int8()).take(pa.array([0] * 2_500_000))}), world.folder / "a.parquet"
    )
    units = world.start("import-parquet", {"path": "a.parquet", "stream": "s"})
    assert [unit.rows for unit in units] == [2_097_152, 402_848]


def test_a_damaged_parquet_file_is_fatal(world: World) -> None:
    world.write("a.parquet", b"PAR1 not at all PAR1")
    with pytest.raises(Fatal, match=r"^a\.parquet: not a readable Parquet file: "):
        world.start("import-parquet", {"path": "a.parquet", "stream": "s"})
