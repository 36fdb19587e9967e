"""Batch and layer normalization."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from heldout.errors import InputError
from heldout.neural.layers.base import Array, Key, Layer, Params, Shape, State, float_type, shape_text


def _standardised(x: Array, epsilon: float) -> tuple[Array, Array, Array, Array]:
    """x̂, 1 / σ, mean and variance over all axes but the last."""
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axis=axes)
    variance = jnp.square(x - mean).mean(axis=axes)
    inverse = jax.lax.rsqrt(variance + epsilon)
    return (x - mean) * inverse, inverse, mean, variance


@jax.custom_vjp
def normalise(x: Array, scale: Array, shift: Array, epsilon: float) -> tuple[Array, Array, Array]:
    r"""y = γ x̂ + β with the batch's own mean and variance, which are returned beside it.

    With :math:`\delta = \partial L / \partial y` and N numbers to a channel,

    .. math::
        \nabla_\beta = \sum \delta, \qquad \nabla_\gamma = \sum \delta \hat x, \qquad
        \nabla_x = \frac{\gamma}{\sigma} \Big( \delta - \tfrac1N \nabla_\beta - \tfrac1N \hat x \nabla_\gamma \Big)

    Mean and variance are taken as constants by whatever they are used for.
    """
    standard, _, mean, variance = _standardised(x, epsilon)
    return standard * scale + shift, mean, variance


def _forward(
    x: Array, scale: Array, shift: Array, epsilon: float
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
    standard, inverse, mean, variance = _standardised(x, epsilon)
    return (standard * scale + shift, mean, variance), (standard, inverse, scale)


def _backward(kept: tuple[Array, ...], upstream: tuple[Array, Array, Array]) -> tuple[Array, Array, Array, None]:
    standard, inverse, scale = kept
    delta, _, _ = upstream
    axes = tuple(range(delta.ndim - 1))
    count = delta.size // delta.shape[-1]
    by_shift = delta.sum(axis=axes)
    by_scale = (delta * standard).sum(axis=axes)
    by_x = scale * inverse * (delta - by_shift / count - standard * by_scale / count)
    return by_x, by_scale, by_shift, None


normalise.defvjp(_forward, _backward)


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
        if not train:
            inverse = jax.lax.rsqrt(state["variance"] + self.epsilon)
            return (x - state["mean"]) * (params["scale"] * inverse) + params["shift"], state
        y, mean, variance = normalise(x, params["scale"], params["shift"], self.epsilon)
        count = x.size // x.shape[-1]
        unbiased = variance * (count / max(count - 1, 1))
        kept, new = self.momentum, 1.0 - self.momentum
        after = {"mean": kept * state["mean"] + new * mean, "variance": kept * state["variance"] + new * unbiased}
        return y, jax.lax.stop_gradient(after)


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
    inverse = jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + epsilon)
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
