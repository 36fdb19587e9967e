"""A tall matrix reduced to a triangle by Householder reflections, a block of rows at a time."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy.linalg import lapack

from heldout.linear.blocks import in_threads, one_blas_thread, split_rows

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

BLOCK_SIZE = 2**18  # numbers in a block of rows: 2 MiB, so that it stays near the core
MAX_PARTS = 32  # runs of rows reduced side by side; fixed by the shape alone, so that results are too
LAPACK_BLOCK = 32  # LAPACK's own block size; without this workspace it falls back to slow unblocked code


def block_rows(p: int) -> int:
    """How many rows of p columns make a block."""
    return max(1, BLOCK_SIZE // p)


@dataclass(frozen=True)
class Rows:
    """The rows sqrt(w_i) (x_i - mean_x | y_i - mean_y), made when they are asked for."""

    x: Array  # (n, p)
    y: Array  # (n, m)
    mean_x: Array  # (p,)
    mean_y: Array  # (m,)
    weights: Array | None  # (n,)

    @functools.cached_property
    def root_weights(self) -> Array | None:
        return None if self.weights is None else np.sqrt(self.weights)

    def fill(self, rows: slice, x_out: Any, y_out: Any) -> None:
        """Write a run of rows in the outputs' precision."""
        np.subtract(self.x[rows], self.mean_x, out=x_out, dtype=x_out.dtype)
        np.subtract(self.y[rows], self.mean_y, out=y_out, dtype=y_out.dtype)
        if self.root_weights is not None:
            x_out *= self.root_weights[rows, None]
            y_out *= self.root_weights[rows, None]

    def with_ones(self, rows: slice, out: Any, fit_intercept: bool) -> Any:
        """[1, x] of a run of rows, or x without an intercept, as they are: not centred, not weighted."""
        out[:, :fit_intercept] = 1.0
        out[:, fit_intercept:] = self.x[rows]
        return out


def reduce(rows: Rows) -> tuple[Array, Array]:
    """R (k, p) and C (k, m) with R'R = X'X and R'C = X'Y for the rows' X and Y, k = min(n, p).

    X = QR by the tall-skinny algorithm (Demmel, Grigori, Hoemmen and Langou, SIAM J. Sci. Comput. 34, 2012,
    A206-A239): runs of rows are reduced side by side, each a block at a time under the triangle so far, then
    their triangles are stacked and reduced again. C = Q'Y. A wide X is only copied: R = X, C = Y.
    """
    n, p = rows.x.shape
    if n <= p:
        r, c = np.empty((n, p), order="F"), np.empty((n, rows.y.shape[1]), order="F")
        rows.fill(slice(0, n), r, c)
        return r, c
    n_parts = max(1, min(MAX_PARTS, n // max(block_rows(p), 2 * p)))
    parts = in_threads(functools.partial(_reduce_run, rows), split_rows(n, n_parts))
    if n_parts == 1:
        return parts[0]
    stacked = np.asfortranarray(np.vstack([r for r, _ in parts]))
    targets = np.asfortranarray(np.vstack([c for _, c in parts]))
    with one_blas_thread:
        _triangularise(stacked, targets)
    return np.asfortranarray(stacked[:p]), np.asfortranarray(targets[:p])


def _reduce_run(rows: Rows, run: slice) -> tuple[Array, Array]:
    """One run of at least p rows, in blocks under the triangle so far; a short last block is filled with zeros."""
    p, m = rows.x.shape[1], rows.y.shape[1]
    n_blocks = max(1, (run.stop - run.start) // max(block_rows(p), p))
    blocks = split_rows(run.stop - run.start, n_blocks)
    height = max(block.stop - block.start for block in blocks)
    x = np.zeros((p + height if n_blocks > 1 else height, p), order="F")
    y = np.zeros((x.shape[0], m), order="F")
    first = x.shape[0] - height
    for block in blocks:
        last = first + block.stop - block.start
        rows.fill(slice(run.start + block.start, run.start + block.stop), x[first:last], y[first:last])
        x[last:], y[last:] = 0.0, 0.0
        _triangularise(x, y)
    return np.asfortranarray(x[:p]), np.asfortranarray(y[:p])


def _triangularise(x: Array, y: Array) -> None:
    """Overwrite x by its triangle R over zeros, and y by Q'y. Both lie column by column (Fortran order)."""
    p, m = x.shape[1], y.shape[1]
    _, tau, _, _ = lapack.dgeqrf(x, lwork=LAPACK_BLOCK * p, overwrite_a=1)
    lapack.dormqr("L", "T", x, tau, y, lwork=LAPACK_BLOCK * m, overwrite_c=1)
    below = np.tri(p, k=-1, dtype=bool)
    x[:p][below] = 0.0
