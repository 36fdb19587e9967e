"""Minimisers of an `Objective`: Newton's method with the exact Hessian or by conjugate gradients, and L-BFGS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize

from heldout.linear.minimum import ROUNDING, SHORTEST, SUFFICIENT
from heldout.linear.softmax.loss import Array
from heldout.linear.softmax.objective import Objective
from heldout.linear.softmax.proximal import minimise as by_conjugate_gradients

MEMORY = 20  # pairs of steps that L-BFGS remembers


@dataclass(frozen=True)
class Outcome:
    """Where a solver stopped: coefficients, iterations, and the gradient's infinity norm there."""

    coef: Array
    n_iter: int
    gradient: float


def newton(objective: Objective, start: Array, tol: float, max_iter: int) -> Outcome:
    """V <- V - a H^-1 g, with the first a of 1, 1/2, 1/4, ... that decreases f enough.

    Stops at a gradient of infinity norm `tol`, after `max_iter` steps, or where rounding allows no decrease.
    """
    coef = start
    value, gradient = objective.value_gradient(coef)
    n_iter = 0
    while n_iter < max_iter:
        n_iter += 1
        step = -_solve(objective.hessian(coef), gradient.ravel()).reshape(coef.shape)
        found = _search(objective, coef, value, gradient, step)
        if found is None:
            break
        coef, value, gradient = found
        if np.abs(gradient).max() <= tol:
            break
    return Outcome(coef, n_iter, float(np.abs(gradient).max()))


def _solve(hessian: Array, gradient: Array) -> Array:
    """H^-1 g by Cholesky; where rounding has left H not positive definite, a growing multiple of I is added."""
    damping, size = 0.0, float(hessian.diagonal().max())
    diagonal = hessian.diagonal().copy()
    while True:
        np.fill_diagonal(hessian, diagonal + damping)
        try:
            return np.asarray(cho_solve(cho_factor(hessian, check_finite=False), gradient, check_finite=False))
        except LinAlgError:
            damping = 10.0 * damping if damping else 1e-14 * size


def _search(
    objective: Objective, coef: Array, value: float, gradient: Array, step: Array
) -> tuple[Array, float, Array] | None:
    """The point, value and gradient at the first length that will do; None where no length will."""
    slope = float(np.vdot(gradient, step))
    length = 1.0
    while length >= SHORTEST:
        trial = coef + length * step
        trial_value, trial_gradient = objective.value_gradient(trial)
        if abs(trial_value - value) <= ROUNDING * abs(value):
            better = np.abs(trial_gradient).max() < np.abs(gradient).max()
            return (trial, trial_value, trial_gradient) if better else None
        if trial_value <= value + SUFFICIENT * length * slope:
            return trial, trial_value, trial_gradient
        length /= 2.0
    return None


def lbfgs(objective: Objective, start: Array, tol: float, max_iter: int) -> Outcome:
    """Limited-memory BFGS (Liu and Nocedal, Math. Programming 45, 1989), SciPy's implementation."""

    def flat(point: Array) -> tuple[float, Array]:
        value, gradient = objective.value_gradient(point.reshape(start.shape))
        return value, gradient.ravel()

    options = {"maxiter": max_iter, "maxfun": 20 * max_iter, "gtol": tol, "ftol": 0.0, "maxcor": MEMORY, "maxls": 50}
    found = minimize(flat, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    coef = np.asarray(found.x).reshape(start.shape)
    return Outcome(coef, max(1, int(found.nit)), float(np.abs(found.jac).max()))


def newton_cg(objective: Objective, start: Array, tol: float, max_iter: int) -> Outcome:
    """Newton's method whose steps are solved for by conjugate gradients; the only one that takes an L1 part."""
    return Outcome(*by_conjugate_gradients(objective, start, tol, max_iter))


SOLVERS: dict[str, Callable[[Objective, Array, float, int], Outcome]] = {
    "newton": newton,
    "newton-cg": newton_cg,
    "lbfgs": lbfgs,
}
