"""In which order rows are dealt out to folds: their contents alone decide, so that any order of rows gives the same."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Rows: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]
Bits: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]

MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64's
REPEATS = 2  # distinct rows for each distinct target, and for each distinct row without its target: values meet freely
MOST_PARTS = 10**7  # whole weights are taken apart up to this sum


def turns(x: Any, y: Array, v: Array) -> tuple[Rows, Array, Rows]:
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
    return np.ascontiguousarray(values + 0.0).view(np.uint64)  # -0.0 + 0.0 is 0.0


def _mixed(bits: Bits) -> Bits:
    """splitmix64's finaliser; zero stays zero."""
    for shift, factor in zip((np.uint64(30), np.uint64(27)), MULTIPLIERS, strict=True):
        bits = (bits ^ (bits >> shift)) * factor
    return np.asarray(bits ^ (bits >> np.uint64(31)))
