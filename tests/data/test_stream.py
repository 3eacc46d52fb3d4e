"""Streams: segments read together, written into one, and swept."""

from __future__ import annotations

import decimal
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.messages import SegmentRef
from reconciler.core.provider import Block, Reject, Staged, TimestampRule
from reconciler.data.hands import open_data
from reconciler.data.lines import parse_lines
from reconciler.data.names import raw, stored
from reconciler.data.segments import plan_compaction, sweep
from reconciler.data.store import compact
from reconciler.data.stream import SegmentReader, open_stream
from reconciler.errors import Fatal, Retriable

D = decimal.Decimal


def stage(data_dir: Path, *tables: pa.Table, run: int = 1, job: str = "job") -> list[Staged]:
    hands = open_data(data_dir, job=job, run=run, attempt=1, unit=lambda: 1, received_ms=lambda: 1_700_000_000_000)
    return [staged for table in tables for staged in hands.stage("s", table)]


def reader(data_dir: Path, staged: Sequence[Staged]) -> SegmentReader:
    first = 0
    refs = []
    for one in staged:
        refs.append(SegmentRef(file=one.file, first=first, rows=one.rows))
        first += one.rows
    return open_stream(data_dir, "s", refs, {})


def lines(*objects: str) -> pa.Table:
    return parse_lines("\n".join(objects).encode(), 1).table


def unified(data_dir: Path, *tables: pa.Table) -> tuple[pa.DataType, list[Any]]:
    read = reader(data_dir, stage(data_dir, *tables))
    values = [row["a"] for table in read.unified(0, read.end) for row in table.to_pylist()]
    return read.schema(0, read.end).field("a").type, values


def column(values: Sequence[Any], kind: pa.DataType) -> pa.Table:
    return pa.table({"a": pa.array(values, kind)})


@pytest.mark.parametrize("name", ["_job", "__job", "_timestamp", "_JOB", "_x", "job", "__", "_"])
def test_a_name_is_stored_and_read_back(name: str) -> None:
    assert raw(stored(name)) == name
    assert stored(name).lower() not in ("_job", "_timestamp", "_received", "_run", "_unit")


@pytest.mark.parametrize(
    ("first", "second", "kind", "values"),
    [
        (([1], pa.int8()), ([300], pa.int16()), pa.int16(), [1, 300]),
        (([1], pa.uint8()), ([-1], pa.int8()), pa.int16(), [1, -1]),
        (([2**63], pa.uint64()), ([-1], pa.int8()), pa.string(), [str(2**63), "-1"]),
        (([1], pa.int64()), ([1.5], pa.float64()), pa.float64(), [1.0, 1.5]),
        (([2**53 + 1], pa.int64()), ([1.5], pa.float64()), pa.string(), [str(2**53 + 1), "1.5"]),
        (([D("1.5")], pa.decimal128(3, 1)), ([D("20.25")], pa.decimal128(5, 2)), pa.decimal128(5, 2), [D("1.50"), D("20.25")]),
        (([True], pa.bool_()), ([2], pa.int64()), pa.string(), ["true", "2"]),
        (([None], pa.null()), ([2], pa.int8()), pa.int8(), [None, 2]),
        (([date(2013, 1, 1)], pa.date32()), (["x"], pa.string()), pa.string(), ["2013-01-01", "x"]),
        (([0], pa.timestamp("s", "UTC")), ([1], pa.timestamp("us", "Europe/Paris")), pa.timestamp("us", "UTC"),
         [datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, microsecond=1, tzinfo=UTC)]),
        (([0], pa.timestamp("s", "UTC")), ([0], pa.timestamp("s")), pa.string(), ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00"]),
        (([[1]], pa.list_(pa.int8())), (["x"], pa.string()), pa.string(), ["[1]", '"x"']),
        (([b"\xff"], pa.binary()), (["x"], pa.string()), pa.string(), ["/w==", "x"]),
    ],
)  # fmt: skip
def test_widening_loses_nothing_or_goes_to_text(
    tmp_path: Path, first: Any, second: Any, kind: pa.DataType, values: list[Any]
) -> None:
    assert unified(tmp_path, column(*first), column(*second)) == (kind, values)
    swapped = unified(tmp_path / "swapped", column(*second), column(*first))
    assert swapped == (kind, values[::-1])


def test_json_text_gives_its_type_where_it_has_one(tmp_path: Path) -> None:
    assert unified(tmp_path / "1", lines('{"a":1}'), lines('{"a":null}', '{"a":2}')) == (pa.int64(), [1, None, 2])
    assert unified(tmp_path / "2", lines('{"a":1}'), lines('{"a":1.10}')) == (pa.float64(), [1.0, 1.1])
    assert unified(tmp_path / "3", lines('{"a":"x"}'), lines('{"a":[1]}')) == (pa.string(), ['"x"', "[1]"])
    assert unified(tmp_path / "4", lines('{"a":"x"}'), lines('{"b":1}')) == (pa.string(), ["x", None])


def test_columns_that_differ_only_in_case_survive(tmp_path: Path) -> None:
    read = reader(tmp_path, stage(tmp_path, pa.table({"a": ["1"], "A": ["2"]})))
    assert next(read.json_messages(0, 1)) == (0, ['{"a":"1","A":"2"}'])
    assert next(iter(read.unified(0, 1))).to_pylist() == [{"a": "1", "A": "2"}]


def test_every_type_has_one_form_in_json(tmp_path: Path) -> None:
    table = pa.table({
        "int": pa.array([1], pa.uint64()), "float": [float("nan")], "decimal": [D("1.10")], "bool": [True],
        "text": ['a"\n\x01é'], "bytes": [b"\xff"], "date": [date(2013, 1, 1)], "null": pa.nulls(1),
        "at": pa.array([1_500], pa.timestamp("ms")), "zoned": pa.array([1], pa.timestamp("ns", "Europe/Paris")),
        "time": pa.array([1], pa.time64("us")), "list": [[1, None]], "none": pa.array([None], pa.list_(pa.int8())),
        "struct": [{"x": D("1.10"), "y'\"": None}], "map": pa.array([[("k", datetime(2013, 1, 1))]], pa.map_(pa.string(), pa.timestamp("us"))),
    })  # fmt: skip
    read = reader(tmp_path, stage(tmp_path, table))
    assert json.loads(next(read.json_messages(0, 1))[1][0], parse_float=str) == {
        "int": 1, "float": None, "decimal": "1.10", "bool": True, "text": 'a"\n\x01é', "bytes": "/w==",
        "date": "2013-01-01", "null": None, "at": "1970-01-01T00:00:01.5", "zoned": "1970-01-01T00:00:00.000000001Z",
        "time": "00:00:00.000001", "list": [1, None], "none": None, "struct": {"x": "1.10", "y'\"": None},
        "map": {"k": "2013-01-01T00:00:00"},
    }  # fmt: skip


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    first=st.integers(0, 100), length=st.integers(0, 100), rows=st.integers(1, 40),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_any_range_of_positions_is_read_in_any_piece(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], first: int, length: int, rows: int
) -> None:
    data_dir = tmp_path_factory.mktemp("range")
    start = 0
    tables = []
    for size in sizes:
        tables.append(pa.table({"a": pa.array(range(start, start + size))}))
        start += size
    read = reader(data_dir, stage(data_dir, *tables))
    found = list(read.tables(first, first + length, rows=rows))
    expected = list(range(start))[first : first + length]
    assert [value for _, table in found for value in table.column("a").to_pylist()] == expected
    assert [position for position, _ in found] == [table.column("a")[0].as_py() for _, table in found]
    assert all(table.num_rows <= rows for _, table in found)


def test_compaction_keeps_every_message_its_text_and_its_position(tmp_path: Path) -> None:
    tables = [lines(f'{{"a":{number}}}', '{"a":7}') for number in range(5)] + [lines('{"b":"x"}')]
    staged = stage(tmp_path, *tables)
    (group,) = plan_compaction(staged)
    assert group == tuple(staged[:5])
    joined = compact(tmp_path, "s", group, "compacted-1")
    assert (joined.rows, joined.schema, joined.file) == (10, staged[0].schema, "streams/s/compacted-1.parquet")
    before, after = reader(tmp_path, staged), reader(tmp_path, [joined, staged[5]])
    texts = [text for _, found in before.json_messages(0, 11) for text in found]
    assert [text for _, found in after.json_messages(0, 11) for text in found] == texts
    meta = [table.to_pylist() for _, table in before.tables(0, 11, meta=True)]
    assert [row for rows in meta for row in rows] == [
        row for _, table in after.tables(0, 11, meta=True) for row in table.to_pylist()
    ]


def staged_of(*sizes: int, schema: str = "x") -> list[Staged]:
    return [Staged(stream="s", file=str(n), rows=1, size=size, schema=schema) for n, size in enumerate(sizes)]


def test_only_small_neighbours_of_one_schema_are_compacted() -> None:
    small = staged_of(1, 1, 1, 1)
    other = staged_of(1, 1, 1, 1, 1, schema="y")
    assert plan_compaction([*small, *other]) == [tuple(small), tuple(other)]
    assert plan_compaction(small[:3]) == []
    large = staged_of(60)
    assert plan_compaction([*small, *large, *small[:3]], target_bytes=100) == [tuple(small)]
    assert [len(group) for group in plan_compaction(staged_of(*[20] * 12), target_bytes=100)] == [5, 5]


def test_a_sweep_takes_what_nobody_names_stages_or_reads(tmp_path: Path) -> None:
    kept, orphan = stage(tmp_path, column([1], pa.int8()), column([2], pa.int8()))
    (staging,) = stage(tmp_path, column([3], pa.int8()), run=2, job="job-x")
    (tmp_path / "streams/s/job-1-1-1-9.parquet.tmp").write_bytes(b"cut off")
    hands = open_data(tmp_path, job="job", run=1, attempt=1, unit=lambda: 3, received_ms=lambda: 0)
    rejects = hands.stage_rejects("a.csv", [Reject(1, "why", "text")])
    removed = sweep(tmp_path, {kept.file}, running={("job-x", 2)})
    assert removed == [rejects, orphan.file, "streams/s/job-1-1-1-9.parquet.tmp"]
    assert (tmp_path / staging.file).exists()
    assert sweep(tmp_path, {kept.file}) == [staging.file]


def test_a_segment_knows_its_earliest_and_latest_time(tmp_path: Path) -> None:
    hands = open_data(tmp_path, job="job", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 0)
    table = pa.table({"at": ["1970-01-01T00:00:02Z", "", "1970-01-01T00:00:01Z"]})
    (staged,) = hands.stage("s", table, timestamp=TimestampRule(field="at"))
    assert (staged.min_timestamp_ms, staged.max_timestamp_ms) == (1000, 2000)
    assert hands.stage("s", table.slice(0, 0)) == ()


def test_times_that_were_checked_ahead_stay_with_their_tables(tmp_path: Path) -> None:
    hands = open_data(tmp_path, job="job", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 0)
    rule = TimestampRule(field="at")

    def checked(*seconds: int) -> pa.Table:
        table = pa.table({"at": [f"1970-01-01T00:00:0{second}Z" for second in seconds]})
        return hands.check_timestamps(Block(table, (), None), rule).table

    first, second, third, fourth = checked(1, 2), checked(3), checked(4), checked(5, 6)
    for tables, extremes in (([first, second], (1000, 3000)), ([fourth], (5000, 6000)), ([third], (4000, 4000))):
        (staged,) = hands.stage("s", tables, timestamp=rule)
        assert (staged.min_timestamp_ms, staged.max_timestamp_ms) == extremes
        landed = pq.read_table(tmp_path / staged.file)
        assert [f"{one:%Y-%m-%dT%H:%M:%SZ}" for one in landed.column("_timestamp").to_pylist()] == landed.column(
            "at"
        ).to_pylist()


def test_small_neighbours_of_one_schema_are_one_row_group_and_others_a_segment_of_their_own(tmp_path: Path) -> None:
    hands = open_data(tmp_path, job="job", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 0)
    tables = [pa.table({"a": [one]}) for one in (1, 2)] + [pa.table({"b": [3]}), pa.table({"a": [4]})]
    staged = hands.stage("s", tables)
    assert [one.rows for one in staged] == [2, 1, 1]
    assert pq.ParquetFile(tmp_path / staged[0].file).num_row_groups == 1
    assert pq.read_table(tmp_path / staged[0].file).column("a").to_pylist() == [1, 2]


def test_a_segment_of_another_length_is_damaged(tmp_path: Path) -> None:
    (staged,) = stage(tmp_path, column([1], pa.int8()))
    read = open_stream(tmp_path, "s", [SegmentRef(file=staged.file, first=0, rows=2)])
    with pytest.raises(Fatal, match=r"^segment \S+ of stream s is damaged: it holds 1 messages instead of 2$"):
        list(read.tables(0, 2))


def test_a_time_that_the_widened_type_cannot_hold_is_fatal(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=r"^column 'a' cannot be read as timestamp\[us\]: "):
        unified(tmp_path, column([2**60], pa.timestamp("ms")), column([1], pa.timestamp("us")))


def test_rejects_that_cannot_be_written_are_tried_again(tmp_path: Path) -> None:
    (tmp_path / "rejects").write_text("a file where a folder is wanted")
    hands = open_data(tmp_path, job="job", run=1, attempt=1, unit=lambda: 3, received_ms=lambda: 0)
    with pytest.raises(Retriable, match=r"^cannot write rejects/job/run-1-unit-3\.ndjson: "):
        hands.stage_rejects("a.csv", [Reject(1, "why", "text")])


def test_what_an_earlier_attempt_rejected_is_replaced(tmp_path: Path) -> None:
    for attempt in (1, 2):
        hands = open_data(tmp_path, job="job", run=1, attempt=attempt, unit=lambda: 3, received_ms=lambda: 0)
        hands.stage_rejects("a.csv", [Reject(1, "why", "text")])
        file = hands.stage_rejects("b.csv", [Reject(2, "why", "text")])
    assert len((tmp_path / file).read_text().splitlines()) == 2


def test_a_segment_can_be_read_by_anyone(tmp_path: Path) -> None:
    (staged,) = stage(tmp_path, pa.table({"a": ["x"], "_job": ["y"]}))
    assert pq.read_table(tmp_path / staged.file).to_pylist() == [
        {"a": "x", "__job": "y", "_timestamp": None, "_received": datetime.fromtimestamp(1_700_000_000, UTC),
         "_job": "job", "_run": 1, "_unit": 1},
    ]  # fmt: skip
