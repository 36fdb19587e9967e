"""Ridge, the lasso and the elastic net: least squares with a penalty on the size of the coefficients."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.errors import InputError, suggest
from heldout.linear.penalised import path as paths
from heldout.linear.penalised import ridge
from heldout.linear.penalised.choice import RULES, Choice, choose, folds
from heldout.linear.penalised.problem import Problem, make_problem
from heldout.linear.squares.least_squares import least_squares
from heldout.linear.states import columns_from_state, columns_to_state, row_weights
from heldout.linear.triangular import Array

if TYPE_CHECKING:
    from heldout.persist import State

PATH_TOL = 1e-5  # of the solutions that are only compared with each other on what was held out
DEFAULT_CV = 5


class _Penalised(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """What the three learners share."""

    alpha: float | str
    cv: Any
    rule: str
    n_alphas: int
    fit_intercept: bool
    standardise: bool

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> _Penalised:
        """Fit to `X` (n, p), dense or CSR, and `y` (n,), with weights (n,) if wanted: how often each row was seen."""
        self._check_parameters()
        X, target, weights = _validated(self, X, y, sample_weight)
        parts = folds(X, target, weights, self.cv) if self.alpha == "cv" else []
        if weights is not None and not weights.all():
            kept = weights > 0.0
            X, target, weights = X[kept], target[kept], weights[kept]
            parts = [(train[kept], held[kept]) for train, held in parts]
        centring = {"fit_intercept": self.fit_intercept, "standardise": self.standardise}
        lazy = self.alpha != "cv" and not isinstance(self, Ridge)
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
        if self.alpha != "cv" and not (_is_number(self.alpha) and float(self.alpha) >= 0.0):
            raise InputError(f"alpha is {self.alpha!r} and must be 'cv' or a finite number from 0 up.")
        if self.rule not in RULES:
            raise InputError(f"There is no rule {self.rule!r}.{suggest(str(self.rule), RULES)}")
        if not _is_number(self.n_alphas, Integral) or self.n_alphas < 2:
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


def _shared(state: State) -> dict[str, Any]:
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


def _validated(learner: Any, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Array, Array | None]:
    """X (n, p), a canonical CSR array where it is sparse; the target (n,); and the weights (n,)."""
    X, y = validate_data(learner, X, y, accept_sparse="csr", dtype=np.float64, order="C", y_numeric=True)
    if sparse.issparse(X):
        X = sparse.csr_array(X)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
    return X, np.asarray(y, dtype=np.float64), row_weights(sample_weight, X)


def _is_number(value: Any, kind: Any = Real) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and bool(np.isfinite(value))


class Ridge(_Penalised):
    r"""Least squares with a penalty on the squares of the coefficients.

    .. math:: \min_{w, b} \; \sum_{i=1}^{n} v_i \, (y_i - b - x_i^\top w)^2 + \alpha \lVert w \rVert_2^2, \qquad
        w = (X^\top V X + \alpha I)^{-1} X^\top V y

    for centred columns. The penalty trades bias for variance: coefficients of columns that the data hardly tells
    apart shrink most. alpha is on scikit-learn's scale; the elastic net's with l1_ratio = 0 would be alpha divided by
    the sum of the weights.

    Parameters
    ----------
    alpha : "cv" or a float from 0 up, default "cv"
        The penalty; "cv" chooses it by cross-validation. 0 is least squares.
    cv : int from 2 up, a splitter with `split`, or pairs (train, validation) of row indices, default 5
        How "cv" holds rows out. A number of folds deals rows out in an order that depends on their contents alone, so
        that neither the order of the rows nor a seed matters; rows that are the same throughout stay together. One
        pair is a validation set: the standard errors then come from its rows.
    rule : {"one_se", "min"}, default "one_se"
        "one_se" takes the largest penalty whose mean error is within one standard error of the least; "min" that of
        the least error.
    n_alphas : int from 2 up, default 100
        How many penalties "cv" tries, geometrically spaced.
    fit_intercept : bool, default True
        Fit b, which is not penalised; otherwise b = 0.
    standardise : bool, default False
        Penalise the coefficients of the columns divided by their standard deviations, as glmnet does; the result is in
        the units given.

    Attributes
    ----------
    coef_ : float64 array (p,): w
    intercept_ : float: b
    alpha_ : float, the penalty that was taken
    alphas_, cv_mean_, cv_se_ : float64 arrays (n_alphas,): penalties tried, mean squared errors on what was held out,
        and their standard errors; after alpha="cv" only, as the next two
    alpha_min_, alpha_one_se_ : float, what the two rules choose
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : a parameter is out of range.
    WorkError : alpha is so small that dependent columns still depend on each other.
    ValueError : the data is not numeric, not finite, empty, or of another width than at fit.

    References
    ----------
    A. Hoerl and R. Kennard, Technometrics 12, 1970. T. Hastie, R. Tibshirani and J. Friedman, The Elements of
    Statistical Learning, 2nd edition, 2009, sections 3.4.1 and 7.10 (the one-standard-error rule).

    Examples
    --------
    >>> X = [[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 1.0]]
    >>> model = Ridge(alpha=2.0).fit(X, [0.0, 1.0, 2.0, 3.0])
    >>> model.coef_.round(6).tolist(), round(model.intercept_, 6)
    ([0.710526, 0.052632], 0.394737)
    """

    def __init__(
        self,
        *,
        alpha: float | str = "cv",
        cv: Any = DEFAULT_CV,
        rule: str = "one_se",
        n_alphas: int = 100,
        fit_intercept: bool = True,
        standardise: bool = False,
    ) -> None:
        self.alpha = alpha
        self.cv = cv
        self.rule = rule
        self.n_alphas = n_alphas
        self.fit_intercept = fit_intercept
        self.standardise = standardise

    def _alphas(self, problem: Problem) -> Array:
        return ridge.falling_alphas(problem, int(self.n_alphas))

    def _walk(self, problem: Problem, alphas: Array) -> tuple[Array, int]:
        return ridge.coefficients(problem, alphas), 0

    def _solve(self, problem: Problem, x: Any, y: Array, weights: Array | None) -> None:
        if self.alpha_ == 0.0:
            self._unpenalised(x, y, weights)
        else:
            self._keep(problem, ridge.solution(problem, self.alpha_))

    @classmethod
    def from_state(cls, state: State) -> Ridge:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        learner = cls(**_shared(state))
        learner._restore(state)
        return learner


class _Sparse(_Penalised):
    """What the lasso and the elastic net share."""

    l1_ratio: float = 1.0
    eps: float
    tol: float
    max_iter: int

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not _is_number(self.l1_ratio) or not 0.0 < self.l1_ratio <= 1.0:
            raise InputError(f"l1_ratio is {self.l1_ratio!r} and must be above 0 and at most 1; for 0 take Ridge.")
        if not _is_number(self.eps) or not 0.0 < self.eps < 1.0:
            raise InputError(f"eps is {self.eps!r} and must be between 0 and 1.")
        if not _is_number(self.tol) or self.tol <= 0.0:
            raise InputError(f"tol is {self.tol!r} and must be a finite number above 0.")
        if not _is_number(self.max_iter, Integral) or self.max_iter < 1:
            raise InputError(f"max_iter is {self.max_iter!r} and must be a whole number from 1 up.")

    def _alphas(self, problem: Problem) -> Array:
        return paths.falling_alphas(problem, self.l1_ratio, int(self.n_alphas), self.eps)

    def _walk(self, problem: Problem, alphas: Array) -> tuple[Array, int]:
        found = list(paths.solutions(problem, alphas, self.l1_ratio, tol=PATH_TOL, max_iter=int(self.max_iter)))
        return np.array([one.w for one in found]), sum(one.gap > PATH_TOL for one in found)

    def _solve(self, problem: Problem, x: Any, y: Array, weights: Array | None) -> None:
        if self.alpha_ == 0.0:
            self._unpenalised(x, y, weights)
            self.dual_gap_, self.n_iter_ = 0.0, 1
            return
        found = paths.solution(problem, self.alpha_, self.l1_ratio, tol=self.tol, max_iter=int(self.max_iter))
        self._keep(problem, found.w)
        self.dual_gap_, self.n_iter_ = found.gap, found.n_iter
        if found.gap > max(self.tol, paths.EXACT * 10.0):
            warnings.warn(
                f"{type(self).__name__} stopped after {found.n_iter} sweeps with a duality gap of {found.gap:.1e} y'y, "
                f"above tol={self.tol:g}: raise max_iter or alpha.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def path(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *, alphas: Any = None) -> paths.Path:
        """The coefficients for falling penalties, each solution begun where the one before ended.

        Parameters
        ----------
        X, y, sample_weight : as at `fit`
        alphas : array-like (k,), default n_alphas from the least penalty that leaves nothing down to eps times that

        Every duality gap is at most `tol` times y'y about its mean, or a ConvergenceWarning says where it is not.
        """
        self._check_parameters()
        given = clone(self)  # whose columns are these, whatever this learner was fitted to
        x, target, weights = _validated(given, X, y, sample_weight)
        centring = {"fit_intercept": self.fit_intercept, "standardise": self.standardise}
        problem = make_problem(x, target, weights, **centring, lazy=True)
        chosen = self._alphas(problem) if alphas is None else np.sort(np.asarray(alphas, dtype=np.float64))[::-1]
        if chosen.ndim != 1 or not len(chosen) or not np.all(chosen > 0.0):
            raise InputError("alphas must be a list of numbers above 0.")
        found = list(paths.solutions(problem, chosen, self.l1_ratio, tol=self.tol, max_iter=int(self.max_iter)))
        coefs, intercepts = problem.coefficients(np.array([one.w for one in found]))
        gaps = np.array([one.gap for one in found])
        short = int(np.sum(gaps > self.tol))
        if short:
            warnings.warn(
                f"{short} of {len(gaps)} penalties stopped at max_iter={self.max_iter} "
                "sweeps before their duality gaps were small enough: raise max_iter or eps.",
                ConvergenceWarning,
                stacklevel=2,
            )
        names = getattr(given, "feature_names_in_", [f"x{j}" for j in range(x.shape[1])])
        return paths.Path(chosen, coefs + 0.0, intercepts * self.fit_intercept, gaps, tuple(map(str, names)))

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner; of `cv` only a number of folds."""
        own = {"eps": self.eps, "tol": self.tol, "max_iter": int(self.max_iter)}
        return {**super().to_state(), **own, "dual_gap": self.dual_gap_, "n_iter": self.n_iter_}

    def _restore(self, state: State) -> None:
        super()._restore(state)
        self.dual_gap_ = state.number("dual_gap", low=0.0)
        self.n_iter_ = state.integer("n_iter", low=1)


def _sparse_shared(state: State) -> dict[str, Any]:
    return {
        **_shared(state),
        "eps": state.number("eps", low=np.finfo(np.float64).tiny, high=1.0),
        "tol": state.number("tol", low=np.finfo(np.float64).tiny),
        "max_iter": state.integer("max_iter", low=1),
    }


class Lasso(_Sparse):
    r"""Least squares with a penalty on the absolute values of the coefficients, which makes many of them exactly zero.

    .. math:: \min_{w, b} \; \frac{1}{2 \sum_i v_i} \sum_{i=1}^{n} v_i \, (y_i - b - x_i^\top w)^2
        + \alpha \lVert w \rVert_1

    Coordinate descent on the products of the columns, from one penalty to the next smaller one; columns that cannot
    matter yet are left out by the sequential strong rule and checked afterwards. At last the coefficients that are not
    zero are solved for directly, so that the result is exact but for rounding where their columns are independent.

    Parameters
    ----------
    alpha : "cv" or a float from 0 up, default "cv"
        The penalty, on scikit-learn's scale; "cv" chooses it by cross-validation. 0 is least squares.
    cv : int from 2 up, a splitter with `split`, or pairs (train, validation) of row indices, default 5
        How "cv" holds rows out. A number of folds deals rows out in an order that depends on their contents alone, so
        that neither the order of the rows nor a seed matters; rows that are the same throughout stay together. One
        pair is a validation set: the standard errors then come from its rows.
    rule : {"one_se", "min"}, default "one_se"
        "one_se" takes the largest penalty whose mean error is within one standard error of the least; "min" that of
        the least error.
    n_alphas : int from 2 up, default 100
        Penalties on the path.
    eps : float in (0, 1), default 1e-3
        The least penalty on the path over the largest, for which all coefficients are zero.
    fit_intercept : bool, default True
        Fit b, which is not penalised; otherwise b = 0.
    standardise : bool, default False
        Penalise the coefficients of the columns divided by their standard deviations, as glmnet does; the result is in
        the units given.
    tol : float above 0, default 1e-7
        Largest duality gap, relative to y'y about the mean (scikit-learn's scale).
    max_iter : int above 0, default 10,000
        Most sweeps over the columns for one penalty.

    Attributes
    ----------
    coef_ : float64 array (p,): w
    intercept_ : float: b
    alpha_ : float, the penalty that was taken
    dual_gap_ : float, the duality gap over y'y: the objective is at most that far above its minimum
    n_iter_ : int, sweeps for the last penalty
    alphas_, cv_mean_, cv_se_ : float64 arrays (n_alphas,): penalties tried, mean squared errors on what was held out,
        and their standard errors; after alpha="cv" only, as the next two
    alpha_min_, alpha_one_se_ : float, what the two rules choose
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : a parameter is out of range.
    ValueError : the data is not numeric, not finite, empty, or of another width than at fit.

    References
    ----------
    R. Tibshirani, J. Royal Statistical Society B 58, 1996. J. Friedman, T. Hastie and R. Tibshirani, J. Statistical
    Software 33, 2010 (paths). R. Tibshirani et al., J. Royal Statistical Society B 74, 2012 (strong rules).

    Examples
    --------
    >>> X = [[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 1.0]]
    >>> model = Lasso(alpha=0.5).fit(X, [0.0, 1.0, 2.0, 3.0])
    >>> model.coef_.round(6).tolist(), round(model.intercept_, 6)
    ([0.6, 0.0], 0.6)
    """

    def __init__(
        self,
        *,
        alpha: float | str = "cv",
        cv: Any = DEFAULT_CV,
        rule: str = "one_se",
        n_alphas: int = 100,
        eps: float = 1e-3,
        fit_intercept: bool = True,
        standardise: bool = False,
        tol: float = 1e-7,
        max_iter: int = 10_000,
    ) -> None:
        self.alpha = alpha
        self.cv = cv
        self.rule = rule
        self.n_alphas = n_alphas
        self.eps = eps
        self.fit_intercept = fit_intercept
        self.standardise = standardise
        self.tol = tol
        self.max_iter = max_iter

    @classmethod
    def from_state(cls, state: State) -> Lasso:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        learner = cls(**_sparse_shared(state))
        learner._restore(state)
        return learner


class ElasticNet(_Sparse):
    r"""Least squares with both penalties: exact zeros, and correlated columns that share their coefficients.

    .. math:: \min_{w, b} \; \frac{1}{2 \sum_i v_i} \sum_{i=1}^{n} v_i \, (y_i - b - x_i^\top w)^2
        + \alpha \rho \lVert w \rVert_1 + \tfrac12 \alpha (1 - \rho) \lVert w \rVert_2^2

    Solved as `Lasso`.

    Parameters
    ----------
    alpha : "cv" or a float from 0 up, default "cv"
        The penalty, on scikit-learn's scale; "cv" chooses it by cross-validation. 0 is least squares.
    l1_ratio : float above 0, at most 1, default 0.5
        :math:`\rho`; 1 is the lasso.
    cv, rule, n_alphas, eps, fit_intercept, standardise, tol, max_iter : as in `Lasso`

    Attributes
    ----------
    coef_, intercept_, alpha_, dual_gap_, n_iter_, alphas_, cv_mean_, cv_se_, alpha_min_, alpha_one_se_ : as in `Lasso`

    Raises
    ------
    InputError : a parameter is out of range.
    ValueError : the data is not numeric, not finite, empty, or of another width than at fit.

    References
    ----------
    H. Zou and T. Hastie, J. Royal Statistical Society B 67, 2005. J. Friedman, T. Hastie and R. Tibshirani, J.
    Statistical Software 33, 2010.

    Examples
    --------
    >>> X = [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.1]]
    >>> model = ElasticNet(alpha=0.1).fit(X, [0.0, 1.0, 2.0, 3.0])
    >>> model.coef_.round(2).tolist()
    [0.45, 0.48]
    """

    def __init__(
        self,
        *,
        alpha: float | str = "cv",
        l1_ratio: float = 0.5,
        cv: Any = DEFAULT_CV,
        rule: str = "one_se",
        n_alphas: int = 100,
        eps: float = 1e-3,
        fit_intercept: bool = True,
        standardise: bool = False,
        tol: float = 1e-7,
        max_iter: int = 10_000,
    ) -> None:
        self.alpha = alpha
        self.l1_ratio = l1_ratio
        self.cv = cv
        self.rule = rule
        self.n_alphas = n_alphas
        self.eps = eps
        self.fit_intercept = fit_intercept
        self.standardise = standardise
        self.tol = tol
        self.max_iter = max_iter

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner; of `cv` only a number of folds."""
        return {**super().to_state(), "l1_ratio": float(self.l1_ratio)}

    @classmethod
    def from_state(cls, state: State) -> ElasticNet:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        l1_ratio = state.number("l1_ratio", low=np.finfo(np.float64).tiny, high=1.0)
        learner = cls(l1_ratio=l1_ratio, **_sparse_shared(state))
        learner._restore(state)
        return learner
