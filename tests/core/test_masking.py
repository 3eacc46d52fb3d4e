from __future__ import annotations

import pytest

from reconciler.core.masking import masked


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("jane@example.org", "j***@e***.org"),
        ("j@x.io", "j***@x***.io"),
        ("4711-abc", "4***c"),
        ("abc", "***"),
        ("", "***"),
        ("@example.org", "@***g"),
        ("a@b", "***"),
    ],
)
def test_an_identifier_shows_enough_to_be_recognised_and_no_more(value: str, shown: str) -> None:
    assert masked(value) == shown
