"""The command `reconcile`, and `python -m reconciler`, as a process of its own."""

from __future__ import annotations

import gc
import os
import sys


def main() -> int:
    """The exit code. What is loaded stays, so nobody looks for garbage in it: not while it is loaded, nor later, nor in all
    that there is when the process ends."""
    gc.disable()
    _open_what_is_closed()
    from reconciler.cli.main import entry

    gc.freeze()
    gc.enable()
    code = entry()
    gc.freeze()
    return code


def _open_what_is_closed() -> None:
    """Of the three files of every process: else the next that is opened, as the lock of the record, would be taken for one of
    them by whatever this process starts."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
