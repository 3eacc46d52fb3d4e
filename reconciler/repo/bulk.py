"""Garbage collection stands still while many values are made that stay until the step is over: with ten thousand jobs,
the collector would look at all of them again and again. Nothing here makes cycles; what others make waits a moment."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """No garbage collection inside."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
