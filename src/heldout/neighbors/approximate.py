"""Approximate neighbours by a graph (HNSW), of faiss; how many of the true ones it finds is measured."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from heldout.errors import InputError
from heldout.neighbors.search import METRICS, Graph, build, nearest

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

LINKS, EFFORT = 32, 64  # of a row in the graph; candidates kept at construction and search
SAMPLE, NEIGHBOURS = 200, 10  # rows on which the recall is measured, and neighbours of each


def nearest_by_graph(index: Graph, queries: Array, k: int, skip: Array) -> tuple[Array, Array]:
    """Distances and indices (m, k), as `search.nearest`, but for what the graph misses."""
    from heldout.neighbors.metrics import CODES, nearest_of

    wanted = min(k + 1, len(index.rows))
    _, ids = index.graph.search(_given(queries, index.metric), wanted)
    if np.any(ids < 0):
        raise InputError(f"The graph found fewer than {k} neighbours of some rows: take algorithm='brute'.")
    far, near = np.empty((len(queries), k)), np.empty((len(queries), k), dtype=np.int64)
    counts = np.full(len(queries), wanted)
    nearest_of(CODES[index.metric], 2.0, index.rows, queries, np.sort(ids, axis=1), counts, skip, far, near)
    return far, near


def build_approximate(rows: Array, *, metric: str) -> Graph:
    """A graph of rows (n, d), euclidean or cosine; needs the extra `faiss`."""
    name = METRICS[metric]
    if name not in ("euclidean", "cosine"):
        raise InputError(f"algorithm='hnsw' knows the metrics euclidean and cosine, not {name!r}.")
    try:
        import faiss
    except ImportError:
        raise InputError("algorithm='hnsw' needs faiss: pip install 'heldout[faiss]'.") from None
    graph = faiss.IndexHNSWFlat(rows.shape[1], LINKS)
    graph.hnsw.efConstruction = graph.hnsw.efSearch = EFFORT
    graph.add(_given(rows, name))
    found = Graph(rows, name, graph, 1.0)
    sample = np.unique(np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).round().astype(np.intp))
    k = min(NEIGHBOURS, len(rows))
    nobody = np.full(len(sample), -1)
    exact = nearest(build(rows, metric=name), rows[sample], k)[1]
    near = nearest_by_graph(found, rows[sample], k, nobody)[1]
    hits = np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(exact, near, strict=True)])
    return Graph(rows, name, graph, float(hits))


def _given(rows: Array, metric: str) -> Array:
    """Single precision; for angles, of length 1."""
    given: Array = np.ascontiguousarray(rows, dtype=np.float32)
    if metric == "cosine":
        length = np.sqrt(np.einsum("ij,ij->i", given, given))
        given = given / np.where(length > 0.0, length, 1.0)[:, None]
    return given
