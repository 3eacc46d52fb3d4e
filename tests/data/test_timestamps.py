"""Reading a message's own time out of a raw column."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.provider import TimestampRule
from reconciler.data.timestamps import read_times
from reconciler.errors import Fatal

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30))


def read(values: Any, how: str = "iso8601") -> tuple[list[datetime | None], list[bool]]:
    column = values if isinstance(values, pa.Array) else pa.array(values)
    times, unread = read_times(pa.table({"at": column}), TimestampRule(field="at", format=how))
    assert times.type == pa.timestamp("us", "UTC")
    return times.cast(pa.timestamp("us")).to_pylist(), unread.to_pylist()


@given(moments=st.lists(st.tuples(MOMENTS, st.none() | OFFSETS), min_size=1, max_size=6), spaced=st.booleans())
@settings(max_examples=80, deadline=None)
def test_whatever_iso_8601_python_writes_is_read(moments: list[Any], spaced: bool) -> None:
    aware = [moment if zone is None else moment.replace(tzinfo=zone) for moment, zone in moments]
    texts = [one.isoformat(" " if spaced else "T") for one in aware]
    expected = [(one if one.tzinfo else one.replace(tzinfo=UTC)).astimezone(UTC).replace(tzinfo=None) for one in aware]
    assert read(texts) == (expected, [False] * len(texts))
    assert [read([text])[0][0] for text in texts] == expected  # alone, by the quick way, the same


@given(texts=st.lists(st.text(alphabet="0123456789-:TZtz+., ", max_size=22), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_the_quick_way_reads_what_the_careful_way_reads(texts: list[str]) -> None:
    together = read([*texts, "2020-01-01T00:00:00Z", "2020-01-01"])
    alone = [read([text]) for text in texts]
    assert [one[0][0] for one in alone] == together[0][:-2]
    assert [one[1][0] for one in alone] == together[1][:-2]


@pytest.mark.parametrize(
    "text",
    ["2013-02-30", "2013-1-1", "infinity", "epoch", "now", "20130101", "2013-01-01T24:00:01", "10000-01-01", "20130101T10:00:00Z",
     "2013-01-01T1000Z", "2013-01-01T10:00:61Z", "2013-01-01T10:60:00Z", "20130231T100000Z", "9999-12-31T23:59:60Z", "2013-W01", "2013", "x", " 2013-01-01", "2013-01-01T10:00:00+1"],
)  # fmt: skip
def test_what_is_no_time_is_not_guessed(text: str) -> None:
    for others in ([], ["2013-01-01"], ["2013-01-01", "2013-01-01T00:00:00Z"]):
        times, unread = read([text, *others])
        assert (times[0], unread[0]) == (None, True)


def test_a_word_is_no_time_whatever_the_pattern() -> None:
    words = ["epoch", " Epoch", "\tepoch\n"]
    assert read(["Jan 2013", *words], "%b %Y") == ([datetime(2013, 1, 1), *[None] * 3], [False, *[True] * 3])


def test_hours_alone_and_a_comma_are_iso_8601_too() -> None:
    for others in ([], ["2013-01-01"]):
        assert read(["2013-01-01T10Z", *others])[0][0] == datetime(2013, 1, 1, 10)
    assert read(["2013-01-01T10:00:00,25+0530"])[0] == [datetime(2013, 1, 1, 4, 30, 0, 250000)]


#: What RFC 3339 and ISO 8601 allow, and few write. The build of profiles is held to the same (tests/data/profiles).
RARE = [
    ("2013-01-01t10:00:05z", datetime(2013, 1, 1, 10, 0, 5)),
    ("2013-01-01 10:00:05z", datetime(2013, 1, 1, 10, 0, 5)),
    ("2013-01-01t10:00:05.25+05:30", datetime(2013, 1, 1, 4, 30, 5, 250000)),
    ("20130101T100005Z", datetime(2013, 1, 1, 10, 0, 5)),
    ("20130101T100005.5-0130", datetime(2013, 1, 1, 11, 30, 5, 500000)),
    ("20130101t100005,123456z", datetime(2013, 1, 1, 10, 0, 5, 123456)),
    ("20130101 1000", datetime(2013, 1, 1, 10)),
    ("20130101T10+02", datetime(2013, 1, 1, 8)),
    ("2013-01-01t10+0530", datetime(2013, 1, 1, 4, 30)),
    ("2012-06-30T23:59:60Z", datetime(2012, 7, 1)),
    ("2012-07-01T01:59:60.5+02:00", datetime(2012, 7, 1, 0, 0, 0, 500000)),
    ("20120630T235960Z", datetime(2012, 7, 1)),
    ("2013-01-01T24:00:00", datetime(2013, 1, 2)),
    ("2013-01-01T24:00:00.0+01:00", datetime(2013, 1, 1, 23)),
    ("20121231T24", datetime(2013, 1, 1)),
]


@pytest.mark.parametrize(("text", "moment"), RARE)
def test_what_few_write_is_iso_8601_too(text: str, moment: datetime) -> None:
    for others in ([], ["2013-01-01"], ["2013-01-01", "2013-01-01T00:00:00Z"]):
        assert read([text, *others])[0][0] == moment


def test_nothing_is_no_time_and_no_error() -> None:
    assert read(["", None, "2013-01-01"]) == ([None, None, datetime(2013, 1, 1)], [False, False, False])
    assert read(pa.nulls(2)) == ([None, None], [False, False])


@pytest.mark.parametrize(
    ("values", "how", "expected"),
    [
        (["0", "1.5", "-1"], "epoch_s", [datetime(1970, 1, 1), datetime(1970, 1, 1, 0, 0, 1, 500000), datetime(1969, 12, 31, 23, 59, 59)]),
        (["1357034400000"], "epoch_ms", [datetime(2013, 1, 1, 10)]),
        (["13570344000000000000000000e-13", "1.3570344E12"], "epoch_ms", [datetime(2013, 1, 1, 10)] * 2),
        (pa.array([1357034400, None]), "epoch_s", [datetime(2013, 1, 1, 10), None]),
        (pa.array([1357034400.25]), "epoch_s", [datetime(2013, 1, 1, 10, 0, 0, 250000)]),
        (pa.array([Decimal("1357034400.25")]), "epoch_s", [datetime(2013, 1, 1, 10, 0, 0, 250000)]),
        (["31/12/2013 23:59"], "%d/%m/%Y %H:%M", [datetime(2013, 12, 31, 23, 59)]),
        (["Jan 2013"], "%b %Y", [datetime(2013, 1, 1)]),
        (["31.12.2013 23:59 +0100"], "%d.%m.%Y %H:%M %z", [datetime(2013, 12, 31, 22, 59)]),
        (pa.array([datetime(2013, 1, 1)]), "iso8601", [datetime(2013, 1, 1)]),
        (pa.array([1357034400000], pa.timestamp("ms", "Europe/Paris")), "iso8601", [datetime(2013, 1, 1, 10)]),
        (pa.array([15706], pa.date32()), "iso8601", [datetime(2013, 1, 1)]),
        (pa.array([1356998400000], pa.date64()), "iso8601", [datetime(2013, 1, 1)]),
        (pa.array([1], pa.timestamp("ns")), "iso8601", [datetime(1970, 1, 1)]),
    ],
)  # fmt: skip
def test_other_ways_to_write_a_time(values: Any, how: str, expected: list[datetime | None]) -> None:
    times, unread = read(values, how)
    assert times == expected
    assert not any(unread)


@pytest.mark.parametrize(
    ("values", "how"),
    [
        (["99999999999999999999999999"], "epoch_s"),
        (["1e400"], "epoch_ms"),
        (["9223372036854775807"], "epoch_s"),
        (pa.array([2**62]), "epoch_ms"),
        (pa.array([2**60], pa.timestamp("s")), "iso8601"),
        (pa.array([-(2**31)], pa.date32()), "iso8601"),
        (["31/02/2013"], "%d/%m/%Y"),
        (["1_700_000_000"], "epoch_s"),
    ],
)
def test_a_time_outside_the_years_1_to_9999_is_not_read(values: Any, how: str) -> None:
    assert read(values, how) == ([None], [True])


@pytest.mark.parametrize(
    ("values", "how", "message"),
    [
        (["1"], "%Q", "timestampFormat: "),
        (pa.array([1]), "iso8601", "timestampField: column 'at' holds numbers; say `timestampFormat: epoch_s` or `epoch_ms`"),
        (pa.array([[1]]), "iso8601", "timestampField: column 'at' is of type list<"),
    ],
)  # fmt: skip
def test_a_column_or_format_that_cannot_hold_times_is_fatal(values: Any, how: str, message: str) -> None:
    with pytest.raises(Fatal, match="^" + re.escape(message)):
        read(values, how)
