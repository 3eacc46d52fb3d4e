"""`reconcile why`: gathers what is known of a job; `reconciler.core.why` decides what it means."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import click

from reconciler.cli.lookup import find_job, key_and_value, reading
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.problems import seen_from_here
from reconciler.cli.terminal import escape
from reconciler.clock import Clock, iso
from reconciler.core.gate import facts_of
from reconciler.core.rules import JobRules, rules_of
from reconciler.core.state import EventName, Reason
from reconciler.core.suggest import closest
from reconciler.core.why import Answer, Because, Deletion, Facts
from reconciler.core.why import why as decide

if TYPE_CHECKING:
    from reconciler.controller import Preview
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
    if output == "json":
        call.terminal.json(
            {
                "name": name,
                "status": None if facts.state is None else str(facts.state.status),
                "reason": None if facts.state is None or facts.state.reason is None else str(facts.state.reason),
                "code": str(answer.code),
                "because": answer.because,
                "then": answer.then,
                "at": None if answer.at_ms is None else iso(answer.at_ms),
                "notes": list(answer.notes),
            }
        )
    else:
        _print(call, facts, answer)
    return UNKNOWN_NAME if answer.code is Because.UNKNOWN else 0


def _why_member(call: Call, name: str, member: str, output: str) -> int:
    from reconciler.controller.member import member_facts
    from reconciler.core.why_member import why_member

    key, value = key_and_value(member)
    with reading(call) as record:
        job = find_job(call, record, name)
    facts = member_facts(call.settings(), job, key, value, Clock().now())
    answer = why_member(facts)
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


def facts_about(call: Call, record: Record, found: Preview, name: str) -> Facts:
    """What is known of a job: from the record, from the specs on disk, and whether a controller is at work."""
    from reconciler.record.holder import controller_at_work

    job, deletion = record.jobs.job(name), record.deletions.deletion(name)
    actions = [action for action in found.plan.actions if action.kind == "Job" and action.name == name]
    path = job.path if job is not None else next((action.path for action in actions), "")
    if deletion is not None and not actions:
        path = deletion.path
    problems = [
        one for one in found.problems if (one.kind, one.name) == ("Job", name) or (not one.name and one.path == path)
    ]
    names = {one.name for one in record.jobs.jobs()} if job is None else set()
    names |= {action.name for action in found.plan.actions if action.kind == "Job"}
    rules = JobRules() if job is None else rules_of(job.spec)
    paused = None if job is None else record.events.latest("Job", name, EventName.PAUSED)
    return Facts(
        name=name,
        now=Clock(record.alive_ms).now(),
        state=None if job is None else job.state,
        life="live" if job is None else job.life,
        path=call.relative(path) if path else "",
        rules=rules,
        problems=tuple(seen_from_here(call, one) for one in problems),
        pending=tuple(action.reason for action in actions),
        dependencies=tuple(
            facts_of(one.name, one.state, rules_of(one.spec)) for one in record.jobs.jobs(rules.depends_on)
        )
        if rules.depends_on
        else (),
        ahead=_ahead(record, job),
        paused_by="" if paused is None else paused.author,
        controller=controller_at_work(call.state),
        close=closest(name, names) or "",
        kept=next((one.reason for one in found.plan.waiting if (one.kind, one.name) == ("Job", name)), "")
        if job is not None and job.life == "live"
        else "",
        deletion=None if deletion is None else _deletion(call, deletion),
    )


def _deletion(call: Call, found: DeletionRow) -> Deletion:
    """The commit is only told where its removal of the file is what is to be undone."""
    gone = not (call.root / found.path).exists()
    return Deletion(
        at_ms=found.at_ms,
        until_ms=found.until_ms if found.undeleted_ms is None else None,
        commit=found.commit if gone else "",
        keeps=found.keeps,
    )


def _ahead(record: Record, job: JobRow | None) -> int:
    """Jobs that get a slot before this one."""
    if job is None or job.state.reason is not Reason.WAITING_FOR_SLOT:
        return 0
    queue = [one.name for one in record.jobs.queue(QUEUE, rules_of(job.spec).lane)]
    return queue.index(job.name) if job.name in queue else len(queue)


def _print(call: Call, facts: Facts, answer: Answer) -> None:
    terminal = call.terminal
    status = "not there" if facts.state is None else str(facts.state.status)
    reason = f" ({facts.state.reason})" if facts.state is not None and facts.state.reason is not None else ""
    terminal.print(f"{terminal.paint(escape(facts.name), 'bold')}: {terminal.status(status + reason, status)}")
    _print_lines(call, (("Why:", answer.because), ("Next:", answer.then), *(("Note:", note) for note in answer.notes)))


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
    return text[0].upper() + text[1:] if first.isalpha() else text
