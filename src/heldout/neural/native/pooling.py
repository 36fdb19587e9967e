"""What the kernels of `correlation.py` do to an image before and behind a convolution, as long as it is in the cache.

Images lie in rows of pixels of `stride` numbers, of which the first are their channels. Pooling windows lie side by
side; rows and columns that fill none are left out.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from heldout.neural.native.functions import sigmoid, tanh
from heldout.neural.native.tiles import COMPILED, LANES, add_lanes, copy, multiply_slopes

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Pair: TypeAlias = tuple[int, int]  # rows and columns
Three: TypeAlias = tuple[int, int, int]  # rows, columns and channels

NONE, MAX, MEAN = range(3)  # kinds of pooling, the last of activations
ACTIVATIONS = ("relu", "tanh", "sigmoid")
RELU, TANH, SIGMOID = range(3)
ZERO, ONE = np.float32(0.0), np.float32(1.0)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def place(
    x: Numbers, image: int, shape: Three, seen: Pair, out: Numbers, across: int, stride: int
) -> None:  # fmt: skip
    """Copy what is `seen` of an image, its first rows and columns, to rows of `across` pixels."""
    height, width, channels = shape
    rows, columns = seen
    for row in range(rows):
        start = (image * height + row) * width * channels
        if stride == channels:
            copy(x[start:], out[row * across * channels :], columns * channels)
        else:
            for column in range(columns):
                copy(x[start + column * channels :], out[(row * across + column) * stride :], channels)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def place_maxima(
    x: Numbers, where: Bytes, image: int, shape: Three, pool: Pair, out: Numbers, across: int, stride: int
) -> None:  # fmt: skip
    """Put the numbers of a pooled image back where the maxima were, among zeros; `shape` is that before pooling."""
    height, width, channels = shape
    down, beside = pool
    for row in range(height // down):
        for column in range(width // beside):
            at = ((image * (height // down) + row) * (width // beside) + column) * channels
            given, places = x[at:], where[at:]
            for k in range(down * beside):
                pixel = (row * down + k // beside) * across + column * beside + k % beside
                into = out[pixel * stride :][:channels]
                for j in range(len(into)):
                    into[j] = given[j] if places[j] == k else ZERO


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def place_shares(
    x: Numbers, kept: Numbers, kept_stride: int, activation: int, image: int, shape: Three, pool: Pair, shares: Numbers,
    out: Numbers, across: int, stride: int,
) -> None:  # fmt: skip
    """Share the gradient by a pooled image out among its pixels, times the activation's derivative.

    That is a function of the activations `kept`: [a > 0], 1 - a² or a - a². There is room in `shares` for those of a
    window: zeros behind its channels.
    """
    height, width, channels = shape
    down, beside = pool
    one, linear = (ZERO, ONE) if activation == SIGMOID else (ONE, ZERO)
    square, least = (ZERO, ZERO) if activation == RELU else (-ONE, np.float32(-np.inf))
    share = ONE / np.float32(down * beside)
    for row in range(height // down):
        for column in range(width // beside):
            given = x[((image * (height // down) + row) * (width // beside) + column) * channels :]
            for j in range(channels):
                shares[j] = share * given[j]
            for k in range(down * beside):
                i, j = row * down + k // beside, column * beside + k % beside
                own, into = ((image * height + i) * width + j) * kept_stride, (i * across + j) * stride
                for lane in range(0, stride - LANES + 1, LANES):
                    multiply_slopes(
                        out, into + lane, shares[lane:], kept, own + lane, least, one, linear, square
                    )  # fmt: skip
                for f in range(stride // LANES * LANES, stride):
                    a = kept[own + f]
                    out[into + f] = ZERO if a <= least else shares[f] * (one + a * (linear + a * square))


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def take(found: Numbers, stride: int, shape: Three, image: int, z: Numbers) -> None:
    """Copy an image as it was found."""
    height, width, filters = shape
    out = z[image * height * width * filters :]
    if stride == filters:
        copy(found, out, height * width * filters)
    else:
        for pixel in range(height * width):
            copy(found[pixel * stride :], out[pixel * filters :], filters)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def pool_maxima(
    found: Numbers, stride: int, shape: Three, pool: Pair, image: int, z: Numbers, where: Bytes
) -> None:  # fmt: skip
    """The maximum in each window of an image, and where it is; of equal ones the first. NaN counts as the greatest."""
    height, width, filters = shape
    down, beside = pool
    for row in range(height // down):
        for column in range(width // beside):
            at = ((image * (height // down) + row) * (width // beside) + column) * filters
            largest, places = z[at:][:filters], where[at:][:filters]
            for k in range(down * beside):
                pixel = (row * down + k // beside) * width + column * beside + k % beside
                here = found[pixel * stride :]
                if k == 0:
                    for f in range(len(largest)):
                        largest[f] = here[f]
                        places[f] = 0
                else:
                    for f in range(len(largest)):
                        value, most = here[f], largest[f]
                        more = (value > most) | ((value != value) & (most == most))
                        largest[f] = value if more else most
                        places[f] = np.uint8(k) if more else places[f]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def pool_means(found: Numbers, stride: int, shape: Three, pool: Pair, image: int, z: Numbers) -> None:
    """The mean of each window of an image, which is lost: its pixels are added up in their first."""
    height, width, filters = shape
    down, beside = pool
    share = ONE / np.float32(down * beside)
    for row in range(height // down):
        for column in range(width // beside):
            corner = (row * down * width + column * beside) * stride
            for k in range(1, down * beside):
                pixel = (row * down + k // beside) * width + column * beside + k % beside
                for lane in range(0, stride, LANES):
                    add_lanes(found, corner + lane, found, pixel * stride + lane)
            mean = found[corner:]
            out = z[((image * (height // down) + row) * (width // beside) + column) * filters :][:filters]
            for f in range(len(out)):
                out[f] = share * mean[f]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def activate(found: Numbers, pixels: int, stride: int, bias: Numbers, activation: int) -> None:
    """a = σ(z + b) in place, for so many pixels; there is a number of `bias` for each of a pixel's."""
    for pixel in range(pixels):
        for lane in range(0, stride, LANES):
            add_lanes(found, pixel * stride + lane, bias, lane)
    numbers = found[: pixels * stride]
    if activation == RELU:
        for k in range(len(numbers)):
            numbers[k] = ZERO if numbers[k] < ZERO else numbers[k]  # NaN stays
    elif activation == TANH:
        for k in range(len(numbers)):
            numbers[k] = tanh(numbers[k])
    else:
        for k in range(len(numbers)):
            numbers[k] = sigmoid(numbers[k])
