"""Tiles of products and of absolute differences of bytes, written as LLVM vectors.

A tile is QUERIES queries by `VECTORS` vectors of rows; its sums stay in registers while the columns run by. Where the
processor has AVX-512 VNNI, four products of bytes are added in one step for each of 16 rows; elsewhere the same sums
are made of plain steps. Sums of absolute differences have an instruction of their own on every x86 processor.
"""

from __future__ import annotations

import functools
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

QUERIES, VECTORS = 12, 2  # 24 of the 32 vector registers are sums
PRODUCT_LANES, PRODUCT_COLUMNS = 16, 4  # rows in a vector of 64 bytes, and the columns of each
DIFFERENCE_LANES, DIFFERENCE_COLUMNS = 8, 8
WORD, LONG, BYTE = ir.IntType(32), ir.IntType(64), ir.IntType(8)


@functools.cache
def has_quick_products() -> bool:
    """Whether this processor adds products of bytes in one step."""
    return bool(llvm.get_host_cpu_features().get("avx512vnni", False))


@functools.cache
def has_quick_differences() -> bool:
    """Whether this processor adds absolute differences of 64 bytes in one step."""
    return bool(llvm.get_host_cpu_features().get("avx512bw", False))


def _typed(
    queries: Any, q_at: Any, rows: Any, r_at: Any, steps: Any, norms: Any, n_at: Any, limits: Any, l_at: Any, out: Any,
    masks: Any,
) -> Any:  # fmt: skip
    place = types.intp
    return types.void(queries, place, rows, place, place, norms, place, limits, place, out, masks)


@intrinsic  # type: ignore[untyped-decorator]
def products(
    typing: Any, queries: Any, q_at: Any, rows: Any, r_at: Any, steps: Any, norms: Any, n_at: Any, limits: Any,
    l_at: Any, out: Any, masks: Any,
) -> Any:  # fmt: skip
    """out[q, v] = norms - 2 sum_j rows_j queries_j, and in masks[q, v] a bit for each row at or below limits[q]."""
    given = _typed(queries, q_at, rows, r_at, steps, norms, n_at, limits, l_at, out, masks)
    return given, functools.partial(_code, _quick_product if has_quick_products() else _plain_product)


@intrinsic  # type: ignore[untyped-decorator]
def plain_products(
    typing: Any, queries: Any, q_at: Any, rows: Any, r_at: Any, steps: Any, norms: Any, n_at: Any, limits: Any,
    l_at: Any, out: Any, masks: Any,
) -> Any:  # fmt: skip
    """`products` without the instructions that only some processors have."""
    given = _typed(queries, q_at, rows, r_at, steps, norms, n_at, limits, l_at, out, masks)
    return given, functools.partial(_code, _plain_product)


@intrinsic  # type: ignore[untyped-decorator]
def differences(
    typing: Any, queries: Any, q_at: Any, rows: Any, r_at: Any, steps: Any, norms: Any, n_at: Any, limits: Any,
    l_at: Any, out: Any, masks: Any,
) -> Any:  # fmt: skip
    """out[q, v] = norms + sum_j |rows_j - queries_j|, and in masks[q, v] a bit for each row at or below limits[q]."""
    given = _typed(queries, q_at, rows, r_at, steps, norms, n_at, limits, l_at, out, masks)
    return given, functools.partial(_code, _quick_difference if has_quick_differences() else _plain_difference)


@intrinsic  # type: ignore[untyped-decorator]
def plain_differences(
    typing: Any, queries: Any, q_at: Any, rows: Any, r_at: Any, steps: Any, norms: Any, n_at: Any, limits: Any,
    l_at: Any, out: Any, masks: Any,
) -> Any:  # fmt: skip
    """`differences` without the instructions that only some processors have."""
    given = _typed(queries, q_at, rows, r_at, steps, norms, n_at, limits, l_at, out, masks)
    return given, functools.partial(_code, _plain_difference)


def _quick_product(builder: Any, total: Any, row: Any, number: Any) -> Any:
    """total + four unsigned bytes of every row times four signed ones of the query, (16,) int32."""
    vector = total.type
    name = "llvm.x86.avx512.vpdpbusd.512"
    dot = builder.module.declare_intrinsic(name, (), ir.FunctionType(vector, [vector, vector, vector]))
    return builder.call(dot, [total, builder.bitcast(row, vector), _repeated(builder, number, PRODUCT_LANES)])


def _plain_product(builder: Any, total: Any, row: Any, number: Any) -> Any:
    row, vector = builder.bitcast(row, total.type), total.type
    found = total
    for column in range(PRODUCT_COLUMNS):
        left = builder.lshr(row, ir.Constant(vector, [8 * column] * PRODUCT_LANES))
        left = builder.and_(left, ir.Constant(vector, [255] * PRODUCT_LANES))
        right = builder.ashr(builder.shl(number, WORD(24 - 8 * column)), WORD(24))
        found = builder.add(found, builder.mul(left, _repeated(builder, right, PRODUCT_LANES)))
    return found


def _quick_difference(builder: Any, total: Any, row: Any, number: Any) -> Any:
    """total + the sums of eight absolute differences of unsigned bytes for every row, (8,) int64."""
    name = "llvm.x86.avx512.psad.bw.512"
    function = ir.FunctionType(total.type, [row.type, row.type])
    sad = builder.module.declare_intrinsic(name, (), function)
    repeated = builder.bitcast(_repeated(builder, number, DIFFERENCE_LANES), row.type)
    return builder.add(total, builder.call(sad, [row, repeated]))


def _plain_difference(builder: Any, total: Any, row: Any, number: Any) -> Any:
    row, vector = builder.bitcast(row, total.type), total.type
    repeated, found = _repeated(builder, number, DIFFERENCE_LANES), total
    for column in range(DIFFERENCE_COLUMNS):
        shift, mask = ir.Constant(vector, [8 * column] * 8), ir.Constant(vector, [255] * 8)
        left = builder.and_(builder.lshr(row, shift), mask)
        right = builder.and_(builder.lshr(repeated, shift), mask)
        greater = builder.icmp_unsigned(">", left, right)
        found = builder.add(found, builder.select(greater, builder.sub(left, right), builder.sub(right, left)))
    return found


def _code(step: Any, context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    data = {k: context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in (0, 2, 5, 7, 9, 10)}
    q_at, r_at, steps, n_at, l_at = (arguments[k] for k in (1, 3, 4, 6, 8))
    wide = step in (_quick_product, _plain_product)
    lanes, word = (PRODUCT_LANES, WORD) if wide else (DIFFERENCE_LANES, LONG)
    vector, index, bytes_ = ir.VectorType(word, lanes), q_at.type, ir.VectorType(BYTE, 64)
    numbers = builder.bitcast(builder.gep(data[0], [q_at]), word.as_pointer())
    across = builder.bitcast(builder.gep(data[2], [r_at]), bytes_.as_pointer())
    entry, loop, end = builder.block, *(builder.append_basic_block(name) for name in ("tile.columns", "tile.end"))
    builder.branch(loop)

    builder.position_at_end(loop)
    k = builder.phi(index)
    sums = [builder.phi(vector) for _ in range(QUERIES * VECTORS)]
    first_row, first_query = builder.mul(k, index(VECTORS)), builder.mul(k, index(QUERIES))
    rows = [
        builder.load(builder.gep(across, [builder.add(first_row, index(v))]), align=1) for v in range(VECTORS)
    ]  # fmt: skip
    added = []
    for q in range(QUERIES):
        number = builder.load(builder.gep(numbers, [builder.add(first_query, index(q))]), align=1)
        added += [step(builder, sums[q * VECTORS + v], rows[v], number) for v in range(VECTORS)]
    following = builder.add(k, index(1))
    builder.cbranch(builder.icmp_signed("<", following, steps), loop, end)
    zero = ir.Constant(vector, [0] * lanes)
    for variable, first, later in zip((k, *sums), (index(0), *[zero] * len(sums)), (following, *added), strict=True):
        variable.add_incoming(first, entry)
        variable.add_incoming(later, loop)

    builder.position_at_end(end)
    for v in range(VECTORS):
        norm = _vector_at(builder, data[5], builder.add(n_at, index(v * lanes)), lanes)
        for q in range(QUERIES):
            found = added[q * VECTORS + v]
            if wide:
                value = builder.sub(norm, builder.shl(found, ir.Constant(vector, [1] * lanes)))
            else:
                value = builder.add(norm, builder.trunc(found, norm.type))
            where = builder.gep(data[9], [index((q * VECTORS + v) * lanes)])
            builder.store(value, builder.bitcast(where, norm.type.as_pointer()), align=4)
            limit = _repeated(builder, builder.load(builder.gep(data[7], [builder.add(l_at, index(q))])), lanes)
            mask = builder.bitcast(builder.icmp_signed("<=", value, limit), ir.IntType(lanes))
            mask = mask if lanes == 16 else builder.zext(mask, ir.IntType(16))
            builder.store(mask, builder.gep(data[10], [index(q * VECTORS + v)]))
    return context.get_dummy_value()


def _vector_at(builder: Any, data: Any, place: Any, lanes: int) -> Any:
    pointer = builder.bitcast(builder.gep(data, [place]), ir.VectorType(WORD, lanes).as_pointer())
    return builder.load(pointer, align=4)


def _repeated(builder: Any, number: Any, lanes: int) -> Any:
    """A vector of one number, again and again."""
    nothing = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    places = ir.Constant(ir.VectorType(WORD, lanes), [0] * lanes)
    return builder.shuffle_vector(builder.insert_element(nothing, number, WORD(0)), nothing, places)
