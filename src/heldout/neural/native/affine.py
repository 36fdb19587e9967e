r"""Affine maps on the CPU, y = f(x) W + b, with what comes before the product, f, worked out where it is needed.

f is nothing, layer norm, or an activation. A shortcut around it may be added to y, and to the gradient by x that of
one around it which begins there. A block of rows goes through f into the second cache, and its products are
tiles that are summed in registers, so that f(x) is never written to memory. On the way back, with
:math:`\delta = \partial L / \partial y`,

.. math::
    \nabla_W = f(x)^T \delta, \qquad \nabla_b = \sum_i \delta_i, \qquad \nabla_x = f'(x)^T (\delta W^T)

a block of rows gives its part of all three. Blocks are summed in groups, whose number depends on the rows alone, and
the groups in their order: the result does not depend on the threads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numba import njit

from heldout.neural.native import amx
from heldout.neural.native.functions import QUICK, along, sigmoid, total
from heldout.neural.native.handler import (
    address_of,
    load_word,
    numbers,
    numbers_at,
    register,
    serve,
    whole_at,
)
from heldout.neural.native.products import (
    BLOCK,
    LEFT,
    PANEL,
    RIGHT,
    TURNED,
    ZERO,
    add_rows,
    begin,
    compiled_laid,
    end,
    fill,
    laid,
    lay,
    multiply,
    multiply_and_add,
    pack,
    turn,
    weigh,
    whole_block,
)
from heldout.neural.native.tiles import COMPILED, LANES, TALL, WIDE, compiled_up, in_wide_registers, up

Array: TypeAlias = jax.Array
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

NOTHING, NORM, RELU, GELU = range(4)  # what comes before the product
GROUP = 384  # rows, at least, whose part of the gradient by the weights is summed at once
MOST_GROUPS = 16
APART = 16  # numbers between rows that lie side by side, so that they do not fall into the same places of the cache

# The form, the first operand: parts; threads there is room for; with which part the second phase begins; rows; numbers
# of a row of x, and of y; what comes before; whether there are matrix units; numbers of a thread's room, and of a
# group's gradients; matrices that W is made of, side by side; whether a shortcut is added; ε of layer norm, a
# single-precision number.
PARTS, ROOM, SECOND, ROWS, INPUTS, OUTPUTS, BEFORE, UNITS, ROOM_SIZE, GROUP_SIZE, MATRICES, ADDED, EPSILON = range(13)
WEIGHTS = 48  # bytes before the addresses of W's matrices: those of six operands
ONE = np.float32(1.0)
TWICE_SLOPE, CUBIC = np.float32(2.0 * np.sqrt(2.0 / np.pi)), np.float32(0.044715)


def forward(
    x: Array, weights: Sequence[Array], bias: Array, scale: Array, shift: Array, beside: Array | None, before: int,
    epsilon: float = 0.0,
) -> Array:  # fmt: skip
    """f(x) W + b, and `beside` (n, m), for rows x (n, p) and `bias` (m,); `scale` and `shift` (p,) are those of a norm.

    W (p, m) is one matrix, or several side by side that have equally many columns, which WIDE divides.
    """
    register(heldout_affine=_serve_forward, heldout_affine_back=_serve_backward)
    (n, p), m = x.shape, bias.shape[0]
    units, wide, across = amx.ready(), up(p, WIDE), up(m, WIDE)
    room = BLOCK * (wide + APART) + PANEL + laid(units, BLOCK * wide + wide * across)
    added = beside is not None
    form = form_of((-(-n // BLOCK), 0), n, p, m, before, units, room, 0, len(weights), added, epsilon)
    y, _ = jax.ffi.ffi_call(
        "heldout_affine", (numbers(n, m), numbers(form[ROOM], room)), vmap_method="sequential"
    )(form, x, bias, scale, shift, _or_nothing(beside, x), *weights)  # fmt: skip
    return y


def backward(
    x: Array, weights: Sequence[Array], scale: Array, shift: Array, delta: Array, beside: Array | None, before: int,
    epsilon: float = 0.0,
) -> tuple[Array, tuple[Array, ...], Array, Array, Array]:  # fmt: skip
    """The gradients by x, W, b, and by scale and shift (p,) of a norm, from that by y, `delta` (n, m).

    `beside` (n, p) is that by x of what else x went into, and is added.
    """
    register(heldout_affine=_serve_forward, heldout_affine_back=_serve_backward)
    (n, p), m = x.shape, delta.shape[1]
    groups, units, wide, across = groups_of(n), amx.ready(), up(p, WIDE), up(m, WIDE)
    size = wide * across + across + up(2 * p, LANES)
    room = 2 * BLOCK * (wide + APART) + BLOCK * across + PANEL + wide
    room += laid(units, BLOCK * (wide + 2 * across) + wide * across)
    added = beside is not None
    form = form_of((groups, across // WIDE), n, p, m, before, units, room, size, len(weights), added, epsilon)
    by_x, sums, _, _, *by_weights = jax.ffi.ffi_call(
        "heldout_affine_back",
        (
            numbers(n, p),
            numbers(m + 2 * p),
            numbers(groups, size),
            numbers(form[ROOM], room),
            *(numbers(*matrix.shape) for matrix in weights),
        ),
        vmap_method="sequential",
    )(form, x, scale, shift, delta, _or_nothing(beside, x), *weights)
    return by_x, tuple(by_weights), sums[:m], sums[m : m + p], sums[m + p :]


def _or_nothing(beside: Array | None, x: Array) -> Array:
    return jnp.zeros(0, x.dtype) if beside is None else beside


def groups_of(n: int) -> int:
    """In how many groups so many rows are dealt: a power of 2."""
    return min(MOST_GROUPS, 1 << max(n // GROUP, 1).bit_length() - 1)


def form_of(phases: tuple[int, int], *others: Any) -> np.ndarray[Any, Any]:
    """The form of a task with so many parts in its phases; the last of the others is a single-precision number."""
    *whole, epsilon = others
    room = min(os.cpu_count() or 1, max(phases))
    return np.array([sum(phases), room, phases[0], *whole, np.float32(epsilon).view(np.int32)], np.int32)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _moments(row: Numbers, epsilon: Any) -> tuple[Any, Any]:
    """The mean of a row, and 1 / σ."""
    count = np.float32(len(row))
    mean = total(row) / count
    return mean, ONE / np.sqrt(_squares(row, mean) / count + epsilon)


@njit(**COMPILED, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _squares(row: Numbers, mean: Any) -> Any:
    total = ZERO
    for j in range(len(row)):
        total += (row[j] - mean) * (row[j] - mean)
    return total


@njit(**QUICK)  # type: ignore[untyped-decorator]
def _share(z: Any) -> Any:
    """What GELU takes of z."""
    return sigmoid(TWICE_SLOPE * z * (ONE + CUBIC * z * z))


@njit(**QUICK)  # type: ignore[untyped-decorator]
def through(before: int, x: Numbers, scale: Numbers, shift: Numbers, epsilon: Any, out: Numbers) -> None:
    """f(x) of a row; of a norm, the row's mean and 1 / σ go behind its last whole panel, for `norm_back`."""
    in_wide_registers()
    count = len(x)
    into = out[:count]
    if before == NORM:
        mean, inverse = _moments(x, epsilon)
        behind = compiled_up(count, WIDE)
        out[behind], out[behind + 1] = mean, inverse
        for j in range(count):
            into[j] = (x[j] - mean) * inverse * scale[j] + shift[j]
    elif before == RELU:
        for j in range(count):
            into[j] = max(x[j], ZERO)
    elif before == GELU:
        for j in range(count):
            into[j] = x[j] * _share(x[j])
    else:
        for j in range(count):
            into[j] = x[j]


@njit(**QUICK)  # type: ignore[untyped-decorator]
def _gelu_and_slope(z: Any) -> tuple[Any, Any]:
    """GELU, and its derivative."""
    share = _share(z)
    steep = TWICE_SLOPE * (ONE + np.float32(3.0) * CUBIC * z * z)
    return z * share, share + z * share * (ONE - share) * steep


@njit(**QUICK)  # type: ignore[untyped-decorator]
def through_and_slope(
    before: int, x: Numbers, scale: Numbers, shift: Numbers, epsilon: Any, out: Numbers, slopes: Numbers
) -> None:
    """f(x) of a row; and of an activation its derivative."""
    in_wide_registers()
    count = len(x)
    into, slope = out[:count], slopes[:count]
    if before == GELU:
        for j in range(count):
            into[j], slope[j] = _gelu_and_slope(x[j])
    else:
        through(before, x, scale, shift, epsilon, out)
        if before == RELU:
            for j in range(count):
                slope[j] = ONE if x[j] > ZERO else ZERO


@njit(**QUICK)  # type: ignore[untyped-decorator]
def through_and_back(before: int, x: Numbers, by: Numbers, out: Numbers) -> None:
    """f(x) of a row for an activation or nothing, and the gradient by x in place of that by f(x)."""
    in_wide_registers()
    into, above = out[: len(x)], by[: len(x)]
    if before == GELU:
        for j in range(len(x)):
            value, slope = _gelu_and_slope(x[j])
            into[j] = value
            above[j] *= slope
    elif before == RELU:
        for j in range(len(x)):
            into[j] = max(x[j], ZERO)
            above[j] = above[j] if x[j] > ZERO else ZERO
    else:
        for j in range(len(x)):
            into[j] = x[j]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def norm_back(
    x: Numbers, above: Numbers, scale: Numbers, by_x: Numbers, by_scale: Numbers, by_shift: Numbers, standard: Numbers
) -> None:  # fmt: skip
    """The gradients of layer norm, from that by its output, `above`, which stands where `through` wrote that output.

    `standard`: room for x̂.
    """
    in_wide_registers()
    count = len(x)
    behind = compiled_up(count, WIDE)
    mean, inverse = above[behind], above[behind + 1]
    by = by_x[:count]
    for j in range(len(by)):
        standard[j] = (x[j] - mean) * inverse
        by_shift[j] += above[j]
        by_scale[j] += above[j] * standard[j]
        by[j] = above[j] * scale[j]
    level, tilt = total(by) / np.float32(count), along(by, standard, count) / np.float32(count)
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
def _results(addresses: int) -> int:
    """Where the addresses of results begin: behind those of W's matrices."""
    return addresses + WEIGHTS + 8 * whole_at(load_word(addresses), MATRICES)  # type: ignore[no-any-return]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _prepare(thread: int, addresses: int) -> None:
    """Every thread lays out W for itself: from another processor's cache it would take longer to come."""
    form = load_word(addresses)
    p, units, matrices = whole_at(form, INPUTS), whole_at(form, UNITS) != 0, whole_at(form, MATRICES)
    room, wide, each = whole_at(form, ROOM_SIZE), compiled_up(p, WIDE), whole_at(form, OUTPUTS) // matrices
    panel = numbers_at(load_word(_results(addresses) + 8) + 4 * thread * room, room)
    packed = panel[BLOCK * (wide + APART) + PANEL + compiled_laid(units, BLOCK * wide) :]
    for k in range(matrices):
        matrix = numbers_at(load_word(addresses + WEIGHTS + 8 * k), p * each)
        pack(units, matrix, p, each, panel, packed[compiled_laid(units, k * each * wide) :])


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _forward_part(block: int, thread: int, addresses: int) -> None:
    """A block of rows. Operands: form, x, b, scale, shift, what is added, W; results: y, room."""
    form, results = load_word(addresses), _results(addresses)
    n, p, m = whole_at(form, ROWS), whole_at(form, INPUTS), whole_at(form, OUTPUTS)
    before, units = whole_at(form, BEFORE), whole_at(form, UNITS) != 0
    epsilon = numbers_at(form + 4 * EPSILON, 1)[0]
    first, wide, row = block * BLOCK, compiled_up(p, WIDE), compiled_up(p, WIDE) + APART
    rows = min(BLOCK, n - first)
    x = numbers_at(load_word(addresses + 8) + 4 * first * p, rows * p)
    y = numbers_at(load_word(results) + 4 * first * m, rows * m)
    bias = numbers_at(load_word(addresses + 16), m)
    scale, shift = numbers_at(load_word(addresses + 24), p), numbers_at(load_word(addresses + 32), p)
    room = whole_at(form, ROOM_SIZE)
    given = numbers_at(load_word(results + 8) + 4 * thread * room, room)
    panel = given[BLOCK * row :]
    left = panel[PANEL:]
    weights = left[compiled_laid(units, BLOCK * wide) :]
    begin(units)
    for i in range(rows):
        through(before, x[i * p : (i + 1) * p], scale, shift, epsilon, given[i * row :])
    fill(given, row, rows, p)
    lay(units, LEFT, given, row, p, left)
    for at in range(0, m, WIDE):
        multiply_and_add(
            units, left, rows, p, weights[compiled_laid(units, at * wide) :], bias[at:], panel, y[at:], m, m - at
        )  # fmt: skip
    if whole_at(form, ADDED):
        beside = numbers_at(load_word(addresses + 40) + 4 * first * m, rows * m)
        for j in range(len(y)):
            y[j] += beside[j]
    end(units)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _group_part(group: int, thread: int, addresses: int) -> None:
    """A group of rows.

    Operands: form, x, scale, shift, δ, what is added, W; results: by x, sums, groups, room, by W.
    """
    form, results = load_word(addresses), _results(addresses)
    n, p, m = whole_at(form, ROWS), whole_at(form, INPUTS), whole_at(form, OUTPUTS)
    groups, before, units = whole_at(form, SECOND), whole_at(form, BEFORE), whole_at(form, UNITS) != 0
    epsilon = numbers_at(form + 4 * EPSILON, 1)[0]
    wide, across, row = compiled_up(p, WIDE), compiled_up(m, WIDE), compiled_up(p, WIDE) + APART
    x, delta = numbers_at(load_word(addresses + 8), n * p), numbers_at(load_word(addresses + 32), n * m)
    scale, shift = numbers_at(load_word(addresses + 16), p), numbers_at(load_word(addresses + 24), p)
    by_x, size = numbers_at(load_word(results), n * p), whole_at(form, GROUP_SIZE)
    added = whole_at(form, ADDED) != 0
    beside = numbers_at(load_word(addresses + 40), n * p)
    own = numbers_at(load_word(results + 16) + 4 * group * size, size)
    by_bias, by_norm = own[wide * across :], own[wide * across + across :]
    by_bias[: across + 2 * p] = ZERO
    room = whole_at(form, ROOM_SIZE)
    given = numbers_at(load_word(results + 24) + 4 * thread * room, room)
    slopes = given[BLOCK * row :]
    filled = slopes[BLOCK * row :]
    line = filled[BLOCK * across :]
    panel = line[wide:]
    left = panel[PANEL:]
    terms = left[compiled_laid(units, BLOCK * wide) :]
    right = terms[compiled_laid(units, BLOCK * across) :]
    turned = right[compiled_laid(units, BLOCK * across) :]
    right = right if units else terms  # plain panels are alike
    matrices = whole_at(form, MATRICES)
    each = m // matrices
    for k in range(matrices):
        matrix = numbers_at(load_word(addresses + WEIGHTS + 8 * k), p * each)
        turn(units, matrix, p, each, across, panel, turned[compiled_laid(units, k * each * WIDE) :])
    begins, stop = n * group // groups, n * (group + 1) // groups
    begin(units)
    for first in range(begins, stop, BLOCK):
        rows = min(BLOCK, stop - first)
        for i in range(rows):
            at = (first + i) * p
            through_and_slope(
                before, x[at : at + p], scale, shift, epsilon, given[i * row :], slopes[i * row :],
            )  # fmt: skip
        fill(given, row, rows, p)
        lay(units, TURNED, given, row, p, left)
        deltas, apart = whole_block(delta[first * m : (first + rows) * m], rows, m, filled)
        add_rows(deltas, apart, rows, by_bias[:m])
        lay(units, LEFT, deltas, apart, m, terms)
        if units:
            lay(units, RIGHT, deltas, apart, m, right)
        for at in range(0, m, WIDE):
            for k in range(0, p, WIDE):
                weigh(
                    units, left[compiled_laid(units, k * BLOCK) :], p - k, right[compiled_laid(units, at * BLOCK) :],
                    compiled_up(rows, TALL), own[at * wide + k * WIDE :], first > begins,
                )  # fmt: skip
        for at in range(0, p, WIDE):
            multiply(units, terms, rows, m, turned[compiled_laid(units, at * across) :], given[at:], row, False)
        for i in range(rows):
            at = (first + i) * p
            above, slope, into = given[i * row :], slopes[i * row :], by_x[at : at + p]
            if before == NORM:
                norm_back(x[at : at + p], above, scale, into, by_norm, by_norm[p:], line)
            elif before == NOTHING:
                for j in range(len(into)):
                    into[j] = above[j]
            else:
                for j in range(len(into)):
                    into[j] = above[j] * slope[j]
            if added:
                passed = beside[at:]
                for j in range(len(into)):
                    into[j] += passed[j]
    end(units)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _together_part(panel: int, thread: int, addresses: int) -> None:
    """The groups' sums, of WIDE columns of W; the first part also those of the norm."""
    form = load_word(addresses)
    p, m, groups, size = (
        whole_at(form, INPUTS),
        whole_at(form, OUTPUTS),
        whole_at(form, SECOND),
        whole_at(form, GROUP_SIZE),
    )
    wide, across = compiled_up(p, WIDE), compiled_up(m, WIDE)
    results, each = _results(addresses), m // whole_at(form, MATRICES)
    partial, sums = numbers_at(load_word(results + 16), groups * size), numbers_at(load_word(results + 8), m + 2 * p)
    at, count = panel * WIDE, min(WIDE, m - panel * WIDE)
    by_matrix, within = numbers_at(load_word(results + 32 + 8 * (at // each)), p * each), at % each
    for k in range(p):
        add_up(partial[(panel * wide + k) * WIDE :], size, groups, by_matrix[k * each + within :][:count])
    add_up(partial[wide * across + at :], size, groups, sums[at:][:count])
    if panel == 0:
        add_up(partial[wide * across + across :], size, groups, sums[m:][: 2 * p])


_address_of_forward, _address_of_backward = (
    address_of(_forward_part, prepare=_prepare),
    address_of(_group_part, _together_part),
)


def _serve_forward(frame: int) -> int:
    return serve(frame, _address_of_forward())  # type: ignore[no-any-return]


def _serve_backward(frame: int) -> int:
    return serve(frame, _address_of_backward())  # type: ignore[no-any-return]
