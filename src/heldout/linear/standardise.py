"""Columns in a common scale, so that the solvers see no units of measurement."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from heldout.errors import InputError
from heldout.linear.blocks import Map, split_rows
from heldout.linear.loss import Array
from heldout.linear.triangular import block_rows


@dataclass(frozen=True)
class Standardised:
    """x = [(X - mean) / scale, 1]: a dense copy (n, p+1), or CSR with mean 0; without the 1 if no intercept."""

    x: Any
    mean: Array  # (p,)
    scale: Array  # (p,)

    def undo(self, coef: Array) -> tuple[Array, Array]:
        """Coefficients (r, p) and intercepts (r,) for the columns as they were."""
        p = len(self.scale)
        own = coef[:, :p] / self.scale
        intercept = coef[:, p] if coef.shape[1] > p else np.zeros(len(coef))
        return own, intercept - own @ self.mean


def standardise(X: Any, weights: Array, *, floor: float, fit_intercept: bool, map_: Map) -> Standardised:
    """scale_j = sqrt(sum_i v_i (x_ij - mean_j)^2 + floor), for weights that sum to 1.

    The mean is zero where there is no intercept to take it up, and for CSR, which stays sparse.
    """
    if sparse.issparse(X):
        return _standardise_sparse(X, weights, floor, fit_intercept)
    n, p = X.shape
    runs = split_rows(n, -(-n // block_rows(p)))
    mean = np.zeros(p)
    if fit_intercept:
        mean = np.sum(map_(lambda run: weights[run] @ X[run], runs), axis=0)
    x = np.empty((n, p + fit_intercept))
    squares = map_(functools.partial(_centre, X, mean, weights, x), runs)
    scale = _scale(np.sum(squares, axis=0), floor)
    map_(functools.partial(_divide, x, scale), runs)
    return Standardised(x, mean, scale)


def _centre(X: Array, mean: Array, weights: Array, out: Array, run: slice) -> Array:
    """Write the centred rows and return their weighted sums of squares (p,)."""
    p = len(mean)
    out[run, p:] = 1.0
    features = np.subtract(X[run], mean, out=out[run, :p])
    with np.errstate(over="ignore"):
        return np.asarray(weights[run] @ (features * features))


def _scale(squares: Array, floor: float) -> Array:
    scale = np.sqrt(squares + floor)
    too_large = np.flatnonzero(~np.isfinite(scale))
    if len(too_large):
        raise InputError(f"Column {too_large[0]} holds numbers above 1e150: divide it by a power of ten first.")
    return np.asarray(scale)


def _divide(x: Array, scale: Array, run: slice) -> None:
    x[run, : len(scale)] /= scale


def _standardise_sparse(X: Any, weights: Array, floor: float, fit_intercept: bool) -> Standardised:
    n, p = X.shape
    with np.errstate(over="ignore"):
        scale = _scale(weights @ X.multiply(X).tocsr(), floor)
    x = X @ sparse.diags_array(1.0 / scale)
    if fit_intercept:
        x = sparse.hstack([x, np.ones((n, 1))])
    return Standardised(x.tocsr(), np.zeros(p), scale)
