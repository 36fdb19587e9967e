"""The penalty chosen by cross-validation: folds, errors on what was held out, and the one-standard-error rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from heldout.errors import InputError
from heldout.linear.blocks import in_threads, one_blas_thread
from heldout.linear.normal import Products, products
from heldout.linear.penalised.problem import (
    AllProducts,
    Problem,
    centred_square,
    from_products,
    make_problem,
)
from heldout.linear.triangular import Array
from heldout.words import number

RULES = ("one_se", "min")
MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64's

Fold = tuple[Array, Array]  # weights (n,) of the rows to fit, and of the rows to validate
Walk = Callable[[Problem, Array], Array]  # coefficients (k, p) for k penalties, in the problem's own units


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


def folds(x: Any, y: Array, weights: Array | None, cv: Any) -> list[Fold]:
    """The weights of the rows to fit and to validate, for each fold.

    A number of folds deals the rows out in an order that depends on their contents alone: shuffled, but the same for
    any order of rows and columns. Rows that are the same throughout stay together, so that none is fitted and judged
    at once, and a row of weight k is k such rows.
    """
    v = np.ones(len(y)) if weights is None else weights
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        return _dealt(x, y, v, int(cv))
    pairs = list(cv.split(x, y)) if hasattr(cv, "split") else list(cv)
    found = []
    for train, validation in pairs:
        parts = []
        for rows in (train, validation):
            part = np.zeros(len(y))
            part[rows] = v[rows]
            parts.append(part)
        if not parts[0].any() or not parts[1].any():
            raise InputError(
                "A fold of cv has no rows to fit or none to validate: give splits with rows of both kinds."
            )
        found.append((parts[0], parts[1]))
    if not found:
        raise InputError("cv gives no splits: give a whole number from 2 up, a splitter, or pairs of row indices.")
    return found


def _dealt(x: Any, y: Array, v: Array, k: int) -> list[Fold]:
    if k < 2:
        raise InputError(f"cv is {k} and must be 2 folds or more, a splitter, or pairs of row indices.")
    rows = np.flatnonzero(v)
    contents = _contents(x)[rows]
    order = np.lexsort((y[rows], contents))
    ordered, targets = contents[order], y[rows][order]
    new = np.r_[False, (ordered[1:] != ordered[:-1]) | (targets[1:] != targets[:-1])]
    place = np.empty(len(rows), dtype=np.intp)
    place[order] = np.cumsum(new)
    found = []
    for fold in range(min(k, int(place.max()) + 1)):
        held = np.zeros(len(y))
        mine = rows[place % k == fold]
        held[mine] = v[mine]
        found.append((v - held, held))
    return [pair for pair in found if pair[0].any()]


def _contents(x: Any) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A number (n,) for the numbers in each row, whatever their order."""
    if sparse.issparse(x):
        mixed = _mixed(x.data + 0.0)
        sums = np.zeros(len(mixed) + 1, dtype=np.uint64)
        np.cumsum(mixed, out=sums[1:])
        return np.asarray(sums[x.indptr[1:]] - sums[x.indptr[:-1]])
    found = np.empty(len(x), dtype=np.uint64)
    for start in range(0, len(x), 1024):
        found[start : start + 1024] = _mixed(x[start : start + 1024] + 0.0).sum(axis=1, dtype=np.uint64)
    return found


def _mixed(values: Array) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """splitmix64's finaliser of the numbers' bits; zero stays zero."""
    bits = np.ascontiguousarray(values).view(np.uint64)
    for shift, factor in zip((np.uint64(30), np.uint64(27)), MULTIPLIERS, strict=True):
        bits = (bits ^ (bits >> shift)) * factor
    return np.asarray(bits ^ (bits >> np.uint64(31)))


def choose(
    x: Any,
    y: Array,
    problem: Problem,
    whole: Products | None,
    parts: list[Fold],
    alphas: Array,
    walk: Walk,
    *,
    fit_intercept: bool,
    standardise: bool,
) -> Choice:
    """Errors of every penalty on every fold; `whole` are the products of all rows, where there are such."""

    def errors(fold: Fold) -> tuple[Array, Array, Array]:
        train, held = fold
        taken = np.flatnonzero(held)
        if whole is not None and isinstance(problem, AllProducts) and not sparse.issparse(x):
            square = centred_square(y[train > 0.0], train[train > 0.0], fit_intercept)
            rest = _without(whole, products(x[taken], y[taken, None], held[taken], fit_intercept=fit_intercept), train)
            inner: Problem = from_products(rest, square, fit_intercept, standardise)
        else:
            rows = np.flatnonzero(train)
            inner = make_problem(x[rows], y[rows], train[rows], fit_intercept=fit_intercept, standardise=standardise)
        coef, intercept = inner.coefficients(walk(inner, alphas))
        with one_blas_thread:
            square_errors = (y[taken, None] - x[taken] @ coef.T - intercept) ** 2
            return held[taken] @ square_errors / held[taken].sum(), square_errors, held[taken]

    results = in_threads(errors, parts)
    means = np.array([result[0] for result in results])
    if len(results) > 1:
        spread = means.std(axis=0, ddof=1) / np.sqrt(len(means))
    else:  # one split: the spread of the rows' own errors
        _, squares, held = results[0]
        spread = np.sqrt(held @ (squares - means[0]) ** 2 / held.sum() / max(len(held) - 1, 1))
    return Choice.of(alphas, means.mean(axis=0), spread)


def _without(whole: Products, part: Products, train: Array) -> Products:
    """The products of all rows but some, about their own means."""
    total = float(train.sum())

    def center(all_rows: Array, some: Array) -> Array:
        return (whole.total * all_rows - part.total * some) / total

    mean_x, mean_y = center(whole.mean_x, part.mean_x), center(whole.mean_y, part.mean_y)
    d_x, d_y = part.mean_x - whole.mean_x, part.mean_y - whole.mean_y
    e_x, e_y = mean_x - whole.mean_x, mean_y - whole.mean_y
    xx = whole.xx - part.xx
    xx -= part.total * np.outer(d_x, d_x) + total * np.outer(e_x, e_x)
    xy = whole.xy - part.xy - part.total * np.outer(d_x, d_y) - total * np.outer(e_x, e_y)
    return Products(xx, xy, mean_x, mean_y, total)
