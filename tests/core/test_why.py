"""Why a job is not running: every status and reason has an answer that says what comes next."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.clock import Now, milliseconds
from reconciler.core.gate import DependencyFacts
from reconciler.core.rules import AfterDependencies, Continuous, Every, JobRules, Quiet
from reconciler.core.state import JobState, Outcome, Owed, Reason, Status
from reconciler.core.why import Answer, Because, Cause, Deletion, Facts, Held, Other, why
from reconciler.errors import Problem

NOW = Now(wall_ms=milliseconds("2026-11-21T10:00:00.000Z"), alive_ms=0)
MIN = 60_000
HOURLY = JobRules(schedule=Every(60 * MIN))
AGO = NOW.wall_ms - 10 * MIN
SOON = NOW.wall_ms + 42 * MIN
PROBLEM = Problem("orders.yaml", 4, 8, "spec.suspend", "expected true or false, found 'maybe'", "Job", "orders")


def facts(state: JobState | None = None, **changes: object) -> Facts:
    return replace(Facts(name="orders", now=NOW, state=state, rules=HOURLY, controller=42), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [Status.PAUSED, Status.FAILED, Status.COMPLETED, Status.RUNNING])
def test_every_command_of_an_answer_has_the_options_of_the_call(status: Status) -> None:
    state = JobState(
        status=status, since_ms=AGO, held_status=Status.SLEEPING if status is Status.PAUSED else None, run=7
    )
    plain, there = why(facts(state)), why(facts(state, again=" --root x"))
    assert there.step == f"{plain.step} --root x"
    assert there.then == plain.then.replace("orders`", "orders --root x`")
    assert there.because == plain.because


def test_a_step_that_is_no_command_has_no_options() -> None:
    absent = why(facts(problems=(PROBLEM,), again=" --root x"))
    assert absent.step == "reconcile validate --root x"
    renewed = why(
        facts(
            JobState(status=Status.COMPLETED, since_ms=AGO, expired=True),
            again=" --root x",
            rules=replace(HOURLY, expires_at_ms=AGO),
        )
    )
    assert renewed.step == "set a later spec.expiresAt"


def sleeping(reason: Reason, **changes: object) -> JobState:
    return replace(JobState(reason=reason, since_ms=AGO, owed=Owed.SCHEDULE, owed_since_ms=AGO), **changes)  # type: ignore[arg-type]


def test_a_due_run_of_a_job_in_doubt_waits_for_a_look_and_not_for_a_slot() -> None:
    answer = why(
        facts(sleeping(Reason.WAITING_FOR_SLOT), is_in_doubt=True, held=(Held(reason="a merge is in progress"),))
    )
    assert answer.code is Because.HELD_BACK
    assert answer.because == (
        "a run is due, and its spec is gone or has changed; until it is certain what that means, it starts nothing."
    )
    assert answer.then == "it starts, changes or goes with the first look that can tell."
    assert answer.notes == ("a merge is in progress.",)


# --- jobs that are not there ----------------------------------------------------------------------------------------


def test_a_name_that_nobody_declares_is_unknown_and_the_closest_one_is_named() -> None:
    answer = why(facts(close="order"))
    assert answer == Answer(
        code=Because.UNKNOWN,
        because="no spec declares a job 'orders', and the record knows none.",
        then="did you mean 'order'?",
        step="reconcile why order",
    )
    assert why(facts()).then == "`reconcile list` shows the jobs."


def test_a_job_that_was_never_valid_names_the_place_of_its_first_problem() -> None:
    answer = why(facts(problems=(PROBLEM,), controller=None))
    assert answer.code is Because.INVALID
    assert answer.because == (
        "its spec is invalid: orders.yaml:4:8: error: spec.suspend: expected true or false, found 'maybe'"
    )
    assert answer.then == "correct it; the next `reconcile` creates it. `reconcile validate` shows every problem."


def test_a_job_that_is_declared_but_was_never_made_true_waits_for_a_pass() -> None:
    answer = why(facts(pending=("declared in orders.yaml",), path="jobs.d/orders.yaml", controller=None))
    assert answer.code is Because.NOT_APPLIED
    assert answer.because == "jobs.d/orders.yaml declares it, and no pass has made it true yet."
    assert answer.then == "the next `reconcile` creates it."


@pytest.mark.parametrize(
    ("status", "then"),
    [
        (
            Status.FAILED,
            "`reconcile rerun orders` brings it back; so does a changed provider, jobType, schedule or config.",
        ),
        (
            Status.COMPLETED,
            "`reconcile rerun orders` brings it back; so does a changed provider, jobType, schedule or config.",
        ),
        (Status.PAUSED, "`reconcile resume orders` brings it back."),
    ],
)
def test_a_purged_job_says_what_it_was_and_how_it_comes_back(status: Status, then: str) -> None:
    held = Status.SLEEPING if status is Status.PAUSED else None
    answer = why(facts(JobState(status=status, reason=None, held_status=held), life="purged"))
    assert answer.code is Because.PURGED
    assert answer.because == f"it was purged, 90 days after it became {status}; its cursor and totals are kept."
    assert answer.then == then


def test_the_command_that_restores_a_file_can_be_typed_as_it_stands() -> None:
    gone = Deletion(at_ms=AGO, until_ms=None, commit="ab" * 20)
    answer = why(facts(deletion=gone, path="jobs.d/team a/o'x.yaml"))
    assert answer.then == (
        "restore jobs.d/team a/o'x.yaml (`git checkout abababababab^ -- 'jobs.d/team a/o'\"'\"'x.yaml'`); "
        "it goes on from where it stood."
    )


def test_an_orphan_waits_to_be_declared_again() -> None:
    answer = why(facts(JobState(), life="orphaned"))
    assert answer.code is Because.GONE
    assert answer.because == "its spec is gone; deletionPolicy orphan kept its cursor."


def test_what_a_window_holds_back_says_until_when() -> None:
    held = Held(reason="create: nothing is applied until then (window nightly)", until_ms=SOON)
    answer = why(facts(path="jobs.d/orders.yaml", held=(held,)))
    assert (answer.code, answer.at_ms) == (Because.HELD_BACK, SOON)
    assert answer.because == (
        "jobs.d/orders.yaml declares it, and that is held back: create: nothing is applied until then (window nightly)."
    )
    assert answer.then == "the controller at work (pid 42) creates it at 2026-11-21T10:42:00Z, in 42 min."


def test_what_is_held_back_without_an_end_shows_where_to_look() -> None:
    answer = why(facts(held=(Held(reason="policy owners: create: no team"),)))
    assert answer.because == "a file declares it, and that is held back: policy owners: create: no team."
    assert answer.then == "`reconcile plan` shows what is held back; it is created once that has ended."
    live = why(
        facts(JobState(tick_at_ms=SOON), held=(Held(reason="orders.yaml is gone from disk, but not from HEAD"),))
    )
    assert live.notes == ("orders.yaml is gone from disk, but not from HEAD.",)


def test_a_renamed_job_says_what_it_is_called_now() -> None:
    answer = why(facts(renamed=("orders-eu", Cause(at_ms=AGO, author="Ada", commit="19a412f0a40816757cac"))))
    assert answer.code is Because.RENAMED
    assert answer.because == (
        "it is called 'orders-eu' since 2026-11-21T09:50:00Z (10 min ago) by Ada (commit 19a412f0a408)."
    )
    assert (answer.then, answer.step) == ("`reconcile why orders-eu` says more.", "reconcile why orders-eu")


def test_a_deleted_job_says_by_whose_commit() -> None:
    answer = why(facts(removed=Cause(at_ms=AGO, author="Ada", commit="19a412f0a40816757cac")))
    assert answer.code is Because.GONE
    assert answer.because == (
        "it was deleted 2026-11-21T09:50:00Z (10 min ago) by Ada (commit 19a412f0a408): no file declared it any more."
    )
    assert answer.then == "declare a job of that name again, and it begins anew."


def test_a_file_that_cannot_be_parsed_may_declare_it() -> None:
    problem = Problem("orders.yaml", 3, 1, "", "expected a mapping")
    answer = why(facts(unreadable=(problem,)))
    assert answer.code is Because.UNREADABLE
    assert answer.because == (
        "no file that can be read declares it, and one that may cannot be: orders.yaml:3:1: error: expected a mapping"
    )
    assert answer.step == "reconcile validate"


@pytest.mark.parametrize(
    ("other", "because", "step"),
    [
        (Other(kind="Stream", used_by=("a", "b")), "it is a stream, which never runs by itself; used by a and b.", "reconcile streams"),
        (Other(kind="Audience"), "it is an audience, which never runs by itself; no job uses it.", "reconcile audience orders"),
        (Other(kind="Authorization", used_by=("a",)), "it is an authorization, which never runs by itself; used by a.",
         "reconcile auth check orders"),
        (Other(kind="Stream", life="archived"), "it is a stream whose spec is gone; its messages are kept.",
         "reconcile stream drop orders"),
    ],
)  # fmt: skip
def test_things_of_other_kinds_say_what_they_are(other: Other, because: str, step: str) -> None:
    answer = why(facts(other=other))
    assert (answer.code, answer.because, answer.step) == (Because.NOT_A_JOB, because, step)


# --- jobs that are there --------------------------------------------------------------------------------------------


def test_a_running_job_says_so_with_its_run_and_attempt() -> None:
    state = JobState(status=Status.RUNNING, reason=None, run=7, attempt=2, since_ms=AGO)
    assert why(facts(state)).because == "it is running: run 7, attempt 2, since 2026-11-21T09:50:00Z (10 min ago)."
    assert why(facts(state)).then == "it runs to its end."
    stopping = replace(state, stopping=Outcome.STOPPED)
    assert why(facts(stopping)).then == "it is stopping at its next unit (stopped)."


def test_a_run_of_an_older_spec_is_superseded_by_whose_commit() -> None:
    state = JobState(status=Status.RUNNING, reason=None, run=7, since_ms=AGO, stopping=Outcome.SUPERSEDED)
    answer = why(facts(state, changed=Cause(at_ms=AGO, author="Ada", commit="19a412f0a40816757cac")))
    assert answer.code is Because.SUPERSEDED
    assert answer.because == (
        "run 7 is superseded: its spec has changed since it started, 2026-11-21T09:50:00Z (10 min ago) by Ada "
        "(commit 19a412f0a408)."
    )
    assert answer.then == "it is stopped at its next unit, and a new run follows at once."
    assert why(facts(state)).because == "run 7 is superseded: its spec has changed since it started."


def test_a_run_whose_controller_is_gone_is_said_to_be_cut_off() -> None:
    state = JobState(status=Status.RUNNING, reason=None, run=7, attempt=1, since_ms=AGO)
    answer = why(facts(state, controller=None))
    assert answer.code is Because.NO_CONTROLLER
    assert answer.because == "run 7 was cut off: the controller that ran it is gone."
    assert why(facts(state, controller=None, seen_ms=AGO)).because == (
        "run 7 was cut off: the controller that ran it is gone; last seen 2026-11-21T09:50:00Z (10 min ago)."
    )


def test_a_paused_job_says_by_whom_and_what_it_goes_back_to() -> None:
    state = JobState(
        status=Status.PAUSED, reason=None, since_ms=AGO, held_status=Status.SLEEPING, held_reason=Reason.SCHEDULED,
        owed=Owed.RERUN,
    )  # fmt: skip
    answer = why(facts(state, paused=Cause(at_ms=AGO, author="Ada", commit="19a412f0a40816757cac")))
    assert answer.code is Because.SUSPENDED
    assert answer.because == (
        "it is paused (spec.suspend) since 2026-11-21T09:50:00Z (10 min ago) by Ada (commit 19a412f0a408)."
    )
    assert answer.step == "reconcile resume orders"
    assert (
        answer.then
        == "`reconcile resume orders` takes it back to Sleeping (Scheduled); a run is owed, and starts then."
    )


def test_a_failed_job_says_its_last_error_and_the_next_step() -> None:
    state = JobState(
        status=Status.FAILED, reason=None, since_ms=AGO, errors=20, errors_since_ms=AGO, last_error="no such table"
    )
    answer = why(facts(state))
    assert answer.code is Because.FAILED
    assert answer.because == (
        "it failed: errors in a row since 2026-11-21T09:50:00Z (10 min ago), longer than retry.failAfter (10h). "
        "The last error: no such table"
    )
    assert answer.then.startswith("mend the cause, then `reconcile resume orders`")


def test_a_completed_job_says_that_its_one_run_succeeded() -> None:
    answer = why(facts(JobState(status=Status.COMPLETED, reason=None, since_ms=AGO), rules=JobRules()))
    assert answer.code is Because.COMPLETED
    assert answer.because == ("its schedule is once, and that run has succeeded, 2026-11-21T09:50:00Z (10 min ago).")


def test_an_expired_job_says_when_it_expired() -> None:
    state = JobState(status=Status.COMPLETED, reason=None, since_ms=AGO, expired=True)
    answer = why(facts(state, rules=replace(HOURLY, expires_at_ms=AGO)))
    assert answer.code is Because.EXPIRED
    assert answer.because == "spec.expiresAt has passed: 2026-11-21T09:50:00Z."


# --- jobs that sleep ------------------------------------------------------------------------------------------------


def test_a_scheduled_job_says_when_it_runs_next_and_who_will_start_it() -> None:
    state = JobState(since_ms=AGO, tick_at_ms=SOON)
    answer = why(facts(state))
    assert (answer.code, answer.at_ms) == (Because.SCHEDULED, SOON)
    assert answer.because == "its schedule's next time has not come."
    assert answer.then == "the controller at work (pid 42) starts it at 2026-11-21T10:42:00Z, in 42 min."
    alone = why(facts(state, controller=None))
    assert alone.then == (
        "the first `reconcile` after 2026-11-21T10:42:00Z (in 42 min) starts it; `reconcile --watch` keeps time."
    )
    assert alone.notes == ("no reconcile is at work on this record.",)


def test_a_job_that_is_due_while_no_controller_is_at_work_says_just_that() -> None:
    answer = why(facts(JobState(since_ms=AGO, tick_at_ms=AGO), controller=None, seen_ms=AGO))
    assert answer.code is Because.NO_CONTROLLER
    assert answer.because == (
        "it is due since 2026-11-21T09:50:00Z (10 min ago), and no reconcile is at work on this record; last seen "
        "2026-11-21T09:50:00Z (10 min ago)."
    )
    assert answer.then == "the next `reconcile` starts it."


def test_backoff_says_the_error_the_next_try_and_when_it_gives_up() -> None:
    state = sleeping(Reason.BACKOFF, errors=2, last_error="HTTP 500", not_before_ms=SOON, last_outcome=Outcome.ERRORED)
    answer = why(facts(state))
    assert (answer.code, answer.at_ms) == (Because.BACKOFF, SOON)
    assert answer.because == "it waits after 2 errors in a row. The last error: HTTP 500"
    assert answer.then == "the controller at work (pid 42) tries again at 2026-11-21T10:42:00Z, in 42 min."
    assert answer.notes == ("after 10h of errors, counted in uptime, it becomes Failed.",)


def test_a_rate_limit_is_not_called_an_error() -> None:
    state = sleeping(Reason.RATE_LIMITED, not_before_ms=SOON, last_outcome=Outcome.RATE_LIMITED)
    answer = why(facts(state))
    assert answer.code is Because.RATE_LIMITED
    assert answer.because == "the other side asks for patience (a rate limit or a quota)."


def test_quiet_hours_say_when_they_end() -> None:
    answer = why(facts(sleeping(Reason.QUIET_HOURS), rules=replace(HOURLY, quiet=Quiet(9 * 60, 11 * 60))))
    assert answer.code is Because.QUIET_HOURS
    assert answer.at_ms == milliseconds("2026-11-21T11:00:00.000Z")


def test_a_dependency_that_holds_the_job_back_is_named_with_its_reason() -> None:
    rules = replace(HOURLY, depends_on=("customers",))
    held = facts(
        sleeping(Reason.WAITING_FOR_DEPENDENCY),
        rules=rules,
        dependencies=(DependencyFacts(name="customers", status=Status.FAILED, last_outcome=Outcome.FAILED),),
    )
    answer = why(held)
    assert answer.code is Because.WAITING_FOR_DEPENDENCY
    assert answer.because == ("it waits for customers, which has failed, since 2026-11-21T09:50:00Z (10 min ago).")
    assert answer.then == "it starts as soon as that has succeeded; `reconcile why customers` says when that may be."
    assert answer.step == "reconcile why customers"
    assert why(replace(held, controller=None, seen_ms=AGO)).notes == (
        "no reconcile is at work on this record; last seen 2026-11-21T09:50:00Z (10 min ago).",
    )


def test_a_job_after_its_dependencies_waits_for_their_next_success() -> None:
    rules = JobRules(schedule=AfterDependencies(), depends_on=("a", "b"))
    answer = why(facts(JobState(reason=Reason.WAITING_FOR_DEPENDENCY), rules=rules))
    assert answer.because == "it runs after a and b, and none has succeeded since its last start."
    assert answer.then == "the next success of one of them starts it."
    follows = facts(JobState(reason=Reason.WAITING_FOR_DEPENDENCY), rules=rules, audience_ms=SOON)
    assert why(follows).then == (
        "the next success of one of them starts it, and so does its audience when it changes by itself: "
        "at 2026-11-21T10:42:00Z, in 42 min."
    )


def test_a_job_that_waits_for_a_slot_says_how_many_are_before_it() -> None:
    answer = why(facts(sleeping(Reason.WAITING_FOR_SLOT, queued_ms=AGO), ahead=3))
    assert answer.code is Because.WAITING_FOR_SLOT
    assert answer.because == (
        "every slot is taken; it waits since 2026-11-21T09:50:00Z (10 min ago), 3 jobs before it."
    )


def test_an_owed_run_without_a_controller_waits_for_the_next_pass() -> None:
    answer = why(facts(sleeping(Reason.WAITING_FOR_SLOT, queued_ms=AGO), controller=None))
    assert answer.code is Because.NO_CONTROLLER
    assert answer.because == (
        "a run is owed since 2026-11-21T09:50:00Z (10 min ago) (its schedule), and no reconcile is at work on this record."
    )
    assert answer.then == "the next `reconcile` starts it."


def test_an_interrupted_run_goes_on_from_its_last_unit() -> None:
    answer = why(facts(sleeping(Reason.INTERRUPTED, run=7)))
    assert answer.code is Because.INTERRUPTED
    assert answer.then == "the controller at work (pid 42) goes on from its last committed unit at once."


def test_guards_and_consent_name_the_step_to_take() -> None:
    assert why(facts(sleeping(Reason.AWAITING_APPROVAL))).then == "`reconcile approve orders` lets it go on."
    ticks = sleeping(Reason.AWAITING_APPROVAL, tick_at_ms=NOW.wall_ms)
    assert why(facts(ticks)).then == "`reconcile approve orders` lets it go on; its next scheduled run looks again."
    assert why(facts(sleeping(Reason.AWAITING_CONSENT))).then == "give the consent; the job goes on by itself."


def test_a_continuous_job_that_found_nothing_looks_again() -> None:
    answer = why(facts(JobState(tick_at_ms=SOON), rules=JobRules(schedule=Continuous())))
    assert answer.because == "its last run found nothing to do."


def test_a_job_that_became_invalid_goes_on_and_says_so_in_a_note() -> None:
    answer = why(facts(JobState(tick_at_ms=SOON), problems=(PROBLEM,), pending=("spec.schedule changed",)))
    assert answer.code is Because.SCHEDULED
    assert answer.notes == (
        "its spec is invalid, so it goes on as it was last valid: orders.yaml:4:8: error: spec.suspend: expected true "
        "or false, found 'maybe'",
        "its spec has changed, and no pass has applied that yet: spec.schedule changed",
    )


STATES = st.builds(
    JobState,
    status=st.sampled_from(Status),
    reason=st.one_of(st.none(), st.sampled_from(Reason)),
    since_ms=st.just(AGO),
    held_status=st.one_of(st.none(), st.sampled_from(Status)),
    owed=st.one_of(st.none(), st.sampled_from(Owed)),
    tick_at_ms=st.one_of(st.none(), st.just(SOON), st.just(AGO)),
    not_before_ms=st.one_of(st.none(), st.just(SOON), st.just(AGO)),
    last_outcome=st.one_of(st.none(), st.sampled_from(Outcome)),
    run=st.one_of(st.none(), st.just(7)),
    expired=st.booleans(),
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a machine under load is no fault of the strategy
@given(
    STATES,
    st.sampled_from(
        [HOURLY, JobRules(), JobRules(schedule=Continuous()), JobRules(schedule=AfterDependencies(), depends_on=("a",))]
    ),
    st.sampled_from(["live", "purged", "orphaned"]),
    st.sampled_from([None, 42]),
)
def test_every_state_has_an_answer_of_whole_sentences(
    state: JobState, rules: JobRules, life: str, controller: int | None
) -> None:
    answer = why(facts(state, rules=rules, life=life, controller=controller))
    assert answer.because.rstrip().endswith((".", "known.")) or "The last error:" in answer.because
    assert answer.then.endswith((".", "?"))
    assert answer.code is not Because.UNKNOWN
    assert answer.at_ms is not None or answer.step
