"""A destination that keeps members as one out there would, and may be in a bad mood; and who the members should be, worked
out in plain Python from what came in.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.servers import Play, Request

Fields = Mapping[str, Any]
Message = Mapping[str, Any]

#: How many in a thousand requests go wrong in which way.
MOODS: Mapping[str, int] = {
    "lost": 40,  # carried out, and the connection is closed without an answer
    "dropped": 30,  # not carried out, and the connection is closed without an answer
    "unavailable": 30,  # 503
    "broken": 20,  # 500, after it was carried out
    "limited": 10,  # 429 with Retry-After
    "forbidden": 5,  # 401
    "slow": 10,  # carried out, and answered late, but in time
    "stuck": 8,  # carried out, and answered after the sender has given up
    "delayed": 8,  # not answered in time, and carried out while something else is
}
SLOW_S = 0.3


@dataclass
class Destination:
    """Who is a member, by e-mail address. Each idempotency key gets one verdict: its first 2xx or 422 is its answer for
    ever. `refused` addresses are never taken; `errors` are the promises that a sender broke."""

    mood: random.Random
    refused: Collection[str] = ()
    is_calm: bool = False
    members: dict[str, Fields] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    verdicts: dict[str, Play] = field(default_factory=dict)
    carried_out: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    moods: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    alarm: Callable[[], None] = lambda: None
    _delayed: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Play:
        self.alarm()
        if self.bodies.setdefault(request.key, request.body) != request.body:
            self.errors.append(f"{request.key} came with two bodies")
        mood = self._mood()
        self.moods[mood] += 1
        play = self._behave(mood, request)
        if mood != "delayed":
            self._carry_out_late()
        return play

    def _mood(self) -> str:
        if self.is_calm:
            return "well"
        return self.mood.choices([*MOODS, "well"], [*MOODS.values(), 1_000 - sum(MOODS.values())])[0]

    def _behave(self, mood: str, request: Request) -> Play:
        match mood:
            case "dropped":
                return Play(drop=True)
            case "unavailable":
                return Play(status=503)
            case "limited":
                return Play(status=429, headers={"Retry-After": "0"})
            case "forbidden":
                return Play(status=401)
            case "delayed":
                self._delayed.append(request)
                return Play(status=500, hold=True)
            case "lost":
                self._verdict(request)
                return Play(lose=True)
            case "broken":
                self._verdict(request)
                return Play(status=500)
            case "stuck":
                verdict = self._verdict(request)
                return Play(status=verdict.status, body=verdict.body, hold=True)
            case "slow":
                threading.Event().wait(SLOW_S)
        return self._verdict(request)

    def _carry_out_late(self) -> None:
        """What was delayed on its way arrives after a later request."""
        late, self._delayed = self._delayed, []
        for request in late:
            self._verdict(request)

    def _verdict(self, request: Request) -> Play:
        """Carries a key out, once."""
        if request.key in self.verdicts:
            self.repeated += 1
            return self.verdicts[request.key]
        found = self.verdicts[request.key] = self._judged(request)
        return found

    def _judged(self, request: Request) -> Play:
        action, members = request.json["action"], request.json["members"]
        bad = [] if action == "remove" else [at for at, one in enumerate(members) if one["email"] in self.refused]
        named = json.dumps({"errors": [{"index": at, "message": "no such mailbox"} for at in bad]}).encode()
        if bad and self.mood.random() < 0.7:  # the whole batch, and the answer names the bad rows or does not
            return Play(status=422, body=named if self.mood.random() < 0.5 else b"something in it is bad")
        for at, one in enumerate(members):
            if at not in bad:
                self._apply(action, one, request.key)
        return Play(status=207 if bad else 200, body=named if bad else b"{}")

    def _apply(self, action: str, member: Fields, key: str) -> None:
        """Every change that is carried out must be news: else it was carried out under another key before."""
        fields = {name: value for name, value in member.items() if name != "previous"}
        before = self.members.get(fields["email"])
        if action == "remove" and before is None:
            self.errors.append(f"{key} removes {fields['email']}, who is no member")
        if action != "remove" and before == fields:
            self.errors.append(f"{key} says again what is known: {action} {fields}")
        if "previous" in member:
            self.members.pop(member["previous"]["email"], None)
        if action == "remove":
            self.members.pop(fields["email"], None)
        else:
            self.members[fields["email"]] = fields
        self.carried_out[action] += 1


# --- who should be there --------------------------------------------------------------------------------------------


class People:
    """Messages about people, as they come in: some say an e-mail address, some a user's number, and some both, by which two
    people may turn out to be one. Timestamps increase."""

    merges = 0.003  # how many of the messages say that two people are one

    def __init__(self, rng: random.Random, count: int, refused: Collection[int]) -> None:
        self.rng = rng
        self.count = count
        self.refused = {address(number) for number in refused}
        self.said: list[Message] = []
        self._can_merge = [number for number in range(count) if number not in refused]

    def speak(self, messages: int) -> list[Message]:
        new = [self._message(len(self.said) + at) for at in range(messages)]
        self.said += new
        return new

    def arrive(self) -> Message:
        """Somebody who was not there before, and is a member."""
        at = len(self.said)
        message = {**self._message(at), "email": address(self.count + at), "score": 99}
        message.pop("user", None)
        self.said.append(message)
        return message

    def _message(self, at: int) -> Message:
        number = self.rng.randrange(self.count)
        message: dict[str, Any] = {"at": f"2026-01-01T{at // 3600 % 24:02d}:{at // 60 % 60:02d}:{at % 60:02d}Z"}
        message["at"] = message["at"].replace("2026-01-01", f"2026-01-{1 + at // 86_400:02d}")
        how = self.rng.random()
        if how < 0.6:
            message["email"] = self._spelled(number)
        elif how < 0.97:
            message["user"] = number
        else:
            message |= {"email": self._spelled(number), "user": number}
        if self.rng.random() < self.merges:  # this person turns out to be another one, too
            one, other = self.rng.sample(self._can_merge, 2)
            message |= {"email": self._spelled(one), "user": other}
        message["score"] = self.rng.randrange(100)
        return message

    def _spelled(self, number: int) -> str:
        return self.rng.choice([address(number), address(number), f" {address(number).upper()}"])


def address(number: int) -> str:
    return f"p{number}@example.org"


def audience(said: Iterable[Message], limit: int) -> Iterator[Fields]:
    """The members: whose latest score is at least `limit`. Their address is the one that was heard first, empty where none
    was."""
    for messages in _by_person(said):
        addresses = [one["email"].strip().lower() for one in messages if "email" in one]
        if messages[-1]["score"] >= limit:
            yield {"email": [*addresses, ""][0], "score": messages[-1]["score"], "visits": len(messages)}


def _by_person(said: Iterable[Message]) -> Iterable[list[Message]]:
    """The messages of each person, in the order in which they came: all that share an identifier, transitively."""
    person: dict[Any, Any] = {}

    def top(of: Any) -> Any:
        while person.setdefault(of, of) != of:
            of = person[of]
        return of

    said = list(said)
    for one in said:
        first, *others = _identifiers(one)
        for other in others:
            person[top(other)] = top(first)
    found: dict[Any, list[Message]] = {}
    for one in said:
        found.setdefault(top(_identifiers(one)[0]), []).append(one)
    return found.values()


def _identifiers(message: Message) -> list[tuple[str, str]]:
    found = [("email", message["email"].strip().lower())] if "email" in message else []
    return found + ([("user", str(message["user"]))] if "user" in message else [])
