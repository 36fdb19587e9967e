"""What a least-squares fit says about its coefficients: standard errors, tests, intervals; and how well it fits."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.errors import InputError, suggest
from heldout.linear.blocks import one_blas_thread
from heldout.linear.inference.sandwich import CORES, Basis, Codes, Fit, measure, root_of, wald
from heldout.linear.inference.summary import FTest, Inference, Predicted, checked_level, ends, f_test, solution
from heldout.linear.squares.regression import LinearRegression
from heldout.linear.states import row_weights
from heldout.linear.triangular import Array

__all__ = ["FTest", "Inference", "Predicted", "inference"]


def inference(
    model: LinearRegression,
    X: Any,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    covariance: str = "classical",
    groups: ArrayLike | None = None,
    level: float = 0.95,
) -> Inference:
    r"""Standard errors, tests and intervals for a fitted linear regression, from the data that it was fitted on.

    .. math:: \hat C = (X^\top V X)^{-1} S \,(X^\top V X)^{-1}, \qquad
        t_j = \hat\beta_j / \sqrt{\hat C_{jj}}

    with residuals :math:`e_i`, :math:`V = \mathrm{diag}(v)`, leverages
    :math:`h_i = v_i x_i^\top (X^\top V X)^{-1} x_i`, and S by `covariance`:

    ===========  ==================================================================  ============================
    classical    :math:`s^2 X^\top V X`                                              errors of equal variance
    HC0          :math:`\sum_i v_i^2 e_i^2 \, x_i x_i^\top`                          unequal variances, many rows
    HC1          HC0 times :math:`n / (n - k)`
    HC2          :math:`\sum_i v_i^2 e_i^2 / (1 - h_i) \, x_i x_i^\top`
    HC3          :math:`\sum_i v_i^2 e_i^2 / (1 - h_i)^2 \, x_i x_i^\top`            unequal variances, any n
    cluster      :math:`\frac{G}{G-1}\frac{n-1}{n-k}\sum_g u_g u_g^\top`,            errors that depend on each
                 :math:`u_g = \sum_{i \in g} v_i e_i x_i`                            other within groups
    ===========  ==================================================================  ============================

    Parameters
    ----------
    model : LinearRegression, fitted to a single target
    X, y : (n, p) and (n,), the rows it was fitted on
    sample_weight : (n,), default ones
        The weights of the fit, which are taken as analytic: the error of row i has variance
        :math:`\sigma^2 / v_i`, as when a row is a mean of :math:`v_i` measurements. They are not counts: a row of
        weight two is one row. Multiplying all weights by a number changes neither standard errors nor tests. Rows of
        weight zero are as if absent.
    covariance : {"classical", "HC0", "HC1", "HC2", "HC3", "cluster"}, default "classical"
    groups : (n,) of numbers or texts, for "cluster" only
        Which rows belong together. Tests then use Student's t with G - 1 degrees of freedom for G groups.
    level : float in (0, 1), default 0.95
        Of the intervals.

    Returns
    -------
    Inference

    Raises
    ------
    InputError : the rows or the weights are not those of the fit (something of the columns is left in the residuals),
        the model has several targets, groups are missing, or an option is none.

    References
    ----------
    W. Greene, Econometric Analysis, 8th edition, 2018, chapters 4, 5 and 9.
    J. MacKinnon and H. White, J. Econometrics 29, 1985, 305-325.
    A. C. Cameron and D. Miller, J. Human Resources 50, 2015, 317-372.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> y = np.array([1.1, 1.9, 3.2, 3.9, 5.1])
    >>> found = inference(LinearRegression().fit(X, y), X, y)
    >>> found.names, found.coef.round(6).tolist(), found.standard_errors.round(6).tolist()
    (('intercept', 'x0'), [0.04, 1.0], [0.162481, 0.04899])
    >>> print(found.test("x0", 0.9))
    F(1, 3) = 4.167, p = 0.134
    """
    _check_options(model, covariance, groups, level)
    x, target, weights, codes = _validated(model, X, y, sample_weight, groups)
    fit_intercept, tol = model.fit_intercept, model.tol
    fit = measure(x, target, weights, model.coef_, float(model.intercept_), fit_intercept=fit_intercept, tol=tol)
    if not fit.is_least_squares:
        raise InputError(
            "The model's coefficients are not the least squares of these rows: give the X, y and sample_weight that it "
            "was fitted on, and fit by a closed form if the gradient has not come close enough."
        )
    log_weights = 0.0 if weights is None else float(np.log(weights).sum())
    return _inference(copy.copy(model), fit, log_weights, covariance, codes, level)


def _check_options(model: Any, covariance: str, groups: Any, level: float) -> None:
    if not isinstance(model, LinearRegression):
        raise InputError(f"The model is a {type(model).__name__} and must be a fitted LinearRegression.")
    check_is_fitted(model)
    if np.ndim(model.coef_) > 1:
        raise InputError("The model has its targets in a matrix: fit one target at a time, with y of shape (n,).")
    if covariance not in CORES:
        raise InputError(f"There is no covariance {covariance!r}.{suggest(str(covariance), CORES)}")
    if (covariance == "cluster") != (groups is not None):
        raise InputError("covariance='cluster' and groups, which tell the rows that belong together, need each other.")
    checked_level(level)


def _validated(
    model: LinearRegression, X: Any, y: Any, sample_weight: Any, groups: Any
) -> tuple[Array, Array, Array | None, Codes | None]:
    """X (n, p), y (n,), the weights and the groups' codes, without the rows of weight zero."""
    X, y = validate_data(model, X, y, reset=False, dtype=np.float64, order="C", multi_output=True, y_numeric=True)
    if np.ndim(y) > 1:
        raise InputError("y is a matrix: give the one target that the model was fitted on, of shape (n,).")
    weights, target = row_weights(sample_weight, X), np.asarray(y, dtype=np.float64)
    known = None if groups is None else _known_groups(groups, len(X))
    if weights is not None and not weights.all():
        keep = weights > 0.0
        X, target, weights, known = X[keep], target[keep], weights[keep], None if known is None else known[keep]
    return X, target, weights, None if known is None else _group_codes(known)


def _known_groups(groups: Any, n: int) -> np.ndarray[Any, Any]:
    """The groups (n,), none of them missing."""
    given = np.asarray(groups)
    if given.shape != (n,):
        raise InputError(f"groups has shape {given.shape} and must have one group for each of the {n} rows.")
    if any(group is None or group != group for group in given.tolist()):
        raise InputError("A group is missing: give every row a group, or leave the row out of the fit.")
    return given


def _group_codes(groups: np.ndarray[Any, Any]) -> Codes:
    """Codes 0 to G - 1 (n,)."""
    found, codes = np.unique(groups, return_inverse=True)
    if len(found) < 2:
        raise InputError("All rows are in one group: cluster-robust errors need at least two groups, better thirty.")
    return np.asarray(codes, dtype=np.intp)


def _inference(
    model: LinearRegression, fit: Fit, log_weights: float, kind: str, codes: Codes | None, level: float
) -> Inference:
    df_residual = len(fit.x) - fit.rank
    df_t = df_residual if codes is None else int(codes.max())
    empty = np.full((fit.rank, fit.rank), np.nan)  # where no row is left to tell the variance
    spread = root_of(CORES[kind](fit, codes)) if df_residual else empty
    test = _overall(fit, solution(model), spread, kind, df_t)
    return Inference(
        names=_names(model),
        **_coefficients(fit.basis, solution(model), spread, df_t, level),
        covariance_type=kind,
        df_t=df_t,
        f=test.f,
        f_p=test.p,
        **_quality(fit, log_weights),
        level=level,
        _model=model,
        _basis=fit.basis,
        _spread=spread,
    )


def _names(model: LinearRegression) -> tuple[str, ...]:
    known = getattr(model, "feature_names_in_", [f"x{j}" for j in range(model.n_features_in_)])
    return (*["intercept"][: int(model.fit_intercept)], *map(str, known))


def _coefficients(basis: Basis, coef: Array, spread: Array, df: int, level: float) -> dict[str, Any]:
    """The numbers of the table, NaN where a coefficient is not estimable."""
    known = basis.estimable(np.eye(len(coef)))
    with one_blas_thread:
        root = np.where(known[:, None], basis.root @ spread, np.nan)
        covariance = root @ root.T
    coef, errors = np.where(known, coef, np.nan), np.sqrt(covariance.diagonal())
    with np.errstate(divide="ignore", invalid="ignore"):  # an exact fit has no errors
        t = coef / errors
    low, high = ends(coef, errors, level, df)
    found = {"coef": coef, "standard_errors": errors, "t": t, "p": 2.0 * stdtr(df, -np.abs(t))}
    return {**found, "low": low, "high": high, "covariance": covariance}


def _overall(fit: Fit, coef: Array, spread: Array, kind: str, df: int) -> FTest:
    """F of all slopes together, or of all coefficients without an intercept; NaN where it does not exist."""
    basis, first = fit.basis, int(fit.basis.fit_intercept)
    q = fit.rank - first
    if q == 0 or np.isnan(spread).any():
        return FTest(math.nan, q, df, math.nan)
    if kind == "classical":
        with np.errstate(divide="ignore", invalid="ignore"):
            return f_test(float(np.divide(fit.mss / q, fit.rss / df)), q, df)
    rows = np.eye(len(coef))[first:]
    if basis.directions is not None:
        rows = (basis.directions * basis.span[:, None]).T @ rows
    f = wald(rows @ basis.root @ spread, rows @ coef)
    return f_test(math.nan if f is None else f, q, df)


def _quality(fit: Fit, log_weights: float) -> dict[str, Any]:
    """How well the model fits, in numbers that do not depend on the kind of covariance."""
    n, first = len(fit.x), int(fit.basis.fit_intercept)
    df_residual = n - fit.rank
    with np.errstate(divide="ignore", invalid="ignore"):  # an exact fit, or a target that does not vary
        explained, left = np.divide([fit.mss, fit.rss], fit.mss + fit.rss)
        sigma2, unexplained = np.divide([fit.rss, left * (n - first)], df_residual)
        log_likelihood = (log_weights - n * (np.log(2.0 * np.pi * fit.rss / n) + 1.0)) / 2.0
    return {
        "n": n,
        "df_model": fit.rank - first,
        "df_residual": df_residual,
        "sigma2": float(sigma2) if df_residual else math.nan,
        "r2": float(explained),
        "adjusted_r2": float(1.0 - unexplained) if df_residual else math.nan,
        "log_likelihood": float(log_likelihood),
        "aic": float(2.0 * fit.rank - 2.0 * log_likelihood),
        "bic": float(math.log(n) * fit.rank - 2.0 * log_likelihood),
    }
