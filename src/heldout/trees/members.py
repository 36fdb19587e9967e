"""The training rows of every leaf: what a forest of numbers knows beyond its mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from heldout.linear.blocks import in_threads
from heldout.trees.grove import Grove, runs

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Members:
    """The rows of the bags, leaf after leaf, and what each weighs in a forecast that ends in the leaf.

    Attributes
    ----------
    ends : int64 (m + 1,), the nodes' first and last rows, over the nodes of all trees
    ranks : uint32 (r,), a row's place among the sorted numbers
    shares : float64 (r,), a row's share of its leaf's weight, divided by the number of trees
    values : float64 (n,), the training numbers, rising
    """

    ends: Array
    ranks: Array
    shares: Array
    values: Array

    @classmethod
    def of(cls, X: Array, y: Array, grove: Grove, bag: Callable[[int], Array]) -> Members:
        """Of the trees' bags: the weights (n,) of the training rows `X` (n, p) in each."""
        from heldout.trees.predict import leaves_of

        order = np.argsort(y, kind="stable")
        rank = np.empty(len(y), dtype=np.uint32)
        rank[order] = np.arange(len(y), dtype=np.uint32)

        def one(i: int) -> tuple[Array, Array, Array]:
            tree, weights = grove.trees[i], bag(i)
            rows = np.flatnonzero(weights)
            leaf = np.empty(len(rows), dtype=np.int64)
            leaves_of(X, rows, *tree.walk, leaf)
            by_leaf = np.argsort(leaf, kind="stable")
            rows, leaf = rows[by_leaf], leaf[by_leaf]
            all_ = np.bincount(leaf, weights[rows], minlength=tree.n_nodes)
            shares = weights[rows] / all_[leaf] / len(grove.trees)
            return np.bincount(leaf, minlength=tree.n_nodes), rank[rows], shares

        found = in_threads(one, range(len(grove.trees)))
        counts, ranks, shares = (np.concatenate(part) for part in zip(*found, strict=True))
        return cls(np.concatenate([[0], np.cumsum(counts)]), ranks, shares, y[order])

    def quantiles(self, X: Array, grove: Grove, levels: Array) -> Array:
        """The least number (n, q) up to which the weights of the rows of its leaves add up to each level, rising."""
        from heldout.trees.predict import leaf_quantiles

        out = np.empty((len(X), len(levels)))

        def fill(run: slice) -> None:
            weights, marks = np.zeros(len(self.values)), np.zeros(len(self.values) // 64 + 1, dtype=np.uint64)
            leaf_quantiles(
                X[run], *grove.walk, grove.roots, grove.set_roots, self.ends, self.ranks, self.shares, self.values,
                levels, weights, marks, out[run],
            )  # fmt: skip

        in_threads(fill, runs(len(X)))
        return out

    def to_state(self) -> dict[str, Any]:
        """Its arrays by name."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: State, grove: Grove) -> Members:
        """What `to_state` described; ModelFileError where it does not fit the trees."""
        ends = state.array("ends", dtype="int64", shape=(int(grove.roots[-1]) + 1,), low=0)
        ranks = state.array("ranks", dtype="uint32", shape=(None,))
        shares, values = state.array("shares", shape=ranks.shape, low=0.0), state.array("values", shape=(None,))
        if ends[0] != 0 or ends[-1] != len(ranks) or np.any(np.diff(ends) < 0):
            state.fail("the rows of the leaves do not follow each other")
        if np.any((np.diff(ends) == 0) != (grove.walk[0] >= 0)):
            state.fail("a leaf has no rows, or a node that is none has some")
        if len(ranks) == 0 or ranks.max() >= len(values) or np.any(np.diff(values) < 0.0):
            state.fail("the numbers of the leaves' rows do not fit")
        return cls(ends, ranks, shares, values)
