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

from heldout.neural.native.affine import (
    APART,
    BLOCK,
    NORM,
    ZERO,
    add_up,
    fill,
    form_of,
    gather,
    groups_of,
    multiply,
    multiply_panels,
    norm_back,
    pack,
    through,
    through_and_slope,
    turn,
    weigh,
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
from heldout.neural.native.tiles import COMPILED, TALL, WIDE, compiled_up

Array: TypeAlias = jax.Array
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

# The form, the first operand, as in `native/affine.py`: parts; threads there is room for; with which parts the phases
# begin; rows; numbers of a row, and of hidden units, which WIDE divides; f and what is between;
# groups of rows; ε of layer norm.
PARTS, ROOM, SECOND, THIRD, ROWS, WIDTH, HIDDEN, BEFORE, BETWEEN, GROUPS, EPSILON = range(11)


def forward(
    x: Array, first: Array, bias: Array, second: Array, last: Array, scale: Array, shift: Array, before: int,
    between: int, epsilon: float,
) -> tuple[Array, Array]:  # fmt: skip
    """The outputs (n, p), and z for `backward`, of rows x (n, p).

    Weights: W¹ `first` (p, m), b¹ `bias` (m,), W² `second` (m, p), b² `last` (p,); `scale` and `shift` (p,) of a norm.
    """
    _register()
    (n, p), m = x.shape, first.shape[1]
    blocks, panels = -(-n // BLOCK), (m + p) // WIDE
    form = form_of((panels, blocks, 0), n, p, m, before, between, 1, epsilon)
    room = BLOCK * (p + APART) + BLOCK * m + BLOCK * WIDE
    y, hidden, _, _ = jax.ffi.ffi_call(
        "heldout_perceptron",
        (numbers(n, p), numbers(blocks, m, BLOCK), numbers(2, m, p), numbers(form[ROOM], room)),
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
    groups, panels = groups_of(-(-n // BLOCK) * BLOCK), (m + p) // WIDE
    form = form_of((panels, groups, panels), n, p, m, before, between, groups, epsilon)
    room = 2 * BLOCK * (p + APART) + BLOCK * p + BLOCK * m + 3 * BLOCK * WIDE
    by_x, by_first, by_second, sums, _, _, _ = jax.ffi.ffi_call(
        "heldout_perceptron_back",
        (
            numbers(n, p),
            numbers(p, m),
            numbers(m, p),
            numbers(m + 3 * p),
            numbers(2, m, p),
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
def _pack_part(part: int, thread: int, addresses: int) -> None:
    """A panel of a weight matrix. Operands: form, x, W¹, b¹, W², b², scale, shift; results: y, z, panels, room."""
    form = load_word(addresses)
    p, m = whole_at(form, WIDTH), whole_at(form, HIDDEN)
    panels = numbers_at(load_word(addresses + 80), 2 * m * p)
    if part < m // WIDE:
        pack(numbers_at(load_word(addresses + 16), m * p), p, m, part, panels[part * p * WIDE :])
    else:
        panel = part - m // WIDE
        pack(numbers_at(load_word(addresses + 32), m * p), m, p, panel, panels[m * p + panel * m * WIDE :])


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _forward_part(block: int, thread: int, addresses: int) -> None:
    """A block of rows. Operands and results: see `_pack_part`."""
    form = load_word(addresses)
    n, p, m = whole_at(form, ROWS), whole_at(form, WIDTH), whole_at(form, HIDDEN)
    before, between, epsilon = whole_at(form, BEFORE), whole_at(form, BETWEEN), numbers_at(form + 4 * EPSILON, 1)[0]
    start = block * BLOCK
    rows, row = min(BLOCK, n - start), p + APART
    x = numbers_at(load_word(addresses + 8) + 4 * start * p, rows * p)
    bias, last = numbers_at(load_word(addresses + 24), m), numbers_at(load_word(addresses + 40), p)
    scale, shift = numbers_at(load_word(addresses + 48), p), numbers_at(load_word(addresses + 56), p)
    y = numbers_at(load_word(addresses + 64) + 4 * start * p, rows * p)
    z = numbers_at(load_word(addresses + 72) + 4 * start * m, BLOCK * m)
    first = numbers_at(load_word(addresses + 80), 2 * m * p)
    second = first[m * p :]
    room = BLOCK * row + BLOCK * m + BLOCK * WIDE
    given = numbers_at(load_word(addresses + 88) + 4 * thread * room, room)
    active, tile = given[BLOCK * row :], given[BLOCK * row + BLOCK * m :]
    for i in range(rows):
        through(before, x[i * p : (i + 1) * p], scale, shift, epsilon, given[i * row :])
    filled = compiled_up(rows, TALL)
    fill(given, row, p, rows, filled)
    for panel in range(m // WIDE):
        multiply(given, row, rows, p, first[panel * p * WIDE :], tile)
        at, added = panel * BLOCK * WIDE, bias[panel * WIDE :]
        for i in range(filled):
            source, into = tile[i * WIDE :], z[at + i * WIDE :][:WIDE]
            for j in range(len(into)):
                into[j] = source[j] + added[j]
        through(between, z[at : at + filled * WIDE], scale, shift, epsilon, active[at:])
    for panel in range(p // WIDE):
        multiply_panels(active, rows, m // WIDE, second[panel * m * WIDE :], tile)
        added = last[panel * WIDE :]
        for i in range(rows):
            at = i * p + panel * WIDE
            source, beside, into = tile[i * WIDE :], x[at:], y[at : at + WIDE]
            for j in range(WIDE):
                into[j] = source[j] + added[j] + beside[j]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _turn_part(part: int, thread: int, addresses: int) -> None:
    """A panel of a weight matrix, turned over.

    Operands: form, x, z, W¹, W², scale, shift, δ; results: by x, by W¹, by W², sums, panels, groups, room.
    """
    form = load_word(addresses)
    p, m = whole_at(form, WIDTH), whole_at(form, HIDDEN)
    panels = numbers_at(load_word(addresses + 96), 2 * m * p)
    if part < p // WIDE:
        turn(numbers_at(load_word(addresses + 24), m * p), p, m, part, panels[part * m * WIDE :])
    else:
        panel = part - p // WIDE
        turn(numbers_at(load_word(addresses + 32), m * p), m, p, panel, panels[m * p + panel * p * WIDE :])


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _group_part(group: int, thread: int, addresses: int) -> None:
    """A group of blocks. Operands and results: see `_turn_part`."""
    form = load_word(addresses)
    n, p, m = whole_at(form, ROWS), whole_at(form, WIDTH), whole_at(form, HIDDEN)
    before, between, epsilon = whole_at(form, BEFORE), whole_at(form, BETWEEN), numbers_at(form + 4 * EPSILON, 1)[0]
    row, blocks, groups = p + APART, (n + BLOCK - 1) // BLOCK, whole_at(form, GROUPS)
    x, delta = numbers_at(load_word(addresses + 8), n * p), numbers_at(load_word(addresses + 56), n * p)
    hidden = numbers_at(load_word(addresses + 16), blocks * BLOCK * m)
    scale, shift = numbers_at(load_word(addresses + 40), p), numbers_at(load_word(addresses + 48), p)
    by_x = numbers_at(load_word(addresses + 64), n * p)
    first = numbers_at(load_word(addresses + 96), 2 * m * p)
    second = first[m * p :]
    size = 2 * m * p + m + 3 * p
    own = numbers_at(load_word(addresses + 104) + 4 * group * size, size)
    own_second, sums = own[m * p :], own[2 * m * p :]
    by_bias, by_last, by_scale, by_shift = sums, sums[m:], sums[m + p :], sums[m + 2 * p :]
    sums[: m + 3 * p] = ZERO
    room = 2 * BLOCK * row + BLOCK * p + BLOCK * m + 3 * BLOCK * WIDE
    given = numbers_at(load_word(addresses + 112) + 4 * thread * room, room)
    above = given[BLOCK * row :]
    deltas = above[BLOCK * row :]
    inner = deltas[BLOCK * p :]
    active = inner[BLOCK * m :]
    slopes, tile = active[BLOCK * WIDE :], active[2 * BLOCK * WIDE :]
    begins, stop = blocks * group // groups, blocks * (group + 1) // groups
    for block in range(begins, stop):
        start, more = block * BLOCK, block > begins
        rows = min(BLOCK, n - start)
        filled = compiled_up(rows, TALL)
        z = hidden[start * m :]
        for i in range(rows):
            at = (start + i) * p
            through(before, x[at : at + p], scale, shift, epsilon, given[i * row :])
            gather(delta[at : at + p], i, deltas, by_last)
        fill(given, row, p, rows, filled)
        for panel in range(p // WIDE):
            fill(deltas[panel * BLOCK * WIDE :], WIDE, WIDE, rows, filled)
        for panel in range(m // WIDE):
            multiply_panels(deltas, filled, p // WIDE, second[panel * p * WIDE :], tile)
            at = panel * BLOCK * WIDE
            through_and_slope(between, z[at : at + filled * WIDE], scale, shift, epsilon, active, slopes)
            into, total = inner[at : at + filled * WIDE], by_bias[panel * WIDE :][:WIDE]
            for j in range(len(into)):
                into[j] = tile[j] * slopes[j]
            for i in range(rows):
                source = into[i * WIDE :]
                for j in range(WIDE):
                    total[j] += source[j]
            weigh(given, row, filled, p, into, own[panel * p * WIDE :], more)
            for other in range(p // WIDE):
                weigh(
                    active, WIDE, filled, WIDE, deltas[other * BLOCK * WIDE :],
                    own_second[(other * m + panel * WIDE) * WIDE :], more,
                )  # fmt: skip
        for panel in range(p // WIDE):
            multiply_panels(inner, rows, m // WIDE, first[panel * m * WIDE :], tile)
            for i in range(rows):
                source, into = tile[i * WIDE :], above[i * row + panel * WIDE :][:WIDE]
                for j in range(WIDE):
                    into[j] = source[j]
        for i in range(rows):
            at = (start + i) * p
            into, source = by_x[at : at + p], above[i * row :]
            if before == NORM:
                norm_back(x[at : at + p], source, scale, epsilon, into, by_scale, by_shift, given[i * row :])
            else:
                for j in range(p):
                    into[j] = source[j]
            beside = delta[at:]
            for j in range(p):
                into[j] += beside[j]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _together_part(part: int, thread: int, addresses: int) -> None:
    """The groups' sums, of WIDE columns of a weight matrix; the first part also those of vectors."""
    form = load_word(addresses)
    p, m, groups = whole_at(form, WIDTH), whole_at(form, HIDDEN), whole_at(form, GROUPS)
    size = 2 * m * p + m + 3 * p
    partial = numbers_at(load_word(addresses + 104), groups * size)
    if part == 0:
        sums = numbers_at(load_word(addresses + 88), m + 3 * p)
        add_up(partial[2 * m * p :], size, groups, sums)
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
    address_of(_pack_part, _forward_part),
    address_of(_turn_part, _group_part, _together_part),
)


def _serve_forward(frame: int) -> int:
    return serve(frame, _address_of_forward())  # type: ignore[no-any-return]


def _serve_backward(frame: int) -> int:
    return serve(frame, _address_of_backward())  # type: ignore[no-any-return]
