"""Augmentation: images changed at random in training, in ways that leave their meaning alone; nothing in evaluation.

Each row is changed by its own draw. What moves in from outside is the nearest pixel of the edge, so that no layer needs
to know which number is black.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from heldout.errors import InputError
from heldout.neural.layers.base import Array, Key, Layer, Params, Shape, State, check_bool, check_whole
from heldout.neural.layers.windows import Lengths, as_tuple, check_rows, per_axis

IMAGE = 2  # axes before the channels


class Augmentation(Layer):
    """What layers that change images in training share."""

    @property
    def random(self) -> bool:
        return True

    def out_shape(self, in_shape: Shape) -> Shape:
        check_rows(self, in_shape, IMAGE)
        return in_shape

    def apply(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Key = None
    ) -> tuple[Array, State]:
        self.out_shape(x.shape[1:])
        if not train:
            return self._still(x), state
        if key is None:
            raise InputError(f"{type(self).__name__} draws random numbers in training: give apply a key.")
        return self._changed(key, x), state

    def _still(self, x: Array) -> Array:
        """The images (n, h, w, c) in evaluation."""
        return x

    @abstractmethod
    def _changed(self, key: Key, x: Array) -> Array:
        """The images (n, h, w, c) in training."""


def pixels(x: Array, rows: Array, columns: Array) -> Array:
    """The pixels of `x` (n, h, w, c) at whole places, that broadcast to (n, h', w'); beyond the edge its nearest."""
    at = jnp.arange(len(x))[:, None, None]
    return x[at, jnp.clip(rows, 0, x.shape[1] - 1), jnp.clip(columns, 0, x.shape[2] - 1)]


@dataclass(frozen=True)
class RandomFlip(Augmentation):
    """Each image is mirrored with a chance of one half, along each of the named axes by itself.

    Parameters
    ----------
    horizontal : bool, default True
        Left and right change places.
    vertical : bool, default False
        Top and bottom do.

    Not for what a mirror changes: letters, digits, road signs.

    Raises
    ------
    InputError : a parameter is no bool; rows are not (height, width, channels); training without a key.

    References
    ----------
    A. Krizhevsky, I. Sutskever and G. Hinton, ImageNet Classification with Deep Convolutional Neural Networks, 2012,
    section 4.1.

    >>> x = jnp.array([[1.0, 2.0]]).reshape(1, 1, 2, 1)
    >>> sorted({str(RandomFlip().apply({}, {}, x, train=True, key=jax.random.key(i))[0].ravel()) for i in range(9)})
    ['[1. 2.]', '[2. 1.]']
    """

    horizontal: bool = True
    vertical: bool = False

    def out_shape(self, in_shape: Shape) -> Shape:
        check_bool(self, horizontal=self.horizontal, vertical=self.vertical)
        return super().out_shape(in_shape)

    def _changed(self, key: Key, x: Array) -> Array:
        drawn = jax.random.bernoulli(key, shape=(2, len(x), 1, 1, 1))
        for turned, axis, flips in zip((self.vertical, self.horizontal), (1, 2), drawn, strict=True):
            if turned:
                x = jnp.where(flips, jnp.flip(x, axis), x)
        return x


@dataclass(frozen=True)
class RandomShift(Augmentation):
    """Each image is shifted by whole pixels, up and down and to the sides, as far as `most` either way.

    It is what a crop at a random place of an image with a margin gives (He and others 2016, section 4.2).

    Parameters
    ----------
    most : int not negative, or two of them, default 2
        Farthest shift in pixels; two: vertical, horizontal. All distances are equally likely.

    Raises
    ------
    InputError : `most` is out of range; rows are not (height, width, channels); training without a key.

    >>> x = jnp.arange(4.0).reshape(1, 1, 4, 1)
    >>> RandomShift((0, 1)).apply({}, {}, x, train=True, key=jax.random.key(1))[0].ravel().tolist()
    [0.0, 0.0, 1.0, 2.0]
    """

    most: Lengths = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "most", as_tuple(self.most))

    def out_shape(self, in_shape: Shape) -> Shape:
        per_axis(self, "most", self.most, IMAGE, least=0)
        return super().out_shape(in_shape)

    def _changed(self, key: Key, x: Array) -> Array:
        high, wide = per_axis(self, "most", self.most, IMAGE, least=0)
        far = jnp.array([high, wide])
        down, right = jax.random.randint(key, (len(x), 2), -far, far + 1).T
        rows = jnp.arange(x.shape[1]) - down[:, None]
        columns = jnp.arange(x.shape[2]) - right[:, None]
        return pixels(x, rows[:, :, None], columns[:, None, :])


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """A window of each image, at a random place; in evaluation the one in the middle.

    Parameters
    ----------
    size : int above 0, or two of them
        Height and width of the window, no more than the image's.

    Raises
    ------
    InputError : `size` is out of range; rows are not (height, width, channels); training without a key.

    References
    ----------
    A. Krizhevsky, I. Sutskever and G. Hinton, 2012, section 4.1.

    >>> RandomCrop(28).out_shape((32, 32, 3))
    (28, 28, 3)
    >>> RandomCrop((1, 2)).apply({}, {}, jnp.arange(4.0).reshape(1, 1, 4, 1))[0].ravel().tolist()
    [1.0, 2.0]
    """

    size: Lengths

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", as_tuple(self.size))

    def out_shape(self, in_shape: Shape) -> Shape:
        sizes, lengths = per_axis(self, "size", self.size, IMAGE), check_rows(self, in_shape, IMAGE)
        if any(size > length for size, length in zip(sizes, lengths, strict=True)):
            raise InputError(
                f"size of RandomCrop is {self.size!r} and must be no more than the image's, {lengths[0]} by "
                f"{lengths[1]}."
            )
        return (*sizes, in_shape[-1])

    def _room(self, x: Array) -> tuple[int, int, int, int]:
        height, width, _ = self.out_shape(x.shape[1:])
        return height, width, x.shape[1] - height, x.shape[2] - width

    def _still(self, x: Array) -> Array:
        height, width, down, right = self._room(x)
        return x[:, down // 2 : down // 2 + height, right // 2 : right // 2 + width]

    def _changed(self, key: Key, x: Array) -> Array:
        height, width, *room = self._room(x)
        down, right = jax.random.randint(key, (len(x), 2), 0, jnp.array(room) + 1).T
        rows, columns = jnp.arange(height) + down[:, None], jnp.arange(width) + right[:, None]
        return pixels(x, rows[:, :, None], columns[:, None, :])


@dataclass(frozen=True)
class RandomRotation(Augmentation):
    r"""Each image is turned about its middle by an angle of up to `degrees` either way.

    The pixel at p from the middle, with columns to the right and rows downwards, is read at

    .. math:: \begin{pmatrix} \cos a & -\sin a \\ \sin a & \cos a \end{pmatrix} p

    between whole pixels by bilinear interpolation.

    Parameters
    ----------
    degrees : float from 0 to 180, default 10.0
        All angles up to it are equally likely.

    Raises
    ------
    InputError : `degrees` is out of range; rows are not (height, width, channels); training without a key.

    References
    ----------
    P. Simard, D. Steinkraus and J. Platt, Best Practices for Convolutional Neural Networks, ICDAR 2003, section 2.

    >>> x = jnp.ones((1, 5, 5, 1))
    >>> bool(jnp.allclose(RandomRotation(45.0).apply({}, {}, x, train=True, key=jax.random.key(0))[0], 1.0))
    True
    """

    degrees: float = 10.0

    def out_shape(self, in_shape: Shape) -> Shape:
        _check_amount(self, "degrees", self.degrees, 180.0)
        return super().out_shape(in_shape)

    def _changed(self, key: Key, x: Array) -> Array:
        most = math.radians(self.degrees)
        angles = jax.random.uniform(key, (len(x), 1, 1), x.dtype, -most, most)
        return turned(x, angles)


def turned(x: Array, angles: Array) -> Array:
    """`x` (n, h, w, c) about its middle by `angles` (n, 1, 1) in radians, anticlockwise as it is seen."""
    _, height, width, _ = x.shape
    down = jnp.arange(height, dtype=x.dtype)[:, None] - (height - 1) / 2
    right = jnp.arange(width, dtype=x.dtype) - (width - 1) / 2
    cosine, sine = jnp.cos(angles), jnp.sin(angles)
    rows = sine * right + cosine * down + (height - 1) / 2  # (n, h, w)
    columns = cosine * right - sine * down + (width - 1) / 2
    top, left = jnp.floor(rows), jnp.floor(columns)
    low, aside = (rows - top)[..., None], (columns - left)[..., None]
    i, j = top.astype(jnp.int32), left.astype(jnp.int32)
    above = (1 - aside) * pixels(x, i, j) + aside * pixels(x, i, j + 1)
    below = (1 - aside) * pixels(x, i + 1, j) + aside * pixels(x, i + 1, j + 1)
    return (1 - low) * above + low * below


@dataclass(frozen=True)
class Cutout(Augmentation):
    """A square of each image, around a random pixel, is filled with the mean of the image, channel by channel.

    The network has to judge by the rest. Near the edge a part of the square is outside.

    Parameters
    ----------
    size : int above 0, default 8
        Length of the square's sides in pixels; about half an image's for few classes, a quarter for many.

    Raises
    ------
    InputError : `size` is out of range; rows are not (height, width, channels); training without a key.

    References
    ----------
    T. DeVries and G. Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017, section 3.2.

    >>> x = jnp.arange(8.0).reshape(1, 1, 8, 1)
    >>> Cutout(2).apply({}, {}, x, train=True, key=jax.random.key(1))[0].ravel().tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 3.5, 3.5]
    """

    size: int = 8

    def out_shape(self, in_shape: Shape) -> Shape:
        check_whole(self, size=self.size)
        return super().out_shape(in_shape)

    def _changed(self, key: Key, x: Array) -> Array:
        lengths = jnp.array(x.shape[1:3])
        first = jax.random.randint(key, (len(x), 2), 0, lengths) - self.size // 2
        inside = []
        for axis, start in zip((1, 2), first.T, strict=True):
            at = jnp.arange(x.shape[axis]) - start[:, None]
            inside.append((at >= 0) & (at < self.size))
        hidden = inside[0][:, :, None, None] & inside[1][:, None, :, None]
        return jnp.where(hidden, x.mean(axis=(1, 2), keepdims=True), x)


@dataclass(frozen=True)
class RandomBrightness(Augmentation):
    """A number is added to all pixels of an image: up to `most` either way.

    Parameters
    ----------
    most : float from 0 to 10, default 0.2
        In the units in which the network reads images: shares of the range for bytes, otherwise standard deviations.

    Raises
    ------
    InputError : `most` is out of range; rows are not (height, width, channels); training without a key.

    References
    ----------
    A. Howard, Some Improvements on Deep Convolutional Neural Network Based Image Classification, 2014, section 2.

    >>> x = jnp.zeros((1, 1, 2, 1))
    >>> y, _ = RandomBrightness(0.5).apply({}, {}, x, train=True, key=jax.random.key(0))
    >>> bool(y[0, 0, 0, 0] == y[0, 0, 1, 0]), bool(abs(y).max() <= 0.5)
    (True, True)
    """

    most: float = 0.2

    def out_shape(self, in_shape: Shape) -> Shape:
        _check_amount(self, "most", self.most, 10.0)
        return super().out_shape(in_shape)

    def _changed(self, key: Key, x: Array) -> Array:
        return x + jax.random.uniform(key, (len(x), 1, 1, 1), x.dtype, -self.most, self.most)


def _check_amount(layer: Layer, name: str, value: Any, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= most:
        raise InputError(f"{name} of {type(layer).__name__} is {value!r} and must be a number from 0 to {most:g}.")
