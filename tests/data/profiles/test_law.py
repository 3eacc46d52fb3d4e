"""The law: for any messages, landed in any units, compacted or not, built in any steps over any crashes, what was built
step by step equals what is built at once, and both equal the reference."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.profile import SHEET, ProfileRules
from reconciler.data.engine import workspace
from reconciler.data.profiles.read import ProfileReader
from tests.data.profiles.world import World, rules_of

RULES: Final = rules_of(
    orders={
        "columns": {"quantity": "integer", "price": "decimal(10,2)", "at": "timestamp", "gift": "boolean"},
        "timestamp": {"field": "at"},
        "identity": [
            {"key": "email", "from": "email", "normalize": ["trim", "lower"], "maxPerKey": 2},
            {"key": "user", "from": "user id", "maxPerKey": 3},
        ],
        "attributes": {
            "name": {"from": "name"},
            "first_name": {"from": "name", "merge": "first"},
            "spent": {"expr": "quantity * price", "merge": "sum"},
            "orders": {"merge": "count"},
            "names": {"from": "name", "merge": "set"},
            "least": {"from": "price", "merge": "min"},
            "last_at": {"from": "at", "merge": "max"},
            "gifts": {"from": "gift", "merge": "any"},
        },
    },
    visits={
        "identity": [{"key": "user", "from": "user"}, {"key": "device", "from": "device", "normalize": ["upper"], "maxPerKey": 2}],
        "attributes": {"name": {"from": "name"}, "names": {"from": "page", "merge": "set"}, "pages": {"from": "page", "merge": "count"}},
    },
    leads={
        "identity": [
            {"key": "email", "from": "email", "normalize": ["lower"]},
            {"key": "email", "from": "other", "normalize": ["lower"]},
            {"key": "phone", "from": "phone", "normalize": ["digits"]},
        ],
        "attributes": {"name": {"from": "name"}, "first_name": {"from": "name", "merge": "first"}},
    },
)  # fmt: skip

#: The same people with more attributes than one sheet holds: all of `orders` in each, those of the others here and there.
SHEETS: Final = 1
WIDE: Final = replace(
    RULES,
    streams=tuple(
        replace(
            stream,
            attributes=tuple(
                replace(one, name=f"{one.name}_{number}")
                for one in stream.attributes
                for number in range(0, 1 + (SHEETS * SHEET) // 8, 3 if stream.name == "visits" else 1)
            ),
        )
        for stream in RULES.streams
    ),
)

EXPRESSIONS: Final = {
    "quantity * price": lambda row: (
        None if row["quantity"] is None or row["price"] is None else row["quantity"] * row["price"]
    )
}

NAMES: Final = ["Ann", "Bo", "Émile", "中", "", None, 7, "n/a", "quo\"te's"]
EMAILS: Final = ["a@x", " A@x ", "b@x", "B@X", "c@x", "d@x", "n/a", "", None]
USERS: Final = ["u1", "u2", "u3", "u4", 5, None, None]
COLUMNS: Final = {
    "orders": {
        "email": EMAILS, "user id": USERS, "name": NAMES, "quantity": [1, "2", 2.5, "x", None], "gift": [True, False, "no idea", None],
        "price": ["1.10", "0.005", 3, "25E-1", 4.5e-05, "", None], "at": ["2026-01-01T00:00:00Z", "2026-01-01T02:00:00+02:00", "2025-01-01T00:00:00", "soon", None],
    },
    "visits": {"user": USERS, "device": ["D1", "d1", "d2", "d3", None], "page": ["/", "/b", None], "name": NAMES},
    "leads": {"email": EMAILS, "other": EMAILS, "phone": ["+1 2", "12", "3-4", "none", None], "name": NAMES},
}  # fmt: skip

#: The messages' own times, in microseconds; the time of receipt of a unit, in milliseconds.
TIMES: Final = [None, 1_767_225_600_000_000, 1, 2]
RECEIVED: Final = [0, 1000, 1_767_225_600_000]


def random_row(random: Random, stream: str) -> dict[str, Any]:
    row = {name: random.choice(values) for name, values in COLUMNS[stream].items() if random.random() < 0.9}
    return row or {"name": "Ann"}


def land(world: World, random: Random, units: int, rows: int) -> None:
    for _ in range(units):
        stream = random.choice(sorted(COLUMNS))
        unit = [random_row(random, stream) for _ in range(random.randint(1, rows))]
        if random.random() < 0.2:
            unit *= 2
        world.land(stream, unit, received=random.choice(RECEIVED), times=[random.choice(TIMES) for _ in unit])


class CutOff(Exception):
    pass


def crash(world: World, random: Random) -> None:
    """A build that ends somewhere in its middle, or is whole and never named."""
    left = random.randint(0, 12)

    def step(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise CutOff

    try:
        world.built(world.profiles, progress=step)
    except CutOff:
        return


def advance(world: World, random: Random) -> dict[str, int]:
    stops = {}
    for stream in world.segments:
        built, end = world.profiles.built.get(stream, 0), world.end(stream)
        stops[stream] = random.choice([built, random.randint(built, end), end])
    return stops


def live(folder: Path, seed: int, *, units: int, rows: int, builds: int, rules: ProfileRules = RULES) -> World:
    """A random life: units land, segments are compacted, builds go a part of the way, some are cut off."""
    random = Random(seed)
    world = World(folder, rules, EXPRESSIONS)
    for _ in range(builds):
        land(world, random, units, rows)
        for stream in sorted(world.segments):
            if random.random() < 0.3:
                world.compact(stream)
        if random.random() < 0.2:
            crash(world, random)
        stops = advance(world, random)
        world.build(stops)
        assert world.seen(world.profiles) == world.expected(stops)
    return world


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 4))
def test_incremental_equals_rebuild_equals_reference(seed: int, units: int, rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        world = live(Path(name), seed, units=units, rows=rows, builds=2)
        world.build()
        anew = world.built(type(world.profiles)())
        assert world.seen(world.profiles) == world.seen(anew) == world.expected()


def test_so_do_many_small_builds_that_are_folded_on_the_way(tmp_path: Path) -> None:
    world = live(tmp_path, 20, units=1, rows=2, builds=18)
    anew = world.built(type(world.profiles)(), world.profiles.built)
    assert world.seen(world.profiles) == world.seen(anew) == world.expected(world.profiles.built)


@pytest.mark.parametrize("seed", [1])
def test_so_do_few_large_ones(tmp_path: Path, seed: int) -> None:
    world = live(tmp_path, seed, units=6, rows=20, builds=2)
    world.build()
    assert world.seen(world.profiles) == world.expected()


def test_so_do_profiles_with_more_attributes_than_a_sheet_holds(tmp_path: Path) -> None:
    assert len(WIDE.attributes) > SHEETS * SHEET
    world = live(tmp_path, 3, units=3, rows=5, builds=2, rules=WIDE)
    assert world.profiles.facts["void"], "some were built anew"
    anew = world.built(type(world.profiles)(), world.profiles.built)
    assert world.seen(world.profiles) == world.seen(anew) == world.expected(world.profiles.built)
    id_, row = next(iter(sorted(world.seen(anew)["profiles"].items())))
    with workspace(tmp_path, memory_mb=256) as connection:
        found = ProfileReader(tmp_path, world.profiles, WIDE).find(connection, id_)
    assert found is not None
    assert found.attributes == {name: row[name] for name in WIDE.attributes}, "one is found with all of them"
