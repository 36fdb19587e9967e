"""The sum that convolutional layers are made of, its transpose, and the derivatives of both.

On the CPU they are matrix products, or kernels of our own where those are quicker; elsewhere XLA's own convolution.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import lax

from heldout.neural.layers.base import Array, Shape
from heldout.neural.layers.platform import by_platform
from heldout.neural.layers.windows import Windows, counts, pad, put_back, seen, total

if TYPE_CHECKING:
    from heldout.neural.native.correlation import Unpool


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def correlate(windows: Windows, groups: int, x: Array, weights: Array) -> Array:
    r"""The cross-correlation of `x` (n, ..., C) with `weights` (..., C / groups, F), as (n, ..., F).

    .. math:: z_{p f} = \sum_{t, c} x_{S p + D t - P,\, c} W_{t c f}

    over the positions t of the window and the channels c, with stride S, dilation D and P zeros around x. With
    :math:`\delta = \partial L / \partial z`, every x that a z has seen gets its share back, and so does every weight:

    .. math::
        \nabla_{x_{q c}} = \sum_{t, f} \delta_{(q + P - D t) / S,\, f} W_{t c f}, \qquad
        \nabla_{W_{t c f}} = \sum_p x_{S p + D t - P,\, c} \, \delta_{p f}

    (over all rows; terms whose index is no whole number are absent). The first is a convolution: t has turned its sign,
    so that the kernel is flipped. The second is the correlation of the input with δ.
    """
    found: Array = by_platform(
        x,
        weights,
        cpu=functools.partial(_products, windows, groups),
        default=functools.partial(by_xla, windows, groups),
    )
    return found


def _kept(windows: Windows, groups: int, x: Array, weights: Array) -> tuple[Array, tuple[Array, Array]]:
    return correlate(windows, groups, x, weights), (x, weights)


def _gradients(windows: Windows, groups: int, kept: tuple[Array, Array], delta: Array) -> tuple[Array, Array]:
    x, weights = kept
    return spread(windows, groups, x.shape[1:-1], delta, weights), by_weights(windows, groups, x, delta)


correlate.defvjp(_kept, _gradients)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def spread(windows: Windows, groups: int, lengths: Shape, delta: Array, weights: Array) -> Array:
    r"""The transpose of `correlate` by x: every number of `delta` (n, ..., F) spread over what it was made of.

    .. math:: x_{q c} = \sum_{t, f} \delta_{(q + P - D t) / S,\, f} W_{t c f}

    It is (n, *lengths, C). Its own derivatives are `correlate` and the correlation of its output's gradient with
    `delta`.
    """
    found: Array = by_platform(
        delta,
        weights,
        cpu=functools.partial(_spread_products, windows, groups, lengths),
        default=functools.partial(_spread_by_xla, windows, groups, lengths),
    )
    return found


def _spread_kept(
    windows: Windows, groups: int, lengths: Shape, delta: Array, weights: Array
) -> tuple[Array, tuple[Array, Array]]:
    return spread(windows, groups, lengths, delta, weights), (delta, weights)


def _spread_gradients(
    windows: Windows, groups: int, lengths: Shape, kept: tuple[Array, Array], upstream: Array
) -> tuple[Array, Array]:
    delta, weights = kept
    return correlate(windows, groups, upstream, weights), by_weights(windows, groups, upstream, delta)


spread.defvjp(_spread_kept, _spread_gradients)


def by_weights(windows: Windows, groups: int, x: Array, delta: Array) -> Array:
    """The gradient of `correlate` by the weights, from that by its output."""
    found: Array = by_platform(
        x,
        delta,
        cpu=functools.partial(_weight_products, windows, groups),
        default=functools.partial(_weights_by_xla, windows, groups),
    )
    return found


# On the CPU.


def _ready(x: Array) -> Array:
    """`x`, made before it is read: XLA would fuse what it comes from into every reading, nine for 3 by 3."""
    made: Array = lax.optimization_barrier(x)  # type: ignore[no-untyped-call]
    return made


LEAST_PRODUCTS = 10**6  # of two numbers, from which a kernel of our own is called
LEAST_WIDTH = 5  # of outputs: in narrower ones it works out too many that are thrown away
LEAST_FILTERS = 4  # with fewer, its tiles are nearly empty


def has_kernel(windows: Windows, groups: int, x: Array, outputs: Shape, filters: int) -> bool:
    """Whether there is a kernel of our own for windows that see `x` (n, ..., C) from places in `outputs`, (n, ..., F).

    There is for two axes, single precision, dilations of 1, and no more zeros than a window covers.
    """
    plain = all(window.dilation == 1 for window in windows)
    if len(windows) != 2 or groups > 1 or x.dtype != jnp.float32 or not plain or outputs[1] < LEAST_WIDTH:
        return False
    covered = all(0 <= zeros < window.size for window in windows for zeros in (window.before, window.after))
    seen_by_each = x.shape[-1] * windows[0].size * windows[1].size
    return covered and x.shape[0] * outputs[0] * outputs[1] * filters * seen_by_each >= LEAST_PRODUCTS


def spread_by_kernel(
    windows: Windows, lengths: Shape, delta: Array, weights: Array, unpool: Unpool | None = None
) -> Array:
    """`spread` by a kernel: that of `correlate` with flipped weights where windows stop everywhere.

    With `unpool` of a pooled output's `delta`; windows then do stop everywhere.
    """
    from heldout.neural.native import correlation as native

    if moving(windows):
        return native.spread(delta, weights, zeros_before(windows), lengths, steps(windows))
    flipped = weights[::-1, ::-1].swapaxes(2, 3)
    return native.correlate(delta, flipped, zeros_before(_other_way(windows)), lengths, unpool=unpool)[0]


def zeros_before(windows: Windows) -> Shape:
    return tuple(window.before for window in windows)


def sizes(windows: Windows) -> Shape:
    return tuple(window.size for window in windows)


def steps(windows: Windows) -> Shape:
    return tuple(window.stride for window in windows)


def _other_way(windows: Windows) -> Windows:
    """The windows by which outputs are seen from inputs."""
    return tuple(
        window._replace(before=window.size - 1 - window.before, after=window.size - 1 - window.after)
        for window in windows
    )


def moving(windows: Windows) -> bool:
    return any(window.stride > 1 for window in windows)


def _tiled(windows: Windows) -> bool:
    """Whether they are more than a plain product of matrices."""
    return moving(windows) or any(window.size > 1 for window in windows)


def _products(windows: Windows, groups: int, x: Array, weights: Array) -> Array:
    channels, filters = weights.shape[-2:]
    outputs = counts(windows, x.shape[1:-1])
    if filters >= LEAST_FILTERS and _tiled(windows) and has_kernel(windows, groups, x, outputs, filters):
        from heldout.neural.native.correlation import correlate as by_kernel  # Numba is imported where it is needed

        return by_kernel(x, weights, zeros_before(windows), outputs, steps=steps(windows))[0]
    parts = _seen(windows, x if channels == 1 else _ready(x))
    flat = weights.reshape(-1, channels, filters)  # (positions, C / groups, F)
    if groups > 1:
        return total(_grouped(part, tap, groups) for part, tap in zip(parts, flat, strict=True))
    if channels == 1:  # fused into one loop, with no patches
        return total(part * tap for part, tap in zip(parts, flat, strict=True))
    return jnp.concatenate(parts, -1) @ flat.reshape(-1, filters)


def _seen(windows: Windows, x: Array) -> list[Array]:
    return seen(pad(x, windows), windows, counts(windows, x.shape[1:-1]))


def _grouped(x: Array, weights: Array, groups: int) -> Array:
    """`x` (n, ..., C) times `weights` (C / groups, F), group by group."""
    channels, filters = weights.shape
    apart = x.reshape(*x.shape[:-1], groups, channels)
    if channels == 1:
        z = apart * weights.reshape(groups, -1)
    else:
        z = jnp.einsum("...gc,cgf->...gf", apart, weights.reshape(channels, groups, -1))
    return z.reshape(*x.shape[:-1], filters)


def _spread_products(windows: Windows, groups: int, lengths: Shape, delta: Array, weights: Array) -> Array:
    channels, filters = weights.shape[-2:]
    if channels >= LEAST_FILTERS and _tiled(windows):
        whole = (windows, delta.shape[1:-1]) if moving(windows) else (_other_way(windows), lengths)
        if has_kernel(whole[0], groups, delta, whole[1], channels):
            return spread_by_kernel(windows, lengths, delta, weights)
    delta = _ready(delta)
    if groups == 1:  # one product for all positions of the window
        wide = delta @ weights.reshape(-1, filters).T
        return put_back(jnp.split(wide, wide.shape[-1] // channels, axis=-1), windows, lengths)
    taps = _turned(weights, groups).reshape(-1, filters // groups, groups * channels)
    return put_back([_grouped(delta, tap, groups) for tap in taps], windows, lengths)


def _turned(weights: Array, groups: int) -> Array:
    """Weights (..., C / groups, F) as those of the other direction, (..., F / groups, C)."""
    *sizes, channels, filters = weights.shape
    apart = weights.reshape(*sizes, channels, groups, filters // groups)
    return apart.swapaxes(-3, -1).reshape(*sizes, filters // groups, groups * channels)


def _weight_products(windows: Windows, groups: int, x: Array, delta: Array) -> Array:
    if has_kernel(windows, groups, x, delta.shape[1:-1], delta.shape[-1]):
        from heldout.neural.native.correlation import weigh

        return weigh(x, delta, sizes(windows), zeros_before(windows), steps=steps(windows))
    x, delta = _ready(x), _ready(delta)
    channels, filters = x.shape[-1] // groups, delta.shape[-1]
    deltas = delta.reshape(-1, filters)
    if groups == 1:
        patches = jnp.concatenate(_seen(windows, x), -1)  # those of the forward step: made once
        return (patches.reshape(len(deltas), -1).T @ deltas).reshape(*sizes(windows), channels, filters)
    apart = deltas.reshape(-1, groups, filters // groups)
    parts = [part.reshape(-1, groups, channels) for part in _seen(windows, x)]
    found = [jnp.einsum("mgc,mgf->cgf", part, apart) for part in parts]
    return jnp.stack(found).reshape(*sizes(windows), channels, filters)


# Elsewhere.


def _numbers(windows: Windows) -> tuple[str, str, str]:
    axes = "HW"[-len(windows) :]
    return f"N{axes}C", f"{axes}IO", f"N{axes}C"


def by_xla(windows: Windows, groups: int, x: Array, weights: Array) -> Array:
    """`correlate` as XLA's own convolution."""
    z: Array = lax.conv_general_dilated(
        x,
        weights,
        [window.stride for window in windows],
        [(window.before, window.after) for window in windows],
        rhs_dilation=[window.dilation for window in windows],
        dimension_numbers=_numbers(windows),
        feature_group_count=groups,
    )
    return z


def _form(shape: Shape, dtype: Any) -> Any:
    return jax.eval_shape(lambda: jnp.zeros(shape, dtype))


def _spread_by_xla(windows: Windows, groups: int, lengths: Shape, delta: Array, weights: Array) -> Array:
    channels = weights.shape[-2] * groups
    form = _form((delta.shape[0], *lengths, channels), delta.dtype)
    x: Array
    (x,) = jax.linear_transpose(lambda x: by_xla(windows, groups, x, weights), form)(delta)
    return x


def _weights_by_xla(windows: Windows, groups: int, x: Array, delta: Array) -> Array:
    form = _form((*sizes(windows), x.shape[-1] // groups, delta.shape[-1]), delta.dtype)
    weights: Array
    (weights,) = jax.linear_transpose(lambda weights: by_xla(windows, groups, x, weights), form)(delta)
    return weights
