"""Least squares of data that comes in blocks and need not fit into memory: one triangle keeps all that matters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from heldout.linear.blocks import one_blas_thread, split_rows
from heldout.linear.squares.factors import by_pivoted_qr
from heldout.linear.squares.least_squares import LeastSquares, negligible
from heldout.linear.squares.refinement import EPS
from heldout.linear.triangular import LAPACK_BLOCK, Array, block_rows


@dataclass(frozen=True)
class Stream:
    """T with T'T = Z'VZ over the rows so far, Z = [1, x, y], or [x, y] without an intercept."""

    triangle: Array  # (k, w) for w columns of Z and k = min(n, w)
    rows: int
    targets: int
    fit_intercept: bool

    @classmethod
    def start(cls, p: int, targets: int, fit_intercept: bool) -> Stream:
        """No rows yet."""
        return cls(np.zeros((0, fit_intercept + p + targets)), 0, targets, fit_intercept)

    def extended(self, x: Array, y: Array, weights: Array | None) -> Stream:
        """With these rows as well: Householder reflections of T over them, a block of rows at a time.

        No digits are lost as they would be in Z'VZ itself.
        """
        triangle, width = self.triangle, self.triangle.shape[1]
        for rows in split_rows(len(x), -(-len(x) // max(block_rows(width), width))):
            z = np.zeros((len(triangle) + rows.stop - rows.start, width), order="F")
            z[: len(triangle)] = triangle
            new = z[len(triangle) :]
            new[:, : self.fit_intercept] = 1.0
            new[:, self.fit_intercept : width - self.targets] = x[rows]
            new[:, width - self.targets :] = y[rows]
            if weights is not None:
                new *= np.sqrt(weights[rows])[:, None]
            with one_blas_thread:
                z, _, _, _ = lapack.dgeqrf(z, lwork=LAPACK_BLOCK * width, overwrite_a=1)
            triangle = np.triu(z[:width])
        return Stream(triangle, self.rows + len(x), self.targets, self.fit_intercept)

    def solve(self, tol: float | None) -> LeastSquares:
        """The least-squares solution for the rows so far; there is nothing left to refine it with."""
        start, stop = int(self.fit_intercept), self.triangle.shape[1] - self.targets
        mean, total = np.zeros(self.triangle.shape[1]), float(self.rows)
        if self.fit_intercept:  # the first reflection took the means out of all other columns
            mean, total = self.triangle[0] / self.triangle[0, 0], float(self.triangle[0, 0] ** 2)
        rest = self.triangle[start:] if len(self.triangle) > start else np.zeros((1, len(mean)))
        r, c = np.array(rest[:, start:stop], order="F"), np.array(rest[:, stop:], order="F")
        tol = max(self.rows, stop - start) * EPS if tol is None else tol
        with one_blas_thread:
            factors, coef = by_pivoted_qr(
                r.copy(order="F"), c.copy(order="F"), negligible(mean[start:stop], total), tol
            )
            intercept = mean[stop:] - mean[start:stop] @ coef
        return LeastSquares(coef, intercept, factors.rank, "qr", factors.condition)
