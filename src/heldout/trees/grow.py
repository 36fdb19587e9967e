"""A tree from binned rows: find the best cut of a node, divide its rows, go on with the children."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import njit

from heldout.trees.absolute import Sweep, deviations, group_codes, line_up
from heldout.trees.compiled import CALLED, WITHIN
from heldout.trees.criteria import kept, weight_of, whole
from heldout.trees.histogram import Groups, Rows, group_rows
from heldout.trees.packed import MOST_WEIGHT, pack
from heldout.trees.splitting import BEYOND, ROUNDING, Rules, best_cut, best_prefix, best_subset

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# A cut: the column, the codes on either side, where missing rows go (1: left). A node that waits: itself, its rows'
# ends and its depth besides.
COLUMN, BELOW, ABOVE, MISSING, NODE, START, STOP, DEPTH = range(8)


class Columns(NamedTuple):
    """Codes (p, n), how many there are in each column, and the values from `low` to `high` that a code stands for."""

    codes: Array
    n_codes: Array
    low: Array
    high: Array
    starts: Array  # where a column's codes begin in `low` and `high`
    monotonic: Array  # 1 rising, -1 falling, 0 neither


class Nodes(NamedTuple):
    """Room for nodes, all that there can be; as in `nodes.Tree`, but with sums of the rows."""

    feature: Array
    threshold: Array
    left: Array
    missing_left: Array
    categories: Array
    sets: Array  # (m, 8); a node's own row, where categories divide it
    sums: Array  # (m, S)
    n_rows: Array


class Waiting(NamedTuple):
    """Nodes that will be divided, and by which cut."""

    cuts: Array  # (w, 8) int64
    gains: Array
    bounds: Array  # (w, 2) between which the node's values lie
    sets: Array  # (w, 8) uint32


class Desk(NamedTuple):
    """What `grow` writes on."""

    bounds: Array  # (2, 2)
    cut: Array  # (8,)
    chosen: Array  # (8,) uint32
    present: Array  # (8,) uint32
    ends: Array  # (4,) of the rows of the nodes that are new, one after the other; the first of these nodes
    order: Array  # (p,) of the columns
    flags: Array  # (n,) bool, rows that go left
    state: Array  # (1,) uint64, of the random numbers


def desk_for(n_rows: int, n_columns: int, seed: int) -> Desk:
    """For trees of so many rows."""
    return Desk(
        np.empty((2, 2)), np.zeros(8, dtype=np.int64), np.zeros(8, dtype=np.uint32), np.zeros(8, dtype=np.uint32),
        np.zeros(4, dtype=np.int64), np.arange(n_columns), np.empty(n_rows, dtype=np.bool_),
        np.array([seed], dtype=np.uint64),
    )  # fmt: skip


def room_for_nodes(n_rows: int, most_leaves: int, n_sums: int, with_sets: bool) -> tuple[Nodes, Waiting]:
    """All that a tree of so many rows can need; memory that is not written to is not taken."""
    leaves = max(1, min(n_rows, most_leaves) if most_leaves else n_rows)
    m, sets = 2 * leaves, 2 * leaves if with_sets else 1
    nodes = Nodes(
        np.zeros(m, dtype=np.int32), np.zeros(m), np.zeros(m, dtype=np.int32), np.zeros(m, dtype=np.bool_),
        np.zeros(m, dtype=np.int32), np.zeros((sets, 8), dtype=np.uint32), np.zeros((m, n_sums)),
        np.zeros(m, dtype=np.int32),
    )  # fmt: skip
    w = leaves + 2
    waiting = Waiting(
        np.zeros((w, 8), dtype=np.int64), np.zeros(w), np.zeros((w, 2)), np.zeros((w, 8), dtype=np.uint32)
    )
    return nodes, waiting


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def next_random(state: Array) -> Any:
    """64 random bits (S. Vigna's splitmix64)."""
    state[0] += GOLDEN
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def below(state: Array, n: int) -> int:
    """A random whole number from 0 to n - 1."""
    return int(((next_random(state) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@njit(**CALLED)  # type: ignore[untyped-decorator]
def grow(
    columns: Columns,
    rows: Rows,
    spare: Rows,
    room: Groups,
    desk: Desk,
    rules: Rules,
    nodes: Nodes,
    waiting: Waiting,
    categorical: Array | None, sweep: Sweep | None,
) -> int:  # fmt: skip
    """Write the nodes of a tree of these rows; how many there are. `rows` are put in another order; `spare` is room.

    `categorical` (p,) is None where no column is, and `sweep`, room for absolute errors, for other criteria: what they
    are for is not compiled then. For absolute errors the rows come in the order of their numbers. With `most_leaves`
    the node that gains most is divided first, otherwise the last.
    """
    n = len(rows.ids)
    bounds, cut, chosen, present, ends, order, flags, state = desk
    ends[0], ends[1], ends[2], ends[3] = 0, n, n, 0
    _add_up(rows, ends[0], n, nodes.sums[0])
    nodes.feature[0], nodes.left[0], nodes.categories[0], nodes.threshold[0] = -1, -1, -1, np.nan
    nodes.n_rows[0] = n
    bounds[0, 0], bounds[0, 1] = -np.inf, np.inf
    cut[DEPTH] = -1
    n_nodes, n_waiting, n_leaves = ends[3] + 1, ends[3], ends[3] + 1  # not of a type of their own, as 0 and 1 are
    while True:
        new, depth = ends[3], cut[DEPTH] + 1
        for side in range(n_nodes - new):
            n_waiting += _look_at(
                new + side, ends[side], ends[side + 1], depth, bounds[side], columns, rows, room, rules, nodes, order,
                state, waiting, n_waiting, categorical, sweep,
            )  # fmt: skip
        if n_waiting == 0 or 0 < rules.most_leaves <= n_leaves:
            return int(n_nodes)
        at = n_waiting - 1
        if rules.most_leaves > 0:
            for other in range(n_waiting):
                if waiting.gains[other] > waiting.gains[at]:
                    at = other
        _copy(waiting.cuts[at], cut)
        _copy(waiting.sets[at], chosen)
        _copy(waiting.bounds[at], bounds[0])
        _copy(waiting.bounds[at], bounds[1])
        n_waiting -= 1
        _copy(waiting.cuts[n_waiting], waiting.cuts[at])
        _copy(waiting.sets[n_waiting], waiting.sets[at])
        _copy(waiting.bounds[n_waiting], waiting.bounds[at])
        waiting.gains[at] = waiting.gains[n_waiting]
        ends[3], n_nodes, n_leaves = n_nodes, n_nodes + 2, n_leaves + 1
        ends[0], ends[2] = cut[START], cut[STOP]
        ends[1] = _divide(
            cut, chosen, columns, rows, spare, flags, nodes, ends[3], rules.criterion, present, categorical
        )
        _narrow(bounds, cut, columns, nodes, ends[3], rules.criterion)


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _copy(source: Array, target: Array) -> None:
    """Item by item, which compiles in a tenth of the time that a slice takes."""
    for i in range(len(source)):
        target[i] = source[i]


@njit(**WITHIN, inline="always")  # type: ignore[untyped-decorator]
def _look_at(
    node: int, low: int, high: int, depth: int, bounds: Array, columns: Columns, rows: Rows, room: Groups,
    rules: Rules, nodes: Nodes, order: Array, state: Array, waiting: Waiting, place: int,
    categorical: Array | None, sweep: Sweep | None,
) -> int:  # fmt: skip
    """1 where the node is to be divided, by the cut that then stands at `place` of those waiting; otherwise 0."""
    total, count = nodes.sums[node], high - low
    weight = weight_of(rules.criterion, total)
    holds = kept(rules.criterion, total)
    if depth >= rules.max_depth or count < rules.least_to_split or count < 2 * rules.least_rows:
        return 0
    cut, best, tried, left_over = waiting.cuts[place], -np.inf, 0, len(order)
    ids, labels, values = rows.ids[low:high], rows.labels[low:high], rows.values[low:high]
    weights, enough = rows.weights[low:high], np.inf  # of what a cut keeps
    if len(labels):
        of_all = whole(rules.criterion, weight)
        enough = of_all - ROUNDING * max(of_all, abs(holds))  # the children are pure
        if holds >= enough:
            return 0
    elif _all_equal(values, weights):
        return 0
    if sweep is not None:
        holds = -deviations(values, weights)
    # Not in the loop, where references would be counted each time.
    histogram, words, numbers, marks, marked, codes, sums, packed_sums, counts, by_cut, off, packed_off, left, \
        right, all_total, packed, taken, logs, _, _, _, _, _, _ = room  # fmt: skip
    all_codes, n_codes, monotonic = columns.codes, columns.n_codes, columns.monotonic
    whole_weights, squares = rules.whole and weight <= MOST_WEIGHT, 0.0
    if whole_weights:
        pack(labels, weights, packed)
        for s in range(len(total)):
            all_total[s] = total[s]
            squares += total[s] * total[s]
    while left_over > 0 and tried < rules.n_tried and best < enough:
        at = len(order) - left_over
        if rules.n_tried < len(order):
            other = at + below(state, left_over)
            order[at], order[other] = order[other], order[at]
        left_over -= 1
        j = order[at]
        is_packed = whole_weights
        if categorical is not None:
            is_packed = whole_weights and not categorical[j]
        n_groups = group_rows(
            all_codes[j], n_codes[j], ids, labels, values, weights, packed, is_packed, rules.least_rows > 1, histogram,
            words, numbers, marks, marked, codes, sums, packed_sums, counts,
        )  # fmt: skip
        if n_groups < 2:
            continue
        tried += 1
        if categorical is not None and categorical[j]:
            if sweep is not None:
                group_codes(codes, n_groups, sweep)
                value = best_prefix(rules, room, all_codes[j], ids, values, weights, n_groups, total, count, sweep)
            else:
                value = best_subset(rules, room, n_groups, total, count, bounds[0], bounds[1], taken)
            if value > best:
                best = value
                cut[COLUMN] = j
                _keep_set(waiting.sets[place], room, taken, n_groups)
            continue
        if rules.at_random:
            n_groups = _at_one_place(room, n_groups, columns, j, state)
        if sweep is not None:
            group_codes(codes, n_groups, sweep)
            line_up(all_codes[j], ids, n_groups, sweep)
        value, a, b, missing = best_cut(
            rules, is_packed, codes, sums, packed_sums, counts, by_cut, off, packed_off, left, right, all_total,
            logs, n_groups, total, weight, squares, count, monotonic[j], bounds[0], bounds[1], best,
            values, weights, sweep,
        )  # fmt: skip
        if value > best:
            best = value
            cut[COLUMN], cut[BELOW], cut[ABOVE], cut[MISSING] = j, a, b, 1 if missing else 0
    gain = best - holds
    if not gain > ROUNDING * max(abs(best), abs(holds)) or gain < rules.least_decrease:
        return 0
    cut[NODE], cut[START], cut[STOP], cut[DEPTH] = node, low, high, depth
    waiting.gains[place], waiting.bounds[place, 0], waiting.bounds[place, 1] = gain, bounds[0], bounds[1]
    return 1


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _all_equal(values: Array, weights: Array) -> bool:
    """Whether all numbers are the same: `values` are those times the weights."""
    i = 1
    while i < len(values) and values[i] * weights[0] == values[0] * weights[i]:
        i += 1
    return i == len(values)


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _keep_set(chosen: Array, room: Groups, taken: Array, n_groups: int) -> None:
    for word in range(8):
        chosen[word] = 0
    for g in range(n_groups):
        if taken[g]:
            chosen[room.codes[g] // 32] |= np.uint32(1) << np.uint32(room.codes[g] % 32)


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _at_one_place(room: Groups, n_groups: int, columns: Columns, j: int, state: Array) -> int:
    """Two groups, cut at a value drawn evenly between the node's least and greatest, beside that of missing rows."""
    first = 1 if room.codes[0] == 0 else 0
    if n_groups - first < 2:
        return n_groups
    start = columns.starts[j]
    least, most = columns.high[start + room.codes[first]], columns.low[start + room.codes[n_groups - 1]]
    cut = least + np.float64(next_random(state) >> np.uint64(11)) / 9007199254740992.0 * (most - least)
    place = first
    while place + 2 < n_groups and columns.low[start + room.codes[place + 1]] <= cut:
        place += 1
    sums, packed_sums = room.sums, room.packed_sums
    for side in range(2):
        to, where = first + side, n_groups - 1 if side else place
        for s in range(len(sums)):
            sums[s, to] = sums[s, where]
        for s in range(len(packed_sums)):
            packed_sums[s, to] = packed_sums[s, where]
    room.counts[first], room.counts[first + 1] = room.counts[place], room.counts[n_groups - 1]
    room.codes[first], room.codes[first + 1] = room.codes[place], room.codes[place + 1]
    return first + 2


@njit(**WITHIN, inline="always")  # type: ignore[untyped-decorator]
def _divide(
    cut: Array, chosen: Array, columns: Columns, rows: Rows, spare: Rows, flags: Array, nodes: Nodes, first: int,
    criterion: int, present: Array, categorical: Array | None,
) -> int:  # fmt: skip
    """Put the node's rows in order, those that go left before the others, and write it; the place of the first other.

    Its children are the nodes `first` and `first` + 1.
    """
    node, j, low, high = cut[NODE], cut[COLUMN], cut[START], cut[STOP]
    left = flags[: high - low]
    if categorical is not None and categorical[j]:
        for word in range(8):
            present[word] = 0
        n_left = _by_set(columns.codes[j], rows.ids[low:high], chosen, left, present)
        with_missing = (present[0] & np.uint32(1)) != 0
    else:
        n_left, with_missing = _by_cut(columns.codes[j], rows.ids[low:high], cut[ABOVE] - 1, cut[MISSING] != 0, left)
    middle = low + n_left
    _part(rows.ids[low:high], spare.ids, left)
    _part(rows.weights[low:high], spare.weights, left)
    if len(rows.labels):
        _part(rows.labels[low:high], spare.labels, left)
    else:
        _part(rows.values[low:high], spare.values, left)
    for side in range(2):
        child, start, stop = first + side, middle if side else low, high if side else middle
        nodes.feature[child], nodes.left[child], nodes.categories[child] = -1, -1, -1
        nodes.threshold[child], nodes.missing_left[child] = np.nan, False
        nodes.n_rows[child] = stop - start
        _add_up(rows, start, stop, nodes.sums[child])
    nodes.feature[node], nodes.left[node] = j, first
    heavier_left = weight_of(criterion, nodes.sums[first]) >= weight_of(criterion, nodes.sums[first + 1])
    if categorical is not None and categorical[j]:
        missing_left = (chosen[0] & np.uint32(1)) != 0 if with_missing else heavier_left
        for word in range(8):  # categories that are not here go with the missing ones
            nodes.sets[node, word] = chosen[word] | (~present[word] if missing_left else np.uint32(0))
        nodes.categories[node] = 0
    else:
        missing_left = cut[MISSING] != 0 if with_missing else heavier_left
        beneath = columns.high[columns.starts[j] + cut[BELOW]]
        above = np.inf if cut[ABOVE] == BEYOND else columns.low[columns.starts[j] + cut[ABOVE]]
        between = beneath / 2.0 + above / 2.0
        nodes.threshold[node] = between if cut[ABOVE] == BEYOND or beneath <= between < above else beneath
    nodes.missing_left[node] = missing_left
    return middle  # type: ignore[no-any-return]


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _by_cut(column: Array, ids: Array, last: int, missing_left: bool, left: Array) -> tuple[int, bool]:
    """Which rows go left (n,): codes up to `last`, and 0 as `missing_left` says. How many, and whether there is a 0."""
    n_left, with_missing = 0, False
    for i in range(len(ids)):
        c = column[ids[i]]
        with_missing |= c == 0
        left[i] = missing_left if c == 0 else c <= last
        n_left += left[i]
    return n_left, with_missing


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _by_set(column: Array, ids: Array, chosen: Array, left: Array, present: Array) -> int:
    """Which rows go left (n,): those with a `chosen` code. How many; marks the codes that are `present`."""
    n_left = 0
    for i in range(len(ids)):
        c = np.int64(column[ids[i]])
        bit = np.uint32(1) << np.uint32(c % 32)
        present[c // 32] |= bit
        left[i] = (chosen[c // 32] & bit) != 0
        n_left += left[i]
    return n_left


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _part(values: Array, spare: Array, left: Array) -> None:
    """Those that go left first, then the others, both in the order they had."""
    here, there = 0, 0
    for i in range(len(values)):
        values[here], spare[there] = values[i], values[i]
        here += left[i]
        there += not left[i]
    for i in range(there):
        values[here + i] = spare[i]


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _add_up(rows: Rows, low: int, high: int, sums: Array) -> None:
    """The sums (S,) of some rows."""
    for s in range(len(sums)):
        sums[s] = 0.0
    labels, values, weights = rows.labels, rows.values, rows.weights
    if len(labels):
        for i in range(low, high):
            sums[labels[i]] += weights[i]
        return
    for i in range(low, high):
        sums[0] += weights[i]
        sums[1] += values[i]


@njit(**CALLED)  # type: ignore[untyped-decorator]
def add_up_nodes(left: Array, n_rows: Array, own: Array, first: Array, totals: Array) -> None:
    """The sum (m,) over every node's rows of what each brings (n,), in the order that growth left the rows in.

    Fills the `first` row of each node, too. Parents stand before their children.
    """
    first[0] = 0
    for node in range(len(left)):
        totals[node] = 0.0
        if left[node] >= 0:
            first[left[node]] = first[node]
            first[left[node] + 1] = first[node] + n_rows[left[node]]
        else:
            for i in range(first[node], first[node] + n_rows[node]):
                totals[node] += own[i]
    for node in range(len(left) - 1, -1, -1):
        if left[node] >= 0:
            totals[node] = totals[left[node]] + totals[left[node] + 1]


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _narrow(bounds: Array, cut: Array, columns: Columns, nodes: Nodes, first: int, criterion: int) -> None:
    """After a cut of a column with an order, the children's values are parted by the mean of the two."""
    rising = columns.monotonic[cut[COLUMN]]
    if rising == 0:
        return
    middle = 0.0
    for side in range(2):
        sums = nodes.sums[first + side]
        middle += 0.5 * sums[1] / weight_of(criterion, sums)
    bounds[0, 1 if rising > 0 else 0] = middle
    bounds[1, 0 if rising > 0 else 1] = middle
