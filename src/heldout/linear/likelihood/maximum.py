"""Maximum likelihood for any log-likelihood written as a JAX function; derivatives by automatic differentiation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning

from heldout.errors import InputError, suggest
from heldout.linear.likelihood.climbing import RUNAWAY, TRANSFORMS, Coordinates, LogLikelihood, Outcome
from heldout.linear.likelihood.estimation import COVARIANCES, Estimate, make_estimate
from heldout.linear.softmax.loss import Array


def maximum_likelihood(
    log_likelihood: Callable[[Any, Any], Any],
    start: ArrayLike | Mapping[str, float],
    data: Any,
    *,
    names: Sequence[str] | None = None,
    transform: Mapping[str, str] | None = None,
    covariance: str = "auto",
    n: float | None = None,
    tol: float = 1e-8,
    max_iter: int = 200,
) -> Estimate:
    r"""Maximise a log-likelihood written in JAX; the estimate comes with its information, tests and intervals.

    .. math:: \hat\theta = \arg\max_\theta \; \sum_{i=1}^n \log p(z_i \mid \theta)

    Newton's method with step halving, in double precision, with the gradient and the Hessian from automatic
    differentiation. From a poor start it may end at a local maximum: try several.

    Parameters
    ----------
    log_likelihood : function of (parameters, data), written with `jax.numpy`
        Returns the log-density of every observation (n,), or their sum. With (n,) the OPG information, the sandwich
        covariance and BIC are known. `parameters` is an array (k,), or a dict of numbers where `start` is one.
    start : array-like (k,), or dict from a parameter's name to its value
        Where to begin; the log-likelihood must be finite there.
    data : array, or tuple, list or dict of arrays
        Handed to `log_likelihood` as JAX arrays, numbers only.
    names : sequence of k texts, default None
        The parameters' names where `start` is an array; None calls them theta0, theta1, ...
    transform : dict from a parameter's name to "log" or "logit", default None
        Keeps a parameter above 0, or between 0 and 1, by looking for its logarithm or logit. Estimates and standard
        errors are those of the parameter itself.
    covariance : {"auto", "observed", "opg", "sandwich"}, default "auto"
        Which information gives the standard errors; "auto" is "observed".
    n : float above 0, default None
        How many observations there are, for BIC, where `log_likelihood` returns a sum.
    tol : float above 0, default 1e-8
        Converged where Newton's step is shorter than this many standard errors.
    max_iter : int above 0, default 200
        Most steps.

    Returns
    -------
    Estimate

    Raises
    ------
    InputError : an argument is out of range, or the log-likelihood is not finite at the start.
    WorkError : the information is singular, so that the data do not determine the parameters.

    References
    ----------
    J. Nocedal and S. Wright, Numerical Optimization, 2nd edition, 2006, section 3.4.

    Examples
    --------
    Waiting times of a Poisson process: the rate's estimate is 1 / mean, its standard error rate / sqrt(n).

    >>> import jax.numpy as jnp
    >>> def exponential(parameters, times):
    ...     return jnp.log(parameters["rate"]) - parameters["rate"] * times
    >>> estimate = maximum_likelihood(exponential, {"rate": 1.0}, [2.0, 4.0, 6.0, 8.0], transform={"rate": "log"})
    >>> estimate.parameters.round(12).tolist(), estimate.standard_errors.round(12).tolist()
    ([0.2], [0.1])
    """
    known, values = _start(start, names)
    transforms = _transforms(known, transform)
    for name, value in (("tol", tol), ("max_iter", max_iter), ("n", 1 if n is None else n)):
        if not 0 < value < np.inf:
            raise InputError(f"{name} is {value!r} and must be a finite number above 0.")
    if covariance not in COVARIANCES:
        raise InputError(f"There is no covariance {covariance!r}.{suggest(str(covariance), COVARIANCES)}")
    as_dict = known if isinstance(start, Mapping) else None
    likelihood = JaxLikelihood(log_likelihood, known, transforms, data, as_dict is not None, n)
    for j, name in enumerate(known):
        if not np.isfinite(likelihood.coordinates.level(j, values[j])):
            raise InputError(f"The start of {name!r} is out of the range that its transform allows.")
    begin = likelihood.coordinates.working(values)
    if not np.isfinite(likelihood.value(begin)):
        raise InputError("The log-likelihood is not finite at the start: give values that the data could come from.")
    outcome = likelihood.maximise(begin, np.empty((0, len(begin))), np.empty(0), tol, max_iter)
    _warn(likelihood, outcome)
    return make_estimate(likelihood, outcome, covariance)


def _start(start: ArrayLike | Mapping[str, float], names: Sequence[str] | None) -> tuple[tuple[str, ...], Array]:
    if isinstance(start, Mapping):
        if names is not None:
            raise InputError("start names the parameters already: leave out names, or give start as a list.")
        return tuple(start), np.array([float(value) for value in start.values()])
    values = np.atleast_1d(np.asarray(start, dtype=np.float64))
    known = tuple(f"theta{j}" for j in range(values.size)) if names is None else tuple(names)
    if values.ndim != 1 or len(known) != len(values) or len(set(known)) != len(known):
        raise InputError(
            f"start has shape {values.shape} and there are {len(known)} names: one different name for each."
        )
    return known, values


def _transforms(names: tuple[str, ...], transform: Mapping[str, str] | None) -> tuple[str, ...]:
    chosen = dict(transform or {})
    for name, kind in chosen.items():
        if name not in names:
            raise InputError(f"transform names {name!r}, which is no parameter.{suggest(str(name), names)}")
        if kind not in TRANSFORMS:
            raise InputError(f"There is no transform {kind!r}.{suggest(str(kind), TRANSFORMS)}")
    return tuple(chosen.get(name, "identity") for name in names)


def _warn(likelihood: LogLikelihood, outcome: Outcome) -> None:
    """Where the climb did not end, or ended on a slope so slight that it would have gone on for ever."""
    if not outcome.converged:
        warnings.warn(
            f"The maximum was not reached in {outcome.n_iter} steps (the next would be {outcome.distance:.1e} standard "
            "errors long): raise max_iter, or start closer to it.",
            ConvergenceWarning,
            stacklevel=3,
        )
        return
    size = np.where([t == "identity" for t in likelihood.coordinates.transforms], np.abs(outcome.v), 1.0)
    running = np.abs(outcome.step) > RUNAWAY * size
    if running.any() and outcome.distance > 0.0:
        named = ", ".join(repr(name) for name, runs in zip(likelihood.names, running, strict=True) if runs)
        warnings.warn(
            f"The log-likelihood still rises, ever more slowly, as {named} moves on: the estimate runs to the edge of "
            "its range, so fix the parameter there or simplify the model.",
            ConvergenceWarning,
            stacklevel=3,
        )


class JaxLikelihood(LogLikelihood):
    """A user's log-likelihood, compiled, with its derivatives in the coordinates v = transform^-1(theta)."""

    def __init__(
        self,
        function: Callable[[Any, Any], Any],
        names: tuple[str, ...],
        transforms: tuple[str, ...],
        data: Any,
        as_dict: bool,
        n: float | None,
    ) -> None:
        import jax
        import jax.numpy as jnp

        self.names, self.title = names, "Maximum likelihood"
        self.coordinates = Coordinates(np.eye(len(names)), transforms)
        forward = {"identity": lambda u: u, "log": jnp.exp, "logit": jax.nn.sigmoid}

        def rows(v: Any, data: Any) -> Any:
            theta = [forward[name](v[j]) for j, name in enumerate(transforms)]
            return function(dict(zip(names, theta, strict=True)) if as_dict else jnp.stack(theta), data)

        def total(v: Any, data: Any) -> Any:
            return rows(v, data).sum()

        with jax.enable_x64(True):
            self._data = jax.tree.map(_numbers, data, is_leaf=_is_leaf)
            shape = jax.eval_shape(rows, jnp.zeros(len(names)), self._data).shape
            if len(shape) > 1:
                raise InputError(
                    f"The log-likelihood has shape {shape} and must be one number for each row, or their sum."
                )
        self._summed = shape == ()
        self.n = n if self._summed else float(shape[0])
        self._value, self._gradient, self._hessian, self._rows = map(
            jax.jit, (total, jax.grad(total), jax.hessian(total), jax.jacfwd(rows))
        )

    def _call(self, function: Callable[[Any, Any], Any], v: Array) -> Array:
        import jax

        with jax.enable_x64(True):
            return np.asarray(function(np.asarray(v, dtype=np.float64), self._data))

    def value(self, v: Array) -> float:
        value = float(self._call(self._value, v))
        return -np.inf if np.isnan(value) else value

    def derivatives(self, v: Array) -> tuple[Array, Array]:
        return self._call(self._gradient, v), -self._call(self._hessian, v)

    def expected(self, v: Array) -> Array | None:
        return None

    def outer(self, v: Array) -> Array | None:
        if self._summed:
            return None
        scores = self._call(self._rows, v)
        return np.asarray(scores.T @ scores)


def _is_leaf(node: Any) -> bool:
    """Lists of numbers are data, not trees."""
    return isinstance(node, list) and not any(hasattr(item, "__len__") for item in node)


def _numbers(leaf: Any) -> Any:
    import jax.numpy as jnp

    array = np.asarray(leaf)
    if array.dtype.kind not in "biuf":
        raise InputError(f"data holds values of type {array.dtype}: give numbers.")
    return jnp.asarray(array)
