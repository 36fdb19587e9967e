"""Least squares by gradient descent: full batches, single rows or mini-batches."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from heldout.errors import WorkError
from heldout.linear.descent.path import Path, Point, Recorder
from heldout.linear.descent.problem import Problem, reduced
from heldout.linear.descent.steps import UPDATES, GradientDescent, Shape, Steps, batch_curvature, batch_rows, decide
from heldout.linear.triangular import Array
from heldout.words import number

if TYPE_CHECKING:
    from heldout.linear.descent.kernels import Memory, Quadratic, Rows, Rule

Advance: TypeAlias = Callable[[int, int], int]

BLOWN_UP = 1e6  # a "correlation" that is divergence: it starts at 1 or less, and momentum lifts it to 1e3 at most
STABLE = {"plain": "2/L", "momentum": "2(1 + β)/L", "nesterov": "2(1 + β)/(1 + 2β)/L"}


@dataclass(frozen=True, eq=False)
class Descent:
    """Where a gradient descent ended, and how it got there.

    Attributes
    ----------
    coef : float64 array (p, m): w
    intercept : float64 array (m,): b
    path : Path, the loss and the gradient from the start to the end
    converged : bool
    n_steps : int
    reason : str, why it stopped, as a clause
    step : float, the first step; NaN for a line search
    momentum : float, β; 0 where the update has none
    largest_stable_step : float, of a constant step on all rows: 2/L for "plain"; infinite for "adam"
    condition : float, L/μ: the largest eigenvalue of the Hessian by the smallest that is not zero
    """

    coef: Array
    intercept: Array
    path: Path
    converged: bool
    n_steps: int
    reason: str
    step: float
    momentum: float
    largest_stable_step: float
    condition: float

    def __str__(self) -> str:
        verb = "converged" if self.converged else "stopped"
        return (
            f"Gradient descent {verb} after {self.n_steps:,} steps: {self.reason}.\n"
            f"First step {number(self.step)}, largest stable step {number(self.largest_stable_step)}, "
            f"condition number of the Hessian {number(self.condition)}.\n\n{self.path}"
        )

    __repr__ = __str__


def descend(x: Array, y: Array, weights: Array | None, *, fit_intercept: bool, how: GradientDescent) -> Descent:
    r"""Minimise the mean squared error by gradient descent.

    .. math:: L(w, b) = \frac{1}{\sum_i v_i} \sum_i v_i \lVert y_i - b - x_i^\top w \rVert^2

    The rows are first reduced to a triangle r with the same :math:`X^\top V X` and :math:`X^\top V y`, by Householder
    reflections. Full-batch steps on the triangle are the steps on the rows up to rounding, at 2 p² multiplications
    each, however many rows there are. Steps on batches go through the rows, and the triangle tells the loss and
    the gradient of all rows.

    Parameters
    ----------
    x : float64 array (n, p), C order; trusted to be finite
    y : float64 array (n, m); trusted to be finite
    weights : float64 array (n,) or None, not negative, at least one above zero. Rows of weight zero are as if absent.
    fit_intercept : bool. Fit b; otherwise b = 0.
    how : GradientDescent

    Raises
    ------
    WorkError : the descent diverged; the text names the step and the largest stable one.
    InputError : the target, or with ``standardise=False`` a column, holds numbers above 1e150.

    Warns
    -----
    ConvergenceWarning : it stopped at `max_epochs`; the text says how far it got and what to do.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [2.0, 1.0], [3.0, 0.0], [4.0, 1.0]])
    >>> found = descend(x, 1.0 + x @ [[2.0], [-5.0]], None, fit_intercept=True, how=GradientDescent())
    >>> found.coef.ravel().round(8).tolist(), found.intercept.round(8).tolist(), found.converged
    ([2.0, -5.0], [1.0], True)
    """
    how = how.completed()
    problem = reduced(x, y, weights, fit_intercept=fit_intercept, standardise=how.standardise)
    quadratic, memory, rows = _arrays(problem, x, y, weights)
    shape = _shape(problem, rows, how)
    per_epoch = -(-shape.n_rows // batch_rows(how, shape.n_rows))
    steps = decide(how, shape, int(how.max_epochs) * per_epoch)
    rule = _rule(how, steps)
    advance = (
        functools.partial(_full, quadratic, rule, memory, how)
        if how.method == "full"
        else _Batches(rows, rule, memory, how, per_epoch).advance
    )
    recorder, end = _walk(quadratic, memory, advance, how, per_epoch)
    converged, reason = _outcome(end, how, shape, steps)
    coef, intercept = problem.undo(memory.average if how.average else memory.w, shape.rank)
    path = recorder.path(end, floor=max(0.0, _loss(rows, coef, intercept) - end.loss))
    return Descent(
        coef=coef,
        intercept=intercept,
        path=path,
        converged=converged,
        n_steps=end.step,
        reason=reason,
        step=steps.step,
        momentum=steps.momentum,
        largest_stable_step=steps.largest_stable,
        condition=shape.condition,
    )


def _arrays(problem: Problem, x: Array, y: Array, weights: Array | None) -> tuple[Quadratic, Memory, Rows]:
    """The problem as the compiled loops take it."""
    from heldout.linear.descent.kernels import Memory, Quadratic, Rows

    r, shape = problem.r, (problem.c.shape[1], problem.r.shape[1])
    sizes = 2.0 * problem.target_size[:, None] * np.linalg.norm(r, axis=0)
    relative = np.divide(1.0, sizes, out=np.zeros(shape), where=sizes > 0.0)
    starts = (r != 0.0).argmax(axis=1)
    quadratic = Quadratic(r, problem.c, starts, problem.target_scale**2, relative)
    w, gradient, first, second, average = np.zeros((5, *shape))
    memory = Memory(w, gradient, first, second, average, used=np.full(1, np.nan))
    factor = np.ones(len(x))
    if weights is not None:
        factor = weights * (np.count_nonzero(weights) / weights.sum())
    inverses = 1.0 / problem.scale, 1.0 / problem.target_scale
    rows = Rows(x, y, factor, problem.mean, inverses[0], problem.target_mean, inverses[1], problem.ones)
    return quadratic, memory, rows


def _shape(problem: Problem, rows: Rows, how: GradientDescent) -> Shape:
    from heldout.linear.descent.kernels import steepest_row

    eigenvalues = problem.eigenvalues()
    return Shape(
        largest=float(eigenvalues[0]) if len(eigenvalues) else 0.0,
        smallest=float(eigenvalues[-1]) if len(eigenvalues) else 0.0,
        rank=len(eigenvalues),
        steepest=0.0 if how.method == "full" else steepest_row(rows, problem.r.shape[1]),
        n_rows=int(np.count_nonzero(rows.factor)),
    )


def _rule(how: GradientDescent, steps: Steps) -> Rule:
    from heldout.linear.descent.kernels import Rule

    (beta1, beta2), code = how.betas, UPDATES.index(how.update)
    return Rule(code, steps.step, steps.decay, steps.momentum, float(beta1), float(beta2), float(how.epsilon))


def _full(quadratic: Quadratic, rule: Rule, memory: Memory, how: GradientDescent, step: int, until: int) -> int:
    """On from a step up to another, or to where the descent ends; returns the step reached."""
    from heldout.linear.descent.kernels import full

    search = how.schedule == "line-search"
    return int(full(quadratic, rule, memory, step, until, float(how.tol), BLOWN_UP, search))


class _Batches:
    """The rows in a new order each epoch, cut into batches."""

    def __init__(self, rows: Rows, rule: Rule, memory: Memory, how: GradientDescent, per_epoch: int) -> None:
        self._rows, self._rule, self._memory, self._per_epoch = rows, rule, memory, per_epoch
        self._order = np.flatnonzero(rows.factor)
        self._size = batch_rows(how, len(self._order))
        self._random = np.random.default_rng(how.seed)

    def advance(self, step: int, until: int) -> int:
        """On from a step up to another, or to the end of the epoch; returns the step reached."""
        from heldout.linear.descent.kernels import batches

        done = step % self._per_epoch
        if done == 0:
            self._random.shuffle(self._order)
        stop = min(done + until - step, self._per_epoch)
        order = self._order[done * self._size : stop * self._size]
        batches(self._rows, order, self._size, self._rule, self._memory, step)
        return step + stop - done


def _walk(
    quadratic: Quadratic, memory: Memory, advance: Advance, how: GradientDescent, per_epoch: int
) -> tuple[Recorder, Point]:
    """All the way down. The points' losses are those above the quadratic's constant."""
    from heldout.linear.descent.kernels import evaluate

    recorder, step, last = Recorder(), 0, int(how.max_epochs) * per_epoch
    w = memory.average if how.average else memory.w
    while True:
        excess, correlation = evaluate(quadratic, w, memory.gradient)
        point = Point(step, step / per_epoch, excess, correlation, float(memory.used[0]))
        recorder.add(point)
        arrived = correlation <= float(how.tol) and step % per_epoch == 0
        if arrived or step >= last or not correlation <= BLOWN_UP:
            return recorder, point
        step = advance(step, min(last, recorder.next_after(step)))


def _outcome(end: Point, how: GradientDescent, shape: Shape, steps: Steps) -> tuple[bool, str]:
    """Whether it converged, and why it stopped; warns where it did not converge, raises where it diverged."""
    tol = float(how.tol)
    if end.gradient <= tol:
        return True, f"the gradient fell to {end.gradient:.1e}, which is not above tol={tol:g}"
    growing = how.method == "full" and how.schedule == "constant" and steps.step > steps.largest_stable
    if not end.gradient <= BLOWN_UP or (growing and tol > 0.0):
        raise WorkError(_divergence(end, how, shape, steps))
    if tol == 0.0:
        return False, f"all {how.max_epochs:,} epochs were made, as tol=0 asks"
    reason = f"after max_epochs={how.max_epochs} the gradient was {end.gradient:.1e}, above tol={tol:g}"
    warnings.warn(
        f"Gradient descent did not converge: {reason}. {_advice(how, shape)}", ConvergenceWarning, stacklevel=4
    )
    return False, reason


def _divergence(end: Point, how: GradientDescent, shape: Shape, steps: Steps) -> str:
    start = f"Gradient descent diverged after {end.step:,} steps: the step {number(steps.step)} is"
    if how.update == "adam":
        return f"{start} too long for update='adam': choose a smaller one."
    stable = f"the largest stable step {STABLE[how.update]} = {number(steps.largest_stable)}"
    if steps.step > steps.largest_stable or how.method == "full":
        return f"{start} above {stable}: choose a smaller one."
    safe = (1.0 - steps.momentum) / (2.0 * batch_curvature(how, shape))
    rows = batch_rows(how, shape.n_rows)
    return (
        f"{start} below {stable} of all rows together, but too long for batches of {rows}, "
        f"which differ: choose {number(safe)} or less, or larger batches."
    )


def _advice(how: GradientDescent, shape: Shape) -> str:
    if how.method == "full":
        slow = f"The condition number of the Hessian is {number(shape.condition, 2)}, and the more it is the slower"
        other = "take update='nesterov', " if how.update in ("plain", "adam") else ""
        return f"{slow} the descent: {other}raise max_epochs or tol, or solve in closed form."
    if how.schedule == "constant" and not how.average:
        return (
            "With a constant step it hovers about the solution: take schedule='decaying', average=True, "
            "a smaller step or larger batches."
        )
    return "Raise max_epochs or tol, or take larger batches."


def _loss(rows: Rows, coef: Array, intercept: Array) -> float:
    """L of all rows."""
    from heldout.linear.descent.kernels import mean_squared_error

    share = rows.factor / rows.factor.sum()
    return float(mean_squared_error(rows.x, rows.y, share, np.ascontiguousarray(coef.T), intercept))
