"""How weights begin: random, with a variance that keeps signals and gradients of one size from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from heldout.errors import InputError, suggest
from heldout.neural.layers.base import Array, Key, Shape, float_type


def he(key: Key, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Normal with variance 2 / fan_in, for ReLU and its kin (He and others 2015, equation 10)."""
    return jax.random.normal(key, shape, float_type()) * math.sqrt(2.0 / fan_in)


def xavier(key: Key, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Uniform with variance 2 / (fan_in + fan_out), for tanh and sigmoid (Glorot and Bengio 2010, equation 16)."""
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    return jax.random.uniform(key, shape, float_type(), -limit, limit)


def lecun(key: Key, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Normal with variance 1 / fan_in (LeCun and others 1998, Efficient BackProp, equation 16)."""
    return jax.random.normal(key, shape, float_type()) * math.sqrt(1.0 / fan_in)


def orthogonal(key: Key, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Orthonormal columns, or rows where there are more columns (Saxe and others 2014): lengths are kept."""
    rows, columns = math.prod(shape[:-1]), shape[-1]
    drawn = jax.random.normal(key, (max(rows, columns), min(rows, columns)), float_type())
    q, r = jnp.linalg.qr(drawn)
    q = q * jnp.sign(jnp.diagonal(r))  # so that all orthogonal matrices are equally likely
    return (q if rows >= columns else q.T).reshape(shape)


INITIALIZATIONS: dict[str, Callable[[Key, Shape, int, int], Array]] = {
    "he": he,
    "xavier": xavier,
    "lecun": lecun,
    "orthogonal": orthogonal,
}


def initial_weights(name: str, key: Key, shape: Shape, fan_in: int, fan_out: int) -> Array:
    """Weights by the name of their initialization; InputError for an unknown one."""
    if name not in INITIALIZATIONS:
        raise InputError(f"There is no initialization {name!r}.{suggest(str(name), INITIALIZATIONS)}")
    return INITIALIZATIONS[name](key, shape, fan_in, fan_out)
