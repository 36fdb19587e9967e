"""Least squares with more columns than rows: the solution of least norm by way of the products of the rows."""

from __future__ import annotations

import numpy as np

from heldout.linear.blocks import one_blas_thread, split_rows
from heldout.linear.squares.normal import factorise_normal
from heldout.linear.triangular import BLOCK_SIZE, Array

LEAST_WIDTH = 2  # rows' heights of a block of columns, so that adding its products costs little beside them


def interpolate(
    x: Array, y: Array, weights: Array | None, *, fit_intercept: bool, most_loss: float
) -> tuple[Array, Array, int, float] | None:
    """W (p, m) of least norm and b (m,) with b + x_i'W = y_i for every row, the rank and the rows' condition number.

    None where the rows are dependent, or so nearly that rounding errors grow by more than `most_loss`.

    W = X'a with X X' a = y, for X and y minus their means; 1'X = 0 then, and adding u u' for the unit vector u of
    that direction makes X X' positive definite where the rows are otherwise independent. Rows of weight zero are
    left out; the weights change nothing else but the means, because every residual is zero.
    """
    if weights is not None:
        kept = weights > 0.0
        x, y, weights = x[kept], y[kept], weights[kept]
    n, p = x.shape
    mean_x, mean_y = np.zeros(p), np.zeros(y.shape[1])
    if fit_intercept:
        mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    gram = _row_products(x, mean_x)
    size = float(gram.diagonal().mean())
    if fit_intercept:
        gram += size / n
    factors = factorise_normal(gram)
    if factors is None or factors.loss > most_loss:
        return None
    coef = np.zeros((p, y.shape[1]))
    left = y - mean_y
    for step in range(2):  # the second takes out what rounding has left of the residuals
        if step:
            left = y - x @ coef
            left -= left.mean(axis=0) if fit_intercept else 0.0
        with one_blas_thread:
            shares = factors.solve_normal(left)
            coef += x.T @ shares - np.outer(mean_x, shares.sum(axis=0))
    return coef, mean_y - mean_x @ coef, n - fit_intercept, factors.condition


def _row_products(x: Array, mean_x: Array) -> Array:
    """(X - mean)(X - mean)' (n, n), by blocks of columns."""
    n, p = x.shape
    gram, product = np.zeros((n, n)), np.empty((n, n))
    width = max(LEAST_WIDTH * n, BLOCK_SIZE // n)
    for columns in split_rows(p, -(-p // width)):
        centred = x[:, columns] - mean_x[columns]
        with np.errstate(over="ignore", invalid="ignore"):
            gram += np.matmul(centred, centred.T, out=product)
    return gram
