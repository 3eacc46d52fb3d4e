"""One line of a log: it is one line, it reads back, and it holds nothing that is not seen as what it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.event import FIELDS, VALUE_LIMIT, escaped, logfmt, parse_logfmt
from reconciler.core.state import EventName

T0 = 1_795_255_200_000  # 2026-11-21T10:00:00Z


def test_a_line_is_the_designs() -> None:
    fields = {"msg": "landed", "omitted": 1, "removed": 3, "added": 12, "rows": 1000, "unit": 7, "run": 42}
    assert logfmt(T0, EventName.SYNCED, fields) == (
        'time=2026-11-21T10:00:00.000Z event=Synced run=42 unit=7 rows=1000 added=12 removed=3 omitted=1 msg="landed"'
    )


def test_fields_that_are_none_or_empty_are_left_out_and_a_zero_is_not() -> None:
    line = logfmt(T0, EventName.STARTED, {"run": 1, "rows": 0, "unit": None, "msg": "", "author": ""})
    assert line == "time=2026-11-21T10:00:00.000Z event=Started run=1 rows=0"


def test_commit_and_author_follow_the_message_and_other_fields_come_last_sorted() -> None:
    fields = {"z": "1", "author": "Ada L <ada@example.org>", "b": "2", "commit": "9f2c", "msg": "m"}
    assert logfmt(T0, EventName.UPDATED, fields) == (
        'time=2026-11-21T10:00:00.000Z event=Updated msg="m" commit=9f2c author="Ada L <ada@example.org>" b=2 z=1'
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('say "hi"', r'"say \"hi\""'),
        ("a\nevent=Forged", r'"a\nevent=Forged"'),
        ("a\r\tb\\", r'"a\r\tb\\"'),
        ("\x1b[31mred\x1b[0m", r'"\u001b[31mred\u001b[0m"'),
        ("\x00\x7f\x85", r'"\u0000\u007f\u0085"'),
        ("line\u2028para\u2029", r'"line\u2028para\u2029"'),
        ("rtl\u202eevil\u200b", r'"rtl\u202eevil\u200b"'),
        ("\ud800", r'"\ud800"'),
        ("tag\U000e0041", r'"tag\U000e0041"'),
        ("Zoë ✓ 日本", '"Zoë ✓ 日本"'),
    ],
)
def test_what_could_forge_or_hide_is_escaped_and_any_script_is_kept(text: str, shown: str) -> None:
    line = logfmt(T0, EventName.ERROR, {"msg": text})
    assert line.endswith(f"msg={shown}")
    assert parse_logfmt(line)["msg"] == text


@given(
    st.integers(0, 4_000_000_000_000),
    st.sampled_from(EventName),
    st.dictionaries(
        st.sampled_from([*FIELDS, "x", "key_2"]),
        st.one_of(st.none(), st.integers(), st.text(st.characters(), max_size=200)),
    ),
)
def test_every_line_is_one_line_and_reads_back(
    time_ms: int, event: EventName, fields: dict[str, str | int | None]
) -> None:
    line = logfmt(time_ms, event, fields)
    assert len(line.splitlines()) == 1
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in line)
    read = parse_logfmt(line)
    assert list(read)[:2] == ["time", "event"]
    kept = {name: str(value) for name, value in fields.items() if value is not None and value != ""}
    assert {name: value for name, value in read.items() if name not in ("time", "event")} == kept


def test_a_value_is_cut_off_at_its_limit_and_says_so() -> None:
    value = parse_logfmt(logfmt(T0, EventName.ERROR, {"msg": "x" * 10 * VALUE_LIMIT}))["msg"]
    assert len(value) == VALUE_LIMIT
    assert value.endswith("x…")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "not logfmt from character 1 on"),
        ('time=1 msg="open', "not logfmt from character 8 on"),
        ("a=1 a=2", "a stands twice"),
        (r'msg="\q"', r"unknown escape \\q"),
        ("a=1  b=2", "not logfmt from character 5 on"),
    ],
)
def test_what_is_not_a_line_of_a_log_is_refused(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_logfmt(line)


@given(st.text(max_size=100))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        fields = parse_logfmt(text)
    except ValueError:
        return
    assert all(isinstance(value, str) for value in fields.values())


def test_text_can_be_escaped_by_itself() -> None:
    assert escaped("a\nb") == r"a\nb"
