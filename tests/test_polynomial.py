"""PolynomialRegression beside scikit-learn's expansion, rational arithmetic and its own invariances."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.preprocessing import PolynomialFeatures

from heldout import persist
from heldout.errors import InputError, ModelFileError
from heldout.linear.squares import legendre
from heldout.linear.squares.extended import Pair
from heldout.linear.squares.polynomial import PolynomialRegression
from heldout.linear.squares.regression import LinearRegression


def problem(n: int, p: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1.0, 3.0, size=(n, p)) * 10.0 ** rng.integers(-2, 3, p)
    return X, rng.normal(size=(n, 2))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("p", "degree"), [(1, 1), (1, 6), (2, 4), (4, 3), (7, 2)])
def test_it_is_least_squares_on_scikit_learns_features(p: int, degree: int, weighted: bool) -> None:
    X, Y = problem(400, p)
    weights = np.random.default_rng(1).uniform(0.0, 2.0, 400) if weighted else None
    features = PolynomialFeatures(degree, include_bias=False)
    expected = LinearRegression().fit(features.fit_transform(X), Y, weights)
    ours = PolynomialRegression(degree=degree).fit(X, Y, weights)
    assert_array_equal(ours.powers_, features.powers_)
    assert_array_equal(ours.get_feature_names_out(), features.get_feature_names_out())
    assert_allclose(ours.coef_, expected.coef_, rtol=1e-9)
    assert_allclose(ours.intercept_, expected.intercept_, rtol=1e-9)
    assert_allclose(ours.predict(X), expected.predict(features.transform(X)), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("n", [60, 40_000])  # in twice the working precision and in one
def test_a_polynomial_is_found_again_and_continued(n: int) -> None:
    x = np.linspace(1900.0, 2020.0, n)
    model = PolynomialRegression(degree=4).fit(x[:, None], 1e-6 * x**4 - 3.0 * x**2 + 7.0)
    expected = 1e-6 * 2050.0**4 - 3.0 * 2050.0**2 + 7.0
    assert_allclose(model.predict([[2050.0]]), expected, rtol=1e-11)


def test_the_coefficients_predict_what_the_basis_predicts() -> None:
    X, Y = problem(200, 3)
    model = PolynomialRegression(degree=3).fit(X, Y[:, 0])
    powers = PolynomialFeatures(3, include_bias=False).fit_transform(X)
    assert_allclose(powers @ model.coef_ + model.intercept_, model.predict(X), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("move", [-40.0, 1e3])
def test_moving_and_stretching_the_columns_changes_no_prediction(move: float) -> None:
    X, Y = problem(150, 2)
    plain = PolynomialRegression(degree=3).fit(X, Y)
    moved = PolynomialRegression(degree=3).fit(move + 7.0 * X, Y)
    assert_allclose(moved.predict(move + 7.0 * X), plain.predict(X), rtol=1e-9, atol=1e-10)


def test_permuted_columns_permute_the_powers() -> None:
    X, Y = problem(150, 3)
    order = [2, 0, 1]
    plain, permuted = (PolynomialRegression(degree=3).fit(x, Y[:, 0]) for x in (X, X[:, order]))
    terms = dict(zip(map(tuple, permuted.powers_.tolist()), permuted.coef_, strict=True))
    expected = [terms[tuple(powers)] for powers in plain.powers_[:, order].tolist()]
    assert_allclose(plain.coef_, expected, rtol=1e-9)


def test_fewer_rows_than_terms_are_met_exactly() -> None:
    x = np.array([0.0, 1.0, 3.0, 3.0, 10.0])
    model = PolynomialRegression(degree=8).fit(x[:, None], x**2)
    assert model.rank_ == 3
    assert_allclose(model.predict(x[:, None]), x**2, atol=1e-10)


def test_two_valued_and_constant_columns() -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 2, 80), np.full(80, 5.0), rng.normal(size=80)]).astype(float)
    y = 1.0 + 2.0 * X[:, 0] + X[:, 0] * X[:, 2]
    model = PolynomialRegression(degree=2).fit(X, y)
    assert_allclose(model.predict(X), y, atol=1e-12)


def test_very_large_numbers() -> None:
    x = np.linspace(-1.0, 1.0, 30)
    y = 1.0 + x**2
    for unit in (1e200, 1e-200, 1e300):
        model = PolynomialRegression(degree=2).fit(unit * x[:, None], y)
        assert_allclose(model.predict(unit * x[:, None]), y, rtol=1e-12)
    assert np.isinf(PolynomialRegression(degree=2).fit(1e-200 * x[:, None], y).coef_[1])


def exact_legendre(degree: int, t: Fraction) -> Fraction:
    before, now = Fraction(1), t
    for k in range(1, degree):
        before, now = now, ((2 * k + 1) * t * now - k * before) / (k + 1)
    return now if degree else Fraction(1)


def test_products_in_twice_the_working_precision_beside_rational_arithmetic() -> None:
    rng = np.random.default_rng(0)
    x, center, scale = rng.uniform(2.0, 5.0, size=(20, 2)), np.array([3.7, 3.1]), np.array([1.9, 2.3])
    powers = np.array([[1, 0], [7, 0], [3, 4], [0, 12]])
    found, plain = legendre.pairs(x, center, scale, powers), legendre.values(x, center, scale, powers)
    assert_allclose(found.hi, plain, rtol=1e-12, atol=1e-14)
    for i, row in enumerate(x.tolist()):
        t = [(Fraction(v) - Fraction(c)) / Fraction(h) for v, c, h in zip(row, center, scale, strict=True)]
        for k, exponents in enumerate(powers.tolist()):
            expected = exact_legendre(exponents[0], t[0]) * exact_legendre(exponents[1], t[1])
            error = Fraction(found.hi[i, k]) + Fraction(found.lo[i, k]) - expected
            assert abs(error) < Fraction(1, 10**29)


def test_expansions_are_exact() -> None:
    expansions = [legendre.expansions(5, 1.3, 0.7), legendre.expansions(5, -2.0, 3.0)]
    terms = {(2, 3): Fraction(5), (0, 0): Fraction(-1), (5, 0): Fraction(1, 3)}
    powers = legendre.expanded(terms, expansions)
    a, b = Fraction(9, 7), Fraction(-11, 5)
    s, t = (a - Fraction(1.3)) / Fraction(0.7), (b + 2) / 3
    expected = sum(v * exact_legendre(i, s) * exact_legendre(j, t) for (i, j), v in terms.items())
    assert sum(v * a**i * b**j for (i, j), v in powers.items()) == expected


def test_the_solution_is_that_of_rational_arithmetic() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.uniform(50.0, 60.0, 14), rng.normal(size=14) * 1e4
    model = PolynomialRegression(degree=4).fit(x[:, None], y)
    V = [[Fraction(v) ** k for k in range(5)] for v in x.tolist()]
    coef = [Fraction(w) for w in (model.intercept_, *model.coef_.tolist())]
    residual = [Fraction(t) - sum(w * v for w, v in zip(coef, row, strict=True)) for row, t in zip(V, y, strict=True)]
    gram = [[sum(r[i] * r[j] for r in V) for j in range(5)] for i in range(5)]
    left = [sum(r[i] * e for r, e in zip(V, residual, strict=True)) for i in range(5)]
    step = solve(gram, left)
    assert all(abs(float(s / w)) < 1e-15 for s, w in zip(step, coef, strict=True))


def solve(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction]:
    rows: list[list[Any]] = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i in range(len(rows)):
        rows[i] = [v / rows[i][i] for v in rows[i]]
        for k in range(len(rows)):
            if k != i:
                rows[k] = [v - rows[k][i] * u for v, u in zip(rows[k], rows[i], strict=True)]
    return [row[-1] for row in rows]


def test_too_many_terms_are_refused_with_their_number() -> None:
    with pytest.raises(InputError, match="46,897,636,623,980 terms"):
        PolynomialRegression(degree=10).fit(np.zeros((3, 100)), np.zeros(3))


@pytest.mark.parametrize("degree", [0, 51, 2.0, "two", True])
def test_wrong_degrees_are_refused(degree: Any) -> None:
    with pytest.raises(InputError, match="degree is"):
        PolynomialRegression(degree=degree).fit([[1.0], [2.0]], [1.0, 2.0])


def test_a_file_with_too_many_terms_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = PolynomialRegression(degree=1).fit(*problem(40, 30))
    state = {**model.to_state(), "degree": 40}
    monkeypatch.setattr(PolynomialRegression, "to_state", lambda self: state)
    with pytest.raises(ModelFileError, match="more than 20000 terms"):
        persist.loads(persist.dumps(model))


def test_pairs_divide_and_multiply() -> None:
    a, b = Pair(np.array([1.0]), np.array([1e-20])), Pair(np.array([3.0]), np.array([-2e-18]))
    product, quotient = a.times_pair(b), b.over(np.array([7.0]))
    exact = (Fraction(1) + Fraction(1e-20)) * (Fraction(3) - Fraction(2e-18))
    assert abs(Fraction(product.hi[0]) + Fraction(product.lo[0]) - exact) < Fraction(1, 10**31)
    exact = (Fraction(3) - Fraction(2e-18)) / 7
    assert abs(Fraction(quotient.hi[0]) + Fraction(quotient.lo[0]) - exact) < Fraction(1, 10**31)
