"""What makes a node pure: one small function a criterion, all of them sums over the node's rows.

A node's impurity times its weight is `whole - kept`, where `whole` adds up over rows and only `kept` depends on how
they are divided, so that the best cut is the one that keeps most.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from heldout.trees.compiled import WITHIN

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

GINI, ENTROPY, SQUARED, POISSON, ABSOLUTE = range(5)
CRITERIA = {
    "gini": GINI,
    "entropy": ENTROPY,
    "log_loss": ENTROPY,
    "squared_error": SQUARED,
    "poisson": POISSON,
    "absolute_error": ABSOLUTE,
}


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def weight_of(criterion: Any, sums: Any) -> Any:
    """The weight of the rows whose sums these are: (K,) class weights, or (w, w y)."""
    if criterion >= SQUARED:
        return sums[0]
    total = 0.0
    for k in range(len(sums)):
        total += sums[k]
    return total


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def whole(criterion: int, weight: float) -> float:
    """What a node's rows of classes add to the impurity however they are divided."""
    return 0.0 if criterion == ENTROPY else weight


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def kept(criterion: int, sums: Array) -> float:
    """Of one node: sum_k s_k^2 / w, sum_k s_k log2(s_k / w), (sum y)^2 / w or log(mean) sum y."""
    weight = weight_of(criterion, sums)
    if weight <= 0.0:
        return 0.0
    if criterion == SQUARED:
        return float(sums[1] * sums[1] / weight)
    if criterion == POISSON:
        return float(sums[1] * np.log(sums[1] / weight)) if sums[1] > 0.0 else -np.inf
    total = 0.0
    for k in range(len(sums)):
        if criterion == GINI:
            total += sums[k] * sums[k] / weight
        elif sums[k] > 0.0:
            total += sums[k] * np.log2(sums[k] / weight)
    return total


@njit(**WITHIN, error_model="numpy")  # type: ignore[untyped-decorator]
def kept_by_cuts(
    criterion: int,
    sums: Array,
    off: Array,
    total: Array,
    first: int,
    last: int,
    out: Array,
    left: Array,
    right: Array,
) -> float:
    """What the cuts after the groups from `first` to `last` keep (to `out`), both sides together; the most of it.

    `sums` (S, groups) run over the groups; `off` (S,) of them stands on the right whatever the cut. NaN or -inf where a
    side is empty. `left` and `right` (S,) are room.
    """
    most = -np.inf
    for g in range(first, last):
        if criterion == GINI:
            w, v, x, y = 0.0, 0.0, 0.0, 0.0
            for k in range(len(total)):
                s = sums[k, g] - off[k]
                t = total[k] - s
                w += s
                v += t
                x += s * s
                y += t * t
            out[g] = x / w + y / v
        else:
            for k in range(len(total)):
                left[k] = sums[k, g] - off[k]
                right[k] = total[k] - left[k]
            out[g] = kept(criterion, left) + kept(criterion, right)
        if out[g] > most:
            most = out[g]
    return most
