"""What the cuts of a column keep, eight at a time: in LLVM's own terms, whose vectoriser leaves such loops as they are.

It does not look into a loop over words whose number it does not know, and what is left over after whole vectors takes
it longer than the vectors, in small nodes. Here the last vector runs over the end, where its lanes count for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from heldout.trees.packed import BITS, FIELDS

LANES = 8
WORDS = ir.VectorType(ir.IntType(64), LANES)
HALVES = ir.VectorType(ir.IntType(32), LANES)
NUMBERS = ir.VectorType(ir.DoubleType(), LANES)
CONTRACT = ("contract",)


@intrinsic  # type: ignore[untyped-decorator]
def gini_by_cuts(
    typing_context: Any, sums: Any, off: Any, total: Any, weight: Any, squares: Any, first: Any, last: Any, out: Any
) -> Any:
    """What the cuts after the groups from `first` to `last` keep (to `out`), both sides together; the most of it.

    With s the sums of the left side, t those of both, w and W their sums over classes:
    sum s^2 / w + sum (t - s)^2 / (W - w). Left are `sums` (words, groups) less `off` (words,), packed; `total`
    (4 words,) is t, `weight` W and `squares` sum t^2. Both arrays of groups have room for seven more.
    """
    number = types.float64
    return number(sums, off, total, number, number, types.intp, types.intp, out), _gini_code


def _gini_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    sums, off, total, out = (_array(context, builder, signature, arguments, k) for k in (0, 1, 2, 7))
    weight, squares, first, last = arguments[3:7]
    index, zero = first.type, ir.Constant(NUMBERS, [0.0] * LANES)
    height, width = (builder.extract_value(sums.shape, axis) for axis in (0, 1))

    def kept(g: Any) -> Any:
        entry = builder.block
        words, done = (builder.append_basic_block(f"gini.{name}") for name in ("words", "done"))
        builder.branch(words)
        builder.position_at_end(words)
        k, w, x, p = builder.phi(index), *(builder.phi(NUMBERS) for _ in range(3))
        left = _load(builder, sums.data, builder.add(builder.mul(k, width), g), WORDS)
        left = builder.sub(left, _repeated(builder, builder.load(builder.gep(off.data, [k])), WORDS))
        added = [w, x, p]
        for f in range(FIELDS):
            shifted = builder.lshr(left, ir.Constant(WORDS, [f * BITS] * LANES))
            part = builder.and_(shifted, ir.Constant(WORDS, [2**BITS - 1] * LANES))
            s = builder.sitofp(builder.trunc(part, HALVES), NUMBERS)
            place = builder.add(builder.mul(k, index(FIELDS)), index(f))
            t = _repeated(builder, builder.load(builder.gep(total.data, [place])), NUMBERS)
            products = (s, builder.fmul(s, s, flags=CONTRACT), builder.fmul(s, t, flags=CONTRACT))
            added = [builder.fadd(a, b, flags=CONTRACT) for a, b in zip(added, products, strict=True)]
        following = builder.add(k, index(1))
        builder.cbranch(builder.icmp_signed("<", following, height), words, done)
        for variable, start, later in zip((k, w, x, p), (index(0), zero, zero, zero), (following, *added), strict=True):
            variable.add_incoming(start, entry)
            variable.add_incoming(later, words)
        builder.position_at_end(done)
        w, x, p = added
        y = builder.fadd(builder.fsub(_repeated(builder, squares, NUMBERS), builder.fadd(p, p)), x)
        return _shared_out(builder, x, w, y, builder.fsub(_repeated(builder, weight, NUMBERS), w))

    return _most_of_groups(builder, first, last, out, kept)


@intrinsic  # type: ignore[untyped-decorator]
def squared_by_cuts(typing_context: Any, sums: Any, off: Any, total: Any, first: Any, last: Any, out: Any) -> Any:
    """As `gini_by_cuts`, of m^2 / w + (M - m)^2 / (W - w): `sums` (2, groups) are w and m, `total` (2,) W and M."""
    return types.float64(sums, off, total, types.intp, types.intp, out), _squared_code


def _squared_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    sums, off, total, out = (_array(context, builder, signature, arguments, k) for k in (0, 1, 2, 5))
    first, last = arguments[3:5]
    width = builder.extract_value(sums.shape, 1)

    def kept(g: Any) -> Any:
        sides = []
        for s in range(2):
            at, place = builder.add(builder.mul(width, width.type(s)), g), [width.type(s)]
            less, all_ = (_repeated(builder, builder.load(builder.gep(of.data, place)), NUMBERS) for of in (off, total))
            left = builder.fsub(_load(builder, sums.data, at, NUMBERS), less)
            sides.append((left, builder.fsub(all_, left)))
        (w, rest), (m, other) = sides
        return _shared_out(builder, builder.fmul(m, m), w, builder.fmul(other, other), rest)

    return _most_of_groups(builder, first, last, out, kept)


def _most_of_groups(builder: Any, first: Any, last: Any, out: Any, kept: Callable[[Any], Any]) -> Any:
    """Store what `kept` gives for the groups from `first` to `last` in `out`; the most of it, or -inf."""
    index, entry = first.type, builder.block
    groups, end = (builder.append_basic_block(f"groups.{name}") for name in ("next", "end"))
    builder.branch(groups)
    builder.position_at_end(groups)
    g, most = builder.phi(index), builder.phi(NUMBERS)
    value = kept(g)
    builder.store(value, builder.bitcast(builder.gep(out.data, [g]), NUMBERS.as_pointer()), align=8)
    lanes = builder.add(_repeated(builder, g, WORDS), ir.Constant(WORDS, list(range(LANES))))
    inside = builder.icmp_signed("<", lanes, _repeated(builder, last, WORDS))
    greater = builder.select(builder.and_(inside, builder.fcmp_ordered(">", value, most)), value, most)
    following, here = builder.add(g, index(LANES)), builder.block
    builder.cbranch(builder.icmp_signed("<", following, last), groups, end)
    g.add_incoming(first, entry)
    g.add_incoming(following, here)
    most.add_incoming(ir.Constant(NUMBERS, [-np.inf] * LANES), entry)
    most.add_incoming(greater, here)
    builder.position_at_end(end)
    return _greatest(builder, greater)


def _shared_out(builder: Any, x: Any, w: Any, y: Any, rest: Any) -> Any:
    """x / w + y / rest, in one division."""
    left, right = builder.fmul(x, rest, flags=CONTRACT), builder.fmul(y, w, flags=CONTRACT)
    return builder.fdiv(builder.fadd(left, right, flags=CONTRACT), builder.fmul(w, rest))


def _array(context: Any, builder: Any, signature: Any, arguments: Any, k: int) -> Any:
    return context.make_array(signature.args[k])(context, builder, arguments[k])


def _load(builder: Any, data: Any, at: Any, vector: Any) -> Any:
    return builder.load(builder.bitcast(builder.gep(data, [at]), vector.as_pointer()), align=8)


def _greatest(builder: Any, vector: Any) -> Any:
    """Of the lanes, halving again and again."""
    while vector.type.count > 1:
        half = vector.type.count // 2
        places = ir.VectorType(ir.IntType(32), half)
        low, high = (
            builder.shuffle_vector(vector, vector, ir.Constant(places, list(range(start, start + half))))
            for start in (0, half)
        )
        vector = builder.select(builder.fcmp_ordered(">", low, high), low, high)
    return builder.extract_element(vector, ir.IntType(32)(0))


def _repeated(builder: Any, value: Any, vector: Any) -> Any:
    """A vector of one value, again and again."""
    nothing = ir.Constant(vector, ir.Undefined)
    places = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(builder.insert_element(nothing, value, ir.IntType(32)(0)), nothing, places)
