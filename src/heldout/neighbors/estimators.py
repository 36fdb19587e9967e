"""Nearest neighbours as classifier and regressor: training stores the rows, prediction searches them."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.errors import InputError, suggest
from heldout.linear.states import (
    columns_from_state,
    columns_to_state,
    labels_from_state,
    labels_to_state,
    row_weights,
)
from heldout.neighbors.choice import KChoice, choice_of, leave_one_out
from heldout.neighbors.search import ALGORITHMS, METRICS, build, canonical, nearest, within
from heldout.neighbors.votes import WEIGHTS, Found, pull, taken

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

ALGORITHM_NAMES = (*ALGORITHMS, "hnsw")


class _Neighbors(BaseEstimator):  # type: ignore[misc]
    """What the classifier and the regressor share."""

    n_neighbors: Any
    weights: Any
    algorithm: Any
    metric: Any
    p: Any
    n_jobs: Any

    def __init__(
        self,
        *,
        n_neighbors: int | str = 5,
        weights: str | Callable[[Array], Array] = "uniform",
        algorithm: str = "auto",
        metric: str = "euclidean",
        p: float = 2.0,
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.algorithm = algorithm
        self.metric = metric
        self.p = p
        self.n_jobs = n_jobs

    def _check_parameters(self) -> None:
        k = self.n_neighbors
        if k != "auto" and not is_whole(k):
            raise InputError(f"n_neighbors is {k!r} and must be 'auto' or a whole number from 1 up.")
        if not callable(self.weights) and self.weights not in WEIGHTS:
            raise InputError(f"There are no weights {self.weights!r}.{suggest(str(self.weights), WEIGHTS)}")
        if self.algorithm not in ALGORITHM_NAMES:
            raise InputError(
                f"There is no algorithm {self.algorithm!r}.{suggest(str(self.algorithm), ALGORITHM_NAMES)}"
            )
        if isinstance(self.p, bool) or not isinstance(self.p, Real):
            raise InputError(f"p is {self.p!r} and must be a number from 1 up.")
        canonical(self.metric, float(self.p))

    def _store(self, X: Array, weights: Array | None) -> None:
        """Keep the rows whose weight is above zero, prepared for the search."""
        self.sample_weight_ = weights
        self.index_ = self._built(X)
        self.effective_metric_ = self.index_.metric
        self.n_samples_fit_ = len(X)
        if self.n_neighbors != "auto" and self.n_neighbors > self._available():
            raise InputError(
                f"n_neighbors is {self.n_neighbors}, and the training data has n_samples = "
                f"{_count(self._available())}: take fewer neighbours."
            )

    def _built(self, X: Array) -> Any:
        if self.algorithm == "hnsw":
            from heldout.neighbors.approximate import build_approximate

            return build_approximate(X, metric=self.metric)
        return build(X, metric=self.metric, p=float(self.p), algorithm=self.algorithm)

    def _available(self) -> float:
        return float(self.n_samples_fit_ if self.sample_weight_ is None else self.sample_weight_.sum())

    def _choose(self, loss: Callable[[Found, int], Array]) -> None:
        """Set `n_neighbors_`: as given, or that of the least leave-one-out error."""
        self.__dict__.pop("choice_", None)
        if self.n_neighbors != "auto":
            self.n_neighbors_ = int(self.n_neighbors)
            return
        self.choice_ = leave_one_out(self.index_, self.sample_weight_, loss, self.n_jobs)
        self.n_neighbors_ = self.choice_.best

    def _found(self, X: Any) -> Found:
        """The neighbours of new rows, and what each of them weighs."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], order="C", reset=False)
        return taken(self.index_, X, self.n_neighbors_, self.sample_weight_, self.n_jobs)

    def kneighbors(self, X: Any = None, n_neighbors: Any = None, return_distance: bool = True) -> Any:
        """Distances and indices (m, k) of the nearest training rows, nearest first; equal distances by the index.

        Parameters
        ----------
        X : array-like (m, p), default None
            Without it the training rows, of which none is its own neighbour.
        n_neighbors : int from 1 up, default `n_neighbors_`
        return_distance : bool, default True

        Indices count the training rows with a weight above zero.
        """
        check_is_fitted(self)
        k = self.n_neighbors_ if n_neighbors is None else n_neighbors
        queries, skip = self._queries(X)
        most = len(self.index_.rows) - (skip is not None)
        if not is_whole(k) or k > most:
            raise InputError(f"n_neighbors is {k!r} and must be a whole number from 1 to {most}, the number of rows.")
        far, near = nearest(self.index_, queries, int(k), n_jobs=self.n_jobs, skip=skip)
        return (far, near) if return_distance else near

    def radius_neighbors(
        self, X: Any = None, radius: float = 1.0, return_distance: bool = True, sort_results: bool = False
    ) -> Any:
        """Distances and indices of the training rows within `radius`, an array for each row (object arrays (m,)).

        They come by index, or with `sort_results` nearest first; otherwise as `kneighbors`.
        """
        check_is_fitted(self)
        queries, skip = self._queries(X)
        far, near = within(self.index_, queries, float(radius), sort=sort_results, n_jobs=self.n_jobs)
        if skip is not None:
            kept = [ids != i for i, ids in enumerate(near)]
            far, near = ([values[mask] for values, mask in zip(lists, kept, strict=True)] for lists in (far, near))
        return (_objects(far), _objects(near)) if return_distance else _objects(near)

    def kneighbors_graph(self, X: Any = None, n_neighbors: Any = None, mode: str = "connectivity") -> Any:
        """A CSR array (m, n) with 1, or the distance (`mode="distance"`), where a training row is a neighbour."""
        if mode not in ("connectivity", "distance"):
            raise InputError(f"There is no mode {mode!r}.{suggest(str(mode), ('connectivity', 'distance'))}")
        far, near = self.kneighbors(X, n_neighbors)
        data = far.ravel() if mode == "distance" else np.ones(near.size)
        ends = np.arange(0, near.size + 1, near.shape[1])
        return sparse.csr_array((data, near.ravel(), ends), shape=(len(near), len(self.index_.rows)))

    def _queries(self, X: Any) -> tuple[Array, Array | None]:
        if X is None:
            return self.index_.rows, np.arange(len(self.index_.rows))
        return validate_data(self, X, dtype=[np.float64, np.float32], order="C", reset=False), None

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner: its parameters and the training rows."""
        check_is_fitted(self)
        if callable(self.weights):
            raise InputError("A function as `weights` cannot be stored: take 'uniform' or 'distance'.")
        return {
            "n_neighbors": self.n_neighbors if isinstance(self.n_neighbors, str) else int(self.n_neighbors),
            "weights": self.weights,
            "algorithm": self.algorithm,
            "metric": self.metric,
            "p": None if np.isinf(self.p) else float(self.p),  # JSON has no infinity
            "n_jobs": None if self.n_jobs is None else int(self.n_jobs),
            "k": self.n_neighbors_,
            "choice": self.choice_.to_array() if hasattr(self, "choice_") else None,
            "rows": self.index_.rows,
            "row_weights": self.sample_weight_,
            **columns_to_state(self),
        }

    @classmethod
    def _restored(cls, state: State) -> Any:
        text = isinstance(state.json("n_neighbors"), str)
        learner = cls(
            n_neighbors=state.choice("n_neighbors", ("auto",)) if text else state.integer("n_neighbors", low=1),
            weights=state.choice("weights", WEIGHTS),
            algorithm=state.choice("algorithm", ALGORITHM_NAMES),
            metric=state.choice("metric", METRICS),
            p=state.number("p", low=1.0) if state.optional("p") else np.inf,
            n_jobs=state.integer("n_jobs") if state.optional("n_jobs") else None,
        )
        p = columns_from_state(learner, state)
        rows = state.array("rows", dtype=("float32", "float64"), shape=(None, p))
        if not len(rows):
            state.fail("it has no training rows")
        weights = None
        if state.optional("row_weights"):
            weights = state.array("row_weights", shape=(len(rows),), low=np.finfo(np.float64).tiny)
        try:
            learner._store(rows, weights)
        except InputError as error:
            state.fail(str(error))
        learner.n_neighbors_ = state.integer("k", low=1, high=max(1, int(np.ceil(learner._available()))))
        if state.optional("choice"):
            learner.choice_ = choice_of(state.array("choice", shape=(3, None), low=0.0), state)
        return learner


def is_whole(value: Any) -> bool:
    """Whether this is a whole number from 1 up."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= 1


def _count(value: float) -> str:
    return f"{int(value)}" if float(value).is_integer() else f"{value:g}"


def _objects(items: list[Array]) -> Array:
    found = np.empty(len(items), dtype=object)
    found[:] = items
    return found


class NearestNeighborsClassifier(ClassifierMixin, _Neighbors):  # type: ignore[misc]
    r"""The classes of the k nearest training rows vote.

    .. math:: p(y = c \mid x) = \frac{\sum_{i \in N_k(x)} w_i \, [y_i = c]}{\sum_{i \in N_k(x)} w_i}

    The neighbours are exact: distances of rounded numbers rule rows out, double precision decides among the rest.
    Equal distances go to the row with the smaller index, equal votes to the class that comes first in `classes_`.

    Parameters
    ----------
    n_neighbors : int from 1 up, or "auto", default 5
        k. "auto" takes the k of the least leave-one-out error on the training rows: all k up to 100 are tried in one
        pass over the sorted neighbours. Rows that are the same as the one left out are left out with it.
    weights : {"uniform", "distance"} or a function, default "uniform"
        w_i: 1, or 1 / d(x, x_i) (rows at distance 0 then decide alone), or what a function makes of distances (m, k).
    algorithm : {"auto", "brute", "kd_tree", "hnsw"}, default "auto"
        "auto" takes a tree up to 12 columns and otherwise passes over all rows. "hnsw" is approximate, needs the extra
        `faiss`, and measures its recall: `index_.recall`.
    metric : str, default "euclidean"
        "euclidean" (l2), "manhattan" (l1, cityblock), "chebyshev" (infinity), "minkowski", "cosine" or "hamming".
    p : float from 1 up, default 2
        Of the metric "minkowski".
    n_jobs : int or None, default None
        At most how many threads; the result does not depend on it.

    Attributes
    ----------
    classes_ : array (K,), the class labels, sorted
    n_neighbors_ : int, k
    choice_ : KChoice, the errors of all k, with `plot()`; after n_neighbors="auto" only
    index_ : Index, the training rows (with a weight above zero) as they are searched
    effective_metric_ : str
    n_samples_fit_ : int
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    A `sample_weight` of 2 is the same row twice: k counts weights, and of the last row only what is wanted counts.

    Raises
    ------
    InputError : a parameter is out of range, or k is greater than the number of rows.
    ValueError : the data is not numeric, not finite, empty, or of another width than at fit.

    References
    ----------
    E. Fix and J. Hodges, Discriminatory analysis, 1951. T. Cover and P. Hart, IEEE Trans. Information Theory 13, 1967.

    Examples
    --------
    >>> model = NearestNeighborsClassifier(n_neighbors=3).fit([[0.0], [1.0], [2.0], [9.0]], ["a", "a", "b", "b"])
    >>> model.predict([[0.5], [8.0]]).tolist()
    ['a', 'b']
    >>> model.predict_proba([[0.5]]).round(3).tolist()
    [[0.667, 0.333]]
    """

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> NearestNeighborsClassifier:
        """Keep `X` (n, p) and labels `y` (n,), with weights (n,) if wanted: how often each row was seen."""
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], order="C")
        check_classification_targets(y)
        weights = row_weights(sample_weight, X)
        self.classes_, self.codes_ = np.unique(y, return_inverse=True)
        if weights is not None:
            kept = weights > 0.0
            X, self.codes_, weights = X[kept], self.codes_[kept], weights[kept]
        self._store(np.array(X), weights)
        self._choose(self._wrong)
        return self

    def _wrong(self, found: Found, k: int) -> Array:
        votes = self._votes(pull(found.first(k), self.weights), found.near)
        return np.asarray(votes.argmax(axis=1) != self.codes_[found.queries], dtype=np.float64)

    def _votes(self, shares: Array, near: Array) -> Array:
        votes = np.zeros((len(near), len(self.classes_)))
        np.add.at(votes, (np.arange(len(near))[:, None], self.codes_[near]), shares)
        return votes

    def predict_proba(self, X: Any) -> Array:
        """The shares of the votes (m, K), in the order of `classes_`; every row sums to 1."""
        found = self._found(X)
        votes = self._votes(pull(found, self.weights), found.near)
        total = votes.sum(axis=1, keepdims=True)
        return np.asarray(votes / np.where(total > 0.0, total, 1.0))

    def predict(self, X: Any) -> Array:
        """The class with the most votes (m,)."""
        chances = self.predict_proba(X)
        return np.asarray(self.classes_[chances.argmax(axis=1)])

    def errors_by_k(self, X: Any, y: ArrayLike, k_max: int = 100) -> KChoice:
        """The share of wrong answers on `X` (m, p) and `y` (m,) for every k up to `k_max`, in one pass."""
        codes = np.searchsorted(self.classes_, np.asarray(y))
        known = self.classes_[np.minimum(codes, len(self.classes_) - 1)] == np.asarray(y)

        def loss(found: Found, k: int) -> Array:
            votes = self._votes(pull(found.first(k), self.weights), found.near)
            return np.asarray(~known | (votes.argmax(axis=1) != codes), dtype=np.float64)

        return _errors_by_k(self, X, k_max, loss)

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner: its parameters, the training rows and their classes."""
        return {**super().to_state(), "codes": self.codes_.astype(np.int64), **labels_to_state(self.classes_)}

    @classmethod
    def from_state(cls, state: State) -> NearestNeighborsClassifier:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        learner: NearestNeighborsClassifier = cls._restored(state)
        learner.classes_ = labels_from_state(state, at_least=1)
        n, last = len(learner.index_.rows), len(learner.classes_) - 1
        codes = state.array("codes", dtype="int64", shape=(n,), low=0, high=last)
        learner.codes_ = codes.astype(np.intp)
        return learner


class NearestNeighborsRegressor(RegressorMixin, _Neighbors):  # type: ignore[misc]
    r"""The mean of the targets of the k nearest training rows.

    .. math:: \hat y(x) = \frac{\sum_{i \in N_k(x)} w_i \, y_i}{\sum_{i \in N_k(x)} w_i}

    Parameters
    ----------
    n_neighbors, weights, algorithm, metric, p, n_jobs : as in `NearestNeighborsClassifier`

    Attributes
    ----------
    targets_ : float64 array (n,) or (n, t), of the training rows with a weight above zero
    n_neighbors_, choice_, index_, effective_metric_, n_samples_fit_, n_features_in_, feature_names_in_ : as there

    Raises
    ------
    InputError : a parameter is out of range, or k is greater than the number of rows.
    ValueError : the data is not numeric, not finite, empty, or of another width than at fit.

    References
    ----------
    T. Hastie, R. Tibshirani and J. Friedman, The Elements of Statistical Learning, 2009, equation 2.8.

    Examples
    --------
    >>> model = NearestNeighborsRegressor(n_neighbors=2).fit([[0.0], [1.0], [2.0]], [0.0, 10.0, 20.0])
    >>> model.predict([[0.2], [1.9]]).tolist()
    [5.0, 15.0]
    """

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> NearestNeighborsRegressor:
        """Keep `X` (n, p) and `y` (n,) or (n, t), with weights (n,) if wanted: how often each row was seen."""
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], order="C", multi_output=True, y_numeric=True)
        weights = row_weights(sample_weight, X)
        self.targets_ = np.array(y, dtype=np.float64)
        if weights is not None:
            kept = weights > 0.0
            X, self.targets_, weights = X[kept], self.targets_[kept], weights[kept]
        self._store(np.array(X), weights)
        self._choose(lambda found, k: self._squares(found, k, self.targets_[found.queries]))
        return self

    def _squares(self, found: Found, k: int, y: Array) -> Array:
        squares = (self._means(pull(found.first(k), self.weights), found.near) - y) ** 2
        return squares if squares.ndim == 1 else np.asarray(squares.mean(axis=1))

    def _means(self, shares: Array, near: Array) -> Array:
        total = shares.sum(axis=1, keepdims=True)
        shares = shares / np.where(total > 0.0, total, 1.0)
        if self.targets_.ndim == 1:
            return np.asarray(np.einsum("ij,ij->i", shares, self.targets_[near]))
        return np.asarray(np.einsum("ij,ijt->it", shares, self.targets_[near]))

    def predict(self, X: Any) -> Array:
        """The weighted means (m,), or (m, t) for t targets."""
        found = self._found(X)
        return self._means(pull(found, self.weights), found.near)

    def errors_by_k(self, X: Any, y: ArrayLike, k_max: int = 100) -> KChoice:
        """The mean squared error on `X` (m, p) and `y` (m,) for every k up to `k_max`, in one pass."""
        targets = np.asarray(y, dtype=np.float64)
        return _errors_by_k(self, X, k_max, lambda found, k: self._squares(found, k, targets))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner: its parameters, the training rows and their targets."""
        return {**super().to_state(), "targets": self.targets_}

    @classmethod
    def from_state(cls, state: State) -> NearestNeighborsRegressor:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        learner: NearestNeighborsRegressor = cls._restored(state)
        targets = state.array("targets")
        if targets.ndim not in (1, 2) or len(targets) != len(learner.index_.rows):
            state.fail("the targets must be numbers, one row for each training row")
        learner.targets_ = targets
        return learner


def _errors_by_k(learner: Any, X: Any, k_max: int, loss: Callable[[Found, int], Array]) -> KChoice:
    check_is_fitted(learner)
    X = validate_data(learner, X, dtype=[np.float64, np.float32], order="C", reset=False)
    most = min(int(k_max), int(learner._available()))
    found = taken(learner.index_, X, most, learner.sample_weight_, learner.n_jobs)
    return KChoice.of(np.arange(1, most + 1), [loss(found, k) for k in range(1, most + 1)], None)
