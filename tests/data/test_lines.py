"""Reading NDJSON: exact values, a type only where nothing is lost, and every line accounted for."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.data.document import pluck, records_block
from reconciler.data.jsontext import plain, plain_type
from reconciler.data.lines import parse_lines
from reconciler.data.render import json_messages
from reconciler.data.tokens import PIECE_BYTES
from reconciler.errors import Fatal, Retriable

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.sampled_from(["a", "A", "b", "é\n", ""]) | st.text(max_size=4), VALUES, max_size=5)


def exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@given(objects=st.lists(OBJECTS.filter(encodable), max_size=6), spaced=st.booleans(), escaped=st.booleans())
@settings(max_examples=70, deadline=None)
def test_messages_come_out_as_they_went_in(objects: list[dict[str, Any]], spaced: bool, escaped: bool) -> None:
    separators = (" , ", " :\t") if spaced else (",", ":")
    lines = [json.dumps(one, separators=separators, ensure_ascii=escaped) for one in objects]
    parsed = parse_lines("\n".join(lines).encode(), 1)
    assert parsed.rejects == ()
    if objects:
        texts = json_messages(parsed.table, parsed.table.column_names).to_pylist()
        assert [exact(text) for text in texts] == [exact(line) for line in lines]


@given(noise=st.lists(st.text(alphabet='{}[]",:\\ann1ulltrueNI-+.e ', max_size=12), max_size=6))
@settings(max_examples=150, deadline=None)
def test_a_line_is_good_exactly_where_python_reads_an_object_strictly(noise: list[str]) -> None:
    parsed = parse_lines("\n".join(noise).encode(), 1)
    bad = {reject.line for reject in parsed.rejects}
    for number, line in enumerate(noise, start=1):
        if line.strip(" \t\r\n"):
            assert (number not in bad) == strictly_good(line), line


def strictly_good(line: str) -> bool:
    def refuse(_: str) -> None:
        raise ValueError

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {"pairs": pairs}

    try:
        found = json.loads(line, parse_constant=refuse, object_pairs_hook=unique)
    except ValueError:
        return False
    if not isinstance(found, dict):
        return False
    keys = [key for key, _ in found["pairs"]]
    return len(keys) == len(set(keys)) and encodable(found)


@pytest.mark.parametrize(
    ("values", "kind", "inner"),
    [
        (["1", "-5"], pa.int64(), None),
        (["0.5", "1e+16"], pa.float64(), None),
        (["true", "false"], pa.bool_(), None),
        (['"2013-01-01"', '"\\u00e9"'], pa.string(), None),
        (["1", "null"], pa.string(), pa.int64()),
        (["1.10", "2.5"], pa.string(), pa.float64()),
        (["1", "2.5"], pa.string(), pa.float64()),
        (["9223372036854775808", "1"], pa.string(), None),
        (["0.1234567890123456789"], pa.string(), None),
        (["1", '"1"'], pa.string(), None),
        (["[1]", "{}"], pa.string(), None),
        (["1e999"], pa.string(), None),
    ],
)
def test_a_column_has_a_type_only_where_writing_it_gives_what_came(
    values: list[str], kind: pa.DataType, inner: pa.DataType | None
) -> None:
    table = parse_lines("\n".join(f'{{"a":{value}}}' for value in values).encode(), 1).table
    field = table.schema.field("a")
    assert field.type == kind
    assert plain_type(field) == (inner if table.column("a").to_pylist() == values else kind)
    if inner is not None:
        expected = [None if value == "null" else exact(value) for value in values]
        assert [
            None if one is None else Decimal(repr(one)) for one in plain(table.column("a"), field).to_pylist()
        ] == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1]", "not a JSON object"),
        (b"{", "not JSON: Expecting property name enclosed in double quotes at column 2"),
        (b'{"a":"x', "not JSON: Unterminated string starting at column 6"),
        (b'{"a":NaN}', "not JSON: NaN is not a JSON value"),
        (b'{"a":1,}', "not JSON: Expecting property name enclosed in double quotes at column 8"),
        (b'{"a":1,"a":2}', "the key 'a' stands there twice"),
        (b'{"a":"\xff"}', "not valid text in the file's encoding"),
        (b'{"a":"\\ud800"}', "not JSON: a string holds half of a surrogate pair"),
        (b'{"a":' + b"[" * 130 + b"]" * 130 + b"}", "nested deeper than 128"),
        (b'{"a":' + b"[" * 100_000 + b"}", "nested deeper than 128"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_reason(line: bytes, reason: str) -> None:
    parsed = parse_lines(b'{"a":1}\n\n' + line + b'\n{"a":2}\n', 10)
    assert [(one.line, one.reason) for one in parsed.rejects] == [(12, reason)]
    assert parsed.table.column("a").to_pylist() == [1, 2]
    assert parsed.locate([1]) == [(13, '{"a":2}')]


def test_keys_that_are_data_are_fatal() -> None:
    line = json.dumps({f"key-{number}": 1 for number in range(2_001)}).encode()
    with pytest.raises(Fatal, match="more than 2000 different keys in one block; keys that are data cannot be columns"):
        parse_lines(line, 1)


def test_more_cells_than_memory_holds_are_fatal() -> None:
    wide = json.dumps({f"key-{number}": 1 for number in range(2_000)})
    with pytest.raises(Fatal, match="2000 different keys in 25001 lines; keys that are data cannot be columns"):
        parse_lines((wide + '\n{"key-0":1}' * 25_000).encode(), 1)


def test_lines_behind_the_first_piece_are_counted_on() -> None:
    count = 3 * PIECE_BYTES // 20
    parsed = parse_lines(b"\n".join(b'{"a": %d, "b": "xyz"}' % number for number in range(count)), 1)
    assert parsed.table.column("a").to_pylist() == list(range(count))


def test_records_are_found_at_their_path_with_their_exact_text() -> None:
    body = b' {"page": {"items": [\n {"id": 1.10,\n "t": "a\\n[b"}, {"id": 2}, 5, {}]}, "next": "x"}'
    block = records_block(body, "page.items")
    texts = json_messages(block.table, block.table.column_names).to_pylist()
    assert texts == ['{"id":1.10,"t":"a\\n[b"}', '{"id":2}', "{}"]
    assert [(one.line, one.reason) for one in block.rejects] == [(3, "not a JSON object")]
    assert pluck(body, "next") == "x"
    assert pluck(body, "page.items.1.id") == 2
    assert pluck(body, "page.none.x") is None
    with pytest.raises(Retriable, match=r"^the answer has a number at 'next' that is too large$"):
        pluck(b'{"next": 1e400}', "next")


def test_a_document_may_be_the_array_or_one_object() -> None:
    assert records_block(b'[{"a":1},{"a":2}]', "").table.num_rows == 2
    assert records_block(b'\xef\xbb\xbf{"a":1}', "").table.num_rows == 1
    assert records_block(b"[]", "").table.num_rows == 0


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1,]", b"[NaN]", b"[" * 100_000, b"\xff\xfe\xfd"])
def test_a_body_that_is_not_json_is_tried_again(body: bytes) -> None:
    with pytest.raises(Retriable, match=r"^the answer is not JSON: "):
        records_block(body, "")


@pytest.mark.parametrize(
    ("body", "path", "message"),
    [
        (b'{"a":1}', "a", "records: 'a' of the answer is no array"),
        (b'{"a":1}', "b.c", "records: the answer has no 'b.c'"),
        (b"5", "", "records: the answer is no array"),
    ],
)
def test_a_path_that_leads_to_no_array_is_fatal(body: bytes, path: str, message: str) -> None:
    with pytest.raises(Fatal) as caught:
        records_block(body, path)
    assert str(caught.value) == message
