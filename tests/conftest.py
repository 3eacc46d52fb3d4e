"""What holds for every test: the same examples in every run, files in memory, and modules compiled once.

A change is never refused by chance: examples are the same however often and on however slow a machine they are tried.
`RECONCILE_EXAMPLES=random pytest` draws others, as `RECONCILE_SEED` does for the storms; what they find becomes an example that is
written down. Nor does it matter whether the suite was started in the background of a shell, where Ctrl-C is ignored by whatever is
started.

Temporary files are in memory where there is enough of it: a third of the time went into waiting for a disk to take what is deleted
a moment later, and a busy one may take a minute. `TMPDIR=/tmp pytest` has them elsewhere. And every module is compiled once, not by
each of the hundreds of processes that are started.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, settings

#: The suite needs a tenth of this at any time; the rest is for the programs that it starts.
ENOUGH_BYTES: Final = 4 << 30
MEMORY: Final = Path("/dev/shm")

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


def is_roomy(folder: Path) -> bool:
    """Whether the folder is one of memory of which there is enough, and programs in it may be run."""
    if not os.access(folder, os.W_OK):
        return False
    seen = os.statvfs(folder)
    limits = [Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    allowed = [int(text) for one in limits if one.exists() and (text := one.read_text().strip()).isdigit()]
    (available,) = (line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvail" in line)
    room = min([seen.f_bavail * seen.f_frsize, int(available) * 1024, *allowed])
    return not seen.f_flag & os.ST_NOEXEC and room >= ENOUGH_BYTES


if "TMPDIR" not in os.environ and is_roomy(MEMORY):
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
