"""Criteria: what a prediction is worth, as a function of row weights so that it can be resampled.

Every criterion is a statistic T(w) of the weights w of the rows: w = 1 is the score itself, bootstrap counts
give its replicates, and a row left out gives the jackknife. Most criteria are smooth functions of weighted
means of row quantities,

    T(w) = g( sum_i w_i r_i / sum_i w_i ),   r_i in R^m,

for example r_i = (y_i - f_i)^2 and g = sqrt for the RMSE; the areas under curves work on sorted scores; any
other function of scikit-learn.metrics is evaluated on repeated rows. Areas have slopes dT/dw_i, so that rows left out
cost no more than the area itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from heldout.errors import InputError, WorkError, suggest
from heldout.panel import CLASSIFICATION, REGRESSION

Array = NDArray[Any]
Task = Literal["regression", "binary", "multiclass"]
Needs = Literal["value", "label", "probability"]


@dataclass(frozen=True)
class Prediction:
    """What a learner says of n rows: values (regression), or class codes and probabilities.

    `label` holds codes 0..K-1 in the order of the problem's classes; in a binary problem code 1 is the
    positive class. `probability` has shape (n, K), or is None for learners that give none.
    """

    value: Array | None = None
    label: Array | None = None
    probability: Array | None = None

    def __len__(self) -> int:
        given = self.value if self.value is not None else self.label
        return 0 if given is None else len(given)


@dataclass(frozen=True)
class RowMeans:
    """T(w) = combine(weighted means of `rows`); rows has shape (n, m), combine maps (..., m) to (...)."""

    rows: Array
    combine: Callable[[Array], Array]

    def __call__(self, weights: Array) -> Array:
        means = weights @ self.rows / weights.sum(axis=-1, keepdims=True)
        return self.combine(means)


@dataclass(frozen=True)
class Repeated:
    """T(w) for integer weights by repeating rows: for functions that know nothing of weights."""

    function: Callable[[Array], float]  # of row indices

    def __call__(self, weights: Array) -> Array:
        counts = np.atleast_2d(weights).astype(np.int64)
        rows = np.arange(counts.shape[1])
        scores = np.array([self.function(np.repeat(rows, count)) for count in counts])
        return scores if np.ndim(weights) == 2 else scores[0]


Statistic = Callable[[Array], Array]


@dataclass(frozen=True)
class Criterion:
    """One way to score predictions: its name, direction and the statistic it computes.

    `statistic(y, prediction)` returns T, a function of row weights of shape (n,) or (B, n). `bounds` is the
    interval the score cannot leave; `perfect` the score of a perfect prediction, None where there is none.
    """

    name: str
    title: str
    tasks: frozenset[str]
    needs: Needs
    greater_is_better: bool
    statistic: Callable[[Array, Prediction], Statistic]
    bounds: tuple[float, float] = (-np.inf, np.inf)
    perfect: float | None = None
    has_unit: bool = False  # measured in units of the target
    root: bool = False  # the square root of a mean over rows: learners are compared by the mean

    def score(self, y: Array, prediction: Prediction) -> float:
        """The score of `prediction` against the truth `y` (values, or class codes), all rows weighing 1.

        >>> import numpy as np
        >>> y, f = np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 1.0])
        >>> round(criterion("rmse").score(y, Prediction(value=f)), 6)
        1.732051
        """
        return float(self.prepare(y, prediction)(np.ones(len(y))))

    def prepare(self, y: Array, prediction: Prediction) -> Statistic:
        """T(w) for these rows. Raises WorkError when the prediction lacks what the criterion needs."""
        if getattr(prediction, self.needs) is None:
            raise WorkError(
                f"{self.title} needs a predicted {self.needs}, which this learner does not give; choose another "
                "criterion (--criterion accuracy, say) or a learner with predict_proba."
            )
        return self.statistic(y, prediction)

    def loss(self, score: float) -> float:
        """The score turned so that smaller is better."""
        return -score if self.greater_is_better else score

    def to_json(self, target: str) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "unit": f"units of {target}" if self.has_unit else "",
            "greater_is_better": self.greater_is_better,
            "perfect": self.perfect,
        }


# Regression ------------------------------------------------------------------------------------------------


def _mean_of(row_loss: Callable[[Array, Array], Array], root: bool = False) -> Any:
    def statistic(y: Array, prediction: Prediction) -> Statistic:
        rows = row_loss(y, np.asarray(prediction.value))[:, None]
        return RowMeans(rows, _first_root if root else _first)

    return statistic


def _first(means: Array) -> Array:
    return np.asarray(means[..., 0])


def _first_root(means: Array) -> Array:
    return np.asarray(np.sqrt(means[..., 0]))


def _squared(y: Array, f: Array) -> Array:
    return np.asarray((y - f) ** 2)


def _absolute(y: Array, f: Array) -> Array:
    return np.asarray(np.abs(y - f))


def _squared_log(y: Array, f: Array) -> Array:
    """(log(1 + y) - log(1 + f))^2; a negative prediction counts as zero."""
    if np.min(y) < 0:
        raise WorkError("RMSLE is not defined for a negative target; choose --criterion rmse or mae.")
    return np.asarray((np.log1p(y) - np.log1p(np.maximum(f, 0))) ** 2)


def _relative(y: Array, f: Array) -> Array:
    return np.asarray(np.abs(y - f) / np.maximum(np.abs(y), np.finfo(float).eps))


def _r2(y: Array, prediction: Prediction) -> Statistic:
    centred = y - y.mean()  # R2 does not change with a shift; the variance loses no digits
    rows = np.stack([_squared(y, np.asarray(prediction.value)), centred, centred**2], axis=1)  # (n, 3)
    return RowMeans(rows, _r2_of_means)


def _r2_of_means(means: Array) -> Array:
    variance = means[..., 2] - means[..., 1] ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        explained = 1 - means[..., 0] / variance
    return np.where(variance > 0, explained, np.where(means[..., 0] > 0, 0.0, 1.0))


# Classification by label -----------------------------------------------------------------------------------


def _accuracy(y: Array, prediction: Prediction) -> Statistic:
    return RowMeans((y == prediction.label).astype(float)[:, None], _first)


def _class_rows(y: Array, prediction: Prediction) -> Array:
    """Per row and class: truth, prediction and their product, shape (n, 3 K)."""
    label = np.asarray(prediction.label)
    codes = np.arange(max(int(y.max()), int(label.max())) + 1)
    truth = (y[:, None] == codes).astype(float)
    called = (label[:, None] == codes).astype(float)
    return np.concatenate([truth, called, truth * called], axis=1)


def _by_class(average: Callable[[Array, Array, Array], Array]) -> Any:
    def statistic(y: Array, prediction: Prediction) -> Statistic:
        return RowMeans(_class_rows(y, prediction), lambda means: average(*np.split(means, 3, axis=-1)))

    return statistic


def _ratio(top: Array, bottom: Array) -> Array:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)


def _mean_over(values: Array, present: Array) -> Array:
    return np.asarray(_ratio((values * present).sum(axis=-1), present.sum(axis=-1).astype(float)))


def _balanced(truth: Array, called: Array, both: Array) -> Array:
    return _mean_over(_ratio(both, truth), truth > 0)


def _positive_or_macro(values: Array, present: Array) -> Array:
    """The positive class of a binary problem, the mean over the classes that occur otherwise."""
    return np.asarray(values[..., 1]) if values.shape[-1] == 2 else _mean_over(values, present)


def _f1(truth: Array, called: Array, both: Array) -> Array:
    return _positive_or_macro(_ratio(2 * both, truth + called), truth + called > 0)


def _precision(truth: Array, called: Array, both: Array) -> Array:
    return _positive_or_macro(_ratio(both, called), truth + called > 0)


def _recall(truth: Array, called: Array, both: Array) -> Array:
    return _positive_or_macro(_ratio(both, truth), truth + called > 0)


# Classification by probability -----------------------------------------------------------------------------


def _log_loss(y: Array, prediction: Prediction) -> Statistic:
    probability = np.asarray(prediction.probability)
    floor = np.finfo(probability.dtype).eps  # as scikit-learn: a wrong certainty costs 36 nats, not infinity
    own = np.clip(probability[np.arange(len(y)), y], floor, 1.0)
    return RowMeans(-np.log(own)[:, None], _first)


def _brier(y: Array, prediction: Prediction) -> Statistic:
    probability = np.asarray(prediction.probability)
    squares = ((probability - np.eye(probability.shape[1])[y]) ** 2).sum(axis=1)
    return RowMeans((squares / 2 if probability.shape[1] == 2 else squares)[:, None], _first)


@dataclass(frozen=True)
class _Area:
    """An area under a curve as a function of the positives and negatives (B, m) at each score, from the highest down.

    `slopes` gives, of one row of counts (m,), how the area changes with a positive, and with a negative, at each score.
    """

    value: Callable[[Array, Array], Array]
    slopes: Callable[[Array, Array], tuple[Array, Array]]


@dataclass(frozen=True)
class _Ranked:
    """A statistic of one score per row against a binary truth, summed over groups of tied scores."""

    truth: Array  # bool (n,), in descending order of score
    order: Array
    starts: Array  # where a new score begins
    area: _Area

    @classmethod
    def of(cls, truth: Array, score: Array, area: _Area) -> _Ranked:
        order = np.argsort(-score, kind="stable")
        ordered = score[order]
        return cls(truth[order], order, np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]), area)

    def __call__(self, weights: Array) -> Array:
        areas = self.area.value(*self._counted(np.atleast_2d(weights)[:, self.order]))
        return areas if np.ndim(weights) == 2 else areas[0]

    def slopes(self) -> Array:
        """By how much the area falls without each row (n,): its slope, and of the m rows of a class m / (m - 1) of it.

        For the area under the ROC curve that is exact.
        """
        found, group = np.zeros(len(self.truth)), np.zeros(len(self.truth), dtype=np.int64)
        sizes = int(self.truth.sum()), int((~self.truth).sum())
        if min(sizes) == 0:
            return found
        group[self.starts[1:]] = 1
        group = np.cumsum(group)
        positive, negative = self._counted(np.ones((1, len(self.truth))))
        of_positive, of_negative = (
            slope[group] * (m / max(m - 1, 1))
            for slope, m in zip(self.area.slopes(positive[0], negative[0]), sizes, strict=True)
        )
        found[self.order] = np.where(self.truth, of_positive, of_negative)
        return found

    def _counted(self, weights: Array) -> tuple[Array, Array]:
        """Positives and negatives (B, m) at each score."""
        positive, negative = weights * self.truth, weights * ~self.truth
        if len(self.starts) < len(self.order):  # tied scores
            positive = np.add.reduceat(positive, self.starts, axis=1)
            negative = np.add.reduceat(negative, self.starts, axis=1)
        return positive, negative


@dataclass(frozen=True)
class Areas:
    """T(w) = the mean of areas under curves, one a class."""

    curves: tuple[_Ranked, ...]

    def __call__(self, weights: Array) -> Array:
        return np.asarray(np.mean([curve(weights) for curve in self.curves], axis=0))

    def slopes(self) -> Array:
        """By how much T falls without each row (n,), to first order."""
        return np.asarray(np.mean([curve.slopes() for curve in self.curves], axis=0))


def _roc_area(positive: Array, negative: Array) -> Array:
    """P(score of a positive > score of a negative) + P(tie) / 2."""
    above = np.cumsum(positive, axis=1) - positive / 2  # positives at or above each score, ties half
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return np.where(pairs > 0, (above * negative).sum(axis=1) / np.where(pairs > 0, pairs, 1), 0.5)


def _roc_slopes(positive: Array, negative: Array) -> tuple[Array, Array]:
    above, below = np.cumsum(positive) - positive / 2, np.cumsum(negative[::-1])[::-1] - negative / 2
    p, n = positive.sum(), negative.sum()
    area = (above * negative).sum() / (p * n)
    return (below / n - area) / p, (above / p - area) / n


def _precision_area(positive: Array, negative: Array) -> Array:
    """sum_t (R_t - R_{t-1}) P_t over the distinct scores t."""
    found = np.cumsum(positive, axis=1)
    called = found + np.cumsum(negative, axis=1)
    total = found[:, -1:]
    return np.asarray((_ratio(positive, np.maximum(total, 1e-300)) * _ratio(found, called)).sum(axis=1))


def _precision_slopes(positive: Array, negative: Array) -> tuple[Array, Array]:
    """A positive finds more at its own score and makes every later precision better, a negative worse."""
    found = np.cumsum(positive)
    called = found + np.cumsum(negative)
    p, precision = found[-1], found / called
    area = (positive * precision).sum() / p
    better, worse = (np.cumsum((positive * c)[::-1])[::-1] / p for c in ((1 - precision) / called, precision / called))
    return (precision - area) / p + better, -worse


ROC, PRECISION_RECALL = _Area(_roc_area, _roc_slopes), _Area(_precision_area, _precision_slopes)


def _one_vs_rest(area: _Area) -> Any:
    """The area for the positive class, or its mean over the classes that occur, each against the rest."""

    def statistic(y: Array, prediction: Prediction) -> Statistic:
        probability = np.asarray(prediction.probability)
        codes = [1] if probability.shape[1] == 2 else [k for k in range(probability.shape[1]) if np.any(y == k)]
        return Areas(tuple(_Ranked.of(y == k, probability[:, k], area) for k in codes))

    return statistic


# The table of names ----------------------------------------------------------------------------------------

_UNIT = (0.0, 1.0)
_POSITIVE = (0.0, np.inf)

CRITERIA: dict[str, Criterion] = {
    item.name: item
    for item in (
        Criterion("rmse", "RMSE", REGRESSION, "value", False, _mean_of(_squared, True), _POSITIVE, 0.0, True, True),
        Criterion("mae", "MAE", REGRESSION, "value", False, _mean_of(_absolute), _POSITIVE, 0.0, True),
        Criterion("mse", "MSE", REGRESSION, "value", False, _mean_of(_squared), _POSITIVE, 0.0),
        Criterion("r2", "R²", REGRESSION, "value", True, _r2, (-np.inf, 1.0), 1.0),
        Criterion(
            "rmsle", "RMSLE", REGRESSION, "value", False, _mean_of(_squared_log, True), _POSITIVE, 0.0, root=True
        ),
        Criterion("mape", "MAPE", REGRESSION, "value", False, _mean_of(_relative), _POSITIVE, 0.0),
        Criterion("log_loss", "log loss", CLASSIFICATION, "probability", False, _log_loss, _POSITIVE, 0.0),
        Criterion("brier", "Brier score", CLASSIFICATION, "probability", False, _brier, (0.0, 2.0), 0.0),
        Criterion("accuracy", "accuracy", CLASSIFICATION, "label", True, _accuracy, _UNIT, 1.0),
        Criterion(
            "balanced_accuracy",
            "balanced accuracy",
            CLASSIFICATION,
            "label",
            True,
            _by_class(_balanced),
            _UNIT,
            1.0,
        ),
        Criterion("f1", "F1", CLASSIFICATION, "label", True, _by_class(_f1), _UNIT, 1.0),
        Criterion("precision", "precision", CLASSIFICATION, "label", True, _by_class(_precision), _UNIT, 1.0),
        Criterion("recall", "recall", CLASSIFICATION, "label", True, _by_class(_recall), _UNIT, 1.0),
        Criterion("roc_auc", "ROC AUC", CLASSIFICATION, "probability", True, _one_vs_rest(ROC), _UNIT, 1.0),
        Criterion(
            "average_precision",
            "average precision",
            CLASSIFICATION,
            "probability",
            True,
            _one_vs_rest(PRECISION_RECALL),
            _UNIT,
            1.0,
        ),
    )
}

DEFAULT: dict[str, str] = {"regression": "rmse", "binary": "log_loss", "multiclass": "log_loss"}
BESIDE: dict[str, tuple[str, ...]] = {  # shown beside the criterion
    "regression": ("rmse", "mae", "r2"),
    "binary": ("log_loss", "accuracy", "balanced_accuracy", "f1", "roc_auc", "average_precision", "brier"),
    "multiclass": ("log_loss", "accuracy", "balanced_accuracy", "f1", "roc_auc", "brier"),
}


def criterion(name: str, task: str | None = None) -> Criterion:
    """The criterion of this name: one of CRITERIA, or any scorer of scikit-learn.metrics.

    Parameters
    ----------
    name : str
        "rmse", "log_loss", "roc_auc" ... ; "-" and "_" are the same, case does not matter. A name that is not
        in CRITERIA is looked up among scikit-learn's scorers ("max_error", "matthews_corrcoef" ...).
    task : {"regression", "binary", "multiclass"}, optional
        When given, a criterion made for another task is refused.

    Raises
    ------
    InputError
        Unknown name (the nearest is suggested), or a criterion that does not suit the task.

    >>> criterion("ROC-AUC").greater_is_better
    True
    """
    key = name.strip().lower().replace("-", "_").replace("r²", "r2")
    found = CRITERIA.get(key) or _from_sklearn(key, name)
    if task is not None and task not in found.tasks:
        known = ", ".join(item.name for item in CRITERIA.values() if task in item.tasks)
        raise InputError(f"The criterion {found.name!r} does not suit a {task} problem. There are: {known}.")
    return found


def _from_sklearn(key: str, name: str) -> Criterion:
    from sklearn.metrics import get_scorer, get_scorer_names

    scorers = get_scorer_names()
    chosen = key if key in scorers else f"neg_{key}"
    if chosen not in scorers:
        raise InputError(f"There is no criterion {name!r}.{suggest(key, [*CRITERIA, *scorers])}")
    scorer = get_scorer(chosen)
    sign, needs, tasks = scorer._sign, _response_of(scorer), _tasks_of(chosen)

    def statistic(y: Array, prediction: Prediction) -> Statistic:
        given = np.asarray(getattr(prediction, needs))
        given = given[:, 1] if needs == "probability" and given.shape[1] == 2 else given

        def at(rows: Array) -> float:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "only one class present" in a replicate
                return float(scorer._score_func(y[rows], given[rows], **scorer._kwargs))

        return Repeated(at)

    title = key.removeprefix("neg_").replace("_", " ")
    return Criterion(key, title, tasks, needs, sign > 0, statistic)


def _response_of(scorer: Any) -> Needs:
    methods = scorer._response_method
    first = methods if isinstance(methods, str) else methods[0]
    if first != "predict":
        return "probability"
    return "value" if _tasks_of(scorer._score_func.__name__) == REGRESSION else "label"


def _tasks_of(name: str) -> frozenset[str]:
    marks = ("error", "deviance", "r2", "explained_variance", "d2_")
    if any(mark in name for mark in marks) and not name.startswith("d2_log") and "brier" not in name:
        return REGRESSION
    return CLASSIFICATION
