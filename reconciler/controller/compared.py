"""One export of an audience as it stands: what a run of it would find now, without running it.

A run compares the audience with its ledger, and so does whoever says beforehand what a run would do; both ask for the same
with the same words. What is written for that is a plan file in a folder of its own below the data folder, gone afterwards.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from reconciler.clock import Now
from reconciler.core.value import dataclass

if TYPE_CHECKING:
    from reconciler.core.members import Difference, Ledger
    from reconciler.core.mirror import Progress
    from reconciler.core.provider import Intent
    from reconciler.data.members import MemberHands, Selection


#: The run that would make the comparison: one after all that a ledger tells of.
NEXT_RUN: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The export of a job: what its spec asks for, how far it has come, which batches have no answer yet, whom its
    destination is to forget, and the digests of differences that a person has approved."""

    job: str
    config: Any
    progress: Progress
    data: Path
    memory_mb: int
    open_intents: Sequence[Intent] = ()
    forgotten: Sequence[str] = ()
    approved: Sequence[str] = ()

    @contextmanager
    def scratch(self) -> Iterator[str]:
        """The name of a folder below the data folder, gone afterwards."""
        with tempfile.TemporaryDirectory(prefix=".preview-", dir=self.data) as folder:
            yield Path(folder).name

    def difference(self, chosen: Selection, ledger: Ledger, now: Now, scratch: str) -> Difference:
        """What a run would find now, with this audience and this ledger; its plan lies in the scratch folder."""
        wish = self.config.wish(is_first=not self.progress.begun, retry=self.progress.retry)
        return self._hands(chosen, scratch).compare(wish, ledger, now_ms=now.wall_ms)

    def objections(self, found: Difference, chosen: Selection, scratch: str) -> list[str]:
        """Why the guard would hold a difference that was found just now; nothing where a person has approved it."""
        from reconciler.core.mirror import objections

        against = objections(self.config.limits(), found, self.progress.ledger.facts)
        if against and self._hands(chosen, scratch).digest(found) in {*self.approved, self.progress.approved[1]}:
            return []
        return against

    def _hands(self, chosen: Selection, scratch: str) -> MemberHands:
        from reconciler.data.members import MemberHands

        return MemberHands(
            self.data, job=self.job, audience="", run=NEXT_RUN, name=lambda what: f"{scratch}/{what}", selection=lambda: chosen,
            memory_mb=self.memory_mb, forgotten=self.forgotten,
        )  # fmt: skip
