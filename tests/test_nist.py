"""NIST's reference problems (StRD): the digits of least squares by every route, of means and standard deviations."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heldout.baseline import BaselineRegressor
from heldout.linear.squares.polynomial import PolynomialRegression
from heldout.linear.squares.regression import LinearRegression
from heldout.metrics import Prediction, criterion

DEGREES = {"Pontius": 2, "Filip": 10, **{f"Wampler{i}": 5 for i in range(1, 6)}}
PROBLEMS = ("Norris", "Pontius", "NoInt1", "NoInt2", "Filip", "Longley", *(f"Wampler{i}" for i in range(1, 6)))
UNIVARIATE = ("Lew", "Lottery", "Mavro", "Michelso", "NumAcc1", "NumAcc2", "NumAcc3", "NumAcc4")
LIMITED = {"NumAcc3": 9.0, "NumAcc4": 8.0}  # the last digits of the numbers do not fit into float64


class Nist:
    """One linear problem: features, response, and certified coefficients and standard deviations (intercept first)."""

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / "nist_strd_linear" / f"{name}.dat"
        if not path.exists():
            pytest.skip(f"NIST's {name} is not at {path}")
        lines = path.read_text().splitlines()
        words = [line.split() for line in lines[30:55]]
        certified = [word[1:] for word in words if len(word) == 3 and word[0].startswith("B")]
        data = np.array([[float(word) for word in line.split()] for line in lines[60:] if line.strip()])
        self.name, self.x, self.y = name, data[:, 1:], data[:, 0]
        self.X = self.x ** np.arange(1, DEGREES[name] + 1) if name in DEGREES else self.x
        self.coef, self.deviations = np.array(certified, dtype=np.float64).T
        self.fit_intercept = not name.startswith("NoInt")


@pytest.fixture
def nist(request: Any, real_data: Path) -> Nist:
    return Nist(real_data, request.param)


every_problem = pytest.mark.parametrize("nist", PROBLEMS, indirect=True)


def digits(found: Any, certified: Any) -> float:
    """The log relative error of the worst number, at most 16; absolute where the certified number is zero."""
    found, certified = np.asarray(found, dtype=np.float64), np.asarray(certified, dtype=np.float64)
    size = np.where(certified == 0.0, 1.0, np.abs(certified))
    return float(-np.log10(max(np.max(np.abs(found - certified) / size), 1e-16)))


def coefficients(model: Any) -> np.ndarray:
    return np.r_[model.intercept_, model.coef_] if getattr(model, "fit_intercept", True) else model.coef_


@pytest.mark.parametrize("solver", ["auto", "qr", "svd", "cholesky"])
@every_problem
def test_coefficients(nist: Nist, solver: str) -> None:
    if (nist.name, solver) == ("Filip", "cholesky"):
        pytest.skip("Cholesky's factor refuses Filip's powers, as it must")
    model = LinearRegression(fit_intercept=nist.fit_intercept, solver=solver).fit(nist.X, nist.y)
    assert model.rank_ == nist.X.shape[1]
    assert digits(coefficients(model), nist.coef) >= (7.5 if nist.name == "Filip" else 13.0)


@every_problem
def test_blocks_of_rows(nist: Nist) -> None:
    model = LinearRegression(fit_intercept=nist.fit_intercept)
    for rows in np.array_split(np.arange(len(nist.y)), 3):
        model.partial_fit(nist.X[rows], nist.y[rows])
    expected = {"Filip": 6.0, "Wampler2": 11.5, "Wampler3": 9.0, "Wampler4": 8.0, "Wampler5": 6.0}
    assert digits(coefficients(model), nist.coef) >= expected.get(nist.name, 9.0)


@pytest.mark.parametrize("nist", sorted(DEGREES), indirect=True)
def test_polynomials_in_their_own_basis(nist: Nist) -> None:
    model = PolynomialRegression(degree=DEGREES[nist.name]).fit(nist.x, nist.y)
    assert digits(coefficients(model), nist.coef) >= 12.0


@pytest.mark.parametrize("nist", ["Filip"], indirect=True)
def test_filip_is_the_rational_solution_of_the_rounded_powers(nist: Nist) -> None:
    expected = rational_least_squares(np.column_stack([np.ones(len(nist.y)), nist.X]), nist.y)
    for solver in ("auto", "qr", "svd"):
        assert digits(coefficients(LinearRegression(solver=solver).fit(nist.X, nist.y)), expected) >= 12.0


def rational_least_squares(X: np.ndarray, y: np.ndarray) -> list[float]:
    """Least squares of the numbers as they are, in rational arithmetic: the normal equations by elimination."""
    A = [[Fraction(v) for v in row] for row in X.tolist()]
    b = [Fraction(v) for v in y.tolist()]
    p = len(A[0])
    M: list[list[Any]] = [
        [sum(r[i] * r[j] for r in A) for j in range(p)] + [sum(r[i] * t for r, t in zip(A, b, strict=True))]
        for i in range(p)
    ]
    for i in range(p):
        for k in range(i + 1, p):
            factor = M[k][i] / M[i][i]
            M[k] = [v - factor * u for v, u in zip(M[k], M[i], strict=True)]
    w = [Fraction(0)] * p
    for i in reversed(range(p)):
        w[i] = (M[i][p] - sum(M[i][j] * w[j] for j in range(i + 1, p))) / M[i][i]
    return [float(v) for v in w]


def test_nearly_dependent_columns_beside_rational_arithmetic() -> None:
    x = np.linspace(10.0, 11.0, 15)
    X = x[:, None] ** np.arange(1, 5)
    y = np.cos(7 * x)
    expected = rational_least_squares(np.column_stack([np.ones(15), X]), y)
    assert digits(coefficients(LinearRegression().fit(X, y)), expected) >= 14.0


@pytest.mark.parametrize("name", UNIVARIATE)
def test_mean_and_standard_deviation(name: str, real_data: Path) -> None:
    path = real_data / "nist_strd_linear" / "univariate" / f"{name}.dat"
    if not path.exists():
        pytest.skip(f"NIST's {name} is not at {path}")
    header, numbers = path.read_text().split("Data: Y")
    certified = [line.split(":")[1].split()[0] for line in header.splitlines() if line.startswith("Sample ")]
    mean, deviation = map(float, certified[:2])
    y = np.array(numbers.split()[1:], dtype=np.float64)
    exact = [Fraction(value) for value in y.tolist()]
    squares = sum((value - sum(exact) / len(exact)) ** 2 for value in exact)
    model = BaselineRegressor().fit(y[:, None], y)
    assert digits(model.constant_, mean) >= 14.0
    rmse, r2 = (criterion(key, "regression") for key in ("rmse", "r2"))
    found = rmse.score(y, Prediction(value=model.predict(y[:, None]))) * np.sqrt(len(y) / (len(y) - 1))
    assert digits(found, deviation) >= LIMITED.get(name, 12.0)
    assert digits(found, np.sqrt(float(squares / (len(y) - 1)))) >= 14.0
    shifted = Prediction(value=y + deviation)
    errors = sum((Fraction(value) - truth) ** 2 for value, truth in zip(shifted.value.tolist(), exact, strict=True))
    assert digits(1.0 - r2.score(y, shifted), float(errors / squares)) >= 12.0
