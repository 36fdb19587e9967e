"""The assumptions of least squares: statsmodels as oracle, exact distributions, invariances, what they find."""

from __future__ import annotations

import math
import warnings
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import integrate, stats
from threadpoolctl import threadpool_limits

from heldout.errors import InputError
from heldout.linear.inference.assumptions import assumptions
from heldout.linear.inference.collinearity import collinearity, variance_inflation
from heldout.linear.inference.specification_tests import breusch_godfrey, breusch_pagan, durbin_watson, reset, white
from heldout.linear.squares.regression import LinearRegression

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import statsmodels.api as sm
    from statsmodels.stats import diagnostic
    from statsmodels.stats.outliers_influence import variance_inflation_factor
    from statsmodels.stats.stattools import durbin_watson as watson

RTOL = 1e-8


def some_data(n=80, p=3, seed=0):
    """Columns in different units that hang together, and errors whose variance depends on the first."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) @ (np.eye(p) + 0.4) * 10.0 ** np.arange(p) + np.arange(p) * 7.0
    errors = rng.normal(size=n) * np.exp(0.3 * rng.normal(size=n) + 0.3 * x[:, 0])
    return x, 2.0 + x[:, 0] ** 2 * 0.2 + x @ 10.0 ** -np.arange(p) + errors


def residuals_of(x, y, **given):
    model = LinearRegression(fit_intercept=given.pop("fit_intercept", True)).fit(x, y, **given)
    return y - model.predict(x)


def close(found, statistic, p):
    assert found.statistic == pytest.approx(float(statistic), rel=RTOL)
    assert found.p == pytest.approx(float(p), rel=RTOL, abs=1e-300)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "p"), [(40, 1), (80, 3), (300, 5)])
def test_statsmodels_finds_the_same(n, p, seed):
    x, y = some_data(n, p, seed)
    design = sm.add_constant(x)
    fit = sm.OLS(y, design).fit()
    e = residuals_of(x, y)
    contrast = diagnostic.linear_reset(fit, power=3, use_f=True)
    close(reset(x, y), contrast.statistic, contrast.pvalue)
    close(breusch_pagan(e, x), *diagnostic.het_breuschpagan(fit.resid, design)[:2])
    close(white(e, x), *diagnostic.het_white(fit.resid, design)[:2])
    for lags in (1, 3):
        close(breusch_godfrey(e, x, lags=lags), *diagnostic.acorr_breusch_godfrey(fit, nlags=lags)[:2])
    close(breusch_godfrey(e, x), *diagnostic.acorr_breusch_godfrey(fit)[:2])
    assert durbin_watson(e, x).statistic == pytest.approx(watson(fit.resid), rel=RTOL)
    if p > 1:
        factors = [variance_inflation_factor(design, j) for j in range(1, p + 1)]
        np.testing.assert_allclose(variance_inflation(x), factors, rtol=RTOL)
        bare = [variance_inflation_factor(x, j) for j in range(p)]
        np.testing.assert_allclose(variance_inflation(x, fit_intercept=False), bare, rtol=RTOL)


@pytest.mark.parametrize("covariance", ["HC0", "HC1", "HC2", "HC3"])
def test_robust_reset_is_statsmodels(covariance):
    x, y = some_data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = diagnostic.linear_reset(sm.OLS(y, sm.add_constant(x)).fit(), 4, use_f=True, cov_type=covariance)
    found = reset(x, y, powers=(2, 3, 4), covariance=covariance)
    assert found.df == (3, 73)
    assert found.statistic == pytest.approx(wanted.statistic, rel=1e-6)  # statsmodels takes raw powers


def test_weights_are_rows_times_their_roots():
    x, y = some_data()
    v = np.random.default_rng(5).uniform(0.2, 3.0, len(y))
    design = sm.add_constant(x)
    fit = sm.WLS(y, design, weights=v).fit()
    e = residuals_of(x, y, sample_weight=v)
    contrast = sm.WLS(y, np.column_stack([design, fit.fittedvalues**2, fit.fittedvalues**3]), weights=v).fit()
    test = contrast.f_test(np.eye(6)[4:])
    close(reset(x, y, sample_weight=v), test.fvalue, test.pvalue)
    close(breusch_pagan(e, x, sample_weight=v), *diagnostic.het_breuschpagan(fit.wresid, design)[:2])
    close(white(e, x, sample_weight=v), *diagnostic.het_white(fit.wresid, design)[:2])
    u, root = fit.wresid, np.sqrt(v)
    rows = np.column_stack([root[:, None] * design, np.r_[0.0, u[:-1]], np.r_[0.0, 0.0, u[:-2]]])
    lm = len(u) * (1.0 - sm.OLS(u, rows).fit().ssr / (u @ u))
    close(breusch_godfrey(e, x, lags=2, sample_weight=v), lm, stats.chi2.sf(lm, 2))
    assert durbin_watson(e, x, sample_weight=v).statistic == pytest.approx(watson(u), rel=RTOL)
    centred = root[:, None] * (x - np.average(x, axis=0, weights=v))
    factors = [variance_inflation_factor(centred, j) for j in range(3)]
    np.testing.assert_allclose(variance_inflation(x, sample_weight=v), factors, rtol=RTOL)


def test_without_intercept():
    x, y = some_data()
    e = residuals_of(x, y, fit_intercept=False)
    fitted = y - e
    test = sm.OLS(y, np.column_stack([x, fitted**2, fitted**3])).fit().f_test(np.eye(5)[3:])
    close(reset(x, y, fit_intercept=False), test.fvalue, test.pvalue)
    lm = len(y) * (1.0 - sm.OLS(e, np.column_stack([x, np.r_[0.0, e[:-1]]])).fit().ssr / (e @ e))
    close(breusch_godfrey(e, x, lags=1, fit_intercept=False), lm, stats.chi2.sf(lm, 1))


def exact_durbin_watson(d, design):
    """P(D < d) for independent normal errors: Imhof's integral over the eigenvalues of M A M."""
    n, k = design.shape
    m = np.eye(n) - design @ np.linalg.pinv(design)
    steps = np.diff(np.eye(n), axis=0)
    values = np.sort(np.linalg.eigvalsh(m @ steps.T @ steps @ m))[k:] - d

    def integrand(u):
        angle = 0.5 * np.sum(np.arctan(values * u))
        return np.sin(angle) / (u * np.prod((1.0 + (values * u) ** 2) ** 0.25))

    area = integrate.quad(integrand, 0.0, np.inf, limit=500)[0]
    return 0.5 - area / math.pi


@pytest.mark.parametrize(("n", "r"), [(12, 0.0), (20, 0.4), (40, -0.3), (80, 0.2)])
def test_durbin_watson_has_nearly_the_exact_p_value(n, r):
    rng = np.random.default_rng(n)
    x = np.column_stack([np.arange(n), rng.normal(size=n)])
    errors = rng.normal(size=n)
    for t in range(1, n):
        errors[t] += r * errors[t - 1]
    found = durbin_watson(residuals_of(x, errors), x)
    below = exact_durbin_watson(found.statistic, sm.add_constant(x))
    assert found.p == pytest.approx(2.0 * min(below, 1.0 - below), abs=0.003)


@pytest.mark.parametrize("weighted", [False, True])
def test_units_and_origins_change_nothing(weighted):
    x, y = some_data()
    v = np.random.default_rng(3).uniform(0.5, 2.0, len(y)) if weighted else None
    other, scaled = x * [1e-6, 3.0, 1e5] + [5.0, -1e4, 1e7], 1e4 * y - 77.0
    for before, after in zip(all_tests(x, y, v), all_tests(other, scaled, None if v is None else 9.0 * v), strict=True):
        assert after.statistic == pytest.approx(before.statistic, rel=1e-7)
        assert after.df == before.df
    np.testing.assert_allclose(variance_inflation(other, sample_weight=v), variance_inflation(x, sample_weight=v))


def all_tests(x, y, v=None):
    e = residuals_of(x, y, sample_weight=v)
    yield reset(x, y, sample_weight=v)
    yield reset(x, y, sample_weight=v, covariance="HC3")
    for test in (breusch_pagan, white, durbin_watson, breusch_godfrey):
        yield test(e, x, sample_weight=v)


def test_dependent_columns_and_rows_of_weight_zero_count_for_nothing():
    x, y = some_data()
    more = np.column_stack([x, x[:, 0] - 2.0 * x[:, 1], np.ones(len(x))])
    v = np.r_[np.ones(len(x)), np.zeros(5)]
    long, target = np.vstack([x, 100.0 * np.ones((5, 3))]), np.r_[y, np.full(5, -1e5)]
    found = zip(all_tests(x, y), all_tests(more, y), all_tests(long, target, v), strict=True)
    for plain, dependent, padded in found:
        assert dependent.statistic == pytest.approx(plain.statistic, rel=1e-7)
        assert padded.statistic == pytest.approx(plain.statistic, rel=1e-9)
        assert plain.df == dependent.df == padded.df


def test_many_rows_in_blocks_give_what_one_block_gives(monkeypatch):
    x, y = some_data(3000, 4)
    whole = list(all_tests(x, y))
    monkeypatch.setattr("heldout.linear.inference.auxiliary.block_rows", lambda width: 70)
    for once, blocks in zip(whole, all_tests(x, y), strict=True):
        assert blocks.statistic == pytest.approx(once.statistic, rel=1e-9)


def test_threads_do_not_change_a_bit(monkeypatch):
    x, y = some_data(3000, 4)
    model = LinearRegression().fit(x, y)
    monkeypatch.setattr("heldout.linear.inference.auxiliary.block_rows", lambda width: 70)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(assumptions(model, x, y, time_ordered=True))
    first, second = ([(check.statistic, check.p) for check in one] for one in found)
    assert first == second
    assert np.array_equal(found[0].variance_inflation, found[1].variance_inflation)


def test_collinearity_names_the_columns_that_depend_on_each_other():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 4))
    x[:, 3] = x[:, 0] + x[:, 2]
    found = collinearity(x, None, True)
    assert found.rank == 3 and math.isinf(found.condition)
    assert np.isinf(found.variance_inflation).tolist() == [True, False, True, True]
    assert found.weakest.tolist() == [1.0, 0.0, 1.0, 1.0]
    x[:, 3] += 1e-4 * rng.normal(size=60)
    found = collinearity(x, None, True)
    unit = (x - x.mean(axis=0)) / np.linalg.norm(x - x.mean(axis=0), axis=0)
    assert found.condition == pytest.approx(np.linalg.cond(unit), rel=1e-8)
    assert (found.weakest > 0.5).tolist() == [True, False, True, True]
    constant = collinearity(np.column_stack([x[:, :2], np.full(60, 0.1)]), None, True)
    assert constant.rank == 2 and np.isinf(constant.variance_inflation).tolist() == [False, False, True]


def test_wide_data_has_rank_of_its_rows():
    x = np.random.default_rng(0).normal(size=(5, 9))
    assert collinearity(x, None, True).rank == 4
    assert collinearity(x, None, False).rank == 5


def rejections(make, test, runs=300, level=0.05):
    return np.mean([test(*make(np.random.default_rng(seed))).p <= level for seed in range(runs)])


def plain(rng, n=60):
    x = rng.normal(size=(n, 2))
    return x, x @ [1.0, -1.0] + rng.normal(size=n)


def on_residuals(test):
    return lambda x, y: test(residuals_of(x, y), x)


@pytest.mark.long
@pytest.mark.parametrize(
    "test",
    [
        reset,
        on_residuals(breusch_pagan),
        on_residuals(white),
        on_residuals(durbin_watson),
        on_residuals(lambda e, x: breusch_godfrey(e, x, lags=2)),
    ],
)
def test_size(test):
    """Of 300 true models about one in twenty is rejected: 0.05 with a standard error of 0.013."""
    assert 0.02 <= rejections(plain, test) <= 0.085


def unequal(rng, n=100):
    x = rng.normal(size=(n, 2))
    return x, x @ [1.0, -1.0] + np.exp(0.5 * x[:, 0]) * rng.normal(size=n)


def bent(rng, n=100):
    x = rng.normal(size=(n, 2))
    return x, x @ [1.0, -1.0] + 0.7 * x[:, 0] ** 2 + rng.normal(size=n)


def correlated(rng, n=100):
    x, errors = rng.normal(size=(n, 2)), rng.normal(size=n)
    for t in range(1, n):
        errors[t] += 0.4 * errors[t - 1]
    return x, x @ [1.0, -1.0] + errors


def fan(rng, n=100):
    """A variance that depends on the square of a column alone: Breusch and Pagan's test cannot see it."""
    x = rng.normal(size=(n, 2))
    return x, x[:, 0] + np.abs(x[:, 1]) * rng.normal(size=n)


@pytest.mark.parametrize(
    ("make", "test"),
    [
        (bent, reset),
        (unequal, on_residuals(breusch_pagan)),
        (fan, on_residuals(white)),
        (correlated, on_residuals(durbin_watson)),
        (correlated, on_residuals(lambda e, x: breusch_godfrey(e, x, lags=2))),
    ],
)
def test_power(make, test):
    assert rejections(make, test, runs=100) >= 0.7


def test_robust_reset_keeps_its_level_where_variances_are_not_equal():
    def unequal_at_the_ends(rng):
        x = rng.uniform(-1.0, 1.0, size=(100, 1))
        return x, x[:, 0] + x[:, 0] ** 2 * rng.normal(size=100)

    assert rejections(unequal_at_the_ends, reset, runs=200) >= 0.15
    assert rejections(unequal_at_the_ends, lambda x, y: reset(x, y, covariance="HC3"), runs=200) <= 0.12


def checked(make, seed=0, n=200, **given):
    x, y = make(np.random.default_rng(seed), n)
    return assumptions(LinearRegression().fit(x, y), x, y, **given)


def test_each_failure_is_found_named_and_given_its_remedy():
    found = checked(bent, seed=1)["RESET"]
    assert (found.verdict, found.reason) == ("fails", "The mean bends along x0.")
    assert "biased" in found.breaks and "Transform x0" in found.remedy
    found = checked(unequal)
    assert found["RESET"].test == "RESET, HC3" and found["RESET"].verdict == "holds"
    for test in ("Breusch–Pagan", "White"):
        assert (found[test].verdict, found[test].reason) == ("fails", "The variance changes with x0.")
        assert "HC3" in found[test].remedy and "sample_weight" in found[test].remedy
    found = checked(fan)
    assert found["Breusch–Pagan"].verdict == "holds"
    assert found["White"].reason == "The variance changes with x1."
    found = checked(correlated, time_ordered=True, lags=2)
    assert found["Durbin–Watson"].reason.startswith("The errors of neighbouring rows have a correlation of about 0.")
    assert found["Breusch–Godfrey"].reason == "Errors depend on those of up to 2 rows before."
    assert {check.test for check in found.failed} == {"Durbin–Watson", "Breusch–Godfrey"}


def test_curvature_that_may_be_unequal_variances_is_in_doubt():
    found = checked(bent)["RESET"]
    assert found.test == "RESET, HC3" and found.p > 0.05 and found.verdict == "in doubt"
    assert found.reason.startswith("Either the mean bends along x0, or unequal variances look like it: RESET without")
    assert found.remedy.startswith("Transform x0")


def test_all_is_well():
    found = checked(plain, time_ordered=True)
    assert [check.verdict for check in found] == ["holds"] * 8
    assert found.failed == ()
    assert found.rank == 2 and found.condition < 2.0 and found.variance_inflation.max() < 1.5


def test_familywise_error_is_at_most_the_level():
    """Five tests at 5% each reject something in about one of five true models; adjusted, in one of twenty."""
    runs = 150
    found = [checked(plain, seed, 60, time_ordered=True) for seed in range(runs)]
    assert np.mean([bool(one.failed) for one in found]) <= 0.09
    assert np.mean([any(check.p is not None and check.p <= 0.05 for check in one) for one in found]) >= 0.1


def test_holm_is_statsmodels():
    from statsmodels.stats.multitest import multipletests

    for seed in range(5):
        found = checked(bent, seed, 60, time_ordered=True)
        tested = [check for check in found if check.p is not None]
        adjusted = multipletests([check.p for check in tested], method="holm")[1]
        np.testing.assert_allclose([check.adjusted_p for check in tested], adjusted)
        for check in tested:
            wanted = "fails" if check.adjusted_p <= 0.05 else "in doubt" if check.p <= 0.05 else "holds"
            assert check.verdict == wanted or (check.verdict == "in doubt" and check.test == "RESET, HC3")


def test_in_doubt_is_below_the_level_only_by_itself():
    verdicts = [check for seed in range(30) for check in checked(plain, seed, 60) if check.verdict == "in doubt"]
    assert verdicts
    assert all(check.p <= 0.05 < check.adjusted_p and check.remedy for check in verdicts)


def test_rows_without_order_are_not_judged_but_computed():
    found = checked(correlated)
    for test in ("Durbin-Watson", "Breusch–Godfrey"):  # a hyphen will do for the dash
        assert found[test].verdict == "not applicable" and found[test].p < 0.01 and found[test].adjusted_p is None
        assert found[test].reason.endswith("give time_ordered=True.") and found[test].remedy == ""
    assert [check.adjusted_p is None for check in found][:3] == [False] * 3


def test_dependent_and_nearly_dependent_columns():
    rng = np.random.default_rng(4)
    x = pd.DataFrame(rng.normal(size=(80, 3)), columns=["a", "b", "c"])
    y = x.sum(axis=1) + rng.normal(size=80)
    near = x.assign(d=x["a"] + x["b"] + 0.01 * rng.normal(size=80))
    found = assumptions(LinearRegression().fit(near, y), near, y)
    assert found["rank"].verdict == "holds"
    assert found["condition number"].verdict == found["variance inflation"].verdict == "in doubt"
    assert found["condition number"].reason == "a, b and d nearly depend on each other."
    assert "Ridge" in found["variance inflation"].remedy
    exact = x.assign(d=x["a"] + x["b"])
    found = assumptions(LinearRegression().fit(exact, y), exact, y)
    assert found["rank"].verdict == "fails" and found["rank"].statistic == found.rank == 3
    assert found["rank"].reason == "The rank is 3 for 4 columns: other columns make up a, b and d."
    assert found["condition number"].verdict == "not applicable" and math.isinf(found.condition)


def test_weights_that_are_right_mend_the_variances():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 2))
    y = x @ [1.0, -1.0] + np.exp(x[:, 0]) * rng.normal(size=300)
    v = np.exp(-2.0 * x[:, 0])
    assert assumptions(LinearRegression().fit(x, y), x, y)["Breusch–Pagan"].verdict == "fails"
    found = assumptions(LinearRegression().fit(x, y, v), x, y, sample_weight=v)
    assert [check.verdict for check in found][:3] == ["holds"] * 3
    padded, target, weights = np.vstack([x, [[9.0, 9.0]]]), np.r_[y, 1e3], np.r_[v, 0.0]
    again = assumptions(LinearRegression().fit(padded, target, weights), padded, target, sample_weight=weights)
    for one, other in zip(found, again, strict=True):
        assert other.statistic == pytest.approx(one.statistic, rel=1e-9) and other.verdict == one.verdict


def test_what_cannot_be_tested_says_why():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 6))
    y = rng.normal(size=30)
    found = assumptions(LinearRegression().fit(x, y), x, y)
    assert found["White"].reason == "30 rows are too few for 27 columns and products: 135 are enough."
    x = rng.integers(0, 2, size=(30, 1))
    found = assumptions(LinearRegression().fit(x, y), x, y)
    assert found["RESET"].verdict == "not applicable" and "no curvature" in found["RESET"].reason
    assert found["White"].df == (1,)  # the square of a column of zeros and ones is the column
    y = 1.0 + 2.0 * x[:, 0]
    found = assumptions(LinearRegression().fit(x, y), x, y)
    assert {check.verdict for check in list(found)[:5]} == {"not applicable"}
    assert found["White"].reason == "The fit is exact: there are no errors to look at."
    x, y = rng.normal(size=(4, 8)), rng.normal(size=4)
    found = assumptions(LinearRegression().fit(x, y), x, y)
    assert found["rank"].verdict == "fails" and found["RESET"].verdict == "not applicable"
    x = np.ones((20, 1))
    found = assumptions(LinearRegression().fit(x, y := rng.normal(size=20)), x, y)
    assert found["Breusch–Pagan"].verdict == "not applicable" and found["rank"].verdict == "fails"


def test_prints_as_a_table_with_sentences():
    found = checked(bent, seed=1)
    text = str(found)
    lines = text.splitlines()
    assert lines[0] == "Gauss–Markov assumptions, 200 rows, 2 columns"
    assert lines[1] == "level 5%; p adjusted by Holm's method for 3 tests"
    assert lines[3].split() == ["assumption", "test", "statistic", "df", "p", "adjusted", "p", "verdict"]
    assert "- Linear mean (RESET, HC3): fails. The mean bends along x0. What breaks: the coefficients" in text
    assert max(map(len, lines)) <= 115
    assert str(found["RESET"]) in text.replace("\n  ", " ")
    page = found._repr_html_()
    assert page.startswith("<table>") and "<td>RESET, HC3</td>" in page and "Mend the mean first" in page


def test_html_escapes_the_names_of_columns():
    x, y = bent(np.random.default_rng(0))
    frame = pd.DataFrame(x, columns=["<b>", "c"])
    page = assumptions(LinearRegression().fit(frame, y), frame, y)._repr_html_()
    assert "<b>" not in page and "&lt;b&gt;" in page


def test_errors_are_sentences():
    x, y = plain(np.random.default_rng(0))
    model = LinearRegression().fit(x, y)
    with pytest.raises(InputError, match="not the least squares of these rows"):
        assumptions(model, x, y[::-1])
    with pytest.raises(InputError, match="must be a fitted LinearRegression"):
        assumptions("model", x, y)
    with pytest.raises(InputError, match="one target at a time"):
        assumptions(LinearRegression().fit(x, np.c_[y, y]), x, y)
    with pytest.raises(InputError, match="level is 5"):
        assumptions(model, x, y, level=5)
    with pytest.raises(InputError, match="lags is 0"):
        assumptions(model, x, y, lags=0)
    with pytest.raises(InputError, match="100 lags are too many for 60 rows"):
        assumptions(model, x, y, lags=100)
    with pytest.raises(InputError, match="Did you mean 'RESET'"):
        assumptions(model, x, y)["reste"]
    with pytest.raises(InputError, match="Did you mean 'HC3'"):
        reset(x, y, covariance="HC4")
    with pytest.raises(InputError, match="integers from 2 on"):
        reset(x, y, powers=(1, 2))
    with pytest.raises(InputError, match="4 rows are too few for RESET"):
        reset(x[:4], y[:4])
    with pytest.raises(InputError, match="All residuals are zero"):
        durbin_watson(np.zeros(60), x)
    with pytest.raises(InputError, match="only constant columns"):
        breusch_pagan(y, np.ones((60, 1)))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        white(y[1:], x)
    with pytest.raises(ValueError, match="NaN"):
        variance_inflation(np.where(x > 2, np.nan, x) * np.nan)


def exact_rss(columns, y):
    """Residual sum of squares and fitted values in rational arithmetic."""
    rows = [[sum(a * b for a, b in zip(c, d, strict=True)) for d in (*columns, y)] for c in columns]
    k = len(rows)
    for i in range(k):
        rows[i] = [entry / rows[i][i] for entry in rows[i]]
        for j in range(k):
            if j != i:
                rows[j] = [a - rows[j][i] * b for a, b in zip(rows[j], rows[i], strict=True)]
    fitted = [sum(row[k] * c[t] for row, c in zip(rows, columns, strict=True)) for t in range(len(y))]
    return sum((a - b) ** 2 for a, b in zip(y, fitted, strict=True)), fitted


def test_longley_is_exact():
    """Columns that nearly depend on each other: rational arithmetic, where raw powers of the fitted values fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = sm.datasets.longley.load_pandas()
    x, y = data.exog, data.endog
    columns = [[Fraction(1)] * 16, *([Fraction(value) for value in column] for column in x.to_numpy().T.tolist())]
    target = [Fraction(value) for value in y.tolist()]
    before, fitted = exact_rss(columns, target)
    after, _ = exact_rss([*columns, [value**2 for value in fitted], [value**3 for value in fitted]], target)
    found = assumptions(LinearRegression().fit(x, y), x, y, time_ordered=True, lags=2)
    assert found["RESET"].df == (2, 7)
    assert found["RESET"].statistic == pytest.approx(float((before - after) / 2 / (after / 7)), rel=1e-8)
    for j, factor in enumerate(found.variance_inflation, start=1):
        left = exact_rss(columns[:j] + columns[j + 1 :], columns[j])[0]
        total = exact_rss(columns[:1], columns[j])[0]
        assert factor == pytest.approx(float(total / left), rel=1e-12)


def test_frames_of_every_kind_give_the_same():
    x, y = unequal(np.random.default_rng(0))
    frames = [pd.DataFrame(x, columns=["a", "b"]), pl.DataFrame(x, schema=["a", "b"])]
    found = [assumptions(LinearRegression().fit(frame, y), frame, y) for frame in frames]
    assert str(found[0]) == str(found[1]) and found[0]["White"].reason == "The variance changes with a and b."
    residuals = residuals_of(x, y)
    assert breusch_pagan(residuals, frames[0]) == breusch_pagan(residuals, x) == breusch_pagan(residuals, frames[1])
