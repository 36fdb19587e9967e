"""Perceptrons with one hidden layer as one operation: y = x + σ(f(x) W¹ + b¹) W² + b², f layer norm or nothing."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from heldout.neural.layers.activations import GELU, ReLU
from heldout.neural.layers.affine import LEAST_PRODUCTS, MOST_WEIGHTS, kernel_terms, rows_of
from heldout.neural.layers.base import Array, Layer, Params
from heldout.neural.layers.dense import Dense
from heldout.neural.layers.normalization import LayerNorm
from heldout.neural.layers.platform import by_platform


class Perceptron(NamedTuple):
    """Its layers: f, where there is one, and σ."""

    before: LayerNorm | None
    between: Layer


def perceptron_of(layers: tuple[Layer, ...], x: Array) -> Perceptron | None:
    """What layers around a shortcut are, if it is a perceptron with a kernel on the CPU (`native/perceptron.py`)."""
    before = layers[0] if layers and type(layers[0]) is LayerNorm else None
    rest = layers if before is None else layers[1:]
    if len(rest) != 3 or type(rest[0]) is not Dense or type(rest[2]) is not Dense:
        return None
    between, hidden, width = rest[1], rest[0].units or 0, x.shape[-1]
    if rest[2].units != width or not (type(between) is ReLU or between == GELU(approximate=True)):
        return None
    from heldout.neural.native.tiles import WIDE  # Numba is imported where it is needed

    whole = x.ndim > 1 and width % WIDE == hidden % WIDE == 0 and hidden * width <= MOST_WEIGHTS // 2
    enough = math.prod(x.shape[:-1]) * hidden * width >= LEAST_PRODUCTS
    return Perceptron(before, between) if whole and enough and x.dtype == jnp.float32 else None


def perceive(which: Perceptron, x: Array, params: list[Params]) -> Array:
    """The outputs for `x` (..., p); `params` are the layers', in their order."""
    norm, first, _, second = params if which.before is not None else [{}, *params]
    none = jnp.zeros(0, x.dtype)
    last, bias = (part.get("bias", jnp.zeros(part["weights"].shape[1], x.dtype)) for part in (second, first))
    weights = first["weights"], bias, second["weights"], last, norm.get("scale", none), norm.get("shift", none)
    return _perceive(which, x, *weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _perceive(which: Perceptron, x: Array, *weights: Array) -> Array:
    return _forward(which, x, *weights)[0]


def _forward(which: Perceptron, x: Array, *weights: Array) -> tuple[Array, tuple[Array, ...]]:
    def by_kernel(x: Array, *weights: Array) -> tuple[Array, Array]:
        from heldout.neural.native.perceptron import forward

        first, bias, second, last, scale, shift = weights
        y, hidden = forward(rows_of(x), first, bias, second, last, scale, shift, *_kernel_terms(which))
        return y.reshape(x.shape), hidden

    def by_xla(x: Array, *weights: Array) -> tuple[Array, Array]:
        hidden = jax.eval_shape(by_kernel, x, *weights)[1]
        return _formula(which, x, *weights), jnp.zeros(hidden.shape, hidden.dtype)

    y, hidden = by_platform(x, *weights, cpu=by_kernel, default=by_xla)
    return y, (x, hidden, *weights)


def _backward(which: Perceptron, kept: tuple[Array, ...], delta: Array) -> tuple[Array, ...]:
    def by_kernel(x: Array, hidden: Array, first: Array, _: Array, second: Array, *others: Array) -> tuple[Array, ...]:
        from heldout.neural.native.perceptron import backward

        _, scale, shift, delta = others
        by_x, *by_weights, by_scale, by_shift = backward(
            rows_of(x), hidden, first, second, scale, shift, rows_of(delta), *_kernel_terms(which)
        )
        return by_x.reshape(x.shape), *by_weights, by_scale[: len(scale)], by_shift[: len(shift)]

    def by_xla(x: Array, _: Array, *others: Array) -> tuple[Array, ...]:
        *weights, delta = others
        found: tuple[Array, ...] = jax.vjp(functools.partial(_formula, which), x, *weights)[1](delta)
        return found

    found: tuple[Array, ...] = by_platform(*kept, delta, cpu=by_kernel, default=by_xla)
    return found


_perceive.defvjp(_forward, _backward)


def _formula(
    which: Perceptron, x: Array, first: Array, bias: Array, second: Array, last: Array, scale: Array, shift: Array
) -> Array:
    given = x if which.before is None else which.before.apply({"scale": scale, "shift": shift}, {}, x)[0]
    y: Array = x + which.between.apply({}, {}, given @ first + bias)[0] @ second + last
    return y


def _kernel_terms(which: Perceptron) -> tuple[Any, ...]:
    """What the kernel calls f and σ; ε."""
    before, epsilon = kernel_terms(which.before)
    return before, kernel_terms(which.between)[0], epsilon
