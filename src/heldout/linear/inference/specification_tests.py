"""Tests of what least squares takes for granted: RESET, Breusch-Pagan, White, Durbin-Watson, Breusch-Godfrey.

All of them ask how much of a target a few more columns explain beyond the columns that are there. One triangle
of [columns there, more columns, target] answers that, made a block of rows at a time (`auxiliary`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, chdtrc, fdtrc
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from heldout.errors import InputError, suggest
from heldout.linear.blocks import one_blas_thread
from heldout.linear.inference.auxiliary import Nested, nested, orthonormal, standard, triangle
from heldout.linear.inference.inference import inference
from heldout.linear.inference.summary import p_value
from heldout.linear.squares.regression import LinearRegression
from heldout.linear.states import row_weights
from heldout.linear.triangular import Array
from heldout.words import number

RESET_COVARIANCES = ("classical", "HC0", "HC1", "HC2", "HC3")


@dataclass(frozen=True)
class SpecificationTest:
    """A test statistic, its degrees of freedom, and its p value; it prints as a line."""

    name: str
    symbol: str  # "F", "LM" or "d"
    statistic: float
    df: tuple[int, ...]
    p: float

    def __str__(self) -> str:
        df = f"({', '.join(map(str, self.df))})" if self.df else ""
        return f"{self.name}: {self.symbol}{df} = {number(self.statistic)}, p = {p_value(self.p)}"


def reset(
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    fit_intercept: bool = True,
    powers: Sequence[int] = (2, 3),
    covariance: str = "classical",
) -> SpecificationTest:
    r"""Ramsey's RESET: do powers of the fitted values explain what the line leaves?

    .. math:: y = b + Xw + \sum_m \gamma_m \hat y^m + \varepsilon, \qquad
        F = \frac{(S_0 - S_1) / q}{S_1 / (n - k - q)}

    :math:`S_0` and :math:`S_1` are the residual sums of squares without and with the powers, q how many of the
    powers the columns do not already span. With a robust `covariance` F is Wald's test of :math:`\gamma = 0`.

    Parameters
    ----------
    X : (n, p), the columns, without a column of ones
    y : (n,), the target
    sample_weight : (n,), default ones, each at least 0; the error of row i has variance :math:`\sigma^2 / v_i`
    fit_intercept : bool, default True
    powers : integers from 2 on, default (2, 3)
    covariance : {"classical", "HC0", "HC1", "HC2", "HC3"}, default "classical"
        "HC3" keeps the test's level where the errors' variances are not equal.

    Returns
    -------
    SpecificationTest : F with q and n - k - q degrees of freedom; exact for independent normal errors of equal variance

    Raises
    ------
    InputError : too few rows, no power that the columns do not span already, or an option is none.

    References
    ----------
    J. Ramsey, J. Royal Statistical Society B 31, 1969, 350-371.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0.0, 3.0, 30)
    >>> print(reset(x[:, None], np.exp(x) + np.sin(40.0 * x)))
    RESET: F(2, 26) = 104.5, p = 3.7e-13
    """
    powers = _checked_powers(powers)
    if covariance not in RESET_COVARIANCES:
        raise InputError(f"There is no covariance {covariance!r} here.{suggest(str(covariance), RESET_COVARIANCES)}")
    x, target, weights = _checked(X, y, sample_weight, "y")
    model = LinearRegression(fit_intercept=fit_intercept).fit(x, target, weights)
    with one_blas_thread:
        fitted = model.predict(x)
    scaled = standard(fitted[:, None], fit_intercept)
    found = _added(x, np.hstack([scaled**power for power in powers]), target - fitted, weights, fit_intercept)
    df = len(x) - found.base_rank - found.rank
    if found.rank == 0:
        raise InputError("The columns span the powers of the fitted values already: no curvature is left to look for.")
    _enough(df, "RESET", len(x))
    if covariance == "classical":
        f = (found.explained / found.rank) / (found.left / df)
    else:
        more = scaled ** np.array(powers)[found.kept]
        f = _robust_wald(np.hstack([x, more]), target, weights, fit_intercept, covariance, found.rank)
    return SpecificationTest("RESET", "F", f, (found.rank, df), float(fdtrc(found.rank, df, f)))


def breusch_pagan(residuals: ArrayLike, X: ArrayLike, *, sample_weight: ArrayLike | None = None) -> SpecificationTest:
    r"""Breusch and Pagan's test of equal variances, studentised by Koenker: do the columns explain the squares?

    .. math:: u_i = \sqrt{v_i}\, e_i, \qquad LM = n R^2 \text{ of the regression of } u^2 \text{ on } [1, X]

    Parameters
    ----------
    residuals : (n,), e, of a least-squares fit
    X : (n, p), what the variance may depend on, without a column of ones
    sample_weight : (n,), default ones, the weights v of the fit

    Returns
    -------
    SpecificationTest : LM, for many rows chi-squared with rank([1, X]) - 1 degrees of freedom

    Raises
    ------
    InputError : too few rows, or constant columns only.

    References
    ----------
    T. Breusch and A. Pagan, Econometrica 47, 1979, 1287-1294. R. Koenker, J. Econometrics 17, 1981, 107-112.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(1.0, 5.0, 40)
    >>> print(breusch_pagan(x * np.sin(30.0 * np.arange(40)), x[:, None]))
    Breusch–Pagan: LM(1) = 17.38, p = 3.05e-05
    """
    x, e, weights = _checked(X, residuals, sample_weight, "residuals")
    return _lagrange("Breusch–Pagan", variance_regression(x, e, weights), len(e))


def white(residuals: ArrayLike, X: ArrayLike, *, sample_weight: ArrayLike | None = None) -> SpecificationTest:
    r"""White's test of equal variances: do the columns, their squares and products explain the squared residuals?

    .. math:: u_i = \sqrt{v_i}\, e_i, \qquad
        LM = n R^2 \text{ of the regression of } u^2 \text{ on } [1, x_j, x_j x_k]_{j \le k}

    Parameters
    ----------
    residuals : (n,), e, of a least-squares fit
    X : (n, p), the columns of the fit, without a column of ones
    sample_weight : (n,), default ones, the weights v of the fit

    Returns
    -------
    SpecificationTest : LM, for many rows chi-squared; its degrees of freedom are the rank of the columns and products

    Raises
    ------
    InputError : no more rows than columns and products, or constant columns only.

    References
    ----------
    H. White, Econometrica 48, 1980, 817-838, theorem 2.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(-2.0, 2.0, 40)
    >>> print(white(x**2 * np.sin(30.0 * np.arange(40)), x[:, None]))
    White: LM(2) = 19.22, p = 6.7e-05
    """
    x, e, weights = _checked(X, residuals, sample_weight, "residuals")
    squares, x = _squares(e, weights), standard(x, True)
    first, second = np.triu_indices(x.shape[1])
    width = 2 + x.shape[1] + len(first)

    def block(part: slice) -> Array:
        rows = x[part]
        return np.column_stack([np.ones(len(rows)), rows, rows[:, first] * rows[:, second], squares[part]])

    return _lagrange("White", nested(triangle(block, len(e), width), 1), len(e))


def durbin_watson(
    residuals: ArrayLike, X: ArrayLike, *, sample_weight: ArrayLike | None = None, fit_intercept: bool = True
) -> SpecificationTest:
    r"""Durbin and Watson's statistic of the correlation between the errors of neighbouring rows.

    .. math:: d = \frac{\sum_{t=2}^n (u_t - u_{t-1})^2}{\sum_{t=1}^n u_t^2}, \qquad u_t = \sqrt{v_t}\, e_t

    About :math:`2 (1 - r)` for the correlation r: 2 without any, near 0 where neighbours agree, near 4 where they
    alternate. The p value, two-sided, takes :math:`d / 4` as beta distributed with the exact mean and variance of d
    for this X and independent normal errors. It does not hold where a column is an earlier value of the target.

    Parameters
    ----------
    residuals : (n,), e, of a least-squares fit, in the order of time
    X : (n, p), the columns of the fit, without a column of ones
    sample_weight : (n,), default ones, the weights v of the fit
    fit_intercept : bool, default True, whether the fit had an intercept

    Returns
    -------
    SpecificationTest : d; it has no degrees of freedom

    Raises
    ------
    InputError : the fit leaves fewer than two degrees of freedom.

    References
    ----------
    J. Durbin and G. Watson, Biometrika 37, 1950, 409-428, and 58, 1971, 1-19, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.arange(50.0)
    >>> errors = np.sin(t / 3.0)
    >>> model = LinearRegression().fit(t[:, None], errors)
    >>> print(durbin_watson(errors - model.predict(t[:, None]), t[:, None]))
    Durbin–Watson: d = 0.1186, p = 1.64e-26
    """
    x, e, weights = _checked(X, residuals, sample_weight, "residuals")
    u = _errors(e, weights)
    with one_blas_thread:
        mean, variance = _durbin_watson_moments(orthonormal(_design(x, weights, fit_intercept)))
    d = float(np.sum(np.diff(u) ** 2) / np.sum(u**2))
    share = mean / 4.0
    size = share * (1.0 - share) / (variance / 16.0) - 1.0
    a, b = share * size, (1.0 - share) * size
    p = 2.0 * min(betainc(a, b, d / 4.0), betainc(b, a, 1.0 - d / 4.0))
    return SpecificationTest("Durbin–Watson", "d", d, (), float(min(p, 1.0)))


def breusch_godfrey(
    residuals: ArrayLike,
    X: ArrayLike,
    *,
    lags: int | None = None,
    sample_weight: ArrayLike | None = None,
    fit_intercept: bool = True,
) -> SpecificationTest:
    r"""Breusch and Godfrey's test of correlation of the errors: do earlier residuals explain the residuals?

    .. math:: u_t = \sqrt{v_t}\, e_t, \qquad
        LM = n R^2 \text{ of the regression of } u_t \text{ on } \sqrt{v_t}\,[1, x_t], u_{t-1}, \dots, u_{t-L}

    Residuals before the first row count as zero. Other than Durbin and Watson's it sees correlation over up to L rows,
    and allows columns that are earlier values of the target.

    Parameters
    ----------
    residuals : (n,), e, of a least-squares fit, in the order of time
    X : (n, p), the columns of the fit, without a column of ones
    lags : int, 1 or more, default min(10, n // 5): L
    sample_weight : (n,), default ones, the weights v of the fit
    fit_intercept : bool, default True, whether the fit had an intercept

    Returns
    -------
    SpecificationTest : LM, for many rows chi-squared with L degrees of freedom

    Raises
    ------
    InputError : `lags` is no positive integer, or too many for the rows.

    References
    ----------
    T. Breusch, Australian Economic Papers 17, 1978, 334-355. L. Godfrey, Econometrica 46, 1978, 1293-1301.

    Examples
    --------
    >>> import numpy as np
    >>> t = np.arange(50.0)
    >>> errors = np.sin(t / 3.0)
    >>> model = LinearRegression().fit(t[:, None], errors)
    >>> print(breusch_godfrey(errors - model.predict(t[:, None]), t[:, None], lags=1))
    Breusch–Godfrey: LM(1) = 44.21, p = 2.95e-11
    """
    x, e, weights = _checked(X, residuals, sample_weight, "residuals")
    u, n = _errors(e, weights), len(e)
    lags = checked_lags(max(1, min(10, n // 5)) if lags is None else lags, n, x.shape[1] + fit_intercept)
    padded = np.r_[np.zeros(lags), u]
    earlier = np.lib.stride_tricks.sliding_window_view(padded[:-1], lags)
    base = _design(x, weights, fit_intercept)
    return _lagrange("Breusch–Godfrey", _by_blocks(base, earlier, u), n)


def checked_lags(lags: int, n: int, columns: int) -> int:
    """How many rows Breusch and Godfrey's test looks back, where it can look so far."""
    if not isinstance(lags, int | np.integer) or isinstance(lags, bool) or lags < 1:
        raise InputError(f"lags is {lags!r} and must be None or an integer from 1 on.")
    if lags >= n - columns:
        raise InputError(f"{lags} lags are too many for {n} rows and {columns} coefficients: give fewer lags.")
    return int(lags)


def variance_regression(x: Array, residuals: Array, weights: Array | None, *, squares: bool = False) -> Nested:
    """The squared residuals on the columns (n, p), or on the squares of them, beyond their mean."""
    columns = standard(x, True)
    return _by_blocks(np.ones((len(x), 1)), columns**2 if squares else columns, _squares(residuals, weights))


def curvature_regression(x: Array, residuals: Array, weights: Array | None, fit_intercept: bool) -> Nested:
    """The residuals on the squares of the columns (n, p), beyond the columns."""
    return _added(x, standard(x, fit_intercept) ** 2, residuals, weights, fit_intercept)


def _added(x: Array, more: Array, target: Array, weights: Array | None, fit_intercept: bool) -> Nested:
    return _by_blocks(_design(x, weights, fit_intercept), _weighted(more, weights), _weighted(target, weights))


def _by_blocks(base: Array, more: Array, target: Array) -> Nested:
    columns = (base, more, target[:, None])
    width = base.shape[1] + more.shape[1] + 1
    return nested(triangle(lambda part: np.hstack([c[part] for c in columns]), len(base), width), base.shape[1])


def _robust_wald(x: Array, y: Array, weights: Array | None, fit_intercept: bool, covariance: str, q: int) -> float:
    """F of the last q columns' coefficients."""
    model = LinearRegression(fit_intercept=fit_intercept).fit(x, y, weights)
    found = inference(model, x, y, sample_weight=weights, covariance=covariance)
    return found.test(found.names[-q:]).f


def _lagrange(name: str, found: Nested, n: int) -> SpecificationTest:
    if found.rank == 0:
        raise InputError(f"{name} finds only constant columns: there is nothing that it could test.")
    _enough(n - found.base_rank - found.rank, name, n)
    share = found.explained / (found.explained + found.left)
    return SpecificationTest(name, "LM", n * share, (found.rank,), float(chdtrc(found.rank, n * share)))


def _durbin_watson_moments(q: Array) -> tuple[float, float]:
    """Mean and variance of d for the columns q (n, k), orthonormal (Durbin and Watson 1950, section 3)."""
    n, k = q.shape
    _enough(n - k - 1, "Durbin–Watson", n)
    steps = np.diff(q, axis=0)
    second = np.diff(np.pad(steps, ((1, 1), (0, 0))), axis=0)
    inner = steps.T @ steps
    p1 = 2.0 * (n - 1) - np.trace(inner)
    p2 = 2.0 * (3 * n - 4) - 2.0 * np.sum(second**2) + np.sum(inner * inner)
    mean = p1 / (n - k)
    return mean, 2.0 * (p2 - p1 * mean) / ((n - k) * (n - k + 2))


def _design(x: Array, weights: Array | None, fit_intercept: bool) -> Array:
    """[1, x], the columns standardised, each row times the root of its weight."""
    ones = np.ones((len(x), int(fit_intercept)))
    return _weighted(np.hstack([ones, standard(x, fit_intercept)]), weights)


def _weighted(rows: Array, weights: Array | None) -> Array:
    return rows if weights is None else (rows.T * np.sqrt(weights)).T


def _squares(e: Array, weights: Array | None) -> Array:
    """v e^2 over its mean, so that units do not matter."""
    squares = _errors(e, weights) ** 2
    return np.asarray(squares / squares.mean())


def _errors(e: Array, weights: Array | None) -> Array:
    """The residuals times the roots of the weights, not all of them zero."""
    if not e.any():
        raise InputError("All residuals are zero: there are no errors to look at.")
    return _weighted(e, weights)


def _checked(
    X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, what: str
) -> tuple[Array, Array, Array | None]:
    """X (n, p), the other vector (n,) and the weights, finite, without the rows of weight zero."""
    x = check_array(X, dtype=np.float64, order="C")
    vector = check_array(column_or_1d(y), dtype=np.float64, ensure_2d=False, input_name=what)
    check_consistent_length(x, vector)
    weights = row_weights(sample_weight, x)
    if weights is not None and not weights.all():
        keep = weights > 0.0
        x, vector, weights = x[keep], vector[keep], weights[keep]
    return x, vector, weights


def _checked_powers(powers: Sequence[int]) -> list[int]:
    found = list(powers)
    if not found or any(int(power) != power or power < 2 for power in found) or len(set(found)) < len(found):
        raise InputError(f"powers is {powers!r} and must hold integers from 2 on, none of them twice.")
    return found


def _enough(df: int, test: str, n: int) -> None:
    if df < 1:
        raise InputError(f"{n} rows are too few for {test}: its regression has as many columns.")
