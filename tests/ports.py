"""Ports that are chosen now and listened to later, by a program that must be told which.

The system gives away ports of one range by itself, to every connection and to whoever asks for any: one of those may be taken
before it is listened to. So these are from below that range, and each process of the suite begins somewhere else.
"""

from __future__ import annotations

import itertools
import os
import socket
from pathlib import Path
from typing import Final

_FIRST: Final = 20_000
_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_asked_for: Final = itertools.count(os.getpid() * 101)


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens to."""
    count = int(_RANGE.read_text().split()[0]) - _FIRST
    ports = (_FIRST + next(_asked_for) % count for _ in range(count))
    return next(port for port in ports if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as free:
        try:
            free.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
