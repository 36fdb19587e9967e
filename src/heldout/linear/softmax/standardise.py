"""Columns in a common scale, so that the solvers see no units of measurement."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from heldout.errors import InputError
from heldout.linear.blocks import Map, split_rows
from heldout.linear.softmax.loss import Array, Codes
from heldout.linear.softmax.objective import Block
from heldout.linear.triangular import block_rows

LARGE = 2**21  # numbers: 16 MiB in double precision
SAFE = 1e6  # features whose squares, summed, single precision holds with ease


@dataclass(frozen=True)
class Standardised:
    """x = [(X - mean) / scale, 1], without the 1 if there is no intercept.

    A table stays as it is, to be standardised a block at a time; CSR is a copy, with mean 0 and the ones in it.
    """

    x: Any
    mean: Array  # (p,)
    scale: Array  # (p,)
    ones: bool

    @property
    def width(self) -> int:
        return len(self.scale) + self.ones

    def blocks(self, codes: Codes, weights: Array, runs: list[slice]) -> list[Block]:
        """The rows run by run."""
        if sparse.issparse(self.x):
            return [Block(self.x[run], codes[run], weights[run]) for run in runs]
        own = (self.mean, self.scale, self.ones)
        return [Block(self.x[run], codes[run], weights[run], *own) for run in runs]

    def undo(self, coef: Array) -> tuple[Array, Array]:
        """Coefficients (r, p) and intercepts (r,) for the columns as they were."""
        p = len(self.scale)
        own = coef[:, :p] / self.scale
        intercept = coef[:, p] if coef.shape[1] > p else np.zeros(len(coef))
        return own, intercept - own @ self.mean


def quick_copies(blocks: list[Block], map_: Map) -> list[Block]:
    """The blocks of a table with their features made: in single precision where the table is large.

    Products with the Hessian need but a few digits: they find a direction, and the gradient is exact. Features so
    great that single precision could overflow stay double.
    """
    if sparse.issparse(blocks[0].x):
        return blocks
    large = sum(block.x.size for block in blocks) > LARGE

    def made(block: Block) -> Block:
        z = block.features()
        single = large and max(-z.min(), z.max()) < SAFE
        return Block(z.astype(np.float32) if single else z, block.codes, block.weights)

    return map_(made, blocks)


def standardise(X: Any, weights: Array, *, floor: float, fit_intercept: bool, map_: Map) -> Standardised:
    """scale_j = sqrt(sum_i v_i (x_ij - mean_j)^2 + floor), for weights that sum to 1.

    The mean is zero where there is no intercept to take it up, and for CSR, which stays sparse.
    """
    if sparse.issparse(X):
        return _standardise_sparse(X, weights, floor, fit_intercept)
    n, p = X.shape
    runs = split_rows(n, -(-n // block_rows(p)))
    mean = np.zeros(p)
    if fit_intercept:
        mean = np.sum(map_(lambda run: weights[run] @ X[run], runs), axis=0)
    squares = map_(functools.partial(_squares, X, mean, weights), runs)
    return Standardised(X, mean, _scale(np.sum(squares, axis=0), floor), fit_intercept)


def _squares(X: Array, mean: Array, weights: Array, run: slice) -> Array:
    """A run's weighted sums of squares about the mean (p,)."""
    with np.errstate(over="ignore"):
        return np.asarray(weights[run] @ (X[run] - mean) ** 2)


def _scale(squares: Array, floor: float) -> Array:
    scale = np.sqrt(squares + floor)
    too_large = np.flatnonzero(~np.isfinite(scale))
    if len(too_large):
        raise InputError(f"Column {too_large[0]} holds numbers above 1e150: divide it by a power of ten first.")
    return np.where(scale > 0.0, scale, 1.0)  # a constant column, without a penalty


def _standardise_sparse(X: Any, weights: Array, floor: float, fit_intercept: bool) -> Standardised:
    n, p = X.shape
    with np.errstate(over="ignore"):
        scale = _scale(weights @ X.multiply(X).tocsr(), floor)
    x = X @ sparse.diags_array(1.0 / scale)
    if fit_intercept:
        x = sparse.hstack([x, np.ones((n, 1))])
    return Standardised(x.tocsr(), np.zeros(p), scale, fit_intercept)
