"""Products of a CSR matrix with a few vectors, compiled; they hold no lock, so that blocks of rows run side by side."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Indices: TypeAlias = np.ndarray[Any, np.dtype[np.integer[Any]]]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def times(indptr: Indices, indices: Indices, data: Array, coef: Array) -> Array:
    """X C (n, r) for C (q, r)."""
    n, r = len(indptr) - 1, coef.shape[1]
    scores = np.zeros((n, r))
    for i in range(n):
        for at in range(indptr[i], indptr[i + 1]):
            for k in range(r):
                scores[i, k] += data[at] * coef[indices[at], k]
    return scores


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def transposed_times(indptr: Indices, indices: Indices, data: Array, slopes: Array, q: int) -> Array:
    """X' S (q, r) for S (n, r)."""
    n, r = slopes.shape
    sums = np.zeros((q, r))
    for i in range(n):
        for at in range(indptr[i], indptr[i + 1]):
            for k in range(r):
                sums[indices[at], k] += data[at] * slopes[i, k]
    return sums
