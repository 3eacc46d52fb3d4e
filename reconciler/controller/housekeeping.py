"""What keeps the data folder tidy: files that no row names are swept, small segments are put together.

A compaction is a run of its own kind: it happens in a process beside the loop, which goes on. It writes a new segment
that holds what its neighbours held, in their order; the record then swaps the names in one transaction. What it
replaced stays on disk until every run that began before has ended, so no reader ever misses a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from reconciler.clock import Now, iso
from reconciler.controller.hands import Hands
from reconciler.controller.restoring import settle
from reconciler.core.audit import Deed
from reconciler.core.backfill import BACKFILL, LIVE
from reconciler.core.messages import MAINTENANCE, Ended, Exited, FromRun, Order, Produced, Reply
from reconciler.core.metrics import HOUR_MS
from reconciler.core.provider import Staged
from reconciler.core.state import EventName
from reconciler.data.segments import plan_compaction, sweep, sweep_temporary
from reconciler.record.deletions import Deletion
from reconciler.record.store import BACKLOG_BYTES
from reconciler.record.streams import SegmentRow

#: A stream of so many segments is looked at for some to put together.
FRAGMENTS: Final = 16
#: A temporary folder that was not touched for so long is of a query whose process is gone.
SCRATCH_KEPT_MS: Final = 60 * 60_000
MINUTE_MS: Final = 60_000
#: Compactions have run ids of their own, far above those of jobs' runs.
FIRST_ID: Final = 1 << 48


class Housekeeper:
    """Sweeps and compacts, one compaction at a time."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._streams = hands.record.streams
        self._data = hands.settings.state / "data"
        self._replaces: dict[int, Sequence[SegmentRow]] = {}
        self._given_up: set[str] = set()  # streams whose compaction has failed in this life
        self._trimmed_ms = 0
        self._watched_ms = 0
        self._is_told = False

    def sweep(self, now: Now) -> None:
        """Removes what a crash left behind. Only before any run has started: a run stages files that no row names yet."""
        settled = settle(self._hands.record, self._hands.settings.state)
        if settled is not None and settled.moved:
            self._hands.listener.notice(
                f"{len(settled.moved):,} data files that the restored record does not name are kept in {settled.folder}"
            )
        self._streams.drop_retired(now.wall_ms)
        profiles = self._hands.record.profiles
        profiles.drop_retired(now.wall_ms)
        sent = self._hands.record.intake.reject_files()
        sweep(self._data, self._streams.named_files() | profiles.named_files() | sent)
        sweep_temporary(self._data, now.wall_ms - SCRATCH_KEPT_MS)

    def trim(self, now: Now) -> None:
        """Removes sums of minutes and hours, and deleted jobs, that have been kept long enough, once an hour."""
        if abs(now.wall_ms - self._trimmed_ms) >= HOUR_MS:
            self._trimmed_ms = now.wall_ms
            self._hands.record.metrics.trim(now.wall_ms)
            self._bury_deleted(now)

    def _bury_deleted(self, now: Now) -> None:
        """Deletions that nobody has undone in time are for good: all goes but the cursor of an orphan."""
        record = self._hands.record
        expired = record.deletions.expired(now.wall_ms)
        if not expired:
            return
        with record.transaction():
            files = record.deletions.files(one.job for one in expired if not one.keeps)
            for one in expired:
                record.events.forget("Job", one.name, besides=EventName.DELETED)
                if one.keeps:
                    record.runs.forget(one.job)
                    record.deletions.end(one.job)
                else:
                    record.resources.delete(one.job)
            gone = [_gone(one, now) for one in expired if not one.keeps]
            record.audit.append(record.audit.with_what_is_there(gone))
        for file in files:
            (self._data / file).unlink(missing_ok=True)

    def watch_log(self, now: Now) -> None:
        """Says, once, that somebody keeps the record from being tidied, looking once a minute. Nothing is lost by it; the
        disk fills."""
        if now.alive_ms < self._watched_ms:
            return
        self._watched_ms = now.alive_ms + MINUTE_MS
        size, readers = self._hands.record.backlog()
        is_large = size >= BACKLOG_BYTES
        if is_large and not self._is_told:
            by = ", ".join(readers) or "another process"
            self._hands.listener.notice(
                f"record.db-wal has grown to {size >> 20:,} MiB, because {by} has been reading record.db all the while; "
                "nothing is lost, but the disk fills until that process ends its transaction"
            )
        self._is_told = is_large

    def owns(self, run: int) -> bool:
        """Whether a run is a compaction: builds of profiles have the ids above."""
        return FIRST_ID <= run < 2 * FIRST_ID

    def compact(self, *, pressing: bool = False) -> None:
        """Starts a compaction where one is due and none is at work. It gives way to runs, unless it is `pressing`: a pass
        waits for its own."""
        if self._replaces:
            return
        for stream in self._streams.fragmented(FRAGMENTS):
            groups = [] if stream in self._given_up else self._groups(stream)
            if groups:
                self._start(stream, groups[0], LIVE if pressing else BACKFILL)
                return

    def take(self, message: FromRun, now: Now) -> list[Reply]:
        """What a compaction says; the answers that it is owed."""
        match message:
            case Produced(run=run, unit=unit):
                return [Reply(run, self._swap(run, unit.segments, now))]
            case Ended(run=run, how=how) if how != "succeeded" and run in self._replaces:
                self._given_up.add(self._replaces[run][0].stream)
                self._hands.listener.notice(f"small segments could not be put together: {message.message}")
            case Exited(run=run):
                self._replaces.pop(run, None)
            case _:
                pass
        return []

    def tidy(self, before_ms: int) -> None:
        """Removes files that were replaced before the oldest run at work began."""
        retired = [*self._streams.drop_retired(before_ms), *self._hands.record.profiles.drop_retired(before_ms)]
        for file in retired:
            (self._data / file).unlink(missing_ok=True)

    def _groups(self, stream: str) -> list[tuple[Staged, ...]]:
        return plan_compaction([_staged(row) for row in self._streams.segment_rows(stream)])

    def _start(self, stream: str, group: Sequence[Staged], lane: str) -> None:
        record = self._hands.record
        with record.transaction():
            number = int(record.setting("compactions", 0)) + 1
            record.set_setting("compactions", number)
        files = {one.file for one in group}
        run = FIRST_ID + number
        self._replaces[run] = [row for row in self._streams.segment_rows(stream) if row.file in files]
        self._hands.runner.start(
            Order(
                job="compaction",
                run=run,
                attempt=1,
                generation=1,
                root=str(self._hands.settings.root),
                path="",
                provider=MAINTENANCE,
                job_type="compact",
                config={"stream": stream, "segments": [asdict(one) for one in group]},
                data_dir=str(self._data),
                writes=(stream,),
                lane=lane,
            )
        )

    def _swap(self, run: int, segments: Sequence[Staged], now: Now) -> bool:
        old = self._replaces.get(run)
        if old is None or len(segments) != 1 or segments[0].rows != sum(row.rows for row in old):
            return False
        files = [row.file for row in old]
        if not self._streams.are_live(files):  # the stream was dropped meanwhile
            return False
        self._streams.replace(files, segments[0], old[0].first, now.wall_ms)
        return True


def _gone(one: Deletion, now: Now) -> Deed:
    """In the audit log: nobody has undone it in time."""
    reason = f"deleted at {iso(one.at_ms)}, and not undeleted in time"
    return Deed(time_ms=now.wall_ms, action="expire", kind="Job", name=one.name, path=one.path, reason=reason)


def _staged(row: SegmentRow) -> Staged:
    return Staged(
        stream=row.stream,
        file=row.file,
        rows=row.rows,
        size=row.size,
        schema=row.schema,
        min_timestamp_ms=row.min_timestamp_ms,
        max_timestamp_ms=row.max_timestamp_ms,
    )
