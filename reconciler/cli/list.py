"""`reconcile list`: the jobs of the record, as the last pass left them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.lookup import reading, waiting_words
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.problems import mention_problems
from reconciler.cli.terminal import escape
from reconciler.cli.times import day_time, iso_or_none
from reconciler.clock import Clock, Now
from reconciler.core.gate import next_start_ms
from reconciler.core.prune import approval_of
from reconciler.core.rules import rules_of
from reconciler.core.state import Status
from reconciler.core.value import dataclass
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.record.jobs import JobRow
    from reconciler.record.prunes import HeldSet

_STATUSES: Final = {status.lower(): status for status in Status}
_LABEL: Final = re.compile(r"(?P<not>!?)(?P<key>[^=!,\s]+)(?:(?P<op>==|=|!=)(?P<value>[^=!,\s]*))?")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Label:
    """One term of a label selector. `value` is None where only the key's presence is asked for."""

    key: str
    value: str | None
    wanted: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        found = self.key in labels if self.value is None else labels.get(self.key) == self.value
        return found is self.wanted


def selector(text: str) -> tuple[Label, ...]:
    """The terms of `a=b,c!=d,e,!f`, all of which must hold. Raises UsageError."""
    return tuple(map(_label, (term.strip() for term in text.split(",") if term.strip())))


def _label(term: str) -> Label:
    match = _LABEL.fullmatch(term)
    if match is None or (match["not"] and match["op"]):
        raise UsageError(f"-l: expected key=value, key!=value, key or !key, found '{term}'")
    return Label(match["key"], match["value"], wanted=not match["not"] and match["op"] != "!=")


def statuses(texts: Iterable[str]) -> frozenset[Status]:
    """The statuses that are asked for, in any case of letters, joined by commas or not; all where none is. Raises
    UsageError."""
    words = [word.strip() for text in texts for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word.lower() not in _STATUSES]
    if unknown:
        raise UsageError(f"--status: expected {', '.join(Status)}, found '{unknown[0]}'")
    return frozenset(_STATUSES[word.lower()] for word in words) or frozenset(Status)


@command(
    "list",
    output_option("table", "wide", "json", "yaml", "name"),
    click.Option(["--status"], multiple=True, metavar="STATUS", help="Only jobs of this status; may be repeated."),
    click.Option(
        ["-l", "--selector", "labels"], default="", metavar="LABELS", help="Only jobs with these: a=b,c!=d,e,!f."
    ),
)
def list_jobs(call: Call, output: str, status: tuple[str, ...], labels: str) -> None:
    """List the jobs and their statuses."""
    wanted, terms = statuses(status), selector(labels)
    with reading(call) as record:
        jobs = sorted((*record.jobs.jobs(), *record.jobs.undeleted()), key=lambda job: job.name)
        problems = record.desired.problems()
        held = record.prunes.held()
        waits = [
            f"{job.name}: {words}"
            for job in jobs
            if (words := waiting_words(call, record, job, call.relative(job.path)))
        ]
    now = Clock().now()
    chosen = [job for job in jobs if job.state.status in wanted and all(term.matches(job.labels) for term in terms)]
    _OUTPUTS[output](call, [job_json(call, job, held, now) for job in chosen])
    if output in ("table", "wide"):
        _say_nothing_found(call, len(jobs), len(chosen))
        _mention_held(call, held, waits)
    mention_problems(call, problems)


def job_json(call: Call, job: JobRow, held: HeldSet | None, now: Now) -> Row:
    """One job of the list; fields are added, never changed."""
    undeleted = job.life == "undeleted"
    blocked = held is not None and job.name in held.jobs
    return {
        "name": job.name,
        "title": job.title,
        "authorization": job.spec.get("authorization") or None,
        "provider": job.spec.get("provider", ""),
        "jobType": job.spec.get("jobType", ""),
        "type": job.type or None,
        "status": str(job.state.status),
        "reason": None if job.state.reason is None else str(job.state.reason),
        "createdAt": iso_or_none(job.created_ms),
        "createdBy": job.created_by,
        "updatedAt": iso_or_none(job.updated_ms),
        "updatedBy": job.updated_by,
        "generation": job.generation,
        "nextRunAt": None if undeleted else iso_or_none(next_start_ms(job.state, rules_of(job.spec), now)),
        "lastOutcome": None if job.state.last_outcome is None else str(job.state.last_outcome),
        "rows": job.totals.rows,
        "labels": dict(job.labels),
        "path": call.relative(job.path),
        "held": "Undeleted" if undeleted else "PruneBlocked" if blocked else None,
    }


def _print_table(call: Call, rows: list[Row]) -> None:
    _print(call, rows, {"Name": "name", "Authorization": "authorization", "Provider": "provider", "Type": "type"}, {})


def _print_wide(call: Call, rows: list[Row]) -> None:
    before = {
        "Name": "name",
        "Authorization": "authorization",
        "Provider": "provider",
        "Type": "type",
        "Job type": "jobType",
    }
    after = {"Reason": "reason", "Generation": "generation", "Path": "path"}
    after |= {"Held": "held"} if any(row["held"] for row in rows) else {}
    _print(call, rows, before, after)


def _print(call: Call, rows: list[Row], before: Mapping[str, str], after: Mapping[str, str]) -> None:
    if not rows:
        return
    header = [*before, "Status", "Created", *(("Next run",) if after else ()), *after]
    lines = []
    for row in rows:
        created = day_time(row["createdAt"]) if after else row["createdAt"][:10]
        cells = [*(_cell(row[key]) for key in before.values()), row["status"], created]
        cells += [day_time(row["nextRunAt"])] if after else []
        lines.append([*cells, *(_cell(row[key]) for key in after.values())])
    call.terminal.table(header, lines, colours="Status")


def _cell(value: Any) -> str:
    return "-" if value in (None, "") else str(value)


def _print_names(call: Call, rows: list[Row]) -> None:
    for row in rows:
        call.terminal.print(row["name"])


def _print_yaml(call: Call, rows: list[Row]) -> None:
    from reconciler.repo.emit import to_yaml

    if not rows:
        call.terminal.print("[]")
    for row in rows:
        first, *rest = to_yaml(row).splitlines()
        call.terminal.print("\n".join([f"- {first}", *(f"  {line}" for line in rest)]))


_OUTPUTS: Final[Mapping[str, Callable[[Call, list[Row]], None]]] = {
    "table": _print_table,
    "wide": _print_wide,
    "json": lambda call, rows: call.terminal.json(rows),
    "yaml": _print_yaml,
    "name": _print_names,
}


def _mention_held(call: Call, held: HeldSet | None, waits: Iterable[str]) -> None:
    """What no file declares and is there nevertheless."""
    if held is not None and held.jobs:
        call.terminal.warn(f"PruneBlocked: {escape(held.reason)}; nothing is deleted.")
        call.terminal.warn(f"    {approval_of(held.digest)}{call.again}")
    for line in waits:
        call.terminal.warn(escape(line))


def _say_nothing_found(call: Call, all_jobs: int, chosen: int) -> None:
    if not all_jobs:
        call.terminal.warn(
            f"No jobs are recorded for {call.root} yet: run `reconcile`, or `reconcile plan` to see what it would do."
        )
    elif not chosen:
        call.terminal.warn(f"None of the {all_jobs} jobs is like that.")
