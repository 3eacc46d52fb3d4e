"""One run of an export of an audience, whatever the destination.

    resolve   what an earlier attempt left open
    fold      what is known of an older plan into the ledger
    compare   the audience with the ledger, once every unit is built that was committed before
    guard     the difference, before the first call
    plan      staged as a file, committed
    send      additions, changes, then removals
    fold      the outcome into the ledger
    compare   again where a removal had to wait for a call that takes one of its identifiers over, and send those; the guard
              judges what goes beyond the difference, because calls were refused

A run that is cut off goes on with its own plan; another run compares anew, after what was left open has its outcome.
Nothing differs: no unit, no call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

from reconciler.core.members import MAX_HALVES, Difference
from reconciler.core.mirror import Plan, Progress, account, objections, would_do
from reconciler.core.provider import Context, Reject, Unit
from reconciler.errors import NeedsApproval
from reconciler.providers.mirror.config import MirrorConfig


class Carrier(Protocol):
    """Carries one plan to a destination. `progress` is what the last unit committed."""

    progress: Progress

    def resolve(self) -> Iterator[Unit]:
        """What earlier attempts left open."""
        ...

    def send(self) -> Iterator[Unit]:
        """Everything else."""
        ...

    def conclude(self) -> Iterator[Unit]:
        """What is left to be committed."""
        ...


Carry = Callable[[Progress], Carrier]


def export(context: Context, carry: Carry) -> Iterator[Unit]:
    """Makes the destination's members those of the audience, as far as the config's mode and events ask for."""
    run = _Run(context, carry)
    yield from run.go_on()
    if not run.is_over:
        yield from run.begin()


class _Run:
    def __init__(self, context: Context, carry: Carry) -> None:
        self._context = context
        self._config: MirrorConfig = context.config
        self._carry = carry
        self._progress = Progress.load(context.cursor)
        self.is_over = False
        self._is_accepted = False  # every call of the last plan: the ledger is what the comparison has foreseen
        self._is_approved = False  # by a person, what was judged last

    def go_on(self) -> Iterator[Unit]:
        """Brings the plan that the cursor holds to its end, if any: this run's own whole, an older one as far as it was
        begun."""
        plan = self._progress.plan
        if plan is None:
            if self._context.open_intents:
                keys = tuple(one.key for one in self._context.open_intents)
                message = f"{len(keys)} batches are given up: what they were to send is gone"
                yield Unit(cursor=self._context.cursor, closes=keys, moved=False, message=message)
            return
        self.is_over = plan.run == self._context.run and not plan.is_half
        yield from self._sent(whole=plan.run == self._context.run)

    def begin(self) -> Iterator[Unit]:
        """A new difference, from the comparison to the ledger that it leaves; then what waited for its outcome, which was
        judged with it. Where calls were refused, that may be more than was foreseen, and is judged by itself then."""
        now_ms = self._context.now_ms()
        found = self._compared(now_ms)
        self._guard(found)
        yield from self._made(found)
        for _ in range(MAX_HALVES):
            if not found.is_half:
                break
            foreseen = found.rest
            found = foreseen if found.later and self._is_accepted else self._compared(now_ms)
            if not found.is_within(foreseen):
                self._guard(found, "Nothing more")
            yield from self._made(found)

    def _compared(self, now_ms: int) -> Difference:
        wish = self._config.wish(is_first=not self._progress.begun, retry=self._progress.retry)
        return self._context.members.compare(wish, self._progress.ledger, now_ms=now_ms)

    def _made(self, found: Difference) -> Iterator[Unit]:
        if not found.plan:
            yield from self._nothing(is_first=not self._progress.begun)
            return
        left = self._context.members.digest(found.rest) if self._is_approved and found.later else ""
        plan, approved = Plan.of(found, self._context.run), (self._context.run, left)
        self._progress = replace(self._progress, plan=plan, retry="", begun=True, approved=approved)
        if found.rows:
            yield self._planned(found)
            yield from self._sent(whole=True)
        else:
            yield self._folded(found)

    def _nothing(self, *, is_first: bool) -> Iterator[Unit]:
        """Nobody is to be sent. What a person has released was released for this run, and not for those that follow."""
        messages = []
        if is_first and not self._config.backfill:
            messages.append("nobody is a member yet; who comes from now on is sent")
        if self._progress.retry:
            messages.append("there is nobody to try again")
        if messages:
            self._progress = replace(self._progress, retry="")
            files = self._progress.files
            yield Unit(cursor=self._progress.cursor(), moved=False, message="; ".join(messages), keeps=files)

    def _guard(self, found: Difference, nothing: str = "Nothing") -> None:
        """Raises NeedsApproval for a difference that is over the limits and that nobody has approved, by itself or as what
        is left of another one."""
        against = objections(self._config.limits(), found, self._progress.ledger.facts)
        self._is_approved = bool(against)
        if not against:
            return
        digest = self._context.members.digest(found)
        if digest not in self._context.approved and (self._context.run, digest) != self._progress.approved:
            raise NeedsApproval(
                f"the guard holds this run: {'; '.join(against)}. It would {would_do(found)}. {nothing} was sent; "
                f"`reconcile approve {self._context.job} {digest}` lets exactly this happen",
                digest=digest,
            )

    def _planned(self, found: Difference) -> Unit:
        rejects, omitted = self._omissions(found)
        message = f"to {would_do(found)}" + (f"; {omitted} omitted by the mapping" if omitted else "")
        return Unit(
            cursor=self._progress.cursor(), omitted=omitted, rejects=rejects, moved=False, message=message,
            keeps=self._progress.files,
        )  # fmt: skip

    def _omissions(self, found: Difference) -> tuple[tuple[str, ...], int]:
        if not found.omissions:
            return (), 0
        members = self._context.members
        rejects = (
            Reject(row, reason, f'{{"member":"{member}"}}') for row, member, reason in members.omissions(found.plan)
        )
        return (self._context.data.stage_rejects(members.audience, rejects),), sum(found.omissions.values())

    def _sent(self, *, whole: bool) -> Iterator[Unit]:
        carrier = self._carry(self._progress)
        yield from carrier.resolve()
        if whole:
            yield from carrier.send()
        yield from carrier.conclude()
        self._progress = carrier.progress
        yield self._folded(None)

    def _folded(self, found: Difference | None) -> Unit:
        """The ledger with the outcome of the plan."""
        plan, before = self._progress.plan, self._progress.ledger
        assert plan is not None
        self._is_accepted = plan.tally.acknowledged == plan.rows
        members = self._context.members
        after = members.fold(
            before,
            plan.file,
            plan.done,
            plan.exceptions,
            now_ms=self._context.now_ms(),
            is_whole=plan.done == plan.rows,
        )
        self._progress = replace(self._progress, ledger=after, plan=None)
        rejects, omitted = self._omissions(found) if found else ((), 0)
        message = f"{plan.rows - plan.done} rows of an older plan were not sent"
        if plan.done == plan.rows:
            message = str(account(plan, before.facts, after.facts))
        return Unit(
            cursor=self._progress.cursor(), omitted=omitted, rejects=rejects, moved=plan.tally.rows > 0,
            message=message, keeps=self._progress.files,
        )  # fmt: skip
