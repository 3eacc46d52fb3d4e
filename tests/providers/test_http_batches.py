"""Batches: every message in one, in order, within both limits; keys that stand for one thing only."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.providers.http import batches
from reconciler.providers.http.batches import halves, key_of, make

LIMIT = 20
TEXTS = st.lists(st.text("aé", min_size=1, max_size=30), max_size=12)


@given(lists=st.lists(st.tuples(st.integers(0, 2), TEXTS), max_size=5), size=st.integers(1, 6))
def test_groups_hold_every_message_in_order_and_within_limits(lists: list[tuple[int, list[str]]], size: int) -> None:
    given_lists, position = [], 0
    for gap, texts in lists:
        position += gap
        given_lists.append((position, texts))
        position += len(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "MAX_BATCH_BYTES", LIMIT)
        groups = list(batches._grouped(given_lists, size))
    expected = [(first + number, text) for first, texts in given_lists for number, text in enumerate(texts)]
    assert [(start + number, text) for start, texts in groups for number, text in enumerate(texts)] == expected
    for _, texts in groups:
        assert 1 <= len(texts) <= size
        assert len(texts) == 1 or sum(len(text.encode()) for text in texts) <= LIMIT
    for (start, texts), (following, more) in itertools.pairwise(groups):
        full = len(texts) == size or len("".join([*texts, more[0]]).encode()) > LIMIT
        assert full or following != start + len(texts)


@given(st.integers(2, 40), st.integers(0, 99), st.integers(0, 5))
def test_the_halves_of_a_batch_are_the_batch_under_keys_of_their_own(count: int, first: int, gap: int) -> None:
    whole = make(7, "j", "s", first, first + gap, [f'{{"n":{number}}}' for number in range(count)])
    left, right = halves(whole, 8)
    assert left.texts + right.texts == whole.texts
    assert (left.intent.first, left.intent.last + 1, right.intent.last) == (
        whole.intent.first, right.intent.first, whole.intent.last,
    )  # fmt: skip
    assert (left.intent.detail["begin"], right.intent.detail["begin"]) == (first, right.intent.first)
    assert {left.intent.detail["parent"], right.intent.detail["parent"]} == {whole.intent.key}
    assert len({whole.intent.key, left.intent.key, right.intent.key}) == 3


def test_a_key_stands_for_one_thing_only() -> None:
    one = (1, "job", "stream", 0, 4, "digest")
    others = [
        (2, "job", "stream", 0, 4, "digest"),
        (1, "other", "stream", 0, 4, "digest"),
        (1, "job", "other", 0, 4, "digest"),
        (1, "job", "stream", 1, 4, "digest"),
        (1, "job", "stream", 0, 5, "digest"),
        (1, "job", "stream", 0, 4, "other"),
        (1, "jobs", "tream", 0, 4, "digest"),
    ]
    assert len({key_of(*one), *(key_of(*other) for other in others)}) == 8
    assert key_of(*one) == key_of(*one)


def test_a_body_quotes_names_and_keeps_texts() -> None:
    body = batches.body_of('a"b', "straße", ['{"x":"é"}', '{"y":null}'])
    assert body == '{"job":"a\\"b","stream":"straße","messages":[{"x":"é"},{"y":null}]}'.encode()
