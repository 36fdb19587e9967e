"""What inference finds for a linear regression, and how it prints: in the terminal and in notebooks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import fdtrc, stdtrit
from sklearn.utils.validation import validate_data

from heldout.errors import InputError, suggest
from heldout.linear.blocks import one_blas_thread
from heldout.linear.inference.sandwich import Basis, wald
from heldout.linear.squares.regression import LinearRegression
from heldout.linear.states import row_weights
from heldout.linear.triangular import Array
from heldout.printed import Printed, Sheet
from heldout.words import number, percent

MOST_SHOWN = 10  # rows of a printed table of predictions


@dataclass(frozen=True)
class FTest:
    """An F statistic, its degrees of freedom, and its p value; it prints as a line."""

    f: float
    df_numerator: int
    df_denominator: int
    p: float

    def __str__(self) -> str:
        return f"F({self.df_numerator}, {self.df_denominator}) = {number(self.f)}, p = {p_value(self.p)}"


@dataclass(frozen=True, eq=False, repr=False)
class Predicted(Printed):
    """Predictions with their standard errors and intervals, each (n,); it prints as a table.

    NaN, printed "–", stands where the data cannot tell: the row is no combination of the rows of the fit.
    """

    of: str  # "mean response" or "new observation"
    value: Array
    standard_error: Array
    low: Array
    high: Array
    level: float

    def _table(self) -> Sheet:
        columns = (self.value, self.standard_error, self.low, self.high)
        rows = zip(*(column[:MOST_SHOWN].tolist() for column in columns), strict=True)
        header = ["row", "value", "std. error", *_interval_heading(self.level)]
        left = len(self.value) - MOST_SHOWN
        notes = [f"and {left:,} more"] if left > 0 else []
        title = [f"{self.of.capitalize()}, {percent(self.level)} intervals"]
        return title, header, [[str(i), *map(number, row)] for i, row in enumerate(rows)], notes


@dataclass(frozen=True, eq=False, repr=False)
class Inference(Printed):
    r"""The coefficients of a linear regression with what the data says about them; made by `inference`.

    Arrays have one entry for each of k coefficients, the intercept first where there is one. NaN, printed "–",
    stands for what the data does not determine.

    Attributes
    ----------
    names : tuple of str (k,), "intercept" and the columns' names, x0, x1, ... where they have none
    coef, standard_errors, t, p : float64 arrays (k,); p is two-sided, from Student's t with `df_t` degrees of freedom
    low, high : float64 arrays (k,), the ends of the intervals at `level`
    covariance : float64 array (k, k), covariance matrix of the coefficients
    covariance_type : str, how it was estimated
    n : int, rows with a weight above zero
    df_model, df_residual : int, rank without the intercept, and n - rank
    df_t : int, degrees of freedom of t and F: `df_residual`, or the number of groups minus one for "cluster"
    sigma2 : float, :math:`s^2 = \sum_i v_i e_i^2 / (n - \mathrm{rank})`, in squared units of the target
    r2, adjusted_r2 : float, about the mean with an intercept and about zero without one
    f, f_p : float, F of all slopes together (of all coefficients without an intercept), from `covariance`
    log_likelihood, aic, bic : float, for normal errors; the variance does not count as a parameter in AIC and BIC
    level : float, of the intervals that are printed
    """

    names: tuple[str, ...]
    coef: Array
    standard_errors: Array
    t: Array
    p: Array
    low: Array
    high: Array
    covariance: Array
    covariance_type: str
    n: int
    df_model: int
    df_residual: int
    df_t: int
    sigma2: float
    r2: float
    adjusted_r2: float
    f: float
    f_p: float
    log_likelihood: float
    aic: float
    bic: float
    level: float
    _model: LinearRegression = field(repr=False)
    _basis: Basis = field(repr=False)
    _spread: Array = field(repr=False)  # L with M L (M L)' the covariance, for the basis M

    def interval(self, level: float | None = None) -> Array:
        r"""Intervals (k, 2) for the coefficients, :math:`\hat\beta_j \pm t_{df, (1 + level)/2} \, se_j`.

        Parameters
        ----------
        level : float in (0, 1), default that of the result
        """
        return np.column_stack(ends(self.coef, self.standard_errors, self._level(level), self.df_t))

    def mean(self, X_new: Any, level: float | None = None) -> Predicted:
        r"""Intervals for the mean response at new rows, :math:`x^\top\hat\beta \pm t \sqrt{x^\top C x}`.

        C is `covariance`; x has a one first where there is an intercept.

        Parameters
        ----------
        X_new : (m, p), columns as in the fit
        level : float in (0, 1), default that of the result
        """
        value, variance = self._predicted(X_new)
        return self._intervals("mean response", value, variance, level)

    def new(self, X_new: Any, level: float | None = None, *, sample_weight: ArrayLike | None = None) -> Predicted:
        r"""Intervals for new observations, :math:`x^\top\hat\beta \pm t \sqrt{x^\top C x + s^2 / v}`.

        They hold where the errors are normal with variance :math:`\sigma^2 / v`, whatever `covariance` is.

        Parameters
        ----------
        X_new : (m, p), columns as in the fit
        level : float in (0, 1), default that of the result
        sample_weight : (m,), default ones
            The new observations' weights v, above zero, on the scale of the fit's.
        """
        value, variance = self._predicted(X_new)
        weights = row_weights(sample_weight, value)
        if weights is not None and not weights.all():
            raise InputError("A new observation has weight zero, that is, infinite variance: give weights above zero.")
        spread = self.sigma2 / (1.0 if weights is None else weights)
        return self._intervals("new observation", value, variance + spread, level)

    def test(self, R: ArrayLike | str | Sequence[str], r: ArrayLike = 0.0) -> FTest:
        r"""Wald's test, in its F form, of q linear restrictions :math:`R\beta = r`.

        .. math:: F = \frac1q \, (R\hat\beta - r)^\top (R C R^\top)^{-1} (R\hat\beta - r)

        Parameters
        ----------
        R : array (q, k) or (k,), or the name or names of coefficients
            One column for each coefficient, in the order of `names`. Names stand for "each of these equals r".
        r : float or array (q,), default 0

        Raises
        ------
        InputError : no coefficient of a name; a wrong shape; restrictions that contradict or repeat each other, or
            that the data cannot test.
        """
        rows = self._rows(R)
        values = np.asarray(r, dtype=np.float64)
        if values.ndim > 1 or values.size not in (1, len(rows)):
            raise InputError(f"r has shape {values.shape} and must be a number or have one value for each row of R.")
        if not self._basis.estimable(rows).all():
            raise InputError(
                "R restricts what the data does not determine: its columns depend on each other. Leave such columns "
                "out of the fit, or test only combinations of coefficients that the data determines."
            )
        f = wald(rows @ self._basis.root @ self._spread, rows @ solution(self._model) - values)
        if f is None:
            raise InputError(
                f"The {len(rows)} restrictions depend on each other, or the covariance has a smaller rank than that "
                "(there are few groups): test fewer restrictions."
            )
        return f_test(f, len(rows), self.df_t)

    def _rows(self, R: Any) -> Array:
        """Restrictions as a matrix (q, k)."""
        k = len(self.names)
        wanted = [R] if isinstance(R, str) else R
        if isinstance(wanted, Sequence) and len(wanted) and all(isinstance(name, str) for name in wanted):
            for name in wanted:
                if name not in self.names:
                    raise InputError(f"There is no coefficient {name!r}.{suggest(name, self.names)}")
            return np.eye(k)[[self.names.index(name) for name in wanted]]
        rows = np.atleast_2d(np.asarray(R, dtype=np.float64))
        if rows.ndim != 2 or rows.shape[1] != k or not np.isfinite(rows).all():
            raise InputError(
                f"R has shape {np.shape(R)} and must have {k} columns of finite numbers, one a coefficient."
            )
        return rows

    def _predicted(self, X_new: Any) -> tuple[Array, Array]:
        """Predictions (m,) and the variance (m,) of their means; NaN where the row is not estimable."""
        x = validate_data(self._model, X_new, dtype=np.float64, order="C", reset=False)
        basis, first = self._basis, int(self._basis.fit_intercept)
        value, variance = np.empty(len(x)), np.empty(len(x))
        with one_blas_thread:
            for part in basis.parts(x):
                z = basis.coordinates(x[part], basis.memory(part))
                value[part] = x[part] @ self._model.coef_ + self._model.intercept_
                variance[part] = np.sum((z @ self._spread) ** 2, axis=1)
                known = basis.estimable(np.column_stack([np.ones((len(z), first)), x[part]]))
                value[part][~known] = variance[part][~known] = np.nan
        return value, variance

    def _intervals(self, of: str, value: Array, variance: Array, level: float | None) -> Predicted:
        errors, level = np.sqrt(variance), self._level(level)
        return Predicted(of, value, errors, *ends(value, errors, level, self.df_t), level)

    def _level(self, level: float | None) -> float:
        return self.level if level is None else checked_level(level)

    def _table(self) -> Sheet:
        columns = (self.names, self.coef, self.standard_errors, self.t, self.p, self.low, self.high)
        header = ["", "coefficient", "std. error", "t", "p", *_interval_heading(self.level)]
        body = [
            [name, number(coef), number(error), number(t, 3), p_value(p), number(low), number(high)]
            for name, coef, error, t, p, low, high in zip(*columns, strict=True)
        ]
        return self._title(), header, body, self._notes()

    def _title(self) -> list[str]:
        about, what = ("", "slopes") if self._basis.fit_intercept else (" (about zero)", "coefficients")
        errors = f"{self.covariance_type} standard errors"
        if self.covariance_type == "cluster":
            errors = f"standard errors robust to dependence within {self.df_t + 1:,} groups"
        return [
            f"Least squares, {self.n:,} rows, {errors}",
            f"R²{about} {number(self.r2)}, adjusted {number(self.adjusted_r2)}; "
            f"all {what} zero: {FTest(self.f, self.df_model, self.df_t, self.f_p)}",
            f"s {number(math.sqrt(self.sigma2))} on {self.df_residual:,} degrees of freedom; log-likelihood "
            f"{number(self.log_likelihood, 6)}, AIC {number(self.aic, 6)}, BIC {number(self.bic, 6)}",
        ]

    def _notes(self) -> list[str]:
        unknown = [name for name, coef in zip(self.names, self.coef, strict=True) if math.isnan(coef)]
        notes = []
        if unknown:
            notes.append(f"The columns depend on each other; the data does not determine {', '.join(unknown)}.")
        if self.df_residual == 0:
            notes.append("The fit uses up every row: none is left to tell the variance of the errors.")
        return notes


def f_test(f: float, q: int, df: int) -> FTest:
    return FTest(f, q, df, float(fdtrc(q, df, f)))


def checked_level(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level!r} and must be between 0 and 1, as in 0.95.")
    return level


def solution(model: LinearRegression) -> Array:
    """The coefficients with the intercept, if there is one, first."""
    return np.r_[model.intercept_, model.coef_] if model.fit_intercept else np.asarray(model.coef_)


def ends(value: Array, errors: Array, level: float, df: int) -> tuple[Array, Array]:
    reach = -stdtrit(df, (1.0 - level) / 2.0) * errors
    return value - reach, value + reach


def _interval_heading(level: float) -> list[str]:
    return [f"low {percent(level)}", f"high {percent(level)}"]


def p_value(p: float) -> str:
    """A p value in three digits; "–" where there is none.

    >>> p_value(0.04512), p_value(3e-12), p_value(float("nan"))
    ('0.0451', '3e-12', '–')
    """
    return f"{p:.3g}" if p == p else "–"
