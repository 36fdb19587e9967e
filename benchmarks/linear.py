"""Linear models beside scikit-learn and Intel's extension of it: fits only, at equal quality.

Every run is a fresh process that makes or reads its data, fits once to a small part of it (imports, compilation,
threads), and then measures the fit. "peak MiB" is what the fit adds to the memory that the process held before.
"""

from __future__ import annotations

import functools
import gzip
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common import DATA, Case, System, main, timed

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


def lasso_problem(noise: float) -> Problem:
    """10,000 x 2,000: fifty columns matter."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((10_000, 2000))
    return X, X[:, :50] @ rng.standard_normal(50) + noise * rng.standard_normal(len(X))


def lasso(system: str, noise: float) -> str:
    """A path of 100 penalties down to a thousandth, to a duality gap of 1e-4 y'y (scikit-learn's default)."""
    from sklearn.linear_model import lasso_path

    from heldout import Lasso

    X, y = lasso_problem(noise)
    found: list[Any] = []

    def ours(X: Any, y: Any) -> None:
        path = Lasso(tol=1e-4).path(X, y)
        found[:] = [path.alphas, path.coefs.T]

    def theirs(X: Any, y: Any) -> None:
        found[:] = lasso_path(X - X.mean(axis=0), y - y.mean())[:2]

    def score() -> str:
        alphas, coefs = found
        residuals = (y - y.mean())[:, None] - (X - X.mean(axis=0)) @ coefs
        losses = (residuals**2).mean(axis=0) / 2 + alphas * np.abs(coefs).sum(axis=0)
        return f"mean objective {losses.mean():.6g}, {np.count_nonzero(coefs[:, -1])} columns at the end"

    work = ours if system == "heldout" else theirs
    return timed(lambda: work(X, y), lambda: work(X[:500, :100], y[:500]), score, 3)


def fashion() -> Problem:
    """Fashion-MNIST's training images, pixels from 0 to 1."""
    folder = DATA / "fashion_mnist"
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
        X = np.frombuffer(file.read(), dtype=np.uint8, offset=16).reshape(-1, 784) / 255.0
    with gzip.open(folder / "train-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(), dtype=np.uint8, offset=8)
    return X, y


def words(source: str) -> Problem:
    """Counts of single words and pairs of words, CSR."""
    import polars as pl
    from sklearn.feature_extraction.text import CountVectorizer

    if source == "trec":
        table = pl.read_csv(DATA / "trec_questions" / "train.csv")
        texts, labels = table["question"].to_list(), table["label"].to_list()
    else:
        lines = (DATA / "sms_spam" / "SMSSpamCollection.tsv").read_text().splitlines()
        labels, texts = zip(*(line.split("\t", 1) for line in lines), strict=True)
    return CountVectorizer(ngram_range=(1, 2)).fit_transform(texts).astype(np.float64), np.asarray(labels)


def softmax(load: Callable[[], Problem], options: dict[str, Any], times: int) -> str:
    """Cross-entropy with an L2 penalty, C = 1; the score is the objective that was reached."""
    if "solver" in options:
        from sklearn.linear_model import LogisticRegression as Learner
    else:
        from heldout import SoftmaxClassifier as Learner  # type: ignore[assignment]
    X, y = load()
    model, few = Learner(**options), np.random.default_rng(0).permutation(X.shape[0])[:500]

    def score() -> str:
        chances = model.predict_proba(X)[np.arange(X.shape[0]), np.searchsorted(model.classes_, y)]
        return f"objective {-np.log(chances).sum() + np.sum(model.coef_**2) / 2:.7g}"

    return timed(lambda: model.fit(X, y), lambda: Learner(**options).fit(X[few], y[few]), score, times)


LEARNERS = {"heldout": ours, "scikit-learn": scikit_learn, "scikit-learn-intelex": intelex}
SHAPES = {  # rows, columns, fits per process
    "ols-1000000x50": (1_000_000, 50, 3),
    "ols-100000x1000": (100_000, 1000, 1),
    "ols-5000x1000": (5000, 1000, 3),
    "ols-500x5000": (500, 5000, 3),  # where scikit-learn-intelex had not finished after four minutes
}
HELDOUT = "heldout"
SOFTMAX: dict[str, dict[str, Any]] = {  # tolerances at which the objectives agree to 1e-5
    HELDOUT: {"tol": 1.5e-5},
    "scikit-learn newton-cg": {"solver": "newton-cg", "tol": 1e-5, "max_iter": 1000},
}
TEXT: dict[str, dict[str, Any]] = {
    HELDOUT: {"tol": 1.5e-5},
    "scikit-learn newton-cg": {"solver": "newton-cg", "tol": 1e-5, "max_iter": 1000},
    "scikit-learn lbfgs": {"solver": "lbfgs", "tol": 1e-5, "max_iter": 10_000},
}
WORK: dict[str, Callable[[], str]] = {
    **{
        f"{case}/{name}": functools.partial(least_squares, learner, *shape)
        for case, shape in SHAPES.items()
        for name, learner in LEARNERS.items()
        if (case, name) != ("ols-500x5000", "scikit-learn-intelex")
    },
    **{
        f"lasso-10000x2000-{kind}/{name}": functools.partial(lasso, name, noise)
        for kind, noise in (("sparse", 0.1), ("noisy", 3.0))
        for name in (HELDOUT, "scikit-learn")
    },
    **{f"softmax-fashion/{name}": functools.partial(softmax, fashion, how, 1) for name, how in SOFTMAX.items()},
    **{
        f"text-{source}/{name}": functools.partial(softmax, functools.partial(words, source), how, 5)
        for source in ("trec", "sms")
        for name, how in TEXT.items()
    },
}


def system(case: str, name: str) -> System:
    def words(folder: Path) -> Sequence[str]:
        return [sys.executable, str(Path(__file__).resolve()), "--work", f"{case}/{name}"]

    return System(name, version(name.split(" ")[0]), words)


ABOUT_ALL = (
    "Fits only, beside scikit-learn and Intel's extension of it. Every run is a fresh process that makes its data, "
    "fits a small part of it, and then measures the fit; peak MiB is what the fit adds to memory."
)
ABOUT = {
    "ols": "least squares of Gaussian columns, float64, with an intercept",
    "lasso": "a path of 100 penalties to a duality gap of 1e-4, fifty columns of 2,000 matter; noise 0.1 or 3",
    "softmax": "60,000 images of 784 pixels, 10 classes, L2 penalty with C = 1, float64",
    "text": "counts of words and pairs of words (CSR), L2 penalty with C = 1",
}


def cases() -> list[Case]:
    names: dict[str, list[str]] = {}
    for key in WORK:
        case, name = key.split("/")
        names.setdefault(case, []).append(name)
    return [
        Case(
            case,
            ABOUT[case.split("-")[0]],
            tuple(system(case, name) for name in found),
            repeats=1 if case == "softmax-fashion" else 5,
            in_quick=case != "softmax-fashion",
            warm_up=case != "softmax-fashion",
        )
        for case, found in names.items()
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        print(WORK[sys.argv[2]]())
    else:
        main("linear", ABOUT_ALL, cases())
