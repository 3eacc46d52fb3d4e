"""Which identifiers are one profile: connected components over whole arrays.

Every node takes the least label that it or a neighbour has, and then the label's own label, until nothing changes: each
round at least halves what is left to join, also of a long chain. Memory is about 40 bytes for each node and each edge;
no row passes through Python.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


def components(nodes: int, left: Numbers, right: Numbers) -> Numbers:
    """For each of so many nodes the least node that the edges `left[n]`–`right[n]` join it to."""
    labels = np.arange(nodes, dtype=np.int64)
    while len(left):
        one, other = labels[left], labels[right]
        apart = one != other
        left, right, one, other = left[apart], right[apart], one[apart], other[apart]
        low, high = np.minimum(one, other), np.maximum(one, other)
        np.minimum.at(labels, high, low)
        labels = _rooted(labels)
    return labels


def _rooted(labels: Numbers) -> Numbers:
    """Labels of labels, until each is its own."""
    while True:
        further = labels[labels]
        if np.array_equal(further, labels):
            return labels
        labels = further
