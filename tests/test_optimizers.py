"""Optimizers beside PyTorch's over whole trainings, schedules beside their formulas."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradients import computed, error
from heldout.errors import InputError
from heldout.neural import optimizers
from heldout.neural.layers import Dense, Sequential, Tanh
from heldout.neural.losses import SquaredError
from heldout.neural.optimizers import OPTIMIZERS, Optimizer, adam
from heldout.neural.program import Rows
from heldout.neural.schedules import SCHEDULES, Constant, Cosine, OneCycle, Plateau, Step, schedule_of
from heldout.neural.train import Plan, fresh, train

NETWORK = Sequential(Dense(5), Tanh(), Dense(2))
STEPS = 25


def trained(optimizer: Optimizer, **plan: Any) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """Start and end of a training in double precision whose steps take all rows."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    with jax.enable_x64(True):
        begin = fresh(NETWORK, (3,), optimizer, 0)
        settings = {"learning_rate": 0.05, "batch_size": 12, "max_epochs": STEPS, "patience": None} | plan
        how = Plan(SquaredError(), "squared_error", optimizer=optimizer, **settings)
        end = train(NETWORK, begin, Rows(X, y, np.ones(12)), how)
    return begin.params, end.params, X, y


@pytest.mark.parametrize(
    "optimizer",
    [Optimizer("adam"), Optimizer("adamw", weight_decay=0.1, clip_norm=0.5)],
    ids=["adam", "adamw, clipped"],
)
def test_the_kernel_of_adam(optimizer: Optimizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays of one number, of one part and of several, three steps, beside Optax's."""
    rng = np.random.default_rng(0)

    def drawn() -> Any:
        return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}

    weights, gradients = drawn(), [drawn() for _ in range(3)]

    def stepped() -> Any:
        def three(params: Any, given: Any) -> Any:
            memory = optimizer.transformation().init(params)
            for each in given:
                params, memory = optimizer.descended(each, memory, params, 0.01)
            return params, memory

        return three

    monkeypatch.setattr(optimizers, "LEAST_WEIGHTS", 1)
    assert "heldout_adam" in str(jax.make_jaxpr(stepped())(weights, gradients))
    ours = computed(stepped(), weights, gradients)
    monkeypatch.setattr(optimizers, "LEAST_WEIGHTS", 2**40)
    assert error(ours, computed(stepped(), weights, gradients)) < 1e-6


SHAPES = {"bias": (1,), "small": (3, 7), "large": (170, 301)}
TORCH = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "rmsprop": ("RMSprop", {"alpha": 0.999}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {"weight_decay": 0.1}),
}


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("name", TORCH)
def test_trainings_equal_those_of_torch(name: str, clip: float | None) -> None:
    torch = pytest.importorskip("torch")
    kind, options = TORCH[name]
    decay = 0.1 if name == "adamw" else 0.0
    start, end, X, y = trained(Optimizer(name, clip_norm=clip, weight_decay=decay))
    layers = [torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)]
    module = torch.nn.Sequential(*layers).double()
    with torch.no_grad():
        for layer, key in ((layers[0], "dense_1"), (layers[2], "dense_2")):
            layer.weight.copy_(torch.tensor(np.array(start[key]["weights"]).T))
            layer.bias.copy_(torch.tensor(np.array(start[key]["bias"])))
    groups: list[dict[str, Any]] = [{"params": [p for p in module.parameters() if p.ndim > 1]}]
    groups.append({"params": [p for p in module.parameters() if p.ndim == 1], "weight_decay": 0.0})
    optimizer = getattr(torch.optim, kind)(groups, lr=0.05, **options)
    for _ in range(STEPS):
        optimizer.zero_grad()
        (0.5 * (module(torch.tensor(X)) - torch.tensor(y)).square().sum(1).mean()).backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimizer.step()
    near = {"rtol": 1e-8} if clip is None else {"rtol": 1e-4, "atol": 1e-5}  # torch divides by the norm and 1e-6
    for layer, key in ((layers[0], "dense_1"), (layers[2], "dense_2")):
        np.testing.assert_allclose(end[key]["weights"], layer.weight.detach().numpy().T, **near)
        np.testing.assert_allclose(end[key]["bias"], layer.bias.detach().numpy(), **near)


def test_adam_is_that_of_optax() -> None:
    with jax.enable_x64(True):
        params = {"a": jnp.zeros(7)}
        ours, theirs = adam(0.9, 0.999, 1e-8), optax.scale_by_adam(0.9, 0.999, 1e-8)
        one, other = ours.init(params), theirs.init(params)
        for step in range(20):
            gradient = {"a": jax.random.normal(jax.random.key(step), (7,)) * 10.0 ** (step - 10)}
            u, one = ours.update(gradient, one)
            v, other = theirs.update(gradient, other)
            np.testing.assert_allclose(u["a"], v["a"], rtol=1e-10)


def test_penalties_act_on_matrices_alone() -> None:
    l1, l2 = 0.03, 0.2
    start, end, X, y = trained(Optimizer("sgd"), l1=l1, l2=l2, max_epochs=1)

    def objective(params: Any) -> Any:
        loss = SquaredError()(NETWORK.apply(params, {}, X)[0], y).mean()
        matrices = [params[name]["weights"] for name in ("dense_1", "dense_2")]
        return loss + sum(l1 * jnp.abs(w).sum() + l2 / 2 * jnp.square(w).sum() for w in matrices)

    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(objective))(start)
        expected = jax.tree.map(lambda p, g: p - 0.05 * g, start, gradient)
    for a, b in zip(jax.tree.leaves(end), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_schedules() -> None:
    at = np.arange(100.0)
    np.testing.assert_allclose(Constant()(at, 100), 1.0)
    np.testing.assert_allclose(
        Step(drops=3, decay=0.5)(at, 100)[[0, 24, 25, 50, 75, 99]], [1, 1, 0.5, 0.25, 0.125, 0.125]
    )
    np.testing.assert_allclose(Cosine(end=0.1)(at, 100), 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * at / 100)))
    rising = Cosine(warm_up=0.1)(at, 100)
    np.testing.assert_allclose(rising[:10], (at[:10] + 1) / 10)
    assert np.all(np.diff(rising[10:]) < 0) and rising[10] == 1.0
    cycle = OneCycle(peak=0.25)(at, 100)
    assert cycle[0] == pytest.approx(0.04) and cycle.argmax() == 25 and cycle.max() == 1.0 and cycle[-1] < 2e-3
    assert Plateau()(at, 100).tolist() == [1.0] * 100


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Optimizer("adm"), "Did you mean 'adam'"),
        (lambda: Optimizer(beta_1=1.0), "beta_1"),
        (lambda: Optimizer(momentum=-0.1), "momentum"),
        (lambda: Optimizer(epsilon=0.0), "epsilon"),
        (lambda: Optimizer(weight_decay=-1.0), "weight_decay"),
        (lambda: Optimizer(clip_norm=0.0), "clip_norm"),
        (lambda: Constant(warm_up=1.0), "warm_up"),
        (lambda: Step(decay=1.0), "Step needs"),
        (lambda: Plateau(patience=0), "Plateau needs"),
        (lambda: schedule_of("cosin"), "Did you mean 'cosine'"),
    ],
)
def test_nonsense_is_refused(make: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        make()


def test_names_are_complete() -> None:
    assert set(TORCH) == set(OPTIMIZERS)
    assert all(schedule_of(name) is SCHEDULES[name] for name in SCHEDULES)
