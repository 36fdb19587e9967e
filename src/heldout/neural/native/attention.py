r"""Self-attention on the CPU: each thread takes one head of a sequence, from queries, keys and values to its output.

Queries, keys and values stand side by side, (n, T, 3 C), the heads of each beside each other. Some queries at a time
meet the keys, so that their scores stay in the caches; a longer sequence is taken in blocks of keys that fit as well.
On the way back scores are worked out again from the largest one m_i of a query and
:math:`1 / \sum_j e^{s_{ij} - m_i}`. The formulas are those of `layers/attending.py`.

A row of scores is those of one key: the queries lie side by side in a register, and what is summed or sought over keys
is so for all of them at once.
"""

from __future__ import annotations

import math
import os
from typing import Any, TypeAlias

import jax
import numpy as np
from numba import njit

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
    turn_square,
    up,
)

Array: TypeAlias = jax.Array
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

LONGEST = 512  # steps whose keys are one block
BLOCK = 256  # keys of a block of longer sequences, and queries of a part

# The form, the first operand: parts; threads there is room for; steps of a block, and of a sequence; channels, heads;
# whether a step looks back only; whether scores fall with the distance; whether some steps are not looked at.
PARTS, ROOM, BLOCK_STEPS, STEPS, WIDTH, HEADS, CAUSAL, ALIBI, MASKED = range(9)
GROUP = 2 * WIDE  # queries at a time
ROW = GROUP + 16  # numbers of a row of scores; the last are there so that rows do not fall into the same places
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
    """Numbers that a thread needs: queries turned over, values, scores, and some numbers of each query."""
    return GROUP * d + steps * d + (steps + TALL) * ROW + 3 * GROUP


def _room_back(steps: int, d: int) -> int:
    """Queries and gradients by the outputs, also turned over; keys, and gradients by keys and values; scores twice."""
    return 4 * GROUP * d + 3 * (steps + TALL) * d + 2 * (steps + TALL) * ROW + 3 * GROUP


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _turn(given: Numbers, at: int, row: int, steps: int, d: int, out: Numbers) -> None:
    """A head's rows (T, d) as panels (up(T) / WIDE, d, WIDE); 0 behind the last."""
    whole = steps // LANES * LANES
    for step in range(0, whole, LANES):
        for c in range(0, d, LANES):
            turn_square(given, at + step * row + c, row, out, (step // WIDE * d + c) * WIDE + step % WIDE, WIDE)
    for step in range(whole, compiled_up(steps, WIDE)):
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
def _group(first: int, stop: int) -> int:
    """How many queries are taken at once; behind them there are none, or at least TALL."""
    count = min(GROUP, stop - first)
    return count - TALL if 0 < stop - first - count < TALL else count


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _since(key: int, ahead: int, causal: int) -> int:
    """From which query on a row of scores is worked out; `ahead`: of the first query, how far it is behind key 0."""
    return max(key // TALL * TALL - ahead, 0) // LANES * LANES if causal else 0


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _products(
    a: Numbers,
    at: int,
    row: int,
    count: int,
    d: int,
    turned: Numbers,
    ahead: int,
    causal: int,
    queries: int,
    out: Numbers,
) -> None:
    """Rows (count, d) times what is turned over; at the end some rows are worked out again."""
    for block in range(0, count, TALL):
        first = min(block, count - TALL)
        for panel in range(_since(first, ahead, causal) // WIDE, compiled_up(queries, WIDE) // WIDE):
            multiply_tile(
                a, at + first * row, row, 1, turned, panel * d * WIDE, WIDE, out, first * ROW + panel * WIDE, ROW,
                d, False,
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


# Of the numbers at addresses, those from `since` to `stop`: a slice would ask more questions than there are numbers.


@njit(**COMPILED, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _fallen(line: int, since: int, stop: int, here: int, tilt: Any) -> None:
    """Scores of a key, which is `here` when counted from the first query, less what they fall with the distance."""
    in_wide_registers()
    row = numbers_at(line + 4 * since, stop - since)
    for i in range(len(row)):
        row[i] -= tilt * np.float32(abs(np.int32(i) - np.int32(here - since)))


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _rise(largest_at: int, line: int, since: int, stop: int) -> None:
    """The largest score of each query so far."""
    in_wide_registers()
    largest, row = numbers_at(largest_at + 4 * since, stop - since), numbers_at(line + 4 * since, stop - since)
    for i in range(len(row)):
        largest[i] = max(largest[i], row[i])


@njit(**COMPILED, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _raise(line: int, since: int, stop: int, scale: Any, shifts_at: int, totals_at: int) -> None:
    """Scores of a key become e^(scale · score - shift), which are added to their queries' sums."""
    in_wide_registers()
    row, shifts = numbers_at(line + 4 * since, stop - since), numbers_at(shifts_at + 4 * since, stop - since)
    totals = numbers_at(totals_at + 4 * since, stop - since)
    for i in range(len(row)):
        raised = exp(row[i] * scale - shifts[i])
        row[i] = raised
        totals[i] += raised


@njit(**COMPILED, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _weigh(
    line: int, by_line: int, since: int, stop: int, scale: Any, shifts_at: int, shares_at: int, drifts_at: int
) -> None:
    """Scores become weights, and the gradients by weights those by scores."""
    in_wide_registers()
    p, by_p = numbers_at(line + 4 * since, stop - since), numbers_at(by_line + 4 * since, stop - since)
    shifts, shares = numbers_at(shifts_at + 4 * since, stop - since), numbers_at(shares_at + 4 * since, stop - since)
    drifts = numbers_at(drifts_at + 4 * since, stop - since)
    for i in range(len(p)):
        weight = exp(p[i] * scale - shifts[i]) * shares[i]
        p[i] = weight
        by_p[i] = weight * (by_p[i] - drifts[i]) * scale


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _fill(line: int, since: int, stop: int, number: Any) -> None:
    row = numbers_at(line + 4 * since, max(stop - since, 0))
    for i in range(len(row)):
        row[i] = number


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
    end_queries, row = min(begin_queries + size, steps), 3 * width
    joint = numbers_at(load_word(addresses + 8) + 4 * (head // heads * steps * row + head % heads * d), steps * row)
    looked_at = steps if whole_at(form, MASKED) else 0
    there = numbers_at(load_word(addresses + 16) + 4 * (head // heads) * looked_at, looked_at)
    outputs = numbers_at(
        load_word(addresses + 24) + 4 * (head // heads * steps * width + head % heads * d), steps * width
    )
    sums = numbers_at(load_word(addresses + 32) + 8 * head * steps, 2 * steps)
    room = GROUP * d + size * d + (size + TALL) * ROW + 3 * GROUP
    own = load_word(addresses + 40) + 4 * thread * room
    scores_at = own + 4 * (GROUP + size) * d
    largest_at = scores_at + 4 * (size + TALL) * ROW
    shifts_at, totals_at = largest_at + 4 * GROUP, largest_at + 8 * GROUP
    turned, values, scores = (
        numbers_at(own, GROUP * d),
        numbers_at(own + 4 * GROUP * d, size * d),
        numbers_at(scores_at, (size + TALL) * ROW),
    )
    largest, shifts, totals = numbers_at(largest_at, GROUP), numbers_at(shifts_at, GROUP), numbers_at(totals_at, GROUP)
    following = head + whole_at(form, ROOM)
    if size >= steps and following < whole_at(form, PARTS):
        _ask_for_head(following, form, addresses, False)
    scale = np.float32(1.0 / math.sqrt(d))
    tilt = _tilt(form, head, scale)
    for begin_keys in range(0, end_queries if causal else steps, size):
        count, first, queries = min(size, steps - begin_keys), begin_queries, 0
        _gather(joint, 2 * width + begin_keys * row, row, count, d, values)
        while first < end_queries:
            queries, ahead = _group(first, end_queries), first - begin_keys
            keys, across = min(ahead + queries, count) if causal else count, compiled_up(queries, LANES)
            most, sum_of, out_at = sums[first:], sums[steps + first :], first * width
            first += queries
            if keys <= 0:
                continue
            _turn(joint, (first - queries) * row, row, queries, d, turned)
            _products(joint, width + begin_keys * row, row, keys, d, turned, ahead, causal, queries, scores)
            _fill(largest_at, 0, GROUP, NEVER)
            _fill(totals_at, 0, GROUP, ZERO)
            for j in range(keys):
                since, line = _since(j, ahead, causal), scores_at + 4 * j * ROW
                if tilt > ZERO:
                    _fallen(line, since, across, j - ahead, tilt)
                if looked_at > 0 and there[begin_keys + j] == ZERO:
                    _fill(line, since, across, NEVER)
                elif causal:
                    _fill(line, since, j - ahead, NEVER)
                _rise(largest_at, line, since, across)
            for i in range(queries):
                so_far = most[i] if begin_keys > 0 else NEVER
                now = max(largest[i] * scale if largest[i] > LEAST else NEVER, so_far)
                shifts[i] = now if now > LEAST else ZERO
                if begin_keys > 0:
                    kept = exp(so_far - now)
                    totals[i] = sum_of[i] * kept
                    output = outputs[out_at + i * width :][:d]
                    for c in range(len(output)):
                        output[c] *= kept
                most[i] = now
            for j in range(keys):
                since, line = _since(j, ahead, causal), scores_at + 4 * j * ROW
                _raise(line, since, across, scale, shifts_at, totals_at)
                _fill(line, max(since - LANES, 0), since, ZERO)
            for i in range(queries):
                sum_of[i] = totals[i]
            for block in range(0, queries, TALL):
                top = min(block, queries - TALL)
                terms = min(ahead + top + TALL, keys) if causal else keys
                _sums(scores, top, 1, ROW, values, 0, d, terms, outputs, out_at + top * width, width, begin_keys > 0)
    for i in range(begin_queries, end_queries):
        seen = sums[i] > LEAST
        share = ONE / sums[steps + i] if seen else ZERO
        sums[steps + i] = share
        if not seen:
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
    row = 3 * width
    joint = numbers_at(load_word(addresses + 8) + 4 * (part // heads * steps * row + part % heads * d), steps * row)
    looked_at = steps if whole_at(form, MASKED) else 0
    there = numbers_at(load_word(addresses + 16) + 4 * (part // heads) * looked_at, looked_at)
    out_at = 4 * (part // heads * steps * width + part % heads * d)
    outputs = numbers_at(load_word(addresses + 24) + out_at, steps * width)
    sums = numbers_at(load_word(addresses + 32) + 8 * part * steps, 2 * steps)
    deltas = numbers_at(load_word(addresses + 40) + out_at, steps * width)
    by_joint = numbers_at(load_word(addresses + 48) + 4 * (part // heads * steps * row + part % heads * d), steps * row)
    each, most = (size + TALL) * d, (size + TALL) * ROW
    room = 4 * GROUP * d + 3 * each + 2 * most + 3 * GROUP
    own = load_word(addresses + 56) + 4 * thread * room
    turned_queries = numbers_at(own, room)
    turned_above, queries, above, keys = (
        turned_queries[GROUP * d :], turned_queries[2 * GROUP * d :], turned_queries[3 * GROUP * d :],
        turned_queries[4 * GROUP * d :],
    )  # fmt: skip
    by_keys, by_values, weights = keys[each:], keys[2 * each :], keys[3 * each :]
    by_scores, shifts = weights[most:], weights[2 * most :]
    shares, drifts = shifts[GROUP:], shifts[2 * GROUP :]
    weights_at = own + 4 * (4 * GROUP * d + 3 * each)
    by_scores_at, shifts_at = weights_at + 4 * most, weights_at + 8 * most
    shares_at, drifts_at = shifts_at + 4 * GROUP, shifts_at + 8 * GROUP
    following = part + whole_at(form, ROOM)
    if steps <= size and following < whole_at(form, PARTS):
        _ask_for_head(following, form, addresses, True)
    scale = np.float32(1.0 / math.sqrt(d))
    tilt = _tilt(form, part, scale)
    for begin_keys in range(0, steps, size):
        count, touched, first = min(size, steps - begin_keys), 0, begin_keys if causal else 0
        at_keys = begin_keys * row + width
        _gather(joint, at_keys, row, count, d, keys)
        while first < steps:
            rows, ahead = _group(first, steps), first - begin_keys
            terms, across = min(ahead + rows, count) if causal else count, compiled_up(rows, LANES)
            _turn(joint, first * row, row, rows, d, turned_queries)
            _turn(deltas, first * width, width, rows, d, turned_above)
            _gather(joint, first * row, row, rows, d, queries)
            _gather(deltas, first * width, width, rows, d, above)
            _products(joint, at_keys, row, terms, d, turned_queries, ahead, causal, rows, weights)
            _products(joint, at_keys + width, row, terms, d, turned_above, ahead, causal, rows, by_scores)
            for i in range(rows):
                shifts[i], shares[i] = sums[first + i], sums[steps + first + i]
                drifts[i] = along(above[i * d :], outputs[(first + i) * width :], d)
            _fill(shares_at, rows, across, ZERO)
            for j in range(terms):
                since = _since(j, ahead, causal)
                line, by_line = weights_at + 4 * j * ROW, by_scores_at + 4 * j * ROW
                if tilt > ZERO:
                    _fallen(line, since, across, j - ahead, tilt)
                _weigh(line, by_line, since, across, scale, shifts_at, shares_at, drifts_at)
                hidden = j - ahead if causal else 0
                if looked_at > 0 and there[begin_keys + j] == ZERO:
                    hidden = across
                _fill(line, max(since - LANES, 0), hidden, ZERO)
                _fill(by_line, max(since - LANES, 0), hidden, ZERO)
            for block in range(0, rows, TALL):
                top = min(block, rows - TALL)
                seen = min(ahead + top + TALL, terms) if causal else terms
                at = (first + top) * row
                _sums(by_scores, top, 1, ROW, keys, 0, d, seen, by_joint, at, row, begin_keys > 0)
            for block in range(0, terms, TALL):
                since = _since(block, ahead, causal)
                at, left, more = block * ROW + since, rows - since, block < touched
                _sums(by_scores, at, ROW, 1, queries, since * d, d, left, by_keys, block * d, d, more)
                _sums(weights, at, ROW, 1, above, since * d, d, left, by_values, block * d, d, more)
            first, touched = first + rows, terms
        for j in range(count):
            into = by_joint[at_keys + j * row :]
            copy(by_keys[j * d :], into, d)
            copy(by_values[j * d :], into[width:], d)


_address_of_forward, _address_of_backward = address_of(_forward_part), address_of(_backward_part)


def _serve_forward(frame: int) -> int:
    return serve(frame, _address_of_forward())  # type: ignore[no-any-return]


def _serve_backward(frame: int) -> int:
    return serve(frame, _address_of_backward())  # type: ignore[no-any-return]
