"""Coordinate descent for the lasso and the elastic net on products of columns, compiled."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sweeps(h: Array, w: Array, g: Array, c: Array, yy: float, l1: float, l2: float, tol: float, most: int) -> Any:
    """Sweeps over the first m = len(w) columns, until the duality gap is at most `tol`; their number and the gap.

    Minimises w'Hw / 2 - c'w + l1 |w|_1 + l2 |w|^2 / 2 over w, in place, and keeps g = c - H w.
    """
    m = len(w)
    for sweep in range(most):
        for j in range(m):
            d, old = h[j, j], w[j]
            z = g[j] + d * old
            size = abs(z) - l1
            new = 0.0
            if size > 0.0 and d + l2 > 0.0:
                new = np.copysign(size / (d + l2), z)
            if new != old:
                w[j] = new
                change, row = new - old, h[j]
                for k in range(m):
                    g[k] -= change * row[k]
        gap = duality_gap(w, g, c, yy, l1, l2)
        if gap <= tol:
            return sweep + 1, gap
    return most, duality_gap(w, g, c, yy, l1, l2)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def duality_gap(w: Array, g: Array, c: Array, yy: float, l1: float, l2: float) -> float:
    """How far the objective can be above its minimum at most, from the dual point along the residuals.

    With residuals r scaled into the dual's domain by s; |r|^2 = yy - c'w - g'w and r'y = yy - c'w.
    """
    steepest, explained, left, size, square = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(len(w)):
        steepest = max(steepest, abs(g[j] - l2 * w[j]))
        explained += c[j] * w[j]
        left += g[j] * w[j]
        size += abs(w[j])
        square += w[j] * w[j]
    residual = max(yy - explained - left, 0.0)
    s = min(1.0, l1 / steepest) if steepest > 0.0 else 1.0
    gap = 0.5 * (1.0 + s * s) * (residual + l2 * square) + l1 * size - s * (yy - explained)
    return max(gap, 0.0)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def objective(w: Array, g: Array, c: Array, yy: float, l1: float, l2: float) -> float:
    """|y - Zw|^2 / 2 + l1 |w|_1 + l2 |w|^2 / 2, from the gradient g."""
    value = yy
    for j in range(len(w)):
        value += l2 * w[j] * w[j] + 2.0 * l1 * abs(w[j]) - (c[j] + g[j]) * w[j]
    return 0.5 * value


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def gradient(rows: Array, c: Array, w: Array, place: Any) -> Array:
    """c - G w, from the rows of G whose coefficients are not zero; column j's is rows[place[j]]."""
    g = c.copy()
    for j in range(len(w)):
        if w[j] != 0.0:
            row = rows[place[j]]
            for k in range(len(g)):
                g[k] -= w[j] * row[k]
    return g
