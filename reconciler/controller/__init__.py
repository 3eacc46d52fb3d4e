"""The controller: the order of things. It makes what is declared true, one step after the other, in one thread.

settings.py      what it is told, and whom it tells
hands.py         its collaborators
observe.py       a look at the tree becomes the desired state
planning.py      desired and observed become a plan
enact.py         the plan becomes the record
lives.py         the one place where a job's state moves on
conduct.py       runs: which may start, what they produce, how they end
orders.py        what a run is told
report.py        logs and statuses beside the specs
housekeeping.py  compaction, and what no row names
wakeups.py       what wakes the loop
loop.py          one pass, and the daemon
opening.py       puts all this together; the read-only views
"""

from reconciler.controller.loop import Controller
from reconciler.controller.opening import Preview, open_controller, preview
from reconciler.controller.settings import Listener, Report, Settings, Silent

__all__ = ["Controller", "Listener", "Preview", "Report", "Settings", "Silent", "open_controller", "preview"]
