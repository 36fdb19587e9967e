"""Exact nearest neighbours: rows prepared once, then searched with queries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from heldout.errors import InputError, suggest
from heldout.linear.blocks import threads

if TYPE_CHECKING:
    from heldout.neighbors.rounding import RoundedRows

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

METRICS = {
    "euclidean": "euclidean",
    "l2": "euclidean",
    "manhattan": "manhattan",
    "cityblock": "manhattan",
    "l1": "manhattan",
    "chebyshev": "chebyshev",
    "infinity": "chebyshev",
    "minkowski": "minkowski",
    "cosine": "cosine",
    "hamming": "hamming",
}
ALGORITHMS = ("auto", "brute", "kd_tree")

TREE_METRICS = ("euclidean", "manhattan", "chebyshev", "minkowski")
TREE_COLUMNS, TREE_ROWS = 12, 500  # at most and at least, for which a tree is quicker: measured
BYTE_METRICS = ("euclidean", "manhattan", "cosine")
BYTE_ROWS, BYTE_COLUMNS = 1000, 13_000  # from which rounding pays; up to which sums fit in 32 bits
QUERIES = 384  # a thread takes at a time
ROOM, MORE = 1024, 8  # candidates of a query at first, beside four for each neighbour; as many times more where full
FEW = 16  # queries measured against all rows at once
BLOCK = 2**15  # numbers in a block of rows that stays in the cache
TIE = 1e-12  # relative: distances of a tree this close are measured again


@dataclass(frozen=True)
class Index:
    """Rows (n, d) and what was prepared to find the nearest of them."""

    rows: Array
    metric: str
    p: float
    algorithm: str  # "brute" or "kd_tree"
    rounded: RoundedRows | None
    tree: Any


@dataclass(frozen=True)
class Graph:
    """Rows in a graph of near ones (HNSW), of faiss, which finds most of the nearest.

    `recall` is the share of the 10 nearest that it found, for a sample of its rows.
    """

    rows: Array
    metric: str
    graph: Any
    recall: float

    def __str__(self) -> str:
        return f"HNSW graph of {len(self.rows):,} rows; it found {self.recall:.1%} of the nearest rows of a sample."


def canonical(metric: str, p: float) -> tuple[str, float]:
    """The metric's one name, and Minkowski's p."""
    if metric not in METRICS:
        raise InputError(f"There is no metric {metric!r}.{suggest(str(metric), METRICS)}")
    name = METRICS[metric]
    if name != "minkowski":
        return name, p
    if not p >= 1.0:
        raise InputError(f"p is {p!r} and must be 1 or more: below, the triangle inequality does not hold.")
    return {1.0: "manhattan", 2.0: "euclidean", np.inf: "chebyshev"}.get(float(p), name), float(p)


def build(rows: Array, *, metric: str = "euclidean", p: float = 2.0, algorithm: str = "auto") -> Index:
    """Prepare rows (n, d), float32 or float64, C-contiguous."""
    name, p = canonical(metric, p)
    if algorithm not in ALGORITHMS:
        raise InputError(f"There is no algorithm {algorithm!r}.{suggest(str(algorithm), ALGORITHMS)}")
    if algorithm == "kd_tree" and name not in TREE_METRICS:
        raise InputError(f"A tree does not know the metric {name!r}: take algorithm='brute' or 'auto'.")
    n, d = rows.shape
    low = d <= TREE_COLUMNS and n >= TREE_ROWS and name in TREE_METRICS
    if algorithm == "kd_tree" or (algorithm == "auto" and low):
        from scipy.spatial import cKDTree

        return Index(rows, name, p, "kd_tree", None, cKDTree(rows))
    return Index(rows, name, p, "brute", _rounded(rows, name), None)


def _rounded(rows: Array, metric: str) -> RoundedRows | None:
    n, d = rows.shape
    if metric not in BYTE_METRICS or n < BYTE_ROWS or d > BYTE_COLUMNS:
        return None
    from heldout.neighbors.rounding import rounded_rows, rounding_of

    if metric == "cosine":
        rows = _unit(rows)
        if not np.all(rows.any(axis=1)):
            return None  # to a row of zeros every angle is a right one, which no distance tells
    return rounded_rows(rows, rounding_of(rows), squared=metric != "manhattan")


def _unit(x: Array) -> Array:
    """Rows of length 1; those of length 0 stay."""
    length = np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64))
    return np.asarray(x / np.where(length > 0.0, length, 1.0)[:, None])


def nearest(
    index: Index | Graph, queries: Array, k: int, *, n_jobs: int | None = None, skip: Array | None = None
) -> tuple[Array, Array]:
    """Distances and indices (m, k) of the nearest rows, by (distance, index): equal distances by the smaller index.

    `skip` (m,) names for each query one row that is not its neighbour: itself, say.
    """
    skip = np.full(len(queries), -1) if skip is None else skip
    queries = np.ascontiguousarray(queries)
    if isinstance(index, Graph):
        from heldout.neighbors.approximate import nearest_by_graph

        return nearest_by_graph(index, queries, k, skip)
    far, near = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    find = _nearest_by_tree if index.tree is not None else _nearest_by_brute

    def fill(run: slice) -> None:
        find(index, queries[run], skip[run], far[run], near[run])

    _in_runs(fill, len(queries), n_jobs)
    return far, near


def _in_runs(work: Any, m: int, n_jobs: int | None) -> None:
    runs = [slice(low, min(low + QUERIES, m)) for low in range(0, m, QUERIES)]
    with threads(min(len(runs), n_jobs) if n_jobs is not None and n_jobs > 0 else len(runs)) as map_:
        map_(work, runs)


def _nearest_by_brute(index: Index, queries: Array, skip: Array, far: Array, near: Array) -> None:
    from heldout.neighbors.metrics import CODES, nearest_of

    code, left = CODES[index.metric], np.arange(len(queries))
    if index.rounded is not None:
        from heldout.neighbors.filtering import nearest_candidates

        wanted = min(far.shape[1] + 1, len(index.rows))
        room, alone = ROOM + 4 * wanted, left[:0]
        if index.metric == "cosine":
            nothing = ~queries.any(axis=1)
            left, alone = left[~nothing], left[nothing]
        while len(left) and room < len(index.rows):
            ids, counts, full = nearest_candidates(index.rounded, _rounded_queries(index, queries[left]), wanted, room)
            good, found = left[~full], [np.empty((int((~full).sum()), far.shape[1]), kind) for kind in (float, int)]
            nearest_of(code, index.p, index.rows, queries[good], ids[~full], counts[~full], skip[good], *found)
            far[good], near[good] = found
            left, room = left[full], room * MORE
        left = np.r_[alone, left]
    _nearest_of_all(index, code, queries, skip, left, far, near)


def _nearest_of_all(
    index: Index, code: int, queries: Array, skip: Array, chosen: Array, far: Array, near: Array
) -> None:
    from heldout.neighbors.metrics import nearest_of_all

    block = max(1, BLOCK // max(index.rows.shape[1], 1))
    for low in range(0, len(chosen), FEW):
        few = chosen[low : low + FEW]
        found_far, found_near = np.empty((len(few), far.shape[1])), np.empty((len(few), far.shape[1]), np.int64)
        nearest_of_all(code, index.p, index.rows, queries[few], skip[few], block, found_far, found_near)
        far[few], near[few] = found_far, found_near


def _rounded_queries(index: Index, queries: Array) -> Any:
    from heldout.neighbors.rounding import rounded_queries

    assert index.rounded is not None
    given = _unit(queries) if index.metric == "cosine" else queries
    return rounded_queries(given, index.rounded.rounding, squared=index.metric != "manhattan")


def _nearest_by_tree(index: Index, queries: Array, skip: Array, far: Array, near: Array) -> None:
    from heldout.neighbors.metrics import CODES, nearest_of

    (n, _), k = index.rows.shape, far.shape[1]
    wanted = min(k + 2, n)
    distances, ids = index.tree.query(queries, k=wanted, p=_order(index), workers=1)
    distances, ids = distances.reshape(len(queries), wanted), ids.reshape(len(queries), wanted)
    order = np.argsort(ids, axis=1, kind="stable")
    counts = np.full(len(queries), wanted)
    code = CODES[index.metric]
    given = np.ascontiguousarray(np.take_along_axis(ids, order, axis=1))
    nearest_of(code, index.p, index.rows, queries, given, counts, skip, far, near)
    if wanted < n:  # the last may be one of several equally far away, of which others have smaller indices
        tied = np.flatnonzero(distances[:, -1] <= far[:, -1] * (1.0 + TIE))
        for i in tied.tolist():
            reach = distances[i, -1] * (1.0 + TIE)
            found = np.sort(np.asarray(index.tree.query_ball_point(queries[i], reach, p=_order(index))))
            one = slice(i, i + 1)
            size = np.array([len(found)])
            nearest_of(code, index.p, index.rows, queries[one], found[None], size, skip[one], far[one], near[one])


def _order(index: Index) -> float:
    return {"euclidean": 2.0, "manhattan": 1.0, "chebyshev": np.inf}.get(index.metric, index.p)


def within(
    index: Index | Graph, queries: Array, radius: float, *, sort: bool = False, n_jobs: int | None = None
) -> tuple[list[Array], list[Array]]:
    """For every query the distances and indices of the rows no farther than `radius`, by index, or `sort`ed."""
    if isinstance(index, Graph):
        raise InputError("algorithm='hnsw' finds the nearest only, not all rows within a radius: take 'auto'.")
    queries = np.ascontiguousarray(queries)
    far: list[Array] = [np.empty(0)] * len(queries)
    near: list[Array] = [np.empty(0, dtype=np.int64)] * len(queries)

    def fill(run: slice) -> None:
        for i, (distances, ids) in zip(range(run.start, run.stop), _within(index, queries[run], radius), strict=True):
            if sort:
                order = np.argsort(distances, kind="stable")
                distances, ids = distances[order], ids[order]
            far[i], near[i] = distances, ids

    _in_runs(fill, len(queries), n_jobs)
    return far, near


def _within(index: Index, queries: Array, radius: float) -> list[tuple[Array, Array]]:
    from heldout.neighbors.metrics import CODES, measured_of_all

    code = CODES[index.metric]
    found = []
    for query, ids in zip(queries, _candidates_within(index, queries, radius), strict=True):
        rows = index.rows if ids is None else index.rows[ids]
        distances = measured_of_all(code, index.p, rows, query)
        kept = np.flatnonzero(distances <= radius)
        found.append((distances[kept], kept if ids is None else ids[kept]))
    return found


def _candidates_within(index: Index, queries: Array, radius: float) -> list[Array | None]:
    """Rows that may lie within the radius, in rising order; None for all."""
    if index.tree is not None:
        found = index.tree.query_ball_point(queries, radius * (1.0 + TIE), p=_order(index), workers=1)
        return [np.sort(np.asarray(ids, dtype=np.int64)) for ids in found]
    if index.rounded is None or index.metric == "cosine":
        return [None] * len(queries)
    from heldout.neighbors.filtering import candidates_within

    ids, counts, full = candidates_within(index.rounded, _rounded_queries(index, queries), radius, ROOM)
    return [None if full[i] else ids[i, : counts[i]] for i in range(len(queries))]
