"""Maximising a log-likelihood: the coordinates of its parameters, and Newton's method in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh, null_space
from scipy.special import expit, logit

from heldout.linear.softmax.loss import Array

SUFFICIENT = 1e-4  # Armijo: the least share of the increase that the slope promises
SHORTEST = 2.0**-40  # of a Newton step
LONGEST = 3.0  # step of the logarithm or logit of a parameter: beyond it no quadratic is to be trusted
ROUNDING = 1e-13  # relative change of the log-likelihood that is noise
ALMOST = 1e-4  # standard errors from the maximum, where rounding hides any further increase
FLOOR = 1e-8  # least curvature, of the greatest, that a step may be divided by
STALLED = 0.9  # a step this little shorter than the one before it, so near the maximum, is rounding
RUNAWAY = 1e-2  # a Newton step this long, relative to the parameter, where the slope is nil: there is no maximum


@dataclass(frozen=True)
class Transform:
    """theta = forward(u), its inverse, and its first two derivatives in u."""

    forward: Callable[[Any], Any]
    inverse: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    curve: Callable[[Any], Any]


TRANSFORMS = {
    "identity": Transform(lambda u: u, lambda t: t, np.ones_like, np.zeros_like),
    "log": Transform(np.exp, np.log, np.exp, np.exp),
    "logit": Transform(
        expit, logit, lambda u: expit(u) * expit(-u), lambda u: expit(u) * expit(-u) * (1 - 2 * expit(u))
    ),
}


@dataclass(frozen=True)
class Coordinates:
    """theta_j = t_j((B v)_j): parameters theta (k,) from the coordinates v (k,) in which a maximum is looked for."""

    basis: Array  # B (k, k)
    transforms: tuple[str, ...]

    def _each(self, part: str, u: Array) -> Array:
        return np.array(
            [getattr(TRANSFORMS[name], part)(value) for name, value in zip(self.transforms, u, strict=True)]
        )

    def natural(self, v: Array) -> Array:
        """theta."""
        with np.errstate(over="ignore"):
            return self._each("forward", self.basis @ v)

    def working(self, theta: Array) -> Array:
        """v."""
        return np.asarray(np.linalg.solve(self.basis, self._each("inverse", theta)))

    def jacobian(self, v: Array) -> Array:
        """d theta / d v (k, k)."""
        return self._each("slope", self.basis @ v)[:, None] * self.basis

    def bend(self, v: Array, score: Array) -> Array:
        """What the curvature of t adds to the observed information in v (k, k): nothing where the score is zero."""
        u = self.basis @ v
        along = np.linalg.solve(self.basis.T, score)
        return np.asarray(
            self.basis.T @ ((along * self._each("curve", u) / self._each("slope", u))[:, None] * self.basis)
        )

    def level(self, j: int, value: float) -> float:
        """(B v)_j where theta_j is `value`: infinite or NaN at or beyond the edge of its range."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(TRANSFORMS[self.transforms[j]].inverse(np.float64(value)))

    def value(self, j: int, level: float) -> float:
        """theta_j where (B v)_j is `level`."""
        return float(TRANSFORMS[self.transforms[j]].forward(np.float64(level)))

    def slope(self, j: int, v: Array) -> float:
        """d theta_j / d (B v)_j."""
        return float(TRANSFORMS[self.transforms[j]].slope(self.basis[j] @ v))


@dataclass(frozen=True)
class Outcome:
    """Where the climb ended: coordinates, log-likelihood, iterations, and the last Newton step there.

    `distance` is sqrt(g' H^-1 g), the length of that step in standard errors.
    """

    v: Array
    value: float
    n_iter: int
    distance: float
    step: Array
    converged: bool


class LogLikelihood(ABC):
    """A log-likelihood of k parameters as a function of the coordinates v (k,)."""

    names: tuple[str, ...]
    coordinates: Coordinates
    n: float | None  # observations, counted by their weights; None where unknown
    title: str
    smooth: bool = True

    @abstractmethod
    def value(self, v: Array) -> float:
        """The log-likelihood, -inf where it is not defined."""

    @abstractmethod
    def derivatives(self, v: Array) -> tuple[Array, Array]:
        """Score (k,) and observed information (k, k), the negative second derivatives."""

    @abstractmethod
    def expected(self, v: Array) -> Array | None:
        """Fisher's expected information (k, k), where it is known."""

    @abstractmethod
    def outer(self, v: Array) -> Array | None:
        """The sum over the observations of the products of their scores (k, k), where there are observations."""

    def maximise(self, start: Array, rows: Array, levels: Array, tol: float, max_iter: int) -> Outcome:
        """The maximum over v with rows @ v = levels, (c, k) and (c,)."""
        return climb(self, start, rows, levels, tol, max_iter)


def climb(likelihood: LogLikelihood, start: Array, rows: Array, levels: Array, tol: float, max_iter: int) -> Outcome:
    """Newton's method with step halving, within rows @ v = levels.

    v <- v + a H^-1 g, with the first a of 1, 1/2, 1/4, ... that increases the log-likelihood enough. Where the
    information H is not positive definite its eigenvalues' absolute values take their place. Stops where the step is
    shorter than `tol` standard errors, after one last step.
    """
    free = null_space(rows) if len(rows) else np.eye(len(start))
    v = start + np.linalg.pinv(rows) @ (levels - rows @ start) if len(rows) else start
    value = likelihood.value(v)
    if not np.isfinite(value):
        return Outcome(v, -np.inf, 0, np.inf, np.zeros_like(v), False)
    step, distance = _newton_step(likelihood, v, free)
    for n_iter in range(1, max_iter + 1):
        found = _search(likelihood, v, value, step, distance)
        if found is None:
            return Outcome(v, value, n_iter, distance, step, distance <= ALMOST)
        before, (v, value) = distance, found
        step, distance = _newton_step(likelihood, v, free)
        if before <= tol or STALLED * before < distance <= ALMOST:
            return Outcome(v, value, n_iter, distance, step, True)
    return Outcome(v, value, max_iter, distance, step, distance <= tol)


def _newton_step(likelihood: LogLikelihood, v: Array, free: Array) -> tuple[Array, float]:
    """The step H^-1 g (k,) among the free directions (k, f), and its length in standard errors."""
    score, information = likelihood.derivatives(v)
    slope = free.T @ score
    step = solve_definite(free.T @ information @ free, slope)
    return free @ step, float(np.sqrt(max(float(slope @ step), 0.0)))


def solve_definite(matrix: Array, vector: Array) -> Array:
    """M^-1 b by Cholesky, after scaling to a unit diagonal; an indefinite M has its eigenvalues made positive."""
    scale = np.sqrt(np.abs(matrix.diagonal()))
    scale[scale == 0] = 1.0
    scaled = matrix / np.outer(scale, scale)
    try:
        return np.asarray(cho_solve(cho_factor(scaled), vector / scale) / scale)
    except LinAlgError:
        values, vectors = eigh(scaled)
        sizes = np.maximum(np.abs(values), FLOOR * np.abs(values).max(initial=1.0))
        return np.asarray(vectors @ (vectors.T @ (vector / scale) / sizes) / scale)


def _search(
    likelihood: LogLikelihood, v: Array, value: float, step: Array, distance: float
) -> tuple[Array, float] | None:
    """The first of v + step, v + step/2, ... that is high enough, with its log-likelihood."""
    bent = [name != "identity" for name in likelihood.coordinates.transforms]
    longest = np.abs((likelihood.coordinates.basis @ step)[bent]).max(initial=0.0)
    length = min(1.0, LONGEST / longest) if longest > 0 else 1.0
    noise = ROUNDING * (1.0 + abs(value))
    while length >= SHORTEST:
        trial = v + length * step
        reached = likelihood.value(trial)
        if reached >= value + SUFFICIENT * length * distance**2 - noise:
            return trial, reached
        length /= 2.0
    return None
