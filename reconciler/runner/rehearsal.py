"""A run that does nothing and tells nobody, in a process that waits for a real one.

A fork shares its memory with the fork server until it writes to it, and then the kernel copies page after page: most of the
time from a run's order to its first line. What every run touches is this process's own after a rehearsal, so it is copied
before there is an order that waits for it.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Iterator
from typing import Any, Final

from reconciler.clock import Clock
from reconciler.core.messages import Order
from reconciler.core.provider import Context, JobType, Provider, Unit
from reconciler.runner.capture import Capture
from reconciler.runner.frames import Frames
from reconciler.runner.wire import Answer, ToRun, decode_to_run, encode
from reconciler.runner.work import Work

#: No provider has such a name.
_NAME: Final = "-rehearsal"


def rehearse(state_dir: str) -> None:
    """Goes once through what every run does."""
    order = Order(
        job=_NAME, run=1, attempt=1, generation=1, root="", path="", folder="", provider=_NAME, job_type=_NAME, config={}
    )  # fmt: skip
    stage = _Stage(_sent(order))
    encode(Work(stage, {_NAME: _PROVIDER}, state_dir, Clock()).run())  # type: ignore[arg-type]
    done = threading.Event()
    _thread.start_new_thread(done.set, ())  # the stack that the warden will have
    done.wait()


def _sent(message: object) -> ToRun:
    return decode_to_run(Frames(limit=None).feed(encode(message))[0])


class _Stage:
    """In the place of `channel.Channel`: every unit is accepted at once."""

    def __init__(self, order: ToRun) -> None:
        self.order = order
        self.capture = Capture(lambda _text: None)

    def tell(self, message: object) -> None:
        encode(message)

    def ask(self, message: object, _what: str) -> Any:
        encode(message)
        _sent(Answer(accepted=True))

    def stopping(self) -> bool:
        return False


def _units(_context: Context) -> Iterator[Unit]:
    yield Unit(cursor=None)


_PROVIDER: Final = Provider(
    name=_NAME,
    title="Rehearsal",
    job_types=(JobType(name=_NAME, type="import", title="Rehearsal", schema={}, config=dict, run=_units),),
)
