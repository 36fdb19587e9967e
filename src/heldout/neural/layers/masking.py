"""Padding: where it is told from the steps of a sequence, and how a mask meets an array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from heldout.errors import InputError
from heldout.neural.layers.base import Array, Key, Layer, Mask, Params, SequenceLayer, Shape, State, shape_text


@dataclass(frozen=True)
class Masking(SequenceLayer):
    """Sequences of several lengths: steps whose numbers are all NaN are padding, and are 0 from here on.

    It stands at the beginning of a network for numeric series; the layers behind it are told which steps are there.
    Padding may be anywhere, at the end of a series or within it.

    Raises
    ------
    InputError : rows are not of the shape (T, C).

    Examples
    --------
    >>> x = jnp.array([[[1.0], [3.0]], [[5.0], [jnp.nan]]])
    >>> y, _, mask = Masking().apply_masked({}, {}, x, None)
    >>> y[..., 0].tolist(), mask.tolist()
    ([[1.0, 3.0], [5.0, 0.0]], [[True, True], [True, False]])
    """

    def out_shape(self, in_shape: Shape) -> Shape:
        return check_steps(self, in_shape)

    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        there = ~jnp.isnan(x).all(axis=-1)
        there = there if mask is None else there & mask
        return jnp.where(there[..., None], x, 0.0), state, there


def reads_padding(layer: Layer) -> bool:
    """Whether a network begins with `Masking`, so that rows may hold NaN."""
    while getattr(layer, "layers", ()) and isinstance(layer.layers, tuple):  # type: ignore[attr-defined]
        layer = layer.layers[0]  # type: ignore[attr-defined]
    return isinstance(layer, Masking)


def check_padding(X: np.ndarray[Any, np.dtype[Any]]) -> None:
    """InputError where a step (last axis) of rows has some of its numbers and lacks others."""
    if X.ndim < 3 or X.dtype.kind != "f":
        return
    missing = np.isnan(X)
    partly = missing.any(axis=-1) & ~missing.all(axis=-1)
    if partly.any():
        row, step, *_ = (int(place) for place in np.argwhere(partly)[0])
        raise InputError(
            f"Row {row} has only some of its numbers at step {step} (counted from 0): padding is NaN in all of them; "
            "fill in what is missing."
        )


def check_steps(layer: Layer, in_shape: Shape) -> Shape:
    """InputError unless rows are sequences (T, C)."""
    if len(in_shape) != 2:
        raise InputError(
            f"{type(layer).__name__} takes sequences (steps, channels), not rows of shape {shape_text(in_shape)}."
        )
    return in_shape


def beside(mask: Array, x: Array) -> Array:
    """A mask (n, T) with as many axes as `x` (n, T, ...)."""
    return mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim))
