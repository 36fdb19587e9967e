"""The path of the lasso or the elastic net: solutions for falling penalties, each started from the one before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from heldout.linear.blocks import one_blas_thread
from heldout.linear.penalised.problem import Indices, Problem
from heldout.linear.triangular import Array
from heldout.words import number

SWEEPS_BEFORE_NEWTON = 12  # a factorisation of the active columns costs about as much
ROUNDING = 1e-12  # relative: a correlation this little above the penalty is at it
MOST_TURNS = 100  # of polishing
EXACT = 1e-14  # duality gap, relative to y'y, at which nothing is left to do


@dataclass(frozen=True)
class Solution:
    """The minimiser for one penalty."""

    w: Array  # (p,)
    gap: float  # duality gap over y'y
    n_iter: int


class WorkingSet:
    """The columns that may matter so far, their products side by side, and their coefficients."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.order = np.empty(0, dtype=np.intp)
        self.inside = np.zeros(len(problem.c), dtype=np.bool_)
        self.h = np.empty((0, 0))
        self.w = np.empty(0)

    def extend(self, columns: Indices) -> None:
        m, more = len(self.order), len(columns)
        if not more:
            return
        order = np.r_[self.order, columns]
        if m + more > len(self.h):
            room = np.empty((max(min(2 * m, len(self.inside)), m + more),) * 2)
            room[:m, :m] = self.h[:m, :m]
            self.h = room
        found = self.problem.block(columns, order)
        self.h[m : m + more, : m + more] = found
        self.h[:m, m : m + more] = found[:, :m].T
        self.order, self.w = order, np.r_[self.w, np.zeros(more)]
        self.inside[columns] = True

    def whole(self) -> Array:
        """The coefficients of all columns (p,)."""
        w = np.zeros(len(self.inside))
        w[self.order] = self.w
        return w

    def solve(self, g: Array, l1: float, l2: float, tol: float, most: int) -> tuple[float, int]:
        """Descend to a duality gap of `tol` over these columns, from their gradient g; the gap and the sweeps."""
        from heldout.linear.penalised.kernels import sweeps

        c, yy, done, gap = self.problem.c[self.order], self.problem.yy, 0, np.inf
        while done < most:
            turns, gap = sweeps(self.h, self.w, g, c, yy, l1, l2, tol, min(SWEEPS_BEFORE_NEWTON, most - done))
            done += turns
            if gap <= tol:
                break
            self.newton(g, c, l1, l2)
        return float(gap), done

    def gradient(self, c: Array, w: Array) -> Array:
        m = len(self.order)
        with one_blas_thread:
            return np.asarray(c - self.h[:m, :m] @ w)

    def newton(self, g: Array, c: Array, l1: float, l2: float) -> bool:
        """Go to the minimum for the signs as they are, if that lowers the objective; whether all signs stayed.

        Coefficients that would change their signs become zero; if that goes too far, the step ends at the first one.
        """
        from heldout.linear.penalised.kernels import objective

        active = np.flatnonzero(self.w)
        signs, now = np.sign(self.w[active]), self.w[active]
        matrix = self.h[np.ix_(active, active)]
        matrix[np.diag_indices_from(matrix)] += l2
        try:
            with one_blas_thread:
                factor = cho_factor(matrix.T, overwrite_a=True, check_finite=False)
                best = cho_solve(factor, c[active] - l1 * signs)
        except LinAlgError:  # the active columns depend on each other
            return False
        turning = best * signs < 0.0
        share = float(np.min(now[turning] / (now[turning] - best[turning]), initial=1.0))
        before, yy = objective(self.w, g, c, self.problem.yy, l1, l2), self.problem.yy
        for step in (best, now + share * (best - now)):
            w = self.w.copy()
            w[active] = np.where(step * signs > 0.0, step, 0.0)
            slope = self.gradient(c, w)
            if objective(w, slope, c, yy, l1, l2) <= before + ROUNDING * yy:
                self.w[:], g[:] = w, slope
                return not turning.any()
        return False


def solutions(problem: Problem, alphas: Array, l1_ratio: float, *, tol: float, max_iter: int) -> Iterator[Solution]:
    """One solution for each of the falling `alphas`, each begun where the one before ended.

    Columns whose correlation with the residuals is far below the penalty are left out of the descent (the sequential
    strong rule: Tibshirani, Bien, Friedman, Hastie, Simon, Taylor and Tibshirani, J. Royal Statistical Society B 74,
    2012), and the conditions for a minimum are then checked for all of them.
    """
    columns, w = WorkingSet(problem), np.zeros(len(problem.c))
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
