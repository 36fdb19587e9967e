"""Inference for least squares beside statsmodels, NIST's certified values, rational arithmetic, and invariances."""

from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_diabetes
from threadpoolctl import threadpool_limits

from heldout.errors import InputError
from heldout.linear.inference import sandwich
from heldout.linear.inference.inference import Inference, Predicted, inference
from heldout.linear.inference.sandwich import CORES, measure
from heldout.linear.squares.regression import LinearRegression
from test_nist import Nist, digits, every_problem

with warnings.catch_warnings():  # statsmodels calls what newer releases of pandas deprecate
    warnings.simplefilter("ignore")
    from statsmodels.regression.linear_model import OLS, WLS

TOLERANCE = 1e-8
ROBUST = ("HC0", "HC1", "HC2", "HC3")


@pytest.fixture
def nist(request: Any, real_data: Path) -> Nist:
    return Nist(real_data, request.param)


def table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Data with correlations, different scales and unequal variances, which statsmodels solves to 1e-8."""
    if name == "diabetes":
        return load_diabetes(return_X_y=True, scaled=False)
    rng = np.random.default_rng(3)
    if name == "one column":
        x = rng.normal(size=(12, 1))
        return x, 2.0 * x[:, 0] + rng.standard_t(3, size=12)
    x = rng.normal(size=(90, 4)) @ rng.normal(size=(4, 4)) * [0.1, 1.0, 10.0, 30.0] + [1.0, -5.0, 100.0, 30.0]
    return x, x @ [10.0, 2.0, -0.1, 0.03] + rng.normal(size=90) * (1.0 + np.abs(x[:, 1] + 5.0))


TABLES = ("diabetes", "one column", "heteroscedastic")


def fitted(
    name: str, *, fit_intercept: bool, weighted: bool, **options: Any
) -> tuple[Inference, Any, np.ndarray, np.ndarray | None]:
    """heldout's inference and statsmodels' results on the same rows, the columns, and the weights."""
    X, y = table(name)
    weights = np.random.default_rng(8).uniform(0.2, 5.0, len(y)) if weighted else None
    model = LinearRegression(fit_intercept=fit_intercept).fit(X, y, weights)
    columns = np.column_stack([np.ones(len(y)), X]) if fit_intercept else X
    peer = OLS(y, columns, hasconst=fit_intercept)
    if weighted:
        peer = WLS(y, columns, weights=weights, hasconst=fit_intercept)
    return inference(model, X, y, sample_weight=weights, **options), peer, X, weights


every_fit = pytest.mark.parametrize(
    ("name", "fit_intercept", "weighted"),
    [(name, intercept, weighted) for name in TABLES for intercept in (True, False) for weighted in (True, False)],
)


def assert_same_coefficients(found: Inference, expected: Any) -> None:
    assert_allclose(found.coef, expected.params, rtol=TOLERANCE)
    assert_allclose(found.standard_errors, expected.bse, rtol=TOLERANCE)
    assert_allclose(found.t, expected.tvalues, rtol=TOLERANCE)
    assert_allclose(found.p, expected.pvalues, rtol=TOLERANCE, atol=1e-300)
    spread = np.abs(found.coef) + found.standard_errors
    for level in (0.8, 0.95, 0.999):
        error = np.abs(found.interval(level) - expected.conf_int(1 - level)) / spread[:, None]
        assert error.max() < TOLERANCE
    size = np.sqrt(np.outer(expected.cov_params().diagonal(), expected.cov_params().diagonal()))
    assert np.max(np.abs(found.covariance - expected.cov_params()) / size) < TOLERANCE
    assert_allclose(found.f, expected.fvalue, rtol=TOLERANCE)
    assert_allclose(found.f_p, expected.f_pvalue, rtol=TOLERANCE, atol=1e-300)


@every_fit
def test_every_number_as_statsmodels(name: str, fit_intercept: bool, weighted: bool) -> None:
    found, peer, _, _ = fitted(name, fit_intercept=fit_intercept, weighted=weighted)
    expected = peer.fit()
    assert_same_coefficients(found, expected)
    pairs = {
        "r2": expected.rsquared,
        "adjusted_r2": expected.rsquared_adj,
        "sigma2": expected.scale,
        "log_likelihood": expected.llf,
        "aic": expected.aic,
        "bic": expected.bic,
    }
    for attribute, value in pairs.items():
        assert_allclose(getattr(found, attribute), value, rtol=TOLERANCE, err_msg=attribute)
    counts = (expected.nobs, expected.df_model, expected.df_resid, expected.df_resid)
    assert (found.n, found.df_model, found.df_residual, found.df_t) == counts


@pytest.mark.parametrize("kind", ROBUST)
@every_fit
def test_robust_errors_as_statsmodels(name: str, fit_intercept: bool, weighted: bool, kind: str) -> None:
    found, peer, _, _ = fitted(name, fit_intercept=fit_intercept, weighted=weighted, covariance=kind)
    assert_same_coefficients(found, peer.fit(cov_type=kind, use_t=True))


@pytest.mark.parametrize("texts", [False, True])
@every_fit
def test_clustered_errors_as_statsmodels(name: str, fit_intercept: bool, weighted: bool, texts: bool) -> None:
    codes = np.random.default_rng(1).integers(30, size=len(table(name)[1]))
    groups = np.array([f"school {code}" for code in codes]) if texts else codes
    options = {"covariance": "cluster", "groups": groups}
    found, peer, _, _ = fitted(name, fit_intercept=fit_intercept, weighted=weighted, **options)
    expected = peer.fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
    assert found.df_t == len(np.unique(codes)) - 1
    assert_same_coefficients(found, expected)


@pytest.mark.parametrize("kind", ["classical", "HC3"])
@every_fit
def test_predictions_as_statsmodels(name: str, fit_intercept: bool, weighted: bool, kind: str) -> None:
    found, peer, X, _ = fitted(name, fit_intercept=fit_intercept, weighted=weighted, covariance=kind)
    rows = X[:7] * 1.1
    weights = np.linspace(0.5, 2.0, 7) if weighted else None
    columns = np.column_stack([np.ones(7), rows]) if fit_intercept else rows
    options = {} if kind == "classical" else {"cov_type": kind, "use_t": True}
    expected = peer.fit(**options).get_prediction(columns, weights=weights).summary_frame(alpha=0.1)
    mean, new = found.mean(rows, 0.9), found.new(rows, 0.9, sample_weight=weights)
    assert_allclose(mean.value, expected["mean"], rtol=TOLERANCE)
    assert_allclose(mean.standard_error, expected["mean_se"], rtol=TOLERANCE)
    size = np.abs(mean.value) + new.standard_error
    for value, key in [(mean.low, "mean_ci_lower"), (mean.high, "mean_ci_upper"), (new.low, "obs_ci_lower")]:
        assert np.max(np.abs(value - expected[key]) / size) < TOLERANCE
    assert np.max(np.abs(new.high - expected["obs_ci_upper"]) / size) < TOLERANCE


@pytest.mark.parametrize("kind", ["classical", "HC1"])
def test_restrictions_as_statsmodels(kind: str) -> None:
    found, peer, _, _ = fitted("diabetes", fit_intercept=True, weighted=True, covariance=kind)
    options = {} if kind == "classical" else {"cov_type": kind, "use_t": True}
    results = peer.fit(**options)
    R = np.random.default_rng(0).normal(size=(3, 11))
    for rows, values in [(R, np.array([1.0, 0.0, -2.0])), (R[0], 3.0), (np.eye(11)[[2, 5]], np.zeros(2))]:
        expected = results.f_test((rows, values))
        tested = found.test(rows, values)
        assert_allclose([tested.f, tested.p], [expected.fvalue, expected.pvalue], rtol=TOLERANCE)
        assert (tested.df_numerator, tested.df_denominator) == (expected.df_num, expected.df_denom)
    assert found.test(["x1", "x4"]).f == found.test(np.eye(11)[[2, 5]]).f
    assert_allclose(found.test("x3").f, found.t[4] ** 2, rtol=1e-12)
    assert_allclose(found.test("x3").p, found.p[4], rtol=1e-10)


@every_problem
def test_nist(nist: Nist, real_data: Path) -> None:
    model = LinearRegression(fit_intercept=nist.fit_intercept).fit(nist.X, nist.y)
    found = inference(model, nist.X, nist.y)
    deviation, r2, f = certified(real_data / "nist_strd_linear" / f"{nist.name}.dat")
    assert digits(found.standard_errors, nist.deviations) >= (7.5 if nist.name == "Filip" else 13.0)
    assert digits(np.sqrt(found.sigma2), deviation) >= (7.5 if nist.name == "Filip" else 13.0)
    assert digits(found.r2, r2) >= (9.5 if nist.name == "Filip" else 14.0)
    if np.isfinite(f):
        assert digits(found.f, f) >= (7.3 if nist.name == "Filip" else 13.0)
    else:
        assert found.f > 1e20


def certified(path: Path) -> tuple[float, float, float]:
    """The certified residual standard deviation, R squared and F."""
    words = [line.split() for line in path.read_text().splitlines()[30:60]]
    deviation = next(word[2] for word in words if word[:2] == ["Standard", "Deviation"] and len(word) == 3)
    r2 = next(word[1] for word in words if word[:1] == ["R-Squared"])
    return float(deviation), float(r2), float(next(word[4] for word in words if word[:1] == ["Regression"]))


@pytest.mark.parametrize("kind", ["classical", "HC0", "HC3"])
def test_nearly_dependent_columns_beside_rational_arithmetic(kind: str) -> None:
    x = np.linspace(10.0, 11.0, 15)
    X, y = x[:, None] ** np.arange(1, 4), np.cos(7 * x)
    weights = np.linspace(1.0, 2.0, 15)
    found = inference(LinearRegression().fit(X, y, weights), X, y, sample_weight=weights, covariance=kind)
    expected = rational_covariance(np.column_stack([np.ones(15), X]), y, weights, kind)
    assert digits(found.covariance.diagonal(), expected) >= 13.0


def rational_covariance(X: np.ndarray, y: np.ndarray, weights: np.ndarray, kind: str) -> list[float]:
    """The diagonal of the covariance of the numbers as they are, in rational arithmetic."""
    rows = [[Fraction(value) for value in row] for row in X.tolist()]
    target, v = ([Fraction(value) for value in values.tolist()] for values in (y, weights))
    k = len(rows[0])
    gram = [[sum(w * row[i] * row[j] for w, row in zip(v, rows, strict=True)) for j in range(k)] for i in range(k)]
    inverse = inverted(gram)
    moments = [sum(w * row[i] * t for w, row, t in zip(v, rows, target, strict=True)) for i in range(k)]
    coef = times(inverse, moments)
    residuals = [t - inner(row, coef) for row, t in zip(rows, target, strict=True)]
    rss = sum(w * e * e for w, e in zip(v, residuals, strict=True))
    if kind == "classical":
        return [float(inverse[j][j] * rss / (len(rows) - k)) for j in range(k)]
    scores = [times(inverse, row) for row in rows]
    power = {"HC0": 0, "HC3": 2}[kind]
    left = [(1 - w * inner(row, score)) ** power for w, row, score in zip(v, rows, scores, strict=True)]
    terms = list(zip(v, residuals, scores, left, strict=True))
    return [float(sum((w * e * score[j]) ** 2 / rest for w, e, score, rest in terms)) for j in range(k)]


def inner(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def times(matrix: list[list[Fraction]], vector: list[Fraction]) -> list[Fraction]:
    return [inner(row, vector) for row in matrix]


def inverted(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    """Gauss and Jordan's elimination."""
    k = len(matrix)
    rows = [[*row, *(Fraction(i == j) for j in range(k))] for i, row in enumerate(matrix)]
    for i in range(k):
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for j in range(k):
            if j != i:
                rows[j] = [value - rows[j][i] * pivot for value, pivot in zip(rows[j], rows[i], strict=True)]
    return [row[k:] for row in rows]


@pytest.mark.parametrize("kind", list(CORES))
@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_in_double_precision_agree_with_exact_products(kind: str, weighted: bool) -> None:
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(5300, 50)) + 3.0, rng.normal(size=5300)
    weights = rng.uniform(0.5, 2.0, 5300) if weighted else None
    groups = np.arange(5300) // 40 if kind == "cluster" else None
    model = LinearRegression().fit(X, y, weights)
    assert X.size > 2**18
    options = {"sample_weight": weights, "covariance": kind, "groups": groups}
    found = inference(model, X, y, **options)
    assert not found._basis.exact
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandwich, "needs_exact_products", lambda x, factors: True)
        exact = inference(model, X, y, **options)
    assert exact._basis.exact
    assert_same(found, exact, 1e-11)
    assert_allclose(found.mean(X[:9]).standard_error, exact.mean(X[:9]).standard_error, rtol=1e-11)


def assert_same(one: Inference, other: Inference, tolerance: float) -> None:
    assert_allclose(one.standard_errors, other.standard_errors, rtol=tolerance)
    for attribute in ("f", "r2", "adjusted_r2", "sigma2", "log_likelihood", "aic", "bic"):
        assert_allclose(getattr(one, attribute), getattr(other, attribute), rtol=tolerance, err_msg=attribute)
    assert (one.n, one.df_model, one.df_residual, one.df_t) == (other.n, other.df_model, other.df_residual, other.df_t)


@pytest.mark.parametrize("kind", ["classical", "HC3", "cluster"])
def test_same_bits_whatever_the_threads(kind: str) -> None:
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(30_000, 10)), rng.normal(size=30_000)
    groups = rng.integers(50, size=30_000) if kind == "cluster" else None
    model = LinearRegression().fit(X, y)
    found = []
    for number in (1, 2):
        with threadpool_limits(number):
            found.append(inference(model, X, y, covariance=kind, groups=groups))
    assert_array_equal(found[0].covariance, found[1].covariance)
    assert_array_equal(found[0].mean(X).standard_error, found[1].mean(X).standard_error)
    assert (found[0].f, found[0].log_likelihood) == (found[1].f, found[1].log_likelihood)


@pytest.mark.parametrize("kind", list(CORES))
def test_units_order_and_place_of_the_columns_change_nothing(kind: str) -> None:
    X, y = table("heteroscedastic")
    groups = np.arange(90) % 20 if kind == "cluster" else None
    options = {"covariance": kind, "groups": groups}
    found = inference(LinearRegression().fit(X, y), X, y, **options)
    order, units = [2, 0, 3, 1], np.array([1e-6, 1e4, 3.0, 1e7])
    moved = (X * units + [0.0, 1e5, 0.0, 1e7])[:, order]
    other = inference(LinearRegression().fit(moved, 7.0 * y), moved, 7.0 * y, **options)
    assert_allclose(other.standard_errors[1:], (7.0 * found.standard_errors[1:] / units)[order], rtol=1e-10)
    assert_allclose([other.f, other.r2], [found.f, found.r2], rtol=1e-10)
    assert_allclose(other.new(moved[:5]).standard_error, 7.0 * found.new(X[:5]).standard_error, rtol=1e-10)


@pytest.mark.parametrize("kind", list(CORES))
def test_weights_have_no_unit_and_rows_of_weight_zero_are_absent(kind: str) -> None:
    X, y = table("heteroscedastic")
    weights = np.arange(90) % 4 * 0.5
    groups = np.arange(90) % 20 if kind == "cluster" else None
    model = LinearRegression().fit(X, y, weights)
    found = inference(model, X, y, sample_weight=weights, covariance=kind, groups=groups)
    scaled = inference(model, X, y, sample_weight=8.0 * weights, covariance=kind, groups=groups)
    assert_allclose(scaled.standard_errors, found.standard_errors, rtol=1e-12)
    assert_allclose([scaled.f, scaled.aic], [found.f, found.aic], rtol=1e-12)
    keep = weights > 0
    kept = None if groups is None else groups[keep]
    absent = inference(model, X[keep], y[keep], sample_weight=weights[keep], covariance=kind, groups=kept)
    assert_same(found, absent, 1e-13)


@pytest.mark.parametrize("kind", list(CORES))
def test_dependent_columns(kind: str) -> None:
    X, y = table("heteroscedastic")
    wide = np.column_stack([X, X[:, 0] + 2.0 * X[:, 1], np.full(90, 3.0)])
    groups = np.arange(90) % 20 if kind == "cluster" else None
    full = inference(LinearRegression().fit(X, y), X, y, covariance=kind, groups=groups)
    model = LinearRegression().fit(wide, y)
    model.coef_ = np.add(model.coef_, [1.0, 2.0, 0.0, 0.0, -1.0, 5.0])  # another minimiser
    model.intercept_ -= 15.0
    found = inference(model, wide, y, covariance=kind, groups=groups)
    known = [3, 4]
    assert_array_equal(np.flatnonzero(~np.isnan(found.coef)), known)
    for attribute in ("coef", "standard_errors", "t", "p", "low", "high"):
        assert_allclose(getattr(found, attribute)[known], getattr(full, attribute)[known], rtol=1e-10)
        assert np.isnan(np.delete(getattr(found, attribute), known)).all()
    assert_allclose(found.covariance[np.ix_(known, known)], full.covariance[np.ix_(known, known)], rtol=1e-9)
    assert (found.df_model, found.df_residual) == (4, 85)
    assert_allclose([found.f, found.f_p, found.aic], [full.f, full.f_p, full.aic], rtol=1e-9)
    rows = 1.5 * wide[:6]
    rows[:, 5] = 3.0
    rows[0, 4] += 1.0  # a row unlike all others
    for of in ("mean", "new"):
        inside, expected = getattr(found, of)(rows), getattr(full, of)(rows[:, :4])
        assert_allclose(inside.low[1:], expected.low[1:], rtol=1e-10)
        assert np.isnan([inside.value[0], inside.standard_error[0], inside.low[0], inside.high[0]]).all()
    contrast = np.array([[0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]])  # the slope on x0 when x1 stays
    assert_allclose(found.test(contrast, 5.0).f, full.test("x0", 5.0).f, rtol=1e-9)
    with pytest.raises(InputError, match="does not determine"):
        found.test("x0")
    assert "does not determine intercept, x0, x1, x4, x5." in str(found)
    assert "–" in str(found)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize(("n", "p", "rank"), [(100, 5, 5), (9000, 20, 20), (60, 6, 4), (10, 30, 30)])
def test_the_basis_gives_the_pseudoinverse(n: int, p: int, rank: int, fit_intercept: bool) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, p)) if rank < p else rng.normal(size=(n, p))
    weights = rng.uniform(0.5, 2.0, n)
    nothing = np.zeros(n), weights, np.zeros(p), 0.0
    root = measure(X, *nothing, fit_intercept=fit_intercept, tol=None).basis.root
    found = root @ root.T
    mean = weights @ X / weights.sum() * fit_intercept
    inside = np.linalg.pinv((X - mean).T @ (weights[:, None] * (X - mean)), rcond=1e-11, hermitian=True)
    assert_allclose(found[fit_intercept:, fit_intercept:], inside, rtol=1e-8, atol=1e-10 * np.abs(inside).max())
    if fit_intercept:
        assert_allclose(found[0, 0], 1.0 / weights.sum() + mean @ inside @ mean, rtol=1e-8)
        assert_allclose(found[0, 1:], -inside @ mean, rtol=1e-7, atol=1e-9 * np.abs(inside).max())


@pytest.mark.parametrize("solver", ["qr", "cholesky", "svd", "gradient"])
def test_every_solver_and_blocks_of_rows(solver: str) -> None:
    X, y = table("one column")
    found = inference(LinearRegression(solver=solver).fit(X, y), X, y)
    assert_same(found, inference(LinearRegression().fit(X, y), X, y), 1e-9)
    streamed = LinearRegression().partial_fit(X[:5], y[:5]).partial_fit(X[5:], y[5:])
    assert_same(found, inference(streamed, X, y), 1e-9)


def test_as_many_coefficients_as_rows() -> None:
    X, y = np.array([[1.0, 0.0], [2.0, 1.0], [4.0, 5.0]]), np.array([1.0, 5.0, 3.0])
    found = inference(LinearRegression().fit(X, y), X, y)
    assert found.df_residual == 0
    assert np.isnan([*found.standard_errors, *found.p, found.sigma2, found.adjusted_r2, found.f]).all()
    assert_allclose(found.r2, 1.0)
    assert np.isnan(found.mean(X).low).all()
    assert_allclose(found.mean(X).value, y)
    assert "none is left" in str(found)
    wide = np.random.default_rng(0).normal(size=(4, 9))
    assert np.isnan(inference(LinearRegression().fit(wide, wide[:, 0]), wide, wide[:, 0]).coef).all()


def test_a_fit_without_errors_and_a_target_that_does_not_vary() -> None:
    X = np.arange(8.0)[:, None]
    exact = inference(LinearRegression(fit_intercept=False).fit(X, 2.0 * X[:, 0]), X, 2.0 * X[:, 0])
    assert (exact.r2, exact.f, exact.f_p, exact.p[0], exact.log_likelihood) == (1.0, np.inf, 0.0, 0.0, np.inf)
    flat = inference(LinearRegression().fit(X, np.ones(8)), X, np.ones(8))
    assert np.isnan(flat.r2)
    assert "–" in str(flat)
    none = inference(LinearRegression().fit(np.ones((8, 1)), X[:, 0]), np.ones((8, 1)), X[:, 0])
    assert (none.r2, none.df_model) == (0.0, 0)
    assert np.isnan(none.f)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(11)
    X = rng.uniform(size=(40, 2))
    columns, truth = np.column_stack([np.ones(40), X]), np.array([1.0, -2.0, 3.0])
    held = np.zeros(3)
    for _ in range(400):
        y = columns @ truth + rng.normal(size=40)
        low, high = inference(LinearRegression().fit(X, y), X, y).interval(0.9).T
        held += (low <= truth) & (truth <= high)
    assert np.abs(held / 400 - 0.9).max() < 4 * np.sqrt(0.09 / 400)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_give_the_names(frame: Any) -> None:
    X, y = table("one column")
    data = frame({"size of <it>": X[:, 0]})
    series = (pd if frame is pd.DataFrame else pl).Series
    groups = [f"g{i % 4}" for i in range(12)]
    model = LinearRegression().fit(data, y)
    found = inference(model, data, series(y), covariance="cluster", groups=series(groups))
    assert found.names == ("intercept", "size of <it>")
    assert_array_equal(found.coef, np.r_[model.intercept_, model.coef_])
    assert found.mean(data).value.shape == (12,)
    assert "size of &lt;it&gt;" in found._repr_html_()
    model.fit(data, 2.0 * y)
    assert_allclose(found.mean(data).value, found.coef[0] + found.coef[1] * X[:, 0])


def test_it_prints_as_a_table() -> None:
    X = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    y = np.array([1.2, 2.1, 2.9, 4.4, 5.3])
    found = inference(LinearRegression().fit(X, y), X, y, level=0.9)
    assert str(found) == repr(found) == TEXT
    assert found._repr_html_().count("<tr>") == 3
    many = found.new(np.arange(12.0)[:, None])
    assert isinstance(many, Predicted)
    assert "low 90%" in str(many)
    assert str(many).endswith("and 2 more")
    assert many._repr_html_().count("<tr>") == 11


TEXT = """\
Least squares, 5 rows, classical standard errors
R² 0.9890, adjusted 0.9853; all slopes zero: F(1, 3) = 268.9, p = 0.000494
s 0.2025 on 3 degrees of freedom; log-likelihood 2.16783, AIC -0.335659, BIC -1.11678
-----------------------------------------------------------------------
           coefficient  std. error       t         p  low 90%  high 90%
-----------------------------------------------------------------------
intercept      0.03000     0.2124    0.141  0.897     -0.4698    0.5298
x0             1.050       0.06403  16.4    0.000494   0.8993    1.201
-----------------------------------------------------------------------"""


def refused(match: str, **changes: Any) -> None:
    X, y = table("one column")
    options = {"model": LinearRegression().fit(X, y), "X": X, "y": y, **changes}
    with pytest.raises(InputError, match=match):
        inference(**options)


def test_what_is_refused() -> None:
    X, y = table("one column")
    refused("not the least squares of these rows", y=y[::-1])
    refused("not the least squares of these rows", X=X + 1e-3)
    refused("not the least squares of these rows", sample_weight=np.arange(1.0, 13.0))
    refused("Did you mean 'classical'", covariance="clasical")
    refused("need each other", covariance="cluster")
    refused("need each other", groups=np.arange(12))
    refused("one group", covariance="cluster", groups=np.ones(12))
    refused("one group for each of the 12 rows", covariance="cluster", groups=np.ones(11))
    refused("one group for each of the 12 rows", covariance="cluster", groups=np.ones((12, 1)))
    refused("A group is missing", covariance="cluster", groups=np.r_[np.nan, np.ones(11)])
    refused("A group is missing", covariance="cluster", groups=[None, *["a"] * 11])
    for level in (0.0, 1.0, 95, float("nan")):
        refused("between 0 and 1", level=level)
    refused("one target at a time", model=LinearRegression().fit(X, np.column_stack([y, y])))
    refused("y is a matrix", y=y[:, None])
    refused("must be a fitted LinearRegression", model=object())
    with pytest.raises(ValueError, match="2 features"):
        inference(LinearRegression().fit(X, y), np.c_[X, X], y)


def test_leverage_of_one() -> None:
    X = np.column_stack([np.arange(6.0), np.r_[1.0, np.zeros(5)]])
    y = np.array([1.0, 4.0, 2.0, 8.0, 5.0, 7.0])
    model = LinearRegression().fit(X, y)
    assert np.isfinite(inference(model, X, y, covariance="HC1").f)
    for kind in ("HC2", "HC3"):
        with pytest.raises(InputError, match="leverage one"):
            inference(model, X, y, covariance=kind)


def test_what_a_result_refuses() -> None:
    X, y = table("heteroscedastic")
    model = LinearRegression().fit(X, y)
    found = inference(model, X, y)
    for R, r, match in [
        ("x9", 0.0, "no coefficient 'x9'"),
        (np.eye(4), 0.0, "5 columns"),
        ([[np.nan, 0, 0, 0, 0]], 0.0, "5 columns"),
        (["x0", "x0"], 0.0, "depend on each other"),
        (np.ones((6, 5)), 0.0, "depend on each other"),
        (np.zeros(5), 0.0, "depend on each other"),
        (["x0", "x1"], [1.0, 2.0, 3.0], "r has shape"),
    ]:
        with pytest.raises(InputError, match=match):
            found.test(R, r)
    with pytest.raises(InputError, match="between 0 and 1"):
        found.interval(2.0)
    with pytest.raises(InputError, match="infinite variance"):
        found.new(X[:2], sample_weight=[1.0, 0.0])
    few = inference(model, X, y, covariance="cluster", groups=np.arange(90) % 3)
    assert np.isnan(few.f)
    assert np.isfinite(few.test(["x0", "x1"]).f)
    with pytest.raises(InputError, match="few groups"):
        few.test(["x0", "x1", "x2"])
