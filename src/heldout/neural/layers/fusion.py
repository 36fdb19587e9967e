"""Layers that are one kernel on the CPU: a norm or an activation before an affine map; a convolution, an activation and
max pooling; batch norm and ReLU.

Pooling takes most of a convolution's numbers away again. Done image by image, they are never written to memory, nor are
their gradients, nearly all of which are 0. The bias and activations that rise do not change which number of a window is
the greatest, so that they follow for the few that are left.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax

from heldout.neural.layers.activations import Activation, ReLU, Sigmoid, Tanh
from heldout.neural.layers.affine import affine
from heldout.neural.layers.affine import has_kernel as has_affine_kernel
from heldout.neural.layers.attention import MultiHeadAttention
from heldout.neural.layers.base import Array, Layer, Mask, Params, Shape, State
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
from heldout.neural.layers.dense import Dense
from heldout.neural.layers.normalization import BatchNorm, LayerNorm
from heldout.neural.layers.platform import by_platform
from heldout.neural.layers.pooling import MaxPool2D, apart, hand_back, max_and_place
from heldout.neural.layers.windows import Windows, counts

RISING = (ReLU, Tanh, Sigmoid)


def how_many(layers: Sequence[Layer], x: Array, mask: Mask, train: bool) -> int:
    """How many of the first of these layers are one kernel for `x`; 0 for none."""
    if len(layers) > 1 and isinstance(layers[0], (LayerNorm, Activation)) and x.ndim > 1:
        units = _outputs(layers[1], x.shape[-1], train)
        return 2 if units and has_affine_kernel(layers[0], x, units) else 0
    if mask is not None:
        return 0
    if train and len(layers) > 1 and type(layers[0]) is BatchNorm and type(layers[1]) is ReLU:
        return 2
    count = 3 if len(layers) > 2 and type(layers[1]) in RISING else 2
    if len(layers) < count:
        return 0
    convolution, pooling = layers[0], layers[count - 1]
    if type(convolution) is not Conv2D or type(pooling) is not MaxPool2D:
        return 0
    windows, outputs = _windows(convolution, x)
    pool = pooling._windows(outputs)
    plain = convolution.padding_mode == "zeros" and apart(pool) and min(outputs) > 0 and not moving(windows)
    kernel = has_kernel(windows, convolution.groups, x, outputs, convolution.filters)
    return count if plain and kernel and convolution.filters >= LEAST_FILTERS else 0


def _outputs(layer: Layer, width: int, train: bool) -> int:
    """What a layer that begins with an affine map makes of each row first; 0 for another one."""
    if type(layer) is Dense:
        return layer.units or 0
    whole = type(layer) is MultiHeadAttention and layer.memory is None and not (train and layer.random)
    return 3 * width if whole else 0


def attends(layers: Sequence[Layer], x: Array, mask: Mask, train: bool) -> bool:
    """Whether layers are self-attention behind a norm or an activation, whose kernels add a shortcut around both."""
    return len(layers) == 2 and type(layers[1]) is MultiHeadAttention and how_many(layers, x, mask, train) == 2


def apply_fused(
    layers: Sequence[Layer], params: Sequence[Params], state: State, x: Array, mask: Mask, shortcut: bool = False
) -> tuple[Array, State]:
    """The output of such layers, of these `params`, and the state of the first after it, which was `state`.

    With a `shortcut`, which only layers of which `attends` is true know, x is added.
    """
    first, *between, last = layers
    if isinstance(last, Dense):
        return affine(x, params[1], first, params[0]), state
    if isinstance(last, MultiHeadAttention):
        return last.looked(params[1], x, mask, first, params[0], shortcut), state
    if isinstance(first, BatchNorm):
        return first.trained(params[0], state, x, rectified=True)
    assert isinstance(first, Conv2D) and isinstance(last, MaxPool2D)
    windows, outputs = _windows(first, x)
    z = first._biased(params[0], correlate_and_pool(windows, last._windows(outputs), x, params[0]["weights"]))
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
    largest, where = by_platform(
        x,
        weights,
        cpu=lambda x, weights: _by_kernel(windows, pool, outputs, x, weights),
        default=lambda x, weights: max_and_place(pool, by_xla(windows, 1, x, weights)),
    )
    return largest, (x, weights, where)


def _by_kernel(windows: Windows, pool: Windows, outputs: Shape, x: Array, weights: Array) -> tuple[Array, Array]:
    from heldout.neural.native.correlation import correlate  # Numba is imported where it is needed

    return correlate(x, weights, zeros_before(windows), outputs, pool=sizes(pool))


def _backward(windows: Windows, pool: Windows, kept: tuple[Array, ...], delta: Array) -> tuple[Array, Array]:
    outputs = counts(windows, kept[0].shape[1:-1])

    def by_kernel(x: Array, weights: Array, where: Array, delta: Array) -> tuple[Array, Array]:
        from heldout.neural.native.correlation import Unpool, weigh

        unpool = Unpool(outputs, sizes(pool), where)
        by_x = spread_by_kernel(windows, x.shape[1:-1], delta, weights, unpool)
        return by_x, weigh(x, delta, sizes(windows), zeros_before(windows), unpool=unpool)

    def by_layers(x: Array, weights: Array, where: Array, delta: Array) -> tuple[Array, Array]:
        deltas = hand_back(pool, outputs, where, delta)
        return spread(windows, 1, x.shape[1:-1], deltas, weights), by_weights(windows, 1, x, deltas)

    found: tuple[Array, Array] = by_platform(*kept, delta, cpu=by_kernel, default=by_layers)
    return found


correlate_and_pool.defvjp(_forward, _backward)
