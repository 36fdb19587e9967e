"""Maximum likelihood beside statsmodels, scikit-learn and SciPy; separation; a user's own likelihood in JAX."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.optimize import brentq, linprog, minimize
from scipy.special import digamma
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression
from threadpoolctl import threadpool_limits

from heldout import persist
from heldout.errors import InputError, ModelFileError, WorkError
from heldout.linear.likelihood.estimation import Estimate
from heldout.linear.likelihood.estimator import MaximumLikelihood
from heldout.linear.likelihood.maximum import maximum_likelihood

with warnings.catch_warnings():  # statsmodels calls what newer releases of pandas deprecate
    warnings.simplefilter("ignore")
    import statsmodels.api as sm

TOLERANCE = 1e-8
EXACTLY = {"tol": 1e-14, "tol_criterion": "params", "maxiter": 300}
LINKS = sm.families.links


def table(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Columns of different scales, linear predictors, and the generator."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)) * [1.0, 5.0, 0.2] + [0.0, 3.0, 1.0]
    return X, 0.3 + X @ [0.5, -0.2, 1.0], rng


def draw(family: str, seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """X and y that come from the family."""
    X, eta, rng = table(seed, n)
    mean = np.exp(eta / 3)
    y = {
        "gaussian": lambda: eta + rng.normal(size=n),
        "laplace": lambda: eta + rng.laplace(size=n),
        "student_t": lambda: eta + 0.8 * rng.standard_t(4, size=n),
        "poisson": lambda: rng.poisson(mean).astype(float),
        "negative_binomial": lambda: rng.negative_binomial(2, 2 / (2 + mean)).astype(float),
        "gamma": lambda: rng.gamma(3.0, mean / 3.0),
        "bernoulli": lambda: (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(int),
        "categorical": lambda: np.array(["a", "b", "c"])[np.digitize(eta + rng.logistic(size=n), [-0.5, 1.5])],
    }[family]()
    return X, y


def fitted(family: str, covariance: str = "auto", **options: Any) -> tuple[MaximumLikelihood, Estimate]:
    X, y = draw(family)
    model = MaximumLikelihood(family=family, **options).fit(X, y)
    return model, model.inference(X, y, covariance=covariance)


def assert_like(estimate: Estimate, result: Any, *, extra: int = 0) -> None:
    """Parameters, errors, tests, intervals and criteria of statsmodels; `extra` parameters that it does not count."""
    params, bse = np.asarray(result.params).T.ravel(), np.asarray(result.bse).T.ravel()
    k = len(params)
    assert_allclose(estimate.parameters[:k], params, rtol=TOLERANCE)
    assert_allclose(estimate.standard_errors[:k], bse, rtol=TOLERANCE)
    assert_allclose(estimate.z[:k], params / bse, rtol=TOLERANCE)
    assert_allclose(estimate.p[:k], np.asarray(result.pvalues).T.ravel(), rtol=1e-6)
    assert_allclose(estimate.interval()[:k], np.asarray(result.conf_int()).reshape(k, 2), rtol=TOLERANCE)
    assert_allclose(estimate.log_likelihood, result.llf, rtol=TOLERANCE)
    assert_allclose(estimate.aic, -2 * result.llf + 2 * (k + extra), rtol=TOLERANCE)
    assert_allclose(estimate.bic, -2 * result.llf + (k + extra) * np.log(estimate.n), rtol=TOLERANCE)
    assert estimate.converged and estimate.gradient_norm < 1e-8


# The families ---------------------------------------------------------------------------------------------------


def test_gaussian_is_least_squares() -> None:
    X, y = draw("gaussian")
    model, estimate = fitted("gaussian")
    peer = LinearRegression().fit(X, y)
    assert_allclose(model.coef_, peer.coef_, rtol=1e-10)
    assert_allclose(model.intercept_, peer.intercept_, rtol=1e-10)
    result = sm.OLS(y, sm.add_constant(X)).fit()
    variance = result.ssr / len(y)
    assert_allclose(model.auxiliary_["variance"], variance, rtol=1e-10)
    assert_allclose(estimate.standard_errors[:4], result.bse * np.sqrt(variance / result.mse_resid), rtol=TOLERANCE)
    assert_allclose(estimate.standard_errors[4], variance * np.sqrt(2 / len(y)), rtol=TOLERANCE)
    assert_allclose(estimate.log_likelihood, result.llf, rtol=TOLERANCE)
    assert_allclose([estimate.aic, estimate.bic], [result.aic + 2, result.bic + np.log(len(y))], rtol=TOLERANCE)
    assert_allclose(estimate.observed_information, estimate.expected_information, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize(
    ("link", "peer"), [("logit", LINKS.Logit), ("probit", LINKS.Probit), ("cloglog", LINKS.CLogLog)]
)
def test_bernoulli(link: str, peer: Any) -> None:
    X, y = draw("bernoulli")
    _, estimate = fitted("bernoulli", covariance="expected", link=link)
    assert_like(estimate, sm.GLM(y, sm.add_constant(X), sm.families.Binomial(peer())).fit(**EXACTLY))


def test_bernoulli_is_logistic_regression() -> None:
    X, y = draw("bernoulli")
    model, estimate = fitted("bernoulli")
    assert_like(estimate, sm.Logit(y, sm.add_constant(X)).fit(disp=0, tol=1e-13, method="newton"))
    peer = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12, max_iter=500).fit(X, y)
    assert_allclose(model.coef_, peer.coef_, rtol=1e-7)
    assert_allclose(model.predict_proba(X), peer.predict_proba(X), atol=1e-8)
    assert (model.predict(X) == peer.predict(X)).all()
    probit = sm.Probit(y, sm.add_constant(X)).fit(disp=0, tol=1e-13, method="newton")
    assert_like(fitted("bernoulli", link="probit")[1], probit)


def test_categorical_is_softmax() -> None:
    X, y = draw("categorical")
    model, estimate = fitted("categorical")
    codes = np.unique(y, return_inverse=True)[1]
    result = sm.MNLogit(codes, sm.add_constant(X)).fit(disp=0, method="newton", tol=1e-13)
    assert_like(estimate, result)
    assert estimate.names[:2] == ("b: intercept", "b: x0")
    assert_allclose(model.predict_proba(X), result.predict(), atol=1e-10)
    assert_allclose(model.decision_function(X)[:, 0], 0.0)


def test_poisson() -> None:
    X, y = draw("poisson")
    assert_like(fitted("poisson")[1], sm.GLM(y, sm.add_constant(X), sm.families.Poisson()).fit(**EXACTLY))
    robust = sm.GLM(y, sm.add_constant(X), sm.families.Poisson()).fit(**EXACTLY, cov_type="HC0")
    assert_like(fitted("poisson", covariance="sandwich")[1], robust)


def test_negative_binomial() -> None:
    X, y = draw("negative_binomial")
    result = sm.NegativeBinomial(y, sm.add_constant(X)).fit(method="newton", disp=0, maxiter=300, tol=1e-13)
    _, estimate = fitted("negative_binomial")
    assert_like(estimate, result)
    assert_allclose([estimate.aic, estimate.bic], [result.aic, result.bic], rtol=TOLERANCE)


@pytest.mark.parametrize(("link", "peer"), [("log", LINKS.Log), ("inverse", LINKS.InversePower)])
def test_gamma(link: str, peer: Any) -> None:
    X, eta, rng = table()
    y = rng.gamma(3.0, np.exp(eta / 3) if link == "log" else 1 / (1 + 0.1 * (eta - eta.min())))
    model = MaximumLikelihood(family="gamma", link=link).fit(X, y)
    estimate = model.inference(X, y, covariance="expected")
    with warnings.catch_warnings():  # the inverse link may leave the domain, which it does not here
        warnings.simplefilter("ignore")
        glm = sm.GLM(y, sm.add_constant(X), sm.families.Gamma(peer()))
    deviance = glm.fit(**EXACTLY).deviance
    shape = brentq(lambda k: np.log(k) - digamma(k) - deviance / (2 * len(y)), 0.1, 100.0, xtol=1e-14, rtol=1e-14)
    assert_allclose(model.auxiliary_["shape"], shape, rtol=1e-9)
    result = glm.fit(**EXACTLY, scale=1 / shape)
    result.__dict__["llf"] = glm.family.loglike(y, result.mu, scale=1 / shape)
    assert_like(estimate, result, extra=1)


@pytest.mark.parametrize("n", [40, 41, 300])
def test_laplace_is_least_absolute_deviations(n: int) -> None:
    X, y = draw("laplace", n=n)
    model = MaximumLikelihood(family="laplace").fit(X, y)
    A, eye = sm.add_constant(X), np.eye(n)
    cost = np.r_[np.zeros(4), np.ones(2 * n)]
    bounds = [(None, None)] * 4 + [(0, None)] * (2 * n)
    primal = linprog(cost, A_eq=np.hstack([A, eye, -eye]), b_eq=y, bounds=bounds)
    loss = np.abs(y - model.predict(X)).sum()
    assert_allclose(loss, primal.fun, rtol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = sm.QuantReg(y, A).fit(0.5, max_iter=2000, p_tol=1e-9)
    assert loss <= np.abs(peer.resid).sum() * (1 + 1e-12)
    assert_allclose(model.auxiliary_["scale"], loss / n, rtol=1e-12)
    assert (np.abs(y - model.predict(X)) < 1e-12).sum() == 4  # a vertex: as many rows as parameters, exactly
    estimate = model.inference(X, y)
    errors = loss / n * np.sqrt(np.linalg.inv(A.T @ A).diagonal())
    assert_allclose(estimate.standard_errors, [*errors, loss / n / np.sqrt(n)], rtol=1e-9)
    assert_allclose(estimate.log_likelihood, stats.laplace.logpdf(y, model.predict(X), loss / n).sum(), rtol=1e-12)
    assert estimate.observed_information is None and estimate.opg_information is None
    with pytest.raises(InputError, match="take 'expected'"):
        model.inference(X, y, covariance="sandwich")


@pytest.mark.parametrize("df", [None, 4.0])
def test_student_t(df: float | None) -> None:
    X, y = draw("student_t")
    model, estimate = fitted("student_t", df=df)

    def loss(theta: np.ndarray) -> float:
        freedom = np.exp(theta[5]) if df is None else df
        return -stats.t.logpdf(y, freedom, theta[0] + X @ theta[1:4], np.exp(theta[4])).sum()

    start = np.r_[0.0, 0.0, 0.0, 0.0, 0.0, [1.0] if df is None else []]
    direct = minimize(loss, start, method="BFGS", options={"gtol": 1e-5})
    assert estimate.log_likelihood >= -direct.fun
    assert_allclose(estimate.log_likelihood, -direct.fun, rtol=1e-10)
    auxiliary = np.exp(direct.x[4:])
    assert_allclose(estimate.parameters, [*direct.x[:4], *auxiliary], rtol=1e-4)
    assert model.auxiliary_.keys() == ({"scale", "df"} if df is None else {"scale"})

    def density(parameters: Any, data: Any) -> Any:
        from jax.scipy.stats import t

        freedom = parameters[5] if df is None else df
        return t.logpdf(data[1], freedom, parameters[0] + data[0] @ parameters[1:4], parameters[4])

    own = maximum_likelihood(density, estimate.parameters, (X, y))
    assert_allclose(own.parameters, estimate.parameters, rtol=1e-9)
    assert_allclose(own.observed_information, estimate.observed_information, rtol=1e-7, atol=1e-6)
    assert_allclose(own.opg_information, estimate.opg_information, rtol=1e-7, atol=1e-6)
    for name, again, value in (("x0", "theta1", 0.3), ("scale", "theta4", 1.0)):
        score, other = estimate.score_test({name: value}, "observed"), own.score_test({again: value})
        assert_allclose(score.statistic, other.statistic, rtol=1e-7)
    held, same = estimate.restrict({"scale": 1.0}), own.restrict({"theta4": 1.0})
    assert_allclose(held.parameters, same.parameters, rtol=1e-7)
    assert_allclose(held.standard_errors, same.standard_errors, rtol=1e-7)


# Tests and intervals --------------------------------------------------------------------------------------------


def test_the_three_tests() -> None:
    X, y = draw("poisson")
    _, estimate = fitted("poisson")
    A = sm.add_constant(X)
    glm = sm.GLM(y, A, sm.families.Poisson())
    result = glm.fit(**EXACTLY)
    smaller = sm.GLM(y, A[:, :3], sm.families.Poisson()).fit(**EXACTLY)
    restricted = estimate.restrict({"x2": 0.0})
    assert_allclose(restricted.parameters[:3], smaller.params, rtol=TOLERANCE)
    assert_allclose(restricted.standard_errors[:3], smaller.bse, rtol=TOLERANCE)
    assert restricted.fixed == ("x2",) and np.isnan(restricted.standard_errors[3])
    assert_allclose(restricted.aic, smaller.aic, rtol=TOLERANCE)

    ratio = estimate.likelihood_ratio(restricted)
    assert_allclose(ratio.statistic, 2 * (result.llf - smaller.llf), rtol=TOLERANCE)
    assert ratio.df == 1
    assert_allclose(ratio.p, stats.chi2.sf(ratio.statistic, 1), rtol=1e-12)

    separate = MaximumLikelihood(family="poisson").fit(X[:, :2], y).inference(X[:, :2], y)
    assert_allclose(estimate.likelihood_ratio(separate).statistic, ratio.statistic, rtol=TOLERANCE)

    R = np.array([[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 2.0, -0.3]])
    peer = result.wald_test((R, np.array([0.1, 0.2])), use_f=False, scalar=True)
    wald = estimate.wald(R, [0.1, 0.2])
    assert_allclose([wald.statistic, wald.p], [peer.statistic, peer.pvalue], rtol=TOLERANCE)
    assert wald.df == 2
    assert_allclose(estimate.wald("x1").statistic, estimate.z[2] ** 2, rtol=1e-12)

    statistic, p, df = sm.GLM(y, A[:, :3], sm.families.Poisson()).score_test(smaller.params, exog_extra=A[:, 3:])
    score = estimate.score_test({"x2": 0.0})
    assert_allclose([score.statistic, score.p], [np.squeeze(statistic), np.squeeze(p)], rtol=TOLERANCE)
    assert score.df == df
    assert_allclose(estimate.score_test(restricted).statistic, score.statistic, rtol=1e-12)
    assert str(score).startswith("Score test: chi2(1) = ")


def test_score_test_of_a_logit_model_needs_no_larger_fit() -> None:
    X, y = draw("bernoulli")
    _, estimate = fitted("bernoulli")
    A = sm.add_constant(X)
    smaller = sm.GLM(y, A[:, :2], sm.families.Binomial())
    statistic, _, _ = smaller.score_test(smaller.fit(**EXACTLY).params, exog_extra=A[:, 2:])
    score = estimate.score_test({"x1": 0.0, "x2": 0.0})
    assert_allclose(score.statistic, np.squeeze(statistic), rtol=TOLERANCE)
    assert score.df == 2
    assert_allclose(estimate.score_test({"x1": 0.0, "x2": 0.0}, "observed").statistic, score.statistic, rtol=TOLERANCE)
    assert estimate.score_test({"x1": 0.0, "x2": 0.0}, "opg").statistic != score.statistic


def test_profile_interval_of_a_poisson_coefficient() -> None:
    X, y = draw("poisson")
    _, estimate = fitted("poisson")
    A = sm.add_constant(X)
    best = sm.GLM(y, A, sm.families.Poisson()).fit(**EXACTLY).llf

    def excess(value: float) -> float:
        held = sm.GLM(y, A[:, [0, 2, 3]], sm.families.Poisson(), offset=value * X[:, 0]).fit(**EXACTLY)
        return 2 * (best - held.llf) - stats.chi2.ppf(0.9, 1)

    found = estimate.profile("x0", level=0.9)
    error = estimate.standard_errors[1]
    at = estimate.parameters[1]
    assert_allclose(found.low, brentq(excess, at - 3 * error, at, xtol=1e-12), rtol=TOLERANCE)
    assert_allclose(found.high, brentq(excess, at, at + 3 * error, xtol=1e-12), rtol=TOLERANCE)
    assert "90% profile" in str(found)


def test_profile_interval_of_a_variance() -> None:
    model, estimate = fitted("gaussian")
    v, n = model.auxiliary_["variance"], estimate.n

    def excess(value: float) -> float:
        return n * (np.log(value / v) + v / value - 1) - stats.chi2.ppf(0.95, 1)

    found = estimate.profile("variance")
    assert_allclose(found.low, brentq(excess, v / 3, v, xtol=1e-14), rtol=1e-9)
    assert_allclose(found.high, brentq(excess, v, 3 * v, xtol=1e-14), rtol=1e-9)


def test_profile_interval_of_a_median() -> None:
    y = np.random.default_rng(2).laplace(size=41)
    X = np.ones((41, 1))
    estimate = MaximumLikelihood(family="laplace", fit_intercept=False).fit(X, y).inference(X, y)
    scale = np.abs(y - np.median(y)).mean()

    def excess(value: float) -> float:
        return 2 * len(y) * np.log(np.abs(y - value).mean() / scale) - stats.chi2.ppf(0.95, 1)

    found = estimate.profile("x0")
    assert_allclose(found.estimate, np.median(y), rtol=1e-12)
    assert_allclose(found.low, brentq(excess, -3.0, np.median(y), xtol=1e-13), rtol=1e-7)
    assert_allclose(found.high, brentq(excess, np.median(y), 3.0, xtol=1e-13), rtol=1e-7)
    with pytest.raises(InputError, match="no derivative"):
        estimate.score_test({"x0": 0.0})


def test_the_table_prints() -> None:
    _, estimate = fitted("gamma")
    lines = str(estimate).splitlines()
    assert lines[0] == "gamma family, log link, by maximum likelihood"
    assert lines[-2].startswith("shape") and "AIC" in lines[1]
    assert estimate._repr_html_().count("<tr>") == 6
    with pytest.raises(dataclasses.FrozenInstanceError):
        estimate.n = 3.0  # type: ignore[misc]


def test_misuse_of_an_estimate_is_explained() -> None:
    _, estimate = fitted("poisson")
    with pytest.raises(InputError, match="Did you mean 'x1'"):
        estimate.profile("x11")
    with pytest.raises(InputError, match="larger model"):
        estimate.restrict({"x1": 0.0}).likelihood_ratio(estimate)
    with pytest.raises(InputError, match="repeat each other"):
        estimate.wald(["x1", "x1"])
    with pytest.raises(InputError, match="4 parameters"):
        estimate.wald([1.0, 0.0])
    with pytest.raises(InputError, match="between 0 and 1"):
        estimate.interval(95)
    with pytest.raises(InputError, match="no information 'exact'"):
        estimate.score_test({"x1": 0.0}, "exact")


# No maximum -----------------------------------------------------------------------------------------------------


def test_separation_is_found_and_named() -> None:
    X, _, rng = table()
    y = np.where(X[:, 1] > 3.0, "yes", "no")
    frame = pd.DataFrame(X, columns=["age", "dose", "size"])
    with pytest.raises(WorkError, match=r"^'dose' separates the classes.* SoftmaxClassifier"):
        MaximumLikelihood(family="bernoulli").fit(frame, y)
    with pytest.raises(WorkError, match=r"^'x1' separates"):
        MaximumLikelihood(family="categorical").fit(X, np.digitize(X[:, 1], [0.0, 3.0]))
    quasi = (X[:, 0] > 0) & (rng.random(len(X)) < 0.5)  # no yes where x0 < 0; both elsewhere
    sharp = np.column_stack([X[:, 0] > 0, X[:, 1:]]).astype(float)
    for link in ("logit", "probit", "cloglog"):
        with pytest.raises(WorkError, match=r"^'x0' separates"):
            MaximumLikelihood(family="bernoulli", link=link).fit(sharp, quasi)
    with pytest.raises(WorkError, match="together separate"):
        MaximumLikelihood(family="bernoulli").fit(X, X[:, 0] + X[:, 2] > 1.0)
    counts = np.where(sharp[:, 0] == 1, rng.poisson(3.0, len(X)), 0)
    for family in ("poisson", "negative_binomial"):
        with pytest.raises(WorkError, match=r"^'x0' separates rows that are all zero"):
            MaximumLikelihood(family=family).fit(sharp, counts)


def test_one_row_undoes_separation() -> None:
    X, _, _ = table()
    y = X[:, 1] > 3.0
    y[np.argmin(X[:, 1])] = True  # the likelihood has a maximum now, steep as it is
    model = MaximumLikelihood(family="bernoulli").fit(X, y)
    assert_like(model.inference(X, y), sm.Logit(y, sm.add_constant(X)).fit(disp=0, tol=1e-13, method="newton"))
    near = np.where(np.abs(X[:, 1] - 3.0) < 0.1, ~y, y)  # almost separated, and some rows as good as certain
    assert MaximumLikelihood(family="bernoulli").fit(X * [1, 30, 1], near).n_iter_ < 30


def test_a_limit_of_the_family_is_said() -> None:
    X, eta, rng = table()
    with pytest.raises(WorkError, match=r"'alpha' runs to the edge.*family='poisson'"):
        MaximumLikelihood(family="negative_binomial").fit(X, rng.binomial(10, 0.5, size=len(X)))
    with pytest.raises(WorkError, match=r"'shape' runs to the edge.*LinearRegression"):
        MaximumLikelihood(family="gamma").fit(X, np.full(len(X), 5.0))
    with pytest.raises(WorkError, match=r"'df' runs to the edge.*gaussian"):
        MaximumLikelihood(family="student_t").fit(X, eta + rng.uniform(size=len(X)))


def test_dependent_columns_are_named_and_predictions_stand() -> None:
    X, y = draw("poisson")
    wide = np.column_stack([X, X[:, 0] - 2 * X[:, 2] + 4.0])
    model = MaximumLikelihood(family="poisson").fit(wide, y)
    plain = MaximumLikelihood(family="poisson").fit(X, y)
    assert_allclose(model.predict(wide), plain.predict(X), rtol=1e-9)
    assert (model.rank_, plain.rank_) == (3, 3)
    with pytest.raises(InputError, match=r"^Column 'x\d' is a linear combination of 'x\d', 'x\d' and 1, so"):
        model.inference(wide, y)
    flat = np.column_stack([X, np.full(len(X), 7.0)])
    with pytest.raises(InputError, match=r"^Column 'x3' has the same value in every row"):
        MaximumLikelihood(family="poisson").fit(flat, y).inference(flat, y)


def test_an_exact_fit_predicts_but_has_no_errors() -> None:
    X, eta, _ = table()
    for family, options in (("gaussian", {}), ("laplace", {}), ("student_t", {"df": 3.0})):
        model = MaximumLikelihood(family=family, **options).fit(X, eta)
        assert_allclose(model.predict(X), eta, rtol=1e-11, atol=1e-11)
        with pytest.raises(WorkError, match="fits every y exactly"):
            model.inference(X, eta)
    with pytest.raises(WorkError, match="give df"):
        MaximumLikelihood(family="student_t").fit(X, eta)


def test_a_climb_cut_short_warns() -> None:
    X, y = draw("poisson")
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        model = MaximumLikelihood(family="poisson", max_iter=1).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="raise max_iter"):
        MaximumLikelihood(family="negative_binomial", max_iter=1).fit(X, y)
    with pytest.raises(InputError, match="not the maximum for these rows"):
        model.inference(X, y)


# The estimator --------------------------------------------------------------------------------------------------

FAMILIES = ("gaussian", "bernoulli", "categorical", "poisson", "gamma", "negative_binomial", "laplace", "student_t")


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_repeated_rows(family: str) -> None:
    X, y = draw(family, n=120)
    times = np.random.default_rng(1).integers(0, 4, size=len(y))
    weighted = MaximumLikelihood(family=family).fit(X, y, sample_weight=times)
    often = np.repeat(X, times, axis=0), np.repeat(y, times)
    repeated = MaximumLikelihood(family=family).fit(*often)
    assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-8)
    one, other = weighted.inference(X, y, times), repeated.inference(*often)
    assert one.n == other.n == times.sum()
    assert_allclose(one.parameters, other.parameters, rtol=1e-8)
    assert_allclose(one.standard_errors, other.standard_errors, rtol=1e-8)
    assert_allclose([one.aic, one.bic], [other.aic, other.bic], rtol=1e-10)
    if family != "laplace":
        assert_allclose(one.opg_information, other.opg_information, rtol=1e-6, atol=1e-5)
    assert_allclose(weighted.log_likelihood(X, y, times), one.log_likelihood, rtol=1e-12)


@pytest.mark.parametrize("family", ["bernoulli", "student_t", "laplace"])
def test_the_number_of_threads_changes_no_bit(family: str) -> None:
    X, y = draw(family, n=3000)
    X = np.column_stack([X, np.random.default_rng(3).normal(size=(len(X), 30))])
    found = []
    for limit in (1, 2):
        with threadpool_limits(limit):
            found.append(MaximumLikelihood(family=family).fit(X, y).coef_)
    assert (found[0] == found[1]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_rescaled_columns_change_only_their_coefficients(family: str) -> None:
    X, y = draw(family, n=120)
    units = np.array([1e-6, 1e3, 50.0])
    plain, scaled = MaximumLikelihood(family=family).fit(X, y), MaximumLikelihood(family=family).fit(X * units, y)
    assert_allclose(scaled.coef_ * units, plain.coef_, rtol=1e-8)
    assert_allclose(scaled.inference(X * units, y).z[0], plain.inference(X, y).z[0], rtol=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_an_intercept(family: str) -> None:
    X, y = draw(family, n=120)
    model = MaximumLikelihood(family=family, fit_intercept=False).fit(X, y)
    assert not np.any(model.intercept_)
    estimate = model.inference(X, y)
    assert "intercept" not in str(estimate.names)
    own = MaximumLikelihood(family=family).fit(X, y).inference(X, y)
    zero = {name: 0.0 for name in own.names if name.endswith("intercept")}
    assert_allclose(own.restrict(zero).log_likelihood, estimate.log_likelihood, rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_stored_and_restored(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(persist.CLASSES, "MaximumLikelihood", "heldout.linear.likelihood.estimator:MaximumLikelihood")
    X, y = draw(family, n=120)
    model = MaximumLikelihood(family=family).fit(X, y)
    restored = persist.loads(persist.dumps(model))
    assert restored.get_params() == model.get_params()
    assert vars(restored).keys() == vars(model).keys()
    assert (restored.predict(X) == model.predict(X)).all()
    assert restored.log_likelihood(X, y) == model.log_likelihood(X, y)
    assert is_classifier(model) == hasattr(model, "predict_proba") == (family in ("bernoulli", "categorical"))
    assert is_regressor(model) != is_classifier(model)
    bad = {"family": "weibull", "link": "loglog", "df": -1.0, "auxiliary": np.full(7, -1.0), "rank": 99, "n_iter": 0}
    state = model.to_state()
    for key, value in bad.items():
        with monkeypatch.context() as patch:
            patch.setattr(MaximumLikelihood, "to_state", lambda self, key=key, value=value: {**state, key: value})
            data = persist.dumps(model)
        with pytest.raises(ModelFileError):
            persist.loads(data)


def test_parameters_and_rows_are_checked() -> None:
    X, y = draw("gaussian")
    for options, sentence in (
        ({"family": "normal"}, "no family 'normal'"),
        ({"link": "log"}, "has no link 'log'"),
        ({"tol": 0.0}, "tol is 0.0"),
        ({"max_iter": True}, "max_iter is True"),
        ({"family": "student_t", "df": -1.0}, "df is -1.0"),
    ):
        with pytest.raises(InputError, match=sentence):
            MaximumLikelihood(**options).fit(X, y)
    model = MaximumLikelihood().fit(X, y)
    with pytest.raises(InputError, match="not the maximum for these rows"):
        model.inference(X[:100], y[:100])
    with pytest.raises(InputError, match="no covariance 'hessian'"):
        model.inference(X, y, covariance="hessian")
    with pytest.raises(InputError, match="Row 2 of y is -1"):
        MaximumLikelihood(family="poisson").fit(X[:4], [1, 2, -1, 3])
    MaximumLikelihood(family="poisson").fit(X[:6, :1], [1, 2, -1, 3, 0, 2], sample_weight=[1, 1, 0, 1, 1, 1])
    with pytest.raises(InputError, match="y has 3 classes, and family='bernoulli' takes 2 classes"):
        MaximumLikelihood(family="bernoulli").fit(X[:3], ["a", "b", "c"])
    yes = MaximumLikelihood(family="bernoulli").fit(*draw("bernoulli"))
    with pytest.raises(InputError, match="'maybe', which is none of the classes"):
        yes.log_likelihood(X[:2], ["maybe", "no"])
    rates = MaximumLikelihood(family="gamma", link="inverse").fit(*draw("gamma"))
    with pytest.raises(InputError, match="Row 1 lies where link='inverse'"):
        rates.predict([[0.0, 3.0, 1.0], [1000.0, 3.0, 1.0]])


def test_score_is_r_squared_or_accuracy() -> None:
    X, y = draw("gaussian")
    model = MaximumLikelihood().fit(X, y)
    assert_allclose(model.score(X, y), LinearRegression().fit(X, y).score(X, y), rtol=1e-12)
    X, labels = draw("categorical")
    classes = MaximumLikelihood(family="categorical").fit(X, labels)
    assert classes.score(X, labels) == np.mean(classes.predict(X) == labels)


# A likelihood of one's own --------------------------------------------------------------------------------------


def weibull(parameters: Any, data: Any) -> Any:
    """log f(t) for what was seen, log S(t) for what was censored."""
    hazard = jnp.log(parameters["shape"] / parameters["scale"])
    relative = jnp.log(data["time"] / parameters["scale"])
    rise = hazard + (parameters["shape"] - 1) * relative
    return data["seen"] * rise - jnp.exp(parameters["shape"] * relative)


def censored(n: int = 200) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    time, end = 3.0 * rng.weibull(1.7, size=n), rng.uniform(1.0, 6.0, size=n)
    return {"time": np.minimum(time, end), "seen": (time <= end).astype(float)}


def weibull_information(t: np.ndarray, d: np.ndarray, k: float, s: float) -> np.ndarray:
    log, power = np.log(t / s), (t / s) ** k
    cross = (d / s - power * (1 + k * log) / s).sum()
    own = (d / k**2 + power * log**2).sum(), (-d * k / s**2 + power * k * (k + 1) / s**2).sum()
    return np.array([[own[0], cross], [cross, own[1]]])


def test_censored_weibull() -> None:
    data = censored()
    t, d = data["time"], data["seen"]
    transform = {"shape": "log", "scale": "log"}
    estimate = maximum_likelihood(weibull, {"shape": 1.0, "scale": 1.0}, data, transform=transform)

    def slope(k: float) -> float:  # of the log-likelihood with the scale at its best for this shape
        power = t**k
        return d.sum() / k + (d * np.log(t)).sum() - d.sum() * (power * np.log(t)).sum() / power.sum()

    k = brentq(slope, 0.1, 10.0, xtol=1e-14, rtol=1e-14)
    s = ((t**k).sum() / d.sum()) ** (1 / k)
    assert_allclose(estimate.parameters, [k, s], rtol=1e-10)
    assert_allclose(estimate.observed_information, weibull_information(t, d, k, s), rtol=1e-9, atol=1e-9)
    errors = np.sqrt(np.linalg.inv(weibull_information(t, d, k, s)).diagonal())
    assert_allclose(estimate.standard_errors, errors, rtol=1e-9)

    def profile(a: float) -> float:
        b = ((t**a).sum() / d.sum()) ** (1 / a)
        return float((d * (np.log(a / b) + (a - 1) * np.log(t / b)) - (t / b) ** a).sum())

    assert_allclose(estimate.log_likelihood, profile(k), rtol=1e-12)
    reach = stats.chi2.ppf(0.95, 1) / 2
    found = estimate.profile("shape")
    assert_allclose(found.low, brentq(lambda a: profile(k) - profile(a) - reach, k / 2, k), rtol=1e-9)
    assert_allclose(found.high, brentq(lambda a: profile(k) - profile(a) - reach, k, 2 * k), rtol=1e-9)
    exponential = estimate.restrict({"shape": 1.0})
    assert_allclose(exponential.parameters[1], t.sum() / d.sum(), rtol=1e-9)
    assert_allclose(estimate.likelihood_ratio(exponential).statistic, 2 * (profile(k) - profile(1.0)), rtol=1e-9)
    b = t.sum() / d.sum()
    assert_allclose(exponential.observed_information, weibull_information(t, d, 1.0, b), rtol=1e-8, atol=1e-8)
    score = (d + (d - t / b) * np.log(t / b)).sum()
    rao = score**2 * np.linalg.inv(weibull_information(t, d, 1.0, b))[0, 0]
    assert_allclose(estimate.score_test({"shape": 1.0}).statistic, rao, rtol=1e-8)


def test_a_sum_in_place_of_rows() -> None:
    data = censored()
    start, transform = {"shape": 1.0, "scale": 1.0}, {"shape": "log", "scale": "log"}
    rows = maximum_likelihood(weibull, start, data, transform=transform)
    total = maximum_likelihood(lambda p, z: weibull(p, z).sum(), start, data, transform=transform, n=200)
    assert_allclose(total.parameters, rows.parameters, rtol=1e-12)
    assert (total.opg_information is None, total.n, rows.n) == (True, 200.0, 200.0)
    assert_allclose(total.bic, rows.bic, rtol=1e-12)
    with pytest.raises(InputError, match="opg information is not known"):
        maximum_likelihood(lambda p, z: weibull(p, z).sum(), start, data, transform=transform, covariance="opg")


def test_logit_transform_and_names() -> None:
    seen = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])

    def coin(p: Any, y: Any) -> Any:
        return y * jnp.log(p[0]) + (1 - y) * jnp.log1p(-p[0])

    estimate = maximum_likelihood(coin, [0.9], seen, names=["heads"], transform={"heads": "logit"})
    assert_allclose(estimate.parameters, [5 / 8], rtol=1e-12)
    assert_allclose(estimate.standard_errors, np.sqrt(15 / 64 / 8), rtol=1e-12)
    opg = maximum_likelihood(coin, [0.9], seen, names=["heads"], transform={"heads": "logit"}, covariance="sandwich")
    assert_allclose(opg.standard_errors, estimate.standard_errors, rtol=1e-10)  # for this family they agree


def test_an_estimate_that_runs_away_is_reported() -> None:
    def coin(p: Any, y: Any) -> Any:
        return y * jnp.log(p[0]) + (1 - y) * jnp.log1p(-p[0])

    with pytest.warns(ConvergenceWarning, match="runs to the edge of its range"):
        maximum_likelihood(coin, [0.5], np.ones(5), names=["heads"], transform={"heads": "logit"})
    estimate = maximum_likelihood(coin, [0.5], [1.0, 0.0], names=["heads"], transform={"heads": "logit"})
    with pytest.raises(InputError, match="heads cannot be held at 1"):
        estimate.restrict({"heads": 1.0})


def test_misuse_of_a_likelihood_is_explained() -> None:
    def normal(p: Any, y: Any) -> Any:
        return -jnp.log(p[1]) - 0.5 * ((y - p[0]) / p[1]) ** 2

    y = [1.0, 2.0, 4.0]
    for start, options, sentence in (
        ([0.0, -1.0], {}, "not finite at the start"),
        ([0.0, -1.0], {"names": ["m", "s"], "transform": {"s": "log"}}, "start of 's' is out of the range"),
        ([0.0, 1.0], {"names": ["m"]}, "one different name for each"),
        ([0.0, 1.0], {"transform": {"theta2": "log"}}, "which is no parameter"),
        ([0.0, 1.0], {"transform": {"theta1": "exp"}}, "no transform 'exp'"),
        ([0.0, 1.0], {"covariance": "robust"}, "no covariance 'robust'"),
        ([0.0, 1.0], {"tol": -1.0}, "tol is -1.0"),
    ):
        with pytest.raises(InputError, match=sentence):
            maximum_likelihood(normal, start, y, **options)
    with pytest.raises(InputError, match="type <U1: give numbers"):
        maximum_likelihood(normal, [0.0, 1.0], ["a", "b"])
    with pytest.raises(WorkError, match="singular in 'theta0', 'theta1'"):
        maximum_likelihood(lambda p, y: -0.5 * (y - p[0] - p[1]) ** 2, [0.0, 1.0], y)
    with pytest.warns(ConvergenceWarning, match="maximum was not reached"):
        maximum_likelihood(normal, [0.0, 1.0], y, max_iter=1)
