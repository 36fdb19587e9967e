"""Many trees as one: their arrays joined, their answers added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np

from heldout.linear.blocks import allowed_threads, in_threads, split_rows
from heldout.trees.nodes import Tree

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MOST_ROWS, LEAST_ROWS = 10_000, 256  # that a thread predicts at a time: a tree stays in its cache for them


@dataclass(frozen=True)
class Grove:
    """Trees one after the other in the same arrays; each tree's children and sets count from its own beginning.

    Attributes
    ----------
    trees : list of Tree, whose arrays are parts of the joined ones
    walk : as `Tree.walk`, joined
    nodes : the same, packed, for rows without gaps
    value : float64 (m, K) what the leaves say
    roots : uint32 (B + 1,) where each tree begins; set_roots : uint32 (B,) where its sets begin
    """

    trees: list[Tree]
    walk: tuple[Array, ...]
    nodes: Array
    value: Array
    roots: Array
    set_roots: Array

    @classmethod
    def of(cls, trees: Sequence[Tree], *, hard: bool = False) -> Grove:
        """The trees in their order; `hard`: leaves say 1 for the class they favour, and not their shares."""
        from heldout.trees.predict import packed

        parts = [dict(vars(tree)) for tree in trees]
        roots = np.cumsum([0, *(tree.n_nodes for tree in trees)])
        sets = np.cumsum([0, *(len(tree.sets) for tree in trees)])
        names = [field.name for field in fields(Tree)]
        joined = {name: np.concatenate([part.pop(name) for part in parts]) for name in names}
        ends = {name: sets if name == "sets" else roots for name in names}
        again = [
            Tree(**{name: joined[name][ends[name][b] : ends[name][b + 1]] for name in names}) for b in range(len(parts))
        ]
        whole, value = Tree(**joined), votes(joined["value"]) if hard else joined["value"]
        nodes = packed(whole.feature, whole.threshold, whole.left, roots)
        return cls(again, whole.walk, nodes, value, roots.astype(np.uint32), sets[:-1].astype(np.uint32))

    def mean(self, X: Array) -> Array:
        """The mean of the trees' values (n, K)."""
        from heldout.trees.predict import add_plain_values, add_values

        out = np.zeros((len(X), self.value.shape[1]))
        plain = not len(self.walk[-1]) and not np.isnan(X).any()

        def fill(run: slice) -> None:
            if plain:
                add_plain_values(X[run], self.nodes, self.value, self.roots[:-1], out[run])
            else:
                add_values(X[run], *self.walk, self.value, self.roots[:-1], self.set_roots, out[run])

        in_threads(fill, runs(len(X)))
        return out / len(self.trees)

    def each(self, X: Array) -> Array:
        """What each tree says by itself (B, n): the place of the class it favours, or a number."""
        from heldout.trees.predict import leaves

        def said(tree: Tree) -> Array:
            leaf = np.empty(len(X), dtype=np.int64)
            leaves(X, *tree.walk, 0, leaf)
            own = tree.value.argmax(axis=1) if tree.value.shape[1] > 1 else tree.value[:, 0]
            return np.asarray(own[leaf])

        return np.array(in_threads(said, self.trees))


def votes(value: Array) -> Array:
    """1 for the class (m, K) with the greatest share, of equal ones the first; 0 for the others."""
    return np.asarray(value.argmax(axis=1)[:, None] == np.arange(value.shape[1]), dtype=np.float64)


def runs(n: int) -> list[slice]:
    """Rows for one thread after the other."""
    return split_rows(n, max(-(-n // MOST_ROWS), min(allowed_threads(), n // LEAST_ROWS), 1))
