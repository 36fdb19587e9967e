"""What an unpenalised logistic regression says about its coefficients: standard errors, tests, intervals, criteria."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, cho_factor, cho_solve, cholesky
from scipy.special import chdtrc, ndtr, ndtri, xlogy
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.errors import InputError, WorkError
from heldout.linear.blocks import one_blas_thread
from heldout.linear.inference.summary import p_value
from heldout.linear.softmax.classifier import SoftmaxClassifier
from heldout.linear.softmax.loss import Array
from heldout.linear.softmax.separation import separation
from heldout.linear.states import row_weights
from heldout.printed import Printed, Sheet
from heldout.words import number, percent

STEPS = 50  # of Newton's method from where the fit stopped: two or three suffice where there is a maximum
SETTLED = 1e-13  # of a step, relative to the standard error, that ends them
DEPENDENT = 1e-7  # least diagonal element of the information's Cholesky factor, in unit columns: a condition of 1e14


@dataclass(frozen=True, eq=False, repr=False)
class LogisticInference(Printed):
    r"""The coefficients of a logistic regression with what the data says about them; made by `logistic_inference`.

    Attributes
    ----------
    names : tuple of str (k,), "intercept" and the columns' names, x0, x1, ... where they have none
    coef, standard_errors, z, p : float64 arrays (k,); p is two-sided, from the normal distribution
    low, high : float64 arrays (k,), the ends of the Wald intervals at `level`
    covariance : float64 array (k, k), the inverse of the Fisher information
    n : int, rows with a weight above zero
    df_residual : int, n - k
    log_likelihood, null_log_likelihood : float, of the model, and of the intercept alone (of p = 1/2 without one)
    deviance, null_deviance : float, -2 times the log-likelihoods
    likelihood_ratio, likelihood_ratio_p : float, twice their difference, and its p value from chi-squared
    aic, bic : float, 2k - 2l and k log n - 2l
    r2 : float, McFadden's 1 - l / l_null
    level : float, of the intervals
    """

    names: tuple[str, ...]
    coef: Array
    standard_errors: Array
    z: Array
    p: Array
    low: Array
    high: Array
    covariance: Array
    n: int
    df_residual: int
    log_likelihood: float
    null_log_likelihood: float
    deviance: float
    null_deviance: float
    likelihood_ratio: float
    likelihood_ratio_p: float
    aic: float
    bic: float
    r2: float
    level: float

    def _table(self) -> Sheet:
        title = [f"Logistic regression, {self.n:,} rows"]
        header = ["", "coefficient", "std. error", "z", "p", *(f"{side} {percent(self.level)}" for side in ENDS)]
        columns = (self.names, self.coef, self.standard_errors, self.z, self.p, self.low, self.high)
        body = [
            [name, number(coef), number(error), number(z), p_value(p), number(low), number(high)]
            for name, coef, error, z, p, low, high in zip(*columns, strict=True)
        ]
        notes = [
            f"log-likelihood {number(self.log_likelihood)}, deviance {number(self.deviance)}, "
            f"AIC {number(self.aic)}, BIC {number(self.bic)}",
            f"McFadden R2 {number(self.r2)}, likelihood ratio {number(self.likelihood_ratio)}, "
            f"p = {p_value(self.likelihood_ratio_p)}",
        ]
        return title, header, body, notes


ENDS = ("low", "high")


def logistic_inference(
    model: SoftmaxClassifier, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *, level: float = 0.95
) -> LogisticInference:
    r"""Standard errors, tests and intervals of a fitted two-class `SoftmaxClassifier` without a penalty.

    .. math:: \operatorname{cov}(\hat\beta) = \Bigl(\sum_i v_i \hat p_i (1 - \hat p_i)\, x_i x_i^\top\Bigr)^{-1},
        \qquad z_j = \hat\beta_j / se_j, \qquad \hat\beta_j \pm z_{(1 + \mathrm{level})/2}\, se_j

    The coefficients are those of the model, taken to the last digit of the maximum by further Newton steps.

    Parameters
    ----------
    model : SoftmaxClassifier, fitted with C=inf to these rows, with two classes and no class weights
    X : array or CSR (n, p), the rows of the fit, n above the number of coefficients
    y : array (n,), their labels
    sample_weight : array (n,), default None
        The weights of the fit; they count as repeated rows, in n too.
    level : float in (0, 1), default 0.95
        Of the intervals.

    Raises
    ------
    InputError : the model has a penalty, class weights or other than two classes, or the rows do not fit it.
    WorkError : the classes are separated, or the columns depend on each other: there are no standard errors.

    References
    ----------
    D. Hosmer, S. Lemeshow, R. Sturdivant, Applied Logistic Regression, 3rd edition, 2013, sections 1.3, 2.3 and 2.4.
    D. McFadden, Conditional logit analysis of qualitative choice behavior, 1974, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> X, y = np.arange(8.0)[:, None], [0, 0, 1, 0, 1, 0, 1, 1]
    >>> found = logistic_inference(SoftmaxClassifier(C=np.inf).fit(X, y), X, y)
    >>> found.standard_errors.round(4).tolist()
    [1.7329, 0.4322]
    """
    _check(model, level)
    X, y = validate_data(model, X, y, accept_sparse="csr", dtype=np.float64, order="C", reset=False)
    weights = row_weights(sample_weight, X)
    weights = np.ones(X.shape[0]) if weights is None else weights
    kept = weights > 0.0
    X, codes, weights = X[kept], _codes(model, np.asarray(y)[kept]), weights[kept]
    design = np.asarray(X.toarray() if hasattr(X, "toarray") else X)
    if model.fit_intercept:
        design = np.column_stack([np.ones(len(design)), design])
    found = separation(X, codes, 2, fit_intercept=model.fit_intercept)
    if found.kind != "none":
        raise WorkError(f"{found} There are no standard errors; set a finite C, or leave out what separates.")
    start = np.concatenate([model.intercept_, model.coef_[0]] if model.fit_intercept else [model.coef_[0]])
    with one_blas_thread:
        coef, covariance = _maximum(design, codes, weights, start)
    return _result(model, design @ coef, codes, weights, coef, covariance, level)


def _check(model: SoftmaxClassifier, level: float) -> None:
    check_is_fitted(model)
    if not np.isinf(model.C) or model.class_weight is not None:
        raise InputError("A penalty or class weights bias the coefficients: fit with C=inf and class_weight=None.")
    if len(model.classes_) != 2:
        raise InputError(
            f"The model has {len(model.classes_)} classes: this is for two; see MaximumLikelihood for more."
        )
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level!r} and must be above 0 and below 1.")


def _codes(model: SoftmaxClassifier, y: Any) -> Any:
    unknown = ~np.isin(y, model.classes_)
    if unknown.any():
        raise InputError(f"y holds {y[unknown].tolist()[0]!r}, which is no class of the model.")
    return np.searchsorted(model.classes_, y)


def _maximum(design: Array, codes: Any, weights: Array, coef: Array) -> tuple[Array, Array]:
    """The maximum of the likelihood, and the inverse of the information there."""
    for _ in range(STEPS):
        scores = design @ coef
        inverse = _inverse(design, weights * _chances(scores) * _chances(-scores))
        # The residual y - p as it is, and without cancellation.
        step = inverse @ (design.T @ (weights * np.where(codes == 1, _chances(-scores), -_chances(scores))))
        coef = coef + step
        if (np.abs(step) <= SETTLED * np.sqrt(inverse.diagonal())).all():
            break
    return coef, inverse


def _chances(scores: Array) -> Array:
    return np.exp(-np.logaddexp(0.0, -scores))


def _inverse(design: Array, curvature: Array) -> Array:
    """(X' D X)^-1, factorised with unit columns."""
    scaled = design * np.sqrt(curvature)[:, None]
    norms = np.sqrt((scaled**2).sum(axis=0))
    scaled /= np.where(norms > 0.0, norms, 1.0)
    try:
        gram = scaled.T @ scaled
        independent = cholesky(gram).diagonal().min() > DEPENDENT
    except LinAlgError:
        independent = False
    if not independent:
        raise WorkError(
            "Columns depend on each other, so that their coefficients have no standard errors: leave some out."
        )
    return np.asarray(cho_solve(cho_factor(gram), np.eye(len(norms))) / np.outer(norms, norms))


def _result(
    model: SoftmaxClassifier, scores: Array, codes: Any, weights: Array, coef: Array, covariance: Array, level: float
) -> LogisticInference:
    errors = np.sqrt(covariance.diagonal())
    z = coef / errors
    reach = ndtri(0.5 + level / 2.0) * errors
    log_likelihood = -float(weights @ np.logaddexp(0.0, np.where(codes == 1, -scores, scores)))
    n, k = float(weights.sum()), len(coef)
    share = float(weights @ codes) / n if model.fit_intercept else 0.5
    ones = float(weights @ codes)
    null = float(xlogy(ones, share) + xlogy(n - ones, 1.0 - share))
    ratio, df = 2.0 * (log_likelihood - null), k - model.fit_intercept
    rows = int(n) if n == int(n) else len(codes)
    columns = getattr(model, "feature_names_in_", [f"x{j}" for j in range(model.n_features_in_)])
    return LogisticInference(
        names=(*(["intercept"] if model.fit_intercept else []), *map(str, columns)),
        coef=coef,
        standard_errors=errors,
        z=z,
        p=2.0 * ndtr(-np.abs(z)),
        low=coef - reach,
        high=coef + reach,
        covariance=covariance,
        n=rows,
        df_residual=rows - k,
        log_likelihood=log_likelihood,
        null_log_likelihood=null,
        deviance=-2.0 * log_likelihood,
        null_deviance=-2.0 * null,
        likelihood_ratio=ratio,
        likelihood_ratio_p=float(chdtrc(df, max(ratio, 0.0))),
        aic=2.0 * k - 2.0 * log_likelihood,
        bic=k * float(np.log(n)) - 2.0 * log_likelihood,
        r2=1.0 - log_likelihood / null,
        level=level,
    )
