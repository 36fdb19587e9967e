r"""The recursion of recurrent layers through time, and its derivative: backpropagation through time, by hand.

A cell reads, for each of its gates k, the drive :math:`p^k_t = x_t W_k + b_k`, which is worked out for all steps in one
product, and the state before it, :math:`h_{t-1} R_k`. On the way back the cell turns the gradient by its memory after a
step into δ, the gradient by each gate's sum, and the gradient by the memory before it. What is left is large products
over all steps at once, outside the loop:

.. math:: \nabla_{R_k} = \sum_t h_{t-1}^T \delta^k_t, \qquad \nabla_{W_k} = \sum_t x_t^T \delta^k_t, \qquad
          \nabla_{x_t} = \sum_k \delta^k_t W_k^T

Each gate is an array by itself: nothing is joined or cut in the loop. At padding the memory stays as it is.

P. Werbos, Backpropagation through time, Proceedings of the IEEE 78, 1990. R. Williams and J. Peng, An efficient
gradient-based algorithm for on-line training of recurrent network trajectories, Neural Computation 2, 1990 (truncated).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from heldout.neural.layers.base import Array

Arrays: TypeAlias = tuple[Array, ...]
Weights: TypeAlias = dict[str, Array]  # "recurrent" (gates, m, m), and "recurrent_bias" (m,) of the GRU


class Cell(NamedTuple):
    """One kind of recurrence.

    `forward(drive, products, weights, memory)` gives the memory after a step, h first, and what backward needs;
    `products` are the h R of each gate. `backward(kept, weights, gradients)` gives δ by each drive, δ by each product,
    and the gradient by the memory before the step but for what comes through the products.
    """

    gates: int
    memories: int
    forward: Callable[[Arrays, Arrays, Weights, Arrays], tuple[Arrays, Arrays]]
    backward: Callable[[Arrays, Weights, Arrays], tuple[Arrays, Arrays, Arrays]]


def _tanh(drive: Arrays, products: Arrays, weights: Weights, memory: Arrays) -> tuple[Arrays, Arrays]:
    h = jnp.tanh(drive[0] + products[0])
    return (h,), (h,)


def _tanh_backward(kept: Arrays, weights: Weights, gradients: Arrays) -> tuple[Arrays, Arrays, Arrays]:
    (h,), (by_h,) = kept, gradients
    delta = (by_h * (1.0 - h * h),)
    return delta, delta, (jnp.zeros_like(h),)


def _relu(drive: Arrays, products: Arrays, weights: Weights, memory: Arrays) -> tuple[Arrays, Arrays]:
    h = jax.nn.relu(drive[0] + products[0])
    return (h,), (h,)


def _relu_backward(kept: Arrays, weights: Weights, gradients: Arrays) -> tuple[Arrays, Arrays, Arrays]:
    (h,), (by_h,) = kept, gradients
    delta = (jnp.where(h > 0.0, by_h, 0.0),)
    return delta, delta, (jnp.zeros_like(h),)


def _lstm(drive: Arrays, products: Arrays, weights: Weights, memory: Arrays) -> tuple[Arrays, Arrays]:
    _, c = memory
    i, f, o = (jax.nn.sigmoid(drive[k] + products[k]) for k in (0, 1, 3))
    g = jnp.tanh(drive[2] + products[2])
    after = f * c + i * g
    squashed = jnp.tanh(after)
    return (o * squashed, after), (c, i, f, g, o, squashed)


def _lstm_backward(kept: Arrays, weights: Weights, gradients: Arrays) -> tuple[Arrays, Arrays, Arrays]:
    c, i, f, g, o, squashed = kept
    by_h, by_c = gradients
    by_c = by_c + by_h * o * (1.0 - squashed * squashed)
    deltas = (
        by_c * g * i * (1.0 - i),
        by_c * c * f * (1.0 - f),
        by_c * i * (1.0 - g * g),
        by_h * squashed * o * (1.0 - o),
    )
    return deltas, deltas, (jnp.zeros_like(by_h), by_c * f)


def _gru(drive: Arrays, products: Arrays, weights: Weights, memory: Arrays) -> tuple[Arrays, Arrays]:
    (h,) = memory
    r, z = (jax.nn.sigmoid(drive[k] + products[k]) for k in (0, 1))
    q = products[2] + weights["recurrent_bias"]
    n = jnp.tanh(drive[2] + r * q)
    return (n + z * (h - n),), (h, r, z, q, n)


def _gru_backward(kept: Arrays, weights: Weights, gradients: Arrays) -> tuple[Arrays, Arrays, Arrays]:
    h, r, z, q, n = kept
    (by_h,) = gradients
    new = by_h * (1.0 - z) * (1.0 - n * n)
    reset, update = new * q * r * (1.0 - r), by_h * (h - n) * z * (1.0 - z)
    return (reset, update, new), (reset, update, new * r), (by_h * z,)


CELLS: dict[str, Cell] = {
    "tanh": Cell(1, 1, _tanh, _tanh_backward),
    "relu": Cell(1, 1, _relu, _relu_backward),
    "lstm": Cell(4, 2, _lstm, _lstm_backward),
    "gru": Cell(3, 1, _gru, _gru_backward),
}


class Way(NamedTuple):
    """How a recursion goes: its cell, whether from the last step to the first, and after how many steps the gradient
    is cut off (None: never)."""

    cell: str
    reverse: bool = False
    truncation: int | None = None


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur(way: Way, drive: Arrays, weights: Weights, mask: Array | None, watch: Array | None) -> Array:
    """The states h (T, n, m) from a memory of 0, for `drive` (T, n, m) of each gate and `mask` (T, n, 1).

    `watch` (T, 2) changes nothing, and what is given back for it is no gradient: it is the norms of the gradient by the
    memory after each step, and of what of it is handed on to the memory before, never cut off.
    """
    return _run(way, drive, weights, mask)[0]


def _run(way: Way, drive: Arrays, weights: Weights, mask: Array | None) -> tuple[Array, Arrays]:
    cell = CELLS[way.cell]
    recurrent = tuple(weights["recurrent"][k] for k in range(cell.gates))

    def step(memory: Arrays, at: Any) -> tuple[Arrays, tuple[Array, Arrays]]:
        given, there = at
        products = tuple(memory[0] @ matrix for matrix in recurrent)
        after, kept = cell.forward(given, products, weights, memory)
        if there is not None:
            after = tuple(jnp.where(there, new, old) for new, old in zip(after, memory, strict=True))
        return after, (after[0], kept)

    zeros = jnp.zeros(drive[0].shape[1:], drive[0].dtype)
    _, (states, kept) = jax.lax.scan(step, (zeros,) * cell.memories, (drive, mask), reverse=way.reverse)
    return states, kept


def _forward(way: Way, drive: Arrays, weights: Weights, mask: Array | None, watch: Array | None) -> tuple[Array, Any]:
    states, kept = _run(way, drive, weights, mask)
    return states, (states, kept, weights, mask, watch)


def _backward(way: Way, everything: Any, upstream: Array) -> tuple[Arrays, Weights, None, Array | None]:
    states, kept, weights, mask, watch = everything
    cell = CELLS[way.cell]
    transposed = tuple(weights["recurrent"][k].T for k in range(cell.gates))

    def step(gradients: Arrays, at: Any) -> tuple[Arrays, Any]:
        own, kept, there, passes = at
        gradients = (gradients[0] + own, *gradients[1:])
        given = gradients if there is None else tuple(jnp.where(there, one, 0.0) for one in gradients)
        by_drive, by_products, before = cell.backward(kept, weights, given)
        through = sum(delta @ matrix for delta, matrix in zip(by_products, transposed, strict=True))
        before = (before[0] + through, *before[1:])
        if there is not None:
            before = tuple(one + jnp.where(there, 0.0, held) for one, held in zip(before, gradients, strict=True))
        norms = None if watch is None else jnp.stack([_norm(gradients), _norm(before)])
        if passes is not None:
            before = tuple(one * passes for one in before)
        return before, (by_drive, by_products, norms)

    passes = None if watch is not None else _passes(way, len(states), states.dtype)
    steps = (upstream, kept, mask, passes)
    zeros = jnp.zeros_like(states[0])
    _, (by_drive, by_products, norms) = jax.lax.scan(step, (zeros,) * cell.memories, steps, reverse=not way.reverse)
    before = jnp.concatenate([states[1:], zeros[None]] if way.reverse else [zeros[None], states[:-1]])
    rows = before.reshape(-1, before.shape[-1])
    products = [delta.reshape(rows.shape) for delta in by_products]
    by_weights = {"recurrent": jnp.stack([rows.T @ delta for delta in products])}
    if "recurrent_bias" in weights:
        by_weights["recurrent_bias"] = products[2].sum(axis=0)
    return by_drive, by_weights, None, norms


recur.defvjp(_forward, _backward)


def _norm(arrays: Arrays) -> Array:
    return jnp.sqrt(sum(jnp.square(array).sum() for array in arrays))


def _passes(way: Way, count: int, dtype: Any) -> Array | None:
    """For each step, 1 where the gradient goes on to the one before it, and 0 where it is cut off."""
    if way.truncation is None:
        return None
    passes = (jnp.arange(count) % way.truncation != 0).astype(dtype)
    return passes[::-1] if way.reverse else passes


# By a kernel of our own, on the CPU: the gates side by side, drive (T, n, gates m) and recurrent (m, gates m).

LEAST_PRODUCTS = 10**7  # of two numbers, from which it is called
KERNELS = {"tanh": "elman", "lstm": "lstm", "gru": "gru"}


def has_kernel(way: Way, x: Array, units: int) -> bool:
    """Whether there is one for this recursion over `x` (T, n, C).

    There is in single precision, on the CPU, and where the gradient is not cut off, if there is work enough.
    """
    device = jax.config.jax_default_device  # type: ignore[attr-defined]
    platform = jax.default_backend() if device is None else getattr(device, "platform", device)
    if way.cell not in KERNELS or way.truncation is not None or x.dtype != jnp.float32 or platform != "cpu":
        return False
    return x.shape[0] * x.shape[1] * units * units * CELLS[way.cell].gates >= LEAST_PRODUCTS


def side_by_side(gates: Array) -> Array:
    """(gates, p, m) as (p, gates m)."""
    return gates.swapaxes(0, 1).reshape(gates.shape[1], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def recur_by_kernel(way: Way, drive: Array, recurrent: Array, bias: Array, there: Array) -> Array:
    """`recur`, with `bias` (m,) inside of the reset gate's product and `there` (T, n) of ones and zeros."""
    return _kernel_forward(way, drive, recurrent, bias, there)[0]


def _kernel_forward(
    way: Way, drive: Array, recurrent: Array, bias: Array, there: Array
) -> tuple[Array, tuple[Array, ...]]:
    from heldout.neural.native.recurrence import forward  # Numba is imported where it is needed

    states, kept = forward(KERNELS[way.cell], drive, recurrent, bias, there, reverse=way.reverse)
    return states, (states, kept, recurrent, there)


def _kernel_backward(way: Way, everything: tuple[Array, ...], upstream: Array) -> tuple[Array, Array, Array, None]:
    from heldout.neural.native.recurrence import backward

    states, kept, recurrent, there = everything
    by_drive, by_products = backward(KERNELS[way.cell], states, kept, recurrent, there, upstream, reverse=way.reverse)
    units = states.shape[-1]
    zeros = jnp.zeros_like(states[:1])
    before = jnp.concatenate([states[1:], zeros] if way.reverse else [zeros, states[:-1]])
    products = by_products.reshape(-1, by_products.shape[-1])
    by_bias = products[:, 2 * units :].sum(axis=0) if way.cell == "gru" else jnp.zeros(units, states.dtype)
    return by_drive, before.reshape(-1, units).T @ products, by_bias, None


recur_by_kernel.defvjp(_kernel_forward, _kernel_backward)
