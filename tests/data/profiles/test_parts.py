"""The small parts of a build: who is joined to whom, and the order of messages as one number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.language import compile_expression
from reconciler.core.language.reading import in_place, read_sql
from reconciler.core.language.types import type_of
from reconciler.core.messages import SegmentRef
from reconciler.data.engine import EngineError, limit_memory, memory_budget, query, workspace
from reconciler.data.profiles.columns import WHITE_SPACE, normalized
from reconciler.data.profiles.components import components
from reconciler.data.profiles.order import STREAM_SLOTS, Order, order_of
from reconciler.data.timestamps import FIRST_US, LAST_US
from tests.data.profiles import reference
from tests.data.profiles.world import World, rules_of


def by_hand(nodes: int, edges: list[tuple[int, int]]) -> list[int]:
    groups = [{node} for node in range(nodes)]
    for left, right in edges:
        whole = groups[left] | groups[right]
        for node in whole:
            groups[node] = whole
    return [min(group) for group in groups]


@given(
    st.integers(1, 40).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=60))
    )
)
def test_a_component_is_named_by_its_least_node(graph: tuple[int, list[tuple[int, int]]]) -> None:
    nodes, edges = graph
    left, right = (np.array([edge[side] for edge in edges], dtype=np.int64) for side in (0, 1))
    whole, halves = [(left, right)], [(left[at::2], right[at::2]) for at in (0, 1)]
    assert components(nodes, whole).tolist() == components(nodes, halves).tolist() == by_hand(nodes, edges)


@pytest.mark.parametrize("turned", [False, True])
def test_a_long_chain_is_joined(turned: bool) -> None:
    count = 100_000
    chain = np.random.default_rng(1).permutation(count) if turned else np.arange(count)
    assert not components(count, [(chain[:-1], chain[1:])]).any()


PACKED = Order(first_ms=1_000, receipt_bits=20, position_bits=20, stream_bits=2)
WIDE = Order(first_ms=0, receipt_bits=40, position_bits=26, stream_bits=2)  # commits are wider than 63 bits


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(FIRST_US, LAST_US) | st.integers(0, 2), st.integers(1_000, 1_003) | st.integers(1_000, 1 << 19), st.integers(0, (1 << 20) - 1) | st.integers(0, 2), st.integers(0, 3)),
        min_size=1, max_size=20, unique=True,
    ),
    st.sampled_from([PACKED, WIDE, Order()]),
)  # fmt: skip
def test_the_order_of_messages_is_that_of_time_receipt_position_and_stream(
    messages: list[tuple[int, ...]], order: Order
) -> None:
    found: list[Any] = []
    for time, receipt, position, slot in messages:
        given = pa.table({"t": [time], "r": [receipt], "p": [position * STREAM_SLOTS + slot]})
        time_, receipt_, place = order.parts("o")
        commit = f"({order.commit(slot)})"
        sql = f"""
            SELECT {time_} AS t, {receipt_} AS r, {place} AS p, o::VARCHAR AS o, k::VARCHAR AS k
            FROM (SELECT {order.of(slot)} AS o, {order.receipt_and_place(commit)} AS k FROM given)"""
        row = query(sql, given=given).to_pylist()[0]
        assert (row["t"], row["r"], row["p"]) == (time, receipt, position * STREAM_SLOTS + slot)
        assert int(row["k"]) == receipt << 64 | position * STREAM_SLOTS + slot
        found.append(
            (int(row["o"]) if order.receipt_bits else (time, receipt, position, slot), (time, receipt, position, slot))
        )
    assert sorted(found) == sorted(found, key=lambda one: one[1])


RULES = rules_of(
    s={
        "identity": [{"key": "k", "from": "k"}],
        "attributes": {"v": {"from": "v"}, "w": {"from": "v", "merge": "first"}},
    }
)


def test_trim_takes_white_space_of_all_kinds_from_the_ends_and_nothing_else() -> None:
    ends = ["", *WHITE_SPACE, "a", "!", "~", "\x7f", "\u00e9", "e\u0301", "\u200b", "\U0001f600"]
    texts = [f"{one}{inner}{other}" for one in ends for other in ends for inner in ("", " ", "a", "a\u3000b")]
    given = pa.table({"v": texts})
    sql = f"SELECT v, {normalized('v', ('trim',), in_place)} AS i FROM given"
    for row in query(sql, given=given).to_pylist():
        assert (row["i"] or "") == row["v"].strip(WHITE_SPACE), ascii(row["v"])


def landed(folder: Path, *received: int) -> World:
    world = World(folder, RULES)
    for at, one in enumerate(received):
        world.land("s", [{"k": "a", "v": str(at)}], received=one)
    return world


def test_an_order_has_room_for_what_is_read(tmp_path: Path) -> None:
    world = landed(tmp_path, 5_000, 2_000)
    order = order_of(tmp_path, world.refs()["s"], 3)
    assert (order.first_ms, order.stream_bits) == (1_999, 2)
    assert 1 << order.receipt_bits > 5_000 - 1_999
    assert order_of(tmp_path, [], 1) == Order()
    assert order_of(tmp_path, [SegmentRef(file="streams/s/none.parquet", first=0, rows=1)], 1) == Order()


def test_to_know_what_an_order_has_room_for_imports_nothing_heavy(tmp_path: Path) -> None:
    world = landed(tmp_path, 5_000)
    (one,) = world.refs()["s"]
    asked = f"""
import sys
from pathlib import Path
from reconciler.core.messages import SegmentRef
from reconciler.data.profiles.order import order_of
print(order_of(Path({str(tmp_path)!r}), [SegmentRef(file={one.file!r}, first=0, rows=1)], 1).first_ms, "pandas" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    assert told.stdout == "4999 False\n"


def test_where_an_order_does_not_fit_into_a_number_the_outcome_is_the_same(tmp_path: Path) -> None:
    world = landed(tmp_path, 0, 1 << 47, 1 << 46)
    far = {"s": tuple(SegmentRef(file=one.file, first=one.first + (1 << 45), rows=1) for one in world.refs()["s"])}
    assert order_of(tmp_path, far["s"], 1) == Order()
    assert order_of(tmp_path, world.refs()["s"], 1) != Order()
    world.build()
    assert world.seen(world.profiles)["profiles"] == world.expected()["profiles"]
    world.refs = lambda: far  # type: ignore[method-assign]
    stops = {"s": (1 << 45) + 3}
    assert world.seen(world.built(type(world.profiles)(), stops))["profiles"] == world.expected()["profiles"]


def test_no_query_draws_its_progress_into_the_log(tmp_path: Path) -> None:
    asked = "SELECT current_setting('enable_progress_bar') AS is_drawn"
    assert query(asked).to_pylist() == [{"is_drawn": False}]
    with workspace(tmp_path, memory_mb=512) as connection:
        assert connection.execute(asked).fetchall() == connection.cursor().execute(asked).fetchall() == [(False,)]


def test_a_workspace_leaves_room_for_what_the_process_holds_and_only_that_can_be_changed(tmp_path: Path) -> None:
    assert memory_budget(64) == 32_000_000, "with little, half of it is what there is"
    assert 900_000_000 < memory_budget(2_000) < 1_900_000_000
    with workspace(tmp_path, memory_mb=512) as connection:
        limit_memory(connection, 100_000_000)
        assert connection.execute("SELECT current_setting('memory_limit')").fetchall() == [("95.3 MiB",)]
        with pytest.raises(EngineError, match="locked"):
            connection.execute("SET threads = 2")


DIGITS = st.text("0123456789", max_size=24) | st.text("059", max_size=3)
NUMBERS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "-", "+", " ", "\t-"]),
        DIGITS,
        st.sampled_from(["", ".", "."]),
        DIGITS,
        st.sampled_from(["", "", "e", "E", "e+", "e-", "E-"]),
        st.integers(0, 45).map(str) | st.sampled_from(["", "1.5", "_1", "99999999999"]),
        st.sampled_from(["", " ", "\n"]),
    ),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(NUMBERS | st.text("0159.eE-+_xX \u0663", max_size=9), min_size=1, max_size=100))
def test_a_number_is_read_as_plain_python_reads_and_rounds_it(texts: list[str]) -> None:
    rows = pa.table({"t": texts})
    for kind in ("integer", "decimal(4,1)", "decimal(6,6)", "decimal(18,8)", "decimal(38,0)", "decimal(38,38)"):
        casts = [compile_expression(f"cast({one} as {kind})", {}).sql for one in ("t", f"concat('', t, '{' ' * 99}')")]
        found = query(
            f"SELECT {read_sql('t', type_of(kind))} AS c, {casts[0]} AS d, {casts[1]} AS e FROM given", given=rows
        )
        expected = [reference.typed(one, kind) for one in texts]
        for name in "cde":
            assert found.column(name).to_pylist() == expected, kind
