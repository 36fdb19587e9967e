"""A fitted tree: plain arrays, one entry a node, the root first and every node before its children."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

LEAF = -1
WORDS = 8  # 32 bits each, of a set of categories: codes 0 (missing) to 255


@dataclass(frozen=True)
class Tree:
    """The nodes of a tree.

    Attributes
    ----------
    feature : int32 (m,), the column that is asked, -1 for a leaf
    threshold : float64 (m,), rows at or below it go left; NaN where a set of categories decides
    left : int32 (m,), the left child, after which the right one stands; -1 for a leaf
    missing_left : bool (m,), where missing values and unknown categories go
    categories : int32 (m,), the row of `sets` with the codes that go left, or -1
    sets : uint32 (s, 8), bit c % 32 of word c // 32 for code c
    value : float64 (m, K) shares of the classes, or (m, 1) means
    impurity : float64 (m,); weight : float64 (m,), of the training rows; count : int32 (m,), training rows
    """

    feature: Array
    threshold: Array
    left: Array
    missing_left: Array
    categories: Array
    sets: Array
    value: Array
    impurity: Array
    weight: Array
    count: Array

    @property
    def n_nodes(self) -> int:
        return len(self.feature)

    @property
    def n_leaves(self) -> int:
        return int(np.sum(self.feature == LEAF))

    @property
    def walk(self) -> tuple[Array, ...]:
        """What `predict.leaves` walks by."""
        return self.feature, self.threshold, self.left, self.missing_left, self.categories, self.sets

    @property
    def depths(self) -> Array:
        """Of every node (m,), the root's is 0."""
        found = np.zeros(self.n_nodes, dtype=np.int64)
        for node in np.flatnonzero(self.feature != LEAF).tolist():  # parents stand before their children
            found[self.left[node]] = found[self.left[node] + 1] = found[node] + 1
        return found

    @property
    def parents(self) -> Array:
        """Of every node (m,), -1 above the root."""
        found = np.full(self.n_nodes, -1)
        inner = np.flatnonzero(self.left != LEAF)
        found[self.left[inner]] = found[self.left[inner] + 1] = inner
        return found

    @property
    def nbytes(self) -> int:
        return sum(int(values.nbytes) for values in vars(self).values())

    def to_state(self, n_columns: int) -> dict[str, Any]:
        """Its arrays by name, and how many columns the rows have."""
        return {**vars(self), "n_columns": n_columns}

    @classmethod
    def from_state(cls, state: State, n_columns: int, n_values: int) -> Tree:
        """The tree that `to_state` described; ModelFileError where a walk could leave it, or never end."""
        if state.integer("n_columns") != n_columns:
            state.fail("a tree is for rows of another width")
        feature = state.array("feature", dtype="int32", shape=(None,))
        m = len(feature)
        numbers = {name: state.array(name, shape=(m,), low=0.0) for name in ("impurity", "weight")}
        tree = cls(
            feature=feature,
            threshold=state.array("threshold", shape=(m,), finite=False),
            left=state.array("left", dtype="int32", shape=(m,)),
            missing_left=state.array("missing_left", dtype="bool", shape=(m,)),
            categories=state.array("categories", dtype="int32", shape=(m,)),
            sets=state.array("sets", dtype="uint32", shape=(None, WORDS)),
            value=state.array("value", shape=(m, n_values)),
            count=state.array("count", dtype="int32", shape=(m,)),
            **numbers,
        )
        tree.check(n_columns, state.fail)
        return tree

    def check(self, n_columns: int, fail: Any) -> None:
        """Say through `fail` what would lead a walk astray."""
        m, inner = self.n_nodes, self.feature != LEAF
        nodes = np.arange(m)
        if m == 0:
            fail("a tree has no nodes")
        if np.any((self.feature < LEAF) | (self.feature >= n_columns)):
            fail(f"a tree asks for a column outside the {n_columns} there are")
        children = self.left[inner].astype(np.int64)
        if np.any(children <= nodes[inner]) or np.any(children + 1 >= m):
            fail("a tree's child stands before its parent, or outside the tree")
        if not np.array_equal(np.sort(np.concatenate([children, children + 1])), nodes[1:]):
            fail("a tree's node has no parent, or several")
        if np.any(self.left[~inner] != LEAF):
            fail("a tree's leaf has children")
        if np.any((self.categories < -1) | (self.categories >= len(self.sets))):
            fail("a tree asks for a set of categories that is not there")
        if np.any(np.isnan(self.threshold) & inner & (self.categories < 0)):
            fail("a tree's threshold is no number")
