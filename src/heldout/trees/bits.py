"""Bits of words of 64: which are set, and which numbers are not zero."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic  # type: ignore[untyped-decorator]
def trailing_zeros(typing_context: Any, word: Any) -> Any:
    """How many zeros end a word that is not zero."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], context.get_constant(types.boolean, True))

    return types.uint64(types.uint64), code


@intrinsic  # type: ignore[untyped-decorator]
def occurring(typing_context: Any, histogram: Any, plane: Any, word: Any) -> Any:
    """Bit c: whether item 64 word + c of a row of `histogram` (planes, 64 words), uint64, is not zero."""
    return types.uint64(histogram, types.intp, types.intp), _occurring_code


def _occurring_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    histogram = context.make_array(signature.args[0])(context, builder, arguments[0])
    vector = ir.VectorType(ir.IntType(64), 64)
    row = builder.mul(arguments[1], builder.extract_value(histogram.shape, 1))
    at = builder.add(row, builder.mul(arguments[2], arguments[2].type(64)))
    items = builder.load(builder.bitcast(builder.gep(histogram.data, [at]), vector.as_pointer()), align=8)
    return builder.bitcast(builder.icmp_unsigned("!=", items, ir.Constant(vector, None)), ir.IntType(64))
