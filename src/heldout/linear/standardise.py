"""Columns in a common scale, so that the solvers see no units of measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from heldout.linear.loss import Array


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


def standardise(X: Any, weights: Array, *, floor: float, fit_intercept: bool) -> Standardised:
    """scale_j = sqrt(sum_i v_i (x_ij - mean_j)^2 + floor), for weights that sum to 1.

    The mean is zero where there is no intercept to take it up, and for CSR, which stays sparse.
    """
    if sparse.issparse(X):
        return _standardise_sparse(X, weights, floor, fit_intercept)
    n, p = X.shape
    mean = weights @ X if fit_intercept else np.zeros(p)
    x = np.ones((n, p + fit_intercept))
    features = x[:, :p]
    np.subtract(X, mean, out=features)
    peak = np.maximum(features.max(axis=0), -features.min(axis=0))
    peak[peak == 0.0] = 1.0
    features /= peak  # squares of very large or small numbers stay finite
    scale = np.hypot(peak * np.sqrt(np.einsum("i,ij,ij->j", weights, features, features)), np.sqrt(floor))
    features *= peak / scale
    return Standardised(x, mean, scale)


def _standardise_sparse(X: Any, weights: Array, floor: float, fit_intercept: bool) -> Standardised:
    n, p = X.shape
    scale = np.sqrt(weights @ X.multiply(X).tocsr() + floor)
    x = X @ sparse.diags_array(1.0 / scale)
    if fit_intercept:
        x = sparse.hstack([x, np.ones((n, 1))])
    return Standardised(x.tocsr(), np.zeros(p), scale)
