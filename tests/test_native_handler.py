"""What threads do for XLA's calls, compiled by one process and loaded by another, as Numba's cache has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

NAMES = ("once", "twice", "thrice")
KERNEL = '''
import jax, numpy as np
from numba import njit
from heldout.neural.native.functions import total
from heldout.neural.native.handler import address_of, load_word, numbers, numbers_at, register, serve, whole_at
from heldout.neural.native.tiles import COMPILED

@njit(**COMPILED)
def _piece(form, part):
    """Of a piece of four numbers: its array, its first number there, and how many it has."""
    array, size = 0, whole_at(form, 3)
    while part * 4 >= size:
        part -= (size + 3) // 4
        array += 1
        size = whole_at(form, 3 + 2 * array)
    return array, part * 4, min(4, size - part * 4)

@njit(**COMPILED)
def _sum_part(part, thread, addresses):
    form = load_word(addresses)
    array, first, count = _piece(form, part)
    given = numbers_at(load_word(addresses + 8 + 8 * array) + 4 * first, count)
    numbers_at(load_word(addresses + 40), whole_at(form, 2))[part] = total(given)

@njit(**COMPILED)
def _times_part(part, thread, addresses):
    form = load_word(addresses)
    array, first, count = _piece(form, part)
    out, pieces = numbers_at(load_word(addresses + 32), 6), whole_at(form, 2)
    out[part] = FACTOR * total(numbers_at(load_word(addresses + 40), pieces)) + np.float32(part)

_address_of = address_of(_sum_part, _times_part)

def _serve(frame):
    return serve(frame, _address_of())

def times():
    register(TARGET=_serve)
    given = [np.full(size, number, np.float32) for size, number in ((1, 1.0), (9, 10.0), (7, 100.0))]
    form = np.array([12, 2, 6, 1, 0, 9, 0, 7], np.int32)
    return jax.ffi.ffi_call("TARGET", (numbers(6), numbers(6)))(form, *given)[0]
'''


def test_kernels_of_several_processes(tmp_path: Path) -> None:
    """Each kernel is compiled by a process of its own; the last one loads them all, and each does its own work."""
    for factor, name in enumerate(NAMES, start=1):
        text = KERNEL.replace("TARGET", f"heldout_test_{name}").replace("FACTOR", f"np.float32({factor})")
        (tmp_path / f"{name}.py").write_text(text)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def told(*names: str) -> list[str]:
        calls = "; ".join(f"import {name}; print({name}.times().tolist())" for name in names)
        found = subprocess.run(
            [sys.executable, "-c", calls], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stderr
        return found.stdout.splitlines()

    each = [str([factor * 791.0 + part for part in range(6)]) for factor in range(1, len(NAMES) + 1)]
    for name, numbers in zip(NAMES, each, strict=True):
        assert told(name) == [numbers]
    assert told(*NAMES) == each
