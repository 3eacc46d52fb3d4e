"""A policy as values: what a rule is about, when a window is open, and how a rule judges."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.clock import milliseconds
from reconciler.core.document import Document
from reconciler.core.policy import Match, Policy, Rule, Window, policy_of
from reconciler.core.policy_judge import BadRule, Judge, problem_of
from reconciler.core.policy_view import NEVER_MS, cadence_ms, duration_text, view
from reconciler.core.words import DAY_MS, HOUR_MS, MINUTE_MS
from reconciler.providers import catalogue


def job(path: str = "growth/a.yaml", labels: dict[str, str] | None = None, **spec: Any) -> Document:
    said = {"provider": "files", "jobType": "import-csv", "config": {"path": "*.csv", "stream": "orders"}, **spec}
    return Document(kind="Job", name="import-orders", path=path, line=5, labels=labels or {}, spec=said)


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({}, True),
        ({"kinds": ("Job",)}, True),
        ({"kinds": ("Stream",)}, False),
        ({"names": ("import-*",)}, True),
        ({"names": ("export-*",)}, False),
        ({"paths": ("growth/**",)}, True),
        ({"paths": ("growth/*",)}, True),
        ({"paths": ("*",)}, False),
        ({"paths": ("**/a.yaml",)}, True),
        ({"paths": ("**",)}, True),
        ({"paths": ("sales/**", "growth/a.*")}, True),
        ({"providers": ("http",)}, False),
        ({"job_types": ("import-*",)}, True),
        ({"labels": (("team", "growth"),)}, True),
        ({"labels": (("team", "sales"),)}, False),
    ],
)
def test_each_field_of_a_match_that_is_given_must_fit(match: dict[str, Any], fits: bool) -> None:
    one = job(labels={"team": "growth"})
    assert Match(**match).fits(one.kind, one.name, one.path, one.spec, one.labels) is fits


SATURDAY = "2026-11-28"


@pytest.mark.parametrize(
    ("window", "at", "until"),
    [
        ({"days": ["sat", "sun"]}, f"{SATURDAY}T00:00:00Z", "2026-11-30T00:00:00Z"),
        ({"days": ["sat", "sun"]}, "2026-11-27T23:59:59Z", None),
        ({"days": ["sat", "sun"], "timezone": "America/New_York"}, f"{SATURDAY}T04:59:00Z", None),
        ({"days": ["sat", "sun"], "timezone": "America/New_York"}, f"{SATURDAY}T05:00:00Z", "2026-11-30T05:00:00Z"),
        ({"from": "22:00", "to": "06:00"}, f"{SATURDAY}T23:00:00Z", "2026-11-29T06:00:00Z"),
        ({"from": "22:00", "to": "06:00"}, f"{SATURDAY}T12:00:00Z", None),
        ({"days": ["fri"], "from": "22:00", "to": "06:00"}, f"{SATURDAY}T05:00:00Z", f"{SATURDAY}T06:00:00Z"),
        ({"days": ["sat"], "from": "22:00", "to": "06:00"}, f"{SATURDAY}T05:00:00Z", None),
        (
            {"after": "2026-11-27T00:00:00Z", "before": "2026-12-01T00:00:00Z"},
            f"{SATURDAY}T05:00:00Z",
            "2026-12-01T00:00:00Z",
        ),
        ({"after": "2026-11-29T00:00:00Z", "before": "2026-12-01T00:00:00Z"}, f"{SATURDAY}T05:00:00Z", None),
        ({"days": ["sat", "sun"], "before": "2026-11-29T12:00:00Z"}, f"{SATURDAY}T05:00:00Z", "2026-11-29T12:00:00Z"),
    ],
)
def test_a_window_is_open_on_its_days_and_hours_of_its_time_zone(
    window: dict[str, Any], at: str, until: str | None
) -> None:
    values = {name: milliseconds(one) if name in ("after", "before") else one for name, one in window.items()}
    policy = policy_of({"windows": [{"name": "freeze", **values}]})
    closed = policy.closed(milliseconds(at))
    assert (closed[1] if closed else None) == (milliseconds(until) if until else None)


def test_a_window_never_closes_the_hour_before_one_that_the_clock_skips() -> None:
    window = Window(name="night", from_minute=150, to_minute=300, timezone="Europe/Paris")
    spring = milliseconds("2026-03-29T00:30:00.000Z")  # 01:30; from 02:00 on the clock shows 03:00
    assert window.until(spring) is None
    assert window.until(spring + HOUR_MS) == milliseconds("2026-03-29T03:00:00.000Z")
    autumn = milliseconds("2026-10-25T00:30:00.000Z")  # 02:30, for the first time
    assert window.until(autumn - 1) is None
    assert window.until(autumn) == window.until(autumn + HOUR_MS) == milliseconds("2026-10-25T04:00:00.000Z")


def test_of_windows_that_are_open_the_one_that_ends_last_is_named() -> None:
    short, long = Window(name="short", before_ms=10), Window(name="long", before_ms=20)
    assert Policy(windows=(short, long)).closed(5) == (long, 20)


@pytest.mark.parametrize("at", ["2026-11-20T22:00:00.000Z", "2026-11-21T12:00:00.000Z", "2026-11-22T21:30:00.000Z"])
def test_windows_that_follow_on_one_another_end_together(at: str) -> None:
    """Friday night, the weekend, and Sunday night, in Paris."""
    weekend = Window(name="weekend", days=("sat", "sun"), timezone="Europe/Paris")
    nights = Window(name="nights", from_minute=22 * 60, to_minute=6 * 60, timezone="Europe/Paris")
    monday = milliseconds("2026-11-23T05:00:00.000Z")
    assert Policy(windows=(weekend, nights)).closed(milliseconds(at)) == (nights, monday)
    assert Policy(windows=(weekend, nights)).closed(monday) is None


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"every": 5 * MINUTE_MS}, 5 * MINUTE_MS),
        ({"continuous": True}, 0),
        ({}, NEVER_MS),
        ({"afterDependencies": True}, NEVER_MS),
        ({"cron": "0 3 * * *"}, DAY_MS),
        ({"cron": "0,10 3 * * *"}, 10 * MINUTE_MS),
    ],
)
def test_the_cadence_is_the_shortest_time_between_two_starts(schedule: dict[str, Any], expected: int) -> None:
    assert cadence_ms(job(schedule=schedule)) == expected


def test_a_policy_sees_a_spec_with_every_default_and_durations_that_cel_reads() -> None:
    seen = view(job(schedule={"every": 36 * HOUR_MS + 90}, expiresAt=0, timeout=DAY_MS), catalogue())
    spec = seen["spec"]
    assert spec["schedule"] == {"every": "36h90ms"}
    assert (spec["suspend"], spec["dependsOn"], spec["deletionPolicy"]) == (False, [], "delete")
    assert (spec["timeout"], spec["expiresAt"]) == ("24h", "1970-01-01T00:00:00.000Z")
    assert spec["retry"]["failAfter"] == "10h"
    assert spec["config"]["maxRejects"] == 0, "the job type's default"
    assert seen["runType"] == "import"
    assert duration_text(0) == "0s"


def violations(rule: Rule, document: Document) -> list[str]:
    judge = Judge(Policy(rules=(rule,)))
    return [str(problem_of(one, document)) for one in judge.spec(document, catalogue())]


@pytest.mark.parametrize(
    "cel",
    [
        "spec.provider in ['files', 'http']",
        "cadence >= duration('15m')",
        "duration(spec.schedule.every) >= duration('15m')",
        "metadata.labels.team == path.split('/')[0]",
        "runType == 'import' && !has(spec.config.url)",
        "kind == 'Job' && name.startsWith('import-')",
        "spec.config.stream.matches('^[a-z]+$')",
    ],
)
def test_an_expression_that_is_true_breaks_nothing(cel: str) -> None:
    assert violations(Rule(name="r", cel=cel), job(labels={"team": "growth"}, schedule={"every": HOUR_MS})) == []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"cel": "spec.provider == 'http'"}, "metadata.name: policy r: expected spec.provider == 'http'"),
        ({"cel": "spec.provider == 'http'", "message": "http only", "field": "spec.provider"}, "spec.provider: policy r: http only"),
        ({"cel": "metadata.labels.team == 'x'", "message": "m"}, 'metadata.name: policy r: it cannot be judged: Key not found in map : "team"'),
        ({"cel": "spec.provider"}, "metadata.name: policy r: it cannot be judged: the expression is neither true nor false"),
        ({"schema": {"properties": {"metadata": {"properties": {"labels": {"required": ["team"]}}}}}},
         "metadata.labels.team: policy r: this field is required, and missing"),
        ({"schema": {"properties": {"spec": {"properties": {"provider": {"const": "http"}}}}}, "message": "http only"},
         "spec.provider: policy r: http only (expected http, found 'files')"),
    ],
)  # fmt: skip
def test_a_violation_has_a_place_and_the_name_of_its_rule(rule: dict[str, Any], expected: str) -> None:
    assert violations(Rule(name="r", **rule), job()) == [f"growth/a.yaml:5:1: error: {expected}"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"cel": "spec.provider =="}, "not a valid CEL expression: mismatched input"),
        ({"cel": "nosuch == 1"}, "not a valid CEL expression: undeclared reference to 'nosuch'"),
        ({"cel": "1 + 1"}, "expected an expression that is true or false"),
        ({"cel": "kind == 3"}, "found no matching overload"),
        ({"schema": {"type": "nosuch"}}, "not a usable JSON Schema: "),
        ({"schema": {"$ref": "https://example.org/schema"}}, "not a usable JSON Schema: "),
    ],
)
def test_a_rule_that_cannot_be_compiled_is_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRule) as caught:
        Judge(Policy(rules=(Rule(name="r", **rule),)))
    assert message in str(caught.value)


def test_an_expression_that_would_loop_for_ever_is_ended() -> None:
    inner = "true"
    for name in "abcdefgh":
        inner = f"[0,1,2,3,4,5,6,7,8,9].all({name}, {inner})"
    (found,) = violations(Rule(name="r", cel=inner), job())
    assert "it cannot be judged" in found
