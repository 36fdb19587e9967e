"""The rows of a node by their codes in a column: groups of equal codes, with running sums."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

FULL = 2  # rows for each code from which all codes are looked at, not only those that occur


class Rows(NamedTuple):
    """The rows that take part, node after node: their numbers and targets, in the order that the nodes have them."""

    ids: Array  # (n,) int32
    labels: Array  # (n,) int32 classes; empty for numbers
    values: Array  # (n,) numbers; empty for classes
    extras: Array  # (n,) what a number adds to the impurity however the rows are divided
    weights: Array  # (n,)


class Groups(NamedTuple):
    """Room for the groups of one column; `histogram` and the marks are all zero between uses."""

    histogram: Array  # (codes, S)
    numbers: Array  # (codes,) int64 rows
    marks: Array  # uint64 words, a bit for each code that occurs
    marked: Array  # uint64 words, a bit for each word of marks
    codes: Array  # (codes,) uint32, the codes that occur, rising
    sums: Array  # (S, codes), running over the groups
    counts: Array  # (codes,) int64 rows, running
    kept: Array  # (codes,) what a cut after each group keeps
    off: Array  # (S,)
    left: Array  # (S,)
    taken: Array  # (256,) bool, categories that go left


def room_for(n_codes: int, n_sums: int) -> Groups:
    """Groups for columns of at most `n_codes` codes."""
    words = n_codes // 64 + 1
    return Groups(
        np.zeros((n_codes, n_sums)), np.zeros(n_codes, dtype=np.int64), np.zeros(words, dtype=np.uint64),
        np.zeros(words // 64 + 1, dtype=np.uint64), np.zeros(n_codes + 1, dtype=np.uint32), np.zeros((n_sums, n_codes)),
        np.zeros(n_codes, dtype=np.int64), np.zeros(n_codes), np.zeros(n_sums),
        np.zeros(n_sums), np.zeros(256, dtype=np.bool_),
    )  # fmt: skip


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(typing_context: Any, word: Any) -> Any:
    """How many zeros end a word that is not zero."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], context.get_constant(types.boolean, True))

    return types.uint64(types.uint64), code


@njit(cache=True, nogil=True, inline="always")  # type: ignore[untyped-decorator]
def group_rows(
    column: Array, n_codes: int, ids: Array, labels: Array, values: Array, weights: Array, counted: bool,
    histogram: Array, numbers: Array, marks: Array, marked: Array, codes: Array, sums: Array, counts: Array,
) -> int:  # fmt: skip
    """How many groups a node's rows make; fills codes, running sums, counts if `counted`. Arrays as in `Groups`."""
    if len(labels):
        _add_classes(column, ids, labels, weights, histogram)
    else:
        _add_numbers(column, ids, values, weights, histogram)
    if len(ids) >= FULL * n_codes:
        found = _codes_with_weight(histogram, n_codes, codes)
    else:
        found = _codes_that_occur(column, ids, n_codes, marks, marked, codes)
    _running(codes, found, histogram, sums)
    if counted:
        _count(column, ids, codes, found, numbers, counts)
    return found  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_classes(column: Array, ids: Array, labels: Array, weights: Array, histogram: Array) -> None:
    for i in range(len(ids)):
        histogram[column[ids[i]], labels[i]] += weights[i]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_numbers(column: Array, ids: Array, values: Array, weights: Array, histogram: Array) -> None:
    for i in range(len(ids)):
        c = column[ids[i]]
        histogram[c, 0] += weights[i]
        histogram[c, 1] += weights[i] * values[i]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _codes_with_weight(histogram: Array, n_codes: int, codes: Array) -> int:
    """Fill the codes with any weight: the weight of numbers stands first, those of classes beside each other."""
    found = 0
    for c in range(n_codes):
        weight = 0.0
        for s in range(histogram.shape[1]):
            weight += abs(histogram[c, s])
        codes[found] = c
        found += weight > 0.0
    return found


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
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


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _running(codes: Array, found: int, histogram: Array, sums: Array) -> None:
    """Running sums (S, groups) of the codes' histogram, which is zero afterwards."""
    for s in range(histogram.shape[1]):
        sums[s, 0] = 0.0
    for g in range(found):
        c, before = codes[g], max(g - 1, 0)
        for s in range(histogram.shape[1]):
            sums[s, g] = sums[s, before] + histogram[c, s]
            histogram[c, s] = 0.0


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _count(column: Array, ids: Array, codes: Array, found: int, numbers: Array, counts: Array) -> None:
    """Running numbers of rows."""
    for i in range(len(ids)):
        numbers[column[ids[i]]] += 1
    total = 0
    for g in range(found):
        total += numbers[codes[g]]
        numbers[codes[g]] = 0
        counts[g] = total
