"""Whole weights of classes, four to a word of 64 bits: a node's sums by class are added in one step instead of four.

Counts are exact, and what a cut keeps by Gini's impurity is rounded once. Written in LLVM's own terms where its
vectoriser leaves the loop as it is: it does not look into a loop over words whose number it does not know.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from heldout.trees.compiled import WITHIN

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

FIELDS, BITS = 4, 16  # of a word
MOST_WEIGHT = 2.0**BITS - 1.0  # of a node whose sums fit
LANES = 8


def n_words(n_classes: int) -> int:
    """How many words hold the sums of so many classes."""
    return -(-n_classes // FIELDS)


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def pack(labels: Array, weights: Array, out: Array) -> None:
    """Each row's weight (n,), at the place of its class in the word that the class belongs to."""
    for i in range(len(labels)):
        out[i] = np.uint64(np.int64(weights[i])) << np.uint64((labels[i] & np.uint32(3)) * np.uint32(BITS))


@njit(**WITHIN)  # type: ignore[untyped-decorator]
def field(word: Any, label: int) -> float:
    """The sum of one class in the word that it belongs to."""
    return float(np.int64((word >> np.uint64((label & 3) * BITS)) & np.uint64(0xFFFF)))


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


@intrinsic  # type: ignore[untyped-decorator]
def gini_by_cuts(
    typing_context: Any, sums: Any, off: Any, total: Any, weight: Any, squares: Any, first: Any, last: Any, out: Any
) -> Any:
    """What the cuts after the groups from `first` to `last` keep (to `out`), both sides together; the most of it.

    With s the sums of the left side, t those of both, w and W their sums over classes:
    sum s^2 / w + sum (t - s)^2 / (W - w). Left are `sums` (words, groups) less `off` (words,); `total` (4 words,) is t,
    `weight` W and `squares` sum t^2. Both arrays of groups have room for seven more.
    """
    number = types.float64
    return number(sums, off, total, number, number, types.intp, types.intp, out), _gini_code


def _gini_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    arrays = (context.make_array(signature.args[k])(context, builder, arguments[k]) for k in (0, 1, 2, 7))
    sums, off, total, out = arrays
    weight, squares, first, last = arguments[3:7]
    index, words = first.type, ir.VectorType(ir.IntType(64), LANES)
    numbers, halves = ir.VectorType(ir.DoubleType(), LANES), ir.VectorType(ir.IntType(32), LANES)
    zero, contract = ir.Constant(numbers, [0.0] * LANES), ("contract",)
    width, height = builder.extract_value(sums.shape, 1), builder.extract_value(sums.shape, 0)
    all_weight, all_squares = (_repeated(builder, value, numbers) for value in (weight, squares))
    entry = builder.block
    groups, add, done, end = (builder.append_basic_block(f"gini.{name}") for name in ("groups", "add", "done", "end"))
    builder.branch(groups)

    builder.position_at_end(groups)
    g, most = builder.phi(index), builder.phi(numbers)
    builder.branch(add)

    builder.position_at_end(add)
    k, w, x, p = builder.phi(index), *(builder.phi(numbers) for _ in range(3))
    at = builder.gep(sums.data, [builder.add(builder.mul(k, width), g)])
    left = builder.load(builder.bitcast(at, words.as_pointer()), align=8)
    left = builder.sub(left, _repeated(builder, builder.load(builder.gep(off.data, [k])), words))
    added = [w, x, p]
    for f in range(FIELDS):
        shifted = builder.lshr(left, ir.Constant(words, [f * BITS] * LANES)) if f else left
        part = builder.and_(shifted, ir.Constant(words, [2**BITS - 1] * LANES))
        s = builder.sitofp(builder.trunc(part, halves), numbers)
        place = builder.add(builder.mul(k, index(FIELDS)), index(f))
        t = _repeated(builder, builder.load(builder.gep(total.data, [place])), numbers)
        products = (s, builder.fmul(s, s, flags=contract), builder.fmul(s, t, flags=contract))
        added = [builder.fadd(a, b, flags=contract) for a, b in zip(added, products, strict=True)]
    following = builder.add(k, index(1))
    builder.cbranch(builder.icmp_signed("<", following, height), add, done)
    for variable, start, later in zip((k, w, x, p), (index(0), zero, zero, zero), (following, *added), strict=True):
        variable.add_incoming(start, groups)
        variable.add_incoming(later, add)

    builder.position_at_end(done)
    w, x, p = added
    y = builder.fadd(builder.fsub(all_squares, builder.fadd(p, p)), x)
    rest = builder.fsub(all_weight, w)
    above = builder.fadd(builder.fmul(x, rest, flags=contract), builder.fmul(y, w, flags=contract), flags=contract)
    value = builder.fdiv(above, builder.fmul(w, rest))
    builder.store(value, builder.bitcast(builder.gep(out.data, [g]), numbers.as_pointer()), align=8)
    lanes = builder.add(_repeated(builder, g, words), ir.Constant(words, list(range(LANES))))
    inside = builder.icmp_signed("<", lanes, _repeated(builder, last, words))
    better = builder.and_(inside, builder.fcmp_ordered(">", value, most))
    greater = builder.select(better, value, most)
    next_g = builder.add(g, index(LANES))
    builder.cbranch(builder.icmp_signed("<", next_g, last), groups, end)
    g.add_incoming(first, entry)
    g.add_incoming(next_g, done)
    most.add_incoming(ir.Constant(numbers, [-np.inf] * LANES), entry)
    most.add_incoming(greater, done)

    builder.position_at_end(end)
    return _greatest(builder, greater)


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


@njit(**WITHIN, error_model="numpy")  # type: ignore[untyped-decorator]
def entropy_by_cuts(
    sums: Array, off: Array, total: Array, weight: float, logs: Array, first: int, last: int, out: Array
) -> float:
    """As `gini_by_cuts`, of sum s log2(s / w) + sum (t - s) log2((t - s) / (W - w)); `logs` (W + 1,) holds n log2 n."""
    most, n_classes = -np.inf, len(total)
    for g in range(first, last):
        value, w = 0.0, 0
        for k in range(n_classes):
            s = np.int64(((sums[k >> 2, g] - off[k >> 2]) >> np.uint64((k & 3) * BITS)) & np.uint64(0xFFFF))
            w += s
            value += logs[s] + logs[np.int64(total[k]) - s]
        value -= logs[w] + logs[np.int64(weight) - w]
        out[g] = value
        most = max(most, value)
    return most


def logs_up_to(most: int) -> Array:
    """n log2 n of the whole numbers from 0."""
    n = np.arange(most + 1.0)
    return n * np.log2(np.maximum(n, 1.0))


def _repeated(builder: Any, value: Any, vector: Any) -> Any:
    """A vector of one value, again and again."""
    nothing = ir.Constant(vector, ir.Undefined)
    places = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(builder.insert_element(nothing, value, ir.IntType(32)(0)), nothing, places)
