"""Rows through trees: which leaf each ends in, straight from the numbers as they are."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

TOGETHER = 8  # rows that walk side by side, so that one waits for memory while others go on


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def leaves(
    X: Array, feature: Array, threshold: Array, left: Array, missing_left: Array, categories: Array, sets: Array,
    root: int, out: Array,
) -> None:  # fmt: skip
    """The leaf (n,) of every row of `X` (n, p), in the tree whose nodes begin at `root`; children count from there."""
    for i in range(len(X)):
        node = root
        while feature[node] >= 0:
            node = root + left[node] + _goes_right(X[i, feature[node]], node, threshold, missing_left, categories, sets)
        out[i] = node - root


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _goes_right(x: Any, node: Any, threshold: Any, missing_left: Any, categories: Any, sets: Any) -> Any:
    if np.isnan(x):
        return 0 if missing_left[node] else 1
    if categories[node] < 0:
        return 0 if x <= threshold[node] else 1
    if not 0.0 <= x < 255.0:
        return 0 if missing_left[node] else 1
    code = np.int64(x) + 1
    return 1 - np.int64((sets[categories[node], code // 32] >> np.uint32(code % 32)) & np.uint32(1))


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_values(
    X: Array, feature: Array, threshold: Array, left: Array, missing_left: Array, categories: Array, sets: Array,
    value: Array, roots: Array, out: Array,
) -> None:  # fmt: skip
    """Add to `out` (n, K) the values of the leaves that each row of `X` (n, p) ends in, tree after tree.

    The trees stand one after the other, with `roots` where they begin; children and sets count from the beginning.
    """
    n_values = out.shape[1]
    for root in roots:
        for i in range(len(X)):
            node = np.int64(root)
            while feature[node] >= 0:
                node = left[node] + _goes_right(X[i, feature[node]], node, threshold, missing_left, categories, sets)
            for k in range(n_values):
                out[i, k] += value[node, k]
