"""A body of JSON as messages: what is accepted is what an import of the same lines takes, and lands as it came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.data import lines as imports
from reconciler.data.lines import parse_lines
from reconciler.web import limits
from reconciler.web.answers import Refused
from reconciler.web.messages import carefully, messages_of
from reconciler.web.quick import quickly

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.text(max_size=8), VALUES, max_size=4)
INDENTS = st.none() | st.integers(0, 2)


def refused(body: bytes) -> Refused:
    with pytest.raises(Refused) as caught:
        messages_of(body)
    assert caught.value.status == 422
    return caught.value


def rows(body: bytes) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in refused(body).rows]


@given(st.lists(OBJECTS, min_size=1, max_size=5), INDENTS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_an_array_and_its_lines_are_the_same_messages(objects: list[Any], indent: int | None, ascii: bool) -> None:
    array = json.dumps(objects, indent=indent, ensure_ascii=ascii).encode()
    lines = "\n".join(json.dumps(one, ensure_ascii=ascii) for one in objects).encode()
    assert [json.loads(one) for one in messages_of(array)[1].split(b"\n") if one] == objects
    assert [json.loads(one) for one in messages_of(lines)[1].split(b"\n") if one] == objects
    assert messages_of(array)[0] == messages_of(lines)[0] == len(objects)
    if len(objects) == 1:
        one = json.dumps(objects[0], indent=indent).encode()
        assert json.loads(messages_of(one)[1]) == objects[0]


@given(st.lists(OBJECTS, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
@example([{"a": "\x00"}])
@example([{"a": 10**400}])
@example([{"": 1, "\x00": 2}])
def test_what_is_accepted_lands_without_a_reject(objects: list[Any]) -> None:
    count, lines = messages_of(json.dumps(objects).encode())
    parsed = parse_lines(lines, 1)
    assert (parsed.table.num_rows, parsed.rejects) == (count, ())


TEXTS = st.sampled_from(
    [
        '{"a": 1}', "{}", '{"a": 1,}', "[1]", "1", "null", '"x"', '{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}', '{"a" 1}',
        '{"a": 1, "a": 2}', '{"a": {"b": 1, "b": 2}}', '{"a": "\\ud800"}', '{"a": "\\ud83d\\ude00"}', '{"a": 1} x', "", "  ",
        '{"a": ' + "[" * 127 + "]" * 127 + "}", '{"a": ' + "[" * 128 + "]" * 128 + "}", "{" * 3000, '{"a": 01}',
        '{"a": "\t"}', '{"a": 1e999}', '\t{"a": 1} \r', "{'a': 1}", '{"a": tru}', '{"a": ' + "9" * 5000 + "}",
    ]
)  # fmt: skip


@given(st.lists(TEXTS, min_size=2, max_size=5))
@settings(max_examples=150, deadline=None)
@example(["", '{"a": 1}'])
@example(['{"a": ' + "9" * 5000 + "}", "{}"])
def test_a_line_is_refused_where_an_import_rejects_it(texts: list[str]) -> None:
    body = "\n".join(texts).encode()
    bad = {reject.line for reject in parse_lines(body, 1).rejects}
    bad |= {number for number, text in enumerate(texts, start=1) if "9" * 4301 in text}  # stricter: Python's own limit
    if not any(text.strip() for text in texts) or body.lstrip().startswith(b"["):
        return  # no message, or an array
    if bad:
        assert {line for line, _ in rows(body)} == bad
    else:
        assert messages_of(body)[0] == sum(bool(text.strip()) for text in texts)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"a": 1}\n{"a": }\n', [(2, "not JSON: Expecting value at column 7")]),
        (b'{"a": "x\n', [(1, "not JSON: Invalid control character at column 9")]),
        (b'{"a": "x', [(1, "not JSON: Unterminated string starting at column 7")]),
        (b'{\n "a": 1,\n "b" 2\n}', [(3, "not JSON: Expecting ':' delimiter at column 6")]),
        (b'[\n{"a": 1},\n\n7]', [(4, "not a JSON object")]),
        (b'[{"a": 1}\n {"a": 2}]', [(2, "not JSON: expected ',' or ']' after an element of the array")]),
        (b'[{"a": 1}]\n[]', [(1, "not JSON: something follows the array")]),
        (b'[{"a": 1},\n{"b": NaN}]', [(2, "not JSON: NaN is not a JSON value")]),
        (b'{"a": 1} {"a": 2}\n{"a": 3}', [(1, "not JSON: something follows the object")]),
        (
            b'{"a": 1}\n{"a":\n2}',
            [(2, "not JSON: it goes on in the next line"), (3, "not JSON: something follows the object")],
        ),
        (b'{"a": 1}\n\xff', [(2, "not valid text in UTF-8")]),
        (b'{"a": 1, "a": 2}', [(1, "the key 'a' stands there twice")]),
        (b'"text"', [(1, "not a JSON object")]),
        (b'{"a": "\\ud800"}', [(1, "not JSON: a string holds half of a surrogate pair")]),
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", [(1, "nested deeper than 128")]),
        (b'{"a": ' + b"[" * 100_000, [(1, "nested deeper than 128")]),
    ],
)
def test_a_malformed_message_is_named_by_its_line(body: bytes, found: list[tuple[int, str]]) -> None:
    assert rows(body) == found


def test_the_sentence_names_the_first_of_them() -> None:
    assert str(refused(b"1")) == "Nothing was accepted: a message is malformed (line 1: not a JSON object)."
    assert str(refused(b"1\n2")).startswith("Nothing was accepted: 2 messages are malformed (line 1: ")


@pytest.mark.parametrize("body", [b"", b" \n\t ", b"\xef\xbb\xbf", b"[]", b" [ ] "])
def test_a_body_without_a_message_is_refused(body: bytes) -> None:
    assert str(refused(body)).startswith("The body holds no message")


def test_a_byte_order_mark_and_the_other_line_ends_do_not_matter() -> None:
    assert messages_of(b'\xef\xbb\xbf{"a": 1}\r\n\r\n{"a": 2}\r\n') == (2, b'{"a": 1}\n{"a": 2}\n')


def test_numbers_and_strings_stay_as_they_came() -> None:
    body = b'[{"n": 1.10, "e": 1E2, "s": "\\u0041", "big": 123456789012345678901234567890}]'
    assert messages_of(body) == (1, body[1:-1] + b"\n")


def test_more_keys_than_columns_may_be_are_refused() -> None:
    many = json.dumps({f"k{number}": 1 for number in range(limits.MAX_KEYS + 1)}).encode()
    assert (
        str(refused(many)) == "The messages have more than 2,000 different keys; keys that are data cannot be columns."
    )
    wide = json.dumps({f"k{number}": 1 for number in range(limits.MAX_KEYS)}) + "\n{}" * (
        limits.MAX_CELLS // limits.MAX_KEYS
    )
    assert str(refused(wide.encode())) == "2,000 different keys in 25,001 messages are too many for one request."


def test_the_limits_are_those_of_an_import() -> None:
    assert (limits.MAX_KEYS, limits.MAX_DEPTH, limits.MAX_CELLS) == (
        imports.MAX_KEYS,
        imports.MAX_DEPTH,
        imports.MAX_CELLS,
    )


#: Messages and what is none, with braces where they mislead.
PIECES = [
    "{}", '{"a": 1.50}', '{"a": "}{"}', '{"a": "{}"}', '{"a": "}"}', '"{}"', '"{"', "1", '{"a": {"b": []}}', '{"a": 1, "a": 2}', "[{}]",
    '{"a": [1, "x"]}', '{"a"}', '{"a": NaN}', "", '{"a": %s}' % ("[" * 200 + "]" * 200), '{"a": "%s"}' % ("[" * 300),
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=3))
@settings(max_examples=60, deadline=None)
@example(['"{}"'])
@example(['{"a": "{}"}', '"{"'])
@example(['{"a": 1}, {"b": 2}'])
def test_an_array_in_one_line_is_taken_or_refused_as_its_lines_are(pieces: list[str]) -> None:
    def outcome(body: str) -> tuple[int, bytes] | None:
        try:
            return messages_of(body.encode())
        except Refused:
            return None

    lines = outcome("\n".join(["{}", *(piece or "null" for piece in pieces)]))
    array = outcome(f"[{', '.join(['{}', *pieces])}]")
    if any("}, {" in piece for piece in pieces):
        assert array == (3, b'{}\n{"a": 1}\n{"b": 2}\n')
    else:
        assert array == lines
    assert outcome(f"[{', '.join(['{}', *pieces])}] x") is None
    assert outcome(f"[{', '.join(['{}', *pieces])}") is None


#: What comes between messages, and messages: most of them alike to one who does not look closely.
SEPARATORS = [", ", ",", " ,\n", "\n", "", "\r\n", "},{", ",,", "\t"]
ODD_PIECES = [
    *PIECES, '{"a" :1,"a":2}', '{"a": ":", "a": 2}', '{"a":"\\u0022:","b":1,"b":2}', '{"\\u0061":1,"a":2}', '{"a":"\\":"}', '{"a":[{},{}]}',
    '{"a":[{}, {}]}', '{"a": "}, {"}', '{"a":{"b":{"c":{"d":1}}}}', '{"a":\n1}', '{"a": "x : y"}', '{"a": "\\ud83d"}', '{"a": "\\u00e9é"}',
    '{"a": %s}' % ("9" * 4301), '{"a": "%s"}' % ("9" * 4301), '{"a": 1e999}', '{"a": -0}', "[", "]", '{"a":{"x":1,"x":2}}', "{", "}",
]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(ODD_PIECES), st.sampled_from(SEPARATORS)), max_size=4), st.booleans())
@settings(max_examples=600, deadline=None)
@example([('{"a":[{}, {}]}', ","), ("{}", "")], True)
@example([('{"a":[{},{}]}', ", "), ("{}", "")], True)
def test_what_is_read_quickly_is_what_is_read_carefully(pieces: list[tuple[str, str]], is_array: bool) -> None:
    text = "".join(one + after for one, after in pieces)
    body = (f"[{text}]" if is_array else text).encode()
    found = quickly(body)
    if found is not None:
        texts, _ = found
        assert carefully(body) == (len(texts), b"\n".join(texts) + b"\n") == messages_of(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "b": ["x", {"c": null}]}',
        b'[{"a": 1}, {"a": "x: {y}"}]',
        b'[{"a": {"b": {"c": 1}}},{"a": {}}]',
        b'{"a": 1}\n{"a": "\\u00e9:"}\r\n\n',
        b'[\n {"a": ":)"},\n {"a": "b : c"}\n]',
    ],
)
def test_usual_bodies_raise_no_question(body: bytes) -> None:
    assert quickly(body) is not None
