"""Linear classifiers by a loss of the margin: support vector machines and their relatives."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.dealing import folds
from heldout.errors import InputError, suggest
from heldout.linear.blocks import in_threads, one_blas_thread
from heldout.linear.margin import solvers
from heldout.linear.margin.calibration import probabilities, sigmoid
from heldout.linear.margin.losses import OPTIMISED, known
from heldout.linear.margin.solvers import Fitted, Task
from heldout.linear.states import (
    Labels,
    class_weight_from_state,
    class_weight_to_state,
    class_weights,
    columns_from_state,
    columns_to_state,
    labels_from_state,
    labels_to_state,
    row_weights,
)
from heldout.linear.together import WIDEST
from heldout.linear.triangular import Array

if TYPE_CHECKING:
    from heldout.persist import State

SOLVERS = ("auto", "dual", "newton", "lbfgs", "sgd")
SUITABLE = {
    "log": ("newton", "lbfgs", "sgd"),
    "hinge": ("dual", "sgd"),
    "squared-hinge": ("newton", "lbfgs", "dual", "sgd"),
    "exponential": ("newton", "lbfgs", "sgd"),
    "perceptron": ("sgd",),
}  # the first one is "auto"; "lbfgs" where the table is sparse or too wide for Newton's method
MOST_SEEDS = 2**32
FOLDS = 3  # in which the scores for the calibration are made
ZERO_ONE = (
    "The zero-one loss cannot be optimised: its slope is zero wherever it has one, so that no step improves it, and to "
    "find its minimum is NP-hard. Take loss='hinge', 'log' or another convex bound on it; margin_loss('zero-one', m) "
    "reports it."
)


def _gives_probabilities(model: MarginClassifier) -> bool:
    return bool(model.probability)


class MarginClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""A linear classifier that minimises a loss of the margin: support vector machine, logistic regression and others.

    .. math:: \min_{w, b} \; \tfrac12 \lVert w \rVert_2^2 + C \sum_{i=1}^{n} v_i \, \ell(m_i), \qquad
        m_i = y_i (w^\top x_i + b), \quad y_i \in \{-1, +1\}

    With more than two classes one such problem for each class against the rest, in threads; the greatest score wins.

    Parameters
    ----------
    loss : {"hinge", "squared-hinge", "log", "exponential", "perceptron"}, default "hinge"
        :math:`\ell`, as `margin_loss` gives it.
    C : float above 0, default 1.0
        How much the losses count beside the penalty.
    solver : {"auto", "dual", "newton", "lbfgs", "sgd"}, default "auto"
        "dual": coordinate descent on the dual, for the hinge (its "auto") and the squared hinge, to a known distance
        from the minimum; the intercept is the coefficient of a column of `intercept_scaling` and is penalised
        with the others, as in scikit-learn's LinearSVC. "newton": for the smooth losses, with an intercept
        that is not penalised; their "auto" for dense tables up to 4,000 columns. "lbfgs": the same; their
        "auto" otherwise. "sgd": stochastic gradient descent for any loss, `max_iter` epochs (the
        perceptron's "auto").
    fit_intercept : bool, default True
        Fit b; otherwise b = 0.
    intercept_scaling : float above 0, default 1.0
        Of solver "dual": the greater, the less the intercept is penalised, and the slower the descent.
    class_weight : dict from label to a number not negative, "balanced" or None, default None
        Multiplies C for the rows of a class; "balanced" is n / (K n_k).
    average : bool, default True
        Of solver "sgd": take the average of the coefficients after the epochs of the second half.
    probability : bool, default False
        Fit a sigmoid to scores of rows held out in three folds (Platt), for `predict_proba`; one against the rest is
        made to sum to one. Predictions then go by it too. With too few rows of a class for three folds, the scores are
        those of the fit itself.
    tol : float above 0, default 1e-4
        "dual": largest duality gap relative to the objective; small narrow tables are solved to rounding.
        "lbfgs": largest slope, the objective divided by C times the sum of the weights.
    max_iter : int above 0, default 1000
        Most epochs of "dual" or steps of "lbfgs"; all epochs of "sgd", where 20 to 100 are usual.
    seed : int, not negative, default 0
        Of the order of the rows.

    Attributes
    ----------
    coef_ : float64 array (1, p) for two classes, otherwise (K, p): w
    intercept_ : float64 array (1,) or (K,): b
    classes_ : array (K,), the class labels, sorted
    n_iter_ : int, the most epochs or steps of a problem
    dual_gap_ : float, the largest relative duality gap of a problem; NaN where the solver has none
    calibration_ : float64 array (2, 1) or (2, K), slope and offset of the sigmoids; with probability=True only
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : a parameter is out of range, loss="zero-one" (the error says why), or there is one class only.
    ValueError : the data is not numeric, not finite, empty, or of another width than at fit.

    References
    ----------
    C. Cortes and V. Vapnik, Machine Learning 20, 1995. C.-J. Hsieh et al., ICML 2008 (dual coordinate descent).
    J. Platt, Advances in Large Margin Classifiers, 2000 (probabilities).

    Examples
    --------
    >>> X = [[0.0, 0.0], [1.0, 0.0], [3.0, 1.0], [4.0, 1.0]]
    >>> model = MarginClassifier().fit(X, ["no", "no", "yes", "yes"])
    >>> model.coef_.round(3).tolist(), model.predict([[1.0, 0.2], [3.0, 0.6]]).tolist()
    ([[0.5, 0.5]], ['no', 'yes'])
    """

    def __init__(
        self,
        *,
        loss: str = "hinge",
        C: float = 1.0,
        solver: str = "auto",
        fit_intercept: bool = True,
        intercept_scaling: float = 1.0,
        class_weight: dict[Any, float] | str | None = None,
        average: bool = True,
        probability: bool = False,
        tol: float = 1e-4,
        max_iter: int = 1000,
        seed: int = 0,
    ) -> None:
        self.loss = loss
        self.C = C
        self.solver = solver
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.average = average
        self.probability = probability
        self.tol = tol
        self.max_iter = max_iter
        self.seed = seed

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> MarginClassifier:
        """Fit to `X` (n, p), dense or CSR, and labels `y` (n,), with row weights (n,), not negative, if wanted."""
        self._check_parameters()
        X, labels = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64, order="C")
        check_classification_targets(labels)
        X = sparse.csr_array(X) if sparse.issparse(X) else X
        weights = row_weights(sample_weight, X)
        if weights is not None and not weights.all():
            seen = weights > 0.0
            X, labels, weights = X[seen], labels[seen], weights[seen]
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(
                f"There is one class only ({self.classes_.tolist()[0]!r}): a classifier needs at least two."
            )
        v = np.ones(len(codes)) if weights is None else weights
        cost = self.C * v * class_weights(self.class_weight, self.classes_, codes, v)[codes]
        kept = cost > 0.0
        if len(np.unique(codes[kept])) < 2:
            raise InputError(
                "class_weight leaves fewer than two classes with a weight above zero: give two or more one."
            )
        found = self._problems(X[kept], codes[kept], cost[kept])
        self.coef_ = np.array([one.w for one in found])
        self.intercept_ = np.array([one.b for one in found])
        self.n_iter_ = max(one.n_iter for one in found)
        gaps = [one.gap for one in found]
        self.dual_gap_ = float(np.max(gaps))
        self.__dict__.pop("calibration_", None)
        if self.probability:
            self.calibration_ = self._calibrate(X, codes, v, cost)
        self._warn_unless_converged(found)
        return self

    def _check_parameters(self) -> None:
        if self.loss == "zero-one":
            raise InputError(ZERO_ONE)
        known(self.loss)
        if self.solver not in SOLVERS:
            raise InputError(f"There is no solver {self.solver!r}.{suggest(str(self.solver), SOLVERS)}")
        if self.solver != "auto" and self.solver not in SUITABLE[self.loss]:
            able = " or ".join(map(repr, SUITABLE[self.loss]))
            raise InputError(f"solver={self.solver!r} cannot minimise loss={self.loss!r}: take {able}.")
        for name in ("C", "intercept_scaling", "tol", "max_iter"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < np.inf:
                raise InputError(f"{name} is {value!r} and must be a finite number above 0.")
        whole = isinstance(self.seed, int | np.integer) and not isinstance(self.seed, bool)
        if not whole or not 0 <= self.seed < MOST_SEEDS:
            raise InputError(f"seed is {self.seed!r} and must be a whole number from 0 to below {MOST_SEEDS:,}.")
        if self.max_iter != int(self.max_iter):
            raise InputError(f"max_iter is {self.max_iter!r} and must be a whole number above 0.")

    def _problems(self, x: Any, codes: Any, cost: Array) -> list[Fitted]:
        """One against the rest; the second class against the first where there are two."""
        if sparse.issparse(x):
            x.sort_indices()
        k = len(self.classes_)
        if self._solver_for(x) == "newton":
            roles = (2 * np.eye(k) - 1)[:, k == 2 :]
            return self._by_newton(x.toarray() if sparse.issparse(x) else x, codes, roles, cost)
        positive = [1] if k == 2 else range(k)
        return in_threads(functools.partial(self._problem, x, codes, cost), list(positive))

    def _problem(self, x: Any, codes: Any, cost: Array, positive: int) -> Fitted:
        task = Task(x, np.where(codes == positive, 1.0, -1.0), cost, self.loss, bool(self.fit_intercept))
        solver, most = self._solver_for(x), int(self.max_iter)
        if solver == "dual":
            bias = float(self.intercept_scaling)
            return solvers.by_dual(task, bias=bias, tol=float(self.tol), max_iter=most, seed=int(self.seed))
        if solver == "lbfgs":
            return solvers.by_lbfgs(task, tol=float(self.tol), max_iter=most)
        return solvers.by_sgd(task, average=bool(self.average), max_iter=most, seed=int(self.seed))

    def _solver_for(self, x: Any) -> str:
        (n, p), is_sparse = x.shape, sparse.issparse(x)
        solver = SUITABLE[self.loss][0] if self.solver == "auto" else self.solver
        if solver != "newton" or (p <= WIDEST and not (is_sparse and n * p > solvers.SMALL)):
            return solver
        if self.solver == "auto":
            return "lbfgs"
        raise InputError(f"solver='newton' takes dense tables of at most {WIDEST:,} columns: take 'lbfgs' here.")

    def fit_many(self, X: Any, codes: Any, roles: Array, sample_weight: ArrayLike | None = None) -> list[Any] | None:
        """Fitted copies of this learner, one for each two-class problem between the classes of `codes` (n,), or None.

        `roles` (classes, problems) tells on which side a class is: 1, -1, or 0 for no part. Each copy minimises what
        `fit` would, where that is Newton's method; None otherwise: nothing is gained over one fit after the other.
        """
        self._check_parameters()
        weights = row_weights(sample_weight, X)
        weights = np.ones(X.shape[0]) if weights is None else weights
        if sparse.issparse(X) or self.probability or self.class_weight is not None or not weights.all():
            return None
        if self._solver_for(X) != "newton":
            return None
        X = np.ascontiguousarray(X, dtype=np.float64)
        found = self._by_newton(X, codes, roles, self.C * weights)
        self._warn_unless_converged(found)
        return [self._copy_with(one) for one in found]

    def _by_newton(self, X: Array, codes: Any, roles: Array, cost: Array) -> list[Fitted]:
        tol, max_iter, fit_intercept = float(self.tol), int(self.max_iter), bool(self.fit_intercept)
        return solvers.by_newton(
            X, codes, roles, cost, loss=self.loss, fit_intercept=fit_intercept, tol=tol, max_iter=max_iter
        )

    def _copy_with(self, found: Fitted) -> MarginClassifier:
        """A learner as `fit` would leave it, for the classes 0 and 1."""
        learner: MarginClassifier = clone(self)
        learner.classes_, learner.n_features_in_, learner.n_iter_ = np.arange(2), len(found.w), found.n_iter
        learner.coef_, learner.intercept_ = found.w[None, :].copy(), np.array([found.b])
        learner.dual_gap_ = found.gap
        return learner

    def _warn_unless_converged(self, found: Sequence[Fitted]) -> None:
        short, gap = sum(not one.converged for one in found), max(one.gap for one in found)
        if short:
            what = f"a duality gap of {gap:.1e}" if np.isfinite(gap) else "a slope"
            warnings.warn(
                f"MarginClassifier stopped after max_iter={self.max_iter} with {what} above tol={self.tol:g} "
                f"in {short} of {len(found)} problems: raise max_iter or tol, lower C, or scale the columns.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _calibrate(self, x: Any, codes: Any, v: Array, cost: Array) -> Array:
        """Slopes and offsets (2, problems), from scores of rows that took no part in them."""
        k = len(self.classes_)
        columns = [1] if k == 2 else list(range(k))
        held_out = [fold for fold in folds(x, codes.astype(np.float64), v, FOLDS) if _has_all(codes, fold[0], k)]
        if len(held_out) < FOLDS:
            parts = [(self._scores(x), codes, cost)]
        else:
            parts = [self._held_out(x, codes, v, cost, fold) for fold in held_out]
        scores, labels, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        pairs = [sigmoid(scores[:, j], labels == column, weights) for j, column in enumerate(columns)]
        return np.array(pairs).T.copy()

    def _held_out(
        self, x: Any, codes: Any, v: Array, cost: Array, fold: tuple[Array, Array]
    ) -> tuple[Array, Any, Array]:
        """Scores of the fold's rows by problems fitted to the others, with their labels and weights."""
        train, held = fold
        rows, taken = np.flatnonzero((train > 0.0) & (cost > 0.0)), np.flatnonzero(held)
        found = self._problems(x[rows], codes[rows], cost[rows] * (train[rows] / v[rows]))
        coef, intercept = np.array([one.w for one in found]), np.array([one.b for one in found])
        with one_blas_thread:
            return np.asarray(x[taken] @ coef.T + intercept), codes[taken], (held * cost / v)[taken]

    def _scores(self, X: Any) -> Array:
        return np.asarray(X @ self.coef_.T + self.intercept_)

    def decision_function(self, X: Any) -> Array:
        """Scores w'x + b: (n,) of the second of two classes, otherwise (n, K); with probability=True, log odds."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, order="C", reset=False)
        scores = self._scores(X)
        if self.probability:
            scores = scores * self.calibration_[0] + self.calibration_[1]
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> Labels:
        """The class with the greatest score (n,); of equal ones the first."""
        scores = self.decision_function(X)
        best = (scores > 0.0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes_[best])

    @available_if(_gives_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """Probabilities (n, K) by the fitted sigmoids; only with probability=True."""
        scores = self.decision_function(X)
        return probabilities(scores.reshape(len(scores), -1))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner."""
        check_is_fitted(self)
        names = ("loss", "solver", "fit_intercept", "average", "probability")
        numbers = ("C", "intercept_scaling", "tol")
        return {
            **{name: getattr(self, name) for name in names},
            **{name: float(getattr(self, name)) for name in numbers},
            "max_iter": int(self.max_iter),
            "seed": int(self.seed),
            "class_weight": class_weight_to_state(self.class_weight),
            "coef": self.coef_,
            "intercept": self.intercept_,
            "n_iter": int(self.n_iter_),
            "dual_gap": None if np.isnan(self.dual_gap_) else self.dual_gap_,
            **({"calibration": self.calibration_} if self.probability else {}),
            **labels_to_state(self.classes_),
            **columns_to_state(self),
        }

    @classmethod
    def from_state(cls, state: State) -> MarginClassifier:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        above_zero = np.finfo(np.float64).tiny
        learner = cls(
            loss=state.choice("loss", OPTIMISED),
            C=state.number("C", low=above_zero),
            solver=state.choice("solver", SOLVERS),
            fit_intercept=state.boolean("fit_intercept"),
            intercept_scaling=state.number("intercept_scaling", low=above_zero),
            average=state.boolean("average"),
            probability=state.boolean("probability"),
            tol=state.number("tol", low=above_zero),
            max_iter=state.integer("max_iter", low=1),
            seed=state.integer("seed", low=0, high=MOST_SEEDS - 1),
            class_weight=class_weight_from_state(state),
        )
        p = columns_from_state(learner, state)
        learner.classes_ = labels_from_state(state, at_least=2)
        rows = 1 if len(learner.classes_) == 2 else len(learner.classes_)
        learner.coef_ = state.array("coef", shape=(rows, p))
        learner.intercept_ = state.array("intercept", shape=(rows,))
        learner.n_iter_ = state.integer("n_iter", low=1)
        learner.dual_gap_ = state.number("dual_gap", low=-1e-6) if state.optional("dual_gap") else float("nan")
        if learner.probability:
            learner.calibration_ = state.array("calibration", shape=(2, rows))
        return learner


def _has_all(codes: Any, weights: Array, k: int) -> bool:
    return len(np.unique(codes[weights > 0.0])) == k
