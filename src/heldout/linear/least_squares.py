"""Least squares from the reduced triangle: rank, minimum norm, refinement. Arrays in, arrays out; no checks."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import blas, lapack, solve_triangular

from heldout.linear.blocks import in_threads, one_blas_thread, split_rows
from heldout.linear.triangular import LAPACK_BLOCK, MAX_PARTS, Array, Rows, block_rows, reduce

EPS = float(np.finfo(np.float64).eps)
EXTENDED: type[np.floating[Any]] = np.longdouble  # 80 bits or more on most machines, 64 on some
WELL_CONDITIONED = 100.0  # beyond it refinement in double precision was seen to lose digits (NIST Wampler5)
CONSTANT = 16 * EPS  # a column that varies by less than this of its size varies by rounding only


@dataclass(frozen=True)
class LeastSquares:
    """Coefficients (p, m), intercepts (m,) and the numerical rank of the centred columns."""

    coef: Array
    intercept: Array
    rank: int


@dataclass(frozen=True)
class Factors:
    """The complete orthogonal decomposition R P = Q [T 0; 0 0] Z, truncated at `rank`, in compact form.

    Where the rank is full, Z is the identity and `reflections` is None.
    """

    triangle: Array  # (rank, p): T in its upper triangle, Z's reflections to the right of it
    reflections: Array | None  # (rank,)
    order: np.ndarray[Any, np.dtype[np.intp]]  # (p,) the pivots' columns
    rank: int
    condition: float  # of the columns in unit norm, as the pivots show it

    def solve(self, c: Array) -> Array:
        """The w (p, m) of least norm for which R w = Q [c; 0]."""
        w = np.zeros((len(self.order), c.shape[1]), order="F")
        w[: self.rank] = solve_triangular(self.triangle[:, : self.rank], c, check_finite=False)
        return self._leave(w)

    def solve_normal(self, g: Array) -> Array:
        """The w (p, m) of least norm with R'R w = g (p, m)."""
        inside = np.asfortranarray(g[self.order])
        if self.reflections is not None:
            inside = lapack.dormrz(self.triangle, self.reflections, inside, overwrite_c=1)[0]
        t = self.triangle[:, : self.rank]
        return self.solve(solve_triangular(t, inside[: self.rank], trans="T", check_finite=False))

    def _leave(self, w: Array) -> Array:
        if self.reflections is not None:
            w = lapack.dormrz(self.triangle, self.reflections, w, trans="T", overwrite_c=1)[0]
        result = np.empty_like(w)
        result[self.order] = w
        return result


def least_squares(x: Array, y: Array, weights: Array | None, *, fit_intercept: bool, tol: float | None) -> LeastSquares:
    """Minimise sum_i w_i (y_i - b - x_i'W)^2 over W (p, m) and b (m,); among many W, the one of least norm."""
    n, p = x.shape
    rows = _centred(x, y, weights, fit_intercept)
    r, c = reduce(rows)
    with one_blas_thread:
        # rounding alone gives a constant column this norm after centring
        negligible = CONSTANT * np.abs(rows.mean_x) * np.sqrt(n if weights is None else weights.sum())
        factors, c = factorise(r, c, negligible, max(n, p) * EPS if tol is None else tol)
        coef = factors.solve(c)
    return _refined(rows, factors, coef, fit_intercept)


def _centred(x: Array, y: Array, weights: Array | None, fit_intercept: bool) -> Rows:
    root_weights = None if weights is None else np.sqrt(weights)
    if not fit_intercept:
        return Rows(x, y, np.zeros(x.shape[1]), np.zeros(y.shape[1]), root_weights)
    if weights is None:
        return Rows(x, y, x.mean(axis=0), y.mean(axis=0), None)
    with one_blas_thread:
        return Rows(x, y, weights @ x / weights.sum(), weights @ y / weights.sum(), root_weights)


def factorise(r: Array, c: Array, negligible: Array, tol: float) -> tuple[Factors, Array]:
    """Pivoted Householder QR of `r` with its columns in unit norm, and the first `rank` rows of Q'c.

    A column whose norm is at most `negligible` counts as zero. The rank is the number of |r_kk| > tol |r_11|.
    The rows that remain, back in the columns' own units, are reduced from the right where they are fewer than
    the columns. Both `r` and `c` (Fortran order) are overwritten.
    """
    p = r.shape[1]
    norms = np.array([blas.dnrm2(r[:, j]) for j in range(p)])
    scale = np.where(norms > negligible, norms, 1.0)
    r *= (norms > negligible) / scale
    r, order, tau, _, _ = lapack.dgeqp3(r, lwork=2 * p + (p + 1) * LAPACK_BLOCK, overwrite_a=1)
    c, _, _ = lapack.dormqr("L", "T", r[:, : len(tau)], tau, c, lwork=LAPACK_BLOCK * c.shape[1], overwrite_c=1)
    order = order.astype(np.intp) - 1
    pivots = np.abs(r.diagonal())
    rank = int(np.count_nonzero(pivots > tol * pivots[0]))
    condition = float(pivots[0] / pivots[rank - 1]) if rank else 1.0
    triangle = _keep_rows(r, rank, scale[order])
    reflections = None
    if 0 < rank < p:
        triangle, reflections, _ = lapack.dtzrzf(triangle, lwork=LAPACK_BLOCK * rank, overwrite_a=1)
    return Factors(triangle, reflections, order, rank, condition), c[:rank]


def _keep_rows(r: Array, rank: int, scale: Array) -> Array:
    """The first `rank` rows of `r`, column j times scale_j, in the memory of `r` (Fortran order)."""
    memory = r.reshape(-1, order="F")
    for j, factor in enumerate(scale):
        np.multiply(r[:rank, j], factor, out=memory[j * rank : (j + 1) * rank])
    return memory[: rank * len(scale)].reshape((rank, len(scale)), order="F")


def _refined(rows: Rows, factors: Factors, coef: Array, fit_intercept: bool) -> LeastSquares:
    """One step of refinement by the corrected semi-normal equations (Bjorck, Linear Algebra Appl. 88, 1987).

    Where the columns are nearly dependent the step needs residuals in more than double precision; on a machine
    without it the step would do harm, and is left out.
    """
    nearly_dependent = factors.condition > WELL_CONDITIONED
    wide = EXTENDED if nearly_dependent else np.float64
    gradient, residual, total = _residual_sums(rows, coef, wide)
    step = np.zeros_like(coef)
    if not nearly_dependent or np.finfo(EXTENDED).eps < EPS:
        with one_blas_thread:
            step = factors.solve_normal(gradient.astype(np.float64))
    refined = coef + step.astype(wide)
    intercept = rows.mean_y - rows.mean_x @ refined
    if fit_intercept:
        intercept = intercept + residual / total  # what rounding has left of the means
    return LeastSquares(refined.astype(np.float64), intercept.astype(np.float64), factors.rank)


def _residual_sums(rows: Rows, coef: Array, wide: type[np.floating[Any]]) -> tuple[Any, Any, Any]:
    """Sums over the rows of v x res', v res and v, with x and res = y - W'x counted from the means."""
    n, p = rows.x.shape
    n_parts = max(1, min(MAX_PARTS, n // block_rows(p)))
    work = functools.partial(_residual_sums_of_run, rows, coef, wide)
    sums = in_threads(work, split_rows(n, n_parts))
    return tuple(sum(terms[1:], start=terms[0]) for terms in zip(*sums, strict=True))


def _residual_sums_of_run(rows: Rows, coef: Array, wide: type[np.floating[Any]], run: slice) -> tuple[Any, Any, Any]:
    length = run.stop - run.start
    sums: list[Any] = [0.0, 0.0, 0.0]
    for block in split_rows(length, -(-length // block_rows(rows.x.shape[1]))):
        part = slice(run.start + block.start, run.start + block.stop)
        x = np.empty((part.stop - part.start, rows.x.shape[1]), dtype=wide)
        residual = np.empty((len(x), rows.y.shape[1]), dtype=wide)
        rows.fill(part, x, residual)
        residual -= x @ coef
        root = np.ones(len(x)) if rows.root_weights is None else rows.root_weights[part]
        terms = (x.T @ residual, root @ residual, root @ root)
        sums = [so_far + term for so_far, term in zip(sums, terms, strict=True)]
    return sums[0], sums[1], sums[2]
