"""Products of Legendre polynomials: their values, least squares with them to the last digit, and their powers.

A product is given by its exponents a (p,): P_{a_1}(t_1) ... P_{a_p}(t_p), with t = (x - c) / h between -1 and 1.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.polynomial.legendre import legvander

from heldout.linear.squares.extended import Pair, Split
from heldout.linear.squares.least_squares import factorise, least_squares
from heldout.linear.squares.refinement import SMALL, step_of
from heldout.linear.triangular import Array

Exponents: TypeAlias = tuple[int, ...]
Powers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

LARGEST = 1e250  # products in twice the working precision overflow a little earlier than float64 does
STEPS = 3  # each gains ten digits or more, for the condition number of this basis is small


def values(x: Array, center: Array, scale: Array, powers: Powers) -> Array:
    """The products (n, q) for rows x (n, p)."""
    with np.errstate(over="ignore"):  # far from the training data a power may leave float64
        factors = legvander((x - center) / scale, int(powers.max()))  # (n, p, 1 + d)
    found = np.empty((len(x), len(powers)))
    for k, exponents in enumerate(powers):
        first, *others = np.flatnonzero(exponents)
        found[:, k] = factors[:, first, exponents[first]]
        for j in others:
            found[:, k] *= factors[:, j, exponents[j]]
    return found


def pairs(x: Array, center: Array, scale: Array, powers: Powers) -> Pair:
    """As `values`, in twice the working precision."""
    t = Pair.of(x).plus(-center).over(scale)
    factors = [Pair.of(np.ones_like(x)), t]
    for k in range(1, int(powers.max())):  # (k + 1) P_{k+1} = (2k + 1) t P_k - k P_{k-1}
        upper, lower = (
            t.times_pair(factors[k]).times(np.array(2.0 * k + 1.0)),
            factors[k - 1].times(np.array(-float(k))),
        )
        factors.append(upper.plus_pair(lower).over(np.array(k + 1.0)))
    found = Pair(np.empty((len(x), len(powers))), np.empty((len(x), len(powers))))
    for k, exponents in enumerate(powers):
        first, *others = np.flatnonzero(exponents)
        product = factors[exponents[first]][:, first]
        for j in others:
            product = product.times_pair(factors[exponents[j]][:, j])
        found.hi[:, k], found.lo[:, k] = product.hi, product.lo
    return found


def fit(
    x: Array, y: Array, weights: Array | None, center: Array, scale: Array, powers: Powers, tol: float | None
) -> tuple[Pair, int, float]:
    """Least squares: the constant's coefficient and the products' (1 + q, m), their rank, and their condition number.

    The coefficients of the powers can be many orders of magnitude smaller than these, so that the errors of these
    show. For data of moderate size the products, the residuals and the coefficients are therefore computed in twice
    the working precision.
    """
    exact = len(x) * len(powers) <= SMALL and bool(np.all(np.abs(x) < LARGEST))
    terms = pairs(x, center, scale, powers) if exact else Pair.of(values(x, center, scale, powers))
    found = least_squares(terms.hi, y, weights, fit_intercept=True, tol=tol)
    solution = Pair.of(np.vstack([found.intercept, found.coef]))
    if exact and found.rank == len(powers):
        solution = _refined(terms, y, weights, solution, tol)
    return solution, found.rank, found.condition


def _refined(terms: Pair, y: Array, weights: Array | None, solution: Pair, tol: float | None) -> Pair:
    """The solution after a few steps with the products' lower halves as columns of their own."""
    rows, factors, _, total = factorise(terms.hi, y, weights, fit_intercept=True, tol=tol)
    columns = Split.of(np.hstack([np.ones((len(y), 1)), terms.hi, terms.lo]))
    width = len(solution.hi)
    for _ in range(STEPS):
        both = Pair(*(np.vstack([half, half[1:]]) for half in (solution.hi, solution.lo)))
        residual = columns.residual(y, both)
        gradient = columns.correlations(residual if weights is None else residual.times(weights[:, None]))
        low = gradient[width:].rounded()
        gradient = gradient[:width].plus(np.vstack([np.zeros_like(low[:1]), low]))
        solution = solution.plus(step_of(gradient, total, rows.mean_x, factors, True))
    return solution


def expansions(degree: int, center: float, scale: float) -> list[list[Fraction]]:
    """P_k((x - c) / h) = sum_j [k][j] x^j for k = 0..degree, exactly."""
    c, h = Fraction(center), Fraction(scale)
    polynomials = [[Fraction(1)], [-c / h, 1 / h]]
    for k in range(1, degree):
        shifted = _times_t(polynomials[k], c, h)
        last = [*polynomials[k - 1], Fraction(0), Fraction(0)]
        polynomials.append([((2 * k + 1) * a - k * b) / (k + 1) for a, b in zip(shifted, last, strict=True)])
    return polynomials


def _times_t(polynomial: list[Fraction], c: Fraction, h: Fraction) -> list[Fraction]:
    """A polynomial in x times (x - c) / h."""
    raised, lowered = [Fraction(0), *polynomial], [*polynomial, Fraction(0)]
    return [(a - c * b) / h for a, b in zip(raised, lowered, strict=True)]


def expanded(terms: dict[Exponents, Fraction], expansions: list[list[list[Fraction]]]) -> dict[Exponents, Fraction]:
    """The coefficients of the powers: the products of Legendre polynomials multiplied out, and like terms added."""
    found: dict[Exponents, Fraction] = defaultdict(Fraction)
    for exponents, value in terms.items():
        columns = [j for j, exponent in enumerate(exponents) if exponent]
        key = list(exponents)
        for powers in itertools.product(*(range(exponents[j] + 1) for j in columns)):
            part = value
            for j, power in zip(columns, powers, strict=True):
                key[j] = power
                part *= expansions[j][exponents[j]][power]
            found[tuple(key)] += part
    return found
