"""Two-class problems that share their rows, solved as one matrix problem: one-vs-one and one-vs-rest on large tables.

Newton's method by conjugate gradients. A block holds rows of one class, which stand on the same side in every problem,
so that its products with all problems' coefficients are one matrix product; each problem has its own step lengths.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from heldout.linear.blocks import Map, split_rows, threads
from heldout.linear.margin.losses import LOSSES
from heldout.linear.minimum import ROUNDING, SHORTEST, SUFFICIENT, Minimum
from heldout.linear.triangular import block_rows

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

LOOSEST, TIGHTEST = 0.5, 0.05  # a direction leaves at most this share of the gradient; near the end, the smaller
MOST_PRODUCTS = 250  # with the Hessian, for one direction
WORN = 8  # products for one direction that make a new preconditioner worth its work
FLAT = 1e-14  # curvature along a direction, as a share of its squared length, that counts as none
ROWS_PER_COLUMN = 16  # sampled for a preconditioner
UNCERTAIN = 1e-6  # of the curvature's largest, added to each row's, so that no row is out of reach
DAMPING = 1e-6  # of the greatest diagonal element: Cholesky in single precision needs it
WIDEST = 4000  # columns whose Gram matrices are worth their factors


@dataclass(frozen=True)
class Block:
    """Rows (m,) of a table, all of one class; the problems (j,) they take part in, and their side there, 1 or -1."""

    rows: Array
    weights: Array  # (m,)
    problems: Array
    signs: Array
    quick: Array  # (m, 1 + p), the features in single precision: for products with the Hessian


@dataclass
class State:
    """Where every problem is: coefficients (K, q), objective (K,), gradient (K, q), and bends (j, m) of each block."""

    coef: Array
    value: Array
    gradient: Array
    bends: list[Array]


@dataclass(frozen=True)
class Together:
    """K problems sum_i v_i loss(y_i (w'z_i)) / v + lambda / 2 |w|^2, for z = [1, (x - mean) / scale]."""

    x: Array
    blocks: Sequence[Block]
    loss: str
    mean: Array  # (p,)
    scale: Array  # (p,)
    ones: float  # 1, or 0 where there is no intercept
    shares: Array  # (K,) 1 / the weight of a problem's rows
    penalty: Array  # (K, 1 + p)
    map: Map

    def evaluate(self, coef: Array, asked: Array) -> State:
        """The state of the problems `asked` (K,) for; of the others nothing that counts."""
        value, gradient = 0.5 * (self.penalty * coef**2).sum(axis=1), self.penalty * coef
        parts = self.map(functools.partial(self._evaluate, coef, asked), self.blocks)
        for own, part_value, part_gradient, _ in parts:
            value[own] += part_value
            gradient[own] += part_gradient
        return State(coef, value, gradient, [part[3] for part in parts])

    def _evaluate(self, coef: Array, asked: Array, block: Block) -> tuple[Array, Array, Array, Array]:
        taken = asked[block.problems]
        own, signs = block.problems[taken], block.signs[taken][:, None]
        z = _features(self.x[block.rows], self.mean, self.scale, self.ones)
        loss, slope, bend = _derivatives(self.loss, signs * (coef[own] @ z.T))
        weights = self.shares[own][:, None] * block.weights
        bends = np.zeros((len(block.problems), len(block.rows)), dtype=np.float32)
        bends[taken] = weights * bend
        return own, (weights * loss).sum(axis=1), (weights * slope * signs) @ z, bends

    def product(self, bends: list[Array], direction: Array, asked: Array) -> Array:
        """The Hessians times a direction (K, q), for the problems `asked` for."""
        tasks = list(zip(self.blocks, bends, strict=True))
        total = self.penalty * direction
        for own, part in self.map(functools.partial(_product, direction.astype(np.float32), asked), tasks):
            total[own] += part
        return np.asarray(total)

    def factors(self, bends: list[Array], asked: Array) -> dict[int, Any]:
        """For each problem asked for, Cholesky's factor of its Hessian as a sample of rows has it."""
        wanted = np.flatnonzero(asked).tolist()
        return dict(zip(wanted, self.map(functools.partial(self._factor, bends), wanted), strict=True))

    def _factor(self, bends: list[Array], k: int) -> Any:
        own = [(block, bend[block.problems == k][0]) for block, bend in zip(self.blocks, bends, strict=True)
               if k in block.problems]  # fmt: skip
        q = self.penalty.shape[1]
        parts = np.concatenate([bend for _, bend in own]).astype(np.float64)
        parts += UNCERTAIN * (parts.max() or 1.0)
        share = np.minimum(1.0, min(len(parts), ROWS_PER_COLUMN * q) * parts / parts.sum())
        chosen = (np.diff(np.floor(np.cumsum(share)), prepend=0.0) > 0.0) | (share >= 1.0)
        cuts = np.cumsum([0, *(len(block.rows) for block, _ in own)])
        z = np.concatenate([b.quick[chosen[low:high]] for (b, _), low, high in zip(own, cuts, cuts[1:], strict=False)])
        z *= np.sqrt(parts[chosen] / share[chosen]).astype(np.float32)[:, None]
        gram = z.T @ z
        gram[np.diag_indices_from(gram)] += (self.penalty[k] + DAMPING * (gram.diagonal().max() or 1.0)).astype(
            np.float32
        )
        return cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)

    def solved(self, factors: dict[int, Any], residual: Array, asked: Array) -> Array:
        """The factors' systems solved for the residuals (K, q) of the problems asked for; zero for the others."""
        found = np.zeros_like(residual)

        def fill(k: int) -> None:
            found[k] = cho_solve(factors[k], residual[k].astype(np.float32), check_finite=False)

        self.map(fill, np.flatnonzero(asked).tolist())
        return found


def minimise(
    x: Array,
    codes: Array,
    roles: Array,
    weights: Array,
    *,
    loss: str,
    ridge: float,
    fit_intercept: bool,
    tol: float,
    max_iter: int,
) -> list[Minimum]:
    """The minima of sum_i v_i loss(y_i (w'x_i + b)) + ridge / 2 |w|^2, each over the rows that take part.

    `roles` (classes, K) says for each class (`codes` (n,) of the rows) and problem: 1, -1, or 0 for no part. Iterates
    to a gradient, divided by the weight of the rows, whose largest part is `tol` for standardised columns.
    """
    with threads(len(codes)) as map_:
        together = _prepare(x, codes, roles, weights, loss, ridge, fit_intercept, map_)
        state, n_iter = _iterate(together, tol, max_iter)
    w = state.coef[:, 1:] / together.scale
    b = state.coef[:, 0] - w @ together.mean
    largest = np.abs(state.gradient).max(axis=1)
    return [Minimum(w[k], float(b[k]), int(n_iter[k]), float(largest[k])) for k in range(len(w))]


def _prepare(
    x: Array, codes: Array, roles: Array, weights: Array, loss: str, ridge: float, fit_intercept: bool, map_: Map
) -> Together:
    n, p = x.shape
    runs, parts = split_rows(n, -(-n // block_rows(p))), weights / weights.sum()
    totals = np.array([weights[roles[codes, k] != 0].sum() for k in range(roles.shape[1])])
    mean = np.sum(map_(lambda run: parts[run] @ x[run], runs), axis=0) if fit_intercept else np.zeros(p)
    squares = np.sum(map_(lambda run: parts[run] @ (x[run] - mean) ** 2, runs), axis=0)
    scale = np.sqrt(squares + ridge / totals.min())
    ones = float(fit_intercept)

    def block(task: tuple[int, Array]) -> Block:
        label, rows = task
        problems = np.flatnonzero(roles[label])
        quick = _features(x[rows], mean, scale, ones).astype(np.float32)
        return Block(rows, weights[rows], problems, roles[label, problems].astype(np.float64), quick)

    rows_of = [np.flatnonzero(codes == label) for label in range(len(roles))]
    tasks = [
        (label, rows[run])
        for label, rows in enumerate(rows_of)
        for run in split_rows(len(rows), -(-len(rows) // block_rows(p)))
    ]
    penalty = np.concatenate([[1.0 - ones], ridge / scale**2]) / totals[:, None]
    return Together(x, map_(block, tasks), loss, mean, scale, ones, 1.0 / totals, penalty, map_)


def _features(x: Array, mean: Array, scale: Array, ones: float) -> Array:
    z = np.empty((len(x), 1 + x.shape[1]))
    z[:, 0] = ones
    np.subtract(x, mean, out=z[:, 1:])
    z[:, 1:] /= scale
    return z


def _derivatives(loss: str, margin: Array) -> tuple[Array, Array, Array]:
    """The loss, its slope and its curvature."""
    if loss == "log":
        rest = np.exp(-np.abs(margin))
        other = np.where(margin >= 0.0, rest, 1.0) / (1.0 + rest)
        return np.log1p(rest) + np.maximum(-margin, 0.0), -other, other * (1.0 - other)
    found = LOSSES[loss]
    assert found.curvature is not None
    return found.value(margin), found.slope(margin), found.curvature(margin)


def _product(direction: Array, asked: Array, task: tuple[Block, Array]) -> tuple[Array, Array]:
    block, bends = task
    taken = asked[block.problems]
    own = block.problems[taken]
    with np.errstate(invalid="ignore"):  # BLAS may compute beyond the end of small blocks, with what lies there
        change = direction[own] @ block.quick.T
    change *= bends[taken]
    return own, change @ block.quick


def _iterate(together: Together, tol: float, max_iter: int) -> tuple[State, Array]:
    asked = np.ones(len(together.shares), dtype=bool)
    state = together.evaluate(np.zeros_like(together.penalty), asked)
    n_iter, used = np.zeros(len(asked), dtype=np.int64), np.full(len(asked), WORN)
    factors: dict[int, Any] = {}
    for _ in range(max_iter):
        asked &= np.abs(state.gradient).max(axis=1) > tol
        if not asked.any():
            break
        n_iter[asked] += 1
        factors |= together.factors(state.bends, asked & (used >= WORN))
        direction = _direction(together, state, factors, asked, used)
        state, moved = _search(together, state, direction, asked)
        asked &= moved
    return state, np.maximum(n_iter, 1)


def _direction(together: Together, state: State, factors: dict[int, Any], asked: Array, used: Array) -> Array:
    """-H^-1 g of each problem by preconditioned conjugate gradients, stopped early; counts products in `used`."""
    going, residual = asked.copy(), np.where(asked[:, None], -state.gradient, 0.0)
    ahead = together.solved(factors, residual, going)
    found, size = np.zeros_like(residual), (residual * ahead).sum(axis=1)
    target = size * np.clip(np.sqrt(size), TIGHTEST, LOOSEST) ** 2
    used[asked] = 0
    for turn in range(MOST_PRODUCTS):
        bent = together.product(state.bends, ahead, going)
        used[going] += 1
        curvature = (ahead * bent).sum(axis=1)
        flat = going & ~(curvature > FLAT * (ahead**2).sum(axis=1))
        if turn == 0:
            found[flat] = ahead[flat]
        going &= ~flat
        step = np.where(going, size / np.where(going, curvature, 1.0), 0.0)[:, None]
        found += step * ahead
        residual -= step * bent
        solved = together.solved(factors, residual, going)
        new = (residual * solved).sum(axis=1)
        going &= new > target
        if not going.any():
            break
        ahead = np.where(going[:, None], ahead * (new / np.where(size > 0.0, size, 1.0))[:, None] + solved, 0.0)
        size = new
    return found


def _search(together: Together, state: State, direction: Array, asked: Array) -> tuple[State, Array]:
    """Each problem at the first length of 1, 1/2, ... that decreases it enough, and which problems moved."""
    slope = (state.gradient * direction).sum(axis=1)
    largest = np.abs(state.gradient).max(axis=1)
    length, open_, moved, coef = np.where(asked, 1.0, 0.0), asked.copy(), np.zeros_like(asked), state.coef.copy()
    while True:
        trial = together.evaluate(state.coef + length[:, None] * direction, open_)
        equal = np.abs(trial.value - state.value) <= ROUNDING * np.abs(state.value)
        better = np.abs(trial.gradient).max(axis=1) < largest
        enough = np.where(equal, better, trial.value <= state.value + SUFFICIENT * length * slope) & open_
        coef[enough] = trial.coef[enough]
        moved |= enough
        open_ &= ~enough & ~equal & (length > SHORTEST)
        if not open_.any():
            break
        length = np.where(open_, length / 2.0, length)
    again = trial if np.array_equal(enough, asked) else together.evaluate(coef, moved)
    again.coef = coef
    again.value[~moved], again.gradient[~moved] = state.value[~moved], state.gradient[~moved]
    return again, moved
