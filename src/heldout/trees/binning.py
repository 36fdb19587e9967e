"""Columns as small whole numbers: what splits look at. 0 is missing; the other codes rise with the value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numba import njit

from heldout.linear.blocks import in_threads

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MOST_SAMPLED = 200_000  # rows that the cuts between bins are taken from


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
    cuts = in_threads(
        lambda j: _category_cuts(X[:, j]) if categorical[j] else _cuts(X[:, j], most_bins), range(X.shape[1])
    )
    most = max((len(c) for c in cuts), default=0) + 2
    codes = np.empty(X.shape[::-1], dtype=np.uint8 if most <= 256 else np.uint16 if most <= 65_536 else np.int32)
    found = in_threads(lambda j: _code_column(X, j, cuts[j], codes[j]), range(X.shape[1]))
    low, high = ([np.concatenate([[np.nan], ends[side]]) for ends in found] for side in (0, 1))
    starts = np.concatenate([[0], np.cumsum([len(one) for one in low])])
    return Binned(codes, np.concatenate(low), np.concatenate(high), starts, categorical)


def _cuts(x: Array, most_bins: int | None) -> Array:
    """Values that the bins begin after: the last value of each bin but the last, rising."""
    step = 1 if most_bins is None else max(1, len(x) // MOST_SAMPLED)
    known = np.sort(x[::step][~np.isnan(x[::step])])
    if not len(known):
        return known
    last = np.flatnonzero(known[1:] != known[:-1])
    if most_bins is None or len(last) < most_bins:
        return known[last]
    wanted = np.linspace(0.0, len(known), most_bins + 1)[1:-1].astype(np.intp)
    return np.unique(known[np.maximum(wanted - 1, 0)])


def _category_cuts(x: Array) -> Array:
    """Between all whole numbers from 0 to the greatest category."""
    known = x[~np.isnan(x)]
    return np.arange(known.max()) if len(known) else known


def _code_column(X: Array, j: int, cuts: Array, codes: Array) -> tuple[Array, Array]:
    low, high = np.full(len(cuts) + 1, np.inf), np.full(len(cuts) + 1, -np.inf)
    _code(X, j, cuts, codes, low, high)
    return low, high


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _code(X: Array, j: int, cuts: Array, codes: Array, low: Array, high: Array) -> None:
    """1 + how many cuts are below the value, by halving without branches; and each bin's least and greatest value."""
    n_cuts = len(cuts)
    for i in range(X.shape[0]):
        value = X[i, j]
        if np.isnan(value):
            codes[i] = 0
            continue
        base, left = 0, n_cuts
        while left > 1:
            half = left // 2
            base += half if cuts[base + half - 1] < value else 0
            left -= half
        code = base + (1 if left == 1 and cuts[base] < value else 0)
        codes[i] = 1 + code
        low[code] = min(low[code], value)
        high[code] = max(high[code], value)
