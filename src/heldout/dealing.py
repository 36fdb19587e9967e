"""Folds inside a fit: rows dealt out in an order that their contents alone decide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from heldout.errors import InputError

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Rows: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]
Bits: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]
Fold: TypeAlias = tuple[Array, Array]  # weights (n,) of the rows to fit, and of the rows to validate

MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64's
REPEATS = 2  # distinct rows for each distinct target, and for each distinct row without its target: values meet freely
LEAST_ROWS = 3  # distinct ones that are worth holding any out of
MOST_PARTS = 10**7  # whole weights are taken apart up to this sum


def folds(x: Any, y: Array, weights: Array | None, cv: Any, *, by_class: bool = False) -> list[Fold]:
    """The weights of the rows to fit and to validate, for each fold; none where there are too few rows.

    A number of folds deals the distinct rows out in an order that depends on their contents alone: shuffled, but the
    same for any order of rows. Rows that are the same throughout stay together, so that none is fitted and judged at
    once, and a row of weight k is k rows. Only where few values meet in all combinations, so that rows repeat by
    chance, are they dealt out one by one: a fold without all of its kind would mislead. `by_class`, each class `y` is
    dealt out by itself.
    """
    v = np.ones(len(y)) if weights is None else weights
    if isinstance(cv, int | np.integer) and not isinstance(cv, bool):
        return _dealt(x, y, v, int(cv), by_class)
    if isinstance(cv, str) or not (hasattr(cv, "split") or isinstance(cv, Iterable)):
        raise InputError(f"cv is {cv!r} and must be a whole number from 2 up, a splitter, or pairs of row indices.")
    found = [(_part(v, train), _part(v, held)) for train, held in (cv.split(x, y) if hasattr(cv, "split") else cv)]
    if not found:
        raise InputError("cv gives no splits: give a whole number from 2 up, a splitter, or pairs of row indices.")
    if not all(train.any() and held.any() for train, held in found):
        raise InputError("A fold of cv has no rows to fit or none to validate: give splits with rows of both kinds.")
    return found


def _part(v: Array, rows: Any) -> Array:
    """The weights of these rows, and zero for the others (n,)."""
    part = np.zeros(len(v))
    try:
        part[rows] = v[rows]
    except IndexError:
        raise InputError(f"cv names rows that are not there: X has {len(v)} rows, counted from 0.") from None
    return part


def _dealt(x: Any, y: Array, v: Array, k: int, by_class: bool) -> list[Fold]:
    if k < 2:
        raise InputError(f"cv is {k} and must be 2 folds or more, a splitter, or pairs of row indices.")
    owner, size, turn = _turns(x, y, v)
    if not np.any(turn >= LEAST_ROWS - 1):
        return []
    if by_class:
        turn = np.unique(y[owner] * (turn.max() + 1) + turn, return_inverse=True)[1]
    held = []
    for fold in range(min(k, int(turn.max()) + 1)):
        mine = turn % k == fold
        held.append(np.bincount(owner[mine], size[mine], minlength=len(y)).astype(np.float64))
    return [(v - part, part) for part in held]


def _turns(x: Any, y: Array, v: Array) -> tuple[Rows, Array, Rows]:
    """Rows or parts of rows: of which row, its weight, and its turn; rows that are the same throughout share theirs."""
    rows = np.flatnonzero(v)
    placed, anywhere = _contents(x)
    keys = np.array([placed, _mixed(anywhere + _mixed(_bits(y)))])[:, rows]
    order = np.lexsort(keys)
    rows, keys = rows[order], keys[:, order]
    first = np.r_[True, np.any(np.diff(keys, axis=1) != 0, axis=0)]
    cell = np.cumsum(first) - 1
    if cell[-1] + 1 < REPEATS * max(len(np.unique(placed[rows])), len(np.unique(y[rows]))):
        return rows, v[rows], cell
    weights = v[rows]
    whole = np.all(weights == np.round(weights)) and weights.sum() <= MOST_PARTS
    counts = weights.astype(np.intp) if whole else np.ones(len(rows), dtype=np.intp)
    owner, size, cell = (np.repeat(values, counts) for values in (rows, weights / counts, cell))
    number = np.arange(len(cell)) - np.searchsorted(cell, cell)
    order = np.argsort(_mixed((keys[0] + keys[1])[first][cell] + _mixed(number.astype(np.uint64))), kind="stable")
    turn = np.empty_like(order)
    turn[order] = np.arange(len(order))
    return owner, size, turn


def _contents(x: Any) -> tuple[Bits, Bits]:
    """Two numbers (n,) for the numbers in each row: with the columns that they stand in, and whatever their order."""
    columns = _mixed(np.arange(1, x.shape[1] + 1, dtype=np.uint64)) | np.uint64(1)
    if sparse.issparse(x):
        mixed = _mixed(_bits(x.data))
        return _row_sums(mixed * columns[x.indices], x.indptr), _row_sums(mixed, x.indptr)
    placed, anywhere = np.empty(len(x), dtype=np.uint64), np.empty(len(x), dtype=np.uint64)
    for start in range(0, len(x), 256):
        part = slice(start, start + 256)
        mixed = _mixed(_bits(x[part]))
        anywhere[part] = mixed.sum(axis=1, dtype=np.uint64)
        placed[part] = (mixed * columns).sum(axis=1, dtype=np.uint64)
    return placed, anywhere


def _row_sums(values: Bits, ends: Any) -> Bits:
    sums = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values, out=sums[1:])
    return np.asarray(sums[ends[1:]] - sums[ends[:-1]])


def _bits(values: Array) -> Bits:
    return np.ascontiguousarray(values.astype(np.float64) + 0.0).view(np.uint64)  # -0.0 + 0.0 is 0.0


def _mixed(bits: Bits) -> Bits:
    """splitmix64's finaliser; zero stays zero."""
    for shift, factor in zip((np.uint64(30), np.uint64(27)), MULTIPLIERS, strict=True):
        bits = (bits ^ (bits >> shift)) * factor
    return np.asarray(bits ^ (bits >> np.uint64(31)))
