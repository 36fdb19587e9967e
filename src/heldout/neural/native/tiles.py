"""What kernels are made of: products in tiles, and how threads treat tiny numbers and wait, in LLVM's own terms."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16  # single-precision numbers of an AVX-512 register; two of AVX2
TALL, ACROSS = (8, 2) if binding.get_host_cpu_features().get("avx512f") else (4, 1)  # of a tile: registers hold it
WIDE = LANES * ACROSS
SHORT = TALL - 1 if ACROSS > 1 else TALL  # of tiles that fit widths of 7, 14, 28, ...
LINE = 64  # bytes of a line of the cache
FLUSH = np.uint32(0x8040)  # the bits of x86's MXCSR that take numbers below 1e-38 as 0, read and written
SPINS = 60_000  # looks at the other threads, some 60 us, before the processor is left to somebody else
CONTRACT = ("contract",)
COMPILED: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False, "error_model": "numpy"}


def up(number: int, grain: int) -> int:
    """The next multiple of `grain`."""
    return -(-number // grain) * grain


compiled_up = njit(**COMPILED)(up)


@intrinsic  # type: ignore[untyped-decorator]
def multiply_tile(
    typing_context: Any, a: Any, a_at: Any, a_row: Any, a_next: Any, b: Any, b_at: Any, b_next: Any, c: Any, c_at: Any,
    c_row: Any, n: Any, more: Any,
) -> Any:  # fmt: skip
    """c[r, :] = Σ_k a[r, k] b[k, :] for TALL rows r, WIDE columns and k below `n`, above 0, of flat float32 arrays.

    a[r, k] is at a_at + r a_row + k a_next, b[k, :] from b_at + k b_next, c[r, :] from c_at + r c_row. With `more`
    it is added to what `c` holds. Written in LLVM's own terms because its vectoriser keeps no tile in registers.
    """
    i = types.intp

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        *others, n, more = arguments
        return _tile_code(context, builder, signature, [*others, n, n.type(1), n.type(0), more], TALL, ACROSS)

    return types.void(a, i, i, i, b, i, i, c, i, i, i, types.boolean), code


def repeated_tile(tall: int, across: int) -> Any:
    """For compiled code: `multiply_tile` of `tall` rows and `across` vectors, and of `n` terms so many `times`.

    Each time `a` moves on by `jump`, and `b` goes on.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def multiply(
        typing_context: Any, a: Any, a_at: Any, a_row: Any, a_next: Any, b: Any, b_at: Any, b_next: Any, c: Any,
        c_at: Any, c_row: Any, n: Any, times: Any, jump: Any, more: Any,
    ) -> Any:  # fmt: skip
        i = types.intp

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _tile_code(context, builder, signature, arguments, tall, across)

        return types.void(a, i, i, i, b, i, i, c, i, i, i, i, i, types.boolean), code

    return multiply


tall_wide, _short_wide = repeated_tile(TALL, ACROSS), repeated_tile(SHORT, ACROSS)
tall_narrow, _short_narrow = repeated_tile(TALL, 1), repeated_tile(SHORT, 1)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def multiply_tiles(
    tall: int, wide: int, a: Any, a_at: int, a_row: int, a_next: int, b: Any, b_at: int, b_next: int, c: Any, c_at: int,
    c_row: int, n: int, times: int, jump: int, more: bool,
) -> None:  # fmt: skip
    """A repeated tile of TALL or SHORT rows and of WIDE or LANES columns."""
    if wide == WIDE:
        if tall == TALL:
            tall_wide(a, a_at, a_row, a_next, b, b_at, b_next, c, c_at, c_row, n, times, jump, more)
        else:
            _short_wide(a, a_at, a_row, a_next, b, b_at, b_next, c, c_at, c_row, n, times, jump, more)
    elif tall == TALL:
        tall_narrow(a, a_at, a_row, a_next, b, b_at, b_next, c, c_at, c_row, n, times, jump, more)
    else:
        _short_narrow(a, a_at, a_row, a_next, b, b_at, b_next, c, c_at, c_row, n, times, jump, more)


def _tile_code(context: Any, builder: Any, signature: Any, arguments: Any, tall: int, across: int) -> Any:
    a, b, c = (context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in (0, 4, 7))
    a_at, a_row, a_next, _, b_at, b_next, _, c_at, c_row, n, times, jump, more = arguments[1:]
    vector, index = ir.VectorType(ir.FloatType(), LANES), n.type

    def vectors(base: Any) -> list[Any]:
        return [builder.bitcast(builder.gep(base, [index(LANES * v)]), vector.as_pointer()) for v in range(across)]

    def tile() -> list[Any]:
        corner = builder.gep(c, [c_at])
        return [one for r in range(tall) for one in vectors(builder.gep(corner, [builder.mul(c_row, index(r))]))]

    zero = ir.Constant(vector, [0.0] * LANES)
    begun = [cgutils.alloca_once_value(builder, zero) for _ in range(tall * across)]
    with builder.if_then(more):
        for place, pointer in zip(begun, tile(), strict=True):
            builder.store(builder.load(pointer, align=4), place)
    begin = [builder.load(place) for place in begun]
    starts = [builder.gep(a, [builder.add(a_at, builder.mul(a_row, index(r)))]) for r in range(tall)]
    entry, rows, terms, row_end, end = (
        builder.block, *(builder.append_basic_block(f"tile.{name}") for name in ("rows", "terms", "row_end", "end")),
    )  # fmt: skip
    builder.branch(rows)

    builder.position_at_end(rows)
    row, row_in_a, row_in_b = (builder.phi(index) for _ in range(3))
    row_sums = [builder.phi(vector) for _ in begun]
    builder.branch(terms)

    builder.position_at_end(terms)
    k, in_a, in_b = (builder.phi(index) for _ in range(3))
    sums = [builder.phi(vector) for _ in begun]
    columns = [builder.load(pointer, align=4) for pointer in vectors(builder.gep(b, [in_b]))]
    added = []
    for r, start in enumerate(starts):
        factor = _repeated(builder, builder.load(builder.gep(start, [in_a])), vector)
        for v, column in enumerate(columns):
            product = builder.fmul(factor, column, flags=CONTRACT)
            added.append(builder.fadd(product, sums[r * across + v], flags=CONTRACT))
    later = [builder.add(k, index(1)), builder.add(in_a, a_next), builder.add(in_b, b_next), *added]
    builder.cbranch(builder.icmp_signed("<", later[0], n), terms, row_end)
    for variable, now, then in zip(
        (k, in_a, in_b, *sums), (index(0), row_in_a, row_in_b, *row_sums), later, strict=True
    ):
        variable.add_incoming(now, rows)
        variable.add_incoming(then, terms)

    builder.position_at_end(row_end)
    following = [builder.add(row, index(1)), builder.add(row_in_a, jump), later[2], *added]
    builder.cbranch(builder.icmp_signed("<", following[0], times), rows, end)
    first = (index(0), index(0), b_at, *begin)
    for variable, now, then in zip((row, row_in_a, row_in_b, *row_sums), first, following, strict=True):
        variable.add_incoming(now, entry)
        variable.add_incoming(then, row_end)

    builder.position_at_end(end)
    for value, pointer in zip(added, tile(), strict=True):
        builder.store(value, pointer, align=4)
    return context.get_dummy_value()


@intrinsic  # type: ignore[untyped-decorator]
def turn_square(typing_context: Any, a: Any, at: Any, row: Any, out: Any, out_at: Any, out_row: Any) -> Any:
    """out[k, r] = a[r, k] for LANES rows r and as many columns k of flat float32 arrays; rows begin so far apart."""
    i = types.intp

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), LANES)

        def lines(k: int) -> list[Any]:
            at, row = arguments[k + 1 : k + 3]
            corner = builder.gep(context.make_array(signature.args[k])(context, builder, arguments[k]).data, [at])
            places = [builder.gep(corner, [builder.mul(row, row.type(r))]) for r in range(LANES)]
            return [builder.bitcast(place, vector.as_pointer()) for place in places]

        for line, place in zip(
            turned(builder, [builder.load(one, align=4) for one in lines(0)]), lines(3), strict=True
        ):
            builder.store(line, place, align=4)
        return context.get_dummy_value()

    return types.void(a, i, i, out, i, i), code


def turned(builder: Any, rows: list[Any]) -> list[Any]:
    """The columns of a square of numbers: squares within it change places, from half its size down to one."""
    word, size = ir.IntType(32), LANES // 2
    while size:
        upper = [k if not k & size else LANES + (k ^ size) for k in range(LANES)]
        lower = [k ^ size if not k & size else LANES + k for k in range(LANES)]
        new = list(rows)
        for i in (i for i in range(LANES) if not i & size):
            for at, places in ((i, upper), (i | size, lower)):
                mask = ir.Constant(ir.VectorType(word, LANES), places)
                new[at] = builder.shuffle_vector(rows[i], rows[i | size], mask)
        rows, size = new, size // 2
    return rows


def _repeated(builder: Any, number: Any, vector: Any) -> Any:
    """A vector of one number, again and again."""
    nothing = ir.Constant(vector, ir.Undefined)
    places = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(builder.insert_element(nothing, number, ir.IntType(32)(0)), nothing, places)


def pointer_to(builder: Any, address: Any, kind: Any) -> Any:
    """In an intrinsic: a pointer to a kind of thing, from an address.

    LLVM takes a sum of whole numbers apart, and may take either of them for the pointer. Where that one can be 0, it
    holds the branch for impossible and leaves it out, unless it is told that there may be something at 0.
    """
    set.add(builder.function.attributes, "null_pointer_is_valid")  # llvmlite's own knows few attributes
    return builder.inttoptr(address, kind.as_pointer())


@intrinsic  # type: ignore[untyped-decorator]
def in_wide_registers(typing_context: Any) -> Any:
    """In a compiled function whose loops are mostly arithmetic: LLVM shall use AVX-512's registers, where there are.

    By itself it takes half of them, for fear of a slower clock, which tiles of products have paid for already. It goes
    by the function that a loop is in after all others have been put into it.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), code


@intrinsic  # type: ignore[untyped-decorator]
def ask_for(typing_context: Any, address: Any) -> Any:
    """Ask the memory for the line of the cache at an address, which is soon read."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        start = pointer_to(builder, arguments[0], ir.IntType(8))
        of = ir.FunctionType(ir.VoidType(), [start.type, word, word, word])
        prefetch = cgutils.get_or_insert_function(builder.module, of, "llvm.prefetch.p0")
        builder.call(prefetch, [start, word(0), word(2), word(1)])
        return context.get_dummy_value()

    return types.void(types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def give_way(typing_context: Any) -> Any:
    """Sleep for a moment, so that the thread that is waited for may run here where other work holds its processor."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name = "Sleep" if sys.platform == "win32" else "usleep"
        word = ir.IntType(32)
        builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(word, [word]), name), [word(1)])
        return context.get_dummy_value()

    return types.void(), code


@intrinsic  # type: ignore[untyped-decorator]
def flush_tiny(typing_context: Any, mode: Any) -> Any:
    """Put this thread's floating-point unit into a mode; the one before.

    FLUSH takes numbers below 1e-38 as 0: an optimizer's averages of gradients that are 0 fade away through them, and an
    x86 processor is a hundred times as slow there. Others are not: nothing is done.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        if not binding.get_default_triple().startswith(("x86", "i686", "amd64")):
            return ir.Constant(word, 0)
        place = cgutils.alloca_once(builder, word)
        byte = builder.bitcast(place, ir.IntType(8).as_pointer())
        of = ir.FunctionType(ir.VoidType(), [byte.type])
        builder.call(cgutils.get_or_insert_function(builder.module, of, "llvm.x86.sse.stmxcsr"), [byte])
        before = builder.load(place)
        both = ir.Constant(word, int(FLUSH))
        flushing = builder.icmp_unsigned("==", arguments[0], both)
        builder.store(builder.select(flushing, builder.or_(before, both), arguments[0]), place)
        builder.call(cgutils.get_or_insert_function(builder.module, of, "llvm.x86.sse.ldmxcsr"), [byte])
        return before

    return types.uint32(types.uint32), code


@intrinsic  # type: ignore[untyped-decorator]
def add_at(typing_context: Any, address: Any, number: Any) -> Any:
    """Add to the whole number (64 bits) at an address, as one operation; what it was.

    What was written before is seen by whoever sees the sum.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = pointer_to(builder, arguments[0], ir.IntType(64))
        return builder.atomic_rmw("add", place, arguments[1], "acq_rel")

    return types.int64(types.int64, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def word_at(typing_context: Any, address: Any) -> Any:
    """The whole number (64 bits) at an address, as it is now."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(pointer_to(builder, arguments[0], ir.IntType(64)), "acquire", 8)

    return types.int64(types.int64), code


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def wait_for(address: int, number: int) -> None:
    """Until the whole number at an address is as large as this."""
    looks = 0
    while word_at(address) < number:
        looks += 1
        if looks > SPINS:
            give_way()


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def copy(given: Any, out: Any, count: int) -> None:
    """out[:count] = given[:count], which Numba does by its own memory, and here there is none."""
    into = out[:count]
    for j in range(len(into)):
        into[j] = given[j]
