"""The "did you mean 'x'?" of an error: the closest of some names, where one is close enough to be meant.

Close is by optimal string alignment (insert, delete, replace, swap neighbours): one edit for short names, up to three
for long ones; names that differ only in case, hyphens and underscores are always close. Work is bounded, because a
hostile tree may hold a hundred thousand names and as many mistakes: among many names only its neighbours in
alphabetical order, read forwards and backwards, are compared, `MAX_COMPARED` of them.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

#: Names compared for one suggestion at most.
MAX_COMPARED: Final = 200
#: Longer words get no suggestion.
MAX_WORD: Final = 80
#: Suggestions that one `Names` computes at most; a tree with more mistakes has a mistake of another kind.
MAX_SUGGESTIONS: Final = 500

_JOINTS: Final = re.compile(r"[-_.\s]+")


def _bare(word: str) -> str:
    return _JOINTS.sub("", word).lower()


def _allowed(length: int) -> int:
    return 1 if length <= 4 else 2 if length <= 9 else 3


def distance(left: str, right: str, limit: int) -> int:
    """Edits between two words, or `limit + 1` where there are more than `limit`."""
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, last, row = row, before, [i] + [0] * len(right)
        for j, b in enumerate(right, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                row[j] = min(row[j], last[j - 2] + 1)
        if min(row) > limit:
            return limit + 1
    return row[-1]


def closest(word: str, names: Iterable[str]) -> str | None:
    """The name that `word` most probably means, None where none is close. Ties go to the first in sorted order."""
    bare = _bare(word)
    if not bare or len(word) > MAX_WORD:
        return None
    best: tuple[int, str] | None = None
    for name in sorted(names)[:MAX_COMPARED]:
        limit = _allowed(max(len(bare), len(name))) if best is None else best[0] - 1
        if limit < 0:
            break
        edits = distance(bare, _bare(name), limit)
        if edits <= limit and edits < len(bare):
            best = (edits, name)
    return best[1] if best else None


def did_you_mean(word: object, names: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing."""
    found = closest(word, names) if isinstance(word, str) else None
    return f"; did you mean '{found}'?" if found else ""


class Names:
    """Very many names, sorted at the first question: forwards and backwards, so that the neighbours of a word are those
    that begin or end as it does."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = names
        self._forwards: list[str] = []
        self._backwards: list[str] = []
        self._asked = 0

    def did_you_mean(self, word: str) -> str:
        self._asked += 1
        if self._asked > MAX_SUGGESTIONS or len(word) > MAX_WORD:
            return ""
        if not self._forwards:
            self._forwards = sorted(self._names)
            self._backwards = sorted(name[::-1] for name in self._forwards)
        backwards = (name[::-1] for name in _around(self._backwards, word[::-1]))
        return did_you_mean(word, {*_around(self._forwards, word), *backwards})


def _around(names: list[str], word: str) -> list[str]:
    at = bisect_left(names, word)
    return names[max(0, at - MAX_COMPARED // 4) : at + MAX_COMPARED // 4]
