"""One-vs-one and one-vs-rest beside scikit-learn's: fits only, the same loss, penalty and number of jobs.

Every run is a fresh process that reads its data, fits once to a small part of it (imports, compilation, threads), and
then measures the fit. heldout uses its threads; scikit-learn's linear bases run with one job, their quickest on the
small tables, and on the large ones their products of matrices use BLAS's threads.
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
from neighbors import images, labels

HELDOUT, SKLEARN = "heldout", "scikit-learn"
JOBS = 2
Four = tuple[Any, Any, Any, Any]


def digits() -> Four:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    test = np.arange(len(y)) % 4 == 0
    return X[~test] / 16.0, y[~test], X[test] / 16.0, y[test]


def pixels(name: str) -> Four:
    X, y, new, new_y = (part(name, kind) for kind in ("train", "t10k") for part in (images, labels))
    return X.astype(np.float64), y, new.astype(np.float64), new_y


def softmax(tol: float) -> Any:
    from heldout import SoftmaxClassifier

    return SoftmaxClassifier(tol=tol)


def logistic(solver: str, tol: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(solver=solver, tol=tol, max_iter=10_000)


def margin() -> Any:
    from heldout import MarginClassifier

    return MarginClassifier(loss="squared-hinge")


def linear_svc() -> Any:
    from sklearn.svm import LinearSVC

    return LinearSVC()


def tree() -> Any:
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(random_state=0)


def reduction(name: str, kind: str) -> Any:
    if name == HELDOUT:
        from heldout import OneVsOneClassifier, OneVsRestClassifier
    else:
        from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
    return OneVsOneClassifier if kind == "one-vs-one" else OneVsRestClassifier


def objective(model: Any, X: Any, y: Any) -> float:
    """The sum over all classifiers of the losses and half the squared coefficients (not LinearSVC's intercept)."""
    from heldout import margin_loss

    loss = "log" if "Softmax" in (name := type(model.estimators_[0]).__name__) or "Log" in name else "squared-hinge"
    codes, total, rest = np.searchsorted(model.classes_, y), 0.0, len(model.estimators_) == len(model.classes_)
    pairs = [(a, b) for a in range(len(model.classes_)) for b in range(a + 1, len(model.classes_))]
    for k, fitted in enumerate(model.estimators_):
        rows = slice(None) if rest else (codes == pairs[k][0]) | (codes == pairs[k][1])
        sign = np.where(codes[rows] == (k if rest else pairs[k][1]), 1.0, -1.0)
        total += margin_loss(loss, sign * fitted.decision_function(X[rows])).sum() + 0.5 * (fitted.coef_**2).sum()
    return float(total)


def fit(name: str, kind: str, base: Callable[[], Any], load: Callable[[], Four], jobs: int | None, times: int) -> str:
    X, y, new, new_y = load()
    model = reduction(name, kind)(base(), n_jobs=jobs)

    def score() -> str:
        right = f"test error {np.mean(model.predict(new) != new_y):.2%}"
        return f"{right}, objective {objective(model, X, y):.1f}" if hasattr(model.estimators_[0], "coef_") else right

    return timed(lambda: model.fit(X, y), lambda: reduction(name, kind)(base()).fit(X[:300], y[:300]), score, times)


# case: reduction, data, base of heldout, base of scikit-learn, jobs, fits in a process, repeats
TABLE: dict[str, tuple[str, Callable[[], Four], Callable[[], Any], Callable[[], Any] | None, int | None, int, int]] = {
    f"{data}-{loss}-{kind}": (f"one-vs-{kind}", load, ours, theirs, jobs, times, repeats)
    for kind in ("one", "rest")
    for data, loss, load, ours, theirs, jobs, times, repeats in (
        (
            "digits", "logistic", digits, functools.partial(softmax, 1e-4),
            functools.partial(logistic, "lbfgs", 1e-4), None, 5, 3,
        ),
        ("digits", "squared-hinge", digits, margin, linear_svc, None, 5, 3),
        ("digits", "tree-2-jobs", digits, tree, tree, JOBS, 3, 3),
        (
            "fashion", "logistic", functools.partial(pixels, "fashion_mnist"), functools.partial(softmax, 1e-4),
            functools.partial(logistic, "newton-cg", 1e-4), None, 1, 1,
        ),
        ("fashion", "squared-hinge", functools.partial(pixels, "fashion_mnist"), margin, linear_svc, None, 1, 1),
        ("mnist", "logistic", functools.partial(pixels, "mnist"), functools.partial(softmax, 1e-4), None, None, 1, 1),
    )
}  # fmt: skip
ABOUT_ALL = (
    "Fits of the same reduction to the same rows: scikit-learn's with its LogisticRegression (C = 1), LinearSVC or "
    "tree, heldout's with SoftmaxClassifier, MarginClassifier or that same tree. The score tells the test error and, "
    "where the base is linear, the objective summed over all classifiers: the lower, the nearer to the minimum."
)
ABOUT = {
    "digits": "1,347 images of 64 pixels, 450 to test",
    "fashion": "60,000 training images of 784 pixels, 10,000 to test",
    "mnist": "60,000 training images of 784 pixels as they are (not deskewed), 10,000 to test",
}


def work(case: str, name: str) -> str:
    kind, load, ours, theirs, jobs, times, _ = TABLE[case]
    base = ours if name == HELDOUT else theirs
    assert base is not None
    return fit(name, kind, base, load, jobs, times)


def cases() -> list[Case]:
    def system(case: str, name: str) -> System:
        def words(folder: Path) -> Sequence[str]:
            return [sys.executable, str(Path(__file__).resolve()), "--work", f"{case}/{name}"]

        return System(name, version(name), words)

    return [
        Case(
            case,
            ABOUT[case.split("-")[0]],
            tuple(system(case, name) for name in (HELDOUT, SKLEARN) if name == HELDOUT or row[3] is not None),
            repeats=row[6],
            warm_up=False,
            in_quick=row[6] > 1,
        )
        for case, row in TABLE.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        print(work(*sys.argv[2].split("/")))
    else:
        main("multiclass", ABOUT_ALL, cases())
