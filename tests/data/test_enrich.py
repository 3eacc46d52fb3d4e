"""The memory of an enrichment: what it knows, after how many files soever, and what it tells a stranger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.profile import Identity, ProfileFile, ProfileRules, ProfileSet, StreamRules
from reconciler.data.enrich import MAX_FILES, Digests, EnrichmentHands, Profiles
from reconciler.errors import Fatal

RULES = ProfileRules(streams=(StreamRules(name="facts", identity=(Identity(key="email", column="email"),)),))


def hands(folder: Path, *people: str, key: str = "it's a key") -> EnrichmentHands:
    made = iter(range(10_000))
    (folder / "jobs").mkdir(exist_ok=True, parents=True)
    rows = ", ".join(f"('{one}')" for one in people) or "('')"
    view = f'SELECT value AS id, [value] AS "key:email" FROM (VALUES {rows}) AS people(value)'
    file = ProfileFile(file="", kind="", part=0, build=1, rows=1, size=1)
    return EnrichmentHands(
        folder, Profiles(RULES, lambda: ProfileSet(build=1, files=(file,)), lambda _, keys: view),
        lambda what: f"jobs/{next(made)}-{what}", Digests(key), memory_mb=128,
    )  # fmt: skip


def due(mine: EnrichmentHands, memory: tuple[str, ...], before_ms: int = 0, limit: int = 100) -> dict[str, int]:
    return dict(mine.due("facts", "email", "email", memory, before_ms=before_ms, limit=limit).values)


Entries = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2**64 - 1), st.integers(0, 100)), max_size=4)


@settings(max_examples=20, deadline=None)
@given(st.lists(Entries, max_size=MAX_FILES + 4), st.integers(0, 100))
def test_the_memory_knows_the_last_word_on_everybody(
    tmp_path_factory: pytest.TempPathFactory, units: list[list[tuple[str, int, int]]], before_ms: int
) -> None:
    mine = hands(tmp_path_factory.mktemp("memory"), *"abcde")
    memory: tuple[str, ...] = ()
    last: dict[str, tuple[int, int]] = {}
    for unit in units:
        once = {value: (value, digest, at_ms) for value, digest, at_ms in unit}
        memory = mine.remember([mine.entries([*once.values()])], memory)
        last |= {value: (digest, at_ms) for value, digest, at_ms in once.values()}
        assert len(memory) <= MAX_FILES
    expected = {one: last.get(one, (0, 0))[0] for one in "abcde" if one not in last or last[one][1] <= before_ms}
    assert due(mine, memory, before_ms) == expected


def test_those_never_asked_for_come_first_and_then_those_asked_for_longest_ago(tmp_path: Path) -> None:
    mine = hands(tmp_path, *"abcd")
    memory = mine.remember([mine.entries([("a", 1, 50), ("b", 1, 20)])], ())
    found = mine.due("facts", "email", "email", memory, before_ms=100, limit=3)
    assert ([value for value, _ in found.values], found.left) == (["c", "d", "b"], 1)


def test_a_file_of_the_memory_names_nobody_and_is_read_only_with_the_records_key(tmp_path: Path) -> None:
    mine = hands(tmp_path, "ada@x.de")
    memory = mine.remember([mine.entries([("ada@x.de", 7, 5)])], ())
    data = (tmp_path / memory[0]).read_bytes()
    assert b"ada" not in data
    plain = int.from_bytes(hashlib.sha256(b"ada@x.de").digest()[:8], "big")
    assert plain not in pq.read_table(tmp_path / memory[0]).column("high").to_pylist()
    assert due(mine, memory) == {}
    assert due(hands(tmp_path, "ada@x.de", key="another"), memory) == {"ada@x.de": 0}


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda mine: mine.due("facts", "email", "emial", (), before_ms=0, limit=1),
            "no stream speaks of the identity 'emial'; did you mean 'email'?",
        ),
        (
            lambda mine: mine.due("other", "email", "email", (), before_ms=0, limit=1),
            "the stream other does not say that its column 'email' is the identity 'email'",
        ),
        (
            lambda mine: mine.due("facts", "email", "email", ("jobs/gone.parquet",), before_ms=0, limit=1),
            "jobs/gone.parquet, in which the job remembers what it has written, is gone; `restart` begins anew",
        ),
    ],
)
def test_what_cannot_be_known_is_said(tmp_path: Path, ask: Callable[[EnrichmentHands], object], message: str) -> None:
    with pytest.raises(Fatal) as failed:
        ask(hands(tmp_path))
    assert message in str(failed.value)
