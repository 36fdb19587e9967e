"""Scores with intervals: one resampling of the rows for every learner, criterion and comparison.

The rows of a part are put into at most 2,000 clusters: rows that depend on each other (twins, a group, a
stretch of time) share one, and large parts are put together at random, which leaves the interval of a mean
unchanged. Whole clusters are drawn with replacement (Davison & Hinkley 1997, section 3.8). All learners see the
same draws, so differences of their replicates are paired. Intervals of losses without an upper bound are Student's with
the skewness taken out, in both directions (Hall 1992, J. Royal Statistical Society B 54): they are skewed, and
percentiles of fifty rows miss their tail. The others are bias-corrected and accelerated: Efron (1987), "Better
bootstrap confidence intervals", JASA 82, equations 2.3 and 6.6. The accuracy of independent rows has a formula: Wilson
(1927), JASA 22.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from heldout.metrics import Criterion, Prediction, Repeated, RowMeans

Array = NDArray[Any]
LEVEL = 0.95
DRAWS = 4000
CLUSTERS = 2000
ROW_BUDGET = 8_000_000  # weights drawn for areas under curves: 500 to 4,000 replicates
LEAST_CLUSTERS = 3
NOTHING = 1e-9  # of the largest: what differs by rounding
STRAIGHT = 1e-6  # a skewness that only rounding tells from none
SAME = 1e-12  # replicates that differ by rounding agree
REPEATED_DRAWS = 300  # replicates of functions that are called once for each


@dataclass(frozen=True)
class Score:
    """A score and its confidence interval.

    >>> Score(0.25, 0.2, 0.3, 0.95, "BCa bootstrap")
    Score(0.25, 95% interval 0.2 to 0.3, BCa bootstrap)
    """

    value: float
    low: float
    high: float
    level: float
    method: str

    def __repr__(self) -> str:
        interval = f"{100 * self.level:.4g}% interval {self.low:.4g} to {self.high:.4g}"
        return f"Score({self.value:.4g}, {interval}, {self.method})"

    def to_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "level": self.level,
            "method": self.method,
        }


@dataclass(frozen=True, repr=False)
class Sample:
    """How the rows of one part are resampled: cluster of each row, and the seed of the draws.

    `independent` is True when every row is a cluster of its own or the clusters were put together at random,
    so that formulas for independent rows hold.
    """

    cluster: Array  # (n,) int, 0 .. n_clusters-1
    n_clusters: int
    independent: bool
    seed: int

    @classmethod
    def of(cls, units: Array, seed: int) -> Sample:
        """`units`: for each row the number of the unit (row, twins, group, stretch of time) it belongs to."""
        _, unit = np.unique(units, return_inverse=True)
        n_units = int(unit.max()) + 1
        independent = n_units == len(units)
        if n_units > CLUSTERS:
            unit = (np.random.default_rng(seed).permutation(n_units) % CLUSTERS)[unit]
        return cls(unit, min(n_units, CLUSTERS), independent, seed)

    def cluster_draws(self) -> Array:
        """Counts of the clusters in each replicate, shape (DRAWS, n_clusters)."""
        rng = np.random.default_rng([self.seed, 1])
        g = self.n_clusters
        drawn = rng.integers(g, size=(DRAWS, g), dtype=np.int32)
        drawn += (np.arange(DRAWS, dtype=np.int32) * g)[:, None]
        return np.bincount(drawn.ravel(), minlength=DRAWS * g).reshape(DRAWS, g).astype(np.float64)


@dataclass(frozen=True, repr=False)
class Replicates:
    """A score, its bootstrap replicates and its jackknife: all that any interval or comparison needs."""

    value: float
    draws: Array  # (DRAWS,) or fewer
    jackknife: Array  # (n_clusters,) leave-one-cluster-out values; empty where too costly
    criterion: Criterion
    n_rows: int
    smallest_class: int
    exact: bool  # accuracy of independent rows: Wilson's formula holds
    noise: float = 0.0  # of the value itself, where the rows do not answer directly

    def score(self, level: float = LEVEL) -> Score:
        """The interval at this level, widened only as far as the criterion's bounds."""
        if self.exact:
            return Score(self.value, *wilson(self.value, self.n_rows, level), level, "Wilson")
        lower, upper = self.criterion.bounds
        if not self.draws.size or np.ptp(self.draws) <= SAME * abs(self.value):
            low, high = _no_spread(self.value, self.criterion, self.smallest_class, level)
            method = "no spread"
        elif len(self.jackknife) >= LEAST_CLUSTERS and not np.isfinite([lower, upper]).all():
            low, high = _hall(self.value, self.jackknife, self.noise, level)
            method = "Hall's t"
        else:
            low, high = _bca(self.value, self.draws, self.jackknife, level)
            method = "BCa bootstrap"
        return Score(self.value, max(low, lower), min(high, upper), level, method)

    def moved(self, value: float, noise: float) -> Replicates:
        """The uncertainty of this score, and of a normal `noise` with this spread, around another value."""
        by = min(max(value, self.criterion.bounds[0]), self.criterion.bounds[1]) - self.value
        drawn = np.random.default_rng(len(self.draws)).normal(0.0, noise, len(self.draws))
        moved = replace(self, value=self.value + by, draws=self.draws + by + drawn, jackknife=self.jackknife + by)
        return replace(moved, exact=False, noise=noise)

    def loss_minus(self, other: Replicates, level: float = LEVEL, *, paired: bool) -> Score:
        """loss(self) - loss(other), positive where `self` is worse, with its interval.

        `paired` for two learners on the same rows (their draws are the same draws); otherwise the two parts
        were drawn independently.
        """
        sign = -1.0 if self.criterion.greater_is_better else 1.0
        n = min(len(self.draws), len(other.draws))
        draws = sign * (self.draws[:n] - other.draws[:n])
        value = sign * (self.value - other.value)
        if n == 0 or np.ptp(draws) <= SAME * abs(value):
            return Score(value, value, value, level, "no spread")
        if paired and len(self.jackknife) == len(other.jackknife):
            jackknife = sign * (self.jackknife - other.jackknife)
        else:
            jackknife = sign * np.concatenate([self.jackknife, -other.jackknife + other.value + self.value])
        low, high = _bca(value, draws, jackknife, level)
        return Score(value, low, high, level, "paired BCa bootstrap" if paired else "BCa bootstrap")


def replicate(criterion: Criterion, y: Array, prediction: Prediction, sample: Sample, draws: Array) -> Replicates:
    """Resample one criterion of one learner's predictions; `draws` are sample.cluster_draws()."""
    statistic = criterion.prepare(y, prediction)
    value = float(statistic(np.ones(len(y))))
    if isinstance(statistic, RowMeans):
        drawn, jackknife = _from_means(statistic, sample, draws)
    else:
        most = REPEATED_DRAWS if isinstance(statistic, Repeated) else DRAWS
        few = draws[: int(np.clip(ROW_BUDGET // len(y), min(500, most), most))]
        step = max(1, 2_000_000 // len(y))
        chunks = [statistic(few[i : i + step, sample.cluster]) for i in range(0, len(few), step)]
        drawn, jackknife = np.concatenate(chunks), np.empty(0)
    smallest = int(np.bincount(y).min(initial=len(y), where=np.bincount(y) > 0)) if prediction.value is None else len(y)
    exact = criterion.name == "accuracy" and sample.independent
    return Replicates(value, drawn[np.isfinite(drawn)], jackknife, criterion, len(y), smallest, exact)


def _from_means(statistic: RowMeans, sample: Sample, draws: Array) -> tuple[Array, Array]:
    rows = np.column_stack([statistic.rows, np.ones(len(statistic.rows))])  # the last column counts
    sums = np.stack([np.bincount(sample.cluster, column, sample.n_clusters) for column in rows.T], axis=1)
    drawn = draws @ sums
    left = sums.sum(axis=0) - sums
    if sample.n_clusters == 1:
        return np.empty(0), np.empty(0)
    return statistic.combine(drawn[:, :-1] / drawn[:, -1:]), statistic.combine(left[:, :-1] / left[:, -1:])


def skewed(x: float, skewness: float, n: int) -> float:
    """The inverse of Hall's transformation, of x = t / sqrt(n), which takes the skewness out."""
    if abs(skewness) < STRAIGHT:
        return x
    return 3 / skewness * (float(np.cbrt(1 + skewness * (x - skewness / (6 * n)))) - 1)


def _hall(value: float, jackknife: Array, noise: float, level: float) -> tuple[float, float]:
    n = len(jackknife)
    contributed = n * value - (n - 1) * jackknife
    spread = float(contributed.std())
    skewness = float(np.mean((contributed - contributed.mean()) ** 3)) / spread**3 if spread > 0 else 0.0
    x = float(stdtrit(n - 1, (1 + level) / 2)) / math.sqrt(n)
    sigma = math.hypot(spread / math.sqrt(n - 1), noise) * math.sqrt(n)
    return value - sigma * skewed(x, skewness, n), value - sigma * skewed(-x, skewness, n)


def _bca(value: float, draws: Array, jackknife: Array, level: float) -> tuple[float, float]:
    """Efron (1987): percentiles shifted by z0 (median bias) and a (acceleration, from the jackknife)."""
    below = (np.sum(draws < value) + 0.5 * np.sum(draws == value)) / len(draws)
    z0 = ndtri(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    a = _acceleration(jackknife)
    tails = ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    shifted = z0 + (z0 + tails) / np.maximum(1 - a * (z0 + tails), 1e-6)
    low, high = np.quantile(draws, ndtr(shifted))
    return float(low), float(high)


def _acceleration(jackknife: Array) -> float:
    if jackknife.size < 3:
        return 0.0
    deviation = jackknife.mean() - jackknife
    spread = float(np.sum(deviation**2))
    return float(np.sum(deviation**3) / (6 * spread**1.5)) if spread > 0 else 0.0


def wilson(share: float, n: float, level: float) -> tuple[float, float]:
    """The ends of the interval for a share that was seen in n independent rows."""
    z = float(ndtri((1 + level) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    low = 0.0 if share == 0 else centre - half
    high = 1.0 if share == 1 else centre + half
    return low, high


def _no_spread(value: float, criterion: Criterion, n: int, level: float) -> tuple[float, float]:
    """All replicates agree. A rate of 0 or 1 in n rows still leaves (alpha/2)^(1/n) for the unseen."""
    if criterion.bounds != (0.0, 1.0) or abs(value - round(value)) > SAME:
        return value, value
    unseen = 1 - ((1 - level) / 2) ** (1 / n)
    return (1 - unseen, 1.0) if value > 0.5 else (0.0, unseen)
