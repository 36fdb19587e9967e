"""The covariance of least-squares coefficients, classical and robust, in a basis in which X'VX is the identity.

With M M' = (X'VX)^+ and Z = X M, every covariance of the coefficients is M K M' with a small core K: the variance of
the errors times the identity, or a sum over the rows of Z. Nothing cancels in it, and no product squares the
condition number.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from scipy.linalg import cholesky, eigh, qr, solve_triangular

from heldout.errors import InputError
from heldout.linear.blocks import one_blas_thread, split_rows
from heldout.linear.squares.extended import X_PIECES, Pair, Split
from heldout.linear.squares.least_squares import factorise
from heldout.linear.squares.refinement import EPS, Factors, block_sums, exact_block, needs_exact_products
from heldout.linear.triangular import Array, Rows, block_rows

NO_LEVERAGE_LEFT = 1e-10  # 1 - h at most this: the fitted value is the row's own target, whatever that is
DEPENDENT = 1e-13  # a restriction's part that no other restriction has, at most this, is rounding
ESTIMABLE = 1e-8  # share of a row outside the row space of X that is rounding
Codes: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]


@dataclass(frozen=True)
class Basis:
    """M (k, r) with M M' = (X'VX)^+ for X = [1, x], or x without an intercept; k = p + 1 or p, r the rank."""

    root: Array  # M = M0 T
    start: Array  # (k, r) M0, as the factors give it
    turn: Array | None  # (r, r) T, nearly the identity, with exact products only; None elsewhere, where M = M0
    mean: Array  # (p,) of the columns; zeros without an intercept
    span: Array  # (p,) how far the columns go from their means
    directions: Array | None  # (p, rank) orthonormal: the centred columns' row space, in spans; None where it is all
    fit_intercept: bool
    loss: float  # by what factor rounding errors grow

    @property
    def exact(self) -> bool:
        """Whether products are made in twice the working precision."""
        return self.turn is not None

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns of a block that `coordinates` works on."""
        k = len(self.root)
        return exact_block(k) if self.exact else (block_rows(k), k)

    @property
    def layers(self) -> int:
        return X_PIECES if self.exact else 1

    def coordinates(self, x: Array, memory: Array) -> Array:
        """Z = X M (n, r) for a block of rows."""
        if self.turn is not None:
            nothing = np.zeros((len(x), self.start.shape[1]))
            return -self.columns(x, memory).residual(nothing, Pair.of(self.start)).rounded() @ self.turn
        first = int(self.fit_intercept)
        result = np.empty((len(x), self.root.shape[1]))
        result[:, :first] = self.root[:first, :first]
        centred = np.subtract(x, self.mean, out=memory[0][:, first:])
        np.matmul(centred, self.root[first:, first:], out=result[:, first:])
        return result

    def columns(self, x: Array, memory: Array) -> Split:
        """[1, x], or x without an intercept, cut for exact products."""
        first = int(self.fit_intercept)
        memory[-1][:, :first] = 1.0
        memory[-1][:, first:] = x
        return Split.of(memory[-1], memory)

    def parts(self, x: Array) -> list[slice]:
        """The blocks of rows of a table that is worked through from top to bottom."""
        return split_rows(len(x), -(-len(x) // self.block[0]))

    def memory(self, part: slice) -> Array:
        """What `coordinates` needs for a block."""
        return np.empty((self.layers, part.stop - part.start, len(self.root)))

    def estimable(self, combinations: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which rows c (q, k) are combinations of the rows of X: c'w is the same for all minimisers w."""
        if self.directions is None:
            return np.ones(len(combinations), dtype=np.bool_)
        first = int(self.fit_intercept)
        slopes, constant = combinations[:, first:], combinations[:, :first].sum(axis=1, keepdims=True) * self.mean
        inside = (slopes - constant) / self.span
        outside = inside - (inside @ self.directions) @ self.directions.T
        size = (np.abs(slopes) + np.abs(constant)) / self.span
        allowed = max(ESTIMABLE, 100.0 * EPS * self.loss) * np.linalg.norm(size, axis=1)
        return np.asarray(np.linalg.norm(outside, axis=1) <= allowed)


@dataclass(frozen=True)
class Fit:
    """The rows of a least-squares fit beside its coefficients."""

    x: Array  # (n, p)
    weights: Array | None  # (n,)
    basis: Basis
    residual: Array  # (n,)
    gradient: Array  # (r,) Z'V residual: zeros at the least squares
    rss: float  # residual sum of squares
    mss: float  # sum of squares of the fitted values, counted from the mean where there is an intercept
    size: float  # of the numbers that the residuals are differences of, as a norm over the rows

    @property
    def rank(self) -> int:
        return len(self.gradient)

    @property
    def is_least_squares(self) -> bool:
        """Whether no direction of X is left in the residuals, up to rounding and to six digits of their size."""
        return math.hypot(*self.gradient) <= 1e-6 * math.sqrt(self.rss) + 1e-10 * self.size


def measure(
    x: Array, y: Array, weights: Array | None, coef: Array, intercept: float, *, fit_intercept: bool, tol: float | None
) -> Fit:
    """The residuals y - b - x'w (n,) of coefficients (p,), and the basis of X."""
    rows, factors, _, total = factorise(x, y[:, None], weights, fit_intercept=fit_intercept, tol=tol)
    basis = _first_basis(rows, factors, total, fit_intercept)
    solution = np.r_[intercept, coef] if fit_intercept else coef
    residual = np.empty(len(x))
    work = functools.partial(_exact_block if basis.exact else _block, basis, rows, solution, residual)
    sums = block_sums(work, len(x), basis.block, basis.layers)
    gradient = sums[0]
    if basis.exact:  # Z'VZ is the identity but for the error of M
        with one_blas_thread:
            turn = solve_triangular(cholesky(sums[1], lower=True), np.eye(len(gradient)), lower=True).T
            gradient = turn.T @ gradient
            basis = replace(basis, root=basis.start @ turn, turn=turn)
    rss = _sum_of_squares(residual, weights)
    mss = _sum_of_squares(y - rows.mean_y[0] - residual, weights)
    size = np.abs(y).max() + abs(intercept) + np.sum(np.abs(coef) * (np.abs(basis.mean) + basis.span))
    return Fit(x, weights, basis, residual, gradient, rss, mss, float(size * np.sqrt(total)))


def _sum_of_squares(values: Array, weights: Array | None) -> float:
    return float(np.sum(values * values if weights is None else weights * values * values))


def _first_basis(rows: Rows, factors: Factors, total: float, fit_intercept: bool) -> Basis:
    """The basis as the factors give it."""
    x, mean = rows.x, rows.mean_x
    with one_blas_thread:
        root = factors.root()
        span = np.maximum(x.max(axis=0) - mean, mean - x.min(axis=0))
        span = np.where(span > 0.0, span, 1.0)
        full = factors.rank == x.shape[1]
        directions = None if full else qr(root / span[:, None], mode="economic", check_finite=False)[0]
        if fit_intercept:
            first = np.r_[1.0 / np.sqrt(total), -(mean @ root)]
            root = np.vstack([first, np.hstack([np.zeros((len(root), 1)), root])])
    turn = np.eye(root.shape[1]) if needs_exact_products(x, factors) else None
    return Basis(root, root, turn, mean, span, directions, fit_intercept, factors.loss)


def _exact_block(
    basis: Basis, rows: Rows, solution: Array, residual: Array, part: slice, memory: Array
) -> tuple[Array, Array]:
    """Z'V residual and Z'VZ of a block, from one product in twice the working precision."""
    targets = np.zeros((part.stop - part.start, 1 + basis.start.shape[1]))
    targets[:, :1] = rows.y[part]
    columns = basis.columns(rows.x[part], memory)
    found = columns.residual(targets, Pair.of(np.column_stack([solution, basis.start]))).rounded()
    residual[part], z = found[:, 0], -found[:, 1:]
    weighted = z if rows.weights is None else z * rows.weights[part, None]
    return weighted.T @ residual[part], weighted.T @ z


def _block(basis: Basis, rows: Rows, solution: Array, residual: Array, part: slice, memory: Array) -> tuple[Array]:
    """Z'V residual of a block, for columns and targets counted from their means."""
    first = int(basis.fit_intercept)
    coef, intercept = solution[first:], solution[:first].sum()
    z = basis.coordinates(rows.x[part], memory)
    centred = memory[0][:, first:]  # where `coordinates` has left x - mean
    shift = rows.mean_y[0] - rows.mean_x @ coef - intercept
    residual[part] = rows.y[part, 0] - rows.mean_y[0] - centred @ coef + shift
    return (z.T @ (residual[part] if rows.weights is None else rows.weights[part] * residual[part]),)


def classical(fit: Fit, groups: Codes | None) -> Array:
    """s^2 I, the core where all errors have one variance (divided by the row's weight): s^2 = RSS / (n - r)."""
    return np.eye(fit.rank) * (fit.rss / (len(fit.x) - fit.rank))


def heteroscedastic(fit: Fit, groups: Codes | None, *, leverage_power: int, factor: bool = False) -> Array:
    """sum_i (v_i e_i)^2 z_i z_i' / (1 - h_i)^power, times n / (n - r) if `factor` is asked for.

    White (Econometrica 48, 1980) and MacKinnon and White (J. Econometrics 29, 1985).
    """
    n = len(fit.x)
    work = functools.partial(_meat, fit, leverage_power)
    (meat,) = block_sums(work, n, fit.basis.block, fit.basis.layers)
    return np.asarray(meat * (n / (n - fit.rank) if factor else 1.0))


def _meat(fit: Fit, power: int, part: slice, memory: Array) -> tuple[Array]:
    scores, z = _scores(fit, part, memory)
    if power:
        v = 1.0 if fit.weights is None else fit.weights[part]
        left = 1.0 - v * np.einsum("ij,ij->i", z, z)
        if np.any(left <= NO_LEVERAGE_LEFT):
            raise InputError(
                "A row has leverage one (some coefficient rests on it alone), where HC2 and HC3 divide by zero: "
                "leave the row out, or take covariance='HC1'."
            )
        scores /= np.sqrt(left**power)[:, None]
    return (scores.T @ scores,)


def _scores(fit: Fit, part: slice, memory: Array) -> tuple[Array, Array]:
    """v_i e_i z_i and z_i for a block of rows, with what the coefficients' rounding does to e_i taken out."""
    z = fit.basis.coordinates(fit.x[part], memory)
    error = fit.residual[part] - z @ fit.gradient
    if fit.weights is not None:
        error *= fit.weights[part]
    return z * error[:, None], z


def clustered(fit: Fit, groups: Codes | None) -> Array:
    """sum_g s_g s_g' with s_g the sum of v_i e_i z_i over group g, times G / (G - 1) and (n - 1) / (n - r).

    Liang and Zeger (Biometrika 73, 1986); the factors are those of Cameron and Miller (J. Human Resources 50, 2015).
    """
    assert groups is not None
    n, number = len(fit.x), int(groups.max()) + 1
    sums = np.zeros((number, fit.rank))
    with one_blas_thread:
        for part in fit.basis.parts(fit.x):
            scores, _ = _scores(fit, part, fit.basis.memory(part))
            np.add.at(sums, groups[part], scores)
        return np.asarray(sums.T @ sums * (number / (number - 1) * (n - 1) / (n - fit.rank)))


Core: TypeAlias = Callable[[Fit, Codes | None], Array]

CORES: dict[str, Core] = {
    "classical": classical,
    "HC0": functools.partial(heteroscedastic, leverage_power=0),
    "HC1": functools.partial(heteroscedastic, leverage_power=0, factor=True),
    "HC2": functools.partial(heteroscedastic, leverage_power=1),
    "HC3": functools.partial(heteroscedastic, leverage_power=2),
    "cluster": clustered,
}


def root_of(core: Array) -> Array:
    """L (r, r) with K = L L'; what rounding has left of a singular K is taken out."""
    with one_blas_thread:
        values, vectors = eigh(core)
    return np.asarray(vectors * np.sqrt(np.where(values > 10 * len(core) * EPS * values[-1], values, 0.0)))


def wald(spread: Array, difference: Array) -> float | None:
    """d'(S S')^-1 d / q for S = R M L (q, r) and d = R beta - r (q,); None where S S' is singular.

    With S' = Q T it is |T'^-1 d|^2 / q: no product squares the condition number.
    """
    q, r = spread.shape
    scale = np.linalg.norm(spread, axis=1)
    if q > r or not scale.all():
        return None
    with one_blas_thread:
        triangle, order = qr((spread / scale[:, None]).T, mode="r", pivoting=True)
        pivots = np.abs(triangle.diagonal())
        if pivots[-1] <= DEPENDENT * pivots[0]:
            return None
        whitened = solve_triangular(triangle[:q, :q], (difference / scale)[order], trans="T")
    return float(np.sum(whitened * whitened) / q)
