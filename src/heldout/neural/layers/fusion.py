"""Layers that are one kernel on the CPU: a convolution, an activation and pooling; batch norm and ReLU.

Max pooling takes most of a convolution's numbers away again. Done image by image, they are never written to memory, nor
are their gradients, nearly all of which are 0. Activations that rise and the bias do not change which number of a
window is the greatest, so that they follow for the few that are left. Of means they come before; the activations alone
are written, since their derivative is a function of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import lax

from heldout.neural.layers.activations import ReLU, Sigmoid, Tanh
from heldout.neural.layers.base import Array, Layer, Params, Shape, State
from heldout.neural.layers.convolution import Conv2D
from heldout.neural.layers.correlation import (
    LEAST_FILTERS,
    by_weights,
    by_xla,
    has_kernel,
    moving,
    sizes,
    spread,
    spread_by_kernel,
    zeros_before,
)
from heldout.neural.layers.normalization import BatchNorm
from heldout.neural.layers.pooling import (
    AveragePool2D,
    MaxPool2D,
    apart,
    average_pool,
    hand_back,
    max_and_place,
)
from heldout.neural.layers.windows import Windows, counts

if TYPE_CHECKING:
    from heldout.neural.native.correlation import Pool


SLOPES: dict[type[Layer], Callable[[Array], Array]] = {  # of activations that rise, from what they give
    ReLU: lambda a: (a > 0.0).astype(a.dtype),
    Tanh: lambda a: 1.0 - a * a,
    Sigmoid: lambda a: a * (1.0 - a),
}


def how_many(layers: Sequence[Layer], x: Array, train: bool) -> int:
    """How many of the first of these layers are one kernel for `x`; 0 for none."""
    if train and len(layers) > 1 and type(layers[0]) is BatchNorm and type(layers[1]) is ReLU:
        return 2
    count = 3 if len(layers) > 2 and type(layers[1]) in SLOPES else 2
    if len(layers) < count:
        return 0
    convolution, pooling = layers[0], layers[count - 1]
    if type(convolution) is not Conv2D:
        return 0
    if type(pooling) is not MaxPool2D and not (type(pooling) is AveragePool2D and count == 3):
        return 0
    windows, outputs = _windows(convolution, x)
    plain = convolution.padding_mode == "zeros" and min(outputs) > 0 and not moving(windows)
    kernel = has_kernel(windows, convolution.groups, x, outputs, convolution.filters)
    if not (plain and kernel and convolution.filters >= LEAST_FILTERS):
        return 0
    return count if apart(pooling._windows(outputs)) else 0


def apply_fused(layers: Sequence[Layer], params: Params, state: State, x: Array) -> tuple[Array, State]:
    """The output of such layers, and the state after it; `params` and `state` are those of the first."""
    first, *between, last = layers
    if isinstance(first, BatchNorm):
        return first.trained(params, state, x, rectified=True)
    assert isinstance(first, Conv2D) and isinstance(last, MaxPool2D | AveragePool2D)
    windows, outputs = _windows(first, x)
    pool, weights = last._windows(outputs), params["weights"]
    if isinstance(last, AveragePool2D):
        (activation,) = between
        bias = params["bias"] if first.use_bias else jnp.zeros(first.filters, x.dtype)
        return correlate_and_average(windows, pool, activation, x, weights, bias), state
    z = first._biased(params, correlate_and_pool(windows, pool, x, weights))
    for layer in between:
        z, _ = layer.apply({}, {}, z)
    return z, state


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def correlate_and_average(
    windows: Windows, pool: Windows, activation: Layer, x: Array, weights: Array, bias: Array
) -> Array:
    """`average_pool(pool, σ(correlate(windows, 1, x, weights) + bias))`."""
    return _average_forward(windows, pool, activation, x, weights, bias)[0]


def _average_forward(
    windows: Windows, pool: Windows, activation: Layer, x: Array, weights: Array, bias: Array
) -> tuple[Array, tuple[Array, ...]]:
    from heldout.neural.native.correlation import correlate, filled

    outputs = counts(windows, x.shape[1:-1])

    def by_kernel(x: Array, weights: Array, bias: Array) -> tuple[Array, Array]:
        return correlate(x, weights, zeros_before(windows), outputs, pool=_means(pool, activation), bias=bias)

    def by_layers(x: Array, weights: Array, bias: Array) -> tuple[Array, Array]:
        a, _ = activation.apply({}, {}, by_xla(windows, 1, x, weights) + bias)
        return average_pool(pool, a), jnp.pad(a, [(0, 0)] * 3 + [(0, filled(a.shape[-1]) - a.shape[-1])])

    mean, a = lax.platform_dependent(x, weights, bias, cpu=by_kernel, default=by_layers)
    return mean, (x, weights, a)


def _means(pool: Windows, activation: Layer) -> Pool:
    from heldout.neural.native.correlation import Pool
    from heldout.neural.native.pooling import ACTIVATIONS, MEAN

    return Pool(MEAN, sizes(pool), ACTIVATIONS.index(activation.called))


def _average_backward(
    windows: Windows, pool: Windows, activation: Layer, kept: tuple[Array, ...], delta: Array
) -> tuple[Array, Array, Array]:
    lengths = kept[0].shape[1:-1]

    def by_kernel(x: Array, weights: Array, a: Array, delta: Array) -> tuple[Array, Array, Array]:
        from heldout.neural.native.correlation import Unpool, weigh

        unpool = Unpool(a.shape[1:-1], _means(pool, activation), a)
        by_x = spread_by_kernel(windows, lengths, delta, weights, unpool)
        return by_x, *weigh(x, delta, sizes(windows), zeros_before(windows), unpool=unpool)

    def by_layers(x: Array, weights: Array, a: Array, delta: Array) -> tuple[Array, Array, Array]:
        a = a[..., : weights.shape[-1]]
        (shares,) = jax.linear_transpose(functools.partial(average_pool, pool), a)(delta)
        deltas = shares * SLOPES[type(activation)](a)
        by_x = spread(windows, 1, lengths, deltas, weights)
        return by_x, by_weights(windows, 1, x, deltas), deltas.sum(axis=(0, 1, 2))

    found: tuple[Array, Array, Array] = lax.platform_dependent(*kept, delta, cpu=by_kernel, default=by_layers)
    return found


correlate_and_average.defvjp(_average_forward, _average_backward)
