"""Texts from outside, as messages show them."""

from __future__ import annotations

import pytest

from reconciler.core.issue import MAX_SEARCHED, MAX_SHOWN, quoted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ada:pa:ss@api.example.com/v1", "'https://***@api.example.com/v1'"),
        ("https://token@api.example.com", "'https://***@api.example.com'"),
        ("https://api.example.com/?page=2&api_key=abc#top", "'https://api.example.com/?page=2&api_key=***#top'"),
        ("?a?token=abc&b=1", "'?a?token=***&b=1'"),
        ("see https://a.example/ and b@c.example", "'see https://a.example/ and b@c.example'"),
        ("a\nb\x1b[31m", "'a\\nb\\x1b[31m'"),
    ],
)
def test_what_may_be_a_password_is_not_shown_nor_what_cannot_be_printed(text: str, shown: str) -> None:
    assert quoted(text) == shown


@pytest.mark.parametrize("middle", ["?", "&", "://", "://a:", ":", "?key", "@", "=", "a"])
def test_millions_of_characters_take_no_longer_than_those_that_are_searched(middle: str) -> None:
    assert len(quoted("https://" + middle * 4_000_000)) <= 2 + MAX_SHOWN


def test_a_password_that_ends_beyond_what_is_searched_is_not_shown() -> None:
    assert quoted(f"https://ada:{'p' * MAX_SEARCHED}@api.example.com") == "'https://***@'"
