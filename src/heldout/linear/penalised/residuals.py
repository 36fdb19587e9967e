"""Coordinate descent on the residuals, for CSR: a column costs its stored numbers, and no products are made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numba import njit
from scipy import sparse

from heldout.linear.penalised.working_set import WorkingSet
from heldout.linear.triangular import Array

if TYPE_CHECKING:
    from heldout.linear.penalised.problem import SomeProducts

Indices: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]


PATIENCE = 100  # sweeps for one penalty, at least


class Columns:
    """The columns that may matter so far, and what all coefficients leave of the target.

    The columns z_j = (x_j - m_j) / s_j are never made: the residuals are r + o, of which a step changes r where x_j has
    numbers, and the one number o everywhere.
    """

    def __init__(self, problem: SomeProducts) -> None:
        self.problem = problem
        x = sparse.csc_array(problem.x)
        unsigned = np.dtype(f"u{x.indices.itemsize}")
        self.stored = (x.indptr, x.indices.view(unsigned), x.data, problem.share)
        self.mean, self.scale = problem.frame.mean, problem.frame.scale
        self.squares = np.maximum(problem.share @ (x * x) - self.mean**2, 0.0) / self.scale**2
        self.w, self.r, self.offset = np.zeros(len(problem.c)), problem.y.copy(), 0.0
        self.order = np.empty(0, dtype=np.intp)
        self.inside = np.zeros(len(problem.c), dtype=np.bool_)

    def extend(self, columns: Indices) -> None:
        self.order = np.r_[self.order, columns]
        self.inside[columns] = True

    def whole(self) -> Array:
        """The coefficients of all columns (p,)."""
        return self.w.copy()

    def solve(self, _: Array, l1: float, l2: float, tol: float, most: int) -> tuple[float, int]:
        """Descend to a duality gap of `tol` over these columns; the gap and the sweeps.

        Where that takes longer than the products of the columns and their factors would, it goes on with those.
        """
        patience = max(PATIENCE, len(self.order) ** 3 // (12 * max(self.problem.x.nnz, 1)))
        known = (self.mean, self.scale, self.squares, self.order, self.w, self.r)
        limits = (self.problem.c, self.problem.yy, l1, l2, tol, min(patience, most))
        gap, done, self.offset = sweeps(*self.stored, *known, self.offset, *limits)
        if gap > tol and done < most:
            gap, more = self._by_products(l1, l2, tol, most - done)
            done += more
        return float(gap), int(done)

    def _by_products(self, l1: float, l2: float, tol: float, most: int) -> tuple[float, int]:
        columns = WorkingSet(self.problem)
        columns.extend(self.order)
        columns.w[:] = self.w[self.order]
        gap, done = columns.solve(self.problem.gradient(self.w)[self.order], l1, l2, tol, most)
        self.w[self.order] = columns.w
        coef = self.w / self.scale
        self.r, self.offset = self.problem.y - self.problem.x @ coef, float(coef @ self.mean)
        return gap, done


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sweeps(
    indptr: Any,
    indices: Any,
    data: Array,
    share: Array,
    mean: Array,
    scale: Array,
    squares: Array,
    order: Indices,
    w: Array,
    r: Array,
    offset: float,
    c: Array,
    yy: float,
    l1: float,
    l2: float,
    tol: float,
    most: int,
) -> Any:
    """Sweeps over the columns of `order` until the duality gap is at most `tol`; the gap, their number, the offset."""
    gap, done, still = np.inf, 0, tol
    while done < most and gap > tol:
        done += 1
        moved = 0.0
        for j in order:
            old = w[j]
            z = _slope(indptr, indices, data, share, offset * mean[j], r, j) / scale[j] + squares[j] * old
            size = abs(z) - l1
            new = 0.0
            if size > 0.0 and squares[j] + l2 > 0.0:
                new = np.copysign(size / (squares[j] + l2), z)
            if new != old:
                change = (new - old) / scale[j]
                for at in range(indptr[j], indptr[j + 1]):
                    r[indices[at]] -= change * data[at]
                offset += change * mean[j]
                moved += (new - old) ** 2 * (squares[j] + l2)
                w[j] = new
        if moved <= still or done == most:  # a gap costs half a sweep
            still = moved / 4.0
            gap = _gap(indptr, indices, data, share, mean, scale, order, w, r, offset, c, yy, l1, l2)
    return gap, done, offset


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _gap(
    indptr: Any,
    indices: Any,
    data: Array,
    share: Array,
    mean: Array,
    scale: Array,
    order: Indices,
    w: Array,
    r: Array,
    offset: float,
    c: Array,
    yy: float,
    l1: float,
    l2: float,
) -> float:
    """How far the objective can be above its minimum at most: `kernels.duality_gap`, from the residuals."""
    steepest, explained, size, square = 0.0, 0.0, 0.0, 0.0
    for j in order:
        slope = _slope(indptr, indices, data, share, offset * mean[j], r, j)
        steepest = max(steepest, abs(slope / scale[j] - l2 * w[j]))
        explained += c[j] * w[j]
        size += abs(w[j])
        square += w[j] * w[j]
    residual = 0.0
    for i in range(len(r)):
        residual += share[i] * (r[i] + offset) ** 2
    s = min(1.0, l1 / steepest) if steepest > 0.0 else 1.0
    gap = 0.5 * (1.0 + s * s) * (residual + l2 * square) + l1 * size - s * (yy - explained)
    return max(gap, 0.0)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _slope(indptr: Any, indices: Any, data: Array, share: Array, start: float, r: Array, j: int) -> float:
    """`start` + x_j'V r."""
    slope = start
    for at in range(indptr[j], indptr[j + 1]):
        slope += data[at] * share[indices[at]] * r[indices[at]]
    return slope
