"""Cross-entropy of linear scores on CSR rows, compiled: a row is read for its scores and at once for its gradient.

Two classes have one vector of coefficients (q,), that of the logit. More have K side by side for every column, (q, K)
laid out flat, so that a stored number meets all classes in one vector of LANES; the vectors of the last column reach
over the end, hence the SLACK. With `ones`, the last of the q columns belongs to the intercept, and is not stored.
Nothing here holds Python's lock. What is called for every row is put in place: a call would count its arrays' owners.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Indices: TypeAlias = np.ndarray[Any, np.dtype[np.integer[Any]]]

LANES = 8
SLACK = LANES - 1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def evaluate_two(
    indptr: Indices, indices: Indices, data: Array, ones: bool, coef: Array, codes: Indices, weights: Array, out: Array
) -> Any:
    """sum_i v_i CE(y_i, C'z_i) and the probabilities of the second class (n,); adds the gradient (q,)."""
    value, chances = 0.0, np.empty(len(codes))
    for i in range(len(codes)):
        score = _row_score(indptr, indices, data, ones, coef, i)
        rest = np.exp(-abs(score))
        chance = 1.0 / (1.0 + rest) if score >= 0.0 else rest / (1.0 + rest)
        own = score if codes[i] == 1 else -score
        value += weights[i] * (np.log1p(rest) + max(-own, 0.0))
        chances[i] = chance
        _add_row(indptr, indices, data, ones, weights[i] * (chance - codes[i]), i, out)
    return value, chances


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def product_two(
    indptr: Indices, indices: Indices, data: Array, ones: bool, direction: Array, curvature: Array, out: Array
) -> None:
    """Adds sum_i h_i z_i z_i'd (q,)."""
    for i in range(len(curvature)):
        slope = curvature[i] * _row_score(indptr, indices, data, ones, direction, i)
        _add_row(indptr, indices, data, ones, slope, i, out)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _row_score(indptr: Indices, indices: Indices, data: Array, ones: bool, coef: Array, i: int) -> float:
    score = coef[len(coef) - 1] if ones else 0.0
    for at in range(indptr[i], indptr[i + 1]):
        score += data[at] * coef[indices[at]]
    return score


@njit(inline="always")  # type: ignore[untyped-decorator]
def _add_row(indptr: Indices, indices: Indices, data: Array, ones: bool, slope: float, i: int, out: Array) -> None:
    for at in range(indptr[i], indptr[i + 1]):
        out[indices[at]] += slope * data[at]
    if ones:
        out[len(out) - 1] += slope


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def evaluate(
    indptr: Indices,
    indices: Indices,
    data: Array,
    ones: bool,
    n_classes: int,
    coef: Array,
    codes: Indices,
    weights: Array,
    out: Array,
) -> Any:
    """sum_i v_i CE(y_i, C'z_i) and the probabilities (n, K); adds the gradient (q K + SLACK,)."""
    value, chances = 0.0, np.empty((len(codes), n_classes))
    scores, last = np.zeros(n_classes + SLACK), _last(coef, n_classes)
    for i in range(len(codes)):
        low, high = indptr[i], indptr[i + 1]
        for k in range(0, n_classes, LANES):
            _scores(indices, data, low, high, coef, n_classes, k, scores)
        greatest, total = -np.inf, 0.0
        for k in range(n_classes):
            scores[k] += coef[last + k] * ones
            greatest = max(greatest, scores[k])
        own = scores[codes[i]] - greatest
        for k in range(n_classes):
            chances[i, k] = np.exp(scores[k] - greatest)
            total += chances[i, k]
        value += weights[i] * (np.log(total) - own)
        for k in range(n_classes):
            chances[i, k] /= total
            scores[k] = weights[i] * (chances[i, k] - (k == codes[i]))
        _add_slopes(indices, data, ones, low, high, scores, n_classes, out)
    return value, chances


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def product(
    indptr: Indices,
    indices: Indices,
    data: Array,
    ones: bool,
    n_classes: int,
    direction: Array,
    chances: Array,
    weights: Array,
    out: Array,
) -> None:
    """Adds sum_i v_i z_i ((diag(p_i) - p_i p_i') D'z_i)' (q K + SLACK,)."""
    change, last = np.zeros(n_classes + SLACK), _last(direction, n_classes)
    for i in range(len(weights)):
        low, high = indptr[i], indptr[i + 1]
        for k in range(0, n_classes, LANES):
            _scores(indices, data, low, high, direction, n_classes, k, change)
        mean = 0.0
        for k in range(n_classes):
            change[k] += direction[last + k] * ones
            mean += chances[i, k] * change[k]
        for k in range(n_classes):
            change[k] = weights[i] * chances[i, k] * (change[k] - mean)
        _add_slopes(indices, data, ones, low, high, change, n_classes, out)


@njit(inline="always")  # type: ignore[untyped-decorator]
def _last(flat: Array, n_classes: int) -> int:
    """Where the last column begins."""
    return len(flat) - SLACK - n_classes


@njit(inline="always")  # type: ignore[untyped-decorator]
def _add_slopes(
    indices: Indices, data: Array, ones: bool, low: int, high: int, slopes: Array, n_classes: int, out: Array
) -> None:
    for k in range(n_classes, len(slopes)):
        slopes[k] = 0.0  # what reaches into the next column adds nothing there
    for k in range(0, n_classes, LANES):
        _add_scaled(indices, data, low, high, slopes, n_classes, k, out)
    if ones:
        for k in range(n_classes):
            out[_last(out, n_classes) + k] += slopes[k]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def add_squares(indptr: Indices, indices: Indices, data: Array, ones: bool, curvature: Array, out: Array) -> None:
    """Adds sum_i h_i z_i^2 (q, r) for h (n, r)."""
    n, r = curvature.shape
    for i in range(n):
        for at in range(indptr[i], indptr[i + 1]):
            for a in range(r):
                out[indices[at], a] += data[at] * data[at] * curvature[i, a]
        if ones:
            for a in range(r):
                out[len(out) - 1, a] += curvature[i, a]


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def column_squares(indptr: Indices, indices: Indices, data: Array, weights: Array, q: int) -> Array:
    """sum_i v_i x_ij^2 (q,)."""
    squares = np.zeros(q)
    for i in range(len(weights)):
        for at in range(indptr[i], indptr[i + 1]):
            squares[indices[at]] += weights[i] * data[at] * data[at]
    return squares


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def divided(indices: Indices, data: Array, scale: Array) -> Array:
    """The stored numbers over their columns' scales."""
    found = np.empty_like(data)
    for at in range(len(data)):
        found[at] = data[at] / scale[indices[at]]
    return found


@intrinsic  # type: ignore[untyped-decorator]
def _scores(
    typing: Any, indices: Any, data: Any, low: Any, high: Any, coef: Any, n_classes: Any, k: Any, scores: Any
) -> Any:
    """scores[k : k + LANES] = sum_at data[at] * coef[indices[at] * n_classes + k : ... + LANES], low <= at < high."""
    given = (indices, data, types.intp, types.intp, coef, types.intp, types.intp, scores)
    return types.void(*given), _scores_code


@intrinsic  # type: ignore[untyped-decorator]
def _add_scaled(
    typing: Any, indices: Any, data: Any, low: Any, high: Any, slopes: Any, n_classes: Any, k: Any, out: Any
) -> Any:
    """out[indices[at] * n_classes + k : ... + LANES] += data[at] * slopes[k : k + LANES], low <= at < high."""
    given = (indices, data, types.intp, types.intp, slopes, types.intp, types.intp, out)
    return types.void(*given), _add_scaled_code


def _scores_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    lanes = _Lanes(context, builder, signature, arguments)
    zero = ir.Constant(lanes.vector, [0.0] * LANES)
    end = builder.append_basic_block("end")
    entry = builder.block
    rows = builder.append_basic_block("entries")
    builder.cbranch(builder.icmp_signed("<", lanes.low, lanes.high), rows, end)

    builder.position_at_end(rows)
    at, total = builder.phi(lanes.low.type), builder.phi(lanes.vector)
    found = builder.load(lanes.pointer(lanes.arrays[4], lanes.place(at)), align=8)
    added = lanes.plus_scaled(total, at, found)
    lanes.loop(at, entry, rows, end)
    total.add_incoming(zero, entry)
    total.add_incoming(added, rows)

    builder.position_at_end(end)
    result = builder.phi(lanes.vector)
    result.add_incoming(zero, entry)
    result.add_incoming(added, rows)
    builder.store(result, lanes.pointer(lanes.arrays[7], lanes.k), align=8)
    return context.get_dummy_value()


def _add_scaled_code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    lanes = _Lanes(context, builder, signature, arguments)
    slopes = builder.load(lanes.pointer(lanes.arrays[4], lanes.k), align=8)
    end = builder.append_basic_block("end")
    entry = builder.block
    rows = builder.append_basic_block("entries")
    builder.cbranch(builder.icmp_signed("<", lanes.low, lanes.high), rows, end)

    builder.position_at_end(rows)
    at = builder.phi(lanes.low.type)
    where = lanes.pointer(lanes.arrays[7], lanes.place(at))
    builder.store(lanes.plus_scaled(builder.load(where, align=8), at, slopes), where, align=8)
    lanes.loop(at, entry, rows, end)

    builder.position_at_end(end)
    return context.get_dummy_value()


class _Lanes:
    """What the two intrinsics share: their arguments, and vectors of LANES in LLVM's own terms."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        self.builder = builder
        self.arrays = {
            number: context.make_array(signature.args[number])(context, builder, arguments[number]).data
            for number in (0, 1, 4, 7)
        }
        self.low, self.high, self.n_classes, self.k = (arguments[number] for number in (2, 3, 5, 6))
        self.vector = ir.VectorType(ir.DoubleType(), LANES)

    def pointer(self, data: Any, place: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(data, [place]), self.vector.as_pointer())

    def place(self, at: Any) -> Any:
        """Where the vector of a stored number's column begins."""
        column = self.builder.load(self.builder.gep(self.arrays[0], [at]))
        if column.type.width < at.type.width:
            column = self.builder.zext(column, at.type)
        return self.builder.add(self.builder.mul(column, self.n_classes), self.k)

    def plus_scaled(self, total: Any, at: Any, found: Any) -> Any:
        """total + data[at] * found."""
        number = self.builder.load(self.builder.gep(self.arrays[1], [at]))
        nothing = ir.Constant(self.vector, ir.Undefined)
        places = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        one = self.builder.insert_element(nothing, number, ir.IntType(32)(0))
        repeated = self.builder.shuffle_vector(one, nothing, places)
        product = self.builder.fmul(repeated, found, flags=("contract",))
        return self.builder.fadd(product, total, flags=("contract",))

    def loop(self, at: Any, entry: Any, rows: Any, end: Any) -> None:
        """On to the next stored number, or to the end."""
        following = self.builder.add(at, at.type(1))
        self.builder.cbranch(self.builder.icmp_signed("<", following, self.high), rows, end)
        at.add_incoming(self.low, entry)
        at.add_incoming(following, rows)
