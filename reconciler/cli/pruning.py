"""How deletions that the budget holds back are shown, by a pass, a plan and the daemon alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from reconciler.cli.options import Call
from reconciler.cli.terminal import escape

if TYPE_CHECKING:
    from reconciler.core.prune import Pruning

#: So many names are listed without `-v`.
LISTED: Final = 20


def blocked_lines(call: Call, prune: Pruning, when: str = "") -> Iterator[str]:
    """What waits, why, and the one command that approves exactly these; `when`, where that is not now."""
    yield call.terminal.paint(f"PruneBlocked: {escape(prune.reason)}; nothing is deleted:", "yellow")
    yield from doomed_lines(call, prune)
    yield f"Restore their files, or approve exactly these deletions{when}:"
    yield f"    {approve_line(call, prune)}"


def doomed_lines(call: Call, prune: Pruning) -> Iterator[str]:
    """What would be deleted, and the file that declared it."""
    shown = prune.doomed if call.verbose else prune.doomed[:LISTED]
    width = max(len(f"{one.kind} {one.name}") for one in shown)
    for one in shown:
        yield f"    {escape(f'{one.kind} {one.name}'):<{width}}  {escape(call.relative(one.path))}"
    if len(shown) < len(prune.doomed):
        yield f"    … and {len(prune.doomed) - len(shown)} more (-v shows all)"


def approve_line(call: Call, prune: Pruning) -> str:
    """The command, for the folders that this one was called with."""
    return f"{prune.command}{call.again}"
