"""The deletion budget, by example and by law: never more without an approval, and an approval is of one set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.document import Kind
from reconciler.core.prune import SETTLING_MS, Budget, Doomed, Purse, judge, spent

T0 = 1_790_000_000_000


def doomed(*names: str, kind: Kind = "Job", digest: str = "d") -> list[Doomed]:
    return [Doomed(kind=kind, name=name, path=f"{name}.yaml", digest=digest) for name in names]


def purse(jobs: int, **more: object) -> Purse:
    return Purse(budget=Budget(), jobs=jobs, there=jobs, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("jobs", "allowed"), [(0, 1), (1, 1), (19, 1), (20, 2), (29, 2), (50, 5), (51, 5), (100_000, 5)]
)
def test_a_pass_may_delete_five_jobs_or_a_tenth_of_them_whatever_is_less_and_always_one(
    jobs: int, allowed: int
) -> None:
    assert Budget().allows(jobs) == allowed


def test_the_operator_may_settle_otherwise() -> None:
    assert Budget(max_deletes=50, max_percent=100).allows(30) == 30
    assert Budget(max_deletes=0, max_percent=0).allows(1_000) == 1


def test_over_the_budget_the_set_waits_with_its_reason_its_digest_and_the_command_that_approves_it() -> None:
    found = judge(purse(30), doomed("c", "a", "b", "d"), 0)
    assert found is not None
    assert found.names == ("a", "b", "c", "d")
    assert found.reason == (
        "no file declares 4 of 30 jobs, and a pass may delete 3 (prune: maxDeletes 5, maxPercent 10)"
    )
    assert found.command == f"reconcile approve --prune {found.digest}"
    assert not found.is_approved
    assert judge(purse(40), doomed("c", "a", "b", "d"), 0) is None


def test_an_approval_is_of_exactly_one_set() -> None:
    found = judge(purse(30), doomed("a", "b", "c", "d"), 0)
    assert found is not None
    approved = purse(30, held=found.digest, held_jobs=30, is_approved=True)
    again = judge(approved, doomed("d", "c", "b", "a"), 0)
    assert again is not None
    assert again.is_approved
    others = [doomed("a", "b", "c", "e"), doomed("a", "b", "c", "d", "e"), doomed("a", "b", "c", "d", digest="edited")]
    for other in others:
        changed = judge(approved, other, 0)
        assert changed is not None
        assert not changed.is_approved


def test_that_no_job_is_left_always_needs_an_approval() -> None:
    last = judge(Purse(budget=Budget(max_deletes=100, max_percent=100), jobs=1, there=1), doomed("a"), 0)
    assert last is not None
    assert last.reason == "no file declares the only job, and that no job is left always needs an approval"
    all_ = judge(Purse(budget=Budget(max_deletes=100, max_percent=100), jobs=2, there=2), doomed("a", "b"), 0)
    assert all_ is not None
    assert all_.reason == "no file declares 2 of 2 jobs, and that no job is left always needs an approval"
    assert judge(purse(1), doomed("a"), 1) is None, "another job takes its place"


def test_once_the_specs_come_from_another_folder_every_deletion_needs_an_approval() -> None:
    moved = "the specs come from other.d/ now, and came from jobs.d/ before"
    found = judge(purse(100, moved=moved), doomed("a"), 0)
    assert found is not None
    assert found.reason == f"no file declares 1 of 100 jobs, and {moved}, which always needs an approval"
    assert judge(purse(100), doomed("a"), 0) is None
    assert judge(purse(100, moved=moved), doomed(), 0) is None


def test_only_jobs_are_counted_but_an_approval_is_of_all_that_goes_with_them() -> None:
    auths = doomed("x", "y", "z", kind="Authorization")
    assert judge(purse(1), auths, 0) is None
    found = judge(purse(10), [*doomed("a", "b"), *auths], 0)
    assert found is not None
    assert (found.names, len(found.doomed)) == (("a", "b"), 5)


def test_jobs_that_appear_while_others_go_missing_make_no_room_for_them() -> None:
    assert judge(Purse(budget=Budget(), jobs=5, there=105), doomed("a", "b", "c", "d", "e"), 0) is not None
    assert judge(Purse(budget=Budget(), jobs=1, there=2), doomed("a"), 0) is None, "it is not the last one"


def test_what_went_just_before_counts() -> None:
    assert judge(purse(28, spent=2), doomed("a"), 0) is None
    found = judge(purse(28, spent=2), doomed("a", "b"), 0)
    assert found is not None
    assert found.reason == (
        "no file declares 2 of 28 jobs, and a pass may delete 3, of which 2 went just now "
        "(prune: maxDeletes 5, maxPercent 10)"
    )


def test_jobs_that_were_made_since_leave_no_room_for_a_set_that_is_held() -> None:
    found = judge(purse(10), doomed("a", "b"), 40)
    assert found is not None
    assert judge(purse(50, held=found.digest, held_jobs=10), doomed("a", "b"), 0) is not None
    assert judge(purse(50, held=found.digest, held_jobs=10), doomed("a"), 0) is None


def test_deletions_that_follow_each_other_are_one_and_a_pause_or_a_commit_ends_it() -> None:
    minute = SETTLING_MS
    slices = [(T0, ""), (T0 + minute - 1, ""), (T0 + 2 * minute - 2, "")]
    assert spent(slices, T0 + 3 * minute - 3, "") == 3
    assert spent(slices, T0 + 3 * minute - 2, "") == 0
    assert spent([(T0 - 2 * minute, ""), (T0, "")], T0 + 1, "") == 1
    assert spent([(T0, "main@sha1:a"), (T0 + 1, "main@sha1:b")], T0 + 2, "main@sha1:b") == 1
    assert spent([(T0, "main@sha1:a")], T0 + 1, "main@sha1:b") == 0
    assert spent([(T0 + 10 * minute, "")], T0, "") == 1, "the clock was set back"


@given(
    budget=st.builds(Budget, max_deletes=st.integers(0, 20), max_percent=st.integers(0, 100)),
    jobs=st.integers(1, 60),
    going=st.lists(st.integers(1, 60), max_size=12),
    created=st.integers(0, 60),
)
def test_no_tree_that_is_torn_down_in_slices_loses_more_than_the_budget(
    budget: Budget, jobs: int, going: list[int], created: int
) -> None:
    """Slices, one look each, within a minute of each other; what is held back adds up with what comes."""
    left, gone, waiting = jobs, 0, 0
    held: tuple[str, int] = "", 0
    for number in going:
        waiting += min(number, left - waiting)
        names = [f"j{one}" for one in range(gone, gone + waiting)]
        found = judge(
            Purse(budget=budget, jobs=left, there=left, spent=gone, held=held[0], held_jobs=held[1]),
            doomed(*names),
            created,
        )
        if found is None:
            left, gone, waiting = left - waiting, gone + waiting, 0
        else:
            held = found.digest, found.jobs
    assert gone <= max(1, min(budget.max_deletes, jobs * budget.max_percent // 100))
    assert left + created >= 1
