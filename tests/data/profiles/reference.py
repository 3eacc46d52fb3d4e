"""What profiles are, in plain Python: the page to which the engine is held. It knows the rules, and nothing of the engine."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

from reconciler.core.profile import Attribute, ProfileRules, StreamRules


@dataclass(frozen=True, kw_only=True)
class Message:
    """`texts` are the raw columns as the message's JSON shows them; `timestamp` (us) is what it was landed with."""

    stream: str
    position: int
    received: int
    timestamp: int | None
    texts: Mapping[str, str | None]


#: What an expression gives: over typed columns.
Expressions = Mapping[str, Callable[[Mapping[str, Any]], Any]]
NORMALIZE: Mapping[str, Callable[[str], str]] = {
    "trim": str.strip,
    "lower": str.lower,
    "upper": str.upper,
    "digits": lambda text: "".join(filter("0123456789".__contains__, text)),
}

NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
EXACT = Context(prec=1000)


def typed(text: str | None, type_: str) -> Any:
    try:
        if text is None or type_ == "text":
            return text
        if type_ == "boolean":
            return {"true": True, "false": False}.get(text)
        if type_ == "timestamp":
            return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)
    except ValueError:
        return None
    return number(text, type_)


def number(text: str, type_: str) -> Decimal | None:
    """An exact number."""
    if not NUMBER.fullmatch(text):
        return None
    digits, scale = map(int, type_.removeprefix("decimal(").rstrip(")").split(",")) if type_ != "integer" else (19, 0)
    try:
        found = Decimal(text).quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP, EXACT)
    except InvalidOperation:  # too large
        return None
    fits = -(2**63) <= found < 2**63 if type_ == "integer" else abs(found) < 10 ** (digits - scale)
    return found if fits else None


def profiles(
    rules: ProfileRules, messages: Sequence[Message], expressions: Expressions
) -> tuple[dict[str, Any], set[Any], int]:
    """The profiles by id, the identifiers that are void, and how many messages have no time of their own."""
    streams = {one.name: one for one in rules.streams}
    messages = [one for one in messages if one.stream in streams]
    carried = [identifiers(streams[one.stream], one) for one in messages]
    void = voids(rules, carried)
    joined: dict[Any, set[Any]] = {}
    for found in carried:
        whole = set().union(*(joined.get(one, {one}) for one in found - void))
        joined |= dict.fromkeys(whole, whole)
    committed: dict[Any, Any] = {}
    for message, found in zip(messages, carried, strict=True):
        for one in found:
            committed[one] = min(
                committed.get(one, (float("inf"),)), (message.received, message.position, message.stream)
            )
    made = {}
    for whole in {id(whole): whole for whole in joined.values()}.values():
        order = sorted(whole, key=lambda one: (committed[one], one))
        mine = [message for message, found in zip(messages, carried, strict=True) if found & whole]
        shown = {name: attribute(streams, name, mine, expressions) for name in rules.attributes}
        made[identity(order[0])] = {
            "aliases": [identity(one) for one in order[1:]], "identifiers": order, "attributes": shown, "messages": len(mine),
        }  # fmt: skip
    untimed = sum(own_time(streams[one.stream], one) is None for one in messages)
    return made, void, untimed


def identifiers(stream: StreamRules, message: Message) -> set[tuple[str, str]]:
    found = set()
    for one in stream.identity:
        value = message.texts.get(one.column)
        for step in one.normalize:
            value = NORMALIZE[step](value) if value is not None else None
        if value and len(value) <= 1000:
            found.add((one.key, value))
    return found


def voids(rules: ProfileRules, carried: Sequence[set[tuple[str, str]]]) -> set[tuple[str, str]]:
    limit = {
        key: min(one.max_per_key for stream in rules.streams for one in stream.identity if one.key == key)
        for key in rules.keys
    }
    met = defaultdict(set)
    for found in carried:
        for one in found:
            for other in found:
                met[one, other[0]].add(other[1])
    return {one for (one, key), values in met.items() if key != one[0] and len(values) > limit[one[0]]}


def own_time(stream: StreamRules, message: Message) -> int | None:
    """Microseconds."""
    read = typed(message.texts.get(stream.timestamp_field), "timestamp") if stream.timestamp_field else None
    return message.timestamp if read is None else round((read - datetime(1970, 1, 1)).total_seconds() * 1e6)


def attribute(
    streams: Mapping[str, StreamRules], name: str, messages: Sequence[Message], expressions: Expressions
) -> Any:
    values, kind = [], ""
    for message in messages:
        stream = streams[message.stream]
        for one in stream.attributes:
            if one.name == name and (value := contribution(stream, one, message, expressions)) is not None:
                time = own_time(stream, message)
                time = message.received * 1000 if time is None else time
                values.append((time, message.received, message.position, message.stream, value))
    kind = next(one.merge for stream in streams.values() for one in stream.attributes if one.name == name)
    given = [value for *_, value in sorted(values, key=lambda one: one[:4])]
    match kind:
        case "count":
            return len(given)
        case "set":
            return sorted(set(given))[:1000]
        case _ if not given:
            return None
        case "sum":
            return sum(given)
        case "any":
            return any(given)
        case _:
            return {"latest": given[-1], "first": given[0], "min": min(given), "max": max(given)}[kind]


def contribution(stream: StreamRules, attribute: Attribute, message: Message, expressions: Expressions) -> Any:
    if attribute.expression:
        every = {*stream.columns, *message.texts}
        return expressions[attribute.expression](
            {name: typed(message.texts.get(name), stream.columns.get(name, "text")) for name in every}
        )
    return (
        typed(message.texts.get(attribute.column), stream.columns.get(attribute.column, "text"))
        if attribute.column
        else True
    )


def identity(one: tuple[str, str]) -> str:
    return hashlib.sha256("\x1f".join(one).encode()).hexdigest()[:32]
