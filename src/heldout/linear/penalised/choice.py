"""The penalty chosen by cross-validation: errors on what was held out, and the one-standard-error rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from heldout.dealing import Fold, Rows
from heldout.linear.blocks import in_threads, one_blas_thread
from heldout.linear.penalised.problem import AllProducts, Problem, centred_square, from_products, make_problem
from heldout.linear.squares.normal import Products
from heldout.linear.triangular import Array
from heldout.words import number

RULES = ("one_se", "min")
ENOUGH_LEFT = 1e-4  # of a sum of squares, after a fold is taken away from it
RUN = 2**20  # numbers in a run of rows

Walk = Callable[[Problem, Array], tuple[Array, int]]  # coefficients (k, p) in the problem's units; how many fell short


@dataclass(frozen=True, eq=False)
class Choice:
    """Cross-validated errors along the path, and the penalties that the rules choose.

    Attributes
    ----------
    alphas : float64 array (k,), falling
    mean, se : float64 arrays (k,): mean squared error on what was held out, over the folds, and its standard error
    alpha_min : float, of the least mean error
    alpha_one_se : float, the largest penalty whose mean error is within one standard error of the least
    """

    alphas: Array
    mean: Array
    se: Array
    alpha_min: float
    alpha_one_se: float

    @classmethod
    def of(cls, alphas: Array, mean: Array, se: Array) -> Choice:
        best = int(np.argmin(mean))
        within = int(np.argmax(mean <= mean[best] + se[best]))
        return cls(alphas, mean, se, float(alphas[best]), float(alphas[within]))

    def by(self, rule: str) -> float:
        return self.alpha_min if rule == "min" else self.alpha_one_se

    def __str__(self) -> str:
        lines = [("rule", "alpha", "mean squared error", "standard error")]
        for rule in ("min", "one_se"):
            i = int(np.argmin(np.abs(self.alphas - self.by(rule))))
            alpha, mean, se = (number(float(values[i])) for values in (self.alphas, self.mean, self.se))
            lines.append((rule, alpha, mean, se))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines)

    __repr__ = __str__

    def plot(self) -> Any:
        """An Altair chart of the error on what was held out against the penalty, with both rules marked."""
        import altair as alt

        columns = (self.alphas, self.mean, self.mean - self.se, self.mean + self.se)
        names = ("alpha", "error", "low", "high")
        values = [dict(zip(names, map(float, row), strict=True)) for row in zip(*columns, strict=True)]
        marks = [
            {"alpha": self.alpha_min, "rule": "least error"},
            {"alpha": self.alpha_one_se, "rule": "one standard error"},
        ]
        base = alt.Chart(alt.Data(values=values), title="Cross-validated error along the path of the penalty")
        x = alt.X("alpha:Q", scale=alt.Scale(type="log", reverse=True), title="penalty α (falling)")
        title = "mean squared error (squared unit of the target)"
        bars = base.mark_rule(opacity=0.4).encode(
            x=x, y=alt.Y("low:Q", title=title, scale=alt.Scale(zero=False)), y2="high:Q"
        )
        points = base.mark_circle(size=18).encode(x=x, y=alt.Y("error:Q", title=title))
        rules = (
            alt.Chart(alt.Data(values=marks))
            .mark_rule(strokeDash=[4, 3])
            .encode(x=x, color=alt.Color("rule:N", title="chosen by"))
        )
        return (bars + points + rules).properties(width=440, height=280)


def choose(
    x: Any,
    y: Array,
    weights: Array | None,
    problem: Problem,
    parts: list[Fold],
    alphas: Array,
    walk: Walk,
    *,
    fit_intercept: bool,
    standardise: bool,
) -> tuple[Choice, int]:
    """Errors of every penalty on every fold, and how many fits stopped short; `problem` is that of all rows."""
    square = centred_square(y, weights, fit_intercept)
    v = np.ones(len(y)) if weights is None else weights

    def errors(fold: Fold) -> tuple[Array, Array, int]:
        train, held = fold
        rows, taken = np.flatnonzero(train), np.flatnonzero(held)
        inner: Problem | None = None
        if isinstance(problem, AllProducts) and not sparse.issparse(x) and np.array_equal(train + held, v):
            inner = _without(problem, square, x, y, fold, fit_intercept, standardise)
        if inner is None:
            inner = make_problem(x[rows], y[rows], train[rows], fit_intercept=fit_intercept, standardise=standardise)
        w, short = walk(inner, alphas)
        return *_spread(x, y, held, taken, *inner.coefficients(w)), short

    means, spreads, short = map(np.array, zip(*in_threads(errors, parts), strict=True))
    spread = spreads[0]  # of one split: that of the rows' own errors
    if len(parts) > 1:
        spread = means.std(axis=0, ddof=1) / np.sqrt(len(means))
    return Choice.of(alphas, means.mean(axis=0), spread), int(short.sum())


def _spread(x: Any, y: Array, held: Array, taken: Rows, coef: Array, intercept: Array) -> tuple[Array, Array]:
    """The mean squared error on the rows that were held out (k,), and the standard error of that mean."""
    squares = np.empty((len(taken), len(coef)))
    with one_blas_thread:
        for part in _runs(len(taken), x.shape[1]):
            rows = taken[part]
            squares[part] = (y[rows, None] - x[rows] @ coef.T - intercept) ** 2
        share = held[taken] / held.sum()
        mean = share @ squares
        return mean, np.sqrt(share @ (squares - mean) ** 2 / max(len(taken) - 1, 1))


def _without(
    whole: AllProducts, square: float, x: Array, y: Array, fold: Fold, fit_intercept: bool, standardise: bool
) -> AllProducts | None:
    """The problem of the rows to fit: those held out are taken away from the products of all rows.

    None where little of a column's spread, or of the target's, is left: then the difference has lost its digits.
    """
    train, held = fold
    frame, total = whole.frame, float(train.sum())
    if np.isinf(frame.scale).any():
        return None
    xx, xy = whole.gram * whole.total, whole.c * (whole.total * frame.scale)
    xx *= frame.scale
    xx *= frame.scale[:, None]
    before = xx.diagonal().copy()
    sums, sum_y, product = np.zeros(len(xx)), 0.0, np.empty_like(xx)
    taken = np.flatnonzero(held)
    for part in _runs(len(taken), len(xx)):
        rows = taken[part]
        root = np.sqrt(held[rows])
        z = (x[rows] - frame.mean) * root[:, None]
        t = (y[rows] - frame.y_mean) * root
        xx -= np.matmul(z.T, z, out=product)
        xy -= z.T @ t
        sums, sum_y = sums - root @ z, sum_y - float(root @ t)
    left = centred_square(y[train > 0.0], train[train > 0.0], fit_intercept)
    mean_x, mean_y = frame.mean, frame.y_mean
    if fit_intercept:  # the means move by what the rows held out leave
        xx -= np.multiply(sums[:, None] / total, sums, out=product)
        xy -= sums * (sum_y / total)
        mean_x, mean_y = mean_x + sums / total, mean_y + sum_y / total
    if np.any(xx.diagonal() < ENOUGH_LEFT * before) or left < ENOUGH_LEFT * square:
        return None
    del product
    return from_products(Products(xx, xy[:, None], mean_x, np.array([mean_y]), total), left, fit_intercept, standardise)


def _runs(n: int, p: int) -> list[slice]:
    """n rows of p numbers in runs of a few MB."""
    height = max(256, RUN // max(p, 1))
    return [slice(low, low + height) for low in range(0, n, height)]
