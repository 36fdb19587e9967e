"""What the Gauss-Markov theorem asks of the data, checked one by one for a fitted linear regression."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import fdtrc
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.errors import InputError
from heldout.linear.inference.collinearity import Collinearity, collinearity, variance_inflation
from heldout.linear.inference.findings import Assumption, Assumptions, listed
from heldout.linear.inference.sandwich import measure
from heldout.linear.inference.specification_tests import (
    SpecificationTest,
    breusch_godfrey,
    breusch_pagan,
    checked_lags,
    curvature_regression,
    durbin_watson,
    reset,
    variance_regression,
    white,
)
from heldout.linear.inference.summary import p_value
from heldout.linear.squares.refinement import EPS
from heldout.linear.squares.regression import LinearRegression
from heldout.linear.states import row_weights
from heldout.linear.triangular import Array
from heldout.multiplicity import holm
from heldout.words import number

__all__ = [
    "Assumption",
    "Assumptions",
    "SpecificationTest",
    "assumptions",
    "breusch_godfrey",
    "breusch_pagan",
    "durbin_watson",
    "reset",
    "variance_inflation",
    "white",
]

MOST_CONDITION = 30.0  # Belsley, Kuh and Welsch: from here on dependences do harm
MOST_INFLATION = 10.0  # Marquardt: from here on a coefficient is poorly determined
ROWS_FOR_EACH_PRODUCT = 5  # below, the distribution of White's statistic is far from chi-squared
MOST_PRODUCTS = 1_000  # above, White's regression takes longer than anything else


def assumptions(
    model: LinearRegression,
    X: Any,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    time_ordered: bool = False,
    lags: int | None = None,
    level: float = 0.05,
) -> Assumptions:
    r"""What the Gauss-Markov theorem asks, checked one by one for a fitted linear regression.

    .. math:: y = b + Xw + \varepsilon, \qquad E[\varepsilon \mid X] = 0, \qquad
        \mathrm{Var}[\varepsilon \mid X] = \sigma^2 V^{-1}, \qquad \mathrm{rank}\,[1, X] = p + 1

    ====================  ================================================  =======================================
    linear mean           RESET; with HC3 errors where the variances are    without it: biased coefficients
                          not equal
    equal variances       Breusch-Pagan in Koenker's form, White            wrong standard errors
    uncorrelated errors   Durbin-Watson, Breusch-Godfrey                    wrong standard errors
    full rank             rank                                              coefficients that no data determines
    no near-dependence    condition number, variance inflation              large variances; the theorem still holds
    ====================  ================================================  =======================================

    The verdict uses p values adjusted by Holm's method, so that the chance of a "fails" anywhere is at most `level`
    (for many rows) if all is well. It is "fails" where the adjusted p is at most `level`; "in doubt" where only the
    p by itself is, or where RESET rejects with classical errors and not with HC3; and "holds" otherwise. Rank,
    condition number (30) and variance inflation (10) go by thresholds.

    Parameters
    ----------
    model : LinearRegression, fitted to a single target
    X, y : (n, p) and (n,), the rows it was fitted on
    sample_weight : (n,), default ones
        The weights of the fit: the error of row i has variance :math:`\sigma^2 / v_i`. Rows of weight zero are as if
        absent. A weight is no count: a row of weight two is one row.
    time_ordered : bool, default False
        Whether the rows are in the order of time. Otherwise the tests of correlation are computed but not judged.
    lags : int, 1 or more, default min(10, n // 5)
        How many rows back Breusch and Godfrey's test looks.
    level : float in (0, 1), default 0.05

    Returns
    -------
    Assumptions : a table of `Assumption`, one a test; it prints with what breaks and what to do

    Raises
    ------
    InputError : the model is none or has several targets, the rows or the weights are not those of the fit, or
        an option is out of range.

    References
    ----------
    W. Greene, Econometric Analysis, 8th edition, 2018, chapters 4, 9 and 20.
    S. Holm, Scandinavian J. Statistics 6, 1979, 65-70.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(0.0, 4.0, size=(200, 2))
    >>> y = X[:, 0] ** 2 + X[:, 1] + rng.normal(size=200)
    >>> found = assumptions(LinearRegression().fit(X, y), X, y)
    >>> found["RESET"].verdict, found["RESET"].reason
    ('fails', 'The mean bends along x0.')
    """
    data = _checked(model, X, y, sample_weight, level)
    if lags is not None:
        checked_lags(lags, len(data.x), data.x.shape[1] + data.fit_intercept)
    judged = [_equal_variances(data, "Breusch–Pagan"), _equal_variances(data, "White")]
    unequal = any(found.p is not None and found.p <= level for found in judged)
    in_order = [_uncorrelated(data, "Durbin–Watson", None), _uncorrelated(data, "Breusch–Godfrey", lags)]
    if not time_ordered:
        in_order = [_without_order(found) for found in in_order]
    tests = _holm([_linear_mean(data, unequal), *judged, *in_order], level)
    found = collinearity(data.x, data.weights, data.fit_intercept)
    return Assumptions(
        checks=(*tests, *_dependence(found, data.names)),
        names=data.names,
        rank=found.rank,
        condition=found.condition,
        variance_inflation=found.variance_inflation,
        n=len(data.x),
        level=level,
    )


@dataclass(frozen=True)
class _Data:
    """The rows of the fit, without those of weight zero, and its residuals."""

    x: Array  # (n, p)
    y: Array  # (n,)
    weights: Array | None  # (n,)
    residuals: Array  # (n,)
    df: int  # n - rank
    exact: bool  # the residuals are rounding
    names: tuple[str, ...]
    fit_intercept: bool
    level: float


def _checked(model: Any, X: Any, y: Any, sample_weight: Any, level: float) -> _Data:
    if not isinstance(model, LinearRegression):
        raise InputError(f"The model is a {type(model).__name__} and must be a fitted LinearRegression.")
    check_is_fitted(model)
    if np.ndim(model.coef_) > 1:
        raise InputError("The model has its targets in a matrix: fit one target at a time, with y of shape (n,).")
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level!r} and must be between 0 and 1, as in 0.05.")
    x, y = validate_data(model, X, y, reset=False, dtype=np.float64, order="C", y_numeric=True)
    weights, y = row_weights(sample_weight, x), np.asarray(y, dtype=np.float64)
    if weights is not None and not weights.all():
        keep = weights > 0.0
        x, y, weights = x[keep], y[keep], weights[keep]
    return _measured(model, x, y, weights, level)


def _measured(model: LinearRegression, x: Array, y: Array, weights: Array | None, level: float) -> _Data:
    coef, intercept = model.coef_, float(model.intercept_)
    fit = measure(x, y, weights, coef, intercept, fit_intercept=model.fit_intercept, tol=model.tol)
    if not fit.is_least_squares:
        raise InputError(
            "The model's coefficients are not the least squares of these rows: give the X, y and sample_weight that it "
            "was fitted on, and fit by a closed form if the gradient has not come close enough."
        )
    known = getattr(model, "feature_names_in_", [f"x{j}" for j in range(x.shape[1])])
    return _Data(
        x=x,
        y=y,
        weights=weights,
        residuals=fit.residual,
        df=len(x) - fit.rank,
        exact=math.sqrt(fit.rss) <= 100.0 * EPS * fit.size,
        names=tuple(map(str, known)),
        fit_intercept=model.fit_intercept,
        level=level,
    )


def _tried(check: Assumption, data: _Data, test: Callable[[], SpecificationTest]) -> Assumption:
    """The check with its test's numbers, or "not applicable" and why."""
    if data.exact:
        return replace(check, reason="The fit is exact: there are no errors to look at.")
    try:
        found = test()
    except InputError as error:
        return replace(check, reason=str(error))
    return replace(check, statistic=found.statistic, df=found.df, p=found.p, verdict="holds")


def _linear_mean(data: _Data, unequal: bool) -> Assumption:
    check = Assumption(
        name="linear mean",
        asks="The errors have mean zero whatever the columns are: the mean of the target is linear in them.",
        test="RESET",
        breaks="The coefficients are biased, and with them predictions, standard errors and tests.",
    )
    plain = _tried(check, data, lambda: _reset(data, "classical"))
    check = plain
    if unequal and plain.p is not None:
        check = _tried(replace(check, test="RESET, HC3"), data, lambda: _reset(data, "HC3"))
    if check.p is None or plain.p is None or min(check.p, plain.p) > data.level:
        return check
    bends, remedy = _curvature(data)
    if check.p <= data.level:
        return replace(check, reason=f"The mean {bends}.", remedy=remedy)
    reason = f"Either the mean {bends}, or unequal variances look like it: RESET without HC3 has p {p_value(plain.p)}."
    return replace(check, verdict="in doubt", reason=reason, remedy=remedy)


def _reset(data: _Data, covariance: str) -> SpecificationTest:
    given: dict[str, Any] = {"sample_weight": data.weights, "fit_intercept": data.fit_intercept}
    return reset(data.x, data.y, covariance=covariance, **given)


def _curvature(data: _Data) -> tuple[str, str]:
    """Where the mean bends, and the remedy."""
    shares = curvature_regression(data.x, data.residuals, data.weights, data.fit_intercept).shares
    bent = _blamed(shares, data.df - 1, data.level, data.names)
    target = "transform the target, for example to its logarithm."
    if not bent:
        return "bends, but along no single column", f"Add products of columns, or {target}"
    along = listed(bent)
    remedy = f"Transform {along} (logarithm, root) or add squares (PolynomialRegression); or {target}"
    return f"bends along {along}", remedy


def _equal_variances(data: _Data, test: str) -> Assumption:
    check = Assumption(
        name="equal variances",
        asks="All errors have the same variance, or one over the row's weight times the same.",
        test=test,
        breaks="Only standard errors, tests and intervals: the coefficients stay unbiased, but weights would make them "
        "more precise.",
    )
    check = _tried(check, data, lambda: _variance_test(data, test))
    if check.p is None or check.p > data.level:
        return check
    first = variance_regression(data.x, data.residuals, data.weights).shares
    second = variance_regression(data.x, data.residuals, data.weights, squares=True).shares
    with_squares = np.maximum(first, second) if test == "White" else first
    names = _blamed(with_squares, len(data.x) - 2, data.level, data.names)
    along = listed(names) if names else "several columns together"
    return replace(
        check,
        reason=f"The variance changes with {along}.",
        remedy="Keep the coefficients and take robust errors, inference(..., covariance='HC3'); or fit with "
        f"sample_weight one over the variance, as it changes with {along}.",
    )


def _variance_test(data: _Data, test: str) -> SpecificationTest:
    if test == "Breusch–Pagan":
        return breusch_pagan(data.residuals, data.x, sample_weight=data.weights)
    p = data.x.shape[1]
    products = p * (p + 3) // 2
    needed = ROWS_FOR_EACH_PRODUCT * products
    if products > MOST_PRODUCTS:
        raise InputError(f"{products:,} columns and products are too many: {MOST_PRODUCTS:,} are the most.")
    if len(data.x) < needed:
        raise InputError(
            f"{len(data.x):,} rows are too few for {products:,} columns and products: {needed:,} are enough."
        )
    return white(data.residuals, data.x, sample_weight=data.weights)


def _uncorrelated(data: _Data, test: str, lags: int | None) -> Assumption:
    check = Assumption(
        name="uncorrelated errors",
        asks="The errors of different rows are uncorrelated.",
        test=test,
        breaks="Only standard errors, tests and intervals, most often too small; but the coefficients as well, where a "
        "column is an earlier value of the target.",
    )
    given: dict[str, Any] = {"sample_weight": data.weights, "fit_intercept": data.fit_intercept}
    if test == "Durbin–Watson":
        check = _tried(check, data, lambda: durbin_watson(data.residuals, data.x, **given))
    else:
        check = _tried(check, data, lambda: breusch_godfrey(data.residuals, data.x, lags=lags, **given))
    if check.p is None or check.p > data.level:
        return check
    return replace(
        check,
        reason=_correlation(check),
        remedy="Add columns that carry what lasts (trend, season, earlier values), or take errors that allow for it: "
        "inference(..., covariance='cluster', groups=runs of neighbouring rows).",
    )


def _without_order(check: Assumption) -> Assumption:
    if check.p is None:
        return check
    reason = "It means something only if the rows are in time order: if they are, give time_ordered=True."
    return replace(check, verdict="not applicable", reason=reason, remedy="")


def _correlation(check: Assumption) -> str:
    if check.test == "Durbin–Watson" and check.statistic is not None:
        return f"The errors of neighbouring rows have a correlation of about {number(1.0 - check.statistic / 2.0, 2)}."
    return f"Errors depend on those of up to {check.df[0]} rows before."


def _dependence(found: Collinearity, names: tuple[str, ...]) -> list[Assumption]:
    p, full = len(names), found.rank == len(names)
    dependent = [name for name, factor in zip(names, found.variance_inflation, strict=True) if math.isinf(factor)]
    near = [name for name, share in zip(names, found.weakest, strict=True) if share > 0.5]
    inflated = [n for n, factor in zip(names, found.variance_inflation, strict=True) if factor > MOST_INFLATION]
    rank = Assumption(
        name="full rank",
        asks="No column is a combination of the others.",
        test="rank",
        statistic=float(found.rank),
        verdict="holds" if full else "fails",
        breaks="The coefficients of these columns are not determined; fitted values are.",
        reason="" if full else f"The rank is {found.rank} for {p} columns: other columns make up {listed(dependent)}.",
        remedy="" if full else f"Leave out one of {listed(dependent)} at a time, until the rank is full.",
    )
    condition = _nearly(
        "condition number",
        found.condition,
        MOST_CONDITION,
        f"{listed(near)} nearly depend on each other." if near else "Several columns nearly depend on each other.",
        near,
    )
    largest = float(found.variance_inflation.max())
    reason = f"Other columns inflate the variance of the coefficients of {listed(inflated)}."
    return [rank, condition, _nearly("variance inflation", largest, MOST_INFLATION, reason, inflated)]


def _nearly(test: str, statistic: float, most: float, reason: str, names: list[str]) -> Assumption:
    check = Assumption(
        name="no near-dependence",
        asks="No column is nearly a combination of the others.",
        test=test,
        statistic=statistic,
        breaks="Not the theorem: least squares stays the best of the unbiased, but the best has a large variance.",
    )
    if math.isinf(statistic):
        return replace(check, reason="Columns depend on each other exactly.")
    if statistic <= most:
        return replace(check, verdict="holds")
    remedy = "or shrink them with Ridge, a little biased and much less variable."
    which = listed(names) if names else "such columns"
    return replace(check, verdict="in doubt", reason=reason, remedy=f"Leave out or combine some of {which}; {remedy}")


def _blamed(shares: Array, df: int, level: float, names: tuple[str, ...]) -> list[str]:
    """The columns that explain something by themselves, those that explain most first (Bonferroni's level)."""
    f = shares / np.maximum(1.0 - shares, EPS) * df
    order = [int(j) for j in np.argsort(-shares, kind="stable") if fdtrc(1, df, f[j]) <= level / len(names)]
    return [names[j] for j in order]


def _holm(checks: list[Assumption], level: float) -> list[Assumption]:
    """With p values adjusted for the number of tests that are judged, and verdicts by them."""
    judged = [(i, c.p) for i, c in enumerate(checks) if c.verdict != "not applicable" and c.p is not None]
    result = list(checks)
    for (i, p), adjusted in zip(judged, holm([p for _, p in judged]), strict=True):
        verdict = "fails" if adjusted <= level else "in doubt" if p <= level else checks[i].verdict
        result[i] = replace(checks[i], adjusted_p=adjusted, verdict=verdict)
    return result
