"""Batch norm on the CPU: moments of channels, and the way back, each in one call and few passes.

Rows of few channels are taken several at a time, as one of many: so all loops are long. Threads that have done their
part of a sum go on with what needs all of it as soon as that is there.
"""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import jax
import numpy as np
from numba import njit

from heldout.neural.native.handler import (
    address_of,
    load_word,
    numbers,
    numbers_at,
    register,
    serve,
    whole_at,
)
from heldout.neural.native.tiles import COMPILED

Array: TypeAlias = jax.Array
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

MOST_CHUNKS = 16  # that the rows are dealt to; threads take one after the other
WIDTH = 128  # numbers that a row has, at least, if some together make one
BLOCK = 32  # rows whose mean and squares are worked out while they are in the first cache

# The form, the first operand: parts; threads there is room for; chunks, and one more; rows, numbers of one, channels;
# whether ReLU follows.
PARTS, ROOM, CHUNKS, ONE_MORE, ROWS, WIDE, CHANNELS, RECTIFIED = range(8)
ZERO, ONE = np.float32(0.0), np.float32(1.0)


def moments(x: Array) -> tuple[Array, Array]:
    """Mean and variance (c,) over all axes but the last: chunks' own, put together (Chan, Golub and LeVeque 1983)."""
    register(heldout_moments=_serve_moments)
    form = _form(x, 1, False)
    chunks, wide, channels = (int(form[k]) for k in (CHUNKS, WIDE, CHANNELS))
    found, _, _ = jax.ffi.ffi_call(
        "heldout_moments",
        (numbers(2, channels), numbers(chunks, 2, wide), numbers(form[ROOM], 2 * wide)),
        vmap_method="sequential",
    )(form, x)
    return found[0], found[1]


def backward(x: Array, delta: Array, known: Array, rectified: bool) -> tuple[Array, Array, Array]:
    """The gradients by x, γ and β of `γ (x - μ) / σ + β`, perhaps with ReLU behind it, from that by the output.

    `known` (4, c): μ, 1 / σ, γ and β.
    """
    register(heldout_normalise_back=_serve_backward)
    form = _form(x, 2, rectified)
    chunks, wide, channels = (int(form[k]) for k in (CHUNKS, WIDE, CHANNELS))
    by_x, sums, _, _ = jax.ffi.ffi_call(
        "heldout_normalise_back",
        (numbers(*x.shape), numbers(2, channels), numbers(chunks, 2, wide), numbers(form[ROOM], 5 * wide)),
        vmap_method="sequential",
    )(form, x, delta, known)
    return by_x, sums[1], sums[0]


def _form(x: Array, passes: int, rectified: bool) -> np.ndarray[Any, Any]:
    """One part puts the chunks together; with a second pass there is another one for each."""
    channels = x.shape[-1]
    rows = x.size // channels
    together = next(k for k in range(max(WIDTH // channels, 1), 0, -1) if rows % k == 0)
    chunks = min(MOST_CHUNKS, rows // together)
    room = min(os.cpu_count() or 1, chunks)
    form = [passes * chunks + 1, room, chunks, chunks + 1, rows // together, together * channels, channels, rectified]
    return np.array(form, np.int32)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _chunk(form: int, chunk: int) -> tuple[int, int]:
    """Its rows, from and to before."""
    rows, chunks = whole_at(form, ROWS), whole_at(form, CHUNKS)
    return rows * chunk // chunks, rows * (chunk + 1) // chunks


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _moments_part(part: int, thread: int, addresses: int) -> None:
    """A chunk's means and sums of squares. Operands: form, x. Results: moments, each chunk's, room."""
    form = load_word(addresses)
    wide, (first, last) = whole_at(form, WIDE), _chunk(form, part)
    x = numbers_at(load_word(addresses + 8), whole_at(form, ROWS) * wide)
    partial = numbers_at(load_word(addresses + 24) + 8 * part * wide, 2 * wide)
    room = numbers_at(load_word(addresses + 32) + 8 * thread * wide, 2 * wide)
    mean, squares, own, own_squares = partial[:wide], partial[wide:], room[:wide], room[wide:]
    partial[:] = ZERO
    for start in range(first, last, BLOCK):
        stop = min(start + BLOCK, last)
        room[:] = ZERO
        for row in range(start, stop):
            here = x[row * wide :]
            for j in range(len(own)):
                own[j] += here[j]
        for j in range(len(own)):
            own[j] *= ONE / np.float32(stop - start)
        for row in range(start, stop):
            here = x[row * wide :]
            for j in range(len(own)):
                off = here[j] - own[j]
                own_squares[j] += off * off
        share, before = np.float32(stop - start) / np.float32(stop - first), np.float32(start - first)
        for j in range(len(own)):
            off = own[j] - mean[j]
            mean[j] += off * share
            squares[j] += own_squares[j] + off * off * (before * share)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _moments_together(part: int, thread: int, addresses: int) -> None:
    """The moments, from those of the chunks."""
    form = load_word(addresses)
    wide, channels, chunks = whole_at(form, WIDE), whole_at(form, CHANNELS), whole_at(form, CHUNKS)
    found = numbers_at(load_word(addresses + 16), 2 * channels)
    partial = numbers_at(load_word(addresses + 24), chunks * 2 * wide)
    mean, squares = found[:channels], found[channels:]
    found[:] = ZERO
    count = ZERO
    for chunk in range(chunks):
        first, last = _chunk(form, chunk)
        for at in range(2 * chunk * wide, (2 * chunk + 1) * wide, channels):
            count += np.float32(last - first)
            share = np.float32(last - first) / count
            weight = share * (count - np.float32(last - first))
            for j in range(len(mean)):
                off = partial[at + j] - mean[j]
                mean[j] += off * share
                squares[j] += partial[at + wide + j] + off * off * weight
    for j in range(len(squares)):
        squares[j] /= count


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _sums_part(part: int, thread: int, addresses: int) -> None:
    """A chunk's Σδ and Σδ(x - μ). Operands: form, x, delta, known. Results: by x, by β and γ, each chunk's, room."""
    form = load_word(addresses)
    wide, (first, last) = whole_at(form, WIDE), _chunk(form, part)
    x = numbers_at(load_word(addresses + 8), whole_at(form, ROWS) * wide)
    delta = numbers_at(load_word(addresses + 16), whole_at(form, ROWS) * wide)
    partial = numbers_at(load_word(addresses + 48) + 8 * part * wide, 2 * wide)
    room = numbers_at(load_word(addresses + 56) + 20 * thread * wide, 5 * wide)
    _spread_known(form, load_word(addresses + 24), room)
    mean, slope, level, sums, products = room[:wide], room[wide:], room[2 * wide :], partial[:wide], partial[wide:]
    partial[:] = ZERO
    for row in range(first, last):
        here, its = x[row * wide :], delta[row * wide :]
        if whole_at(form, RECTIFIED):
            for j in range(len(sums)):
                d = its[j] if here[j] * slope[j] + level[j] > ZERO else ZERO
                sums[j] += d
                products[j] += d * (here[j] - mean[j])
        else:
            for j in range(len(sums)):
                sums[j] += its[j]
                products[j] += its[j] * (here[j] - mean[j])


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _spread_known(form: int, address: int, room: Numbers) -> None:
    """μ, and γ/σ and β - μγ/σ, with which y = x γ/σ + (β - μγ/σ), for each number of a row."""
    wide, channels = whole_at(form, WIDE), whole_at(form, CHANNELS)
    known = numbers_at(address, 4 * channels)
    for at in range(0, wide, channels):
        for j in range(channels):
            slope = known[channels + j] * known[2 * channels + j]
            room[at + j] = known[j]
            room[wide + at + j] = slope
            room[2 * wide + at + j] = known[3 * channels + j] - known[j] * slope


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _sums_together(part: int, thread: int, addresses: int) -> None:
    """The gradients by β and γ, from the chunks' sums."""
    form = load_word(addresses)
    wide, channels, chunks = whole_at(form, WIDE), whole_at(form, CHANNELS), whole_at(form, CHUNKS)
    known = numbers_at(load_word(addresses + 24), 4 * channels)
    found = numbers_at(load_word(addresses + 40), 2 * channels)
    partial = numbers_at(load_word(addresses + 48), chunks * 2 * wide)
    found[:] = ZERO
    for chunk in range(chunks):
        for at in range(2 * chunk * wide, (2 * chunk + 1) * wide, channels):
            for j in range(channels):
                found[j] += partial[at + j]
                found[channels + j] += partial[at + wide + j]
    for j in range(channels):
        found[channels + j] *= known[channels + j]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _back_part(part: int, thread: int, addresses: int) -> None:
    """A chunk's gradient by x: γ/σ (δ - Σδ / N - x̂ Σδx̂ / N), as γ/σ δ + (a + b x)."""
    form = load_word(addresses)
    wide, channels, (first, last) = whole_at(form, WIDE), whole_at(form, CHANNELS), _chunk(form, part)
    size = whole_at(form, ROWS) * wide
    x, delta = numbers_at(load_word(addresses + 8), size), numbers_at(load_word(addresses + 16), size)
    by_x = numbers_at(load_word(addresses + 32), size)
    known = numbers_at(load_word(addresses + 24), 4 * channels)
    sums = numbers_at(load_word(addresses + 40), 2 * channels)
    room = numbers_at(load_word(addresses + 56) + 20 * thread * wide, 5 * wide)
    _spread_known(form, load_word(addresses + 24), room)
    count = np.float32(size // channels)
    for at in range(0, wide, channels):
        for j in range(channels):
            tilt = room[wide + j] * known[channels + j] * sums[channels + j] / count
            room[3 * wide + at + j] = tilt * known[j] - room[wide + j] * sums[j] / count
            room[4 * wide + at + j] = tilt
    slope, level, constant, tilt = room[wide:], room[2 * wide :], room[3 * wide :], room[4 * wide :]
    for row in range(first, last):
        here, its, out = x[row * wide :], delta[row * wide :], by_x[row * wide :][:wide]
        if whole_at(form, RECTIFIED):
            for j in range(len(out)):
                d = its[j] if here[j] * slope[j] + level[j] > ZERO else ZERO
                out[j] = slope[j] * d + (constant[j] - tilt[j] * here[j])
        else:
            for j in range(len(out)):
                out[j] = slope[j] * its[j] + (constant[j] - tilt[j] * here[j])


_address_of_moments, _address_of_backward = (
    address_of(_moments_part, _moments_together),
    address_of(_sums_part, _sums_together, _back_part),
)


def _serve_moments(frame: int) -> int:
    return serve(frame, _address_of_moments())  # type: ignore[no-any-return]


def _serve_backward(frame: int) -> int:
    return serve(frame, _address_of_backward())  # type: ignore[no-any-return]
