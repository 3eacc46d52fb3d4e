"""An array of any length, read as lines: the same messages, the same refusals, whatever the pieces are."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.data import elements
from reconciler.data.content import Content
from reconciler.data.elements import Elements, array_lines, begins_array
from reconciler.errors import Fatal


def lines(body: bytes, piece: int = 1 << 20) -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elements, "PIECE_BYTES", piece)
        found = Elements(Content(io.BytesIO(body), compression="none", encoding="utf-8"))
        read = b""
        while not found.at_end():
            read += found.read(7)
        return read


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('",[]{}\\\n\t', max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(st.lists(VALUES, max_size=5), st.sampled_from([None, 1, "\t"]), st.integers(1, 9), st.booleans())
@example(["\\", '"', "\\\\", "],[", "é\n"], None, 1, True)
def test_each_element_is_a_line_whatever_the_pieces_are(
    values: list[object], indent: str | int | None, piece: int, is_ascii: bool
) -> None:
    body = b"\xef\xbb\xbf \r\n" + json.dumps(values, indent=indent, ensure_ascii=is_ascii).encode() + b" \n"
    found = lines(body, piece)
    assert [json.loads(line) for line in found.split(b"\n")[:-1]] == values
    assert found == lines(body)


@pytest.mark.parametrize("piece", [1, 2, 1 << 20])
@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b"[]", b""),
        (b" [ \n ] ", b"   "),
        (b"[\x0b,1]", b"\x0b\n1\n"),
        (b"[,]", b",\n,\n"),
        (b"[1,]", b"1\n,\n"),
        (b"[1, ,2]", b"1\n ,\n2\n"),
        (b"[1 2]", b"1 2\n"),
        (b'["a\nb"]', b'"a\x01b"\n'),
        (b'["a\\\nb", 1]', b'"a\\\x01b"\n 1\n'),
        (b'[{"a":\r\n[1,\n2]}\n,\n3]', b'{"a":  [1, 2]} \n 3\n'),
    ],
)
def test_what_is_no_element_stays_what_no_line_can_be(body: bytes, read: bytes, piece: int) -> None:
    assert lines(body, piece) == read


@pytest.mark.parametrize("piece", [1, 2, 1 << 20])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[", "element 1: not JSON: the array does not end, a quote or a brace may be left open"),
        (b"[1, 2", "element 2: not JSON: the array does not end, a quote or a brace may be left open"),
        (b'[1, {"a": "}]', "element 2: not JSON: the array does not end, a quote or a brace may be left open"),
        (b"[1, 2}]", "element 2: not JSON: a brace closes the array"),
        (b"[1]\n[2]", "something follows the array"),
        (b"[1]\\", "something follows the array"),
    ],
)
def test_a_broken_array_names_the_element(body: bytes, message: str, piece: int) -> None:
    with pytest.raises(Fatal) as caught:
        lines(body, piece)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("body", "is_one"),
    [
        (b" " * 200_000 + b"[", True),
        (b" " * 200_000, False),
        (b"", False),
        (b" \n", False),
        (b"\xef\xbb\xbf\r [", True),
        (b"{", False),
    ],
)
def test_an_array_is_known_by_its_first_character(body: bytes, is_one: bool) -> None:
    assert begins_array(Content(io.BytesIO(body), compression="none", encoding="utf-8")) is is_one


KEYS = st.sampled_from(["a", "b", "é", '"', "a.b", ""])
DOCUMENTS = st.recursive(
    st.lists(VALUES, max_size=4), lambda inner: st.lists(st.tuples(KEYS, inner | VALUES), max_size=4)
)


def document(value: object, ascii_only: bool, space: str) -> str:
    """As JSON; an object is a list of pairs, whose keys may stand there twice."""
    if isinstance(value, list) and value and all(isinstance(one, tuple) for one in value):
        inner = [
            f"{json.dumps(key, ensure_ascii=ascii_only)}{space}:{space}{document(one, ascii_only, space)}"
            for key, one in value
        ]
        return "{" + space + f"{space},{space}".join(inner) + space + "}"
    return json.dumps(value, ensure_ascii=ascii_only, indent=1 if space else None)


def arrays(value: object, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], list[object]]:
    """Every array that keys lead to."""
    if isinstance(value, dict):
        return {at: one for key, inner in value.items() for at, one in arrays(inner, (*path, key)).items()}
    return {path: value} if isinstance(value, list) else {}


@given(DOCUMENTS, st.booleans(), st.sampled_from(["", " ", "\n\t "]))
@example([("a", [1]), ("a", [[2], {"a": [3]}]), ("b", "a")], True, "")
def test_the_elements_of_every_array_that_keys_lead_to_are_lines(value: object, ascii_only: bool, space: str) -> None:
    text = space + document(value, ascii_only, space) + space
    for path, array in arrays(json.loads(text)).items():
        assert list(map(json.loads, array_lines(text.encode(), path).splitlines())) == array
