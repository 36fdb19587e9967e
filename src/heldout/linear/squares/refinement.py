"""Refinement of a least-squares solution: the residuals of the data as given, and a step that takes them out."""

from __future__ import annotations

import functools
from typing import Any, Protocol

import numpy as np

from heldout.linear.blocks import in_threads, one_blas_thread, split_rows
from heldout.linear.squares.extended import X_PIECES, Pair, Split
from heldout.linear.triangular import MAX_PARTS, Array, Rows, block_rows

EPS = float(np.finfo(np.float64).eps)
EXACT_ENOUGH = 16.0  # growth of rounding errors that no refinement is worth: about one digit
WELL_CONDITIONED = 100.0  # beyond it residuals in double precision were seen to lose digits (NIST Wampler5)
SMALL = 2**18  # numbers in X up to which exact residuals take a millisecond or two, and are always taken
MOST_STEPS = 30


class Factors(Protocol):
    """A factorisation of X'X for the (centred) columns."""

    @property
    def route(self) -> str: ...
    @property
    def rank(self) -> int: ...
    @property
    def condition(self) -> float: ...
    @property
    def loss(self) -> float: ...
    def solve_normal(self, g: Array) -> Array: ...
    def root(self) -> Array: ...


def refined(rows: Rows, factors: Factors, coef: Array, fit_intercept: bool) -> tuple[Array, Array]:
    """Coefficients (p, m) and intercepts (m,) improved by w <- w + (X'X)^+ X'(y - b - X w).

    The corrected semi-normal equations (Bjorck, Linear Algebra Appl. 88, 1987). For small data and for columns
    that are nearly dependent, residuals and their products with the columns are computed in twice the working
    precision, and steps are taken until they no longer shrink.
    """
    intercept = rows.mean_y - rows.mean_x @ coef
    if needs_exact_products(rows.x, factors):
        return _many_steps(rows, factors, coef, intercept, fit_intercept)
    if factors.loss <= EXACT_ENOUGH:
        return coef, intercept
    return _one_step(rows, factors, coef, fit_intercept)


def needs_exact_products(x: Array, factors: Factors) -> bool:
    """Whether sums in double precision would lose digits of the result, or their exact form costs next to nothing."""
    return factors.condition > WELL_CONDITIONED or x.size <= SMALL


def _one_step(rows: Rows, factors: Factors, coef: Array, fit_intercept: bool) -> tuple[Array, Array]:
    p = len(coef)
    gradient, left, total = block_sums(functools.partial(_block_sums, rows, coef), len(rows.x), (block_rows(p), p), 1)
    with one_blas_thread:
        coef = coef + factors.solve_normal(gradient)
        intercept = rows.mean_y - rows.mean_x @ coef
    return coef, intercept + left / total if fit_intercept else intercept  # what rounding has left of the means


def _block_sums(rows: Rows, coef: Array, part: slice, memory: Array) -> tuple[Any, ...]:
    """Sums over a block of v x res', v res and v, with x and res = y - W'x counted from the means."""
    x = memory[0]
    res = np.empty((len(x), rows.y.shape[1]))
    rows.fill(part, x, res)
    res -= x @ coef
    root = np.ones(len(x)) if rows.root_weights is None else rows.root_weights[part]
    return x.T @ res, root @ res, root @ root


def block_sums(work: Any, n: int, block: tuple[int, int], layers: int) -> tuple[Any, ...]:
    """The sums that `work(rows, memory)` makes of blocks of rows, in a fixed order; memory is (layers, rows, width)."""
    runs = split_rows(n, max(1, min(MAX_PARTS, n // block[0])))
    return functools.reduce(_add, in_threads(functools.partial(_run_sums, work, block, layers), runs))


def _run_sums(work: Any, block: tuple[int, int], layers: int, run: slice) -> tuple[Any, ...]:
    length = run.stop - run.start
    parts = [slice(run.start + b.start, run.start + b.stop) for b in split_rows(length, -(-length // block[0]))]
    memory = np.empty((layers, max(part.stop - part.start for part in parts), block[1]))
    return functools.reduce(_add, (work(part, memory[:, : part.stop - part.start]) for part in parts))


def _add(one: tuple[Any, ...], other: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(a.plus_pair(b) if isinstance(a, Pair) else a + b for a, b in zip(one, other, strict=True))


def _many_steps(
    rows: Rows, factors: Factors, coef: Array, intercept: Array, fit_intercept: bool
) -> tuple[Array, Array]:
    """Steps for (b; W) as one pair, until they fall below rounding or stop shrinking by half."""
    solution = Pair.of(np.vstack([intercept, coef]) if fit_intercept else coef)
    block, before = exact_block(len(solution.hi)), np.inf
    for _ in range(MOST_STEPS):
        work = functools.partial(_exact_block_sums, rows, solution, fit_intercept)
        gradient, total = block_sums(work, len(rows.x), block, X_PIECES)
        step = step_of(gradient, float(total), rows.mean_x, factors, fit_intercept)
        with np.errstate(divide="ignore", invalid="ignore"):
            size = float(np.nanmax(np.abs(step / solution.hi), initial=0.0))
        if size > before / 2:
            break
        solution, before = solution.plus(step), size
        if size * min(1.0, 10.0 * factors.loss * EPS) <= EPS / 4:  # as far as the next step would go
            break
    result = solution.rounded()
    return (result[1:], result[0]) if fit_intercept else (result, intercept)


def exact_block(width: int) -> tuple[int, int]:
    """Rows and columns of a block that is multiplied without error, in X_PIECES layers."""
    return -(-block_rows(width) // X_PIECES), width


def _exact_block_sums(rows: Rows, solution: Pair, fit_intercept: bool, part: slice, memory: Array) -> tuple[Any, ...]:
    """[1, X]' V (y - b - X W) of a block as a pair (1 + p, m), and the sum of its weights."""
    x = rows.with_ones(part, memory[-1], fit_intercept)
    columns = Split.of(x, memory)
    left = columns.residual(rows.y[part], solution)
    if rows.weights is None:
        return columns.correlations(left), float(len(x))
    weights = rows.weights[part]
    return columns.correlations(left.times(weights[:, None])), float(weights.sum())


def step_of(gradient: Pair, total: float, mean_x: Array, factors: Factors, fit_intercept: bool) -> Array:
    """The step for (b; W), or W: the gradient is counted from the means first, in twice the working precision."""
    if not fit_intercept:
        with one_blas_thread:
            return factors.solve_normal(gradient.rounded())
    first, rest = gradient[:1], gradient[1:]
    centred = rest.plus_pair(first.times(-mean_x[:, None])).rounded()
    with one_blas_thread:
        w = factors.solve_normal(centred)
        b = first.rounded() / total - mean_x @ w
    return np.vstack([b, w])
