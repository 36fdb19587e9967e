"""Dual coordinate descent and averaged stochastic gradient descent for one binary problem, compiled.

Rows are dense, x (n, d), or CSR with an empty x. The intercept is the coefficient of one more column of value `bias`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Indices: TypeAlias = np.ndarray[Any, np.dtype[np.integer[Any]]]

REORDERED = {"reassoc", "contract"}  # sums use vector registers; the same machine adds in the same order each time


@njit(cache=True, nogil=True, fastmath=REORDERED)  # type: ignore[untyped-decorator]
def score(x: Array, indptr: Indices, indices: Indices, data: Array, i: int, w: Array, bias: float) -> Any:
    """w'x_i with the intercept's part."""
    total = 0.0
    if x.shape[0]:
        row = x[i]
        for j in range(len(row)):
            total += row[j] * w[j]
    else:
        for at in range(indptr[i], indptr[i + 1]):
            total += data[at] * w[indices[at]]
    return total + bias * w[-1]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add(x: Array, indptr: Indices, indices: Indices, data: Array, i: int, w: Array, bias: float, step: float) -> None:
    """w += step x_i."""
    if x.shape[0]:
        row = x[i]
        for j in range(len(row)):
            w[j] += step * row[j]
    else:
        for at in range(indptr[i], indptr[i + 1]):
            w[indices[at]] += step * data[at]
    w[-1] += step * bias


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _next(state: Any) -> Any:
    """xorshift64* (Vigna, ACM Trans. Math. Software 42, 2016); the state is an array of one uint64."""
    s = state[0]
    s ^= s >> np.uint64(12)
    s ^= s << np.uint64(25)
    s ^= s >> np.uint64(27)
    state[0] = s
    return s * np.uint64(2685821657736338717)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def shuffle(order: Indices, n: int, state: Any) -> None:
    for k in range(n - 1, 0, -1):
        other = int(_next(state) % np.uint64(k + 1))
        order[k], order[other] = order[other], order[k]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def dual_epochs(
    x: Array,
    indptr: Indices,
    indices: Indices,
    data: Array,
    y: Array,
    cost: Array,
    square: Array,
    squared: bool,
    bias: float,
    alpha: Array,
    w: Array,
    order: Indices,
    active: int,
    widest: float,
    epochs: int,
    state: Any,
) -> Any:
    """Epochs over the active rows; how many are still active, and how far the projected gradient goes.

    Minimises |w|^2 / 2 - sum_i alpha_i (+ alpha_i^2 / 4 cost_i if `squared`) with w = sum_i alpha_i y_i x_i over
    0 <= alpha_i (<= cost_i if not `squared`): Hsieh, Chang, Lin, Keerthi and Sundararajan, ICML 2008, algorithm 3.
    Rows at a bound whose gradient points beyond it by more than `widest`, the spread of the epoch before, are put
    aside.
    """  # fmt: skip
    for _ in range(epochs):
        highest, lowest = -np.inf, np.inf
        shuffle(order, active, state)
        k = 0
        while k < active:
            i = order[k]
            ridge = 0.5 / cost[i] if squared else 0.0
            top = np.inf if squared else cost[i]
            g = y[i] * score(x, indptr, indices, data, i, w, bias) - 1.0 + ridge * alpha[i]
            projected = g
            if alpha[i] == 0.0:
                if g > widest:
                    active -= 1
                    order[k], order[active] = order[active], order[k]
                    continue
                projected = min(g, 0.0)
            elif alpha[i] == top:
                if g < -widest:
                    active -= 1
                    order[k], order[active] = order[active], order[k]
                    continue
                projected = max(g, 0.0)
            highest, lowest = max(highest, projected), min(lowest, projected)
            if abs(projected) > 1e-15 and square[i] + ridge > 0.0:
                new = min(max(alpha[i] - g / (square[i] + ridge), 0.0), top)
                if new != alpha[i]:
                    add(x, indptr, indices, data, i, w, bias, (new - alpha[i]) * y[i])
                    alpha[i] = new
            k += 1
        widest = max(highest, -lowest)
        if widest <= 0.0:
            widest = np.inf
    return active, widest


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def scores(x: Array, indptr: Indices, indices: Indices, data: Array, n: int, w: Array, bias: float) -> Array:
    found = np.empty(n)
    for i in range(n):
        found[i] = score(x, indptr, indices, data, i, w, bias)
    return found


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def slope(code: int, m: float) -> Any:
    """Of the loss by its code: log, hinge, squared-hinge, exponential, perceptron."""
    if code == 0:
        return -1.0 / (1.0 + np.exp(m))
    if code == 1:
        return -1.0 if m < 1.0 else 0.0
    if code == 2:
        return -2.0 * max(0.0, 1.0 - m)
    if code == 3:
        return -np.exp(min(-m, 30.0))
    return -1.0 if m <= 0.0 else 0.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def sgd_epochs(
    x: Array,
    indptr: Indices,
    indices: Indices,
    data: Array,
    y: Array,
    share: Array,
    code: int,
    penalty: float,
    step: float,
    intercept: bool,
    average: bool,
    epochs: int,
    w: Array,
    state: Any,
) -> Array:
    """Epochs of w <- w - step_t (penalty w + share_i slope y_i x_i), the intercept not penalised; the average of w.

    step_t = step / (1 + penalty step t)^(3/4): W. Xu, arXiv:1107.2490, 2011. w is kept as scale * v, so that the
    penalty costs nothing; the average is that of the second half of the epochs.
    """  # fmt: skip
    n, d = len(y), len(w) - 1
    order = np.arange(n)
    mean, taken, t, scale = np.zeros(d + 1), 0, 0, 1.0
    for epoch in range(epochs):
        shuffle(order, n, state)
        for i in order:
            eta = step / (1.0 + penalty * step * t) ** 0.75
            own = scale * (score(x, indptr, indices, data, i, w, 0.0)) + w[d]
            scale *= max(1.0 - eta * penalty, 1e-12)
            change = eta * share[i] * slope(code, y[i] * own) * y[i]
            if change != 0.0:
                add(x, indptr, indices, data, i, w, 0.0, -change / scale)
                if intercept:
                    w[d] -= change
            if scale < 1e-9:
                w[:d] *= scale
                scale = 1.0
            t += 1
        w[:d] *= scale
        scale = 1.0
        if average and 2 * epoch >= epochs - 1:
            taken += 1
            mean += (w - mean) / taken
    return mean if average else w
