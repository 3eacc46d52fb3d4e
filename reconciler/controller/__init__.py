"""The controller: the order of things. It makes what is declared true, one step after the other, in one thread.

settings.py      what it is told, and whom it tells
hands.py         its collaborators
observe.py       a look at the tree becomes the desired state
planning.py      desired and observed become a plan
policing.py      what a policy holds back
enact.py         the plan becomes the record
lives.py         the one place where a job's state moves on
conduct.py       runs: which may start, what they say, how they end
units.py         what they produce
orders.py        what a run is told
report.py        logs and statuses beside the specs
housekeeping.py  compaction, and what no row names
intake.py        what was sent over HTTP is put on its streams
notifying.py     who looks elsewhere is told
listening.py     the process that takes it in
requests.py      what persons ask of the controller at work, and its answers
deeds.py         what it does when asked
wakeups.py       what wakes the loop
loop.py          one pass, and the daemon
enduring.py      the daemon outlives what passes
restoring.py     a backup becomes the record, and what it does not name is kept
soundness.py     whether the record and all that it names are sound
opening.py       puts all this together
trees.py         the tree of a root
looking.py       the read-only view of what a pass would do

What is taken from here is loaded when it is asked for: a preview needs nothing that acts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from reconciler.controller.looking import Preview, preview
    from reconciler.controller.loop import Controller
    from reconciler.controller.opening import open_controller
    from reconciler.controller.settings import Listener, Report, Settings, Silent

__all__ = ["Controller", "Listener", "Preview", "Report", "Settings", "Silent", "open_controller", "preview"]

_PLACES: Final = {
    "Controller": "loop",
    "Listener": "settings",
    "Preview": "looking",
    "Report": "settings",
    "Settings": "settings",
    "Silent": "settings",
    "open_controller": "opening",
    "preview": "looking",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
