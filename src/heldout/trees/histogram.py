"""The rows of a node by their codes in a column: groups of equal codes, with running sums."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import njit

from heldout.trees.bits import occurring, trailing_zeros
from heldout.trees.compiled import WITHIN
from heldout.trees.packed import FIELDS, MOST_WEIGHT, n_words
from heldout.trees.vectors import LANES

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

SCANNED = 16  # codes for each row up to which all codes are looked at, not only those that occur


class Rows(NamedTuple):
    """The rows that take part, node after node: their numbers and targets, in the order that the nodes have them."""

    ids: Array  # (n,) int32
    labels: Array  # (n,) int32 classes; empty for numbers
    values: Array  # (n,) numbers, times the weights; empty for classes
    weights: Array  # (n,)


class Groups(NamedTuple):
    """Room for the groups of one column; `histogram` and the marks are all zero between uses."""

    histogram: Array  # (S, codes)
    words: Array  # the same memory as uint64, where classes are packed
    numbers: Array  # (codes,) int64 rows
    marks: Array  # uint64 words, a bit for each code that occurs
    marked: Array  # uint64 words, a bit for each word of marks
    codes: Array  # (codes,) uint32, the codes that occur, rising
    sums: Array  # (S, codes), running over the groups
    packed_sums: Array  # (W, codes) uint64, the same where classes are packed
    counts: Array  # (codes,) int64 rows, running
    kept: Array  # (codes,) what a cut after each group keeps
    off: Array  # (S,)
    packed_off: Array  # (W,)
    left: Array  # (S,)
    right: Array  # (S,)
    total: Array  # (4 W,)
    packed: Array  # (n,) uint64 weights of a node's rows, where classes are packed
    taken: Array  # (256,) bool, categories that go left
    logs: Array  # (W + 1,) n log2 n, for entropies
    own: Array  # (256, S) sums of each category by itself, and what the search for the best subset needs
    own_counts: Array  # (256,)
    side: Array  # (256,) bool
    shares: Array  # (256,)
    order: Array  # (256,)
    own_places: Array  # (256,)


def room_for(n_codes: int, n_rows: int, n_classes: int, logs: Array) -> Groups:
    """Groups for columns of at most `n_codes` codes, and nodes of at most `n_rows` rows; no classes: numbers."""
    n_sums, w, marks = n_classes or 2, n_words(n_classes), n_codes // 64 + 1
    histogram, many = np.zeros((n_sums, 64 * marks)), n_codes + LANES
    return Groups(
        histogram, histogram.view(np.uint64), np.zeros(n_codes, dtype=np.int64), np.zeros(marks, dtype=np.uint64),
        np.zeros(marks // 64 + 1, dtype=np.uint64), np.zeros(n_codes + 1, dtype=np.uint32), np.zeros((n_sums, many)),
        np.zeros((w, many), dtype=np.uint64), np.zeros(n_codes, dtype=np.int64), np.zeros(many), np.zeros(n_sums),
        np.zeros(w, dtype=np.uint64), np.zeros(n_sums), np.zeros(n_sums), np.zeros(w * FIELDS),
        np.zeros(min(n_rows, int(MOST_WEIGHT)) if w else 0, dtype=np.uint64), np.zeros(256, dtype=np.bool_),
        logs, np.zeros((256, n_sums)), np.zeros(256, dtype=np.int64), np.zeros(256, dtype=np.bool_), np.zeros(256),
        np.zeros(256, dtype=np.int64), np.zeros(256, dtype=np.int64),
    )  # fmt: skip


@njit(**WITHIN, inline="always")  # type: ignore[untyped-decorator]
def group_rows(
    column: Array, n_codes: int, ids: Array, labels: Array, values: Array, weights: Array, packed: Array,
    is_packed: bool, counted: bool, histogram: Array, words: Array, numbers: Array, marks: Array, marked: Array,
    codes: Array, sums: Array, packed_sums: Array, counts: Array,
) -> int:  # fmt: skip
    """How many groups a node's rows make; fills codes, running sums, counts if `counted`. Arrays as in `Groups`."""
    planes = len(histogram)
    if is_packed:
        planes = len(packed_sums)
        _add_packed(column, ids, labels, packed, words, planes)
    elif len(labels):
        _add_classes(column, ids, labels, weights, histogram)
    else:
        planes = 1  # weights are enough to say which codes occur
        _add_numbers(column, ids, values, weights, histogram)
    if n_codes <= SCANNED * len(ids):
        found = _codes_in_words(words, planes, n_codes, codes)
    else:
        found = _codes_that_occur(column, ids, n_codes, marks, marked, codes)
    if is_packed:
        _running(codes, found, words, packed_sums)
    else:
        _running(codes, found, histogram, sums)
    if counted:
        _count(column, ids, codes, found, numbers, counts)
    return found  # type: ignore[no-any-return]


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _add_packed(column: Array, ids: Array, labels: Array, packed: Array, words: Array, planes: int) -> None:
    if planes == 1:
        for i in range(len(ids)):
            words[0, column[ids[i]]] += packed[i]
        return
    for i in range(len(ids)):
        words[labels[i] >> np.uint32(2), column[ids[i]]] += packed[i]


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _add_classes(column: Array, ids: Array, labels: Array, weights: Array, histogram: Array) -> None:
    for i in range(len(ids)):
        histogram[labels[i], column[ids[i]]] += weights[i]


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _add_numbers(column: Array, ids: Array, values: Array, weights: Array, histogram: Array) -> None:
    for i in range(len(ids)):
        c = column[ids[i]]
        histogram[0, c] += weights[i]
        histogram[1, c] += values[i]


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _codes_in_words(words: Array, planes: int, n_codes: int, codes: Array) -> int:
    """Fill the codes of the items that are not zero in all of the first `planes` rows of `words`, rising."""
    one, found = np.uint64(1), 0
    for word in range((n_codes + 63) >> 6):
        bits = occurring(words, 0, word)
        for plane in range(1, planes):
            bits |= occurring(words, plane, word)
        while bits != 0:
            codes[found] = word * 64 + np.int64(trailing_zeros(bits))
            bits &= bits - one
            found += 1
    return found


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _codes_that_occur(column: Array, ids: Array, n_codes: int, marks: Array, marked: Array, codes: Array) -> int:
    """Fill the codes of some rows, rising; the marks are zero before and after."""
    one, found = np.uint64(1), 0
    for i in range(len(ids)):
        c = column[ids[i]]
        marks[c >> 6] |= one << np.uint64(c & 63)
        marked[c >> 12] |= one << np.uint64((c >> 6) & 63)
    for outer in range((n_codes >> 12) + 1):
        words = marked[outer]
        marked[outer] = 0
        while words != 0:
            word = outer * 64 + np.int64(trailing_zeros(words))
            words &= words - one
            bits = marks[word]
            marks[word] = 0
            while bits != 0:
                codes[found] = word * 64 + np.int64(trailing_zeros(bits))
                bits &= bits - one
                found += 1
    return found


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _running(codes: Array, found: int, histogram: Array, sums: Array) -> None:
    """Running sums (S, groups) of the codes' histogram, which is zero afterwards."""
    for s in range(0, len(sums), 2):
        a, b, second = histogram.dtype.type(0), histogram.dtype.type(0), min(s + 1, len(sums) - 1)
        for g in range(found):
            c = codes[g]
            a += histogram[s, c]
            histogram[s, c] = 0
            sums[s, g] = a
            if second > s:
                b += histogram[second, c]
                histogram[second, c] = 0
                sums[second, g] = b


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def _count(column: Array, ids: Array, codes: Array, found: int, numbers: Array, counts: Array) -> None:
    """Running numbers of rows."""
    for i in range(len(ids)):
        numbers[column[ids[i]]] += 1
    total = 0
    for g in range(found):
        total += numbers[codes[g]]
        numbers[codes[g]] = 0
        counts[g] = total
