"""Families of distributions beside scipy.stats, automatic differentiation and numerical integration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import gammaln
from jax.scipy.stats import norm as jax_norm
from numpy.testing import assert_allclose
from scipy import stats
from scipy.integrate import quad

from heldout.errors import InputError
from heldout.linear.likelihood.families import FAMILIES, StudentT, _shape_term, _t_constant, make_family
from heldout.linear.likelihood.family import Family

rng = np.random.default_rng(5)
N = 12
NORMAL, POSITIVE = rng.normal(size=N), rng.gamma(2.0, size=N)
COUNTS = np.array([0, 0, 1, 2, 3, 5, 8, 13, 40, 1, 0, 7.0])
CODES = np.arange(N) % 2.0
ETA = rng.normal(size=(1, N))


def jax_student(y: Any, eta: Any, a: Any, df: Any = 4.0) -> Any:
    z = (y - eta[0]) / a[0]
    constant = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * jnp.log(jnp.pi * df) - jnp.log(a[0])
    return constant - (df + 1) / 2 * jnp.log1p(z**2 / df)


def jax_nb(y: Any, eta: Any, a: Any) -> Any:
    size, m = 1 / a[0], jnp.exp(eta[0])
    rest = gammaln(y + size) - gammaln(size) - gammaln(y + 1)
    return rest - size * jnp.log1p(a[0] * m) + y * (jnp.log(a[0] * m) - jnp.log1p(a[0] * m))


def jax_gamma(y: Any, mean: Any, k: Any) -> Any:
    return k * jnp.log(k / mean) + (k - 1) * jnp.log(y) - k * y / mean - gammaln(k)


def jax_cloglog(y: Any, eta: Any, a: Any) -> Any:
    rate = jnp.exp(eta[0])
    return jnp.where(y == 1, jnp.log(-jnp.expm1(-rate)), -rate)


def jax_softmax(y: Any, eta: Any, a: Any) -> Any:
    scores = jnp.concatenate([jnp.zeros(1), eta])
    return jax.nn.log_softmax(scores)[y.astype(int)]


SIGN = lambda y: 2 * y - 1  # noqa: E731
CASES: list[tuple[str, str, float | None, Any, Any, list[float], Callable[..., Any], Callable[..., Any] | None]] = [
    ("gaussian", "identity", None, NORMAL, ETA, [0.7],
     lambda y, e, a: jax_norm.logpdf(y, e[0], jnp.sqrt(a[0])),
     lambda y, e, a: stats.norm.logpdf(y, e[0], np.sqrt(a[0]))),
    ("laplace", "identity", None, NORMAL, ETA, [0.7],
     lambda y, e, a: -jnp.log(2 * a[0]) - jnp.abs(y - e[0]) / a[0],
     lambda y, e, a: stats.laplace.logpdf(y, e[0], a[0])),
    ("student_t", "identity", 4.0, NORMAL, ETA, [0.7], jax_student,
     lambda y, e, a: stats.t.logpdf(y, 4.0, e[0], a[0])),
    ("student_t", "identity", None, NORMAL, ETA, [0.7, 3.0], lambda y, e, a: jax_student(y, e, a, a[1]),
     lambda y, e, a: stats.t.logpdf(y, a[1], e[0], a[0])),
    ("poisson", "log", None, COUNTS, ETA, [], lambda y, e, a: y * e[0] - jnp.exp(e[0]) - gammaln(y + 1),
     lambda y, e, a: stats.poisson.logpmf(y, np.exp(e[0]))),
    ("negative_binomial", "log", None, COUNTS, ETA, [0.6], jax_nb,
     lambda y, e, a: stats.nbinom.logpmf(y, 1 / a[0], 1 / (1 + a[0] * np.exp(e[0])))),
    ("gamma", "log", None, POSITIVE, ETA, [2.5], lambda y, e, a: jax_gamma(y, jnp.exp(e[0]), a[0]),
     lambda y, e, a: stats.gamma.logpdf(y, a[0], scale=np.exp(e[0]) / a[0])),
    ("gamma", "inverse", None, POSITIVE, np.exp(ETA), [2.5], lambda y, e, a: jax_gamma(y, 1 / e[0], a[0]),
     lambda y, e, a: stats.gamma.logpdf(y, a[0], scale=1 / e[0] / a[0])),
    ("bernoulli", "logit", None, CODES, 3 * ETA, [], lambda y, e, a: jax.nn.log_sigmoid(SIGN(y) * e[0]),
     lambda y, e, a: stats.bernoulli.logpmf(y, 1 / (1 + np.exp(-e[0])))),
    ("bernoulli", "probit", None, CODES, 3 * ETA, [], lambda y, e, a: jax_norm.logcdf(SIGN(y) * e[0]),
     lambda y, e, a: stats.bernoulli.logpmf(y, stats.norm.cdf(e[0]))),
    ("bernoulli", "cloglog", None, CODES, ETA, [], jax_cloglog,
     lambda y, e, a: stats.bernoulli.logpmf(y, -np.expm1(-np.exp(e[0])))),
    ("categorical", "softmax", None, np.arange(N) % 3.0, rng.normal(size=(2, N)), [], jax_softmax, None),
]  # fmt: skip
every_family = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}")


@every_family
def test_log_density_is_scipys(case: Any) -> None:
    name, link, df, y, eta, auxiliary, in_jax, in_scipy = case
    found = make_family(name, link, df).log_density(y, eta, np.array(auxiliary))
    if in_scipy is None:
        with jax.enable_x64(True):
            in_scipy = lambda y, e, a: np.array([in_jax(y[i], e[:, i], a) for i in range(N)])  # noqa: E731
            assert_allclose(found, in_scipy(y, eta, auxiliary), rtol=1e-13)
    else:
        assert_allclose(found, in_scipy(y, eta, auxiliary), rtol=1e-11)


@every_family
def test_derivatives_are_those_of_automatic_differentiation(case: Any) -> None:
    name, link, df, y, eta, auxiliary, in_jax, _ = case
    found = make_family(name, link, df).derivatives(y, eta, np.array(auxiliary))
    m = len(eta)
    with jax.enable_x64(True):
        both = np.vstack([eta, np.repeat(np.array(auxiliary)[:, None], N, axis=1)]).T

        def one(p: Any, value: Any) -> Any:
            return in_jax(value, p[:m], p[m:])

        first = np.asarray(jax.jit(jax.vmap(jax.grad(one)))(both, y)).T
        second = np.asarray(jax.jit(jax.vmap(jax.hessian(one)))(both, y)).transpose(1, 2, 0)
    assert_allclose(found.first, first, rtol=1e-10, atol=1e-11)
    assert_allclose(found.second, second, rtol=1e-9, atol=1e-10)


def mean_information(family: Family, eta: np.ndarray, auxiliary: np.ndarray, density: Any, support: Any) -> np.ndarray:
    """E[s s'] by integrating over y, or by summing where y is discrete."""
    d = len(eta) + len(auxiliary)

    def product(y: float, a: int, b: int) -> float:
        s = family.derivatives(np.array([y]), eta, auxiliary).first[:, 0]
        return float(s[a] * s[b] * density(y))

    if isinstance(support, range):
        return np.array([[sum(product(y, a, b) for y in support) for b in range(d)] for a in range(d)])
    low, middle, high = support

    def integral(a: int, b: int) -> float:
        halves = ((low, middle), (middle, high))
        return sum(quad(product, *ends, args=(a, b), limit=200, epsabs=1e-10, epsrel=1e-9)[0] for ends in halves)

    return np.array([[integral(a, b) for b in range(d)] for a in range(d)])


@pytest.mark.parametrize(
    ("name", "link", "df", "at", "auxiliary", "density", "support"),
    [
        ("gaussian", "identity", None, 0.3, [0.7], stats.norm(0.3, np.sqrt(0.7)).pdf, (-12.0, 0.3, 12.0)),
        ("laplace", "identity", None, 0.3, [0.7], stats.laplace(0.3, 0.7).pdf, (-25.0, 0.3, 25.0)),
        ("student_t", "identity", 4.0, 0.3, [0.7], stats.t(4, 0.3, 0.7).pdf, (-np.inf, 0.3, np.inf)),
        ("student_t", "identity", None, 0.3, [0.7, 3.0], stats.t(3, 0.3, 0.7).pdf, (-np.inf, 0.3, np.inf)),
        ("poisson", "log", None, 0.8, [], stats.poisson(np.exp(0.8)).pmf, range(60)),
        ("gamma", "log", None, 0.3, [2.5], stats.gamma(2.5, scale=np.exp(0.3) / 2.5).pdf, (0.0, 1.0, 40.0)),
        ("gamma", "inverse", None, 0.8, [2.5], stats.gamma(2.5, scale=0.5).pdf, (0.0, 1.0, 40.0)),
        ("bernoulli", "logit", None, 0.8, [], stats.bernoulli(1 / (1 + np.exp(-0.8))).pmf, range(2)),
        ("bernoulli", "probit", None, 0.8, [], stats.bernoulli(stats.norm.cdf(0.8)).pmf, range(2)),
        ("bernoulli", "cloglog", None, 0.2, [], stats.bernoulli(-np.expm1(-np.exp(0.2))).pmf, range(2)),
    ],
)
def test_expected_information_is_the_mean_product_of_the_scores(
    name: str, link: str, df: float | None, at: float, auxiliary: list[float], density: Any, support: Any
) -> None:
    family, eta = make_family(name, link, df), np.array([[at]])
    found = family.expected(eta, np.array(auxiliary))
    assert found is not None
    wanted = mean_information(family, eta, np.array(auxiliary), density, support)
    assert_allclose(found[:, :, 0], wanted, rtol=1e-7, atol=1e-9)


def test_expected_information_of_classes() -> None:
    family, eta = make_family("categorical", None), np.array([[0.4], [-1.0]])
    p = family.mean(eta)[:, 0]
    found = family.expected(eta, np.empty(0))
    assert found is not None
    assert_allclose(
        found[:, :, 0], mean_information(family, eta, np.empty(0), lambda k: p[int(k)], range(3)), rtol=1e-13
    )


def test_series_take_over_without_a_step() -> None:
    below, above = _t_constant(100.0 * (1 - 1e-15)), _t_constant(100.0)
    assert_allclose(below, above, rtol=1e-9)
    for low, high in zip(_shape_term(np.array([0.1 * (1 - 1e-15)])), _shape_term(np.array([0.1])), strict=True):
        assert_allclose(low, high, rtol=1e-12)
    wide = StudentT(df=1e9).log_density(NORMAL, ETA, np.array([0.7]))
    assert_allclose(wide, stats.norm.logpdf(NORMAL, ETA[0], 0.7), rtol=1e-7)


def test_binary_log_densities_hold_far_out() -> None:
    eta = np.array([[-700.0, -30.0, 30.0, 700.0]])
    for link in ("logit", "probit"):
        family = make_family("bernoulli", link)
        for y in (0.0, 1.0):
            values = family.log_density(np.full(4, y), eta, np.empty(0))
            parts = family.derivatives(np.full(4, y), eta, np.empty(0))
            assert np.isfinite(values).all() and np.isfinite(parts.first).all() and np.isfinite(parts.second).all()
    assert_allclose(make_family("bernoulli", None).log_density(np.ones(4), eta, np.empty(0))[0], -700.0)
    assert_allclose(make_family("bernoulli", "cloglog").log_density(np.ones(1), eta[:, 1:2], np.empty(0)), -30.0)


@pytest.mark.parametrize(
    ("name", "y", "sentence"),
    [
        ("poisson", [1.0, -2.0], "Row 1 of y is -2, but counts are whole numbers"),
        ("negative_binomial", [1.0, 0.5], "Row 1 of y is 0.5"),
        ("negative_binomial", [1.0, 2e7], "too many here"),
        ("poisson", [0.0, 0.0], "Every count in y is zero"),
        ("gamma", [1.0, 2.0, 0.0], "Row 2 of y is 0, but family='gamma' takes numbers above 0"),
    ],
)
def test_impossible_values_are_named(name: str, y: list[float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make_family(name, None).check(np.array(y))


def test_unknown_names_bring_a_suggestion() -> None:
    with pytest.raises(InputError, match="Did you mean 'poisson'"):
        make_family("poison", None)
    with pytest.raises(InputError, match="Did you mean 'logit'"):
        make_family("bernoulli", "logits")
    with pytest.raises(InputError, match="df is for family='student_t'"):
        make_family("gaussian", None, 4.0)
    assert all(make_family(name, None).link == cls.links[0] for name, cls in FAMILIES.items())
