"""Linear models beside scikit-learn and Intel's extension of it: fits only, at equal quality.

Every run is a fresh process that makes or reads its data, fits once to a small part of it (imports, compilation,
threads), and then measures the fit. "peak MiB" is what the fit adds to the memory that the process held before.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common import Case, System, main, timed

Problem = tuple[Any, Any]


def gaussian(n: int, p: int) -> Problem:
    """y = X w + noise, all standard normal."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p))
    return X, X @ rng.standard_normal(p) + rng.standard_normal(n)


def least_squares(load: Callable[[], Any], n: int, p: int, times: int) -> str:
    X, y = gaussian(n, p)
    learner, small = load(), max(200, n // 100)
    model = learner()

    def score() -> str:
        residual = y - model.predict(X)
        return f"residual sum {residual @ residual:.12g}"

    return timed(lambda: model.fit(X, y), lambda: learner().fit(X[:small], y[:small]), score, times)


def ours() -> Any:
    from heldout import LinearRegression

    return LinearRegression


def scikit_learn() -> Any:
    from sklearn.linear_model import LinearRegression

    return LinearRegression


def intelex() -> Any:
    from sklearnex.linear_model import LinearRegression

    return LinearRegression


LEARNERS = {"heldout": ours, "scikit-learn": scikit_learn, "scikit-learn-intelex": intelex}
SHAPES = {  # rows, columns, fits per process
    "ols-1000000x50": (1_000_000, 50, 3),
    "ols-100000x1000": (100_000, 1000, 1),
    "ols-5000x1000": (5000, 1000, 3),
    "ols-500x5000": (500, 5000, 3),  # where scikit-learn-intelex had not finished after four minutes
}
WORK: dict[str, Callable[[], str]] = {
    f"{case}/{name}": functools.partial(least_squares, learner, *shape)
    for case, shape in SHAPES.items()
    for name, learner in LEARNERS.items()
    if (case, name) != ("ols-500x5000", "scikit-learn-intelex")
}


def system(case: str, name: str) -> System:
    def words(folder: Path) -> Sequence[str]:
        return [sys.executable, str(Path(__file__).resolve()), "--work", f"{case}/{name}"]

    package = name.split(" ")[0]
    return System(name, version(package), words)


ABOUT = {
    "ols": "least squares of Gaussian columns, float64, with an intercept",
}


def cases() -> list[Case]:
    names: dict[str, list[str]] = {}
    for key in WORK:
        case, name = key.split("/")
        names.setdefault(case, []).append(name)
    return [
        Case(case, ABOUT[case.split("-")[0]], tuple(system(case, name) for name in found))
        for case, found in names.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        print(WORK[sys.argv[2]]())
    else:
        main("linear", " ".join(__doc__.split()[:12]), cases())
