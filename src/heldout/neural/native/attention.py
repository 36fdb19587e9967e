r"""Self-attention on the CPU: each thread takes one head of a sequence, from queries, keys and values to its output.

Queries, keys and values stand side by side, (n, T, 3 C), the heads of each beside each other. What a head is made of
fits into the caches, so that scores are never written to memory; a longer sequence is taken in blocks of queries and
keys that do. On the way back they are worked out again from the
largest score m_i of a query and :math:`1 / \sum_j e^{s_{ij} - m_i}`. The formulas are those of `layers/attending.py`.
"""

from __future__ import annotations

import math
import os
from typing import Any, TypeAlias

import jax
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from heldout.neural.native.functions import along, exp
from heldout.neural.native.handler import (
    address_of,
    load_word,
    numbers,
    numbers_at,
    register,
    serve,
    whole_at,
)
from heldout.neural.native.tiles import (
    COMPILED,
    LANES,
    LINE,
    TALL,
    WIDE,
    ask_for,
    compiled_up,
    copy,
    in_wide_registers,
    multiply_tile,
    tall_narrow,
    tall_wide,
    up,
)

Array: TypeAlias = jax.Array
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

LONGEST = 512  # steps whose scores, squared, stay in the second cache
BLOCK = 256  # steps at once of longer sequences

# The form, the first operand: parts; threads there is room for; steps of a block, and of a sequence; channels, heads;
# whether a step looks back only; whether scores fall with the distance; whether some steps are not looked at.
PARTS, ROOM, BLOCK_STEPS, STEPS, WIDTH, HEADS, CAUSAL, ALIBI, MASKED = range(9)
APART = 16  # numbers between rows of scores, so that they do not fall into the same places of the cache
ZERO, ONE = np.float32(0.0), np.float32(1.0)
NEVER, LEAST = np.float32(-1e30), np.float32(-1e29)  # a pair that does not meet has a score below


def fits(steps: int, width: int, heads: int) -> bool:
    """Whether the kernels can take sequences of these steps and channels; longer ones are filled up to whole tiles."""
    return steps >= TALL and width // heads % LANES == 0


def whole(steps: int) -> int:
    """How many steps a sequence is filled up to."""
    return steps if steps <= LONGEST else up(steps, TALL)


def _block(steps: int) -> int:
    return steps if steps <= LONGEST else BLOCK


def forward(joint: Array, there: Array, heads: int, causal: bool, alibi: bool) -> tuple[Array, Array]:
    """The outputs (n, T, C), and what `backward` needs, (n, H, 2, T), of queries, keys and values (n, T, 3 C).

    `there` (n, T), 1 or 0: the steps that are looked at; (n, 0) if all are. A step that looks at none gives 0.
    """
    register(heldout_attend=_serve_forward, heldout_attend_back=_serve_backward)
    n, steps, width = *joint.shape[:2], joint.shape[2] // 3
    block = _block(steps)
    form = _form(n * heads * -(-steps // block), block, steps, width, heads, causal, alibi, there)
    results = (
        numbers(n, steps, width),
        numbers(n, heads, 2, steps),
        numbers(form[ROOM], _room(_block(steps), width // heads)),
    )
    y, sums, _ = jax.ffi.ffi_call("heldout_attend", results, vmap_method="sequential")(form, joint, there)
    return y, sums


def backward(
    joint: Array, there: Array, outputs: Array, sums: Array, deltas: Array, heads: int, causal: bool, alibi: bool
) -> Array:
    """The gradient by queries, keys and values (n, T, 3 C), from the one by the outputs, `deltas` (n, T, C)."""
    register(heldout_attend=_serve_forward, heldout_attend_back=_serve_backward)
    n, steps, width = outputs.shape
    form = _form(n * heads, _block(steps), steps, width, heads, causal, alibi, there)
    results = numbers(n, steps, 3 * width), numbers(form[ROOM], _room_back(_block(steps), width // heads))
    by_joint, _ = jax.ffi.ffi_call("heldout_attend_back", results, vmap_method="sequential")(
        form, joint, there, outputs, sums, deltas
    )
    return by_joint


def _form(parts: int, block: int, steps: int, *others: Any) -> np.ndarray[Any, Any]:
    *how, there = others
    return np.array([parts, min(os.cpu_count() or 1, parts), block, steps, *how, there.size > 0], np.int32)


def _room(steps: int, d: int) -> int:
    """Numbers that a thread needs: keys turned over, values, and some rows of scores."""
    across = up(steps, WIDE)
    return 2 * across * d + TALL * (across + APART)


def _room_back(steps: int, d: int) -> int:
    """Keys and values turned over; queries, keys, gradients by the outputs; weights and gradients by scores."""
    across = up(steps, WIDE)
    return 5 * across * d + 2 * (steps + TALL) * (across + APART)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _turn(given: Numbers, at: int, row: int, steps: int, d: int, out: Numbers) -> None:
    """A head's rows (T, d) as panels (up(T) / WIDE, d, WIDE); 0 behind the last."""
    for step in range(compiled_up(steps, WIDE)):
        into = out[step // WIDE * d * WIDE + step % WIDE :]
        if step < steps:
            source = given[at + step * row :]
            for c in range(d):
                into[c * WIDE] = source[c]
        else:
            for c in range(d):
                into[c * WIDE] = ZERO


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _gather(given: Numbers, at: int, row: int, steps: int, d: int, out: Numbers) -> None:
    """A head's rows (T, d), one after the other."""
    for step in range(steps):
        copy(given[at + step * row :], out[step * d :], d)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _products(
    a: Numbers, at: int, row: int, d: int, turned: Numbers, out: Numbers, out_at: int, across: int, stop: int
) -> None:
    """TALL rows times what is turned over, up to the column `stop`."""
    for panel in range(compiled_up(stop, WIDE) // WIDE):
        multiply_tile(
            a, at, row, 1, turned, panel * d * WIDE, WIDE, out, out_at + panel * WIDE, across, d, False
        )  # fmt: skip


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _sums(
    a: Numbers,
    at: int,
    row: int,
    following: int,
    b: Numbers,
    b_at: int,
    d: int,
    terms: int,
    out: Numbers,
    out_at: int,
    out_row: int,
    more: bool,
) -> None:
    """TALL rows of products of `a` with rows of `b` (terms, d); with `more` they are added."""
    for column in range(0, d, WIDE):
        if column + WIDE <= d:
            tall_wide(a, at, row, following, b, b_at + column, d, out, out_at + column, out_row, terms, 1, 0, more)
        else:
            tall_narrow(a, at, row, following, b, b_at + column, d, out, out_at + column, out_row, terms, 1, 0, more)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _tilt(form: int, part: int, scale: Any) -> Any:
    """By how much a score, before it is scaled, falls with each step of the distance: 2^(-8 h / H), h from 1 on."""
    heads = whole_at(form, HEADS)
    return np.float32(2.0 ** (-8.0 * (part % heads + 1) / heads)) / scale if whole_at(form, ALIBI) else ZERO


@njit(**COMPILED, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _fallen(row: Numbers, here: int, tilt: Any) -> None:
    """Scores of the step `here`, counted from the first key, less what they fall with the distance."""
    in_wide_registers()
    for j in range(len(row)):
        row[j] -= tilt * np.float32(abs(np.int32(j) - np.int32(here)))


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _masked(row: Numbers, limit: int, stop: int, there: Numbers) -> None:
    """NEVER at the steps that are not looked at: from `limit` on, and where `there`, if it says anything, is 0."""
    if len(there) > 0:
        seen = row[:limit]
        for j in range(len(seen)):
            seen[j] = seen[j] if there[j] > ZERO else NEVER
    row[limit:stop] = NEVER


@intrinsic  # type: ignore[untyped-decorator]
def _largest(typing_context: Any, row: Any, count: Any) -> Any:
    """The largest of the first numbers, so many multiples of LANES; LLVM's own vectoriser takes them one by one."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        vector, index = ir.VectorType(ir.FloatType(), LANES), arguments[1].type
        entry, body, end = builder.block, builder.append_basic_block("lanes"), builder.append_basic_block("end")
        builder.branch(body)
        builder.position_at_end(body)
        at, most = builder.phi(index), builder.phi(vector)
        given = builder.load(builder.bitcast(builder.gep(data, [at]), vector.as_pointer()), align=4)
        larger = builder.select(builder.fcmp_ordered(">", given, most), given, most)
        following = builder.add(at, index(LANES))
        builder.cbranch(builder.icmp_signed("<", following, arguments[1]), body, end)
        for variable, first, then in ((at, index(0), following), (most, vector([NEVER] * LANES), larger)):
            variable.add_incoming(first, entry)
            variable.add_incoming(then, body)
        builder.position_at_end(end)
        of = ir.FunctionType(ir.FloatType(), [vector])
        name = f"llvm.vector.reduce.fmax.v{LANES}f32"
        return builder.call(cgutils.get_or_insert_function(builder.module, of, name), [larger])

    return types.float32(row, types.intp), code


@njit(**COMPILED, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def _raise(row: Numbers, scale: Any, shift: Any) -> Any:
    """Scores become e^(scale · score - shift); their sum."""
    in_wide_registers()
    total = ZERO
    for j in range(len(row)):
        raised = exp(row[j] * scale - shift)
        row[j] = raised
        total += raised
    return total


@njit(**COMPILED, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _weigh(p: Numbers, by_p: Numbers, scale: Any, shift: Any, share: Any, along: Any) -> None:
    """Scores become weights, and the gradients by weights those by scores."""
    in_wide_registers()
    for j in range(len(p)):
        weight = exp(p[j] * scale - shift) * share
        p[j] = weight
        by_p[j] = weight * (by_p[j] - along) * scale


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _ask_for_rows(address: int, steps: int, row: int, d: int) -> None:
    """Ask the memory for a head's rows, which do not lie one after the other, so that no processor foresees them."""
    for step in range(steps):
        for at in range(0, 4 * d, LINE):
            ask_for(address + 4 * step * row + at)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _ask_for_head(head: int, form: int, addresses: int, back: bool) -> None:
    """Ask the memory for what is read of a head, where there is such a head."""
    steps, width, heads = whole_at(form, STEPS), whole_at(form, WIDTH), whole_at(form, HEADS)
    d = width // heads
    at = 4 * (head // heads * steps * width)
    for part in range(3):
        first = load_word(addresses + 8) + 3 * at + 4 * (part * width + head % heads * d)
        _ask_for_rows(first, steps, 3 * width, d)
    if back:
        _ask_for_rows(load_word(addresses + 24) + at + 4 * (head % heads * d), steps, width, d)
        _ask_for_rows(load_word(addresses + 40) + at + 4 * (head % heads * d), steps, width, d)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _forward_part(part: int, thread: int, addresses: int) -> None:
    """A block of queries of a head of a sequence. Operands: form, joint, there; results: outputs, sums, room."""
    form = load_word(addresses)
    steps, width, heads = whole_at(form, STEPS), whole_at(form, WIDTH), whole_at(form, HEADS)
    size, causal, d = whole_at(form, BLOCK_STEPS), whole_at(form, CAUSAL), width // heads
    blocks = (steps + size - 1) // size
    head, begin_queries = part // blocks, part % blocks * size
    end_queries, row, wide = min(begin_queries + size, steps), 3 * width, compiled_up(size, WIDE)
    across = wide + APART
    joint = numbers_at(load_word(addresses + 8) + 4 * (head // heads * steps * row + head % heads * d), steps * row)
    looked_at = steps if whole_at(form, MASKED) else 0
    there = numbers_at(load_word(addresses + 16) + 4 * (head // heads) * looked_at, looked_at)
    outputs = numbers_at(
        load_word(addresses + 24) + 4 * (head // heads * steps * width + head % heads * d), steps * width
    )
    sums = numbers_at(load_word(addresses + 32) + 8 * head * steps, 2 * steps)
    room = 2 * wide * d + TALL * across
    keys = numbers_at(load_word(addresses + 40) + 4 * thread * room, room)
    values, scores = keys[wide * d :], keys[2 * wide * d :]
    ahead = head + whole_at(form, ROOM)
    if blocks == 1 and ahead < whole_at(form, PARTS):
        _ask_for_head(ahead, form, addresses, False)
    scale = np.float32(1.0 / math.sqrt(d))
    tilt = _tilt(form, head, scale)
    for begin_keys in range(0, end_queries if causal else steps, size):
        count = min(size, steps - begin_keys)
        _turn(joint, width + begin_keys * row, row, count, d, keys)
        _gather(joint, 2 * width + begin_keys * row, row, count, d, values)
        for block in range(begin_queries, end_queries, TALL):
            first = min(block, steps - TALL)  # at the end of a single block some rows are worked out again
            terms = min(first + TALL - begin_keys, count) if causal else count
            stop = compiled_up(terms, WIDE)
            _products(joint, first * row, row, d, keys, scores, 0, across, stop)
            largest, totals = sums[first:], sums[steps + first :]
            for r in range(TALL):  # rows do not wait for each other
                own = scores[r * across :]
                here = first + r - begin_keys
                if tilt > ZERO:
                    _fallen(own[:terms], here, tilt)
                _masked(own, min(here + 1, terms) if causal else terms, stop, there[begin_keys:])
                own[across - 1] = _largest(own, stop)
            for r in range(TALL):
                own = scores[r * across :]
                most, output = own[across - 1], outputs[(first + r) * width :][:d]
                if begin_keys == 0:
                    largest[r], totals[r] = NEVER, ZERO
                if most < LEAST:
                    own[:stop] = ZERO
                    continue
                most = max(most * scale, largest[r])
                if begin_keys > 0:
                    kept = exp(largest[r] - most) if largest[r] > LEAST else ZERO
                    totals[r] *= kept
                    for j in range(len(output)):
                        output[j] *= kept
                largest[r] = most
                totals[r] += _raise(own[:stop], scale, most)
            _sums(scores, 0, across, 1, values, 0, d, terms, outputs, first * width, width, begin_keys > 0)
    for i in range(begin_queries, end_queries):
        share = ONE / sums[steps + i] if sums[steps + i] > ZERO else ZERO
        sums[steps + i] = share
        if share == ZERO:
            sums[i] = -LEAST
        output = outputs[i * width :][:d]
        for j in range(len(output)):
            output[j] *= share


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _backward_part(part: int, thread: int, addresses: int) -> None:
    """A head of a sequence. Operands: form, joint, there, outputs, sums, δ; results: the gradient by joint, room."""
    form = load_word(addresses)
    steps, width, heads = whole_at(form, STEPS), whole_at(form, WIDTH), whole_at(form, HEADS)
    size, causal, d = whole_at(form, BLOCK_STEPS), whole_at(form, CAUSAL), width // heads
    row, wide = 3 * width, compiled_up(size, WIDE)
    across = wide + APART
    joint = numbers_at(load_word(addresses + 8) + 4 * (part // heads * steps * row + part % heads * d), steps * row)
    looked_at = steps if whole_at(form, MASKED) else 0
    there = numbers_at(load_word(addresses + 16) + 4 * (part // heads) * looked_at, looked_at)
    out_at = 4 * (part // heads * steps * width + part % heads * d)
    outputs = numbers_at(load_word(addresses + 24) + out_at, steps * width)
    sums = numbers_at(load_word(addresses + 32) + 8 * part * steps, 2 * steps)
    deltas = numbers_at(load_word(addresses + 40) + out_at, steps * width)
    by_joint = numbers_at(load_word(addresses + 48) + 4 * (part // heads * steps * row + part % heads * d), steps * row)
    room = 5 * wide * d + 2 * (size + TALL) * across
    turned_keys = numbers_at(load_word(addresses + 56) + 4 * thread * room, room)
    each, square = wide * d, (size + TALL) * across
    turned_values, queries, keys, above = (
        turned_keys[each:], turned_keys[2 * each :], turned_keys[3 * each :], turned_keys[4 * each :],
    )  # fmt: skip
    weights, by_scores = turned_keys[5 * each :], turned_keys[5 * each + square :]
    ahead = part + whole_at(form, ROOM)
    if steps <= size and ahead < whole_at(form, PARTS):
        _ask_for_head(ahead, form, addresses, True)
    scale = np.float32(1.0 / math.sqrt(d))
    tilt = _tilt(form, part, scale)
    for begin_keys in range(0, steps, size):
        count = min(size, steps - begin_keys)
        _turn(joint, begin_keys * row + width, row, count, d, turned_keys)
        _turn(joint, begin_keys * row + 2 * width, row, count, d, turned_values)
        _gather(joint, begin_keys * row + width, row, count, d, keys)
        begin_first = begin_keys if causal else 0
        for begin_queries in range(begin_first, steps, size):
            rows = min(size, steps - begin_queries)
            _gather(joint, begin_queries * row, row, rows, d, queries)
            _gather(deltas, begin_queries * width, width, rows, d, above)
            for block in range(0, rows, TALL):
                first = min(block, rows - TALL)
                here = begin_queries + first
                terms = min(here + TALL - begin_keys, count) if causal else count
                stop = compiled_up(terms, WIDE)
                _products(queries, first * d, d, d, turned_keys, weights, first * across, across, stop)
                _products(above, first * d, d, d, turned_values, by_scores, first * across, across, stop)
                for r in range(TALL):
                    p, by_p = weights[(first + r) * across :], by_scores[(first + r) * across :]
                    limit = min(here + r + 1 - begin_keys, terms) if causal else terms
                    if tilt > ZERO:
                        _fallen(p[:terms], here + r - begin_keys, tilt)
                    _masked(p, limit, stop, there[begin_keys:])
                    drift = along(above[(first + r) * d :], outputs[(here + r) * width :], d)
                    _weigh(p[:stop], by_p, scale, sums[here + r], sums[steps + here + r], drift)
                    p[limit:stop] = ZERO
                    by_p[limit:stop] = ZERO
                _sums(
                    by_scores, first * across, across, 1, keys, 0, d, terms, by_joint, here * row, row, begin_keys > 0
                )
            for block in range(0, count, TALL):
                first = min(block, count - TALL)
                since = first if causal and begin_queries == begin_keys else 0  # rows before do not look at these
                at, into, more = since * across + first, (begin_keys + first) * row, begin_queries > begin_first
                _sums(by_scores, at, 1, across, queries, since * d, d, rows - since, by_joint, into + width, row, more)
                _sums(weights, at, 1, across, above, since * d, d, rows - since, by_joint, into + 2 * width, row, more)


_address_of_forward, _address_of_backward = address_of(_forward_part), address_of(_backward_part)


def _serve_forward(frame: int) -> int:
    return serve(frame, _address_of_forward())  # type: ignore[no-any-return]


def _serve_backward(frame: int) -> int:
    return serve(frame, _address_of_backward())  # type: ignore[no-any-return]
