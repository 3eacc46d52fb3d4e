"""Which identifiers are one profile: connected components over whole arrays.

Every node takes the least label that it or a neighbour has, and then the label's own label, until nothing changes: each
round at least halves what is left to join, also of a long chain. Edges come in blocks, so that memory is a few bytes for
each node and some for each edge of a block; no row passes through Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np

#: Nodes that a number of 32 bits can name.
_NARROW: Final = 1 << 31


def components(nodes: int, blocks: Iterable[tuple[Any, Any]]) -> Any:
    """For each of so many nodes the least node that the edges `left[n]`-`right[n]` of all blocks join it to."""
    labels = np.arange(nodes, dtype=np.int32 if nodes < _NARROW else np.int64)
    for left, right in blocks:
        labels = _joined(labels, left, right)
    return labels


def _joined(labels: Any, left: Any, right: Any) -> Any:
    while len(left):
        one, other = labels[left], labels[right]
        apart = one != other
        left, right, one, other = left[apart], right[apart], one[apart], other[apart]
        if len(left):
            np.minimum.at(labels, np.maximum(one, other), np.minimum(one, other))
            labels = _rooted(labels)
    return labels


def _rooted(labels: Any) -> Any:
    """Labels of labels, until each is its own."""
    while True:
        further = labels[labels]
        if np.array_equal(further, labels):
            return labels
        labels = further


def owners(labels: Any, old: Any, void: Any, first_number: int) -> tuple[Any, Any, int]:
    """The profile of each node, 0 where it is `void`; what each old profile is now: the least of those that have become one;
    and how many profiles are new. `labels` are of the nodes, and then of the old profiles, which are sorted."""
    count = len(void)
    pk = np.zeros(len(labels), dtype=np.int64)
    homes = labels[count:]
    pk[homes[::-1]] = old[::-1]  # the least comes last, and stays
    is_new = np.zeros(len(labels), dtype=bool)
    is_new[labels[:count][~void]] = True
    fresh = np.flatnonzero(is_new & (pk == 0))
    pk[fresh] = first_number + np.arange(len(fresh), dtype=np.int64)
    owner = pk[labels[:count]]
    owner[void] = 0
    return owner, pk[homes], len(fresh)
