"""How XLA's programs on the CPU call kernels of ours, and lend them their threads.

XLA calls a function of C with the address of a frame, which points to operands and results (its foreign function
interface, whose binary form is kept stable: `xla/ffi/api/c_api.h` in `jax.ffi.include_dir()`); Numba compiles such
functions. The work is cut into parts, whose number does not depend on the threads. Whoever is free takes the next one,
and so does the caller, so that the work is done even where XLA's threads are all busy.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from llvmlite import ir
from numba import cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from heldout.neural.native.tiles import COMPILED, FLUSH, add_at, flush_tiny, pointer_to, wait_for

# Bytes from the beginning of XLA_FFI_CallFrame, and of what it points to.
EXTENSION, API, CONTEXT, OPERANDS, RESULTS = 8, 16, 24, 72, 112
EXTENSION_TYPE, METADATA = 8, 24  # of XLA_FFI_Extension_Base and XLA_FFI_Metadata_Extension
MAJOR_MINOR, TRAITS = 24, 32  # of XLA_FFI_Metadata
BUFFER_DATA = 24  # of XLA_FFI_Buffer
SCHEDULE, THREADS = 136, 144  # of XLA_FFI_Api
SCHEDULE_SIZE, THREADS_SIZE = 40, 32  # of XLA_FFI_ThreadPool_Schedule_Args and XLA_FFI_ThreadPool_NumThreads_Args
VERSION = 3 << 32  # of the interface, 0.3: the major number is the lower half
METADATA_ASKED = 1  # the type of the extension by which XLA asks for the version

# What the threads share: where its words are, the last with one for each phase, and where the addresses of operands and
# results begin.
TAKEN, DONE, HOLDERS, ARRIVED, PARTS, BY_HELPERS, ADDRESSES = 0, 8, 16, 24, 32, 40, 64
CALLER = 1  # added to the address of what is shared, for the thread that XLA calls
SECOND, THIRD = 2, 3  # in the form: with which parts the second and the third phase begin, where there are several


_registering, _registered = threading.Lock(), set[str]()


def register(**handlers: Callable[[int], int]) -> None:
    """Let XLA's programs call functions, which are compiled for it, by these names; once in a process."""
    with _registering:
        for name, handler in handlers.items():
            if name not in _registered:
                compiled = cfunc(types.int64(types.int64), cache=True)(handler)
                address = jax.ffi.pycapsule(compiled.address)  # type: ignore[no-untyped-call]
                jax.ffi.register_ffi_target(name, address, platform="cpu")
                _registered.add(name)


def numbers(*shape: int, kind: Any = np.float32) -> jax.ShapeDtypeStruct:
    """The form of a result: single-precision numbers, or another kind."""
    return jax.ShapeDtypeStruct(tuple(map(int, shape)), np.dtype(kind))  # type: ignore[no-untyped-call]


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def serve(frame: int, task: int) -> int:
    """Answer a call of XLA's with the `task` (an address from `address_of`), in as many threads as XLA lends.

    The first operand, the form, is whole numbers of 32 bits: in how many parts, and for how many threads there is room,
    then what the task wants to know.
    """
    extension = load_word(frame + EXTENSION)
    if extension != 0 and load_word(extension + EXTENSION_TYPE) & 0xFFFFFFFF == METADATA_ASKED:
        metadata = load_word(extension + METADATA)
        store_word(metadata + MAJOR_MINOR, VERSION)
        store_word(metadata + TRAITS, 0)
        return 0
    operands, results = load_word(frame + OPERANDS - 16), load_word(frame + RESULTS - 16)
    shared = allocate(ADDRESSES + 8 * (operands + results))
    for k in range(operands + results):
        buffers = (
            load_word(frame + OPERANDS) + 8 * k if k < operands else load_word(frame + RESULTS) + 8 * (k - operands)
        )
        store_word(shared + ADDRESSES + 8 * k, load_word(load_word(buffers) + BUFFER_DATA))
    form = load_word(shared + ADDRESSES)
    parts = whole_at(form, 0)
    helpers = min(_threads(frame), whole_at(form, 1), parts) - 1
    for word in (TAKEN, DONE, ARRIVED, BY_HELPERS, BY_HELPERS + 8, BY_HELPERS + 16):
        store_word(shared + word, 0)
    store_word(shared + PARTS, parts)
    store_word(shared + HOLDERS, helpers + 2)  # who helps, and the caller twice: at work, and waiting
    order = allocate(SCHEDULE_SIZE)
    store_word(order, SCHEDULE_SIZE)
    store_word(order + 8, 0)
    store_word(order + 16, load_word(frame + CONTEXT))
    store_word(order + 24, task)
    store_word(order + 32, shared)
    for _ in range(helpers):
        if call(load_word(load_word(frame + API) + SCHEDULE), order) != 0:
            add_at(shared + HOLDERS, -1)
    release(order)
    call(task, shared + CALLER)
    wait_for(shared + DONE, parts)
    _let_go(shared)
    return 0


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _threads(frame: int) -> int:
    """How many threads XLA has."""
    asked = allocate(THREADS_SIZE + 8)
    store_word(asked, THREADS_SIZE)
    store_word(asked + 8, 0)
    store_word(asked + 16, load_word(frame + CONTEXT))
    store_word(asked + 24, asked + THREADS_SIZE)
    store_word(asked + THREADS_SIZE, 1)
    failed = call(load_word(load_word(frame + API) + THREADS), asked)
    number = load_word(asked + THREADS_SIZE)
    release(asked)
    return number if failed == 0 else 1


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def _let_go(shared: int) -> None:
    """One holder less; the last one gives the memory back, since who helps may come when all is done."""
    if add_at(shared + HOLDERS, -1) == 1:
        release(shared)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def begin(shared: int) -> tuple[int, int]:
    """For a thread at the beginning of a task: a number of its own, from 0 on, and its mode for floating point."""
    return add_at(shared + ARRIVED, 1), flush_tiny(FLUSH)


@njit(**COMPILED)  # type: ignore[untyped-decorator]
def end(shared: int, mode: int) -> None:
    """For a thread at the end of a task, with the mode that `begin` gave."""
    flush_tiny(mode)
    _let_go(shared)


def address_of(*phases: Any, prepare: Any = None) -> Callable[[], int]:
    """For compiled code: the address of a function of C that takes part in a task, with what is at an address `shared`.

    A phase is a compiled function of a part's number, counted from the phase's first, of the thread's, and of where the
    addresses of operands and results begin. Where there are several, the form says at which parts the second and the
    third begin, and each waits for the one before it. `prepare`, of the thread's number and the addresses, comes before
    a thread's first part.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def address(typing_context: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            of, word = types.void(types.int64), ir.IntType(64)
            compiled = context.compile_subroutine(builder, _task(prepare, *phases), of)
            name = f"{context.active_code_library.name}.task"
            function = ir.Function(builder.module, ir.FunctionType(word, [word]), name)
            function.linkage = "internal"
            inner = ir.IRBuilder(function.append_basic_block())
            context.call_internal_no_propagate(inner, compiled.fndesc, of, function.args)
            inner.ret(word(0))
            return builder.ptrtoint(function, word)

        return types.int64(), code

    return address  # type: ignore[no-any-return]


def _task(prepare: Any, first: Any, *others: Any) -> Callable[[int], None]:
    """What a thread does: one part after the other.

    The caller takes a phase's parts from its beginning on, the helpers from its end: then the same rows are mostly in
    the cache of the same processor from one task to the next.
    """
    second, third = (*others, first, first)[:2]
    phases, prepared = 1 + len(others), prepare is not None
    ready = prepare if prepared else first

    def run(shared: int) -> None:
        called = shared & CALLER
        shared -= called
        addresses, parts = shared + ADDRESSES, load_word(shared + PARTS)
        to_second = whole_at(load_word(addresses), SECOND) if phases > 1 else parts
        to_third = whole_at(load_word(addresses), THIRD) if phases > 2 else parts
        thread, mode = begin(shared)
        number = add_at(shared + TAKEN, 1)
        if prepared and number < parts:
            ready(thread, addresses)
        phase, start, stop, taken = 0, 0, to_second, 0
        while number < parts:
            while number >= stop:
                phase, start, taken = phase + 1, stop, 0
                stop = to_third if phase == 1 else parts
            if called:
                part = taken
                taken += 1
            else:
                part = stop - start - 1 - add_at(shared + BY_HELPERS + 8 * phase, 1)
            wait_for(shared + DONE, start)
            if phase == 0:
                first(part, thread, addresses)
            elif phase == 1:
                second(part, thread, addresses)
            else:
                third(part, thread, addresses)
            add_at(shared + DONE, 1)
            number = add_at(shared + TAKEN, 1)
        end(shared, mode)

    # Compiled code is told apart by its name, when it comes from files that several processes have written.
    run.__qualname__ = "_".join(["run", *(f"{phase.__module__}_{phase.__name__}" for phase in (first, *others))])
    return run


@intrinsic  # type: ignore[untyped-decorator]
def load_word(typing_context: Any, address: Any) -> Any:
    """The whole number (64 bits), or address, that is stored at an address."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(pointer_to(builder, arguments[0], ir.IntType(64)), align=4)

    return types.int64(types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def store_word(typing_context: Any, address: Any, word: Any) -> Any:
    """Store a whole number (64 bits) at an address."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[1], pointer_to(builder, arguments[0], ir.IntType(64)), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def call(typing_context: Any, function: Any, argument: Any) -> Any:
    """What the function of C at an address answers."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        of = ir.FunctionType(word, [word])
        return builder.call(pointer_to(builder, arguments[0], of), [arguments[1]])

    return types.int64(types.int64, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def allocate(typing_context: Any, count: Any) -> Any:
    """The address of so many bytes from the operating system."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(word, [word]), "malloc")
        return builder.call(function, arguments)

    return types.int64(types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def release(typing_context: Any, address: Any) -> Any:
    """Give back what `allocate` gave."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [word]), "free")
        builder.call(function, arguments)
        return context.get_dummy_value()

    return types.void(types.int64), code


def _array_at(size: int, array: Any) -> Any:
    """What an intrinsic needs to take the numbers from an address on as an array."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(array)(context, builder)
        each = ir.Constant(arguments[1].type, size)
        populate_array(
            made,
            data=pointer_to(builder, arguments[0], made.data.type.pointee),
            shape=cgutils.pack_array(builder, [arguments[1]]),
            strides=cgutils.pack_array(builder, [each]),
            itemsize=each,
            meminfo=None,
        )
        return made._getvalue()

    return array(types.int64, types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def numbers_at(typing_context: Any, address: Any, count: Any) -> Any:
    """So many single-precision numbers from an address on, as an array."""
    return _array_at(4, types.Array(types.float32, 1, "C"))


@intrinsic  # type: ignore[untyped-decorator]
def bytes_at(typing_context: Any, address: Any, count: Any) -> Any:
    """So many bytes from an address on, as an array."""
    return _array_at(1, types.Array(types.uint8, 1, "C"))


@intrinsic  # type: ignore[untyped-decorator]
def whole_at(typing_context: Any, address: Any, index: Any) -> Any:
    """The whole number (32 bits) of this index from an address on."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = pointer_to(builder, arguments[0], ir.IntType(32))
        return builder.sext(builder.load(builder.gep(start, [arguments[1]])), ir.IntType(64))

    return types.int64(types.int64, types.int64), code
