"""Report last: logs and statuses beside the specs, from what the record says. What a crash keeps from being written is
still marked in the record, and is written by the next pass. So no mark need be on disk at once; and no run waits for a report:
while runs have something to say, reports are put off, for a moment at most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from reconciler.clock import Now, milliseconds
from reconciler.controller.alike import patterned
from reconciler.controller.hands import Hands
from reconciler.core.document import Kind
from reconciler.core.event import logfmt
from reconciler.core.prune import undeleted_words
from reconciler.core.state import Status
from reconciler.core.status import AuthFacts, JobFacts, auth_status, job_status
from reconciler.errors import Problem
from reconciler.record.events import KEPT_EVENTS, Event
from reconciler.record.facts import job_facts
from reconciler.record.jobs import JobRow, NewRow, Reported
from reconciler.record.prunes import HeldSet
from reconciler.record.resources import ResourceRow
from reconciler.repo.divide import cores, divided

#: So many jobs are held in memory while their statuses are written; of those that have never run there is less to hold.
AT_ONCE: Final = 1_000
MOST_NEW: Final = 10_000
#: So many events, or statuses, are marked as written at a time where runs may have something to say.
FEW: Final = 20
#: While runs are at work, reports are written so often at most: what changes twice in that time is written once.
REPORT_EVERY_MS: Final = 100
#: For how long reports that are due give way to runs.
PUT_OFF_MS: Final = 250
#: So many events are held in memory while they are written to logs.
MOST_EVENTS: Final = 20_000
#: A running job's status is written at most this often, and first once it has been running for so long: most runs are over
#: before anybody could have read that they are at work.
RUNNING_STATUS_MS: Final = 1_000
YOUNG_MS: Final = 250
#: What could not be written is tried again so often; of so many logs and statuses it is remembered.
AGAIN_MS: Final = 5_000
MOST_BEHIND: Final = 10_000
#: From so many files on, more than one process writes.
MANY: Final = 200

T = TypeVar("T")
R = TypeVar("R")
#: Of a status that was written: the digest of its content, a warning, its condition, and since when that is so.
_Said = tuple[str, str, str, str | None]


class Reporter:
    """Writes what is out of date. Warnings go to the listener, each once."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._record = hands.record
        self._writer = hands.writer
        self._written_ms: dict[int, int] = {}
        self._warned: set[str] = set()
        self._behind: dict[tuple[str, str], list[str]] = {}  # lines that a log could not take yet
        self._unwritten: set[int] = set()  # things whose status could not be written
        self._again_ms = 0
        self._next_ms = 0  # while runs are at work
        self._late_ms: int | None = None  # what gives way to runs is written by then
        self._due_ms: int | None = None  # the first status of a running job that waits is to be written then
        self._is_behind = False

    def flush(self, now: Now, *, last: bool = False, pressed: Callable[[], bool] | None = None) -> bool:
        """The audit log's mirror, chores, then logs, then statuses. With `last`, also those of running jobs that were just
        written. While runs are at work, `pressed` tells whether they have something to say: then what is left is put off.
        Whether all was written."""
        self._is_behind = True
        if pressed is not None and now.alive_ms < self._next_ms:
            return False
        if self._late_ms is not None and now.alive_ms >= self._late_ms:
            pressed = None
        if (pressed is None or not pressed()) and self._flush(now, last=last, pressed=pressed):
            self._is_behind, self._late_ms, self._next_ms = False, None, now.alive_ms + REPORT_EVERY_MS
            return True
        self._late_ms = now.alive_ms + PUT_OFF_MS if self._late_ms is None else self._late_ms
        return False

    def due_in_ms(self, now: Now) -> int | None:
        """When what was put off is to be written; None where nothing was."""
        if self._is_behind:
            return max(1, self._next_ms - now.alive_ms)
        return None if self._due_ms is None else max(1, self._next_ms - now.alive_ms, self._due_ms - now.alive_ms)

    def _flush(self, now: Now, *, last: bool, pressed: Callable[[], bool] | None) -> bool:
        self._warn(self._record.audit.mirror())
        self._do_chores()
        with self._writer.folders_kept():
            self._catch_up(now, last=last)
            return self._write_logs(pressed) and self._write_statuses(now, last=last, pressed=pressed)

    def _do_chores(self) -> None:
        """Each is noted once it is done: one that is done again after others would take files that are another's by then."""
        for chore in self._record.resources.chores():
            kind: Kind = chore.kind  # type: ignore[assignment]
            if chore.new_name:
                self._warn(self._writer.move(chore.path, chore.new_path, chore.new_name, kind, old_name=chore.name))
            else:
                self._warn(self._writer.remove(chore.path, chore.name, kind))
            with self._record.transaction(durable=False):
                self._record.resources.done(chore)

    def _catch_up(self, now: Now, *, last: bool) -> None:
        """What could not be written is tried again, now and then: a disk that was full or read-only may not be so any more."""
        if not (self._behind or self._unwritten) or (now.alive_ms < self._again_ms and not last):
            return
        self._again_ms = now.alive_ms + AGAIN_MS
        for path, name in sorted(self._behind):
            self._append(path, name, ())
        unwritten, self._unwritten = sorted(self._unwritten), set()
        with self._record.transaction():
            self._record.jobs.mark_dirty(unwritten)

    def _append(self, path: str, name: str, lines: Sequence[str]) -> None:
        """Lines for a log, after those that it could not take before."""
        waiting = [*self._behind.pop((path, name), ()), *lines]
        self._note_log(path, name, waiting, self._writer.append_log(path, name, waiting))

    def _note_log(self, path: str, name: str, waiting: Sequence[str], warning: str) -> None:
        """Of what a log could not take, the newest KEPT_EVENTS are kept."""
        self._warn(warning)
        if warning and len(self._behind) < MOST_BEHIND:
            self._behind[path, name] = list(waiting[-KEPT_EVENTS:])

    def _write_logs(self, pressed: Callable[[], bool] | None) -> bool:
        """Whether all were written."""
        limit = MOST_EVENTS if pressed is None else FEW
        while events := self._record.events.unlogged(limit):
            by_log: dict[tuple[str, str], list[Event]] = {}
            for event in sorted(events, key=lambda event: (event.path, event.name, event.id)):
                by_log.setdefault((event.path, event.name), []).append(event)
            self._append_all(by_log)
            self._hands.listener.events(events)
            with self._record.transaction(durable=False):
                self._record.events.mark_logged(events[-1].id or 0)
            if pressed is not None and pressed():
                return False
        return True

    def _append_all(self, by_log: Mapping[tuple[str, str], Sequence[Event]]) -> None:
        before = {log: self._behind.pop(log) for log in by_log if log in self._behind}

        def lines(log: tuple[str, str]) -> list[str]:
            return [*before.get(log, ()), *map(line_of, by_log[log])]

        warnings = self._divided(list(by_log), lambda log: self._writer.append_log(*log, lines(log)))
        for log, warning in zip(by_log, warnings, strict=True):
            if warning:
                self._note_log(*log, lines(log), warning)

    def _divided(self, items: Sequence[T], work: Callable[[T], R]) -> list[R]:
        """`work` writes the files of an item and says plainly what came of it; of many, on every core."""
        return divided(
            items, work, jobs=cores() if len(items) >= MANY else 1, pack=_itself, unpack=_itself, together=True
        )

    def _write_statuses(self, now: Now, *, last: bool, pressed: Callable[[], bool] | None) -> bool:
        """Whether all were written."""
        self._due_ms = None
        ids = self._record.jobs.dirty()
        authorizations = self._record.resources.dirty("Authorization")
        if not ids and not authorizations:
            return True
        problems = _by_name_or_path(self._record.desired.problems())
        held = self._record.prunes.held()
        if pressed is None and len(ids) >= MANY:
            parts = [ids[start : start + MOST_NEW] for start in range(0, len(ids), MOST_NEW)]
            ids = [left for part in parts for left in self._write_new(part, problems, held, now)]
        at_once = AT_ONCE if pressed is None else FEW
        for start in range(0, len(ids), at_once):
            with self._record.transaction(durable=False):
                chosen = ids[start : start + at_once]
                jobs = [job for job in self._record.jobs.by_ids(chosen) if last or not self._waits(job, now)]
                for some in [jobs] if pressed is None else [[job] for job in jobs]:
                    if pressed is not None and pressed():
                        return False
                    self._write_jobs(some, problems, held, now)
        with self._record.transaction(durable=False):
            for one in authorizations:
                self._write_authorization(one, self._problems_of("Authorization", one, problems), now)
            self._record.resources.clear_dirty_without_status()
        return True

    def _problems_of(
        self, kind: Kind, one: JobRow | ResourceRow, problems: Mapping[tuple[str, str], Sequence[Problem]]
    ) -> Sequence[Problem]:
        """What is wrong with the spec of a thing; where its file does not say its name any more, with that file."""
        found = problems.get((kind, one.name), ())
        nameless = problems.get(("", one.path), ())
        if found or not nameless or self._record.desired.declared_elsewhere(kind, one.name, ()):
            return found
        return nameless

    def _waits(self, job: JobRow, now: Now) -> bool:
        """Whether a running job's status is not written yet: its run is young, or it was written only just now."""
        if job.state.status is not Status.RUNNING:
            return False
        written_ms, age_ms = self._written_ms.get(job.id), now.wall_ms - job.state.since_ms
        if written_ms is not None:
            wait_ms = RUNNING_STATUS_MS - (now.alive_ms - written_ms)
        else:
            wait_ms = YOUNG_MS - age_ms if age_ms >= 0 else 0  # the clock was set back
        if wait_ms <= 0:
            return False
        due_ms = now.alive_ms + wait_ms
        self._due_ms = due_ms if self._due_ms is None else min(self._due_ms, due_ms)
        return True

    def _write_jobs(
        self,
        jobs: Sequence[JobRow],
        problems: Mapping[tuple[str, str], Sequence[Problem]],
        held: HeldSet | None,
        now: Now,
    ) -> None:
        """What is asked of the record is asked here; whoever writes does nothing else."""
        facts = [self._facts(job, self._problems_of("Job", job, problems), held) for job in jobs]

        def write(index: int) -> _Said:
            return self._say(jobs[index], "Job", job_status(facts[index], now))

        said = self._divided(range(len(jobs)), write)
        for job in jobs:
            if job.state.status is Status.RUNNING:
                self._written_ms[job.id] = now.alive_ms
            else:
                self._written_ms.pop(job.id, None)
        troubled = [bool(one.problems) for one in facts]
        self._note_said(list(zip(jobs, said, troubled, strict=True)), "Job", now)

    def _write_new(
        self,
        ids: Sequence[int],
        problems: Mapping[tuple[str, str], Sequence[Problem]],
        held: HeldSet | None,
        now: Now,
    ) -> list[int]:
        """Statuses of jobs that have never run, as far as they are like others; the ids of all that are left."""

        def is_plain(row: NewRow) -> bool:
            is_wrong = ("Job", row.name) in problems or ("", row.path) in problems
            return not is_wrong and (held is None or row.name not in held.jobs)

        def facts(row: NewRow) -> JobFacts | None:
            job = self._record.jobs.by_id(row.id)
            return None if job is None else self._facts(job, (), held)

        def write(index: int) -> _Said:
            row, pattern = found[index]
            written = self._writer.write_rendered(row.path, row.name, pattern.filled(row), known=row.status_digest)
            return written.digest, written.warning, pattern.condition, pattern.condition_at

        with self._record.transaction(durable=False):
            found = patterned(list(filter(is_plain, self._record.jobs.new(ids))), facts, now)
            said = self._divided(range(len(found)), write)
            self._note_said([(row, one, False) for (row, _), one in zip(found, said, strict=True)], "Job", now)
        done = {row.id for row, _ in found}
        return [one for one in ids if one not in done]

    def _facts(self, job: JobRow, problems: Sequence[Problem], held: HeldSet | None) -> JobFacts:
        undeleted = ""
        if job.life == "orphaned":  # of those, only what waits for its spec has a status
            is_declared = self._record.desired.document("Job", job.name) is not None
            undeleted = undeleted_words(job.path, is_declared=is_declared)
        return job_facts(self._record.runs, job, problems, held, undeleted)

    def _write_authorization(self, one: ResourceRow, problems: Sequence[Problem], now: Now) -> None:
        facts = AuthFacts(
            name=one.name,
            title=one.title,
            provider=one.spec.get("provider", ""),
            created_ms=one.created_ms,
            created_by=one.created_by,
            updated_ms=one.updated_ms,
            updated_by=one.updated_by,
            generation=one.generation,
            observed_generation=one.generation,
            digest=one.digest,
            revision=one.revision,
            condition=one.condition,
            condition_ms=one.condition_ms,
            problems=problems,
            method=one.spec.get("method", ""),
            used_by=self._record.resources.referrers("Authorization", one.name),
            secrets=self._record.runs.secrets_seen(one.name),
        )
        said = self._say(one, "Authorization", auth_status(facts, now))
        self._note_said([(one, said, bool(problems))], "Authorization", now)

    def _say(self, one: JobRow | ResourceRow, kind: Kind, document: dict[str, Any]) -> _Said:
        """Writes a status."""
        written = self._writer.write_status(one.path, one.name, document, kind, known=one.status_digest)
        condition = document["status"]["conditions"][0]
        return written.digest, written.warning, str(condition["status"]), condition["lastTransitionTime"]

    def _note_said(
        self, said: Sequence[tuple[JobRow | NewRow | ResourceRow, _Said, bool]], kind: Kind, now: Now
    ) -> None:
        """Keeps what the statuses say now; the last of each is whether something is wrong with the spec."""
        reported = []
        for one, (digest, warning, condition, at), troubled in said:
            if warning and not self._went_with_its_folder(one, kind):
                self._warn(warning)
            if warning and len(self._unwritten) < MOST_BEHIND:
                self._unwritten.add(one.id)
            condition_ms = now.wall_ms if at is None else milliseconds(at)
            reported.append(Reported(one.id, condition, condition_ms, troubled, digest))
        self._record.jobs.mark_reported(reported)

    def _went_with_its_folder(self, one: JobRow | NewRow | ResourceRow, kind: Kind) -> bool:
        """Whether there is no place for a status beside the spec, because neither is there: the thing is only held."""
        settings = self._hands.settings
        beside = settings.status_dir is None and not (settings.root / one.path).parent.exists()
        return beside and self._record.desired.document(kind, one.name) is None

    def _warn(self, text: str) -> None:
        if text and text not in self._warned:
            self._warned.add(text)
            self._hands.listener.notice(text)


def _itself(value: Any) -> Any:
    return value


def line_of(event: Event) -> str:
    """The event as one line of logfmt."""
    fields = {
        "run": event.run,
        "unit": event.unit,
        "rows": event.rows,
        "added": event.added,
        "removed": event.removed,
        "omitted": event.omitted,
        "msg": event.message,
        "commit": event.commit,
        "author": event.author,
    }
    return logfmt(event.time_ms, event.event, fields)


def _by_name_or_path(problems: Iterable[Problem]) -> dict[tuple[str, str], list[Problem]]:
    """Under kind and name; those of a file that has no name in it under an empty kind and the path."""
    found: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        key = (problem.kind, problem.name) if problem.name else ("", problem.path)
        found.setdefault(key, []).append(problem)
    return found
