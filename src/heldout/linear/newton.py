"""Newton's method for two classes in a small table, compiled: smooth losses of the margin, and an L2 penalty."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from heldout.linear.minimum import ROUNDING, SHORTEST, SUFFICIENT
from heldout.linear.squares.gram import HEIGHT, TALL, WIDE, add_tile

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

LOSSES = {"log": 0, "squared-hinge": 1, "exponential": 2}
SUMS = {"reassoc", "nsz", "contract"}  # sums in any fixed order, so that they run in vectors

DAMPING = 1e-14  # of the Hessian's largest diagonal entry, where rounding has left it not positive definite


@njit(cache=True, nogil=True, fastmath=SUMS)  # type: ignore[untyped-decorator]
def column_moments(x: Array, rows: Array, weights: Array, centre: bool) -> tuple[Array, Array]:
    """Means (p,), zero unless `centre`, and sums of squares about them (p,), for weights (rows,) that sum to 1."""
    p = x.shape[1]
    mean, squares = np.zeros(p), np.zeros(p)
    if centre:
        for i in range(len(rows)):
            for j in range(p):
                mean[j] += weights[i] * x[rows[i], j]
    for i in range(len(rows)):
        for j in range(p):
            squares[j] += weights[i] * (x[rows[i], j] - mean[j]) ** 2
    return mean, squares


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def minimise(
    x: Array, rows: Array, sign: Array, cost: Array, mean: Array, scale: Array,
    ridge: float, intercept: bool, start: float, loss: int, tol: float, max_iter: int,
) -> tuple[Array, float, int, float]:  # fmt: skip
    """The minimum of sum_i cost_i loss(sign_i (w'x_i + b)) + ridge |w|^2 / 2, over w and b or w alone.

    `rows` (n,) of `x` (N, p) take part. Iterates for z = [1, (x - mean) / scale] from zero coefficients and the
    intercept `start`, to a gradient whose largest part, in those coordinates, is `tol`, or until rounding allows no
    decrease. Returns w, b, steps and that largest part.
    """
    p, n = x.shape[1], len(rows)
    q = 1 + p
    padded = (q + WIDE - 1) // WIDE * WIDE
    z, penalty = np.zeros((n, padded)), np.zeros(padded)
    for i in range(n):
        z[i, 0] = 1.0 if intercept else 0.0
        for j in range(p):
            z[i, 1 + j] = (x[rows[i], j] - mean[j]) / scale[j]
    for j in range(p):
        penalty[1 + j] = ridge / scale[j] ** 2
    if not intercept:
        penalty[0] = 1.0  # a column of zeros
    v = np.zeros(padded)
    v[0] = start if intercept else 0.0
    slopes, bends, hessian = np.empty(n), np.empty(n), np.empty((padded, padded))
    trial, gradient, trial_gradient = np.empty(padded), np.empty(padded), np.empty(padded)
    value = _evaluate(z, sign, cost, penalty, loss, v, slopes, bends, gradient)
    steepest, n_iter = np.abs(gradient[:q]).max(), 0
    while n_iter < max_iter and steepest > tol:
        n_iter += 1
        _second_derivatives(z, bends, penalty, q, hessian)
        step = _solved(hessian, gradient, q)
        slope = -np.dot(step, gradient)
        length, found = 1.0, False
        while length >= SHORTEST and not found:
            for j in range(padded):
                trial[j] = v[j] - length * step[j]
            there = _evaluate(z, sign, cost, penalty, loss, trial, slopes, bends, trial_gradient)
            if abs(there - value) <= ROUNDING * abs(value):
                found = np.abs(trial_gradient[:q]).max() < steepest
                break
            found = there <= value + SUFFICIENT * length * slope
            length /= 2.0
        if not found:
            break
        v, trial, gradient, trial_gradient, value = trial, v, trial_gradient, gradient, there
        steepest = np.abs(gradient[:q]).max()
    w = v[1:q] / scale
    return w, v[0] - np.dot(w, mean), n_iter, steepest


@njit(cache=True, nogil=True, fastmath=SUMS)  # type: ignore[untyped-decorator]
def _evaluate(
    z: Array,
    sign: Array,
    cost: Array,
    penalty: Array,
    loss: int,
    v: Array,
    slopes: Array,
    bends: Array,
    gradient: Array,
) -> float:
    """The objective at v; fills each row's `slopes` and `bends`, the loss's derivatives by the score, and the gradient.

    Infinite where a loss overflows.
    """
    total = 0.0
    for j in range(len(v)):
        gradient[j] = penalty[j] * v[j]
        total += 0.5 * penalty[j] * v[j] * v[j]
    for i in range(len(z)):
        score = 0.0
        for j in range(len(v)):
            score += z[i, j] * v[j]
        margin = sign[i] * score
        if loss == 0:
            rest = np.exp(-abs(margin))
            value = np.log1p(rest) + max(-margin, 0.0)
            chance = (rest if margin >= 0.0 else 1.0) / (1.0 + rest)  # of the other class
            slope, bend = -chance, chance * (1.0 - chance)
        elif loss == 1:
            short = max(0.0, 1.0 - margin)
            value, slope, bend = short * short, -2.0 * short, 2.0 if short > 0.0 else 0.0
        else:
            if margin < -700.0:
                return np.inf
            value = np.exp(-margin)
            slope, bend = -value, value
        total += cost[i] * value
        slopes[i], bends[i] = cost[i] * slope * sign[i], cost[i] * bend
        if slopes[i] != 0.0:
            for j in range(len(v)):
                gradient[j] += slopes[i] * z[i, j]
    return total


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _second_derivatives(z: Array, bends: Array, penalty: Array, q: int, hessian: Array) -> None:
    """Z'DZ + diag(penalty) above the diagonal, without the rows whose bend is zero."""
    part, filled = np.empty((HEIGHT, z.shape[1])), 0
    hessian[:] = 0.0
    for i in range(len(z)):
        if bends[i] > 0.0:
            root = np.sqrt(bends[i])
            for j in range(z.shape[1]):
                part[filled, j] = root * z[i, j]
            filled += 1
        if filled == HEIGHT or (i == len(z) - 1 and filled):
            for a in range(0, q, TALL):
                for b in range(a // WIDE * WIDE, q, WIDE):
                    add_tile(part, filled, a, b, hessian)
            filled = 0
    for j in range(q):
        hessian[j, j] += penalty[j]


@njit(cache=True, nogil=True, fastmath=SUMS)  # type: ignore[untyped-decorator]
def _solved(hessian: Array, gradient: Array, q: int) -> Array:
    """H^-1 g by Cholesky's factor, which replaces what is below the diagonal; g's padding stays zero."""
    size, damping = 0.0, 0.0
    for j in range(q):
        size = max(size, hessian[j, j])
    pivots, found = np.empty(q), np.zeros(len(gradient))
    while True:
        whole = True
        for i in range(q):
            for j in range(i + 1):
                rest = hessian[j, i]
                for k in range(j):
                    rest -= hessian[i, k] * hessian[j, k]
                if j < i:
                    hessian[i, j] = rest / pivots[j]
                else:
                    rest += damping
                    whole = rest > 0.0
                    pivots[i] = np.sqrt(rest) if whole else 1.0
            if not whole:
                break
        if whole:
            break
        damping = 10.0 * damping if damping > 0.0 else DAMPING * size
    for i in range(q):
        rest = gradient[i]
        for k in range(i):
            rest -= hessian[i, k] * found[k]
        found[i] = rest / pivots[i]
    for i in range(q - 1, -1, -1):
        found[i] /= pivots[i]
        for k in range(i):
            found[k] -= hessian[i, k] * found[i]
    return found
