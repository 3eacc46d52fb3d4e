"""The one place where a job's state moves on: the table in `core/lifecycle.py` says what follows, the record keeps it with
the lines for the log. Always inside the caller's transaction; what the world must then be told waits until it is
committed (`take_stops`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace
from functools import lru_cache
from typing import NamedTuple

from reconciler.clock import Now
from reconciler.core import lifecycle
from reconciler.core.gate import wake_at_ms as next_wake_ms
from reconciler.core.happening import Event as Happening
from reconciler.core.happening import LogEntry, Step
from reconciler.core.provider import Unit
from reconciler.core.rules import AfterDependencies, JobRules, rules_of
from reconciler.core.state import EventName, Status
from reconciler.core.value import dataclass
from reconciler.record.events import Event, Told
from reconciler.record.jobs import JobRow
from reconciler.record.resources import By
from reconciler.record.store import Record

NOBODY = By(author="")


@lru_cache(maxsize=64)  # a tree that is created at once holds many jobs of the same rules
def _born(rules: JobRules, now: Now) -> tuple[Step, int | None]:
    """The first step of a job, and when it is to be considered: at once where a run is owed or a dependency may make it
    so, else when time next moves it."""
    step = lifecycle.created(rules, now)
    owes = step.state.status is Status.SLEEPING and step.state.owed is not None
    at_once = owes or isinstance(rules.schedule, AfterDependencies)
    return step, now.wall_ms if at_once else next_wake_ms(step.state, rules, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A unit that an event tells of: its run, its number there, and its counts."""

    run: int
    number: int
    unit: Unit


class Born(NamedTuple):
    """A job that has just been created, for `reason`."""

    id: int
    name: str
    path: str
    rules: JobRules
    reason: str
    by: By


@dataclass(slots=True)
class Lives:
    """Moves jobs on. `chance` draws from [0, 1) for the jitter of a delay."""

    record: Record
    chance: Callable[[], float]
    _stops: list[int] = field(default_factory=list)

    def create(self, born: Sequence[Born], now: Now) -> None:
        """The states of jobs that have just been created."""
        steps = [(one, *_born(one.rules, now)) for one in born]
        self.record.jobs.insert_states((one.id, step.state, wake_at_ms) for one, step, wake_at_ms in steps)
        self.record.events.tell(
            Told(
                one.name,
                one.path,
                now.wall_ms,
                entry.name.value,
                _told(entry, one.reason),
                one.by.commit,
                one.by.author,
            )
            for one, step, _ in steps
            for entry in step.log
        )

    def advance(
        self,
        job: JobRow,
        event: Happening,
        now: Now,
        *,
        by: By = NOBODY,
        rules: JobRules | None = None,
        committed: Committed | None = None,
        waiting: str = "",
    ) -> JobRow:
        """The job after `event`, recorded. It is to be considered at once, whatever its schedule said before."""
        step = lifecycle.advance(job.state, event, rules or rules_of(job.spec), now, self.chance())
        self.record.jobs.save_state(job.id, step.state, wake_at_ms=now.wall_ms, waiting=waiting)
        if step.drop_cursor:
            self.record.jobs.drop_cursor(job.id)
        run = step.state.run if step.state.run is not None else job.state.run
        for entry in step.log:
            self._log(job.name, job.path, run, entry, now, by, committed)
        if step.stop_run and job.state.run is not None:
            self._stops.append(job.state.run)
        cursor = None if step.drop_cursor else job.cursor
        return replace(job, state=step.state, wake_at_ms=now.wall_ms, waiting=waiting, cursor=cursor)

    def stop_if_running(self, job: JobRow) -> None:
        """The job is about to go: a run in progress is to stop; none of its units is accepted any more."""
        if lifecycle.is_in_progress(job.state) and job.state.run is not None:
            self._stops.append(job.state.run)

    def tell(self, job: JobRow, name: EventName, message: str, now: Now, by: By = NOBODY) -> None:
        """A line for the log of what the controller did to the record itself."""
        self._log(job.name, job.path, None, LogEntry(name, message), now, by, None)

    def take_stops(self) -> list[int]:
        """The runs to be stopped at their next unit, since this was last asked."""
        stops, self._stops = self._stops, []
        return stops

    def _log(
        self,
        name: str,
        path: str,
        run: int | None,
        entry: LogEntry,
        now: Now,
        by: By,
        committed: Committed | None,
    ) -> None:
        event = _event(name, path, run, entry, now, by)
        if committed is not None and entry.name is EventName.SYNCED:
            unit = committed.unit
            event = replace(
                event,
                run=committed.run,
                unit=committed.number,
                rows=unit.rows,
                added=unit.added,
                removed=unit.removed,
                omitted=unit.omitted,
            )
        self.record.events.add(event)


def _event(name: str, path: str, run: int | None, entry: LogEntry, now: Now, by: By) -> Event:
    return Event(
        kind="Job",
        name=name,
        path=path,
        time_ms=now.wall_ms,
        event=entry.name,
        run=run,
        message=entry.message,
        commit=by.commit,
        author=by.author,
    )


def _told(entry: LogEntry, reason: str) -> str:
    """That a job was created is told with the reason."""
    return entry.message or (reason if entry.name is EventName.CREATED else "")
