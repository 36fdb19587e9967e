"""What is told of each epoch beside the loss: a number a row, whose weighted mean is shown."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from heldout.neural.layers.base import Array
from heldout.neural.losses import mean_of_row, picked


def accuracy(outputs: Array, codes: Array) -> Array:
    """1 where the highest score, or the sign of a single one, is that of the row's class, or of its largest share.

    Where a row is a sequence, the share of its steps of which that is true.
    """
    if outputs.shape[-1] == 1:
        return ((outputs[:, 0] > 0) == (codes.reshape(-1) > 0.5)).astype(outputs.dtype)
    codes = codes if codes.ndim < outputs.ndim else codes.argmax(axis=-1)
    own = picked(outputs, codes)[..., None]
    behind = jnp.arange(outputs.shape[-1]) >= codes[..., None]  # of equal scores the first one counts
    below = (outputs < own) | ((outputs == own) & behind)  # XLA's argmax is slow on the CPU
    return mean_of_row(below.all(axis=-1).astype(outputs.dtype))


def label_accuracy(outputs: Array, targets: Array) -> Array:
    """The share of a row's yes-or-no questions that are answered rightly."""
    return ((outputs > 0) == (targets > 0.5)).astype(outputs.dtype).mean(axis=-1)


def squared_error(outputs: Array, targets: Array) -> Array:
    """The mean squared error of a row's outputs."""
    return jnp.square(outputs - targets).mean(axis=-1)


METRICS: dict[str, Callable[[Array, Array], Array]] = {
    "accuracy": accuracy,
    "label_accuracy": label_accuracy,
    "squared_error": squared_error,
}
