"""Gradient descent on a quadratic, compiled: the loops over steps, rows and coefficients.

Coefficients lie target by target, w (m, q). The columns are those of the table as they are descended on: centred and
divided by their spread, or as given, with a last column of ones where that has an intercept.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Indices: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]

PLAIN, MOMENTUM, NESTEROV, ADAM = 0, 1, 2, 3
REORDERED = {"reassoc", "contract"}  # lets sums use vector registers; the same machine adds in the same order each time


class Quadratic(NamedTuple):
    """L(w) = sum_t unit_t ||r w_t - c_t||^2 + a constant."""

    r: Array  # (k, q)
    c: Array  # (k, m)
    starts: Indices  # (k,) the first column of each row of r that is not zero
    unit: Array  # (m,)
    relative: Array  # (m, q) turns a gradient into a correlation of column and residual


class Rows(NamedTuple):
    """Rows z_i = (x_i - mean) * inverse, then 1 where `ones`; targets (y_i - y_mean) * y_inverse; factors n v_i / V."""

    x: Array  # (n, p)
    y: Array  # (n, m)
    factor: Array  # (n,)
    mean: Array  # (p,)
    inverse: Array  # (p,)
    y_mean: Array  # (m,)
    y_inverse: Array  # (m,)
    ones: bool


class Rule(NamedTuple):
    """How a gradient becomes a step: the update's code, the first step and its decay, the update's constants."""

    code: int
    step: float
    decay: float
    momentum: float
    beta1: float
    beta2: float
    epsilon: float


class Memory(NamedTuple):
    """What changes from step to step, all (m, q) but `used` (1,), the last step's length."""

    w: Array
    gradient: Array
    first: Array
    second: Array
    average: Array
    used: Array


@njit(cache=True, nogil=True, fastmath=REORDERED)  # type: ignore[untyped-decorator]
def evaluate(quadratic: Quadratic, w: Array, gradient: Array) -> tuple[float, float]:
    """The loss above the constant, and the largest correlation of a column and residuals; writes 2 r'(r w - c)."""
    gradient[:] = 0.0
    excess = 0.0
    for t in range(w.shape[0]):
        for i in range(quadratic.r.shape[0]):
            start, row = quadratic.starts[i], quadratic.r[i]
            error = -quadratic.c[i, t]
            for j in range(start, len(row)):
                error += row[j] * w[t, j]
            excess += quadratic.unit[t] * error * error
            error *= 2.0
            for j in range(start, len(row)):
                gradient[t, j] += error * row[j]
    largest = 0.0
    for t in range(w.shape[0]):
        for j in range(w.shape[1]):
            size = abs(gradient[t, j]) * quadratic.relative[t, j]
            if not size <= largest:  # so that NaN comes through
                largest = size
    return excess, largest


@njit(cache=True, nogil=True, fastmath=REORDERED)  # type: ignore[untyped-decorator]
def exact_step(quadratic: Quadratic, gradient: Array) -> float:
    """The step g'g / g'Hg, beyond which the loss rises again along -g."""
    squares, curvature = 0.0, 0.0
    for t in range(gradient.shape[0]):
        for j in range(gradient.shape[1]):
            squares += gradient[t, j] * gradient[t, j]
        for i in range(quadratic.r.shape[0]):
            along = 0.0
            for j in range(quadratic.starts[i], gradient.shape[1]):
                along += quadratic.r[i, j] * gradient[t, j]
            curvature += 2.0 * along * along
    return squares / curvature if curvature > 0.0 else 0.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def move(rule: Rule, memory: Memory, step: float, t: int) -> None:
    """w by one step from the gradient in memory; t counts the steps before it."""
    w, gradient, first, second = memory.w, memory.gradient, memory.first, memory.second
    memory.used[0] = step
    for k in range(w.shape[0]):
        if rule.code == PLAIN:
            for j in range(w.shape[1]):
                w[k, j] -= step * gradient[k, j]
        elif rule.code == ADAM:
            bias1, bias2 = 1.0 - rule.beta1 ** (t + 1), 1.0 - rule.beta2 ** (t + 1)
            for j in range(w.shape[1]):
                g = gradient[k, j]
                first[k, j] = rule.beta1 * first[k, j] + (1.0 - rule.beta1) * g
                second[k, j] = rule.beta2 * second[k, j] + (1.0 - rule.beta2) * g * g
                w[k, j] -= step * (first[k, j] / bias1) / (np.sqrt(second[k, j] / bias2) + rule.epsilon)
        else:
            for j in range(w.shape[1]):
                first[k, j] = rule.momentum * first[k, j] + gradient[k, j]
                ahead = gradient[k, j] + rule.momentum * first[k, j] if rule.code == NESTEROV else first[k, j]
                w[k, j] -= step * ahead


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def full(
    quadratic: Quadratic, rule: Rule, memory: Memory, t: int, until: int, tol: float, limit: float, search: bool
) -> int:
    """On from step t to step `until`, or to where the correlation is at most `tol` or above `limit`, on all rows."""
    while t < until:
        _, correlation = evaluate(quadratic, memory.w, memory.gradient)
        if correlation <= tol or not correlation <= limit:
            break
        step = exact_step(quadratic, memory.gradient) if search else rule.step / (1.0 + rule.decay * t)
        move(rule, memory, step, t)
        t += 1
    return t


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def batches(rows: Rows, order: Indices, size: int, rule: Rule, memory: Memory, t: int) -> None:
    """One step for each batch of `size` rows, in the order given; t counts the steps before them.

    The average weighs the point after step s by s (Lacoste-Julien, Schmidt and Bach, arXiv 1212.2002, 2012).
    """
    z = np.empty(memory.w.shape[1])
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        memory.gradient[:] = 0.0
        for i in batch:
            add_row(rows, i, z, memory, 2.0 * rows.factor[i] / len(batch))
        move(rule, memory, rule.step / (1.0 + rule.decay * t), t)
        t += 1
        share = 2.0 / (t + 1.0)
        for k in range(memory.w.shape[0]):
            for j in range(memory.w.shape[1]):
                memory.average[k, j] += share * (memory.w[k, j] - memory.average[k, j])


@njit(cache=True, nogil=True, fastmath=REORDERED)  # type: ignore[untyped-decorator]
def add_row(rows: Rows, i: int, z: Array, memory: Memory, factor: float) -> None:
    """Add factor (w'z_i - y_i) z_i to the gradient in memory."""
    fill(rows, i, z)
    for k in range(memory.w.shape[0]):
        error = -(rows.y[i, k] - rows.y_mean[k]) * rows.y_inverse[k]
        for j in range(len(z)):
            error += z[j] * memory.w[k, j]
        error *= factor
        for j in range(len(z)):
            memory.gradient[k, j] += error * z[j]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def fill(rows: Rows, i: int, z: Array) -> None:
    """Write z_i."""
    p = rows.x.shape[1]
    for j in range(p):
        z[j] = (rows.x[i, j] - rows.mean[j]) * rows.inverse[j]
    if rows.ones:
        z[p] = 1.0


@njit(cache=True, nogil=True, fastmath=REORDERED)  # type: ignore[untyped-decorator]
def steepest_row(rows: Rows, q: int) -> float:
    """The largest curvature of one row's loss, max_i 2 (n v_i / V) ||z_i||^2."""
    z = np.empty(q)
    largest = 0.0
    for i in range(rows.x.shape[0]):
        fill(rows, i, z)
        squares = 0.0
        for j in range(q):
            squares += z[j] * z[j]
        largest = max(largest, 2.0 * rows.factor[i] * squares)
    return largest


@njit(cache=True, nogil=True, fastmath=REORDERED)  # type: ignore[untyped-decorator]
def mean_squared_error(x: Array, y: Array, share: Array, coef: Array, intercept: Array) -> float:
    """sum_i share_i sum_t (y_it - intercept_t - coef_t'x_i)^2, for coefficients (m, p)."""
    total = 0.0
    for i in range(x.shape[0]):
        for t in range(y.shape[1]):
            error = intercept[t] - y[i, t]
            for j in range(x.shape[1]):
                error += coef[t, j] * x[i, j]
            total += share[i] * error * error
    return total
