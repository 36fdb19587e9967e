"""The path of the lasso or the elastic net: solutions for falling penalties, each started from the one before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from heldout.linear.penalised.problem import Problem, SomeProducts
from heldout.linear.penalised.working_set import ROUNDING, WorkingSet
from heldout.linear.triangular import Array
from heldout.words import number

MOST_TURNS = 100  # of polishing
EXACT = 1e-14  # duality gap, relative to y'y, at which nothing is left to do


@dataclass(frozen=True)
class Solution:
    """The minimiser for one penalty."""

    w: Array  # (p,)
    gap: float  # duality gap over y'y
    n_iter: int


def solutions(problem: Problem, alphas: Array, l1_ratio: float, *, tol: float, max_iter: int) -> Iterator[Solution]:
    """One solution for each of the falling `alphas`, each begun where the one before ended.

    Columns whose correlation with the residuals is far below the penalty are left out of the descent (the sequential
    strong rule: Tibshirani, Bien, Friedman, Hastie, Simon, Taylor and Tibshirani, J. Royal Statistical Society B 74,
    2012), and the conditions for a minimum are then checked for all of them.
    """
    columns, w = _columns(problem), np.zeros(len(problem.c))
    g = problem.gradient(w)
    before = float(np.abs(g).max(initial=0.0)) / l1_ratio
    for alpha in alphas.tolist():
        l1, l2 = alpha * l1_ratio, alpha * (1.0 - l1_ratio)
        likely = np.abs(g) >= l1_ratio * (2.0 * alpha - min(before, 2.0 * alpha))
        columns.extend(np.flatnonzero(likely & (g != 0.0) & ~columns.inside))
        n_iter = 0
        while True:
            gap, more = columns.solve(g[columns.order], l1, l2, tol * problem.yy, max_iter - n_iter)
            n_iter += more
            w = columns.whole()
            g = problem.gradient(w)
            missed = np.flatnonzero((np.abs(g) > l1 * (1.0 + ROUNDING)) & ~columns.inside)
            if not len(missed) or n_iter >= max_iter:
                break
            columns.extend(missed)
        before = alpha
        yield Solution(w, gap / problem.yy if problem.yy else 0.0, n_iter)


def _columns(problem: Problem) -> Any:
    """The columns that may matter, on products or, for CSR without all products, on residuals."""
    if isinstance(problem, SomeProducts) and sparse.issparse(problem.x):
        from heldout.linear.penalised.residuals import Columns

        return Columns(problem)
    return WorkingSet(problem)


def solution(problem: Problem, alpha: float, l1_ratio: float, *, tol: float, max_iter: int) -> Solution:
    """The minimiser for one penalty: down a short path, then polished to rounding."""
    largest = greatest_alpha(problem, l1_ratio)
    if largest <= alpha or problem.yy == 0.0:
        return Solution(np.zeros(len(problem.c)), 0.0, 1)
    steps = int(np.clip(np.ceil(10.0 * np.log10(largest / alpha)), 1, 60))
    alphas = np.geomspace(largest, alpha, steps + 1)[1:]
    found = list(solutions(problem, alphas, l1_ratio, tol=max(tol, 1e-4), max_iter=max_iter))[-1]
    return polished(problem, found, alpha, l1_ratio, tol=tol, max_iter=max_iter)


def polished(
    problem: Problem, found: Solution, alpha: float, l1_ratio: float, *, tol: float, max_iter: int
) -> Solution:
    """From a rough solution to one that is exact but for rounding, where the active columns are independent."""
    from heldout.linear.penalised.kernels import duality_gap

    l1, l2 = alpha * l1_ratio, alpha * (1.0 - l1_ratio)
    columns, n_iter = WorkingSet(problem), found.n_iter
    g = problem.gradient(found.w)
    columns.extend(np.flatnonzero((found.w != 0.0) | (np.abs(g) > l1)))
    columns.w[:] = found.w[columns.order]
    gap = found.gap * problem.yy
    for _ in range(MOST_TURNS):
        c = problem.c[columns.order]
        g_inside = columns.gradient(c, columns.w)
        gap, more = columns.solve(g_inside, l1, l2, tol * problem.yy, max(max_iter - n_iter, 1))
        n_iter += more
        settled = columns.newton(g_inside, c, l1, l2)
        w = columns.whole()
        g = problem.gradient(w)
        missed = np.flatnonzero((np.abs(g) > l1 * (1.0 + ROUNDING)) & ~columns.inside)
        columns.extend(missed)
        still = columns.w == 0.0
        wrong = np.abs(g[columns.order][still]) > l1 * (1.0 + ROUNDING)
        if (settled and not len(missed) and not wrong.any()) or n_iter >= max_iter:
            break
        tol = max(tol / 10.0, EXACT) if settled or len(missed) else tol
        if not settled and gap <= tol * problem.yy:
            break  # dependent columns: Newton's step is not to be had, and the descent has converged
    gap = float(duality_gap(w, g, problem.c, problem.yy, l1, l2))
    return Solution(w, gap / problem.yy, n_iter)


def greatest_alpha(problem: Problem, l1_ratio: float) -> float:
    """The least penalty for which every coefficient is zero."""
    return float(np.abs(problem.c).max(initial=0.0)) / l1_ratio


def falling_alphas(problem: Problem, l1_ratio: float, n_alphas: int, eps: float) -> Array:
    """Geometrically from the least penalty that leaves nothing down to `eps` times that."""
    largest = greatest_alpha(problem, l1_ratio) or 1.0
    return np.geomspace(largest, largest * eps, n_alphas)


@dataclass(frozen=True, eq=False)
class Path:
    """Coefficients for falling penalties.

    Attributes
    ----------
    alphas : float64 array (k,), falling
    coefs : float64 array (k, p)
    intercepts : float64 array (k,)
    dual_gaps : float64 array (k,), relative to y'y: the objective is at most this far above its minimum
    names : tuple of str (p,)
    """

    alphas: Array
    coefs: Array
    intercepts: Array
    dual_gaps: Array
    names: tuple[str, ...]

    @property
    def n_nonzero(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """How many coefficients are not zero (k,): for the lasso its degrees of freedom."""
        return np.asarray(np.count_nonzero(self.coefs, axis=1))

    def __str__(self) -> str:
        shown = np.unique(np.linspace(0, len(self.alphas) - 1, min(8, len(self.alphas))).round().astype(int))
        rows = [("alpha", "columns"), *((number(float(self.alphas[i])), str(self.n_nonzero[i])) for i in shown)]
        width = max(len(row[0]) for row in rows)
        return "\n".join(f"{alpha.rjust(width)}  {count.rjust(7)}" for alpha, count in rows)

    __repr__ = __str__

    def plot(self) -> Any:
        """An Altair chart of the coefficients against the penalty, the 20 largest in colours of their own."""
        import altair as alt

        largest = np.argsort(-np.abs(self.coefs).max(axis=0), kind="stable")[:20]
        values = [
            {"alpha": float(alpha), "coefficient": float(row[j]), "column": self.names[j]}
            for alpha, row in zip(self.alphas, self.coefs, strict=True)
            for j in largest
        ]
        return (
            alt.Chart(alt.Data(values=values), title="Coefficients along the path of the penalty")
            .mark_line()
            .encode(
                x=alt.X("alpha:Q", scale=alt.Scale(type="log", reverse=True), title="penalty α (falling)"),
                y=alt.Y("coefficient:Q", title="coefficient (unit of the target per unit of the column)"),
                color=alt.Color("column:N", title="column", scale=alt.Scale(scheme="tableau20")),
            )
            .properties(width=440, height=280)
        )
