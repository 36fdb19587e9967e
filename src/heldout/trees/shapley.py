"""Shapley values of trees: what each column adds to the prediction of a row, exactly and in linear time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numba import njit
from sklearn.utils.validation import check_is_fitted

from heldout.linear.blocks import in_threads, split_rows
from heldout.trees.columns import rows_of
from heldout.trees.nodes import LEAF, Tree
from heldout.trees.predict import _goes_right

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MOST_ROWS = 64  # that a thread explains at a time: a tree stays in its cache for them


@dataclass(frozen=True)
class Edges:
    """What does not depend on the row, of the edge that leads to each node (m,), and the points of the integral.

    `share` is the part of the rows' weight that stays on the path when the column is unknown, over all questions so
    far about this column; `before` the edge of the last such question, or -1.
    """

    parent: Array
    column: Array
    share: Array
    before: Array
    points: Array
    weights: Array

    @classmethod
    def of(cls, tree: Tree) -> Edges:
        m = tree.n_nodes
        parent, column = np.full(m, -1), np.full(m, -1)
        share, before, players = np.ones(m), np.full(m, -1), np.zeros(m, dtype=np.int64)
        _edges(tree.feature, tree.left, tree.weight, parent, column, share, before, players)
        points, weights = np.polynomial.legendre.leggauss(max(1, (int(players.max()) + 1) // 2))
        return cls(parent, column, share, before, (points + 1.0) / 2.0, weights / 2.0)


def shap_values(trees: Sequence[Tree], X: Array) -> Array:
    r"""The mean of the trees' Shapley values (n, p, K) for rows `X` (n, p) as `columns.rows_of` gives them.

    The columns are the players of a game whose worth v(S) is what the tree expects when it knows the columns S: at a
    question about another column both branches are taken, by their shares of the training rows' weight. Along a path
    to a leaf with d columns, row x agrees with column j's answers (o_j = 1) or not (0), and z_j is the share that
    would; with the multilinear extension of the game (Owen), the value of column i is the sum over the leaves of

    .. math:: value \cdot (o_i - z_i) \int_0^1 \prod_{j \ne i} (t \, o_j + (1 - t) z_j) \, dt .

    The integrand is a polynomial of degree d - 1, which Gauss's formula integrates exactly with (d + 1) // 2 points.
    The products are kept on the way down a tree and summed on the way up: a row costs a tree of m nodes m d steps.

    References
    ----------
    G. Owen, Management Science 18, 1972. S. Lundberg and others, Nature Machine Intelligence 2, 2020 (the game).

    Examples
    --------
    >>> from heldout import DecisionTreeRegressor
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> model = DecisionTreeRegressor().fit(X, [0.0, 0.0, 0.0, 8.0])
    >>> model.shap_values([[1.0, 1.0]]).tolist(), model.expected_value_
    ([[3.0, 3.0]], 2.0)
    """
    edges = [Edges.of(tree) for tree in trees]
    out = np.zeros((len(X), X.shape[1], trees[0].value.shape[1]))

    def fill(run: slice) -> None:
        for tree, edge in zip(trees, edges, strict=True):
            _add(X[run], *tree.walk, tree.value, *vars(edge).values(), out[run])

    in_threads(fill, split_rows(len(X), -(-len(X) // MOST_ROWS)))
    return out / len(trees)


def explained(model: Any, X: Any) -> Array:
    """The Shapley values of a fitted tree or forest, (n, p) for numbers and (n, p, K) for classes."""
    check_is_fitted(model)
    values = shap_values(_trees(model), rows_of(model, X))
    return values if hasattr(model, "classes_") else values[:, :, 0]


def expected(model: Any) -> Any:
    """What a fitted tree or forest expects of a row: a number, or the classes' shares (K,)."""
    check_is_fitted(model)
    value = expected_value(_trees(model))
    return value if hasattr(model, "classes_") else float(value[0])


def _trees(model: Any) -> Sequence[Tree]:
    return model.estimators_ if hasattr(model, "estimators_") else [model.tree_]


def expected_value(trees: Sequence[Tree]) -> Array:
    """What the trees expect of a row of which nothing is known (K,): the mean of their leaves by weight."""
    return np.asarray(np.mean([_mean_of_leaves(tree) for tree in trees], axis=0))


def _mean_of_leaves(tree: Tree) -> Array:
    leaf = tree.feature == LEAF
    return np.asarray(tree.weight[leaf] @ tree.value[leaf] / tree.weight[leaf].sum())


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _edges(
    feature: Array, left: Array, weight: Array, parent: Array, column: Array, share: Array, before: Array,
    players: Array,
) -> None:  # fmt: skip
    """Fill in `Edges`, and how many columns the path to each node has asked for (m,)."""
    for node in range(len(feature)):  # parents stand before their children
        if feature[node] < 0:
            continue
        again, above = -1, node
        while above > 0 and again < 0:
            again = above if column[above] == feature[node] else -1
            above = parent[above]
        for child in range(left[node], left[node] + 2):
            parent[child], column[child], before[child] = node, feature[node], again
            share[child] = weight[child] / weight[node] * (share[again] if again >= 0 else 1.0)
            players[child] = players[node] + (1 if again < 0 else 0)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add(
    X: Array, feature: Array, threshold: Array, left: Array, missing_left: Array, categories: Array, sets: Array,
    value: Array, parent: Array, column: Array, share: Array, before: Array, points: Array, weights: Array, out: Array,
) -> None:  # fmt: skip
    """Add the Shapley values of one tree to `out` (n, p, K)."""
    m, n_points, n_values = len(feature), len(points), value.shape[1]
    agrees, inverse = np.zeros(m), np.ones((m, n_points))  # 1 / (t o + (1 - t) z) of the edge's column, up to this edge
    product, below, gain = np.ones((m, n_points)), np.empty((m, n_values, n_points)), np.empty(n_points)
    for i in range(len(X)):
        for node in range(m):
            if feature[node] < 0:
                continue
            right = _goes_right(X[i, feature[node]], node, threshold, missing_left, categories, sets)
            for side in range(2):
                child = left[node] + side
                again = before[child]
                agrees[child] = (1.0 if right == side else 0.0) * (agrees[again] if again >= 0 else 1.0)
                for q in range(n_points):
                    factor = points[q] * agrees[child] + (1.0 - points[q]) * share[child]
                    inverse[child, q] = 1.0 / factor
                    product[child, q] = product[node, q] * factor
                if again >= 0:
                    for q in range(n_points):
                        product[child, q] *= inverse[again, q]
        for node in range(m - 1, 0, -1):
            _climb(node, left[node], product, weights, value, below)
            _gain(node, before[node], agrees, share, inverse, gain)
            for k in range(n_values):
                total = 0.0
                for q in range(n_points):
                    total += below[node, k, q] * gain[q]
                out[i, column[node], k] += total


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _climb(node: Any, left: Any, product: Any, weights: Any, value: Any, below: Any) -> None:
    """The sum of the leaves below the node: their values by their paths' products and the integral's weights."""
    for k in range(below.shape[1]):
        for q in range(below.shape[2]):
            if left < 0:
                below[node, k, q] = value[node, k] * product[node, q] * weights[q]
            else:
                below[node, k, q] = below[left, k, q] + below[left + 1, k, q]


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def _gain(node: Any, before: Any, agrees: Any, share: Any, inverse: Any, gain: Any) -> None:
    """What the edge's column gains by the leaves below, less what it would had it not been asked for again here."""
    for q in range(len(gain)):
        gain[q] = (agrees[node] - share[node]) * inverse[node, q]
    if before >= 0:
        for q in range(len(gain)):
            gain[q] -= (agrees[before] - share[before]) * inverse[before, q]
