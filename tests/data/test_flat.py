"""Records that are all alike: the table is the one that reading them line by line makes."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.core.provider import Block
from reconciler.data import document
from reconciler.data.document import records_block
from reconciler.data.flat import flat_table

VALUES: list[st.SearchStrategy[Any]] = [
    st.text("aé:, {}", max_size=4),
    st.text(max_size=3),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.none(),
    st.integers(),
    st.none() | st.integers(0, 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers(), max_size=1),
]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    columns = draw(st.dictionaries(st.sampled_from(["a", "b", "é", "c:", ""]), st.sampled_from(VALUES), max_size=4))
    records = draw(st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=4))
    if draw(st.booleans()) and draw(st.booleans()):
        records.append(draw(st.sampled_from([{}, {"a": 1}, {"z": 1}, 1])))
    value = {"n": draw(st.none() | st.just({"a": [{"b": 1}]})), "records": records, "after": 1}
    text = json.dumps(value, ensure_ascii=False, indent=draw(st.sampled_from([None, 1])))
    return draw(
        st.sampled_from([text, text.replace(": 0", ": -0"), text.replace('": ', '" : '), text.replace('"a"', '"b"')])
    ).encode()


def carefully(body: bytes) -> Block:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "flat_table", lambda *_: None)
        return records_block(body, "records")


@settings(deadline=None)
@given(bodies())
@example(b'{"records": [{"a": ":", "a": 1, "b" : 2}]}')
@example(b'{"records": [{"a": 1, "b": 2}, {"b": 3, "a": 4}]}')
def test_the_table_is_the_one_that_reading_line_by_line_makes(body: bytes) -> None:
    found, careful = records_block(body, "records"), carefully(body)
    assert found.table.equals(careful.table, check_metadata=True)
    assert found.rejects == careful.rejects
    assert found.locate is not None
    assert careful.locate is not None
    rows = range(found.table.num_rows)
    assert list(found.locate(rows)) == list(careful.locate(rows))


def test_values_of_any_two_kinds_make_the_column_that_reading_line_by_line_makes() -> None:
    kinds = [1, -5, 0, True, False, 1.5, 2.0, "a", "", None, [], [1], {}, {"a": 1}, 2**63 - 1, 2**63, -(2**63) - 1]
    for pair in product(kinds, repeat=2):
        value = {"records": [{"a": one} for one in pair]}
        body = json.dumps(value).encode()
        assert records_block(body, "records").table.equals(carefully(body).table, check_metadata=True), pair
        is_flat = set(map(type, pair)) in ({int}, {str}, {bool}, {type(None)}) and not {2**63, -(2**63) - 1} & {
            one for one in pair if isinstance(one, int)
        }
        assert (flat_table(body, value, value["records"]) is not None) == is_flat, pair


def test_pages_of_records_that_are_alike_are_not_read_line_by_line() -> None:
    value = {"records": [{"id": n, "email": f"p{n}@x.org", "paid": n > 1, "note": None} for n in range(3)], "next": 2}
    assert flat_table(json.dumps(value).encode(), value, value["records"]) is not None  # type: ignore[arg-type]
    assert flat_table(json.dumps(value, indent=2).encode(), value, value["records"]) is not None  # type: ignore[arg-type]
