"""`reconcile streams`: what each stream holds, who writes it, and whether anything still comes. `reconcile stream drop`:
the one command that destroys messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.lookup import reading, suggestion
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.specs import declared_specs
from reconciler.cli.terminal import escape
from reconciler.cli.times import brief_time, day_time, iso_or_none
from reconciler.clock import Clock, iso
from reconciler.core.streams import liveness, users_of
from reconciler.core.words import with_options
from reconciler.errors import Blocked, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.core.provider import Catalogue
    from reconciler.record.store import Record
    from reconciler.record.streams import StreamRow
    from reconciler.record.uploads import UploadRow

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


@command("streams", output_option("table", "json"))
def streams(call: Call, output: str) -> None:
    """List the streams: what they hold, and what still comes.

    A stream is active for 3 of its usual gaps between arrivals (at least 24 hours) after its newest message arrived; then
    stale, for 10 gaps (at least 7 days); then dead. One that never held a message is empty.
    """
    from reconciler.controller.uploads import approval_words, waiting_words
    from reconciler.providers import catalogue

    with reading(call) as record:
        rows = streams_json(record, call.state, catalogue(), Clock().now().wall_ms)
        waiting = record.uploads.waiting()
        told = {one.name for one in record.resources.resources("Stream") if "timestamp" in one.spec}
    if output == "json":
        call.terminal.json(rows)
    elif rows:
        _table(call, rows)
        for row in rows:
            if row["untimed"] and (row["name"] in told or row["lastTimestamp"]):
                call.terminal.print(escape(_untimed_words(row)))
        for one in waiting:
            call.terminal.print(
                escape(with_options(f"Waiting: {waiting_words(one)}; {approval_words(one)}.", call.again))
            )
    else:
        call.terminal.warn(f"No streams are recorded for {call.root} yet.")


def streams_json(record: Record, state: Path, catalogue: Catalogue, now_ms: int) -> list[dict[str, Any]]:
    """Every stream that is declared or holds messages, by name; fields are added, never changed."""
    from reconciler.controller.times import stream_rows

    held = stream_rows(record, state)
    waiting: dict[str, list[UploadRow]] = {}
    for one in record.uploads.waiting():
        waiting.setdefault(one.stream, []).append(one)
    declared = {one.name for one in record.resources.resources("Stream")}
    names = sorted(declared | set(waiting) | {name for name, row in held.items() if row.messages})
    jobs = [(job.name, job.spec) for job in record.jobs.jobs()]
    return [
        _stream_json(
            name,
            held.get(name),
            users_of(catalogue, jobs, name, ("writes",)),
            now_ms,
            declared=name in declared,
        )
        | {
            "waiting": [
                {"messages": one.messages, "bytes": one.size, "digest": one.digest} for one in waiting.get(name, ())
            ]
        }
        for name in names
    ]


def _stream_json(
    name: str, row: StreamRow | None, writers: Sequence[str], now_ms: int, *, declared: bool
) -> dict[str, Any]:
    arrived_ms, gap_ms = (None, None) if row is None else (row.arrived_ms, row.gap_ms)
    return {
        "name": name,
        "state": str(liveness(arrived_ms, gap_ms, now_ms)),
        "declared": declared,
        "messages": 0 if row is None else row.messages,
        "bytes": 0 if row is None else row.size,
        "segments": 0 if row is None else row.segments,
        "lastArrivedAt": iso_or_none(arrived_ms),
        "usualGapSeconds": None if gap_ms is None else gap_ms // 1000,
        "firstTimestamp": iso_or_none(None if row is None else row.first_timestamp_ms),
        "lastTimestamp": iso_or_none(None if row is None else row.last_timestamp_ms),
        "untimed": 0 if row is None else row.untimed,
        "writers": list(writers),
    }


def _table(call: Call, rows: Sequence[dict[str, Any]]) -> None:
    """In a terminal, which may be narrow, times are brief."""
    now = iso(Clock().now().wall_ms)
    shown = partial(brief_time, now=now) if call.terminal.interactive else day_time
    header = ["Name", "State", "Messages", "Size", "Last arrived", "Newest time", "Written by"]
    lines = [
        [
            row["name"],
            row["state"] if row["declared"] else f"{row['state']} (archived)",
            f"{row['messages']:,}",
            size_text(row["bytes"]),
            shown(row["lastArrivedAt"]),
            shown(row["lastTimestamp"]),
            ", ".join(row["writers"]) or "-",
        ]
        for row in rows
    ]
    call.terminal.table(header, lines, colours="State", whole=("Messages", "Size", "Last arrived", "Newest time"))


def _untimed_words(row: Mapping[str, Any]) -> str:
    """Of a stream whose messages tell the time, how many do not."""
    have = "has no time of its own, and counts" if row["untimed"] == 1 else "have no time of their own, and count"
    return f"{row['name']}: {row['untimed']:,} of {row['messages']:,} messages {have} as of when received."


def size_text(size: int) -> str:
    """`1.5 MiB`."""
    power = min((max(size, 1).bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{size / 1024**power:,.{1 if power else 0}f} {_UNITS[power]}"


stream = click.Group(
    "stream",
    help="Destroy the messages of a stream that is not declared any more.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


@command("drop", click.Argument(["name"]), click.Option(["--yes"], is_flag=True, help="Really destroy the messages."))
def drop(call: Call, name: str, yes: bool) -> None:
    """Destroy the messages of a stream.

    Only of one that no spec declares and no job reads or writes. Without --yes it says how many messages there are, and
    destroys none (exit code 5).
    """
    with reading(call) as record:
        counts = {row.name: (row.messages, row.size) for row in record.streams.rows()}
        archived = record.resources.resource("Stream", name)
    declared = next((one for one in declared_specs(call).documents if (one.kind, one.name) == ("Stream", name)), None)
    if declared is not None:
        raise Blocked(f"the stream '{name}' is declared in {call.relative(declared.path)}; remove its spec first")
    messages, size = counts.get(name, (0, 0))
    if not messages and archived is None:
        known = [one for one, (held, _) in counts.items() if held]
        raise UsageError(f"there is no stream '{name}' with messages{suggestion(name, known)}")
    if not yes:
        words = f"{messages:,} {'message' if messages == 1 else 'messages'} ({size_text(size)})"
        raise Blocked(f"the stream '{name}' holds {words}; `reconcile stream drop {name} --yes` destroys them for ever")
    from reconciler.controller.deeds import perform

    call.terminal.print(escape(perform(call.state, "stream-drop", name=name).message))


stream.add_command(drop)
