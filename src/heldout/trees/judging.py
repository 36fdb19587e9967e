"""What rows say of every node of a tree, and so of every tree of its pruning path: each row goes down once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numba import njit

from heldout.trees.nodes import Tree
from heldout.trees.prune import cut_prices

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

WRONG, SQUARED, ABSOLUTE, POISSON = range(4)
LOSSES = {
    **dict.fromkeys(("gini", "entropy", "log_loss"), WRONG),
    "squared_error": SQUARED,
    "absolute_error": ABSOLUTE,
    "poisson": POISSON,
}
TITLES = ("share of wrong answers", "mean squared error", "mean absolute error", "mean half Poisson deviance")
NO_EVENTS = 0.5  # what a fold's tree of nothing but zeros is taken to have counted: at a rate of 0 none can happen


@dataclass(frozen=True)
class Cases:
    """Rows (n, p) with codes of classes or numbers `y` (n,); how often each was seen, and the factor of its class."""

    X: Array
    y: Array
    weights: Array  # (n,)
    factors: Array  # (n,)

    @classmethod
    def of(cls, X: Array, y: Array, weights: Array | None, factors: Array | None = None) -> Cases:
        """With ones where there are no weights or factors."""
        w, c = (np.ones(len(X)) if values is None else values for values in (weights, factors))
        return cls(X, y, w, c)

    @property
    def counted(self) -> Array:
        """What each row weighs in all."""
        return np.asarray(self.weights * self.factors)

    def weighing(self, weights: Array) -> Cases:
        """The rows that have one of these weights (n,)."""
        rows = weights > 0.0
        return Cases(self.X[rows], self.y[rows], weights[rows], self.factors[rows])


def answers(tree: Tree, loss: int) -> Array:
    """What each node (m,) would say as a leaf: the code of a class, or a number."""
    if loss == WRONG:
        return np.asarray(tree.value.argmax(axis=1).astype(np.float64))
    said = tree.value[:, 0]
    return np.where(said > 0.0, said, NO_EVENTS / tree.weight) if loss == POISSON else said.copy()


def training_losses(tree: Tree, loss: int) -> Array:
    """The sum of the training rows' losses in each node (m,), which its shares or its impurity give."""
    if loss == WRONG:
        return np.asarray(tree.weight * (1.0 - tree.value.max(axis=1)))
    return np.asarray(tree.weight * tree.impurity)


def node_losses(tree: Tree, loss: int, cases: Cases) -> Array:
    """Sums over the rows in each node (m, 3): v l, and v c l and v c l^2 for the standard error of their mean.

    A row's loss l weighs v = w c: its weight w, for it was seen so often, and the factor c of its class.
    """
    from heldout.trees.predict import leaves

    leaf, found = np.empty(len(cases.X), dtype=np.int64), np.zeros((tree.n_nodes, 3))
    leaves(cases.X, *tree.walk, 0, leaf)
    _add_losses(leaf, tree.parents, answers(tree, loss), loss, cases.y, cases.counted, cases.factors, found)
    return found


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_losses(
    leaf: Array, parent: Array, said: Array, kind: int, y: Array, weights: Array, factors: Array, out: Array
) -> None:
    for i in range(len(leaf)):
        node = leaf[i]
        while node >= 0:
            loss = _loss(kind, y[i], said[node])
            out[node, 0] += weights[i] * loss
            out[node, 1] += weights[i] * factors[i] * loss
            out[node, 2] += weights[i] * factors[i] * loss * loss
            node = parent[node]


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _loss(kind: Any, y: Any, said: Any) -> Any:
    if kind == WRONG:
        return 0.0 if y == said else 1.0
    if kind == SQUARED:
        return (y - said) * (y - said)
    if kind == ABSOLUTE:
        return abs(y - said)
    return said - y + (y * np.log(y / said) if y > 0.0 else 0.0)


def along(tree: Tree, prices: Array, values: Array) -> Array:
    """Sums of the nodes' `values` (m, S) over the leaves of the tree pruned at each of the rising `prices`: (k, S).

    A node is a leaf from its own price up to that at which the node above it ends.
    """
    gone, parent = cut_prices(tree), tree.parents
    first = np.searchsorted(prices, gone)
    last = np.where(parent < 0, len(prices), first[parent])
    found = np.empty((len(prices), values.shape[1]))
    for s, column in enumerate(values.T):
        change = (np.bincount(place, column, minlength=len(prices) + 1) for place in (first, last))
        found[:, s] = np.subtract(*change).cumsum()[:-1]
    return found
