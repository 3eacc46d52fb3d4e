"""What has moved between a saved plan and the one that would be made now, and in which words it is said."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from reconciler.core.basis import Basis, Declared, Observed, moved, touched_keys

DECLARED = Declared(kind="Job", name="a", path="a.yaml", digest="d1", metadata_digest="m1")
OBSERVED = Observed(
    kind="Job",
    name="a",
    path="a.yaml",
    life="live",
    generation=1,
    digest="d0",
    status="Sleeping",
    last_run=4,
    state="s1",
)
BASIS = Basis(
    program="1.0",
    providers="",
    record="r1",
    events=7,
    specs="t1",
    settings={"source": "", "allowPaths": []},
    declared=(DECLARED,),
    observed=(OBSERVED,),
)
UPDATE = {"verb": "update", "kind": "Job", "name": "a", "path": "jobs.d/a.yaml", "reason": "spec.timeout changed"}


def body(**changed: Any) -> dict[str, Any]:
    return {
        "revision": "main@sha1:1",
        "basis": BASIS.to_json("jobs.d"),
        "actions": [UPDATE],
        "runs": [{"name": "a", "reason": "schedule"}],
        "waiting": [],
        **changed,
    }


def with_basis(**changed: Any) -> dict[str, Any]:
    found = body()
    found["basis"] = {**found["basis"], **changed}
    return found


def with_observed(**changed: Any) -> dict[str, Any]:
    found = deepcopy(body())
    found["basis"]["observed"][0].update(changed)
    return found


def with_declared(**changed: Any) -> dict[str, Any]:
    found = deepcopy(body())
    found["basis"]["declared"][0].update(changed)
    return found


def test_a_plan_in_which_nothing_has_moved_stands() -> None:
    assert moved(body(), body()) == []


def test_a_plan_names_what_it_touches_by_kind_and_name() -> None:
    assert touched_keys(body()["basis"]) == [("Job", "a")]


@pytest.mark.parametrize(
    ("fresh", "words"),
    [
        (body(revision="main@sha1:2"), "the revision moved from main@sha1:1 to main@sha1:2"),
        (body(revision=""), "the revision moved from main@sha1:1 to no commit"),
        (with_basis(record=None), "it was made for another record (r1; this is an empty one)"),
        (with_basis(record={"id": "r2", "events": 7}), "it was made for another record (r1; this is r2)"),
        (with_basis(program="2.0"), "it was made by reconcile 1.0, and this is 2.0"),
        (with_basis(providers="x 1"), "other providers, or other versions of them, are installed"),
        (with_basis(specs="t2"), "other specs have changed"),
        (with_basis(settings={"source": "git:main"}), "settings have changed: allowPaths, source"),
        (with_basis(policy="p2"), "the policy has changed"),
        (with_basis(declared=[]), "jobs.d/a.yaml: Job a is declared no more"),
        (with_declared(digest="d2"), "jobs.d/a.yaml: Job a has changed"),
        (with_declared(metadataDigest="m2"), "jobs.d/a.yaml: Job a has changed"),
        (with_declared(path="jobs.d/b.yaml"), "jobs.d/b.yaml: Job a has moved here from jobs.d/a.yaml"),
        (with_basis(observed=[]), "Job a is not in the record any more"),
        (with_observed(generation=2), "Job a is at generation 2, and was at 1"),
        (with_observed(life="purged"), "Job a is purged, and was live"),
        (with_observed(status="Failed"), "Job a is Failed, and was Sleeping"),
        (with_observed(lastRun=5), "Job a has run since (run 5)"),
        (with_observed(state="s2"), "Job a has moved on in the record"),
        (body(actions=[]), "update Job a would not be done so now"),
        (body(runs=[]), "the run of a is not due any more"),
        (body(rebuild={"messages": 1}), "what a rebuild of the profiles would read has changed"),
    ],
)
def test_one_thing_that_has_moved_is_named_alone(fresh: dict[str, Any], words: str) -> None:
    assert moved(body(), fresh) == [words]


def test_what_is_in_the_way_of_an_action_is_named_with_it() -> None:
    reason = "no file declares it, but nothing is deleted now: b.yaml cannot be read or parsed"
    delete = {**UPDATE, "verb": "delete"}
    fresh = body(actions=[], waiting=[{"kind": "Job", "name": "a", "reason": reason}])
    assert moved(body(actions=[delete]), fresh) == [f"delete Job a would not be done so now: {reason}"]


def test_an_action_that_nothing_explains_is_named_too() -> None:
    more = {**UPDATE, "verb": "pause", "reason": "spec.suspend is true"}
    assert moved(body(), body(actions=[UPDATE, more])) == ["pause Job a would be done too: spec.suspend is true"]


def test_what_only_time_has_brought_about_moves_nothing() -> None:
    purge = {**UPDATE, "verb": "purge", "name": "old"}
    later = body(actions=[UPDATE, purge], runs=[*body()["runs"], {"name": "b", "reason": "schedule"}])
    assert moved(body(), later) == []


def test_what_waited_and_would_be_done_now_is_left_undone() -> None:
    waiting = [{"kind": "Job", "name": "a", "reason": "nothing is applied until Monday (window nights)"}]
    assert moved(body(actions=[], waiting=waiting), body()) == []


def test_things_that_the_plan_did_not_touch_are_named_by_their_file() -> None:
    others = [{**UPDATE, "name": name} for name in ("b", "c", "d")]
    fresh = with_basis(specs="t2")
    fresh["actions"] = [UPDATE, *others]
    basis = fresh["basis"]
    basis["declared"] = [*basis["declared"], {"kind": "Job", "name": "b", "path": "jobs.d/b.yaml"}]
    basis["declared"] += [{"kind": "Job", "name": "c", "path": "jobs.d/c.yaml"}]
    observed = [{"kind": "Job", "name": name, "path": f"jobs.d/{name}.yaml"} for name in ("c", "d")]
    basis["observed"] = [*basis["observed"], *observed]
    assert moved(body(), fresh) == [
        "jobs.d/b.yaml: Job b is declared now",
        "jobs.d/c.yaml: Job c has changed",
        "jobs.d/d.yaml: Job d is declared no more",
    ]


def test_a_thing_that_came_or_came_back_since_is_named() -> None:
    saved = with_basis(declared=[])
    assert moved(saved, body()) == ["jobs.d/a.yaml: Job a is declared now"]
    assert moved(with_basis(observed=[]), body()) == ["Job a is in the record now"]
    saved = with_basis(record=None)
    assert moved(saved, body()) == ["nothing was recorded when it was made, and something is now"]


def test_what_was_recorded_since_is_named_up_to_five_things() -> None:
    fresh = with_basis(record={"id": "r1", "events": 9})
    assert moved(body(), fresh, ["b Synced"]) == ["since then the record says: b Synced"]
    assert moved(body(), fresh) == ["since then the record says: something that is gone again"]
    many = [f"job-{number} Synced" for number in range(6)]
    assert moved(body(), fresh, many) == [f"since then the record says: {', '.join(many[:5])} and more"]


@pytest.mark.parametrize(
    ("section", "words"),
    [("backfills", "what backfill x would add has changed"), ("exports", "what export x would send has changed")],
)
def test_what_would_be_moved_belongs_to_the_plan(section: str, words: str) -> None:
    saved = body(**{section: [{"name": "x", "add": 1}]})
    assert moved(saved, body(**{section: [{"name": "x", "add": 2}, {"name": "y", "add": 1}]})) == [words]
    assert moved(saved, body(**{section: [{"name": "x", "add": 1}, {"name": "y", "add": 1}]})) == []
