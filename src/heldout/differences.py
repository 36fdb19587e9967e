r"""The difference of two losses on the same rows: how large, how certain, and what could have been seen.

Two learners that were fitted before these rows were looked at are compared row by row, so that what makes a row hard
for both cancels. The standard error of the difference d is the jackknife's, over the clusters of rows that are
resampled (rows, twins, groups). Differences of losses are skewed, and Student's t is wrong where they are: it takes a
learner for better that fails rarely but badly. So the statistic :math:`S = d / \hat\sigma` goes through Hall's
transformation, which takes the skewness :math:`\hat\gamma` out to the second order,

.. math:: g(S) = S + \tfrac13 \hat\gamma S^2 + \tfrac1{27} \hat\gamma^2 S^3 + \frac{\hat\gamma}{6 n},
    \qquad \sqrt n \, g(S) \sim t_{m - 1},

wherever that makes the claim weaker, never where it makes it stronger. m counts the clusters in which the two learners
differ: of labels, these alone carry news.

P. Hall, On the removal of skewness by transformation, J. Royal Statistical Society B 54, 1992, 221-228.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from heldout.intervals import LEVEL, Replicates, Score

NOTHING = 1e-9  # of the largest: a cluster in which the learners agree but for rounding
LEAST_CLUSTERS = 3
STRAIGHT = 1e-6  # a skewness that only rounding tells from none


@dataclass(frozen=True)
class Difference:
    """loss(one) - loss(other) on the same rows: positive where the other is better.

    Attributes
    ----------
    value : float, in units of the criterion
    se : float, its standard error
    skewness : float, of the clusters' differences
    clusters, differing : int, how many clusters of rows there are, and in how many the two differ

    >>> seen = Difference(value=0.3, se=0.1, skewness=-1.0, clusters=100, differing=100)
    >>> round(seen.p, 4), seen.score()
    (0.0042, Score(0.3, 95% interval 0.08485 to 0.4984, Hall's t))
    """

    value: float
    se: float
    skewness: float
    clusters: int
    differing: int

    @property
    def p(self) -> float:
        """The chance of a difference like this, or larger, where the other is not better."""
        if self.se == 0.0:
            return 0.5**self.differing if self.value > 0.0 else 1.0
        n, gamma = self.clusters, min(self.skewness, 0.0)
        s = self.value / (self.se * math.sqrt(n))
        straight = s + gamma / 3 * s**2 + gamma**2 / 27 * s**3 + gamma / (6 * n)
        return float(stdtr(self._df, -math.sqrt(n) * straight))

    def score(self, level: float = LEVEL) -> Score:
        """The difference with its interval; the interval leaves zero out where `p` is below (1 - level) / 2."""
        x = float(stdtrit(self._df, (1 + level) / 2)) / math.sqrt(self.clusters)
        sigma = self.se * math.sqrt(self.clusters)
        low = self.value - sigma * self._bent(x, min(self.skewness, 0.0))
        high = self.value + sigma * self._bent(x, min(-self.skewness, 0.0))
        return Score(self.value, low, high, level, "Hall's t")

    def detectable(self, level: float, power: float = 0.8) -> float:
        """The true difference that a test at this one-sided level would have seen with this chance."""
        return float(stdtrit(self._df, 1 - level) + ndtri(power)) * self.se

    def turned(self) -> Difference:
        """The difference of the two the other way round."""
        return Difference(-self.value, self.se, -self.skewness, self.clusters, self.differing)

    @property
    def _df(self) -> int:
        return max(1, self.differing - 1)

    def _bent(self, x: float, gamma: float) -> float:
        """The inverse of g."""
        if abs(gamma) < STRAIGHT:
            return x
        return 3 / gamma * (float(np.cbrt(1 + gamma * (x - gamma / (6 * self.clusters)))) - 1)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Difference:
        return cls(**data)


def difference(one: Replicates, other: Replicates) -> Difference:
    """loss(one) - loss(other), of replicates on the same rows.

    Criteria that are no means of rows (areas under curves) have no jackknife: the bootstrap's spread stands for it, and
    the rows of the smallest class for the clusters.
    """
    sign = -1.0 if one.criterion.greater_is_better else 1.0
    value, noise = sign * (one.value - other.value), math.hypot(one.noise, other.noise)
    if len(one.jackknife) == len(other.jackknife) >= LEAST_CLUSTERS:
        n = len(one.jackknife)
        pseudo = n * value - (n - 1) * sign * (one.jackknife - other.jackknife)
        spread = float(pseudo.std())
        differing = int(np.sum(np.abs(pseudo) > NOTHING * np.abs(pseudo).max()))
        if spread <= NOTHING * abs(value):
            return Difference(value, noise, 0.0, n, differing)
        skewness = float(np.mean((pseudo - pseudo.mean()) ** 3)) / spread**3
        return Difference(value, math.hypot(spread / math.sqrt(n - 1), noise), skewness, n, differing)
    n = min(len(one.draws), len(other.draws))
    drawn = one.draws[:n] - other.draws[:n]
    spread = float(drawn.std(ddof=1)) if n > 1 else 0.0
    return Difference(value, spread, 0.0, one.smallest_class, one.smallest_class)
