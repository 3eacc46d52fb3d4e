"""A network, and the one destination that lies behind it: it notes all that reaches it.

A request that has left arrives or not whatever becomes of who sent it, and an answer that is lost is one that nobody gets.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import httpcore

from reconciler.errors import Retriable
from reconciler.providers.http.client import Answer
from tests.simulation.laws import require

if TYPE_CHECKING:
    from tests.simulation.feeds import Feeds
    from tests.simulation.lookups import Lookups
    from tests.simulation.mirrors import Mirrors
    from tests.simulation.processes import Process
    from tests.simulation.timeline import Timeline
    from tests.simulation.tokens import Tokens
    from tests.simulation.weather import Weather

#: How long a client waits for an answer, in milliseconds.
PATIENCE_MS: Final = 30_000


class Receiver:
    """Takes batches of messages. A batch with a message that it does not like is refused whole."""

    def __init__(self, note: Callable[[str], None], poison: Callable[[str], bool], times: Callable[[str], int]) -> None:
        """`times` is how often a message may be on its stream: each time is one more that it may come."""
        self._note = note
        self._poison = poison
        self._times = times
        self._keys: dict[tuple[str, str], set[str]] = {}  # by path and message
        self.bodies: dict[str, bytes] = {}  # by key: of all that ever came
        self.taken: dict[str, dict[str, str]] = {}  # by path: under which key each message was taken

    def take(self, path: str, key: str, body: bytes) -> int:
        """The status of the answer."""
        known = self.bodies.setdefault(key, body)
        require(known == body, f"{path}: the key {key} came with two bodies")
        ids = [str(message["id"]) for message in json.loads(body)["messages"]]
        if any(map(self._poison, ids)):
            self._note(f"{path} refuses {key}: {' '.join(ids)}")
            return 400
        taken = self.taken.setdefault(path, {})
        for one in ids:
            under = taken.setdefault(one, key)
            keys = self._keys.setdefault((path, one), set())
            keys.add(key)
            is_well = len(keys) <= self._times(one)
            require(is_well, f"{path}: message {one} came under {under} and again under {key}")
        self._note(f"{path} takes {key}: {' '.join(ids)}")
        return 200


class Client:
    """What a run sends with, in the place of `providers.http.client.Client`."""

    def __init__(
        self,
        process: Process,
        timeline: Timeline,
        weather: Weather,
        receiver: Receiver,
        mirrors: Mirrors,
        feeds: Feeds,
        lookups: Lookups,
        tokens: Tokens | None,
        dice: random.Random,
    ) -> None:
        self._process = process
        self._timeline = timeline
        self._weather = weather
        self._receiver = receiver
        self._mirrors = mirrors
        self._feeds = feeds
        self._lookups = lookups
        self._tokens = tokens
        self._dice = dice

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        """No connection is kept."""

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        private: Mapping[str, str],
        content: bytes | None = None,
        whole: bool = True,
    ) -> Answer:
        self._process.sends(url)
        path = url.partition("//")[2]
        order = self._process.order
        asked = self._lookups.leaves(path, order.run, order.attempt) if self._lookups.is_of(path) else None
        strikes, dice = self._weather.strikes, self._dice
        there_ms = dice.randint(1, 80)
        if strikes("unreachable"):
            self._process.sleep(there_ms)
            raise Retriable(f"{method} {url}: connection refused") from httpcore.ConnectError("refused")
        if strikes("slow"):
            there_ms += dice.randint(1_000, 300_000)
        answers: list[Answer] = []
        is_lost = strikes("lost request")
        if not is_lost:
            said = self._fault()
            shown = {**headers, **private}
            self._timeline.after(there_ms, lambda: answers.append(self._arrive(method, path, shown, content, said)))
        back_ms = dice.randint(1, 80)
        is_mute = is_lost or strikes("lost answer")
        self._process.sleep(PATIENCE_MS if is_mute else min(there_ms + back_ms, PATIENCE_MS))
        if is_mute or not answers:
            raise Retriable(f"{method} {url}: no answer in time") from httpcore.ReadTimeout("late")
        if asked is not None:
            asked.answered = answers[0].status in (200, 404)
        return answers[0]

    def _fault(self) -> Answer | None:
        """What the server says before it looks at a request."""
        strikes, dice = self._weather.strikes, self._dice
        if strikes("error"):
            return Answer(500, {}, b"oops", "")
        if strikes("denied"):
            return Answer(401, {}, b"who?", "")
        if strikes("limit"):
            waits = dice.choice(["", "1", "90", "7200"])
            return Answer(dice.choice([429, 503]), {"retry-after": waits} if waits else {}, b"later", "")
        return None

    def _arrive(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes | None, said: Answer | None
    ) -> Answer:
        if said is not None:
            return said
        if self._tokens is not None and path.startswith("receiver.test/") and not self._tokens.lets_in(headers):
            return Answer(401, {}, b"who?", "")
        if self._feeds.is_of(path):
            return replace(self._feeds.take(method, path, headers), url=f"http://{path}")
        if self._lookups.is_of(path):
            return self._lookups.take(path)
        if self._mirrors.is_of(path):
            status, body = self._mirrors.take(path, method, headers, content or b"")
            return Answer(status, {}, body, "")
        status = self._receiver.take(path, headers["Idempotency-Key"], content or b"")
        return Answer(status, {}, b"", "")
