"""How columns depend on each other: rank, condition number, variance inflation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from heldout.linear.blocks import one_blas_thread
from heldout.linear.inference.auxiliary import DEPENDENT, standard, triangle
from heldout.linear.squares.refinement import EPS
from heldout.linear.states import row_weights
from heldout.linear.triangular import Array


@dataclass(frozen=True, eq=False)
class Collinearity:
    """How columns in unit norm, about their means where there is an intercept, depend on each other."""

    rank: int  # of p columns
    condition: float  # greatest singular value over the least; infinite where columns depend on each other
    variance_inflation: Array  # (p,), infinite for columns that others span
    weakest: Array  # (p,) shares of the columns' variances along the least singular value, 0 to 1


def variance_inflation(X: ArrayLike, *, sample_weight: ArrayLike | None = None, fit_intercept: bool = True) -> Array:
    r"""The factor by which the other columns inflate the variance of each column's coefficient.

    .. math:: \mathrm{VIF}_j = \frac{1}{1 - R_j^2}, \qquad R_j^2 \text{ of column j on the other columns}

    About the means with an intercept, about zero without one. Computed from the singular values s and vectors V of
    the columns in unit norm, :math:`\mathrm{VIF}_j = \sum_k V_{jk}^2 / s_k^2`, where nothing cancels.

    Parameters
    ----------
    X : (n, p), the columns, without a column of ones
    sample_weight : (n,), default ones, each at least 0
    fit_intercept : bool, default True, whether the regression has an intercept

    Returns
    -------
    float64 array (p,) : each 1 or more; infinite for a column that the others (and the intercept) span

    Raises
    ------
    ValueError : X is not numeric, not finite or empty, or a weight is negative.

    References
    ----------
    D. Marquardt, Technometrics 12, 1970, 591-612. D. Belsley, E. Kuh and R. Welsch, Regression Diagnostics, 1980,
    section 3.2.

    Examples
    --------
    >>> variance_inflation([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 5.0]]).round(3).tolist()
    [29.167, 29.167]
    """
    x = check_array(X, dtype=np.float64, order="C")
    return collinearity(x, row_weights(sample_weight, x), fit_intercept).variance_inflation


def collinearity(x: Array, weights: Array | None, fit_intercept: bool) -> Collinearity:
    """Rank, condition number and variance inflation of the columns (n, p)."""
    s, v = _singular_values(x, weights, fit_intercept)
    null = s <= max(x.shape) * EPS * s[0]
    pieces = v**2 / np.where(null, 1.0, s) ** 2  # (p, p), a row a column of x
    pieces[:, null] = np.where(v[:, null] ** 2 > DEPENDENT, np.inf, 0.0)
    factors = pieces.sum(axis=1)
    if null.any():
        return Collinearity(int(np.sum(~null)), np.inf, factors, np.isinf(factors).astype(np.float64))
    return Collinearity(len(s), float(s[0] / s[-1]), factors, pieces[:, -1] / factors)


def _singular_values(x: Array, weights: Array | None, fit_intercept: bool) -> tuple[Array, Array]:
    """Singular values (p,) and right singular vectors (p, p), in columns, of x with its columns in unit norm."""
    first, p = int(fit_intercept), x.shape[1]
    z = np.hstack([np.ones((len(x), first)), standard(x, fit_intercept)])
    if weights is not None:
        z *= np.sqrt(weights)[:, None]
    r = triangle(lambda part: z[part], *z.shape)[first:, first:]  # the first reflection took the means out
    norms = np.linalg.norm(r, axis=0)
    square = np.zeros((p, p))
    square[: len(r)] = r / np.where(norms > 0.0, norms, 1.0)
    with one_blas_thread:
        _, s, vt = np.linalg.svd(square)
    return s, vt.T
