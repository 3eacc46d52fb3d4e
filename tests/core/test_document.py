"""The one text of a value, from which digests are made: whoever writes it."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core.audit import FIELDS, Deed, Entry, Head, chained, entry_of, hash_of, line_of
from reconciler.core.document import canonical

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda one: st.lists(one) | st.dictionaries(st.text(), one),
)


class Word(StrEnum):
    ONE = "one"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def entry_fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in (*FIELDS, "hash")}


def as_ever(value: Any) -> str:
    """As it was written since there are digests, which stand in every record."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@given(VALUES)
@example({"\u20ac": 1, "\U0001f600": 2, "\ufb33": 3, "\x7f": 4, "\x1f": '\x00\b\t\n\f\r"\\/\u2028'})
@example([1e16, 1e-5, 0.1, 2.0, -0.0, 5e-324, 10**15 + 0.5])
@example({"a": 2**63, "b": -(2**63), "c": 2**64 - 1, "d": 2**64, "e": -(2**63) - 1})
@example({"half of a pair": "\ud800", "\udfff": 1})
@example({1: "a key that is a number", None: 2})
@example([(1, "a tuple"), Word.ONE, {"key": Word.ONE}])
def test_a_canonical_text_is_that_of_the_standard_library_s_encoder(value: Any) -> None:
    try:
        expected = as_ever(value)
    except TypeError:  # keys that cannot be sorted
        with pytest.raises(TypeError):
            canonical(value)
    else:
        assert canonical(value) == expected


def test_depth_is_no_bound_of_its_own() -> None:
    value: Any = 1
    for _ in range(400):
        value = [value]
    assert canonical(value) == as_ever(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_what_is_no_number_of_json_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        canonical(value)


@given(st.text() | st.just("\ud800"), st.integers(-(2**63), 2**63 - 1))
def test_an_entry_of_the_audit_log_is_written_and_hashed_as_ever(text: str, time_ms: int) -> None:
    (values,) = chained(Head(0, "genesis"), [Deed(time_ms=time_ms, action="create", name=text, reason=text)])
    entry = entry_of(values)
    written = json.dumps(entry_fields(entry), separators=(",", ":"), ensure_ascii=False)
    assert line_of(entry_fields(entry)) == f"{written}\n".encode("utf-8", "surrogatepass")
    assert hash_of(entry) == entry.hash
    assert entry.hash == sha256(json.dumps(values[:-1], separators=(",", ":"), ensure_ascii=False))
