"""Convolutions by kernels of our own, beside XLA's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heldout.neural.layers import Conv2D, Sequential, correlation
from heldout.neural.layers.windows import Window
from heldout.neural.native import correlation as native

# Images, rows, columns, channels, filters, rows and columns of the kernel, zeros above and left, below and right.
CASES = [
    (5, 14, 14, 32, 64, (3, 3), (1, 1), (1, 1)),
    (17, 9, 13, 16, 33, (3, 5), (1, 2), (1, 2)),
    (2, 8, 7, 17, 16, (2, 4), (0, 3), (1, 0)),
    (3, 12, 10, 20, 40, (3, 3), (0, 0), (0, 0)),
    (1, 6, 6, 16, 16, (5, 1), (4, 0), (0, 0)),
    (40, 7, 8, 3, 6, (3, 3), (1, 1), (1, 1)),
]


def settings(case: tuple) -> tuple[tuple[Window, Window], jax.Array, jax.Array, jax.Array]:
    n, height, width, channels, filters, kernel, before, after = case
    rng = np.random.default_rng(0)
    windows = tuple(Window(size, 1, 1, low, high) for size, low, high in zip(kernel, before, after, strict=True))
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
    before = tuple(window.before for window in windows)
    z, pull = jax.vjp(lambda x, weights: correlation._by_xla(windows, 1, x, weights), x, weights)
    by_x, by_weights = pull(delta)
    assert_close(jax.jit(lambda x, w: native.correlate(x, w, before, z.shape[1:3]))(x, weights), z)
    assert_close(jax.jit(lambda x, d: native.weigh(x, d, weights.shape[:2], before))(x, delta), by_weights)
    turned = tuple(window.size - 1 - window.before for window in windows)
    flipped = weights[::-1, ::-1].swapaxes(2, 3)
    assert_close(jax.jit(lambda d, w: native.correlate(d, w, turned, x.shape[1:3]))(delta, flipped), by_x)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kernels are called however little there is to do; which of them were."""
    names: list[str] = []
    for name in ("correlate", "weigh"):

        def noted(*given: object, name: str = name, own: object = getattr(native, name)) -> jax.Array:
            names.append(name)
            return own(*given)

        monkeypatch.setattr(native, name, noted)
    monkeypatch.setattr(correlation, "LEAST_PRODUCTS", 0)
    return names


def test_layers_use_them(called: list[str]) -> None:
    windows, x, weights, delta = settings(CASES[2])
    wanted, pull = jax.vjp(lambda x, weights: correlation._by_xla(windows, 1, x, weights), x, weights)
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


def test_what_they_do_not_know_goes_the_other_way(called: list[str]) -> None:
    def trace(layer: Conv2D) -> None:
        def applied(x: jax.Array) -> jax.Array:
            return layer.apply(*layer.init(jax.random.key(0), (8, 8, 16)), x)[0]

        jax.eval_shape(applied, jnp.ones((2, 8, 8, 16)))

    for layer in (
        Conv2D(16, 3, stride=2),
        Conv2D(16, 3, dilation=2),
        Conv2D(16, 3, groups=2),
        Conv2D(16, 1),
        Conv2D(4, 3),
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
    assert_close(found[1], 2.0 * correlation._by_xla(windows, 1, x, weights))
