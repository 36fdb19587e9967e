"""Steps of a chain of dense layers, compiled for this very processor: threads that share each mini-batch.

XLA runs a step as some thirty kernels and wakes the other threads for each of them. Here a thread keeps its rows of the
mini-batch through all layers, forward and back, and then its part of the weights through gradient and optimizer; they
meet twice a step. Products are tiles that are summed in registers, term by term in their order, so that the weights do
not depend on how many threads there are.

The weights W (p, m) of a layer lie in panels of WIDE columns: (panels, p, WIDE), p filled up to a multiple of TALL and
m to one of WIDE. What fills up is 0 and stays 0.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from heldout.neural.native.tiles import (
    COMPILED,
    FLUSH,
    LINE,
    TALL,
    WIDE,
    add_at,
    compiled_up,
    flush_tiny,
    multiply_tile,
    wait_for,
)

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

DEEP = 64  # rows whose gradients are summed at a time: they stay in the first cache
GROUP = 8  # tiles of a gradient that are summed, and descended along, at a time: likewise
AHEAD = 4  # rows that are asked for before they are read

LINEAR, LEAKY, TANH, SIGMOID = range(4)  # activations
CROSS_ENTROPY, SQUARED, LOGISTIC = range(3)  # losses
SGD, MOMENTUM, NESTEROV, RMSPROP, ADAM = range(5)  # rules of the optimizer

# Each row of `layers` is a layer: its inputs; how far apart rows of them are; the activation behind it; where its
# weights, transposed weights, biases and inputs begin. One more row is for the outputs of the last.
INPUTS, STRIDE, ACTIVATION, WEIGHTS, TRANSPOSED, BIASES, ROWS = range(7)
SLOPE, DROPPED = range(2)  # of `behind`: the activation's slope below 0, and the share that is dropped after it
SMOOTHING, DECAY_1, DECAY_2, EPSILON, L1, L2, WEIGHT_DECAY = range(7)  # of `settings`
ARRIVED, STOP, LAST, MADE = range(4)  # of `meeting`: arrivals; whether to stop, as asked and as agreed; steps made
LOSS, METRIC, WEIGHT = range(3)  # of `told` and `sums`


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def take_part(
    part: int,
    parts: int,
    meeting: Array,
    x: Array,
    codes: Array,
    numbers: Array,
    w: Array,
    scaling: Array,
    order: Array,
    size: int,
    rates: Array,
    key: int,
    layers: Array,
    behind: Array,
    loss: int,
    rule: int,
    settings: Array,
    count: int,
    weights: Array,
    transposed: Array,
    first: Array,
    second: Array,
    inputs: Array,
    rows: Array,
    deltas: Array,
    gradients: Array,
    told: Array,
    losses: Array,
    sums: Array,
) -> None:
    """One thread's part of `len(rates)` steps on mini-batches of `size`.

    In: `x` (n, p) and `scaling` (2, p) of it, or (2, 0); the targets, `codes` (n,) or `numbers` (n, m); `w` (n,);
    `order`, in which rows are taken; `count`, the steps before these. Changed: `weights`, biases among them, what the
    optimizer remembers of them (`first` and `second`), and `losses` (steps,), the mean of each mini-batch; `sums` (3,)
    over all rows. Between the threads: `meeting`, `told` (3, rows), `rows` (2, ...), `deltas`. Each thread's own:
    `inputs` (parts, ...), `gradients` (parts, a group of tiles).

    The first layer's weights stay with the thread whose part they are: it works out their units for all rows. Then each
    thread goes on with its rows. In turns there are two places for `rows`: a thread may be a step ahead there.
    """
    blocks = told.shape[1] // TALL
    low, high = blocks * part // parts * TALL, blocks * (part + 1) // parts * TALL
    depth, met, own, gradient = len(layers) - 1, 0, inputs[part], gradients[part]
    panels = _panels(layers[1, INPUTS])
    start, stop = panels * part // parts, panels * (part + 1) // parts
    before = flush_tiny(FLUSH)
    for step in range(len(rates)):
        turn, keys = rows[step & 1], key + step * depth
        for i in range(size):
            place = i * layers[0, STRIDE]
            fetch_row(x, order[(step * size + i + AHEAD) % len(order)])
            _read_row(x, order[(step * size + i) % len(order)], scaling, own[place : place + x.shape[1]])
        _forward(0, 0, told.shape[1], start, stop, layers, behind, _mixed(keys), weights, own, turn)
        met += parts
        _meet(meeting.ctypes.data, met)
        for layer in range(1, depth):
            width = _panels(layers[layer + 1, INPUTS])
            _forward(layer, low, high, 0, width, layers, behind, _mixed(keys + layer), weights, turn, turn)
        for i in range(low, min(high, size)):
            row = order[(step * size + i) % len(order)]
            _judge_row(
                row, i, size, codes, numbers, w[row], loss, settings[SMOOTHING], layers[depth], turn, deltas, told
            )
        for layer in range(depth - 1, 0, -1):
            _back(layer, low, high, layers, behind, _mixed(keys + layer - 1), transposed, turn, deltas)
        if part == 0:
            meeting[LAST] = meeting[STOP]
        met += parts
        _meet(meeting.ctypes.data, met)
        total = 0.0
        for i in range(size):
            total += told[LOSS, i]
        if part == 0:
            losses[step] = total / size
            meeting[MADE] = step + 1
            for k in range(3):
                for i in range(size):
                    sums[k] += told[k, i]
        if meeting[LAST] != 0 or not np.isfinite(total):
            break
        for layer in range(depth):
            _update(
                layer, part, parts, size, layers, rule, settings, count + step + 1, rates[step], weights, transposed,
                first, second, own if layer == 0 else turn, deltas, gradient,
            )  # fmt: skip
    flush_tiny(before)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _read_row(x: Array, row: int, scaling: Array, into: Array) -> None:
    if scaling.shape[1] == 0:
        for j in range(len(into)):
            into[j] = np.float32(x[row, j])
    else:
        for j in range(len(into)):
            into[j] = (np.float32(x[row, j]) - scaling[0, j]) * scaling[1, j]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _panels(width: int) -> int:
    return compiled_up(width, WIDE) // WIDE  # type: ignore[no-any-return]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _forward(
    layer: int, low: int, high: int, start: int, stop: int, layers: Array, behind: Array, key: Any, weights: Array,
    rows: Array, out: Array,
) -> None:  # fmt: skip
    """a(l) = σ(a(l-1) W + b), and what is dropped, for rows from `low` to `high` and some panels of columns."""
    inputs, stride, at = layers[layer, INPUTS], layers[layer, STRIDE], layers[layer, ROWS]
    outputs, out_stride, out_at = layers[layer + 1, INPUTS], layers[layer + 1, STRIDE], layers[layer + 1, ROWS]
    for panel in range(start, stop):
        columns = layers[layer, WEIGHTS] + panel * compiled_up(inputs, TALL) * WIDE
        for i in range(low, high, TALL):
            place = out_at + i * out_stride + panel * WIDE
            multiply_tile(
                rows, at + i * stride, stride, 1, weights, columns, WIDE, out, place, out_stride, inputs, False
            )
    activation = layers[layer, ACTIVATION]
    slope, dropped = np.float32(behind[layer, SLOPE]), behind[layer, DROPPED]
    left, right = start * WIDE, min(stop * WIDE, outputs)
    bias = weights[layers[layer, BIASES] + left : layers[layer, BIASES] + right]
    for i in range(low, high):
        row = out[out_at + i * out_stride + left : out_at + i * out_stride + right]
        if activation == LINEAR:
            for j in range(len(row)):
                row[j] += bias[j]
        elif activation == LEAKY:
            for j in range(len(row)):
                z = row[j] + bias[j]
                row[j] = z if z > np.float32(0.0) else slope * z
        elif activation == TANH:
            for j in range(len(row)):
                row[j] = np.tanh(row[j] + bias[j])
        else:
            for j in range(len(row)):
                row[j] = np.float32(1.0) / (np.float32(1.0) + np.exp(-(row[j] + bias[j])))
        if dropped > 0.0:
            _drop(row, dropped, key, i * outputs + left)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _back(
    layer: int,
    low: int,
    high: int,
    layers: Array,
    behind: Array,
    key: int,
    transposed: Array,
    rows: Array,
    deltas: Array,
) -> None:
    """δ(l-1) = δ(l) Wᵀ ⊙ σ'(z(l-1)), for rows from `low` to `high`."""
    inputs, stride, at = layers[layer, INPUTS], layers[layer, STRIDE], layers[layer, ROWS]
    outputs, out_stride, out_at = layers[layer + 1, INPUTS], layers[layer + 1, STRIDE], layers[layer + 1, ROWS]
    for j in range(_panels(inputs)):
        panel = layers[layer, TRANSPOSED] + j * outputs * WIDE
        for i in range(low, high, TALL):
            above, place = out_at + i * out_stride, at + i * stride + j * WIDE
            multiply_tile(deltas, above, out_stride, 1, transposed, panel, WIDE, deltas, place, stride, outputs, False)
    activation = layers[layer - 1, ACTIVATION]
    slope, dropped = np.float32(behind[layer - 1, SLOPE]), behind[layer - 1, DROPPED]
    one, share = np.float32(1.0), np.float32(1.0 - dropped)
    for i in range(low, high):
        row, delta = rows[at + i * stride :][:inputs], deltas[at + i * stride :][:inputs]
        if dropped > 0.0:
            _drop(delta, dropped, key, i * inputs)
        if activation == LEAKY:
            for j in range(inputs):
                delta[j] *= one if row[j] > np.float32(0.0) else slope
        elif activation == TANH:
            for j in range(inputs):
                a = row[j] * share
                delta[j] *= one - a * a
        elif activation == SIGMOID:
            for j in range(inputs):
                a = row[j] * share
                delta[j] *= a * (one - a)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _drop(values: Array, dropped: float, key: Any, first: int) -> None:
    """Dropout of a row's numbers, of which the first is the batch's number `first`."""
    stays, scale = np.uint32(min((1.0 - dropped) * 4294967296.0, 4294967295.0)), np.float32(1.0 / (1.0 - dropped))
    for j in range(len(values)):
        values[j] = values[j] * scale if _drawn(key, first + j) < stays else np.float32(0.0)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _judge_row(
    row: int, i: int, size: int, codes: Array, numbers: Array, w: float, loss: int, smoothing: float, last: Array,
    rows: Array, deltas: Array, told: Array,
) -> None:  # fmt: skip
    """The loss and the metric of a row, and δ = ∇ of the mini-batch's mean loss by the row's outputs."""
    m, at = last[INPUTS], last[ROWS] + i * last[STRIDE]
    scores, delta = rows[at : at + m], deltas[at : at + m]
    factor, cost, right = np.float32(w / size), 0.0, 0.0
    if loss == CROSS_ENTROPY:
        code, best, mean, total = codes[row], 0, 0.0, 0.0
        for k in range(m):
            mean += scores[k] / m
            if scores[k] > scores[best]:
                best = k
        for k in range(m):
            delta[k] = np.exp(scores[k] - scores[best])
            total += delta[k]
        log_sum = np.log(total) + scores[best]
        cost = (1.0 - smoothing) * (log_sum - scores[code]) + smoothing * (log_sum - mean)
        for k in range(m):
            hot = (1.0 - smoothing if k == code else 0.0) + smoothing / m
            delta[k] = factor * np.float32(delta[k] / total - hot)
        right = 1.0 if best == code else 0.0
    elif loss == SQUARED:
        for k in range(m):
            off = scores[k] - numbers[row, k]
            cost += 0.5 * off * off
            right += off * off / m
            delta[k] = factor * off
    else:
        for k in range(m):
            z, y = scores[k], numbers[row, k]
            e = np.exp(-abs(z))
            chance = 1.0 / (1.0 + e) if z > 0.0 else e / (1.0 + e)
            cost += max(z, 0.0) + np.log1p(e) - y * z
            right += (1.0 if (z > 0.0) == (y > 0.5) else 0.0) / m
            delta[k] = factor * np.float32(chance - y)
    told[LOSS, i], told[METRIC, i], told[WEIGHT, i] = w * cost, w * right, w


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _update(
    layer: int, part: int, parts: int, size: int, layers: Array, rule: int, settings: Array, count: int, rate: float,
    weights: Array, transposed: Array, first: Array, second: Array, rows: Array, deltas: Array, gradient: Array,
) -> None:  # fmt: skip
    """This thread's part of a layer's weights: ∇W = aᵀ δ tile by tile, and each tile's step at once."""
    inputs, stride, at = layers[layer, INPUTS], layers[layer, STRIDE], layers[layer, ROWS]
    outputs, out_stride, out_at = layers[layer + 1, INPUTS], layers[layer + 1, STRIDE], layers[layer + 1, ROWS]
    height, panels = compiled_up(inputs, TALL) // TALL, _panels(outputs)
    low, high = panels * part // parts * height, panels * (part + 1) // parts * height
    if layer > 0:  # whose weights are shared in smaller pieces
        low, high = panels * height * part // parts, panels * height * (part + 1) // parts
    for tile in range(low, high):
        panel, top = tile // height, tile % height
        if tile > low and top % GROUP > 0:
            continue
        group = min(GROUP - top % GROUP, high - tile, height - top)
        for i in range(0, size, DEEP):
            n, upper, lower = min(DEEP, size - i), at + i * stride, out_at + i * out_stride + panel * WIDE
            for k in range(group):
                across, place = upper + (top + k) * TALL, k * TALL * WIDE
                multiply_tile(rows, across, 1, stride, deltas, lower, out_stride, gradient, place, WIDE, n, i > 0)
        start = layers[layer, WEIGHTS] + tile * TALL * WIDE
        stop = start + group * TALL * WIDE
        own = weights[start:stop]
        _descend(True, rule, settings, count, rate, gradient, own, first[start:stop], second[start:stop])
        if layer > 0:
            _transpose(own, top * TALL, panel * WIDE, outputs, transposed[layers[layer, TRANSPOSED] :])
    for panel in range(panels * part // parts, panels * (part + 1) // parts):
        gradient[:WIDE] = np.float32(0.0)
        for i in range(size):
            delta = deltas[out_at + i * out_stride + panel * WIDE :]
            for k in range(WIDE):
                gradient[k] += delta[k]
        start = layers[layer, BIASES] + panel * WIDE
        stop = start + WIDE
        own = weights[start:stop]
        _descend(False, rule, settings, count, rate, gradient, own, first[start:stop], second[start:stop])


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _transpose(own: Array, top: int, left: int, outputs: int, transposed: Array) -> None:
    """Rows of a panel, from row `top` and column `left` of W on, to their places in the panels of Wᵀ (outputs, p)."""
    for block in range(0, len(own), TALL * WIDE):
        i = top + block // WIDE
        out = transposed[(i // WIDE * outputs + left) * WIDE + i % WIDE :]
        for k in range(min(WIDE, outputs - left)):
            for r in range(TALL):
                out[k * WIDE + r] = own[block + r * WIDE + k]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _descend(
    penalised: bool, rule: int, settings: Array, count: int, rate: float, gradient: Array, weights: Array, first: Array,
    second: Array,
) -> None:  # fmt: skip
    """One step of the optimizer for some of the weights; the rules are those of `Optimizer`."""
    zero, one, alpha = np.float32(0.0), np.float32(1.0), np.float32(rate)
    if penalised and (settings[L1] != 0.0 or settings[L2] != 0.0):
        l1, l2 = np.float32(settings[L1]), np.float32(settings[L2])
        for e in range(len(weights)):
            p = weights[e]
            sign = one if p > zero else (-one if p < zero else zero)
            gradient[e] += l1 * sign + l2 * p
    b1, b2 = np.float32(settings[DECAY_1]), np.float32(settings[DECAY_2])
    shrunk = alpha * np.float32(settings[WEIGHT_DECAY]) if penalised else zero
    if rule == ADAM:
        correction = np.sqrt(1.0 - settings[DECAY_2] ** count)
        factor = alpha * np.float32(correction / (1.0 - settings[DECAY_1] ** count))
        epsilon = np.float32(settings[EPSILON] * correction)
        for e in range(len(weights)):
            g = gradient[e]
            m = b1 * first[e] + (one - b1) * g
            v = b2 * second[e] + (one - b2) * g * g
            first[e], second[e] = m, v
            weights[e] -= factor * m / (np.sqrt(v) + epsilon) + shrunk * weights[e]
    elif rule == RMSPROP:
        epsilon = np.float32(settings[EPSILON])
        for e in range(len(weights)):
            g = gradient[e]
            v = b2 * second[e] + (one - b2) * g * g
            second[e] = v
            weights[e] -= alpha * g / (np.sqrt(v) + epsilon) + shrunk * weights[e]
    elif rule == SGD:
        for e in range(len(weights)):
            weights[e] -= alpha * gradient[e] + shrunk * weights[e]
    else:
        for e in range(len(weights)):
            g = gradient[e]
            v = b1 * first[e] + g
            first[e] = v
            weights[e] -= alpha * (g + b1 * v if rule == NESTEROV else v) + shrunk * weights[e]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _mixed(number: int) -> Any:
    """A whole number's bits stirred (the finalizer of splitmix64)."""
    z = np.uint64(number) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _drawn(key: Any, number: int) -> Any:
    """32 random bits that a key and a number determine, in operations of 32 bits, sixteen at a time."""
    z = np.uint32(number) ^ np.uint32(key)
    z = np.uint32((z ^ (z >> np.uint32(16))) * np.uint32(0x7FEB352D))
    z = np.uint32((z ^ (z >> np.uint32(15))) * np.uint32(0x846CA68B)) ^ np.uint32(key >> np.uint64(32))
    z = np.uint32((z ^ (z >> np.uint32(16))) * np.uint32(0x7FEB352D))
    z = np.uint32((z ^ (z >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(z ^ (z >> np.uint32(16)))


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _meet(address: int, arrivals: int) -> None:
    """Wait until all threads have come here."""
    add_at(address, 1)
    wait_for(address, arrivals)


@intrinsic  # type: ignore[untyped-decorator]
def fetch_row(typing_context: Any, x: Any, row: Any) -> Any:
    """Ask the memory for a row of `x` (n, p) that is soon read."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, word, index = ir.IntType(8), ir.IntType(32), ir.IntType(64)
        width = builder.mul(builder.extract_value(array.shape, 1), array.itemsize)
        data = builder.bitcast(array.data, byte.as_pointer())
        start = builder.gep(data, [builder.mul(arguments[1], width)])
        of = ir.FunctionType(ir.VoidType(), [start.type, word, word, word])
        prefetch = cgutils.get_or_insert_function(builder.module, of, "llvm.prefetch.p0")
        with cgutils.for_range_slice(builder, index(0), width, index(LINE), index) as (at, _):
            builder.call(prefetch, [builder.gep(start, [at]), word(0), word(2), word(1)])
        return context.get_dummy_value()

    return types.void(x, types.intp), code
