"""The rows as the penalised solvers see them: products of centred, perhaps standardised columns.

The objective of everything here is w'Gw / 2 - c'w + a penalty, with G = Z'VZ / V and c = Z'Vy / V for the columns
Z = (X - mean) / scale, weights v with the sum V, and y about its mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from scipy import sparse

from heldout.linear.blocks import in_threads, one_blas_thread, split_rows
from heldout.linear.squares.least_squares import negligible
from heldout.linear.squares.normal import Products, products
from heldout.linear.triangular import Array

Indices: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]

TALL_ENOUGH = 1.0  # columns for each row up to which all products are made at once
SQUARED, RUNS = 64, 8  # rows whose squares are made at once, to stay in the cache; runs of rows side by side
LARGE = 2**20  # numbers in a table from which on it pays to wait with products
BATCH, GROWTH = 16, 4  # rows of products made in one pass over the table: at least so many, or a quarter of those made
MANY_ROWS, PARTS = 8.0, 4  # all products are made when an eighth of the columns came to matter; tiles of a row
MOST_PRODUCTS = 6000  # columns of a sparse table, whose products are dense, up to which the same is done


class Problem(Protocol):
    """What the solvers ask of the rows."""

    c: Array  # (p,)
    yy: float  # y'Vy / V
    total: float  # V

    def gradient(self, w: Array) -> Array:
        """c - G w (p,)."""

    def block(self, new: Indices, known: Indices) -> Array:
        """G between two sets of columns."""

    def coefficients(self, w: Array) -> tuple[Array, Array]:
        """For w (m, p): coefficients (m, p) of the columns as given, and intercepts (m,)."""


@dataclass
class Frame:
    """How the columns were centred and scaled."""

    mean: Array  # (p,)
    scale: Array  # (p,), infinite for a constant column
    y_mean: float

    def coefficients(self, w: Array) -> tuple[Array, Array]:
        coef = w / self.scale
        return coef, self.y_mean - coef @ self.mean


@dataclass
class AllProducts:
    """All of G, for tables that are not wider than tall."""

    gram: Array  # (p, p)
    c: Array
    yy: float
    total: float
    frame: Frame

    def gradient(self, w: Array) -> Array:
        from heldout.linear.penalised.kernels import gradient

        return np.asarray(gradient(self.gram, self.c, w, np.arange(len(w))))

    def block(self, new: Indices, known: Indices) -> Array:
        return np.asarray(self.gram[np.ix_(new, known)])

    def coefficients(self, w: Array) -> tuple[Array, Array]:
        return self.frame.coefficients(w)


@dataclass
class RowsOfProducts:
    """Rows of G, made as columns come to matter, and all when these are many; for dense tables as tall as wide."""

    x: Array  # (n, p)
    share: Array  # (n,) v / V
    c: Array
    yy: float
    total: float
    frame: Frame
    complete: Callable[[], AllProducts]
    whole: AllProducts | None = None

    def __post_init__(self) -> None:
        self.place = np.full(len(self.c), -1, dtype=np.intp)  # of a column's row among those made
        self.rows = np.empty((0, len(self.c)))
        self.made, self.slopes = 0, np.abs(self.c)

    def gradient(self, w: Array) -> Array:
        from heldout.linear.penalised.kernels import gradient

        if self.whole is not None:
            return self.whole.gradient(w)
        g = np.asarray(gradient(self.rows, self.c, w, self.place))
        self.slopes = np.abs(g)
        return g

    def block(self, new: Indices, known: Indices) -> Array:
        missing = new[self.place[new] < 0]
        if self.whole is None and self.made + len(missing) > len(self.c) / MANY_ROWS:
            self.whole, self.rows = self.complete(), np.empty((0, 0))
        if self.whole is not None:
            return self.whole.block(new, known)
        if len(missing):
            self._make(self._with_likely(missing))
        return np.asarray(self.rows[np.ix_(self.place[new], known)])

    def _with_likely(self, columns: Indices) -> Indices:
        """Columns whose turn will come soon beside them, for a pass over the table costs the same for a batch."""
        slopes = np.where(self.place < 0, self.slopes, -1.0)
        slopes[columns] = -1.0
        wanted = max(BATCH, self.made // GROWTH) - len(columns)
        more = np.argsort(-slopes, kind="stable")[: max(0, wanted)]
        return np.asarray(np.r_[columns, more[slopes[more] >= 0.0]])

    def _make(self, columns: Indices) -> None:
        if self.made + len(columns) > len(self.rows):
            room = np.empty((max(2 * len(self.rows), self.made + len(columns)), len(self.c)))
            room[: self.made] = self.rows[: self.made]
            self.rows = room
        mean, scale = self.frame.mean, self.frame.scale
        left = np.ascontiguousarray(((self.x[:, columns] - mean[columns]) * self.share[:, None] / scale[columns]).T)
        below = self.rows[self.made : self.made + len(columns)]

        def fill(part: slice) -> None:
            below[:, part] = left @ self.x[:, part]  # the left side is centred, and that is enough

        in_threads(fill, split_rows(len(self.c), PARTS))
        below /= scale
        self.place[columns] = np.arange(self.made, self.made + len(columns))
        self.made += len(columns)

    def coefficients(self, w: Array) -> tuple[Array, Array]:
        return self.frame.coefficients(w)


@dataclass
class SomeProducts:
    """The rows themselves, of which products are made as columns come to matter."""

    x: Any  # (n, p), dense or CSR
    share: Array  # (n,) v / V
    y: Array  # (n,) about its mean
    c: Array
    yy: float
    total: float
    frame: Frame
    _columns: dict[str, Any] = field(default_factory=dict)

    def gradient(self, w: Array) -> Array:
        coef = w / self.frame.scale
        with one_blas_thread:
            residual = self.share * (self.y - self.x @ coef + coef @ self.frame.mean)
            return np.asarray((self.x.T @ residual - residual.sum() * self.frame.mean) / self.frame.scale)

    def block(self, new: Indices, known: Indices) -> Array:
        with one_blas_thread:
            found = self._weighted(new).T @ self._taken(known)
        if sparse.issparse(found):
            found = found.toarray()
        mean, scale = self.frame.mean, self.frame.scale
        if sparse.issparse(self.x):
            found = found - np.outer(mean[new], mean[known])
        return np.asarray(found / np.outer(scale[new], scale[known]))

    def _taken(self, columns: Indices) -> Any:
        """These columns, dense ones about their means; those that were asked for last are kept."""
        if sparse.issparse(self.x):
            if "csc" not in self._columns:
                self._columns["csc"] = sparse.csc_array(self.x)
            return self._columns["csc"][:, columns]
        kept: Indices = self._columns.get("order", np.empty(0, np.intp))
        room: Array = self._columns.get("room", np.empty((len(self.y), 0), order="F"))
        known = len(kept) if np.array_equal(columns[: len(kept)], kept) else 0
        if room.shape[1] < len(columns):
            wider = np.empty((len(self.y), max(2 * room.shape[1], len(columns))), order="F")
            wider[:, :known] = room[:, :known]
            room = wider
        more = columns[known:]
        room[:, known : len(columns)] = self.x[:, more] - self.frame.mean[more]
        self._columns |= {"order": columns.copy(), "room": room}
        return room[:, : len(columns)]

    def _weighted(self, columns: Indices) -> Any:
        if sparse.issparse(self.x):
            return sparse.diags_array(self.share) @ self._taken(columns)
        return (self.x[:, columns] - self.frame.mean[columns]) * self.share[:, None]

    def coefficients(self, w: Array) -> tuple[Array, Array]:
        return self.frame.coefficients(w)


def make_problem(
    x: Any, y: Array, weights: Array | None, *, fit_intercept: bool, standardise: bool, lazy: bool = False
) -> AllProducts | RowsOfProducts | SomeProducts:
    """The problem for rows x (n, p), dense or CSR, y (n,) and weights (n,), all above zero.

    `lazy`: few columns may matter, so that products of all of them are made only when they turn out to be many.
    """
    n, p = x.shape
    lazy = lazy and not sparse.issparse(x) and p <= TALL_ENOUGH * n and n * p >= LARGE
    if not lazy and not sparse.issparse(x) and p <= TALL_ENOUGH * n:
        found = products(x, y[:, None], weights, fit_intercept=fit_intercept)
        return from_products(found, centred_square(y, weights, fit_intercept), fit_intercept, standardise)
    if sparse.issparse(x) and p <= min(TALL_ENOUGH * n, MOST_PRODUCTS):
        found = _sparse_products(x, y, weights, fit_intercept)
        return from_products(found, centred_square(y, weights, fit_intercept), fit_intercept, standardise)
    v = np.ones(n) if weights is None else weights
    total = float(v.sum())
    share = v / total
    mean = _sums(x, share[:, None])[0] if fit_intercept else np.zeros(p)
    y_mean = float(share @ y) if fit_intercept else 0.0
    squares = _squares(x, share, mean)
    scale = _scales(squares * total, mean, total, fit_intercept, standardise)
    problem = SomeProducts(x, share, y - y_mean, np.empty(p), 0.0, total, Frame(mean, scale, y_mean))
    problem.c, problem.yy = problem.gradient(np.zeros(p)), float(share @ (y - y_mean) ** 2)
    if not lazy:
        return problem

    def complete() -> AllProducts:
        found = products(x, y[:, None], weights, fit_intercept=fit_intercept)
        return from_products(found, problem.yy * total, fit_intercept, standardise)

    return RowsOfProducts(x, share, problem.c, problem.yy, total, problem.frame, complete)


def from_products(found: Products, square: float, fit_intercept: bool, standardise: bool) -> AllProducts:
    """From weighted sums about the means, which it may overwrite, and that of the squares of y."""
    scale = _scales(found.xx.diagonal(), found.mean_x, found.total, fit_intercept, standardise)
    gram = np.divide(found.xx, found.total, out=found.xx if found.xx.flags.c_contiguous else None)
    gram /= scale
    gram /= scale[:, None]
    c = found.xy[:, 0] / found.total / scale
    return AllProducts(gram, c, square / found.total, found.total, Frame(found.mean_x, scale, float(found.mean_y[0])))


def centred_square(y: Array, weights: Array | None, fit_intercept: bool) -> float:
    """sum_i v_i (y_i - mean)^2."""
    v = np.ones(len(y)) if weights is None else weights
    center = float(v @ y / v.sum()) if fit_intercept else 0.0
    return float(v @ (y - center) ** 2)


def _scales(squares: Array, mean: Array, total: float, fit_intercept: bool, standardise: bool) -> Array:
    """What columns are divided by: one, or their spread; infinity for those that do not vary."""
    constant = np.sqrt(np.maximum(squares, 0.0)) <= (negligible(mean, total) if fit_intercept else 0.0)
    spread = np.sqrt(np.maximum(squares, 0.0) / total) if standardise else np.ones_like(squares)
    return np.where(constant, np.inf, np.where(constant, 1.0, spread))


def _sums(x: Any, left: Array) -> Array:
    """left'x (m, p) for left (n, m)."""
    if sparse.issparse(x):
        return np.asarray(x.T @ left).T
    return np.asarray(sum(in_threads(lambda rows: left[rows].T @ x[rows], split_rows(len(x), _n_runs(x)))))


def _squares(x: Any, share: Array, mean: Array) -> Array:
    """sum_i share_i (x_ij - mean_j)^2 (p,)."""
    if sparse.issparse(x):
        return np.asarray((x * x).T @ share - mean**2)

    def of_run(run: slice) -> Array:
        found = np.zeros(x.shape[1])
        for start in range(run.start, run.stop, SQUARED):
            rows = slice(start, min(start + SQUARED, run.stop))
            found += share[rows] @ (x[rows] - mean) ** 2
        return found

    return np.asarray(sum(in_threads(of_run, split_rows(len(x), _n_runs(x)))))


def _n_runs(x: Any) -> int:
    """Of rows, by the shape alone."""
    return int(np.clip(x.size // max(LARGE, 1), 1, RUNS))


def _sparse_products(x: Any, y: Array, weights: Array | None, fit_intercept: bool) -> Products:
    """`normal.products` for a CSR table."""
    v = np.ones(len(y)) if weights is None else weights
    total = float(v.sum())
    weighted = sparse.diags_array(v) @ x
    mean = np.asarray(weighted.sum(axis=0)).ravel() / total * fit_intercept
    y_mean = float(v @ y / total) * fit_intercept
    xx = (weighted.T @ x).toarray() - total * np.outer(mean, mean)
    xy = np.asarray(weighted.T @ (y - y_mean)) - mean * float(v @ (y - y_mean))
    return Products(xx, xy[:, None], mean, np.array([y_mean]), total)
