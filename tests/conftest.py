"""Every run of the suite tries the same examples, however slow the machine is: a change is never refused by chance.

`RECONCILE_EXAMPLES=random pytest` draws others, as `RECONCILE_SEED` does for the storms; what they find becomes an example that is
written down. Nor does it matter whether the suite was started in the background of a shell, where Ctrl-C is ignored by whatever is
started.
"""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "steady",
    derandomize=os.environ.get("RECONCILE_EXAMPLES") != "random",
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")

signal.signal(signal.SIGINT, signal.default_int_handler)
