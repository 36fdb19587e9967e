"""What both reductions share: two-class classifiers fitted side by side, and what that took."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.errors import InputError, suggest
from heldout.linear.states import columns_from_state, columns_to_state, labels_from_state, labels_to_state, row_weights
from heldout.printed import Printed, Sheet
from heldout.words import number

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

WORKERS = ("threads", "processes")


@dataclass(frozen=True, eq=False, repr=False)
class Properties(Printed):
    """What a reduction's classifiers were trained on and what they took; it prints as a table.

    Attributes
    ----------
    kind : "one-vs-one" or "one-vs-rest"
    rows : int array (classifiers,), that each was trained on
    imbalance : float64 array (classifiers,), rows of the larger side for each of the smaller
    seconds : float64 array (classifiers,); where the work was shared, equal parts of it
    nbytes : int array (classifiers,), of the arrays that each keeps
    weight : float64 array (classifiers,), of the rows that each was trained on, summed
    """

    kind: str
    n_classes: int
    n_rows: int
    rows: Array
    imbalance: Array
    seconds: Array
    nbytes: Array
    weight: Array

    def _table(self) -> Sheet:
        measured = {
            "rows of a classifier": self.rows,
            "larger side / smaller": self.imbalance,
            "seconds to fit": self.seconds,
            "KiB kept": self.nbytes / 1024.0,
        }
        body = [[name, *(number(float(f(v))) for f in (np.min, np.mean, np.max))] for name, v in measured.items()]
        title = [f"{self.kind}: {len(self.rows)} classifiers for {self.n_classes} classes"]
        return title, ["", "least", "mean", "most"], body, [self.trade]

    @property
    def trade(self) -> str:
        """What this reduction costs here, beside the other."""
        k, pairs = self.n_classes, self.n_classes * (self.n_classes - 1) // 2
        mean = 2.0 * self.n_rows / k
        if self.kind == "one-vs-one":
            return (
                f"{pairs} classifiers see {number(mean)} rows each on average, {k - 1} times the data in all; "
                f"one-vs-rest would be {k} classifiers on all {self.n_rows:,} rows, {k} times the data, each of them "
                f"with {number(k - 1.0)} rows against one on average."
            )
        return (
            f"{k} classifiers see all {self.n_rows:,} rows, {k} times the data in all; one-vs-one would be {pairs} "
            f"classifiers with {number(mean)} rows on average, {k - 1} times the data, each nearer to balance."
        )


class Reduction(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Many classes from two-class classifiers."""

    estimator: Any
    n_jobs: int | None
    workers: str
    kind = ""

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Fit the two-class classifiers to `X` (n, p) and labels `y` (n,), with row weights (n,) if wanted."""
        self._check_parameters()
        base = self._base()
        sparse = get_tags(base).input_tags.sparse
        X, y = validate_data(self, X, y, accept_sparse="csr" if sparse else False, dtype=np.float64)
        check_classification_targets(y)
        weights = self._weights(base, X, sample_weight)
        if weights is not None and not weights.all():  # rows without weight are as if absent
            X, y, weights = X[weights > 0.0], np.asarray(y)[weights > 0.0], weights[weights > 0.0]
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(
                f"All rows belong to one class, {self.classes_.tolist()[0]!r}: a classifier needs 2 classes or more."
            )
        roles = self._roles(len(self.classes_))
        self.estimators_, seconds = self._fit_all(base, X, codes, roles, weights)
        self.properties_ = _properties(self.kind, codes, roles, weights, self.estimators_, seconds)
        return self

    def _check_parameters(self) -> None:
        if self.workers not in WORKERS:
            raise InputError(f"There are no workers {self.workers!r}.{suggest(str(self.workers), WORKERS)}")

    def _base(self) -> Any:
        if self.estimator is not None:
            return self.estimator
        from heldout.linear.softmax.classifier import SoftmaxClassifier

        return SoftmaxClassifier()

    def _weights(self, base: Any, X: Any, sample_weight: ArrayLike | None) -> Array | None:
        weights = row_weights(sample_weight, X)
        if weights is not None and "sample_weight" not in inspect.signature(base.fit).parameters:
            raise InputError(f"{type(base).__name__} takes no sample_weight, so the reduction cannot either.")
        return weights

    @staticmethod
    def _roles(n_classes: int) -> Array:
        """(classes, classifiers) on which side of a classifier a class is: 1, -1, or 0 for no part."""
        raise NotImplementedError

    def _fit_all(self, base: Any, X: Any, codes: Array, roles: Array, weights: Array | None) -> tuple[list[Any], Array]:
        """The classifiers and the seconds of each; bases that can fit many at once do so."""
        start, n = time.perf_counter(), roles.shape[1]
        together = base.fit_many(X, codes, roles, weights) if hasattr(base, "fit_many") else None
        if together is not None:
            return together, np.full(n, (time.perf_counter() - start) / n)
        prefer = "threads" if self.workers == "threads" else "processes"
        work = (delayed(_fitted)(clone(base), *_problem(X, roles[codes, k], weights)) for k in range(n))
        found = Parallel(n_jobs=self.n_jobs, prefer=prefer)(work)
        return [fitted for fitted, _ in found], np.array([seconds for _, seconds in found])

    def _each(self, X: Any, ask: Callable[[Any, Any], Array]) -> Array:
        """The answers of all classifiers side by side (m, classifiers)."""
        return np.column_stack([ask(fitted, X) for fitted in self.estimators_])

    def _new(self, X: Any) -> Any:
        check_is_fitted(self)
        sparse = get_tags(self._base()).input_tags.sparse
        return validate_data(self, X, accept_sparse="csr" if sparse else False, dtype=np.float64, reset=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = get_tags(self._base()).input_tags.sparse
        return tags

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted reduction: the base, and every classifier by its own state."""
        from heldout.persist.classes import name_of

        check_is_fitted(self)
        base = self._base()
        if name_of(base) is None:
            raise InputError(
                f"{type(base).__name__} is not heldout's and cannot be stored: take a learner of heldout as the base."
            )
        own = self.properties_
        return {
            "default": self.estimator is None,
            "n_jobs": None if self.n_jobs is None else int(self.n_jobs),
            "workers": self.workers,
            "estimators": list(self.estimators_),
            "properties": np.vstack([own.rows, own.imbalance, own.seconds, own.nbytes, own.weight]).astype(np.float64),
            "n_rows": own.n_rows,
            **labels_to_state(self.classes_),
            **columns_to_state(self),
        }

    @classmethod
    def _restored(cls, state: State, n_classifiers: Callable[[int], int], **more: Any) -> Any:
        from heldout.panel import LEARNERS

        known = tuple(e.load() for e in LEARNERS.values() if "binary" in e.tasks)
        fitted = state.objects("estimators", known)
        classes = labels_from_state(state, at_least=2)
        if len(fitted) != n_classifiers(len(classes)) or len({type(one) for one in fitted}) != 1:
            state.fail(f"{len(classes)} classes and {len(fitted)} classifiers do not fit together")
        learner = cls(
            None if state.boolean("default") else type(fitted[0])(**fitted[0].get_params()),
            n_jobs=state.integer("n_jobs") if state.optional("n_jobs") else None,
            workers=state.choice("workers", WORKERS),
            **more,
        )
        learner.classes_, learner.estimators_ = classes, fitted
        p = columns_from_state(learner, state)
        if any(one.n_features_in_ != p or list(one.classes_) != [0, 1] for one in fitted):
            state.fail("a classifier is for other columns or other classes")
        table = state.array("properties", shape=(5, len(fitted)), low=0.0)
        rows, nbytes = table[0].astype(np.int64), table[3].astype(np.int64)
        n_rows = state.integer("n_rows", low=1)
        learner.properties_ = Properties(cls.kind, len(classes), n_rows, rows, table[1], table[2], nbytes, table[4])
        return learner


def has_chances(self: Any) -> bool:
    """Whether the base of a reduction tells probabilities."""
    return hasattr(self._base(), "predict_proba")


def _problem(X: Any, sides: Array, weights: Array | None) -> tuple[Any, Array, Array | None]:
    """Rows, targets of 0 and 1, and weights of one two-class problem."""
    rows = np.flatnonzero(sides)
    if len(rows) == len(sides):
        return X, (sides > 0).astype(np.int64), weights
    return X[rows], (sides[rows] > 0).astype(np.int64), None if weights is None else weights[rows]


def _fitted(base: Any, X: Any, target: Array, weights: Array | None) -> tuple[Any, float]:
    start = time.perf_counter()
    if weights is None:
        base.fit(X, target)
    else:
        base.fit(X, target, sample_weight=weights)
    return base, time.perf_counter() - start


def _properties(
    kind: str, codes: Array, roles: Array, weights: Array | None, fitted: Sequence[Any], seconds: Array
) -> Properties:
    counts = np.bincount(codes, minlength=len(roles))
    sides = np.stack([counts @ (roles == 1), counts @ (roles == -1)])
    rows = sides.sum(axis=0)
    weight = rows.astype(np.float64) if weights is None else np.bincount(codes, weights) @ (roles != 0)
    nbytes = np.array([_nbytes(vars(one)) for one in fitted])
    imbalance = sides.max(axis=0) / sides.min(axis=0)
    return Properties(kind, len(roles), len(codes), rows, imbalance, seconds, nbytes, weight)


def _nbytes(values: dict[str, Any]) -> int:
    return sum(int(value.nbytes) for value in values.values() if isinstance(value, np.ndarray))


def confidence(fitted: Any, X: Any) -> Array:
    """A number that is greater for the class 1: the score, or else its probability, or else the answer itself."""
    if hasattr(fitted, "decision_function"):
        return np.asarray(fitted.decision_function(X)).ravel()
    if hasattr(fitted, "predict_proba"):
        return np.asarray(fitted.predict_proba(X)[:, 1])
    return np.asarray(fitted.predict(X), dtype=np.float64)


def margin(fitted: Any, X: Any) -> Array:
    """A number that is above zero for the class 1."""
    return confidence(fitted, X) - (0.0 if hasattr(fitted, "decision_function") else 0.5)


def chance(fitted: Any, X: Any) -> Array:
    """The probability of the class 1."""
    return np.asarray(fitted.predict_proba(X)[:, 1])


def answer(fitted: Any, X: Any) -> Array:
    return np.asarray(fitted.predict(X), dtype=np.float64)
