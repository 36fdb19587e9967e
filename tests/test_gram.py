"""The compiled sums of products beside NumPy's, and least squares by way of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from heldout.linear.squares import gram, normal
from heldout.linear.squares.regression import LinearRegression


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("p", "m"), [(1, 1), (2, 5), (6, 1), (7, 1), (30, 3), (61, 2), (200, 1)])
@pytest.mark.parametrize("run", [slice(0, 1), slice(5, 36), slice(3, 200)])
def test_sums(run: slice, p: int, m: int, weighted: bool) -> None:
    rng = np.random.default_rng(p)
    x, y = rng.normal(size=(200, p)), rng.normal(size=(200, 2 * m))[:, ::2]
    shift_x, shift_y = rng.normal(size=p), rng.normal(size=m)
    weights = rng.uniform(0.0, 2.0, 200) if weighted else None
    found, squares = gram.sums(x, y, weights, shift_x, shift_y, run)
    z = np.c_[np.ones(200), x - shift_x, y - shift_y][run]
    v = np.ones(len(z)) if weights is None else weights[run]
    expected = z.T @ (v[:, None] * z)
    assert_allclose(found, expected[: 1 + p], rtol=1e-12, atol=1e-12)
    assert_allclose(squares, expected.diagonal()[1 + p :], rtol=1e-12)
    assert_array_equal(found[:, : 1 + p], found[:, : 1 + p].T)


def test_numbers_that_are_not_finite_show() -> None:
    x = np.ones((100, 3))
    x[70, 1] = np.nan
    assert np.isnan(gram.sums(x, x[:, :1], None, np.zeros(3), np.zeros(1), slice(0, 100))[0][2, 2])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_least_squares_is_the_same_by_either_sums(
    fit_intercept: bool, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 12)) + rng.normal(size=12) * 5.0
    X.flags.writeable = False
    Y, weights = rng.normal(size=(5000, 2)), rng.uniform(0.5, 2.0, 5000) if weighted else None
    expected = LinearRegression(fit_intercept=fit_intercept).fit(X, Y, weights)
    monkeypatch.setattr(normal, "LARGE", 0)
    found = LinearRegression(fit_intercept=fit_intercept).fit(X, Y, weights)
    assert_allclose(found.coef_, expected.coef_, rtol=1e-11, atol=1e-14)
    assert_allclose(found.intercept_, expected.intercept_, rtol=1e-11)
