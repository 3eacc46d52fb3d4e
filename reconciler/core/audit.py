"""The audit log as a value: what was done, by whom, because of which commit and plan; each entry chained to the one before.

An entry's hash is SHA-256 over its fields as JSON, in the order in which `FIELDS` has them, the hash of the entry before
among them; the first one follows from the record's own id. So no entry can be changed, put in, left out or
moved without every later hash being wrong. What is cut off at the end leaves a sound chain: whoever checks must know
where it ended, from a head that was noted elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

import orjson

from reconciler.core.value import dataclass

#: Whoever acts by itself, because of a commit.
CONTROLLER: Final = "controller"
#: The outcomes of an action.
DONE: Final = "done"
REFUSED: Final = "refused"
BLOCKED: Final = "blocked"
#: A thing that was there before the log began.
FOUND: Final = "found"
#: A reason is kept up to so many characters.
MAX_REASON: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What was done or refused, before it has its place in the log.

    `actor` is the controller, or the person who asked. `was` is the name before a move. `reason` is the plan's, or what
    exactly was asked for; it holds no identifier of a person and no secret. `commit`, `author` and `revision` are of the
    spec, `plan` is the digest of the plan's actions. `generation`, `digest` and `life` are those of the thing afterwards:
    0 and empty where it is not there any more.
    """

    time_ms: int
    action: str
    actor: str = CONTROLLER
    kind: str = ""
    name: str = ""
    was: str = ""
    path: str = ""
    reason: str = ""
    commit: str = ""
    author: str = ""
    revision: str = ""
    plan: str = ""
    generation: int = 0
    digest: str = ""
    life: str = ""
    outcome: str = DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Deed):
    """A deed in its place: `seq` counts from 1; `prev` and `hash` are hexadecimal."""

    seq: int
    prev: str
    hash: str


#: What a hash covers, in this order; those that are numbers, which a damaged record may not keep to.
FIELDS: Final = ("seq", *(field.name for field in fields(Deed)), "prev")
_NUMBERS: Final = frozenset(("seq", "time_ms", "generation"))
_SAID: Final = attrgetter(*FIELDS[1:-1])
_ALL: Final = attrgetter(*FIELDS)
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Head:
    """Where the log ends: how many entries, and the hash of the last."""

    count: int
    hash: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The first entry with which something is wrong, and what, as a sentence."""

    seq: int
    message: str


def genesis(record: str) -> Head:
    """What the first entry follows: the id of the record."""
    return Head(0, hashlib.sha256(f"reconcile audit 1:{record}".encode()).hexdigest())


def chained(head: Head, deeds: Iterable[Deed]) -> Iterator[tuple[Any, ...]]:
    """The deeds as the entries that follow `head`: the values of FIELDS, and the hash."""
    seq, prev = head.count, head.hash
    for deed in deeds:
        seq += 1
        values = (seq, *_SAID(deed), prev)
        prev = _hash(values)
        yield (*values, prev)


def entry_of(values: Iterable[Any]) -> Entry:
    """The values of FIELDS, and the hash, as an entry."""
    return Entry(**dict(zip((*FIELDS, "hash"), values, strict=True)))


def hash_of(entry: Entry) -> str:
    """The hash that an entry must have; empty where it holds what no entry can hold."""
    values = _ALL(entry)
    for name, value in zip(FIELDS, values, strict=True):
        if type(value) is not (int if name in _NUMBERS else str):
            return ""
    return _hash(values)


def _hash(values: tuple[Any, ...]) -> str:
    return hashlib.sha256(_json(values)).hexdigest()


def _json(value: Any) -> bytes:
    """Of texts and integers, which orjson writes as the standard library's encoder does, but for halves of surrogate pairs."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return _ENCODER.encode(value).encode("utf-8", "surrogatepass")


def line_of(entry: Mapping[str, Any]) -> bytes:
    """An entry, its values by FIELDS and `hash`, as one line of JSON: the only bytes that stand for it."""
    return _json(entry) + b"\n"


def check(entries: Iterable[Entry], start: Head) -> tuple[Head, Broken | None]:
    """Follows the chain from `start`: where it ends, and the first entry that breaks it."""
    count, prev = start.count, start.hash
    for entry in entries:
        broken = _broken(entry, count, prev)
        if broken is not None:
            return Head(count, prev), broken
        count, prev = entry.seq, entry.hash
    return Head(count, prev), None


def _broken(entry: Entry, count: int, prev: str) -> Broken | None:
    expected = count + 1
    if type(entry.seq) is not int or entry.seq < expected:
        return Broken(expected, f"entry {expected} has another number")
    if entry.seq > expected:
        gone = f"entry {expected} is" if entry.seq == expected + 1 else f"entries {expected} to {entry.seq - 1} are"
        return Broken(expected, f"{gone} missing")
    if hash_of(entry) != entry.hash:
        return Broken(expected, f"entry {expected} has been changed since it was written")
    if entry.prev != prev:
        what = f"entry {count}" if count else "the beginning of this record's log"
        return Broken(expected, f"entry {expected} does not follow from {what}")
    return None
