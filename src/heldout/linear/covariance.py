"""The covariance matrix of least-squares coefficients, up to the variance of the errors: (X'X)^-1."""

from __future__ import annotations

import functools

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from heldout.linear.blocks import one_blas_thread
from heldout.linear.extended import X_PIECES, Pair, Split
from heldout.linear.least_squares import factorise
from heldout.linear.refinement import block_sums, exact_block, needs_exact_products
from heldout.linear.triangular import Array, Rows


def unscaled_covariance(x: Array, weights: Array | None, *, fit_intercept: bool, tol: float | None = None) -> Array:
    """(X'VX)^+ for X = [1, x] (1 + p, 1 + p), intercept first; (p, p) for x alone without an intercept.

    It is formed as M M', whose diagonal cannot cancel. Where the columns are nearly dependent, M is made anew from
    G = (X M)'V(X M), with X M computed in twice the working precision: G is the identity but for the error of M,
    and M becomes M L^-T with G = L L'. With dependent columns it belongs to the coefficients of least norm.
    """
    rows, factors, _, total = factorise(x, np.zeros((len(x), 1)), weights, fit_intercept=fit_intercept, tol=tol)
    with one_blas_thread:
        root = factors.root()
        if fit_intercept:
            first = np.r_[1.0 / np.sqrt(total), -(rows.mean_x @ root)]
            root = np.vstack([first, np.hstack([np.zeros((len(root), 1)), root])])
    if needs_exact_products(x, factors):
        work = functools.partial(_products, rows, Pair.of(root), fit_intercept)
        (found,) = block_sums(work, len(x), exact_block(len(root)), X_PIECES)
        root = solve_triangular(cholesky(found, lower=True), root.T, lower=True).T
    return np.asarray(root @ root.T)


def _products(rows: Rows, root: Pair, fit_intercept: bool, part: slice, memory: Array) -> tuple[Array]:
    """(X M)'V(X M) of a block of rows."""
    x = rows.with_ones(part, memory[-1], fit_intercept)
    minus = Split.of(x, memory).residual(np.zeros((len(x), root.hi.shape[1])), root).rounded()
    if rows.root_weights is not None:
        minus *= rows.root_weights[part, None]
    return (minus.T @ minus,)
