r"""The recursion of recurrent layers through time, and its derivative: backpropagation through time, by hand.

A cell reads the drive :math:`p_t = x_t W + b` of all its gates side by side, which is worked out for all steps in one
product, and :math:`z_t = h_{t-1} R`. On the way back it turns the gradient by its memory after a step into
:math:`\delta_t`, the gradient by :math:`z_t`, and the gradient by the memory before. What is left is large products
over all steps at once, outside the loop:

.. math:: \nabla_R = \sum_t h_{t-1}^T \delta_t, \qquad \nabla_W = \sum_t x_t^T \nabla_{p_t}, \qquad
          \nabla_{x_t} = \nabla_{p_t} W^T

At padding the memory stays as it is. On the CPU large recursions in single precision go through a kernel of our own
(`native/recurrence.py`); everything else through a loop of XLA's.

P. Werbos, Backpropagation through time, Proceedings of the IEEE 78, 1990. R. Williams and J. Peng, An efficient
gradient-based algorithm for on-line training of recurrent network trajectories, Neural Computation 2, 1990 (truncated).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from heldout.neural.layers.base import Array
from heldout.neural.layers.platform import by_platform

Arrays: TypeAlias = tuple[Array, ...]

KERNELS = {"tanh": "elman", "lstm": "lstm", "gru": "gru"}  # what native/recurrence.py calls cells
LEAST_PRODUCTS = 2**20  # of numbers, from which on the kernel is worth being compiled


class Cell(NamedTuple):
    """One kind of recurrence, with how many numbers of a drive and of a memory (h first) a unit has.

    `forward(p, z, inner, memory)` gives the memory after a step, and what is kept of it. `backward(kept, before, h,
    gradients)` gives the gradients by p, by z, and by the memory before, but for what comes through z; `before` is that
    memory, h the state after the step. What an LSTM keeps ends with c.
    """

    gates: int
    memories: int
    forward: Callable[[Array, Array, Array, Arrays], tuple[Arrays, Array]]
    backward: Callable[[Array, Arrays, Array, Arrays], tuple[Array, Array, Arrays]]


def _tanh(p: Array, z: Array, inner: Array, memory: Arrays) -> tuple[Arrays, Array]:
    h = jnp.tanh(p + z)
    return (h,), h[:, :0]


def _tanh_backward(kept: Array, before: Arrays, h: Array, gradients: Arrays) -> tuple[Array, Array, Arrays]:
    delta = gradients[0] * (1.0 - h * h)
    return delta, delta, (jnp.zeros_like(h),)


def _relu(p: Array, z: Array, inner: Array, memory: Arrays) -> tuple[Arrays, Array]:
    h = jax.nn.relu(p + z)
    return (h,), h[:, :0]


def _relu_backward(kept: Array, before: Arrays, h: Array, gradients: Arrays) -> tuple[Array, Array, Arrays]:
    delta = jnp.where(h > 0.0, gradients[0], 0.0)
    return delta, delta, (jnp.zeros_like(h),)


def _lstm(p: Array, z: Array, inner: Array, memory: Arrays) -> tuple[Arrays, Array]:
    i, f, g, o = jnp.split(p + z, 4, axis=-1)
    i, f, g, o = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)
    c = f * memory[1] + i * g
    return (o * jnp.tanh(c), c), jnp.concatenate([i, f, g, o, c], axis=-1)


def _lstm_backward(kept: Array, before: Arrays, h: Array, gradients: Arrays) -> tuple[Array, Array, Arrays]:
    i, f, g, o, c = jnp.split(kept, 5, axis=-1)
    squashed = jnp.tanh(c)
    by_h, by_c = gradients
    by_c = by_c + by_h * o * (1.0 - squashed * squashed)
    by_gates = (
        by_c * g * i * (1.0 - i),
        by_c * before[1] * f * (1.0 - f),
        by_c * i * (1.0 - g * g),
        by_h * squashed * o * (1.0 - o),
    )
    delta = jnp.concatenate(by_gates, axis=-1)
    return delta, delta, (jnp.zeros_like(h), by_c * f)


def _gru(p: Array, z: Array, inner: Array, memory: Arrays) -> tuple[Arrays, Array]:
    (h,) = memory
    m = h.shape[-1]
    r, u = jnp.split(jax.nn.sigmoid(p[:, : 2 * m] + z[:, : 2 * m]), 2, axis=-1)
    q = z[:, 2 * m :] + inner
    n = jnp.tanh(p[:, 2 * m :] + r * q)
    return (n + u * (h - n),), jnp.concatenate([r, u, n, q], axis=-1)


def _gru_backward(kept: Array, before: Arrays, h: Array, gradients: Arrays) -> tuple[Array, Array, Arrays]:
    r, u, n, q = jnp.split(kept, 4, axis=-1)
    (by_h,) = gradients
    new = by_h * (1.0 - u) * (1.0 - n * n)
    gates = new * q * r * (1.0 - r), by_h * (before[0] - n) * u * (1.0 - u)
    by_p, by_z = (jnp.concatenate([*gates, last], axis=-1) for last in (new, new * r))
    return by_p, by_z, (by_h * u,)


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
def recur(way: Way, drive: Array, weights: Array, inner: Array, there: Array, watch: Array | None) -> Array:
    """The states h (T, n, m) from a memory of 0, for the drive p (T, n, gates m) and R (m, gates m).

    `inner` (m,) is the bias of a GRU within its new state; `there` (T, n) is 1 at steps and 0 at padding.

    `watch` (T, 2) changes nothing, and what is given back for it is no gradient: it is the norms of the gradient by the
    memory after each step, and of what of it is handed on to the memory before, never cut off.
    """
    return _forward(way, drive, weights, inner, there, watch)[0]


def _forward(
    way: Way, drive: Array, weights: Array, inner: Array, there: Array, watch: Array | None
) -> tuple[Array, Any]:
    given = drive, weights, inner, there
    kernel, loop = functools.partial(_kernel, way), functools.partial(_loop, way)
    states, kept = by_platform(*given, cpu=kernel, default=loop, fits=_fits(way, drive, weights))
    return states, (states, kept, weights, inner, there, watch)


def _backward(way: Way, everything: Any, upstream: Array) -> tuple[Array, Array, Array, Array, Array | None]:
    states, kept, weights, inner, there, watch = everything
    zeros = jnp.zeros_like(states[:1])
    before = jnp.concatenate([states[1:], zeros] if way.reverse else [zeros, states[:-1]])
    given = states, before, kept, weights, there, upstream
    norms = None
    if watch is not None:
        by_drive, by_z, norms = _loop_back(way._replace(truncation=None), True, *given)
    else:
        kernel, loop = functools.partial(_kernel_back, way), functools.partial(_loop_back, way, False)
        fits = way.truncation is None and _fits(way, kept, weights)
        by_drive, by_z = by_platform(*given, cpu=kernel, default=lambda *given: loop(*given)[:2], fits=fits)
    m = states.shape[-1]
    rows = by_z.reshape(-1, by_z.shape[-1])
    by_weights = before.reshape(-1, m).T @ rows
    by_inner = rows[:, 2 * m :].sum(axis=0) if way.cell == "gru" else jnp.zeros_like(inner)
    return by_drive, by_weights, by_inner, jnp.zeros_like(there), norms


recur.defvjp(_forward, _backward)


def go_on(cell: str, drive: Array, weights: Array, inner: Array, memory: Arrays, count: Array) -> tuple[Array, Arrays]:
    """The states (k, n, m) of further steps, of which the first `count` are there, and the memory after those."""

    def step(memory: Arrays, at: Any) -> tuple[Arrays, Array]:
        number, p = at
        after, _ = CELLS[cell].forward(p, memory[0] @ weights, inner, memory)
        after = tuple(jnp.where(number < count, new, old) for new, old in zip(after, memory, strict=True))
        return after, after[0]

    memory, states = lax.scan(step, memory, (jnp.arange(len(drive)), drive))
    return states, memory


def _fits(way: Way, drive: Array, weights: Array) -> bool:
    """Whether the kernel can, and is worth it."""
    steps, n, _ = drive.shape
    return way.cell in KERNELS and drive.dtype == jnp.float32 and steps * n * weights.size >= LEAST_PRODUCTS


def _kernel(way: Way, drive: Array, weights: Array, inner: Array, there: Array) -> tuple[Array, Array]:
    from heldout.neural.native.recurrence import forward  # Numba is imported where it is needed

    return forward(KERNELS[way.cell], drive, weights, inner, there, reverse=way.reverse)


def _kernel_back(
    way: Way, states: Array, before: Array, kept: Array, weights: Array, there: Array, upstream: Array
) -> tuple[Array, Array]:
    from heldout.neural.native.recurrence import backward

    return backward(KERNELS[way.cell], states, kept, weights, there, upstream, reverse=way.reverse)


def _loop(way: Way, drive: Array, weights: Array, inner: Array, there: Array) -> tuple[Array, Array]:
    """The states (T, n, m), and what the way back needs (T, n, kept m)."""
    cell = CELLS[way.cell]

    def step(memory: Arrays, at: Any) -> tuple[Arrays, tuple[Array, Array]]:
        p, here = at
        after, kept = cell.forward(p, memory[0] @ weights, inner, memory)
        after = tuple(jnp.where(here[:, None] > 0.0, new, old) for new, old in zip(after, memory, strict=True))
        if cell.memories > 1:  # c as it is at padding
            kept = kept.at[:, -len(weights) :].set(after[1])
        return after, (after[0], kept)

    zeros = jnp.zeros((drive.shape[1], len(weights)), drive.dtype)
    _, (states, kept) = lax.scan(step, (zeros,) * cell.memories, (drive, there), reverse=way.reverse)
    return states, kept


def _loop_back(
    way: Way, watched: bool, states: Array, before: Array, kept: Array, weights: Array, there: Array, upstream: Array
) -> tuple[Array, Array, Array | None]:
    """The gradients by p and by z of each step, and norms (T, 2) where they are watched."""
    cell, m = CELLS[way.cell], len(weights)
    memories: Arrays = (before,)
    if cell.memories > 1:
        c, none = kept[..., -m:], jnp.zeros_like(before[:1])
        memories = before, jnp.concatenate([c[1:], none] if way.reverse else [none, c[:-1]])
    transposed = weights.T

    def step(gradients: Arrays, at: Any) -> tuple[Arrays, Any]:
        own, kept, memory, h, here, passes = at
        gradients = (gradients[0] + own, *gradients[1:])
        here = here[:, None] > 0.0
        given = tuple(jnp.where(here, one, 0.0) for one in gradients)
        by_p, by_z, by_memory = cell.backward(kept, memory, h, given)
        by_memory = (by_memory[0] + by_z @ transposed, *by_memory[1:])
        by_memory = tuple(one + jnp.where(here, 0.0, held) for one, held in zip(by_memory, gradients, strict=True))
        norms = jnp.stack([_norm(gradients), _norm(by_memory)]) if watched else None
        if passes is not None:
            by_memory = tuple(one * passes for one in by_memory)
        return by_memory, (by_p, by_z, norms)

    steps = (upstream, kept, memories, states, there, _passes(way, len(states), states.dtype))
    zeros = jnp.zeros_like(states[0])
    _, (by_drive, by_z, norms) = lax.scan(step, (zeros,) * cell.memories, steps, reverse=not way.reverse)
    return by_drive, by_z, norms


def _norm(arrays: Arrays) -> Array:
    return jnp.sqrt(sum(jnp.square(array).sum() for array in arrays))


def _passes(way: Way, count: int, dtype: Any) -> Array | None:
    """For each step, 1 where the gradient goes on to the one before it, and 0 where it is cut off."""
    if way.truncation is None:
        return None
    passes = (jnp.arange(count) % way.truncation != 0).astype(dtype)
    return passes[::-1] if way.reverse else passes
