"""Residuals and products in twice the working precision beside rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heldout.linear.squares.extended import Pair, Split, two_product, two_sum

numbers = st.floats(-1e100, 1e100).filter(lambda v: v == 0.0 or abs(v) > 1e-100)


@given(numbers, numbers)
def test_sums_and_products_make_no_error(a: float, b: float) -> None:
    for operate, exact in ((two_sum, Fraction(a) + Fraction(b)), (two_product, Fraction(a) * Fraction(b))):
        high, low = operate(np.array([a]), np.array([b]))
        assert Fraction(high[0]) + Fraction(low[0]) == exact


def fractions(pair: Pair) -> np.ndarray:
    exact = [Fraction(a) + Fraction(b) for a, b in zip(pair.hi.ravel().tolist(), pair.lo.ravel().tolist(), strict=True)]
    return np.array(exact, dtype=object).reshape(pair.hi.shape)


def rational(array: np.ndarray) -> np.ndarray:
    return np.array([Fraction(v) for v in array.ravel().tolist()], dtype=object).reshape(array.shape)


@pytest.mark.parametrize("spread", [0, 8, 30])
@pytest.mark.parametrize(("n", "p"), [(40, 3), (7, 12), (300, 5)])
def test_residuals_and_correlations(n: int, p: int, spread: int) -> None:
    rng = np.random.default_rng(n + spread)
    x = rng.normal(size=(n, p)) * 10.0 ** rng.uniform(-spread, spread, p)
    coef = Pair(rng.normal(size=(p, 2)), 1e-17 * rng.normal(size=(p, 2)))
    y = x @ coef.hi  # so that almost everything cancels
    columns = Split.of(x.copy())
    exact = rational(y) - rational(x) @ fractions(coef)
    size = np.abs(x) @ np.abs(coef.hi)
    found = columns.residual(y, coef)
    errors = np.abs(fractions(found) - exact) / rational(size)
    assert max(errors.ravel()) < Fraction(1, 2**80)
    gradient = columns.correlations(found)
    exact = rational(x).T @ fractions(found)
    size = np.abs(x).T @ np.abs(found.hi)
    assert max((np.abs(fractions(gradient) - exact) / rational(size)).ravel()) < Fraction(1, 2**80)


def test_columns_of_zeros_and_extreme_units() -> None:
    x = np.array([[0.0, 1e200, 1e-200], [0.0, -3e200, 2e-200]])
    coef = Pair.of(np.array([[5.0], [1e-200], [1e200]]))
    found = Split.of(x.copy()).residual(np.zeros((2, 1)), coef)
    np.testing.assert_allclose(found.rounded(), [[-2.0], [1.0]], rtol=1e-15)
