"""Products on the matrix units of Intel's processors (AMX), which multiply tiles of 16-bit numbers (bfloat16).

A single-precision number is the sum of three of them, of 8 bits each, without an error. Of the nine products of two
such sums, six are added up in single precision; the other three together are at most a 2^-22th, of either sign. So the
result is as exact as with single-precision products, and comes about twice as fast. Infinite numbers, and those above
3.38e38, give NaN.

A tile has 16 lines, each of 16 pairs of numbers, whose terms are added. The three tiles of the three parts lie side by
side. A pair is made of the numbers k and k + 16 of 32, in both factors, so that no numbers need to change their places.

Sources: Intel, Architecture Instruction Set Extensions Programming Reference, chapter 3; G. Henry, P. T. P. Tang and
A. Heinecke, Leveraging the bfloat16 artificial intelligence datatype for higher-precision computations (2019).
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from heldout.neural.native.tiles import turned

LINES = 16  # of a tile, of as many pairs
TILE = LINES * LINES  # pairs, each of the size of one single-precision number
TRIPLE = 3 * TILE
ASK, TILES_DATA = 0x1023, 18  # Linux's arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), by its number below
ARCH_PRCTL = 158
KEPT, ROUND = 0xFFFF0000, 0x8000  # the bits of a bfloat16 within a single-precision number; half its last one


@functools.cache
def built_for() -> bool:
    """Whether the processor that Numba compiles for has matrix units for bfloat16. Elsewhere there is no code here."""
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return sys.platform == "linux" and {"+amx-bf16", "+amx-tile", "+avx512f"} <= set(features)


@functools.cache
def ready() -> bool:
    """Whether there are matrix units, and the operating system lets this process use them, for which it is asked."""
    return built_for() and ctypes.CDLL(None).syscall(ARCH_PRCTL, ASK, TILES_DATA) == 0


def _if_there(code: Callable[..., Any]) -> Callable[..., Any]:
    """What an intrinsic compiles to: nothing where there are no matrix units, whose instructions LLVM would refuse."""

    def or_nothing(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if built_for():
            code(context, builder, signature, arguments)
        return context.get_dummy_value()

    return or_nothing


def _data(context: Any, builder: Any, kind: Any, array: Any, *at: Any) -> Any:
    """The address of the number of an array at the sum of some places."""
    place = context.make_array(kind)(context, builder, array).data
    for more in at:
        place = builder.gep(place, [more])
    return place


def _called(builder: Any, name: str, *arguments: Any) -> Any:
    of = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, of, f"llvm.x86.{name}"), arguments)


def _byte(number: int) -> Any:
    return ir.IntType(8)(number)


@intrinsic  # type: ignore[untyped-decorator]
def begin(typing_context: Any) -> Any:
    """For a thread, before its first product: eight tiles of 16 lines of 64 bytes."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        told = bytes([1] + [0] * 15 + [64, 0] * 8 + [0] * 16 + [LINES] * 8 + [0] * 8)
        kind = ir.ArrayType(ir.IntType(8), 64)
        constant = cgutils.global_constant(builder, "tiles", ir.Constant(kind, bytearray(told)))
        _called(builder, "ldtilecfg", builder.bitcast(constant, ir.IntType(8).as_pointer()))

    return types.void(), _if_there(code)


@intrinsic  # type: ignore[untyped-decorator]
def end(typing_context: Any) -> Any:
    """For a thread, after its last product."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        _called(builder, "tilerelease")

    return types.void(), _if_there(code)


def _split(over: bool) -> Any:
    """For compiled code: a tile of each of the three parts of single-precision numbers; see `split` below."""

    @intrinsic  # type: ignore[untyped-decorator]
    def split(typing_context: Any, a: Any, lower_at: Any, upper_at: Any, row: Any, out: Any, out_at: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
            a, lower_at, upper_at, row, out, out_at = arguments
            source, target = signature.args[0], signature.args[4]
            vector = ir.VectorType(ir.FloatType(), LINES)

            def lines(at: Any) -> list[Any]:
                found = []
                for line in range(LINES):
                    place = _data(context, builder, source, a, at, builder.mul(row, row.type(line)))
                    found.append(builder.load(builder.bitcast(place, vector.as_pointer()), align=4))
                return turned(builder, found) if over else found

            pairs = zip(lines(lower_at), lines(upper_at), strict=True)
            for line, (lower, upper) in enumerate(pairs):
                for part, both in enumerate(_parts(builder, lower, upper)):
                    offset = row.type(part * TILE + line * LINES)
                    place = _data(context, builder, target, out, out_at, offset)
                    builder.store(both, builder.bitcast(place, both.type.as_pointer()), align=4)

        i = types.intp
        return types.void(a, i, i, i, out, i), _if_there(code)

    return split


# (a, lower_at, upper_at, row, out, out_at): line i of a tile holds 16 numbers of `a` from lower_at + i row on, each
# paired with that behind upper_at + i row. Turned over, it holds the numbers at lower_at + i + k row, for k below 16.
split, split_turned = _split(False), _split(True)


def _parts(builder: Any, lower: Any, upper: Any) -> list[Any]:
    """Pairs of 16-bit numbers: the first parts of two vectors of numbers, of what is left, and of what is then left."""
    whole = ir.VectorType(ir.IntType(32), LINES)

    def all_of(number: int) -> Any:
        return ir.Constant(whole, [number] * LINES)

    found = []
    for part in range(3):
        bits = [builder.bitcast(one, whole) for one in (lower, upper)]
        if part < 2:
            bits = [builder.and_(builder.add(one, all_of(ROUND)), all_of(KEPT)) for one in bits]
            lower, upper = (
                builder.fsub(one, builder.bitcast(taken, one.type))
                for one, taken in zip((lower, upper), bits, strict=True)
            )
        found.append(builder.or_(builder.lshr(bits[0], all_of(16)), builder.and_(bits[1], all_of(KEPT))))
    return found


@intrinsic  # type: ignore[untyped-decorator]
def clear(typing_context: Any) -> Any:
    """A product of 32 rows and 32 columns begins, from 0."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        for tile in range(4):
            _called(builder, "tilezero", _byte(tile))

    return types.void(), _if_there(code)


def _moving(name: str) -> Any:
    """For compiled code: the four tiles of a product from memory, or to it; see `load` and `store` below."""

    @intrinsic  # type: ignore[untyped-decorator]
    def move(typing_context: Any, c: Any, c_at: Any, c_row: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
            c, c_at, c_row = arguments
            index, apart = c_row.type, builder.mul(c_row, c_row.type(4))
            for tile in range(4):
                row, column = builder.mul(c_row, index(tile // 2 * LINES)), index(tile % 2 * LINES)
                place = _data(context, builder, signature.args[0], c, c_at, row, column)
                _called(builder, name, _byte(tile), builder.bitcast(place, ir.IntType(8).as_pointer()), apart)

        return types.void(c, types.intp, types.intp), _if_there(code)

    return move


# (c, c_at, c_row): a product begins from what `c` holds, or is done and goes there: 32 rows of as many numbers, c_row
# apart, from c_at on.
load, store = _moving("tileloadd64"), _moving("tilestored64")


@intrinsic  # type: ignore[untyped-decorator]
def add(typing_context: Any, a: Any, a_at: Any, b: Any, b_at: Any) -> Any:
    """32 terms more of a product: of two triples of tiles of each factor, which lie side by side."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        index, line = arguments[1].type, arguments[1].type(4 * LINES)
        starts = [
            builder.bitcast(
                _data(context, builder, signature.args[k], *arguments[k : k + 2]), ir.IntType(8).as_pointer()
            )
            for k in (0, 2)
        ]
        held = [-1, -1]
        for parts in ((0, 2), (0, 1), (1, 1), (2, 0), (1, 0), (0, 0)):
            for factor in range(2):
                if held[factor] != parts[factor]:
                    for k in range(2):
                        place = builder.gep(starts[factor], [index(4 * (k * TRIPLE + parts[factor] * TILE))])
                        _called(builder, "tileloadd64", _byte(4 + 2 * factor + k), place, line)
            held = list(parts)
            for r in range(2):
                for s in range(2):
                    _called(builder, "tdpbf16ps", _byte(2 * r + s), _byte(4 + r), _byte(6 + s))

    i = types.intp
    return types.void(a, i, b, i), _if_there(code)
