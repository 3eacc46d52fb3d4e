"""What keeps the data folder tidy: files that no row names are swept, small segments are put together. Neither ever
touches what a reader may hold."""

from __future__ import annotations

from reconciler.controller.hands import Hands


class Housekeeper:
    """Sweeps and compacts."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    def sweep(self) -> None:
        """Removes what a crash left behind. Only before any run has started: a run stages files that no row names yet."""

    def compact(self) -> None:
        """Puts small segments together."""
