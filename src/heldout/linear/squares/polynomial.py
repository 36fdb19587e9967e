"""Polynomial regression: least squares in a basis that keeps the digits, coefficients for the powers as they are."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from heldout.errors import InputError
from heldout.linear.squares import legendre
from heldout.linear.squares.extended import Pair
from heldout.linear.states import columns_from_state, columns_to_state, row_weights

if TYPE_CHECKING:
    from heldout.persist import State

MOST_TERMS = 20_000
MOST_DEGREE = 50  # of Legendre's basis at float64's precision
TINY = float(np.finfo(np.float64).tiny)


class PolynomialRegression(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""Least squares over all polynomials of the columns up to a degree.

    .. math:: f(x) = b + \sum_{1 \le |\alpha| \le d} w_\alpha \, x_1^{\alpha_1} \cdots x_p^{\alpha_p}, \qquad
        \min_{w, b} \; \frac{1}{\sum_i v_i} \sum_{i=1}^{n} v_i \, (y_i - f(x_i))^2

    The powers of a column are nearly dependent: for ten of them, least squares loses half of the digits or more. So
    each column is mapped to :math:`t = (x - c)/h` between -1 and 1, the products of Legendre polynomials
    :math:`P_{\alpha_1}(t_1) \cdots P_{\alpha_p}(t_p)` are fitted and predict, and their coefficients are expanded to
    those of the powers in rational arithmetic, without error. Where there are many minimisers (fewer different rows
    than terms), the one with the smallest norm in Legendre's basis is taken.

    Parameters
    ----------
    degree : int from 1 to 50, default 2
        d, the highest sum of exponents.
    tol : float in [0, 1), default None
        Relative rank tolerance, as in `LinearRegression`.

    Attributes
    ----------
    coef_ : float64 array (q,), or (m, q) for m targets: w, for the columns' powers as they are; infinite where float64
        cannot hold it
    intercept_ : float, or float64 array (m,): b
    powers_ : int64 array (q, p): the exponents :math:`\alpha` of each coefficient, in the order of scikit-learn's
        `PolynomialFeatures`
    basis_coef_ : float64 array (1 + q, m): the coefficients of the products of Legendre polynomials, the constant first
    center_, scale_ : float64 arrays (p,): c and h
    rank_ : int, the numerical rank of the (centred) terms
    condition_ : float, estimated condition number of the (centred) terms of Legendre's basis in unit norm
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : `degree` or `tol` is out of range, or there would be more than 20,000 terms.
    ValueError : the data is not numeric, not finite, empty, or of another width than at fit.

    References
    ----------
    G. Forsythe, Generation and use of orthogonal polynomials for data-fitting with a digital computer, J. SIAM 5, 1957.
    N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, 2002, section 22.3 (powers).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(1900.0, 2000.0, 11)
    >>> model = PolynomialRegression(degree=3).fit(x[:, None], 2.0 + 3.0 * x**3)
    >>> float(model.coef_[2].round(12)), model.get_feature_names_out().tolist()
    (3.0, ['x0', 'x0^2', 'x0^3'])
    >>> bool(abs(model.predict([[2010.0]])[0] / (2.0 + 3.0 * 2010.0**3) - 1.0) < 1e-12)
    True
    """

    def __init__(self, *, degree: int = 2, tol: float | None = None) -> None:
        self.degree = degree
        self.tol = tol

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> PolynomialRegression:
        """Fit to `X` (n, p) and `y` (n,) or (n, m), with optional row weights (n,) that are not negative."""
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        targets, weights = np.asarray(y, dtype=np.float64).reshape(len(X), -1), row_weights(sample_weight, X)
        self.powers_ = _powers(X.shape[1], self.degree)
        present = X if weights is None else X[weights > 0.0]
        low, high = present.min(axis=0), present.max(axis=0)
        self.center_ = low / 2.0 + high / 2.0
        spread = high / 2.0 - low / 2.0
        self.scale_ = np.where(spread >= TINY, spread, 1.0)
        found, self.rank_, self.condition_ = legendre.fit(
            X, targets, weights, self.center_, self.scale_, self.powers_, self.tol
        )
        self.basis_coef_ = found.rounded()
        self._keep_powers(found, np.ndim(y))
        return self

    def _check_parameters(self) -> None:
        if isinstance(self.degree, bool) or not isinstance(self.degree, int | np.integer):
            raise InputError(f"degree is {self.degree!r} and must be a whole number from 1 to {MOST_DEGREE}.")
        if not 1 <= self.degree <= MOST_DEGREE:
            raise InputError(f"degree is {self.degree} and must be from 1 to {MOST_DEGREE}.")
        if self.tol is not None and not 0.0 <= self.tol < 1.0:
            raise InputError(f"tol is {self.tol!r} and must be None or a number from 0 up to but not including 1.")

    def _keep_powers(self, found: Pair, ndim: int) -> None:
        """The coefficients of the powers, from those of Legendre's basis."""
        pairs = zip(self.center_.tolist(), self.scale_.tolist(), strict=True)
        expansions = [legendre.expansions(int(self.degree), *pair) for pair in pairs]
        keys = [(0,) * len(self.center_), *map(tuple, self.powers_.tolist())]
        coef = np.empty((found.hi.shape[1], len(keys)))
        for row, high, low in zip(coef, found.hi.T.tolist(), found.lo.T.tolist(), strict=True):
            exact = [Fraction(a) + Fraction(b) for a, b in zip(high, low, strict=True)]
            terms = legendre.expanded(dict(zip(keys, exact, strict=True)), expansions)
            row[:] = [_as_float(terms[key]) for key in keys]
        self.coef_ = coef[:, 1:] if ndim > 1 else coef[0, 1:]
        self.intercept_ = coef[:, 0] if ndim > 1 else float(coef[0, 0])

    def predict(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """f(x) for the rows of `X` (n, p): (n,), or (n, m) for m targets."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        terms = legendre.values(X, self.center_, self.scale_, self.powers_)
        values = terms @ self.basis_coef_[1:] + self.basis_coef_[0]
        return np.asarray(values if np.ndim(self.intercept_) else values[:, 0])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray[Any, np.dtype[np.object_]]:
        """The terms that `coef_` belongs to, as in "x0^2 x1"."""
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        return np.array([_term(names, exponents) for exponents in self.powers_], dtype=object)

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner."""
        check_is_fitted(self)
        return {
            "degree": int(self.degree),
            "tol": self.tol,
            "basis_coef": self.basis_coef_,
            "coef": self.coef_,
            "intercept": np.asarray(self.intercept_),
            "center": self.center_,
            "scale": self.scale_,
            "rank": self.rank_,
            "condition": self.condition_,
            **columns_to_state(self),
        }

    @classmethod
    def from_state(cls, state: State) -> PolynomialRegression:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        tol = state.number("tol", low=0.0, high=1.0) if state.optional("tol") else None
        learner = cls(degree=state.integer("degree", low=1, high=MOST_DEGREE), tol=tol)
        p = columns_from_state(learner, state)
        if _count(p, learner.degree) > MOST_TERMS:
            state.fail(f"there are more than {MOST_TERMS} terms of degree {learner.degree} in {p} columns")
        learner.powers_ = _powers(p, learner.degree)
        intercept, terms = state.array("intercept", finite=False), len(learner.powers_)
        if intercept.ndim > 1:
            state.fail(f"the intercept has shape {intercept.shape} and must be a number or a list of numbers")
        learner.coef_ = state.array("coef", shape=(*intercept.shape, terms), finite=False)
        learner.intercept_ = intercept if intercept.ndim else float(intercept)
        learner.basis_coef_ = state.array("basis_coef", shape=(1 + terms, intercept.size))
        learner.center_ = state.array("center", shape=(p,))
        learner.scale_ = state.array("scale", shape=(p,), low=TINY)
        learner.rank_ = state.integer("rank", low=0, high=len(learner.powers_))
        learner.condition_ = state.number("condition", low=1.0)
        return learner


def _count(p: int, degree: int) -> int:
    """Terms of degree 1 to `degree` in p columns."""
    return math.comb(p + degree, degree) - 1


def _powers(p: int, degree: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Exponents (q, p) of all terms of degree 1 to `degree`, ordered by degree, then by the columns they take.

    >>> _powers(2, 2).tolist()
    [[1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]
    """
    if _count(p, degree) > MOST_TERMS:
        raise InputError(
            f"A polynomial of degree {degree} in {p:,} columns has {_count(p, degree):,} terms, more than "
            f"{MOST_TERMS:,}: take a lower degree or fewer columns."
        )
    powers = []
    for size in range(1, degree + 1):
        for columns in itertools.combinations_with_replacement(range(p), size):
            counts = Counter(columns)
            powers.append([counts[j] for j in range(p)])
    return np.array(powers, dtype=np.int64)


def _as_float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _term(names: Any, exponents: Any) -> str:
    parts = ((name, power) for name, power in zip(names, exponents.tolist(), strict=True) if power)
    return " ".join(name if power == 1 else f"{name}^{power}" for name, power in parts)
