"""Products of a block of rows by weights, with both factors laid out for tiles in registers or for matrix units.

Numbers come in panels of WIDE columns. For registers a panel is plain: (rows, WIDE). For matrix units (`native/amx.py`)
it is triples of tiles, which take half as much room again, in an order that goes by what the panel is a factor of.
A block has BLOCK rows; those behind its last, and columns behind the last, are 0.

Types are said, since Numba would compile a function anew for each constant that it is called with.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit

from heldout.neural.native import amx
from heldout.neural.native.tiles import (
    COMPILED,
    LANES,
    TALL,
    WIDE,
    compiled_up,
    in_wide_registers,
    tall_wide,
    turn_square,
)

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

BLOCK = 64  # rows that are at work together
DEEP = 128  # terms of a product in registers at a time: a panel of so many stays in the first cache
PANEL, SQUARE = BLOCK * WIDE, WIDE * WIDE  # numbers of a block's plain panel, and of the room for a piece of W
LEFT, TURNED, RIGHT = range(3)  # a block's panel as terms of its rows, and turned over; its rows as terms
LINES, TRIPLE = amx.LINES, amx.TRIPLE
ZERO = np.float32(0.0)


def laid(units: bool, count: int) -> int:
    """The room that so many numbers take when they are laid out."""
    return count + count // 2 if units else count


compiled_laid = njit(**COMPILED)(laid)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def begin(units: bool) -> None:
    """For a thread, before it multiplies; `units`: by matrix units."""
    if units:
        amx.begin()


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def end(units: bool) -> None:
    """For a thread, when it has multiplied."""
    if units:
        amx.end()


@njit("void(boolean, int64, float32[::1], int64, int64, float32[::1])", **COMPILED)  # type: ignore[untyped-decorator]
def lay(units: bool, how: int, block: Numbers, row: int, columns: int, out: Numbers) -> None:
    """A block, whose rows begin `row` numbers apart and are filled up to whole panels, laid out."""
    for at in range(0, columns, WIDE):
        into = out[compiled_laid(units, at * BLOCK) :]
        if not units:
            for i in range(BLOCK):
                source, line = block[i * row + at :], into[i * WIDE : (i + 1) * WIDE]
                for j in range(len(line)):
                    line[j] = source[j]
            continue
        for tile in range(BLOCK // LINES):
            if how == LEFT:
                first = tile * LINES * row + at
                amx.split(block, first, first + LINES, row, into, tile * TRIPLE)
                continue
            first = tile // 2 * 2 * LINES * row + tile % 2 * LINES + at
            if how == TURNED:
                amx.split_turned(block, first, first + LINES * row, row, into, tile * TRIPLE)
            else:
                amx.split(block, first, first + LINES * row, row, into, tile * TRIPLE)


@njit("void(float32[::1], int64, int64, int64, int64, float32[::1])", **COMPILED)  # type: ignore[untyped-decorator]
def _cut(weights: Numbers, p: int, m: int, first: int, column: int, square: Numbers) -> None:
    """The square of W (p, m) from a row and a column on, and 0 where W ends."""
    count = min(WIDE, m - column)
    for i in range(WIDE):
        into = square[i * WIDE : (i + 1) * WIDE]
        if first + i < p:
            source = weights[(first + i) * m + column :]
            for j in range(count):
                into[j] = source[j]
            into[count:] = ZERO
        else:
            into[:] = ZERO


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _square_of(weights: Numbers, p: int, m: int, first: int, column: int, square: Numbers) -> tuple[Numbers, int, int]:
    """The same square, where it begins, and how far apart its rows do: in W, or where W ends within it, a copy."""
    if first + WIDE <= p and column + WIDE <= m:
        return weights, first * m + column, m
    _cut(weights, p, m, first, column, square)
    return square, 0, WIDE


@njit("void(boolean, float32[::1], int64, int64, float32[::1], float32[::1])", **COMPILED)  # type: ignore[untyped-decorator]
def pack(units: bool, weights: Numbers, p: int, m: int, square: Numbers, out: Numbers) -> None:
    """W (p, m) as right factors with p terms, of WIDE columns each. `square`: room."""
    for at in range(0, m, WIDE):
        for start in range(0, p, WIDE):
            into = out[compiled_laid(units, at * compiled_up(p, WIDE) + start * WIDE) :]
            if units:
                source, first, row = _square_of(weights, p, m, start, at, square)
                for tile in range(2):
                    lower = first + tile * LINES
                    amx.split(source, lower, lower + LINES * row, row, into, tile * TRIPLE)
            else:
                _cut(weights, p, m, start, at, into)


@njit("void(boolean, float32[::1], int64, int64, int64, float32[::1], float32[::1])", **COMPILED)  # type: ignore[untyped-decorator]
def turn(units: bool, weights: Numbers, p: int, m: int, terms: int, square: Numbers, out: Numbers) -> None:
    """Wᵀ of W (p, m) as right factors with m of the `terms` terms, of WIDE columns each. `square`: room."""
    for at in range(0, p, WIDE):
        for start in range(0, m, WIDE):
            source, first, row = _square_of(weights, p, m, at, start, square)
            into = out[compiled_laid(units, at * terms + start * WIDE) :]
            if units:
                for tile in range(2):
                    left = first + tile * LINES * row
                    amx.split_turned(source, left, left + LINES, row, into, tile * TRIPLE)
            else:
                for j in range(0, WIDE, LANES):
                    for k in range(0, WIDE, LANES):
                        turn_square(source, first + k * row + j, row, into, j * WIDE + k, WIDE)


@njit("void(float32[::1], int64, int64, float32[::1], boolean, float32[::1], int64, float32[::1], int64)", **COMPILED)  # type: ignore[untyped-decorator]
def _by_units(
    left: Numbers,
    tiles: int,
    panels: int,
    right: Numbers,
    more: bool,
    start: Numbers,
    apart: int,
    out: Numbers,
    row: int,
) -> None:
    """WIDE rows by WIDE columns, over so many panels of terms, which lie `tiles` triples apart in the left factor.

    With `more` they are added to `start`, whose rows begin `apart` numbers apart: with 0, one row for all.
    """
    if more:
        amx.load(start, 0, apart)
    else:
        amx.clear()
    for k in range(panels):
        amx.add(left, k * tiles * TRIPLE, right, k * 2 * TRIPLE)
    amx.store(out, 0, row)


@njit("void(boolean, float32[::1], int64, int64, float32[::1], float32[::1], int64, boolean)", **COMPILED)  # type: ignore[untyped-decorator]
def multiply(units: bool, left: Numbers, rows: int, p: int, right: Numbers, out: Numbers, row: int, more: bool) -> None:
    """A block's first rows, of p numbers, times a right factor: WIDE columns of `out`, whose rows begin `row` apart.

    With `more` it is added to what `out` holds. Rows behind the last are written too, but not more than BLOCK.
    """
    if units:
        for first in range(0, rows, 2 * LINES):
            panels, tiles = (p + WIDE - 1) // WIDE, BLOCK // LINES
            into = out[first * row :]
            _by_units(left[first // LINES * TRIPLE :], tiles, panels, right, more, into, row, into, row)
        return
    for start in range(0, p, DEEP):
        count = min(DEEP, p - start)
        whole = count // WIDE
        rest = start + whole * WIDE
        for i in range(0, rows, TALL):
            if whole:
                tall_wide(
                    left, start * BLOCK + i * WIDE, WIDE, 1, right, start * WIDE, WIDE, out, i * row, row, WIDE, whole,
                    PANEL, more or start > 0,
                )  # fmt: skip
            if rest < start + count:
                tall_wide(
                    left, rest * BLOCK + i * WIDE, WIDE, 1, right, rest * WIDE, WIDE, out, i * row, row,
                    start + count - rest, 1, 0, more or rest > 0,
                )  # fmt: skip


@njit(
    "void(boolean, float32[::1], int64, int64, float32[::1], float32[::1], float32[::1], float32[::1], int64, int64)",
    **COMPILED,
)  # type: ignore[untyped-decorator]
def multiply_and_add(
    units: bool, left: Numbers, rows: int, p: int, right: Numbers, added: Numbers, panel: Numbers, out: Numbers,
    row: int, columns: int,
) -> None:  # fmt: skip
    """The same product, of which so many rows and columns, and no more, go to `out`, with a row added to each.

    `panel`: room.
    """
    if units and rows == BLOCK and row % LINES == 0 and columns >= WIDE:
        for first in range(0, rows, 2 * LINES):
            panels, tiles = (p + WIDE - 1) // WIDE, BLOCK // LINES
            into = out[first * row :]
            _by_units(left[first // LINES * TRIPLE :], tiles, panels, right, True, added, 0, into, row)
        return
    multiply(units, left, rows, p, right, panel, WIDE, False)
    for i in range(rows):
        source, into = panel[i * WIDE :], out[i * row :][: min(WIDE, columns)]
        for j in range(len(into)):
            into[j] = source[j] + added[j]


@njit("void(boolean, float32[::1], int64, float32[::1], int64, float32[::1], boolean)", **COMPILED)  # type: ignore[untyped-decorator]
def weigh(units: bool, left: Numbers, p: int, right: Numbers, rows: int, own: Numbers, more: bool) -> None:
    """Σ_i left[i, k] right[i, :] over a block's rows, for the first p columns k of a panel: `own` (WIDE, WIDE).

    `left` is laid out as TURNED, and a panel of `right` as RIGHT. With `more` it is added to what `own` holds.
    """
    if units:
        _by_units(left, 2, BLOCK // WIDE, right, more, own, WIDE, own, WIDE)
        return
    for k in range(0, min(p, WIDE), TALL):
        tall_wide(left, k, 1, WIDE, right, 0, WIDE, own, k * WIDE, WIDE, rows, 1, 0, more)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def fill(block: Numbers, row: int, rows: int, columns: int) -> None:
    """0 in a block's rows behind the last of their numbers, up to a whole panel, and in its rows behind the last."""
    wide = compiled_up(columns, WIDE)
    for i in range(rows):
        block[i * row + columns : i * row + wide] = ZERO
    for i in range(rows, BLOCK):
        block[i * row : i * row + wide] = ZERO


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def add_rows(block: Numbers, row: int, rows: int, total: Numbers) -> None:
    """A block's rows are added to `total`."""
    in_wide_registers()
    fours = rows // 4 * 4
    for i in range(0, fours, 4):
        a, b, c, d = block[i * row :], block[(i + 1) * row :], block[(i + 2) * row :], block[(i + 3) * row :]
        for j in range(len(total)):
            total[j] += (a[j] + b[j]) + (c[j] + d[j])
    for i in range(fours, rows):
        a = block[i * row :]
        for j in range(len(total)):
            total[j] += a[j]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def whole_block(rows: Numbers, count: int, columns: int, room: Numbers) -> tuple[Numbers, int]:
    """So many rows as a block that is filled up, and how far apart they begin: what is given, or a copy in `room`."""
    if count == BLOCK and columns % WIDE == 0:
        return rows, columns
    row = compiled_up(columns, WIDE)
    for i in range(count):
        source, into = rows[i * columns :], room[i * row :][:columns]
        for j in range(columns):
            into[j] = source[j]
    fill(room, row, count, columns)
    return room, row
