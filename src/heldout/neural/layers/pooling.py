"""Pooling: windows of a row's axes as one number each."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from heldout.errors import InputError
from heldout.neural.layers.base import (
    Array,
    Key,
    Layer,
    Mask,
    Params,
    SequenceLayer,
    Shape,
    State,
    check_bool,
    shape_text,
)
from heldout.neural.layers.masking import beside
from heldout.neural.layers.windows import (
    Lengths,
    Padding,
    Windows,
    as_tuple,
    check_rows,
    counts,
    pad,
    per_axis,
    places,
    put_back,
    seen,
    windows_for,
)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def max_pool(windows: Windows, x: Array) -> Array:
    r"""The largest number under each window, for `x` (n, ..., C) channel by channel.

    .. math:: y_p = \max_t x_{S p + t - P}, \qquad \nabla_{x_q} = \sum_{p:\, q = S p + t_p - P} \delta_p

    where t_p is the position of the largest number: it alone gets the gradient. Among equal numbers it is the first,
    row by row, as in PyTorch.
    """
    return functools.reduce(jnp.maximum, _parts(windows, x))


def _parts(windows: Windows, x: Array) -> list[Array]:
    return seen(pad(x, windows, -np.inf), windows, counts(windows, x.shape[1:-1]))


def max_and_place(windows: Windows, x: Array) -> tuple[Array, Array]:
    """The maximum under each window, and the number of its position there."""
    parts = _parts(windows, x)
    largest, where = parts[0], jnp.zeros(parts[0].shape, jnp.uint8 if len(parts) <= 256 else jnp.uint32)
    for number, part in enumerate(parts[1:], 1):
        where = jnp.where((part > largest) | jnp.isnan(part), where.dtype.type(number), where)
        largest = jnp.maximum(largest, part)
    return largest, where


def _max_pool_kept(windows: Windows, x: Array) -> tuple[Array, tuple[Array, Array]]:
    largest, where = max_and_place(windows, x)
    return largest, (where, x)


def _max_pool_back(windows: Windows, kept: tuple[Array, Array], delta: Array) -> tuple[Array]:
    where, x = kept  # of x only the shape
    lengths = x.shape[1:-1]
    if apart(windows):
        return (hand_back(windows, lengths, where, delta),)
    parts = [jnp.where(where == number, delta, 0) for number in range(math.prod(w.size for w in windows))]
    return (put_back(parts, windows, lengths),)


max_pool.defvjp(_max_pool_kept, _max_pool_back)


def apart(windows: Windows) -> bool:
    """Whether windows neither overlap nor leave gaps, and nothing is added: then they are axes of a reshape."""
    return all(window.size == window.stride and not window.before and not window.after for window in windows)


def hand_back(windows: Windows, lengths: Shape, where: Array, delta: Array) -> Array:
    """δ at the positions `where` of windows that lie side by side, 0 elsewhere; (n, *lengths, C)."""
    sizes = tuple(window.size for window in windows)
    counts = delta.shape[1:-1]
    inside = [2 * axis + 2 for axis in range(len(sizes))]  # the axes of the positions in a window
    numbers = np.expand_dims(np.arange(math.prod(sizes)).reshape(sizes), [2 * axis for axis in range(len(sizes))])
    positions = jnp.asarray(numbers[None, ..., None], where.dtype)
    wide = jnp.expand_dims(where, inside) == positions
    spread = jnp.where(wide, jnp.expand_dims(delta, inside), 0)  # (n, places, size, places, size, C)
    spread = spread.reshape(-1, *(size * count for size, count in zip(sizes, counts, strict=True)), delta.shape[-1])
    edges = [(0, length - size * count, 0) for length, size, count in zip(lengths, sizes, counts, strict=True)]
    return lax.pad(spread, spread.dtype.type(0), [(0, 0, 0), *edges, (0, 0, 0)])


def average_pool(windows: Windows, x: Array, count_padding: bool = True) -> Array:
    r"""The mean of the numbers under each window, for `x` (n, ..., C) channel by channel.

    .. math:: y_p = \frac1m \sum_t x_{S p + t - P}, \qquad \nabla_{x_q} = \frac1m \sum_{p, t: q = S p + t - P} \delta_p

    with m numbers under a window, the zeros of the padding among them or not.
    """
    parts = seen(pad(x, windows), windows, counts(windows, x.shape[1:-1]))
    total = functools.reduce(jnp.add, parts)
    if count_padding or not any(window.before or window.after for window in windows):
        return total / len(parts)
    ones = jnp.ones((1, *x.shape[1:-1], 1), x.dtype)
    return total / functools.reduce(jnp.add, seen(pad(ones, windows), windows, counts(windows, x.shape[1:-1])))


class Pooling(Layer):
    """What layers that pool windows share."""

    axes: ClassVar[int]
    kernel_size: Lengths
    stride: Lengths | None
    padding: Padding

    def __post_init__(self) -> None:
        for name in ("kernel_size", "stride", "padding"):
            object.__setattr__(self, name, as_tuple(getattr(self, name)))

    def out_shape(self, in_shape: Shape) -> Shape:
        lengths = check_rows(self, in_shape, self.axes)
        return (*places(self, self._windows(lengths), lengths), in_shape[-1])

    def _windows(self, lengths: Shape) -> Windows:
        stride = self.kernel_size if self.stride is None else self.stride
        windows = windows_for(self, lengths, self.kernel_size, stride, self.padding)
        for window in windows:
            if max(window.before, window.after) >= window.size:
                raise InputError(
                    f"padding of {type(self).__name__} is {self.padding!r} and must be below kernel_size, "
                    f"{self.kernel_size!r}, so that no window sees padding alone."
                )
        return windows


class MaxPooling(Pooling):
    """What MaxPool1D and MaxPool2D share."""

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        self.out_shape(x.shape[1:])
        return max_pool(self._windows(x.shape[1:-1]), x), state


@dataclass(frozen=True)
class MaxPool1D(MaxPooling):
    """The largest of each stretch of neighbours: `MaxPool2D` with one axis instead of two.

    >>> MaxPool1D(3, stride=2).out_shape((100, 8))
    (49, 8)
    """

    axes: ClassVar[int] = 1
    kernel_size: Lengths = 2
    stride: Lengths | None = None
    padding: Padding = "valid"


@dataclass(frozen=True)
class MaxPool2D(MaxPooling):
    r"""The largest number under each window, channel by channel.

    .. math:: y_{i j c} = \max_{u, v} x_{S i + u - P,\; S j + v - P,\; c}

    An axis of W becomes one of ⌊(W - k + 2P) / S⌋ + 1; what no whole window is left for is not seen. The gradient of an
    output goes to the number that was the largest, and where several are, to the first of them, row by row (so does
    PyTorch). Padding is never the largest.

    Parameters
    ----------
    kernel_size : int above 0, or two of them, default 2
        k, the height and width of the window.
    stride : int above 0, or two of them, or None, default None
        S, from one place of the window to the next; None: k, so that windows lie side by side.
    padding : "valid", "same", int, or two of ints and pairs of ints, default "valid"
        P, as that of `Conv2D`, below k.

    Raises
    ------
    InputError : a parameter is out of range; rows are not (height, width, channels); the window does not fit.

    References
    ----------
    M. Ranzato and others, Unsupervised Learning of Invariant Feature Hierarchies, CVPR 2007, section 2.

    >>> layer = MaxPool2D()
    >>> layer.out_shape((28, 28, 32))
    (14, 14, 32)
    >>> layer.apply({}, {}, jnp.arange(16.0).reshape(1, 4, 4, 1))[0].squeeze().tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """

    axes: ClassVar[int] = 2
    kernel_size: Lengths = 2
    stride: Lengths | None = None
    padding: Padding = "valid"


class AveragePooling(Pooling):
    """What AveragePool1D and AveragePool2D share."""

    count_padding: bool

    def out_shape(self, in_shape: Shape) -> Shape:
        check_bool(self, count_padding=self.count_padding)
        return super().out_shape(in_shape)

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        self.out_shape(x.shape[1:])
        return average_pool(self._windows(x.shape[1:-1]), x, self.count_padding), state


@dataclass(frozen=True)
class AveragePool1D(AveragePooling):
    """The mean of each stretch of neighbours: `AveragePool2D` with one axis instead of two.

    >>> AveragePool1D(4).out_shape((100, 8))
    (25, 8)
    """

    axes: ClassVar[int] = 1
    kernel_size: Lengths = 2
    stride: Lengths | None = None
    padding: Padding = "valid"
    count_padding: bool = True


@dataclass(frozen=True)
class AveragePool2D(AveragePooling):
    r"""The mean of the numbers under each window, channel by channel.

    .. math:: y_{i j c} = \frac1{k^2} \sum_{u, v} x_{S i + u - P,\; S j + v - P,\; c}

    The gradient of an output goes to all that it has seen, in equal shares.

    Parameters
    ----------
    kernel_size, stride, padding : as those of `MaxPool2D`
    count_padding : bool, default True
        Zeros of the padding count; otherwise the mean is over the numbers of the image alone.

    Raises
    ------
    InputError : as `MaxPool2D`.

    References
    ----------
    Y. LeCun and others, Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 86, 1998, section II.

    >>> AveragePool2D().apply({}, {}, jnp.arange(16.0).reshape(1, 4, 4, 1))[0].squeeze().tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """

    axes: ClassVar[int] = 2
    kernel_size: Lengths = 2
    stride: Lengths | None = None
    padding: Padding = "valid"
    count_padding: bool = True


def _check_channels(layer: Layer, in_shape: Shape) -> Shape:
    if len(in_shape) < 2 or min(in_shape) < 1:
        raise InputError(
            f"{type(layer).__name__} needs rows of at least one axis and channels behind it, not of shape "
            f"{shape_text(in_shape)}."
        )
    return in_shape


@dataclass(frozen=True)
class GlobalAveragePool(SequenceLayer):
    """The mean of each channel over all of a row's places: (height, width, C) becomes (C), and so does (T, C).

    Each place gets an equal share of the gradient. Padding has no part in it; the mean of no steps is 0.

    M. Lin, Q. Chen and S. Yan, Network in Network, 2014, section 3.2.

    >>> GlobalAveragePool().out_shape((7, 7, 64))
    (64,)
    """

    def out_shape(self, in_shape: Shape) -> Shape:
        return _check_channels(self, in_shape)[-1:]

    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        self.out_shape(x.shape[1:])
        axes = tuple(range(1, x.ndim - 1))
        if mask is None:
            return x.mean(axis=axes), state, None
        there = beside(mask, x)
        count = jnp.maximum(jnp.broadcast_to(there, x.shape).sum(axis=axes), 1)
        return jnp.where(there, x, 0.0).sum(axis=axes) / count, state, None


@dataclass(frozen=True)
class GlobalMaxPool(SequenceLayer):
    """The largest number of each channel over a row's places: (height, width, C) becomes (C), and so does (T, C).

    Its place alone gets the gradient; among equal ones the first, row by row. Padding has no part in it; without any
    step the largest number is 0.

    >>> GlobalMaxPool().out_shape((7, 7, 64))
    (64,)
    """

    def out_shape(self, in_shape: Shape) -> Shape:
        return _check_channels(self, in_shape)[-1:]

    def apply_masked(
        self, params: Params, state: State, x: Array, mask: Mask, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State, Mask]:
        self.out_shape(x.shape[1:])
        if mask is not None:
            x = jnp.where(beside(mask, x), x, -np.inf)
            x = jnp.where(mask.any(axis=1).reshape(-1, *[1] * (x.ndim - 1)), x, 0.0)
        flat = x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
        where = jnp.argmax(flat, axis=1, keepdims=True)
        return jnp.take_along_axis(flat, where, axis=1)[:, 0], state, None


@dataclass(frozen=True)
class AdaptiveAveragePool(Layer):
    r"""Means over as many windows as are asked for, whatever the size of the row.

    .. math:: y_i = \frac1{e_i - s_i} \sum_{j = s_i}^{e_i - 1} x_j, \qquad s_i = \lfloor i W / m \rfloor, \quad
        e_i = \lceil (i + 1) W / m \rceil

    for each of m outputs along an axis of W, as PyTorch has it; over two axes the mean of means. Windows overlap where
    m does not divide W, and repeat numbers where m is above W.

    Parameters
    ----------
    output_size : int above 0, or one for each axis
        m.

    Raises
    ------
    InputError : m is out of range, or there is not one for each axis.

    >>> AdaptiveAveragePool(2).apply({}, {}, jnp.arange(5.0).reshape(1, 5, 1))[0].squeeze().tolist()
    [1.0, 3.0]
    """

    output_size: Lengths

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_size", as_tuple(self.output_size))

    def out_shape(self, in_shape: Shape) -> Shape:
        _check_channels(self, in_shape)
        return (*per_axis(self, "output_size", self.output_size, len(in_shape) - 1), in_shape[-1])

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        for axis, count in enumerate(self.out_shape(x.shape[1:])[:-1], 1):
            weights = jnp.asarray(_shares(x.shape[axis], count), x.dtype)
            x = jnp.moveaxis(jnp.tensordot(weights, x, (1, axis)), 0, axis)
        return x, state


def _shares(length: int, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """What each number of an axis adds to each mean: (count, length)."""
    starts = np.arange(count) * length // count
    ends = -(-(np.arange(count) + 1) * length // count)
    at = np.arange(length)
    inside = (starts[:, None] <= at) & (at < ends[:, None])
    return inside / (ends - starts)[:, None]
