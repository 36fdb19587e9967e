"""The best cut of a column, from its groups of equal codes."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import njit

from heldout.trees.absolute import Sweep, absolute_by_cuts, line_up
from heldout.trees.compiled import WITHIN
from heldout.trees.criteria import ENTROPY, GINI, SQUARED, kept, kept_by_cuts, weight_of
from heldout.trees.histogram import Groups
from heldout.trees.packed import entropy_by_cuts, field
from heldout.trees.vectors import gini_by_cuts, squared_by_cuts

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

ROUNDING = 1e-12  # of what a node keeps, below which a gain, an impurity or a difference between cuts is none
BEYOND = 2**31 - 1  # the code after the last: all values go left, missing ones right
MOST_SUBSETS = 10  # categories of more than two classes up to which all subsets are tried


class Rules(NamedTuple):
    """When a node is not divided, and what is looked at."""

    criterion: int
    max_depth: int
    least_to_split: int
    least_rows: int
    least_weight: float
    least_decrease: float  # of the impurity, times the weight of all rows
    most_leaves: int  # 0 for no limit
    n_tried: int  # columns that are not constant
    at_random: bool
    whole: bool  # all weights are whole numbers


@njit(**WITHIN, inline="always")  # type: ignore[untyped-decorator]
def best_cut(
    rules: Rules, is_packed: bool, codes: Array, sums: Array, packed_sums: Array, counts: Array, values: Array,
    off: Array, packed_off: Array, left: Array, right: Array, all_total: Array, logs: Array, n_groups: int,
    total: Array, weight: float, squares: float, count: int, monotonic: int, low: float, high: float, best: float,
    row_values: Array, row_weights: Array, sweep: Sweep | None,
) -> tuple[float, int, int, bool]:  # fmt: skip
    """What the best cut keeps, the codes on either side of it, and whether missing rows (code 0) go left.

    Values (means, or shares of the second class) on both sides lie from `low` to `high`, in the order of `monotonic`.
    Where no cut keeps more than `best` does, that is what is returned; of equal cuts the first. Arrays as in
    `histogram.Groups`. With absolute errors the rows' values and weights are lined up for a `sweep`.
    """
    below, above, to_left = 0, 0, False
    for missing_left in range(2 if codes[0] == 0 else 1):
        apart = codes[0] == 0 and missing_left == 0
        first, last = 1 if codes[0] == 0 else 0, n_groups if apart else n_groups - 1
        if rules.least_rows > 1:
            first, last = _with_rows(counts, first, last, counts[0] if apart else 0, count, rules.least_rows)
        if is_packed:
            for s in range(len(packed_off)):
                packed_off[s] = packed_sums[s, 0] if apart else np.uint64(0)
            if rules.criterion == GINI:
                most = gini_by_cuts(packed_sums, packed_off, all_total, weight, squares, first, last, values)
            else:
                most = entropy_by_cuts(packed_sums, packed_off, all_total, weight, logs, first, last, values)
        else:
            for s in range(len(total)):
                off[s] = sums[s, 0] if apart else 0.0
            if sweep is not None:
                most = absolute_by_cuts(row_values, row_weights, n_groups, apart, first, last, sweep, values)
            elif rules.criterion == SQUARED:
                most = squared_by_cuts(sums, off, total, first, last, values)
            else:
                most = kept_by_cuts(rules.criterion, sums, off, total, first, last, values, left, right)
        while most - ROUNDING * abs(most) > best:
            g = first
            while not values[g] >= most - ROUNDING * abs(most):
                g += 1
            for s in range(len(total)):
                if is_packed:
                    left[s] = field(packed_sums[s >> 2, g] - packed_off[s >> 2], s)
                else:
                    left[s] = sums[s, g] - off[s]
            if _allowed(rules, left, total, monotonic, low, high):
                best, below, to_left = most, codes[g], missing_left == 1
                above = codes[g + 1] if g + 1 < n_groups else BEYOND
                break
            values[g] = -np.inf
            most = greatest(values, first, last)
    return best, below, above, to_left


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _with_rows(counts: Array, first: int, last: int, off: int, count: int, least: int) -> tuple[int, int]:
    """The groups from `first` to `last` that leave so many rows on either side of a cut after them."""
    while first < last and counts[first] - off < least:
        first += 1
    while last > first and count - (counts[last - 1] - off) < least:
        last -= 1
    return first, last


@njit(**WITHIN, fastmath={"nnan", "nsz", "reassoc"})  # type: ignore[untyped-decorator]
def greatest(values: Array, first: int, last: int) -> float:
    most = -np.inf
    for g in range(first, last):
        most = max(most, values[g])
    return most


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _allowed(rules: Rules, left: Array, total: Array, monotonic: int, low: float, high: float) -> bool:
    """Whether both sides have weight enough, and their values the order asked for."""
    w_left = weight_of(rules.criterion, left)
    w_right = weight_of(rules.criterion, total) - w_left
    if w_left <= 0.0 or w_right <= 0.0 or w_left < rules.least_weight or w_right < rules.least_weight:
        return False
    if monotonic == 0 and low == -np.inf and high == np.inf:
        return True
    a, b = left[1] / w_left, (total[1] - left[1]) / w_right
    inside = low <= a <= high and low <= b <= high
    return bool(inside and (monotonic == 0 or (a <= b if monotonic > 0 else a >= b)))


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def best_subset(
    rules: Rules, room: Groups, n_groups: int, total: Array, count: int, low: float, high: float, taken: Array
) -> float:
    """What the best division of the categories keeps; sets `taken` (groups,) true for those that go left.

    For numbers and two classes the best division is a cut of the categories by rising mean (W. Fisher 1958; L. Breiman
    and others 1984, theorem 4.5). For more classes all subsets of up to 10 categories are tried, and of more the cuts
    by rising share of each class.
    """
    n_sums, best = len(total), -np.inf
    own, side, shares, order = room.own, room.side, room.shares, room.order
    _take_apart(room, n_groups)
    several = rules.criterion <= ENTROPY and n_sums > 2
    if several and n_groups <= MOST_SUBSETS:
        for subset in range(1, 2 ** (n_groups - 1)):  # the last category stays right
            for g in range(n_groups):
                side[g] = (subset >> g & 1) == 1
            value = _kept_by(rules, room, n_groups, total, count, low, high)
            if value > best:
                best = value
                for g in range(n_groups):
                    taken[g] = side[g]
        return best
    for column in range(n_sums if several else 1):
        for g in range(n_groups):
            shares[g] = own[g, column if several else 1] / weight_of(rules.criterion, own[g])
        _sort_by(shares, order, n_groups)
        for g in range(n_groups):
            side[g] = False
        for place in range(n_groups - 1):
            side[order[place]] = True
            value = _kept_by(rules, room, n_groups, total, count, low, high)
            if value > best:
                best = value
                for g in range(n_groups):
                    taken[g] = side[g]
    return best


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _take_apart(room: Groups, n_groups: int) -> None:
    """Each category's sums and rows by itself."""
    for g in range(n_groups):
        room.own_counts[g] = room.counts[g] - (room.counts[g - 1] if g else 0)
        for s in range(len(room.sums)):
            room.own[g, s] = room.sums[s, g] - (room.sums[s, g - 1] if g else 0.0)


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def best_prefix(
    rules: Rules, room: Groups, column: Array, ids: Array, values: Array, weights: Array, n_groups: int, total: Array,
    count: int, sweep: Sweep,
) -> float:  # fmt: skip
    """What the best cut of the categories in the order of their means keeps by absolute error; sets `room.taken`."""
    _take_apart(room, n_groups)
    for g in range(n_groups):
        room.shares[g] = room.own[g, 1] / room.own[g, 0]
    _sort_by(room.shares, room.order, n_groups)
    for place in range(n_groups):
        room.own_places[room.order[place]] = place
    for c in range(len(sweep.groups)):
        sweep.groups[c] = room.own_places[sweep.groups[c]]
    line_up(column, ids, n_groups, sweep)
    absolute_by_cuts(values, weights, n_groups, False, 0, n_groups - 1, sweep, room.kept)
    best, cut, n_left, w_left = -np.inf, -1, 0, 0.0
    for place in range(n_groups - 1):
        n_left += room.own_counts[room.order[place]]
        w_left += room.own[room.order[place], 0]
        enough = rules.least_rows <= 1 or min(n_left, count - n_left) >= rules.least_rows
        enough = enough and min(w_left, total[0] - w_left) >= rules.least_weight
        if enough and room.kept[place] > best:
            best, cut = room.kept[place], place
    for g in range(n_groups):
        room.taken[g] = room.own_places[g] <= cut
    return float(best)


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _kept_by(rules: Rules, room: Groups, n_groups: int, total: Array, count: int, low: float, high: float) -> float:
    """What a division of the groups keeps, those at `room.side` left, or -inf where a side is too small."""
    left, right, n_left = room.left, room.right, 0
    for s in range(len(total)):
        left[s] = 0.0
    for g in range(n_groups):
        if room.side[g]:
            n_left += room.own_counts[g]
            for s in range(len(total)):
                left[s] += room.own[g, s]
    if rules.least_rows > 1 and (n_left < rules.least_rows or count - n_left < rules.least_rows):
        return -np.inf
    if not _allowed(rules, left, total, np.int8(0), low, high):
        return -np.inf
    for s in range(len(total)):
        right[s] = total[s] - left[s]
    return float(kept(rules.criterion, left) + kept(rules.criterion, right))


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _sort_by(values: Array, order: Array, n: int) -> None:
    """The places of the first n values, rising, by insertion: there are at most 256, and it compiles at once."""
    for i in range(n):
        at = i
        while at > 0 and values[order[at - 1]] > values[i]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = i
