"""Least squares: the route that suits the data, and its solution refined. Arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.utils import assert_all_finite

from heldout.errors import WorkError
from heldout.linear.blocks import one_blas_thread
from heldout.linear.squares.factors import by_pivoted_qr, by_singular_values
from heldout.linear.squares.normal import Cholesky, factorise_normal, products
from heldout.linear.squares.refinement import EPS, Factors, refined
from heldout.linear.squares.wide import interpolate
from heldout.linear.triangular import Array, Rows, reduce

CONSTANT = 16 * EPS  # a column that varies by less than this of its size varies by rounding only
MOST_LOSS = 1e8  # growth of rounding errors up to which the normal equations, refined, lose nothing
ROUTES = ("qr", "cholesky", "svd")
FAST = ("auto", "cholesky")


@dataclass(frozen=True)
class LeastSquares:
    """Coefficients (p, m), intercepts (m,), the numerical rank of the centred columns, and how they were found."""

    coef: Array
    intercept: Array
    rank: int
    route: str  # one of ROUTES
    condition: float  # of the columns in unit norm, as the route estimates it


def least_squares(
    x: Array, y: Array, weights: Array | None, *, fit_intercept: bool, tol: float | None, solver: str = "auto"
) -> LeastSquares:
    """Minimise sum_i w_i (y_i - b - x_i'W)^2 over W (p, m) and b (m,); among many W, the one of least norm.

    "auto" takes the normal equations where their condition number shows that refinement will bring back what
    they lose, and orthogonal factors otherwise. Raises ValueError for numbers that are not finite if `sums_first`;
    otherwise the caller has seen to that.
    """
    if len(x) <= x.shape[1] and solver in FAST:
        found = interpolate(x, y, weights, fit_intercept=fit_intercept, most_loss=MOST_LOSS)
        if found is not None:
            coef, intercept, rank, condition = found
            return LeastSquares(coef, intercept, rank, "cholesky", condition)
        if solver == "cholesky":
            raise _singular(x, "rows")
    rows, factors, coef, _ = factorise(x, y, weights, fit_intercept=fit_intercept, tol=tol, solver=solver)
    coef, intercept = refined(rows, factors, coef, fit_intercept)
    return LeastSquares(coef, intercept, factors.rank, factors.route, factors.condition)


def factorise(
    x: Array, y: Array, weights: Array | None, *, fit_intercept: bool, tol: float | None, solver: str = "auto"
) -> tuple[Rows, Factors, Array, float]:
    """The rows and their means, factors of the centred X'VX, a first solution (p, m), and the sum of the weights."""
    if solver == "cholesky" or sums_first(x, solver):
        sums = products(x, y, weights, fit_intercept=fit_intercept)
        if not np.all(np.isfinite(sums.xx.diagonal())):
            assert_finite(x)
        found = factorise_normal(sums.xx)
        if found is not None and _is_good(found, negligible(sums.mean_x, sums.total), tol):
            rows = Rows(x, y, sums.mean_x, sums.mean_y, weights)
            with one_blas_thread:
                return rows, found, found.solve_normal(sums.xy), sums.total
        if solver == "cholesky":
            raise _singular(x, "columns")
    rows = _centred(x, y, weights, fit_intercept)
    total = float(len(x) if weights is None else weights.sum())
    r, c = reduce(rows)
    by_factors = by_singular_values if solver == "svd" else by_pivoted_qr
    with one_blas_thread:
        factors, coef = by_factors(r, c, negligible(rows.mean_x, total), max(x.shape) * EPS if tol is None else tol)
    return rows, factors, coef, total


def sums_first(x: Array, solver: object) -> bool:
    """Whether the products of all columns are the first thing that `least_squares` makes, so that NaN shows there."""
    return len(x) > x.shape[1] and solver in FAST


def assert_finite(x: Array) -> None:
    """ValueError where X holds NaN or infinity."""
    assert_all_finite(x, estimator_name="LinearRegression", input_name="X")


def _singular(x: Array, what: str) -> WorkError:
    return WorkError(
        f"Cholesky's factor of the products of the {min(x.shape)} {what} loses too many digits, because they depend "
        "on each other or nearly so: take solver='qr' or 'svd', or 'auto', which does so where it must."
    )


def _is_good(factors: Cholesky, negligible: Array, tol: float | None) -> bool:
    """Whether refinement brings back what the normal equations lose, and no column or pivot counts as zero."""
    constant = bool(np.any(factors.norms <= negligible))
    full = tol is None or factors.condition * tol < 1.0
    return factors.loss <= MOST_LOSS and full and not constant


def negligible(mean_x: Array, total: float) -> Array:
    """The norms that rounding alone gives constant columns after centring (p,)."""
    return np.asarray(CONSTANT * np.abs(mean_x) * np.sqrt(total))


def _centred(x: Array, y: Array, weights: Array | None, fit_intercept: bool) -> Rows:
    if not fit_intercept:
        return Rows(x, y, np.zeros(x.shape[1]), np.zeros(y.shape[1]), weights)
    if weights is None:
        return Rows(x, y, x.mean(axis=0), y.mean(axis=0), None)
    with one_blas_thread:
        return Rows(x, y, weights @ x / weights.sum(), weights @ y / weights.sum(), weights)
