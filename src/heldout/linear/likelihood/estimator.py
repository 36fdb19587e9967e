"""Regression by maximum likelihood, for eight families of distributions."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import ClassifierTags, RegressorTags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.errors import InputError, WorkError, suggest
from heldout.linear.blocks import one_blas_thread
from heldout.linear.likelihood.climbing import RUNAWAY, Outcome
from heldout.linear.likelihood.estimation import COVARIANCES, Estimate, make_estimate
from heldout.linear.likelihood.families import FAMILIES, make_family
from heldout.linear.likelihood.family import Family
from heldout.linear.likelihood.family_likelihood import FamilyLikelihood, LaplaceLikelihood, dependence, make_design
from heldout.linear.likelihood.unbounded import separating_columns, separation
from heldout.linear.softmax.loss import Array
from heldout.linear.states import (
    Labels,
    columns_from_state,
    columns_to_state,
    labels_from_state,
    labels_to_state,
    row_weights,
)

if TYPE_CHECKING:
    from heldout.persist import State

CERTAIN = 1e-4  # a row this close to certainty, in its log-density, makes one look for separation
SAME = 1e-6  # by how much the log-likelihood may rise from a model's own parameters
DISCRETE = ("bernoulli", "categorical", "poisson", "negative_binomial")


def _labelled(model: MaximumLikelihood) -> bool:
    """Whether the family is one of classes."""
    return isinstance(model.family, str) and model.family in FAMILIES and bool(FAMILIES[model.family].labelled)


class MaximumLikelihood(BaseEstimator):  # type: ignore[misc]
    r"""Regression by maximum likelihood: linear predictors for the mean of a chosen distribution.

    .. math:: \hat\theta = \arg\max_\theta \; \ell(\theta), \qquad
        \ell(\theta) = \sum_{i=1}^n v_i \log p(y_i \mid \eta_i, \phi), \qquad \eta_i = b + w^\top x_i

    The parameters are w, b and the family's own :math:`\phi` (a variance, a shape), which is estimated too. Gaussian
    likelihood is least squares, Laplace least absolute deviations, Bernoulli and categorical are cross-entropy
    without a penalty. Newton's method with step halving; for Laplace an exact linear programme. Where columns depend
    on each other the coefficients of least norm are taken, as in `LinearRegression`; `inference` then says which.

    For "bernoulli" and "categorical" the learner is a classifier, for the other families a regressor.

    Parameters
    ----------
    family : {"gaussian", "bernoulli", "categorical", "poisson", "gamma", "negative_binomial", "laplace", "student_t"}
        Default "gaussian". y: any numbers (gaussian, laplace, student_t), numbers above 0 (gamma), counts (poisson,
        negative_binomial), labels of two classes (bernoulli) or more (categorical).
    link : str, default None
        How the mean follows from the predictor; None is the family's usual one. "identity" for gaussian, laplace
        and student_t; "logit" (usual), "probit" or "cloglog" for bernoulli; "softmax" for categorical; "log" for
        poisson and negative_binomial; "log" (usual) or "inverse" for gamma.
    df : float above 0, default None
        Degrees of freedom of student_t; None estimates them.
    fit_intercept : bool, default True
        Fit b; otherwise b = 0.
    tol : float above 0, default 1e-8
        Converged where Newton's step is shorter than this many standard errors.
    max_iter : int above 0, default 100
        Most steps.

    Attributes
    ----------
    coef_ : float64 array (p,), or (1, p) for bernoulli, (K - 1, p) for categorical: w, against `classes_[0]`
    intercept_ : float, or float64 array (1,) or (K - 1,): b
    auxiliary_ : dict from name to float: "variance" (gaussian), "scale" (laplace, student_t), "df" (student_t),
        "shape" (gamma), "alpha" (negative_binomial); otherwise empty
    classes_ : array (K,), the class labels, sorted; bernoulli and categorical only
    rank_ : int, the number of independent (centred) columns
    n_iter_ : int
    n_features_in_ : int, p
    feature_names_in_ : object array (p,), where the data had column names

    Raises
    ------
    InputError : a parameter is out of range, or a value of y cannot come from the family.
    WorkError : there is no maximum: columns separate the classes (or the zeros among counts), or an auxiliary
        parameter runs to the edge of its range.
    ValueError : the data is not numeric, not finite, empty, or of another width than at fit.

    References
    ----------
    P. McCullagh and J. A. Nelder, Generalized Linear Models, 2nd edition, 1989, section 2.5. A. Albert and J. A.
    Anderson, Biometrika 71, 1984 (separation).

    Examples
    --------
    >>> model = MaximumLikelihood(family="poisson").fit([[0.0], [0.0], [1.0], [1.0]], [1, 3, 5, 7])
    >>> model.predict([[0.0], [1.0]]).round(9).tolist()
    [2.0, 6.0]
    >>> estimate = model.inference([[0.0], [0.0], [1.0], [1.0]], [1, 3, 5, 7])
    >>> estimate.names, estimate.standard_errors.round(6).tolist()
    (('intercept', 'x0'), [0.5, 0.57735])
    """

    def __init__(
        self,
        *,
        family: str = "gaussian",
        link: str | None = None,
        df: float | None = None,
        fit_intercept: bool = True,
        tol: float = 1e-8,
        max_iter: int = 100,
    ) -> None:
        self.family = family
        self.link = link
        self.df = df
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> MaximumLikelihood:
        """Fit to `X` (n, p) and `y` (n,), with optional row weights (n,): how often each row was seen."""
        family = self._check_parameters()
        x, values, weights = self._validated(family, X, y, sample_weight, reset=True)
        with one_blas_thread:
            likelihood = self._likelihood(family, x, values, weights)
            outcome = self._maximise(likelihood)
            self._check_maximum(likelihood, outcome, x)
            self._keep(likelihood, outcome)
        return self

    def _check_parameters(self) -> Family:
        for name in ("tol", "max_iter", *(() if self.df is None else ("df",))):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not 0.0 < float(value) < np.inf:
                raise InputError(f"{name} is {value!r} and must be a finite number above 0.")
        return make_family(self.family, self.link, self.df)

    def _validated(
        self, family: Family, X: Any, y: Any, sample_weight: Any, *, reset: bool
    ) -> tuple[Array, Array, Array]:
        """Rows of weight above zero: X, y as numbers or class codes, and the weights."""
        x, y = validate_data(self, X, y, dtype=np.float64, order="C", reset=reset, y_numeric=not family.labelled)
        given = row_weights(sample_weight, x)
        weights = np.ones(len(x)) if given is None else given
        seen = weights > 0
        if family.labelled:
            return x[seen], self._codes(family, y[seen], reset=reset), weights[seen]
        values = np.asarray(y, dtype=np.float64)
        family.check(np.where(seen, values, values[int(np.argmax(seen))]))
        return x[seen], values[seen], weights[seen]

    def _codes(self, family: Family, y: Labels, *, reset: bool) -> Array:
        """Class codes 0..K-1 as numbers; learns the classes on `reset`."""
        check_classification_targets(y)
        if reset:
            self.classes_ = np.unique(y)
            found = len(self.classes_)
            if found < 2 or (found > 2 and family.name == "bernoulli"):
                wanted = "2 classes" if family.name == "bernoulli" else "2 classes or more"
                raise InputError(
                    f"y has {found} {'class' if found == 1 else 'classes'}, and family={family.name!r} takes {wanted}."
                )
        unknown = ~np.isin(y, self.classes_)
        if unknown.any():
            raise InputError(f"y holds {y[unknown].tolist()[0]!r}, which is none of the classes that fit saw.")
        return np.searchsorted(self.classes_, y).astype(np.float64)

    def _likelihood(
        self, family: Family, x: Array, y: Array, weights: Array, names: tuple[str, ...] = ()
    ) -> FamilyLikelihood:
        design = make_design(x, weights, fit_intercept=self.fit_intercept)
        kind = LaplaceLikelihood if family.name == "laplace" else FamilyLikelihood
        return kind(family, design, y, names, f"{family.name} family, {family.link} link, by maximum likelihood")

    def _maximise(self, likelihood: FamilyLikelihood) -> Outcome:
        if likelihood.fits_exactly():
            return _exact(likelihood)
        start = likelihood.start()
        return likelihood.maximise(start, np.empty((0, len(start))), np.empty(0), self.tol, int(self.max_iter))

    def _check_maximum(self, likelihood: FamilyLikelihood, outcome: Outcome, x: Array) -> None:
        """WorkError where the log-likelihood has no maximum, a warning where it was not reached."""
        family = likelihood.family
        if family.name in DISCRETE and _doubtful(likelihood, outcome):
            columns = self._columns()
            found = separating_columns(family, x, likelihood.y, columns, fit_intercept=self.fit_intercept)
            if found is not None:
                raise WorkError(separation(family, found))
        running = np.abs(outcome.step[likelihood.m * likelihood.r :]) > RUNAWAY
        cut_short = not outcome.converged and outcome.n_iter >= self.max_iter
        if family.limit and running.any() and not cut_short:
            named = family.auxiliary[int(np.argmax(running))]
            raise WorkError(f"The estimate of {named!r} runs to the edge of its range, as {family.limit}.")
        if not outcome.converged:
            advice = "raise max_iter" if cut_short else "rounding allows no further step, raise tol"
            warnings.warn(
                f"MaximumLikelihood stopped after {outcome.n_iter} steps, {outcome.distance:.1e} standard errors from "
                f"the maximum, above tol={self.tol:g}: {advice}.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _keep(self, likelihood: FamilyLikelihood, outcome: Outcome) -> None:
        coefficients, auxiliary = likelihood.coefficients(outcome.v)
        first = int(self.fit_intercept)
        coef = np.ascontiguousarray(coefficients[:, first:])
        intercept = coefficients[:, 0].copy() if self.fit_intercept else np.zeros(len(coef))
        labelled = likelihood.family.labelled
        self.coef_: Array = coef if labelled else coef[0]
        self.intercept_: Any = intercept if labelled else float(intercept[0])
        self.auxiliary_ = dict(zip(likelihood.family.auxiliary, auxiliary.tolist(), strict=True))
        self.rank_ = likelihood.r - first
        self.n_iter_ = outcome.n_iter
        if not labelled:
            self.__dict__.pop("classes_", None)

    def _columns(self) -> list[str]:
        return [str(name) for name in getattr(self, "feature_names_in_", [f"x{j}" for j in range(self.n_features_in_)])]

    def _names(self, family: Family) -> tuple[str, ...]:
        """Of all parameters, in the order of `Estimate`."""
        terms = [*["intercept"][: int(self.fit_intercept)], *self._columns()]
        if family.name == "categorical":
            terms = [f"{label}: {term}" for label in self.classes_.tolist()[1:] for term in terms]
        return (*terms, *family.auxiliary)

    def inference(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, *, covariance: str = "auto"
    ) -> Estimate:
        """Standard errors, tests and intervals, from the very rows that the model was fitted to.

        Parameters
        ----------
        X, y, sample_weight : as at `fit`; the model itself does not keep them
        covariance : {"auto", "observed", "expected", "opg", "sandwich"}, default "auto"
            Which information gives the standard errors; "auto" is "observed", and "expected" for laplace, whose
            log-density has no second derivative.

        Raises InputError where columns depend on each other, or the rows are others than those at `fit`, and WorkError
        where the model fits y exactly.
        """
        check_is_fitted(self)
        if covariance not in COVARIANCES:
            raise InputError(f"There is no covariance {covariance!r}.{suggest(str(covariance), COVARIANCES)}")
        family = self._check_parameters()
        x, values, weights = self._validated(family, X, y, sample_weight, reset=False)
        with one_blas_thread:
            likelihood = self._likelihood(family, x, values, weights, self._names(family))
            if not likelihood.design.full_rank:
                sentence = dependence(x, weights, self._columns(), fit_intercept=self.fit_intercept)
                raise InputError(f"{sentence}, so that its coefficient is not determined: leave it out.")
            if likelihood.fits_exactly():
                raise WorkError("The model fits every y exactly: the likelihood has no bound, and there are no errors.")
            return make_estimate(likelihood, self._again(likelihood), covariance)

    def _again(self, likelihood: FamilyLikelihood) -> Outcome:
        """The maximum near the model's own parameters, which must be it."""
        intercept = [np.atleast_1d(self.intercept_)[:, None]][: int(self.fit_intercept)]
        coefficients = np.hstack([*intercept, np.atleast_2d(self.coef_)])
        own = likelihood.coordinates.working(np.concatenate([coefficients.ravel(), [*self.auxiliary_.values()]]))
        nothing = np.empty((0, len(own))), np.empty(0)
        outcome = likelihood.maximise(own, *nothing, self.tol, int(self.max_iter))
        if not outcome.value - likelihood.value(own) <= SAME * (1.0 + SAME * abs(outcome.value)):
            raise InputError(
                "The model's parameters are not the maximum for these rows: give those that it was fitted to, with "
                "their weights, and a fit that converged."
            )
        return outcome

    def _predictors(self, X: Any) -> Array:
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, order="C", reset=False)
        return np.asarray(np.atleast_2d(self.coef_) @ x.T + np.atleast_1d(self.intercept_)[:, None])

    def predict(self, X: Any) -> Labels:
        """The mean of y for every row (n,) (laplace: the median; student_t: the centre); the most probable class."""
        check_is_fitted(self)
        family = self._check_parameters()
        eta = self._predictors(X)
        if family.labelled:
            return np.asarray(self.classes_[family.mean(eta).argmax(axis=0)])
        outside = eta[0] <= 0
        if family.link == "inverse" and outside.any():
            raise InputError(
                f"Row {int(np.argmax(outside))} lies where link='inverse' gives no mean above 0: take link='log'."
            )
        return family.mean(eta)

    @available_if(_labelled)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """p(y=k | x) (n, K), in the order of `classes_`; every row sums to 1."""
        return np.ascontiguousarray(self._check_parameters().mean(self._predictors(X)).T)

    @available_if(_labelled)  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Array:
        """The linear predictor: (n,) for bernoulli, above the link of 1/2 for `classes_[1]`; (n, K) for categorical."""
        eta = self._predictors(X)
        return eta[0] if self.family == "bernoulli" else np.vstack([np.zeros(eta.shape[1]), eta]).T

    def log_likelihood(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The log-likelihood of any rows under the fitted model, all constants of the density included."""
        check_is_fitted(self)
        family = self._check_parameters()
        x, values, weights = self._validated(family, X, y, sample_weight, reset=False)
        eta = np.atleast_2d(self.coef_) @ x.T + np.atleast_1d(self.intercept_)[:, None]
        with np.errstate(all="ignore"):  # a scale of zero, where fit found no error at all
            return float(weights @ family.log_density(values, eta, np.array([*self.auxiliary_.values()])))

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The share of right classes, or R squared."""
        measure = accuracy_score if _labelled(self) else r2_score
        return float(measure(y, self.predict(X), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        if _labelled(self):
            tags.estimator_type = "classifier"
            tags.classifier_tags = ClassifierTags(multi_class=self.family != "bernoulli")
        else:
            tags.estimator_type = "regressor"
            tags.regressor_tags = RegressorTags()
            tags.target_tags.positive_only = self.family in ("gamma", "poisson", "negative_binomial")
        return tags

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner."""
        check_is_fitted(self)
        return {
            "family": self.family,
            "link": self.link,
            "df": None if self.df is None else float(self.df),
            "fit_intercept": self.fit_intercept,
            "tol": float(self.tol),
            "max_iter": int(self.max_iter),
            "coef": self.coef_,
            "intercept": np.asarray(self.intercept_),
            "auxiliary": np.array([*self.auxiliary_.values()], dtype=np.float64),
            "rank": self.rank_,
            "n_iter": self.n_iter_,
            **(labels_to_state(self.classes_) if _labelled(self) else {}),
            **columns_to_state(self),
        }

    @classmethod
    def from_state(cls, state: State) -> MaximumLikelihood:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        learner = cls(
            family=state.choice("family", FAMILIES),
            link=state.text("link") if state.optional("link") else None,
            df=state.number("df") if state.optional("df") else None,
            fit_intercept=state.boolean("fit_intercept"),
            tol=state.number("tol"),
            max_iter=state.integer("max_iter"),
        )
        family = learner._check_parameters()
        p = columns_from_state(learner, state)
        rows: tuple[int, ...] = ()
        if family.labelled:
            learner.classes_ = labels_from_state(state, at_least=2)
            rows = (len(learner.classes_) - 1,)
            if rows != (1,) and family.name == "bernoulli":
                state.fail(f"there are {len(learner.classes_)} classes, and family 'bernoulli' has 2")
        learner.coef_ = state.array("coef", shape=(*rows, p))
        intercept = state.array("intercept", shape=rows)
        learner.intercept_ = intercept if rows else float(intercept)
        auxiliary = state.array("auxiliary", shape=(len(family.auxiliary),), low=0.0)
        learner.auxiliary_ = dict(zip(family.auxiliary, auxiliary.tolist(), strict=True))
        learner.rank_ = state.integer("rank", low=0, high=p)
        learner.n_iter_ = state.integer("n_iter", low=1)
        return learner


def _exact(likelihood: FamilyLikelihood) -> Outcome:
    """Where every y is fitted exactly: a scale of zero, at which the density is infinite."""
    if "df" in likelihood.family.auxiliary:
        raise WorkError("The columns fit every y exactly, which leaves nothing to estimate df from: give df.")
    u = likelihood.design.project(likelihood.y[None])
    v = np.append(u, np.full(likelihood.q, -np.inf))
    return Outcome(v, np.inf, 1, 0.0, np.zeros_like(v), True)


def _doubtful(likelihood: FamilyLikelihood, outcome: Outcome) -> bool:
    """Whether there may be no maximum: none was reached, or some row is as good as certain."""
    return not outcome.converged or bool((likelihood.row_densities(outcome.v) > -CERTAIN).any())
