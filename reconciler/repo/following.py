"""Following a repository elsewhere: a thread that fetches, so that the loop never waits for a network, and wakes the loop
when there is something to look at.

After a success the next fetch comes when the interval is over; after failures, exponentially later, with jitter, so that
a thousand daemons do not return to a server at once. A push that was heard of is fetched at once, whatever was waited
for. Who does not watch (one pass, a plan) fetches once, when the newest commit is first asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from reconciler.repo.clone import Clone, Known
from reconciler.repo.refs import revision
from reconciler.repo.source import Head, Watching

#: After the first failure the next attempt comes so much later; after each further one twice as late, up to the longest
#: (or the interval, where that is longer). Each is up to a fifth shorter or longer.
FIRST_S: Final = 5.0
LONGEST_S: Final = 600.0
JITTER: Final = 0.2
#: How long the end waits for the thread; a fetch under way is killed.
CLOSE_S: Final = 5.0


def delay_s(interval_s: float, failures: int, chance: float) -> float:
    """How long until the next fetch, after so many failures in a row; `chance` is from [0, 1)."""
    if failures == 0:
        return interval_s
    longest_s = max(LONGEST_S, interval_s)
    steady_s = min(min(FIRST_S, interval_s) * 2.0 ** min(failures - 1, 30), longest_s)
    return steady_s * (1 - JITTER + 2 * JITTER * chance)


class CloneSource:
    """A clone as the desired state (`repo.source.Source`). `name` is what was asked for. `notice` is told, in the thread that
    asks for `head`, of what is no trouble: a first clone, one that was made anew, a history that was
    rewritten. Without `fetches` it takes what a daemon has fetched, as long as nobody watches."""

    def __init__(
        self, clone: Clone, name: str, interval_s: float, notice: Callable[[str], None], chance: Callable[[], float], *,
        fetches: bool = True,
    ) -> None:  # fmt: skip
        self.name = name
        self._clone = clone
        self._interval_s = interval_s
        self._notice = notice
        self._chance = chance
        self._follower: Follower | None = None
        self._fetches = fetches
        self._told = clone.known

    def head(self) -> Head:
        """The newest commit that is believed, and why no newer one is. A bug of the thread that fetches is raised here."""
        if self._follower is not None:
            self._follower.check()
        elif self._fetches:
            self._fetches = False
            if not self._clone.known.commit:
                self._notice(f"cloning {self._clone.known.url}")
            self._clone.fetch(patient=False)
        known = self._clone.known
        self._tell(known)
        repository = self._clone.repository()
        if repository is None:
            if known.commit and self._follower is not None:
                self._follower.ask()  # it is gone from the disk: a new one need not wait for its time
            return Head(why=known.trouble or f"{known.url} is being cloned")
        refused = revision(known.branch, known.refused) if known.refused else ""
        return Head(repository=repository, commit=known.commit, name=known.branch, why=known.trouble, refused=refused)

    def _tell(self, known: Known) -> None:
        before, self._told = self._told, known
        if known.remade > before.remade and known.hashed == before.hashed:
            self._notice(f"the clone of {known.url} was damaged or gone; a new one has taken its place")
        if known.replaced and before.commit != known.commit:
            self._notice(
                f"history was rewritten: {known.branch} went from {known.replaced[:12]} to {known.commit[:12]}, which does "
                f"not contain it; {known.commit[:12]} is desired now"
            )

    def watch(self, wake: Callable[[], None]) -> Watching:
        """Fetches from now on, and wakes whenever that has changed anything."""
        self._follower = Follower(self._clone, self._interval_s, wake, self._chance)
        self._follower.start()
        return self._follower

    def ask(self) -> None:
        """Word has come of a push: fetches at once."""
        if self._follower is not None:
            self._follower.ask()

    def close(self) -> None:
        if self._follower is not None:
            self._follower.close()
        self._clone.close()


class Follower(threading.Thread):
    """Fetches until it is closed."""

    def __init__(
        self, clone: Clone, interval_s: float, wake: Callable[[], None], chance: Callable[[], float]
    ) -> None:  # fmt: skip
        super().__init__(name="fetch", daemon=True)
        self._clone = clone
        self._interval_s = interval_s
        self._wake = wake
        self._chance = chance
        self._ended = threading.Event()
        self._asked = threading.Event()
        self._bug: Exception | None = None
        self.trouble = ""  # what keeps the remote from being asked, the clone itself tells

    def run(self) -> None:
        failures = 0
        while not self._ended.is_set():
            self._asked.clear()
            before = self._clone.known
            try:
                known = self._clone.fetch()
            except Exception as error:  # handed to the loop, which ends with it
                self._bug = error
                self._wake()
                return
            if self._ended.is_set():
                return
            failures = 0 if known.reached else failures + 1
            if replace(before, fetched_ms=0) != replace(known, fetched_ms=0):
                self._wake()
            self._asked.wait(delay_s(self._interval_s, failures, self._chance()))

    def ask(self) -> None:
        """Fetches at once, or once more where a fetch is under way."""
        self._asked.set()

    def check(self) -> None:
        """Raises the bug that ended the thread."""
        if self._bug is not None:
            raise self._bug

    def close(self) -> None:
        """Ends a fetch that is under way, too; nothing wakes afterwards."""
        self._ended.set()
        self._asked.set()
        self._clone.close()
        self.join(CLOSE_S)
