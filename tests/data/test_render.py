"""Messages as JSON: what Arrow puts together is what DuckDB writes, byte for byte."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.data import render
from reconciler.data.jsontext import ABSENT, json_field
from reconciler.data.render import json_messages

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
#: A field without its name, and what its values are.
KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (pa.field("", pa.string()), TEXTS),
    (pa.field("", pa.string()), st.text("ab é", max_size=4)),
    (pa.field("", pa.string(), metadata={ABSENT: b"1"}), st.text("ab", max_size=4)),
    (json_field(""), st.sampled_from(["null", "[1,2]", '{"a":"\\u00e9"}', "1e400", '"é"'])),
    (pa.field("", pa.bool_()), st.booleans()),
    (pa.field("", pa.int64(), metadata={ABSENT: b"1"}), st.integers(-(2**63), 2**63 - 1)),
    (pa.field("", pa.int8()), st.integers(-128, 127)),
    (pa.field("", pa.uint64()), st.integers(0, 2**64 - 1)),
    (pa.field("", pa.float64()), st.floats()),
    (pa.field("", pa.decimal128(12, 2)), st.decimals(-(10**9), 10**9, places=2)),
    (pa.field("", pa.timestamp("us", "UTC")), st.integers(-(10**15), 10**16)),
    (pa.field("", pa.list_(pa.string())), st.lists(TEXTS, max_size=2)),
]


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(0, 5))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))
    names = draw(st.lists(TEXTS, min_size=len(kinds), max_size=len(kinds)))
    columns, fields = [], []
    for name, (field, values) in zip(names, kinds, strict=True):
        column = draw(st.lists(values | st.none(), min_size=rows, max_size=rows))
        columns.append(pa.array(column, field.type))
        fields.append(field.with_name(name))
    table = pa.table(columns, schema=pa.schema(fields))
    first = draw(st.integers(0, rows))
    return table.slice(first, draw(st.integers(0, rows - first)))


@settings(deadline=None)
@given(tables())
def test_a_message_reads_the_same_whoever_puts_it_together(table: pa.Table) -> None:
    names = table.column_names
    keys = [f",{json.dumps(name, ensure_ascii=False)}:" for name in names]
    assert json_messages(table, names).to_pylist() == render._messages_sql(table, keys).to_pylist()


def test_texts_that_need_no_escapes_are_put_together_without_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "query", None)
    schema = pa.schema(
        [json_field("a"), pa.field("b", pa.string()), pa.field("c", pa.int64()), json_field("d", "int64")]
    )
    table = pa.table([[None, "[1]"], ["x", None], [1, None], ["2", None]], schema=schema)
    assert json_messages(table, table.column_names).to_pylist() == [
        '{"b":"x","c":1,"d":2}',
        '{"a":[1],"b":null,"c":null}',
    ]
    assert json_messages(table.slice(1), table.column_names).to_pylist() == ['{"a":[1],"b":null,"c":null}']


def test_what_would_fill_an_array_of_texts_is_left_to_duckdb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "MAX_JOINED_BYTES", 100)
    monkeypatch.setattr(render, "_joined", None)
    table = pa.table({"a": ["x" * 100], "b": [Decimal("1.20")]})
    assert json_messages(table, ["a", "b"]).to_pylist() == ['{"a":"' + "x" * 100 + '","b":1.20}']


def test_rows_without_columns_are_empty_objects() -> None:
    table = pa.table({"a": [1, 2]}).select([])
    assert (table.num_rows, json_messages(table, []).to_pylist()) == (2, ["{}", "{}"])
