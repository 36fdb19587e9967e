"""Columns in a common scale, so that the solvers see no units of measurement."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from heldout.errors import InputError
from heldout.linear.blocks import Map, split_rows
from heldout.linear.softmax.loss import Array, Codes
from heldout.linear.softmax.rows import Rows, SparseRows, TableRows
from heldout.linear.triangular import block_rows

if TYPE_CHECKING:
    from heldout.linear.softmax.singles import Merged

LARGE = 2**21  # numbers: 16 MiB in double precision
SAFE = 1e6  # features whose squares, summed, single precision holds with ease


@dataclass(frozen=True)
class Standardised:
    """x = [(X - mean) / scale, 1], without the 1 if there is no intercept.

    A table stays as it is, to be standardised a block at a time; CSR is a copy, with mean 0, in which columns of
    single numbers may be merged.
    """

    x: Any
    mean: Array  # (p,)
    scale: Array  # (p,)
    ones: bool
    merged: Merged | None = None

    @property
    def width(self) -> int:
        return len(self.scale) + self.ones

    def blocks(self, codes: Codes, weights: Array, runs: list[slice]) -> list[Rows]:
        """The rows run by run."""
        if sparse.issparse(self.x):
            parts = [self.x] if len(runs) == 1 else [self.x[run] for run in runs]
            return [SparseRows(x, codes[run], weights[run], self.ones) for x, run in zip(parts, runs, strict=True)]
        own = (self.mean, self.scale, self.ones)
        return [TableRows(self.x[run], codes[run], weights[run], *own) for run in runs]

    def undo(self, coef: Array) -> tuple[Array, Array]:
        """Coefficients (r, p) and intercepts (r,) for the columns as they were."""
        p = len(self.scale)
        own = coef[:, :p] / self.scale
        intercept = coef[:, p] if coef.shape[1] > p else np.zeros(len(coef))
        intercept = intercept - own @ self.mean
        return np.ascontiguousarray(own) if self.merged is None else self.merged.undo(own), intercept


def quick_copies(blocks: list[Rows], map_: Map) -> list[Rows]:
    """The blocks of a table with their features made: in single precision where the table is large.

    Products with the Hessian need but a few digits: they find a direction, and the gradient is exact. Features so
    great that single precision could overflow stay double.
    """
    if isinstance(blocks[0], SparseRows):
        return blocks
    large = sum(len(block.codes) * block.width for block in blocks) > LARGE

    def made(block: Rows) -> Rows:
        z = block.features()
        single = large and max(-z.min(), z.max()) < SAFE
        assert isinstance(block, TableRows)
        return replace(block, x=z.astype(np.float32) if single else z, mean=None, scale=None, ones=False)

    return map_(made, blocks)


def standardise(
    X: Any, weights: Array, *, floor: float, fit_intercept: bool, map_: Map, merge: bool = False
) -> Standardised:
    """scale_j = sqrt(sum_i v_i (x_ij - mean_j)^2 + floor), for weights that sum to 1.

    The mean is zero where there is no intercept to take it up, and for CSR, which stays sparse; `merge` its columns
    of single numbers, which an L2 penalty allows.
    """
    if sparse.issparse(X):
        return _standardise_sparse(X, weights, floor, fit_intercept, merge)
    n, p = X.shape
    runs = split_rows(n, -(-n // block_rows(p)))
    mean = np.zeros(p)
    if fit_intercept:
        mean = np.sum(map_(lambda run: weights[run] @ X[run], runs), axis=0)
    squares = map_(functools.partial(_squares, X, mean, weights), runs)
    return Standardised(X, mean, common_scale(np.sum(squares, axis=0), floor), fit_intercept)


def _squares(X: Array, mean: Array, weights: Array, run: slice) -> Array:
    """A run's weighted sums of squares about the mean (p,)."""
    with np.errstate(over="ignore"):
        return np.asarray(weights[run] @ (X[run] - mean) ** 2)


def common_scale(squares: Array, floor: float) -> Array:
    """sqrt(squares + floor) (p,), and 1 where that is zero."""
    scale = np.sqrt(squares + floor)
    too_large = np.flatnonzero(~np.isfinite(scale))
    if len(too_large):
        raise InputError(f"Column {too_large[0]} holds numbers above 1e150: divide it by a power of ten first.")
    return np.where(scale > 0.0, scale, 1.0)  # a constant column, without a penalty


def _standardise_sparse(X: Any, weights: Array, floor: float, fit_intercept: bool, merge: bool) -> Standardised:
    from heldout.linear.softmax.singles import merge_singles
    from heldout.linear.softmax.sparse_kernels import column_squares, divided

    merged = merge_singles(X) if merge else None
    x = X if merged is None else merged.x
    scale = common_scale(column_squares(x.indptr, x.indices, x.data, weights, x.shape[1]), floor)
    scaled = sparse.csr_array((divided(x.indices, x.data, scale), x.indices, x.indptr), shape=x.shape)
    return Standardised(scaled, np.zeros(x.shape[1]), scale, fit_intercept, merged)
