"""Columns as small whole numbers: what splits look at. 0 is missing; the other codes rise with the value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numba import njit

from heldout.linear.blocks import in_threads, split_rows

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MOST_SAMPLED = 50_000  # rows that the cuts between bins are taken from
TOGETHER = 8  # columns read at a time: what one line of the cache holds
SIDE_BY_SIDE = 64  # values
ROUNDING = 1e-12


@dataclass(frozen=True)
class Binned:
    """Codes (p, n) of rows (n, p), a column after the other, and what they stand for.

    Code c of column j holds the values from `low[starts[j] + c]` to `high[starts[j] + c]`. A category's code is one
    more than the category.
    """

    codes: Array  # (p, n) uint8, uint16 or int32
    low: Array
    high: Array
    starts: Array  # (p + 1,)
    categorical: Array  # (p,) bool

    @property
    def n_codes(self) -> Array:
        """(p,) with the missing one."""
        return np.diff(self.starts)


def bin_columns(X: Array, *, most_bins: int | None, categorical: Array) -> Binned:
    """Codes of rows (n, p): a bin for each distinct value, or about equally full ones, at most `most_bins`."""
    p = X.shape[1]
    runs = split_rows(p, -(-p // TOGETHER))

    def cuts_of(run: slice) -> list[Array]:
        step = 1 if most_bins is None or categorical[run].any() else -(-len(X) // MOST_SAMPLED)
        columns = np.empty((run.stop - run.start, -(-len(X) // step)), dtype=X.dtype)
        _take(X, run.start, step, columns)
        return [
            _category_cuts(x) if of_categories else _cuts(x, most_bins)
            for x, of_categories in zip(columns, categorical[run], strict=True)
        ]

    cuts = [each for some in in_threads(cuts_of, runs) for each in some]
    sizes = np.array([len(each) + 2 for each in cuts], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    low, high = np.full(starts[-1], np.inf), np.full(starts[-1], -np.inf)
    for start, each in zip(starts, cuts, strict=False):
        high[start + 1 : start + 1 + len(each)] = each
    most = int(sizes.max(initial=0))
    codes = np.empty((p, len(X)), dtype=np.uint8 if most <= 256 else np.uint16 if most <= 65_536 else np.int32)
    in_threads(lambda run: _code(X, run.start, run.stop, starts, codes, low, high), runs)
    return Binned(codes, low, high, starts, categorical)


def _cuts(x: Array, most_bins: int | None) -> Array:
    """Values that the bins begin after: the last value of each bin but the last, rising. Puts `x` in order."""
    x.sort()
    known = x[: np.searchsorted(x, np.nan)]
    if not len(known):
        return known
    last = np.flatnonzero(known[1:] != known[:-1])
    if most_bins is None or len(last) < most_bins:
        return known[last]
    counts = np.diff(last, prepend=-1, append=len(known) - 1)
    if counts.max() * most_bins <= len(known):
        wanted = np.linspace(0.0, len(known), most_bins + 1)[1:-1].astype(np.intp)
        return np.unique(known[np.maximum(wanted - 1, 0)])
    most = _most_counted(counts, most_bins)
    filled = np.cumsum(np.minimum(counts, most))
    ends = np.searchsorted(filled, np.arange(1, most_bins) * most * (1.0 - ROUNDING))
    return known[last[np.unique(ends[ends < len(last)])]]


def _most_counted(counts: Array, n_bins: int) -> float:
    """How many rows fill a bin, where a value that has more of them takes one bin and leaves the others to the rest."""
    most, fuller = len(counts) * counts.mean() / n_bins, np.zeros(len(counts), dtype=bool)
    while np.any((counts > most) & ~fuller):
        fuller = counts > most
        most = counts[~fuller].sum() / (n_bins - fuller.sum())
    return float(most)


def _category_cuts(x: Array) -> Array:
    """Between all whole numbers from 0 to the greatest category."""
    known = x[~np.isnan(x)]
    return np.arange(known.max()) if len(known) else known


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _take(X: Array, first: int, step: int, columns: Array) -> None:
    """Every `step`th row of some columns, one after the other."""
    for i in range(columns.shape[1]):
        for j in range(len(columns)):
            columns[j, i] = X[i * step, first + j]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _code(X: Array, first: int, last: int, starts: Array, codes: Array, low: Array, high: Array) -> None:
    """1 + how many cuts are below each value; fills the least value of the bins, and the greatest of the last.

    The cuts are the greatest values of the bins. Many values are halved down to their bins side by side, and without a
    branch, which could not be foreseen.
    """
    base, one = np.empty(SIDE_BY_SIDE, dtype=np.uint32), np.uint32(1)
    for start in range(0, len(X), SIDE_BY_SIDE):
        n = np.uint32(min(SIDE_BY_SIDE, len(X) - start))
        for j in range(first, last):
            begin, left = np.uint32(starts[j]), np.uint32(starts[j + 1] - starts[j] - 2)
            end = begin + left + one
            for i in range(n):
                base[i] = begin
            while left > 0:
                half = (left + one) >> one
                for i in range(n):
                    base[i] += half * np.uint32(high[base[i] + half] < X[start + i, j])
                left -= half
            for i in range(n):
                value, code = X[start + i, j], base[i] + one
                codes[j, start + i] = 0 if np.isnan(value) else code - begin
                low[code] = min(low[code], value)
                if code == end:
                    high[code] = max(high[code], value)
