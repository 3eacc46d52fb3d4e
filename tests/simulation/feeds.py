"""In a quarter of the worlds an API is read: a listing of JSON records behind the simulated network, page by page, by number,
offset, token or link, or all in one answer. Records are added at its end, also while it is being read; where it is read on from
the highest value of a field, several records may share that.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from reconciler.providers.http.client import Answer
from tests.simulation.laws import require
from tests.simulation.people import FEED

if TYPE_CHECKING:
    from tests.simulation.world import World

#: How many worlds in a hundred have such an API.
SHARE: Final = 25
STREAM: Final = FEED
HOST: Final = "feed.test/"
#: With so many records it grows no more by being read: each reading of a long listing would make it longer still.
MOST: Final = 200

#: How one answer leads to the next, as the spec of the job says it.
PAGING: Final[Mapping[str, str]] = {
    "page": "{type: page, param: page, start: 1, size: SIZE, sizeParam: limit}",
    "offset": "{type: offset, param: offset, size: SIZE, sizeParam: limit}",
    "cursor": "{type: cursor, param: from, cursorPath: next}",
    "link": "{type: link}",
    "single": "",
}


class Feeds:
    """What a world with an API has of its own; nothing where it has none."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        dice = self._dice = random.Random(f"api {seed}")
        self.there = dice.randrange(100) < SHARE
        self._style = dice.choice(sorted(PAGING))
        self._size = dice.choice([1, 2, 5])
        self.is_incremental = dice.random() < 0.7
        self._records: list[dict[str, Any]] = []
        self._bodies: dict[str, list[str]] = {}  # by digest: whom each answer held
        self._last_at = 0

    def config(self) -> str:
        """Of the job that reads it."""
        paging = PAGING[self._style].replace("SIZE", str(self._size))
        more = f", pagination: {paging}" if paging else ""
        more += ", incremental: {field: at, param: since}" if self.is_incremental else ""
        return f'{{url: "http://{HOST}{STREAM}", stream: {STREAM}, records: items{more}}}'

    def add(self) -> str:
        """Something happens, of which the API tells from now on."""
        ids = [f"f{len(self._records) + number}" for number in range(self._dice.choice([1, 2, 4, 9]))]
        for one in ids:
            self._last_at += self._dice.choice([0, 0, 1, 5])  # several at one time, some of them later
            self._records.append({"id": one, "at": self._last_at, "amount": len(one)})
        return f"{len(ids)} records for {STREAM}"

    # --- the API

    def is_of(self, path: str) -> bool:
        return path.startswith(HOST)

    def take(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        require(method == "GET", f"{method} {path}: it only reads")
        if not self._world.rests and self._dice.random() < 0.1 and len(self._records) < MOST:
            self.add()  # just before the answer
        where, _, query = path.partition("?")
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        since = int(asked.get("since", -1))
        require(since <= self._last_at, f"{path}: nobody has been told of {since}")
        listed = [one for one in self._records if one["at"] >= since]
        first = self._first(asked)
        shown = listed[first:] if self._style == "single" else listed[first : first + self._size]
        following = first + len(shown) if first + len(shown) < len(listed) else None
        answer = self._answer(where, asked, shown, following)
        tag = hashlib.sha256(answer.body).hexdigest()[:16]
        self._bodies[tag] = [one["id"] for one in shown]
        if self._style == "single":
            answer = Answer(answer.status, {"etag": f'"{tag}"'}, answer.body, "")
            if headers.get("If-None-Match") == f'"{tag}"':
                answer = Answer(304, {}, b"", "")
        self._world.note(f"{path} is answered {answer.status}: {' '.join(one['id'] for one in shown)}")
        return answer

    def _first(self, asked: Mapping[str, str]) -> int:
        """How many records stand before the page that is asked for."""
        match self._style:
            case "page":
                return (int(asked.get("page", 1)) - 1) * self._size
            case "offset":
                return int(asked.get("offset", 0))
            case _:
                return int(asked.get("from", "t0")[1:])

    def _answer(self, where: str, asked: Mapping[str, str], shown: list[Any], following: int | None) -> Answer:
        said: dict[str, Any] = {"items": shown}
        headers = {}
        if self._style == "cursor" and following is not None:
            said["next"] = f"t{following}"
        if self._style == "link" and following is not None:
            since = f"since={asked['since']}&" if "since" in asked else ""
            headers["link"] = f'<http://{where}?{since}from=t{following}>; rel="next"'
        return Answer(200, headers, json.dumps(said).encode(), "")

    # --- laws

    def ids(self) -> list[str]:
        return [str(one["id"]) for one in self._records]

    def check(self, landed: list[str]) -> None:
        """Each record once, in the order of the listing; of one that is read anew every time, a page that was seen never
        again, so that a record lands at most as often as its page has changed."""
        count = Counter(landed)
        if self.is_incremental:
            twice = sorted(one for one, times in count.items() if times > 1)
            require(not twice, f"{STREAM}: records landed twice: {twice[:5]}")
            order = [int(one[1:]) for one in landed]
            require(order == sorted(order), f"{STREAM}: records landed in another order than they are listed in")
            return
        shown = Counter(one for ids in self._bodies.values() for one in ids)
        often = sorted(one for one, times in count.items() if times > shown[one])
        require(not often, f"{STREAM}: records landed more often than their page has changed: {often[:5]}")
