"""What the kernels of `correlation.py` do to an image before and behind a convolution, as long as it is in the cache.

Images lie in rows of pixels of `stride` numbers, of which the first are their channels. Pooling windows lie side by
side; rows and columns that fill none are left out.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from heldout.neural.native.tiles import COMPILED, copy

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Pair: TypeAlias = tuple[int, int]  # rows and columns
Three: TypeAlias = tuple[int, int, int]  # rows, columns and channels


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
                    into[j] = given[j] if places[j] == k else np.float32(0.0)


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
