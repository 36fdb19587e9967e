"""The correct digits of least squares on NIST's reference problems (StRD): heldout's solvers and their peers.

Prints a table for docs/linear.md: the log relative error of the worst coefficient, at most 16.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from common import DATA
from heldout import GradientDescent, HeldoutError, LinearRegression, PolynomialRegression

DEGREES = {"Pontius": 2, "Filip": 10, **{f"Wampler{i}": 5 for i in range(1, 6)}}
PROBLEMS = ("Norris", "Pontius", "NoInt1", "NoInt2", "Filip", "Longley", *(f"Wampler{i}" for i in range(1, 6)))


def read(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns, response, and certified coefficients (intercept first)."""
    lines = (DATA / "nist_strd_linear" / f"{name}.dat").read_text().splitlines()
    words = [line.split() for line in lines[30:55]]
    certified = [float(word[1]) for word in words if len(word) == 3 and word[0].startswith("B")]
    data = np.array([[float(word) for word in line.split()] for line in lines[60:] if line.strip()])
    return data[:, 1:], data[:, 0], np.array(certified)


def by_learner(learner: Any) -> Callable[[np.ndarray, np.ndarray, bool], np.ndarray]:
    def fit(X: np.ndarray, y: np.ndarray, fit_intercept: bool) -> np.ndarray:
        model = learner.set_params(fit_intercept=fit_intercept).fit(X, y)
        return np.r_[model.intercept_, model.coef_] if fit_intercept else model.coef_

    return fit


def in_blocks(X: np.ndarray, y: np.ndarray, fit_intercept: bool) -> np.ndarray:
    model = LinearRegression(fit_intercept=fit_intercept)
    for rows in np.array_split(np.arange(len(y)), 3):
        model.partial_fit(X[rows], y[rows])
    return np.r_[model.intercept_, model.coef_] if fit_intercept else model.coef_


def with_ones(solve: Callable[[np.ndarray, np.ndarray], Any]) -> Callable[[np.ndarray, np.ndarray, bool], np.ndarray]:
    def fit(X: np.ndarray, y: np.ndarray, fit_intercept: bool) -> np.ndarray:
        return np.asarray(solve(np.c_[np.ones(len(X)), X] if fit_intercept else X, y))

    return fit


def systems() -> dict[str, Callable[[np.ndarray, np.ndarray, bool], np.ndarray]]:
    import sklearn.linear_model
    import statsmodels.api as sm
    from sklearnex.linear_model import LinearRegression as Intelex

    descent = GradientDescent(update="nesterov", max_epochs=1_000_000)
    return {
        '`"auto"`': by_learner(LinearRegression()),
        '`"cholesky"`': by_learner(LinearRegression(solver="cholesky")),
        '`"qr"`': by_learner(LinearRegression(solver="qr")),
        '`"svd"`': by_learner(LinearRegression(solver="svd")),
        "three blocks by `partial_fit`": in_blocks,
        "gradient, Nesterov": by_learner(LinearRegression(solver=descent)),
        "statsmodels OLS, pinv": with_ones(lambda X, y: sm.OLS(y, X).fit().params),
        "statsmodels OLS, QR": with_ones(lambda X, y: sm.OLS(y, X).fit(method="qr").params),
        "NumPy lstsq": with_ones(lambda X, y: np.linalg.lstsq(X, y)[0]),
        "scikit-learn": by_learner(sklearn.linear_model.LinearRegression()),
        "scikit-learn, `tol=0`": by_learner(sklearn.linear_model.LinearRegression(tol=0.0)),
        "scikit-learn-intelex": by_learner(Intelex()),
    }


def digits(found: np.ndarray, certified: np.ndarray) -> str:
    size = np.where(certified == 0.0, 1.0, np.abs(certified))
    value = -np.log10(max(np.max(np.abs(found - certified) / size), 1e-16))
    return f"{max(value, 0.0):.1f}"


def row(name: str, fit: Callable[[np.ndarray, np.ndarray, bool], np.ndarray]) -> str:
    cells = []
    for problem in PROBLEMS:
        x, y, certified = read(problem)
        X = x ** np.arange(1, DEGREES[problem] + 1) if problem in DEGREES else x
        try:
            cells.append(digits(fit(X, y, not problem.startswith("NoInt")), certified))
        except HeldoutError:
            cells.append("refused")
    return f"| {name} | {' | '.join(cells)} |"


def polynomial() -> str:
    cells = []
    for problem in PROBLEMS:
        x, y, certified = read(problem)
        if problem not in DEGREES:
            cells.append("")
            continue
        model = PolynomialRegression(degree=DEGREES[problem]).fit(x, y)
        cells.append(digits(np.r_[model.intercept_, model.coef_], certified))
    return f"| `PolynomialRegression` | {' | '.join(cells)} |"


def main() -> None:
    print(f"| | {' | '.join(PROBLEMS)} |", f"|---|{'--:|' * len(PROBLEMS)}", sep="\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, fit in systems().items():
            print(row(name, fit))
            if name == '`"svd"`':
                print(polynomial())


if __name__ == "__main__":
    main()
