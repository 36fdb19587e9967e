"""Convolutions by kernels of our own, beside XLA's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heldout.neural.layers import Conv2D, MaxPool2D, ReLU, Sequential, Sigmoid, Tanh, correlation, fusion
from heldout.neural.layers.fusion import apply_fused
from heldout.neural.layers.windows import Window
from heldout.neural.native import correlation as native
from kernels import calls

# Images, rows, columns, channels, filters, rows and columns of the kernel, zeros above and left, below and right,
# rows and columns from one place to the next.
CASES = [
    (5, 14, 14, 32, 64, (3, 3), (1, 1), (1, 1), (1, 1)),
    (17, 9, 13, 16, 33, (3, 5), (1, 2), (1, 2), (1, 1)),
    (2, 8, 7, 17, 16, (2, 4), (0, 3), (1, 0), (1, 1)),
    (1, 6, 6, 16, 16, (5, 1), (4, 0), (0, 0), (1, 1)),
    (40, 7, 8, 3, 6, (3, 3), (1, 1), (1, 1), (1, 1)),
    (3, 16, 18, 5, 48, (3, 3), (0, 1), (1, 1), (2, 2)),
    (2, 20, 31, 7, 16, (4, 3), (1, 2), (0, 1), (2, 3)),
    (2, 14, 16, 16, 8, (1, 1), (0, 0), (0, 0), (2, 2)),
]


def settings(case: tuple) -> tuple[tuple[Window, Window], jax.Array, jax.Array, jax.Array]:
    n, height, width, channels, filters, kernel, before, after, steps = case
    rng = np.random.default_rng(0)
    windows = tuple(
        Window(size, step, 1, low, high) for size, step, low, high in zip(kernel, steps, before, after, strict=True)
    )
    x = jnp.asarray(rng.normal(size=(n, height, width, channels)).astype(np.float32))
    weights = jnp.asarray(rng.normal(size=(*kernel, channels, filters)).astype(np.float32))
    places = (windows[0].places(height), windows[1].places(width))
    delta = jnp.asarray(rng.normal(size=(n, *places, filters)).astype(np.float32))
    return windows, x, weights, delta


def assert_close(found: jax.Array, wanted: jax.Array) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=3e-6 * float(jnp.abs(wanted).max()))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_as_xla(case: tuple) -> None:
    windows, x, weights, delta = settings(case)
    before, steps = (tuple(getattr(window, name) for window in windows) for name in ("before", "stride"))
    z, pull = jax.vjp(lambda x, weights: correlation.by_xla(windows, 1, x, weights), x, weights)
    by_x, by_weights = pull(delta)

    @jax.jit
    def found(x: jax.Array, weights: jax.Array, delta: jax.Array) -> tuple[jax.Array, ...]:
        return (
            native.correlate(x, weights, before, z.shape[1:3], steps=steps)[0],
            correlation.spread_by_kernel(windows, x.shape[1:3], delta, weights),
            native.weigh(x, delta, weights.shape[:2], before, steps=steps),
        )

    for a, b in zip(found(x, weights, delta), (z, by_x, by_weights), strict=True):
        assert_close(a, b)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels are called however little there is to do; which of them were."""
    monkeypatch.setattr(correlation, "LEAST_PRODUCTS", 0)
    return calls(monkeypatch, native, "correlate", "weigh", "spread")


def test_layers_use_them(called: list[str]) -> None:
    windows, x, weights, delta = settings(CASES[2])
    wanted, pull = jax.vjp(lambda x, weights: correlation.by_xla(windows, 1, x, weights), x, weights)
    found, back = jax.vjp(lambda x, weights: correlation.correlate(windows, 1, x, weights), x, weights)
    assert_close(found, wanted)
    for a, b in zip(back(delta), pull(delta), strict=True):
        assert_close(a, b)
    assert called == ["correlate", "correlate", "weigh"]
    # the transposed layer's own derivatives
    spread, back = jax.vjp(lambda d, w: correlation.spread(windows, 1, x.shape[1:3], d, w), delta, weights)
    assert_close(spread, pull(delta)[0])
    assert called[3:] == ["correlate"]
    assert_close(back(x)[0], wanted)


POOLED = {
    "max": (MaxPool2D((3, 2)),),
    "relu, max": (ReLU(), MaxPool2D()),
    "tanh, max": (Tanh(), MaxPool2D()),
    "sigmoid, max": (Sigmoid(), MaxPool2D((1, 2))),
}


@pytest.mark.parametrize(("name", "ours"), [*((name, True) for name in POOLED), ("max", False)])
def test_pooling_in_the_kernel(called: list[str], monkeypatch: pytest.MonkeyPatch, name: str, ours: bool) -> None:
    if not ours:  # what other platforms do
        for module in (correlation, fusion):
            monkeypatch.setattr(module, "by_platform", lambda *given, cpu, default: default(*given))
    network = Sequential(Conv2D(8, 1), Conv2D(17, 3, padding=1), *POOLED[name])
    params, state = network.init(jax.random.key(0), (9, 13, 3))
    params["conv2d_2"]["bias"] = jnp.linspace(-1.0, 1.0, 17)
    x = jax.random.normal(jax.random.key(1), (5, 9, 13, 3))

    def loss(params: dict, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = network.apply(params, state, x)[0]
        return jnp.square(y).sum(), y

    def layer_by_layer(params: dict, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        for name, layer in zip(network.names, network.layers, strict=True):
            x = layer.apply(params.get(name, {}), {}, x)[0]
        return jnp.square(x).sum(), x

    found, y = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)
    wide = ["correlate", "correlate", "weigh"]
    assert called == ([*wide, "weigh"] if ours else [])  # the layer of 1 x 1 has a kernel for its weights alone
    wanted, plain = jax.grad(layer_by_layer, argnums=(0, 1), has_aux=True)(params, x)
    assert_close(y, plain)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert_close(a, b)
    assert bool(jnp.isnan(network.apply(params, state, x.at[2, 4, 5, 0].set(jnp.nan))[0][2]).any())


def test_the_first_of_equal_numbers_is_the_maximum(called: list[str]) -> None:
    layers = Conv2D(16, 2, padding=((0, 1), (0, 1)), use_bias=False), MaxPool2D(2)
    x = jnp.ones((1, 6, 6, 2))
    params = {"weights": jnp.zeros((2, 2, 2, 16)).at[0, 0].set(1.0)}
    pulled = jax.grad(lambda x: apply_fused(layers, [params], {}, x, None)[0].sum())(x)
    wanted = np.zeros((1, 6, 6, 2))
    wanted[:, ::2, ::2] = 16.0
    np.testing.assert_array_equal(pulled, wanted)


def test_what_they_do_not_know_goes_the_other_way(called: list[str]) -> None:
    def trace(layer: Conv2D) -> None:
        def applied(x: jax.Array) -> jax.Array:
            return layer.apply(*layer.init(jax.random.key(0), (8, 8, 16)), x)[0]

        jax.eval_shape(applied, jnp.ones((2, 8, 8, 16)))

    for layer in (
        Conv2D(16, 3, dilation=2),
        Conv2D(16, 3, groups=2),
        Conv2D(16, 1),
        Conv2D(3, 3),
        Conv2D(16, 5),
        Conv2D(16, 3, padding=((3, 3), (0, 0))),
    ):
        trace(layer)
    with jax.enable_x64(True):
        trace(Conv2D(16, 3))
    assert called == []
    trace(Conv2D(16, 3))
    assert called == ["correlate"]


def test_many_at_once_and_inside_of_loops(called: list[str]) -> None:
    network = Sequential(Conv2D(16, 3, padding="same"), Conv2D(16, 3, padding="same"))
    params, state = network.init(jax.random.key(0), (8, 8, 16))
    x = jax.random.normal(jax.random.key(1), (6, 8, 8, 16))

    @jax.jit
    def repeated(x: jax.Array) -> jax.Array:
        def step(_: int, x: jax.Array) -> jax.Array:
            return x + 0.01 * jax.grad(lambda x: jnp.square(network.apply(params, state, x)[0]).mean())(x)

        return jax.lax.fori_loop(0, 20, step, x)

    wanted = np.asarray(repeated(x))
    with ThreadPoolExecutor(6) as pool:  # more callers than XLA has threads, each of which waits for helpers
        for found in pool.map(lambda _: np.asarray(repeated(x)), range(12)):
            np.testing.assert_array_equal(found, wanted)


def test_a_batch_of_batches(called: list[str]) -> None:
    windows, x, weights, _ = settings(CASES[0])
    several = jnp.stack([weights, 2.0 * weights])
    found = jax.vmap(lambda weights: correlation.correlate(windows, 1, x, weights))(several)
    assert_close(found[1], 2.0 * correlation.by_xla(windows, 1, x, weights))
