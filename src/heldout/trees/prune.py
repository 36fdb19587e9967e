"""Minimal cost-complexity pruning: the whole sequence of smaller trees from one that was grown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numba import njit

from heldout.printed import Printed, Sheet
from heldout.trees.nodes import LEAF, Tree
from heldout.words import number

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MOST_SHOWN = 12  # lines of a printed path


@dataclass(frozen=True, eq=False, repr=False)
class PruningPath(Printed):
    r"""The trees that are best for some price of a leaf, the largest first; it prints as a table.

    A subtree T is worth :math:`R(T) + \alpha |T|`, with R its leaves' impurity, weighed by their share of the rows, and
    \|T\| its number of leaves. As alpha rises, the best subtree loses the branch whose leaves bring least each,
    :math:`\min_t \, (R(t) - R(T_t)) / (|T_t| - 1)` (L. Breiman and others, Classification and Regression Trees, 1984,
    chapter 3).

    Attributes
    ----------
    ccp_alphas : float64 array (m,), rising from 0: from which price on each tree is best
    impurities : float64 array (m,), R of the trees
    n_leaves : int array (m,)
    """

    ccp_alphas: Array
    impurities: Array
    n_leaves: Array

    def _table(self) -> Sheet:
        rows = np.unique(np.linspace(0, len(self.ccp_alphas) - 1, MOST_SHOWN).round().astype(int))
        columns = (self.ccp_alphas[rows], self.n_leaves[rows], self.impurities[rows])
        body = [[number(float(value)) for value in row] for row in zip(*columns, strict=True)]
        return [f"{len(self.ccp_alphas)} trees by the price of a leaf"], ["alpha", "leaves", "impurity"], body, []


def pruning_path(tree: Tree) -> PruningPath:
    """The path of a tree."""
    alphas, impurities, n_leaves, _ = _path(tree)
    return PruningPath(alphas, impurities, n_leaves)


def pruned(tree: Tree, alpha: float) -> Tree:
    """The smallest subtree that is best at the price `alpha` of a leaf."""
    _, _, _, cut_at = _path(tree)
    return without_branches(tree, cut_at <= alpha)


def without_branches(tree: Tree, cut: Array) -> Tree:
    """The tree whose nodes marked by `cut` (m,) are leaves."""
    kept = np.zeros(tree.n_nodes, dtype=bool)
    kept[0] = True
    inner = (tree.feature != LEAF) & ~cut
    for node in np.flatnonzero(inner).tolist():  # parents stand before their children
        if kept[node]:
            kept[tree.left[node]] = kept[tree.left[node] + 1] = True
    place = np.cumsum(kept) - 1
    leaf = (tree.feature == LEAF) | cut
    changed = {
        "feature": np.where(leaf, LEAF, tree.feature).astype(np.int32),
        "left": np.where(leaf, LEAF, place[tree.left]).astype(np.int32),
        "threshold": np.where(leaf, np.nan, tree.threshold),
        "missing_left": tree.missing_left & ~leaf,
    }
    by_set = (tree.categories >= 0) & ~leaf & kept
    changed["categories"] = np.where(by_set, np.cumsum(by_set) - 1, -1).astype(np.int32)
    values = {name: changed.get(name, of)[kept] for name, of in vars(tree).items() if name != "sets"}
    return replace(tree, **values, sets=tree.sets[tree.categories[by_set]])


def _path(tree: Tree) -> tuple[Array, Array, Array, Array]:
    """Prices, impurities and leaves of the trees of the path, and for each node the price from which it is a leaf."""
    risk = tree.impurity * tree.weight / tree.weight[0]
    return _weakest_links(tree.left, risk)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _weakest_links(left: Array, risk: Array) -> tuple[Array, Array, Array, Array]:
    m = len(left)
    parent, leaves, below, alive = np.full(m, -1), np.ones(m, dtype=np.int64), risk.copy(), np.zeros(m, dtype=np.bool_)
    for node in range(m - 1, -1, -1):
        if left[node] >= 0:
            a, b = left[node], left[node] + 1
            parent[a], parent[b], alive[node] = node, node, True
            leaves[node], below[node] = leaves[a] + leaves[b], below[a] + below[b]
    cut_at = np.where(left < 0, 0.0, np.inf)
    alphas, impurities, counts = np.zeros(m + 1), np.zeros(m + 1), np.zeros(m + 1, dtype=np.int64)
    impurities[0], counts[0], found = below[0], leaves[0], 1
    while alive[0]:
        weakest, price = -1, np.inf
        for node in range(m):
            if alive[node]:
                own = (risk[node] - below[node]) / (leaves[node] - 1)
                if own < price:
                    weakest, price = node, own
        _make_leaf(weakest, price, left, alive, cut_at)
        lost, less = leaves[weakest] - 1, risk[weakest] - below[weakest]
        node = weakest
        while node >= 0:
            leaves[node] -= lost
            below[node] += less
            node = parent[node]
        alphas[found], impurities[found], counts[found] = max(price, alphas[found - 1]), below[0], leaves[0]
        found += 1
    return alphas[:found], impurities[:found], counts[:found], cut_at


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _make_leaf(top: int, price: float, left: Array, alive: Array, cut_at: Array) -> None:
    """`top` and all inner nodes beneath it end at this price."""
    waiting, n_waiting = np.empty(len(left), dtype=np.int64), 1
    waiting[0] = top
    while n_waiting > 0:
        n_waiting -= 1
        node = waiting[n_waiting]
        if alive[node]:
            alive[node], cut_at[node] = False, price
            waiting[n_waiting], waiting[n_waiting + 1] = left[node], left[node] + 1
            n_waiting += 2
