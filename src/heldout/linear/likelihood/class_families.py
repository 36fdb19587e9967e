"""Families of distributions for class labels: Bernoulli with its links, and categorical."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit, log_ndtr

from heldout.linear.likelihood.family import Derivatives, Family, stacked
from heldout.linear.softmax.loss import Array, log_softmax

LOG_2PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True)
class Bernoulli(Family):
    """log p(y = 1) = log F(eta), log p(y = 0) = log(1 - F(eta)), with F the inverse of the link."""

    link: str = "logit"
    name: ClassVar[str] = "bernoulli"
    links: ClassVar[tuple[str, ...]] = ("logit", "probit", "cloglog")
    labelled: ClassVar[bool] = True

    def log_density(self, y: Array, eta: Array, auxiliary: Array) -> Array:
        no, yes = LOG_PROBABILITIES[self.link](eta[0])
        return np.where(y == 1, yes[0], no[0])

    def derivatives(self, y: Array, eta: Array, auxiliary: Array) -> Derivatives:
        no, yes = LOG_PROBABILITIES[self.link](eta[0])
        return stacked([np.where(y == 1, yes[1], no[1])], {(0, 0): np.where(y == 1, yes[2], no[2])}, len(y))

    def expected(self, eta: Array, auxiliary: Array) -> Array:
        no, yes = LOG_PROBABILITIES[self.link](eta[0])
        return np.asarray(np.exp(no[0]) * no[1] ** 2 + np.exp(yes[0]) * yes[1] ** 2)[None, None]

    def start(self, y: Array, weights: Array) -> tuple[Array, Array]:
        return np.zeros((1, len(y))), np.empty(0)

    def mean(self, eta: Array) -> Array:
        no, yes = LOG_PROBABILITIES[self.link](eta[0])
        return np.exp(np.stack([no[0], yes[0]]))


LogProbability = tuple[Array, Array, Array]  # log p, and its first and second derivative in eta


def _logit(eta: Array) -> tuple[LogProbability, LogProbability]:
    yes, no = expit(eta), expit(-eta)
    return (-np.logaddexp(0, eta), -yes, -yes * no), (-np.logaddexp(0, -eta), no, -yes * no)


def _probit(eta: Array) -> tuple[LogProbability, LogProbability]:
    def side(sign: float) -> LogProbability:
        log_p = log_ndtr(sign * eta)
        hazard = np.exp(-0.5 * (LOG_2PI + eta**2) - log_p)  # of the normal distribution
        return log_p, sign * hazard, -hazard * (hazard + sign * eta)

    return side(-1.0), side(1.0)


def _cloglog(eta: Array) -> tuple[LogProbability, LogProbability]:
    rate = np.exp(eta)
    tiny = rate < 1e-13  # there log(1 - exp(-rate)) is eta to the last digit
    some = np.where(tiny, 1.0, rate)
    with np.errstate(over="ignore"):
        pull = np.where(tiny, 1.0, some / np.expm1(some))
    curve = np.where(tiny, -0.5 * rate, pull * (1.0 - rate - pull))
    return (-rate, -rate, -rate), (np.where(tiny, eta, np.log(-np.expm1(-some))), pull, curve)


LOG_PROBABILITIES: dict[str, Callable[[Array], tuple[LogProbability, LogProbability]]] = {
    "logit": _logit,
    "probit": _probit,
    "cloglog": _cloglog,
}


@dataclass(frozen=True)
class Categorical(Family):
    """log p(y = k) = eta_k - log sum_j exp(eta_j), with eta = 0 for class 0, the reference."""

    link: str = "softmax"
    name: ClassVar[str] = "categorical"
    links: ClassVar[tuple[str, ...]] = ("softmax",)
    labelled: ClassVar[bool] = True

    def log_density(self, y: Array, eta: Array, auxiliary: Array) -> Array:
        return np.asarray(_log_shares(eta)[y.astype(np.intp), np.arange(len(y))])

    def derivatives(self, y: Array, eta: Array, auxiliary: Array) -> Derivatives:
        first = -np.exp(_log_shares(eta))
        first[y.astype(np.intp), np.arange(len(y))] += 1.0
        return Derivatives(first[1:], -self.expected(eta, auxiliary))

    def expected(self, eta: Array, auxiliary: Array) -> Array:
        p = np.exp(_log_shares(eta))[1:]
        information = -p[:, None] * p[None]
        own = np.arange(len(p))
        information[own, own] = p * (1.0 - p)
        return np.asarray(information)

    def start(self, y: Array, weights: Array) -> tuple[Array, Array]:
        return np.zeros((int(y.max()), len(y))), np.empty(0)

    def mean(self, eta: Array) -> Array:
        return np.exp(_log_shares(eta))


def _log_shares(eta: Array) -> Array:
    return log_softmax(np.vstack([np.zeros(eta.shape[1]), eta]))
