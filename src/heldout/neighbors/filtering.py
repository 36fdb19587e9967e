"""Which rows can be among the nearest, by distances of bytes.

With e the norm of what rounding to bytes took away, the triangle inequality bounds how far a distance and its rounded
one (in steps s) can lie apart, | |x - y| - s |q_x - q_y| | <= e_x + e_y. A row can be among the k nearest only if its
rounded distance is within 2 (e_x + max e_y) of the k-th smallest rounded distance. What passes is measured exactly;
nothing else needs to be. Bytes that were bytes before, as pixels are, lose nothing, and hardly any row passes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from heldout.neighbors import tiles
from heldout.neighbors.rounding import FAR, RoundedQueries, RoundedRows
from heldout.neighbors.tiles import QUERIES, VECTORS

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

GROUPS = 32  # of queries that pass over the rows together, so that they stay in the cache
SLACK = 1.0 + 1e-9  # for the rounding of the bounds themselves


def nearest_candidates(rows: RoundedRows, queries: RoundedQueries, k: int, room: int) -> tuple[Array, Array, Array]:
    """Rows (m, room) that can be among the k nearest, rising; how many (m,); and whether the room was too small."""
    limits = np.full(queries.packed.shape[0] * QUERIES, -FAR - 1, dtype=np.int32)
    limits[: len(queries.lost)] = FAR - 1
    return _candidates(rows, queries, limits, k, room)


def candidates_within(
    rows: RoundedRows, queries: RoundedQueries, radius: float, room: int
) -> tuple[Array, Array, Array]:
    """Rows that can lie within a radius, likewise."""
    squared = rows.packed.shape[4] == tiles.PRODUCT_COLUMNS
    reach = (radius / rows.rounding.step + queries.lost + rows.lost) * SLACK
    limit = (reach**2 if squared else reach) + 1.0 - queries.offsets
    limits = np.full(queries.packed.shape[0] * QUERIES, -FAR - 1, dtype=np.int32)
    limits[: len(limit)] = np.clip(np.floor(limit), -FAR, FAR - 1)
    return _candidates(rows, queries, limits, 0, room)


def _candidates(
    rows: RoundedRows, queries: RoundedQueries, limits: Array, k: int, room: int
) -> tuple[Array, Array, Array]:
    m = len(queries.lost)
    counts, full = np.zeros(m, dtype=np.int64), np.zeros(m, dtype=np.bool_)
    ids, sums = np.empty((m, room), dtype=np.int64), np.empty((m, room), dtype=np.int32)
    reach = (queries.lost + rows.lost) * SLACK
    squared = rows.packed.shape[4] == tiles.PRODUCT_COLUMNS
    given = (queries.packed, queries.offsets, reach, rows.packed, rows.norms, limits)
    _scan(squared, *given, k, counts, ids, sums, full)
    return ids, counts, full


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _scan(
    squared: bool, queries: Array, offsets: Array, reach: Array, rows: Array, norms: Array, limits: Array, k: int,
    counts: Array, ids: Array, sums: Array, full: Array,
) -> None:  # fmt: skip
    flat_queries, flat_rows = queries.reshape(-1), rows.reshape(-1)
    q_size, r_size = flat_queries.size // len(queries), flat_rows.size // len(rows)
    height = rows.shape[3] * VECTORS
    out, masks = np.empty(QUERIES * height, dtype=np.int32), np.empty(QUERIES * VECTORS, dtype=np.uint16)
    due = np.full(len(counts), 2 * k + 2 * height)
    for first in range(0, len(queries), GROUPS):
        last = min(first + GROUPS, len(queries))
        for tile in range(len(rows)):
            for group in range(first, last):
                q_at, r_at = group * q_size, tile * r_size
                if squared:
                    tiles.products(
                        flat_queries, q_at, flat_rows, r_at, rows.shape[1], norms, tile * height, limits,
                        group * QUERIES, out, masks,
                    )  # fmt: skip
                else:
                    tiles.differences(
                        flat_queries, q_at, flat_rows, r_at, rows.shape[1], norms, tile * height, limits,
                        group * QUERIES, out, masks,
                    )  # fmt: skip
                _keep(group, tile, rows.shape[3], out, masks, limits, counts, ids, sums, full)
                if k > 0:
                    _tighten_due(group, k, squared, height, offsets, reach, counts, ids, sums, limits, due)
    if k > 0:
        for i in range(len(counts)):
            _tighten(i, k, squared, offsets, reach, counts, ids, sums, limits)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _keep(
    group: int, tile: int, lanes: int, out: Array, masks: Array, limits: Array, counts: Array, ids: Array, sums: Array,
    full: Array,
) -> None:  # fmt: skip
    """Put the rows of a tile that are below their query's limit beside those found before."""
    for q in range(QUERIES):
        for v in range(VECTORS):
            mask = masks[q * VECTORS + v]
            if mask == 0:
                continue
            i = group * QUERIES + q
            for lane in range(lanes):
                if (mask >> lane) & 1:
                    at = counts[i]
                    if at < ids.shape[1]:
                        ids[i, at] = (tile * VECTORS + v) * lanes + lane
                        sums[i, at] = out[(q * VECTORS + v) * lanes + lane]
                        counts[i] = at + 1
                    else:
                        full[i], limits[i] = True, -FAR - 1  # no more of it


@njit(inline="always")  # type: ignore[untyped-decorator]
def _tighten_due(
    group: int, k: int, squared: bool, height: int, offsets: Array, reach: Array, counts: Array, ids: Array,
    sums: Array, limits: Array, due: Array,
) -> None:  # fmt: skip
    for i in range(group * QUERIES, min((group + 1) * QUERIES, len(counts))):
        if counts[i] >= due[i]:
            _tighten(i, k, squared, offsets, reach, counts, ids, sums, limits)
            crowded = counts[i] > ids.shape[1] - 2 * height  # then it fills up, and is left to a larger room
            due[i] = ids.shape[1] + 1 if crowded else min(2 * counts[i] + 8, ids.shape[1] - height)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _tighten(
    i: int, k: int, squared: bool, offsets: Array, reach: Array, counts: Array, ids: Array, sums: Array, limits: Array
) -> None:
    """Lower the limit to what the k smallest so far allow, and drop what lies above."""
    n = counts[i]
    if n < k:
        return
    kth = float(np.partition(sums[i, :n], k - 1)[k - 1] + offsets[i])
    highest = (np.sqrt(max(kth, 0.0)) + 2.0 * reach[i]) ** 2 if squared else kth + 2.0 * reach[i]
    limits[i] = min(np.int64(np.floor(highest * SLACK)) + 1 - offsets[i], np.int64(limits[i]))
    kept = 0
    for at in range(n):
        if sums[i, at] <= limits[i]:
            ids[i, kept], sums[i, kept] = ids[i, at], sums[i, at]
            kept += 1
    counts[i] = kept
