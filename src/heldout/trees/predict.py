"""Rows through trees: which leaf each ends in, straight from the numbers as they are."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from heldout.trees.bits import trailing_zeros

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

TOGETHER = 16  # rows that walk side by side, so that one waits for memory while others go on
ROUNDING = 1e-12  # of shares that add up to 1
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
def leaves_of(
    X: Array, rows: Array, feature: Array, threshold: Array, left: Array, missing_left: Array, categories: Array,
    sets: Array, out: Array,
) -> None:  # fmt: skip
    """The leaf (m,) of some `rows` (m,) of `X` (n, p)."""
    for i in range(len(rows)):
        node = 0
        while feature[node] >= 0:
            x = X[rows[i], feature[node]]
            node = left[node] + _goes_right(x, node, threshold, missing_left, categories, sets)
        out[i] = node


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_values(
    X: Array, feature: Array, threshold: Array, left: Array, missing_left: Array, categories: Array, sets: Array,
    value: Array, roots: Array, set_roots: Array, out: Array,
) -> None:  # fmt: skip
    """Add to `out` (n, K) the values of the leaves that each row of `X` (n, p) ends in, tree after tree.

    The trees stand one after the other, with `roots` where they begin and `set_roots` where their sets do.
    """
    n_values = out.shape[1]
    for tree in range(len(roots)):
        root, own_sets = np.int64(roots[tree]), sets[set_roots[tree] :]
        for i in range(len(X)):
            node = root
            while feature[node] >= 0:
                right = _goes_right(X[i, feature[node]], node, threshold, missing_left, categories, own_sets)
                node = root + left[node] + right
            for k in range(n_values):
                out[i, k] += value[node, k]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_out_of_bag(
    X: Array, out: Array, feature: Array, threshold: Array, left: Array, missing_left: Array, categories: Array,
    sets: Array, value: Array, total: Array, squares: Array, count: Array,
) -> None:  # fmt: skip
    """Add a tree's values to `total` (n, K), of the rows that are `out` (n,) of its bag.

    Likewise the sums of the values' squares to `squares` (n,), and 1 to `count` (n,).
    """
    for i in range(len(X)):
        if not out[i]:
            continue
        node = 0
        while feature[node] >= 0:
            x = X[i, feature[node]]
            node = left[node] + _goes_right(x, node, threshold, missing_left, categories, sets)
        count[i] += 1.0
        for k in range(total.shape[1]):
            total[i, k] += value[node, k]
            squares[i] += value[node, k] * value[node, k]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def leaf_quantiles(
    X: Array, feature: Array, threshold: Array, left: Array, missing_left: Array, categories: Array, sets: Array,
    roots: Array, set_roots: Array, ends: Array, ranks: Array, shares: Array, values: Array, levels: Array,
    weights: Array, marks: Array, out: Array,
) -> None:  # fmt: skip
    """The quantiles (n, q) of the numbers of all leaves that a row ends in; arrays as in `members.Members`.

    `weights` (n,) and `marks` (n / 64,) are zero before and after. `levels` (q,) rise.
    """
    one = np.uint64(1)
    for i in range(len(X)):
        for tree in range(len(set_roots)):
            root, own_sets = np.int64(roots[tree]), sets[set_roots[tree] :]
            node = root
            while feature[node] >= 0:
                right = _goes_right(X[i, feature[node]], node, threshold, missing_left, categories, own_sets)
                node = root + left[node] + right
            for r in range(ends[node], ends[node + 1]):
                weights[ranks[r]] += shares[r]
                marks[ranks[r] >> np.uint32(6)] |= one << np.uint64(ranks[r] & np.uint32(63))
        reached, found, last = 0.0, 0, np.nan
        for word in range(len(marks)):
            bits = marks[word]
            marks[word] = 0
            while bits != 0:
                rank = word * 64 + np.int64(trailing_zeros(bits))
                bits &= bits - one
                reached += weights[rank]
                weights[rank] = 0.0
                last = values[rank]
                while found < len(levels) and reached >= levels[found] - ROUNDING:
                    out[i, found] = last
                    found += 1
        for level in range(found, len(levels)):  # shares of many rows may add up to less than 1
            out[i, level] = last


def packed(feature: Array, threshold: Array, left: Array, roots: Array) -> Array:
    """Nodes of 16 bytes for `add_plain_values`, whose children count from the first tree's root.

    A leaf sends every row to itself.
    """
    leaf, root = feature < 0, np.repeat(roots[:-1], np.diff(roots))
    nodes = np.empty(len(feature), dtype=NODE)
    nodes["threshold"] = np.where(leaf, np.inf, threshold)
    nodes["feature"] = np.where(leaf, 0, feature)
    nodes["left"] = np.where(leaf, np.arange(len(feature)), left + root)
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
