"""Who looks elsewhere is told: troubles and recoveries by the operator's rules, outcomes of commits by forges.

Record first, world second: a notice is recorded with the look or the turn that finds it, and delivered afterwards by a process
beside the loop. A delivery that fails is tried again for a day, with backoff; what a crash cuts off is delivered once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from reconciler.clock import Now
from reconciler.controller.hands import Hands
from reconciler.core.messages import MAINTENANCE, Ended, Exited, FromRun, Order, Produced, Reply
from reconciler.core.notices import CommitStatusRule, Notice, Trouble, What, packed, to_tell
from reconciler.core.planned import Plan
from reconciler.core.state import EventName
from reconciler.core.words import DAY_MS, HOUR_MS, SECOND_MS
from reconciler.errors import SOURCE_PATH, Problem
from reconciler.record.notices import CommitStatus
from reconciler.repo.git import GitUnusable

if TYPE_CHECKING:
    from reconciler.record.events import Event
    from reconciler.repo.history import Commit

#: Deliveries have run ids of their own.
FIRST_DELIVERY: Final = 1 << 45
#: A delivery that failed is tried again after so long, twice as long each time, and given up after a day.
FIRST_WAIT_MS: Final = 30 * SECOND_MS
LONGEST_WAIT_MS: Final = HOUR_MS
GIVEN_UP_MS: Final = DAY_MS
#: The record's setting that names the last event that was looked at.
SEEN: Final = "notified_event"


@dataclass(slots=True)
class _Delivery:
    """What one process delivers: notices of a rule, or a commit's outcome."""

    run: int
    to: str
    ids: Sequence[int] = ()
    told: Sequence[int] = ()
    oldest_ms: int = 0
    tries: int = 0
    commit: CommitStatus | None = None
    failure: str = ""
    wait_ms: int | None = None
    is_fatal: bool = False
    done: bool = False


class Notifier:
    """Notes what is to be told, and has it delivered."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._record = hands.record
        self._notices = hands.record.notices
        self._rules = {rule.name: rule for rule in hands.settings.notify}
        self._forges: dict[str, CommitStatusRule] = {rule.forge: rule for rule in hands.settings.commit_statuses}
        self._at_work: _Delivery | None = None
        self._checked = -1  # the last event that was looked at
        self._changes = -1  # what had been changed in the record when lasting troubles were looked at
        self._told: tuple[object, ...] | None = None  # what the last look said

    @property
    def _is_idle(self) -> bool:
        return not self._rules and not self._forges

    # --- what a look has found --------------------------------------------------------------------------------------

    def see(self, plan: Plan, revision: str, now: Now) -> None:
        """Notes what is wrong with the specs, which deletions are blocked, and what came of the commit."""
        refused = self._hands.origin.refused()
        said = (plan.errors, plan.blocked, plan.waiting, plan.hold, revision, refused)
        if self._is_idle or said == self._told:
            return
        self._told = said
        found = [*_invalid(plan.errors, now), *_blocked(plan, self._hands.settings.again, now)]
        with self._record.transaction():
            if self._rules:
                lasting = [one for one in self._notices.troubles() if one.what is not What.FAILED]
                if plan.hold:  # no deletion can be judged now, so what was blocked is not over
                    found += [one for one in lasting if one.what is What.PRUNE_BLOCKED]
                self._compare(lasting, found, now)
            self._note_outcome(revision, *_outcome(plan), now)
            if refused is not None:
                self._note_outcome(refused.revision, "failure", refused.why, now)

    def _compare(self, before: Iterable[Trouble], found: Iterable[Trouble], now: Now) -> None:
        known, there = {one.key: one for one in before}, {one.key: one for one in found}
        begun = [there[key] for key in sorted(there.keys() - known.keys())]
        begun += [
            replace(there[key], since_ms=known[key].since_ms)
            for key in sorted(there.keys() & known.keys())
            if there[key].message != known[key].message
        ]
        for trouble in self._with_authors(begun):
            self._begin(trouble, now)
        for key in sorted(known.keys() - there.keys()):
            self._end(known[key], now)

    def _with_authors(self, begun: Iterable[Trouble]) -> Iterator[Trouble]:
        """Invalid specs with the commit that last changed their file, where the desired state is one: what lies in a work
        tree may be of no commit yet."""
        begun, origin = tuple(begun), self._hands.origin
        paths = {one.file for one in begun if one.what is What.INVALID_SPEC and not one.is_of_source}
        commits: Mapping[str, Commit] = {}
        if paths and not origin.user():
            with suppress(GitUnusable):
                commits = origin.authors({path for path in paths if not path.startswith("../")})
        for one in begun:
            commit = commits.get(one.file)
            known = commit is not None and not commit.boundary
            yield replace(one, person=commit.author, commit=commit.hash) if commit and known else one

    def _note_outcome(self, revision: str, state: str, description: str, now: Now) -> None:
        branch, _, commit = revision.rpartition("@")
        commit = commit.partition(":")[2]
        if not commit:
            return
        for forge in self._forges:
            status = CommitStatus(forge=forge, commit=commit, branch=branch, state=state, description=description)
            self._notices.note_commit(status, now.wall_ms)

    # --- what has happened to jobs ----------------------------------------------------------------------------------

    def keep(self, now: Now, *, pressing: bool) -> None:
        """Notes jobs that have failed and those that are well again; starts a delivery that is due. `pressing`: a pass, which
        is over soon, gathers no longer."""
        if self._is_idle:
            return
        if self._rules:
            self._look_at_jobs(now)
        if self._at_work is None:
            self._deliver(now, pressing=pressing)

    def _look_at_jobs(self, now: Now) -> None:
        if self._notices.changes == self._changes:
            return
        last = self._record.events.last_id()
        over = self._notices.over()  # that a run succeeded is no event where it moved nothing
        if last != self._checked or over:
            self._note_jobs(last, over, now)
        self._checked, self._changes = last, self._notices.changes

    def _note_jobs(self, last: int, over: Sequence[Trouble], now: Now) -> None:
        seen = self._record.setting(SEEN)
        failed = [] if seen is None else self._record.events.named(EventName.FAILED, after=int(seen))
        if not failed and not over and seen is not None and last - int(seen) < _SEEN_SLACK:
            return
        with self._record.transaction():
            for event in failed:
                self._begin(_failed(event), now)
            for trouble in over:
                self._end(trouble, now)
            self._record.set_setting(SEEN, last)

    # --- notes ------------------------------------------------------------------------------------------------------

    def _begin(self, trouble: Trouble, now: Now) -> None:
        self._notices.begin(trouble)
        self._note(Notice(trouble=trouble, at_ms=now.wall_ms), now)

    def _end(self, trouble: Trouble, now: Now) -> None:
        self._notices.end(trouble.key)
        self._note(Notice(trouble=trouble, at_ms=now.wall_ms, recovered=True), now)

    def _note(self, notice: Notice, now: Now) -> None:
        trouble = notice.trouble
        known = self._record.resources.resource(trouble.kind, trouble.name) if trouble.name else None
        labels: Mapping[str, str] = {} if known is None else known.labels
        for rule in self._rules.values():
            if rule.wants(notice, labels):
                self._notices.add(rule.name, notice, now.wall_ms + rule.batch_ms)

    # --- deliveries -------------------------------------------------------------------------------------------------

    def due_in_ms(self, now: Now) -> int | None:
        """When something is to be delivered next."""
        due_ms = None if self._is_idle or self._at_work else self._notices.next_due_ms()
        return None if due_ms is None else max(0, due_ms - now.wall_ms)

    def _deliver(self, now: Now, *, pressing: bool) -> None:
        until_ms = now.wall_ms + (max((one.batch_ms for one in self._rules.values()), default=0) if pressing else 0)
        for name in self._notices.due(until_ms):
            if self._start_rule(name, now, pressing=pressing):
                return
        for status in self._notices.due_commits(now.wall_ms):
            if self._start_commit(status, now):
                return

    def _start_rule(self, name: str, now: Now, *, pressing: bool) -> bool:
        """Whether something is being delivered now; what needs no delivery is settled."""
        waiting = self._notices.waiting(name)
        if pressing and all(tries and due_ms > now.wall_ms for _, tries, due_ms in waiting):
            return False  # what failed has a time of its own
        notices = [notice for notice, _, _ in waiting]
        ids = [notice.id for notice in notices]
        rule = self._rules.get(name)
        telling = (
            [] if rule is None else to_tell(notices, self._notices.told(name, [one.trouble.key for one in notices]))
        )
        if not telling or rule is None:
            with self._record.transaction():
                self._notices.settle(ids, (), now.wall_ms)
            return False
        delivery = _Delivery(
            run=self._next_run(),
            to=f"notify rule {name}",
            ids=ids,
            told=[one.id for one in telling],
            oldest_ms=min(one.at_ms for one in telling),
            tries=max(tries for _, tries, _ in waiting),
        )
        self._run(delivery, rule.channel, rule.settings, rule.credentials, [packed(one) for one in telling])
        return True

    def _start_commit(self, status: CommitStatus, now: Now) -> bool:
        rule = self._forges.get(status.forge)
        if rule is None:
            with self._record.transaction():
                self._notices.put_off_commit(status, None)
            return False
        delivery = _Delivery(
            run=self._next_run(),
            to=f"commitStatus {status.forge}",
            commit=status,
            oldest_ms=now.wall_ms,
            tries=status.tries,
        )
        outcome = {
            "commit": status.commit,
            "branch": status.branch,
            "state": status.state,
            "description": status.description,
        }
        self._run(delivery, rule.forge, rule.settings, rule.credentials, [outcome])
        return True

    def _next_run(self) -> int:
        with self._record.transaction():
            number = int(self._record.setting("deliveries", 0)) + 1
            self._record.set_setting("deliveries", number)
        return FIRST_DELIVERY + number

    def _run(
        self,
        delivery: _Delivery,
        channel: str,
        told_by: Mapping[str, Any],
        credentials: Mapping[str, Any],
        told: list[dict[str, Any]],
    ) -> None:
        settings = self._hands.settings
        self._at_work = delivery
        self._hands.runner.start(
            Order(
                job="notify",
                run=delivery.run,
                attempt=1,
                generation=1,
                root=str(settings.folder),
                path="reconciler.yaml",
                provider=MAINTENANCE,
                job_type="notify",
                config={"channel": channel, "settings": dict(told_by), "told": told},
                credentials=credentials,
                data_dir=str(settings.state / "data"),
                allow_exec=settings.allow_exec,
                secret_key=str(self._record.setting("secret_key")),
                writes=(),
            )
        )

    def owns(self, run: int) -> bool:
        return FIRST_DELIVERY <= run < 2 * FIRST_DELIVERY

    def take(self, message: FromRun, now: Now) -> list[Reply]:
        """What a delivery says; it produces nothing."""
        delivery = self._at_work
        if delivery is None or message.run != delivery.run:
            return []
        match message:
            case Produced(run=run):
                return [Reply(run, accepted=False)]
            case Ended(how=how, message=text, retry_after_s=wait_s):
                delivery.done = how == "succeeded"
                delivery.is_fatal = how == "fatal"
                delivery.failure = text or how
                delivery.wait_ms = None if wait_s is None else round(wait_s * 1000)
            case Exited():
                self._at_work = None
                self._conclude(delivery, now)
            case _:
                pass
        return []

    def _conclude(self, delivery: _Delivery, now: Now) -> None:
        with self._record.transaction():
            if delivery.done:
                self._settle(delivery, now)
                return
            why = delivery.failure or "its process ended by itself"
            wait_ms = min(FIRST_WAIT_MS << min(delivery.tries, 16), LONGEST_WAIT_MS)
            wait_ms = max(LONGEST_WAIT_MS if delivery.is_fatal else wait_ms, delivery.wait_ms or 0)
            given_up = now.wall_ms + wait_ms - delivery.oldest_ms > GIVEN_UP_MS
            if delivery.commit is not None:
                given_up = delivery.tries >= _COMMIT_TRIES
                self._notices.put_off_commit(delivery.commit, None if given_up else now.wall_ms + wait_ms)
            elif given_up:
                self._notices.settle(delivery.ids, (), now.wall_ms)
            else:
                self._notices.put_off(delivery.ids, now.wall_ms + wait_ms)
        what = "is given up" if given_up else f"is tried again in {wait_ms // 1000} s"
        self._hands.listener.notice(f"{delivery.to}: could not be told, which {what}: {why}")

    def _settle(self, delivery: _Delivery, now: Now) -> None:
        if delivery.commit is not None:
            self._notices.settle_commit(delivery.commit, now.wall_ms)
        else:
            self._notices.settle(delivery.ids, delivery.told, now.wall_ms)


#: The setting that names the last event is written anew after so many at the latest.
_SEEN_SLACK: Final = 1_000
#: A forge is told of a commit so many times at most.
_COMMIT_TRIES: Final = 12


def _invalid(problems: Iterable[Problem], now: Now) -> list[Trouble]:
    """One for each document or file; its message is the first problem, with how many more there are."""
    grouped: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        grouped.setdefault((problem.path, problem.kind, problem.name), []).append(problem)
    return [
        Trouble(
            what=What.INVALID_SPEC,
            kind=kind if name else "",
            name=name,
            path=f"{path}:{found[0].line}:{found[0].column}",
            message=f"{found[0].field + ': ' if found[0].field else ''}{found[0].message}"
            + (f" (and {len(found) - 1} more)" if len(found) > 1 else ""),
            since_ms=now.wall_ms,
        )
        for (path, kind, name), found in sorted(grouped.items())
    ]


def _blocked(plan: Plan, again: str, now: Now) -> list[Trouble]:
    """`again` are the options of the command that a person is to type."""
    prune = plan.blocked
    if prune is None:
        return []
    message = f"{prune.reason}; to approve exactly these: {prune.command}{again}"
    return [Trouble(what=What.PRUNE_BLOCKED, kind="", name="", path="", message=message, since_ms=now.wall_ms)]


def _at_its_place(problem: Problem) -> str:
    field = f"{problem.field}: " if problem.field else ""
    return f"{problem.path}:{problem.line}: {field}{problem.message}"


def _failed(event: Event) -> Trouble:
    return Trouble(
        what=What.FAILED,
        kind=event.kind,
        name=event.name,
        path=event.path,
        message=event.message,
        since_ms=event.time_ms,
        person=event.author,
        commit=event.commit,
    )


def _outcome(plan: Plan) -> tuple[str, str]:
    """What a forge is told of the commit that this plan was made from. That no newer one can be had is no fault of it."""
    refused = plan.refused
    invalid = [one for one in plan.errors if one not in set(refused) and one.path != SOURCE_PATH]
    if invalid:
        files = len({one.path for one in invalid})
        return (
            "failure",
            f"{files} {'file has' if files == 1 else 'files have'} an invalid spec: {_at_its_place(invalid[0])}",
        )
    if refused:
        return "failure", f"the policy refuses a change: {refused[0].message}"
    if plan.blocked is not None:
        return "failure", f"deletions wait for an approval: {plan.blocked.reason}"
    held = next((one for one in plan.waiting if one.until_ms is not None), None)
    if held is not None:  # by a window of the policy: nothing is applied
        return "pending", held.reason.partition(": ")[2] or held.reason
    if plan.waiting:
        waits = "1 waits" if len(plan.waiting) == 1 else f"{len(plan.waiting)} wait"
        return "success", f"applied, but {waits}"
    return "success", "applied"
