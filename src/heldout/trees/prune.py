"""Smaller trees from one that was grown: by the price of a leaf, or as rows held out say."""

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
ROUNDING = 1e-12  # of the root's risk or a node's loss, below which a difference is none


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
    """The path of a tree: the nodes that end before those above them do, one after the other."""
    price, lost, gained, ends, _ = _links(tree)
    steps = np.flatnonzero(ends)
    steps = steps[np.argsort(price[steps], kind="stable")]
    whole = _risk(tree)[tree.feature == LEAF].sum()
    return PruningPath(
        np.concatenate([[0.0], price[steps]]),
        np.cumsum(np.concatenate([[whole], gained[steps]])),
        tree.n_leaves - np.cumsum(np.concatenate([[0], lost[steps]])),
    )


def cut_prices(tree: Tree) -> Array:
    """The price (m,) from which on each node is a leaf, or gone with a node above it; 0 for the leaves there are."""
    return _links(tree)[-1]


def pruned(tree: Tree, alpha: float) -> Tree:
    """The smallest subtree that is best at the price `alpha` of a leaf."""
    return without_branches(tree, cut_prices(tree) <= alpha)


def without_branches(tree: Tree, cut: Array) -> Tree:
    """The tree whose nodes marked by `cut` (m,) are leaves."""
    kept = _reached(tree.left, (tree.feature != LEAF) & ~cut)
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


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _reached(left: Array, inner: Array) -> Array:
    """Which nodes (m,) a walk may come to that goes on from `inner` nodes alone."""
    kept = np.zeros(len(left), dtype=np.bool_)
    kept[0] = True
    for node in range(len(left)):  # parents stand before their children
        if kept[node] and inner[node]:
            kept[left[node]] = kept[left[node] + 1] = True
    return kept


def _risk(tree: Tree) -> Array:
    """The impurity of each node (m,), weighed by its share of the rows."""
    return np.asarray(tree.impurity * tree.weight / tree.weight[0])


def _links(tree: Tree) -> tuple[Array, Array, Array, Array, Array]:
    return _weakest_links(tree.left, _risk(tree))  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _weakest_links(left: Array, risk: Array) -> tuple[Array, Array, Array, Array, Array]:
    """For each node (m,) the price at which it ends, the leaves it then loses, the risk it then gains, whether it does
    so before a node above it, and the price at which it or one above it ends.

    From the leaves up: a node's branch loses those beneath it that are cheaper, and then itself. Those beneath wait in
    heaps, dearest first; a node takes back those that are as dear as itself, for they go with it.
    """
    m = len(left)
    price, lost, gained, ends = np.zeros(m), np.zeros(m, dtype=np.int64), np.zeros(m), left >= 0
    heap, first, second = np.full(m, -1), np.full(m, -1), np.full(m, -1)
    for node in range(m - 1, -1, -1):
        if left[node] < 0:
            continue
        a, b = left[node], left[node] + 1
        leaves, below, dearest = 2, risk[a] + risk[b], _melded(heap[a], heap[b], price, first, second)
        own = max(risk[node] - below, 0.0)
        while dearest >= 0 and own <= price[dearest]:
            leaves, below, ends[dearest] = leaves + lost[dearest], below - gained[dearest], False
            dearest = _melded(first[dearest], second[dearest], price, first, second)
            own = max(risk[node] - below, 0.0) / (leaves - 1)
        price[node], lost[node], gained[node] = own, leaves - 1, risk[node] - below
        heap[node], first[node] = node, dearest
    gone = price.copy()
    for node in range(m):
        if left[node] >= 0:
            for child in range(left[node], left[node] + 2):
                gone[child] = min(gone[child], gone[node])
    return price, lost, gained, ends, gone


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _melded(a: int, b: int, price: Array, first: Array, second: Array) -> int:
    """The top of two heaps put together (D. Sleator and R. Tarjan's skew heaps), of which -1 is an empty one."""
    if a < 0 or (b >= 0 and price[b] > price[a]):
        a, b = b, a
    top = a
    while b >= 0:
        other = second[a]
        if other < 0 or price[b] > price[other]:
            other, b = b, other
        second[a], first[a] = first[a], other
        a = other
    return top


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def no_better(left: Array, loss: Array) -> Array:
    """Which nodes (m,) lose no more as leaves, given what each loses (m,), than the best of the branches beneath."""
    least, cut = loss.copy(), left < 0
    for node in range(len(left) - 1, -1, -1):
        if left[node] >= 0:
            below = least[left[node]] + least[left[node] + 1]
            cut[node] = loss[node] <= below * (1.0 + ROUNDING)
            least[node] = loss[node] if cut[node] else below
    return cut
