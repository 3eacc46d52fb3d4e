"""What runs produce is committed: a unit's data, cursor, counts and event in one transaction, which is the caller's. Beside
them, what follows from a unit once that is committed: files that its job keeps no longer."""

from __future__ import annotations

import os
from collections.abc import Sequence

from reconciler.clock import Now
from reconciler.controller.building import Builder
from reconciler.controller.hands import Hands
from reconciler.controller.lives import Committed, Lives
from reconciler.core import happening, lifecycle
from reconciler.core.backfill import LIVE, lane_of
from reconciler.core.gate import wake_at_ms
from reconciler.core.messages import Intended, Produced
from reconciler.core.provider import Unit
from reconciler.core.rules import rules_of
from reconciler.data.segments import job_folder
from reconciler.record.jobs import JobRow
from reconciler.record.runs import RunRow


class Units:
    """Commits units and intents of jobs' runs."""

    def __init__(self, hands: Hands, lives: Lives, builder: Builder) -> None:
        self._hands = hands
        self._record = hands.record
        self._lives = lives
        self._builder = builder
        self._dropped: list[str] = []  # files that a unit no longer keeps; removed once that is committed
        self.rows = 0

    def commit(self, job: JobRow | None, run: RunRow | None, message: Produced, now: Now) -> bool:
        """Whether the unit was accepted: not one of a job that is gone, or of a run that was superseded."""
        if job is None or run is None or not _accepts(job):
            return False
        number = run.units + 1
        unit = message.unit
        untimed = self._untimed(job, unit)
        words = f"{untimed:,} without a time" if untimed else ""
        text = "; ".join(part for part in (unit.message, words, self._kept_in(unit.rejects)) if part)
        if unit.keeps is not None:
            self._dropped += set(self._record.runs.own_files(job.id)) - set(unit.keeps)
        self._record.runs.commit_unit(run, number, unit, now.wall_ms, untimed=untimed)
        job = self._lives.advance(
            job,
            happening.UnitCommitted(moved=unit.moved, message=text),
            now,
            committed=Committed(run=run.id, number=number, unit=unit),
        )
        self._record.jobs.wake_at(job.id, wake_at_ms(job.state, rules_of(job.spec), now))
        self.rows += unit.rows
        if unit.segments:
            self._builder.grown()
        self._hands.listener.progress(job.name, run.id, run.totals.rows + unit.rows, run.started_ms, now.wall_ms)
        return True

    def intend(self, job: JobRow | None, run: RunRow | None, message: Intended) -> bool:
        """Whether the intents were committed."""
        if job is None or run is None or not _accepts(job):
            return False
        self._record.runs.commit_intents(run, message.intents)
        return True

    def mark(self) -> int:
        """How much has been dropped so far, for `take_back`."""
        return len(self._dropped)

    def take_back(self, mark: int) -> None:
        """What has been dropped since is named by the record still: it refused."""
        del self._dropped[mark:]

    def drop_unnamed(self, run_id: int, attempt: int) -> None:
        """The process of an attempt is gone: what it has written for itself and no unit names (a plan that a guard held
        back, what a ledger was folded from) is of no use to anybody."""
        run = self._record.runs.run(run_id)
        job = None if run is None else self._record.jobs.by_id(run.job)
        if job is None:
            return
        try:
            names = os.listdir(self._hands.settings.state / "data" / job_folder(job.name))
        except OSError:
            return
        mine = {f"{job_folder(job.name)}{one}" for one in names if one.startswith(f"{run_id}-{attempt}-")}
        if mine:
            self._dropped += sorted(mine.difference(self._record.runs.own_files(job.id)))

    def remove_dropped(self) -> None:
        """Removes what jobs keep no longer, once the record says so."""
        dropped, self._dropped = self._dropped, []
        for file in dropped:
            (self._hands.settings.state / "data" / file).unlink(missing_ok=True)

    def _untimed(self, job: JobRow, unit: Unit) -> int:
        """How many messages of a unit have no time of their own, as far as that matters: where the job says in which field
        it stands, and in a backfill, whose messages are old and would count as the newest. Where the stream itself says
        how they tell the time, the build of profiles counts them."""
        unsaid = lane_of(job.spec) != LIVE
        counts = {one: (one.rows if unsaid else 0) if one.untimed is None else one.untimed for one in unit.segments}
        return sum(count for one, count in counts.items() if count and not self._tells_time(one.stream))

    def _tells_time(self, stream: str) -> bool:
        resource = self._record.resources.resource("Stream", stream)
        return resource is not None and "timestamp" in resource.spec

    def _kept_in(self, rejects: Sequence[str]) -> str:
        """Where what was left out is kept, for whoever reads the log: from the root where it lies below it."""
        settings = self._hands.settings
        paths = [settings.state / "data" / file for file in rejects]
        shown = [path.relative_to(settings.root) if path.is_relative_to(settings.root) else path for path in paths]
        return f"what was left out is kept in {', '.join(map(str, shown))}" if shown else ""


def _accepts(job: JobRow) -> bool:
    return job.life == "live" and lifecycle.accepts_units(job.state)
