"""In half of the worlds with people somebody asks to be forgotten, now and then. From then on nothing that was said of them before
comes back, whoever brings it: the messages, the profiles and the members are without them, and those who stay are as they were.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from reconciler.clock import milliseconds
from reconciler.controller.requests import Request
from reconciler.core.forgotten import keyed_hash
from tests.end_to_end.membership import address
from tests.simulation.asking import ask
from tests.simulation.laws import require
from tests.simulation.parts import HISTORY

if TYPE_CHECKING:
    from tests.simulation.world import World

#: Of the time that a world has, the part after which nobody asks any more.
UNTIL: Final = 0.7


class Forgets:
    """What a world has of its own in which people are forgotten; nothing where they are not."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        dice = self._dice = random.Random(f"forgets {seed}")
        self.there = world.mirrors.there and dice.random() < 0.5
        self.asked: set[str] = set()

    def forget(self) -> str:
        """Somebody asks for a person who may be known, and may have been forgotten before."""
        world = self._world
        if world.timeline.true_ms > UNTIL * world.span_ms:
            return "nobody, so late"
        email = address(self._dice.randrange(world.mirrors.count))
        self.asked.add(email)
        ask(world, Request(do="forget", arguments={"key": "email", "value": email}, by="ann"))
        return email

    def rebuild(self) -> str:
        """Somebody has all profiles built anew, whatever else is at work."""
        if self._world.record is None:
            return "nobody is there to do it"
        ask(self._world, Request(do="rebuild", by="ann"))
        return "asked"

    # --- laws

    def is_under_way(self) -> bool:
        record = self._world.record
        return self.there and record is not None and bool(record.forgotten.under_way())

    def unfinished(self) -> list[str]:
        return ["somebody is not forgotten yet"] if self.is_under_way() else []

    def check(self, landed: list[dict[str, Any]]) -> None:
        """Nothing that was said of anybody before they were forgotten is on the stream."""
        since = self._since()
        for message in landed:
            email = self._email(message)
            at_ms = since.get(email)
            require(
                at_ms is None or milliseconds(message["at"]) >= at_ms,
                f"{message['id']} speaks of {email}, who was forgotten at {at_ms}",
            )

    def may_lack(self, stream: str) -> set[str]:
        """The messages of a stream, by id, that may be gone: of all who share an identifier with somebody who was asked for."""
        if not self.asked:
            return set()
        said, known = self._world.mirrors.messages, set[Any](self.asked)
        if stream not in (self._world.mirrors.stream, HISTORY):
            return set()
        found: set[str] = set()
        while True:
            more = {one for one, message in said.items() if known & self._who(message)} - found
            if not more:
                return found
            found |= more
            known |= {who for one in more for who in self._who(said[one])}

    def _who(self, message: Mapping[str, Any]) -> set[Any]:
        return {who for who in (self._email(message), message.get("user")) if who not in (None, "")}

    def _email(self, message: Mapping[str, Any]) -> str:
        return str(message.get("email", "")).strip().lower()

    def _since(self) -> dict[str, int]:
        """Who has been forgotten, and as of when."""
        record = self._world.record
        assert record is not None
        hashes, key = record.forgotten.hashes(), str(record.setting("secret_key"))
        found = {email: hashes.get(keyed_hash(key, "email", email)) for email in sorted(self.asked)}
        return {email: at_ms for email, at_ms in found.items() if at_ms is not None}
