"""Residuals and gradients of a linear model in twice the working precision, by matrix products that make no error.

A number in twice the working precision is a pair hi + lo of float64 with |lo| at most half a unit in hi's last place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

BITS = 53  # of a float64's fraction
X_PIECES, OTHER_PIECES = 3, 4  # of 17 bits or more: what a last piece loses is 2^-87 of the sum at worst


@dataclass(frozen=True)
class Pair:
    """Arrays hi + lo of one shape."""

    hi: Array
    lo: Array

    @classmethod
    def of(cls, value: Array) -> Pair:
        return cls(value, np.zeros_like(value))

    def plus(self, value: Array) -> Pair:
        """The sum with float64 numbers."""
        high, low = two_sum(self.hi, value)
        return Pair(*_fast_two_sum(high, low + self.lo))

    def plus_pair(self, other: Pair) -> Pair:
        """The sum with another pair (Dekker, Numer. Math. 18, 1971)."""
        high, low = two_sum(self.hi, other.hi)
        high, low = _fast_two_sum(high, low + (self.lo + other.lo))
        return Pair(high, low)

    def times(self, factor: Array) -> Pair:
        """The product with float64 numbers."""
        high, low = two_product(self.hi, factor)
        return Pair(*_fast_two_sum(high, low + self.lo * factor))

    def times_pair(self, other: Pair) -> Pair:
        """The product with another pair."""
        high, low = two_product(self.hi, other.hi)
        return Pair(*_fast_two_sum(high, low + (self.hi * other.lo + self.lo * other.hi)))

    def over(self, divisor: Array) -> Pair:
        """The quotient by float64 numbers."""
        quotient = self.hi / divisor
        high, low = two_product(quotient, divisor)
        return Pair(*_fast_two_sum(quotient, ((self.hi - high) - low + self.lo) / divisor))

    def __getitem__(self, key: Any) -> Pair:
        return Pair(self.hi[key], self.lo[key])

    def rounded(self) -> Array:
        return self.hi + self.lo


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """s = fl(a + b) and e with s + e = a + b exactly (Knuth, Seminumerical Algorithms, theorem 4.2.2B).

    >>> two_sum(np.array([1.0]), np.array([1e-20]))
    (array([1.]), array([1.e-20]))
    """
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


def _fast_two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """As `two_sum`, for |a| >= |b|."""
    total = a + b
    return total, b - (total - a)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """q = fl(a b) and e with q + e = a b exactly, where nothing overflows (Veltkamp; Dekker 1971, section 5).

    >>> high, low = two_product(np.array([1.0 + 2.0**-30]), np.array([1.0 + 2.0**-30]))
    >>> bool(high[0] == 1.0 + 2.0**-29), bool(low[0] == 2.0**-60)
    (True, True)
    """
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def _halves(a: Array) -> tuple[Array, Array]:
    spread = a * 134217729.0  # 2^27 + 1
    high = spread - (spread - a)
    return high, a - high


@dataclass(frozen=True)
class Split:
    """Columns as the sum of a few pieces with so few bits that sums of products of pieces make no error.

    Column j is 2^(e_j) times the j-th columns of all pieces together, which lie between -1 and 1.
    """

    pieces: Sequence[Array]  # each (n, p)
    units: Array  # (p,) 2^(e_j)
    bits: int  # of a piece

    @classmethod
    def of(cls, columns: Array, memory: Array | None = None) -> Split:
        """Cut columns (n, p) for products with p or n terms; `memory` (X_PIECES, n, p) is used if given.

        The columns may lie in the last layer of it.
        """
        n, p = columns.shape
        memory = np.empty((X_PIECES, n, p)) if memory is None else memory
        units = _units(columns)
        bits = (BITS - math.ceil(math.log2(max(n, p, 2)))) // 2
        _cut(np.divide(columns, units, out=memory[-1]), bits, memory)
        return cls(list(memory), units, bits)

    def residual(self, y: Array, coef: Pair) -> Pair:
        """y - X W (n, m), as if computed exactly and then rounded to a pair."""
        scaled = Pair(coef.hi * self.units[:, None], coef.lo * self.units[:, None])
        size = _units(scaled.hi)
        fitted = _product(self.pieces, self._cut_pair(scaled, size), size)
        return Pair(-fitted.hi, -fitted.lo).plus(y)

    def correlations(self, other: Pair) -> Pair:
        """X'R (p, m) for a pair R (n, m), as if computed exactly and then rounded to a pair."""
        size = _units(other.hi)
        columns = [piece.T for piece in self.pieces]
        return _product(columns, self._cut_pair(other, size), size * self.units[:, None])

    def _cut_pair(self, a: Pair, units: Array) -> Sequence[Array]:
        found = np.empty((OTHER_PIECES, *a.hi.shape))
        _cut(np.divide(a.hi, units, out=found[-1]), self.bits, found)
        found[-1] += a.lo / units
        return list(found)


def _units(a: Array) -> Array:
    """For each column the least power of two above all |a|; 1 for a column of zeros."""
    exponents = np.frexp(np.maximum(a.max(axis=0), -a.min(axis=0)))[1]
    return np.asarray(np.ldexp(1.0, np.clip(exponents, -1000, 1000)))


def _cut(a: Array, bits: int, pieces: Array) -> None:
    """Write arrays whose sum is `a` (|a| < 1), the k-th on a grid of 2^(-k bits) and at most half the step before it.

    Sums of up to 2^(53 - 2 bits) products of such pieces, the last ones apart, are exact in any order (Ozaki, Ogita,
    Oishi and Rump, Numer. Algorithms 59, 2012): it does not matter how BLAS adds them. The last piece, which may lie
    where `a` does, is what the others leave.
    """
    rest = pieces[-1]
    for k, piece in enumerate(pieces[:-1]):
        anchor = 1.5 * 2.0 ** (BITS - 1 - (k + 1) * bits)
        np.add(rest if k else a, anchor, out=piece)
        piece -= anchor
        np.subtract(rest if k else a, piece, out=rest)


def _product(x: Sequence[Array], other: Sequence[Array], units: Array) -> Pair:
    """units times X W for the pieces of X (n, p) and of W (p, m), as a pair (n, m)."""
    m = other[0].shape[1]
    side_by_side = np.hstack(other)
    total = Pair.of(np.zeros((x[0].shape[0], m)))
    for piece in x:
        terms = np.ascontiguousarray((piece @ side_by_side).T)
        for k in range(len(other)):
            total = total.plus(terms[k * m : (k + 1) * m].T)
    return Pair(total.hi * units, total.lo * units)
