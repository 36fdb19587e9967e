"""Conformal prediction around any estimator: ConformalRegressor gives intervals, ConformalClassifier sets.

split: the estimator learns from three quarters of the rows; distances are those of the rest.
cv+: a row's distance is that to what the estimator of the other folds says of it; it is added to what the same
estimator says of a new row. All rows are used twice. Guaranteed is 2 * level - 1; in practice it is the level.
cqr: split, and the distance is that to the nearer of two predicted quantiles: intervals are wide where the noise is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.model_selection import check_cv, train_test_split
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import check_is_fitted

from heldout.certainty.conformal import rank, require_level
from heldout.errors import InputError, suggest

Array = NDArray[Any]
HELD = 0.25  # of the rows, for the distances of a split
AT_ONCE = 4_000_000  # numbers compared at once


class _Conformal(MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """What both share: the folds, and one estimator a fold."""

    methods: tuple[str, ...]

    def __init__(
        self, estimator: Any, *, method: str = "cv+", level: float = 0.95, cv: Any = 10, random_state: Any = 0
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.level = level
        self.cv = cv
        self.random_state = random_state

    def _fit(self, X: Any, y: Array, strata: Array | None) -> list[Array]:
        """Fit `estimators_` and return the rows that each has not learned from."""
        require_level(self.level)
        if self.method not in self.methods:
            raise InputError(f"There is no method {self.method!r}.{suggest(str(self.method), self.methods)}")
        random = check_random_state(self.random_state)
        if self.method == "cv+":
            splitter = check_cv(self.cv, y, classifier=strata is not None)
            if isinstance(self.cv, int):
                splitter.shuffle, splitter.random_state = True, random.randint(2**31)
            folds = list(splitter.split(np.zeros(len(y)), y))
            if not np.array_equal(np.sort(np.concatenate([held for _, held in folds])), np.arange(len(y))):
                raise InputError("cv must hold every row out once.")
        else:
            folds = [train_test_split(np.arange(len(y)), test_size=HELD, stratify=strata, random_state=random)]
        self.estimators_ = [clone(self.estimator).fit(_safe_indexing(X, a), y[a]) for a, _ in folds]
        self.estimator_ = clone(self.estimator).fit(X, y) if len(folds) > 1 else self.estimators_[0]
        if hasattr(self.estimator_, "n_features_in_"):
            self.n_features_in_ = self.estimator_.n_features_in_
        return [held for _, held in folds]

    def predict(self, X: Any) -> Array:
        """What the estimator predicts: fitted to all rows (cv+), or to those that gave no distances."""
        check_is_fitted(self, "estimator_")
        return np.asarray(self.estimator_.predict(X))


class ConformalRegressor(RegressorMixin, _Conformal):  # type: ignore[misc]
    r"""Intervals for new rows that cover the truth with a chance of `level`, around any regressor.

    With :math:`R_i = |y_i - \hat\mu_{-k(i)}(x_i)|`, cv+ takes

    .. math:: [\, q^-_\alpha\{\hat\mu_{-k(i)}(x) - R_i\},\; q^+_{1 - \alpha}\{\hat\mu_{-k(i)}(x) + R_i\} \,]

    Parameters
    ----------
    estimator : regressor
        For "cqr" one with `predict_quantiles(X, quantiles)`: `RandomForestRegressor(leaf_members=True)`.
    method : "cv+", "split" or "cqr", default "cv+"
    level : float between 0 and 1, default 0.95
    cv : int or splitter, default 10
        Folds of cv+.
    random_state : int or None, default 0

    Attributes
    ----------
    estimators_ : list, one for each fold
    estimator_ : estimator that `predict` asks
    distances_ : float array (m,), of the rows held out
    n_features_in_ : int, where the estimator has it

    Raises
    ------
    InputError : a method or level that there is not, or an estimator without the quantiles that "cqr" needs.

    References
    ----------
    R. F. Barber, E. J. Candès, A. Ramdas and R. J. Tibshirani, Predictive inference with the jackknife+, Annals of
    Statistics 49, 2021, section 3. Y. Romano, E. Patterson and E. J. Candès, Conformalized quantile regression,
    NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(600, 1))
    >>> y = X[:, 0] + rng.normal(size=600)
    >>> model = ConformalRegressor(LinearRegression()).fit(X[:400], y[:400])
    >>> low, high = model.predict_interval(X[400:]).T
    >>> bool(np.mean((low <= y[400:]) & (y[400:] <= high)) > 0.9)
    True
    """

    methods = ("cv+", "split", "cqr")

    def fit(self, X: Any, y: ArrayLike) -> ConformalRegressor:
        """Fit the estimator, or one a fold, and keep how far off it is on rows that it has not learned from."""
        if self.method == "cqr" and not hasattr(self.estimator, "predict_quantiles"):
            raise InputError(
                f"{type(self.estimator).__name__} gives no quantiles, which cqr needs; take "
                "RandomForestRegressor(leaf_members=True), or another method."
            )
        target = np.asarray(y, np.float64)
        held = self._fit(X, target, None)
        made = []
        for model, rows in zip(self.estimators_, held, strict=True):
            seen = _safe_indexing(X, rows)
            if self.method == "cqr":
                low, high = self._quantiles(model, seen)
                made.append(np.maximum(low - target[rows], target[rows] - high))
            else:
                made.append(np.abs(target[rows] - model.predict(seen)))
        self.distances_ = np.concatenate(made)
        self._fold_sizes = [len(item) for item in made]
        return self

    def predict_interval(self, X: Any) -> Array:
        """The ends of each row's interval, (n, 2); infinite where the rows held out are too few for the level."""
        check_is_fitted(self, "distances_")
        n = len(self.distances_)
        place = rank(self.level, n)
        if self.method == "cqr":
            low, high = self._quantiles(self.estimator_, X)
            wide = np.sort(self.distances_)[place - 1] if place <= n else np.inf
            return np.sort(np.stack([low - wide, high + wide], axis=1), axis=1)
        said = np.stack([model.predict(X) for model in self.estimators_], axis=1)  # (m, folds)
        if place > n:
            return np.tile([-np.inf, np.inf], (len(said), 1))
        ends = np.empty((len(said), 2))
        step = max(1, AT_ONCE // n)
        for start in range(0, len(said), step):
            each = np.repeat(said[start : start + step], self._fold_sizes, axis=1)  # (step, n)
            ends[start : start + step, 0] = np.partition(each - self.distances_, n - place, axis=1)[:, n - place]
            ends[start : start + step, 1] = np.partition(each + self.distances_, place - 1, axis=1)[:, place - 1]
        return ends

    def _quantiles(self, model: Any, X: Any) -> Array:
        """The lower and the upper quantile of each row, (2, n)."""
        return np.asarray(model.predict_quantiles(X, [(1 - self.level) / 2, (1 + self.level) / 2])).T


class ConformalClassifier(ClassifierMixin, _Conformal):  # type: ignore[misc]
    r"""Sets of classes for new rows that hold the true one with a chance of `level`, around any classifier.

    A row's distance to a class is :math:`s(x, y) = 1 - p_y(x)`. cv+ takes a class into the set where

    .. math:: \sum_i 1\{ s_{-k(i)}(x_i, y_i) < s_{-k(i)}(x, y) \} < \lambda (n + 1).

    A set may be empty: the learner is surer of its rows than the level asks, and no class of this one is as sure.

    Parameters
    ----------
    estimator : classifier with predict_proba
    method : "cv+" or "split", default "cv+"
    level, cv, random_state : as in `ConformalRegressor`

    Attributes
    ----------
    classes_ : array (K,)
    estimators_, estimator_, n_features_in_ : as in `ConformalRegressor`
    distances_ : list of float arrays, rising, one for each fold

    Raises
    ------
    InputError : a method or level that there is not, a classifier without probabilities, or a class that is missing
        from a fold.

    References
    ----------
    Y. Romano, M. Sesia and E. J. Candès, Classification with valid and adaptive coverage, NeurIPS 2020, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(600, 2))
    >>> y = np.where(X[:, 0] + rng.normal(size=600) > 0, "yes", "no")
    >>> model = ConformalClassifier(LogisticRegression(), level=0.9).fit(X[:400], y[:400])
    >>> inside = model.predict_set(X[400:])[np.arange(200), np.searchsorted(model.classes_, y[400:])]
    >>> bool(inside.mean() > 0.85)
    True
    """

    methods = ("cv+", "split")

    def fit(self, X: Any, y: ArrayLike) -> ConformalClassifier:
        """Fit the estimator, or one a fold, and keep how far off it is on rows that it has not learned from."""
        if not hasattr(self.estimator, "predict_proba"):
            raise InputError(f"{type(self.estimator).__name__} gives no probabilities, which sets of classes need.")
        target = np.asarray(y)
        self.classes_, codes = np.unique(target, return_inverse=True)
        held = self._fit(X, target, codes)
        if any(len(model.classes_) < len(self.classes_) for model in self.estimators_):
            raise InputError("A class is missing from the rows of a fold: give more rows of it, or fewer folds.")
        self.distances_ = []
        for model, rows in zip(self.estimators_, held, strict=True):
            own = model.predict_proba(_safe_indexing(X, rows))[np.arange(len(rows)), codes[rows]]
            self.distances_.append(np.sort(1 - own))
        return self

    def predict_proba(self, X: Any) -> Array:
        """The estimator's probabilities, (n, K)."""
        check_is_fitted(self, "distances_")
        return np.asarray(self.estimator_.predict_proba(X))

    def predict_set(self, X: Any) -> Array:
        """Which of `classes_` are in each row's set, bool (n, K)."""
        check_is_fitted(self, "distances_")
        nearer = sum(
            np.searchsorted(distances, 1 - model.predict_proba(X), side="left")
            for model, distances in zip(self.estimators_, self.distances_, strict=True)
        )
        return np.asarray(nearer < rank(self.level, sum(map(len, self.distances_))))
