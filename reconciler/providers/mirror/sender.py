"""Sends a plan in batches, in its order: intended before a byte leaves, committed when their outcome is known, both for a
group of them at a time (`providers.groups`); where an action must not be repeated, or only before anything later was sent,
the outcome of each is committed before the next leaves.

What an earlier attempt left open is resolved first: sent again, the same bytes under the same key, or, where an action
must not be repeated, omitted until a person has looked. A batch that is refused for its content is searched from the left
(`core.mirror.Search`), each part an intent of its own. Where the answer points at bad rows, the rest is sent at once without
them: accepted, they were to blame; refused, each of them is sent alone, and no answer is believed any more once one of them
is accepted. Refused members are committed as omitted only once something else was accepted, or the end is
reached: a receiver that refuses everything is an error of the whole, and must not use up the audience.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from reconciler.core.members import DOUBTED, Action, Exceptional, Rows
from reconciler.core.mirror import Plan, Progress, Replay, Search, Unfinished, unfinished
from reconciler.core.provider import Context, Intent, Json, Reject, Unit
from reconciler.core.value import dataclass
from reconciler.errors import Fatal
from reconciler.providers.groups import Pace
from reconciler.providers.mirror.destination import Accepted, Batch, Destination, Refused, Unsent

#: So many members refused in a row, with nothing accepted between, fail a run whose `maxRejects` is not set.
MAX_REFUSED_IN_A_ROW: Final = 25
#: An answer that names more rows of one batch than this is searched as if it named none: their reasons stand in an intent.
MAX_NAMED: Final = 1000


@dataclass(frozen=True, slots=True)
class _Bad:
    """A row without the outcome that was wanted, and whose it is."""

    said: Exceptional
    member: str
    fields: str


@dataclass(slots=True)
class _Doubt:
    """A batch that was refused without the rows pointed at, too: those that were not asked about alone yet, and the row
    before which all have their outcome."""

    intent: Intent
    pointed: list[int]
    at: int


class Sender:
    """Sends one plan. `progress` is what the last unit committed."""

    def __init__(self, context: Context, destination: Destination, progress: Progress) -> None:
        assert progress.plan is not None
        self._context = context
        self._destination = destination
        self.progress = progress
        self._plan: Plan = progress.plan
        self._at = self._plan.done
        self._unfinished: Unfinished = unfinished(context.open_intents, self._plan.file)
        self._closing: list[str] = [*self._unfinished.given_up, *self._unfinished.split]
        self._bad: list[_Bad] = []
        self._accepted: list[tuple[Batch, int]] = []  # all of one action, and how many members of each were taken
        self._is_misled = False  # an answer has pointed at a row that is good
        self._pace = Pace(context.alive_ms)

    def resolve(self) -> Iterator[Unit]:
        """Brings every batch that earlier attempts left open to its outcome, and what lies between them."""
        yield from self._kept_after(self._resolved())

    def send(self) -> Iterator[Unit]:
        """Sends everything that has no outcome yet."""
        yield from self._kept_after(self._send_until(self._plan.rows))

    def conclude(self) -> Iterator[Unit]:
        """Commits what is left when nothing more is sent: members refused at the end, batches that were given up."""
        if self._bad or self._closing:
            yield self._unit()

    def _resolved(self) -> Iterator[Unit]:
        for key in self._unfinished.given_up:
            self._context.log(f"batch {key} is given up: what it was to send is gone")
        for intent in self._unfinished.again:
            yield from self._send_until(intent.first)
            batch = self._again(intent)
            if self._destination.replays[batch.action] is Replay.UNSAFE:
                yield from self._kept()
                yield self._doubted(batch)
            else:
                yield from self._settle(batch)

    # --- batches

    def _send_until(self, stop: int) -> Iterator[Unit]:
        while self._at < stop:
            group = list(self._group(stop))
            yield from self._begin(group)
            self._pace.begin()
            for batch in group:
                yield from self._settle(batch)
            self._pace.end()
            if self._context.stopping():
                yield from self._kept()

    def _begin(self, group: Sequence[Batch]) -> Iterator[Unit]:
        """Commits what is sent next, together with what was accepted before, if anything was. What must not be repeated is
        intended when nothing can stop the run before it is sent: while it is open it may have arrived."""
        intents = tuple(batch.intent for batch in group)
        if self._destination.replays[group[0].action] is Replay.UNSAFE:
            yield from self._kept()
        if self._accepted:
            yield self._unit(intents)
        else:
            self._context.intend(intents)

    def _group(self, stop: int) -> Iterator[Batch]:
        """The next batches, to be intended together; one of an action that must not be repeated."""
        at, count, size = self._at, 0, 0
        action, end = self._plan.action_at(at)
        end = min(end, stop)
        is_unsafe = self._destination.replays[action] is Replay.UNSAFE
        while at < end and not self._pace.is_full(count, size):
            batch = self._next(action, at, end)
            yield batch
            at, count, size = batch.stop, count + 1, size + len(batch.body)
            if is_unsafe:
                return

    def _next(self, action: Action, first: int, stop: int) -> Batch:
        stop = min(stop, first + self._destination.batch_size)
        rows = self._context.members.rows(self._plan.file, first, stop)
        stop = first + _fitting(rows, self._destination.max_bytes)
        rows = _taken(rows, range(stop - first))
        return self._made(action, self._destination.details(action), (first, stop), rows, {})

    def _part(self, batch: Batch, first: int, stop: int) -> Batch:
        """A part of a refused batch, from one of its rows to before another, intended."""
        span = (batch.begin + first, batch.begin + stop)
        return self._intended(batch.intent, span, _taken(batch.rows, range(first, stop)), {})

    def _rest(self, batch: Batch, named: Mapping[int, str]) -> Batch:
        """What is left of a batch without the rows that an answer points at, intended."""
        kept = [index for index in range(len(batch.numbers)) if index not in named]
        refused = {batch.numbers[index]: why for index, why in named.items()}
        return self._intended(batch.intent, (batch.begin, batch.stop), _taken(batch.rows, kept), refused)

    def _intended(self, parent: Intent, span: tuple[int, int], rows: Rows, refused: Mapping[int, str]) -> Batch:
        part = self._made(parent.detail["action"], parent.detail["details"], span, rows, refused, parent.key)
        self._context.intend([part.intent])
        return part

    def _made(
        self, action: Action, details: Json, span: tuple[int, int], rows: Rows, refused: Mapping[int, str],
        parent: str = "",
    ) -> Batch:  # fmt: skip
        """A batch that has not been sent before. Its key covers everything that it is, and the attempt, so that rows which
        were intended but certainly not sent get another one."""
        body = self._destination.body(action, details, rows)
        digest = hashlib.sha256(body).hexdigest()
        context = self._context
        whole = json.dumps([context.job, self._plan.file, context.run, context.attempt, action, span, digest])
        key = f"{self._plan.run}-{span[0]}-{span[1] - 1}-{hashlib.sha256(whole.encode()).hexdigest()[:24]}"
        detail = {"plan": self._plan.file, "action": action, "details": details}
        if refused:
            detail["refused"] = [[row, why] for row, why in sorted(refused.items())]
        if parent:
            detail["parent"] = parent
        intent = Intent(key=key, first=span[0], last=span[1] - 1, digest=digest, detail=detail)
        return Batch(intent, action, _numbers(span, refused), rows, refused, body)

    def _again(self, intent: Intent) -> Batch:
        """The batch of an intent, read anew. Raises Fatal where its bytes are not those that were promised."""
        detail, span = intent.detail, (intent.first, intent.last + 1)
        refused = {int(row): str(why) for row, why in detail.get("refused", ())}
        numbers = _numbers(span, refused)
        whole = self._context.members.rows(self._plan.file, *span)
        rows = _taken(whole, [number - intent.first for number in numbers])
        body = self._destination.body(detail["action"], detail["details"], rows)
        if hashlib.sha256(body).hexdigest() != intent.digest:
            raise Fatal(
                f"batch {intent.key} no longer reads as it did when it was first sent, so it is not sent again; change "
                "`restart` to begin anew"
            )
        return Batch(intent, detail["action"], numbers, rows, refused, body)

    # --- outcomes

    def _settle(self, batch: Batch) -> Iterator[Unit]:
        """Brings every row of a batch to its outcome."""
        if (yield from self._tried(batch)) and len(batch.numbers) > 1:
            yield from self._searched(batch)

    def _searched(self, whole: Batch) -> Iterator[Unit]:
        """Finds the bad rows of a batch that was refused."""
        search = Search(len(whole.numbers))
        while part := search.part():
            if (yield from self._tried(self._part(whole, *part))):
                search.refused()
            else:
                search.accepted()

    def _tried(self, batch: Batch) -> Generator[Unit, None, bool]:
        """Sends a batch; whether it was refused and nothing is known of its rows, or it is a single row, which has its
        outcome by that. Rows that the answer points at are to blame if the rest is accepted without them."""
        found = yield from self._sent(batch)
        if isinstance(found, _Doubt):
            yield from self._asked_again(found)
            return False
        return found

    def _sent(self, batch: Batch) -> Generator[Unit, None, bool | _Doubt]:
        """As `_tried`, but that nobody was asked again where the rest is refused, too."""
        if self._pace.is_over or self._context.stopping():
            yield from self._kept()
        reply = yield from self._refusal(batch)
        if reply is None:
            return False
        if not batch.refused:
            if len(batch.numbers) == 1:
                self._hold_single(batch, reply.named.get(0, reply.reason))
                return True
            pointed = self._pointed(reply, batch)
            if not pointed:
                return True
            batch = self._rest(batch, pointed)
            if (yield from self._refusal(batch)) is None:
                return False
        return _Doubt(batch.intent, sorted(batch.refused), batch.begin)

    def _refusal(self, batch: Batch) -> Generator[Unit, None, Refused | None]:
        """Sends a batch; None when all of its rows have their outcome."""
        reply = self._destination.send(batch)
        if isinstance(reply, Accepted):
            if beside := _beside(reply.but, batch):
                why = _ASTRAY.format(key=batch.intent.key, number=beside[0] + 1, rows=len(batch.numbers))
                if self._destination.replays[batch.action] is Replay.UNSAFE:
                    yield from self._kept()
                    yield self._doubted(batch, f": {why}")
                raise Fatal(why)
            yield from self._accept(batch, reply.but)
            return None
        yield from self._kept()
        if isinstance(reply, Unsent):
            yield from self._withdrawn(batch)
            raise reply.error
        self._closing.append(batch.intent.key)
        return reply

    def _pointed(self, reply: Refused, batch: Batch) -> Mapping[int, str]:
        """The rows to leave out first. An answer that blames all rows, too many, or one that is not there, blames none;
        nor is one believed after another has blamed a row that is good."""
        if self._is_misled or len(reply.named) > MAX_NAMED or _beside(reply.named, batch):
            return {}
        return reply.named if len(reply.named) < len(batch.numbers) else {}

    def _asked_again(self, doubt: _Doubt) -> Iterator[Unit]:
        """Of a batch that was refused without the rows pointed at, too: each of those alone, and what lies between them,
        from the left, until one of them turns out to be good. What comes of a part is asked before what is right of it; that
        is no recursion, because a receiver may point at one bad row at a time, of thousands."""
        open_ = [doubt]
        while open_:
            asked = open_[-1]
            end = asked.intent.last + 1
            pointed = end if self._is_misled or not asked.pointed else asked.pointed[0]
            is_alone = asked.at == pointed
            span = (asked.at, pointed + 1 if is_alone else pointed)
            del asked.pointed[: int(is_alone)]
            asked.at = span[1]
            if asked.at == end:
                open_.pop()
            rows = self._context.members.rows(self._plan.file, *span)
            part = self._intended(asked.intent, span, rows, {})
            found = yield from self._sent(part)
            if isinstance(found, _Doubt):
                open_.append(found)
            elif is_alone:
                self._is_misled = self._is_misled or not found
            elif found and len(part.numbers) > 1:
                yield from self._searched(part)

    def _hold_single(self, batch: Batch, reason: str) -> None:
        self._bad += _bad(batch, {0: reason})
        self._at = batch.stop
        self._check_limits(in_a_row=True)

    def _hold_pointed(self, batch: Batch) -> None:
        """Holds the rows that a batch went without."""
        if batch.refused:
            rows = self._context.members.rows(self._plan.file, batch.begin, batch.stop)
            for row, why in sorted(batch.refused.items()):
                at = row - batch.begin
                self._bad.append(_Bad(Exceptional(row, "refused", why), rows.ids[at], rows.members[at]))

    def _accept(self, batch: Batch, named: Mapping[int, str]) -> Iterator[Unit]:
        """Of a batch that is simply there the outcome may wait for others to be committed with it."""
        waits = not (named or batch.refused or self._bad or self._closing) and self._may_wait(batch)
        if not waits or (self._accepted and self._accepted[0][0].action != batch.action):
            yield from self._kept()
        self._at = batch.stop
        self._bad += _bad(batch, named)
        self._hold_pointed(batch)
        count = len(batch.numbers) - len(named)
        if not count:
            self._check_limits(in_a_row=True)
        self._accepted.append((batch, count))
        self._pace.wait()
        if not waits:
            yield self._unit()
            self._check_limits(in_a_row=False)

    def _may_wait(self, batch: Batch) -> bool:
        """Whether later batches may be sent before the outcome of this one is committed: not where sending it again would
        do something then."""
        return self._destination.replays[batch.action] in (Replay.IDEMPOTENT, Replay.KEYED)

    def _kept(self) -> Iterator[Unit]:
        """Commits what was accepted, if anything was."""
        if self._accepted:
            yield self._unit()

    def _kept_after(self, units: Iterator[Unit]) -> Iterator[Unit]:
        """These units, and then what was accepted, whatever ended them."""
        try:
            yield from units
        except Exception:
            yield from self._kept()
            raise
        yield from self._kept()

    def _check_limits(self, *, in_a_row: bool) -> None:
        """Refused members are held until something shows that they alone are to blame. Raises Fatal over the limit."""
        limit, held = self._destination.max_rejects, len(self._bad)
        if limit is not None and self._plan.tally.refused + held > limit:
            raise Fatal(f"more than maxRejects ({limit}) members were refused{self._last_refused()}")
        if limit is None and in_a_row and held >= MAX_REFUSED_IN_A_ROW:
            raise Fatal(
                f"{held} members in a row were refused{self._last_refused()}; set `maxRejects` where so many are to be "
                "omitted"
            )

    def _last_refused(self) -> str:
        return f", the last one ({self._bad[-1].member}): {self._bad[-1].said.reason}" if self._bad else ""

    def _doubted(self, batch: Batch, because: str = "") -> Unit:
        """A batch that may have arrived and must not be sent again."""
        why = DOUBTED.format(action=batch.action) + because
        rows = zip(batch.numbers, batch.rows.ids, batch.rows.members, strict=True)
        self._bad += [_Bad(Exceptional(number, "maybe", why), member, fields) for number, member, fields in rows]
        self._hold_pointed(batch)
        self._closing.append(batch.intent.key)
        self._at = batch.stop
        if batch.action == "update":  # what was there before gets a row of its own in the ledger
            former = sum(previous is not None for previous in batch.rows.previous)
            self._plan = replace(self._plan, newcomers=self._plan.newcomers + former)
        return self._unit()

    def _withdrawn(self, batch: Batch) -> Iterator[Unit]:
        """Closes the intent of a batch that certainly did not arrive, where an open one would be taken for one that
        may have."""
        if self._destination.replays[batch.action] is Replay.UNSAFE:
            closes, self._closing = (*self._closing, batch.intent.key), []
            yield Unit(cursor=self.progress.cursor(), closes=closes, moved=False, message="nothing of a batch was sent")

    def _unit(self, intends: tuple[Intent, ...] = ()) -> Unit:
        """The outcome of everything since the last unit."""
        accepted, self._accepted = self._accepted, []
        self._pace.commit()
        bad = [one for one in self._bad if one.said.row < self._at]
        self._bad = [one for one in self._bad if one.said.row >= self._at]
        closes, self._closing = [*self._closing, *(batch.intent.key for batch, _ in accepted)], []
        count = sum(taken for _, taken in accepted)
        action = accepted[0][0].action if accepted else None
        tally = self._plan.tally.plus(action, count) if action else self._plan.tally
        maybe = sum(one.said.kind == "maybe" for one in bad)
        tally = replace(tally, maybe=tally.maybe + maybe, refused=tally.refused + len(bad) - maybe)
        files = self._plan.exceptions
        rejects: tuple[str, ...] = ()
        if bad:
            files = self._context.members.stage_exceptions([one.said for one in bad], files)
            rejects = (self._context.data.stage_rejects(self._context.members.audience, map(_reject, bad)),)
        self._plan = replace(self._plan, done=self._at, tally=tally, exceptions=files)
        self.progress = replace(self.progress, plan=self._plan)
        return Unit(
            cursor=self.progress.cursor(),
            rows=count,
            added=count if action == "add" else 0,
            removed=count if action == "remove" else 0,
            omitted=len(bad),
            closes=tuple(closes),
            rejects=rejects,
            message=_message([batch for batch, _ in accepted], count, bad),
            keeps=self.progress.files if bad else None,
            intends=intends,
        )


_DONE: Final[Mapping[Action, str]] = {"add": "added", "update": "changed", "remove": "removed"}


def _message(accepted: Sequence[Batch], count: int, bad: Sequence[_Bad]) -> str:
    said = []
    if accepted:
        whose = "1 member was" if count == 1 else f"{count} members were"
        first, last = accepted[0].intent, accepted[-1].intent
        keys = f"as {first.key}" if first is last else f"in {len(accepted)} batches, {first.key} to {last.key}"
        said.append(f"{whose} {_DONE[accepted[0].action]} {keys}")
    said += [f"member {one.member} is omitted ({one.said.reason})" for one in bad[:3]]
    if len(bad) > 3:
        said.append(f"{len(bad) - 3} more omitted")
    return "; ".join(said)


def _reject(bad: _Bad) -> Reject:
    return Reject(bad.said.row, bad.said.reason, f'{{"member":"{bad.member}","fields":{bad.fields}}}')


#: Of an accepted batch nobody else says who was refused: what is not known is not guessed.
_ASTRAY: Final = (
    "batch {key} was accepted but for some rows, and the answer names row {number} of {rows} among them, so nobody knows who "
    "was refused; check `errors.index` and `errors.first`"
)


def _beside(named: Mapping[int, str], batch: Batch) -> list[int]:
    """The rows that an answer names and that the batch does not have."""
    return sorted(index for index in named if not 0 <= index < len(batch.numbers))


def _bad(batch: Batch, named: Mapping[int, str]) -> list[_Bad]:
    return [
        _Bad(Exceptional(batch.numbers[index], "refused", why), batch.rows.ids[index], batch.rows.members[index])
        for index, why in sorted(named.items())
    ]


def _numbers(span: tuple[int, int], refused: Mapping[int, str]) -> Sequence[int]:
    return [row for row in range(*span) if row not in refused] if refused else range(*span)


def _taken(rows: Rows, indices: Sequence[int]) -> Rows:
    if isinstance(indices, range):
        part = slice(indices.start, indices.stop)
        return Rows(rows.ids[part], rows.members[part], rows.previous[part])
    return Rows(
        [rows.ids[index] for index in indices],
        [rows.members[index] for index in indices],
        [rows.previous[index] for index in indices],
    )


def _fitting(rows: Rows, limit: int) -> int:
    """How many rows stay under a number of bytes together, at least one. Whole batches are measured at once."""
    if sum(map(len, rows.members)) * 4 <= limit:
        return len(rows.members)
    taken = 0
    for number, text in enumerate(rows.members):
        taken += len(text.encode()) + len((rows.previous[number] or "").encode())
        if taken > limit and number:
            return number
    return len(rows.members)
