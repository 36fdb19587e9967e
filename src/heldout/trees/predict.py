"""Rows through trees: which leaf each ends in, straight from the numbers as they are."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

TOGETHER = 16  # rows that walk side by side, so that one waits for memory while others go on
NODE = np.dtype([("threshold", np.float64), ("feature", np.uint32), ("left", np.uint32)])


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


def packed(feature: Array, threshold: Array, left: Array) -> Array:
    """Nodes of 16 bytes for `add_plain_values`; a leaf sends every row to itself."""
    leaf = feature < 0
    nodes = np.empty(len(feature), dtype=NODE)
    nodes["threshold"] = np.where(leaf, np.inf, threshold)
    nodes["feature"] = np.where(leaf, 0, feature)
    nodes["left"] = np.where(leaf, np.arange(len(feature)), left)
    return nodes


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_plain_values(X: Array, nodes: Array, value: Array, roots: Array, out: Array) -> None:
    """As `add_values`, for rows without missing values and trees without categories.

    Rows walk side by side until all have come to a leaf: no step waits for the one before. Unsigned numbers, so that no
    index is tested for being negative.
    """
    at, n = np.empty(TOGETHER, dtype=np.uint32), np.uint64(len(X))
    whole = n - n % np.uint64(TOGETHER)
    for root in roots:
        for start in range(np.uint64(0), whole, np.uint64(TOGETHER)):
            _side_by_side(X, nodes, value, root, start, np.uint64(TOGETHER), at, out)
        _side_by_side(X, nodes, value, root, whole, n - whole, at, out)


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _side_by_side(X: Any, nodes: Any, value: Any, root: Any, start: Any, height: Any, at: Any, out: Any) -> None:
    """`height` rows from `start` on; compiled once more for a height that is known, whose loops are unrolled."""
    for i in range(height):
        at[i] = root
    moved = np.uint32(1)
    while moved:
        moved = np.uint32(0)
        for i in range(height):
            node = at[i]
            right = np.uint32(X[start + i, nodes[node].feature] > nodes[node].threshold)
            there = nodes[node].left + right
            moved |= there ^ node
            at[i] = there
    for i in range(height):
        for k in range(np.uint64(out.shape[1])):
            out[start + i, k] += value[at[i], k]
