"""The lasso and the elastic net."""

from __future__ import annotations

import warnings
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from heldout.errors import InputError
from heldout.linear.penalised import path as paths
from heldout.linear.penalised.base import DEFAULT_CV, Penalised, is_number, shared_parameters, validated
from heldout.linear.penalised.problem import Problem, make_problem
from heldout.linear.triangular import Array

if TYPE_CHECKING:
    from heldout.persist import State

PATH_TOL = 1e-5  # of the solutions that are only compared with each other on what was held out


class _Sparse(Penalised):
    """What the lasso and the elastic net share."""

    few_columns = True
    l1_ratio: float = 1.0
    eps: float
    tol: float
    max_iter: int

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not is_number(self.l1_ratio) or not 0.0 < self.l1_ratio <= 1.0:
            raise InputError(f"l1_ratio is {self.l1_ratio!r} and must be above 0 and at most 1; for 0 take Ridge.")
        if not is_number(self.eps) or not 0.0 < self.eps < 1.0:
            raise InputError(f"eps is {self.eps!r} and must be between 0 and 1.")
        if not is_number(self.tol) or self.tol <= 0.0:
            raise InputError(f"tol is {self.tol!r} and must be a finite number above 0.")
        if not is_number(self.max_iter, Integral) or self.max_iter < 1:
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
        x, target, weights = validated(given, X, y, sample_weight)
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


def _sparseshared_parameters(state: State) -> dict[str, Any]:
    return {
        **shared_parameters(state),
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
        learner = cls(**_sparseshared_parameters(state))
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
        learner = cls(l1_ratio=l1_ratio, **_sparseshared_parameters(state))
        learner._restore(state)
        return learner
