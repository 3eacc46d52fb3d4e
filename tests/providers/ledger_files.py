"""The destination of a life of an export of an audience (`ledger_walk`) that is files: a file of all members, or files of changes
and somebody who reads each once and looks members up by any of their identifiers."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from reconciler.providers.files import PROVIDER
from reconciler.testing import Place, ProviderConformance
from tests.lives import require
from tests.providers.ledger_crowd import STRANGERS, Fields, Ident, identifiers

#: What is said of a destination that is asked.
_ASKED = ("replay", "batchSize", "errors")


class Shelf:
    """An entry for each identifier, with the fields that came with it last; a file refuses nobody."""

    tells_whose = False

    def __init__(self, dice: random.Random) -> None:
        self.only = dice.choice(("all", "new", "new"))
        self.entries: dict[Ident, Fields] = dict(STRANGERS)
        self.writers: dict[Ident, str] = {}
        self.refused: set[Ident] = set()
        self.stuck: set[Ident] = set()
        self.is_calm = True
        self.requests = 0
        self.rows: list[tuple[str, str, str, Fields]] = []
        self.last: dict[str, tuple[str, Fields]] = {}
        self.blamed: set[str] = set()
        self._read: dict[str, str] = {}

    def hear(self, place: Place) -> None:
        """Reads what there is."""
        if self.only == "all":
            file = place.root / "out" / "all.ndjson"
            members = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
            self.entries = {**STRANGERS, **{who: one for one in members for who in identifiers(one)}}
            return
        for file in sorted(place.root.glob("out/*.ndjson"), key=lambda one: int(one.stem)):
            text = file.read_text()
            require(self._read.get(file.name, text) == text, f"{file.name} was read, and holds something else now")
            if file.name not in self._read:
                self._read[file.name] = text
                self.requests += 1
                for line in text.splitlines():
                    self._take(json.loads(line))

    def _take(self, member: dict[str, Any]) -> None:
        action, previous = member.pop("action"), member.pop("previous", None)
        self.rows.append(("", action, "", member))
        for one in identifiers(member if action == "remove" else previous):
            require(one not in STRANGERS, f"{one} was there before us, and is removed")
            self.entries.pop(one, None)
        if action != "remove":
            self.entries.update(dict.fromkeys(identifiers(member), member))


class FilesJob(ProviderConformance):
    """The job that writes them."""

    provider = PROVIDER
    job_type = "export-audience"

    def __init__(self, shelf: Shelf, settings: Mapping[str, Any]) -> None:
        self._shelf = shelf
        self._settings = settings

    def config(self, place: Place) -> Mapping[str, Any]:
        path = "out/all.ndjson" if self._shelf.only == "all" else "out/{run}.ndjson"
        said = {name: value for name, value in self._settings.items() if name not in _ASKED}
        return {"audience": "people", "path": path, "format": "ndjson", "only": self._shelf.only, **said}

    def people(self) -> list[Mapping[str, Any]]:
        return []
