"""What forgetting asks of processes beside the loop: who is meant, segments and bad rows without them, and which
destinations hold them. Each piece is a unit; what it found is in the unit's cursor.

    find      {"request", "known", "identifiers": [[key, value]], "ids", "held": {job: {id: run}}, "there": {job: [id]}}, one
              for each request; the run is the one that wrote of them first, `there` are those whom the destination may hold
    messages  {"stream", "old": file, "counts": {request: n}} and the new segment; last {"rejects": {request: n}}
    ledgers   {"held": {job: {id: run}}, "there": {job: [id]}}; of those whom a job's ledger has no row of, the bad rows of its
              runs go too: they tell what was sent since the request

Landing is here too: what a run stages passes through it, once anybody is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.core.forgotten import Sought
from reconciler.core.messages import Order, Wanted
from reconciler.core.profile import ProfileFile, ProfileSet, profile_rules
from reconciler.core.provider import Staged, Unit
from reconciler.data.segments import segment_file

if TYPE_CHECKING:
    from reconciler.data.forget import Landing
    from reconciler.runner.channel import Channel


def landing_of(order: Order) -> Landing | None:
    """What messages pass through before they land; None where nobody is forgotten."""
    if not order.forgotten:
        return None
    from reconciler.data.forget import Landing

    rules = profile_rules((name, spec) for name, spec in order.identities)
    return Landing(rules, order.forgotten, order.secret_key)


def without_dropped(unit: Unit, dropped: int) -> Unit:
    """A unit of which so many messages were left out because their people are forgotten."""
    if not dropped:
        return unit
    words = "1 message was" if dropped == 1 else f"{dropped} messages were"
    said = f"{words} left out: forgotten"
    return replace(
        unit,
        rows=sum(one.rows for one in unit.segments),
        omitted=unit.omitted + dropped,
        message="; ".join(part for part in (unit.message, said) if part),
    )


def forgetting(order: Order, channel: Channel) -> Iterator[Unit]:
    """The units of one order of the upkeep `forget`."""
    match order.config["task"]:
        case "find":
            yield from _find(order, channel)
        case "messages":
            yield from _messages(order)
        case "ledgers":
            held = _held(order, order.config["ids"])
            _clean_after(order, held)
            yield Unit(cursor={"held": held, "there": _there(order, held)}, moved=False)
        case other:
            raise AssertionError(f"no task of forgetting is called {other!r}")


def _find(order: Order, channel: Channel) -> Iterator[Unit]:
    from reconciler.data.forget import identify
    from reconciler.data.profiles.tables import identifier_id

    fields = channel.ask(Wanted(order.run, order.attempt), "The wish for profiles")
    files = tuple(ProfileFile(**one) for one in fields.pop("files"))
    rules = profile_rules((name, spec) for name, spec in order.profiles)
    for request, key, value in order.config["who"]:
        known, identifiers = identify(
            Path(order.data_dir), ProfileSet(**fields, files=files), rules, key, value, memory_mb=order.memory_mb
        )
        ids = [identifier_id(*one) for one in identifiers]
        held = _held(order, ids)
        found = {"request": request, "known": known, "identifiers": identifiers, "ids": ids}
        yield Unit(cursor={**found, "held": held, "there": _there(order, held)}, moved=False)


def _messages(order: Order) -> Iterator[Unit]:
    from reconciler.data.forget import clean_rejects, find, hollowed

    config, data_dir = order.config, Path(order.data_dir)
    sought = [Sought(*one) for one in config["sought"]]
    staged = 0

    def name(stream: str) -> str:
        nonlocal staged
        staged += 1
        return segment_file(stream, order.job, order.run, order.attempt, 1, staged)

    rules = profile_rules((one, spec) for one, spec in order.identities)
    for stream, found in find(data_dir, rules, order.streams, sought, memory_mb=order.memory_mb):
        known = {one["file"]: Staged(**one) for one in config["segments"][stream]}
        rows = [(one, known[one.file]) for one in order.streams[stream]]
        for old, new, gone in hollowed(data_dir, rows, found, lambda stream=stream: name(stream)):  # type: ignore[misc]
            counts = {str(request): count for request, count in gone.counts().items()}
            cursor = {"stream": stream, "old": old, "counts": counts}
            yield Unit(cursor=cursor, segments=(new,), moved=False)
    values = _texts(config["texts"])
    removed = {request: clean_rejects(data_dir, config["rejects"], some) for request, some in values.items()}
    yield Unit(cursor={"rejects": removed}, moved=False)


def _clean_after(order: Order, held: Mapping[str, Mapping[str, int]]) -> None:
    from reconciler.data.forget import clean_rejects

    for job, files in order.config.get("rejects", {}).items():
        gone = set(order.config["ids"]).difference(held.get(job, ()))
        if gone and files:
            clean_rejects(Path(order.data_dir), files, sorted(gone))


def _texts(rows: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """What to look for in texts, by request."""
    values: dict[str, list[str]] = {}
    for request, text in rows:
        values.setdefault(request, []).append(text)
    return values


def _held(order: Order, ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Which of these members each job's ledger, or the plan that it is sending, has a row of, each with the earliest run."""
    from reconciler.data.forget import held

    ledgers: Mapping[str, Any] = order.config["ledgers"]
    found = {job: held(Path(order.data_dir), files, ids) for job, files in ledgers.items()}
    return {job: members for job, members in found.items() if members}


def _there(order: Order, held: Mapping[str, Mapping[str, int]]) -> dict[str, list[str]]:
    """Which of the members in each job's ledger its destination may hold: not those who were left out, or removed before."""
    from reconciler.data.forget import states
    from reconciler.data.ledger import State

    data_dir, config, found = Path(order.data_dir), order.config, {}
    for job, members in held.items():
        plan = config.get("plans", {}).get(job, "")
        files = [one for one in config["ledgers"][job] if one != plan]
        found[job] = [one for one in members if states(data_dir, files, plan, [one]) - {State.GONE, State.OUT}]
    return found
