"""The search for neighbours beside plain NumPy: every metric, ties, odd tables, and the filter of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import cosine_distances

from heldout.errors import InputError
from heldout.neighbors import filtering, search, tiles
from heldout.neighbors.rounding import rounded_queries, rounded_rows, rounding_of
from heldout.neighbors.search import build, nearest, within

METRICS = ["euclidean", "manhattan", "chebyshev", "minkowski", "cosine", "hamming"]


def by_definition(rows: np.ndarray, queries: np.ndarray, metric: str, p: float = 3.0) -> np.ndarray:
    if metric == "cosine":
        return np.asarray(cosine_distances(queries.astype(float), rows.astype(float)))
    more = {"p": p} if metric == "minkowski" else {}
    name = {"manhattan": "cityblock"}.get(metric, metric)
    return np.asarray(cdist(queries.astype(float), rows.astype(float), name, **more))


def first(distances: np.ndarray, k: int) -> np.ndarray:
    """By distance, and by index where distances are equal."""
    return np.argsort(distances, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("n", "d"), [(1, 1), (40, 3), (700, 3), (1500, 9), (1100, 40), (2003, 130)])
def test_neighbours_are_those_of_the_definition(n: int, d: int, metric: str, dtype: Any) -> None:
    rng = np.random.default_rng(n + d)
    rows, queries = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(31, d)).astype(dtype)
    if metric == "hamming":
        rows, queries = np.rint(rows), np.rint(queries)
    k = min(7, n)
    far, near = nearest(build(rows, metric=metric, p=3.0), queries, k)
    expected = by_definition(rows, queries, metric)
    if metric != "hamming":  # whose many equal distances follow below
        assert_array_equal(near, first(expected, k))
    assert_allclose(far, np.sort(expected, axis=1)[:, :k], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev"])
@pytest.mark.parametrize("d", [2, 6, 20])
def test_equal_distances_go_by_the_smaller_index(d: int, metric: str, algorithm: str) -> None:
    rng = np.random.default_rng(d)
    rows, queries = rng.integers(0, 3, (1500, d)).astype(float), rng.integers(0, 3, (50, d)).astype(float)
    far, near = nearest(build(rows, metric=metric, algorithm=algorithm), queries, 12)
    expected = by_definition(rows, queries, metric)
    assert_array_equal(near, first(expected, 12))
    assert_allclose(far, np.sort(expected, axis=1)[:, :12], rtol=1e-13)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine"])
@pytest.mark.parametrize("kind", ["far", "scales", "outlier", "constant", "pixels", "copies"])
def test_odd_tables_lose_no_neighbour(kind: str, metric: str) -> None:
    rng = np.random.default_rng(3)
    rows, queries = rng.normal(size=(1300, 24)), rng.normal(size=(40, 24))
    if kind == "far":
        rows, queries = rows + 1e6, queries + 1e6
    elif kind == "scales":
        rows, queries = rows * np.geomspace(1e-6, 1e6, 24), queries * np.geomspace(1e-6, 1e6, 24)
    elif kind == "outlier":
        rows[7], queries[0] = 1e9, -1e12
    elif kind == "constant":
        rows[:], queries[:] = 2.0, 2.0
    elif kind == "pixels":
        rows, queries = (np.clip(np.rint(x * 60 + 100), 0, 255) / 255.0 for x in (rows, queries))
    else:
        rows[200:1200] = rows[0]
        queries[:20] = rows[0]
    found = nearest(build(rows, metric=metric), queries, 9)
    expected = by_definition(rows, queries, metric)
    assert_allclose(found[0], np.sort(expected, axis=1)[:, :9], rtol=1e-9, atol=3e-15 if metric == "cosine" else 0)
    if metric != "cosine" and kind != "pixels":  # where rounding decides between equals
        assert_array_equal(found[1], first(expected, 9))


def test_directions_of_length_zero() -> None:
    rng = np.random.default_rng(4)
    rows, queries = rng.normal(size=(1200, 20)), rng.normal(size=(5, 20))
    queries[2] = 0.0
    far, near = nearest(build(rows, metric="cosine"), queries, 3)
    assert_array_equal(near[2], [0, 1, 2])
    assert_array_equal(far[2], 1.0)
    rows[5] = 0.0
    far, _ = nearest(build(rows, metric="cosine"), queries, 1200)
    assert_allclose(far, np.sort(by_definition(rows, queries, "cosine"), axis=1), rtol=0, atol=1e-14)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [3, 30])
def test_a_row_can_be_left_out(d: int, metric: str) -> None:
    rows = np.random.default_rng(5).normal(size=(1100, d))
    rows[1] = rows[0]
    skip = np.arange(60)
    _, near = nearest(build(rows, metric=metric, p=3.0), rows[:60], 4, skip=skip)
    expected = by_definition(rows, rows[:60], metric)
    expected[skip, skip] = np.inf
    if metric not in ("hamming", "cosine"):
        assert_array_equal(near, first(expected, 4))
    assert not np.any(near == skip[:, None])
    assert near[0, 0] == 1 and near[1, 0] == 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [3, 30])
def test_within_a_radius(d: int, metric: str) -> None:
    rng = np.random.default_rng(6)
    rows, queries = rng.normal(size=(1500, d)), rng.normal(size=(20, d))
    expected = by_definition(rows, queries, metric)
    radius = float(np.quantile(expected, 0.1))
    far, near = within(build(rows, metric=metric, p=3.0), queries, radius, sort=True)
    for i in range(20):
        inside = np.flatnonzero(expected[i] <= radius)
        assert set(near[i].tolist()) == set(inside.tolist())
        assert_allclose(far[i], np.sort(expected[i][inside]), rtol=1e-12, atol=1e-14)
    far, near = within(build(rows, metric=metric, p=3.0), queries, -1.0)
    assert all(len(ids) == 0 for ids in near)


@pytest.mark.parametrize("d", [4, 50])
def test_the_same_bits_whatever_the_threads(d: int) -> None:
    rng = np.random.default_rng(7)
    rows, queries = rng.normal(size=(3000, d)), rng.normal(size=(1000, d))
    one, two = (nearest(build(rows), queries, 5, n_jobs=jobs) for jobs in (1, 2))
    assert_array_equal(one[0], two[0])
    assert_array_equal(one[1], two[1])


def test_a_filter_without_room_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "ROOM", 24)
    rng = np.random.default_rng(8)
    rows, queries = rng.normal(size=(4000, 200)), rng.normal(size=(50, 200))
    rounded = rounded_rows(rows, rounding_of(rows), squared=True)
    *_, full = filtering.nearest_candidates(rounded, rounded_queries(queries, rounded.rounding, squared=True), 4, 40)
    assert full.any()
    _, near = nearest(build(rows), queries, 3)
    assert_array_equal(near, first(by_definition(rows, queries, "euclidean"), 3))


def test_the_filter_passes_few_rows_of_images(real_data: Any) -> None:
    import gzip

    with gzip.open(real_data / "fashion_mnist" / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(-1, 784) / np.float32(255.0)
    for squared in (True, False):
        rows = rounded_rows(pixels[100:], rounding_of(pixels[100:]), squared=squared)
        _, counts, _ = filtering.nearest_candidates(
            rows, rounded_queries(pixels[:100], rows.rounding, squared=squared), 5, 1000
        )
        assert counts.mean() < 12


@pytest.mark.parametrize("kind", ["products", "differences"])
def test_plain_tiles_equal_quick_ones(kind: str) -> None:
    rng = np.random.default_rng(9)
    lanes, columns = (16, 4) if kind == "products" else (8, 8)
    steps, height = 5, lanes * tiles.VECTORS
    queries = rng.integers(0, 256, steps * tiles.QUERIES * columns).astype(np.uint8)
    rows = rng.integers(0, 256, steps * height * columns).astype(np.uint8)
    norms = rng.integers(0, 10**6, height).astype(np.int32)
    limits = rng.integers(0, 10**6, tiles.QUERIES).astype(np.int32)
    found = {}
    for name in (kind, f"plain_{kind}"):
        tile = getattr(tiles, name)
        out = np.zeros(tiles.QUERIES * height, np.int32)
        masks = np.zeros(tiles.QUERIES * tiles.VECTORS, np.uint16)

        @njit  # type: ignore[untyped-decorator]
        def run(out: Any, masks: Any, tile: Any = tile) -> None:
            tile(queries, 0, rows, 0, steps, norms, 0, limits, 0, out, masks)

        run(out, masks)
        found[name] = (out, masks)
    assert_array_equal(found[kind][0], found[f"plain_{kind}"][0])
    assert_array_equal(found[kind][1], found[f"plain_{kind}"][1])
    q = queries.reshape(steps, tiles.QUERIES, columns).transpose(1, 0, 2).reshape(tiles.QUERIES, -1)
    r = rows.reshape(steps, height, columns).transpose(1, 0, 2).reshape(height, -1).astype(np.int64)
    if kind == "products":
        expected = norms - 2 * (q.astype(np.int8).astype(np.int64) @ r.T)
    else:
        expected = norms + np.abs(q.astype(np.int64)[:, None] - r).sum(axis=2)
    shape = (tiles.QUERIES, height)
    assert_array_equal(found[kind][0].reshape(shape), expected)
    bits = found[kind][1].reshape(tiles.QUERIES, tiles.VECTORS)[:, :, None] >> np.arange(lanes) & 1
    assert_array_equal(bits.reshape(shape), expected <= limits[:, None])


def test_wrong_names_are_said() -> None:
    rows = np.zeros((3, 2))
    with pytest.raises(InputError, match=r"no metric 'euclid'.*euclidean"):
        build(rows, metric="euclid")
    with pytest.raises(InputError, match="no algorithm 'kdtree'"):
        build(rows, algorithm="kdtree")
    with pytest.raises(InputError, match="does not know the metric 'cosine'"):
        build(rows, metric="cosine", algorithm="kd_tree")
    with pytest.raises(InputError, match=r"p is 0\.5"):
        build(rows, metric="minkowski", p=0.5)
    assert search.canonical("minkowski", 1) == ("manhattan", 1.0)
