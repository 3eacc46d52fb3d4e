"""Puts a controller together out of its hands.

What takes longest about a pass that starts runs is what the process that they are forked from has to load. So it is begun as
soon as the record and a glance at the tree say that runs will probably come, and before anything else is imported.
"""

from __future__ import annotations

import os
import random
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from reconciler.clock import Clock
from reconciler.controller.settings import WRITTEN_SINCE, WRITTEN_TO, Listener, Settings, Silent
from reconciler.controller.trees import check_root, installed, open_tree
from reconciler.errors import UsageError
from reconciler.record.store import Record
from reconciler.runner.boot import Booted, fork

if TYPE_CHECKING:
    from reconciler.controller.hands import Hands, Specs
    from reconciler.controller.loop import Controller
    from reconciler.repo.history import Origin

#: More files than this that are new or changed take a while before any run starts: what they declare is known by then.
FEW_FILES: Final = 1_000


def open_controller(settings: Settings, listener: Listener | None = None, *, expects_runs: bool = False) -> Controller:
    """The one writer of the record. Where it `expects_runs`, because jobs are due or specs are new, what they take is got
    ready beside all that comes before them. Raises UsageError, Locked, RecordUnusable. What was asked in vain leaves nothing
    behind: a state directory that was made for it goes again."""
    check_root(settings)
    if settings.listen:
        from reconciler.controller.listening import address, check_installed

        address(settings.listen)
        check_installed()
    is_new = not os.path.lexists(settings.state)
    record = Record.writing(settings.state)
    booted = None
    try:
        listener, clock = listener or Silent(), Clock(record.alive_ms)
        tree, origin = open_tree(settings, record, writable=True, notice=listener.notice)
        if expects_runs and _runs_come(record, tree, clock):
            with suppress(OSError):  # then the runner tries again, and says why it cannot
                booted = fork(settings.state)
        hands = _hands(settings, record, tree, origin, listener, clock, booted)
        record.audit.begin(clock.now().wall_ms)
        _note_where(record, settings)
        from reconciler.controller.loop import Controller  # the rest, beside what was begun

        return Controller(hands)
    except BaseException as error:
        if booted is not None:
            booted.end()
        if is_new and isinstance(error, UsageError):
            shutil.rmtree(settings.state, ignore_errors=True)  # while the lock in it is held
        record.close()
        raise


def _runs_come(record: Record, tree: Specs, clock: Clock) -> bool:
    """Whether runs are to be expected: some are due, or a few specs are not what they were."""
    return record.jobs.is_any_due(clock.now().wall_ms) or tree.has_news(FEW_FILES)


def _note_where(record: Record, settings: Settings) -> None:
    """Where statuses and logs are written, for whoever asks later whether they are still as they were. In another place than
    before every status is written, and every log begins anew."""
    where = "" if settings.status_dir is None else str(settings.status_dir.absolute())
    if record.setting(WRITTEN_TO, "") != where:
        with record.transaction():
            record.jobs.forget_statuses()
            record.set_setting(WRITTEN_TO, where)
            coming = record.events.unlogged(limit=1)
            record.set_setting(WRITTEN_SINCE, (coming[0].id or 1) - 1 if coming else record.events.last_id())


def _hands(
    settings: Settings, record: Record, tree: Specs, origin: Origin, listener: Listener, clock: Clock,
    booted: Booted | None,
) -> Hands:  # fmt: skip
    from reconciler.controller.hands import Hands
    from reconciler.controller.wakeups import Wakeups
    from reconciler.repo.write import Writer
    from reconciler.runner.local import LocalRunner
    from reconciler.runner.processes import end_leftover

    return Hands(
        settings=settings,
        record=record,
        tree=tree,
        origin=origin,
        writer=Writer(settings.root, settings.status_dir, is_private=settings.keeps_statuses),
        runner=LocalRunner(settings.state, booted=booted),
        end_leftover=end_leftover,
        clock=clock,
        chance=random.random,
        listener=listener,
        catalogue=installed,
        wakeups=Wakeups,
    )
