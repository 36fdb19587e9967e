"""Least squares with a penalty on the size of the coefficients: fitting, the choice of the penalty, storing."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.dealing import folds
from heldout.errors import InputError, suggest
from heldout.linear.penalised.choice import RULES, Choice, choose
from heldout.linear.penalised.problem import Problem, make_problem
from heldout.linear.squares.least_squares import least_squares
from heldout.linear.states import columns_from_state, columns_to_state, row_weights
from heldout.linear.triangular import Array

if TYPE_CHECKING:
    from heldout.persist import State

DEFAULT_CV = 5


class Penalised(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """What the three learners share."""

    few_columns = False  # may matter in the end
    alpha: float | str
    cv: Any
    rule: str
    n_alphas: int
    fit_intercept: bool
    standardise: bool

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Penalised:
        """Fit to `X` (n, p), dense or CSR, and `y` (n,), with weights (n,) if wanted: how often each row was seen."""
        self._check_parameters()
        X, target, weights = validated(self, X, y, sample_weight)
        parts = folds(X, target, weights, self.cv) if self.alpha == "cv" else []
        if weights is not None and not weights.all():
            kept = weights > 0.0
            X, target, weights = X[kept], target[kept], weights[kept]
            parts = [(train[kept], held[kept]) for train, held in parts]
        centring = {"fit_intercept": self.fit_intercept, "standardise": self.standardise}
        lazy = self.alpha != "cv" and self.few_columns
        problem = make_problem(X, target, weights, **centring, lazy=lazy)
        for name in ("alphas_", "cv_mean_", "cv_se_", "alpha_min_", "alpha_one_se_"):
            self.__dict__.pop(name, None)
        if isinstance(self.alpha, str):
            alphas = self._alphas(problem)
            if parts:
                found, short = choose(X, target, weights, problem, parts, alphas, self._walk, **centring)
                self._keep_choice(found)
                if short:
                    warnings.warn(
                        f"{short} of {len(parts) * len(alphas)} fits to choose alpha by stopped at max_iter sweeps "
                        "before their duality gaps were small enough: raise max_iter or eps.",
                        ConvergenceWarning,
                        stacklevel=2,
                    )
            else:  # too few rows to hold any out
                self.alpha_ = float(alphas[0])
        else:
            self.alpha_ = float(self.alpha)
        self._solve(problem, X, target, weights)
        return self

    def _keep_choice(self, found: Choice) -> None:
        self.alphas_, self.cv_mean_, self.cv_se_ = found.alphas, found.mean, found.se
        self.alpha_min_, self.alpha_one_se_ = found.alpha_min, found.alpha_one_se
        self.alpha_ = found.by(self.rule)

    @property
    def choice_(self) -> Choice:
        """How the penalty was chosen: errors along the path, with `plot()`; only after alpha="cv"."""
        check_is_fitted(self)
        if not hasattr(self, "alphas_"):
            raise AttributeError("The penalty was given, not chosen: there is no choice_.")
        return Choice(self.alphas_, self.cv_mean_, self.cv_se_, self.alpha_min_, self.alpha_one_se_)

    def _check_parameters(self) -> None:
        if self.alpha != "cv" and not (is_number(self.alpha) and float(self.alpha) >= 0.0):
            raise InputError(f"alpha is {self.alpha!r} and must be 'cv' or a finite number from 0 up.")
        if self.rule not in RULES:
            raise InputError(f"There is no rule {self.rule!r}.{suggest(str(self.rule), RULES)}")
        if not is_number(self.n_alphas, Integral) or self.n_alphas < 2:
            raise InputError(f"n_alphas is {self.n_alphas!r} and must be a whole number from 2 up.")

    def _alphas(self, problem: Problem) -> Array:
        raise NotImplementedError

    def _walk(self, problem: Problem, alphas: Array) -> tuple[Array, int]:
        raise NotImplementedError

    def _solve(self, problem: Problem, x: Any, y: Array, weights: Array | None) -> None:
        raise NotImplementedError

    def _unpenalised(self, x: Any, y: Array, weights: Array | None) -> None:
        dense = x.toarray() if sparse.issparse(x) else x
        found = least_squares(dense, y[:, None], weights, fit_intercept=self.fit_intercept, tol=None)
        self.coef_, self.intercept_ = found.coef[:, 0].copy(), float(found.intercept[0])

    def _keep(self, problem: Problem, w: Array) -> None:
        coef, intercept = problem.coefficients(w[None])
        self.coef_ = coef[0] + 0.0
        self.intercept_ = float(intercept[0]) if self.fit_intercept else 0.0

    def predict(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """b + X w (n,) for `X` (n, p), dense or CSR."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, order="C", reset=False)
        return np.asarray(X @ self.coef_ + self.intercept_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner; of `cv` only a number of folds."""
        check_is_fitted(self)
        whole = isinstance(self.cv, int | np.integer)
        chosen = {}
        if hasattr(self, "alphas_"):
            chosen = {"choice": np.vstack([self.alphas_, self.cv_mean_, self.cv_se_])}
        return {
            "alpha": self.alpha if isinstance(self.alpha, str) else float(self.alpha),
            "cv": int(self.cv) if whole else None,
            "rule": self.rule,
            "n_alphas": int(self.n_alphas),
            "fit_intercept": self.fit_intercept,
            "standardise": self.standardise,
            "alpha_taken": self.alpha_,
            "coef": self.coef_,
            "intercept": self.intercept_,
            **chosen,
            **columns_to_state(self),
        }

    def _restore(self, state: State) -> None:
        """Read everything that `to_state` of this class wrote."""
        p = columns_from_state(self, state)
        self.alpha_ = state.number("alpha_taken", low=0.0)
        self.coef_ = state.array("coef", shape=(p,))
        self.intercept_ = state.number("intercept")
        if "choice" in state:
            choice = state.array("choice", shape=(3, None), low=0.0)
            if choice.shape[1] < 2 or not np.all(np.diff(choice[0]) < 0.0):
                state.fail("the penalties in 'choice' must fall, and be two or more")
            self._keep_choice(Choice.of(*choice))
            self.alpha_ = state.number("alpha_taken", low=0.0)


def shared_parameters(state: State) -> dict[str, Any]:
    """The constructor's arguments that all three have."""
    is_text = isinstance(state.json("alpha"), str)
    return {
        "alpha": state.choice("alpha", ("cv",)) if is_text else state.number("alpha", low=0.0),
        "cv": state.integer("cv", low=2) if state.optional("cv") else DEFAULT_CV,
        "rule": state.choice("rule", RULES),
        "n_alphas": state.integer("n_alphas", low=2),
        "fit_intercept": state.boolean("fit_intercept"),
        "standardise": state.boolean("standardise"),
    }


def validated(learner: Any, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Array, Array | None]:
    """X (n, p), a canonical CSR array where it is sparse; the target (n,); and the weights (n,)."""
    X, y = validate_data(learner, X, y, accept_sparse="csr", dtype=np.float64, order="C", y_numeric=True)
    if sparse.issparse(X):
        X = sparse.csr_array(X)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
    return X, np.asarray(y, dtype=np.float64), row_weights(sample_weight, X)


def is_number(value: Any, kind: Any = Real) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and bool(np.isfinite(value))
