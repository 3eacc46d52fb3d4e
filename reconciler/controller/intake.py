"""What was accepted over HTTP is put on its streams: journals are folded into segments in processes beside the loop.

Two lanes, one folding each at a time: live messages, about once a second; and bulk bodies, one after the other and small
ones together, so that the largest backfill keeps no live message waiting, and many small ones not one another. A unit's
segments and the mark up to which its journal is folded become true in one transaction. A journal whose messages are all on
their streams is removed: first its file, for good, then what the record knows of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, takewhile
from typing import Final, Literal

from reconciler.clock import Now
from reconciler.controller.hands import Hands
from reconciler.controller.orders import forgotten
from reconciler.controller.uploads import Gate
from reconciler.core.backfill import BACKFILL, LIVE
from reconciler.core.messages import MAINTENANCE, Ended, Exited, FromRun, Order, Produced, Reply
from reconciler.core.provider import Unit
from reconciler.data.journal import INTAKE, Journal, Listing, listing, remove
from reconciler.record.intake import JournalRow

#: Foldings have run ids of their own, below those of compactions.
FIRST_FOLD: Final = 1 << 47
#: Live messages are put on their streams so often at most, in milliseconds of uptime: each folding makes segments.
FOLD_EVERY_MS: Final = 1_000
#: A journal whose folding has failed is left alone for so long.
RETRY_AFTER_MS: Final = 60_000
#: Bulk bodies that wait are folded by one process as long as they have no more bytes together, as they came.
TOGETHER_BYTES: Final = 16 << 20
#: A bulk body stays for so long after it was accepted, so that its idempotency key is noted elsewhere before it goes.
KEPT_MS: Final = 60_000

Lane = Literal["live", "bulk"]
LANES: Final[tuple[Lane, ...]] = ("live", "bulk")


@dataclass(slots=True)
class _Folding:
    """A folding at work, and where each of its journals stood when it began."""

    run: int
    journals: tuple[Journal, ...]
    failed: str = ""
    done: bool = False


@dataclass(slots=True)
class Intake:
    """Starts foldings, commits what they made, removes journals that are done with."""

    hands: Hands
    _at_work: dict[Lane, _Folding] = field(default_factory=dict)
    _shunned: dict[int, int] = field(default_factory=dict)  # journals whose folding has failed, until when
    _tried: dict[int, int] = field(default_factory=dict)  # how large each journal was when it was last taken up
    _next_ms: int = 0
    _wanted: bool = False
    _first_look: Listing | None = None
    _started: set[int] = field(default_factory=set)
    _gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        self._gate = Gate(self.hands)

    def owns(self, run: int) -> bool:
        """Whether a run is a folding."""
        return FIRST_FOLD <= run < 2 * FIRST_FOLD

    def is_bulk(self, run: int) -> bool:
        """Whether a run is a folding of a bulk body, which is a backfill too."""
        folding = self._at_work.get("bulk")
        return folding is not None and folding.run == run

    def keep(self, now: Now, *, a_pass: bool = False) -> None:
        """Its turn: starts what there is to fold. A pass folds what it finds at first, and nothing that comes later."""
        if not a_pass and now.alive_ms < self._next_ms:
            return
        self._next_ms = now.alive_ms + FOLD_EVERY_MS
        self._wanted = self._wanted and "live" in self._at_work
        if a_pass and self._first_look is not None:
            found = self._first_look
        else:
            found = self._first_look = listing(self.hands.settings.state / INTAKE)
        known = self.hands.record.intake.journals()
        if not a_pass or not self._at_work:
            found = self._first_look = found.without(self._tidy(found, known, now))
        held = self._gate.held(found.bulk, known, now)
        for lane, journals in zip(LANES, (found.live, found.bulk), strict=True):
            waiting = [one for one in journals if self._is_waiting(one, known.get(one.number), now)]
            waiting = [one for one in waiting if one.number not in held]
            if a_pass:
                waiting = [one for one in waiting if one.number not in self._started]
            if waiting and lane not in self._at_work:
                self._start(lane, waiting if lane == "live" else self._together(waiting), known)

    def wake(self) -> None:
        """Something has come."""
        self._wanted = True

    def due_in_ms(self, now: Now) -> int | None:
        """When its next turn is worth a look; None where nothing has come."""
        return max(1, self._next_ms - now.alive_ms) if self._wanted else None

    def take(self, message: FromRun, now: Now) -> list[Reply]:
        """What a folding says; the answers that it is owed."""
        lane, folding = next(
            ((lane, one) for lane, one in self._at_work.items() if one.run == message.run), (LANES[0], None)
        )
        if folding is None:
            return [Reply(message.run, accepted=False)] if isinstance(message, Produced) else []
        match message:
            case Produced(unit=unit):
                return [Reply(message.run, self._commit(unit, now))]
            case Ended(how=how):
                folding.done = how in ("succeeded", "stopped")
                folding.failed = "" if folding.done else message.message or how
            case Exited():
                del self._at_work[lane]
                self._next_ms = min(self._next_ms, now.alive_ms + FOLD_EVERY_MS)
                if not folding.done:
                    self._shun(folding, now)
            case _:
                pass
        return []

    # --- a folding's life -------------------------------------------------------------------------------------------

    def _start(self, lane: Lane, journals: Sequence[Journal], known: Mapping[int, JournalRow]) -> None:
        record, settings = self.hands.record, self.hands.settings
        with record.transaction():
            number = int(record.setting("foldings", 0)) + 1
            record.set_setting("foldings", number)
            last = max(int(record.setting("journals", 0)), *(one.number for one in journals))
            record.set_setting("journals", last)
        run = FIRST_FOLD + number
        self._at_work[lane] = _Folding(run, tuple(journals))
        self._tried.update((one.number, one.size) for one in journals)
        self._started.update(one.number for one in journals)
        self.hands.runner.start(
            Order(
                job="collect",
                run=run,
                attempt=1,
                generation=1,
                root=str(settings.root),
                path="",
                provider=MAINTENANCE,
                job_type=f"fold-{lane}",
                config={
                    "folder": str(settings.state / INTAKE),
                    "starts": [_start_of(one, known.get(one.number)) for one in journals],
                },
                data_dir=str(settings.state / "data"),
                writes=None,
                lane=BACKFILL if lane == "bulk" else LIVE,
                secret_key=str(record.setting("secret_key")),
                **forgotten(self.hands, None),
            )
        )

    def _commit(self, unit: Unit, now: Now) -> bool:
        """It is our own code in a process of its own: a wrong shape is our bug."""
        told = unit.cursor
        return self.hands.record.intake.commit(
            JournalRow(journal=told["journal"], units=told["units"], mark=told["before"]),
            told["mark"],
            unit.segments,
            unit.rejects,
            rows=unit.rows,
            omitted=unit.omitted,
            whole=told["whole"],
            now_ms=now.wall_ms,
        )

    def _shun(self, folding: _Folding, now: Now) -> None:
        """What a folding could not do is tried again later; what came after is not held up meanwhile."""
        known = self.hands.record.intake.journals()
        for journal in folding.journals:
            if not _is_folded(journal, known.get(journal.number)):
                self._shunned[journal.number] = now.alive_ms + RETRY_AFTER_MS
                self._tried.pop(journal.number, None)
        why = folding.failed or "its process ended by itself"
        self.hands.listener.notice(f"accepted messages could not be put on their streams, and are kept: {why}")

    # --- what there is ----------------------------------------------------------------------------------------------

    def _together(self, bodies: Sequence[Journal]) -> list[Journal]:
        """The bodies that are folded next, in their order: one of any size, or several small ones. One whose folding has
        failed is tried again by itself."""
        if bodies[0].number in self._shunned:
            return [bodies[0]]
        small = takewhile(lambda one: one.number not in self._shunned, bodies)
        sizes = accumulate(one.size for one in bodies)
        return [one for one, size in zip(small, sizes, strict=False) if one is bodies[0] or size <= TOGETHER_BYTES]

    def _is_waiting(self, journal: Journal, row: JournalRow | None, now: Now) -> bool:
        """Whether there is something to fold: not what was tried before and has not changed since, a half frame."""
        if self._shunned.get(journal.number, 0) > now.alive_ms or self._tried.get(journal.number) == journal.size:
            return False
        return not _is_folded(journal, row)

    def _tidy(self, found: Listing, known: Mapping[int, JournalRow], now: Now) -> list[int]:
        """Removes what is done with; its numbers. A row outlives its journal's file, never the other way round: without
        its row a journal would land once more. What an earlier turn removed may not be gone for good: a crash may have cut it
        off, or the disk have refused to sync the folder."""
        done = [one.number for one in found.live if not one.open and _is_folded(one, known.get(one.number))]
        done += [
            one.number
            for one in found.bulk
            if _is_folded(one, known.get(one.number)) and now.wall_ms - _modified_ms(one) >= KEPT_MS
        ]
        there = {one.number for one in (*found.live, *found.bulk)}
        gone = [number for number in known if number not in there or number in done]
        if done or gone:
            remove(self.hands.settings.state / INTAKE, {*done, *gone})
        if gone:
            record = self.hands.record
            with record.transaction():
                record.intake.forget(gone)
                record.uploads.forget(gone)
                files = record.intake.trim_rejects()
            for file in files:
                (self.hands.settings.state / "data" / file).unlink(missing_ok=True)
        return done


def _is_folded(journal: Journal, row: JournalRow | None) -> bool:
    """Whether all of a journal that there is so far is on its streams."""
    if journal.path.suffix == ".json":
        return row is not None and row.whole
    return journal.size <= (0 if row is None else row.mark["at"])


def _modified_ms(journal: Journal) -> int:
    try:
        return int(journal.path.stat().st_mtime * 1000)
    except FileNotFoundError:
        return 0


def _start_of(journal: Journal, row: JournalRow | None) -> dict[str, object]:
    """What `reconciler.data.fold.Start` holds."""
    row = row or JournalRow(journal=journal.number)
    size = None if journal.open else journal.size
    return {"journal": row.journal, "units": row.units, "mark": row.mark, "size": size}
