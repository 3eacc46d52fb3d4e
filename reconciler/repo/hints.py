"""What the watch of a tree has named since the last look: what a look may confine itself to.

A hint is only ever a reason to ask about few files instead of all, never a statement about one. It is worth nothing unless
everything is named that happens, so it says nothing at all (`take` is None) until a look has been taken since the watch
stood, after it fell, and where so much was named at once that some of it may have been lost on the way.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

#: So many paths between two looks are a hint; asking about more of them one by one saves little.
MOST: Final = 200


class Hints:
    """Relative paths, from the thread of a watch to that of a look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._named: set[str] | None = None
        self._stands = False

    def stand(self) -> None:
        """From here on everything is named; what happened before is not."""
        with self._lock:
            self._stands, self._named = True, None

    def fall(self) -> None:
        """Nothing is named any more."""
        with self._lock:
            self._stands, self._named = False, None

    def lose(self) -> None:
        """Something happened that cannot be named."""
        with self._lock:
            self._named = None

    def name(self, paths: Iterable[str]) -> None:
        with self._lock:
            if self._named is not None:
                self._named.update(paths)
                if len(self._named) > MOST:
                    self._named = None

    def take(self) -> frozenset[str] | None:
        """What was named since this was last asked; None where anything may have happened. To be asked before the look
        begins: what is named during one is for the next."""
        with self._lock:
            named, self._named = self._named, set() if self._stands else None
        return None if named is None else frozenset(named)
