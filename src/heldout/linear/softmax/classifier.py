"""Softmax classification: multinomial logistic regression with L2, L1 or elastic-net penalty."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.errors import InputError, suggest
from heldout.linear.blocks import Map, in_threads, split_rows, threads
from heldout.linear.minimum import Minimum
from heldout.linear.softmax.loss import Array, Codes, class_differences, log_softmax
from heldout.linear.softmax.objective import Objective
from heldout.linear.softmax.solvers import SOLVERS, Outcome
from heldout.linear.softmax.standardise import Standardised, common_scale, quick_copies, standardise
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
from heldout.linear.together import minimise as minimise_together
from heldout.linear.triangular import block_rows

if TYPE_CHECKING:
    from heldout.persist import State


WORTH_THREADS = 4  # blocks; for fewer, starting threads takes longer than they save
NEWTON_STEPS, PRODUCTS = 8, 60  # what either took on the tables of the benchmarks, roughly
SPARSE_BLOCKS, SPARSE_WORK = 8, 2**19  # at most; multiplications that make a block
PRODUCT_COST = 8.0  # of one multiplication in a product with a vector, which waits for memory, against one in a Gram
LEAST_SHARE = 1e-10  # of a class whose rows all have weight zero: its probability starts and stays near nothing
SMALL = 2**20  # numbers in a table of two classes that is solved by compiled code on one core
NEWTON_LARGEST = 4000  # unknowns whose Hessian is still worth its memory


class SoftmaxClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""Softmax regression: class probabilities from linear scores, by penalised maximum likelihood.

    .. math:: p(y=k \mid x) = \frac{e^{s_k}}{\sum_j e^{s_j}}, \qquad s = W x + b

    W and b minimise :math:`C \sum_i v_i \, (-\log p(y_i \mid x_i)) + \tfrac{1 - \rho}2 \lVert W \rVert_F^2
    + \rho \lVert W \rVert_1`, rho being `l1_ratio`: the objective of scikit-learn's ``LogisticRegression``. The
    intercepts b are not penalised. Two classes share one row of
    coefficients, and :math:`p(y=1 \mid x) = 1 / (1 + e^{-s})`.

    Parameters
    ----------
    C : float above 0, default 1.0
        Weight of the likelihood against the penalty; smaller is more regular. Infinity is maximum likelihood without
        a penalty; where the classes are separated it has no finite maximum, and a warning says so.
    l1_ratio : float from 0 to 1, default 0.0
        Share of the L1 norm in the penalty: 0 is L2, 1 is L1, between them lies the elastic net. With L1 there are
        coefficients that are exactly zero.
    fit_intercept : bool, default True
        Fit b; otherwise b = 0.
    solver : {"auto", "newton", "newton-cg", "lbfgs"}, default "auto"
        Newton's method with the exact Hessian, Newton's method with steps by preconditioned conjugate gradients,
        L-BFGS; "auto" takes one of the first two by the number of rows, columns and classes. L1 needs "newton-cg",
        which "auto" then takes.
    tol : float above 0, default 1e-6
        Converged where no component of the gradient exceeds it. The gradient is that of the objective divided
        by :math:`C \sum_i v_i` (the smallest subgradient, with L1), with respect to the coefficients of the
        standardised columns
        :math:`(x_j - \bar x_j) / \sqrt{\mathrm{var}_j + 4 / (C \sum_i v_i)}`: units of measurement do not matter.
    max_iter : int above 0, default 1000
        Most iterations of the solver.
    class_weight : None, "balanced" or dict from class label to weight, default None
        Multiplies the rows' weights. "balanced" gives every class the same total; a class that the dict does
        not name has weight 1.

    Attributes
    ----------
    classes_ : array (K,), the class labels, sorted
    coef_ : float64 array (K, p), or (1, p) for two classes: W
    intercept_ : float64 array (K,), or (1,): b; summing to zero for three classes or more, as W does without L1
    n_iter_ : int, iterations of the solver
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : a parameter is out of range, or there is only one class.
    ValueError : the data is not numeric, not finite, empty, or of another width than at fit.

    References
    ----------
    C. Bishop, Pattern Recognition and Machine Learning, 2006, section 4.3.4, equations 4.104 to 4.110.

    Examples
    --------
    >>> model = SoftmaxClassifier().fit([[0.0], [1.0], [2.0], [3.0]], ["no", "no", "yes", "yes"])
    >>> model.predict([[0.5], [2.5]]).tolist()
    ['no', 'yes']
    >>> model.predict_proba([[1.5]]).round(6).tolist()
    [[0.5, 0.5]]
    """

    def __init__(
        self,
        *,
        C: float = 1.0,
        l1_ratio: float = 0.0,
        fit_intercept: bool = True,
        solver: str = "auto",
        tol: float = 1e-6,
        max_iter: int = 1000,
        class_weight: str | Mapping[Any, float] | None = None,
    ) -> None:
        self.C = C
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> SoftmaxClassifier:
        """Fit to `X` (n, p), dense or CSR, and labels `y` (n,), with optional row weights (n,)."""
        self._check_parameters()
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64, order="C")
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(
                f"All rows belong to one class, {self.classes_.tolist()[0]!r}: a classifier needs 2 classes or more."
            )
        weights = row_weights(sample_weight, X)
        weights = np.ones(len(codes)) if weights is None else weights
        weights = weights * class_weights(self.class_weight, self.classes_, codes, weights)[codes]
        if not weights.all():  # rows without weight are as if absent
            X, codes, weights = X[weights > 0.0], codes[weights > 0.0], weights[weights > 0.0]
        if len(self.classes_) == 2 and self._is_small(X.shape[0], X.shape[1], sparse.issparse(X)):
            found = self._smallest(X, np.arange(len(codes)), codes, weights)
            self.coef_, self.intercept_, self.n_iter_ = found.w[None, :], np.array([found.b]), found.n_iter
            self._warn_unless_converged(found)
            return self
        total = float(weights.sum())
        weights /= total
        strength = 1.0 / (self.C * total)
        with threads(_worth_threads(X)) as map_:
            floor, merge = 4.0 * strength, self.l1_ratio == 0.0 and np.isfinite(self.C)
            columns = standardise(X, weights, floor=floor, fit_intercept=self.fit_intercept, map_=map_, merge=merge)
            outcome = self._solve(columns, codes, weights, strength, map_)
        separated = np.isinf(self.C) and self._warn_if_separated(X, codes)
        if not separated:
            self._warn_unless_converged(outcome)
        return self

    def _check_parameters(self) -> None:
        for name in ("C", "tol", "max_iter"):
            value = getattr(self, name)
            infinite = name == "C" and value == np.inf
            if not _is_number(value) or not (0.0 < value < np.inf or infinite):
                raise InputError(f"{name} is {value!r} and must be a {'' if name == 'C' else 'finite '}number above 0.")
        if not _is_number(self.l1_ratio) or not 0.0 <= self.l1_ratio <= 1.0:
            raise InputError(f"l1_ratio is {self.l1_ratio!r} and must be a number from 0 to 1.")
        if self.solver != "auto" and self.solver not in SOLVERS:
            raise InputError(f"There is no solver {self.solver!r}.{suggest(str(self.solver), ['auto', *SOLVERS])}")
        if self.l1_ratio > 0.0 and self.solver not in ("auto", "newton-cg"):
            raise InputError(f"Solver {self.solver!r} cannot do L1: take 'newton-cg', 'auto' or l1_ratio=0.")

    def _solve(self, columns: Standardised, codes: Codes, weights: Array, strength: float, map_: Map) -> Outcome:
        n_classes, p = len(self.classes_), len(columns.scale)
        l1 = self.l1_ratio * strength
        n, width = columns.x.shape[0], columns.width
        stored = columns.x.nnz if sparse.issparse(columns.x) else n * width
        solver = choose_solver(n, width, stored, n_classes, l1 > 0.0) if self.solver == "auto" else self.solver
        # The L1 norm is that of all classes' coefficients, the L2 norm also that of the free scores' (Helmert's basis).
        all_classes = l1 > 0.0 or (solver == "newton-cg" and sparse.issparse(columns.x))
        basis = np.eye(n_classes) if all_classes and n_classes > 2 else class_differences(n_classes)
        penalty, absolute = np.zeros(columns.width), np.zeros(columns.width)
        penalty[:p] = (1.0 - self.l1_ratio) * strength / columns.scale**2
        absolute[:p] = l1 / columns.scale
        blocks = columns.blocks(codes, weights, _runs(columns, basis.shape[1]))
        quick = quick_copies(blocks, map_) if solver == "newton-cg" else None
        objective = Objective(blocks, basis, penalty, map_, absolute if l1 > 0.0 else None, quick)
        start = np.zeros((basis.shape[1], columns.width), order="F" if sparse.issparse(columns.x) else "C")
        if self.fit_intercept:
            start[:, -1] = _log_odds(codes, weights, basis)
        outcome = SOLVERS[solver](objective, start, self.tol, int(self.max_iter))
        self.n_iter_ = outcome.n_iter
        self.coef_, self.intercept_ = columns.undo(outcome.coef)
        if n_classes > 2:
            self.coef_, self.intercept_ = basis @ self.coef_, basis @ self.intercept_
            self.intercept_ -= self.intercept_.mean()
            if l1 == 0.0:
                self.coef_ -= self.coef_.mean(axis=0)
        return outcome

    def _warn_if_separated(self, X: Any, codes: Codes) -> bool:
        from heldout.linear.softmax.separation import separation, suspicious

        scores = np.asarray(X @ self.coef_.T + self.intercept_)
        if not suspicious(scores, codes):
            return False
        found = separation(X, codes, len(self.classes_), fit_intercept=self.fit_intercept)
        if found.kind == "none":
            return False
        warnings.warn(f"{found} Set a finite C.", ConvergenceWarning, stacklevel=3)
        return True

    def _warn_unless_converged(self, outcome: Outcome | Minimum) -> None:
        if outcome.gradient <= self.tol:
            return
        advice = "raise max_iter" if outcome.n_iter >= self.max_iter else "rounding allows no further step, raise tol"
        warnings.warn(
            f"SoftmaxClassifier stopped after {outcome.n_iter} iterations with a gradient of {outcome.gradient:.1e}, "
            f"above tol={self.tol:g}: {advice}, or lower C.",
            ConvergenceWarning,
            stacklevel=3,
        )

    def fit_many(self, X: Any, codes: Codes, roles: Array, sample_weight: ArrayLike | None = None) -> list[Any] | None:
        """Fitted copies of this learner, one for each two-class problem between the classes of `codes` (n,), or None.

        `roles` (classes, problems) tells on which side a class is: 1, -1, or 0 for no part. Each copy minimises what
        `fit` would. Small problems go to compiled code side by side; large ones are one matrix problem. None: nothing
        is gained over one fit after the other.
        """
        self._check_parameters()
        weights = row_weights(sample_weight, X)
        weights = np.ones(X.shape[0]) if weights is None else weights
        plain = self.l1_ratio == 0.0 and np.isfinite(self.C) and self.solver in ("auto", "newton", "newton-cg")
        if sparse.issparse(X) or not plain or self.class_weight is not None or not weights.all():
            return None
        X = np.ascontiguousarray(X, dtype=np.float64)
        most = int((np.bincount(codes) @ (roles != 0)).max())
        if self._is_small(most, X.shape[1], False):
            work = functools.partial(self._one_of_many, X, codes, roles, weights)
            found = in_threads(work, range(roles.shape[1]))
        elif X.shape[1] > WIDEST or self.solver == "newton":
            return None
        else:
            ridge, tol, max_iter, ones = 1.0 / self.C, float(self.tol), int(self.max_iter), bool(self.fit_intercept)
            found = minimise_together(
                X, codes, roles, weights, loss="log", ridge=ridge, fit_intercept=ones, tol=tol, max_iter=max_iter
            )
        self._warn_unless_converged(max(found, key=lambda one: one.gradient))
        return [self._copy_with(one) for one in found]

    def _one_of_many(self, X: Array, codes: Codes, roles: Array, weights: Array, k: int) -> Minimum:
        sides = roles[codes, k]
        rows = np.flatnonzero(sides)
        return self._smallest(X, rows, (sides[rows] > 0).astype(np.intp), weights[rows])

    def _is_small(self, n: int, p: int, is_sparse: bool) -> bool:
        """Whether Newton's method for two classes of such a table is compiled as a whole."""
        plain = not is_sparse and self.l1_ratio == 0.0 and np.isfinite(self.C) and n * p <= SMALL
        chosen = choose_solver(n, p + 1, n * (p + 1), 2, False) if self.solver == "auto" else self.solver
        return bool(plain and chosen == "newton")

    def _smallest(self, X: Array, rows: Codes, codes: Codes, weights: Array) -> Minimum:
        """Logistic regression on some rows of a small table, with weights (rows,) above zero."""
        from heldout.linear.newton import LOSSES, column_moments, minimise

        total = float(weights.sum())
        shares, strength = weights / total, 1.0 / (self.C * total)
        mean, squares = column_moments(X, rows, shares, bool(self.fit_intercept))
        scale = common_scale(squares, 4.0 * strength)
        positive = max(float(shares[codes == 1].sum()), LEAST_SHARE)
        start = np.log(positive / max(1.0 - positive, LEAST_SHARE))
        sign = np.where(codes == 1, 1.0, -1.0)
        limits = (bool(self.fit_intercept), start, LOSSES["log"], float(self.tol), int(self.max_iter))
        return Minimum(*minimise(X, rows, sign, shares, mean, scale, strength, *limits))

    def _copy_with(self, found: Minimum) -> SoftmaxClassifier:
        """A learner as `fit` would leave it, for the classes 0 and 1."""
        learner: SoftmaxClassifier = clone(self)
        learner.classes_, learner.n_features_in_, learner.n_iter_ = np.arange(2), len(found.w), found.n_iter
        learner.coef_, learner.intercept_ = found.w[None, :].copy(), np.array([found.b])
        return learner

    def decision_function(self, X: Any) -> Array:
        """The scores W x + b for `X` (n, p): (n, K), or (n,) for two classes (above 0 means `classes_[1]`)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, order="C", reset=False)
        scores = np.asarray(X @ self.coef_.T + self.intercept_)
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> Labels:
        """The most probable class for every row (n,)."""
        scores = self.decision_function(X)
        codes = (scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes_[codes])

    def predict_log_proba(self, X: Any) -> Array:
        """log p(y=k | x) (n, K), in the order of `classes_`."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            scores = np.column_stack([np.zeros(len(scores)), scores])
        return np.ascontiguousarray(log_softmax(scores.T).T)

    def predict_proba(self, X: Any) -> Array:
        """p(y=k | x) (n, K), in the order of `classes_`; every row sums to 1."""
        return np.exp(self.predict_log_proba(X))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner."""
        check_is_fitted(self)
        return {
            "C": None if np.isinf(self.C) else float(self.C),  # JSON has no infinity
            "l1_ratio": float(self.l1_ratio),
            "fit_intercept": self.fit_intercept,
            "solver": self.solver,
            "tol": float(self.tol),
            "max_iter": int(self.max_iter),
            "class_weight": class_weight_to_state(self.class_weight),
            "coef": self.coef_,
            "intercept": self.intercept_,
            "n_iter": self.n_iter_,
            **labels_to_state(self.classes_),
            **columns_to_state(self),
        }

    @classmethod
    def from_state(cls, state: State) -> SoftmaxClassifier:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        learner = cls(
            C=state.number("C") if state.optional("C") else np.inf,
            l1_ratio=state.number("l1_ratio"),
            fit_intercept=state.boolean("fit_intercept"),
            solver=state.choice("solver", ["auto", *SOLVERS]),
            tol=state.number("tol"),
            max_iter=state.integer("max_iter"),
            class_weight=class_weight_from_state(state),
        )
        learner._check_parameters()
        learner.classes_ = labels_from_state(state, at_least=2)
        p = columns_from_state(learner, state)
        rows = 1 if len(learner.classes_) == 2 else len(learner.classes_)
        learner.coef_ = state.array("coef", shape=(rows, p))
        learner.intercept_ = state.array("intercept", shape=(rows,))
        learner.n_iter_ = state.integer("n_iter", low=1)
        return learner


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def choose_solver(n: int, width: int, stored: int, n_classes: int, absolute: bool) -> str:
    """The solver that should be quicker, by counting multiplications.

    Newton: 8 steps of a Gram matrix for each pair of classes and one Cholesky factor. By conjugate gradients: 60
    products of the table with vectors there and back for each class but one.
    """
    unknowns = (n_classes - 1) * width
    pairs = n_classes * (n_classes - 1) / 2
    newton_cost = NEWTON_STEPS * (pairs * n * width * width / 2 + unknowns**3 / 6)
    products_cost = PRODUCTS * PRODUCT_COST * 2 * stored * (n_classes - 1)
    newton = not absolute and unknowns <= NEWTON_LARGEST and newton_cost <= products_cost
    return "newton" if newton else "newton-cg"


def _worth_threads(X: Any) -> int:
    """At most how many threads shorten the work."""
    if sparse.issparse(X):
        return SPARSE_BLOCKS
    n_blocks = -(-X.shape[0] // block_rows(X.shape[1]))
    return n_blocks if n_blocks >= WORTH_THREADS else 1


def _runs(columns: Standardised, n_free: int) -> list[slice]:
    """Rows cut into blocks, by the shape alone: of a table to fit the cache, of CSR few, for each has its gradient."""
    n = columns.x.shape[0]
    if not sparse.issparse(columns.x):
        return split_rows(n, -(-n // block_rows(columns.width)))
    stored = columns.x.nnz
    n_blocks = min(SPARSE_BLOCKS, stored * n_free // SPARSE_WORK, 4 * stored // (n_free * columns.width), n)
    return split_rows(n, max(1, n_blocks))


def _log_odds(codes: Codes, weights: Array, basis: Array) -> Array:
    """The free scores (K-1,) whose probabilities are the classes' shares of the weight."""
    shares = np.bincount(codes, weights, minlength=len(basis))
    return np.asarray(np.linalg.pinv(basis) @ np.log(np.maximum(shares, LEAST_SHARE)))
