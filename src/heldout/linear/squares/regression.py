"""Linear regression: least squares, in closed form by several routes or by the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.errors import InputError, suggest
from heldout.linear.squares.least_squares import ROUTES, LeastSquares, assert_finite, least_squares, sums_first
from heldout.linear.squares.streaming import Stream
from heldout.linear.states import columns_from_state, columns_to_state, row_weights
from heldout.linear.triangular import Array

if TYPE_CHECKING:
    from heldout.linear.descent.steps import GradientDescent
    from heldout.persist import State

SOLVERS = ("auto", *ROUTES, "gradient")


def _takes_blocks(model: LinearRegression) -> bool:
    """Whether `partial_fit` is there: only orthogonal factors can take in more rows and lose nothing."""
    return model.solver in ("auto", "qr")


class LinearRegression(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""Least squares: the line, plane or hyperplane with the smallest mean squared error.

    .. math:: L(w, b) = \frac{1}{\sum_i v_i} \sum_{i=1}^{n} v_i \, (y_i - b - x_i^\top w)^2,
        \qquad v_i = 1 \text{ unless given}

    In closed form :math:`w = (X^\top V X)^{-1} X^\top V y` for centred columns, computed in ways that keep the digits:
    columns in unit norm, and refinement with residuals that are exact to twice the working precision. Where columns
    depend on each other (one-hot columns beside an intercept, more columns than rows) there are many minimisers;
    the one with the smallest :math:`\lVert w \rVert_2` is taken.

    Parameters
    ----------
    fit_intercept : bool, default True
        Fit b; otherwise b = 0.
    solver : {"auto", "qr", "cholesky", "svd", "gradient"} or GradientDescent, default "auto"
        "cholesky" forms :math:`X^\top V X` (or, with more columns than rows, :math:`X X^\top`), the fastest; it
        refuses columns so nearly dependent that refinement cannot bring back the lost digits. "qr" reduces X by
        Householder reflections, "svd" takes the singular values of what they leave. "auto" takes "cholesky" where
        the condition number shows that nothing is lost, and "qr" otherwise. "gradient" goes down the gradient as
        `GradientDescent` says.
    tol : float in [0, 1), default None
        Relative rank tolerance: with the columns in unit norm, a pivot `|r_kk| <= tol |r_11|` (a singular value
        `s_k <= tol s_1`) counts as zero. None is max(n, p) times 2.2e-16.

    Attributes
    ----------
    coef_ : float64 array (p,), or (m, p) for m targets: w
    intercept_ : float, or float64 array (m,): b
    rank_ : int, the numerical rank of the (centred) columns; not with the gradient
    condition_ : float, estimated condition number of the (centred) columns in unit norm; not with the gradient
    solver_ : str, the solver that was taken
    descent_ : Descent, with the gradient only: whether it converged, and the path of loss and gradient on the way;
        model files do not hold it
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : `tol` is not in [0, 1), or there is no such solver.
    WorkError : solver="cholesky" and the columns depend on each other, or nearly; or the gradient's steps diverge.
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

    _stream: Stream | None = None  # the rows that `partial_fit` has seen

    def __init__(
        self, *, fit_intercept: bool = True, solver: str | GradientDescent = "auto", tol: float | None = None
    ) -> None:
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> LinearRegression:
        """Fit to `X` (n, p) and `y` (n,) or (n, m), with optional row weights (n,) that are not negative."""
        self._check_parameters()
        X, targets, weights, ndim = self._validated(X, y, sample_weight, reset=True)
        if not sums_first(X, self.solver):  # then NaN shows in the sums, for nothing
            assert_finite(X)
        for name in ("_stream", "rank_", "condition_", "descent_"):
            self.__dict__.pop(name, None)
        if not isinstance(self.solver, str) or self.solver == "gradient":
            return self._descend(X, targets, weights, ndim)
        found = least_squares(X, targets, weights, fit_intercept=self.fit_intercept, tol=self.tol, solver=self.solver)
        return self._keep(found, ndim)

    @available_if(_takes_blocks)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> LinearRegression:
        """Fit to the rows given here and in earlier calls of `partial_fit`, for data larger than memory.

        A triangle of 1 + p + m columns keeps all that least squares needs of the rows (TSQR); `fit` forgets it, and
        model files do not hold it. The rows themselves are gone, so that the solution is not refined: it has the
        digits that QR keeps. Only with solver "auto" or "qr".
        """
        self._check_parameters()
        X, targets, weights, ndim = self._validated(X, y, sample_weight, reset=self._stream is None)
        assert_finite(X)
        stream = self._stream or Stream.start(X.shape[1], targets.shape[1], self.fit_intercept)
        if targets.shape[1] != stream.targets:
            raise InputError(f"This block has {targets.shape[1]} targets, the blocks before it {stream.targets}.")
        self._stream = stream.extended(X, targets, weights)
        return self._keep(self._stream.solve(self.tol), ndim)

    def _check_parameters(self) -> None:
        if self.tol is not None and not 0.0 <= self.tol < 1.0:
            raise InputError(f"tol is {self.tol!r} and must be None or a number from 0 up to but not including 1.")
        from heldout.linear.descent.steps import GradientDescent

        if not isinstance(self.solver, GradientDescent) and self.solver not in SOLVERS:
            raise InputError(f"There is no solver {self.solver!r}.{suggest(str(self.solver), SOLVERS)}")

    def _validated(self, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> tuple[Array, Array, Any, int]:
        """X (n, p), perhaps with NaN; the targets as a matrix (n, m); the weights; and how many axes y had."""
        checks = {"dtype": np.float64, "order": "C", "multi_output": True, "y_numeric": True}
        X, y = validate_data(self, X, y, reset=reset, ensure_all_finite=False, **checks)
        targets = np.asarray(y, dtype=np.float64).reshape(len(X), -1)
        return X, targets, row_weights(sample_weight, X), np.ndim(y)

    def _keep(self, found: LeastSquares, ndim: int) -> LinearRegression:
        self.rank_, self.condition_, self.solver_ = found.rank, found.condition, found.route
        self._keep_coefficients(found.coef, found.intercept, ndim)
        return self

    def _keep_coefficients(self, coef: Array, intercept: Array, ndim: int) -> None:
        self.coef_ = np.ascontiguousarray(coef.T if ndim > 1 else coef[:, 0])
        self.intercept_ = intercept if ndim > 1 else float(intercept[0])

    def _descend(self, X: Array, targets: Array, weights: Any, ndim: int) -> LinearRegression:
        from heldout.linear.descent.model import descend
        from heldout.linear.descent.steps import GradientDescent

        how = GradientDescent() if isinstance(self.solver, str) else self.solver
        self.descent_ = descend(X, targets, weights, fit_intercept=self.fit_intercept, how=how)
        self.solver_ = "gradient"
        self._keep_coefficients(self.descent_.coef, self.descent_.intercept, ndim)
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
            "solver": self.solver if isinstance(self.solver, str) else self.solver.to_state(),
            "solver_taken": self.solver_,
            "tol": self.tol,
            "coef": self.coef_,
            "intercept": np.asarray(self.intercept_),
            **({} if self.solver_ == "gradient" else {"rank": self.rank_, "condition": self.condition_}),
            **columns_to_state(self),
        }

    @classmethod
    def from_state(cls, state: State) -> LinearRegression:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        tol = state.number("tol", low=0.0, high=1.0) if state.optional("tol") else None
        learner = cls(fit_intercept=state.boolean("fit_intercept"), solver=_solver_from_state(state), tol=tol)
        p = columns_from_state(learner, state)
        intercept = state.array("intercept")
        if intercept.ndim > 1:
            state.fail(f"the intercept has shape {intercept.shape} and must be a number or a list of numbers")
        learner.coef_ = state.array("coef", shape=(*intercept.shape, p))
        learner.intercept_ = intercept if intercept.ndim else float(intercept)
        learner.solver_ = state.choice("solver_taken", SOLVERS[1:])
        if learner.solver_ != "gradient":
            learner.rank_ = state.integer("rank", low=0, high=p)
            learner.condition_ = state.number("condition", low=1.0)
        return learner


def _solver_from_state(state: State) -> str | GradientDescent:
    from heldout.linear.descent.steps import GradientDescent

    if isinstance(state.json("solver"), str):
        return state.choice("solver", SOLVERS)
    try:
        return GradientDescent.from_state(state.part("solver"))
    except InputError as error:
        state.fail(f"the solver is not one: {str(error).rstrip('.')}")
