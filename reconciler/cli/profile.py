"""`reconcile profile`: what is known of one person, and which messages said so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.audience import built_words, plain, some
from reconciler.cli.lookup import key_and_value
from reconciler.cli.options import Call, command, output_option
from reconciler.cli.terminal import escape
from reconciler.clock import Clock, Now, iso

if TYPE_CHECKING:
    from reconciler.controller.people import PersonFacts

#: Width of the names of facts.
_NAMES = 18
#: Merges to which every message adds.
ADDED = ("sum", "count", "set", "any")


@command("profile", click.Argument(["who"], metavar="KEY=VALUE"), output_option("text", "json"))
def profile(call: Call, who: str, output: str) -> None:
    """Show what is known of one person, and who said so.

    KEY=VALUE is an identifier, such as email=ada@example.org; id=... finds a profile by its id or an alias.
    """
    from reconciler.controller.people import person_facts

    key, value = key_and_value(who)
    now = Clock().now()
    facts = person_facts(call.settings(), key, value, now)
    if output == "json":
        call.terminal.json(_document(facts))
    else:
        _print(call, facts, now)


def _document(facts: PersonFacts) -> dict[str, Any]:
    return {
        "id": facts.id,
        "aliases": list(facts.aliases),
        "identifiers": [{"key": key, "value": value} for key, value in facts.identifiers],
        "attributes": {
            one.name: {"value": plain(one.value), "merge": one.merge, "said": one.said and _said_json(one.said)}
            for one in facts.attributes
        },
        "audiences": list(facts.audiences),
        "messages": facts.messages,
        "builtAt": None if facts.behind.built_ms is None else iso(facts.behind.built_ms),
        "messagesBehind": facts.behind.messages,
    }


def _said_json(said: Any) -> dict[str, Any]:
    return {
        "stream": said.stream,
        "position": said.position,
        "job": said.job,
        "run": said.run,
        "unit": said.unit,
        "time": iso(said.time_ms),
        "received": iso(said.received_ms),
    }


def _print(call: Call, facts: PersonFacts, now: Now) -> None:
    terminal = call.terminal
    terminal.print(terminal.paint(f"profile {facts.id}", "bold"))
    for key in dict.fromkeys(key for key, _ in facts.identifiers):
        for value in some(call, [value for known, value in facts.identifiers if known == key]):
            _line(call, key, value)
    _line(call, "messages", f"{facts.messages:,}")
    _line(call, "audiences", ", ".join(facts.audiences) or "none")
    _line(call, "built", built_words(facts.behind, now))
    terminal.print()
    terminal.print(terminal.paint("Attributes", "bold"))
    for one in facts.attributes:
        value = escape(json.dumps(plain(one.value), ensure_ascii=False))
        said = one.said
        by = ""
        if said is not None:
            by = f"  {iso(said.time_ms)} on {said.stream} at {said.position:,}, by run {said.run} of {said.job}"
            by += f", and {said.messages - 1:,} more" if said.messages > 1 and one.merge in ADDED else ""
        _line(call, one.name, f"{value}{terminal.paint(escape(by), 'dim')}", is_safe=True)


def _line(call: Call, name: str, text: str, *, is_safe: bool = False) -> None:
    call.terminal.print(f"  {escape(name).ljust(_NAMES)}{text if is_safe else escape(text)}")
