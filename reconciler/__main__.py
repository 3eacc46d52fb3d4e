"""The command `reconcile`, and `python -m reconciler`, as a process of its own."""

from __future__ import annotations

import gc
import sys


def main() -> int:
    """The exit code. What is loaded stays, so nobody looks for garbage in it: not while it is loaded, nor later, nor in all
    that there is when the process ends."""
    gc.disable()
    from reconciler.cli.main import entry

    gc.freeze()
    gc.enable()
    code = entry()
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(main())
