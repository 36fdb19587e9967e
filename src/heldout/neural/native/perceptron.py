r"""Perceptrons with one hidden layer on the CPU, y = x + σ(f(x) W¹ + b¹) W² + b², where f is layer norm or nothing.

A block of rows goes all the way while it is in the second cache: of what is between, only :math:`z = f(x) W^1 + b^1` is
written to memory, for the way back,

.. math::
    \nabla_{W^2} = \sigma(z)^T \delta, \qquad \delta^1 = \sigma'(z) \odot (\delta W^{2T}), \qquad
    \nabla_{W^1} = f(x)^T \delta^1, \qquad \nabla_x = \delta + f'(x)^T (\delta^1 W^{1T})

which a block of rows goes in one as well. Gradients are summed in groups as in `native/affine.py`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import numpy as np
from numba import njit

from heldout.neural.native import amx
from heldout.neural.native.affine import (
    APART,
    NORM,
    add_up,
    form_of,
    groups_of,
    norm_back,
    through,
    through_and_back,
)
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
from heldout.neural.native.tiles import COMPILED, WIDE

Array: TypeAlias = jax.Array
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

STRIPE = 64  # hidden units that are at work together on the way back: more would fall out of the second cache

# The form, the first operand, as in `native/affine.py`: parts; threads there is room for; with which part the second
# phase begins; rows; numbers of a row, and hidden units, which WIDE divides; f and what is between; whether there are
# matrix units; numbers of a thread's room; ε of layer norm.
PARTS, ROOM, SECOND, ROWS, WIDTH, HIDDEN, BEFORE, BETWEEN, UNITS, ROOM_SIZE, EPSILON = range(11)


def forward(
    x: Array, first: Array, bias: Array, second: Array, last: Array, scale: Array, shift: Array, before: int,
    between: int, epsilon: float,
) -> tuple[Array, Array]:  # fmt: skip
    """The outputs (n, p), and z for `backward`, of rows x (n, p).

    Weights: W¹ `first` (p, m), b¹ `bias` (m,), W² `second` (m, p), b² `last` (p,); `scale` and `shift` (p,) of a norm.
    """
    _register()
    (n, p), m = x.shape, first.shape[1]
    units = amx.ready()
    room = BLOCK * (p + APART) + 2 * PANEL + laid(units, BLOCK * (p + m) + 2 * m * p)
    form = form_of((-(-n // BLOCK), 0), n, p, m, before, between, units, room, epsilon)
    y, hidden, _ = jax.ffi.ffi_call(
        "heldout_perceptron",
        (numbers(n, p), numbers(-(-n // BLOCK), m, BLOCK), numbers(form[ROOM], room)),
        vmap_method="sequential",
    )(form, x, first, bias, second, last, scale, shift)
    return y, hidden


def backward(
    x: Array, hidden: Array, first: Array, second: Array, scale: Array, shift: Array, delta: Array, before: int,
    between: int, epsilon: float,
) -> tuple[Array, ...]:  # fmt: skip
    """The gradients by x, W¹, b¹, W², b², and by scale and shift (p,) of a norm, from that by y, `delta` (n, p)."""
    _register()
    (n, p), m = x.shape, first.shape[1]
    groups, units = groups_of(-(-n // BLOCK) * BLOCK), amx.ready()
    room = BLOCK * (p + APART) + BLOCK * p + p + 2 * PANEL + BLOCK * STRIPE
    room += laid(units, 3 * BLOCK * (p + STRIPE) + 2 * m * p)
    form = form_of((groups, (m + p) // WIDE), n, p, m, before, between, units, room, epsilon)
    by_x, by_first, by_second, sums, _, _ = jax.ffi.ffi_call(
        "heldout_perceptron_back",
        (
            numbers(n, p),
            numbers(p, m),
            numbers(m, p),
            numbers(m + 3 * p),
            numbers(groups, 2 * m * p + m + 3 * p),
            numbers(form[ROOM], room),
        ),
        vmap_method="sequential",
    )(form, x, hidden, first, second, scale, shift, delta)
    by_bias, by_last, by_scale, by_shift = (sums[:m], *(sums[m + k * p :][:p] for k in range(3)))
    return by_x, by_first, by_bias, by_second, by_last, by_scale, by_shift


def _register() -> None:
    register(heldout_perceptron=_serve_forward, heldout_perceptron_back=_serve_backward)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _prepare(thread: int, addresses: int) -> None:
    """Every thread lays out the weights for itself."""
    form = load_word(addresses)
    p, m, units = whole_at(form, WIDTH), whole_at(form, HIDDEN), whole_at(form, UNITS) != 0
    room, at = whole_at(form, ROOM_SIZE), BLOCK * (p + APART) + 2 * PANEL + compiled_laid(units, BLOCK * (p + m))
    panel = numbers_at(load_word(addresses + 80) + 4 * thread * room, room)
    pack(units, numbers_at(load_word(addresses + 16), m * p), p, m, panel, panel[at:])
    at += compiled_laid(units, m * p)
    pack(units, numbers_at(load_word(addresses + 32), m * p), m, p, panel, panel[at:])


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _forward_part(block: int, thread: int, addresses: int) -> None:
    """A block of rows. Operands: form, x, W¹, b¹, W², b², scale, shift; results: y, z, room."""
    form = load_word(addresses)
    n, p, m = whole_at(form, ROWS), whole_at(form, WIDTH), whole_at(form, HIDDEN)
    before, between, units = whole_at(form, BEFORE), whole_at(form, BETWEEN), whole_at(form, UNITS) != 0
    epsilon = numbers_at(form + 4 * EPSILON, 1)[0]
    start, row = block * BLOCK, p + APART
    rows = min(BLOCK, n - start)
    x = numbers_at(load_word(addresses + 8) + 4 * start * p, rows * p)
    y = numbers_at(load_word(addresses + 64) + 4 * start * p, rows * p)
    bias, last = numbers_at(load_word(addresses + 24), m), numbers_at(load_word(addresses + 40), p)
    scale, shift = numbers_at(load_word(addresses + 48), p), numbers_at(load_word(addresses + 56), p)
    z = numbers_at(load_word(addresses + 72) + 4 * start * m, BLOCK * m)
    room = whole_at(form, ROOM_SIZE)
    given = numbers_at(load_word(addresses + 80) + 4 * thread * room, room)
    active = given[BLOCK * row :]
    panel, left = active[PANEL:], active[2 * PANEL :]
    lefts = left[compiled_laid(units, BLOCK * p) :]
    first = lefts[compiled_laid(units, BLOCK * m) :]
    second = first[compiled_laid(units, m * p) :]
    stripe = m if units else WIDE  # matrix units fall asleep between short products
    begin(units)
    for i in range(rows):
        through(before, x[i * p : (i + 1) * p], scale, shift, epsilon, given[i * row :])
    fill(given, row, rows, p)
    lay(units, LEFT, given, row, p, left)
    for begins in range(0, m, stripe):
        for at in range(begins, begins + stripe, WIDE):
            weights, sums = first[compiled_laid(units, at * p) :], z[at * BLOCK : (at + WIDE) * BLOCK]
            multiply_and_add(units, left, BLOCK, p, weights, bias[at:], panel, sums, WIDE, WIDE)
        for at in range(begins, begins + stripe, WIDE):
            place = lefts[compiled_laid(units, at * BLOCK) :]
            factor = active if units else place  # a plain panel is laid out as it is
            through(between, z[at * BLOCK : (at + WIDE) * BLOCK], scale, shift, epsilon, factor)
            if units:
                lay(units, LEFT, active, WIDE, WIDE, place)
    for at in range(0, p, WIDE):
        weights, sums = second[compiled_laid(units, at * m) :], y[at:]
        multiply_and_add(units, lefts, rows, m, weights, last[at:], panel, sums, p, WIDE)
    for j in range(len(y)):
        y[j] += x[j]
    end(units)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _group_part(group: int, thread: int, addresses: int) -> None:
    """A group of blocks.

    Operands: form, x, z, W¹, W², scale, shift, δ; results: by x, by W¹, by W², sums, groups, room.
    """
    form = load_word(addresses)
    n, p, m = whole_at(form, ROWS), whole_at(form, WIDTH), whole_at(form, HIDDEN)
    before, between, units = whole_at(form, BEFORE), whole_at(form, BETWEEN), whole_at(form, UNITS) != 0
    epsilon = numbers_at(form + 4 * EPSILON, 1)[0]
    row, blocks, groups = p + APART, (n + BLOCK - 1) // BLOCK, whole_at(form, SECOND)
    x, delta = numbers_at(load_word(addresses + 8), n * p), numbers_at(load_word(addresses + 56), n * p)
    hidden = numbers_at(load_word(addresses + 16), blocks * BLOCK * m)
    scale, shift = numbers_at(load_word(addresses + 40), p), numbers_at(load_word(addresses + 48), p)
    by_x = numbers_at(load_word(addresses + 64), n * p)
    size = 2 * m * p + m + 3 * p
    own = numbers_at(load_word(addresses + 96) + 4 * group * size, size)
    own_second, sums = own[m * p :], own[2 * m * p :]
    by_bias, by_last, by_scale, by_shift = sums, sums[m : m + p], sums[m + p :], sums[m + 2 * p :]
    sums[: m + 3 * p] = ZERO
    room = whole_at(form, ROOM_SIZE)
    given = numbers_at(load_word(addresses + 104) + 4 * thread * room, room)
    filled = given[BLOCK * row :]
    line = filled[BLOCK * p :]
    active, square, inner = line[p:], line[p + PANEL :], line[p + 2 * PANEL :]
    turned = inner[BLOCK * STRIPE :]
    terms, right = turned[compiled_laid(units, BLOCK * p) :], turned[compiled_laid(units, 2 * BLOCK * p) :]
    inner_terms, part = turned[compiled_laid(units, 3 * BLOCK * p) :], compiled_laid(units, BLOCK * STRIPE)
    inner_right, active_turned, first = inner_terms[part:], inner_terms[2 * part :], inner_terms[3 * part :]
    second = first[compiled_laid(units, m * p) :]
    if not units:  # plain panels are alike, and laid out as they are
        right, inner_terms, inner_right = terms, inner, inner
    turn(units, numbers_at(load_word(addresses + 24), m * p), p, m, m, square, first)
    turn(units, numbers_at(load_word(addresses + 32), m * p), m, p, p, square, second)
    earliest, stop = blocks * group // groups, blocks * (group + 1) // groups
    begin(units)
    for block in range(earliest, stop):
        start, more = block * BLOCK, block > earliest
        rows = min(BLOCK, n - start)
        z = hidden[start * m : (start + BLOCK) * m]
        for i in range(rows):
            through(before, x[(start + i) * p : (start + i + 1) * p], scale, shift, epsilon, given[i * row :])
        fill(given, row, rows, p)
        lay(units, TURNED, given, row, p, turned)
        deltas, apart = whole_block(delta[start * p : (start + rows) * p], rows, p, filled)
        add_rows(deltas, apart, rows, by_last)
        lay(units, LEFT, deltas, apart, p, terms)
        if units:
            lay(units, RIGHT, deltas, apart, p, right)
        for begins in range(0, m, STRIPE):
            ends = min(begins + STRIPE, m)
            for column in range(begins, ends, WIDE):
                into = inner[(column - begins) * BLOCK :]
                multiply(units, terms, BLOCK, p, second[compiled_laid(units, column * p) :], into, WIDE, False)
            for column in range(begins, ends, WIDE):
                at = (column - begins) * BLOCK
                place = compiled_laid(units, at)
                into = inner[at : at + PANEL]
                factor = active if units else active_turned[place:]
                through_and_back(between, z[column * BLOCK : (column + WIDE) * BLOCK], into, factor)
                add_rows(into, WIDE, rows, by_bias[column : column + WIDE])
                if units:
                    lay(units, LEFT, into, WIDE, WIDE, inner_terms[place:])
                    lay(units, RIGHT, into, WIDE, WIDE, inner_right[place:])
                    lay(units, TURNED, active, WIDE, WIDE, active_turned[place:])
            for k in range(0, p, WIDE):
                other = compiled_laid(units, k * BLOCK)
                for column in range(begins, ends, WIDE):
                    place = compiled_laid(units, (column - begins) * BLOCK)
                    weigh(units, turned[other:], WIDE, inner_right[place:], BLOCK, own[column * p + k * WIDE :], more)
            for k in range(0, p, WIDE):
                other = compiled_laid(units, k * BLOCK)
                for column in range(begins, ends, WIDE):
                    place = compiled_laid(units, (column - begins) * BLOCK)
                    by_second = own_second[k * m + column * WIDE :]
                    weigh(units, active_turned[place:], WIDE, right[other:], BLOCK, by_second, more)
            for k in range(0, p, WIDE):
                across = first[compiled_laid(units, k * m + begins * WIDE) :]
                multiply(units, inner_terms, rows, ends - begins, across, given[k:], row, begins > 0)
        for i in range(rows):
            at = (start + i) * p
            into, above, beside = by_x[at : at + p], given[i * row :], delta[at:]
            if before == NORM:
                norm_back(x[at : at + p], above, scale, into, by_scale, by_shift, line)
            else:
                for j in range(len(into)):
                    into[j] = above[j]
            for j in range(len(into)):
                into[j] += beside[j]
    end(units)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _together_part(part: int, thread: int, addresses: int) -> None:
    """The groups' sums, of WIDE columns of a weight matrix; the first part also those of vectors."""
    form = load_word(addresses)
    p, m, groups = whole_at(form, WIDTH), whole_at(form, HIDDEN), whole_at(form, SECOND)
    size = 2 * m * p + m + 3 * p
    partial = numbers_at(load_word(addresses + 96), groups * size)
    if part == 0:
        add_up(partial[2 * m * p :], size, groups, numbers_at(load_word(addresses + 88), m + 3 * p))
    if part < m // WIDE:
        by_first = numbers_at(load_word(addresses + 72), m * p)
        for k in range(p):
            at = k * m + part * WIDE
            add_up(partial[(part * p + k) * WIDE :], size, groups, by_first[at : at + WIDE])
    else:
        by_second, panel = numbers_at(load_word(addresses + 80), m * p), part - m // WIDE
        for k in range(m):
            at = k * p + panel * WIDE
            add_up(partial[m * p + (panel * m + k) * WIDE :], size, groups, by_second[at : at + WIDE])


_address_of_forward, _address_of_backward = (
    address_of(_forward_part, prepare=_prepare),
    address_of(_group_part, _together_part),
)


def _serve_forward(frame: int) -> int:
    return serve(frame, _address_of_forward())  # type: ignore[no-any-return]


def _serve_backward(frame: int) -> int:
    return serve(frame, _address_of_backward())  # type: ignore[no-any-return]
