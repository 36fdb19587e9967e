"""Random subspaces and bagging: any base learner, many times over, each on columns or rows of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score

from heldout.ensemble.diversity import (
    NumberDiversity,
    VoteDiversity,
    diversity_of,
    number_diversity,
    vote_diversity,
)
from heldout.ensemble.members import Ensemble, Lots, part_of, plain, rows_of, weights_of
from heldout.errors import InputError, suggest
from heldout.linear.states import labels_from_state, labels_to_state
from heldout.trees.base import is_share, is_whole, labels_of, numbers_of
from heldout.trees.tree import DecisionTreeClassifier, DecisionTreeRegressor

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

VOTINGS = ("auto", "soft", "hard")


def chances(member: Any, X: Any, n_classes: int) -> Array:
    """A member's probabilities (m, K); zero for classes that it did not see."""
    found = member.predict_proba(X)
    out = np.zeros((len(found), n_classes))
    out[:, member.classes_] = found
    return out


def votes(member: Any, X: Any, n_classes: int) -> Array:
    """1 for the class that a member says (m, K)."""
    said = np.asarray(member.predict(X), dtype=np.intp)
    out = np.zeros((len(said), n_classes))
    out[np.arange(len(said)), said] = 1.0
    return out


def numbers(member: Any, X: Any) -> Array:
    """A member's numbers (m,)."""
    return np.asarray(member.predict(X), dtype=np.float64).ravel()


class _Classifiers(ClassifierMixin, Ensemble):  # type: ignore[misc]
    """What both classifiers share."""

    voting: Any
    task = "classification"

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Fit the members to `X` (n, p), an array or a frame, labels `y` (n,), and weights (n,) if wanted."""
        self._check_parameters()
        X = rows_of(self, X, reset=True)
        labels = labels_of(given(self, y), X)
        weights, seen = weights_of(sample_weight, X)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        inside, own = part_of(X, seen, None), codes if seen is None else codes[seen]
        lots = self._fit_members(inside, own, weights, by_class=True)
        if self.oob_score:
            self._judge(inside, own, lots, np.arange(len(codes)) if seen is None else seen, len(codes))
        return self

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.voting not in VOTINGS:
            raise InputError(f"There is no voting {self.voting!r}.{suggest(str(self.voting), VOTINGS)}")
        base = self._base()
        if self.voting == "soft" and not hasattr(base, "predict_proba"):
            raise InputError(f"{type(base).__name__} has no probabilities to average: take voting='hard'.")

    def _default(self) -> Any:
        return DecisionTreeClassifier()

    def _question(self) -> Callable[[Any, Any], Array]:
        soft = self.voting != "hard" and hasattr(self._base(), "predict_proba")
        return functools.partial(chances if soft else votes, n_classes=len(self.classes_))

    def _judge(self, X: Any, codes: Array, lots: Lots, seen: Array, n: int) -> None:
        """Every row by the members that did not see it."""
        said = self._collect(X, lots)
        told = told_of(said.told)
        self.oob_decision_function_ = np.full((n, len(self.classes_)), np.nan)
        self.oob_decision_function_[seen[told]] = said.mean[told]
        best = said.mean.argmax(axis=1)
        self.oob_score_ = float(np.mean(best[told] == codes[told]))
        asked = said.asked.any(axis=1)
        self.diversity_ = diversity_of(said.each[asked], codes, task=self.task, asked=said.asked[asked], together=best)

    def predict_proba(self, X: Any) -> Array:
        """The mean of the members' probabilities, or the shares of their votes (m, K), in the order of `classes_`."""
        return self._mean(X)

    def predict(self, X: Any) -> Array:
        """The class (m,) with the greatest mean or share; of equal ones the first."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def diversity(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> VoteDiversity:
        """How strong and how alike the members are on rows `X` (m, p), `y` (m,) that they did not learn from.

        Each has one vote, for the class that it finds most probable.
        """
        X = self._new(X)
        truth, said = labels_of(given(self, y), X), self._collect(X)
        return vote_diversity(self.classes_, said.each, said.mean, truth, sample_weight)

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted ensemble."""
        return {**super().to_state(), "voting": self.voting, **labels_to_state(self.classes_)}

    @classmethod
    def _restored(cls, state: State, **more: Any) -> Any:
        learner = super()._restored(state, voting=state.choice("voting", VOTINGS), **more)
        learner.classes_ = labels_from_state(state, at_least=1)
        for member in learner.estimators_:
            own = np.asarray(member.classes_)
            if own.dtype.kind != "i" or own.min() < 0 or own.max() >= len(learner.classes_):
                state.fail("a member knows classes that the ensemble does not have")
        return learner


class _Regressors(RegressorMixin, Ensemble):  # type: ignore[misc]
    """What both regressors share."""

    task = "regression"

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Fit the members to `X` (n, p), an array or a frame, numbers `y` (n,), and weights (n,) if wanted."""
        self._check_parameters()
        X = rows_of(self, X, reset=True)
        target = numbers_of(given(self, y), X, "squared_error")
        weights, seen = weights_of(sample_weight, X)
        inside, own = part_of(X, seen, None), target if seen is None else target[seen]
        lots = self._fit_members(inside, own, weights, by_class=False)
        if self.oob_score:
            self._judge(inside, own, lots, np.arange(len(target)) if seen is None else seen, len(target))
        return self

    def _default(self) -> Any:
        return DecisionTreeRegressor()

    def _question(self) -> Callable[[Any, Any], Array]:
        return numbers

    def _judge(self, X: Any, y: Array, lots: Lots, seen: Array, n: int) -> None:
        """Every row by the members that did not see it."""
        said = self._collect(X, lots)
        told = told_of(said.told)
        self.oob_prediction_ = np.full(n, np.nan)
        self.oob_prediction_[seen[told]] = said.mean[told]
        self.oob_score_ = float(r2_score(y[told], said.mean[told]))
        asked = said.asked.any(axis=1)
        self.diversity_ = diversity_of(said.each[asked], y, task=self.task, asked=said.asked[asked])

    def predict(self, X: Any) -> Array:
        """The mean (m,) of the members' numbers."""
        return self._mean(X)

    def diversity(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> NumberDiversity:
        """How strong and how alike the members are on rows `X` (m, p), `y` (m,) that they did not learn from."""
        X = self._new(X)
        truth = numbers_of(given(self, y), X, "squared_error")
        return number_diversity(self._collect(X).each, truth, sample_weight)


def given(learner: Any, y: Any) -> Any:
    if y is None:
        raise InputError(f"{type(learner).__name__} requires y to be passed, but the target y is None.")
    return y


def told_of(told: Array) -> Array:
    """The rows (m,) that are in no bag of some member."""
    if not told.any():
        raise InputError("Every row is in every bag: take more members for an out-of-bag score.")
    return np.flatnonzero(told)


def bags_to_state(learner: Any) -> dict[str, Any]:
    """What bagging stores beside the rest."""
    return {
        "max_samples": plain(learner.max_samples),
        "bootstrap": bool(learner.bootstrap),
        "oob_score": bool(learner.oob_score),
        **({"oob": learner.oob_score_} if learner.oob_score else {}),
    }


def bags_from_state(state: State) -> dict[str, Any]:
    """The parameters that `bags_to_state` stored, checked."""
    most = state.json("max_samples") if state.optional("max_samples") else None
    if most is not None and not is_whole(most, 1) and not is_share(most):
        state.fail("'max_samples' must be a whole number from 1 up or a share")
    return {
        "max_samples": most,
        "bootstrap": state.boolean("bootstrap"),
        "oob_score": state.boolean("oob_score"),
    }


class RandomSubspaceClassifier(_Classifiers):
    r"""The mean of many classifiers, each fitted to all rows and to a random part of the columns.

    .. math:: p(y = c \mid x) = \frac{1}{B} \sum_{b=1}^{B} p_b(y = c \mid x_{S_b}), \qquad S_b \subset \{1, \dots, p\}

    Members that see different columns err on different rows, and none of them has to cope with all columns.

    Parameters
    ----------
    estimator : classifier, default None
        heldout's or scikit-learn's; None is `DecisionTreeClassifier()`. Its parameters `seed` and `random_state`, and
        those of learners inside it, get a value of their own for each member.
    n_estimators : int from 1 up, default 100
        B.
    max_features : int, share, "sqrt", "log2" or None, default 0.5
        How many columns a member sees, drawn without replacement.
    voting : {"auto", "soft", "hard"}, default "auto"
        "soft" averages probabilities; "hard" gives each member one vote; "auto" is "soft" where the base has
        `predict_proba`, and else "hard". The shares of the votes are then what `predict_proba` gives.
    n_jobs : int or None, default None
        Members fitted side by side (joblib); None is as many as BLAS may have threads.
    workers : {"threads", "processes"}, default "threads"
        Processes for a base that holds Python's lock. Members predict in threads.
    seed : int from 0 to below 2**32, default 0
        The same seed gives the same ensemble, whatever `n_jobs`.

    Attributes
    ----------
    classes_ : array (K,), the class labels, sorted
    estimators_ : list of the fitted members; their classes are 0, ..., K - 1
    estimators_features_ : int array (B, k), the columns of each member, rising
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : a parameter is unknown or out of range, the base is no classifier, takes no weights where there are
        some, or has parameters that name columns.
    ValueError : the data is empty, infinite, or of another width than at fit.

    References
    ----------
    T. K. Ho, The random subspace method for constructing decision forests, IEEE Transactions on Pattern Analysis and
    Machine Intelligence 20, 1998.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from heldout import DecisionTreeClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> model = RandomSubspaceClassifier(n_estimators=30).fit(X[::2], y[::2])
    >>> tree = DecisionTreeClassifier().fit(X[::2], y[::2])
    >>> round(tree.score(X[1::2], y[1::2]), 2), round(model.score(X[1::2], y[1::2]), 2)
    (0.94, 0.98)
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 100,
        max_features: Any = 0.5,
        voting: str = "auto",
        n_jobs: int | None = None,
        workers: str = "threads",
        seed: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.max_features = max_features
        self.voting = voting
        self.n_jobs = n_jobs
        self.workers = workers
        self.seed = seed

    @classmethod
    def from_state(cls, state: State) -> RandomSubspaceClassifier:
        """The fitted ensemble that `to_state` described; ModelFileError where the values do not fit together."""
        learner: RandomSubspaceClassifier = cls._restored(state)
        return learner


class RandomSubspaceRegressor(_Regressors):
    r"""The mean of many regressors, each fitted to all rows and to a random part of the columns.

    .. math:: \hat y(x) = \frac{1}{B} \sum_{b=1}^{B} \hat y_b(x_{S_b}), \qquad S_b \subset \{1, \dots, p\}

    Parameters
    ----------
    estimator : regressor, default None
        heldout's or scikit-learn's; None is `DecisionTreeRegressor()`.
    n_estimators, max_features, n_jobs, workers, seed : as in `RandomSubspaceClassifier`

    Attributes
    ----------
    estimators_, estimators_features_, n_features_in_, feature_names_in_ : as there

    Raises
    ------
    InputError : a parameter is unknown or out of range, the base is no regressor, takes no weights where there are
        some, or has parameters that name columns.
    ValueError : the data is empty, infinite, or of another width than at fit.

    References
    ----------
    T. K. Ho, IEEE Transactions on Pattern Analysis and Machine Intelligence 20, 1998.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = RandomSubspaceRegressor().fit(X[::2], y[::2])
    >>> found = model.diversity(X[1::2], y[1::2])
    >>> found.error < found.bound < found.mean_error
    True
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 100,
        max_features: Any = 0.5,
        n_jobs: int | None = None,
        workers: str = "threads",
        seed: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.max_features = max_features
        self.n_jobs = n_jobs
        self.workers = workers
        self.seed = seed

    @classmethod
    def from_state(cls, state: State) -> RandomSubspaceRegressor:
        """The fitted ensemble that `to_state` described; ModelFileError where the values do not fit together."""
        learner: RandomSubspaceRegressor = cls._restored(state)
        return learner


class BaggingClassifier(_Classifiers):
    r"""The mean of many classifiers, each fitted to rows drawn with replacement (a bag).

    .. math:: p(y = c \mid x) = \frac{1}{B} \sum_{b=1}^{B} p_b(y = c \mid x)

    A base that changes with its rows, such as a tree, errs less so; one that hardly does, such as nearest neighbours,
    gains nothing.

    Parameters
    ----------
    estimator, n_estimators, voting, n_jobs, workers, seed : as in `RandomSubspaceClassifier`
        A row that is k times in a bag has k times its weight; where the base takes no weights, it is there k times.
    max_samples : int, share of the rows or None, default None
        How many rows are drawn; None: as many as there are.
    max_features : int, share, "sqrt", "log2" or None, default None
        How many columns a member sees, drawn without replacement; None: all.
    bootstrap : bool, default True
        Draw with replacement; otherwise without. A bag that holds one class only is drawn again.
    oob_score : bool, default False
        Judge every row by the members that did not see it: `oob_score_`, `oob_decision_function_`, `diversity_`.

    Attributes
    ----------
    oob_score_ : float, the accuracy out of bag
    oob_decision_function_ : float64 array (n, K), NaN for rows that every member saw
    diversity_ : VoteDiversity, of the same rows; all three with oob_score=True
    classes_, estimators_, estimators_features_, n_features_in_, feature_names_in_ : as in `RandomSubspaceClassifier`

    Raises
    ------
    InputError : a parameter is unknown or out of range, the base is no classifier, takes no weights where there are
        some, or has parameters that name columns.
    ValueError : the data is empty, infinite, or of another width than at fit.

    References
    ----------
    L. Breiman, Bagging predictors, Machine Learning 24, 1996.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = BaggingClassifier(oob_score=True).fit(X, y)
    >>> round(model.oob_score_, 2), round(model.diversity_.mean_error, 2), round(model.diversity_.error, 2)
    (0.96, 0.08, 0.04)
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 100,
        max_samples: int | float | None = None,
        max_features: Any = None,
        bootstrap: bool = True,
        oob_score: bool = False,
        voting: str = "auto",
        n_jobs: int | None = None,
        workers: str = "threads",
        seed: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.max_features = max_features
        self.bootstrap = bootstrap
        self.oob_score = oob_score
        self.voting = voting
        self.n_jobs = n_jobs
        self.workers = workers
        self.seed = seed

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted ensemble."""
        return {**super().to_state(), **bags_to_state(self)}

    @classmethod
    def from_state(cls, state: State) -> BaggingClassifier:
        """The fitted ensemble that `to_state` described; ModelFileError where the values do not fit together."""
        learner: BaggingClassifier = cls._restored(state, **bags_from_state(state))
        if learner.oob_score:
            learner.oob_score_ = state.number("oob", low=0.0, high=1.0)
        return learner


class BaggingRegressor(_Regressors):
    r"""The mean of many regressors, each fitted to rows drawn with replacement (a bag).

    .. math:: \hat y(x) = \frac{1}{B} \sum_{b=1}^{B} \hat y_b(x)

    Parameters
    ----------
    estimator : regressor, default None
        heldout's or scikit-learn's; None is `DecisionTreeRegressor()`.
    n_estimators, max_samples, max_features, bootstrap, oob_score, n_jobs, workers, seed : as in `BaggingClassifier`

    Attributes
    ----------
    oob_score_ : float, R^2 out of bag
    oob_prediction_ : float64 array (n,), NaN for rows that every member saw
    diversity_ : NumberDiversity, of the same rows; all three with oob_score=True
    estimators_, estimators_features_, n_features_in_, feature_names_in_ : as in `RandomSubspaceClassifier`

    Raises
    ------
    InputError : a parameter is unknown or out of range, the base is no regressor, takes no weights where there are
        some, or has parameters that name columns.
    ValueError : the data is empty, infinite, or of another width than at fit.

    References
    ----------
    L. Breiman, Bagging predictors, Machine Learning 24, 1996.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = BaggingRegressor(oob_score=True).fit(X, y)
    >>> model.oob_score_ > 0.4, model.diversity_.error < model.diversity_.mean_error / 1.5
    (True, True)
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 100,
        max_samples: int | float | None = None,
        max_features: Any = None,
        bootstrap: bool = True,
        oob_score: bool = False,
        n_jobs: int | None = None,
        workers: str = "threads",
        seed: int = 0,
    ) -> None:
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.max_features = max_features
        self.bootstrap = bootstrap
        self.oob_score = oob_score
        self.n_jobs = n_jobs
        self.workers = workers
        self.seed = seed

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted ensemble."""
        return {**super().to_state(), **bags_to_state(self)}

    @classmethod
    def from_state(cls, state: State) -> BaggingRegressor:
        """The fitted ensemble that `to_state` described; ModelFileError where the values do not fit together."""
        learner: BaggingRegressor = cls._restored(state, **bags_from_state(state))
        if learner.oob_score:
            learner.oob_score_ = state.number("oob", high=1.0)
        return learner
