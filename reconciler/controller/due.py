"""The runs that a pass would start, foreseen by the state machine and the gate that will judge them then: of jobs that
are due, of those that the plan makes so, and of those that wait for these; but of none that is in doubt, since it starts
nothing. Every run is taken to succeed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reconciler.clock import Now
from reconciler.core.consequence import spec_events
from reconciler.core.gate import DependencyFacts, Start, facts_of, gate, owed_by_dependencies
from reconciler.core.happening import AuthorizationChanged, DependencySucceeded, Event
from reconciler.core.lifecycle import advance, created, happenings, is_legal
from reconciler.core.planned import Action, Plan, PlannedRun, Verb
from reconciler.core.rules import JobRules, rules_of
from reconciler.core.state import JobState, Outcome, Status
from reconciler.record.jobs import JobRow
from reconciler.record.store import Record


def due(record: Record, made: Plan, now: Now, is_in_doubt: Callable[[str], bool]) -> tuple[PlannedRun, ...]:
    """By name, each with why it is owed."""
    foresight = _Foresight(record, now, is_in_doubt)
    foresight.know(record.jobs.jobs(record.differences.owing(now.wall_ms)))
    asleep = {one.name for one in made.waiting if one.kind == "Job"}
    for action in made.actions:
        if action.kind == "Authorization" and action.verb is Verb.UPDATE:
            foresight.change_authorization(action.name)
        elif action.kind == "Job" and action.name not in asleep:
            foresight.act(action)
    return tuple(PlannedRun(name, why) for name, why in sorted(foresight.runs().items()))


class _Foresight:
    """The lives of the jobs that may run, as they would be once the plan is enacted."""

    def __init__(self, record: Record, now: Now, is_in_doubt: Callable[[str], bool]) -> None:
        self._record = record
        self._is_in_doubt = is_in_doubt
        self._now = now
        self._lives: dict[str, tuple[JobState, JobRules]] = {}
        self._new: set[str] = set()
        self._edited: set[str] = set()
        self._gone: set[str] = set()

    def know(self, jobs: Iterable[JobRow]) -> None:
        for job in jobs:
            if job.name not in self._gone:
                self._lives.setdefault(job.name, (job.state, rules_of(job.spec)))

    def act(self, action: Action) -> None:
        """What an action does to its job; the edits of one document happen at once."""
        document = self._record.desired.document("Job", action.name)
        if action.renamed_from:
            self._lose(action.renamed_from)
        if action.verb in (Verb.DELETE, Verb.PURGE) or document is None:
            self._lose(action.name)
            return
        if action.name in self._edited:
            return
        self._edited.add(action.name)
        rules = rules_of(document.spec)
        job = self._record.jobs.job(action.renamed_from or action.name)
        if job is None or (action.verb is Verb.CREATE and job.life != "undeleted"):
            self._new.add(action.name)
            self._lives[action.name] = (created(rules, self._now).state, rules)
        else:
            events = spec_events(job.spec, document.spec)
            self._lives[action.name] = (self._after(job.state, events, rules), rules)

    def change_authorization(self, name: str) -> None:
        for job in self._record.jobs.users_of(name):
            rules = rules_of(job.spec)
            self._lives[job.name] = (self._after(job.state, (AuthorizationChanged(),), rules), rules)

    def runs(self) -> dict[str, str]:
        """The names of the runs that would start, and why: now, or once others have succeeded."""
        found: dict[str, str] = {}
        left = set(self._lives)
        while fresh := {name: why for name in left if (why := self._why_it_starts(name, found)) is not None}:
            found |= fresh
            for name in fresh:
                self.know(self._record.jobs.dependents(name))
            left = self._lives.keys() - found.keys()
        return found

    def _why_it_starts(self, name: str, starting: dict[str, str]) -> str | None:
        state, rules = self._lives[name]
        state = self._caught_up(state, rules)
        dependencies = self._dependencies(rules, starting)
        if owed_by_dependencies(state, rules, dependencies, self._now) and is_legal(state, DependencySucceeded()):
            state = advance(state, DependencySucceeded(), rules, self._now).state
        if not isinstance(gate(state, rules, self._now, dependencies), Start) or self._is_in_doubt(name):
            return None
        return "first run" if name in self._new else str(state.owed)

    def _dependencies(self, rules: JobRules, starting: dict[str, str]) -> list[DependencyFacts]:
        known = {name: self._lives[name] for name in rules.depends_on if name in self._lives}
        others = self._record.jobs.jobs(set(rules.depends_on) - known.keys() - self._gone) if rules.depends_on else []
        lives = known | {job.name: (job.state, rules_of(job.spec)) for job in others}
        return [
            self._succeeded(name) if name in starting else facts_of(name, self._caught_up(state, one), one)
            for name, (state, one) in lives.items()
        ]

    def _succeeded(self, name: str) -> DependencyFacts:
        """A job whose run will have succeeded in this pass."""
        return DependencyFacts(
            name=name, status=Status.SLEEPING, last_outcome=Outcome.SUCCEEDED, last_success_ms=self._now.wall_ms
        )

    def _after(self, state: JobState, events: Iterable[Event], rules: JobRules) -> JobState:
        for event in events:
            if is_legal(state, event):
                state = advance(state, event, rules, self._now).state
        return state

    def _caught_up(self, state: JobState, rules: JobRules) -> JobState:
        """What time alone has brought about."""
        while events := [one for one in happenings(state, rules, self._now) if is_legal(state, one)]:
            state = self._after(state, events, rules)
        return state

    def _lose(self, name: str) -> None:
        self._gone.add(name)
        self._lives.pop(name, None)
