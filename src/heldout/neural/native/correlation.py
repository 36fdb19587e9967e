"""Correlations of images with kernels on the CPU, and their weights' gradients, in tiles.

An image (H, W, C) is copied between its zeros, into rows of H' + h - 1 times W' + w - 1 pixels. Then, whatever the
place in the kernel, the pixels that an output sees lie a fixed way from it, and those of a row of the kernel lie one
after the other: so a row of the kernel, all channels and eight outputs are a single product of tiles. Outputs at the
ends of rows, where the kernel would reach into the next row, are worked out too and thrown away.
"""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numba import njit

from heldout.neural.native.handler import (
    ADDRESSES,
    address_of,
    begin,
    end,
    load_word,
    next_part,
    numbers,
    numbers_at,
    register,
    serve,
    whole_at,
)
from heldout.neural.native.tiles import COMPILED, LANES, TALL, WIDE, compiled_up, multiply_tile, up

Array: TypeAlias = jax.Array
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Pair: TypeAlias = tuple[int, ...]  # rows and columns

LEAST_PARTS, MOST_PARTS = 4, 16  # that the images are dealt to; threads take one after the other
PARTIAL = 2**17  # numbers of a gradient's partial sums above which it has fewer parts: adding them up takes time too

# The form, the first operand of both: parts; threads there is room for; images, rows, columns and channels; rows and
# columns of the kernel; zeros above and to the left; rows, columns and filters of the output.
PARTS, ROOM, IMAGES, HEIGHT, WIDTH, CHANNELS, DOWN, ACROSS, ABOVE, LEFT, OUT_HEIGHT, OUT_WIDTH, FILTERS = range(13)


def correlate(x: Array, weights: Array, before: Pair, out: Pair) -> Array:
    """`x` (n, H, W, C) ⋆ `weights` (h, w, C, F): (n, *out, F); zeros `before`, and behind as many as that takes."""
    register(heldout_correlate=_serve_correlate, heldout_weigh=_serve_weigh)
    down, across, channels, filters = weights.shape
    form = _form(x, (down, across), before, out, filters, MOST_PARTS)
    padded = up(filters, WIDE)
    wide = jnp.pad(weights, ((0, 0), (0, 0), (0, 0), (0, padded - filters)))
    panels = wide.reshape(down, across * channels, -1, WIDE).transpose(2, 0, 1, 3)
    z, _ = jax.ffi.ffi_call(
        "heldout_correlate",
        (numbers(x.shape[0], *out, filters), numbers(form[ROOM], sum(_room(form, TALL)))),
        vmap_method="sequential",
    )(form, x, panels)
    return z


def weigh(x: Array, delta: Array, kernel: Pair, before: Pair) -> Array:
    """The gradient by the weights (*kernel, C, F), from `x` (n, H, W, C) and `delta` (n, H', W', F)."""
    register(heldout_correlate=_serve_correlate, heldout_weigh=_serve_weigh)
    (down, across), channels, (_, height, width, filters) = kernel, x.shape[3], delta.shape
    padded, tall = up(filters, WIDE), up(across * channels, TALL)
    most = min(max(PARTIAL // (padded * down * tall), LEAST_PARTS), MOST_PARTS)
    form = _form(x, kernel, before, (height, width), filters, most)
    parts, _ = jax.ffi.ffi_call(
        "heldout_weigh",
        (
            numbers(form[PARTS], padded // WIDE, down, tall, WIDE),
            numbers(form[ROOM], sum(_room(form, 1))),
        ),
        vmap_method="sequential",
    )(form, x, delta)
    found = parts.sum(0)[:, :, : across * channels].transpose(1, 2, 0, 3)
    return found.reshape(down, across, channels, padded)[..., :filters]


def _form(x: Array, kernel: Pair, before: Pair, out: Pair, filters: int, most: int) -> np.ndarray[Any, Any]:
    parts = min(most, x.shape[0])
    room = min(os.cpu_count() or 1, parts)
    return np.array([parts, room, *x.shape, *kernel, *before, *out, filters], np.int32)


def _room(form: Any, grain: int) -> Pair:
    """How many numbers a thread needs for an image between its zeros, and for an output."""
    width = int(form[OUT_WIDTH] + form[ACROSS] - 1)
    pixels = up(int(form[OUT_HEIGHT]) * width, grain)
    image = (pixels + (int(form[DOWN]) - 1) * width + int(form[ACROSS])) * int(form[CHANNELS]) + TALL
    return up(image, LANES), pixels * up(int(form[FILTERS]), WIDE)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _correlate_part(part: int, thread: int, addresses: int) -> None:
    """Some images' outputs. Operands: form, x, weights in panels. Results: outputs, each thread's room."""
    form = load_word(addresses)
    images, channels, filters = whole_at(form, IMAGES), whole_at(form, CHANNELS), whole_at(form, FILTERS)
    down, across = whole_at(form, DOWN), whole_at(form, ACROSS)
    height, width = whole_at(form, OUT_HEIGHT), whole_at(form, OUT_WIDTH)
    row_pixels, terms, padded = width + across - 1, across * channels, compiled_up(filters, WIDE)
    pixels = compiled_up(height * row_pixels, TALL)
    image_room = compiled_up((pixels + (down - 1) * row_pixels + across) * channels + TALL, LANES)
    room = image_room + pixels * padded
    x = numbers_at(load_word(addresses + 8), images * whole_at(form, HEIGHT) * whole_at(form, WIDTH) * channels)
    weights = numbers_at(load_word(addresses + 16), padded * down * terms)
    z = numbers_at(load_word(addresses + 24), images * height * width * filters)
    own = numbers_at(load_word(addresses + 32) + 4 * thread * room, room)
    between, found = own[:image_room], own[image_room:]
    between[:] = np.float32(0.0)
    parts = whole_at(form, PARTS)
    for image in range(images * part // parts, images * (part + 1) // parts):
        _copy_between_zeros(x, image, form, between)
        for panel in range(padded // WIDE):
            for pixel in range(0, pixels, TALL):
                for row in range(down):
                    multiply_tile(
                        between, (pixel + row * row_pixels) * channels, channels, 1,
                        weights, (panel * down + row) * terms * WIDE, WIDE,
                        found, pixel * padded + panel * WIDE, padded, terms, row > 0,
                    )  # fmt: skip
        for i in range(height):
            for j in range(width):
                out = z[((image * height + i) * width + j) * filters :][:filters]
                pixel_found = found[(i * row_pixels + j) * padded :][:filters]
                for f in range(len(out)):
                    out[f] = pixel_found[f]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _weigh_part(part: int, thread: int, addresses: int) -> None:
    """The gradient from some images. Operands: form, x, delta. Results: each part's panels, each thread's room."""
    form = load_word(addresses)
    images, channels, filters = whole_at(form, IMAGES), whole_at(form, CHANNELS), whole_at(form, FILTERS)
    down, across = whole_at(form, DOWN), whole_at(form, ACROSS)
    height, width = whole_at(form, OUT_HEIGHT), whole_at(form, OUT_WIDTH)
    row_pixels, padded, tall = width + across - 1, compiled_up(filters, WIDE), compiled_up(across * channels, TALL)
    pixels = height * row_pixels
    image_room = compiled_up((pixels + (down - 1) * row_pixels + across) * channels + TALL, LANES)
    room = image_room + pixels * padded
    x = numbers_at(load_word(addresses + 8), images * whole_at(form, HEIGHT) * whole_at(form, WIDTH) * channels)
    delta = numbers_at(load_word(addresses + 16), images * height * width * filters)
    size = padded * down * tall
    panels = numbers_at(load_word(addresses + 24) + 4 * part * size, size)
    own = numbers_at(load_word(addresses + 32) + 4 * thread * room, room)
    own[:] = np.float32(0.0)  # between the deltas of two rows they stay 0
    between, deltas = own[:image_room], own[image_room:]
    parts = whole_at(form, PARTS)
    first, last = images * part // parts, images * (part + 1) // parts
    for image in range(first, last):
        _copy_between_zeros(x, image, form, between)
        for i in range(height):
            for j in range(width):
                given = delta[((image * height + i) * width + j) * filters :][:filters]
                into = deltas[(i * row_pixels + j) * padded :][:filters]
                for f in range(len(into)):
                    into[f] = given[f]
        for panel in range(padded // WIDE):
            for row in range(down):
                for term in range(0, tall, TALL):
                    multiply_tile(
                        between, row * row_pixels * channels + term, 1, channels,
                        deltas, panel * WIDE, padded,
                        panels, ((panel * down + row) * tall + term) * WIDE, WIDE, pixels, image > first,
                    )  # fmt: skip


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _copy_between_zeros(x: Numbers, image: int, form: int, between: Numbers) -> None:
    height, width, channels = whole_at(form, HEIGHT), whole_at(form, WIDTH), whole_at(form, CHANNELS)
    row_pixels = whole_at(form, OUT_WIDTH) + whole_at(form, ACROSS) - 1
    above, left = whole_at(form, ABOVE), whole_at(form, LEFT)
    for row in range(height):
        into = between[((above + row) * row_pixels + left) * channels :][: width * channels]
        given = x[(image * height + row) * width * channels :][: width * channels]
        for j in range(len(into)):
            into[j] = given[j]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _correlate_task(shared: int) -> None:
    thread, mode = begin(shared)
    part = next_part(shared, False)
    while part >= 0:
        _correlate_part(part, thread, shared + ADDRESSES)
        part = next_part(shared, True)
    end(shared, mode)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _weigh_task(shared: int) -> None:
    thread, mode = begin(shared)
    part = next_part(shared, False)
    while part >= 0:
        _weigh_part(part, thread, shared + ADDRESSES)
        part = next_part(shared, True)
    end(shared, mode)


_address_of_correlate, _address_of_weigh = address_of(_correlate_task), address_of(_weigh_task)


def _serve_correlate(frame: int) -> int:
    return serve(frame, 3, 2, _address_of_correlate())  # type: ignore[no-any-return]


def _serve_weigh(frame: int) -> int:
    return serve(frame, 3, 2, _address_of_weigh())  # type: ignore[no-any-return]
