"""What maximum likelihood gives: the estimate with its information, standard errors, tests and profile intervals."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh, null_space
from scipy.optimize import brentq
from scipy.stats import chi2, norm

from heldout.errors import InputError, WorkError, suggest
from heldout.linear.likelihood.climbing import LogLikelihood, Outcome
from heldout.linear.softmax.loss import Array
from heldout.words import number

COVARIANCES = ("auto", "observed", "expected", "opg", "sandwich")
SINGULAR = 1e-14  # least eigenvalue, of a unit diagonal, that is no rounding
PROFILE_TOL, PROFILE_ITER = 1e-9, 200  # of each constrained maximum
FARTHEST = 40  # doublings of a standard error, in which a profile's end is looked for
STEEP = 1e6  # stands for a profile that has left the parameters' domain
NEGLIGIBLE = 0.1  # share of a direction that is not worth naming


@dataclass(frozen=True)
class Test:
    """A statistic that is chi-squared with `df` degrees of freedom where the hypothesis is true, and its p value."""

    name: str
    statistic: float
    df: int
    p: float

    __test__ = False  # it is no test of pytest's

    def __str__(self) -> str:
        return f"{self.name} test: chi2({self.df}) = {self.statistic:.4g}, p = {self.p:.3g}"


def _chi2_test(name: str, statistic: float, df: int) -> Test:
    return Test(name, statistic, df, float(chi2.sf(statistic, df)))


@dataclass(frozen=True)
class Profile:
    """A profile-likelihood interval; an end is infinite where the log-likelihood never falls far enough."""

    name: str
    level: float
    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.name}: {self.estimate:.6g}, {100 * self.level:g}% profile [{self.low:.6g}, {self.high:.6g}]"


@dataclass(frozen=True, eq=False)
class Estimate:
    r"""A maximum of a log-likelihood :math:`\ell(\theta)`, with all that follows from its shape there.

    Three matrices estimate the information, all at the estimate: the observed
    :math:`-\partial^2 \ell / \partial\theta\,\partial\theta^\top`, the expected one of Fisher, and the outer
    product of the scores :math:`\sum_i s_i s_i^\top` (OPG). The covariance is the inverse of the chosen one;
    "sandwich" is :math:`H^{-1} (\sum_i s_i s_i^\top) H^{-1}` with the observed H, valid where the density is wrong.

    Parameters that were fixed by `restrict` have no standard error and are not counted in AIC and BIC.
    The object keeps the data, which the tests and profiles need.

    Attributes
    ----------
    names : tuple of str (k,)
    parameters : float64 array (k,)
    log_likelihood : float, at the estimate, with all constants of the densities
    n : float, observations (the sum of the row weights); NaN where unknown
    observed_information, expected_information, opg_information : float64 array (k, k), or None where not known
    covariance : float64 array (k, k)
    covariance_type : "observed", "expected", "opg" or "sandwich"
    standard_errors, z, p : float64 array (k,); z = parameter / standard error, p two-sided from the normal distribution
    aic, bic : float, -2 l + 2 k and -2 l + k log n with k counting every free parameter, variances and shapes too
    converged : bool
    gradient_norm : float, sqrt(s' H^-1 s): how many standard errors a further Newton step is long
    fixed : tuple of str, the parameters that were held fixed

    References
    ----------
    A. W. van der Vaart, Asymptotic Statistics, 1998, chapters 5 and 16. D. R. Cox and D. V. Hinkley, Theoretical
    Statistics, 1974, section 9.3 (the three tests). D. Venzon and S. Moolgavkar, Applied Statistics 37, 1988, pages 87
    to 94 (profiles).
    """

    names: tuple[str, ...]
    parameters: Array
    log_likelihood: float
    n: float
    observed_information: Array | None
    expected_information: Array | None
    opg_information: Array | None
    covariance: Array
    covariance_type: str
    converged: bool
    gradient_norm: float
    fixed: tuple[str, ...]
    title: str
    _likelihood: LogLikelihood = field(repr=False)
    _at: Array = field(repr=False)  # v, the parameters in the likelihood's own coordinates

    @cached_property
    def standard_errors(self) -> Array:
        errors = np.sqrt(self.covariance.diagonal())
        errors[[self.names.index(name) for name in self.fixed]] = np.nan
        return np.asarray(errors)

    @cached_property
    def z(self) -> Array:
        return np.asarray(self.parameters / self.standard_errors)

    @cached_property
    def p(self) -> Array:
        return np.asarray(2.0 * norm.sf(np.abs(self.z)))

    @property
    def n_free(self) -> int:
        """How many parameters were estimated."""
        return len(self.names) - len(self.fixed)

    @property
    def aic(self) -> float:
        return -2.0 * self.log_likelihood + 2.0 * self.n_free

    @property
    def bic(self) -> float:
        return float(-2.0 * self.log_likelihood + self.n_free * np.log(self.n))

    def interval(self, level: float = 0.95) -> Array:
        """Wald's intervals (k, 2): the parameter and so many standard errors to either side."""
        reach = norm.isf((1.0 - _checked_level(level)) / 2.0) * self.standard_errors
        return np.column_stack([self.parameters - reach, self.parameters + reach])

    def wald(self, R: ArrayLike | str | Sequence[str], r: ArrayLike = 0.0) -> Test:
        r"""Wald's test of R theta = r: :math:`(R\hat\theta - r)^\top (R C R^\top)^{-1} (R\hat\theta - r)`.

        `R` is a matrix (q, k), one row (k,), or names of parameters that should equal `r`, (q,) or a number.
        """
        matrix = self._rows(R)
        gap = matrix @ self.parameters - np.broadcast_to(np.asarray(r, dtype=np.float64), len(matrix))
        spread = matrix @ self.covariance @ matrix.T
        scale = np.sqrt(np.where(spread.diagonal() > 0, spread.diagonal(), 1.0))
        if np.linalg.matrix_rank(spread / np.outer(scale, scale)) < len(matrix):
            raise InputError("The restrictions of this Wald test repeat each other or concern fixed parameters only.")
        return _chi2_test("Wald", float(gap @ np.linalg.solve(spread, gap)), len(matrix))

    def likelihood_ratio(self, restricted: Estimate) -> Test:
        """Wilks' test of a smaller model, fitted to the same data, that is a special case of this one: 2 (l - l0)."""
        df = self.n_free - restricted.n_free
        if df < 1:
            raise InputError(
                f"The restricted model has {restricted.n_free} free parameters and this one {self.n_free}: "
                "call likelihood_ratio on the larger model and hand it the smaller."
            )
        if not (self.n == restricted.n or np.isnan(self.n)):
            raise InputError(f"The models saw {self.n:g} and {restricted.n:g} observations: fit both to the same rows.")
        statistic = 2.0 * (self.log_likelihood - restricted.log_likelihood)
        if statistic < -1e-8 * (1.0 + abs(self.log_likelihood)):
            raise InputError(
                f"The restricted model has the higher log-likelihood (by {-statistic / 2:.3g}): it is no special case."
            )
        return _chi2_test("Likelihood-ratio", max(statistic, 0.0), df)

    def score_test(self, hypothesis: Mapping[str, float] | Estimate, information: str = "auto") -> Test:
        """Rao's test: the score s' I^-1 s at the estimate that keeps to the hypothesis.

        `hypothesis` names parameters with their values, or is what `restrict` returned for them. `information` is
        "expected", "observed", "opg", or "auto": expected where it is known, observed otherwise.
        """
        likelihood = self._likelihood
        if not likelihood.smooth:
            raise InputError("This log-likelihood has no derivative at its maximum: take likelihood_ratio instead.")
        restricted = hypothesis if isinstance(hypothesis, Estimate) else self.restrict(hypothesis)
        if restricted._likelihood is not likelihood:
            raise InputError("The restricted estimate must come from this estimate's own restrict().")
        score, observed = likelihood.derivatives(restricted._at)
        observed = observed + likelihood.coordinates.bend(restricted._at, score)
        expected = likelihood.expected(restricted._at)
        kind = information if information != "auto" else "observed" if expected is None else "expected"
        known = {"observed": observed, "expected": expected, "opg": likelihood.outer(restricted._at)}
        matrix = known[_checked_kind(kind, tuple(known), known)]
        assert matrix is not None
        return _chi2_test(
            "Score", float(score @ np.linalg.solve(matrix, score)), len(set(restricted.fixed) - set(self.fixed))
        )

    def restrict(self, values: Mapping[str, float]) -> Estimate:
        """The estimate with these parameters held at these values; those that are fixed already stay so."""
        held = {name: float(self.parameters[self._index(name)]) for name in self.fixed}
        held |= {name: float(value) for name, value in values.items()}
        if not values:
            raise InputError("restrict needs at least one parameter with its value, as in restrict({'x': 0.0}).")
        rows, levels = self._constraints(held)
        start = self._along(rows, levels)
        outcome = self._likelihood.maximise(start, rows, levels, PROFILE_TOL, PROFILE_ITER)
        if not outcome.converged:
            raise WorkError(f"No maximum was found with {', '.join(f'{k} = {v:g}' for k, v in held.items())}.")
        return make_estimate(self._likelihood, outcome, self.covariance_type, tuple(held))

    def profile(self, name: str, level: float = 0.95) -> Profile:
        r"""The values c of one parameter that a likelihood-ratio test at 1 - `level` does not reject.

        .. math:: 2\,\bigl(\ell(\hat\theta) - \max_{\theta_j = c} \ell(\theta)\bigr) \le \chi^2_{1, \mathrm{level}}
        """
        j = self._index(name)
        if name in self.fixed:
            raise InputError(f"{name!r} was held fixed: it has no interval.")
        if not self.converged:
            raise WorkError("The estimate is not the maximum (it did not converge): there is no profile around it.")
        drop = float(chi2.isf(1.0 - _checked_level(level), 1)) / 2.0
        coordinates = self._likelihood.coordinates
        error = float(self.standard_errors[j]) / coordinates.slope(j, self._at)
        low, high = (coordinates.value(j, _Deficit(self, name, drop).end(side * error)) for side in (-1.0, 1.0))
        return Profile(name, level, float(self.parameters[j]), low, high)

    def __str__(self) -> str:
        header, *lines = self._table()
        widths = [max(len(line[column]) for line in (header, *lines)) for column in range(len(header))]
        aligned = [
            "  ".join(
                [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
            )
            for line in (header, *lines)
        ]
        rule = "-" * len(aligned[0])
        return "\n".join([self.title, self._summary(), rule, aligned[0], rule, *aligned[1:], rule])

    def _repr_html_(self) -> str:
        header, *lines = ([html.escape(cell) for cell in line] for line in self._table())
        head = "".join(f"<th>{cell}</th>" for cell in header)
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines)
        caption = f"{html.escape(self.title)}<br>{html.escape(self._summary())}"
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _summary(self) -> str:
        state = "" if self.converged else "   NOT CONVERGED"
        return (
            f"n = {number(self.n)}   log-likelihood = {number(self.log_likelihood, 6)}   AIC = {number(self.aic, 6)}   "
            f"BIC = {number(self.bic, 6)}   standard errors: {self.covariance_type}{state}"
        )

    def _table(self) -> list[list[str]]:
        rows = zip(self.names, self.parameters, self.standard_errors, self.z, self.p, self.interval(), strict=True)
        lines = [
            [name, number(value), number(error), number(z, 3), "–" if np.isnan(p) else f"{p:.3g}", *map(number, ends)]
            for name, value, error, z, p, ends in rows
        ]
        return [["", "estimate", "std. error", "z", "p", "low 95%", "high 95%"], *lines]

    def _index(self, name: str) -> int:
        if name not in self.names:
            raise InputError(f"There is no parameter {name!r}.{suggest(str(name), self.names)}")
        return self.names.index(name)

    def _rows(self, R: ArrayLike | str | Sequence[str]) -> Array:
        """Restrictions as a matrix (q, k)."""
        k = len(self.names)
        names = [R] if isinstance(R, str) else R
        if isinstance(names, Sequence) and len(names) and all(isinstance(name, str) for name in names):
            return np.eye(k)[[self._index(str(name)) for name in names]]
        matrix = np.atleast_2d(np.asarray(R, dtype=np.float64))
        if matrix.ndim != 2 or matrix.shape[1] != k:
            raise InputError(f"R has shape {np.shape(R)} and must have one column for each of the {k} parameters.")
        return matrix

    def _constraints(self, held: Mapping[str, float]) -> tuple[Array, Array]:
        coordinates = self._likelihood.coordinates
        indices = [self._index(name) for name in held]
        levels = np.array([coordinates.level(j, value) for j, value in zip(indices, held.values(), strict=True)])
        for name, level in zip(held, levels, strict=True):
            if not np.isfinite(level):
                raise InputError(
                    f"{name} cannot be held at {held[name]:g}: it lies on or beyond the edge of its range."
                )
        return coordinates.basis[indices], levels

    def _along(self, rows: Array, levels: Array) -> Array:
        """v where rows @ v = levels, along the log-likelihood's ridge as its curvature at the estimate shows it."""
        jacobian = np.linalg.inv(self._likelihood.coordinates.jacobian(self._at))
        spread = jacobian @ self.covariance @ jacobian.T @ rows.T
        return np.asarray(self._at + spread @ np.linalg.pinv(rows @ spread) @ (levels - rows @ self._at))


class _Deficit:
    """How much more than `drop` the log-likelihood falls when one parameter is held off its estimate."""

    def __init__(self, estimate: Estimate, name: str, drop: float) -> None:
        self.estimate, self.drop = estimate, drop
        held = {other: float(estimate.parameters[estimate._index(other)]) for other in (name, *estimate.fixed)}
        self.rows, self.levels = estimate._constraints(held)

    def __call__(self, shift: float) -> float:
        """For the parameter's coordinate moved by `shift`."""
        estimate = self.estimate
        levels = self.levels.copy()
        levels[0] += shift
        outcome = estimate._likelihood.maximise(
            estimate._along(self.rows, levels), self.rows, levels, PROFILE_TOL, PROFILE_ITER
        )
        if not np.isfinite(outcome.value):
            return STEEP
        return min(estimate.log_likelihood - outcome.value - self.drop, STEEP)

    def end(self, reach: float) -> float:
        """The parameter's coordinate where the deficit is nil, looked for outwards by doubling `reach`."""
        inner, outer = 0.0, reach
        for _ in range(FARTHEST):
            if self(outer) > 0.0:
                return float(self.levels[0] + brentq(self, inner, outer, xtol=1e-12 * abs(reach), rtol=1e-13))
            inner, outer = outer, 2.0 * outer
        return float(np.copysign(np.inf, reach))


def make_estimate(
    likelihood: LogLikelihood, outcome: Outcome, covariance: str = "auto", fixed: tuple[str, ...] = ()
) -> Estimate:
    """Everything about the point where `outcome` ended."""
    at, coordinates = outcome.v, likelihood.coordinates
    score, observed = likelihood.derivatives(at)
    information = {"observed": observed, "expected": likelihood.expected(at), "opg": likelihood.outer(at)}
    kind = covariance if covariance != "auto" else "observed" if likelihood.smooth else "expected"
    if not likelihood.smooth and kind != "expected":
        raise InputError(f"covariance={kind!r} needs derivatives at the maximum, which do not exist: take 'expected'.")
    _checked_kind({"sandwich": "opg"}.get(kind, kind), tuple(information), information)
    back = np.linalg.inv(coordinates.jacobian(at))

    def natural(matrix: Array | None) -> Array | None:
        return None if matrix is None else np.asarray(back.T @ matrix @ back)

    return Estimate(
        names=likelihood.names,
        parameters=coordinates.natural(at),
        log_likelihood=outcome.value,
        n=np.nan if likelihood.n is None else likelihood.n,
        observed_information=natural(observed + coordinates.bend(at, score)) if likelihood.smooth else None,
        expected_information=natural(information["expected"]),
        opg_information=natural(information["opg"]),
        covariance=_covariance(likelihood, at, information, kind, fixed),
        covariance_type=kind,
        converged=outcome.converged,
        gradient_norm=outcome.distance,
        fixed=fixed,
        title=likelihood.title,
        _likelihood=likelihood,
        _at=at,
    )


def _covariance(
    likelihood: LogLikelihood, at: Array, information: Mapping[str, Array | None], kind: str, fixed: tuple[str, ...]
) -> Array:
    """J N (N' I N)^-1 N' J' with J = d theta / d v and N the directions that are free."""
    held = [likelihood.names.index(name) for name in fixed]
    free = null_space(likelihood.coordinates.basis[held]) if held else np.eye(len(at))
    jacobian = likelihood.coordinates.jacobian(at) @ free
    matrix = information["observed" if kind == "sandwich" else kind]
    assert matrix is not None
    inverse = _inverse(free.T @ matrix @ free, jacobian, likelihood.names)
    if kind == "sandwich":
        outer = information["opg"]
        assert outer is not None
        inverse = inverse @ (free.T @ outer @ free) @ inverse
    covariance = jacobian @ inverse @ jacobian.T
    covariance[held] = covariance[:, held] = 0.0
    return np.asarray(covariance)


def _inverse(matrix: Array, jacobian: Array, names: Sequence[str]) -> Array:
    """M^-1; WorkError where M is singular, with the parameters that the data do not tell apart."""
    scale = np.sqrt(np.abs(matrix.diagonal()))
    scale[scale == 0] = 1.0
    scaled = matrix / np.outer(scale, scale)
    values, vectors = eigh(scaled) if np.isfinite(scaled).all() else (np.array([-1.0]), np.ones((len(scaled), 1)))
    if len(values) and values[0] <= SINGULAR:
        along = np.abs(jacobian @ (vectors[:, 0] / scale))
        named = [name for name, part in zip(names, along, strict=True) if part > NEGLIGIBLE * along.max()]
        raise WorkError(
            f"The information is singular in {', '.join(map(repr, named))}: the data do not say what these parameters "
            "are, so leave some out or fix them."
        )
    try:
        return np.asarray(cho_solve(cho_factor(scaled), np.eye(len(scaled))) / np.outer(scale, scale))
    except LinAlgError:
        raise WorkError("The information is not positive definite: this is no maximum of the log-likelihood.") from None


def _checked_level(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level!r} and must lie between 0 and 1, as in 0.95.")
    return level


def _checked_kind(kind: str, kinds: Sequence[str], known: Mapping[str, Array | None]) -> str:
    if kind not in kinds:
        raise InputError(f"There is no information {kind!r}.{suggest(str(kind), kinds)}")
    if known[kind] is None:
        raise InputError(f"The {kind} information is not known for this log-likelihood: take 'observed'.")
    return kind
