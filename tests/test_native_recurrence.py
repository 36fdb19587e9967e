"""Recurrences by the kernel, beside a scan of XLA's and its automatic differentiation."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from heldout.neural.layers import GRU, LSTM, RNN, Layer
from heldout.neural.layers import recurrence as layers_recurrence
from heldout.neural.native import functions, recurrence


def by_scan(
    kind: str, reverse: bool, projected: jax.Array, weights: jax.Array, inner: jax.Array, there: jax.Array
) -> jax.Array:
    units = len(weights)

    def step(state: tuple[jax.Array, jax.Array], given: tuple[jax.Array, jax.Array]) -> tuple:
        (h, c), (p, here) = state, given
        z, new_c = h @ weights, c
        if kind == "elman":
            new = jnp.tanh(p + z)
        elif kind == "lstm":
            i, f, g, o = jnp.split(p + z, 4, axis=1)
            new_c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            new = jax.nn.sigmoid(o) * jnp.tanh(new_c)
        else:
            r, u = jnp.split(jax.nn.sigmoid((p + z)[:, : 2 * units]), 2, axis=1)
            n = jnp.tanh(p[:, 2 * units :] + r * (z[:, 2 * units :] + inner))
            new = (1 - u) * n + u * h
        here = here[:, None] > 0
        state = jnp.where(here, new, h), jnp.where(here, new_c, c)
        return state, state[0]

    zeros = jnp.zeros((projected.shape[1], units), projected.dtype)
    return jax.lax.scan(step, (zeros, zeros), (projected, there), reverse=reverse)[1]


def assert_close(found: jax.Array, wanted: jax.Array) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * max(float(jnp.abs(wanted).max()), 1e-3))


@pytest.mark.parametrize(("n", "steps", "units", "reverse"), [(5, 7, 12, False), (33, 4, 40, True), (1, 1, 1, False)])
@pytest.mark.parametrize("kind", recurrence.KINDS)
def test_the_same_as_a_scan(kind: str, n: int, steps: int, units: int, reverse: bool) -> None:
    rng = np.random.default_rng(0)
    width = recurrence.GATES[recurrence.KINDS.index(kind)] * units

    def drawn(*shape: int, scale: float = 1.0) -> jax.Array:
        return jnp.asarray(scale * rng.normal(size=shape).astype(np.float32))

    given = drawn(steps, n, width), drawn(units, width, scale=units**-0.5), drawn(units)
    there = jnp.asarray((rng.random((steps, n)) > 0.3).astype(np.float32))
    deltas = drawn(steps, n, units)
    outputs, pull = jax.vjp(lambda *given: by_scan(kind, reverse, *given, there), *given)
    by_p, by_weights, by_inner = pull(deltas)

    found, back = jax.jit(partial(recurrence.forward, kind, reverse=reverse))(*given, there)
    assert_close(found, outputs)
    by_inputs, by_product = jax.jit(partial(recurrence.backward, kind, reverse=reverse))(
        found, back, given[1], there, deltas
    )
    assert_close(by_inputs, by_p)
    nothing = jnp.zeros_like(found[:1])
    before = jnp.concatenate([found[1:], nothing] if reverse else [nothing, found[:-1]])
    assert_close(before.reshape(-1, units).T @ by_product.reshape(-1, width), by_weights)
    if kind == "gru":
        assert_close(by_product[..., 2 * units :].sum((0, 1)), by_inner)


@pytest.mark.parametrize("layer", [RNN(9), LSTM(9, bidirectional=True), GRU(9, layers=2, bidirectional=True)], ids=str)
def test_layers_are_the_same_by_it(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    params, state = layer.init(jax.random.key(0), (6, 5))
    x = jax.random.normal(jax.random.key(1), (4, 6, 5))
    mask = jnp.arange(6) < jnp.array([[6], [3], [1], [5]])

    def loss(params: dict, x: jax.Array) -> jax.Array:
        return jnp.square(layer.apply_masked(params, state, x, mask)[0]).sum()

    wanted = jax.grad(loss, argnums=(0, 1))(params, x)
    calls: list[str] = []
    own = recurrence.forward
    monkeypatch.setattr(
        recurrence, "forward", lambda kind, *given, **named: calls.append(kind) or own(kind, *given, **named)
    )
    monkeypatch.setattr(layers_recurrence, "LEAST_PRODUCTS", 0)
    found = jax.grad(loss, argnums=(0, 1))(params, x)
    assert len(calls) == {"RNN": 1, "LSTM": 2, "GRU": 4}[type(layer).__name__]
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert_close(a, b)


def test_functions_are_exact_to_the_last_digits() -> None:
    small = np.geomspace(1e-30, 1.0, 2000)
    z = np.concatenate([np.linspace(-86.0, 100.0, 4001), small, -small]).astype(np.float32)
    exact = z.astype(np.float64)
    tanh = np.array([functions.tanh(value) for value in z])
    np.testing.assert_allclose(tanh, np.tanh(exact), rtol=3e-7, atol=0)
    sigmoid = np.array([functions.sigmoid(value) for value in z])
    np.testing.assert_allclose(sigmoid, 1.0 / (1.0 + np.exp(-exact)), rtol=3e-7, atol=0)
