r"""Conformal prediction: how far off a learner is on rows that it has not learned from says how far it may be off next.

With the distances :math:`s_1, \dots, s_n` of rows that are exchangeable with the next one,

.. math:: P(s_{n + 1} \le s_{(\lceil \lambda (n + 1) \rceil)}) \ge \lambda,

whatever the learner and whatever the law of the data. The distance is :math:`|y - f(x)|` for numbers, which gives
intervals, and :math:`1 - p_y(x)` for classes, which gives the smallest sets on average. Rows that depend on each other
share the weight of one.

References
----------
V. Vovk, A. Gammerman and G. Shafer, Algorithmic Learning in a Random World, 2005, chapters 2 and 4.
M. Sadinle, J. Lei and L. Wasserman, Least ambiguous set-valued classifiers with bounded error levels, JASA 114, 2019.
Y. Lee, R. F. Barber and R. Willett, Distribution-free inference with hierarchical data, 2023 (weights of groups).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from heldout.errors import InputError
from heldout.metrics import Prediction

if TYPE_CHECKING:
    from heldout.persist import State

Array = NDArray[Any]
TIE = 1e-9  # of a rank: so that 0.95 * 20 is 19


def distances(y: Array, prediction: Prediction) -> Array:
    """How far the truth is from what is predicted, (n,): |y - f|, or 1 minus the probability of the true class."""
    if prediction.value is not None:
        return np.asarray(np.abs(y - prediction.value))
    return np.asarray(1 - np.asarray(prediction.probability)[np.arange(len(y)), y])


def rank(level: float, n: int) -> int:
    """Which of n distances in rising order covers the next with this chance: 1 to n, n + 1 where none does.

    >>> rank(0.95, 19), rank(0.95, 18), rank(0.9, 100)
    (19, 19, 91)
    """
    return max(1, int(np.ceil(level * (n + 1) - TIE)))


@dataclass(frozen=True, eq=False, repr=False)
class Conformal:
    """Distances of rows that the learner has not learned from, and the threshold of any level.

    Attributes
    ----------
    distances : float array (m,), rising
    weights : float array (m,)
        What each counts; each unit of rows that depend on each other counts 1 in all.
    """

    distances: Array
    weights: Array

    @classmethod
    def of(cls, distances: Array, units: Array | None = None) -> Conformal:
        """`units`: for each row the unit that it belongs to; by default each row is its own."""
        weights = np.ones(len(distances))
        if units is not None:
            _, unit, sizes = np.unique(units, return_inverse=True, return_counts=True)
            weights = 1 / sizes[unit]
        order = np.argsort(distances, kind="stable")
        return cls(np.asarray(distances, np.float64)[order], weights[order])

    def threshold(self, level: float) -> float:
        """The distance that the next row keeps to with this chance; infinite where the rows are too few to say."""
        require_level(level)
        heights = np.cumsum(self.weights)
        wanted = level * (round(heights[-1]) + 1)
        if np.all(self.weights == 1):
            wanted = rank(level, len(heights))
        at = int(np.searchsorted(heights, wanted * (1 - TIE)))
        return float(self.distances[at]) if at < len(heights) else np.inf

    def intervals(self, value: Array, level: float) -> Array:
        """Of predicted numbers: the ends, (n, 2)."""
        return np.stack([value, value], axis=1) + np.array([-1.0, 1.0]) * self.threshold(level)

    def sets(self, probability: Array, level: float) -> Array:
        """Of predicted probabilities: which classes are in the set, bool (n, K). A set may be empty: none fits."""
        return np.asarray(1 - probability <= self.threshold(level))

    def to_state(self) -> dict[str, Any]:
        return {"distances": self.distances, "weights": self.weights}

    @classmethod
    def from_state(cls, state: State) -> Conformal:
        found = state.array("distances", shape=(None,), low=0.0)
        weights = state.array("weights", shape=(len(found),), low=0.0, high=1.0)
        if not len(found) or np.any(np.diff(found) < 0) or weights.min() <= 0:
            state.fail("its distances do not rise, or weigh nothing")
        return cls(found, weights)


def cross_covered(distances: Array, units: Array, fold: Array, level: float) -> Array:
    """Whether each row is covered by the threshold of the rows outside its fold, bool (n,)."""
    covered = np.zeros(len(distances), bool)
    for k in np.unique(fold):
        held = fold == k
        covered[held] = distances[held] <= Conformal.of(distances[~held], units[~held]).threshold(level)
    return covered


def require_level(level: Any) -> None:
    """Raise InputError for what is no level of coverage."""
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise InputError(f"The level is {level!r}: give a number between 0 and 1, such as 0.95.")
