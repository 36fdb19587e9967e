"""The normal equations X'X w = X'y: products in one pass over the rows, solved by Cholesky's factor."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy.linalg import cho_solve, lapack, solve_triangular

from heldout.linear.blocks import in_threads, one_blas_thread, split_rows, threads
from heldout.linear.triangular import MAX_PARTS, block_rows

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Sums: TypeAlias = tuple[Array, Array]

LEAST_HEIGHT = 2  # columns' heights of a block: adding its product to the sum then costs little beside the product
SMALLEST = 1e-280  # a sum of squares below this may have lost digits to underflow
LARGE, NARROW = 10**9, 256  # multiplications that are worth loading a compiler for; columns that `gram` is made for
MANY, TILE = 400, 512  # columns from which on tiles of this size are shared by the threads
FAR = 10.0  # spreads from zero beyond which a column's sums of squares would lose two digits to its mean


@dataclass(frozen=True)
class Products:
    """Weighted sums over the rows: X'X (p, p) and X'Y (p, m) of the columns minus their means, and those means."""

    xx: Array
    xy: Array
    mean_x: Array  # (p,); zero without an intercept
    mean_y: Array  # (m,)
    total: float  # sum of the weights


@dataclass(frozen=True)
class Cholesky:
    """X'X = D R'R D with D the columns' norms, of full rank."""

    triangle: Array  # (p, p) R
    norms: Array  # (p,) D
    condition: float  # estimate of the condition number of X D^-1, in the 1-norm of X'X
    route: str = "cholesky"

    @property
    def rank(self) -> int:
        return len(self.norms)

    @property
    def loss(self) -> float:
        """By what factor rounding errors grow in `solve_normal`: forming X'X squares the condition."""
        return self.condition**2

    def solve_normal(self, g: Array) -> Array:
        """The w (p, m) with X'X w = g (p, m)."""
        scaled = cho_solve((self.triangle, False), g / self.norms[:, None], check_finite=False)
        return np.asarray(scaled / self.norms[:, None])

    def root(self) -> Array:
        """M (p, p) with M M' the inverse of X'X."""
        inside = solve_triangular(self.triangle, np.eye(self.rank), check_finite=False)
        return np.asarray(inside / self.norms[:, None])


def products(x: Array, y: Array, weights: Array | None, *, fit_intercept: bool) -> Products:
    """Sums of products by blocks of rows, side by side; the cut depends on the shape alone.

    With an intercept the columns are shifted by the first block's means, so that little is lost when their own
    means are taken out at the end; where that guess was far off, the sums are made again with the means found.
    """
    shift_x, shift_y = np.zeros(x.shape[1]), np.zeros(y.shape[1])
    first = slice(0, block_rows(x.shape[1] + y.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):  # `factorise_normal` refuses what is not finite
        if fit_intercept:
            shift_x, shift_y = x[first].mean(axis=0), y[first].mean(axis=0)
        found, poor = _centred(x, y, weights, shift_x, shift_y, fit_intercept)
        return _centred(x, y, weights, found.mean_x, found.mean_y, fit_intercept)[0] if poor else found


def _centred(
    x: Array, y: Array, weights: Array | None, shift_x: Array, shift_y: Array, fit_intercept: bool
) -> tuple[Products, bool]:
    """The products of the columns minus their means, by way of a shift, and whether that shift was far off."""
    p = x.shape[1]
    sums, squares_y = _sums(x, y, weights, shift_x, shift_y)
    total = float(sums[0, 0])
    if not fit_intercept:
        return Products(sums[1:, 1 : p + 1], sums[1:, p + 1 :], shift_x, shift_y, total), False
    off = sums[0, 1:] / total
    products = sums[1:, 1:] - total * np.outer(off[:p], off)
    squares = np.r_[products.diagonal(), squares_y - total * off[p:] ** 2]
    poor = bool(np.any(total * off * off > FAR**2 * np.abs(squares)))
    found = Products(products[:, :p], products[:, p:], shift_x + off[:p], shift_y + off[p:], total)
    return found, poor


def _sums(x: Array, y: Array, weights: Array | None, shift_x: Array, shift_y: Array) -> Sums:
    """Z'V[Z, y - shift] for Z = [1, x - shift] (1 + p, 1 + p + m), and the sums of squares of y - shift (m,)."""
    n, p = x.shape
    if p >= MANY:
        return _sums_by_tiles(x, y, weights, shift_x, shift_y)
    width = 1 + p + y.shape[1]
    height = max(block_rows(width), LEAST_HEIGHT * (1 + p))
    n_parts = max(1, min(MAX_PARTS, n // height, n // (4 * (1 + p))))
    if n * width**2 >= LARGE and width <= NARROW:
        from heldout.linear.squares import gram

        work = functools.partial(gram.sums, x, y, weights, shift_x, shift_y)
    else:
        work = functools.partial(_sums_of_run, x, y, weights, shift_x, shift_y, height)
    products, squares = zip(*in_threads(work, split_rows(n, n_parts)), strict=True)
    return sum(products[1:], start=products[0]), sum(squares[1:], start=squares[0])


def _sums_of_run(
    x: Array, y: Array, weights: Array | None, shift_x: Array, shift_y: Array, height: int, run: slice
) -> Sums:
    p, m = x.shape[1], y.shape[1]
    height = min(height, run.stop - run.start)
    left, right = np.empty((height, 1 + p)), np.empty((height, m))
    total, squares, product = np.zeros((1 + p, 1 + p + m)), np.zeros(m), np.empty((1 + p, 1 + p))
    for rows in _blocks(run, height):
        z, t = left[: rows.stop - rows.start], right[: rows.stop - rows.start]
        _shift(x, y, weights, shift_x, shift_y, rows, z, t)
        with np.errstate(over="ignore", invalid="ignore"):  # as above: every thread has its own setting
            total[:, : p + 1] += np.matmul(z.T, z, out=product)  # the same array twice: BLAS computes half of it
            total[:, p + 1 :] += z.T @ t
            squares += np.einsum("ij,ij->j", t, t)
    return total, squares


def _sums_by_tiles(x: Array, y: Array, weights: Array | None, shift_x: Array, shift_y: Array) -> Sums:
    """For many columns: the threads share the tiles of one sum, not the rows, so that no thread needs its own."""
    (n, p), m = x.shape, y.shape[1]
    height = min(n, LEAST_HEIGHT * p)
    left, right = np.empty((height, 1 + p)), np.empty((height, m))
    total, squares = np.zeros((1 + p, 1 + p + m)), np.zeros(m)
    tiles = split_rows(1 + p, -(-p // TILE))
    pairs = [(a, b) for i, a in enumerate(tiles) for b in tiles[i:]]
    with threads(len(pairs)) as map_:
        for rows in _blocks(slice(0, n), height):
            z, t = left[: rows.stop - rows.start], right[: rows.stop - rows.start]

            def fill(part: slice, rows: slice = rows, z: Array = z, t: Array = t) -> None:
                here = slice(rows.start + part.start, rows.start + part.stop)
                _shift(x, y, weights, shift_x, shift_y, here, z[part], t[part])

            def add(pair: tuple[slice, slice], z: Array = z, t: Array = t) -> None:
                a, b = pair
                with np.errstate(over="ignore", invalid="ignore"):
                    total[a, b] += z[:, a].T @ z[:, b]
                    if a == b:
                        total[a, 1 + p :] += z[:, a].T @ t

            map_(fill, split_rows(len(z), MAX_PARTS))
            map_(add, pairs)
            squares += np.einsum("ij,ij->j", t, t)
    for a, b in pairs:
        total[b, a] = total[a, b].T
    return total, squares


def _shift(
    x: Array, y: Array, weights: Array | None, shift_x: Array, shift_y: Array, rows: slice, z: Array, t: Array
) -> None:
    """Write Z and y - shift of these rows, times the roots of the weights."""
    z[:, 0] = 1.0
    np.subtract(x[rows], shift_x, out=z[:, 1:])
    np.subtract(y[rows], shift_y, out=t)
    if weights is not None:
        root = np.sqrt(weights[rows])[:, None]
        z *= root
        t *= root


def _blocks(run: slice, height: int) -> list[slice]:
    """A run of rows in blocks of `height` rows; the last may be shorter."""
    return [slice(low, min(low + height, run.stop)) for low in range(run.start, run.stop, height)]


def factorise_normal(xx: Array) -> Cholesky | None:
    """Cholesky's factor of X'X with its columns in unit norm; None where rounding has left it not positive definite."""
    diagonal = xx.diagonal()
    if not np.all(np.isfinite(diagonal)) or np.any(diagonal < SMALLEST):
        return None
    norms = np.sqrt(diagonal)
    scaled = np.asfortranarray(xx / norms / norms[:, None])
    size = float(np.abs(scaled).sum(axis=0).max())
    with one_blas_thread:
        triangle, failed = lapack.dpotrf(scaled, lower=0, overwrite_a=1)
        if failed:
            return None
        reciprocal, _ = lapack.dpocon(triangle, size, uplo="U")
    return Cholesky(triangle, norms, float(np.sqrt(1.0 / reciprocal)) if reciprocal > 0.0 else np.inf)
