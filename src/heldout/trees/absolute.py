"""Cuts by absolute error: what rows deviate from the median of their side, for all cuts of a column in one sweep.

The rows of a node stand in the order of their numbers, from the root on, so that a row's place is its rank. The rows of
one group after the other enter two sums over ranks (P. Fenwick, Software: Practice and Experience 24, 1994), which give
the median of those that are in, and what lies on its two sides, in log n steps.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import njit

from heldout.trees.compiled import CALLED, WITHIN

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Sweep(NamedTuple):
    """Room for a sweep over the rows (n,) of a node."""

    weights: Array  # (n + 1,) sums over ranks; that of rank r - 1 at place r
    values: Array  # (n + 1,)
    starts: Array  # (codes + 1,) of the groups in `items`
    items: Array  # (n,) uint32 ranks, group after group
    groups: Array  # (codes,) of the codes


def room_for_sweep(n_codes: int, n_rows: int) -> Sweep:
    """For nodes of at most so many rows."""
    return Sweep(
        np.zeros(n_rows + 1), np.zeros(n_rows + 1), np.zeros(n_codes + 1, dtype=np.int64),
        np.zeros(n_rows, dtype=np.uint32), np.zeros(n_codes, dtype=np.int64),
    )  # fmt: skip


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def group_codes(codes: Array, n_groups: int, sweep: Sweep) -> None:
    """Which group each code is of: a group has the codes after that of the one before, the last all that remain."""
    g = 0
    for c in range(len(sweep.groups)):
        if g + 1 < n_groups and c > codes[g]:
            g += 1
        sweep.groups[c] = g


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def line_up(column: Array, ids: Array, n_groups: int, sweep: Sweep) -> None:
    """Fill `items` and `starts`, by the `groups` of the codes."""
    groups, starts, items = sweep.groups, sweep.starts, sweep.items
    for g in range(n_groups + 1):
        starts[g] = 0
    for i in range(len(ids)):
        starts[groups[column[ids[i]]] + 1] += 1
    for g in range(n_groups):
        starts[g + 1] += starts[g]
    for i in range(len(ids)):
        g = groups[column[ids[i]]]
        items[starts[g]] = i
        starts[g] += 1
    for g in range(n_groups, 0, -1):
        starts[g] = starts[g - 1]
    starts[0] = 0


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def absolute_by_cuts(
    values: Array, weights: Array, n_groups: int, apart: bool, first: int, last: int, sweep: Sweep, out: Array
) -> float:
    """What the cuts after the groups from `first` to `last` keep (to `out`), less absolute deviation; the most of it.

    `apart`: the first group stands on the right whatever the cut. `values` are numbers times `weights`.
    """
    most = -np.inf
    for g in range(first, last):
        out[g] = 0.0
    for side in range(2):
        for r in range(len(values) + 1):
            sweep.weights[r] = 0.0
            sweep.values[r] = 0.0
        weight, value = 0.0, 0.0
        if side == 1 and apart:
            weight, value = _enter(0, values, weights, sweep, weight, value)
        for at in range(1 if apart else 0, n_groups):
            g = at if side == 0 else n_groups - 1 - at + (1 if apart else 0)
            if side == 1 and first <= g < last:
                out[g] -= _deviation(values, weights, sweep, weight, value)
            weight, value = _enter(g, values, weights, sweep, weight, value)
            if side == 0 and first <= g < last:
                out[g] -= _deviation(values, weights, sweep, weight, value)
    for g in range(first, last):
        most = max(most, out[g])
    return most


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _enter(g: int, values: Array, weights: Array, sweep: Sweep, weight: float, value: float) -> tuple[float, float]:
    """Add the rows of a group to the sums over ranks, and to the two over all."""
    for at in range(sweep.starts[g], sweep.starts[g + 1]):
        i = np.int64(sweep.items[at])
        weight += weights[i]
        value += values[i]
        r = i + 1
        while r <= len(values):
            sweep.weights[r] += weights[i]
            sweep.values[r] += values[i]
            r += r & -r
    return weight, value


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _deviation(values: Array, weights: Array, sweep: Sweep, weight: float, value: float) -> float:
    """What the rows that are in deviate from their median: it is the first whose weight reaches half of all."""
    if weight <= 0.0:
        return 0.0
    r, step, below, under = 0, 1, 0.0, 0.0
    while 2 * step <= len(values):
        step *= 2
    while step > 0:
        if r + step <= len(values) and below + sweep.weights[r + step] < 0.5 * weight:
            r += step
            below += sweep.weights[r]
            under += sweep.values[r]
        step //= 2
    middle = values[r] / weights[r]
    return float((value - under) - (weight - below) * middle + below * middle - under)


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def deviations(values: Array, weights: Array) -> float:
    """What rows in the order of their numbers deviate from their median; `values` are numbers times `weights`."""
    weight, below, under, value = 0.0, 0.0, 0.0, 0.0
    for i in range(len(values)):
        weight += weights[i]
        value += values[i]
    i = 0
    while below + weights[i] < 0.5 * weight:
        below += weights[i]
        under += values[i]
        i += 1
    middle = values[i] / weights[i]
    return float((value - under) - (weight - below) * middle + below * middle - under)


@njit(**CALLED)  # type: ignore[untyped-decorator]
def middles(left: Array, n_rows: Array, first: Array, y: Array, weights: Array, spare: Array, out: Array) -> None:
    """The median and the mean absolute deviation (m, 2) of every node, from rows (n,) that are in order in each leaf.

    `spare` (2, n) is room. Where half of the weight ends between two numbers, the median is their mean.
    """
    for node in range(len(left) - 1, -1, -1):
        low, high = first[node], first[node] + n_rows[node]
        if left[node] >= 0:
            _merge(y, weights, low, first[left[node] + 1], high, spare)
        weight = 0.0
        for i in range(low, high):
            weight += weights[i]
        i, below = low, weights[low]
        while below < 0.5 * weight:
            i += 1
            below += weights[i]
        middle = y[i]
        if below == 0.5 * weight and i + 1 < high:
            middle = 0.5 * (y[i] + y[i + 1])
        total = 0.0
        for i in range(low, high):
            total += weights[i] * abs(y[i] - middle)
        out[node, 0], out[node, 1] = middle, total / weight


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _merge(y: Array, weights: Array, low: int, middle: int, high: int, spare: Array) -> None:
    """Two runs of rows that are in order, into one."""
    for i in range(low, high):
        spare[0, i], spare[1, i] = y[i], weights[i]
    a, b = low, middle
    for i in range(low, high):
        take_a = b >= high or (a < middle and spare[0, a] <= spare[0, b])
        at = a if take_a else b
        y[i], weights[i] = spare[0, at], spare[1, at]
        a += 1 if take_a else 0
        b += 0 if take_a else 1
