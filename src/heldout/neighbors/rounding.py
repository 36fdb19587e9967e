"""Numbers rounded to bytes and laid out for the tiles, with what the rounding took away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numba import njit

from heldout.neighbors.tiles import (
    DIFFERENCE_COLUMNS,
    DIFFERENCE_LANES,
    PRODUCT_COLUMNS,
    PRODUCT_LANES,
    QUERIES,
    VECTORS,
)

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

FAR = 2**30  # above every sum of a tile: the rows that fill the last one up are never near


@dataclass(frozen=True)
class Rounding:
    """x ~ low + step (q + 128) with q from -128 to 127; beyond these it is cut."""

    low: Array  # (d,) the least value of each column
    step: float


@dataclass(frozen=True)
class RoundedRows:
    """Rows for the tiles: `packed` (tiles, steps, VECTORS, lanes, columns) of uint8; sums beside."""

    rounding: Rounding
    packed: Array
    norms: Array  # (tiles * rows of a tile,) int32, what a tile adds: |q|^2 for products, 0 for differences
    lost: float  # the greatest norm (Euclidean or L1) of what rounding took from a row, in steps


@dataclass(frozen=True)
class RoundedQueries:
    """Queries for the tiles: `packed` (groups, steps, QUERIES, columns), signed for products."""

    packed: Array
    offsets: Array  # (m,) int64: a rounded distance is a tile's sum plus this
    lost: Array  # (m,) in steps


def rounding_of(x: Array) -> Rounding:
    """One step for all columns: that of the widest, cut in 255."""
    low, high = x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)
    return Rounding(low, float((high - low).max(initial=0.0)) / 255.0 or 1.0)


def rounded_rows(x: Array, rounding: Rounding, *, squared: bool) -> RoundedRows:
    """Rows as bytes, for Euclidean distances (`squared`) or sums of absolute differences."""
    lanes, columns = _layout(squared)
    height = lanes * VECTORS
    tiles, steps = -(-len(x) // height), -(-x.shape[1] // columns)
    packed = np.zeros((tiles, steps, VECTORS, lanes, columns), dtype=np.uint8)
    norms = np.full(tiles * height, FAR, dtype=np.int32)
    lost = _round_rows(x, rounding.low, rounding.step, squared, packed, norms)
    return RoundedRows(rounding, packed, norms, float(lost) * (1.0 + 1e-9) + 1e-9)


def rounded_queries(x: Array, rounding: Rounding, *, squared: bool) -> RoundedQueries:
    """Queries as bytes."""
    _, columns = _layout(squared)
    groups, steps = -(-len(x) // QUERIES), -(-x.shape[1] // columns)
    packed = np.zeros((groups, steps, QUERIES, columns), dtype=np.uint8)
    offsets, lost = np.zeros(len(x), dtype=np.int64), np.zeros(len(x))
    _round_queries(x, rounding.low, rounding.step, squared, packed, offsets, lost)
    return RoundedQueries(packed, offsets, lost * (1.0 + 1e-9) + 1e-9)


def _layout(squared: bool) -> tuple[int, int]:
    return (PRODUCT_LANES, PRODUCT_COLUMNS) if squared else (DIFFERENCE_LANES, DIFFERENCE_COLUMNS)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _round_rows(x: Array, low: Array, step: float, squared: bool, packed: Array, norms: Array) -> float:
    lanes, columns = packed.shape[3], packed.shape[4]
    height, worst = lanes * VECTORS, 0.0
    for i in range(len(x)):
        tile, row = i // height, i % height
        norm, left = 0, 0.0
        for j in range(x.shape[1]):
            exact = (np.float64(x[i, j]) - low[j]) / step - 128.0
            q = min(max(np.rint(exact), -128.0), 127.0)
            left += (exact - q) ** 2 if squared else abs(exact - q)
            whole = np.int64(q)
            norm += int(whole * whole)
            packed[tile, j // columns, row // lanes, row % lanes, j % columns] = np.uint8(whole + 128)
        norms[i] = norm if squared else 0
        worst = max(worst, left)
    return np.sqrt(worst) if squared else worst


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _round_queries(
    x: Array, low: Array, step: float, squared: bool, packed: Array, offsets: Array, lost: Array
) -> None:
    columns = packed.shape[3]
    for i in range(len(x)):
        group, place = i // QUERIES, i % QUERIES
        offset, left = 0, 0.0
        for j in range(x.shape[1]):
            exact = (np.float64(x[i, j]) - low[j]) / step - 128.0
            q = min(max(np.rint(exact), -128.0), 127.0)
            whole = np.int64(q)
            left += (exact - q) ** 2 if squared else abs(exact - q)
            offset += int(whole * whole + 256 * whole)  # |q|^2, and rows are 128 too great in the products
            packed[group, j // columns, place, j % columns] = np.uint8(whole if squared else whole + 128)
        offsets[i] = offset if squared else 0
        lost[i] = np.sqrt(left) if squared else left
