"""Dropout."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from heldout.errors import InputError
from heldout.neural.layers.base import Array, Key, Layer, Params, Shape, State

CHANCES = 2**16  # that a number is dropped or not, equally likely


@dataclass(frozen=True)
class Dropout(Layer):
    r"""Dropout: in training each number is set to 0 with probability p, and what stays is scaled up.

    .. math:: a = \frac{m \odot x}{1 - p}, \qquad m \sim \text{Bernoulli}(1 - p)

    So its mean is x, and in evaluation the layer does nothing. The classic form leaves the training alone and scales
    by 1 - p in evaluation: the same network, with its weights multiplied by 1 - p.

    Parameters
    ----------
    rate : float, 0 or more and below 1, default 0.5
        p, the share that is set to 0, rounded to a 65,536th.

    Raises
    ------
    InputError : `rate` is out of range, or training without a key.

    References
    ----------
    N. Srivastava and others, Dropout, Journal of Machine Learning Research 15, 2014, section 4 and section 10.

    Examples
    --------
    >>> x = jnp.ones((1, 8))
    >>> Dropout(0.5).apply({}, {}, x)[0].tolist()
    [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]
    >>> sorted(set(Dropout(0.5).apply({}, {}, x, train=True, key=jax.random.key(0))[0][0].tolist()))
    [0.0, 2.0]
    """

    by_step = True

    rate: float = 0.5

    @property
    def random(self) -> bool:
        return self.rate > 0.0

    def out_shape(self, in_shape: Shape) -> Shape:
        check_rate(self, "rate", self.rate)
        return in_shape

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        return (dropped(x, self.rate, key) if train and self.rate > 0.0 else x), state


def check_rate(layer: Layer, name: str, rate: float) -> None:
    """InputError unless a share may be dropped."""
    if not 0.0 <= rate < 1.0:
        raise InputError(f"{name} of {type(layer).__name__} is {rate!r} and must be 0 or more and below 1.")


def dropped(x: Array, rate: float, key: Key) -> Array:
    """x with about so large a share of its numbers set to 0, and the others scaled up."""
    if key is None:
        raise InputError("Dropout draws random numbers in training: give apply a key.")
    least = min(round(rate * CHANCES), CHANCES - 1)
    return jnp.where(_drawn(key, x.shape) >= least, x * (CHANCES / (CHANCES - least)), 0.0)


def _drawn(key: Key, shape: Shape) -> Array:
    """Whole numbers below CHANCES, each as likely. Two to a word of 32 bits: drawing is what dropout takes time for."""
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 2),), jnp.uint32)
    return jnp.concatenate([words % CHANCES, words // CHANCES])[:size].reshape(shape)
