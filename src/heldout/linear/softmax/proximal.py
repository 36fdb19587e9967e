"""Newton's method by conjugate gradients, for objectives with and without an L1 part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heldout.linear.minimum import ROUNDING, SHORTEST, SUFFICIENT
from heldout.linear.softmax.loss import Array
from heldout.linear.softmax.objective import Evaluation, Objective, inner
from heldout.linear.softmax.preconditioning import Preconditioner, precondition

LOOSEST, TIGHTEST = 0.5, 0.05  # a direction leaves at most this share of the gradient; near the end, the smaller
MOST_PRODUCTS = 250  # with the Hessian, for one direction
WORN = 8  # products for one direction that make a new preconditioner worth its work
FLAT = 1e-14  # curvature along a direction, as a share of its squared length, that counts as none


@dataclass(frozen=True)
class Point:
    """Coefficients, the whole objective there, and the smooth part's evaluation."""

    coef: Array
    value: float
    smooth: Evaluation


def at(objective: Objective, coef: Array) -> Point:
    smooth = objective.evaluate(coef)
    extra = 0.0 if objective.absolute is None else float((objective.absolute * np.abs(coef)).sum())
    return Point(coef, smooth.value + extra, smooth)


def subgradient(objective: Objective, point: Point) -> Array:
    """The subgradient of smallest norm: zero exactly at the minimum."""
    gradient = point.smooth.gradient
    if objective.absolute is None:
        return gradient
    at_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - objective.absolute, 0.0)
    return np.where(point.coef != 0.0, gradient + objective.absolute * np.sign(point.coef), at_zero)


def minimise(objective: Objective, start: Array, tol: float, max_iter: int) -> tuple[Array, int, float]:
    """Steps until no component of the subgradient exceeds `tol`, `max_iter` steps are done, or rounding allows none.

    Every step is a proximal gradient step (with an L1 part: it decides which coefficients are zero), then a Newton
    step among the others by truncated, preconditioned conjugate gradients, cut where a coefficient would change its
    sign. Returns coefficients, steps, and the subgradient's infinity norm.
    """
    point, inverse, length = at(objective, start), None, 1.0
    n_iter, used, largest = 0, WORN, np.inf
    while n_iter < max_iter:
        n_iter += 1
        before = point
        if objective.absolute is not None:
            point, length = _proximal_step(objective, point, length)
        free = np.ones(start.shape, dtype=bool)
        if objective.absolute is not None:
            free = (point.coef != 0.0) | (objective.absolute == 0.0)
        if inverse is None or used >= WORN or not free.all():
            inverse = precondition(objective, point.smooth, free)
        direction, used = _direction(objective, point, free, inverse)
        point = _search(objective, point, free, direction)
        largest = float(np.abs(subgradient(objective, point)).max())
        if largest <= tol or point is before:
            break
    return point.coef, n_iter, largest


def _direction(objective: Objective, point: Point, free: Array, inverse: Preconditioner) -> tuple[Array, int]:
    """-H^-1 g among the free coefficients, by conjugate gradients stopped early (Dembo, Eisenstat, Steihaug 1982)."""
    mask = None if free.all() else free
    residual = _kept(-subgradient(objective, point), mask)
    found = np.zeros_like(residual)
    ahead = _kept(inverse(residual), mask)
    size = inner(residual, ahead)
    target = size * min(LOOSEST, max(TIGHTEST, np.sqrt(size))) ** 2
    for used in range(1, MOST_PRODUCTS + 1):
        bent = _kept(objective.product(point.smooth, ahead), mask)
        curvature = inner(ahead, bent)
        if not curvature > FLAT * inner(ahead, ahead):
            return (found if used > 1 else ahead), used
        found += (size / curvature) * ahead
        bent *= size / curvature
        residual -= bent
        solved = _kept(inverse(residual), mask)
        new = inner(residual, solved)
        if not new > target:
            break
        ahead *= new / size
        ahead += solved
        size = new
    return found, used


def _kept(values: Array, mask: Array | None) -> Array:
    """The values where the mask is true and zero elsewhere; all of them where there is no mask."""
    return values if mask is None else np.where(mask, values, 0.0)


def _search(objective: Objective, point: Point, free: Array, direction: Array) -> Point:
    """The first point at lengths 1, 1/2, ... that decreases the objective enough; `point` itself where none does."""
    slope = np.where(free, subgradient(objective, point), 0.0)
    length = 1.0
    while length >= SHORTEST:
        coef = point.coef + length * direction
        if objective.absolute is not None:
            coef = np.where((objective.absolute == 0.0) | (np.sign(coef) == np.sign(point.coef)), coef, 0.0)
        trial = at(objective, coef)
        if abs(trial.value - point.value) <= ROUNDING * abs(point.value):
            better = np.abs(subgradient(objective, trial)).max() < np.abs(subgradient(objective, point)).max()
            return trial if better else point
        if trial.value <= point.value + SUFFICIENT * inner(slope, coef - point.coef):
            return trial
        length /= 2.0
    return point


def _proximal_step(objective: Objective, point: Point, length: float) -> tuple[Point, float]:
    """soft(w - a g, a lambda), the longest a of 2 `length`, `length`, ... for which the model bounds the objective."""
    assert objective.absolute is not None
    length *= 2.0
    while length >= SHORTEST:
        moved = point.coef - length * point.smooth.gradient
        coef = np.sign(moved) * np.maximum(np.abs(moved) - length * objective.absolute, 0.0)
        change = coef - point.coef
        bound = inner(point.smooth.gradient, change) + 0.5 * inner(change, change) / length
        trial = at(objective, _recentred(objective, coef))  # which changes the smooth part by rounding only
        if trial.smooth.value <= point.smooth.value + bound + ROUNDING * abs(point.value):
            return (trial if trial.value <= point.value else point), length
        length /= 2.0
    return point, 1.0


def _recentred(objective: Objective, coef: Array) -> Array:
    """With L1 alone, what can be taken from all classes' coefficients of a column is: it changes no probability.

    The sum of absolute values is least about the median, and for an even number of classes about every point between
    the two in the middle, of which the one nearest to zero leaves the most zeros.
    """
    if len(coef) < 3 or objective.absolute is None or objective.penalty.any():
        return coef
    ordered = np.sort(coef, axis=0)
    shift = np.clip(0.0, ordered[(len(coef) - 1) // 2], ordered[len(coef) // 2])
    return np.where(objective.absolute > 0.0, coef - shift, coef)
