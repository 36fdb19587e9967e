"""The columns that may matter, on their products: coordinate descent, and Newton's step once the signs are known."""

from __future__ import annotations

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from heldout.linear.blocks import one_blas_thread
from heldout.linear.penalised.problem import Indices, Problem
from heldout.linear.triangular import Array

SWEEPS_BEFORE_NEWTON = 12  # a factorisation of the active columns costs about as much
ROUNDING = 1e-12  # relative: a correlation this little above the penalty is at it


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
