"""A run that does nothing and tells nobody, before there is an order that waits for it.

A fork shares its memory with the fork server until one of the two writes to it, and then the kernel copies page after page: most
of the time of a run that does little. The interpreter itself writes where code runs for the first times: it specialises the code,
and remembers where attributes are found. So the fork server goes through what every run does before it forks, often enough that
this is done for all runs; and a process that waits for an order goes through it once more, so that what every run touches is its
own already.
"""

from __future__ import annotations

import _thread
import socket
import threading
from collections.abc import Iterator
from typing import Final

from reconciler.clock import Clock
from reconciler.core.messages import Order
from reconciler.core.provider import Context, JobType, Provider, Unit
from reconciler.runner.channel import Channel
from reconciler.runner.wire import Answer, encode
from reconciler.runner.work import Work

#: The interpreter has specialised code after so many times.
UNTIL_FAMILIAR: Final = 10
#: No provider has such a name.
_NAME: Final = "-rehearsal"


def rehearse(state_dir: str) -> None:
    """Goes once through what every run does, with a controller that accepts what it produces."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(encode(_ORDER) + encode(Answer(accepted=True)))
        channel = Channel(theirs)
        channel.tell(Work(channel, {_NAME: _PROVIDER}, state_dir, Clock()).run())


def rehearse_thread() -> None:
    """Makes the stack that the thread beside the work will have."""
    done = threading.Event()
    _thread.start_new_thread(done.set, ())
    done.wait()


def _units(_context: Context) -> Iterator[Unit]:
    yield Unit(cursor=None)


_ORDER: Final = Order(
    job=_NAME, run=1, attempt=1, generation=1, root="", path="", folder="", provider=_NAME, job_type=_NAME, config={}
)
_PROVIDER: Final = Provider(
    name=_NAME,
    title="Rehearsal",
    job_types=(JobType(name=_NAME, type="import", title="Rehearsal", schema={}, config=dict, run=_units),),
)
