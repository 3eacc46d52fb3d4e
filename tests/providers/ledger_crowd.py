"""Who there is in a random life of an export of an audience (`ledger_walk`), how that changes, and what is to be sent of each."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

Fields = Mapping[str, Any]
#: An identifier: the field's name and its value.
Ident = tuple[str, Any]

#: The fields by which this destination knows members.
KNOWN_BY: Final = ("email", "user", "pid")
EMAIL: Final = {"from": "email", "transform": ["trim", "lower"]}
USER: Final = {"from": "user"}
PLAN: Final = {"from": "plan"}
MAPPINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "email": {"email": EMAIL, "plan": PLAN},
    "both": {"email": EMAIL, "user": USER, "plan": PLAN},
    "email needed": {"email": {**EMAIL, "required": True}, "user": USER, "plan": PLAN},
    "both needed": {"email": {**EMAIL, "required": True}, "user": {**USER, "required": True}},
    "user": {"user": USER, "plan": PLAN},
    "hashed": {"email": {"from": "email", "transform": ["trim", "lower", "sha256"]}, "plan": PLAN},
    "plain": {"email": {"from": "email"}, "user": USER, "plan": PLAN},
    "plan needed": {"email": EMAIL, "plan": {**PLAN, "required": True}},
    "by id": {"pid": {"from": "profile-id"}, "address": EMAIL | {"identifier": False}, "plan": PLAN},
}
PLANS: Final = ("gold", "silver", None)


# --- who there is ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Person:
    """One profile. The identifiers stand in order: of each key the first is sent."""

    emails: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    plan: str | None = "gold"


class Crowd:
    """The profiles. An identifier belongs to one of them at a time."""

    def __init__(self, dice: random.Random, most: int) -> None:
        self.dice = dice
        self.most = most
        self.people: dict[int, Person] = {}
        self.aliases: dict[int, int] = {}  # who turned out to be whom
        self._next = 1
        for _ in range(dice.randrange(most)):
            self.come()

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"id": ident(number), "email": one.emails, "user": one.users, "plan": one.plan}
            for number, one in sorted(self.people.items())
        ]

    def change(self) -> str:
        ways = (
            self.come, self.come, self.go, self.plan, self.lose, self.lose, self.gain, self.gain, self.move, self.move,
            self.swap, self.swap, self.merge, self.part, self.shuffle,
        )  # fmt: skip
        return self.dice.choice(ways)()

    def come(self) -> str:
        back = self.dice.randrange(1, self._next) if self._next > 1 and self.dice.random() < 0.4 else self._next
        if back in self.people:
            return "nobody comes"
        self._next = max(self._next, back + 1)
        self.aliases.pop(back, None)
        emails = self._free("emails", "p{}@x.org")
        users = self._free("users", "u{}")
        kind = self.dice.random()
        self.people[back] = Person(
            (self.dice.choice(emails),) if kind < 0.8 else (), (self.dice.choice(users),) if kind > 0.3 else (),
            self.dice.choice(PLANS),
        )  # fmt: skip
        return f"{back} comes as {self.people[back]}"

    def go(self) -> str:
        return self._of_one(lambda number, one: self.people.pop(number) and "goes")

    def plan(self) -> str:
        return self._put(lambda one: replace(one, plan=self.dice.choice(PLANS)))

    def lose(self) -> str:
        name = self.dice.choice(("emails", "users"))
        return self._put(lambda one: replace(one, **{name: getattr(one, name)[1:]}))

    def gain(self) -> str:
        name, form = self.dice.choice((("emails", "p{}@x.org"), ("users", "u{}")))
        new = self.dice.choice(self._free(name, form))
        return self._put(lambda one: replace(one, **{name: (new, *getattr(one, name))[: self.dice.choice((1, 2))]}))

    def move(self) -> str:
        """An identifier goes over to another one."""
        if len(self.people) < 2:
            return "nobody"
        name = self.dice.choice(("emails", "users"))
        one, other = self.dice.sample(sorted(self.people), 2)
        taken = getattr(self.people[one], name)[:1]
        self.people[one] = replace(self.people[one], **{name: getattr(self.people[one], name)[1:]})
        kept = getattr(self.people[other], name) if self.dice.random() < 0.5 else ()
        self.people[other] = replace(self.people[other], **{name: (*taken, *kept)})
        return f"{name} {taken} go from {one} to {other}"

    def swap(self) -> str:
        """Identifiers go round a circle, or along a chain of which the last gets none."""
        count = min(len(self.people), self.dice.choice((2, 2, 3, 4)))
        if count < 2:
            return "nobody"
        names = self.dice.choice((("emails",), ("users",), ("emails", "users")))
        round_ = self.dice.sample(sorted(self.people), count)
        for name in names:
            had = [getattr(self.people[one], name) for one in round_]
            passed = [had[-1] if self.dice.random() < 0.6 else (), *had[:-1]]
            for one, values in zip(round_, passed, strict=True):
                self.people[one] = replace(self.people[one], **{name: values})
        return f"{'+'.join(names)} go round {round_}"

    def merge(self) -> str:
        if len(self.people) < 2:
            return "nobody"
        one, other = sorted(self.dice.sample(sorted(self.people), 2))
        gone = self.people.pop(other)
        kept = self.people[one]
        self.aliases |= {other: one} | {old: one for old, who in self.aliases.items() if who == other}
        first, second = (kept, gone) if self.dice.random() < 0.7 else (gone, kept)
        self.people[one] = Person(first.emails + second.emails, first.users + second.users, gone.plan)
        return f"{other} turns out to be {one}"

    def part(self) -> str:
        """What was one turns out to be two: one of them has the id."""
        several = [number for number, one in sorted(self.people.items()) if len(one.emails) + len(one.users) > 1]
        if not several:
            return "nobody"
        number = self.dice.choice(several)
        one = self.people[number]
        cut_e, cut_u = self.dice.randint(0, len(one.emails)), self.dice.randint(0, len(one.users))
        other = self._next if self.dice.random() < 0.5 else self.dice.randrange(1, self._next)
        if other in self.people:
            return "nobody"
        self._next = max(self._next, other + 1)
        self.aliases.pop(other, None)
        self.people[number] = replace(one, emails=one.emails[:cut_e], users=one.users[:cut_u])
        self.people[other] = replace(one, emails=one.emails[cut_e:], users=one.users[cut_u:])
        return f"{number} is parted from {other}"

    def shuffle(self) -> str:
        return self._put(lambda one: replace(one, emails=one.emails[::-1], users=one.users[::-1]))

    def _free(self, name: str, form: str) -> list[str]:
        taken = {value for one in self.people.values() for value in getattr(one, name)}
        return [one for one in (form.format(number) for number in range(2 * self.most + 4)) if one not in taken]

    def _put(self, made: Callable[[Person], Person]) -> str:
        def put(number: int, one: Person) -> str:
            self.people[number] = made(one)
            return f"becomes {self.people[number]}"

        return self._of_one(put)

    def _of_one(self, do: Callable[[int, Person], Any]) -> str:
        if not self.people:
            return "nobody"
        number = self.dice.choice(sorted(self.people))
        return f"{number} {do(number, self.people[number])}"


def ident(number: int) -> str:
    return f"{number:032x}"


# --- what is to be sent of them ---


STRANGERS: Final[Mapping[Ident, Fields]] = {("email", "stranger@x.org"): {}, ("user", "stranger"): {}}


def identifiers(fields: Fields | None) -> list[Ident]:
    return [(name, fields[name]) for name in KNOWN_BY if fields.get(name) is not None] if fields else []


def mapped(mapping: str, number: int, one: Person) -> Fields | None:
    """What is sent of somebody; None where it cannot be."""
    email = one.emails[0] if one.emails else None
    user = one.users[0] if one.users else None
    match mapping:
        case "email":
            return {"email": email, "plan": one.plan} if email else None
        case "plan needed":
            return {"email": email, "plan": one.plan} if email and one.plan else None
        case "both" | "plain":
            return {"email": email, "user": user, "plan": one.plan} if email or user else None
        case "email needed":
            return {"email": email, "user": user, "plan": one.plan} if email else None
        case "both needed":
            return {"email": email, "user": user} if email and user else None
        case "user":
            return {"user": user, "plan": one.plan} if user else None
        case "hashed":
            return {"email": hashlib.sha256(email.encode()).hexdigest(), "plan": one.plan} if email else None
        case "by id":
            return {"pid": ident(number), "address": email, "plan": one.plan}
    raise AssertionError(mapping)
