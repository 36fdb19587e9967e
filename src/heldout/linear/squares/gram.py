"""Sums of products of all pairs of columns, compiled: half as fast again as BLAS for tables much taller than wide.

BLAS repacks a tall matrix for products whose result is small. Here a few rows at a time are copied (shifted and
weighted on the way) and stay in the first cache, while tiles of the result are summed in registers.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

TALL, WIDE = 4, 8  # of a tile: eight registers of AVX2 or four of AVX-512, so that none has to be put aside
HEIGHT = 32  # rows copied at a time


def sums(x: Array, y: Array, weights: Array | None, shift_x: Array, shift_y: Array, run: slice) -> tuple[Array, Array]:
    """Z'V[Z, y - shift_y] (1 + p, 1 + p + m) for Z = [1, x - shift_x], and the sums of squares of y - shift_y (m,)."""
    width = 1 + x.shape[1] + y.shape[1]
    padded = -(-width // WIDE) * WIDE
    total = np.zeros((padded, padded))
    shift = np.r_[0.0, shift_x, shift_y]
    y = np.ascontiguousarray(y)
    _add_rows(x, y, np.empty(0) if weights is None else weights, shift, run.start, run.stop, total)
    upper, p = np.triu(total[:width, :width]), x.shape[1]
    return (upper + np.triu(upper, 1).T)[: 1 + p], upper.diagonal()[1 + p :].copy()


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _add_rows(x: Array, y: Array, weights: Array, shift: Array, low: int, high: int, total: Array) -> None:
    p, m, width = x.shape[1], y.shape[1], len(shift)
    z = np.zeros((HEIGHT, total.shape[1]))
    for start in range(low, high, HEIGHT):
        n = min(HEIGHT, high - start)
        for k in range(n):
            z[k, 0] = 1.0
            for j in range(p):
                z[k, 1 + j] = x[start + k, j] - shift[1 + j]
            for j in range(m):
                z[k, 1 + p + j] = y[start + k, j] - shift[1 + p + j]
            if len(weights):
                root = np.sqrt(weights[start + k])
                for j in range(width):
                    z[k, j] *= root
        for i in range(0, width, TALL):
            for j in range(i // WIDE * WIDE, width, WIDE):  # from the diagonal on
                add_tile(z, n, i, j, total)


@intrinsic  # type: ignore[untyped-decorator]
def add_tile(typing_context: Any, z: Any, n: Any, i: Any, j: Any, total: Any) -> Any:
    """total[i : i + TALL, j : j + WIDE] += z[:n, i : i + TALL].T @ z[:n, j : j + WIDE], both in C order.

    Written in LLVM's own terms because its vectoriser does not keep a tile in registers.
    """
    return types.void(z, types.intp, types.intp, types.intp, total), _tile_code


def _tile_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    z, total = (context.make_array(signature.args[k])(context, builder, arguments[k]) for k in (0, 4))
    n, i, j = arguments[1:4]
    vector, index = ir.VectorType(ir.DoubleType(), WIDE), n.type
    z_width, total_width = (builder.extract_value(array.shape, 1) for array in (z, total))
    entry, rows, end = builder.block, *(builder.append_basic_block(name) for name in ("tile.rows", "tile.end"))
    builder.branch(rows)

    builder.position_at_end(rows)
    k = builder.phi(index)
    sums = [builder.phi(vector) for _ in range(TALL)]
    row = builder.gep(z.data, [builder.mul(k, z_width)])
    across = builder.load(builder.bitcast(builder.gep(row, [j]), vector.as_pointer()), align=8)
    added = []
    for r, partial in enumerate(sums):
        factor = _repeated(builder, builder.load(builder.gep(row, [builder.add(i, index(r))])), vector)
        product = builder.fmul(factor, across, flags=("contract",))
        added.append(builder.fadd(product, partial, flags=("contract",)))
    following = builder.add(k, index(1))
    builder.cbranch(builder.icmp_signed("<", following, n), rows, end)
    zero = ir.Constant(vector, [0.0] * WIDE)
    for variable, first, later in zip((k, *sums), (index(0), *[zero] * TALL), (following, *added), strict=True):
        variable.add_incoming(first, entry)
        variable.add_incoming(later, rows)

    builder.position_at_end(end)
    for r, value in enumerate(added):
        at = builder.add(builder.mul(builder.add(i, index(r)), total_width), j)
        pointer = builder.bitcast(builder.gep(total.data, [at]), vector.as_pointer())
        builder.store(builder.fadd(builder.load(pointer, align=8), value), pointer, align=8)
    return context.get_dummy_value()


def _repeated(builder: Any, number: Any, vector: Any) -> Any:
    """A vector of one number, again and again."""
    nothing = ir.Constant(vector, ir.Undefined)
    places = ir.Constant(ir.VectorType(ir.IntType(32), WIDE), [0] * WIDE)
    return builder.shuffle_vector(builder.insert_element(nothing, number, ir.IntType(32)(0)), nothing, places)
