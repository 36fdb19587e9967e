"""One binary problem: |w|^2 / 2 + sum_i cost_i loss(y_i (w'x_i + b)), by the solver that suits the loss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize

from heldout.linear import together
from heldout.linear.blocks import in_threads, one_blas_thread
from heldout.linear.margin.interior import box_programme
from heldout.linear.margin.losses import LOSSES, OPTIMISED

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

EPOCHS_AT_ONCE = 5
SMALL, NARROW = 2**18, 2 * 10**8  # numbers, and multiplications a step, of a table that is solved to rounding
LEAST_SLOPE = 1e-8  # for numbers of size one: below, rounding can be all of it
NEARLY_ROUNDING = 1e-11  # gap from which on the rows on the margin are told and solved for
SLOW = 0.8  # of the gap before: progress so slow that rows were put aside too early
NARROW_COLUMNS = 500  # of a table that compiled code solves for one problem at a time
TO_ROUNDING = 1e-13  # a slope that seldom is reached: rounding ends the steps
MOST_TURNS = 50  # of rows changing places
MOST_FREE = 2000  # support vectors on the margin that are solved for directly
STEEPEST = {"log": 0.25, "hinge": 1.0, "squared-hinge": 2.0, "exponential": 1.0, "perceptron": 1.0}


@dataclass(frozen=True)
class Fitted:
    """Coefficients (d,), the intercept, epochs or steps, whether it converged, and the relative duality gap or NaN."""

    w: Array
    b: float
    n_iter: int
    converged: bool
    gap: float


@dataclass(frozen=True)
class Task:
    """What every solver gets: rows dense or CSR, labels -1 and 1, and what each row's loss costs."""

    x: Any  # (n, d)
    y: Array  # (n,)
    cost: Array  # (n,) above zero
    loss: str
    fit_intercept: bool

    def arrays(self) -> tuple[Any, Any, Any, Any]:
        """As the compiled loops take them."""
        if sparse.issparse(self.x):
            return np.empty((0, 0)), self.x.indptr, self.x.indices, self.x.data
        nothing = np.empty(0, dtype=np.int32)
        return self.x, nothing, nothing, np.empty(0)


def by_dual(task: Task, *, bias: float, tol: float, max_iter: int, seed: int) -> Fitted:
    """Hinge or squared hinge to a duality gap of `tol` times the objective; the hinge on small tables to rounding.

    Those are solved by an interior-point method, all others by dual coordinate descent.
    """
    bias = bias if task.fit_intercept else 0.0
    (n, p), hinge = task.x.shape, task.loss == "hinge"
    if hinge and n * (p + 1) ** 2 <= NARROW and n * p <= SMALL:
        found = _by_interior(task, bias, tol)
        if found.converged:
            return found
    return _by_coordinates(task, bias, tol, max_iter, seed)


def _by_interior(task: Task, bias: float, tol: float) -> Fitted:
    x = task.x.toarray() if sparse.issparse(task.x) else task.x
    dense = replace(task, x=x)
    z = np.column_stack([x, np.full(len(x), bias)]) * task.y[:, None]

    def gap_of(alpha: Array) -> float:
        return _gap(dense, alpha, _combined(dense, alpha, bias), bias)

    alpha, steps = box_programme(z, task.cost, lambda alpha: gap_of(alpha) <= NEARLY_ROUNDING)
    alpha, w, gap = _on_the_margin(dense, alpha, _combined(dense, alpha, bias), bias, gap_of(alpha))
    return Fitted(w[:-1].copy(), float(bias * w[-1]), steps, gap <= max(tol, NEARLY_ROUNDING), gap)


def _by_coordinates(task: Task, bias: float, tol: float, max_iter: int, seed: int) -> Fitted:
    from heldout.linear.margin.kernels import dual_epochs

    arrays, n, squared = task.arrays(), len(task.y), task.loss == "squared-hinge"
    square = _squares(task.x) + bias**2
    alpha, w = np.zeros(n), np.zeros(task.x.shape[1] + 1)
    order, active, widest, done, gap = np.arange(n), n, np.inf, 0, np.inf
    state = np.array([seed * 2 + 0x9E3779B97F4A7C15], dtype=np.uint64)
    while done < max_iter:
        active, widest = dual_epochs(
            *arrays, task.y, task.cost, square, squared, bias, alpha, w, order, active, widest, EPOCHS_AT_ONCE, state
        )
        done += EPOCHS_AT_ONCE
        before, gap = gap, _gap(task, alpha, w, bias)
        if gap <= tol:
            break
        if gap > SLOW * before or active < 1:
            active, widest = n, np.inf  # what was put aside is looked at again
    return Fitted(w[:-1].copy(), float(bias * w[-1]), done, gap <= tol, gap)


def _squares(x: Any) -> Array:
    if sparse.issparse(x):
        return np.asarray((x * x).sum(axis=1)).ravel()
    return np.asarray(np.einsum("ij,ij->i", x, x))


def _gap(task: Task, alpha: Array, w: Array, bias: float) -> float:
    """(primal - dual) / primal."""
    from heldout.linear.margin.kernels import scores

    margins = task.y * scores(*task.arrays(), len(task.y), w, bias)
    size = 0.5 * float(w @ w)
    primal = size + float(task.cost @ LOSSES[task.loss].value(margins))
    dual = float(alpha.sum()) - size
    if task.loss == "squared-hinge":
        dual -= float(np.sum(alpha**2 / task.cost)) / 4.0
    return (primal - dual) / primal if primal > 0.0 else 0.0


def _on_the_margin(task: Task, alpha: Array, w: Array, bias: float, gap: float) -> tuple[Array, Array, float]:
    """Solve for the rows strictly between the bounds, whose margins are exactly one, if that leads to a smaller gap.

    Rows that leave their bounds, and rows at a bound on the wrong side of the margin, change places until none does.
    """
    best, margins = (alpha, w, gap), task.y * (task.x @ w[:-1] + bias * w[-1])
    free = np.zeros(len(alpha), dtype=np.bool_)
    free[np.argsort(np.abs(margins - 1.0), kind="stable")[: min(MOST_FREE, len(w))]] = True
    full = ~free & (margins < 1.0)
    for _ in range(MOST_TURNS):
        if not 0 < free.sum() <= min(MOST_FREE, len(w)):
            break
        found = _solved(task, free, full, bias)
        if found is None:
            break
        wanted, margins = found
        low, high = free & (wanted < 0.0), free & (wanted > task.cost)
        near = ~free & np.where(full, margins > 1.0 + 1e-12, margins < 1.0 - 1e-12)
        clipped = np.clip(wanted, 0.0, task.cost)
        combined = _combined(task, clipped, bias)
        reached = _gap(task, clipped, combined, bias)
        if reached < best[2]:
            best = clipped, combined, reached
        if not (low | high | near).any():
            break
        free, full = (free & ~low & ~high) | near, (full & ~near) | high
    return best


def _solved(task: Task, free: Any, full: Any, bias: float) -> tuple[Array, Array] | None:
    """alpha (n,), perhaps beyond its bounds, with margins of one for the free rows; and all margins; or None."""
    alpha = np.where(full, task.cost, 0.0)
    fixed, labels, rows = _combined(task, alpha, bias), task.y[free], task.x[free]
    try:
        with one_blas_thread:
            products = rows @ rows.T
            products = products.toarray() if sparse.issparse(products) else products
            products = (products + bias**2) * np.outer(labels, labels)
            margins = labels * (rows @ fixed[:-1] + bias * fixed[-1])
            alpha[free] = cho_solve(cho_factor(products), 1.0 - margins)
    except LinAlgError:
        return None
    w = _combined(task, alpha, bias)
    with one_blas_thread:
        return alpha, np.asarray(task.y * (task.x @ w[:-1] + bias * w[-1]))


def _combined(task: Task, alpha: Array, bias: float) -> Array:
    """sum_i alpha_i y_i (x_i, bias)."""
    signed = alpha * task.y
    with one_blas_thread:
        return np.append(np.asarray(task.x.T @ signed), bias * signed.sum())


def by_lbfgs(task: Task, *, tol: float, max_iter: int) -> Fitted:
    """A smooth loss by L-BFGS; the intercept is not penalised."""
    loss, d = LOSSES[task.loss], task.x.shape[1]
    if sparse.issparse(task.x) and task.x.shape[0] * d <= SMALL:
        task = replace(task, x=task.x.toarray())
    scale = 1.0 / task.cost.sum()

    def value_and_slope(v: Array) -> tuple[float, Array]:
        w, b = v[:d], v[d]
        with one_blas_thread:
            margins = task.y * (task.x @ w + b)
            value = 0.5 * w @ w + task.cost @ loss.value(margins)
            pull = task.cost * loss.slope(margins) * task.y
            slope = np.append(w + task.x.T @ pull, pull.sum() * task.fit_intercept)
        if not np.isfinite(value):
            return np.inf, np.zeros_like(v)
        return float(value) * scale, slope * scale

    options = {"maxiter": max_iter, "maxfun": 2 * max_iter, "gtol": tol, "ftol": 0.0, "maxcor": 20}
    found = minimize(value_and_slope, np.zeros(d + 1), jac=True, method="L-BFGS-B", options=options)
    v = found.x
    steepest = float(np.abs(value_and_slope(v)[1]).max())
    rounding = LEAST_SLOPE * (1.0 + float(np.abs(task.x.data if sparse.issparse(task.x) else task.x).max()))
    return Fitted(v[:d].copy(), float(v[d]), int(found.nit), steepest <= max(10.0 * tol, rounding), np.nan)


def by_newton(
    x: Array, codes: Any, roles: Array, cost: Array, *, loss: str, fit_intercept: bool, tol: float, max_iter: int
) -> list[Fitted]:
    """A smooth loss for each problem between classes (see `together.minimise`); the intercept is not penalised.

    Narrow tables are solved to rounding, wide ones to `tol`.
    """
    if x.shape[1] <= NARROW_COLUMNS:
        return in_threads(
            lambda k: _by_newton(x, roles[codes, k], cost, loss, fit_intercept, max_iter), range(roles.shape[1])
        )
    found = together.minimise(
        x, codes, roles, cost, loss=loss, ridge=1.0, fit_intercept=fit_intercept, tol=tol, max_iter=max_iter
    )
    return [Fitted(one.w, one.b, one.n_iter, one.gradient <= max(tol, LEAST_SLOPE), np.nan) for one in found]


def _by_newton(x: Array, sides: Any, cost: Array, loss: str, fit_intercept: bool, max_iter: int) -> Fitted:
    from heldout.linear import newton

    rows = np.flatnonzero(sides)
    sign, cost = sides[rows].astype(np.float64), cost[rows]
    total = float(cost.sum())
    mean, squares = newton.column_moments(x, rows, cost / total, fit_intercept)
    scale = np.sqrt(squares + 1.0 / total)
    limits = (1.0 / total, fit_intercept, 0.0, newton.LOSSES[loss], TO_ROUNDING, max_iter)
    w, b, n_iter, gradient = newton.minimise(x, rows, sign, cost / total, mean, scale, *limits)
    return Fitted(w, float(b), max(1, n_iter), gradient <= LEAST_SLOPE, np.nan)


def by_sgd(task: Task, *, average: bool, max_iter: int, seed: int) -> Fitted:
    """Any loss by stochastic gradient descent, `max_iter` epochs; rows are weighed by their cost."""
    from heldout.linear.margin.kernels import sgd_epochs

    total = float(task.cost.sum())
    share, penalty = task.cost * (len(task.y) / total), 1.0 / total
    curvature = STEEPEST[task.loss] * float(np.mean(_squares(task.x) + 1.0))
    w = np.zeros(task.x.shape[1] + 1)
    state = np.array([seed * 2 + 0x9E3779B97F4A7C15], dtype=np.uint64)
    code = OPTIMISED.index(task.loss)
    given = (penalty, 1.0 / curvature, task.fit_intercept, average, max_iter)
    w = sgd_epochs(*task.arrays(), task.y, share, code, *given, w, state)
    return Fitted(w[:-1].copy(), float(w[-1]), max_iter, True, np.nan)
