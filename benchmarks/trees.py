"""Trees and forests beside scikit-learn and Intel's extension of it: fits, and predictions of a fitted forest.

Every run is a fresh process that makes or reads its data and fits once to a small part of it (imports, compiled code
from the disk, threads); then it measures.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common import DATA, Case, System, main, timed
from neighbors import images, labels

HELDOUT, SKLEARN, INTELEX = "heldout", "scikit-learn", "scikit-learn-intelex"
JOBS = 2
Four = tuple[Any, Any, Any, Any]


def made(n: int, n_classes: int) -> Four:
    """50 columns, of which 20 say something; a fifth as many rows again to test."""
    from sklearn.datasets import make_classification

    X, y = make_classification(n + n // 5, 50, n_informative=20, n_classes=n_classes, random_state=0)
    return X[:n], y[:n], X[n:], y[n:]


def pixels(name: str) -> Four:
    X, y, new, new_y = (part(name, kind) for kind in ("train", "t10k") for part in (images, labels))
    return X, y, new, new_y


def flights() -> Four:
    """nycflights13: the delay at arrival from what is known the day before."""
    import polars as pl

    table = pl.read_csv(DATA / "nycflights13" / "flights.csv.gz", null_values=["NA"], infer_schema_length=10_000)
    names = ["month", "day", "sched_dep_time", "sched_arr_time", "distance", "flight"]
    table = table.select(*names, "arr_delay").drop_nulls()
    X, y = table.select(names).to_numpy().astype(np.float64), table["arr_delay"].to_numpy().astype(np.float64)
    test = np.random.default_rng(0).random(len(X)) < 0.2
    return X[~test], y[~test], X[test], y[test]


def spambase() -> Four:
    """The split of Hastie, Tibshirani and Friedman: 1,536 rows to test."""
    import polars as pl

    table = pl.read_csv(DATA / "spambase" / "spambase.csv")
    test, y = table["esl_test"].to_numpy() == 1, table["spam"].to_numpy()
    X = table.drop("spam", "esl_test").to_numpy().astype(np.float64)
    return X[~test], y[~test], X[test], y[test]


def forest(name: str, numbers: bool, **more: Any) -> Any:
    kind = "RandomForestRegressor" if numbers else "RandomForestClassifier"
    if name == HELDOUT:
        import heldout

        return getattr(heldout, kind)(**more)
    if name == INTELEX:
        import sklearnex.ensemble

        return getattr(sklearnex.ensemble, kind)(n_jobs=JOBS, random_state=0, **more)
    import sklearn.ensemble

    return getattr(sklearn.ensemble, kind)(n_jobs=JOBS, random_state=0, **more)


def tree(name: str, numbers: bool, **more: Any) -> Any:
    if name == HELDOUT:
        from heldout import DecisionTreeClassifier

        return DecisionTreeClassifier(**more)
    from sklearn.tree import DecisionTreeClassifier as Peer

    return Peer(random_state=0, **more)


def score_of(model: Any, new: Any, new_y: Any, numbers: bool) -> str:
    said = model.predict(new)
    return f"test R2 {model.score(new, new_y):.4f}" if numbers else f"test error {np.mean(said != new_y):.2%}"


def fit(name: str, learner: Any, load: Callable[[], Four], numbers: bool, times: int, **more: Any) -> str:
    X, y, new, new_y = load()
    model, small = learner(name, numbers, **more), learner(name, numbers, **more)
    few = slice(0, min(len(X), 12_000))  # enough rows for the code of large tables
    if "n_estimators" in small.get_params():
        small.set_params(n_estimators=2)
    return timed(
        lambda: model.fit(X, y),
        lambda: small.fit(X[few], y[few]).predict(new[:100]),
        lambda: score_of(model, new, new_y, numbers),
        times,
    )


def predict(name: str, single: bool) -> str:
    """20,000 rows by 100 trees, or a hundred rows one by one."""
    X, y, new, _ = made(100_000, 3)
    model = forest(name, False).fit(X[:80_000], y[:80_000])

    def work() -> None:
        if single:
            for i in range(100):
                model.predict(new[i : i + 1])
        else:
            model.predict(new[:20_000])

    return timed(work, work, lambda: "100 single rows" if single else "20,000 rows", 3)


# case: learner, data, numbers?, fits in a process, systems, parameters
FITS: dict[str, tuple[Any, Callable[[], Four], bool, int, tuple[str, ...], dict[str, Any]]] = {
    "forest-80000x50": (forest, functools.partial(made, 80_000, 3), False, 1, (HELDOUT, SKLEARN, INTELEX), {}),
    "tree-100000x50": (tree, functools.partial(made, 100_000, 2), False, 1, (HELDOUT, SKLEARN), {}),
    "forest-fashion": (
        forest, functools.partial(pixels, "fashion_mnist"), False, 1, (HELDOUT, SKLEARN, INTELEX), {}
    ),
    "forest-mnist": (forest, functools.partial(pixels, "mnist"), False, 1, (HELDOUT,), {}),
    "tree-fashion": (
        tree, functools.partial(pixels, "fashion_mnist"), False, 1, (HELDOUT, SKLEARN),
        {"criterion": "entropy", "max_depth": 10},
    ),
    "forest-flights": (forest, flights, True, 1, (HELDOUT, SKLEARN), {"min_samples_leaf": 5}),
    "forest-spambase": (forest, spambase, False, 3, (HELDOUT, SKLEARN), {}),
}  # fmt: skip
PREDICTIONS = {"predict-20000-rows": False, "predict-single": True}
ABOUT_ALL = (
    "Forests of 100 trees and single trees with each library's defaults, two jobs: fits, and predictions of the forest "
    "of the first case. The score tells the test error."
)
ABOUT = {
    "forest-80000x50": "make_classification, 20 of 50 columns say something, 3 classes",
    "tree-100000x50": "the same with 2 classes, one tree until its leaves are pure",
    "forest-fashion": "60,000 training images of 784 pixels, 10,000 to test",
    "forest-mnist": "60,000 training images of 784 pixels, 10,000 to test",
    "tree-fashion": "one tree by entropy to depth 10",
    "forest-flights": "a fifth of 327,346 flights to test: delay at arrival, five rows in a leaf",
    "forest-spambase": "3,065 mails, 1,536 to test: the split of The Elements of Statistical Learning",
    "predict-20000-rows": "20,000 rows by 100 trees",
    "predict-single": "100 rows, one by one, by 100 trees",
}


def work(case: str, name: str) -> str:
    if case in PREDICTIONS:
        return predict(name, PREDICTIONS[case])
    learner, load, numbers, times, _, more = FITS[case]
    return fit(name, learner, load, numbers, times, **more)


def cases() -> list[Case]:
    def system(case: str, name: str) -> System:
        def words(folder: Path) -> Sequence[str]:
            return [sys.executable, str(Path(__file__).resolve()), "--work", f"{case}/{name}"]

        return System(name, version(name), words)

    systems = {case: row[4] for case, row in FITS.items()} | dict.fromkeys(PREDICTIONS, (HELDOUT, SKLEARN))
    return [
        Case(case, ABOUT[case], tuple(system(case, name) for name in names), repeats=2, warm_up=False)
        for case, names in systems.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        print(work(*sys.argv[2].split("/")))
    else:
        main("trees", ABOUT_ALL, cases())
