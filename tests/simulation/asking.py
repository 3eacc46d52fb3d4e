"""Who asks the controller for something that no spec says, an approval for example: by a request that it serves, or, where no
controller lives, by doing it in its place, as the commands do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from reconciler.controller.deeds import DEEDS
from reconciler.controller.lives import Lives
from reconciler.controller.requests import ASKED, FOLDER, Answer, Asked, Desk, Request, do
from reconciler.controller.trees import installed
from reconciler.record import database
from reconciler.record.store import Record
from tests.simulation.hands import SimulatedClock

if TYPE_CHECKING:
    from tests.simulation.world import World

#: How long somebody waits for the answer to what they asked, in milliseconds.
ANSWERED_MS: Final = 20_000


def ask(world: World, request: Request) -> None:
    """Asks whoever is there."""
    if world.record is None:
        answer = _do(world, request)
        world.note(f"{request.do}: {answer.message}")
        return
    asked = Asked(world.state, request)
    world.timeline.after(ANSWERED_MS, asked.close)
    if world.wakeups is not None:
        world.wakeups.ask()


def waits(world: World) -> bool:
    """Whether somebody has asked for something that no controller has taken up yet."""
    return any((world.state / FOLDER).glob(f"*{ASKED}"))


def _do(world: World, request: Request) -> Answer:
    lock = database.WriterLock(world.state / "lock")
    lock.acquire()
    try:
        record = Record(database.open_for_writing(world.state), lock, world.state)
    except BaseException:
        lock.release()
        raise
    try:
        now = SimulatedClock(world, record.alive_ms).now()
        record.audit.begin(now.wall_ms)
        desk = Desk(record=record, lives=Lives(record, world.dice.random), catalogue=installed)
        return do(DEEDS, desk, request, now)
    finally:
        record.close()
