"""Ridge regression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from heldout.linear.penalised import decomposition
from heldout.linear.penalised.base import DEFAULT_CV, Penalised, shared_parameters
from heldout.linear.penalised.problem import Problem
from heldout.linear.triangular import Array

if TYPE_CHECKING:
    from heldout.persist import State


class Ridge(Penalised):
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
        return decomposition.falling_alphas(problem, int(self.n_alphas))

    def _walk(self, problem: Problem, alphas: Array) -> tuple[Array, int]:
        return decomposition.coefficients(problem, alphas), 0

    def _solve(self, problem: Problem, x: Any, y: Array, weights: Array | None) -> None:
        if self.alpha_ == 0.0:
            self._unpenalised(x, y, weights)
        else:
            self._keep(problem, decomposition.solution(problem, self.alpha_))

    @classmethod
    def from_state(cls, state: State) -> Ridge:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        learner = cls(**shared_parameters(state))
        learner._restore(state)
        return learner
