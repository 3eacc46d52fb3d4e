"""The status document: its order, its words, its condition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reconciler.clock import Now, iso
from reconciler.core.happening import (
    Errored,
    Event,
    Expired,
    Interrupted,
    Limited,
    Started,
    Succeeded,
    Suspended,
    UnitCommitted,
    Waiting,
)
from reconciler.core.lifecycle import advance, created
from reconciler.core.rules import AfterDependencies, Cron, Every, JobRules, Quiet, Retry
from reconciler.core.state import Outcome, Reason, Status
from reconciler.core.status import (
    HISTORY,
    AuthFacts,
    Counts,
    JobFacts,
    ReadyReason,
    RunFacts,
    auth_status,
    essence,
    job_status,
)
from reconciler.core.words import HOUR_MS, MINUTE_MS, SECOND_MS
from reconciler.errors import Problem

T0 = 1_790_000_000_000
RULES = JobRules(schedule=Every(HOUR_MS), retry=Retry(jitter=0))
PROBLEM = Problem("orders.yaml", 4, 8, "spec.suspend", "expected true or false, found 'maybe'", "Job", "import-orders")


def at(ms: int) -> Now:
    return Now(T0 + ms, ms)


def facts(*events: Event, rules: JobRules = RULES, **more: Any) -> JobFacts:
    """A job after events that all happened at T0."""
    state = created(rules, at(0)).state
    for event in events:
        state = advance(state, event, rules, at(0)).state
    return JobFacts(name="import-orders", state=state, rules=rules, **more)


def status(one: JobFacts, ms: int = 0) -> dict[str, Any]:
    body: dict[str, Any] = job_status(one, at(ms))["status"]
    return body


def ready(one: JobFacts) -> tuple[str, str]:
    (condition,) = status(one)["conditions"]
    return condition["status"], condition["reason"]


def test_the_document_is_the_designs_field_by_field_in_order() -> None:
    run = RunFacts(
        id=7,
        started_ms=T0,
        finished_ms=T0 + 5,
        outcome=Outcome.SUCCEEDED,
        counts=Counts(rows=9, added=1, removed=2, omitted=3),
    )
    one = facts(
        Started(7),
        Succeeded(),
        title="Import orders from S3",
        provider="s3",
        job_type="import-csv",
        type="import",
        authorization="main-aws",
        created_ms=T0,
        created_by="Ada",
        updated_ms=T0 + 1,
        updated_by="Bob",
        generation=3,
        observed_generation=2,
        digest="9f2c",
        revision="main@sha1:abc",
        totals=Counts(rows=90, omitted=3),
        runs=[run],
    )
    document = job_status(one, at(18 * MINUTE_MS))
    last_run = {
        "id": 7,
        "startedAt": "2026-09-21T14:13:20.000Z",
        "finishedAt": "2026-09-21T14:13:20.005Z",
        "outcome": "succeeded",
        "rows": 9,
        "added": 1,
        "removed": 2,
        "omitted": 3,
    }
    expected = {
        "apiVersion": "reconciler/v1",
        "kind": "JobStatus",
        "metadata": {"name": "import-orders"},
        "status": {
            "status": "Sleeping",
            "reason": "Scheduled",
            "message": "next run in 42 min",
            "title": "Import orders from S3",
            "provider": "s3",
            "jobType": "import-csv",
            "type": "import",
            "authorization": "main-aws",
            "createdAt": "2026-09-21T14:13:20.000Z",
            "createdBy": "Ada",
            "updatedAt": "2026-09-21T14:13:20.001Z",
            "updatedBy": "Bob",
            "generation": 3,
            "observedGeneration": 2,
            "digest": "9f2c",
            "revision": "main@sha1:abc",
            "nextRunAt": "2026-09-21T15:13:20.000Z",
            "lastRun": last_run,
            "errors": {"consecutive": 0, "since": None, "last": None},
            "totals": {"rows": 90, "added": 0, "removed": 0, "omitted": 3},
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "Succeeded",
                    "message": "next run in 42 min",
                    "observedGeneration": 2,
                    "lastTransitionTime": "2026-09-21T14:31:20.000Z",
                }
            ],
            "history": [last_run],
        },
    }
    assert document == expected
    assert list(document["status"]) == list(expected["status"])  # type: ignore[call-overload]


EXPIRED = replace(RULES, expires_at_ms=T0)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (facts(), "waits for a free slot"),
        (facts(Started(42)), "run 42"),
        (facts(Started(42), Interrupted(), Started(42)), "run 42, attempt 2"),
        (facts(Started(1), Succeeded()), "next run in 60 min"),
        (facts(rules=JobRules(schedule=Cron("0 0 30 2 *"))), "its schedule has no further time"),
        (facts(Started(1), Errored("no such bucket")), "retry in 30 s after 1 error: no such bucket"),
        (
            facts(Started(1), Errored("a"), Started(1), Errored("b"), Started(1), Errored("c")),
            "retry in 2 min after 3 errors: c",
        ),
        (facts(Started(1), Limited("429", HOUR_MS)), "limited by the other side; next try in 60 min"),
        (facts(Started(1), Interrupted()), "interrupted; goes on from its last committed unit"),
        (
            facts(Waiting(Reason.QUIET_HOURS), rules=replace(RULES, quiet=Quiet(14 * 60, 15 * 60))),
            "quiet hours; next run in 47 min",
        ),
        (
            facts(rules=JobRules(schedule=AfterDependencies(), depends_on=("import-customers", "b"))),
            "waits for import-customers and b",
        ),
        (
            facts(Waiting(Reason.WAITING_FOR_DEPENDENCY), waiting="waits for a, which has failed"),
            "waits for a, which has failed",
        ),
        (facts(Waiting(Reason.AWAITING_APPROVAL)), "waits for an approval"),
        (facts(Waiting(Reason.AWAITING_CONSENT)), "waits for a person's consent"),
        (
            facts(Started(1), Errored("boom"), rules=JobRules(retry=Retry(fail_after_ms=0))),
            "not run again: boom; change spec.rerun to try again",
        ),
        (facts(Suspended()), "spec.suspend is true"),
        (facts(Started(1), Succeeded(), rules=JobRules()), "all scheduled work is done"),
        (facts(rules=EXPIRED), "expired at 2026-09-21T14:13:20.000Z"),
    ],
)
def test_the_message_says_what_it_does_and_what_comes_next(one: JobFacts, words: str) -> None:
    assert status(one)["message"] == words


def test_a_time_that_has_come_is_now() -> None:
    assert status(facts(Started(1), Errored("x")), ms=HOUR_MS)["message"] == "retry now after 1 error: x"


def test_errors_in_a_row_are_in_the_document() -> None:
    assert status(facts(Started(1), Errored("x")))["errors"] == {"consecutive": 1, "since": iso(T0), "last": "x"}


def test_an_invalid_spec_says_where_and_that_the_last_known_good_one_stays() -> None:
    one = facts(Started(42), problems=[PROBLEM, replace(PROBLEM, line=9)])
    assert status(one)["message"] == (
        "the spec is invalid at orders.yaml:4:8: spec.suspend: expected true or false, found 'maybe' (and 1 more); "
        "the last known good one stays: run 42"
    )
    assert ready(one) == ("False", "Invalid")
    assert status(one)["status"] == "Running"


@pytest.mark.parametrize(
    ("one", "condition"),
    [
        (facts(), ("Unknown", "NeverSucceeded")),
        (facts(Started(1)), ("Unknown", "NeverSucceeded")),
        (facts(Started(1), Succeeded()), ("True", "Succeeded")),
        (facts(Started(1), Errored("x")), ("False", "Errors")),
        (facts(Started(1), Errored("x"), Started(1)), ("False", "Errors")),
        (facts(Started(1), Errored("x"), Started(1), UnitCommitted(), Succeeded()), ("True", "Succeeded")),
        (facts(Started(1), Succeeded(), rules=JobRules()), ("True", "Completed")),
        (facts(Suspended()), ("False", "Paused")),
        (facts(Started(1), Errored("x"), rules=JobRules(retry=Retry(fail_after_ms=0))), ("False", "Failed")),
        (facts(rules=EXPIRED), ("True", "Completed")),
    ],
)
def test_ready_is_true_false_or_unknown_for_a_reason_of_a_closed_list(
    one: JobFacts, condition: tuple[str, str]
) -> None:
    assert ready(one) == condition
    assert condition[1] in set(ReadyReason)


def test_the_transition_time_moves_only_when_the_condition_does() -> None:
    one = facts(Started(1), Succeeded(), condition="True", condition_ms=T0 - 5)
    assert status(one, ms=9)["conditions"][0]["lastTransitionTime"] == iso(T0 - 5)
    assert status(replace(one, condition="False"), ms=9)["conditions"][0]["lastTransitionTime"] == iso(T0 + 9)


def test_a_job_without_runs_people_or_an_authorization_says_so_with_null() -> None:
    body = status(facts(Suspended()))
    assert [body[name] for name in ("reason", "authorization", "createdBy", "revision", "nextRunAt", "lastRun")] == [
        None
    ] * 6
    assert body["history"] == []


def test_only_the_latest_runs_are_in_the_history() -> None:
    runs = [RunFacts(id=number, started_ms=T0) for number in range(9, 0, -1)]
    body = status(facts(runs=runs))
    assert [run["id"] for run in body["history"]] == [9, 8, 7, 6, 5]
    assert len(body["history"]) == HISTORY
    assert (body["lastRun"]["id"], body["lastRun"]["finishedAt"], body["lastRun"]["outcome"]) == (9, None, None)


def test_two_looks_at_the_same_facts_have_the_same_essence_and_another_status_has_not() -> None:
    one = facts(Started(1), Succeeded(), condition="True", condition_ms=T0)
    first, later = job_status(one, at(0)), job_status(one, at(20 * SECOND_MS * 60))
    assert first != later
    assert essence(first) == essence(later)
    assert essence(first) != essence(job_status(replace(one, generation=2), at(0)))
    assert first["status"]["message"], "the documents themselves keep their messages"


def test_every_status_of_a_job_has_a_message() -> None:
    found = set()
    for events in ((), (Started(1),), (Suspended(),), (Expired(),)):
        body = status(facts(*events))
        assert body["message"]
        found.add(body["status"])
    assert found == set(Status) - {Status.FAILED}


def test_the_status_of_an_authorization_names_who_uses_it_and_holds_no_secret() -> None:
    one = AuthFacts(
        name="main-aws",
        provider="s3",
        method="access-key",
        used_by=["b", "a"],
        secrets={"secretAccessKey": T0, "accessKeyId": T0 + 1},
        condition="True",
        condition_ms=T0,
    )
    document = auth_status(one, at(0))
    assert document["kind"] == "AuthorizationStatus"
    body = document["status"]
    assert body["message"] == "used by a and b"
    assert body["usedBy"] == ["a", "b"]
    assert body["secrets"] == [
        {"field": "accessKeyId", "seenAt": iso(T0 + 1)},
        {"field": "secretAccessKey", "seenAt": iso(T0)},
    ]
    assert (body["conditions"][0]["status"], body["conditions"][0]["reason"]) == ("True", "Checked")


@pytest.mark.parametrize(
    ("one", "message", "condition"),
    [
        (AuthFacts(name="x"), "no job uses it", ("Unknown", "Unused")),
        (
            AuthFacts(name="x", problems=[replace(PROBLEM, field="")]),
            "the spec is invalid at orders.yaml:4:8: expected true or false, found 'maybe'; the last known good one stays",
            ("False", "Invalid"),
        ),
    ],
)
def test_an_authorization_that_is_unused_or_invalid_says_so(
    one: AuthFacts, message: str, condition: tuple[str, str]
) -> None:
    body = auth_status(one, at(0))["status"]
    assert body["message"] == message
    assert (body["conditions"][0]["status"], body["conditions"][0]["reason"]) == condition
