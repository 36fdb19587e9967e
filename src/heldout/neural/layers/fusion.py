"""Layers that are one kernel on the CPU: a convolution, perhaps ReLU, and max pooling.

Pooling takes most of a convolution's numbers away again. Done image by image, they are never written to memory, nor are
their gradients, nearly all of which are 0. ReLU and the bias do not change which number of a window is the greatest, so
that they follow for the few that are left.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
from jax import lax

from heldout.neural.layers.activations import ReLU
from heldout.neural.layers.base import Array, Layer, Params, Shape
from heldout.neural.layers.convolution import Conv2D
from heldout.neural.layers.correlation import (
    LEAST_FILTERS,
    by_weights,
    by_xla,
    has_kernel,
    sizes,
    spread,
    spread_by_kernel,
    zeros_before,
)
from heldout.neural.layers.pooling import MaxPool2D, apart, hand_back, max_and_place
from heldout.neural.layers.windows import Windows, counts


def how_many(layers: Sequence[Layer], x: Array) -> int:
    """How many of the first of these layers are one kernel for `x`; 0 for none."""
    count = 3 if len(layers) > 2 and type(layers[1]) is ReLU else 2
    if len(layers) < count:
        return 0
    convolution, pooling = layers[0], layers[count - 1]
    if type(convolution) is not Conv2D or type(pooling) is not MaxPool2D:
        return 0
    windows, outputs = _windows(convolution, x)
    pool = pooling._windows(outputs)
    plain = convolution.padding_mode == "zeros" and apart(pool) and min(outputs) > 0
    kernel = has_kernel(windows, convolution.groups, x, outputs, convolution.filters)
    return count if plain and kernel and convolution.filters >= LEAST_FILTERS else 0


def apply_fused(layers: Sequence[Layer], params: Params, x: Array) -> Array:
    """The output of such layers; `params` are those of the convolution."""
    convolution, *others, pooling = layers
    assert isinstance(convolution, Conv2D) and isinstance(pooling, MaxPool2D)
    windows, outputs = _windows(convolution, x)
    z = convolution._biased(params, correlate_and_pool(windows, pooling._windows(outputs), x, params["weights"]))
    for layer in others:
        z, _ = layer.apply({}, {}, z)
    return z


def _windows(layer: Conv2D, x: Array) -> tuple[Windows, Shape]:
    windows = layer._windows(x.shape[1:-1])
    return windows, counts(windows, x.shape[1:-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def correlate_and_pool(windows: Windows, pool: Windows, x: Array, weights: Array) -> Array:
    """`max_pool(pool, correlate(windows, 1, x, weights))`."""
    return _forward(windows, pool, x, weights)[0]


def _forward(windows: Windows, pool: Windows, x: Array, weights: Array) -> tuple[Array, tuple[Array, ...]]:
    outputs = counts(windows, x.shape[1:-1])
    largest, where = lax.platform_dependent(
        x,
        weights,
        cpu=lambda x, weights: _by_kernel(windows, pool, outputs, x, weights),
        default=lambda x, weights: max_and_place(pool, by_xla(windows, 1, x, weights)),
    )
    return largest, (x, weights, where)


def _by_kernel(windows: Windows, pool: Windows, outputs: Shape, x: Array, weights: Array) -> tuple[Array, Array]:
    from heldout.neural.native.correlation import Pool, correlate  # Numba is imported where it is needed
    from heldout.neural.native.pooling import MAX

    return correlate(x, weights, zeros_before(windows), outputs, pool=Pool(MAX, sizes(pool)))


def _backward(windows: Windows, pool: Windows, kept: tuple[Array, ...], delta: Array) -> tuple[Array, Array]:
    outputs = counts(windows, kept[0].shape[1:-1])

    def by_kernel(x: Array, weights: Array, where: Array, delta: Array) -> tuple[Array, Array]:
        from heldout.neural.native.correlation import Pool, Unpool, weigh
        from heldout.neural.native.pooling import MAX

        unpool = Unpool(outputs, Pool(MAX, sizes(pool)), where)
        by_x = spread_by_kernel(windows, x.shape[1:-1], delta, weights, unpool)
        return by_x, weigh(x, delta, sizes(windows), zeros_before(windows), unpool=unpool)[0]

    def by_layers(x: Array, weights: Array, where: Array, delta: Array) -> tuple[Array, Array]:
        deltas = hand_back(pool, outputs, where, delta)
        return spread(windows, 1, x.shape[1:-1], deltas, weights), by_weights(windows, 1, x, deltas)

    found: tuple[Array, Array] = lax.platform_dependent(*kept, delta, cpu=by_kernel, default=by_layers)
    return found


correlate_and_pool.defvjp(_forward, _backward)
