"""The trivial answers: one constant for every row. A learner that is no better has learned nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.errors import InputError, suggest
from heldout.linear.states import (
    Labels,
    columns_from_state,
    columns_to_state,
    labels_from_state,
    labels_to_state,
    row_weights,
)

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

STATISTICS = ("mean", "median")
STRATEGIES = ("prior", "most_frequent")
TIE = 1e-12  # share of the total weight within which a quantile falls between two values
# Nothing is computed from the features, so whatever they hold will do.
ANY_FEATURES: dict[str, Any] = {"accept_sparse": True, "dtype": None, "ensure_all_finite": False}


class BaselineRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""Predicts one number, a statistic of the training targets, whatever the features.

    .. math:: \hat y = \operatorname{arg\,min}_c \sum_i v_i \, \ell(y_i - c)

    with squared error for the mean, absolute error for the median and the pinball loss for a quantile. Where
    many c are minimal, the middle of them is taken.

    Parameters
    ----------
    statistic : "mean", "median" or a float between 0 and 1 (a quantile), default "mean"

    Attributes
    ----------
    constant_ : float, the prediction
    n_features_in_ : int, the number of columns at fit
    feature_names_in_ : object array, where the data had column names

    Raises
    ------
    InputError : `statistic` is something else.
    ValueError : the targets are not finite numbers, or the data has another width than at fit.

    References
    ----------
    R. Koenker, Quantile Regression, 2005, section 1.3.

    Examples
    --------
    >>> model = BaselineRegressor(statistic="median").fit([[0], [0], [0], [0]], [1.0, 2.0, 4.0, 90.0])
    >>> model.predict([[7], [8]]).tolist()
    [3.0, 3.0]
    """

    def __init__(self, *, statistic: str | float = "mean") -> None:
        self.statistic = statistic

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> BaselineRegressor:
        """Learn the constant from `y` (n,), with optional row weights (n,); of `X` only the width matters."""
        level = _quantile_level(self.statistic)
        X, y = validate_data(self, X, y, y_numeric=True, **ANY_FEATURES)
        weights = row_weights(sample_weight, X)
        targets = np.asarray(y, dtype=np.float64)
        weights = np.ones(len(targets)) if weights is None else weights
        if level is None:
            self.constant_ = float(np.average(targets, weights=weights))
        else:
            self.constant_ = weighted_quantile(targets, weights, level)
        return self

    def predict(self, X: Any) -> Array:
        """The constant, once for every row (n,)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **ANY_FEATURES)
        return np.full(X.shape[0], self.constant_)

    def __sklearn_tags__(self) -> Any:
        tags = _any_features(super().__sklearn_tags__())
        tags.regressor_tags.poor_score = True
        return tags

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner."""
        check_is_fitted(self)
        statistic = self.statistic if isinstance(self.statistic, str) else float(self.statistic)
        return {"statistic": statistic, "constant": self.constant_, **columns_to_state(self)}

    @classmethod
    def from_state(cls, state: State) -> BaselineRegressor:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        learner = cls(statistic=state.json("statistic"))
        _quantile_level(learner.statistic)
        columns_from_state(learner, state)
        learner.constant_ = state.number("constant")
        return learner


class BaselineClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""Predicts the same class for every row: the most frequent one.

    .. math:: \hat p_k = \sum_i v_i [y_i = k] \Big/ \sum_i v_i

    Parameters
    ----------
    strategy : {"prior", "most_frequent"}, default "prior"
        What `predict_proba` gives: the shares of the classes, or 1 for the most frequent class (the first in
        order, where several are) and 0 for the others.

    Attributes
    ----------
    classes_ : array (K,), the class labels, sorted
    class_prior_ : float64 array (K,), the classes' shares of the weight
    n_features_in_ : int, the number of columns at fit
    feature_names_in_ : object array, where the data had column names

    Raises
    ------
    InputError : `strategy` is something else.
    ValueError : the labels are not classes, or the data has another width than at fit.

    References
    ----------
    T. Gneiting and A. Raftery, J. Amer. Statist. Assoc. 102, 2007, section 2: among constants the shares have
    the best expected log loss and Brier score.

    Examples
    --------
    >>> model = BaselineClassifier().fit([[0], [0], [0], [0]], ["a", "b", "b", "b"])
    >>> model.predict([[7]]).tolist(), model.predict_proba([[7]]).tolist()
    (['b'], [[0.25, 0.75]])
    """

    def __init__(self, *, strategy: str = "prior") -> None:
        self.strategy = strategy

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> BaselineClassifier:
        """Learn the shares of the classes in `y` (n,), with optional row weights (n,)."""
        if self.strategy not in STRATEGIES:
            raise InputError(f"There is no strategy {self.strategy!r}.{suggest(str(self.strategy), STRATEGIES)}")
        X, y = validate_data(self, X, y, **ANY_FEATURES)
        check_classification_targets(y)
        weights = row_weights(sample_weight, X)
        self.classes_, codes = np.unique(y, return_inverse=True)
        totals = np.bincount(codes, weights, minlength=len(self.classes_))
        self.class_prior_ = totals / totals.sum()
        return self

    def predict(self, X: Any) -> Labels:
        """The most frequent class, once for every row (n,)."""
        rows = self._count_rows(X)
        return np.repeat(self.classes_[[self.class_prior_.argmax()]], rows)

    def predict_proba(self, X: Any) -> Array:
        """The same probabilities for every row (n, K), in the order of classes_."""
        rows = self._count_rows(X)
        chances = self.class_prior_
        if self.strategy == "most_frequent":
            chances = (np.arange(len(chances)) == chances.argmax()).astype(np.float64)
        return np.tile(chances, (rows, 1))

    def predict_log_proba(self, X: Any) -> Array:
        """log of `predict_proba` (n, K); minus infinity where the probability is 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def _count_rows(self, X: Any) -> int:
        check_is_fitted(self)
        return int(validate_data(self, X, reset=False, **ANY_FEATURES).shape[0])

    def __sklearn_tags__(self) -> Any:
        tags = _any_features(super().__sklearn_tags__())
        tags.classifier_tags.poor_score = True
        return tags

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner."""
        check_is_fitted(self)
        return {
            "strategy": self.strategy,
            "class_prior": self.class_prior_,
            **labels_to_state(self.classes_),
            **columns_to_state(self),
        }

    @classmethod
    def from_state(cls, state: State) -> BaselineClassifier:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        learner = cls(strategy=state.choice("strategy", STRATEGIES))
        columns_from_state(learner, state)
        learner.classes_ = labels_from_state(state, at_least=1)
        learner.class_prior_ = state.array("class_prior", shape=(len(learner.classes_),), low=0.0, high=1.0)
        if abs(learner.class_prior_.sum() - 1.0) > 1e-9:
            state.fail("the classes' shares do not sum to 1")
        return learner


def _any_features(tags: Any) -> Any:
    tags.input_tags.sparse = tags.input_tags.allow_nan = tags.input_tags.string = True
    return tags


def weighted_quantile(values: Array, weights: Array, level: float) -> float:
    """The c that minimises sum_i v_i (level - [y_i < c]) (y_i - c); the middle one where many do.

    Integer weights give what that many copies of each row would.

    >>> weighted_quantile(np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 2.0]), 0.5)
    3.0
    """
    order = np.argsort(values, kind="stable")
    order = order[weights[order] > 0]
    below = np.cumsum(weights[order])
    goal = level * below[-1]
    slack = TIE * below[-1]
    last = len(below) - 1
    low = min(last, int(np.searchsorted(below, goal - slack, side="left")))
    high = min(last, int(np.searchsorted(below, goal + slack, side="right")))
    return float(values[order[low]] / 2.0 + values[order[high]] / 2.0)


def _quantile_level(statistic: object) -> float | None:
    """None for the mean; 0.5 for the median; a quantile's own level."""
    if statistic == "mean":
        return None
    if statistic == "median":
        return 0.5
    number = isinstance(statistic, int | float | np.number) and not isinstance(statistic, bool)
    if number and 0.0 <= float(statistic) <= 1.0:  # type: ignore[arg-type]
        return float(statistic)  # type: ignore[arg-type]
    hint = suggest(statistic, STATISTICS) if isinstance(statistic, str) else ""
    raise InputError(f"statistic is {statistic!r} and must be 'mean', 'median' or a number from 0 to 1.{hint}")
