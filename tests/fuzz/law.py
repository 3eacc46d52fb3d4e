"""The law that every input is held to: it gives a value, or one of our errors with its place; never another exception,
never a wait, never more memory than stated, never a secret.
"""

from __future__ import annotations

import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

#: The longest that one input may take. An input has at most MAX_BYTES.
LIMIT_S: Final = 10
MAX_BYTES: Final = 16_384
#: How much more memory one process may take than it had when its targets were loaded.
MEMORY_BYTES: Final = 2 << 30

#: Stands in corpora where a secret would. No message may hold it.
SECRET: Final = "sEcReT0123456789"

Target = Callable[[bytes], None]


class Broken(AssertionError):
    """The law does not hold for an input."""


def demand(holds: object, what: str) -> None:
    """Raises Broken where it does not hold."""
    if not holds:
        raise Broken(what)


@contextmanager
def allowing(*kinds: type[BaseException]) -> Iterator[None]:
    """These are refusals: each must say something, in one line, and no secret."""
    try:
        yield
    except kinds as error:
        demand_sound(str(error))


def demand_sound(message: str, *, may_show: bool = False) -> None:
    demand(message.strip(), "an error says nothing")
    demand("\n" not in message and "\r" not in message, f"an error has more than one line: {message!r}")
    demand(len(message) < 20_000, f"an error has {len(message)} characters")
    demand(may_show or SECRET not in message, "an error shows a secret")


def _too_slow(_number: int, _frame: Any) -> None:
    raise Broken(f"it took longer than {LIMIT_S} s")


def judge(target: Target, data: bytes) -> str:
    """What is wrong with what a target does with an input, as a text with where; empty where the law holds."""
    before = signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        target(data)
    except (Exception, RecursionError, MemoryError) as error:
        return "".join(traceback.format_exception(error))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return ""


def limit_memory() -> None:
    """From now on an input that takes too much gets a MemoryError."""
    with open("/proc/self/statm", encoding="ascii") as file:
        has = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + MEMORY_BYTES, resource.RLIM_INFINITY))
