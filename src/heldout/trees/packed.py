"""Whole weights of classes, four to a word of 64 bits: a node's sums by class are added in one step instead of four.

Counts are exact, and what a cut keeps by Gini's impurity (`vectors.gini_by_cuts`) is rounded once.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from heldout.trees.compiled import WITHIN

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

FIELDS, BITS = 4, 16  # of a word
MOST_WEIGHT = 2.0**BITS - 1.0  # of a node whose sums fit


def n_words(n_classes: int) -> int:
    """How many words hold the sums of so many classes."""
    return -(-n_classes // FIELDS)


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def pack(labels: Array, weights: Array, out: Array) -> None:
    """Each row's weight (n,), at the place of its class in the word that the class belongs to."""
    for i in range(len(labels)):
        out[i] = np.uint64(np.int64(weights[i])) << np.uint64((labels[i] & np.uint32(3)) * np.uint32(BITS))


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def field(word: Any, label: int) -> float:
    """The sum of one class in the word that it belongs to."""
    return float(np.int64((word >> np.uint64((label & 3) * BITS)) & np.uint64(0xFFFF)))


@njit(**WITHIN, error_model="numpy")  # type: ignore[untyped-decorator]
def entropy_by_cuts(
    sums: Array, off: Array, total: Array, weight: float, logs: Array, first: int, last: int, out: Array
) -> float:
    """As `gini_by_cuts`, of sum s log2(s / w) + sum (t - s) log2((t - s) / (W - w)); `logs` (W + 1,) holds n log2 n."""
    most, n_classes = -np.inf, len(total)
    for g in range(first, last):
        value, w = 0.0, np.int64(0)
        for k in range(n_classes):
            s = np.int64(((sums[k >> 2, g] - off[k >> 2]) >> np.uint64((k & 3) * BITS)) & np.uint64(0xFFFF))
            w += s
            value += logs[s] + logs[np.int64(total[k]) - s]
        value -= logs[w] + logs[np.int64(weight) - w]
        out[g] = value
        most = max(most, value)
    return most


def logs_up_to(most: int) -> Array:
    """n log2 n of the whole numbers from 0."""
    n = np.arange(most + 1.0)
    return np.asarray(n * np.log2(np.maximum(n, 1.0)))
