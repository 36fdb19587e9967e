"""Linear regression: least squares by Householder QR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.errors import InputError
from heldout.linear.least_squares import least_squares
from heldout.linear.states import columns_from_state, columns_to_state, row_weights

if TYPE_CHECKING:
    from heldout.persist import State


class LinearRegression(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""Least squares: the line, plane or hyperplane with the smallest sum of squared errors.

    .. math:: L(w, b) = \frac{1}{n} \sum_{i=1}^{n} v_i \, (y_i - b - x_i^\top w)^2, \qquad v_i = 1 \text{ unless given}

    The columns are centred and brought to unit norm, reduced by Householder reflections without forming
    :math:`X^\top X`, and the solution is refined once. Where columns depend on each other (one-hot columns
    beside an intercept, more columns than rows) there are many minimisers; the one with the smallest
    :math:`\lVert w \rVert_2` is taken.

    Parameters
    ----------
    fit_intercept : bool, default True
        Fit b; otherwise b = 0.
    tol : float in [0, 1), default None
        Relative rank tolerance: with the columns in unit norm, a pivot `|r_kk| <= tol |r_11|` counts as zero.
        None is max(n, p) times 2.2e-16.

    Attributes
    ----------
    coef_ : float64 array (p,), or (m, p) for m targets: w
    intercept_ : float, or float64 array (m,): b
    rank_ : int, the numerical rank of the (centred) columns
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : `tol` is not in [0, 1).
    ValueError : the data is not numeric, not finite, empty, or of another width than at fit.

    References
    ----------
    G. Golub and C. Van Loan, Matrix Computations, 4th edition, 2013, sections 5.2 to 5.5.
    A. Bjorck, Numerical Methods for Least Squares Problems, 1996, sections 2.7 and 2.9.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 0.0], [4.0, 1.0]])
    >>> model = LinearRegression().fit(X, 1.0 + 2.0 * X[:, 0] - 5.0 * X[:, 1])
    >>> model.coef_.round(12).tolist(), round(model.intercept_, 12)
    ([2.0, -5.0], 1.0)
    >>> model.predict([[10.0, 0.0]]).round(12).tolist()
    [21.0]
    """

    def __init__(self, *, fit_intercept: bool = True, tol: float | None = None) -> None:
        self.fit_intercept = fit_intercept
        self.tol = tol

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> LinearRegression:
        """Fit to `X` (n, p) and `y` (n,) or (n, m), with optional row weights (n,) that are not negative."""
        if self.tol is not None and not 0.0 <= self.tol < 1.0:
            raise InputError(f"tol is {self.tol!r} and must be None or a number from 0 up to but not including 1.")
        X, y = validate_data(self, X, y, dtype=np.float64, order="C", multi_output=True, y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        targets = y.reshape(len(y), -1)  # (n, m)
        weights = row_weights(sample_weight, X)
        solution = least_squares(X, targets, weights, fit_intercept=self.fit_intercept, tol=self.tol)
        self.rank_ = solution.rank
        self.coef_ = np.ascontiguousarray(solution.coef.T if y.ndim > 1 else solution.coef[:, 0])
        self.intercept_ = solution.intercept if y.ndim > 1 else float(solution.intercept[0])
        return self

    def predict(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """b + X w for `X` (n, p): (n,), or (n, m) for m targets."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, order="C", reset=False)
        return np.asarray(X @ self.coef_.T + self.intercept_)

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner."""
        check_is_fitted(self)
        return {
            "fit_intercept": self.fit_intercept,
            "tol": self.tol,
            "coef": self.coef_,
            "intercept": np.asarray(self.intercept_),
            "rank": self.rank_,
            **columns_to_state(self),
        }

    @classmethod
    def from_state(cls, state: State) -> LinearRegression:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        tol = state.number("tol", low=0.0, high=1.0) if state.optional("tol") else None
        learner = cls(fit_intercept=state.boolean("fit_intercept"), tol=tol)
        p = columns_from_state(learner, state)
        intercept = state.array("intercept")
        if intercept.ndim > 1:
            state.fail(f"the intercept has shape {intercept.shape} and must be a number or a list of numbers")
        learner.coef_ = state.array("coef", shape=(*intercept.shape, p))
        learner.intercept_ = intercept if intercept.ndim else float(intercept)
        learner.rank_ = state.integer("rank", low=0, high=p)
        return learner
