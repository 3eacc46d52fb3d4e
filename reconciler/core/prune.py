"""The deletion budget: how many jobs a pass may delete without a person who says yes to exactly these.

An empty mount, a half-read tree, a wrong folder and a bad merge all look like many deletions at once. So a pass may delete
max(1, min(maxDeletes, maxPercent of the jobs)); over it, it deletes nothing, and a person approves the set by its digest.
That no job would be left always needs one. Jobs alone are counted: what else is deleted was needed by none of them. But
while the jobs wait, so does the rest of the set, because an approval is of all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from reconciler.core.document import Kind, digest_of
from reconciler.core.value import Value, dataclass

DEFAULT_MAX_DELETES: Final = 5
DEFAULT_MAX_PERCENT: Final = 10
#: Deletions that follow each other within this time, and that no commit separates, are one: so long does a daemon wait
#: for a tree that is torn to settle.
SETTLING_MS: Final = 60_000
#: How long a deletion can be undone.
KEPT_DAYS: Final = 7
KEPT_MS: Final = KEPT_DAYS * 86_400_000


class Budget(Value):
    """What the operator has settled (`prune:` in `reconciler.yaml`)."""

    max_deletes: int = DEFAULT_MAX_DELETES
    max_percent: int = DEFAULT_MAX_PERCENT

    def allows(self, jobs: int) -> int:
        """How many of so many jobs may go at once."""
        return max(1, min(self.max_deletes, jobs * self.max_percent // 100))


class Purse(Value):
    """The budget as a pass finds it: there were `jobs` when specs began to be missing, there are `there` now, and `spent`
    were deleted just now by the same deletion. The set whose digest is `held` is held back since there were `held_jobs`:
    jobs that were made since leave no room for it. `is_approved`: it may go, whatever it costs. `moved` says that the specs
    come from another folder than before, empty where they do not: then every deletion needs an approval."""

    budget: Budget
    jobs: int
    there: int
    spent: int = 0
    held: str = ""
    held_jobs: int = 0
    is_approved: bool = False
    moved: str = ""


class Doomed(Value):
    """One thing that no file declares. `digest` is of its spec, so that an approval is of no other thing of that name."""

    kind: Kind
    name: str
    path: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """A set of deletions that is over the budget. `allowed` is what a pass may delete of `jobs`, `spent` what is gone of
    that already; `is_last` says that no job would be left, `moved` that the specs come from another folder than before."""

    doomed: tuple[Doomed, ...]
    budget: Budget
    jobs: int
    allowed: int
    spent: int = 0
    is_last: bool = False
    is_approved: bool = False
    moved: str = ""

    @property
    def digest(self) -> str:
        """What an approval names: exactly these."""
        return digest_of([[one.kind, one.name, one.digest] for one in self.doomed])[:16]

    @property
    def names(self) -> tuple[str, ...]:
        """The jobs among them."""
        return tuple(one.name for one in self.doomed if one.kind == "Job")

    @property
    def command(self) -> str:
        """What a person types to approve exactly these."""
        return approval_of(self.digest)

    @property
    def reason(self) -> str:
        """Why they are not deleted: a clause."""
        count = len(self.names)
        jobs = f"{count} of {self.jobs} jobs" if self.jobs != 1 else "the only job"
        if self.is_last:
            return f"no file declares {jobs}, and that no job is left always needs an approval"
        if self.moved:
            return f"no file declares {jobs}, and {self.moved}, which always needs an approval"
        before = f", of which {self.spent} went just now" if self.spent else ""
        limit = f"prune: maxDeletes {self.budget.max_deletes}, maxPercent {self.budget.max_percent}"
        return f"no file declares {jobs}, and a pass may delete {self.allowed}{before} ({limit})"


def approval_of(digest: str) -> str:
    """What a person types to approve exactly the deletions of this digest."""
    return f"reconcile approve --prune {digest}"


def undeleted_words(path: str, *, is_there: bool = False, is_declared: bool = False) -> str:
    """Why a job that was undeleted does nothing: a clause. `is_there`: there is such a file, `is_declared`: it declares the
    job again, and a window or a policy holds that back."""
    if is_declared:
        return f"undeleted; {path} declares it again, which is not applied yet"
    return f"undeleted; it waits until {path} declares it" if is_there else f"undeleted; restore {path}"


def judge(purse: Purse, doomed: Iterable[Doomed], created: int) -> Pruning | None:
    """The deletions as a set that needs an approval, with whether it has that; None where the budget has room for them.
    `created` jobs take the place of those that go."""
    things = tuple(sorted(doomed, key=lambda one: (one.kind, one.name)))
    found = Pruning(doomed=things, budget=purse.budget, jobs=purse.jobs, allowed=0, spent=purse.spent)
    count, is_held = len(found.names), found.digest == purse.held
    jobs = purse.held_jobs if is_held else purse.jobs
    allowed = purse.budget.allows(jobs + purse.spent)
    is_last = purse.there + created <= count
    if not count or (not is_last and not purse.moved and count + purse.spent <= allowed):
        return None
    is_approved = is_held and purse.is_approved
    return replace(found, jobs=jobs, allowed=allowed, is_last=is_last, is_approved=is_approved, moved=purse.moved)


def spent(times: Iterable[tuple[int, str]], now_ms: int, revision: str) -> int:
    """How many of the deletions (time, revision of each) belong to the one that goes on now: those that follow each other
    within SETTLING_MS back from now, and that the same commit has brought about, or none. A clock that was set back makes
    none of them older."""
    count, after_ms = 0, now_ms
    for at_ms, of in sorted(times, reverse=True):
        if after_ms - at_ms >= SETTLING_MS:
            break
        if of == revision:
            count += 1
            after_ms = min(after_ms, at_ms)
    return count
