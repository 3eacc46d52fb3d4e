"""Starting the fork server's process (`server.py`). It stands by itself and imports next to nothing, so that a pass that will
start runs can begin it first of all: what the server loads takes longer than anything else that comes before a run.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

_BOOT: Final = "import sys; sys.path[:] = {path!r}; from reconciler.runner.server import main; main({fd}, {state!r})"


class Booted(NamedTuple):
    """The process, and the controller's end of its control socket."""

    process: subprocess.Popen[bytes]
    control: socket.socket

    def end(self) -> None:
        """Of one that was never told anything."""
        self.process.kill()
        self.control.close()
        self.process.wait()


def boot(state_dir: Path) -> Booted:
    """A fork server that begins to load. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    path = [os.path.abspath(one) for one in sys.path]
    code = _BOOT.format(path=path, fd=theirs.fileno(), state=str(state_dir))
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=2,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # a terminal's Ctrl-C is the controller's to handle
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Booted(process, ours)
