"""What the trees of a forest say of the training rows that were not in their bags, and when more trees tell no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from heldout.linear.blocks import in_threads
from heldout.printed import Printed, Sheet
from heldout.trees.building import Target
from heldout.trees.grove import runs, votes
from heldout.trees.nodes import Tree
from heldout.words import number

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

CHECKS = (32, 48, 72, 108, 162, 243, 364, 546, 819, 1000)  # trees, at which a forest is judged that stops by itself
SETTLED = 0.25  # standard errors of the out-of-bag error
AT_ONCE = 32  # bags in memory


class OutOfBag:
    """Sums of the trees' values (n, K) and their squares over those that did not see a row, and their number (n,)."""

    def __init__(self, X: Array, target: Target, bag: Callable[[int], Array], hard: bool) -> None:
        self._rows, self._target, self._bag, self._hard = X, target, bag, hard
        self._total, self.count = np.zeros((len(X), target.n_classes or 1)), np.zeros(len(X))
        self._squares = np.zeros(len(X))
        self._done = 0

    def add(self, trees: Sequence[Tree]) -> None:
        """Add those of the forest's `trees` that are not there yet."""
        from heldout.trees.predict import add_out_of_bag

        for start in range(self._done, len(trees), AT_ONCE):
            some = trees[start : start + AT_ONCE]
            bags = in_threads(lambda i: self._bag(i) == 0.0, range(start, start + len(some)))
            values = [votes(tree.value) if self._hard else tree.value for tree in some]

            def fill(run: slice, work: Any = (some, bags, values)) -> None:
                for tree, out, value in zip(*work, strict=True):
                    sums = self._total[run], self._squares[run], self.count[run]
                    add_out_of_bag(self._rows[run], out[run], *tree.walk, value, *sums)

            in_threads(fill, runs(len(self._rows)))
        self._done = len(trees)

    @property
    def mean(self) -> Array:
        """The mean value (n, K); 0 for rows that every tree saw."""
        return np.asarray(self._total / np.maximum(self.count, 1.0)[:, None])

    @property
    def can_tell(self) -> bool:
        """Whether two trees or more did not see some row."""
        return bool(np.any(self.count > 1.0))

    def squared_error(self, weights: Array) -> tuple[float, float, float]:
        """The mean squared error of numbers, or of the shares of classes (Brier), and its standard error; of a tree.

        The last is the variance of one tree's answer about the mean of all, on average over rows.
        """
        told, mean = self.count > 1.0, self.mean
        spread = self._squares / np.maximum(self.count, 1.0) - (mean**2).sum(axis=1)
        spread *= self.count / np.maximum(self.count - 1.0, 1.0)
        if self._target.n_classes:
            mean[np.arange(len(mean)), self._target.codes] -= 1.0
        else:
            mean[:, 0] -= self._target.values + self._target.centre
        losses, shares = (mean[told] ** 2).sum(axis=1), weights[told] / weights[told].sum()
        error = float(shares @ losses)
        return error, float(np.sqrt(np.sum(shares**2 * (losses - error) ** 2))), float(shares @ spread[told])


@dataclass(frozen=True, eq=False, repr=False)
class Settling(Printed):
    r"""The out-of-bag error as the forest grows; it prints as a table.

    The squared error of a mean of B trees is :math:`e_\infty + v / B` on average, with v the variance of one tree's
    answer about the mean of all, which the trees show. The forest has settled when v / B, all that more trees
    could take off, is at most a quarter of the error's standard error over rows.

    Attributes
    ----------
    n_trees : int array (m,), at each check
    errors : float64 array (m,), the mean squared error of numbers, or of the classes' shares (Brier)
    standard_errors : float64 array (m,), over rows
    left : float64 array (m,), v / B
    """

    n_trees: Array
    errors: Array
    standard_errors: Array
    left: Array

    @property
    def settled(self) -> bool:
        """Whether more trees could not take off more than chance moves."""
        return bool(len(self.left) and self.left[-1] <= SETTLED * self.standard_errors[-1])

    def after(self, n_trees: int, error: float, standard_error: float, variance: float) -> Settling:
        """With one more check."""
        new = (n_trees, error, standard_error, variance / n_trees)
        return Settling(*(np.append(a, b) for a, b in zip(vars(self).values(), new, strict=True)))

    def to_state(self) -> dict[str, Any]:
        """Its arrays by name."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: State) -> Settling:
        """What `to_state` described; ModelFileError where the checks do not follow each other."""
        n_trees = state.array("n_trees", dtype="int64", shape=(None,), low=1)
        if np.any(np.diff(n_trees) <= 0):
            state.fail("the checks of the out-of-bag error do not follow each other")
        names = ("errors", "standard_errors", "left")
        return cls(n_trees, *(state.array(name, shape=n_trees.shape, low=0.0) for name in names))

    def _table(self) -> Sheet:
        columns = (self.n_trees, self.errors, self.standard_errors, self.left)
        body = [[number(float(value)) for value in row] for row in zip(*columns, strict=True)]
        body = body or [["–"] * len(columns)]
        verdict = "settled" if self.settled else "not settled"
        when = f" at {self.n_trees[-1]:,} trees" if len(self.n_trees) else ""
        title = [f"Out-of-bag error by the number of trees: {verdict}{when}"]
        return title, ["trees", "squared error", "standard error", "more trees take off"], body, []

    def plot(self) -> Any:
        """Altair chart of the error, with a standard error on either side."""
        import altair as alt

        rows = [
            {"trees": int(b), "error": e, "low": e - se, "high": e + se}
            for b, e, se in zip(self.n_trees, self.errors.tolist(), self.standard_errors.tolist(), strict=True)
        ]
        base = alt.Chart(alt.Data(values=rows), title="Out-of-bag error as the forest grows").encode(
            alt.X("trees:Q", title="trees", scale=alt.Scale(type="log"))
        )
        band = base.mark_area(opacity=0.2).encode(alt.Y("low:Q"), alt.Y2("high:Q"))
        line = base.mark_line(point=True).encode(
            alt.Y("error:Q", title="mean squared error (band: one standard error)", scale=alt.Scale(zero=False))
        )
        return (band + line).properties(width=480, height=280)


@dataclass(frozen=True)
class Residuals:
    """What rows deviate from predictions that did not know them, rising (n,), with weights (n,)."""

    values: Array
    weights: Array

    @classmethod
    def of(cls, values: Array, weights: Array) -> Residuals:
        """In order."""
        order = np.argsort(values, kind="stable")
        return cls(values[order], weights[order])

    def ends(self, coverage: float) -> Array:
        """The quantiles (2,) between which a new row's deviation lies with this chance: it counts as one row more."""
        reached = np.cumsum(self.weights)
        tail = (1.0 - coverage) / 2.0 * (reached[-1] + 1.0)
        low = np.searchsorted(reached, tail + 1e-9, side="right") - 1
        high = np.searchsorted(reached, reached[-1] + 1.0 - tail - 1e-9, side="left")
        return np.asarray(self.values[np.clip([low, high], 0, len(self.values) - 1)])

    def to_state(self) -> dict[str, Any]:
        """Its arrays by name."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: State) -> Residuals:
        """What `to_state` described; ModelFileError where they are not in order."""
        values = state.array("values", shape=(None,))
        if not len(values) or np.any(np.diff(values) < 0.0):
            state.fail("the errors out of bag are not in order")
        return cls(values, state.array("weights", shape=values.shape, low=0.0))


def no_checks() -> Settling:
    """Before the first check."""
    return Settling(np.empty(0, dtype=np.int64), *np.empty((3, 0)))
