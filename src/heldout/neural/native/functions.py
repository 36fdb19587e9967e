"""Exponential functions that LLVM turns into vectors, and sums of rows, all in single precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from heldout.neural.native.tiles import COMPILED, in_wide_registers

QUICK: dict[str, Any] = {**COMPILED, "fastmath": {"contract"}}
LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # together ln 2; the first in few bits
SMALLEST = np.float32(-87.0)  # whose exponential is still a normal number
ONE, TWO = np.float32(1.0), np.float32(2.0)
FIRST, SECOND, THIRD = (np.float32(value / 99) for value in (210, 144, 32))
WHOLE = np.float32(1.5 * 2**23)  # a number of this size has no digits behind the point
# Of e^r = 1 + r + C2 r² + ... + C6 r⁶ for |r| up to ln 2 / 2, chosen for the least greatest error, which is 3e-9.
C2, C3, C4, C5, C6 = (
    np.float32(value)
    for value in (
        0.5000000095184887,
        0.16666518839458594,
        0.041666205803689106,
        0.008368889373105828,
        0.0013950491036478514,
    )
)


@njit(**QUICK)  # type: ignore[untyped-decorator]
def sigmoid(z: Any) -> Any:
    """1 / (1 + e^-z)."""
    scale, series = _exp_of(-abs(z))
    t = scale * series + scale
    return (ONE if z >= np.float32(0.0) else t) * _reciprocal(ONE + t)


@njit(**QUICK)  # type: ignore[untyped-decorator]
def tanh(z: Any) -> Any:
    """(1 - e^-2z) / (1 + e^-2z), to the last digits near 0 too."""
    scale, series = _exp_of(-TWO * abs(z))
    t = scale * series + (scale - ONE)  # e^-2|z| - 1
    size = -t * _reciprocal(t + TWO)
    return size if z >= np.float32(0.0) else -size


@njit(**QUICK)  # type: ignore[untyped-decorator]
def exp(z: Any) -> Any:
    """e^z, for z of 0 or less; at least e^-87, which is 1.6e-38."""
    scale, series = _exp_of(z)
    return scale * series + scale


@njit(**QUICK)  # type: ignore[untyped-decorator]
def _reciprocal(d: Any) -> Any:
    """1 / d for d from 1 to 2, which is slow: Chebyshev's parabola, off by 1/99, and two steps of Newton's."""
    r = (FIRST - SECOND * d) + THIRD * d * d
    r += r * (ONE - d * r)
    return r + r * (ONE - d * r)


@njit(**QUICK)  # type: ignore[untyped-decorator]
def _exp_of(z: Any) -> tuple[Any, Any]:
    """2^n, and e^r - 1 by a polynomial, so that e^z = 2^n e^r with r the nearest to 0; for z of 0 or less."""
    z = max(z, SMALLEST)
    shifted = z * LOG2_E + WHOLE
    n = shifted - WHOLE
    r = (z - n * LN2_HIGH) - n * LN2_LOW
    return _power_of_two(shifted), r + r * r * (C2 + r * (C3 + r * (C4 + r * (C5 + r * C6))))


@intrinsic  # type: ignore[untyped-decorator]
def _power_of_two(typing_context: Any, shifted: Any) -> Any:
    """2^n of n + WHOLE, in whose last bits n is."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        exponent = builder.shl(builder.bitcast(arguments[0], word), word(23))
        return builder.bitcast(builder.add(exponent, word(127 << 23)), ir.FloatType())

    return types.float32(types.float32), code


@njit(**COMPILED, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def along(a: Any, b: Any, count: int) -> Any:
    """Σ a[j] b[j] of the first numbers of two rows."""
    in_wide_registers()
    total = np.float32(0.0)
    for j in range(count):
        total += a[j] * b[j]
    return total


@njit(**COMPILED, fastmath={"reassoc", "contract"})  # type: ignore[untyped-decorator]
def total(row: Any) -> Any:
    """Σ row[j] of a row."""
    found = np.float32(0.0)
    for j in range(len(row)):
        found += row[j]
    return found
