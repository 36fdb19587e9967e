"""One against one: a classifier for every pair of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.utils.metaestimators import available_if

from heldout.errors import InputError, suggest
from heldout.multiclass import decoding as decodings
from heldout.multiclass.reduction import Reduction, answer, chance, confidence, has_chances, margin

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

DECODINGS = ("votes", "confidence", "coupling")


class OneVsOneClassifier(Reduction):
    r"""A two-class classifier for each of the K (K - 1) / 2 pairs of classes, trained on the rows of its two alone.

    Parameters
    ----------
    estimator : two-class classifier, default None
        heldout's or scikit-learn's; None is `SoftmaxClassifier()`, for two classes logistic regression.
    decoding : {"votes", "confidence", "coupling"}, default "votes"
        How the pairs decide: by votes, equal ones by the summed confidences; by the summed confidences alone; or by the
        probabilities that agree best with those of the pairs. What is still equal goes to the class that comes first.
    coupling : {"wu-lin-weng", "hastie-tibshirani"}, default "wu-lin-weng"
        How `predict_proba` couples the probabilities of the pairs.
    n_jobs : int or None, default None
        Classifiers fitted side by side (joblib).
    workers : {"threads", "processes"}, default "threads"

    Attributes
    ----------
    classes_ : array (K,), the class labels, sorted
    estimators_ : list of the fitted classifiers, for (0, 1), (0, 2), ... ; 1 stands for the second class of the pair
    properties_ : Properties, what each was trained on and what it took; it prints as a table
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : a parameter is unknown, there is only one class, or the base takes no weights.

    References
    ----------
    T. Hastie and R. Tibshirani, Annals of Statistics 26, 1998. T.-F. Wu, C.-J. Lin and R. Weng, J. Machine Learning
    Research 5, 2004.

    Examples
    --------
    >>> X, y = [[0.0], [1.0], [4.0], [5.0], [8.0], [9.0]], ["a", "a", "b", "b", "c", "c"]
    >>> model = OneVsOneClassifier().fit(X, y)
    >>> model.predict([[0.5], [4.5], [9.5]]).tolist(), len(model.estimators_)
    (['a', 'b', 'c'], 3)
    """

    kind = "one-vs-one"

    def __init__(
        self,
        estimator: Any = None,
        *,
        decoding: str = "votes",
        coupling: str = "wu-lin-weng",
        n_jobs: int | None = None,
        workers: str = "threads",
    ) -> None:
        self.estimator = estimator
        self.decoding = decoding
        self.coupling = coupling
        self.n_jobs = n_jobs
        self.workers = workers

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.decoding not in DECODINGS:
            raise InputError(f"There is no decoding {self.decoding!r}.{suggest(str(self.decoding), DECODINGS)}")
        if self.coupling not in decodings.COUPLINGS:
            known = list(decodings.COUPLINGS)
            raise InputError(f"There is no coupling {self.coupling!r}.{suggest(str(self.coupling), known)}")
        if self.decoding == "coupling" and not has_chances(self):
            raise InputError(f"{type(self._base()).__name__} has no probabilities to couple: take decoding='votes'.")

    @staticmethod
    def _roles(n_classes: int) -> Array:
        pairs = decodings.pairs(n_classes)
        roles = np.zeros((n_classes, len(pairs)), dtype=np.int64)
        for at, (a, b) in enumerate(pairs):
            roles[a, at], roles[b, at] = -1, 1
        return roles

    def decision_function(self, X: Any) -> Array:
        """What the classes are ranked by (m, K): votes, confidences or probabilities; (m,) for two classes."""
        X, k = self._new(X), len(self.classes_)
        if self.decoding == "coupling":
            scores = self._coupled(X)
            return scores[:, 1] - 0.5 if k == 2 else scores
        if k == 2:
            return np.asarray(self._each(X, margin)[:, 0])
        if self.decoding == "confidence":
            return decodings.summed(self._each(X, margin), k)
        return decodings.votes(self._each(X, answer), self._each(X, confidence), k)

    def predict(self, X: Any) -> Array:
        """The class that the pairs decide for (m,)."""
        scores = self.decision_function(X)
        codes = (scores > 0.0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes_[codes])

    @available_if(has_chances)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """Coupled probabilities (m, K), in the order of `classes_`; every row sums to 1."""
        return self._coupled(self._new(X))

    def _coupled(self, X: Any) -> Array:
        chances, k = self._each(X, chance), len(self.classes_)
        if k == 2:
            return np.column_stack([1.0 - chances[:, 0], chances[:, 0]])
        r = decodings.matrix_of(chances, k)
        if self.coupling == "wu-lin-weng":
            return decodings.wu_lin_weng(r)
        sizes = np.zeros((k, k))
        for (a, b), weight in zip(decodings.pairs(k), self.properties_.weight, strict=True):
            sizes[a, b] = sizes[b, a] = weight
        return decodings.hastie_tibshirani(r, sizes)

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted reduction: the base, and every classifier by its own state."""
        return {**super().to_state(), "decoding": self.decoding, "coupling": self.coupling}

    @classmethod
    def from_state(cls, state: State) -> OneVsOneClassifier:
        """The fitted reduction that `to_state` described; ModelFileError where the values do not fit together."""
        more = {
            "decoding": state.choice("decoding", DECODINGS),
            "coupling": state.choice("coupling", list(decodings.COUPLINGS)),
        }
        learner: OneVsOneClassifier = cls._restored(state, lambda k: k * (k - 1) // 2, **more)
        return learner
