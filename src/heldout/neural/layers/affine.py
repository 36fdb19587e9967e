"""Affine maps z = f(x) W + b, with an activation or a norm f before the product, or none."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from heldout.neural.layers.activations import GELU, ReLU
from heldout.neural.layers.base import Array, Layer, Params, Shape
from heldout.neural.layers.normalization import LayerNorm
from heldout.neural.layers.platform import by_platform

LEAST_PRODUCTS = 2**22  # from which the kernel is worth being called
MOST_WEIGHTS = 2**18  # a group's part of their gradient stays in the second cache


def has_kernel(before: Layer | None, x: Array, outputs: int) -> bool:
    """Whether f and the product are one kernel on the CPU (`native/affine.py`), which is then the quickest."""
    known = before is None or type(before) in (LayerNorm, ReLU) or before == GELU(approximate=True)
    weights = x.shape[-1] * outputs
    enough = math.prod(x.shape[:-1]) * weights >= LEAST_PRODUCTS
    return known and enough and weights <= MOST_WEIGHTS and x.dtype == jnp.float32


class How(NamedTuple):
    """What comes before the product; whether a shortcut is added; whether one begins, from the x that is returned."""

    before: Layer | None
    added: bool
    goes_on: bool


def affine(
    x: Array, params: Params, before: Layer | None = None, its: Params | None = None, beside: Array | None = None
) -> Array:
    r"""z = f(x) W + b for every row of `x` (..., p), with `weights` W (p, m) and `bias` b (m,), where there is one.

    .. math::
        \nabla_x = f'(x)^T (\delta W^T), \qquad \nabla_W = \sum_i f(x_i)^T \delta_i, \qquad \nabla_b = \sum_i \delta_i

    where :math:`\delta = \partial L / \partial z`, and f is the layer `before`, of weights `its`. `beside` (..., m), a
    shortcut, is added to z.
    """
    return side_by_side(x, [params], before, its, beside)[0]


def side_by_side(
    x: Array,
    maps: Sequence[Params],
    before: Layer | None = None,
    its: Params | None = None,
    beside: Array | None = None,
    goes_on: bool = False,
) -> tuple[Array, Array]:
    """The outputs of several affine maps of equally many columns, as those of one; and x.

    With `goes_on`, what is made of that x beside them has its gradient added on the way back in the same kernel.
    """
    its, weights = its or {}, tuple(params["weights"] for params in maps)
    columns = sum(matrix.shape[1] for matrix in weights)
    if len(maps) > 1 and not (has_kernel(before, x, columns) and _in_panels(columns // len(maps))):
        weights = (jnp.concatenate(weights, axis=1),)
    biased = "bias" in maps[0]
    bias = jnp.concatenate([params["bias"] for params in maps]) if biased else jnp.zeros(columns, x.dtype)
    how = How(before, beside is not None, goes_on)
    z, same = _affine(how, x, weights, bias, its.get("scale", bias[:0]), its.get("shift", bias[:0]), beside)
    return z, same if goes_on else x


def _in_panels(columns: int) -> bool:
    """Whether the kernel takes so many columns of a matrix without a rest."""
    from heldout.neural.native.tiles import WIDE  # Numba is imported where it is needed

    return columns % WIDE == 0


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _affine(
    how: How,
    x: Array,
    weights: tuple[Array, ...],
    bias: Array,
    scale: Array,
    shift: Array,
    beside: Array | None,
) -> tuple[Array, Array]:
    """z, and x."""
    before = how.before

    def by_xla(
        x: Array, weights: tuple[Array, ...], bias: Array, scale: Array, shift: Array, beside: Array | None
    ) -> Array:
        z = _first(before, x, scale, shift) @ jnp.concatenate(weights, axis=1) + bias
        return z if beside is None else z + beside

    def by_kernel(
        x: Array, weights: tuple[Array, ...], bias: Array, scale: Array, shift: Array, beside: Array | None
    ) -> Array:
        from heldout.neural.native.affine import forward

        z = forward(rows_of(x), weights, bias, scale, shift, rows_of(beside), *kernel_terms(before))
        return z.reshape(*x.shape[:-1], z.shape[-1])

    given = x, weights, bias, scale, shift, beside
    z = by_platform(*given, cpu=by_kernel, default=by_xla, fits=has_kernel(before, x, len(bias)))
    return z, x


def _forward(
    how: How, x: Array, weights: tuple[Array, ...], bias: Array, scale: Array, shift: Array, beside: Array | None
) -> tuple[tuple[Array, Array], tuple[Any, ...]]:
    return _affine(how, x, weights, bias, scale, shift, beside), (x, weights, scale, shift)


def _backward(how: How, kept: tuple[Any, ...], upstream: tuple[Array, Array]) -> tuple[Any, ...]:
    (x, weights, scale, shift), (delta, by_same), before = kept, upstream, how.before

    def by_xla(
        x: Array, weights: tuple[Array, ...], scale: Array, shift: Array, delta: Array, passed: Array | None
    ) -> tuple[Any, ...]:
        given, back = jax.vjp(lambda *of: _first(before, *of), x, scale, shift)
        by_weights, by_bias = sums(given, delta)
        by_x, by_scale, by_shift = back(delta @ jnp.concatenate(weights, axis=1).T)
        by_x = by_x if passed is None else by_x + passed
        return by_x, tuple(jnp.split(by_weights, len(weights), axis=1)), by_bias, by_scale, by_shift

    def by_kernel(
        x: Array, weights: tuple[Array, ...], scale: Array, shift: Array, delta: Array, passed: Array | None
    ) -> tuple[Any, ...]:
        from heldout.neural.native.affine import backward

        by_x, by_weights, by_bias, *by_norm = backward(
            rows_of(x), weights, scale, shift, rows_of(delta), rows_of(passed), *kernel_terms(before)
        )
        return by_x.reshape(x.shape), by_weights, by_bias, *(by[: len(scale)] for by in by_norm)

    given = x, weights, scale, shift, delta, by_same if how.goes_on else None
    found = by_platform(*given, cpu=by_kernel, default=by_xla, fits=has_kernel(before, x, delta.shape[-1]))
    return *found, delta if how.added else None


_affine.defvjp(_forward, _backward)


def rows_of(x: Any) -> Any:
    """Rows (n, p) of an array (..., p); of None, None."""
    return None if x is None else x.reshape(-1, x.shape[-1])


def _first(before: Layer | None, x: Array, scale: Array, shift: Array) -> Array:
    """f(x)."""
    return x if before is None else before.apply({"scale": scale, "shift": shift}, {}, x)[0]


def kernel_terms(before: Layer | None) -> tuple[int, float]:
    """What the kernel calls f, and its ε."""
    from heldout.neural.native import affine as native

    if isinstance(before, LayerNorm):
        return native.NORM, before.epsilon
    return {type(None): native.NOTHING, ReLU: native.RELU, GELU: native.GELU}[type(before)], 0.0


def sums(x: Array, delta: Array) -> tuple[Array, Array]:
    """The gradients by W and b, from what is multiplied by W and from δ."""
    rows, deltas = rows_of(x), rows_of(delta)
    by_weights: Array = by_platform(rows, deltas, cpu=_turned_product, default=lambda x, d: x.T @ d)
    return by_weights, _summed(deltas, deltas.shape[1:])


@jax.custom_vjp
def add_bias(z: Array, bias: Array) -> Array:
    """z + b for `z` (..., *F) and `bias` F; the gradient by b is the sum of z's over the axes before."""
    return z + bias


def _summed(delta: Array, shape: Shape) -> Array:
    """The sum over the axes before those of `shape`, as a product with ones: XLA would wake threads for a sum."""
    rows = delta.reshape(-1, math.prod(shape))
    return (jnp.ones(len(rows), rows.dtype) @ rows).reshape(shape)


add_bias.defvjp(lambda z, bias: (z + bias, bias), lambda bias, delta: (delta, _summed(delta, bias.shape)))


def _turned_product(x: Array, d: Array) -> Array:
    """Xᵀ D, with the narrower of the two really turned over first: XLA's own way on the CPU takes a fifth longer."""
    wide, narrow = (x, d) if x.shape[1] > d.shape[1] else (d, x)
    turned: Array = jax.lax.optimization_barrier(narrow.T)  # type: ignore[no-untyped-call]
    product = turned @ wide
    return product.T if wide is x else product
