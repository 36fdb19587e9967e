"""Families of distributions for numbers and counts, and the table of all families."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.polynomial.polynomial import polyder, polyval
from scipy.special import digamma, gammaln, polygamma

from heldout.errors import InputError, suggest
from heldout.linear.likelihood.class_families import LOG_2PI, Bernoulli, Categorical
from heldout.linear.likelihood.family import Derivatives, Family, average, refuse, stacked, symmetric
from heldout.linear.softmax.loss import Array

LARGEST_COUNT = 10_000_000  # for the negative binomial, whose sums run over 0, 1, ..., y - 1
LARGE_DF = 100.0  # from here on four terms of Stirling's series for the t distribution's constant are exact
SMALL = 0.1  # below it `_shape_term` takes its series, of which 18 terms are enough
STIRLING = (-1 / 4, 1 / 24, -1 / 20, 17 / 112)  # log(Gamma((v+1)/2) / Gamma(v/2)) - log(v/2)/2, in 1/v, 1/v^3, ...


@dataclass(frozen=True)
class Gaussian(Family):
    """log p = -(log(2 pi v) + (y - eta)^2 / v) / 2, with the variance v."""

    link: str = "identity"
    name: ClassVar[str] = "gaussian"
    links: ClassVar[tuple[str, ...]] = ("identity",)
    auxiliary: tuple[str, ...] = ("variance",)

    def log_density(self, y: Array, eta: Array, auxiliary: Array) -> Array:
        return np.asarray(-0.5 * (LOG_2PI + np.log(auxiliary[0]) + (y - eta[0]) ** 2 / auxiliary[0]))

    def derivatives(self, y: Array, eta: Array, auxiliary: Array) -> Derivatives:
        v, r = auxiliary[0], y - eta[0]
        second = {(0, 0): -1 / v, (0, 1): -r / v**2, (1, 1): 0.5 / v**2 - r**2 / v**3}
        return stacked([r / v, 0.5 * (r**2 / v - 1.0) / v], second, len(y))

    def expected(self, eta: Array, auxiliary: Array) -> Array:
        v = auxiliary[0]
        return symmetric({(0, 0): 1 / v, (1, 1): 0.5 / v**2}, 2, eta.shape[1])

    def start(self, y: Array, weights: Array) -> tuple[Array, Array]:
        return y[None], np.array([average((y - average(y, weights)) ** 2, weights)])


@dataclass(frozen=True)
class Laplace(Family):
    """log p = -log(2 b) - |y - eta| / b, with the scale b; the second derivative in eta is zero or does not exist."""

    link: str = "identity"
    name: ClassVar[str] = "laplace"
    links: ClassVar[tuple[str, ...]] = ("identity",)
    auxiliary: tuple[str, ...] = ("scale",)

    def log_density(self, y: Array, eta: Array, auxiliary: Array) -> Array:
        return np.asarray(-np.log(2.0 * auxiliary[0]) - np.abs(y - eta[0]) / auxiliary[0])

    def derivatives(self, y: Array, eta: Array, auxiliary: Array) -> Derivatives:
        b, r = auxiliary[0], y - eta[0]
        second = {(0, 1): -np.sign(r) / b**2, (1, 1): 1 / b**2 - 2.0 * np.abs(r) / b**3}
        return stacked([np.sign(r) / b, (np.abs(r) / b - 1.0) / b], second, len(y))

    def expected(self, eta: Array, auxiliary: Array) -> Array:
        return symmetric({(0, 0): auxiliary[0] ** -2, (1, 1): auxiliary[0] ** -2}, 2, eta.shape[1])

    def start(self, y: Array, weights: Array) -> tuple[Array, Array]:
        return y[None], np.array([average(np.abs(y - np.median(y)), weights)])


@dataclass(frozen=True)
class StudentT(Family):
    """The t distribution around eta with the given scale and degrees of freedom, the latter fixed unless None."""

    link: str = "identity"
    df: float | None = None
    name: ClassVar[str] = "student_t"
    links: ClassVar[tuple[str, ...]] = ("identity",)
    limit: ClassVar[str] = "the tails are no heavier than the normal distribution's: take family='gaussian' or give df"

    @property
    def auxiliary(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("scale", "df") if self.df is None else ("scale",)

    def _split(self, auxiliary: Array) -> tuple[float, float]:
        return float(auxiliary[0]), float(auxiliary[1]) if self.df is None else self.df

    def log_density(self, y: Array, eta: Array, auxiliary: Array) -> Array:
        scale, df = self._split(auxiliary)
        z = (y - eta[0]) / scale
        constant = _t_constant(df)[0] - 0.5 * LOG_2PI - np.log(scale)
        return np.asarray(constant - 0.5 * (df + 1.0) * np.log1p(z**2 / df))

    def derivatives(self, y: Array, eta: Array, auxiliary: Array) -> Derivatives:
        s, v = self._split(auxiliary)
        z = (y - eta[0]) / s
        u, q = v + z**2, z**2
        _, slope, curve = _t_constant(v)
        first = [(v + 1) * z / u / s, ((v + 1) * q / u - 1) / s]
        second = {
            (0, 0): (v + 1) * (q - v) / u**2 / s**2,
            (0, 1): -2 * (v + 1) * v * z / u**2 / s**2,
            (1, 1): (1 - (v + 1) * q * (3 * v + q) / u**2) / s**2,
        }
        if self.df is None:
            first.append(slope - 0.5 * np.log1p(q / v) + 0.5 * (v + 1) * q / (v * u))
            second[0, 2] = z * (q - 1) / u**2 / s
            second[1, 2] = q * (q - 1) / u**2 / s
            second[2, 2] = curve + q / (v * u) - 0.5 * (v + 1) * q * (v + u) / (v * u) ** 2
        return stacked(first, second, len(y))

    def expected(self, eta: Array, auxiliary: Array) -> Array:
        s, v = self._split(auxiliary)
        entries = {(0, 0): (v + 1) / (v + 3) / s**2, (1, 1): 2 * v / (v + 3) / s**2}
        if self.df is None:
            entries[1, 2] = -2 / ((v + 1) * (v + 3) * s)
            entries[2, 2] = -_t_constant(v)[2] + (3 - v) / (2 * v**2 * (v + 1) * (v + 3))
        return symmetric(entries, 1 + len(self.auxiliary), eta.shape[1])

    def start(self, y: Array, weights: Array) -> tuple[Array, Array]:
        scale = np.sqrt(average((y - average(y, weights)) ** 2, weights))
        return y[None], np.array([scale, 5.0][: len(self.auxiliary)])


def _t_constant(v: float) -> tuple[float, float, float]:
    """log Gamma((v+1)/2) - log Gamma(v/2) - log(v/2)/2, which vanishes for large v, with its two derivatives."""
    if v < LARGE_DF:
        value = gammaln((v + 1) / 2) - gammaln(v / 2) - 0.5 * np.log(v / 2)
        slope = 0.5 * (digamma((v + 1) / 2) - digamma(v / 2) - 1 / v)
        curve = 0.25 * (polygamma(1, (v + 1) / 2) - polygamma(1, v / 2)) + 0.5 / v**2
        return float(value), float(slope), float(curve)
    powers = [1, 3, 5, 7]
    value = sum(c * v**-k for c, k in zip(STIRLING, powers, strict=True))
    slope = sum(-k * c * v ** (-k - 1) for c, k in zip(STIRLING, powers, strict=True))
    curve = sum(k * (k + 1) * c * v ** (-k - 2) for c, k in zip(STIRLING, powers, strict=True))
    return value, slope, curve


@dataclass(frozen=True)
class Poisson(Family):
    """log p = y eta - exp(eta) - log y!, with the mean exp(eta)."""

    link: str = "log"
    name: ClassVar[str] = "poisson"
    links: ClassVar[tuple[str, ...]] = ("log",)

    def check(self, y: Array) -> None:
        _check_counts(y)

    def log_density(self, y: Array, eta: Array, auxiliary: Array) -> Array:
        return np.asarray(y * eta[0] - np.exp(eta[0]) - gammaln(y + 1.0))

    def derivatives(self, y: Array, eta: Array, auxiliary: Array) -> Derivatives:
        mean = np.exp(eta[0])
        return stacked([y - mean], {(0, 0): -mean}, len(y))

    def expected(self, eta: Array, auxiliary: Array) -> Array:
        return np.exp(eta[None])

    def start(self, y: Array, weights: Array) -> tuple[Array, Array]:
        return np.log(_towards_mean(y, weights))[None], np.empty(0)

    def mean(self, eta: Array) -> Array:
        return np.asarray(np.exp(eta[0]))


@dataclass(frozen=True)
class NegativeBinomial(Family):
    """Counts with the mean m = exp(eta) and the variance m + alpha m^2 (NB2).

    log p = sum_{j<y} log(1 + alpha j) + y log m - (y + 1/alpha) log(1 + alpha m) - log y!
    """

    link: str = "log"
    name: ClassVar[str] = "negative_binomial"
    links: ClassVar[tuple[str, ...]] = ("log",)
    limit: ClassVar[str] = "the counts vary no more than Poisson's: take family='poisson'"
    auxiliary: tuple[str, ...] = ("alpha",)

    def check(self, y: Array) -> None:
        _check_counts(y)
        refuse(y > LARGEST_COUNT, y, f"counts above {LARGEST_COUNT:,} are too many here: take family='gamma'")

    def log_density(self, y: Array, eta: Array, auxiliary: Array) -> Array:
        alpha, mean = auxiliary[0], np.exp(eta[0])
        spread = np.log1p(alpha * mean)
        return np.asarray(_sums(y, alpha, 0) + y * (eta[0] - spread) - spread / alpha - gammaln(y + 1.0))

    def derivatives(self, y: Array, eta: Array, auxiliary: Array) -> Derivatives:
        a, m = auxiliary[0], np.exp(eta[0])
        c = 1 + a * m
        g, slope = _shape_term(a * m)
        first = [(y - m) / c, _sums(y, a, 1) + m**2 * g - y * m / c]
        second = {
            (0, 0): -m * (1 + a * y) / c**2,
            (0, 1): -(y - m) * m / c**2,
            (1, 1): _sums(y, a, 2) + m**3 * slope + y * (m / c) ** 2,
        }
        return stacked(first, second, len(y))

    def start(self, y: Array, weights: Array) -> tuple[Array, Array]:
        mean = average(y, weights)
        excess = (average((y - mean) ** 2, weights) - mean) / mean**2
        return np.log(_towards_mean(y, weights))[None], np.array([max(excess, 0.1)])

    def mean(self, eta: Array) -> Array:
        return np.asarray(np.exp(eta[0]))


def _sums(y: Array, alpha: float, order: int) -> Array:
    """The derivative of this order in alpha of sum_{j<y} log(1 + alpha j), by one running sum over j."""
    counts = y.astype(np.intp)
    j = np.arange(counts.max(initial=0), dtype=np.float64)
    terms = (np.log1p(alpha * j), j / (1 + alpha * j), -((j / (1 + alpha * j)) ** 2))[order]
    return np.concatenate([[0.0], np.cumsum(terms)])[counts]


def _shape_term(x: Array) -> tuple[Array, Array]:
    """g(x) = (log(1+x) - x/(1+x)) / x^2 and g'(x); near zero by g(x) = sum_k (-x)^k (k+1)/(k+2)."""
    k = np.arange(18)
    series = (-1.0) ** k * (k + 1) / (k + 2)
    near = x < SMALL
    far = np.where(near, 1.0, x)
    g = (np.log1p(far) - far / (1 + far)) / far**2
    slope = 1 / (far * (1 + far) ** 2) - 2 * g / far
    close = np.where(near, x, 0.0)
    return np.where(near, polyval(close, series), g), np.where(near, polyval(close, polyder(series)), slope)


@dataclass(frozen=True)
class Gamma(Family):
    """log p = k log(k y / m) - k y / m - log y - log Gamma(k), with the mean m and the shape k (variance m^2 / k)."""

    link: str = "log"
    name: ClassVar[str] = "gamma"
    links: ClassVar[tuple[str, ...]] = ("log", "inverse")
    limit: ClassVar[str] = (
        "the columns fit every y but for rounding: take LinearRegression for the logarithm (or inverse) of y"
    )
    auxiliary: tuple[str, ...] = ("shape",)

    def check(self, y: Array) -> None:
        refuse(y <= 0, y, "family='gamma' takes numbers above 0")

    def mean(self, eta: Array) -> Array:
        return np.asarray(np.exp(eta[0]) if self.link == "log" else 1.0 / eta[0])

    def _log_rate(self, eta: Array) -> Array:
        """-log(mean)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(-eta[0] if self.link == "log" else np.log(eta[0]))

    def log_density(self, y: Array, eta: Array, auxiliary: Array) -> Array:
        k, rate = auxiliary[0], self._log_rate(eta)
        return np.asarray(k * (np.log(k) + rate - y * np.exp(rate)) + (k - 1) * np.log(y) - gammaln(k))

    def derivatives(self, y: Array, eta: Array, auxiliary: Array) -> Derivatives:
        k, rate = auxiliary[0], self._log_rate(eta)
        ratio = y * np.exp(rate)  # y / mean
        if self.link == "log":
            pull, curve = ratio - 1, -k * ratio
        else:
            pull, curve = 1 / eta[0] - y, -k / eta[0] ** 2
        shape = np.log(k) + 1 - digamma(k) + np.log(y) + rate - ratio
        return stacked([k * pull, shape], {(0, 0): curve, (0, 1): pull, (1, 1): 1 / k - polygamma(1, k)}, len(y))

    def expected(self, eta: Array, auxiliary: Array) -> Array:
        k = auxiliary[0]
        mean = k if self.link == "log" else k / eta[0] ** 2
        return symmetric({(0, 0): mean, (1, 1): polygamma(1, k) - 1 / k}, 2, eta.shape[1])

    def start(self, y: Array, weights: Array) -> tuple[Array, Array]:
        mean = average(y, weights)
        near = _towards_mean(y, weights)
        shape = mean**2 / max(average((y - mean) ** 2, weights), 1e-4 * mean**2)
        return (np.log(near) if self.link == "log" else 1.0 / near)[None], np.array([shape])


def _check_counts(y: Array) -> None:
    refuse((y < 0) | (y != np.floor(y)), y, "counts are whole numbers, 0 or more")
    if not y.any():
        raise InputError(
            "Every count in y is zero, so that the estimate runs to a mean of zero: there is nothing to fit."
        )


def _towards_mean(y: Array, weights: Array) -> Array:
    """Halfway to the mean: above zero, as a logarithm needs it."""
    return 0.5 * (y + average(y, weights))


FAMILIES: dict[str, type[Any]] = {
    cls.name: cls for cls in (Gaussian, Bernoulli, Categorical, Poisson, Gamma, NegativeBinomial, Laplace, StudentT)
}


def make_family(name: str, link: str | None, df: float | None = None) -> Family:
    """The family of this name with this link, or with its usual one; InputError where there is none such."""
    if name not in FAMILIES:
        raise InputError(f"There is no family {name!r}.{suggest(str(name), FAMILIES)}")
    cls = FAMILIES[name]
    if link is not None and link not in cls.links:
        raise InputError(f"The family {name!r} has no link {link!r}.{suggest(str(link), cls.links)}")
    options: dict[str, Any] = {"link": link or cls.links[0]}
    if df is not None:
        if cls is not StudentT:
            raise InputError(f"df is for family='student_t'; leave it out for family={name!r}.")
        options["df"] = float(df)
    made = cls(**options)
    assert isinstance(made, Family)
    return made
