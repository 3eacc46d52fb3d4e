"""`reconcile why`: gathers what is known of a job; `reconciler.core.why` decides what it means."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.lookup import find_job, key_and_value, reading
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.problems import seen_from_here
from reconciler.cli.specs import desired_content, is_there
from reconciler.cli.terminal import escape
from reconciler.cli.times import iso_or_none
from reconciler.clock import Clock
from reconciler.core.gate import DependencyFacts, facts_of
from reconciler.core.prune import undeleted_words
from reconciler.core.rules import AfterDependencies, JobRules, rules_of
from reconciler.core.state import EventName, Reason
from reconciler.core.suggest import closest
from reconciler.core.why import Answer, Because, Cause, Deletion, Facts, Held, HeldUpload, Other
from reconciler.core.why import why as decide
from reconciler.core.words import with_options
from reconciler.repo.git import GitUnusable

if TYPE_CHECKING:
    from reconciler.controller import Preview
    from reconciler.core.planned import Waiting
    from reconciler.record.deletions import Deletion as DeletionRow
    from reconciler.record.jobs import JobRow
    from reconciler.record.store import Record

UNKNOWN_NAME: Final = 2
#: Jobs in the queue for a slot that are counted at most.
QUEUE: Final = 10_000
_LABEL: Final = 7


@command(
    "why",
    click.Argument(["name"]),
    click.Option(["--member"], metavar="KEY=VALUE", help="Say why this person was or was not sent, by an export."),
    output_option("text", "json"),
)
def why(call: Call, name: str, member: str | None, output: str) -> int:
    """Say why a job is not running, and what happens next."""
    if member is not None:
        return _why_member(call, name, member, output)
    from reconciler.controller import preview
    from reconciler.record.store import Record

    found = preview(call.settings())
    with Record.reading(call.state) as record:
        facts = facts_about(call, record, found, name)
    answer = decide(facts)
    answer = replace(answer, notes=(*answer.notes, *_trouble(found)))
    if output == "json":
        call.terminal.json(_json(facts, answer))
    else:
        _print(call, facts, answer)
    return UNKNOWN_NAME if answer.code is Because.UNKNOWN else 0


def _trouble(found: Preview) -> list[str]:
    """What is wrong with where the specs come from: what was committed since is not what this answer is about."""
    return [f"of the specs, {one.message}" for one in found.problems if one.path == "." and not one.name]


def _why_member(call: Call, name: str, member: str, output: str) -> int:
    from reconciler.controller.member import member_facts
    from reconciler.core.why_member import why_member

    key, value = key_and_value(member)
    with reading(call) as record:
        job = find_job(call, record, name)
    facts = member_facts(call.settings(), job, key, value, Clock().now())
    answer = why_member(facts)
    answer = replace(answer, then=with_options(answer.then, call.again))
    if output == "json":
        call.terminal.json(
            {
                "name": name,
                "member": member,
                "profile": facts.profile,
                "code": answer.code,
                "because": answer.because,
                "then": answer.then,
                "isMember": facts.is_member,
                "held": str(facts.held),
                "sent": json.loads(facts.payload) if facts.payload else None,
            }
        )
    else:
        call.terminal.print(call.terminal.paint(escape(f"{member} and {name}"), "bold"))
        _print_lines(call, (("Why:", answer.because), ("Next:", answer.then)))
    return 0


def _json(facts: Facts, answer: Answer) -> dict[str, Any]:
    """`message` and `next` are sentences, `step` what a person does; `because`, `then` and `at` are their older names."""
    at = iso_or_none(answer.at_ms)
    return {
        "name": facts.name,
        "kind": "Job" if facts.other is None else facts.other.kind,
        "status": None if facts.state is None else str(facts.state.status),
        "reason": None if facts.state is None or facts.state.reason is None else str(facts.state.reason),
        "code": str(answer.code),
        "message": answer.because,
        "since": iso_or_none(answer.since_ms),
        "next": answer.then,
        "nextAt": at,
        "step": answer.step or None,
        "controller": facts.controller,
        "because": answer.because,
        "then": answer.then,
        "at": at,
        "notes": list(answer.notes),
    }


def facts_about(call: Call, record: Record, found: Preview, name: str) -> Facts:
    """What is known of a name: from the record, from the specs on disk, and whether a controller is at work."""
    from reconciler.record.holder import controller_at_work, last_at_work_ms

    job, deletion = record.jobs.job(name), record.deletions.deletion(name)
    other = None if job is not None else _other(record, found, name)
    kind = "Job" if other is None else other.kind
    actions = [action for action in found.plan.actions if (action.kind, action.name) == (kind, name)]
    waiting = [one for one in found.plan.waiting if (one.kind, one.name) == (kind, name)]
    path = _path(record, found, job, kind, name)
    if deletion is not None and not actions:
        path = deletion.path
    refused = {one.reason for one in waiting}  # by a rule over plans: the spec itself is valid
    problems = [
        one
        for one in found.problems
        if ((one.kind, one.name) == (kind, name) or (not one.name and _holds(one.path, path)))
        and one.message not in refused
    ]
    rules = JobRules() if job is None else rules_of(job.spec)
    return Facts(
        name=name,
        now=Clock(record.alive_ms).now(),
        state=None if job is None else job.state,
        life="live" if job is None else job.life,
        path=call.relative(path) if path else "",
        rules=rules,
        problems=tuple(seen_from_here(call, one) for one in problems),
        pending=tuple(action.reason for action in actions),
        held=_held(call, found, waiting, deletion),
        deletion=None if deletion is None else _deletion(call, deletion),
        dependencies=_dependencies(record, rules),
        authorization="" if job is None else job.spec.get("authorization", ""),
        ahead=_ahead(record, job),
        paused=_cause(record, job, EventName.PAUSED),
        changed=_cause(record, job, EventName.UPDATED),
        controller=controller_at_work(call.state),
        seen_ms=max((one for one in (last_at_work_ms(call.state), record.setting("wall_ms")) if one), default=None),
        **({} if job is not None else _lost(call, record, found, name)),
        other=other,
        uploads=_uploads(record, job, name),
        audience_ms=_audience_ms(record, job, rules),
        is_in_doubt=name in found.in_doubt,
        again=call.again,
    )


def _holds(place: str, path: str) -> bool:
    """Whether a file is the one at a place, or lies in the folder there."""
    return path == place or path.startswith(f"{place}/")


def _dependencies(record: Record, rules: JobRules) -> tuple[DependencyFacts, ...]:
    found = record.jobs.jobs(rules.depends_on) if rules.depends_on else ()
    return tuple(facts_of(one.name, one.state, rules_of(one.spec)) for one in found)


def _held(call: Call, found: Preview, waiting: Iterable[Waiting], deletion: DeletionRow | None) -> tuple[Held, ...]:
    """What keeps the plan from doing something, with a command in it as it is typed for the folders that this one was called
    with. That an undeleted job waits for its file is no such thing."""
    undeleted = "" if deletion is None else undeleted_words(deletion.path)
    command = "" if found.plan.blocked is None else found.plan.blocked.command
    return tuple(
        Held(
            reason=one.reason.replace(command, f"{command}{call.again}") if command else one.reason,
            until_ms=one.until_ms,
        )
        for one in waiting
        if one.reason != undeleted
    )


def _deletion(call: Call, found: DeletionRow) -> Deletion:
    """The commit is only told where its removal of the file is what is to be undone."""
    return Deletion(
        at_ms=found.at_ms,
        until_ms=found.until_ms if found.undeleted_ms is None else None,
        commit="" if is_there(call, found.path) else found.commit,
        keeps=found.keeps,
    )


def _path(record: Record, found: Preview, job: JobRow | None, kind: str, name: str) -> str:
    """The file that declares it, or did."""
    if job is not None:
        return job.path
    document = record.desired.document(kind, name)
    planned = (action.path for action in found.plan.actions if (action.kind, action.name) == (kind, name))
    return next(planned, "" if document is None else document.path)


def _lost(call: Call, record: Record, found: Preview, name: str) -> dict[str, Any]:
    """What may have become of a job that is not there."""
    last = record.audit.last("Job", name)
    cause = None if last is None else Cause(at_ms=last.time_ms, author=last.author, commit=last.commit)
    facts: dict[str, Any] = {}
    if last is not None and last.name != name:
        facts["renamed"] = (last.name, cause)
    elif last is not None and not last.life:
        facts["removed"] = cause
    nameless = [one for one in found.problems if not one.name]
    facts["unreadable"] = tuple(seen_from_here(call, one) for one in nameless if _mentions(call, one.path, name))
    names = {one.name for one in record.jobs.jobs()}
    names |= {one.name for one in found.plan.actions if one.kind == "Job"}
    names |= {one.name for one in found.plan.waiting if one.kind == "Job"}
    return facts | {"close": closest(name, names) or ""}


def _mentions(call: Call, path: str, name: str) -> bool:
    """Whether a file that cannot be parsed holds the name as a word; one that cannot be read may."""
    try:
        content = desired_content(call, path)
    except (OSError, GitUnusable):
        return True
    return (
        content is None
        or re.search(rb"(?<![\w-])" + re.escape(name.encode("utf-8", "replace")) + rb"(?![\w-])", content) is not None
    )


def _other(record: Record, found: Preview, name: str) -> Other | None:
    """The thing of another kind that has the name, where no job was ever declared under it, validly or not."""
    declared: set[tuple[str, str]] = {(one.kind, one.name) for one in found.plan.actions}
    declared |= {(one.kind, one.name) for one in found.plan.waiting} | {(one.kind, one.name) for one in found.problems}
    if ("Job", name) in declared:
        return None
    if record.desired.document("Job", name) is not None or record.audit.last("Job", name) is not None:
        return None
    for kind in ("Authorization", "Audience", "Stream"):
        known = record.resources.resource(kind, name)
        if known is not None:
            users = record.resources.referrers(kind, name)
            return Other(kind=kind, life=known.life, since_ms=known.updated_ms, used_by=tuple(users))
    return None


def _uploads(record: Record, job: JobRow | None, name: str) -> tuple[HeldUpload, ...]:
    """Those that wait, to the stream of this name or to one that the job reads or writes."""
    from reconciler.controller.uploads import approval_command, waiting_words

    waiting = record.uploads.waiting()
    if waiting and job is not None:
        from reconciler.core.streams import users_of
        from reconciler.providers import catalogue

        known, jobs = catalogue(), [(job.name, job.spec)]
        waiting = [one for one in waiting if one.stream == name or users_of(known, jobs, one.stream)]
    elif waiting:
        waiting = [one for one in waiting if one.stream == name]
    return tuple(
        HeldUpload(words=waiting_words(one), since_ms=one.asked_ms, step=approval_command(one)) for one in waiting
    )


def _audience_ms(record: Record, job: JobRow | None, rules: JobRules) -> int | None:
    """When the audience that an export follows changes by itself."""
    if job is None or not isinstance(rules.schedule, AfterDependencies):
        return None
    from reconciler.controller.exports import audience_field
    from reconciler.providers import catalogue

    found = audience_field(catalogue(), job.spec["provider"], job.spec["jobType"])
    return None if found is None else record.profiles.next_changes().get(job.spec["config"].get(found[1], ""))


def _cause(record: Record, job: JobRow | None, event: EventName) -> Cause | None:
    """Who brought about the latest of these events of a job."""
    found = None if job is None else record.events.latest("Job", job.name, event)
    return None if found is None else Cause(at_ms=found.time_ms, author=found.author, commit=found.commit)


def _ahead(record: Record, job: JobRow | None) -> int:
    """Jobs that get a slot before this one."""
    if job is None or job.state.reason is not Reason.WAITING_FOR_SLOT:
        return 0
    queue = [one.name for one in record.jobs.queue(QUEUE, rules_of(job.spec).lane)]
    return queue.index(job.name) if job.name in queue else len(queue)


def _print(call: Call, facts: Facts, answer: Answer) -> None:
    terminal = call.terminal
    status = _shown_status(facts)
    reason = f" ({facts.state.reason})" if facts.state is not None and facts.state.reason is not None else ""
    terminal.print(f"{terminal.paint(escape(facts.name), 'bold')}: {terminal.status(status + reason, status)}")
    _print_lines(call, (("Why:", answer.because), ("Next:", answer.then), *(("Note:", note) for note in answer.notes)))


def _shown_status(facts: Facts) -> str:
    if facts.state is not None:
        return str(facts.state.status)
    return "not there" if facts.other is None else facts.other.kind.lower()


def _print_lines(call: Call, lines: Iterable[tuple[str, str]]) -> None:
    terminal = call.terminal
    for label, text in lines:
        wrapped = textwrap.wrap(
            escape(_capital(text)), terminal.width - _LABEL, break_on_hyphens=False, break_long_words=False
        )
        for number, line in enumerate(wrapped):
            terminal.print(f"{label if number == 0 else '':<{_LABEL}}{line}")


def _capital(text: str) -> str:
    """A sentence begins with a capital, unless it begins with a name or a command."""
    first = text.split(" ", 1)[0]
    return text[0].upper() + text[1:] if first.rstrip(",;:.").isalpha() else text
