"""What an import of files says it would add, against what it then adds."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.provider import Estimate
from reconciler.data.measure import SAMPLE_BYTES
from reconciler.errors import Fatal
from reconciler.providers.files import PROVIDER
from reconciler.providers.files.estimate import SAMPLED
from tests.providers.files_world import World, WorldContext


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "data").mkdir()
    return World(tmp_path / "jobs", tmp_path / "data")


def estimate(world: World, job_type: str = "import-csv", **config: Any) -> Estimate:
    found = PROVIDER.job_type(job_type)
    assert found is not None
    assert found.estimate is not None
    return found.estimate(WorldContext(world, "job", job_type, settings_of(config), 1))


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    return {"path": "*", "stream": "s", **config}


def land(world: World, job_type: str = "import-csv", **config: Any) -> int:
    """How many messages a run adds."""
    return sum(unit.rows for unit in world.start(job_type, settings_of(config)))


def rows(count: int, first: int = 0) -> str:
    return "".join(f"{number},name of {number}\n" for number in range(first, first + count))


def old(path: Path) -> None:
    """Changed long ago, so that a look at it is trusted."""
    os.utime(path, (1_000_000_000, 1_000_000_000))


# --- what is counted ------------------------------------------------------------------------------------------------


def test_small_files_are_counted_and_nothing_is_said_to_be_about(world: World) -> None:
    world.write("a.csv", "id,name\n" + rows(7))
    world.write("b.csv.gz", gzip.compress(("id,name\n" + rows(5)).encode()))
    found = estimate(world)
    assert (found.messages, found.parts, found.exact) == (12, 2, True)
    assert found.size == sum(path.stat().st_size for path in world.folder.iterdir())
    assert land(world) == 12


def test_bad_rows_are_no_messages(world: World) -> None:
    world.write("a.csv", "id,name\n1,a\n2\n3,c\n")
    assert estimate(world, maxRejects=5).messages == 2 == land(world, maxRejects=5)


def test_a_dialect_is_minded(world: World) -> None:
    world.write("a.csv", "1;'a\n2;b'\n3;c\n".encode("utf-16"))
    dialect = {"delimiter": ";", "quote": "'", "header": False, "encoding": "utf-16"}
    assert estimate(world, **dialect).messages == 2 == land(world, **dialect)


def test_lines_of_json_are_counted_without_the_blank_ones(world: World) -> None:
    world.write("a.ndjson", '{"id": 1}\n\n{"id": 2}\n{"id": 3}')
    assert estimate(world, "import-ndjson").messages == 3 == land(world, "import-ndjson")


def test_a_parquet_file_says_itself_how_many_rows_it_has(world: World) -> None:
    pq.write_table(pa.table({"id": range(100_000)}), world.folder / "a.parquet")
    found = estimate(world, "import-parquet")
    assert (found.messages, found.exact) == (100_000, True)


@given(
    st.lists(
        st.lists(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=8), max_size=6), max_size=4
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_counted_is_what_lands(tmp_path: Path, files: list[list[str]]) -> None:
    for name in ("jobs", "data"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        (tmp_path / name).mkdir()
    world = World(tmp_path / "jobs", tmp_path / "data")
    for number, lines in enumerate(files):
        world.write(f"{number}.csv", "name\n" + "".join(f"{line}\n" for line in lines))
    try:
        found = estimate(world, maxRejects=100)
    except Fatal:
        with pytest.raises(Fatal):
            land(world, maxRejects=100)
        return
    assert found.exact
    assert found.messages == land(world, maxRejects=100)


# --- what is guessed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_large_file_is_guessed_by_its_beginning(world: World, packed: bool, encoding: str) -> None:
    count = 200_000
    content = ("id,name\n" + rows(count)).encode(encoding)
    assert len(content) > 2 * SAMPLE_BYTES
    path = world.write("a.csv", gzip.compress(content, 1) if packed else content)
    found = estimate(world, encoding=encoding)
    assert not found.exact
    assert found.messages == pytest.approx(count, rel=0.1)
    assert found.size == path.stat().st_size


def test_what_has_landed_is_not_counted_again(world: World) -> None:
    old(world.write("a.csv", "id,name\n" + rows(7)))
    assert land(world) == 7
    nothing = estimate(world)
    assert (nothing.messages, nothing.size, nothing.parts, nothing.exact) == (0, 0, 0, True)
    world.write("b.csv", "id,name\n" + rows(3))
    assert (estimate(world).messages, estimate(world).parts) == (3, 1)


def test_of_a_file_that_has_grown_only_the_rest_is_counted(world: World) -> None:
    path = world.write("a.csv", "id,name\n" + rows(7))
    old(path)
    land(world)
    with path.open("a") as file:
        file.write(rows(4, 7))
    found = estimate(world)
    assert (found.messages, found.exact) == (4, True)
    assert found.size < path.stat().st_size / 2
    assert land(world) == 4


def test_of_a_large_file_that_has_grown_only_the_rest_is_guessed(world: World) -> None:
    path = world.write("a.csv", "id,name\n" + rows(100_000))
    old(path)
    land(world)
    with path.open("a") as file:
        file.write(rows(20_000, 100_000))
    found = estimate(world)
    assert found.messages == pytest.approx(20_000, rel=0.2)
    assert found.size == pytest.approx(path.stat().st_size / 6, rel=0.1)


def test_a_file_that_was_replaced_counts_as_a_whole(world: World) -> None:
    path = world.write("a.csv", "id,name\n" + rows(50))
    old(path)
    land(world)
    path.unlink()
    world.write("a.csv", "id,name\n" + rows(60, 1_000))
    assert estimate(world).messages == 60 == land(world)


def test_a_parquet_file_that_was_replaced_counts_as_a_whole_and_may_not(world: World) -> None:
    path = world.folder / "a.parquet"
    pq.write_table(pa.table({"id": range(10)}), path)
    old(path)
    land(world, "import-parquet")
    assert estimate(world, "import-parquet").messages == 0
    path.unlink()
    pq.write_table(pa.table({"id": range(20)}), path)
    found = estimate(world, "import-parquet")
    assert (found.messages, found.exact) == (20, False)


def test_a_file_that_was_read_while_it_was_young_holds_nothing_new(world: World) -> None:
    """Its look is not trusted, so a run reads it again; a plan does not count it again."""
    pq.write_table(pa.table({"id": range(10)}), world.folder / "a.parquet")
    content = "id,name\n" + rows(100_000)
    world.now_ms = 0
    for kind, name in (("import-parquet", "a.parquet"), ("import-csv", "b.csv")):
        if kind == "import-csv":
            world.write(name, content)
        land(world, kind, path=name)
        assert estimate(world, kind, path=name).messages == 0
        world.cursors.clear()


def test_beyond_the_first_files_the_others_are_taken_to_be_like_them(world: World) -> None:
    for number in range(SAMPLED + 36):
        world.write(f"{number:03}.csv", "id,name\n" + "1,aaaa\n" * 100)
    found = estimate(world)
    assert not found.exact
    assert (found.messages, found.parts) == ((SAMPLED + 36) * 100, SAMPLED + 36)


# --- what it names --------------------------------------------------------------------------------------------------


def test_the_digest_names_the_new_files_as_they_are(world: World) -> None:
    path = world.write("a.csv", "id,name\n" + rows(7))
    old(path)
    first = estimate(world).digest
    assert estimate(world).digest == first
    other = world.write("b.csv", "id,name\n" + rows(1))
    second = estimate(world).digest
    other.unlink()
    assert estimate(world).digest == first != second
    path.touch()
    assert estimate(world).digest not in (first, second)


def test_an_error_names_its_file(world: World) -> None:
    world.write("a.parquet", "no parquet at all")
    with pytest.raises(Fatal, match=r"^a\.parquet: not a readable Parquet file: "):
        estimate(world, "import-parquet")
