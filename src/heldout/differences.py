r"""The difference of two losses on the same rows: how large, how certain, and what could have been seen.

Two learners that were fitted before these rows were looked at are compared row by row, so that what makes a row hard
for both cancels. Of clusters of rows (rows, twins, groups) the differences :math:`d_1 \dots d_n` are those of the
jackknife's pseudo-values. The claim is that the mean of d is above zero: the other is better.

**Great gains are cut, losses never.** Where the first learner fails badly in a few rows, these make the mean of d and
its standard error alike, and no t-test sees anything. So what counts is :math:`\min(d, c)`, where c is the size of the
(k + 1)-th largest difference, :math:`k = \sqrt m / 2` of m clusters in which the two differ. It is the same claim,
for :math:`E \min(d, c) > 0` implies :math:`E\, d > 0`, and a harder one. Of differences without great ones the cut
costs less than a tenth of a standard error.

**Skewness is taken out where it weakens the claim.** What is cut may still be skewed to the left, and Student's t is
wrong then: it takes a learner for better that fails rarely but badly. So the statistic :math:`S = \bar d / \hat\sigma`
goes through Hall's transformation, which takes the skewness :math:`\hat\gamma` out to the second order,

.. math:: g(S) = S + \tfrac13 \hat\gamma S^2 + \tfrac1{27} \hat\gamma^2 S^3 + \frac{\hat\gamma}{6 n},
    \qquad \sqrt n \, g(S) \sim t_{m - 1},

wherever :math:`\hat\gamma < 0`. Only the m clusters in which the two differ are degrees of freedom: of labels, these
alone carry news.

P. Hall, On the removal of skewness by transformation, J. Royal Statistical Society B 54, 1992, 221-228. K. K. Yuen,
The two-sample trimmed t for unequal population variances, Biometrika 61, 1974, 165-170, cuts both sides alike; one
side alone keeps the claim about the mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

from heldout.intervals import LEAST_CLUSTERS, LEVEL, NOTHING, Replicates, Score, skewed

Array = NDArray[np.float64]
HOW = "Hall's t"


@dataclass(frozen=True)
class Side:
    """One side of a difference: the mean of the clusters' differences with great gains cut, and how it is spread."""

    value: float
    se: float
    skewness: float = 0.0

    @classmethod
    def of(cls, differences: Array, cut: float) -> Side:
        """Of differences (n,), no gain counted for more than `cut`."""
        counted = np.minimum(differences, cut)
        value, spread = float(counted.mean()), float(counted.std())
        if spread <= NOTHING * abs(value):
            return cls(value, 0.0)
        return cls(value, spread / math.sqrt(len(counted) - 1), float(np.mean((counted - value) ** 3)) / spread**3)

    def p(self, n: int, df: int) -> float:
        """The chance of a mean like this, or larger, where the true one is not above zero."""
        gamma = min(self.skewness, 0.0)
        s = self.value / (self.se * math.sqrt(n))
        straight = s + gamma / 3 * s**2 + gamma**2 / 27 * s**3 + gamma / (6 * n)
        return float(stdtr(df, -math.sqrt(n) * straight))

    def low(self, n: int, df: int, level: float) -> float:
        """The lower end of the interval: above zero where `p` is below (1 - level) / 2."""
        x = skewed(float(stdtrit(df, (1 + level) / 2)) / math.sqrt(n), min(self.skewness, 0.0), n)
        return self.value - self.se * math.sqrt(n) * x


@dataclass(frozen=True)
class Difference:
    """loss(one) - loss(other) on the same rows: positive where the other is better.

    Attributes
    ----------
    value : float, in units of the criterion
    gains : Side, with the other's great gains cut: what "the other is better" rests on
    losses : Side, the same of "the first is better", its sign turned
    clusters, differing : int, how many clusters of rows there are, and in how many the two differ
    held : float or None
        Of criteria that are roots of means (RMSE), means are compared, and this is the smaller of the two: the interval
        is turned into roots from there.

    >>> side = Side(value=0.3, se=0.1, skewness=-1.0)
    >>> seen = Difference(0.3, side, Side(-0.3, 0.1), clusters=100, differing=100)
    >>> round(seen.p, 4), seen.score()
    (0.0042, Score(0.3, 95% interval 0.08485 to 0.4984, Hall's t))
    """

    value: float
    gains: Side
    losses: Side
    clusters: int
    differing: int
    held: float | None = None

    @property
    def p(self) -> float:
        """The chance of a difference like this, or larger, where the other is not better."""
        if self.gains.se == 0.0:
            return 0.5**self.differing if self.value > 0.0 else 1.0
        return self.gains.p(self.clusters, self._df)

    def score(self, level: float = LEVEL) -> Score:
        """The difference with its interval; the interval leaves zero out where `p` is below (1 - level) / 2."""
        low = self.gains.low(self.clusters, self._df, level)
        high = -self.losses.low(self.clusters, self._df, level)
        return Score(
            self.value, min(self.value, self._in_units(low)), max(self.value, self._in_units(high)), level, HOW
        )

    def detectable(self, level: float, power: float = 0.8) -> float:
        """The true difference that a test at this one-sided level would have seen with this chance."""
        size = float(stdtrit(self._df, 1 - level) + ndtri(power)) * self.gains.se
        return size if self.held is None else math.sqrt(self.held + size) - math.sqrt(self.held)

    def turned(self) -> Difference:
        """The difference of the two the other way round."""
        return Difference(-self.value, self.losses, self.gains, self.clusters, self.differing, self.held)

    def blurred(self, noise: float) -> Difference:
        """The same where the scores themselves have a noise of this spread, in units of the criterion."""
        if not noise:
            return self
        spread = noise if self.held is None else 2.0 * math.sqrt(self.held) * noise
        gains, losses = (replace(side, se=math.hypot(side.se, spread)) for side in (self.gains, self.losses))
        return replace(self, gains=gains, losses=losses)

    @property
    def _df(self) -> int:
        return max(1, self.differing - 1)

    def _in_units(self, of_means: float) -> float:
        """A difference of means as one of roots: the smaller mean stays as it is, the other moves."""
        if self.held is None:
            return of_means
        sign = 1.0 if self.value >= 0.0 else -1.0
        return sign * (math.sqrt(max(0.0, self.held + sign * of_means)) - math.sqrt(self.held))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Difference:
        return cls(**{**data, "gains": Side(**data["gains"]), "losses": Side(**data["losses"])})


def of_clusters(value: float, differences: Array, held: float | None = None) -> Difference:
    """Of the clusters' differences (n,); the greatest of each side are cut to the size of the next."""
    sizes = np.sort(np.abs(differences))[::-1]
    differing = int(np.sum(sizes > NOTHING * sizes[0]))
    cut = float(sizes[min(round(math.sqrt(differing) / 2), len(sizes) - 1)])
    sides = Side.of(differences, cut), Side.of(-differences, cut)
    return Difference(value, *sides, len(differences), differing, held)


def difference(one: Replicates, other: Replicates) -> Difference:
    """loss(one) - loss(other), of replicates on the same rows.

    Criteria of scikit-learn have no jackknife: the bootstrap's spread stands for it, and the rows of the smallest class
    for the clusters.
    """
    criterion = one.criterion
    sign = -1.0 if criterion.greater_is_better else 1.0
    value = sign * (one.value - other.value)
    if len(one.jackknife) == len(other.jackknife) >= LEAST_CLUSTERS:
        power = 2 if criterion.root else 1
        means = (one.value**power, other.value**power)
        held = min(means) if criterion.root else None
        n = len(one.jackknife)
        left = one.jackknife**power - other.jackknife**power
        pseudo = sign * (n * (means[0] - means[1]) - (n - 1) * left)
        return of_clusters(value, pseudo, held).blurred(math.hypot(one.noise, other.noise))
    n = min(len(one.draws), len(other.draws))
    spread = float((one.draws[:n] - other.draws[:n]).std(ddof=1)) if n > 1 else 0.0
    return Difference(value, Side(value, spread), Side(-value, spread), one.smallest_class, one.smallest_class)
