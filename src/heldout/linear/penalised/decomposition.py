"""Ridge regression on products of columns or of rows: one penalty by Cholesky's factor, many by eigenvalues."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh

from heldout.errors import WorkError
from heldout.linear.blocks import one_blas_thread
from heldout.linear.penalised.problem import AllProducts, Problem, SomeProducts
from heldout.linear.triangular import Array

SPAN = 1e8  # from the largest penalty tried to the least
ABOVE = 1e3  # the largest, over the largest eigenvalue of G


def falling_alphas(problem: Problem, n_alphas: int) -> Array:
    """For scikit-learn's scale: from a thousand times the largest eigenvalue of Z'VZ down to a hundred-thousandth."""
    with one_blas_thread:
        matrix = problem.gram if isinstance(problem, AllProducts) else _row_products(problem)
    size = float(np.linalg.norm(matrix, 1))
    largest = (size or 1.0) * problem.total * ABOVE
    return np.geomspace(largest, largest / SPAN, n_alphas)


def coefficients(problem: Problem, alphas: Array) -> Array:
    """w (k, p) for penalties alpha |w|^2 beside sum_i v_i r_i^2, all from one eigendecomposition."""
    with one_blas_thread:
        if isinstance(problem, AllProducts):
            values, vectors = eigh(problem.gram)
            inside = vectors.T @ problem.c
            shrunk = inside / (np.maximum(values, 0.0) + alphas[:, None] / problem.total)
            return np.asarray(shrunk @ vectors.T)
        assert isinstance(problem, SomeProducts)
        values, vectors = eigh(_row_products(problem))
        inside = vectors.T @ (np.sqrt(problem.share) * problem.y)
        shrunk = inside / (np.maximum(values, 0.0) + alphas[:, None] / problem.total)
        return _from_rows(problem, shrunk @ vectors.T)


def solution(problem: Problem, alpha: float) -> Array:
    """w (p,) for one penalty above zero."""
    with one_blas_thread:
        try:
            if isinstance(problem, AllProducts):
                matrix = problem.gram.copy()
                matrix[np.diag_indices_from(matrix)] += alpha / problem.total
                factor = cho_factor(matrix, overwrite_a=True)
                w = cho_solve(factor, problem.c)
                left = problem.gradient(w) - alpha / problem.total * w
                return np.asarray(w + cho_solve(factor, left))
            assert isinstance(problem, SomeProducts)
            matrix = _row_products(problem)
            matrix[np.diag_indices_from(matrix)] += alpha / problem.total
            dual = cho_solve(cho_factor(matrix, overwrite_a=True), np.sqrt(problem.share) * problem.y)
            return np.asarray(_from_rows(problem, dual[None])[0])
        except LinAlgError:
            raise WorkError(
                f"With alpha={alpha:g} the columns still depend on each other to rounding: take a larger alpha, or "
                "LinearRegression, which gives the coefficients of least norm."
            ) from None


def _row_products(problem: Problem) -> Array:
    """A A' (n, n) for A = V^(1/2) Z / sqrt(V)."""
    assert isinstance(problem, SomeProducts)
    root, frame = np.sqrt(problem.share), problem.frame
    if sparse.issparse(problem.x):
        scaled = problem.x @ sparse.diags_array(1.0 / frame.scale**2)
        product = (scaled @ problem.x.T).toarray()
        side = np.asarray(scaled @ frame.mean)
        product += np.sum((frame.mean / frame.scale) ** 2) - side[:, None] - side
        return np.asarray(product * root * root[:, None])
    product = np.zeros((len(root), len(root)))
    for start in range(0, problem.x.shape[1], 1024):
        part = slice(start, start + 1024)
        z = (problem.x[:, part] - frame.mean[part]) / frame.scale[part] * root[:, None]
        product += z @ z.T
    return product


def _from_rows(problem: SomeProducts, dual: Array) -> Array:
    """w = A'u (k, p) for u (k, n)."""
    u, frame = dual * np.sqrt(problem.share), problem.frame
    found = problem.x.T @ u.T
    return np.asarray((found.T - np.outer(u.sum(axis=1), frame.mean)) / frame.scale)
