"""Where our numbers of a row lie in PyTorch's: channels come last with us, and first there.

A row of images (C, H, W) is (H, W, C) here. Once it is flattened, its numbers come in another order, which weights that
are given it have to follow: the order of a flat row says for each of our numbers which of theirs it is.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from heldout.errors import InputError
from heldout.neural.layers.base import Shape, shape_text

Order: TypeAlias = tuple[int, ...] | None  # of a flat row; None: theirs


def channels_last(shape: Shape) -> Shape:
    """Our shape of a row that PyTorch has with channels first."""
    return (*shape[1:], shape[0]) if len(shape) > 1 else shape


def channels_first(shape: Shape) -> Shape:
    """PyTorch's shape of a row that we have with channels last."""
    return (shape[-1], *shape[:-1]) if len(shape) > 1 else shape


def rearranged(shape: Shape, order: Order, target: Shape) -> Order:
    """The order of a row after a reshape from PyTorch's `shape` to its `target`.

    InputError where an image comes out whose channels are not the last with us.
    """
    kept = _places(shape, order).reshape(channels_last(target))
    if len(target) > 1:
        if not np.array_equal(kept, _places(target, None)):
            raise InputError(
                f"it makes rows of shape {shape_text(target)}, with channels first, of {shape_text(shape)}, and "
                "channels come last here"
            )
        return None
    return None if np.array_equal(kept, np.arange(kept.size)) else tuple(kept.tolist())


def joined(shapes: list[Shape], orders: list[Order]) -> Order:
    """The order of flat rows that are put one behind the other."""
    if all(order is None for order in orders):
        return None
    starts = np.cumsum([0, *(math.prod(shape) for shape in shapes[:-1])])
    parts = [_places(shape, order) + start for shape, order, start in zip(shapes, orders, starts, strict=True)]
    return tuple(np.concatenate(parts).tolist())


def _places(shape: Shape, order: Order) -> np.ndarray[Any, np.dtype[np.intp]]:
    """For each of our numbers of a row its place in PyTorch's."""
    if order is not None:
        return np.array(order)
    places = np.arange(math.prod(shape)).reshape(shape)
    return np.moveaxis(places, 0, -1) if len(shape) > 1 else places
