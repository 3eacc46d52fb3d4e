"""Makes a plan true in the record. One transaction: a plan is enacted whole or, after a crash, planned again.

What a verb means to a job's life is the state machine's; what it means to files beside the spec is left as chores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from reconciler.clock import Now
from reconciler.controller.authors import Authors
from reconciler.controller.lives import Born, Lives
from reconciler.controller.planning import cursor_resets
from reconciler.core.audit import MAX_REASON, Deed
from reconciler.core.consequence import spec_events
from reconciler.core.document import Document
from reconciler.core.forgotten import GONE
from reconciler.core.happening import AuthorizationChanged, Stopped
from reconciler.core.lifecycle import is_in_progress, is_legal
from reconciler.core.planned import Action, Plan, Verb
from reconciler.core.provider import Catalogue
from reconciler.core.rules import rules_of
from reconciler.core.state import EventName, Outcome
from reconciler.record.audit import There
from reconciler.record.deletions import Left
from reconciler.record.desired import JobDocument
from reconciler.record.events import Event
from reconciler.record.jobs import JobRow
from reconciler.record.resources import By
from reconciler.record.store import Record


class Enactor:
    """Applies the actions of a plan to the record."""

    def __init__(self, record: Record, lives: Lives, catalogue: Catalogue) -> None:
        self._record = record
        self._lives = lives
        self._catalogue = catalogue
        self._resets = cursor_resets(catalogue)
        self._left: Mapping[str, Left] = {}
        self._approved = False
        self.beside_logs: list[Event] = []  # what no log file tells of

    def enact(self, plan: Plan, authors: Authors, now: Now, saved: str = "") -> None:
        """Everything in it, in its order. The audit log names the plan by `saved`, the digest of the saved plan that asks
        for it, else by that of its actions."""
        self._left = self._record.deletions.left()
        self._approved = plan.prune is not None and plan.prune.is_approved
        asleep = {one.name for one in plan.waiting if one.kind == "Job"}
        edited: set[tuple[str, str]] = set()
        updates = {(one.kind, one.name): one for one in plan.actions if one.verb is Verb.UPDATE}
        with self._record.transaction():
            for action, new in self._in_order(plan.actions):
                by = authors.of(action.path)
                if new:
                    self._create_jobs(new, authors, now)
                    continue
                match action.verb:
                    case Verb.MOVE:
                        self._move(action, by, now)
                    case Verb.CREATE:
                        self._create(action, by, now)
                    case Verb.DELETE:
                        self._delete(action, by, now)
                    case Verb.PURGE:
                        self._purge(action, by, now)
                    case Verb.UPDATE | Verb.RERUN | Verb.PAUSE | Verb.RESUME:
                        if (action.kind, action.name) not in edited:
                            edited.add((action.kind, action.name))
                            update = updates.get((action.kind, action.name))
                            self._edit(action, update, by, now, purged=action.name in asleep)
            self._record.jobs.wake_dependents(
                sorted({one.name for one in plan.actions if one.kind == "Job"}), now.wall_ms
            )
            self._note(plan, authors, saved or plan.actions_digest, now)

    def _in_order(self, actions: Sequence[Action]) -> Iterator[tuple[Action, list[Action]]]:
        """Every action; jobs that nothing is known of, one after the other, all at once with the first of them."""
        for is_new, some in groupby(actions, self._is_new):
            if is_new:
                new = list(some)
                yield new[0], new
            else:
                yield from ((one, []) for one in some)

    def _is_new(self, action: Action) -> bool:
        return action.verb is Verb.CREATE and action.kind == "Job" and action.name not in self._left

    def _note(self, plan: Plan, authors: Authors, digest: str, now: Now) -> None:
        """Every action goes into the audit log, with what the record holds of the thing once all of them are done."""
        audit = self._record.audit
        there = audit.what_is_there((one.kind, one.name) for one in plan.actions)
        gone = There()
        audit.append(
            [
                _deed(one, authors.of(one.path), digest, now, there.get((one.kind, one.name), gone))
                for one in plan.actions
            ]
        )

    def _document(self, action: Action) -> Document:
        document = self._record.desired.document(action.kind, action.name)
        assert document is not None, f"{action.kind} {action.name} is declared"
        return document

    def _type(self, kind: str, spec: Mapping[str, Any]) -> str:
        if kind != "Job":
            return ""
        provider = self._catalogue.get(spec["provider"])
        job_type = None if provider is None else provider.job_type(spec["jobType"])
        return "" if job_type is None else job_type.type

    def _create_jobs(self, actions: Sequence[Action], authors: Authors, now: Now) -> None:
        """Jobs of which nothing is known, in this order."""
        documents = {one.name: one for one in self._record.desired.jobs(one.name for one in actions)}
        terms = {text: _Terms(spec, self._type("Job", spec)) for text, spec in _parsed(documents.values())}
        declared = [(documents[one.name], authors.of(one.path)) for one in actions]
        ids = self._record.resources.create_jobs(
            [(one, by, terms[one.terms].type) for one, by in declared], now.wall_ms
        )
        born = [
            Born(ids[one.name], one.name, one.path, terms[one.terms].rules, action.reason, by)
            for action, (one, by) in zip(actions, declared, strict=True)
        ]
        self._record.jobs.add_dependencies((one.id, name) for one in born for name in one.rules.depends_on)
        self._lives.create(born, now)

    def _create(self, action: Action, by: By, now: Now) -> None:
        """Anything but a job of which nothing is known."""
        left = self._left.get(action.name) if action.kind == "Job" else None
        if left == "undeleted":
            self._bring_back(action, by, now)
            return
        document = self._document(action)
        if action.kind != "Job":
            self._record.resources.create(document, by, now.wall_ms)
            self._tell(action, EventName.CREATED, action.reason, by, now)
            return
        self._lose_history(action.name, now)
        orphan = self._record.jobs.orphan(action.name) if left == "orphaned" else None
        type = self._type("Job", document.spec)
        resource_id = self._record.resources.create(document, by, now.wall_ms, type=type)
        rules = rules_of(document.spec)
        self._record.jobs.set_dependencies(resource_id, rules.depends_on)
        if orphan is not None:
            self._record.jobs.forget_state(resource_id)
        self._lives.create([Born(resource_id, document.name, document.path, rules, action.reason, by)], now)
        if orphan is not None:
            self._record.jobs.restore(resource_id, orphan)
        if action.resets_cursor:
            self._record.jobs.drop_cursor(resource_id)

    def _bring_back(self, action: Action, by: By, now: Now) -> None:
        """What was undeleted has its spec again: it goes on with all that it had."""
        known = self._record.resources.resource(action.kind, action.name)
        assert known is not None, "what was undeleted is known"
        self._record.deletions.revive(known.id)
        self._tell(action, EventName.CREATED, action.reason, by, now)
        self._edit(action, None, by, now, purged=False)

    def _lose_history(self, name: str, now: Now) -> None:
        """A job of that name begins anew: what could be undone of the one before cannot any more, but for the cursor of an
        orphan."""
        known = self._record.resources.resource("Job", name)
        assert known is not None, "what was deleted is known"
        self._record.events.forget("Job", name, besides=EventName.DELETED)
        if self._left[name] == "deleted":
            self._record.resources.delete(known.id)
            self._lose_ledger(name, now)
        else:
            self._record.runs.forget(known.id)
            self._record.deletions.end(known.id)

    def _lose_ledger(self, name: str, now: Now) -> None:
        """The ledger that held a person is gone; that of the job which has the name from now on is another."""
        for receipt in self._record.forgotten.outstanding():
            if receipt.name == name:
                self._record.forgotten.removed(receipt.request, name, GONE, now.wall_ms)

    def _move(self, action: Action, by: By, now: Now) -> None:
        old = self._record.resources.resource(action.kind, action.renamed_from or action.name)
        assert old is not None, "what moves is known"
        if action.renamed_from:
            self._record.resources.give_way(action.kind, action.name)
            if action.kind == "Job":
                if action.name in self._left:
                    self._record.events.forget("Job", action.name, besides=EventName.DELETED)
                    self._lose_ledger(action.name, now)
                self._record.forgotten.rename(action.renamed_from, action.name)
        self._record.resources.move(old.id, action.name, action.path)
        self._tell(action, EventName.MOVED, action.reason, by, now)

    def _edit(self, action: Action, update: Action | None, by: By, now: Now, *, purged: bool) -> None:
        """All that an edited document brings about at once; its verbs are one event each in the job's life. `update` is
        the one of that verb among them."""
        document = self._document(action)
        known = self._record.resources.resource(action.kind, action.name)
        assert known is not None, "what is edited is known"
        self._record.resources.update(
            known.id, document, by, now.wall_ms, type=self._type(document.kind, document.spec)
        )
        if update is not None:
            self._tell(update, EventName.UPDATED, _with_message(update), by, now)
        if action.kind == "Authorization" and known.digest != document.digest:
            self._change_authorization(action.name, by, now)
        if action.kind != "Job":
            return
        rules = rules_of(document.spec)
        self._record.jobs.set_dependencies(known.id, rules.depends_on)
        if known.life == "purged" and not purged:
            self._record.resources.set_life(known.id, "live")
        job = self._job(known.id)
        resets = self._resets.get((document.spec["provider"], document.spec["jobType"]), frozenset())
        for event in spec_events(known.spec, document.spec, resets):
            job = self._lives.advance(job, event, now, by=by, rules=rules)
        self._record.jobs.wake_at(known.id, None if purged else now.wall_ms)

    def _change_authorization(self, name: str, by: By, now: Now) -> None:
        for job in self._record.jobs.users_of(name):
            if is_legal(job.state, AuthorizationChanged()):
                self._lives.advance(job, AuthorizationChanged(), now, by=by)

    def _delete(self, action: Action, by: By, now: Now) -> None:
        known = self._record.resources.resource(action.kind, action.name)
        assert known is not None, "what is deleted is known"
        resources = self._record.resources
        resources.clear_away(known.kind, known.name, known.path)
        if action.kind == "Job":
            self._stop(self._job(known.id), by, now)
            self._record.events.seal(known.kind, known.name)
            keeps = known.spec.get("deletionPolicy") == "orphan"
            self._record.deletions.add(
                known.id, now.wall_ms, commit=by.commit, revision=by.revision, keeps=keeps, approved=self._approved
            )
            self._tell(action, EventName.DELETED, _with_message(action), by, now)
            return
        self._record.events.forget(known.kind, known.name)
        self._tell(action, EventName.DELETED, _with_message(action), by, now)
        if action.kind == "Stream" and self._record.streams.counts(action.name)[0]:
            resources.set_life(known.id, "archived")
            return
        resources.delete(known.id)

    def _stop(self, job: JobRow, by: By, now: Now) -> None:
        """A run in progress is over for the record, none of its units is accepted any more; undeleted, the job owes it."""
        self._lives.stop_if_running(job)
        if job.state.run is not None and is_in_progress(job.state):
            self._record.runs.finish(job.state.run, Outcome.STOPPED, "the job was deleted", now.wall_ms)
            self._lives.advance(job, Stopped(), now, by=by)

    def _purge(self, action: Action, by: By, now: Now) -> None:
        """Runs, log and status go; the tombstone keeps cursor, totals and last outcome."""
        known = self._record.resources.resource(action.kind, action.name)
        assert known is not None, "what is purged is known"
        self._record.runs.forget(known.id)
        self._record.events.forget(known.kind, known.name)
        self._record.resources.set_life(known.id, "purged")
        self._record.jobs.wake_at(known.id, None)
        self._record.resources.clear_away(known.kind, known.name, known.path)
        self._tell(action, EventName.PURGED, action.reason, by, now)

    def _job(self, job_id: int) -> JobRow:
        job = self._record.jobs.by_id(job_id)
        assert job is not None, "a Job has its life"
        return job

    def _tell(self, action: Action, name: EventName, message: str, by: By, now: Now) -> None:
        event = Event(
            kind=action.kind,
            name=action.name,
            path=action.path,
            time_ms=now.wall_ms,
            event=name,
            message=message,
            commit=by.commit,
            author=by.author,
        )
        has_log = action.kind == "Job" and name not in (EventName.DELETED, EventName.PURGED)
        self._record.events.add(event, logged=not has_log)
        if not has_log:
            self.beside_logs.append(event)


class _Terms:
    """What a spec says besides its `config`."""

    def __init__(self, spec: Mapping[str, Any], type: str) -> None:
        self.rules: Final = rules_of(spec)
        self.type: Final = type


def _parsed(documents: Iterable[JobDocument]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each of the texts that they have in common, once, and what it says."""
    for text in {one.terms for one in documents}:
        yield text, json.loads(text)


def _deed(action: Action, by: By, plan: str, now: Now, there: There) -> Deed:
    return Deed(
        time_ms=now.wall_ms,
        action=action.verb.value,
        kind=action.kind,
        name=action.name,
        was=action.renamed_from,
        path=action.path,
        reason=_with_message(action)[:MAX_REASON],
        commit=by.commit,
        author=by.author,
        revision=by.revision,
        plan=plan,
        generation=there.generation,
        digest=there.digest,
        life=there.life,
    )


def _with_message(action: Action) -> str:
    return f"{action.reason}; {action.message}" if action.message else action.reason
