"""Least squares as gradient descent sees it: the rows reduced to a quadratic, and the way back to coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas, qr, svd, svdvals

from heldout.errors import InputError
from heldout.linear.blocks import one_blas_thread
from heldout.linear.squares.factors import in_unit_norm
from heldout.linear.triangular import Array, Rows, reduce

EPS = float(np.finfo(np.float64).eps)
CONSTANT = 16 * EPS  # a column that varies by less than this of its size varies by rounding only
LARGEST = 1e150  # squares of larger numbers leave float64


@dataclass(frozen=True)
class Problem:
    """L(w) = sum_t target_scale_t^2 ||r w_t - c_t||^2 + a constant.

    The columns are (x - mean) / scale and the targets (y - target_mean) / target_scale; or, with `ones`, both as they
    are given, beside a last column of ones.
    """

    r: Array  # (k, q), k = min(n, p), or one more
    c: Array  # (k, m)
    mean: Array  # (p,)
    scale: Array  # (p,), infinite for a constant column
    target_mean: Array  # (m,)
    target_scale: Array  # (m,)
    target_size: Array  # (m,), the root mean squares of the targets that are descended on
    ones: bool

    def eigenvalues(self) -> Array:
        """The Hessian's eigenvalues 2 s^2, falling, as far as rounding can tell them from zero."""
        with one_blas_thread:
            values = svdvals(self.r, check_finite=False)
        large = values > max(self.r.shape) * EPS * values[0]
        return np.asarray(2.0 * values[large] ** 2)

    def undo(self, w: Array, rank: int) -> tuple[Array, Array]:
        """Coefficients (p, m) and intercepts (m,) for the columns and targets as given, from w (m, q)."""
        p = len(self.scale)
        if self.ones:
            return np.ascontiguousarray(w[:, :p].T), w[:, p].copy()
        with one_blas_thread:
            coef = (w * self.target_scale[:, None] / self.scale).T
            if 0 < rank < p:
                coef = self._least_norm(coef, rank)
            return np.ascontiguousarray(coef), self.target_mean - self.mean @ coef

    def _least_norm(self, coef: Array, rank: int) -> Array:
        """Of all coefficients with these fitted values, those of least norm in the given columns' units.

        Descent from zero stays in the span of the rows, in its own columns; this is the projection onto the span of
        the rows as given.
        """
        rows = svd(self.r, full_matrices=False, check_finite=False)[2][:rank]
        spread = np.where(np.isfinite(self.scale), self.scale, 0.0)
        span = qr((rows * (spread / spread.max())).T, mode="economic", check_finite=False)[0]
        return np.asarray(span @ (span.T @ coef))


def reduced(x: Array, y: Array, weights: Array | None, *, fit_intercept: bool, standardise: bool) -> Problem:
    """The problem that stands for the rows: r'r = X'VX / V and r'c = X'Vy / V, by Householder reflections."""
    total = float(len(x) if weights is None else weights.sum())
    with one_blas_thread:
        mean, target_mean = np.zeros(x.shape[1]), np.zeros(y.shape[1])
        if fit_intercept:
            share = np.ones(len(x)) if weights is None else weights
            mean, target_mean = share @ x / total, share @ y / total
    rows = Rows(x, y, mean, target_mean, weights)
    r, c = reduce(rows)
    sizes = _root_mean_squares(rows, total)
    c = np.ascontiguousarray(c) / np.sqrt(total)
    if not standardise:
        return _as_given(np.ascontiguousarray(r) / np.sqrt(total), c, rows, sizes, fit_intercept)
    norms = in_unit_norm(r, CONSTANT * np.abs(mean) * np.sqrt(total))
    scale = np.where(r.any(axis=0), norms / np.sqrt(total), np.inf)
    target_scale = np.where(sizes > 0.0, sizes, 1.0)
    c /= target_scale
    return Problem(np.ascontiguousarray(r), c, mean, scale, target_mean, target_scale, sizes / target_scale, False)


def _as_given(r: Array, c: Array, rows: Rows, sizes: Array, fit_intercept: bool) -> Problem:
    """With an intercept, [r 0; mean 1] has the products of the columns and the ones, and [c; target_mean] likewise."""
    p, m = len(rows.mean_x), len(rows.mean_y)
    if fit_intercept:
        r = np.vstack([np.c_[r, np.zeros(len(r))], np.r_[rows.mean_x, 1.0]])
        c = np.vstack([c, rows.mean_y])
        sizes = np.hypot(sizes, rows.mean_y)
    if not np.all(np.abs(r) < LARGEST):
        raise InputError("A column holds numbers above 1e150: divide it by a power of ten, or take standardise=True.")
    return Problem(r, c, np.zeros(p), np.ones(p), np.zeros(m), np.ones(m), sizes, fit_intercept)


def _root_mean_squares(rows: Rows, total: float) -> Array:
    """sqrt(sum_i v_i (y_it - mean_t)^2 / V) for every target (m,)."""
    centred = rows.y - rows.mean_y
    if rows.root_weights is not None:
        centred *= rows.root_weights[:, None]
    norms = np.array([blas.dnrm2(np.ascontiguousarray(column)) for column in centred.T])
    if not np.all(norms < LARGEST):
        raise InputError("The target holds numbers above 1e150: divide it by a power of ten first.")
    return np.asarray(norms / np.sqrt(total))
