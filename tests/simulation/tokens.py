"""Whoever sends to the destination shows a token, which is in a file and is changed from time to time: here first or there
first, so that for a while it is refused; and now and then the file is empty or not there. No token is ever seen anywhere else.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from tests.simulation.laws import require
from tests.simulation.parts import Deed, Part

if TYPE_CHECKING:
    from tests.simulation.world import World

SPEC: Final = """apiVersion: reconciler/v1
kind: Authorization
metadata: {{name: gate}}
spec: {{provider: http, method: bearer, credentials: {{token: {{file: "{file}"}}}}}}
"""


class Tokens(Part):
    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._dice = random.Random(f"tokens {seed}")
        self._file = world.folder / "gate-token"
        self._count = 0
        self._shown: set[str] = set()  # that were ever in the file
        self._valid: list[str] = []
        self._renew("here first")

    def files(self) -> dict[str, str]:
        return {"gate.yaml": SPEC.format(file=self._file)}

    def deeds(self) -> list[tuple[int, Deed]]:
        return [(self._dice.randint(1, 8), self.renew), (self._dice.choice([0, 2]), self.lose)]

    def renew(self) -> str:
        """Another token from now on."""
        return self._renew(self._dice.choice(["here first", "there first", "both know the old one too"]))

    def _renew(self, how: str) -> str:
        self._count += 1
        token = f"token-{self._count:04d}-that-nobody-guesses"
        late_ms = self._dice.choice([50, 60_000, 9_000_000])
        match how:
            case "here first":
                self._write(token)
                self._accept([token])
            case "there first":
                self._accept([token])
                self._world.timeline.after(late_ms, lambda: self._write(token))
            case _:
                self._accept([*self._valid[-1:], token])
                self._write(token)
                self._world.timeline.after(late_ms, lambda: self._accept([token]))
        return how

    def lose(self) -> str:
        """The file is gone or empty for a while."""
        token = self._file.read_text() if self._file.exists() else ""
        if self._dice.random() < 0.5:
            self._file.unlink(missing_ok=True)
        else:
            self._file.write_text("")
        if token:
            self._world.timeline.after(self._dice.choice([500, 600_000, 30_000_000]), lambda: self._write(token))
        return "the token is not there for a while"

    def _write(self, token: str) -> None:
        self._shown.add(token)
        if not self._world.rests:
            self._file.write_text(token)

    def _accept(self, tokens: list[str]) -> None:
        if not self._world.rests:
            self._valid = tokens

    def settle_down(self) -> None:
        self._valid = ["token-9999-that-nobody-guesses"]
        self._shown.update(self._valid)
        self._file.write_text(self._valid[0])

    # --- laws

    def lets_in(self, headers: Mapping[str, str]) -> bool:
        """Whether the destination knows the token of a request."""
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        require(token in self._shown, f"a request came with {token!r}, which was never in the file")
        return token in self._valid

    def check(self) -> None:
        """What the controller keeps says no token."""
        for path in sorted(self._world.state.rglob("*")):
            if path.is_file():
                found = path.read_bytes()
                require(b"-that-nobody-guesses" not in found, f"{path.name} holds a token")
