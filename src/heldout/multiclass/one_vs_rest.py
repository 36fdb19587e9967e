"""One against the rest: a classifier for every class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.utils.metaestimators import available_if

from heldout.multiclass.reduction import Reduction, chance, confidence, has_chances, margin

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class OneVsRestClassifier(Reduction):
    """A two-class classifier for each of the K classes, trained on all rows: this class against all others.

    The class whose classifier is surest wins; of equally sure ones the first in `classes_`.

    Parameters
    ----------
    estimator : two-class classifier, default None
        heldout's or scikit-learn's; None is `SoftmaxClassifier()`, for two classes logistic regression. The classifiers
        of `SoftmaxClassifier` are fitted as one matrix problem: the rows are read once for all of them.
    n_jobs : int or None, default None
        Classifiers fitted side by side (joblib), where they do not share their work.
    workers : {"threads", "processes"}, default "threads"

    Attributes
    ----------
    classes_ : array (K,), the class labels, sorted
    estimators_ : list of the fitted classifiers, one for each class (for two classes one: for the second)
    properties_ : Properties, what each was trained on and what it took; it prints as a table
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : a parameter is unknown, there is only one class, or the base takes no weights.

    References
    ----------
    R. Rifkin and A. Klautau, In defense of one-vs-all classification, J. Machine Learning Research 5, 2004.

    Examples
    --------
    >>> X, y = [[0.0, 1.0], [0.0, 2.0], [4.0, 0.0], [5.0, 0.0], [8.0, 9.0], [9.0, 8.0]], [0, 0, 1, 1, 2, 2]
    >>> model = OneVsRestClassifier().fit(X, y)
    >>> model.predict([[0.0, 1.5], [5.0, 1.0]]).tolist(), len(model.estimators_)
    ([0, 1], 3)
    """

    kind = "one-vs-rest"

    def __init__(self, estimator: Any = None, *, n_jobs: int | None = None, workers: str = "threads") -> None:
        self.estimator = estimator
        self.n_jobs = n_jobs
        self.workers = workers

    @staticmethod
    def _roles(n_classes: int) -> Array:
        roles = 2 * np.eye(n_classes, dtype=np.int64) - 1
        return roles[:, 1:] if n_classes == 2 else roles

    def decision_function(self, X: Any) -> Array:
        """How sure each class's classifier is (m, K), or (m,) for two classes: scores, or else probabilities."""
        X = self._new(X)
        return self._each(X, margin)[:, 0] if len(self.estimators_) == 1 else self._each(X, confidence)

    def predict(self, X: Any) -> Array:
        """The class whose classifier is surest (m,)."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            return np.asarray(self.classes_[(scores > 0.0).astype(np.intp)])
        return np.asarray(self.classes_[scores.argmax(axis=1)])

    @available_if(has_chances)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """The classes' own probabilities, divided by their sum (m, K); all equal where each of them is zero."""
        chances = self._each(self._new(X), chance)
        if chances.shape[1] == 1:
            return np.column_stack([1.0 - chances[:, 0], chances[:, 0]])
        total = chances.sum(axis=1, keepdims=True)
        shares = chances / np.where(total > 0.0, total, 1.0)
        return np.asarray(np.where(total > 0.0, shares, 1.0 / chances.shape[1]))

    @classmethod
    def from_state(cls, state: State) -> OneVsRestClassifier:
        """The fitted reduction that `to_state` described; ModelFileError where the values do not fit together."""
        learner: OneVsRestClassifier = cls._restored(state, lambda k: 1 if k == 2 else k)
        return learner
