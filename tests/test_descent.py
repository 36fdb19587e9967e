"""Gradient descent beside exact iterates, Optax, automatic differentiation and NumPy's least squares."""

from __future__ import annotations

import itertools
import json
import warnings
from pathlib import Path as FilePath
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import threadpoolctl
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from heldout.errors import HeldoutError, InputError, WorkError
from heldout.linear.descent import kernels as kernels
from heldout.linear.descent import path as descent_path
from heldout.linear.descent.model import Descent, _arrays, _shape, descend
from heldout.linear.descent.problem import reduced
from heldout.linear.descent.steps import UPDATES, GradientDescent, Shape, batch_curvature, decide, largest_stable_step
from heldout.persist.envelope import Parts
from heldout.persist.state import OpenFile, State

FULL_UPDATES = ["plain", "momentum", "nesterov"]


def table(n: int = 80, p: int = 5, m: int = 2, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlated columns in units of their own, targets, and weights of which some are zero."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, p)) + 0.7 * rng.normal(size=(n, 1))) * np.geomspace(0.3, 3.0, p) + rng.normal(size=p)
    y = x @ rng.normal(size=(p, m)) + rng.normal(size=(n, m)) + 4.0
    return x, y, rng.integers(0, 4, n).astype(float)


def run(x: np.ndarray, y: np.ndarray, weights: Any = None, *, fit_intercept: bool = True, **choices: Any) -> Descent:
    return descend(x, y, weights, fit_intercept=fit_intercept, how=GradientDescent(**choices))


def quietly(*arrays: Any, **choices: Any) -> Descent:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return run(*arrays, **choices)


def closed_form(x: np.ndarray, y: np.ndarray, weights: Any, fit_intercept: bool) -> tuple[np.ndarray, np.ndarray]:
    root = np.ones((len(x), 1)) if weights is None else np.sqrt(weights)[:, None]
    mean_x = np.average(x, axis=0, weights=weights) if fit_intercept else np.zeros(x.shape[1])
    mean_y = np.average(y, axis=0, weights=weights) if fit_intercept else np.zeros(y.shape[1])
    coef = np.linalg.lstsq(root * (x - mean_x), root * (y - mean_y), rcond=1e-12)[0]
    return coef, mean_y - mean_x @ coef


def loss(x: np.ndarray, y: np.ndarray, weights: Any, coef: np.ndarray, intercept: Any) -> float:
    squares = ((y - intercept - x @ coef) ** 2).sum(axis=1)
    return float(np.average(squares, weights=weights))


# The end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("choices", [*({"update": u} for u in UPDATES), {"schedule": "line-search"}], ids=str)
def test_the_end_is_the_closed_form(
    choices: dict[str, Any], fit_intercept: bool, weighted: bool, standardise: bool
) -> None:
    x, y, weights = table()
    given = weights if weighted else None
    found = run(x, y, given, fit_intercept=fit_intercept, standardise=standardise, **choices)
    coef, intercept = closed_form(x, y, given, fit_intercept)
    assert found.converged
    assert_allclose(found.coef, coef, rtol=1e-8, atol=1e-9)
    assert_allclose(found.intercept, intercept, rtol=1e-8, atol=1e-9)
    assert_allclose(found.path.loss[-1], loss(x, y, given, coef, intercept), rtol=1e-12)
    assert found.coef.flags.c_contiguous


def one_hot(n: int, *sizes: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.hstack(
        [*(np.eye(size)[rng.integers(0, size, n)] for size in sizes), rng.normal(size=(n, 2)) * [50, 0.02]]
    )


@pytest.mark.parametrize("update", FULL_UPDATES)
@pytest.mark.parametrize(
    "x", [one_hot(300, 4, 7), table(20, 60)[0], table(12, 12)[0]], ids=["one-hot", "wide", "square"]
)
def test_dependent_columns_give_the_least_norm_in_their_own_units(x: np.ndarray, update: str) -> None:
    y = np.random.default_rng(1).normal(size=(len(x), 2))
    found = run(x, y, update=update, max_epochs=1_000_000)
    coef, intercept = closed_form(x, y, None, True)
    assert_allclose(found.coef, coef, rtol=1e-6, atol=1e-8 * np.abs(coef).max())
    assert_allclose(found.intercept, intercept, rtol=1e-6)


def test_columns_as_given_without_an_intercept_give_the_least_norm_with_no_projection() -> None:
    x, y, _ = table(20, 60)
    found = run(x, y, fit_intercept=False, standardise=False, update="nesterov")
    assert_allclose(found.coef, np.linalg.lstsq(x, y)[0], rtol=1e-7, atol=1e-9)


def test_nist_longley_is_slow_and_said_to_be(real_data: FilePath) -> None:
    lines = (real_data / "nist_strd_linear" / "Longley.dat").read_text().splitlines()
    data = np.array([[float(word) for word in line.split()] for line in lines[60:] if line.strip()])
    certified = [float(line.split()[1]) for line in lines[30:55] if line.split() and line.split()[0].startswith("B")]
    x, y = np.ascontiguousarray(data[:, 1:]), data[:, :1]
    with pytest.warns(ConvergenceWarning, match=r"condition number of the Hessian is 12,2\d\d.*update='nesterov'"):
        plain = run(x, y)
    fast = run(x, y, update="momentum")
    assert not plain.converged
    assert fast.converged
    assert_allclose(np.r_[fast.intercept, fast.coef[:, 0]], certified, rtol=1e-10)


# The way ------------------------------------------------------------------------------------------------------


def test_the_gradient_is_that_of_automatic_differentiation() -> None:
    x, y, weights = table()
    for standardise in (False, True):
        problem = reduced(x, y, weights, fit_intercept=True, standardise=standardise)
        quadratic, memory, _ = _arrays(problem, x, y, weights)
        w = np.random.default_rng(0).normal(size=memory.w.shape)
        excess, correlation = kernels.evaluate(quadratic, w, memory.gradient)

        def mean_squared_error(w: Any, standardise: bool = standardise) -> Any:
            mean, mean_y = np.average(x, axis=0, weights=weights), np.average(y, axis=0, weights=weights)
            spread = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights))
            spread_y = np.sqrt(np.average((y - mean_y) ** 2, axis=0, weights=weights))
            z = (x - mean) / spread if standardise else np.c_[x, np.ones(len(x))]
            residual = ((y - mean_y) / spread_y if standardise else y) - z @ w.T
            unit = spread_y**2 if standardise else 1.0
            sizes = jnp.sqrt(weights @ z**2 / weights.sum()), jnp.sqrt(weights @ y**2 / weights.sum())
            relative = weights @ (residual[:, :, None] * z[:, None, :]).reshape(len(z), -1) / weights.sum()
            relative = relative.reshape(w.shape) / (1.0 if standardise else sizes[0] * sizes[1][:, None])
            squares = weights @ residual**2 / weights.sum()
            return squares.sum(), ((unit * squares).sum(), jnp.abs(relative).max())

        with jax.enable_x64(True):
            (expected, (value, largest)) = jax.grad(mean_squared_error, has_aux=True)(jnp.asarray(w))
            (_, (least, _)) = mean_squared_error(jnp.asarray(solution(problem)))
        assert_allclose(memory.gradient, expected, rtol=1e-11)
        assert_allclose(correlation, largest, rtol=1e-12)
        assert_allclose(excess, value - least, rtol=1e-12)


def solution(problem: Any) -> np.ndarray:
    return np.linalg.lstsq(problem.r, problem.c)[0].T


def eigenvalues(x: np.ndarray, weights: Any = None) -> np.ndarray:
    weights = np.ones(len(x)) if weights is None else weights
    return np.linalg.eigvalsh(2.0 * (x.T * weights) @ x / weights.sum())


def test_plain_iterates_are_those_of_the_formula() -> None:
    """w_t = (I - (I - a H)^t) w*, and the path holds their losses."""
    x, y, weights = table()
    hessian = 2.0 * (x.T * weights) @ x / weights.sum()
    step, (best, _) = 0.9 / np.linalg.norm(hessian, 2), closed_form(x, y, weights, False)
    found = run(x, y, weights, fit_intercept=False, standardise=False, step=step, tol=0, max_epochs=40)
    powers = [np.linalg.matrix_power(np.eye(5) - step * hessian, t) for t in range(41)]
    iterates = [best - power @ best for power in powers]
    assert_allclose(found.coef, iterates[-1], rtol=1e-12)
    assert_allclose(found.path.loss, [loss(x, y, weights, w, 0.0) for w in iterates], rtol=1e-12)
    assert_array_equal(found.path.steps, range(41))
    assert_array_equal(found.path.epochs, range(41))
    assert_allclose(found.path.step_size[1:], step)
    assert (found.n_steps, found.converged) == (40, False)


def test_standardised_iterates_are_those_of_standardised_columns() -> None:
    x, y, _ = table()
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    found = run(x, y, step=0.1, tol=0, max_epochs=7)
    beside = run(z, y - y.mean(axis=0), step=0.1, tol=0, max_epochs=7, standardise=False, fit_intercept=False)
    assert_allclose(found.coef * x.std(axis=0)[:, None], beside.coef, rtol=1e-12)
    assert_allclose(found.path.loss, beside.path.loss, rtol=1e-12)


OPTIMIZERS = {
    "plain": lambda rate: optax.sgd(rate),
    "momentum": lambda rate: optax.sgd(rate, momentum=0.8),
    "nesterov": lambda rate: optax.sgd(rate, momentum=0.8, nesterov=True),
    "adam": lambda rate: optax.adam(rate, b1=0.8, b2=0.95, eps=1e-6),
}


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("method", ["full", "stochastic", "mini-batch"])
@pytest.mark.parametrize("update", UPDATES)
def test_optax_takes_the_same_steps(update: str, method: str, decay: float) -> None:
    x, y, weights = table(30)
    constants = {"momentum": 0.8, "betas": (0.8, 0.95), "epsilon": 1e-6, "step": 0.01, "decay": decay}
    choices = {"method": method, "update": update, "batch_size": 7, "schedule": "decaying", "max_epochs": 3}
    found = run(x, y, weights, seed=5, tol=0, standardise=False, **choices, **constants)
    kept, design = np.flatnonzero(weights), np.c_[x, np.ones(len(x))]
    size, random = {"full": len(kept), "stochastic": 1, "mini-batch": 7}[method], np.random.default_rng(5)
    optimizer = OPTIMIZERS[update](lambda t: 0.01 / (1.0 + decay * t))
    with jax.enable_x64(True):
        w = jnp.zeros((6, 2))
        state, order, steps = optimizer.init(w), kept.copy(), 0
        factor = weights * len(kept) / weights.sum()
        for _ in range(3):
            random.shuffle(order)
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                gradient = 2.0 * design[rows].T @ (factor[rows, None] * (design[rows] @ w - y[rows])) / len(rows)
                changes, state = optimizer.update(gradient, state)
                w, steps = optax.apply_updates(w, changes), steps + 1
    assert found.n_steps == steps
    assert_allclose(np.r_[found.coef, [found.intercept]], w, rtol=1e-10, atol=1e-13)


def test_a_line_search_goes_to_the_lowest_point_along_the_gradient() -> None:
    x, y, weights = table()
    w, share, best = np.zeros((5, 2)), weights / weights.sum(), []
    for _ in range(6):
        gradient = 2.0 * x.T @ (share[:, None] * (x @ w - y))
        residual, ahead = np.sqrt(share)[:, None] * (y - x @ w), np.sqrt(share)[:, None] * (x @ gradient)
        best.append(-np.vdot(residual, ahead) / np.vdot(ahead, ahead))
        w = w - best[-1] * gradient
    choices = {"schedule": "line-search", "standardise": False, "tol": 0, "max_epochs": 6}
    found = run(x, y, weights, fit_intercept=False, **choices)
    assert_allclose(found.path.step_size[1:], best, rtol=1e-11)
    assert_allclose(found.coef, w, rtol=1e-11)
    assert np.all(np.diff(found.path.loss) < 0)


# Steps --------------------------------------------------------------------------------------------------------


def test_the_shape_of_the_loss_is_that_of_the_rows() -> None:
    x, y, weights = table()
    mean = np.average(x, axis=0, weights=weights)
    z = (x - mean) / np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights))
    problem = reduced(x, y, weights, fit_intercept=True, standardise=True)
    shape = _shape(problem, _arrays(problem, x, y, weights)[2], GradientDescent(method="stochastic"))
    expected = eigenvalues(z, weights)
    n = np.count_nonzero(weights)
    assert_allclose([shape.largest, shape.smallest], [expected[-1], expected[0]], rtol=1e-12)
    assert_allclose(shape.steepest, (2.0 * n * weights / weights.sum() * (z**2).sum(axis=1)).max(), rtol=1e-12)
    assert (shape.n_rows, shape.rank) == (n, 5)


def test_the_curvature_of_batches_bounds_what_batches_do() -> None:
    """E ||g_B||^2 <= 2 S (L(w) - L(w*)) over all batches of two, where all rows agree on w*."""
    x = table(9, 3)[0]
    rows = 2.0 * (x**2).sum(axis=1)
    shape = Shape(eigenvalues(x)[-1], eigenvalues(x)[0], 3, rows.max(), 9)
    assert batch_curvature(GradientDescent(method="stochastic"), shape) == rows.max()
    assert batch_curvature(GradientDescent(method="mini-batch", batch_size=50), shape) == shape.largest
    pairs = list(itertools.combinations(range(9), 2))
    curvature = batch_curvature(GradientDescent(method="mini-batch", batch_size=2), shape)
    assert shape.largest < curvature < rows.max()
    for w in np.random.default_rng(0).normal(size=(50, 3)):
        squares = np.mean([np.sum((2.0 * x[list(pair)].T @ (x[list(pair)] @ w) / 2.0) ** 2) for pair in pairs])
        assert squares <= 2.0 * curvature * np.mean((x @ w) ** 2)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("update", FULL_UPDATES)
def test_the_largest_stable_step_is_where_the_recurrence_leaves_the_unit_circle(update: str, momentum: float) -> None:
    momentum = 0.0 if update == "plain" else momentum
    for share, stable in ((0.999, True), (1.001, False)):
        step = share * largest_stable_step(update, 4.0, momentum)
        ahead = 1.0 + momentum if update == "nesterov" else 1.0
        past = momentum**2 if update == "nesterov" else momentum
        # one coordinate with gradient 4 w: (w, u) -> (w - step (ahead 4 w + past u), momentum u + 4 w)
        recurrence = np.array([[1.0 - step * ahead * 4.0, -step * past], [4.0, momentum]])
        assert (np.abs(np.linalg.eigvals(recurrence)).max() < 1.0) == stable


@pytest.mark.parametrize("update", FULL_UPDATES)
def test_above_the_largest_stable_step_it_diverges_and_below_it_does_not(update: str) -> None:
    x, y, _ = table()
    stable = run(x, y, update=update, momentum=0.5).largest_stable_step
    assert run(x, y, update=update, momentum=0.5, step=0.99 * stable).converged
    for share in (1.01, 1.5, 1e3, 1e200):
        with pytest.raises(
            WorkError, match=r"is above the largest stable step 2.*/L = [\d.]+: choose a smaller one\.$"
        ):
            run(x, y, update=update, momentum=0.5, step=share * stable)
    with pytest.raises(WorkError, match="is above the largest stable step"):
        run(x, y, update=update, momentum=0.5, step=1.01 * stable, max_epochs=20)
    watched = run(x, y, update=update, momentum=0.5, step=1.2 * stable, max_epochs=20, tol=0)
    assert watched.path.loss[-1] > watched.path.loss[0]


def test_the_divergence_of_plain_descent_in_numbers() -> None:
    x, y, _ = table()
    z = np.c_[x, np.ones(len(x))]
    limit = 2.0 / eigenvalues(z)[-1]
    with pytest.raises(WorkError) as caught:
        run(x, y, step=0.5, standardise=False)
    assert f"the step 0.5000 is above the largest stable step 2/L = {limit:.5f}" in str(caught.value)


def test_batches_diverge_earlier_and_are_told_a_step_that_works() -> None:
    x, y, _ = table()
    x[7] *= 40.0
    choices = {"method": "stochastic", "standardise": False, "schedule": "constant"}
    stable = quietly(x, y, **choices, max_epochs=2).largest_stable_step
    with pytest.raises(WorkError, match=r"batches of 1, which differ: choose ([\d.e-]+) or less") as caught:
        run(x, y, **choices, step=0.9 * stable)
    safe = float(str(caught.value).split("choose ")[1].split(" ")[0])
    assert np.isfinite(quietly(x, y, **choices, step=safe, max_epochs=20).coef).all()
    with pytest.raises(WorkError, match="is above the largest stable step 2/L"):
        run(x, y, **choices, step=1.1 * stable)
    with pytest.raises(WorkError, match="too long for update='adam'"):
        run(x, y, update="adam", step=1e9)


def test_the_best_steps_are_the_theorys_and_give_its_rates() -> None:
    shape = Shape(largest=8.0, smallest=0.08, rank=4, steepest=90.0, n_rows=50)
    plain = decide(GradientDescent().completed(), shape, 10**6)
    heavy = decide(GradientDescent(update="momentum").completed(), shape, 10**6)
    ahead = decide(GradientDescent(update="nesterov").completed(), shape, 10**6)
    assert_allclose([plain.step, heavy.step, ahead.step], [2.0 / 8.08, 4.0 / (8**0.5 + 0.08**0.5) ** 2, 1.0 / 8.0])
    assert_allclose([heavy.momentum, ahead.momentum], [(9.0 / 11.0) ** 2, 9.0 / 11.0])
    few = decide(GradientDescent(update="nesterov").completed(), shape, 60)
    assert_allclose(few.momentum, 1.0 / 3.0)  # sqrt(kappa) = 60 / 30
    noisy = decide(GradientDescent(method="stochastic").completed(), shape, 10**6)
    assert_allclose([noisy.step, noisy.decay], [1.0 / 180.0, 0.04 / 180.0])
    assert_allclose(decide(GradientDescent(method="stochastic").completed(), shape, 100).decay, 0.09)


@pytest.mark.parametrize("update", FULL_UPDATES)
def test_the_gradient_shrinks_at_the_rate_of_the_theory(update: str) -> None:
    x, y, _ = table(m=1)
    x[:, 1] = x[:, 0] + 0.03 * x[:, 1]
    found = run(x, y, update=update)
    root = found.condition**0.5
    rate = {
        "plain": (found.condition - 1.0) / (found.condition + 1.0),
        "momentum": (root - 1.0) / (root + 1.0),
        "nesterov": 1.0 - 1.0 / root,
    }[update]
    late = slice(len(found.path) // 2, None)
    slope = np.polyfit(found.path.steps[late], np.log(found.path.gradient[late]), 1)[0]
    assert_allclose(slope, np.log(rate), rtol=0.001 if update == "plain" else 0.15)
    assert found.condition > 500


# Batches ------------------------------------------------------------------------------------------------------


def test_batches_hover_with_a_constant_step_and_converge_with_a_decaying_one_or_averaged() -> None:
    x, y, weights = table(600, m=1)
    best = loss(x, y, weights, *closed_form(x, y, weights, True))
    choices = {"method": "mini-batch", "batch_size": 8, "max_epochs": 60, "tol": 1e-6}
    with pytest.warns(ConvergenceWarning, match="With a constant step it hovers about the solution"):
        constant = run(x, y, weights, schedule="constant", step=0.1, **choices)
    with pytest.warns(ConvergenceWarning, match="Raise max_epochs or tol, or take larger batches"):
        decaying = run(x, y, weights, step=0.1, **choices)
    averaged = quietly(x, y, weights, schedule="constant", step=0.1, average=True, **choices)
    over = [found.path.loss[-1] / best - 1.0 for found in (constant, decaying, averaged)]
    assert over[0] > 1e-3
    assert max(over[1:]) < 1e-4


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("method", ["stochastic", "mini-batch"])
def test_batches_converge_by_default(method: str, update: str) -> None:
    x, y, _ = table(500, 3, 1)
    found = run(x, y, method=method, update=update)
    residual = y - found.intercept - x @ found.coef
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    assert found.converged
    assert_allclose(found.path.gradient[-1], np.abs(z.T @ residual).max() / len(z) / y.std(), rtol=1e-9)
    assert found.path.gradient[-1] <= 1e-3
    assert found.n_steps % {"stochastic": 500, "mini-batch": 16}[method] == 0
    assert found.path.epochs[-1] == found.n_steps / {"stochastic": 500, "mini-batch": 16}[method]


def test_the_average_weighs_each_point_by_its_step() -> None:
    x, y, _ = table(10)
    choices = {"method": "mini-batch", "batch_size": 10, "tol": 0, "step": 0.2, "decay": 0.1}
    points = [run(x, y, **choices, max_epochs=t) for t in range(1, 6)]
    found = run(x, y, **choices, max_epochs=5, average=True)
    expected = np.average([point.coef for point in points], axis=0, weights=[1, 2, 3, 4, 5])
    assert_allclose(found.coef, expected, rtol=1e-12)


def test_the_seed_decides_the_order_and_nothing_else_does() -> None:
    x, y, weights = table(400)
    choices = {"method": "mini-batch", "max_epochs": 3, "tol": 0.0}
    one, same, other = (run(x, y, weights, seed=seed, **choices) for seed in (1, 1, 2))
    assert_array_equal(one.coef, same.coef)
    assert not np.array_equal(one.coef, other.coef)


@pytest.mark.parametrize("method", ["full", "mini-batch"])
def test_threads_change_no_bit(method: str) -> None:
    x, y, weights = table(20_000, 40)
    with threadpoolctl.threadpool_limits(1):
        one = quietly(x, y, weights, method=method, max_epochs=20)
    with threadpoolctl.threadpool_limits(2):
        two = quietly(x, y, weights, method=method, max_epochs=20)
    assert_array_equal(one.coef, two.coef)
    assert_array_equal(one.path.loss, two.path.loss)


# What changes nothing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("update", UPDATES)
def test_units_change_nothing_but_the_units(update: str) -> None:
    x, y, weights = table()
    scale = 10.0 ** np.array([-9, 6, 0, 3, -2])
    for method in ("full", "mini-batch"):
        plain = quietly(x, y, weights, update=update, method=method, max_epochs=300)
        rescaled = quietly(x * scale + scale, 1e5 * y, weights, update=update, method=method, max_epochs=300)
        assert rescaled.n_steps == plain.n_steps
        assert_allclose(rescaled.coef * scale[:, None], 1e5 * plain.coef, rtol=1e-8, atol=1e-6)
        assert_allclose(rescaled.path.loss, 1e10 * plain.path.loss, rtol=1e-8)


def test_integer_weights_are_repeated_rows_and_zero_weights_absent_ones() -> None:
    x, y, weights = table()
    times = weights.astype(int)
    weighted, repeated = run(x, y, weights), run(np.repeat(x, times, axis=0), np.repeat(y, times, axis=0))
    assert weighted.n_steps == repeated.n_steps
    assert_allclose(weighted.coef, repeated.coef, rtol=1e-10)
    kept = weights > 0
    for method in ("full", "stochastic", "mini-batch"):
        whole = quietly(x, y, weights, method=method, max_epochs=30)
        without = quietly(x[kept], y[kept], weights[kept], method=method, max_epochs=30)
        assert whole.n_steps == without.n_steps
        assert_allclose(whole.coef, without.coef, rtol=1e-10)


def test_targets_do_not_see_each_other() -> None:
    x, y, weights = table(m=3)
    together = run(x, y, weights, tol=0, max_epochs=50)
    for t in range(3):
        alone = run(x, y[:, [t]], weights, tol=0, max_epochs=50)
        assert_allclose(together.coef[:, [t]], alone.coef, rtol=1e-12)
        assert_allclose(together.intercept[t], alone.intercept[0], rtol=1e-12)


def test_constants_are_left_alone() -> None:
    x = np.c_[np.full(30, 0.1), np.linspace(0, 1, 30), np.zeros(30)]
    found = run(x, 3.0 + 4.0 * x[:, [1]])
    assert_allclose(found.coef[:, 0], [0.0, 4.0, 0.0], atol=1e-11)
    assert_allclose(found.intercept, 3.0, atol=1e-11)
    for method in ("full", "stochastic"):
        for standardise in (True, False):
            nothing = run(x[:, [0, 2]], np.zeros((30, 1)), method=method, standardise=standardise)
            assert (nothing.n_steps, nothing.converged) == (0, True)
            assert_array_equal(nothing.coef, np.zeros((2, 1)))
    single = run(np.array([[2.0, 1.0]]), np.array([[5.0]]))
    assert (single.intercept[0], single.coef.ravel().tolist()) == (5.0, [0.0, 0.0])


def test_numbers_whose_squares_leave_float64() -> None:
    x, y, _ = table()
    big = run(x * 1e200, y)
    assert_allclose(big.coef * 1e200, run(x, y).coef, rtol=1e-9)
    with pytest.raises(InputError, match="The target holds numbers above 1e150"):
        run(x, y * 1e200)
    with pytest.raises(InputError, match="A column holds numbers above 1e150"):
        run(x * 1e200, y, standardise=False)


# The path -----------------------------------------------------------------------------------------------------


def test_a_long_path_is_thinned_evenly_and_keeps_both_ends() -> None:
    x, y, _ = table(500, 3, 1)
    for choices in ({"method": "full"}, {"method": "stochastic"}, {"method": "mini-batch", "batch_size": 10}):
        found = run(x, y, **choices, tol=0, max_epochs=5000 if choices["method"] == "full" else 30)
        steps = found.path.steps
        assert (steps[0], steps[-1]) == (0, found.n_steps)
        assert descent_path.MOST_POINTS / 2 < len(found.path) <= descent_path.MOST_POINTS + 1
        assert len(set(np.diff(steps[:-1]).tolist())) == 1
        assert_allclose(found.path.loss[-1], loss(x, y, None, found.coef, found.intercept), rtol=1e-12)
        assert found.path.loss[0] == pytest.approx(y.var(), rel=1e-12)
        assert np.isnan(found.path.step_size[0])
        assert not np.isnan(found.path.step_size[1:]).any()


def test_the_path_and_its_descent_print() -> None:
    x, y, _ = table()
    found = run(x, y)
    lines = str(found.path).splitlines()
    assert lines[0].split() == ["step", "epoch", "loss", "gradient", "step", "size"]
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].split()[0] == f"{found.n_steps:,}"
    assert str(found).startswith(f"Gradient descent converged after {found.n_steps} steps: the gradient fell to")
    assert str(found).endswith(str(found.path))
    html = found.path._repr_html_()
    assert html.count("<tr>") == len(lines)
    assert f"<td>{found.n_steps:,}</td>" in html


def test_the_plot_has_a_logarithmic_axis_titles_and_a_legend() -> None:
    x, y, _ = table(m=1)
    found = run(x, y)
    best = loss(x, y, None, *closed_form(x, y, None, True))
    spec = found.path.plot(closed_form_loss=best).to_dict()
    encoding, values = spec["encoding"], spec["data"]["values"]
    assert encoding["y"]["scale"]["type"] == "log"
    assert all(encoding[channel]["title"] for channel in ("x", "y", "color"))
    assert spec["title"]
    assert {row["line"] for row in values} == {"gradient descent", "closed form"}
    assert [row["loss"] for row in values if row["line"] == "closed form"] == [best, best]
    assert len(found.path.plot().to_dict()["data"]["values"]) == len(found.path)
    exact = run(x, np.zeros_like(y))  # a loss of zero has no place on a logarithmic axis
    assert exact.path.plot().to_dict()["data"]["values"] == []


# The choices --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"method": "ful"}, "There is no method 'ful'. Did you mean 'full'?"),
        ({"update": "sgd"}, "There is no update 'sgd'."),
        ({"schedule": None}, "There is no schedule None."),
        ({"batch_size": 0}, "batch_size is 0 and must be a whole number from 1 up."),
        ({"batch_size": True}, "batch_size is True"),
        ({"max_epochs": 1.5}, "max_epochs is 1.5 and must be a whole number from 1 up or 'auto'."),
        ({"seed": -1}, "seed is -1 and must be a whole number from 0 up."),
        ({"step": 0.0}, "step is 0.0 and must be a finite number above 0, or 'auto'."),
        ({"step": float("nan")}, "step is nan"),
        ({"step": float("inf")}, "step is inf"),
        ({"step": "big"}, "step is 'big'"),
        ({"momentum": 1.0}, "momentum is 1.0 and must be a finite number from 0 up and below 1, or 'auto'."),
        ({"decay": -1}, "decay is -1 and must be a finite number from 0 up, or 'auto'."),
        ({"tol": -1e-9}, "tol is -1e-09"),
        ({"epsilon": 0}, "epsilon is 0 and must be a finite number above 0."),
        ({"epsilon": "auto"}, "epsilon is 'auto'"),
        ({"betas": (0.9,)}, "betas is (0.9,) and must be a tuple of two numbers."),
        ({"betas": [0.9, 0.99]}, "betas is [0.9, 0.99]"),
        ({"betas": (0.9, 1.0)}, "one of betas is 1.0 and must be a finite number from 0 up and below 1."),
        ({"average": 1}, "average is 1 and must be True or False."),
        ({"standardise": "yes"}, "standardise is 'yes' and must be True or False."),
        ({"schedule": "line-search", "update": "adam"}, "schedule='line-search' needs method='full'"),
        ({"schedule": "line-search", "method": "stochastic"}, "schedule='line-search' needs method='full'"),
        ({"average": True}, "average=True is for 'stochastic' and 'mini-batch'"),
    ],
    ids=str,
)
def test_wrong_choices_are_refused_in_a_sentence(choices: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        GradientDescent(**choices)
    assert str(caught.value).startswith(sentence)


def restored(state: dict[str, Any]) -> GradientDescent:
    source = OpenFile("a file", Parts("this version", None, {}))
    read = State(json.loads(json.dumps(state)), "a descent", source)
    found = GradientDescent.from_state(read)
    source.check_all_read()
    return found


def test_choices_are_values_and_come_back_from_json() -> None:
    for how in (
        GradientDescent(),
        GradientDescent(
            method="mini-batch", batch_size=np.int64(8), update="adam", betas=(0.5, np.float64(0.9)), tol=0.1
        ),
        GradientDescent(schedule="line-search", max_epochs=10, step=np.float64(0.25), standardise=False),
    ):
        assert restored(how.to_state()) == how
        assert hash(restored(how.to_state())) == hash(how)
    with pytest.raises(TypeError):
        GradientDescent("full")  # type: ignore[misc]


@pytest.mark.parametrize("name", sorted(GradientDescent().to_state()))
def test_nonsense_in_stored_choices_is_refused(name: str) -> None:
    for nonsense in (None, -1, "nonsense", [1], {"a": 1}):
        with pytest.raises(HeldoutError):
            restored({**GradientDescent().to_state(), name: nonsense})
    state = GradientDescent().to_state()
    del state[name]
    with pytest.raises(HeldoutError, match=f"'{name}' is missing"):
        restored(state)
