"""Who is told of what, and what of it goes out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.core.notices import (
    MOST,
    Notice,
    NotifyRule,
    Trouble,
    What,
    commit_statuses_of,
    headline,
    line,
    notice_of,
    packed,
    plain_text,
    rules_of,
    to_tell,
)

FAILED = Trouble(
    what=What.FAILED,
    kind="Job",
    name="export-vip",
    path="crm.yaml",
    message="no more",
    since_ms=1_000,
    person="Ada",
    commit="ab" * 20,
)
INVALID = Trouble(what=What.INVALID_SPEC, kind="", name="", path="a.yaml:3:4", message="not valid YAML", since_ms=2_000)


def begun(trouble: Trouble = FAILED, at_ms: int = 5_000, **changes: Any) -> Notice:
    return Notice(trouble=replace(trouble, **changes), at_ms=at_ms)


def over(trouble: Trouble = FAILED, at_ms: int = 9_000) -> Notice:
    return Notice(trouble=trouble, at_ms=at_ms, recovered=True)


@pytest.mark.parametrize(
    ("rule", "notice", "wants"),
    [
        ({}, begun(), True),
        ({"on": ("InvalidSpec",)}, begun(), False),
        ({"on": ("Failed",)}, over(), False),
        ({"on": ("Failed", "Recovered")}, over(), True),
        ({"on": ("InvalidSpec", "Recovered")}, over(), False),
        ({"jobs": ("export-*",)}, begun(), True),
        ({"jobs": ("import-*",)}, begun(), False),
        ({"jobs": ("*",)}, begun(INVALID), False),
        ({"labels": (("team", "crm"),)}, begun(), True),
        ({"labels": (("team", "growth"),)}, begun(), False),
    ],
)
def test_a_rule_wants_what_it_names(rule: dict[str, Any], notice: Notice, wants: bool) -> None:
    assert NotifyRule(name="r", channel="slack", **rule).wants(notice, {"team": "crm"}) is wants


def test_what_begins_and_ends_before_it_is_told_is_not_told() -> None:
    assert to_tell([begun(), over()], {}) == []


def test_of_a_trouble_the_last_word_is_told_once() -> None:
    first, again = begun(), begun(at_ms=6_000, message="still no more")
    assert to_tell([first, again], {}) == [again]
    assert to_tell([begun(at_ms=7_000)], {FAILED.key: first}) == [], "the same was told"
    assert to_tell([again], {FAILED.key: first}) == [again], "it says something else now"


def test_a_recovery_is_told_to_whom_the_trouble_was_told() -> None:
    assert to_tell([over()], {}) == []
    assert to_tell([over()], {FAILED.key: begun()}) == [over()]
    assert to_tell([over()], {FAILED.key: over()}) == []
    assert to_tell([begun(at_ms=9_500)], {FAILED.key: over()}) == [begun(at_ms=9_500)], "it is back"


def test_troubles_come_before_recoveries() -> None:
    told = {FAILED.key: begun()}
    assert [one.what for one in to_tell([over(), begun(INVALID)], told)] == [What.INVALID_SPEC, What.RECOVERED]


def test_a_place_in_a_spec_does_not_make_it_another_trouble() -> None:
    assert INVALID.key == replace(INVALID, path="a.yaml:9:9").key
    assert INVALID.key != replace(INVALID, path="b.yaml:3:4").key


def test_the_words() -> None:
    assert headline([begun(), begun(INVALID), over()]) == "reconcile: 1 failed, 1 invalid spec, 1 recovered"
    assert headline([begun(INVALID), begun(INVALID)]) == "reconcile: 2 invalid specs"
    assert line(begun()) == "Failed: Job export-vip at crm.yaml: no more (by Ada, abababababab)"
    assert line(begun(INVALID)) == "InvalidSpec: a.yaml:3:4: not valid YAML"
    since = "since 1970-01-01T00:00:01.000Z failed"
    assert line(over()) == f"Recovered: Job export-vip: it succeeds again, or is gone ({since})"
    many = [begun(name=f"job-{number}") for number in range(MOST + 3)]
    assert plain_text(many).splitlines()[-1] == "and 3 more; `reconcile list` and `reconcile validate` show all"
    assert len(plain_text([begun(message="two\nlines\x1b[31m")]).splitlines()) == 1


def test_a_notice_is_read_back_as_it_was() -> None:
    assert notice_of(packed(over(INVALID))) == over(INVALID)


def test_rules_come_out_of_the_operator_s_file_with_their_secrets_apart() -> None:
    (rule,) = rules_of([{"name": "ops", "on": ["Failed"], "batch": 0, "slack": {"url": {"env": "SLACK"}}}])
    assert (rule.channel, rule.on, rule.batch_ms, rule.settings, rule.credentials) == (
        "slack", ("Failed",), 0, {}, {"url": {"env": "SLACK"}},
    )  # fmt: skip
    (github,) = commit_statuses_of({"github": {"repository": "acme/jobs", "token": {"file": "t"}}})
    assert (github.forge, github.settings, github.credentials) == (
        "github",
        {"repository": "acme/jobs"},
        {"token": {"file": "t"}},
    )
