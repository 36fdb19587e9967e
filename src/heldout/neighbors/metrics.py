"""The metrics by their definitions, in double precision, compiled: what every neighbour is measured by in the end."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

FINITE = {"reassoc", "nnan", "nsz"}  # sums in any fixed order, of finite numbers: so they run in vectors
CODES = {"euclidean": 0, "manhattan": 1, "chebyshev": 2, "minkowski": 3, "cosine": 4, "hamming": 5}


@njit(cache=True, nogil=True, fastmath=FINITE)  # type: ignore[untyped-decorator]
def distance(code: int, p: float, x: Array, y: Array) -> Any:
    """d(x, y) for the metric with this code; p is Minkowski's."""
    total = 0.0
    if code == 0:
        for j in range(len(x)):
            total += (np.float64(x[j]) - np.float64(y[j])) ** 2
        return np.sqrt(total)
    if code == 1:
        for j in range(len(x)):
            total += abs(np.float64(x[j]) - np.float64(y[j]))
        return total
    if code == 2:
        for j in range(len(x)):
            total = max(total, abs(np.float64(x[j]) - np.float64(y[j])))
        return total
    if code == 3:
        for j in range(len(x)):
            total += abs(np.float64(x[j]) - np.float64(y[j])) ** p
        return total ** (1.0 / p)
    if code == 4:
        return _cosine(x, y)
    unequal = 0
    for j in range(len(x)):
        unequal += x[j] != y[j]
    return unequal / len(x)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _cosine(x: Array, y: Array) -> Any:
    """1 - x'y / (|x| |y|), and 1 where either is zero."""
    xy, xx, yy = 0.0, 0.0, 0.0
    for j in range(len(x)):
        a, b = np.float64(x[j]), np.float64(y[j])
        xy += a * b
        xx += a * a
        yy += b * b
    if xx == 0.0 or yy == 0.0:
        return 1.0
    return min(max(1.0 - xy / np.sqrt(xx) / np.sqrt(yy), 0.0), 2.0)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def nearest_of(
    code: int, p: float, rows: Array, queries: Array, ids: Array, counts: Array, skip: Array, far: Array, near: Array
) -> None:
    """The nearest among candidates `ids` (m, room) that rise, `counts` (m,) of them: distances and indices (m, k).

    Equal distances: the smaller index first. `skip` (m,) is a row that is nobody's neighbour, or -1.
    """
    k = far.shape[1]
    for i in range(len(queries)):
        measured = np.empty(counts[i])
        for at in range(counts[i]):
            j = ids[i, at]
            measured[at] = np.inf if j == skip[i] else distance(code, p, queries[i], rows[j])
        order = np.argsort(measured, kind="mergesort")[:k]
        for place in range(k):
            far[i, place], near[i, place] = measured[order[place]], ids[i, order[place]]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def nearest_of_all(
    code: int, p: float, rows: Array, queries: Array, skip: Array, block: int, far: Array, near: Array
) -> None:
    """The nearest among all rows, for a few queries: a block of rows passes by all of them while it is in the cache."""
    m, n, k = len(queries), len(rows), far.shape[1]
    measured = np.empty((m, n))
    for first in range(0, n, block):
        for i in range(m):
            for j in range(first, min(first + block, n)):
                measured[i, j] = np.inf if j == skip[i] else distance(code, p, queries[i], rows[j])
    for i in range(m):
        kth = np.partition(measured[i], k - 1)[k - 1]
        kept = np.flatnonzero(measured[i] <= kth)
        order = np.argsort(measured[i][kept], kind="mergesort")[:k]
        for place in range(k):
            near[i, place] = kept[order[place]]
            far[i, place] = measured[i, near[i, place]]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def measured_of_all(code: int, p: float, rows: Array, query: Array) -> Array:
    """Distances of one query to all rows (n,)."""
    found = np.empty(len(rows))
    for j in range(len(rows)):
        found[j] = distance(code, p, query, rows[j])
    return found
