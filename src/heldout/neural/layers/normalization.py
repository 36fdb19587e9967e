"""Batch and layer normalization."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from heldout.errors import InputError
from heldout.neural.layers.base import Array, Key, Layer, Mask, Params, Shape, State, float_type, shape_text
from heldout.neural.layers.masking import beside
from heldout.neural.layers.platform import by_platform

LEAST_NUMBERS = 2**15  # from which a kernel of our own is called


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def normalise(
    x: Array, scale: Array, shift: Array, epsilon: float, rectified: bool = False
) -> tuple[Array, Array, Array]:
    r"""y = γ x̂ + β with the batch's own mean and variance, which are returned beside it; `rectified`: max(0, y).

    With :math:`\delta = \partial L / \partial y` (0 where y is below 0, if rectified) and N numbers to a channel,

    .. math::
        \nabla_\beta = \sum \delta, \qquad \nabla_\gamma = \sum \delta \hat x, \qquad
        \nabla_x = \frac{\gamma}{\sigma} \Big( \delta - \tfrac1N \nabla_\beta - \tfrac1N \hat x \nabla_\gamma \Big)

    Mean and variance are taken as constants by whatever they are used for.
    """
    return _forward(x, scale, shift, epsilon, rectified)[0]


def _forward(
    x: Array, scale: Array, shift: Array, epsilon: float, rectified: bool
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
    mean, variance = _on_this_platform(_moments_by_kernel, _moments, x)
    inverse = lax.rsqrt(variance + epsilon)
    y = (x - mean) * (inverse * scale) + shift
    return (jax.nn.relu(y) if rectified else y, mean, variance), (x, mean, inverse, scale, shift)


def _backward(
    epsilon: float, rectified: bool, kept: tuple[Array, ...], upstream: tuple[Array, Array, Array]
) -> tuple[Array, Array, Array]:
    by_kernel, by_sums = (functools.partial(way, rectified) for way in (_gradients_by_kernel, _gradients))
    found: tuple[Array, Array, Array] = _on_this_platform(by_kernel, by_sums, *kept, upstream[0])
    return found


normalise.defvjp(_forward, _backward)


def _on_this_platform(by_kernel: Callable[..., Any], default: Callable[..., Any], x: Array, *others: Array) -> Any:
    if x.dtype != jnp.float32 or x.size < LEAST_NUMBERS:
        return default(x, *others)
    return by_platform(x, *others, cpu=by_kernel, default=default)


def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and variance over all axes but the last."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axis=axes)
    return mean, jnp.square(x - mean).mean(axis=axes)


def _moments_by_kernel(x: Array) -> tuple[Array, Array]:
    from heldout.neural.native.normalization import moments  # Numba is imported where it is needed

    return moments(x)


def _gradients(
    rectified: bool, x: Array, mean: Array, inverse: Array, scale: Array, shift: Array, delta: Array
) -> tuple[Array, Array, Array]:
    standard = (x - mean) * inverse
    if rectified:
        delta = jnp.where(standard * scale + shift > 0.0, delta, 0.0)
    axes = tuple(range(delta.ndim - 1))
    count = delta.size // delta.shape[-1]
    by_shift = delta.sum(axis=axes)
    by_scale = (delta * standard).sum(axis=axes)
    by_x = scale * inverse * (delta - by_shift / count - standard * by_scale / count)
    return by_x, by_scale, by_shift


def _gradients_by_kernel(
    rectified: bool, x: Array, mean: Array, inverse: Array, scale: Array, shift: Array, delta: Array
) -> tuple[Array, Array, Array]:
    from heldout.neural.native.normalization import backward

    return backward(x, delta, jnp.stack([mean, inverse, scale, shift]), rectified)


@dataclass(frozen=True)
class BatchNorm(Layer):
    r"""Batch normalization: each channel (last axis) gets mean β and standard deviation γ, over batch and places.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta

    In training μ and σ² are those of the mini-batch, and running averages of them are kept; in evaluation the running
    averages stand in, so that a row's output does not depend on the rows beside it.

    Parameters
    ----------
    momentum : float from 0 to below 1, default 0.9
        Share of the running averages that each batch leaves.
    epsilon : float above 0, default 1e-5

    Weights: `scale` γ (c,), `shift` β (c,). State: `mean` (c,), `variance` (c,), the unbiased one.

    References
    ----------
    S. Ioffe and C. Szegedy, Batch Normalization, ICML 2015, algorithms 1 and 2.

    Examples
    --------
    >>> layer = BatchNorm()
    >>> params, state = layer.init(None, (1,))
    >>> x = jnp.array([[1.0], [3.0]])
    >>> y, after = layer.apply(params, state, x, train=True)
    >>> y.round(3).tolist(), round(float(after["mean"][0]), 3)
    ([[-1.0], [1.0]], 0.2)
    """

    momentum: float = 0.9
    epsilon: float = 1e-5

    @property
    def joins_rows(self) -> bool:
        return True

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        channels = self.out_shape(in_shape)[-1]
        zeros, ones = jnp.zeros(channels, float_type()), jnp.ones(channels, float_type())
        return {"scale": ones, "shift": zeros}, {"mean": zeros, "variance": ones}

    def out_shape(self, in_shape: Shape) -> Shape:
        if not 0.0 <= self.momentum < 1.0:
            raise InputError(f"momentum of BatchNorm is {self.momentum!r} and must be from 0 to below 1.")
        return _check(self, self.epsilon, in_shape)

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        if train:
            return self.trained(params, state, x)
        inverse = lax.rsqrt(state["variance"] + self.epsilon)
        return (x - state["mean"]) * (params["scale"] * inverse) + params["shift"], state

    def trained(self, params: Params, state: State, x: Array, rectified: bool = False) -> tuple[Array, State]:
        """`apply` in training, and perhaps ReLU behind it."""
        y, mean, variance = normalise(x, params["scale"], params["shift"], self.epsilon, rectified)
        return y, self._after(state, mean, variance, x.size // x.shape[-1])

    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        """In training mean and variance are those of the steps that are there."""
        if mask is None or not train:
            return *self.apply(params, state, x, train=train, key=key), mask
        there, axes = beside(mask, x).astype(x.dtype), tuple(range(x.ndim - 1))
        count = jnp.maximum(there.sum() * (x[0, 0].size // x.shape[-1]), 1.0)
        mean = (there * x).sum(axis=axes) / count
        variance = (there * jnp.square(x - mean)).sum(axis=axes) / count
        y = (x - mean) * (params["scale"] * lax.rsqrt(variance + self.epsilon)) + params["shift"]
        return y, self._after(state, mean, variance, count), mask

    def _after(self, state: State, mean: Array, variance: Array, count: Any) -> State:
        """The running averages after a batch of so many numbers to a channel."""
        unbiased = variance * (count / jnp.maximum(count - 1, 1))
        kept, new = self.momentum, 1.0 - self.momentum
        after = {"mean": kept * state["mean"] + new * mean, "variance": kept * state["variance"] + new * unbiased}
        return dict(lax.stop_gradient(after))


@jax.custom_vjp
def normalise_rows(x: Array, scale: Array, shift: Array, epsilon: float) -> Array:
    r"""y = γ x̂ + β with each row's own mean and variance, of the c numbers on its last axis.

    With :math:`\delta = \partial L / \partial y` and :math:`\eta = \gamma \delta`, sums over all rows,

    .. math::
        \nabla_\beta = \sum \delta, \qquad \nabla_\gamma = \sum \delta \hat x, \qquad
        \nabla_x = \frac1\sigma \Big( \eta - \tfrac1c \sum_j \eta_j - \tfrac1c \hat x \sum_j \eta_j \hat x_j \Big)
    """
    return _rows_forward(x, scale, shift, epsilon)[0]


def _rows_forward(x: Array, scale: Array, shift: Array, epsilon: float) -> tuple[Array, tuple[Array, ...]]:
    centred = x - x.mean(axis=-1, keepdims=True)
    inverse = lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + epsilon)
    standard = centred * inverse
    return standard * scale + shift, (standard, inverse, scale)


def _rows_backward(kept: tuple[Array, ...], delta: Array) -> tuple[Array, Array, Array, None]:
    standard, inverse, scale = kept
    axes = tuple(range(delta.ndim - 1))
    eta = delta * scale
    along = (eta * standard).mean(axis=-1, keepdims=True)
    by_x = inverse * (eta - eta.mean(axis=-1, keepdims=True) - standard * along)
    return by_x, (delta * standard).sum(axis=axes), delta.sum(axis=axes), None


normalise_rows.defvjp(_rows_forward, _rows_backward)


@dataclass(frozen=True)
class LayerNorm(Layer):
    r"""Layer normalization: each row's last axis gets mean β and standard deviation γ, in training and evaluation.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta

    Parameters
    ----------
    epsilon : float above 0, default 1e-5

    Weights: `scale` γ (c,), `shift` β (c,).

    References
    ----------
    J. L. Ba, J. R. Kiros and G. Hinton, Layer Normalization, 2016, equation 4.

    Examples
    --------
    >>> layer = LayerNorm()
    >>> params, state = layer.init(None, (2,))
    >>> layer.apply(params, state, jnp.array([[1.0, 3.0]]))[0].round(3).tolist()
    [[-1.0, 1.0]]
    """

    by_step = True

    epsilon: float = 1e-5

    def init(self, key: Key, in_shape: Shape) -> tuple[Params, State]:
        channels = self.out_shape(in_shape)[-1]
        return {"scale": jnp.ones(channels, float_type()), "shift": jnp.zeros(channels, float_type())}, {}

    def out_shape(self, in_shape: Shape) -> Shape:
        return _check(self, self.epsilon, in_shape)

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        return normalise_rows(x, params["scale"], params["shift"], self.epsilon), state


def _check(layer: Layer, epsilon: float, in_shape: Shape) -> Shape:
    name = type(layer).__name__
    if not epsilon > 0.0:
        raise InputError(f"epsilon of {name} is {epsilon!r} and must be above 0.")
    if not in_shape:
        raise InputError(f"{name} needs rows with at least one axis, not of shape {shape_text(in_shape)}.")
    return in_shape
