"""Recurrent layers through time on the CPU: each thread takes some rows from their first step to their last.

Only the product of the last output with the weights and what follows from it are in the loop; what is multiplied with
the inputs, before it, and the weights' gradients, after it, are single large products outside. With P the projected
inputs, U the weights, h the last output and ⊙ products number by number:

- "elman": h' = tanh(P + h U)
- "lstm": [i, f, g, o] = P + h U, c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g), h' = σ(o) ⊙ tanh(c')
- "gru": [r, z] = σ(P + h U), q = h U_n + b, n = tanh(P_n + r ⊙ q), h' = (1 - z) ⊙ n + z ⊙ h

Steps of a row that are not there leave its state as it is. Arrays are by steps first: (T, n, ...).
"""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numba import njit

from heldout.neural.native.functions import sigmoid, tanh
from heldout.neural.native.handler import (
    address_of,
    load_word,
    numbers,
    numbers_at,
    register,
    serve,
    whole_at,
)
from heldout.neural.native.tiles import COMPILED, LANES, TALL, WIDE, compiled_up, copy, multiply_tile, up

Array: TypeAlias = jax.Array
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

KINDS = ("elman", "lstm", "gru")
ELMAN, LSTM, GRU = range(3)
GATES = (1, 4, 3)  # numbers of the projected inputs for each unit
KEPT = (0, 5, 4)  # what the way back needs beside the outputs: i, f, g, o, c or r, z, n, q
TOGETHER = 16  # rows that a thread takes through time at once

# The form, the first operand: parts; threads there is room for; kind; rows, steps, units; whether in reverse.
PARTS, ROOM, KIND, ROWS, STEPS, UNITS, REVERSE = range(7)
ONE, ZERO = np.float32(1.0), np.float32(0.0)


def forward(
    kind: str, projected: Array, weights: Array, inner: Array, there: Array, *, reverse: bool = False
) -> tuple[Array, Array]:
    """Through time from states of 0: the outputs (T, n, H), and what the way back needs (T, n, ...).

    `projected` (T, n, gates H); `weights` U (H, gates H); `inner` b (H,), of "gru"; `there` (T, n), 1 or 0: whether a
    row has a step. `reverse`: from the last step to the first.
    """
    register(heldout_recur=_serve_forward, heldout_recur_back=_serve_backward)
    steps, n, units = *projected.shape[:2], len(weights)
    form = _form(kind, n, steps, units, reverse)
    outputs, back, _ = jax.ffi.ffi_call(
        "heldout_recur",
        (
            numbers(steps, n, units),
            numbers(steps, n, KEPT[form[KIND]] * units),
            numbers(form[ROOM], _room(form)),
        ),
        vmap_method="sequential",
    )(form, projected, _panels(weights), inner, there)
    return outputs, back


def backward(
    kind: str, outputs: Array, back: Array, weights: Array, there: Array, deltas: Array, *, reverse: bool = False
) -> tuple[Array, Array]:
    """Back through time, from the gradient by the outputs, `deltas` (T, n, H): those by P and by h U (T, n, gates H).

    They differ for "gru" alone.
    """
    register(heldout_recur=_serve_forward, heldout_recur_back=_serve_backward)
    steps, n, units = outputs.shape
    form = _form(kind, n, steps, units, reverse)
    by_inputs, by_q, _ = jax.ffi.ffi_call(
        "heldout_recur_back",
        (
            numbers(steps, n, GATES[form[KIND]] * units),
            numbers(steps, n, units if form[KIND] == GRU else 0),
            numbers(form[ROOM], _room(form)),
        ),
        vmap_method="sequential",
    )(form, outputs, back, _panels(weights.T), there, deltas)
    if form[KIND] != GRU:
        return by_inputs, by_inputs
    return by_inputs, jnp.concatenate([by_inputs[..., : 2 * units], by_q], -1)


def _form(kind: str, n: int, steps: int, units: int, reverse: bool) -> np.ndarray[Any, Any]:
    parts = -(-n // TOGETHER)
    return np.array([parts, min(os.cpu_count() or 1, parts), KINDS.index(kind), n, steps, units, reverse], np.int32)


def _room(form: Any) -> int:
    """Numbers that a thread needs: states, or gradients, of its rows, products, and a row of zeros."""
    units, gates = int(form[UNITS]), GATES[form[KIND]]
    stride, across = up(units, WIDE) + LANES, up(gates * units, WIDE) + LANES
    return TOGETHER * (3 * stride + across) + stride


def _panels(weights: Array) -> Array:
    """W (p, m) as panels of columns."""
    p, m = weights.shape
    return jnp.pad(weights, ((0, 0), (0, up(m, WIDE) - m))).reshape(p, -1, WIDE).transpose(1, 0, 2)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _multiply(a: Numbers, stride: int, terms: int, panels: Numbers, out: Numbers, width: int, across: int) -> None:
    """The rows in `a` times a matrix (terms, width) in panels."""
    for panel in range(compiled_up(width, WIDE) // WIDE):
        for row in range(0, TOGETHER, TALL):
            multiply_tile(
                a, row * stride, stride, 1, panels, panel * terms * WIDE, WIDE,
                out, row * across + panel * WIDE, across, terms, False,
            )  # fmt: skip


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _forward_part(part: int, thread: int, addresses: int) -> None:
    """Some rows through time. Operands: form, P, U in panels, b, there; results: outputs, kept, room."""
    form = load_word(addresses)
    kind, n, steps, units = whole_at(form, KIND), whole_at(form, ROWS), whole_at(form, STEPS), whole_at(form, UNITS)
    gates, kept = (1, 0) if kind == ELMAN else ((4, 5) if kind == LSTM else (3, 4))
    stride, across = compiled_up(units, WIDE) + LANES, compiled_up(gates * units, WIDE) + LANES
    projected = numbers_at(load_word(addresses + 8), steps * n * gates * units)
    panels = numbers_at(load_word(addresses + 16), units * compiled_up(gates * units, WIDE))
    inner, there = numbers_at(load_word(addresses + 24), units), numbers_at(load_word(addresses + 32), steps * n)
    outputs = numbers_at(load_word(addresses + 40), steps * n * units)
    back = numbers_at(load_word(addresses + 48), steps * n * kept * units)
    room = TOGETHER * (3 * stride + across) + stride
    own = numbers_at(load_word(addresses + 56) + 4 * thread * room, room)
    states, cells, products = own[: TOGETHER * stride], own[TOGETHER * stride :], own[2 * TOGETHER * stride :]
    own[:] = ZERO
    low, high = part * TOGETHER, min((part + 1) * TOGETHER, n)
    for count in range(steps):
        step = steps - 1 - count if whole_at(form, REVERSE) else count
        _multiply(states, stride, units, panels, products, gates * units, across)
        for row in range(low, high):
            at = step * n + row
            h, c, z = states[(row - low) * stride :], cells[(row - low) * stride :], products[(row - low) * across :]
            if there[at] != ZERO:
                p, keep = projected[at * gates * units :], back[at * kept * units :]
                if kind == ELMAN:
                    for j in range(units):
                        h[j] = tanh(p[j] + z[j])
                elif kind == LSTM:
                    _lstm(units, p, z, keep, h, c)
                else:
                    _gru(units, p, z, inner, keep, h)
            elif kind == LSTM:
                copy(c, back[(at * kept + 4) * units :], units)
            copy(h, outputs[at * units :], units)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _lstm(units: int, p: Numbers, z: Numbers, keep: Numbers, h: Numbers, c: Numbers) -> None:
    for k in range(4):
        given, product, out = p[k * units :], z[k * units :], keep[k * units :]
        if k == 2:
            for j in range(units):
                out[j] = tanh(given[j] + product[j])
        else:
            for j in range(units):
                out[j] = sigmoid(given[j] + product[j])
    i, f, g, o, kept_c = keep[:units], keep[units:], keep[2 * units :], keep[3 * units :], keep[4 * units :]
    for j in range(len(i)):
        cell = f[j] * c[j] + i[j] * g[j]
        c[j] = cell
        kept_c[j] = cell
        h[j] = o[j] * tanh(cell)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _gru(units: int, p: Numbers, z: Numbers, inner: Numbers, keep: Numbers, h: Numbers) -> None:
    r, u, n, q = keep[:units], keep[units:], keep[2 * units :], keep[3 * units :]
    p_u, p_n, z_u, z_n = p[units:], p[2 * units :], z[units:], z[2 * units :]
    for j in range(len(r)):
        r[j] = sigmoid(p[j] + z[j])
        u[j] = sigmoid(p_u[j] + z_u[j])
        q[j] = z_n[j] + inner[j]
    for j in range(len(r)):
        n[j] = tanh(p_n[j] + r[j] * q[j])
        h[j] = (ONE - u[j]) * n[j] + u[j] * h[j]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _backward_part(part: int, thread: int, addresses: int) -> None:
    """Some rows back through time. Operands: form, outputs, kept, Uᵀ in panels, there, δ by the outputs; results: δ by
    P, δ by q, room."""
    form = load_word(addresses)
    kind, n, steps, units = whole_at(form, KIND), whole_at(form, ROWS), whole_at(form, STEPS), whole_at(form, UNITS)
    gates, kept = (1, 0) if kind == ELMAN else ((4, 5) if kind == LSTM else (3, 4))
    stride, across = compiled_up(units, WIDE) + LANES, compiled_up(gates * units, WIDE) + LANES
    outputs = numbers_at(load_word(addresses + 8), steps * n * units)
    back = numbers_at(load_word(addresses + 16), steps * n * kept * units)
    panels = numbers_at(load_word(addresses + 24), gates * units * compiled_up(units, WIDE))
    there = numbers_at(load_word(addresses + 32), steps * n)
    deltas = numbers_at(load_word(addresses + 40), steps * n * units)
    by_inputs = numbers_at(load_word(addresses + 48), steps * n * gates * units)
    by_q = numbers_at(load_word(addresses + 56), steps * n * units if kind == GRU else 0)
    room = TOGETHER * (3 * stride + across) + stride
    own = numbers_at(load_word(addresses + 64) + 4 * thread * room, room)
    own[:] = ZERO
    size = TOGETHER * stride
    by_state, by_cell, passed_by, by_product = own[:size], own[size:], own[2 * size :], own[3 * size :]
    zeros = own[room - stride :]
    low, high = part * TOGETHER, min((part + 1) * TOGETHER, n)
    before = n if whole_at(form, REVERSE) else -n  # from a step to the one whose state it read
    for count in range(steps):
        step = count if whole_at(form, REVERSE) else steps - 1 - count
        for row in range(low, high):
            at, k = step * n + row, row - low
            dh, dc, by = by_state[k * stride :], by_cell[k * stride :], passed_by[k * stride :]
            dz, out, delta = by_product[k * across :], by_inputs[at * gates * units :], deltas[at * units :]
            for j in range(units):
                dh[j] += delta[j] + by[j]
            if there[at] == ZERO:
                copy(dh, by, units)
                dz[: gates * units] = ZERO
                out[: gates * units] = ZERO
                if kind == GRU:
                    by_q[at * units :][:units] = ZERO
                continue
            keep = back[at * kept * units :]
            begins = count == steps - 1  # nothing was before: zeros
            if kind == ELMAN:
                h = outputs[at * units :]
                for j in range(units):
                    dz[j] = dh[j] * (ONE - h[j] * h[j])
                    by[j] = ZERO
            elif kind == LSTM:
                c = zeros if begins else back[((at + before) * kept + 4) * units :]
                _lstm_back(units, keep, c, dh, dc, dz)
                by[:units] = ZERO
            else:
                h = zeros if begins else outputs[(at + before) * units :]
                _gru_back(units, keep, h, dh, dz, out, by_q[at * units :], by)
            if kind != GRU:
                copy(dz, out, gates * units)
        _multiply(by_product, across, gates * units, panels, by_state, units, stride)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _lstm_back(units: int, keep: Numbers, c: Numbers, dh: Numbers, dc: Numbers, dz: Numbers) -> None:
    i, f, g, o, cell = keep[:units], keep[units:], keep[2 * units :], keep[3 * units :], keep[4 * units :]
    di, df, dg, do = dz[:units], dz[units:], dz[2 * units :], dz[3 * units :]
    for j in range(len(i)):
        t = tanh(cell[j])
        do[j] = dh[j] * t * o[j] * (ONE - o[j])
        by_cell = dc[j] + dh[j] * o[j] * (ONE - t * t)
        di[j] = by_cell * g[j] * i[j] * (ONE - i[j])
        dg[j] = by_cell * i[j] * (ONE - g[j] * g[j])
        df[j] = by_cell * c[j] * f[j] * (ONE - f[j])
        dc[j] = by_cell * f[j]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _gru_back(
    units: int, keep: Numbers, h: Numbers, dh: Numbers, dz: Numbers, out: Numbers, by_q: Numbers, by: Numbers
) -> None:
    r, u, n, q = keep[:units], keep[units:], keep[2 * units :], keep[3 * units :]
    dr, du, dq, out_u, out_n = dz[:units], dz[units:], dz[2 * units :], out[units:], out[2 * units :]
    for j in range(len(r)):
        dn = dh[j] * (ONE - u[j]) * (ONE - n[j] * n[j])
        du[j] = dh[j] * (h[j] - n[j]) * u[j] * (ONE - u[j])
        dr[j] = dn * q[j] * r[j] * (ONE - r[j])
        dq[j] = dn * r[j]
        by[j] = dh[j] * u[j]
        out[j], out_u[j], out_n[j], by_q[j] = dr[j], du[j], dn, dq[j]


_address_of_forward, _address_of_backward = address_of(_forward_part), address_of(_backward_part)


def _serve_forward(frame: int) -> int:
    return serve(frame, _address_of_forward())  # type: ignore[no-any-return]


def _serve_backward(frame: int) -> int:
    return serve(frame, _address_of_backward())  # type: ignore[no-any-return]
