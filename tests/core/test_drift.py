"""Logs and things that are not as they were written; and what only one of two looks has seen."""

from __future__ import annotations

from reconciler.core.audit import Deed, Entry, chained, entry_of, genesis
from reconciler.core.drift import Drift, Line, Row, both, log_drift, unexplained

LOGGED = [Line(b"time=1 event=Created"), Line(b"time=2 event=Started"), Line(b"time=3 event=Synced msg=5")]
LINES = [one.text for one in LOGGED]
COMING = [Line(b"time=4 event=Synced"), Line(b"time=5 event=Synced")]


def test_a_log_that_ends_with_what_was_logged_is_as_it_was() -> None:
    assert log_drift(LINES, LOGGED, [], cut=False) == ("", "")
    assert log_drift([b"time=0 event=Older", *LINES], LOGGED, [], cut=False) == ("", "")
    assert log_drift([], [], [], cut=False) == ("", "")


def test_lines_that_are_just_being_written_are_no_drift() -> None:
    for count in range(3):
        coming = [one.text for one in COMING[:count]]
        assert log_drift([*LINES, *coming], LOGGED, COMING, cut=False) == ("", "")


def test_a_rotated_log_may_have_lost_its_oldest_lines() -> None:
    assert log_drift(LINES[1:], LOGGED, [], cut=True) == ("", "")
    assert log_drift(LINES[1:], LOGGED, [], cut=False) == (
        "the line 'time=1 event=Created'",
        "1 line of it is missing or changed",
    )
    assert log_drift([], LOGGED, [], cut=True)[1] == "3 lines of it are missing or changed"


def test_changed_alien_and_moved_lines_are_named() -> None:
    changed = [LINES[0], b"time=2 event=Failed", LINES[2]]
    assert log_drift(changed, LOGGED, [], cut=False) == (
        "the line 'time=2 event=Started'",
        "1 line of it is missing or changed",
    )
    assert log_drift([*LINES, b"hello"], LOGGED, [], cut=False) == (
        "no other lines than the controller's",
        "the line 'hello'",
    )
    moved = [LINES[0], LINES[2], LINES[1]]
    assert log_drift(moved, LOGGED, [], cut=False) == (
        "each line once, in the order of the events",
        "lines that stand elsewhere",
    )


def test_of_a_line_whose_message_is_forgotten_only_the_beginning_counts() -> None:
    blanked = [*LOGGED[:2], Line(b"time=3 event=Synced msg=(forgotten)", is_blanked=True)]
    assert log_drift(LINES, blanked, [], cut=False) == ("", "")
    assert log_drift([*LINES[:2], b"time=9 event=Synced"], blanked, [], cut=False) != ("", "")


def entry(life: str, digest: str) -> Entry:
    deed = Deed(time_ms=1, action="create", kind="Job", name="a", generation=1, digest=digest, life=life)
    return entry_of(next(chained(genesis("x"), [deed])))


def test_the_record_holds_what_the_last_entry_of_each_thing_says() -> None:
    key = ("Job", "a")
    assert unexplained({key: Row(1, "d1", "live")}, {key: entry("live", "d1")}) == []
    assert unexplained({key: Row(1, "d1", "orphaned")}, {}) == []
    assert unexplained({}, {key: entry("", "")}) == []
    [changed] = unexplained({key: Row(1, "d2", "live")}, {key: entry("live", "d1")})
    assert (changed.expected, changed.found) == ("generation 1 with digest d1", "generation 1 with digest d2")
    [gone] = unexplained({}, {key: entry("live", "d1")})
    assert (gone.subject, gone.found) == ("Job a", "not there")
    [made] = unexplained({key: Row(1, "d2", "live")}, {})
    assert made.expected == "not there, by the audit log"


def test_what_only_one_look_has_seen_does_not_count() -> None:
    one, other = (Drift(what="status", subject=name, expected="a", found="b", mends="c") for name in ("one", "other"))
    assert both([one, other], [other]) == [other]
    assert both([one], [other]) == []
