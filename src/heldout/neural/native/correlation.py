"""Correlations of images with kernels on the CPU, and both their gradients, in tiles.

An image (H, W, C) is copied between its zeros. Then what an output sees under a row of the kernel are neighbours in
memory, over all channels, and what the output beside it sees lies a fixed way from there: so seven or eight
neighbouring outputs and all rows of the kernel are a single product of tiles. Where these do not divide the outputs of
a row, some too many are worked out and thrown away.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numba import njit

from heldout.neural.native.handler import (
    address_of,
    bytes_at,
    load_word,
    numbers,
    numbers_at,
    register,
    serve,
    whole_at,
)
from heldout.neural.native.pooling import place, place_maxima, pool_maxima, take
from heldout.neural.native.tiles import (
    COMPILED,
    LANES,
    SHORT,
    TALL,
    WIDE,
    compiled_up,
    copy,
    multiply_tiles,
    up,
)

Array: TypeAlias = jax.Array
Pair: TypeAlias = tuple[int, ...]  # rows and columns


class Unpool(NamedTuple):
    """How pooled images are put back: their rows and columns before, the windows, where each maximum is in its own."""

    shape: Pair
    pool: Pair
    where: Array


LEAST_PARTS, MOST_PARTS = 4, 16  # that the images are dealt to; threads take one after the other
PARTIAL = 2**17  # numbers of a gradient's partial sums above which it has fewer parts: adding them up takes time too

# The form, the first operand of all: parts; threads there is room for; the parts that are images (others add up what
# those found); images, rows, columns and channels; rows and
# columns of the kernel and its strides; zeros above and to the left; rows, columns and filters of the output; rows and
# columns of the windows of max pooling that x has gone through, and those that the output goes through, or has (1 and
# 1: none); rows and columns of a tile; numbers of an image between its zeros, and of an output.
PARTS, ROOM, IMAGE_PARTS, IMAGES, HEIGHT, WIDTH, CHANNELS, DOWN, ACROSS, STEP_DOWN, STEP_ACROSS, ABOVE = range(12)
LEFT, OUT_HEIGHT, OUT_WIDTH, FILTERS, IN_DOWN, IN_ACROSS, OUT_DOWN, OUT_ACROSS = range(12, 20)
TILE_ROWS, TILE_COLUMNS, IMAGE_ROOM, OUT_ROOM = range(20, 24)
NO_WINDOW, NOWHERE = (1, 1), np.zeros(0, np.uint8)


def correlate(
    x: Array,
    weights: Array,
    before: Pair,
    out: Pair,
    *,
    steps: Pair = (1, 1),
    pool: Pair = NO_WINDOW,
    unpool: Unpool | None = None,
) -> tuple[Array, Array]:
    """`x` (n, H, W, C) ⋆ `weights` (h, w, C, F): (n, *out, F); zeros `before`, and behind as many as that takes.

    With `pool` what is given is the maximum in each of these windows, side by side, and where it is in its window; rows
    and columns that fill none are left out. With `unpool` `x` is pooled, and stands for its numbers at these places
    among zeros.
    """
    register(heldout_correlate=_serve_correlate)
    filters = weights.shape[3]
    n, shape, window, where = _unpooled(x, unpool)
    form = _form((n, *shape, weights.shape[2]), weights.shape[:2], steps, before, out, filters, window, pool)
    form[TILE_ROWS], form[TILE_COLUMNS] = _rows_of_tile(out[1]), _columns_of_tile(filters)
    form[IMAGE_ROOM] = _image_room(form, up(out[1], int(form[TILE_ROWS])), form[CHANNELS])
    form[OUT_ROOM] = (out[0] * out[1] + TALL) * up(filters, LANES)
    pooled = (n, out[0] // pool[0], out[1] // pool[1], filters)
    z, found, _ = jax.ffi.ffi_call(
        "heldout_correlate",
        (numbers(*pooled), numbers(*(pooled if pool != NO_WINDOW else (0,)), kind=np.uint8), _room(form)),
        vmap_method="sequential",
    )(form, x, _panels(weights), where)
    return z, found


def weigh(
    x: Array, delta: Array, kernel: Pair, before: Pair, *, steps: Pair = (1, 1), unpool: Unpool | None = None
) -> Array:
    """The gradient by the weights (*kernel, C, F), from `x` (n, H, W, C) and `delta` (n, H', W', F).

    With `unpool` `delta` is that of a pooled output, and stands for its numbers at these places among zeros.
    """
    register(heldout_weigh=_serve_weigh)
    (down, across), channels, filters = kernel, x.shape[3], delta.shape[3]
    _, out, window, where = _unpooled(delta, unpool)
    padded, wide, tile = up(filters, LANES), _columns_of_tile(filters), _rows_of_tile(across * channels)
    size = padded * down * up(across * channels, tile)
    form = _form(x.shape, kernel, steps, before, out, filters, NO_WINDOW, window, PARTIAL // size)
    form[TILE_ROWS], form[TILE_COLUMNS] = tile, wide
    form[IMAGE_ROOM], form[OUT_ROOM] = _image_room(form, out[1], channels), out[0] * out[1] * padded
    form[PARTS] += padded // wide * down
    found, _, _ = jax.ffi.ffi_call(
        "heldout_weigh",
        (numbers(down, across, channels, filters), numbers(form[IMAGE_PARTS], size), _room(form)),
        vmap_method="sequential",
    )(form, x, delta, where)
    return found


def spread(delta: Array, weights: Array, before: Pair, lengths: Pair, steps: Pair) -> Array:
    """The gradient by the input (n, *lengths, C) of a correlation that moves on by `steps`, from `delta`."""
    register(heldout_spread=_serve_spread)
    n, *out, filters = delta.shape
    channels = weights.shape[2]
    form = _form((n, *lengths, channels), weights.shape[:2], steps, before, tuple(out), filters, NO_WINDOW, NO_WINDOW)
    form[TILE_ROWS], form[TILE_COLUMNS] = _rows_of_tile(out[1]), _columns_of_tile(channels)
    wide = up(out[1], int(form[TILE_ROWS]))
    form[IMAGE_ROOM], form[OUT_ROOM] = _image_room(form, wide, up(channels, LANES)), out[0] * wide * filters
    panels = _panels(weights.swapaxes(2, 3).reshape(1, -1, filters, channels))
    x, _ = jax.ffi.ffi_call("heldout_spread", (numbers(n, *lengths, channels), _room(form)), vmap_method="sequential")(
        form, delta, panels
    )
    return x


def _unpooled(x: Array, unpool: Unpool | None) -> tuple[int, Pair, Pair, Any]:
    """How many images; their rows and columns before pooling; its windows; and where the maxima are."""
    if unpool is None:
        return x.shape[0], x.shape[1:3], NO_WINDOW, NOWHERE
    return x.shape[0], unpool.shape, unpool.pool, unpool.where


def _form(
    images: tuple[int, ...],
    kernel: Pair,
    steps: Pair,
    before: Pair,
    out: Pair,
    filters: int,
    pooled_in: Pair,
    pooled_out: Pair,
    most: int = MOST_PARTS,
) -> np.ndarray[Any, Any]:
    """The form but for tiles and room, with parts that are all images."""
    parts = min(max(most, LEAST_PARTS), MOST_PARTS, images[0])
    room = min(os.cpu_count() or 1, parts)
    form = [parts, room, parts, *images, *kernel, *steps, *before, *out, filters, *pooled_in, *pooled_out]
    return np.array([*form, 0, 0, 0, 0], np.int32)


def _rows_of_tile(count: int) -> int:
    """Of tiles that have so many rows together: those that leave the fewest over."""
    return SHORT if up(count, SHORT) < up(count, TALL) else TALL


def _columns_of_tile(filters: int) -> int:
    return WIDE if up(filters, LANES) % WIDE == 0 else LANES


def _panels(weights: Array) -> Array:
    """Weights (h, w, C, F) in panels of a tile's columns."""
    down, across, channels, filters = weights.shape
    wide = jnp.pad(weights, ((0, 0), (0, 0), (0, 0), (0, up(filters, LANES) - filters)))
    return wide.reshape(down, across * channels, -1, _columns_of_tile(filters)).transpose(2, 0, 1, 3)


def _image_room(form: Any, width: int, channels: int) -> int:
    """The numbers of an image between its zeros, of which so many outputs in a row are made."""
    height, down, step_down, step = (int(form[k]) for k in (OUT_HEIGHT, DOWN, STEP_DOWN, STEP_ACROSS))
    row = (int(form[OUT_WIDTH]) - 1) * step + int(form[ACROSS])
    pixels = ((height - 1) * step_down + down - 1) * row + (width - 1) * step + int(form[ACROSS])
    return up(pixels * int(channels) + TALL, LANES)


def _room(form: Any) -> jax.ShapeDtypeStruct:
    """What each thread needs of its own."""
    return numbers(form[ROOM], form[IMAGE_ROOM] + form[OUT_ROOM])


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _images_of(form: int, part: int) -> tuple[int, int]:
    """The images of a part."""
    images, parts = whole_at(form, IMAGES), whole_at(form, IMAGE_PARTS)
    return images * part // parts, images * (part + 1) // parts


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _shape_of(form: int) -> tuple[int, int, int]:
    return whole_at(form, HEIGHT), whole_at(form, WIDTH), whole_at(form, CHANNELS)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _row_of(form: int) -> int:
    """The pixels of an image's row between its zeros."""
    row: int = (whole_at(form, OUT_WIDTH) - 1) * whole_at(form, STEP_ACROSS) + whole_at(form, ACROSS)
    return row


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _seen_of(form: int) -> tuple[int, int]:
    """The rows and columns of an image that the windows reach."""
    rows = (whole_at(form, OUT_HEIGHT) - 1) * whole_at(form, STEP_DOWN) + whole_at(form, DOWN) - whole_at(form, ABOVE)
    return min(whole_at(form, HEIGHT), rows), min(whole_at(form, WIDTH), _row_of(form) - whole_at(form, LEFT))


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _own_of(form: int, thread: int, address: int) -> tuple[Any, Any]:
    """A thread's room for an image between its zeros, and for an output."""
    image, out = whole_at(form, IMAGE_ROOM), whole_at(form, OUT_ROOM)
    own = numbers_at(address + 4 * thread * (image + out), image + out)
    own[:] = np.float32(0.0)
    return own[:image], own[image:]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _put(
    x: Any, where: int, image: int, shape: Any, seen: Any, pool: Any, images: int, out: Any, row: int, stride: int
) -> None:
    """Place an image, or what stands for a pooled one."""
    if pool[0] * pool[1] == 1:
        place(x, image, shape, seen, out, row, stride)
    else:
        count = images * (shape[0] // pool[0]) * (shape[1] // pool[1]) * shape[2]
        place_maxima(x, bytes_at(where, count), image, shape, pool, out, row, stride)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _correlate_part(part: int, thread: int, addresses: int) -> None:
    """Some images' outputs. Operands: form, x, weights in panels, where x was. Results: outputs, where, room."""
    form = load_word(addresses)
    shape, seen, filters, row = _shape_of(form), _seen_of(form), whole_at(form, FILTERS), _row_of(form)
    height, width, channels = whole_at(form, OUT_HEIGHT), whole_at(form, OUT_WIDTH), shape[2]
    down, terms, padded = whole_at(form, DOWN), whole_at(form, ACROSS) * channels, compiled_up(filters, LANES)
    step_down, step = whole_at(form, STEP_DOWN), whole_at(form, STEP_ACROSS)
    tall, wide = whole_at(form, TILE_ROWS), whole_at(form, TILE_COLUMNS)
    pool_in = whole_at(form, IN_DOWN), whole_at(form, IN_ACROSS)
    pool_out, images = (whole_at(form, OUT_DOWN), whole_at(form, OUT_ACROSS)), whole_at(form, IMAGES)
    x = numbers_at(load_word(addresses + 8), images * (shape[0] // pool_in[0]) * (shape[1] // pool_in[1]) * channels)
    weights = numbers_at(load_word(addresses + 16), padded * down * terms)
    results = images * (height // pool_out[0]) * (width // pool_out[1]) * filters
    z, where = numbers_at(load_word(addresses + 32), results), bytes_at(load_word(addresses + 40), results)
    between, found = _own_of(form, thread, load_word(addresses + 48))
    origin = between[(whole_at(form, ABOVE) * row + whole_at(form, LEFT)) * channels :]
    first, last = _images_of(form, part)
    for image in range(first, last):
        _put(x, load_word(addresses + 24), image, shape, seen, pool_in, images, origin, row, channels)
        for panel in range(0, padded, wide):
            for i in range(height):
                for j in range(0, width, tall):
                    multiply_tiles(
                        tall, wide, between, (i * step_down * row + j * step) * channels, step * channels, 1,
                        weights, panel * down * terms, wide,
                        found, (i * width + j) * padded + panel, padded, terms, down, row * channels, False,
                    )  # fmt: skip
        if pool_out[0] * pool_out[1] == 1:
            take(found, padded, (height, width, filters), image, z)
        else:
            pool_maxima(found, padded, (height, width, filters), pool_out, image, z, where)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _weigh_part(part: int, thread: int, addresses: int) -> None:
    """The gradient from some images. Operands: form, x, delta, where it was. Results: sum, each part's panels, room."""
    form = load_word(addresses)
    shape, seen, filters, row = _shape_of(form), _seen_of(form), whole_at(form, FILTERS), _row_of(form)
    height, width, channels = whole_at(form, OUT_HEIGHT), whole_at(form, OUT_WIDTH), shape[2]
    down, step_down, step = whole_at(form, DOWN), whole_at(form, STEP_DOWN), whole_at(form, STEP_ACROSS)
    tall, wide = whole_at(form, TILE_ROWS), whole_at(form, TILE_COLUMNS)
    padded, terms = compiled_up(filters, LANES), compiled_up(whole_at(form, ACROSS) * channels, tall)
    pool, images = (whole_at(form, OUT_DOWN), whole_at(form, OUT_ACROSS)), whole_at(form, IMAGES)
    x = numbers_at(load_word(addresses + 8), images * shape[0] * shape[1] * channels)
    delta = numbers_at(load_word(addresses + 16), images * (height // pool[0]) * (width // pool[1]) * filters)
    size = padded * down * terms
    panels = numbers_at(load_word(addresses + 40) + 4 * part * size, size)
    between, deltas = _own_of(form, thread, load_word(addresses + 48))
    origin = between[(whole_at(form, ABOVE) * row + whole_at(form, LEFT)) * channels :]
    shaped = height, width, filters
    first, last = _images_of(form, part)
    for image in range(first, last):
        place(x, image, shape, seen, origin, row, channels)
        _put(delta, load_word(addresses + 24), image, shaped, (height, width), pool, images, deltas, width, padded)
        for panel in range(0, padded, wide):
            for i in range(down):
                for term in range(0, terms, tall):
                    multiply_tiles(
                        tall, wide, between, i * row * channels + term, 1, step * channels, deltas, panel, padded,
                        panels, (panel * down + i * wide) * terms + term * wide, wide,
                        width, height, step_down * row * channels, image > first,
                    )  # fmt: skip


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _add_up(piece: int, thread: int, addresses: int) -> None:
    """A panel's row of the kernel, from the panels that were found in all images."""
    form = load_word(addresses)
    filters, down, parts = whole_at(form, FILTERS), whole_at(form, DOWN), whole_at(form, IMAGE_PARTS)
    tall, wide = whole_at(form, TILE_ROWS), whole_at(form, TILE_COLUMNS)
    padded, terms = compiled_up(filters, LANES), whole_at(form, ACROSS) * whole_at(form, CHANNELS)
    panel, size = piece // down * wide, compiled_up(terms, tall) * wide
    given = numbers_at(load_word(addresses + 40), parts * padded // wide * down * size)
    by_weights = numbers_at(load_word(addresses + 32), down * terms * filters)
    for term in range(terms):
        out = by_weights[(piece % down * terms + term) * filters + panel :][: min(wide, filters - panel)]
        for part in range(parts):
            own = given[(part * (padded // wide) * down + piece) * size + term * wide :]
            if part == 0:
                copy(own, out, len(out))
            else:
                for f in range(len(out)):
                    out[f] += own[f]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _spread_part(part: int, thread: int, addresses: int) -> None:
    """Some images' gradients: what each output hands back is added where it was seen.

    Operands: form, delta, weights (positions, F, C) in panels. Results: by x, room.
    """
    form = load_word(addresses)
    shape, seen, filters, row = _shape_of(form), _seen_of(form), whole_at(form, FILTERS), _row_of(form)
    height, width, channels = whole_at(form, OUT_HEIGHT), whole_at(form, OUT_WIDTH), shape[2]
    down, across, padded = whole_at(form, DOWN), whole_at(form, ACROSS), compiled_up(channels, LANES)
    step_down, step = whole_at(form, STEP_DOWN), whole_at(form, STEP_ACROSS)
    tall, wide = whole_at(form, TILE_ROWS), whole_at(form, TILE_COLUMNS)
    images, columns = whole_at(form, IMAGES), compiled_up(width, tall)
    delta = numbers_at(load_word(addresses + 8), images * height * width * filters)
    weights = numbers_at(load_word(addresses + 16), padded * down * across * filters)
    x = numbers_at(load_word(addresses + 24), images * shape[0] * shape[1] * channels)
    between, deltas = _own_of(form, thread, load_word(addresses + 32))  # what fills up a row of tiles stays 0
    first, last = _images_of(form, part)
    for image in range(first, last):
        between[:] = np.float32(0.0)
        place(delta, image, (height, width, filters), (height, width), deltas, columns, filters)
        for panel in range(0, padded, wide):
            for i in range(height):
                for j in range(0, width, tall):
                    for k in range(down * across):
                        pixel = (i * step_down + k // across) * row + j * step + k % across
                        multiply_tiles(
                            tall, wide, deltas, (i * columns + j) * filters, filters, 1,
                            weights, (panel * down * across + k * wide) * filters, wide,
                            between, pixel * padded + panel, step * padded, filters, 1, 0, True,
                        )  # fmt: skip
        for i in range(shape[0]):
            for j in range(shape[1]):
                out = x[((image * shape[0] + i) * shape[1] + j) * channels :]
                if i < seen[0] and j < seen[1]:
                    pixel = (whole_at(form, ABOVE) + i) * row + whole_at(form, LEFT) + j
                    copy(between[pixel * padded :], out, channels)
                else:
                    out[:channels] = np.float32(0.0)


_address_of_correlate, _address_of_weigh = address_of(_correlate_part), address_of(_weigh_part, _add_up)
_address_of_spread = address_of(_spread_part)


def _serve_correlate(frame: int) -> int:
    return serve(frame, _address_of_correlate())  # type: ignore[no-any-return]


def _serve_weigh(frame: int) -> int:
    return serve(frame, _address_of_weigh())  # type: ignore[no-any-return]


def _serve_spread(frame: int) -> int:
    return serve(frame, _address_of_spread())  # type: ignore[no-any-return]
