"""`reconcile show`: one job: its status, facts, metrics, configuration, recent events, and what its last run printed
where that ended badly."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.events import event_json, event_line
from reconciler.cli.lookup import find_job, reading, waiting_words
from reconciler.cli.metrics import RECENT_DAYS, recent_line
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.problems import mention_problems
from reconciler.cli.terminal import Terminal, escape, json_text
from reconciler.clock import Clock
from reconciler.core.state import Outcome
from reconciler.core.status import job_status
from reconciler.core.words import with_options
from reconciler.record.facts import job_facts

if TYPE_CHECKING:
    from reconciler.record.jobs import JobRow
    from reconciler.record.runs import RunRow

#: Events that are shown.
EVENTS: Final = 10
#: Lines of captured output that are shown.
OUTPUT_LINES: Final = 20
#: Outcomes after which the output of a run is of interest.
_ENDED_BADLY: Final = (Outcome.ERRORED, Outcome.FAILED)
#: Width of the names of facts.
_NAMES: Final = 15


@command("show", click.Argument(["name"]), output_option("text", "json", "yaml"))
def show(call: Call, name: str, output: str) -> None:
    """Show one job: status, facts, metrics, configuration, events."""
    now = Clock().now()
    with reading(call) as record:
        job = find_job(call, record, name)
        mine = [one for one in record.desired.problems() if (one.kind, one.name) == ("Job", job.name)]
        undeleted = waiting_words(call, record, job, job.path)
        facts = job_facts(record.runs, job, mine, record.prunes.held(), undeleted)
        status: dict[str, Any] = job_status(facts, now)["status"]
        events = record.events.tail("Job", name, limit=EVENTS)
        runs = record.runs.history(job.id)
        problems = record.desired.problems()
        recent = recent_line(record, job, now.wall_ms, call.terminal.width - _NAMES - 3)
    body = {
        "name": job.name,
        "title": job.title,
        "description": job.description,
        "labels": dict(job.labels),
        "path": call.relative(job.path),
        "life": job.life,
        "status": status,
        "metrics": metrics(job, runs),
        "configuration": job.spec.get("config", {}),
        "events": [event_json(event) for event in events],
        "output": output_tail(runs),
    }
    if output == "json":
        call.terminal.json(body)
    elif output == "yaml":
        from reconciler.repo.emit import to_yaml

        call.terminal.print(to_yaml(body).rstrip("\n"))
    else:
        said = with_options(status["message"], call.again)
        _print(call.terminal, {**body, "status": {**status, "message": said}}, recent)
        _section(call.terminal, "Recent events")
        for event in events:
            call.terminal.print(f"  {event_line(call.terminal, event, call.again)}")
        _print_output(call.terminal, body["output"])
        mention_problems(call, problems)


def metrics(job: JobRow, runs: list[RunRow]) -> dict[str, Any]:
    """What the job has moved, and what its last run took."""
    totals = job.totals
    body: dict[str, Any] = {
        "rows": totals.rows,
        "added": totals.added,
        "removed": totals.removed,
        "omitted": totals.omitted,
        "lastRun": None,
    }
    if runs:
        run = runs[0]
        length_s = None if run.finished_ms is None else (run.finished_ms - run.started_ms) / 1000
        body["lastRun"] = {
            "run": run.id,
            "attempt": run.attempt,
            "units": run.units,
            "rows": run.totals.rows,
            "untimed": run.untimed,
            "seconds": length_s,
            "rowsPerSecond": round(run.totals.rows / length_s, 1) if length_s else None,
            "cpuSeconds": run.cpu_s,
            "peakMemoryKiB": run.peak_kib,
            "exitCode": run.exit_code,
            "signal": run.signal,
        }
    return body


def output_tail(runs: list[RunRow]) -> list[str]:
    """The last lines that the last run printed, where it ended badly."""
    if not runs or runs[0].outcome not in _ENDED_BADLY:
        return []
    return runs[0].output.splitlines()[-OUTPUT_LINES:]


def _print(terminal: Terminal, body: dict[str, Any], recent: str) -> None:
    status = body["status"]
    reason = f" ({status['reason']})" if status["reason"] else ""
    terminal.print(
        f"{terminal.paint(escape(body['name']), 'bold')}  {terminal.status(status['status'] + reason, status['status'])}"
    )
    for text in (body["title"], body["description"]):
        for line in textwrap.wrap(escape(text), terminal.width):
            terminal.print(line)
    _section(terminal, "Facts")
    for name, value in _facts(body, status):
        if value:
            _print_fact(terminal, name, value)
    _section(terminal, "Metrics")
    for name, value in _metric_lines(body["metrics"]):
        _print_fact(terminal, name, value)
    if recent:
        terminal.print(f"  {f'{RECENT_DAYS} days':<{_NAMES}} {recent}".rstrip())
    _section(terminal, "Configuration")
    for line in json_text(body["configuration"]).splitlines():
        terminal.print(f"  {line}")


def _section(terminal: Terminal, title: str) -> None:
    terminal.print()
    terminal.print(terminal.paint(title, "bold"))


def _print_fact(terminal: Terminal, name: str, value: str) -> None:
    indent = " " * (_NAMES + 3)
    wrapped = textwrap.wrap(escape(value), terminal.width - len(indent), break_on_hyphens=False) or [""]
    terminal.print(f"  {name:<{_NAMES}} {wrapped[0]}")
    for line in wrapped[1:]:
        terminal.print(f"{indent}{line}")


def _facts(body: dict[str, Any], status: dict[str, Any]) -> list[tuple[str, str]]:
    type_ = f", {status['type']}" if status["type"] else ""
    labels = ", ".join(f"{key}={value}" for key, value in sorted(body["labels"].items()))
    errors = status["errors"]
    return [
        ("now", status["message"]),
        ("job type", f"{status['provider']} {status['jobType']}{type_}"),
        ("authorization", status["authorization"] or ""),
        ("labels", labels),
        ("spec", body["path"]),
        ("created", _by(status["createdAt"], status["createdBy"])),
        ("updated", _by(status["updatedAt"], status["updatedBy"])),
        ("generation", f"{status['generation']} (the latest run: {status['observedGeneration']})"),
        ("digest", status["digest"]),
        ("revision", status["revision"] or ""),
        ("next run", _second(status["nextRunAt"])),
        ("last run", _last_run(status["lastRun"])),
        (
            "errors",
            f"{errors['consecutive']} in a row since {_second(errors['since'])}" if errors["consecutive"] else "",
        ),
        ("last error", errors["last"] or ""),
    ]


def _by(time: str, author: str | None) -> str:
    return f"{_second(time)} by {author}" if author else _second(time)


def _second(time: str | None) -> str:
    return f"{time[:19]}Z" if time else ""


def _last_run(run: dict[str, Any] | None) -> str:
    if run is None:
        return "none yet"
    counts = ", ".join(
        f"{run[name]:,} {'row' if (name, run[name]) == ('rows', 1) else name}"
        for name in ("rows", "added", "removed", "omitted")
        if run[name]
    )
    parts = [f"{run['id']}: {run['outcome'] or 'in progress'}", f"started {_second(run['startedAt'])}", counts]
    return ", ".join(part for part in parts if part)


def _metric_lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    totals = ", ".join(f"{found[name]:,} {name}" for name in ("rows", "added", "removed", "omitted"))
    lines = [("all runs", totals)]
    last = found["lastRun"]
    if last is not None:
        parts = [
            f"{last['rows']:,} {'row' if last['rows'] == 1 else 'rows'} in "
            f"{last['units']:,} {'unit' if last['units'] == 1 else 'units'}",
            f"{last['untimed']:,} without a time" if last["untimed"] else "",
            "" if last["seconds"] is None else f"{last['seconds']:,.1f} s",
            "" if last["rowsPerSecond"] is None else f"{last['rowsPerSecond']:,.0f} rows/s",
            "" if last["cpuSeconds"] is None else f"{last['cpuSeconds']:,.1f} s of CPU",
            "" if last["peakMemoryKiB"] is None else f"{last['peakMemoryKiB'] / 1024:,.0f} MiB at most",
        ]
        lines.append(("last run", ", ".join(part for part in parts if part)))
    return lines


def _print_output(terminal: Terminal, lines: list[str]) -> None:
    if lines:
        _section(terminal, "Output of the last run")
    for line in lines:
        terminal.print(f"  {escape(line)}")
