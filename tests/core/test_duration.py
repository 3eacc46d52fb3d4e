"""How durations are written and read."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.duration import MAX_MS, PATTERN, BadDuration, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("250ms", 250),
        ("1s", 1_000),
        ("30m", 1_800_000),
        ("1h30m", 5_400_000),
        ("1d", 86_400_000),
        ("2w1d3h4m5s6ms", 2 * 604_800_000 + 86_400_000 + 3 * 3_600_000 + 4 * 60_000 + 5_006),
        ("90m", 5_400_000),
        ("0s", 0),
        ("007s", 7_000),
        ("3660d", MAX_MS),
    ],
)
def test_a_duration_is_integers_with_units_joined(text: str, ms: int) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a duration such as 30s, 15m, 1h30m or 7d"),
        ("5", "a duration with a unit (w, d, h, m, s or ms), such as 30s, 15m, 1h30m or 7d"),
        ("30m1h", "a duration whose units stand from large to small, each once, such as 30s, 15m, 1h30m or 7d"),
        ("1h1h", "a duration whose units stand from large to small, each once, such as 30s, 15m, 1h30m or 7d"),
        ("3661d", "a duration of at most 3660d"),
        ("999999999999999w", "a duration of at most 3660d"),
    ],
)
def test_a_refusal_says_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(BadDuration) as refused:
        parse_duration(text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "text", ["1.5h", "-1h", "+1h", "1 h", " 1h", "1h ", "1H", "h", "1y", "1h30", "١h", "1h\n", "1e3s"]
)
def test_what_is_nearly_a_duration_is_refused(text: str) -> None:
    with pytest.raises(BadDuration):
        parse_duration(text)


@given(st.integers(0, MAX_MS))
def test_writing_a_duration_and_reading_it_gives_the_same(ms: int) -> None:
    assert parse_duration(format_duration(ms)) == ms


@given(st.text(max_size=12) | st.from_regex(r"[0-9]{1,3}(ms|[wdhms])[0-9]{0,3}(ms|[wdhms])?", fullmatch=True))
def test_any_text_is_a_duration_or_refused_and_the_schema_pattern_knows_every_duration(text: str) -> None:
    try:
        ms = parse_duration(text)
    except BadDuration:
        return
    assert 0 <= ms <= MAX_MS
    assert re.search(PATTERN, text)
