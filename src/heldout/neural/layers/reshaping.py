"""Layers that only arrange numbers anew."""

from __future__ import annotations

import math
from dataclasses import dataclass

from heldout.errors import InputError
from heldout.neural.layers.base import Array, Key, Layer, Params, Shape, State, shape_text


@dataclass(frozen=True)
class Flatten(Layer):
    """One axis for all of a row's numbers.

    >>> Flatten().out_shape((28, 28, 1))
    (784,)
    """

    def out_shape(self, in_shape: Shape) -> Shape:
        return (math.prod(in_shape),)

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        return x.reshape(x.shape[0], *self.out_shape(x.shape[1:])), state


@dataclass(frozen=True)
class Reshape(Layer):
    """A row's numbers in another shape.

    Parameters
    ----------
    shape : tuple of int
        The new shape, without the batch; one length may be -1 and is then found.

    Raises
    ------
    InputError : the numbers do not fill that shape.

    >>> Reshape((-1, 28)).out_shape((784,))
    (28, 28)
    """

    shape: Shape

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))

    def out_shape(self, in_shape: Shape) -> Shape:
        shape, size = self.shape, math.prod(in_shape)
        known = math.prod(length for length in shape if length != -1)
        if any(length < 1 and length != -1 for length in shape) or shape.count(-1) > 1:
            raise InputError(f"shape of Reshape is {shape!r}: lengths are above 0, and at most one is -1.")
        fits = known == size if -1 not in shape else size % known == 0
        if not fits:
            raise InputError(
                f"Reshape cannot arrange {size} numbers of a row {shape_text(in_shape)} as {shape_text(shape)}, "
                f"which takes {'a multiple of ' if -1 in shape else ''}{known}."
            )
        return tuple(size // known if length == -1 else length for length in shape)

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        return x.reshape(x.shape[0], *self.out_shape(x.shape[1:])), state
