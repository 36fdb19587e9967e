r"""Affine maps on the CPU, y = f(x) W + b, with what comes before the product, f, worked out where it is needed.

f is nothing, layer norm, or an activation. A block of rows goes through f into the second cache, and its products are
tiles that are summed in registers, so that f(x) is never written to memory. On the way back, with
:math:`\delta = \partial L / \partial y`,

.. math::
    \nabla_W = f(x)^T \delta, \qquad \nabla_b = \sum_i \delta_i, \qquad \nabla_x = f'(x)^T (\delta W^T)

a block of rows gives its part of all three. Blocks are summed in groups, whose number depends on the rows alone, and
the groups in their order: the result does not depend on the threads.
"""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import jax
import numpy as np
from numba import njit

from heldout.neural.native.functions import along, sigmoid
from heldout.neural.native.handler import (
    address_of,
    load_word,
    numbers,
    numbers_at,
    register,
    serve,
    whole_at,
)
from heldout.neural.native.tiles import (
    COMPILED,
    TALL,
    WIDE,
    compiled_up,
    copy,
    in_wide_registers,
    tall_wide,
    up,
)

Array: TypeAlias = jax.Array
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

NOTHING, NORM, RELU, GELU = range(4)  # what comes before the product
BLOCK = 64  # rows that are at work together
DEEP = 128  # terms of a product at a time: a panel of so many stays in the first cache
GROUP = 384  # rows, at least, whose part of the gradient by the weights is summed at once
MOST_GROUPS = 16
APART = 16  # numbers between rows that lie side by side, so that they do not fall into the same places of the cache

# The form, the first operand: parts; threads there is room for; with which parts the second and the third phase begin;
# rows; numbers of a row of x, and of y; what comes before; groups of rows; ε of layer norm, a single-precision number.
PARTS, ROOM, SECOND, THIRD, ROWS, INPUTS, OUTPUTS, BEFORE, GROUPS, EPSILON = range(10)
ZERO, ONE = np.float32(0.0), np.float32(1.0)
TWICE_SLOPE, CUBIC = np.float32(2.0 * np.sqrt(2.0 / np.pi)), np.float32(0.044715)


def forward(
    x: Array, weights: Array, bias: Array, scale: Array, shift: Array, before: int, epsilon: float = 0.0
) -> Array:
    """f(x) W + b for rows x (n, p), `weights` (p, m) and `bias` (m,); `scale` and `shift` (p,) are those of a norm."""
    register(heldout_affine=_serve_forward, heldout_affine_back=_serve_backward)
    (n, p), m = x.shape, weights.shape[1]
    panels, blocks = -(-m // WIDE), -(-n // BLOCK)
    form = form_of((panels, blocks, 0), n, p, m, before, 1, epsilon)
    y, _, _ = jax.ffi.ffi_call(
        "heldout_affine",
        (numbers(n, m), numbers(panels, p, WIDE), numbers(form[ROOM], _room(p))),
        vmap_method="sequential",
    )(form, x, weights, bias, scale, shift)
    return y


def backward(
    x: Array, weights: Array, scale: Array, shift: Array, delta: Array, before: int, epsilon: float = 0.0
) -> tuple[Array, Array, Array, Array, Array]:
    """The gradients by x, W, b, and by scale and shift (p,) of a norm, from that by y, `delta` (n, m)."""
    register(heldout_affine=_serve_forward, heldout_affine_back=_serve_backward)
    (n, p), m = x.shape, weights.shape[1]
    groups = groups_of(n)
    turned, panels = -(-p // WIDE), -(-m // WIDE)
    form = form_of((turned, groups, panels), n, p, m, before, groups, epsilon)
    across = up(m, WIDE)
    by_x, by_weights, sums, _, _, _ = jax.ffi.ffi_call(
        "heldout_affine_back",
        (
            numbers(n, p),
            numbers(p, m),
            numbers(m + 2 * p),
            numbers(turned, across, WIDE),
            numbers(groups, up(p, TALL) * across + across + 2 * p),
            numbers(form[ROOM], _room_back(p, m)),
        ),
        vmap_method="sequential",
    )(form, x, weights, scale, shift, delta)
    return by_x, by_weights, sums[:m], sums[m : m + p], sums[m + p :]


def groups_of(n: int) -> int:
    """In how many groups so many rows are dealt: a power of 2."""
    return min(MOST_GROUPS, 1 << max(n // GROUP, 1).bit_length() - 1)


def form_of(phases: tuple[int, int, int], *others: Any) -> np.ndarray[Any, Any]:
    """The form of a task with so many parts in its phases; the last of the others is a single-precision number."""
    first, second, third = phases
    *whole, epsilon = others
    parts, room = first + second + third, min(os.cpu_count() or 1, second)
    return np.array([parts, room, first, first + second, *whole, np.float32(epsilon).view(np.int32)], np.int32)


def _room(p: int) -> int:
    """Numbers that a thread needs: a block of f(x), and of a panel of y."""
    return BLOCK * (p + APART) + BLOCK * WIDE


def _room_back(p: int, m: int) -> int:
    """A block of f(x), of its slope, of δ in panels, and of a panel of δ Wᵀ."""
    return 2 * BLOCK * (up(p, WIDE) + APART) + BLOCK * up(m, WIDE) + BLOCK * WIDE


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _moments(row: Numbers, epsilon: Any) -> tuple[Any, Any]:
    """The mean of a row, and 1 / σ."""
    count = np.float32(len(row))
    mean = _sum(row) / count
    return mean, ONE / np.sqrt(_squares(row, mean) / count + epsilon)


@njit(**COMPILED, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _sum(row: Numbers) -> Any:
    total = ZERO
    for j in range(len(row)):
        total += row[j]
    return total


@njit(**COMPILED, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _squares(row: Numbers, mean: Any) -> Any:
    total = ZERO
    for j in range(len(row)):
        total += (row[j] - mean) * (row[j] - mean)
    return total


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def through(before: int, x: Numbers, scale: Numbers, shift: Numbers, epsilon: Any, out: Numbers) -> None:
    """f(x) of a row."""
    in_wide_registers()
    count = len(x)
    into = out[:count]
    if before == NORM:
        mean, inverse = _moments(x, epsilon)
        for j in range(count):
            into[j] = (x[j] - mean) * inverse * scale[j] + shift[j]
    elif before == RELU:
        for j in range(count):
            into[j] = max(x[j], ZERO)
    elif before == GELU:
        for j in range(count):
            z = x[j]
            into[j] = z * sigmoid(TWICE_SLOPE * z * (ONE + CUBIC * z * z))
    else:
        for j in range(count):
            into[j] = x[j]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def through_and_slope(
    before: int, x: Numbers, scale: Numbers, shift: Numbers, epsilon: Any, out: Numbers, slopes: Numbers
) -> None:
    """f(x) of a row; and of an activation its derivative."""
    in_wide_registers()
    count = len(x)
    into, slope = out[:count], slopes[:count]
    if before == GELU:
        for j in range(count):
            z = x[j]
            share = sigmoid(TWICE_SLOPE * z * (ONE + CUBIC * z * z))
            steep = TWICE_SLOPE * (ONE + np.float32(3.0) * CUBIC * z * z)
            into[j] = z * share
            slope[j] = share + z * share * (ONE - share) * steep
    else:
        through(before, x, scale, shift, epsilon, out)
        if before == RELU:
            for j in range(count):
                slope[j] = ONE if x[j] > ZERO else ZERO


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def pack(weights: Numbers, p: int, m: int, panel: int, out: Numbers) -> None:
    """WIDE columns of W (p, m), as (p, WIDE)."""
    count = min(WIDE, m - panel * WIDE)
    for k in range(p):
        copy(weights[k * m + panel * WIDE :], out[k * WIDE :], count)
        out[k * WIDE + count : (k + 1) * WIDE] = ZERO


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def turn(weights: Numbers, p: int, m: int, panel: int, out: Numbers) -> None:
    """WIDE rows of W (p, m), as (m, WIDE), filled up to a multiple of WIDE."""
    for k in range(WIDE):
        into = out[k:]
        if panel * WIDE + k < p:
            source = weights[(panel * WIDE + k) * m :]
            for j in range(m):
                into[j * WIDE] = source[j]
        else:
            for j in range(m):
                into[j * WIDE] = ZERO
    out[m * WIDE : compiled_up(m, WIDE) * WIDE] = ZERO


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def multiply(given: Numbers, row: int, rows: int, p: int, panel: Numbers, tile: Numbers) -> None:
    """A block's rows, `row` numbers apart, of which p count, times a panel (p, WIDE): `tile` (BLOCK, WIDE)."""
    for start in range(0, p, DEEP):
        for i in range(0, rows, TALL):
            tall_wide(given, i * row + start, row, 1, panel, start * WIDE, WIDE, tile, i * WIDE, WIDE,
                min(DEEP, p - start), 1, 0, start > 0,
            )  # fmt: skip


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def multiply_panels(given: Numbers, rows: int, panels: int, panel: Numbers, tile: Numbers) -> None:
    """A block in panels (panels, BLOCK, WIDE) times a panel (panels · WIDE, WIDE): `tile` (BLOCK, WIDE)."""
    for start in range(0, panels, DEEP // WIDE):
        for i in range(0, rows, TALL):
            tall_wide(given, (start * BLOCK + i) * WIDE, WIDE, 1, panel, start * WIDE * WIDE, WIDE, tile,
                i * WIDE, WIDE, WIDE, min(DEEP // WIDE, panels - start), BLOCK * WIDE, start > 0,
            )  # fmt: skip


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def weigh(given: Numbers, row: int, rows: int, p: int, deltas: Numbers, own: Numbers, more: bool) -> None:
    """A block's part of a panel of the gradient by W, (p, WIDE): the block's rows, turned over, times a panel of δ."""
    for k in range(0, p, TALL):
        tall_wide(given, k, 1, row, deltas, 0, WIDE, own, k * WIDE, WIDE, rows, 1, 0, more,
        )  # fmt: skip


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def fill(given: Numbers, row: int, width: int, rows: int, until: int) -> None:
    """0 in the rows behind the last, and behind each row's last number of `width`."""
    for i in range(rows):
        given[i * row + width : (i + 1) * row] = ZERO
    for i in range(rows, until):
        given[i * row : (i + 1) * row] = ZERO


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def gather(delta: Numbers, i: int, deltas: Numbers, by_bias: Numbers) -> None:
    """A row of δ into panels, and added to the gradient by b."""
    m = len(delta)
    for at in range(0, m, WIDE):
        into = deltas[at * BLOCK + i * WIDE :][:WIDE]
        if at + WIDE <= m:
            source, total = delta[at:], by_bias[at:]
            for j in range(len(into)):
                into[j] = source[j]
                total[j] += source[j]
        else:
            for j in range(len(into)):
                into[j] = delta[at + j] if at + j < m else ZERO
                by_bias[at + j] += into[j]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def norm_back(
    x: Numbers, above: Numbers, scale: Numbers, epsilon: Any, by_x: Numbers, by_scale: Numbers, by_shift: Numbers,
    standard: Numbers,
) -> None:  # fmt: skip
    """The gradients of layer norm, from that by its output, `above`; `standard`: room for x̂."""
    in_wide_registers()
    count = len(x)
    mean, inverse = _moments(x, epsilon)
    by = by_x[:count]
    for j in range(len(by)):
        standard[j] = (x[j] - mean) * inverse
        by_shift[j] += above[j]
        by_scale[j] += above[j] * standard[j]
        by[j] = above[j] * scale[j]
    level, tilt = _sum(by) / np.float32(count), along(by, standard, count) / np.float32(count)
    for j in range(len(by)):
        by[j] = inverse * (by[j] - level - standard[j] * tilt)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def add_up(partial: Numbers, size: int, groups: int, out: Numbers) -> None:
    """The groups' sums, which lie `size` numbers apart."""
    for j in range(len(out)):
        out[j] = partial[j]
    for group in range(1, groups):
        more = partial[group * size :]
        for j in range(len(out)):
            out[j] += more[j]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _pack_part(panel: int, thread: int, addresses: int) -> None:
    """A panel of W. Operands: form, x, W, b, scale, shift; results: y, panels, room."""
    form = load_word(addresses)
    p, m = whole_at(form, INPUTS), whole_at(form, OUTPUTS)
    weights = numbers_at(load_word(addresses + 16), p * m)
    pack(weights, p, m, panel, numbers_at(load_word(addresses + 56) + 4 * panel * p * WIDE, p * WIDE))


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _forward_part(block: int, thread: int, addresses: int) -> None:
    """A block of rows. Operands and results: see `_pack_part`."""
    form = load_word(addresses)
    n, p, m = whole_at(form, ROWS), whole_at(form, INPUTS), whole_at(form, OUTPUTS)
    before, epsilon = whole_at(form, BEFORE), numbers_at(form + 4 * EPSILON, 1)[0]
    first = block * BLOCK
    rows, row, panels = min(BLOCK, n - first), p + APART, compiled_up(m, WIDE) // WIDE
    x = numbers_at(load_word(addresses + 8) + 4 * first * p, rows * p)
    bias = numbers_at(load_word(addresses + 24), m)
    scale, shift = numbers_at(load_word(addresses + 32), p), numbers_at(load_word(addresses + 40), p)
    y = numbers_at(load_word(addresses + 48) + 4 * first * m, rows * m)
    weights = numbers_at(load_word(addresses + 56), panels * p * WIDE)
    room = BLOCK * row + BLOCK * WIDE
    given = numbers_at(load_word(addresses + 64) + 4 * thread * room, room)
    tile = given[BLOCK * row :]
    for i in range(rows):
        through(before, x[i * p : (i + 1) * p], scale, shift, epsilon, given[i * row :])
    fill(given, row, p, rows, compiled_up(rows, TALL))
    for panel in range(panels):
        multiply(given, row, rows, p, weights[panel * p * WIDE :], tile)
        at, count = panel * WIDE, min(WIDE, m - panel * WIDE)
        for i in range(rows):
            source, added, into = tile[i * WIDE :], bias[at:], y[i * m + at :][:count]
            for j in range(len(into)):
                into[j] = source[j] + added[j]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _turn_part(panel: int, thread: int, addresses: int) -> None:
    """A panel of Wᵀ. Operands: form, x, W, scale, shift, δ; results: by x, by W, sums, panels of Wᵀ, groups, room."""
    form = load_word(addresses)
    p, m = whole_at(form, INPUTS), whole_at(form, OUTPUTS)
    size = compiled_up(m, WIDE) * WIDE
    weights = numbers_at(load_word(addresses + 16), p * m)
    turn(weights, p, m, panel, numbers_at(load_word(addresses + 72) + 4 * panel * size, size))


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _group_part(group: int, thread: int, addresses: int) -> None:
    """A group of rows. Operands and results: see `_turn_part`."""
    form = load_word(addresses)
    n, p, m = whole_at(form, ROWS), whole_at(form, INPUTS), whole_at(form, OUTPUTS)
    groups, before = whole_at(form, GROUPS), whole_at(form, BEFORE)
    epsilon = numbers_at(form + 4 * EPSILON, 1)[0]
    across, tall, wide = compiled_up(m, WIDE), compiled_up(p, TALL), compiled_up(p, WIDE)
    row, panels = wide + APART, across // WIDE
    x, delta = numbers_at(load_word(addresses + 8), n * p), numbers_at(load_word(addresses + 40), n * m)
    scale, shift = numbers_at(load_word(addresses + 24), p), numbers_at(load_word(addresses + 32), p)
    by_x = numbers_at(load_word(addresses + 48), n * p)
    turned = numbers_at(load_word(addresses + 72), wide * across)
    size = tall * across + across + 2 * p
    own = numbers_at(load_word(addresses + 80) + 4 * group * size, size)
    by_bias, by_norm = own[tall * across :], own[tall * across + across :]
    by_bias[: across + 2 * p] = ZERO
    room = 2 * BLOCK * row + BLOCK * across + BLOCK * WIDE
    given = numbers_at(load_word(addresses + 88) + 4 * thread * room, room)
    slopes, deltas, tile = given[BLOCK * row :], given[2 * BLOCK * row :], given[2 * BLOCK * row + BLOCK * across :]
    begins, stop = n * group // groups, n * (group + 1) // groups
    for first in range(begins, stop, BLOCK):
        rows = min(BLOCK, stop - first)
        filled = compiled_up(rows, TALL)
        for i in range(rows):
            at = (first + i) * p
            through_and_slope(before, x[at : at + p], scale, shift, epsilon, given[i * row :], slopes[i * row :])
            gather(delta[(first + i) * m : (first + i + 1) * m], i, deltas, by_bias)
        fill(given, row, p, rows, filled)
        for panel in range(panels):
            fill(deltas[panel * BLOCK * WIDE :], WIDE, WIDE, rows, filled)
            own_panel = own[panel * tall * WIDE :]
            weigh(given, row, filled, p, deltas[panel * BLOCK * WIDE :], own_panel, first > begins)
        for panel in range(wide // WIDE):
            multiply_panels(deltas, rows, panels, turned[panel * across * WIDE :], tile)
            at = panel * WIDE
            for i in range(rows):
                source, slope = tile[i * WIDE :], slopes[i * row + at :][: min(WIDE, p - at)]
                into = by_x[(first + i) * p + at :]
                if before == NORM:
                    for j in range(len(slope)):
                        slope[j] = source[j]
                elif before == NOTHING:
                    for j in range(len(slope)):
                        into[j] = source[j]
                else:
                    for j in range(len(slope)):
                        into[j] = source[j] * slope[j]
        if before == NORM:
            for i in range(rows):
                at = (first + i) * p
                norm_back(
                    x[at : at + p], slopes[i * row :], scale, epsilon, by_x[at:], by_norm, by_norm[p:], given[i * row :]
                )


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _together_part(panel: int, thread: int, addresses: int) -> None:
    """The groups' sums, of WIDE columns of W; the first part also those of the norm."""
    form = load_word(addresses)
    p, m, groups = whole_at(form, INPUTS), whole_at(form, OUTPUTS), whole_at(form, GROUPS)
    across, tall = compiled_up(m, WIDE), compiled_up(p, TALL)
    size = tall * across + across + 2 * p
    partial = numbers_at(load_word(addresses + 80), groups * size)
    by_weights, sums = numbers_at(load_word(addresses + 56), p * m), numbers_at(load_word(addresses + 64), m + 2 * p)
    at, count = panel * WIDE, min(WIDE, m - panel * WIDE)
    for k in range(p):
        add_up(partial[(panel * tall + k) * WIDE :], size, groups, by_weights[k * m + at :][:count])
    add_up(partial[tall * across + at :], size, groups, sums[at:][:count])
    if panel == 0:
        add_up(partial[tall * across + across :], size, groups, sums[m:][: 2 * p])


_address_of_forward, _address_of_backward = (
    address_of(_pack_part, _forward_part),
    address_of(_turn_part, _group_part, _together_part),
)


def _serve_forward(frame: int) -> int:
    return serve(frame, _address_of_forward())  # type: ignore[no-any-return]


def _serve_backward(frame: int) -> int:
    return serve(frame, _address_of_backward())  # type: ignore[no-any-return]
