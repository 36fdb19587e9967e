r"""Softmax cross-entropy of many scores, block of rows by block of rows, in as many threads as XLA lends.

.. math:: t_i = \log \sum_k e^{z_{ik}}, \qquad L_i = t_i - z_{i y_i}, \qquad
          \nabla_{z_i} = \delta_i (e^{z_i - t_i} - e_{y_i})
"""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import jax
import numpy as np
from numba import njit

from heldout.neural.native.functions import QUICK, exp, total
from heldout.neural.native.handler import address_of, load_word, numbers, numbers_at, register, serve, whole_at
from heldout.neural.native.tiles import COMPILED, in_wide_registers

Array: TypeAlias = jax.Array
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

BLOCK = 2**12  # scores that are at work together, or one row's

# The form, the first operand: parts; threads there is room for; rows; scores of a row; rows of a block.
PARTS, ROOM, ROWS, CLASSES, EACH = range(5)
MISSING = np.float32(np.nan)
SIGN, SIZE, LEAST = np.int32(31), np.int32(2**31 - 1), np.int32(-(2**31))


def forward(scores: Array, codes: Array) -> tuple[Array, Array]:
    """The losses (n,) of rows of `scores` (n, K) whose classes are `codes` (n,), and t (n,) for `backward`."""
    register(heldout_cross_entropy=_serve_forward)
    (n, classes), form = scores.shape, _form(*scores.shape)
    losses, totals, _ = jax.ffi.ffi_call(
        "heldout_cross_entropy",
        (numbers(n), numbers(n), numbers(form[ROOM], form[EACH] * classes)),
        vmap_method="sequential",
    )(form, scores, codes)
    return losses, totals


def backward(scores: Array, codes: Array, totals: Array, delta: Array) -> Array:
    """The gradient by `scores` from that by the losses, `delta` (n,)."""
    register(heldout_cross_entropy_back=_serve_backward)
    call = jax.ffi.ffi_call("heldout_cross_entropy_back", numbers(*scores.shape), vmap_method="sequential")
    by_scores: Array = call(_form(*scores.shape), scores, codes, totals, delta)
    return by_scores


def _form(n: int, classes: int) -> np.ndarray[Any, Any]:
    each = max(1, BLOCK // classes)
    parts = -(-n // each)
    return np.array([parts, min(os.cpu_count() or 1, parts), n, classes, each], np.int32)


@njit(**QUICK)  # type: ignore[untyped-decorator]
def _raised(block: Numbers) -> None:
    """e to each number, in its place; for numbers of 0 or less."""
    in_wide_registers()
    for j in range(len(block)):
        block[j] = exp(block[j])


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _in_order(bits: Any) -> Any:
    """The bits of a number as a whole number, such that these have the same order; and back."""
    return np.int32(bits ^ np.int32(np.int32(bits >> SIGN) & SIZE))


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _largest(row: Numbers) -> Any:
    """The bits of a row's largest number. LLVM takes many at once only where they are whole numbers."""
    in_wide_registers()
    bits = row.view(np.int32)
    found = LEAST
    for j in range(len(bits)):
        found = max(found, _in_order(bits[j]))
    return _in_order(found)


@njit(**QUICK)  # type: ignore[untyped-decorator]
def _below(row: Numbers, level: Any, out: Numbers) -> None:
    """A row's numbers less a level."""
    in_wide_registers()
    into = out[: len(row)]
    for j in range(len(row)):
        into[j] = row[j] - level


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _rows_of(part: int, addresses: int) -> tuple[int, int, int]:
    """A part's first row, how many it has, and the scores of one."""
    form = load_word(addresses)
    first = part * whole_at(form, EACH)
    return first, min(whole_at(form, EACH), whole_at(form, ROWS) - first), whole_at(form, CLASSES)


@njit(**QUICK)  # type: ignore[untyped-decorator]
def _forward_part(part: int, thread: int, addresses: int) -> None:
    """A block of rows. Operands: form, scores, codes; results: losses, t, room."""
    first, rows, classes = _rows_of(part, addresses)
    scores = numbers_at(load_word(addresses + 8) + 4 * first * classes, rows * classes)
    codes = load_word(addresses + 16) + 4 * first
    losses = numbers_at(load_word(addresses + 24) + 4 * first, rows)
    totals = numbers_at(load_word(addresses + 32) + 4 * first, rows)
    tops = totals.view(np.int32)
    each = whole_at(load_word(addresses), EACH)
    block = numbers_at(load_word(addresses + 40) + 4 * thread * each * classes, rows * classes)
    for i in range(rows):
        row = scores[i * classes : (i + 1) * classes]
        tops[i] = _largest(row)
        _below(row, totals[i], block[i * classes :])
    _raised(block)
    for i in range(rows):
        totals[i] += np.log(total(block[i * classes : (i + 1) * classes]))
        code = whole_at(codes, i)
        losses[i] = totals[i] - scores[i * classes + code] if 0 <= code < classes else MISSING


@njit(**QUICK)  # type: ignore[untyped-decorator]
def _backward_part(part: int, thread: int, addresses: int) -> None:
    """A block of rows. Operands: form, scores, codes, t, δ; result: the gradient by the scores."""
    in_wide_registers()
    first, rows, classes = _rows_of(part, addresses)
    scores = numbers_at(load_word(addresses + 8) + 4 * first * classes, rows * classes)
    codes = load_word(addresses + 16) + 4 * first
    totals = numbers_at(load_word(addresses + 24) + 4 * first, rows)
    delta = numbers_at(load_word(addresses + 32) + 4 * first, rows)
    by_scores = numbers_at(load_word(addresses + 40) + 4 * first * classes, rows * classes)
    for i in range(rows):
        _below(scores[i * classes : (i + 1) * classes], totals[i], by_scores[i * classes :])
    _raised(by_scores)
    for i in range(rows):
        row = by_scores[i * classes : (i + 1) * classes]
        for j in range(len(row)):
            row[j] *= delta[i]
        code = whole_at(codes, i)
        if 0 <= code < classes:
            row[code] -= delta[i]


_address_of_forward, _address_of_backward = address_of(_forward_part), address_of(_backward_part)


def _serve_forward(frame: int) -> int:
    return serve(frame, _address_of_forward())  # type: ignore[no-any-return]


def _serve_backward(frame: int) -> int:
    return serve(frame, _address_of_backward())  # type: ignore[no-any-return]
