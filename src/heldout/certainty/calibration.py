r"""Do predicted probabilities mean what they say? How far off they are, and the remedies, tried.

**Reliability.** Rows in tenths by predicted probability: what was predicted, what was observed. The expected
calibration error is the mean distance of the two. It is above zero by chance alone, so what chance makes of it is said
beside it (consistency resampling; Bröcker and Smith 2007).

**Parts of the Brier score.** With :math:`\hat p` the isotonic fit of what happened on what was predicted and
:math:`\bar y` the mean,

.. math:: B(p) = \underbrace{B(p) - B(\hat p)}_{\text{miscalibration}}
    - \underbrace{(B(\bar y) - B(\hat p))}_{\text{discrimination}} + \underbrace{B(\bar y)}_{\text{uncertainty}},

without bins, and neither of the first two is ever negative.

**Remedies.** A temperature, :math:`p_k^{1/T} / \sum_j p_j^{1/T}`, and an isotonic curve for each class. Both are fitted
to nine tenths of the validation rows and applied to the rest, in turn, so that what they gain is honest.

References
----------
J. Bröcker and L. A. Smith, Increasing the reliability of reliability diagrams, Weather and Forecasting 22, 2007.
T. Dimitriadis, T. Gneiting and A. I. Jordan, Stable reliability diagrams for probabilistic classifiers, PNAS 118, 2021.
C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On calibration of modern neural networks, ICML 2017.
B. Zadrozny and C. Elkan, Transforming classifier scores into accurate multiclass probability estimates, KDD 2002.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from heldout.errors import InputError
from heldout.intervals import LEVEL, wilson
from heldout.printed import Printed, Sheet
from heldout.words import number

if TYPE_CHECKING:
    from heldout.persist import State

Array = NDArray[Any]
BINS = 10
LEAST_IN_BIN = 5
CHANCE_DRAWS = 2000
HOTTEST = 100.0  # temperatures between its inverse and it
SMALLEST = 1e-12  # probability whose logarithm is taken


@dataclass(frozen=True, repr=False, eq=False)
class Calibration(Printed):
    """How far predicted probabilities are from what happens. Prints as a table of the reliability curve.

    Attributes
    ----------
    predicted, observed, low, high : float arrays (b,)
        In each bin the mean predicted probability, the share observed and its 95% interval (Wilson).
    rows : int array (b,)
    ece : float
        Expected calibration error: the mean distance of observed and predicted, over the rows.
    ece_by_chance : float
        What it stays below in 95% of samples where every probability is right.
    brier, miscalibration, discrimination, uncertainty : float
        The Brier score and its parts: brier = miscalibration - discrimination + uncertainty. Of two classes that of
        one of them, of more the sum over the classes.
    """

    predicted: Array
    observed: Array
    low: Array
    high: Array
    rows: Array
    ece: float
    ece_by_chance: float
    brier: float
    miscalibration: float
    discrimination: float
    uncertainty: float

    @property
    def off(self) -> bool:
        """The probabilities are off by more than chance."""
        return self.ece > self.ece_by_chance

    def _table(self) -> Sheet:
        header = ["rows", "predicted", "observed", "95% interval"]
        columns = (self.rows, self.predicted, self.observed, self.low, self.high)
        body = [
            [f"{n:,}", f"{p:.3f}", f"{o:.3f}", f"{low:.3f} to {high:.3f}"]
            for n, p, o, low, high in zip(*columns, strict=True)
        ]
        notes = [
            f"Calibration error {number(self.ece)}; in 95% of samples right ones stay below "
            f"{number(self.ece_by_chance)}.",
            f"Brier score {number(self.brier)} = miscalibration {number(self.miscalibration)} - discrimination "
            f"{number(self.discrimination)} + uncertainty {number(self.uncertainty)}.",
        ]
        return ["Predicted and observed shares"], header, body, notes

    def plot(self) -> Any:
        """An Altair chart of the reliability curve with its intervals; the dashed line is perfect."""
        from heldout.report.plots import reliability

        return reliability(self.to_json(), "predicted probability", "share observed")

    def to_json(self) -> dict[str, Any]:
        shown = {name: getattr(self, name).tolist() for name in ("predicted", "observed", "low", "high", "rows")}
        return shown | {
            name: getattr(self, name)
            for name in ("ece", "ece_by_chance", "brier", "miscalibration", "discrimination", "uncertainty")
        }


def calibration(y: ArrayLike, probability: ArrayLike, *, groups: ArrayLike | None = None, seed: int = 0) -> Calibration:
    r"""Do these probabilities mean what they say?

    .. math:: \text{ECE} = \sum_b \frac{n_b}{n} |\bar y_b - \bar p_b|

    Parameters
    ----------
    y : array-like (n,)
        Codes of the classes, 0 to K - 1.
    probability : array-like (n, K), or (n,) of class 1
        Of rows that the learner has not learned from. Of two classes class 1 is looked at; of more the most probable
        one of each row.
    groups : array-like (n,) or None, default None
        Rows of a group depend on each other: intervals are widened as if a group were one observation.
    seed : int, not negative, default 0
        Of what chance makes of the error.

    Raises
    ------
    InputError : the shapes do not fit, a probability is not between 0 and 1, or a code is no class.

    References
    ----------
    As the module has them.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> p = rng.uniform(size=2000)
    >>> y = (rng.uniform(size=2000) < p).astype(int)
    >>> calibration(y, p).off, calibration(y, p**3).off
    (False, True)
    """
    truth, given = _checked(y, probability)
    if given.shape[1] == 2:
        event, shown = truth == 1, given[:, 1]
    else:
        event, shown = truth == given.argmax(axis=1), given.max(axis=1)
    dependence = 1.0
    if groups is not None:
        sizes = np.unique(np.asarray(groups), return_counts=True)[1]
        dependence = float((sizes**2).sum() / len(truth))  # n rows carry the news of n / dependence, at the worst
    bins = np.array_split(np.argsort(shown, kind="stable"), min(BINS, max(1, len(truth) // LEAST_IN_BIN)))
    predicted, observed = (np.array([values[rows].mean() for rows in bins]) for values in (shown, event))
    rows = np.array([len(item) for item in bins])
    ends = [wilson(share, max(1.0, n / dependence), LEVEL) for share, n in zip(observed, rows, strict=True)]
    spread = np.sqrt([dependence * (shown[item] * (1 - shown[item])).sum() for item in bins])  # of the count in a bin
    chance = np.abs(np.random.default_rng(seed).normal(size=(CHANCE_DRAWS, len(bins)))) @ spread / len(truth)
    ece = float(np.abs(observed - predicted) @ rows / len(truth))
    low, high = (np.array(end) for end in zip(*ends, strict=True))
    by_chance = float(np.quantile(chance, LEVEL))
    return Calibration(predicted, observed, low, high, rows, ece, by_chance, *_brier_parts(truth, given))


def _checked(y: ArrayLike, probability: ArrayLike) -> tuple[Array, Array]:
    given = np.asarray(probability, np.float64)
    given = np.stack([1 - given, given], axis=1) if given.ndim == 1 else given
    truth = np.asarray(y)
    if given.ndim != 2 or given.shape[1] < 2 or truth.shape != (len(given),) or not len(truth):
        raise InputError(
            f"The probabilities have the shape {given.shape} and y {truth.shape}: give (n, K) or (n,), and (n,)."
        )
    if not (given >= 0).all() or not (given <= 1).all():
        raise InputError("Probabilities must lie between 0 and 1.")
    if truth.dtype.kind not in "iub" or truth.min() < 0 or truth.max() >= given.shape[1]:
        raise InputError(f"y must hold codes of the classes, whole numbers from 0 to {given.shape[1] - 1}.")
    return truth.astype(np.int64), given


def _brier_parts(y: Array, probability: Array) -> tuple[float, float, float, float]:
    from sklearn.isotonic import isotonic_regression

    parts = np.zeros(4)
    for code in [1] if probability.shape[1] == 2 else range(probability.shape[1]):
        p = probability[:, code]
        _, place = np.unique(p, return_inverse=True)
        event = (y == code).astype(np.float64)
        rows = np.bincount(place).astype(np.float64)
        fitted = isotonic_regression(np.bincount(place, event) / rows, sample_weight=rows)[place]
        score, best, none = (np.mean((f - event) ** 2) for f in (p, fitted, event.mean()))
        parts += score, score - best, none - best, none
    brier, off, told, uncertain = (float(part) for part in parts)
    return brier, off, told, uncertain


# Remedies --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Temperature:
    """Probabilities p_k^(1/T), normalised: above T = 1 they are drawn towards each other. Nothing changes its rank."""

    temperature: float

    title = "temperature"

    @classmethod
    def fit(cls, probability: Array, y: Array) -> Temperature:
        """The temperature with the least log loss on these rows; the loss is convex in 1/T."""
        logs = np.log(np.maximum(probability, SMALLEST))
        own = logs[np.arange(len(y)), y]

        def loss(power: float) -> float:
            scaled = np.exp(power) * logs
            top = scaled.max(axis=1)
            total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
            return float(np.mean(total - np.exp(power) * own))

        end = float(np.log(HOTTEST))
        found = minimize_scalar(loss, bounds=(-end, end), method="bounded", options={"xatol": 1e-6})
        return cls(float(np.exp(-found.x)))

    def __call__(self, probability: Array) -> Array:
        scaled = np.log(np.maximum(probability, SMALLEST)) / self.temperature
        raised = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def __str__(self) -> str:
        return f"temperature {number(self.temperature, 3)}"

    def to_state(self) -> dict[str, Any]:
        return {"temperature": self.temperature}

    @classmethod
    def from_state(cls, state: State) -> Temperature:
        return cls(state.number("temperature", low=0.5 / HOTTEST, high=2 * HOTTEST))


@dataclass(frozen=True, eq=False)
class Isotonic:
    """A rising curve for each class (of two classes for the second), through `knots` and `heights`; then normalised.

    Heights stay 1 / (n + 2) away from 0 and 1: n rows cannot tell that something never happens.
    """

    knots: tuple[Array, ...]
    heights: tuple[Array, ...]

    title = "isotonic curve"

    @classmethod
    def fit(cls, probability: Array, y: Array) -> Isotonic:
        from sklearn.isotonic import IsotonicRegression

        edge = 1 / (len(y) + 2)
        codes = [1] if probability.shape[1] == 2 else range(probability.shape[1])
        fits = [IsotonicRegression(y_min=edge, y_max=1 - edge).fit(probability[:, k], y == k) for k in codes]
        return cls(tuple(f.X_thresholds_ for f in fits), tuple(f.y_thresholds_ for f in fits))

    def __call__(self, probability: Array) -> Array:
        if len(self.knots) == 1:
            one = np.interp(probability[:, 1], self.knots[0], self.heights[0])
            return np.stack([1 - one, one], axis=1)
        curves = zip(probability.T, self.knots, self.heights, strict=True)
        raised = np.stack([np.interp(p, x, height) for p, x, height in curves], axis=1)
        return np.asarray(raised / raised.sum(axis=1, keepdims=True))

    def __str__(self) -> str:
        return "an isotonic curve"

    def to_state(self) -> dict[str, Any]:
        return {"knots": list(self.knots), "heights": list(self.heights)}

    @classmethod
    def from_state(cls, state: State) -> Isotonic:
        knots = state.arrays("knots", shape=(None,), low=0.0, high=1.0)
        heights = state.arrays("heights", shape=(None,), low=0.0, high=1.0)
        sound = len(knots) == len(heights) and all(
            len(x) == len(h) > 0 and (np.diff(x) > 0).all() and (np.diff(h) >= 0).all() and h.min() > 0
            for x, h in zip(knots, heights, strict=False)
        )
        if not sound:
            state.fail("its curves do not rise")
        return cls(tuple(knots), tuple(heights))


Calibrator = Temperature | Isotonic
CALIBRATORS: tuple[type[Temperature] | type[Isotonic], ...] = (Temperature, Isotonic)


def cross_fitted(method: type[Temperature] | type[Isotonic], probability: Array, y: Array, fold: Array) -> Array:
    """The probabilities (n, K) after a remedy that was fitted without the row's own fold."""
    made = np.empty_like(probability)
    for k in np.unique(fold):
        held = fold == k
        made[held] = method.fit(probability[~held], y[~held])(probability[held])
    return made
