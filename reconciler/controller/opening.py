"""Puts a controller together out of its hands."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING

from reconciler.clock import Clock
from reconciler.controller.hands import Hands
from reconciler.controller.listening import address, check_installed
from reconciler.controller.looking import check_root, installed, open_tree
from reconciler.controller.loop import Controller
from reconciler.controller.settings import WRITTEN_SINCE, WRITTEN_TO, Listener, Settings, Silent
from reconciler.controller.wakeups import Wakeups
from reconciler.errors import UsageError
from reconciler.record.store import Record
from reconciler.repo.write import Writer
from reconciler.runner.local import LocalRunner
from reconciler.runner.processes import end_leftover

if TYPE_CHECKING:
    from reconciler.core.provider import Catalogue


def open_controller(settings: Settings, listener: Listener | None = None, *, expects_runs: bool = False) -> Controller:
    """The one writer of the record. Where it `expects_runs`, because jobs are due or specs are new, what they take is got
    ready beside all that comes before them. Raises UsageError, Locked, RecordUnusable. What was asked in vain leaves nothing
    behind: a state directory that was made for it goes again."""
    check_root(settings)
    if settings.listen:
        address(settings.listen)
        check_installed()
    is_new = not os.path.lexists(settings.state)
    record = Record.writing(settings.state)
    try:
        hands = _hands(settings, record, listener or Silent(), expects_runs=expects_runs)
        record.audit.begin(hands.clock.now().wall_ms)
        _note_where(record, settings)
    except BaseException as error:
        if is_new and isinstance(error, UsageError):
            shutil.rmtree(settings.state, ignore_errors=True)  # while the lock in it is held
        record.close()
        raise
    return Controller(hands)


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


def _hands(settings: Settings, record: Record, listener: Listener, *, expects_runs: bool) -> Hands:
    runner, clock = LocalRunner(settings.state), Clock(record.alive_ms)

    def for_new_specs() -> Catalogue:
        if expects_runs:
            runner.prepare()
        return installed()

    tree, origin = open_tree(settings, record, writable=True, notice=listener.notice, catalogue=for_new_specs)
    due_ms = record.jobs.next_wake_ms()
    if expects_runs and due_ms is not None and due_ms <= clock.now().wall_ms:
        runner.prepare()
    return Hands(
        settings=settings,
        record=record,
        tree=tree,
        origin=origin,
        writer=Writer(settings.root, settings.status_dir, is_private=settings.keeps_statuses),
        runner=runner,
        end_leftover=end_leftover,
        clock=clock,
        chance=random.random,
        listener=listener,
        catalogue=installed,
        wakeups=Wakeups,
    )
