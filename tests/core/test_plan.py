"""The planner, by example and by law. The laws use a model of the world: a few lines that do what an action says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.clock import Now
from reconciler.core.change import Change
from reconciler.core.consequence import spec_events
from reconciler.core.document import Document, Kind, canonical, digest_of
from reconciler.core.happening import (
    AuthorizationChanged,
    Errored,
    Event,
    Relaxed,
    RerunAsked,
    RestartAsked,
    Resumed,
    RulesChanged,
    ScheduleChanged,
    Started,
    Succeeded,
    Suspended,
    WorkChanged,
)
from reconciler.core.lifecycle import advance, created, happenings
from reconciler.core.plan import Difference, Known, Life, Pair, differing, plan
from reconciler.core.planned import Action, Plan, PlannedRun, Risk, Verb, Waiting, to_json
from reconciler.core.prune import Budget, Pruning, Purse
from reconciler.core.rules import rules_of
from reconciler.core.state import JobState, Status
from reconciler.core.words import DAY_MS, HOUR_MS
from reconciler.errors import Problem

T0 = 1_790_000_000_000
NOW = Now(T0, 0)
BASE: dict[str, Any] = {
    "provider": "files",
    "jobType": "import-csv",
    "schedule": {"every": HOUR_MS},
    "config": {"path": "a.csv", "stream": "orders"},
}


def job(name: str = "a", path: str = "jobs.yaml", **changed: Any) -> Document:
    """A job whose spec is BASE with fields replaced, or taken away where they are None."""
    about = {key: changed.pop(key) for key in ("title", "renamed_from", "labels") if key in changed}
    spec = {key: value for key, value in {**BASE, **changed}.items() if value is not None}
    return Document(kind="Job", name=name, path=path, spec=spec, **about)


def thing(kind: Kind, name: str, **spec: Any) -> Document:
    return Document(kind=kind, name=name, path="things.yaml", spec=spec)


def known(document: Document, **more: Any) -> Known:
    defaults: dict[str, Any] = {"status": Status.SLEEPING, "since_ms": T0} if document.kind == "Job" else {}
    return Known(
        kind=document.kind,
        name=document.name,
        path=document.path,
        digest=document.digest,
        work_digest=document.work_digest,
        metadata_digest=document.metadata_digest,
        spec=document.spec,
        deletion_policy=document.spec.get("deletionPolicy", "delete"),
        title=document.title,
        description=document.description,
        labels=document.labels,
        **{**defaults, **more},
    )


def made(*pairs: Pair, now: Now = NOW, **difference: Any) -> Plan:
    return plan(Difference(pairs=pairs, **difference), now)


def edit(before: Document, after: Document, **more: Any) -> Plan:
    if before.name == after.name:
        return made(Pair(declared=after, known=known(before, **more)))
    return made(Pair(declared=after), Pair(known=known(before, **more)))


def brief(made_plan: Plan) -> list[tuple[str, str, str]]:
    return [(str(one.verb), one.name, one.reason) for one in made_plan.actions]


# --- one change at a time -------------------------------------------------------------------------------------------


def test_a_new_document_is_created() -> None:
    assert brief(made(Pair(declared=job()))) == [("create", "a", "declared in jobs.yaml")]


def test_an_unchanged_document_makes_no_plan() -> None:
    assert edit(job(), job()).is_empty


@pytest.mark.parametrize(
    ("after", "verb", "reason", "changes"),
    [
        (
            job(schedule={"every": 2 * HOUR_MS}),
            "update",
            "spec.schedule changed",
            (Change("spec.schedule.every", "1h", "2h"),),
        ),
        (
            job(schedule={"cron": "0 3 * * *"}),
            "update",
            "spec.schedule changed",
            (Change("spec.schedule.cron", None, "0 3 * * *"), Change("spec.schedule.every", "1h", None)),
        ),
        (
            job(timeout=90_000, dependsOn=["b"]),
            "update",
            "spec.dependsOn and spec.timeout changed",
            (Change("spec.dependsOn", None, ["b"]), Change("spec.timeout", None, "1m30s")),
        ),
        (
            job(expiresAt=T0),
            "update",
            "spec.expiresAt changed",
            (Change("spec.expiresAt", None, "2026-09-21T14:13:20.000Z"),),
        ),
        (job(title="New"), "update", "metadata.title changed", (Change("metadata.title", "", "New"),)),
        (
            job(labels={"team": "x"}),
            "update",
            "metadata.labels.team changed",
            (Change("metadata.labels.team", None, "x"),),
        ),
        (job(suspend=True), "pause", "spec.suspend is true", (Change("spec.suspend", False, True),)),
        (job(rerun="1"), "rerun", "spec.rerun changed", (Change("spec.rerun", None, "1"),)),
        (job(path="b/c.yaml"), "move", "moved from jobs.yaml", ()),
    ],
)
def test_each_edit_has_its_verb_its_reason_and_its_changes(
    after: Document, verb: str, reason: str, changes: tuple[Change, ...]
) -> None:
    (action,) = edit(job(), after).actions
    assert (str(action.verb), action.reason, action.changes, action.resets_cursor) == (verb, reason, changes, False)


def test_a_job_is_resumed_when_suspend_goes() -> None:
    assert brief(edit(job(suspend=True), job(), status=Status.PAUSED)) == [("resume", "a", "spec.suspend is false")]


def test_a_rerun_or_restart_that_is_taken_away_asks_for_nothing() -> None:
    assert brief(edit(job(rerun="1", restart="1"), job())) == [("update", "a", "spec.rerun and spec.restart changed")]


@pytest.mark.parametrize(("rows", "said"), [(1_234, "1,234 rows"), (1, "1 row")])
def test_a_restart_is_a_rerun_that_drops_the_cursor_and_says_what_lands_twice(rows: int, said: str) -> None:
    (action,) = edit(job(), job(restart="1"), rows=rows).actions
    assert (action.verb, action.reason, action.resets_cursor) == (Verb.RERUN, "spec.restart changed", True)
    expected = f"the cursor is dropped: the {said} of earlier runs may be landed a second time on stream orders"
    assert action.message == expected


def test_a_document_changed_in_several_ways_has_an_action_for_each() -> None:
    after = job(path="new.yaml", schedule={"every": 1}, suspend=True, rerun="1", restart="2")
    assert brief(edit(job(), after)) == [
        ("move", "a", "moved from jobs.yaml"),
        ("update", "a", "spec.schedule changed"),
        ("rerun", "a", "spec.rerun and spec.restart changed"),
        ("pause", "a", "spec.suspend is true"),
    ]


@pytest.mark.parametrize(
    ("after", "resets"),
    [
        (job(config={"path": "b.csv", "stream": "orders"}), True),
        (job(config={"path": "a.csv", "stream": "other"}), False),
        (job(provider="http"), True),
        (job(jobType="import-ndjson"), True),
    ],
)
def test_the_plan_says_where_an_edit_drops_the_cursor(after: Document, resets: bool) -> None:
    (action,) = made(
        Pair(declared=after, known=known(job())), resets={("files", "import-csv"): frozenset({"path"})}
    ).actions
    assert action.resets_cursor == resets
    assert bool(action.message) == resets


def test_an_export_sends_a_second_time_where_an_import_lands() -> None:
    before, after = job(jobType="export-csv"), job(jobType="export-csv", restart="1")
    (action,) = edit(before, after).actions
    assert action.message == "the cursor is dropped: the rows of earlier runs, if any, may be sent a second time"


def test_an_invalid_spec_leaves_its_job_as_it_was() -> None:
    assert made(Pair(known=known(job()), invalid=True)) == Plan()


# --- names ----------------------------------------------------------------------------------------------------------


def test_a_declared_rename_is_one_move_of_the_same_job() -> None:
    (action,) = edit(job("old"), job("new", renamed_from="old")).actions
    assert (action.verb, action.name, action.renamed_from) == (Verb.MOVE, "new", "old")
    assert action.reason == "renamed from old"


def test_a_renamed_stream_leaves_its_messages_behind_and_the_plan_says_so() -> None:
    (action,) = edit(thing("Stream", "old"), replace(thing("Stream", "new"), renamed_from="old")).actions
    assert (action.verb, action.reason, action.risk) == (Verb.MOVE, "renamed from old", Risk.CHANGES_WHAT_IS_SENT)
    assert action.message == (
        "the messages of old, if any, stay under that name: they are kept, but say nothing of anybody any more, "
        "and nothing reads them under the new one"
    )


def test_a_rename_to_another_file_with_other_work_is_a_move_and_an_update() -> None:
    after = job("new", path="b.yaml", renamed_from="old", schedule={"every": 1})
    assert brief(edit(job("old"), after)) == [
        ("move", "new", "renamed from old and moved from jobs.yaml"),
        ("update", "new", "spec.schedule changed"),
    ]


def test_a_rename_that_has_been_made_asks_for_nothing_more() -> None:
    assert edit(job("new"), job("new", renamed_from="old")).is_empty


def test_a_rename_from_an_unknown_name_is_a_creation_that_says_so() -> None:
    (action,) = made(Pair(declared=job("new", renamed_from="old"))).actions
    assert action.reason == "declared in jobs.yaml; nothing is known of old, its old name"


@pytest.mark.parametrize(
    "old", [Pair(declared=job("old"), known=known(job("old"))), Pair(known=known(job("old")), invalid=True)]
)
def test_a_rename_whose_old_name_is_still_declared_waits_and_is_not_made_anew(old: Pair) -> None:
    result = made(Pair(declared=job("new", renamed_from="old")), old)
    reason = "renamed from old, which is still declared; remove the one or the renamedFrom"
    assert result == Plan(waiting=(Waiting("Job", "new", reason),))


def test_two_documents_cannot_both_be_the_renamed_one() -> None:
    pairs = [Pair(declared=job(name, renamed_from="old")) for name in ("x", "y")]
    assert brief(made(*pairs, Pair(known=known(job("old"))))) == [
        ("move", "x", "renamed from old"),
        ("create", "y", "declared in jobs.yaml; nothing is known of old, its old name"),
    ]


def test_a_chain_of_renames_is_followed_and_every_name_is_free_when_its_turn_comes() -> None:
    pairs = [
        Pair(known=known(job("a"))),
        Pair(declared=job("b", renamed_from="a"), known=known(job("b"))),
        Pair(declared=job("c", renamed_from="b")),
    ]
    assert brief(made(*pairs)) == [("move", "c", "renamed from b"), ("move", "b", "renamed from a")]


def test_renames_that_go_round_in_a_circle_move_nothing() -> None:
    pairs = [
        Pair(declared=job("a", renamed_from="b"), known=known(job("a"))),
        Pair(declared=job("b", renamed_from="a"), known=known(job("b"))),
    ]
    assert made(*pairs).is_empty


# --- deletion -------------------------------------------------------------------------------------------------------


def test_what_no_file_declares_is_deleted() -> None:
    assert brief(made(Pair(known=known(job())))) == [("delete", "a", "no file declares it")]


def test_an_orphan_keeps_its_cursor_for_a_job_declared_again() -> None:
    orphan = job(deletionPolicy="orphan")
    (action,) = made(Pair(known=known(orphan))).actions
    assert action.message == "its cursor is kept (deletionPolicy: orphan)"
    (again,) = made(Pair(declared=job(), known=known(orphan, life="orphaned"))).actions
    assert (again.verb, again.reason) == (Verb.CREATE, "declared again; it goes on from the cursor that was kept")
    assert made(Pair(known=known(orphan, life="orphaned"))) == Plan()


@pytest.mark.parametrize("life", ["orphaned", "undeleted"])
def test_a_kept_cursor_is_not_that_of_other_work_which_is_declared_under_its_name(life: Life) -> None:
    for other in (job(jobType="other"), job(config={"path": "a", "stream": "others"})):
        pair = Pair(declared=other, known=known(job(), life=life))
        (again,) = made(pair, resets={("files", "import-csv"): frozenset({"stream"})}).actions
        assert again.reason == "declared again, as other work than that of which the cursor was kept; it begins anew"
        assert again.message.startswith("the cursor is dropped: the rows of earlier runs")
        assert again.resets_cursor


def test_a_deleted_job_that_is_declared_again_begins_anew_and_an_undeleted_one_goes_on() -> None:
    (anew,) = made(Pair(declared=job(), known=known(job(), life="deleted", until_ms=T0))).actions
    assert (anew.verb, anew.reason) == (Verb.CREATE, "declared again; it begins anew")
    assert anew.message == (
        "`reconcile undelete a` before that brings its cursor and history back, until 2026-09-21T14:13Z"
    )
    (goes_on,) = made(Pair(declared=job(), known=known(job(), life="undeleted"))).actions
    assert (goes_on.verb, goes_on.reason) == (Verb.CREATE, "declared again; it goes on from the cursor that was kept")
    renamed = job("b", renamed_from="a")
    (moved,) = made(Pair(declared=renamed, known=known(job("b"), life="deleted")), Pair(known=known(job()))).actions
    assert (moved.verb, moved.name) == (Verb.MOVE, "b"), "what was deleted gives way"


def test_over_the_budget_a_plan_deletes_nothing_and_says_what_waits() -> None:
    pairs = [Pair(known=known(job(name))) for name in "abc"]
    purse = Purse(budget=Budget(), jobs=9, there=9)
    result = made(Pair(declared=job("d")), *pairs, Pair(known=known(thing("Authorization", "aws"))), purse=purse)
    assert brief(result) == [("create", "d", "declared in jobs.yaml")]
    assert result.blocked is not None
    assert [one.name for one in result.waiting] == ["aws", "a", "b", "c"]
    assert {one.reason for one in result.waiting} == {
        "its deletion is blocked: no file declares 3 of 9 jobs, and a pass may delete 1 (prune: maxDeletes 5, maxPercent 10); "
        f"`reconcile approve --prune {result.blocked.digest}` approves exactly these"
    }
    body = to_json(result, "jobs.d", "")
    assert body["formatVersion"] == 1
    assert body["prune"] == {
        "reason": "no file declares 3 of 9 jobs, and a pass may delete 1 (prune: maxDeletes 5, maxPercent 10)",
        "digest": result.blocked.digest,
        "command": f"reconcile approve --prune {result.blocked.digest}",
        "jobs": 9,
        "allowed": 1,
        "spent": 0,
        "maxDeletes": 5,
        "maxPercent": 10,
        "deletions": [
            {"kind": "Authorization", "name": "aws", "path": "jobs.d/things.yaml"},
            *({"kind": "Job", "name": name, "path": "jobs.d/jobs.yaml"} for name in "abc"),
        ],
    }
    assert "prune" not in to_json(Plan(), "jobs.d", "")


def test_a_protected_job_is_never_deleted_and_the_plan_says_why() -> None:
    result = made(Pair(known=known(job(deletionPolicy="protect"))))
    assert result.actions == ()
    assert result.waiting == (
        Waiting(
            "Job",
            "a",
            "no file declares it, but its deletionPolicy is protect; to delete it, restore its file with deletionPolicy: delete, let that be applied, and remove it then",
        ),
    )


def test_while_deletions_are_held_nothing_is_deleted_and_all_else_is_done() -> None:
    result = made(Pair(declared=job("b")), Pair(known=known(job())), hold_deletions="x.yaml cannot be parsed")
    assert brief(result) == [("create", "b", "declared in jobs.yaml")]
    reason = "no file declares it, but nothing is deleted now: x.yaml cannot be parsed"
    assert result.waiting == (Waiting("Job", "a", reason),)


def test_what_a_job_that_stays_refers_to_is_not_deleted() -> None:
    auth = Pair(known=known(thing("Authorization", "aws")))
    references = {("Authorization", "aws"): ["a", "b"]}
    kept = made(auth, Pair(known=known(job("a")), invalid=True), references=references)
    assert kept.waiting == (Waiting("Authorization", "aws", "no file declares it, but a and b still refer to it"),)
    assert kept.actions == ()


def test_what_only_deleted_and_edited_jobs_referred_to_is_deleted_after_them() -> None:
    pairs = [
        Pair(known=known(thing("Authorization", "aws"))),
        Pair(known=known(job("a"))),
        Pair(declared=job("b", provider="http"), known=known(job("b", authorization="aws"))),
    ]
    result = made(*pairs, references={("Authorization", "aws"): ["a", "b"]})
    assert [(str(one.verb), one.name) for one in result.actions] == [
        ("update", "b"),
        ("delete", "a"),
        ("delete", "aws"),
    ]


def test_an_archived_stream_that_is_declared_again_has_its_messages_still() -> None:
    stream = thing("Stream", "orders")
    (action,) = made(Pair(declared=stream, known=known(stream, life="archived"))).actions
    assert action.reason == "declared again; the messages it held are still there"


def test_what_others_need_is_made_first_and_deleted_last_sorted_by_name() -> None:
    new = [job("j2"), job("j1"), thing("Stream", "s"), thing("Authorization", "z")]
    old = [job("o2"), job("o1"), thing("Stream", "os"), thing("Authorization", "oz")]
    moved = Pair(declared=job("m", path="x.yaml"), known=known(job("m")))
    result = made(*(Pair(declared=one) for one in new), *(Pair(known=known(one)) for one in old), moved)
    assert [one.name for one in result.actions] == ["m", "z", "s", "j1", "j2", "o1", "o2", "os", "oz"]


# --- purge ----------------------------------------------------------------------------------------------------------

LATER = Now(T0 + 90 * DAY_MS, 0)


@pytest.mark.parametrize("status", [Status.FAILED, Status.PAUSED, Status.COMPLETED])
def test_a_final_status_is_purged_after_ninety_days_and_not_a_moment_before(status: Status) -> None:
    document = job(suspend=True) if status is Status.PAUSED else job()
    pair = Pair(declared=document, known=known(document, status=status))
    assert brief(made(pair, now=LATER)) == [("purge", "a", f"{status} for 90 days, since 2026-09-21T14:13:20.000Z")]
    assert made(pair, now=Now(LATER.wall_ms - 1, 0)).is_empty


def test_a_purged_job_is_not_created_anew_and_the_plan_says_how_it_comes_back() -> None:
    failed = made(Pair(declared=job(), known=known(job(), status=Status.FAILED, life="purged")))
    assert failed.actions == ()
    reason = "purged after 90 days as Failed; change spec.rerun to run it again"
    assert failed.waiting == (Waiting("Job", "a", reason),)
    suspended = job(suspend=True)
    paused = made(Pair(declared=suspended, known=known(suspended, status=Status.PAUSED, life="purged")))
    assert paused.waiting[0].reason == "purged after 90 days as Paused; set spec.suspend to false to run it again"


@pytest.mark.parametrize(
    ("status", "after", "comes_back"),
    [
        (Status.FAILED, job(rerun="1"), True),
        (Status.FAILED, job(authorization="x"), True),
        (Status.FAILED, job(retry={"max": 1}), True),
        (Status.FAILED, job(title="x"), False),
        (Status.FAILED, job(dependsOn=["x"]), False),
        (Status.COMPLETED, job(config={}), True),
        (Status.COMPLETED, job(restart="1"), True),
        (Status.COMPLETED, job(authorization="x"), False),
        (Status.PAUSED, job(rerun="1"), False),
    ],
)
def test_what_leaves_a_status_saves_a_job_from_the_purge_and_brings_a_purged_one_back(
    status: Status, after: Document, comes_back: bool
) -> None:
    live = made(Pair(declared=after, known=known(job(), status=status)), now=LATER)
    assert (Verb.PURGE in [one.verb for one in live.actions]) != comes_back
    purged = made(Pair(declared=after, known=known(job(), status=status, life="purged")))
    assert bool(purged.waiting) != comes_back
    assert purged.actions


@pytest.mark.parametrize(
    ("expires_at", "purged"), [(T0 - 1, True), (LATER.wall_ms, True), (LATER.wall_ms + 1, False), (None, False)]
)
def test_an_expired_job_is_saved_from_the_purge_by_a_later_date_but_not_by_a_new_schedule(
    expires_at: int | None, purged: bool
) -> None:
    after = job(expiresAt=expires_at, schedule={"every": 1})
    pair = Pair(declared=after, known=known(job(expiresAt=T0), status=Status.COMPLETED, expired=True))
    assert (Verb.PURGE in [one.verb for one in made(pair, now=LATER).actions]) == purged


def test_the_difference_holds_what_differs_what_is_due_tombstones_and_the_old_names_of_renames() -> None:
    same = Pair(declared=job("same"), known=known(job("same")))
    old = Pair(declared=job("old"), known=known(job("old")))
    wanted = [
        Pair(declared=job("new", renamed_from="old")),
        old,
        Pair(known=known(job("gone"))),
        Pair(declared=job("edited", title="x"), known=known(job("edited"))),
        Pair(declared=job("due"), known=known(job("due"), status=Status.FAILED, since_ms=T0 - 90 * DAY_MS)),
        Pair(declared=job("tomb"), known=known(job("tomb"), status=Status.FAILED, life="purged")),
    ]
    assert differing([same, *wanted], NOW) == tuple(wanted)


# --- as JSON --------------------------------------------------------------------------------------------------------


def test_the_plan_as_json_is_the_designs() -> None:
    result = replace(
        edit(job("import-orders", "shop/orders.yaml"), job("import-orders", "shop/orders.yaml", schedule={"every": 7_200_000})),
        runs=(PlannedRun("import-orders", "due"),),
        waiting=(Waiting("Job", "x", "why"),),
        errors=(Problem("x.yaml", 4, 8, "spec.suspend", "bad", "Job", "x"),),
    )  # fmt: skip
    body = to_json(result, "jobs.d", "main@sha1:abc")
    digest = body.pop("digest")
    assert digest == digest_of(body)
    assert canonical(body) == canonical(
        {
            "formatVersion": 1,
            "root": "jobs.d",
            "revision": "main@sha1:abc",
            "actionsDigest": result.actions_digest,
            "summary": {
                "create": 0,
                "update": 1,
                "pause": 0,
                "resume": 0,
                "rerun": 0,
                "move": 0,
                "delete": 0,
                "purge": 0,
            },
            "actions": [
                {
                    "verb": "update",
                    "kind": "Job",
                    "name": "import-orders",
                    "path": "jobs.d/shop/orders.yaml",
                    "reason": "spec.schedule changed",
                    "changes": [{"field": "spec.schedule.every", "before": "1h", "after": "2h"}],
                    "resetsCursor": False,
                }
            ],
            "runs": [{"name": "import-orders", "reason": "due"}],
            "waiting": [{"kind": "Job", "name": "x", "reason": "why"}],
            "errors": [{"path": "jobs.d/x.yaml", "line": 4, "column": 8, "field": "spec.suspend", "message": "bad"}],
        }
    )


def test_a_rename_and_a_message_are_in_the_json() -> None:
    body = to_json(edit(job("old"), job("new", renamed_from="old", restart="1")), "jobs.d", "")
    move, rerun = body["actions"]
    assert move["renamedFrom"] == "old"
    assert rerun["message"].startswith("the cursor is dropped")


# --- what an edit means to a job's life -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "events"),
    [
        (job(), ()),
        (job(title="x"), ()),
        (job(config={"path": "b"}), (WorkChanged(resets_cursor=True),)),
        (job(config={**BASE["config"], "stream": "b"}), (WorkChanged(),)),
        (job(schedule=None), (ScheduleChanged(),)),
        (job(authorization="x"), (AuthorizationChanged(),)),
        (job(retry={"max": 1}, timeout=1), (Relaxed(),)),
        (job(quiet={}, dependsOn=["x"], deletionPolicy="orphan"), (RulesChanged(),)),
        (job(expiresAt=1), ()),
        (job(rerun="1", restart="1", suspend=True), (RerunAsked(), RestartAsked(), Suspended())),
    ],
)
def test_an_edit_is_told_to_a_jobs_life_as_events(after: Document, events: tuple[Event, ...]) -> None:
    assert spec_events(job().spec, after.spec, frozenset({"path"})) == events


def test_a_suspend_that_goes_is_a_resume() -> None:
    assert spec_events(job(suspend=True).spec, job().spec) == (Resumed(),)


# --- laws -----------------------------------------------------------------------------------------------------------


@dataclass
class Thing:
    """What a model world knows of a document: its identity, and what a record would hold."""

    tag: int
    document: Document
    state: JobState | None
    life: str = "live"

    def known(self) -> Known:
        one = known(self.document, life=self.life)
        if self.state is None:
            return one
        return replace(one, status=self.state.status, since_ms=self.state.since_ms, expired=self.state.expired)


@dataclass
class World:
    """A tree of documents, each with a tag that tells who it is whatever it is called, and what is known of them."""

    tree: dict[int, Document] = field(default_factory=dict)
    known: dict[tuple[str, str], Thing] = field(default_factory=dict)
    planned_names: dict[int, str] = field(default_factory=dict)
    invalid: set[int] = field(default_factory=set)
    now: Now = NOW
    tags: int = 0
    budget: Budget = field(default_factory=Budget)
    held: Pruning | None = None
    approves: bool = False

    def pairs(self) -> list[Pair]:
        declared = {(one.kind, one.name): (tag, one) for tag, one in self.tree.items()}
        found = []
        for key in sorted({*declared, *self.known}):
            tag, document = declared.get(key, (0, None))
            thing_ = self.known.get(key)
            invalid = tag in self.tree and self.is_invalid(tag)
            if invalid and thing_ is None:
                continue
            found.append(
                Pair(declared=None if invalid else document, known=thing_.known() if thing_ else None, invalid=invalid)
            )
        return found

    def has_strangers(self) -> bool:
        """Whether an invalid document has a name that nothing is known of: it may be a renamed one."""
        return any((one.kind, one.name) not in self.known for tag, one in self.tree.items() if self.is_invalid(tag))

    def is_invalid(self, tag: int) -> bool:
        """Whether a document is broken, or refers to an authorization that no file declares."""
        needs = self.tree[tag].spec.get("authorization")
        declared = {one.name for one in self.tree.values() if one.kind == "Authorization"}
        return tag in self.invalid or (needs is not None and needs not in declared)

    def difference(self, pairs: list[Pair] | tuple[Pair, ...], hold: str | None = None) -> Difference:
        references: dict[tuple[Kind, str], list[str]] = {}
        for (kind, name), one in self.known.items():
            if kind == "Job" and one.life == "live" and "authorization" in one.document.spec:
                references.setdefault(("Authorization", one.document.spec["authorization"]), []).append(name)
        return Difference(pairs=pairs, references=references, hold_deletions=hold, purse=self.purse())

    def jobs(self) -> int:
        return sum(kind == "Job" and one.life in ("live", "purged") for (kind, _), one in self.known.items())

    def purse(self) -> Purse:
        held = self.held
        return Purse(
            budget=self.budget,
            jobs=self.jobs(),
            there=self.jobs(),
            held="" if held is None else held.digest,
            held_jobs=0 if held is None else held.jobs,
            is_approved=self.approves,
        )

    def apply(self, made_plan: Plan) -> None:
        if not made_plan.hold:
            self.held = made_plan.blocked
        declared = {(one.kind, one.name): (tag, one) for tag, one in self.tree.items()}
        for action in made_plan.actions:
            self._do(action, *declared.get((action.kind, action.name), (0, None)))
        self.planned_names = {one.tag: name for (_, name), one in self.known.items()}

    def _do(self, action: Action, tag: int, document: Document | None) -> None:
        key = (action.kind, action.name)
        match action.verb:
            case Verb.DELETE:
                life = {"Stream": "archived", "Job": "deleted"}.get(action.kind, "")
                life = "orphaned" if action.message else life
                if life:
                    self.known[key].life = life
                else:
                    del self.known[key]
            case Verb.PURGE:
                self.known[key].life = "purged"
            case Verb.CREATE:
                assert document is not None
                assert key not in self.known or self.known[key].life in ("orphaned", "archived", "deleted")
                state = created(rules_of(document.spec), self.now).state if action.kind == "Job" else None
                self.known[key] = Thing(tag, document, state)
            case Verb.MOVE:
                assert document is not None
                moved = self.known.pop((action.kind, action.renamed_from or action.name))
                assert key not in self.known, "the new name of a rename is free"
                moved.document = replace(moved.document, name=document.name, path=document.path)
                self.known[key] = moved
            case _:
                assert document is not None
                self._edit(self.known[key], document)

    def _edit(self, one: Thing, document: Document) -> None:
        rules = rules_of(document.spec)
        if one.state is not None:
            before = one.state.status
            for event in spec_events(one.document.spec, document.spec):
                one.state = advance(one.state, event, rules, self.now).state
            for event in happenings(one.state, rules, self.now):
                one.state = advance(one.state, event, rules, self.now).state
            if one.state.status is not before:
                one.life = "live"
        one.document = document


SPECS: Mapping[str, Any] = {
    "schedule": [None, {"every": HOUR_MS}, {"cron": "0 3 * * *"}],
    "config": [{"path": "a.csv"}, {"path": "b.csv"}],
    "authorization": [None, "aws", "gcp"],
    "retry": [None, {"failAfter": 0}],
    "suspend": [None, True],
    "rerun": [None, "1", "2"],
    "restart": [None, "1"],
    "deletionPolicy": [None, "orphan", "protect"],
    "expiresAt": [None, T0 - 1, T0 + 50 * DAY_MS],
    "dependsOn": [None, ["a"]],
}
NAMES = ["a", "b", "c", "d", "e"]
EDITS = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(NAMES), st.sampled_from(["x.yaml", "y.yaml"])),
    st.tuples(
        st.just("edit"),
        st.integers(1, 8),
        st.sampled_from(sorted(SPECS)).flatmap(lambda name: st.tuples(st.just(name), st.sampled_from(SPECS[name]))),
    ),
    st.tuples(st.just("title"), st.integers(1, 8), st.sampled_from(["", "T"])),
    st.tuples(st.just("move"), st.integers(1, 8), st.sampled_from(["x.yaml", "y.yaml", "z/x.yml"])),
    st.tuples(st.just("rename"), st.integers(1, 8), st.sampled_from(NAMES)),
    st.tuples(st.just("delete"), st.integers(1, 8), st.none()),
    st.tuples(st.just("break"), st.integers(1, 8), st.none()),
    st.tuples(st.just("mend"), st.integers(1, 8), st.none()),
    st.tuples(st.just("auth"), st.sampled_from(["aws", "gcp"]), st.sampled_from([None, "basic", "bearer"])),
)
LIFE = st.tuples(st.sampled_from(["succeed", "err", "nothing"]), st.integers(1, 8))
ROUND = st.tuples(
    st.lists(EDITS, max_size=5), st.lists(LIFE, max_size=3), st.sampled_from([0, HOUR_MS, 45 * DAY_MS, 90 * DAY_MS]), st.booleans(),
    st.booleans(),
)  # fmt: skip
BUDGETS = st.builds(Budget, max_deletes=st.integers(0, 5), max_percent=st.sampled_from([0, 10, 50, 100]))


def make_edit(world: World, what: str, which: Any, value: Any) -> None:
    """One edit by a person; one that makes no sense in this tree is left out."""
    names = {one.name for one in world.tree.values() if one.kind == "Job"}
    tags = sorted(tag for tag in world.tree if tag > 0)
    if isinstance(which, int) and tags:
        which = tags[which % len(tags)]
    match what:
        case "create":
            if which not in names:
                world.tags += 1
                world.tree[world.tags] = job(which, value)
        case "auth":
            tag = -1 - ["aws", "gcp"].index(which)
            world.tree.pop(tag, None)
            if value is not None:
                world.tree[tag] = thing("Authorization", which, method=value)
        case _ if which not in world.tree:
            pass
        case "delete":
            del world.tree[which]
            world.invalid.discard(which)
        case "break":
            world.invalid.add(which)
        case "mend":
            world.invalid.discard(which)
        case "rename":
            if which not in world.invalid and value not in names and ("Job", value) not in world.known:
                old = world.planned_names.get(which, "")
                world.tree[which] = replace(world.tree[which], name=value, renamed_from=old)
        case "title":
            world.tree[which] = replace(world.tree[which], title=value)
        case "move":
            world.tree[which] = replace(world.tree[which], path=value)
        case "edit":
            name, setting = value
            spec = {key: one for key, one in {**world.tree[which].spec, name: setting}.items() if one is not None}
            world.tree[which] = replace(world.tree[which], spec=spec)


def live_on(world: World, what: str, which: int) -> None:
    """A run of one job, if it owes one, to its end."""
    jobs = [one for one in world.known.values() if one.state is not None and one.life == "live"]
    if not jobs:
        return
    one = jobs[which % len(jobs)]
    assert one.state is not None
    rules = rules_of(one.document.spec)
    for event in happenings(one.state, rules, world.now):
        one.state = advance(one.state, event, rules, world.now).state
    if what != "nothing" and one.state.status is Status.SLEEPING and one.state.owed is not None:
        one.state = advance(one.state, Started(1), rules, world.now).state
        end = Succeeded() if what == "succeed" else Errored("boom")
        one.state = advance(one.state, end, rules, world.now).state


def expire(world: World) -> None:
    """What time alone brings about, brought about before the plan."""
    for one in world.known.values():
        if one.state is not None and one.life == "live":
            for event in happenings(one.state, rules_of(one.document.spec), world.now):
                one.state = advance(one.state, event, rules_of(one.document.spec), world.now).state


@settings(max_examples=250, deadline=None)
@given(st.lists(ROUND, min_size=1, max_size=5), BUDGETS)
def test_applying_a_plan_and_planning_again_is_empty_and_the_difference_plans_as_the_whole(
    rounds: list[Any], budget: Budget
) -> None:
    world = World(budget=budget)
    for name in "abc":
        make_edit(world, "create", name, "x.yaml")
    world.apply(plan(world.difference(world.pairs()), world.now))
    for edits, lives, later_ms, held, approves in rounds:
        for what, which, value in edits:
            make_edit(world, what, which, value)
        before = {one.tag for one in world.known.values() if one.life in ("live", "purged")}
        world.now = Now(world.now.wall_ms + later_ms, world.now.alive_ms + later_ms)
        expire(world)
        world.approves = approves and world.held is not None
        held = held or world.has_strangers()
        pairs, hold = world.pairs(), "a file cannot be parsed" if held else None
        whole = plan(world.difference(pairs, hold), world.now)
        assert plan(world.difference(differing(pairs, world.now), hold), world.now) == whole
        assert all(one.reason for one in (*whole.actions, *whole.waiting))
        tags = {(one.kind, one.name): tag for tag, one in world.tree.items()}
        again = [one.name for one in whole.actions if one.verb is Verb.CREATE and tags[one.kind, one.name] in before]
        assert again == [], "what is known and still declared is never created anew"
        deleted = {world.known[one.kind, one.name].tag for one in whole.actions if one.verb is Verb.DELETE}
        assert not deleted & set(world.tree), "what is still declared is never deleted"
        assert not (held and deleted)
        going = sum(one.verb is Verb.DELETE and one.kind == "Job" for one in whole.actions)
        coming = sum(one.verb is Verb.CREATE and one.kind == "Job" for one in whole.actions)
        approved = whole.prune is not None and whole.prune.is_approved
        assert approved or going <= max(1, min(budget.max_deletes, world.jobs() * budget.max_percent // 100))
        assert approved or not going or world.jobs() + coming > going, "the last job"
        assert not (whole.blocked and deleted), "over the budget nothing at all is deleted"
        world.apply(whole)
        world.approves = False
        after = plan(world.difference(world.pairs(), hold), world.now)
        assert brief(after) == []
        for what, which in lives:
            live_on(world, what, which)
