"""Auxiliary regressions: what more columns explain of a target beyond the columns that are there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import qr, solve_triangular

from heldout.linear.blocks import in_threads, one_blas_thread, split_rows
from heldout.linear.squares.least_squares import CONSTANT
from heldout.linear.triangular import MAX_PARTS, Array, block_rows

DEPENDENT = 1e-12  # a column's share that other columns do not explain, at most this, is rounding


@dataclass(frozen=True)
class Nested:
    """What columns B explain of a target beyond columns A."""

    base_rank: int  # of A
    rank: int  # of B beyond A
    kept: np.ndarray[Any, np.dtype[np.intp]]  # (rank,) which columns of B span B beyond A
    explained: float  # of the target's sum of squares beyond A
    left: float  # of it, by neither A nor B
    shares: Array  # (columns of B,) what each of them explains alone, beyond A, of what A leaves; 0 to 1


def triangle(rows: Callable[[slice], Array], n: int, width: int) -> Array:
    """R (min(n, width), width) with R'R = Z'Z for Z (n, width) made by `rows`, a block at a time.

    Runs of blocks go side by side; they are cut by the shape alone, so that threads do not change the result.
    """
    height = max(block_rows(width), 2 * width)
    runs = split_rows(n, max(1, min(MAX_PARTS, n // (4 * height))))
    parts = in_threads(functools.partial(_run, rows, width, height), runs)
    if len(parts) == 1:
        return parts[0]
    with one_blas_thread:
        return np.asarray(np.linalg.qr(np.vstack(parts), mode="r"))


def _run(rows: Callable[[slice], Array], width: int, height: int, run: slice) -> Array:
    r, n = np.zeros((0, width)), run.stop - run.start
    for part in split_rows(n, -(-n // height)):
        block = rows(slice(run.start + part.start, run.start + part.stop))
        r = np.asarray(np.linalg.qr(np.vstack([r, block]), mode="r"))
    return r


def nested(r: Array, base: int) -> Nested:
    """From the triangle of [A, B, target], A being the first `base` columns."""
    with one_blas_thread:
        q, _, _, base_rank = _pivoted(r[:, :base], np.linalg.norm(r[:, :base], axis=0))
        beyond = (q.T @ r[:, base:])[base_rank:]
        more, target = beyond[:, :-1], beyond[:, -1]
        sizes = np.linalg.norm(r[:, base:-1], axis=0)
        q, _, order, rank = _pivoted(more, sizes)
        parts = q.T @ target
    return Nested(
        base_rank=base_rank,
        rank=rank,
        kept=np.sort(order[:rank]),
        explained=float(parts[:rank] @ parts[:rank]),
        left=float(parts[rank:] @ parts[rank:]),
        shares=_shares(more, sizes, target),
    )


def _shares(more: Array, sizes: Array, target: Array) -> Array:
    """Squared cosines between the columns and the target; 0 for columns that are rounding."""
    norms = np.linalg.norm(more, axis=0)
    real = norms > DEPENDENT * sizes
    cosines = np.zeros(len(norms))
    cosines[real] = (target @ more[:, real]) / (norms[real] * (np.linalg.norm(target) or 1.0))
    return np.minimum(cosines**2, 1.0)


def _pivoted(a: Array, sizes: Array) -> tuple[Array, Array, Any, int]:
    """Q (m, m), R, the order of the columns and the rank of `a` (m, w), whose columns once had these sizes."""
    q, r, order = qr(a / np.where(sizes > 0.0, sizes, 1.0), pivoting=True, check_finite=False)
    return q, r, order, int(np.count_nonzero(np.abs(r.diagonal()) > DEPENDENT))


def orthonormal(z: Array) -> Array:
    """Orthonormal columns (n, rank) that span the columns z (n, w)."""
    sizes = np.linalg.norm(z, axis=0)
    _, r, order, rank = _pivoted(triangle(lambda part: z[part], *z.shape), sizes)
    kept = order[:rank]
    scaled = z[:, kept] / sizes[kept]
    return np.asarray(solve_triangular(r[:rank, :rank], scaled.T, trans="T", check_finite=False).T)


def standard(x: Array, centred: bool) -> Array:
    """The columns (n, p) about their means, if `centred`, and over their root mean squares.

    Columns that vary by rounding only become zero.
    """
    mean = x.mean(axis=0) if centred else np.zeros(x.shape[1])
    result = x - mean
    sizes = np.sqrt(np.mean(result**2, axis=0))
    real = sizes > CONSTANT * np.abs(mean)
    return np.asarray(result * (real / np.where(real, sizes, 1.0)))
