"""`reconcile audience`: how many are in an audience, some of them, and how it grew."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.options import Call, command, output_option
from reconciler.cli.terminal import escape
from reconciler.clock import Clock, Now, iso
from reconciler.core.masking import masked
from reconciler.core.metrics import sparkline
from reconciler.core.profile import SHOWN_ID
from reconciler.core.words import DAY_MS, roughly

if TYPE_CHECKING:
    from reconciler.controller.people import AudienceFacts, Behind

SAMPLE: Final = 5
#: How far back growth is drawn.
GROWTH_MS: Final = 30 * DAY_MS
GROWTH_CELLS: Final = 40
#: So many identifiers of a person are shown, where not everything is asked for.
IDENTIFIERS: Final = 20
#: Width of the names of facts.
_NAMES: Final = 15


@command(
    "audience",
    click.Argument(["name"]),
    click.Option(
        ["--sample"], type=click.IntRange(0, 1000), default=SAMPLE, show_default=True, help="Members that are shown."
    ),
    click.Option(["--reveal"], is_flag=True, help="Show identifiers whole; they are masked otherwise."),
    output_option("text", "json"),
)
def audience(call: Call, name: str, sample: int, reveal: bool, output: str) -> None:
    """Show an audience: its size, some members, its growth."""
    from reconciler.controller.people import audience_facts

    now = Clock().now()
    facts = audience_facts(call.settings(), name, now, sample=sample, since_ms=now.wall_ms - GROWTH_MS)
    members = [_member(row, reveal=reveal) for row in facts.sample]
    if output == "json":
        call.terminal.json(_document(facts, members))
    else:
        _print(call, facts, members, now)


def _member(row: dict[str, Any], *, reveal: bool) -> dict[str, Any]:
    """A member as it is shown: identifiers by key, masked unless asked for, and the attributes that decide."""
    show = str if reveal else masked
    keys = {one.removeprefix("key:"): row[one] for one in row if one.startswith("key:")}
    attributes = {one.removeprefix("attribute:"): row[one] for one in row if one.startswith("attribute:")}
    return {
        "id": row["id"],
        "identifiers": {key: [show(value) for value in values or ()] for key, values in keys.items() if values},
        "attributes": {name: plain(value) for name, value in attributes.items()},
    }


def plain(value: Any) -> Any:
    """A value as JSON shows it: decimals exactly, as text, but for those without places that 64 bits hold; times as ISO 8601."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal() if value.as_tuple().exponent == 0 and -(2**63) <= value < 2**63:
            return int(value)
        case Decimal():
            return format(value, "f")
        case list() | tuple():
            return [plain(one) for one in value]
        case _:
            text: str = value.isoformat()
            return f"{text}Z" if "T" in text else text


def shown(value: Any) -> str:
    """A plain value in a line: texts as they are, anything else as JSON has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _document(facts: AudienceFacts, members: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": facts.name,
        "where": facts.where,
        "size": facts.size,
        "profiles": facts.profiles,
        "nextChangeAt": None if facts.next_change_ms is None else iso(facts.next_change_ms),
        "builtAt": None if facts.behind.built_ms is None else iso(facts.behind.built_ms),
        "messagesBehind": facts.behind.messages,
        "sample": members,
        "growth": [{"at": iso(point.at_ms), "size": point.size} for point in facts.growth],
    }


def _print(call: Call, facts: AudienceFacts, members: list[dict[str, Any]], now: Now) -> None:
    terminal = call.terminal
    terminal.print(terminal.paint(escape(facts.name), "bold"))
    share = f" of {facts.profiles:,} profiles" if facts.profiles else ""
    _fact(call, "Size", f"{facts.size:,}{share}")
    _fact(call, "Where", " ".join(facts.where.split()))
    if facts.next_change_ms is not None:
        _fact(
            call, "Changes", f"by itself in {roughly(max(0, facts.next_change_ms - now.wall_ms))}, if nothing arrives"
        )
    _fact(call, "Built", built_words(facts.behind, now))
    if len(facts.growth) > 1:
        first, last = facts.growth[0], facts.growth[-1]
        line = sparkline([point.size for point in facts.growth], GROWTH_CELLS) if terminal.interactive else ""
        age = roughly(now.wall_ms - first.at_ms)
        _fact(call, "Growth", f"{first.size:,} → {last.size:,} in {age} {line}".rstrip())
    if members:
        terminal.print()
        terminal.print(terminal.paint("Some members", "bold"))
    for member in members:
        known = member["identifiers"].items()
        identifiers = ", ".join(f"{key}={'|'.join(some(call, values))}" for key, values in known)
        attributes = ", ".join(f"{name}={shown(value)}" for name, value in member["attributes"].items())
        terminal.print(
            f"  {member['id'][:SHOWN_ID]}  {escape('  '.join(part for part in (identifiers, attributes) if part))}"
        )


def some(call: Call, values: Sequence[str]) -> list[str]:
    """As many texts as a person wants to see of one person's identifiers, and how many more there are."""
    if call.verbose or len(values) <= IDENTIFIERS:
        return list(values)
    return [*values[:IDENTIFIERS], f"and {len(values) - IDENTIFIERS:,} more (-v shows them)"]


def built_words(behind: Behind, now: Now) -> str:
    """How old the profiles are, in words."""
    if behind.built_ms is None:
        return f"never; {behind.messages:,} messages wait" if behind.messages else "never"
    words = f"{roughly(max(0, now.wall_ms - behind.built_ms))} ago"
    if behind.changed:
        return (
            f"{words}, before its streams changed; all {behind.messages:,} messages are built anew with the next build"
        )
    newer = f"{behind.messages:,} newer message{'s wait' if behind.messages > 1 else ' waits'}"
    return f"{words}; {newer}" if behind.messages else words


def _fact(call: Call, name: str, value: str) -> None:
    width = max(20, call.terminal.width - _NAMES - 2)
    lines = textwrap.wrap(escape(value), width) or [""]
    call.terminal.print(f"  {name.ljust(_NAMES)}{lines[0]}")
    for line in lines[1:]:
        call.terminal.print(f"  {' ' * _NAMES}{line}")
