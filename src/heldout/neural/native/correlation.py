"""Correlations of images with kernels on the CPU, and their weights' gradients, in tiles.

An image (H, W, C) is copied between its zeros, into rows of H' + h - 1 times W' + w - 1 pixels. Then, whatever the
place in the kernel, the pixels that an output sees lie a fixed way from it, and those of a row of the kernel lie one
after the other: so a row of the kernel, all channels and eight outputs are a single product of tiles. Outputs at the
ends of rows, where the kernel would reach into the next row, are worked out too and thrown away.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numba import njit

from heldout.neural.native.handler import (
    ADDRESSES,
    address_of,
    begin,
    bytes_at,
    end,
    load_word,
    next_part,
    numbers,
    numbers_at,
    register,
    serve,
    whole_at,
)
from heldout.neural.native.tiles import (
    COMPILED,
    LANES,
    TALL,
    WIDE,
    compiled_up,
    copy,
    multiply_tile,
    multiply_tile_again,
    up,
)

Array: TypeAlias = jax.Array
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Pair: TypeAlias = tuple[int, ...]  # rows and columns


class Unpool(NamedTuple):
    """How pooled images are put back: their rows and columns before, the windows, where each maximum is in its own."""

    shape: Pair
    pool: Pair
    where: Array


LEAST_PARTS, MOST_PARTS = 4, 16  # that the images are dealt to; threads take one after the other
PARTIAL = 2**17  # numbers of a gradient's partial sums above which it has fewer parts: adding them up takes time too

# The form, the first operand of both: parts; threads there is room for; images, rows, columns and channels; rows and
# columns of the kernel; zeros above and to the left; rows, columns and filters of the output; rows and columns of the
# windows of max pooling that x has gone through, and those that the output goes through, or has (1 and 1: none).
PARTS, ROOM, IMAGES, HEIGHT, WIDTH, CHANNELS, DOWN, ACROSS, ABOVE, LEFT, OUT_HEIGHT, OUT_WIDTH, FILTERS = range(13)
IN_DOWN, IN_ACROSS, OUT_DOWN, OUT_ACROSS = range(13, 17)
NO_WINDOW = (1, 1)


def correlate(
    x: Array, weights: Array, before: Pair, out: Pair, pool: Pair = NO_WINDOW, unpool: Unpool | None = None
) -> tuple[Array, Array]:
    """`x` (n, H, W, C) ⋆ `weights` (h, w, C, F): (n, *out, F); zeros `before`, and behind as many as that takes.

    With `pool` what is given is the maximum in each of these windows, side by side, and where it is in its window; rows
    and columns that fill none are left out. With `unpool` `x` is pooled, and stands for its numbers at these places
    among zeros.
    """
    register(heldout_correlate=_serve_correlate, heldout_weigh=_serve_weigh)
    down, across, channels, filters = weights.shape
    n, shape, window, where = _unpooled(x, unpool)
    form = _form((n, *shape, channels), (down, across), before, out, filters, window, pool, MOST_PARTS)
    padded = up(filters, WIDE)
    wide = jnp.pad(weights, ((0, 0), (0, 0), (0, 0), (0, padded - filters)))
    panels = wide.reshape(down, across * channels, -1, WIDE).transpose(2, 0, 1, 3)
    pooled = (n, out[0] // pool[0], out[1] // pool[1], filters)
    z, found, _ = jax.ffi.ffi_call(
        "heldout_correlate",
        (
            numbers(*pooled),
            numbers(*(pooled if pool != NO_WINDOW else (0,)), kind=np.uint8),
            numbers(form[ROOM], sum(_room(form, TALL))),
        ),
        vmap_method="sequential",
    )(form, x, panels, where)
    return z, found


def weigh(x: Array, delta: Array, kernel: Pair, before: Pair, unpool: Unpool | None = None) -> Array:
    """The gradient by the weights (*kernel, C, F), from `x` (n, H, W, C) and `delta` (n, H', W', F).

    With `unpool` `delta` is that of a pooled output, and stands for its numbers at these places among zeros.
    """
    register(heldout_correlate=_serve_correlate, heldout_weigh=_serve_weigh)
    (down, across), channels, filters = kernel, x.shape[3], delta.shape[3]
    _, out, window, where = _unpooled(delta, unpool)
    padded, tall = up(filters, WIDE), up(across * channels, TALL)
    most = min(max(PARTIAL // (padded * down * tall), LEAST_PARTS), MOST_PARTS)
    form = _form(x.shape, kernel, before, out, filters, NO_WINDOW, window, most)
    parts, _ = jax.ffi.ffi_call(
        "heldout_weigh",
        (
            numbers(form[PARTS], padded // WIDE, down, tall, WIDE),
            numbers(form[ROOM], sum(_room(form, 1))),
        ),
        vmap_method="sequential",
    )(form, x, delta, where)
    found = parts.sum(0)[:, :, : across * channels].transpose(1, 2, 0, 3)
    return found.reshape(down, across, channels, padded)[..., :filters]


def _unpooled(x: Array, unpool: Unpool | None) -> tuple[int, Pair, Pair, Array]:
    """How many images; their rows and columns before pooling; its windows; and where the maxima are."""
    if unpool is None:
        return x.shape[0], x.shape[1:3], NO_WINDOW, jnp.zeros(0, jnp.uint8)
    return x.shape[0], unpool.shape, unpool.pool, unpool.where


def _form(
    images: tuple[int, ...],
    kernel: Pair,
    before: Pair,
    out: Pair,
    filters: int,
    pooled_in: Pair,
    pooled_out: Pair,
    most: int,
) -> np.ndarray[Any, Any]:
    parts = min(most, images[0])
    room = min(os.cpu_count() or 1, parts)
    form = [parts, room, *images, *kernel, *before, *out, filters, *pooled_in, *pooled_out]
    return np.array(form, np.int32)


def _room(form: Any, grain: int) -> Pair:
    """How many numbers a thread needs for an image between its zeros, and for an output."""
    width = int(form[OUT_WIDTH] + form[ACROSS] - 1)
    pixels = up(int(form[OUT_HEIGHT]) * width, grain)
    image = (pixels + (int(form[DOWN]) - 1) * width + int(form[ACROSS])) * int(form[CHANNELS]) + TALL
    return up(image, LANES), pixels * up(int(form[FILTERS]), WIDE)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _correlate_part(part: int, thread: int, addresses: int) -> None:
    """Some images' outputs. Operands: form, x, weights in panels, where x was. Results: outputs, where, room."""
    form = load_word(addresses)
    images, channels, filters = whole_at(form, IMAGES), whole_at(form, CHANNELS), whole_at(form, FILTERS)
    down, across = whole_at(form, DOWN), whole_at(form, ACROSS)
    height, width = whole_at(form, OUT_HEIGHT), whole_at(form, OUT_WIDTH)
    row_pixels, terms, padded = width + across - 1, across * channels, compiled_up(filters, WIDE)
    pixels = compiled_up(height * row_pixels, TALL)
    image_room = compiled_up((pixels + (down - 1) * row_pixels + across) * channels + TALL, LANES)
    room = image_room + pixels * padded
    in_down, in_across = whole_at(form, IN_DOWN), whole_at(form, IN_ACROSS)
    out_down, out_across = whole_at(form, OUT_DOWN), whole_at(form, OUT_ACROSS)
    given = images * (whole_at(form, HEIGHT) // in_down) * (whole_at(form, WIDTH) // in_across) * channels
    x, given_where = numbers_at(load_word(addresses + 8), given), bytes_at(load_word(addresses + 24), given)
    weights = numbers_at(load_word(addresses + 16), padded * down * terms)
    results = images * (height // out_down) * (width // out_across) * filters
    z, where = numbers_at(load_word(addresses + 32), results), bytes_at(load_word(addresses + 40), results)
    own = numbers_at(load_word(addresses + 48) + 4 * thread * room, room)
    between, found = own[:image_room], own[image_room:]
    between[:] = np.float32(0.0)
    parts = whole_at(form, PARTS)
    for image in range(images * part // parts, images * (part + 1) // parts):
        above, left = whole_at(form, ABOVE), whole_at(form, LEFT)
        shape = whole_at(form, HEIGHT), whole_at(form, WIDTH), channels
        origin = between[(above * row_pixels + left) * channels :]
        _place(x, given_where, image, shape, (in_down, in_across), origin, row_pixels, channels)
        for panel in range(padded // WIDE):
            for pixel in range(0, pixels, TALL):
                multiply_tile_again(
                    between, pixel * channels, channels, 1,
                    weights, panel * down * terms * WIDE, WIDE,
                    found, pixel * padded + panel * WIDE, padded, terms, down, row_pixels * channels, False,
                )  # fmt: skip
        if out_down * out_across > 1:
            _pool(found, padded, row_pixels, (height, width, filters), (out_down, out_across), image, z, where)
        else:
            for i in range(height):
                for j in range(width):
                    copy(
                        found[(i * row_pixels + j) * padded :],
                        z[((image * height + i) * width + j) * filters :],
                        filters,
                    )


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _weigh_part(part: int, thread: int, addresses: int) -> None:
    """The gradient from some images. Operands: form, x, delta, where it was. Results: each part's panels, room."""
    form = load_word(addresses)
    images, channels, filters = whole_at(form, IMAGES), whole_at(form, CHANNELS), whole_at(form, FILTERS)
    down, across = whole_at(form, DOWN), whole_at(form, ACROSS)
    height, width = whole_at(form, OUT_HEIGHT), whole_at(form, OUT_WIDTH)
    row_pixels, padded, tall = width + across - 1, compiled_up(filters, WIDE), compiled_up(across * channels, TALL)
    pixels = height * row_pixels
    image_room = compiled_up((pixels + (down - 1) * row_pixels + across) * channels + TALL, LANES)
    room = image_room + pixels * padded
    x = numbers_at(load_word(addresses + 8), images * whole_at(form, HEIGHT) * whole_at(form, WIDTH) * channels)
    out_down, out_across = whole_at(form, OUT_DOWN), whole_at(form, OUT_ACROSS)
    given = images * (height // out_down) * (width // out_across) * filters
    delta, where = numbers_at(load_word(addresses + 16), given), bytes_at(load_word(addresses + 24), given)
    size = padded * down * tall
    panels = numbers_at(load_word(addresses + 32) + 4 * part * size, size)
    own = numbers_at(load_word(addresses + 40) + 4 * thread * room, room)
    own[:] = np.float32(0.0)  # between the deltas of two rows they stay 0
    between, deltas = own[:image_room], own[image_room:]
    parts = whole_at(form, PARTS)
    first, last = images * part // parts, images * (part + 1) // parts
    for image in range(first, last):
        above, left = whole_at(form, ABOVE), whole_at(form, LEFT)
        shape = whole_at(form, HEIGHT), whole_at(form, WIDTH), channels
        origin = between[(above * row_pixels + left) * channels :]
        _place(x, where, image, shape, (1, 1), origin, row_pixels, channels)
        _place(delta, where, image, (height, width, filters), (out_down, out_across), deltas, row_pixels, padded)
        for panel in range(padded // WIDE):
            for row in range(down):
                for term in range(0, tall, TALL):
                    multiply_tile(
                        between, row * row_pixels * channels + term, 1, channels,
                        deltas, panel * WIDE, padded,
                        panels, ((panel * down + row) * tall + term) * WIDE, WIDE, pixels, image > first,
                    )  # fmt: skip


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _place(
    x: Numbers, where: Bytes, image: int, shape: tuple[int, int, int], pool: tuple[int, int], out: Numbers, across: int,
    stride: int,
) -> None:  # fmt: skip
    """Copy an image, or put a pooled one's numbers back among zeros, to rows of `across` pixels of `stride` numbers."""
    height, width, channels = shape
    down, beside = pool
    if down * beside == 1 and stride == channels:
        for row in range(height):
            copy(x[(image * height + row) * width * channels :], out[row * across * channels :], width * channels)
        return
    if down * beside == 1:
        for row in range(height):
            for column in range(width):
                at = ((image * height + row) * width + column) * channels
                copy(x[at:], out[(row * across + column) * stride :], channels)
        return
    for row in range(height // down):
        for column in range(width // beside):
            at = ((image * (height // down) + row) * (width // beside) + column) * channels
            given, place = x[at:], where[at:]
            for k in range(down * beside):
                pixel = (row * down + k // beside) * across + column * beside + k % beside
                into = out[pixel * stride :][:channels]
                for j in range(len(into)):
                    into[j] = given[j] if place[j] == k else np.float32(0.0)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _pool(
    found: Numbers, stride: int, across: int, shape: tuple[int, int, int], pool: tuple[int, int], image: int,
    z: Numbers, where: Bytes,
) -> None:  # fmt: skip
    """The maximum in each window of an image, and where it is; of equal ones the first. NaN counts as the greatest."""
    height, width, filters = shape
    down, beside = pool
    for row in range(height // down):
        for column in range(width // beside):
            at = ((image * (height // down) + row) * (width // beside) + column) * filters
            largest, place = z[at:][:filters], where[at:][:filters]
            for k in range(down * beside):
                pixel = (row * down + k // beside) * across + column * beside + k % beside
                here = found[pixel * stride :]
                if k == 0:
                    for f in range(len(largest)):
                        largest[f] = here[f]
                        place[f] = 0
                else:
                    for f in range(len(largest)):
                        value, most = here[f], largest[f]
                        more = (value > most) | ((value != value) & (most == most))
                        largest[f] = value if more else most
                        place[f] = np.uint8(k) if more else place[f]


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
    return serve(frame, 4, 3, _address_of_correlate())  # type: ignore[no-any-return]


def _serve_weigh(frame: int) -> int:
    return serve(frame, 4, 2, _address_of_weigh())  # type: ignore[no-any-return]
