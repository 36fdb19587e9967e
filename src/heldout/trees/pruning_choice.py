"""How far to prune: the errors of the path's trees on rows held out, by folds or given, and the rule that chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from heldout.dealing import Fold, folds
from heldout.errors import InputError
from heldout.linear.blocks import in_threads
from heldout.printed import Printed, Sheet
from heldout.trees.judging import TITLES, WRONG, Cases, along, node_losses, training_losses
from heldout.trees.nodes import Tree
from heldout.trees.prune import MOST_SHOWN, ROUNDING, pruning_path
from heldout.words import number

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

RULES = ("one_se", "min")
MOST_PLOTTED = 200  # trees; a path may have thousands
SAME = 1e-9  # of an error, by which two are equal but for rounding


@dataclass(frozen=True, eq=False, repr=False)
class PruningCurve(Printed):
    r"""Training error and error on rows held out of every tree of a pruning path; it prints as a table and plots.

    The standard error is that of the mean over all rows held out, :math:`s / \sqrt n` with s the spread of their losses
    (of shares :math:`\sqrt{p (1 - p) / (n - 1)}`; Breiman and others 1984, section 3.4.3), whichever fold a row was in.

    Attributes
    ----------
    ccp_alphas : float64 array (m,), rising: from which price of a leaf on each tree is best; equal prices once
    n_leaves : int array (m,), falling to 1
    train : float64 array (m,), the error on the training rows
    mean, se : float64 arrays (m,), the mean error on the rows held out, and its standard error
    rule : "one_se" or "min"
    n_folds : int, 0 where the rows held out were given
    loss : int, the place in `judging.TITLES` of what an error is
    best : int, the place of the least mean error (of equals that of the smaller tree)
    one_se : int, the place of the smallest tree whose error is within one standard error of the least
    chosen : int, the place that the rule chooses
    alpha : float, a price of a leaf by which the tree is pruned to the one chosen
    """

    ccp_alphas: Array
    n_leaves: Array
    train: Array
    mean: Array
    se: Array
    rule: str
    n_folds: int
    loss: int

    @property
    def best(self) -> int:
        return int(np.flatnonzero(self.mean <= self.mean.min() * (1.0 + SAME))[-1])

    @property
    def one_se(self) -> int:
        most = self.mean[self.best] + self.se[self.best]
        return int(np.flatnonzero(self.mean <= most * (1.0 + SAME))[-1])

    @property
    def chosen(self) -> int:
        return self.best if self.rule == "min" else self.one_se

    @property
    def alpha(self) -> float:
        k = self.chosen
        return float(self.ccp_alphas[k] if k == len(self.ccp_alphas) - 1 else between(self.ccp_alphas)[k])

    @property
    def held_out(self) -> str:
        """Which rows were held out, in words."""
        return f"{self.n_folds} folds" if self.n_folds else "validation"

    def to_state(self) -> dict[str, Any]:
        columns = (self.ccp_alphas, self.n_leaves, self.train, self.mean, self.se)
        return {"errors": np.vstack(columns).astype(np.float64), "rule": self.rule, "n_folds": self.n_folds}

    @classmethod
    def from_state(cls, state: State, loss: int) -> PruningCurve:
        alphas, n_leaves, train, mean, se = state.array("errors", shape=(5, None), low=0.0)
        whole = np.array_equal(n_leaves, n_leaves.round()) and len(n_leaves) and n_leaves.max() < 2**31
        if not whole or n_leaves[-1] != 1 or np.any(np.diff(n_leaves) >= 0.0) or np.any(np.diff(alphas) < 0.0):
            state.fail("along a pruning path leaves must fall to 1, and their price rise")
        rule, n_folds = state.choice("rule", RULES), state.integer("n_folds", low=0)
        return cls(alphas, n_leaves.astype(np.int64), train, mean, se, rule, n_folds, loss)

    def _shown(self, most: int) -> Array:
        """Places of at most so many trees, evenly by the logarithm of their leaves, and of those that matter."""
        if len(self.n_leaves) <= most:
            return np.arange(len(self.n_leaves))
        places = np.searchsorted(-self.n_leaves, -np.geomspace(self.n_leaves[0], 1.0, most).round())
        return np.unique(np.concatenate([places, [self.best, self.one_se]]))

    def _marks(self) -> dict[int, str]:
        """What the trees are called that the rules choose, by their places."""
        if self.best == self.one_se:
            return {self.best: "least error, one standard error"}
        return {self.best: "least error", self.one_se: "one standard error"}

    def _table(self) -> Sheet:
        columns = (self.n_leaves, self.ccp_alphas, self.train, self.mean, self.se)
        leaves = "1 leaf" if self.n_leaves[self.chosen] == 1 else f"{self.n_leaves[self.chosen]:,} leaves"
        body = [
            [*(number(float(values[k])) for values in columns), self._marks().get(k, "")]
            for k in self._shown(MOST_SHOWN).tolist()
        ]
        title = [f"{len(self.n_leaves)} trees of a pruning path: {TITLES[self.loss]}"]
        header = ["leaves", "alpha", "train", self.held_out, "standard error", ""]
        return title, header, body, [f"Chosen: the tree with {leaves}."]

    def plot(self) -> Any:
        """An Altair chart of both errors against the number of leaves, with the trees that the rules choose."""
        import altair as alt

        held = f"held out, {self.n_folds} folds" if self.n_folds else "validation rows"
        curves = {"training rows": (self.train, 0.0 * self.se), held: (self.mean, self.se)}
        values = [
            {"leaves": leaves, "error": error, "low": max(error - se, 0.0), "high": error + se, "rows": name}
            for name, columns in curves.items()
            for leaves, error, se in np.column_stack([self.n_leaves, *columns])[self._shown(MOST_PLOTTED)].tolist()
        ]
        marks = [
            {"leaves": float(self.n_leaves[k]), "error": float(self.mean[k]), "tree": name}
            for k, name in self._marks().items()
        ]
        x = alt.X("leaves:Q", scale=alt.Scale(type="log"), title="leaves (more: the tree follows its training rows)")
        y = alt.Y("error:Q", title=TITLES[self.loss])
        legend = alt.Legend(title=["error on", "(band: one standard error)"], symbolOpacity=1.0)
        color = alt.Color("rows:N", sort=list(curves), legend=legend)
        base = alt.Chart(alt.Data(values=values), title="Errors along the pruning path").encode(x=x, color=color)
        band = base.mark_area(opacity=0.2).encode(y=alt.Y("low:Q", title=TITLES[self.loss]), y2="high:Q")
        lines = base.mark_line().encode(y=y)
        shape = alt.Shape("tree:N", title="tree of the", legend=alt.Legend(labelLimit=240))
        points = alt.Chart(alt.Data(values=marks)).mark_point(size=110, filled=True, color="black", opacity=1.0)
        chosen = {"leaves": float(self.n_leaves[self.chosen]), "rule": "chosen"}
        rule = alt.Chart(alt.Data(values=[chosen])).mark_rule(strokeDash=[4, 3])
        rule = rule.encode(x=x, strokeDash=alt.StrokeDash("rule:N", title=None))
        points = points.encode(x=x, y=y, shape=shape)
        return (band + lines + rule + points).properties(width=480, height=300)


def curve_on_rows(tree: Tree, cases: Cases, loss: int, rule: str) -> PruningCurve:
    """The path of a tree judged by rows that it has not seen."""
    alphas, n_leaves = distinct_path(tree)
    sums = along(tree, between(alphas), node_losses(tree, loss, cases))
    return PruningCurve(alphas, n_leaves, _train(tree, alphas, loss), *_mean(sums, cases), rule, 0, loss)


def curve_by_folds(
    tree: Tree, grown: Callable[[Array], Tree], cases: Cases, cv: Any, loss: int, rule: str
) -> PruningCurve:
    """The path of a tree judged by others, each `grown` of the rows outside a fold, with these weights (n,).

    Each row is judged by the tree that did not see it, pruned at the same prices (Breiman and others 1984, section
    3.4.2).
    """
    alphas, n_leaves = distinct_path(tree)
    prices = between(alphas)
    parts = folds_of(cases, cv, by_class=loss == WRONG)

    def judged(fold: Fold) -> Array:
        train, held = fold
        other = grown(train * cases.factors)
        return along(other, prices, node_losses(other, loss, cases.weighing(held)))

    sums = np.sum(in_threads(judged, parts), axis=0)
    mean, se = _mean(sums, replace(cases, weights=np.sum([held for _, held in parts], axis=0)))
    return PruningCurve(alphas, n_leaves, _train(tree, alphas, loss), mean, se, rule, len(parts), loss)


def _train(tree: Tree, alphas: Array, loss: int) -> Array:
    sums = along(tree, between(alphas), training_losses(tree, loss)[:, None])[:, 0]
    return np.asarray(np.maximum(sums, 0.0) / tree.weight[0])


def _mean(sums: Array, cases: Cases) -> tuple[Array, Array]:
    """The mean loss (k,) and its standard error, of sums (k, 3) as `node_losses` makes them."""
    total, seen = cases.counted.sum(), cases.weights[cases.factors > 0.0].sum()
    mean = sums[:, 0] / total
    spread = sums[:, 2] - 2.0 * mean * sums[:, 1] + mean**2 * (cases.counted @ cases.factors)
    return mean, np.sqrt(np.maximum(spread, 0.0) * (seen / max(seen - 1.0, 1.0))) / total


def between(alphas: Array) -> Array:
    """A price for each tree (m,) that is best from `alphas` (m,) on: the geometric mean of it and the next."""
    return np.append(np.sqrt(alphas[:-1] * alphas[1:]), np.inf)


def distinct_path(tree: Tree) -> tuple[Array, Array]:
    """Prices and leaves of the trees of the path; of those with one price, but for rounding, the smallest."""
    path = pruning_path(tree)
    last = np.append(np.diff(path.ccp_alphas) > ROUNDING * path.impurities[-1], True)
    return path.ccp_alphas[last], path.n_leaves[last]


def folds_of(cases: Cases, cv: Any, *, by_class: bool) -> list[Fold]:
    """The weights (n,) of the rows that a tree is grown of, and of those held out, for each fold."""
    X = np.where(np.isnan(cases.X), np.nan, cases.X)  # missing values have one bit pattern
    found = folds(X, cases.y, cases.weights * (cases.factors > 0.0), cv, by_class=by_class)
    if not found:
        raise InputError("prune='cv' holds rows out, and fewer than three differ (n_samples = 1, say): give more.")
    return found
