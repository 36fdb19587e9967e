r"""Scores with intervals: what each row has to do with a score, for every learner, criterion and comparison.

The rows of a part are put into at most 2,000 clusters: rows that depend on each other (twins, a group, a
stretch of time) share one, and large parts are put together at random, which leaves the interval of a mean
unchanged. Each cluster is left out in turn (the jackknife; Efron and Tibshirani 1993, chapter 11), exactly for smooth
functions of means, by the slopes of areas under curves. From there

- losses without an upper bound have Student's interval with the skewness taken out (Hall 1992, J. Royal Statistical
  Society B 54), in both directions: they are skewed;
- scores between two bounds have Wilson's interval (1927, JASA 22) of as many rows as the jackknife's variance says they
  are worth, :math:`n = T (1 - T) / \hat\sigma^2`, with Student's t for the number of clusters. Of the accuracy of
  independent rows that is Wilson's own, but for t.

Functions of scikit-learn that know nothing of weights are resampled: whole clusters, drawn with replacement (Davison &
Hinkley 1997, section 3.8), the same for all learners, and bias-corrected percentiles (Efron 1987, JASA 82, equation
2.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtrit

from heldout.metrics import Areas, Criterion, Prediction, RowMeans

Array = NDArray[Any]
LEVEL = 0.95
DRAWS = 300  # replicates of functions that are called once for each
CLUSTERS = 2000
LEAST_CLUSTERS = 3
NOTHING = 1e-9  # of the largest: what differs by rounding
STRAIGHT = 1e-6  # a skewness that only rounding tells from none
SAME = 1e-12  # replicates that differ by rounding agree


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
    """What the rows of one part have to do with each other: cluster of each row, and the seed of draws.

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

    def draws(self, most: int = DRAWS) -> Array:
        """Counts of the clusters in each replicate, shape (most, n_clusters)."""
        rng, g = np.random.default_rng([self.seed, 1]), self.n_clusters
        return np.stack([np.bincount(rng.integers(g, size=g), minlength=g) for _ in range(most)])


@dataclass(frozen=True, repr=False)
class Replicates:
    """A score and what the clusters of rows have to do with it: all that any interval or comparison needs."""

    value: float
    draws: Array  # (most,) bootstrap replicates of what has no jackknife, else empty
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
        share, se = (self.value - lower) / (upper - lower), self.se
        if se == 0.0:
            low, high = _no_spread(self.value, self.criterion, self.smallest_class, level)
            method = "no spread"
        elif not self._by_jackknife:
            low, high = _bias_corrected(self.value, self.draws, level)
            method = "bootstrap"
        elif np.isfinite([lower, upper]).all() and 0.0 < share < 1.0:
            worth = share * (1 - share) * ((upper - lower) / se) ** 2
            ends = wilson(share, worth, level, len(self.jackknife) - 1)
            low, high = (lower + (upper - lower) * end for end in ends)
            method = "Wilson's, by the jackknife"
        else:
            low, high = _straightened(self.value, se, self._skewness, len(self.jackknife) - 1, level)
            method = "Hall's t"
        return Score(self.value, max(low, lower), min(high, upper), level, method)

    @property
    def _by_jackknife(self) -> bool:
        return len(self.jackknife) >= LEAST_CLUSTERS

    @property
    def _contributions(self) -> Array:
        """By how much each cluster moves the score, times the number of clusters (n_clusters,); their mean is zero."""
        return np.asarray((len(self.jackknife) - 1) * (self.jackknife.mean() - self.jackknife))

    @property
    def se(self) -> float:
        """The standard error of the score; 0 where nothing but rounding moves it."""
        moved = self.jackknife if self._by_jackknife else self.draws
        if not moved.size or np.ptp(moved) <= SAME * abs(self.value):
            return self.noise
        spread = float(moved.std())
        return math.hypot(math.sqrt(len(moved) - 1) * spread if self._by_jackknife else spread, self.noise)

    @property
    def _skewness(self) -> float:
        """Of the score, as far as the clusters make it: that of a mean of their contributions."""
        return _skewness(self._contributions) / math.sqrt(len(self.jackknife))

    def moved(self, value: float, noise: float) -> Replicates:
        """The uncertainty of this score, and of a normal `noise` with this spread, around another value."""
        by = min(max(value, self.criterion.bounds[0]), self.criterion.bounds[1]) - self.value
        drawn = np.random.default_rng(len(self.draws)).normal(0.0, noise, len(self.draws))
        moved = replace(self, value=self.value + by, draws=self.draws + by + drawn, jackknife=self.jackknife + by)
        return replace(moved, exact=False, noise=noise if self._by_jackknife else 0.0)

    def loss_minus(self, other: Replicates, level: float = LEVEL) -> Score:
        """loss(self) - loss(other) of two parts that were drawn apart, positive where `self` is worse."""
        sign = -1.0 if self.criterion.greater_is_better else 1.0
        value, squares = sign * (self.value - other.value), (self.se**2, other.se**2)
        se = math.sqrt(sum(squares))
        if se == 0.0:
            return Score(value, value, value, level, "no spread")
        if not (self._by_jackknife and other._by_jackknife):
            n = min(len(self.draws), len(other.draws))
            low, high = _bias_corrected(value, sign * (self.draws[:n] - other.draws[:n]), level)
            return Score(value, low, high, level, "bootstrap")
        parts = (self, other)
        df = sum(squares) ** 2 / sum(v**2 / (len(part.jackknife) - 1) for v, part in zip(squares, parts, strict=True))
        third = [v**1.5 * part._skewness for v, part in zip(squares, parts, strict=True)]
        low, high = _straightened(value, se, sign * (third[0] - third[1]) / se**3, df, level)
        return Score(value, low, high, level, "Hall's t")


def replicate(criterion: Criterion, y: Array, prediction: Prediction, sample: Sample, most: int = DRAWS) -> Replicates:
    """One criterion of one learner's predictions; `most` replicates where it has to be drawn anew."""
    statistic = criterion.prepare(y, prediction)
    value = float(statistic(np.ones(len(y))))
    drawn: Array = np.empty(0)
    jackknife: Array = np.empty(0)
    if isinstance(statistic, RowMeans):
        jackknife = _left_out(statistic, sample)
    elif isinstance(statistic, Areas) and len(np.unique(y)) > 1:
        jackknife = value - np.bincount(sample.cluster, statistic.slopes(), sample.n_clusters)
    else:
        drawn = np.asarray(statistic(sample.draws(most)[:, sample.cluster]))
    smallest = int(np.bincount(y).min(initial=len(y), where=np.bincount(y) > 0)) if prediction.value is None else len(y)
    exact = criterion.name == "accuracy" and sample.independent
    return Replicates(value, drawn[np.isfinite(drawn)], jackknife, criterion, len(y), smallest, exact)


def _left_out(statistic: RowMeans, sample: Sample) -> Array:
    """The statistic without each cluster in turn (n_clusters,)."""
    if sample.n_clusters == 1:
        return np.empty(0)
    rows = np.column_stack([statistic.rows, np.ones(len(statistic.rows))])  # the last column counts
    sums = np.stack([np.bincount(sample.cluster, column, sample.n_clusters) for column in rows.T], axis=1)
    left = sums.sum(axis=0) - sums
    return statistic.combine(left[:, :-1] / left[:, -1:])


def skewed(x: float, skewness: float, n: int) -> float:
    """The inverse of Hall's transformation, of x = t / sqrt(n), which takes the skewness out."""
    if abs(skewness) < STRAIGHT:
        return x
    return 3 / skewness * (float(np.cbrt(1 + skewness * (x - skewness / (6 * n)))) - 1)


def _skewness(values: Array) -> float:
    spread = float(values.std())
    return float(np.mean((values - values.mean()) ** 3)) / spread**3 if spread > 0 else 0.0


def _straightened(value: float, se: float, skewness: float, df: float, level: float) -> tuple[float, float]:
    """Student's interval of an estimate with this standard error and skewness, the skewness taken out."""
    x = float(stdtrit(df, (1 + level) / 2))
    return value - se * skewed(x, skewness, 1), value - se * skewed(-x, skewness, 1)


def _bias_corrected(value: float, draws: Array, level: float) -> tuple[float, float]:
    """Percentiles of the replicates, shifted by the median bias."""
    below = (np.sum(draws < value) + 0.5 * np.sum(draws == value)) / len(draws)
    z0 = ndtri(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    tails = ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.quantile(draws, ndtr(2 * z0 + tails))
    return float(low), float(high)


def wilson(share: float, n: float, level: float, df: float | None = None) -> tuple[float, float]:
    """The ends of the interval for a share that was seen in n independent rows; with `df`, Student's t for a normal."""
    z = float(ndtri((1 + level) / 2) if df is None else stdtrit(df, (1 + level) / 2))
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
