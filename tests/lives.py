"""Random lives: what a walk's law says where it does not hold, and what came before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

#: So much of what came before is told.
TOLD = 12


class Broken(AssertionError):
    """A law does not hold."""


def require(holds: bool, law: Callable[[], str] | str) -> None:
    if not holds:
        raise Broken(law if isinstance(law, str) else law())


@contextmanager
def telling(seed: int, trace: Sequence[str], *about: object) -> Iterator[None]:
    """Whatever goes wrong inside is Broken, with the seed and the end of the trace."""
    try:
        yield
    except Exception as error:
        past = "\n".join(trace[-TOLD:])
        said = "".join(f"{one}: " for one in about)
        raise Broken(f"seed {seed}: {said}{past}\n{type(error).__name__}: {error}") from error
