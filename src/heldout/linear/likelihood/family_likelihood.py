"""The log-likelihood of a regression from one of the families, and the rows and columns that it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag, null_space, qr, solve_triangular
from scipy.optimize import linprog

from heldout.errors import InputError
from heldout.linear.likelihood.climbing import Coordinates, LogLikelihood, Outcome
from heldout.linear.likelihood.family import Family
from heldout.linear.softmax.loss import Array
from heldout.linear.squares.least_squares import factorise

EXACT = 1e-12  # residuals this small beside y are rounding
SHARE = 1e-8  # of a unit column in another: less is rounding
REFINEMENTS = 2  # of a projection; the columns are orthonormal but for rounding
AT_BOUND = 1e-9  # relative: a multiplier this near to its bound is at it


@dataclass(frozen=True)
class Design:
    """Rows of weight above zero, their columns replaced by orthonormal ones: A = [1, X] = Z B^-1.

    With fewer than p independent columns, B (p + 1, rank + 1) gives the coefficients of least norm.
    """

    z: Array  # (r, n), column by column
    basis: Array  # B (p + 1, r), or (p, r) without an intercept
    weights: Array  # (n,)

    @property
    def full_rank(self) -> bool:
        return len(self.basis) == len(self.z)

    def project(self, target: Array) -> Array:
        """The u (m, r) with the least squares sum_i w_i (target_i - u'z_i)^2, for targets (m, n)."""
        u = np.zeros((len(target), len(self.z)))
        for _ in range(1 + REFINEMENTS):
            u += ((target - u @ self.z) * self.weights) @ self.z.T
        return u


def make_design(x: Array, weights: Array, *, fit_intercept: bool) -> Design:
    """Orthonormal columns for x (n, p), under weights (n,) that are all above zero."""
    rows, factors, _, total = factorise(x, np.zeros((len(x), 1)), weights, fit_intercept=fit_intercept, tol=None)
    root = factors.root()  # (p, rank)
    z = ((x - rows.mean_x) @ root).T
    if fit_intercept:
        first = 1.0 / np.sqrt(total)
        z = np.vstack([np.full(len(x), first), z])
        root = block_diag(first, root)
        root[0, 1:] = -(rows.mean_x @ root[1:, 1:])
    return Design(np.ascontiguousarray(z), root, weights)


def dependence(x: Array, weights: Array, names: Sequence[str], *, fit_intercept: bool) -> str:
    """The sentence that says which column depends on which others; for x that is not of full rank."""
    root = np.sqrt(weights)[:, None]
    centred = (x - weights @ x / weights.sum() if fit_intercept else x) * root
    size = np.sqrt((centred**2).sum(axis=0))
    scale = np.where(size > SHARE * np.sqrt(((x * root) ** 2).sum(axis=0)), size, np.inf)
    _, r, order = qr(centred / scale, mode="economic", pivoting=True)
    rank = int(np.count_nonzero(np.abs(r.diagonal()) > SHARE * abs(r[0, 0])))
    dependent = names[order[min(rank, len(order) - 1)]]
    if not np.isfinite(scale[order[min(rank, len(order) - 1)]]):
        return f"Column {dependent!r} has the same value in every row"
    shares = solve_triangular(r[:rank, :rank], r[:rank, min(rank, len(order) - 1)])
    others = [repr(names[order[k]]) for k in np.flatnonzero(np.abs(shares) > SHARE)]
    return f"Column {dependent!r} is a linear combination of {', '.join(others)}{' and 1' if fit_intercept else ''}"


class FamilyLikelihood(LogLikelihood):
    """sum_i w_i log p(y_i | eta_i, auxiliary) with eta = U z; the coordinates are U, row by row, and log auxiliary."""

    def __init__(self, family: Family, design: Design, y: Array, names: tuple[str, ...] = (), title: str = "") -> None:
        self.family, self.design, self.y = family, design, y
        self.names, self.title = names, title
        self.n = self.total = float(design.weights.sum())
        self.predictors, self.auxiliaries = family.start(y, design.weights)
        self.m, self.r, self.q = len(self.predictors), len(design.z), len(self.auxiliaries)
        basis = design.basis if design.full_rank else np.eye(self.r)
        blocks = [np.kron(np.eye(self.m), basis), np.eye(self.q)]
        kinds = ("identity",) * (self.m * self.r) + ("log",) * self.q
        self.coordinates = Coordinates(block_diag(*blocks), kinds)

    def start(self) -> Array:
        """Coordinates to climb from: the family's own guess projected on the columns, or else all means alike."""
        guess = self.design.project(self.predictors)
        if "identity" in self.family.links:
            auxiliary = self.family.start(self.y - (guess @ self.design.z)[0], self.design.weights)[1]
            return self._join(guess, auxiliary)
        flat = np.average(self.predictors, axis=1, weights=self.design.weights)
        alike = self.design.project(np.repeat(flat[:, None], len(self.y), axis=1))
        for u in (guess, alike):
            if np.isfinite(self.value(self._join(u, self.auxiliaries))):
                return self._join(u, self.auxiliaries)
        raise InputError(f"link={self.family.link!r} finds no start with every mean above 0 here: take link='log'.")

    def fits_exactly(self) -> bool:
        """Whether least squares leaves nothing but rounding, so that the scale is zero and the likelihood unbounded."""
        if "identity" not in self.family.links:
            return False
        rest = self.y - (self.design.project(self.y[None]) @ self.design.z)[0]
        return bool(self.design.weights @ rest**2 <= EXACT**2 * (self.design.weights @ self.y**2))

    def _join(self, u: Array, auxiliary: Array) -> Array:
        return np.concatenate([u.ravel(), np.log(auxiliary)])

    def split(self, v: Array) -> tuple[Array, Array]:
        """U (m, r) and the auxiliary parameters (q,)."""
        return v[: self.m * self.r].reshape(self.m, self.r), np.exp(v[self.m * self.r :])

    def coefficients(self, v: Array) -> tuple[Array, Array]:
        """Those of the columns as given (m, p + 1), or (m, p), and the auxiliary parameters (q,)."""
        u, auxiliary = self.split(v)
        return u @ self.design.basis.T, auxiliary

    def row_densities(self, v: Array) -> Array:
        """log p(y_i | eta_i) (n,)."""
        u, auxiliary = self.split(v)
        return self.family.log_density(self.y, u @ self.design.z, auxiliary)

    def value(self, v: Array) -> float:
        with np.errstate(all="ignore"):
            total = float(self.design.weights @ self.row_densities(v))
        return total if np.isfinite(total) else -np.inf

    def derivatives(self, v: Array) -> tuple[Array, Array]:
        u, auxiliary = self.split(v)
        with np.errstate(all="ignore"):
            rows = self.family.derivatives(self.y, u @ self.design.z, auxiliary)
        first, second = rows.first * self.design.weights, rows.second * self.design.weights
        score = np.concatenate([(first[: self.m] @ self.design.z.T).ravel(), auxiliary * first[self.m :].sum(axis=1)])
        observed = -self._assemble(second, auxiliary)
        own = np.arange(self.m * self.r, len(v))
        observed[own, own] -= score[own]
        return score, observed

    def expected(self, v: Array) -> Array | None:
        u, auxiliary = self.split(v)
        rows = self.family.expected(u @ self.design.z, auxiliary)
        return None if rows is None else self._assemble(rows * self.design.weights, auxiliary)

    def outer(self, v: Array) -> Array | None:
        u, auxiliary = self.split(v)
        first = self.family.derivatives(self.y, u @ self.design.z, auxiliary).first
        scores = [first[a] * self.design.z for a in range(self.m)]
        whole = np.vstack([*scores, auxiliary[:, None] * first[self.m :]])
        return np.asarray((whole * self.design.weights) @ whole.T)

    def _assemble(self, rows: Array, auxiliary: Array) -> Array:
        """The sum over the rows of a matrix (m + q, m + q, n) in (eta, auxiliary), in the coordinates v."""
        m, r, z = self.m, self.r, self.design.z
        whole = np.empty((m * r + self.q, m * r + self.q))
        for a in range(m):
            for b in range(a + 1):
                block = (z * rows[a, b]) @ z.T
                whole[a * r : (a + 1) * r, b * r : (b + 1) * r] = block
                whole[b * r : (b + 1) * r, a * r : (a + 1) * r] = block.T
        cross = (rows[:m, m:] @ z.T).transpose(0, 2, 1).reshape(m * r, self.q) * auxiliary
        whole[: m * r, m * r :], whole[m * r :, : m * r] = cross, cross.T
        whole[m * r :, m * r :] = rows[m:, m:].sum(axis=2) * np.outer(auxiliary, auxiliary)
        return whole


class LaplaceLikelihood(FamilyLikelihood):
    """Its maximum is that of least absolute deviations, whatever the scale: a linear programme."""

    smooth = False

    def outer(self, v: Array) -> Array | None:
        """None: the rows that are fitted exactly have no score."""
        return None

    def maximise(self, start: Array, rows: Array, levels: Array, tol: float, max_iter: int) -> Outcome:
        """The maximum over v with rows @ v = levels, where every row concerns coefficients only or the scale only."""
        del start, tol, max_iter
        on_scale = rows[:, self.r] != 0
        held = rows[~on_scale, : self.r]
        base = np.linalg.pinv(held) @ levels[~on_scale] if len(held) else np.zeros(self.r)
        free = null_space(held) if len(held) else np.eye(self.r)
        found, n_iter = least_absolute(free.T @ self.design.z, self.y - base @ self.design.z, self.design.weights)
        u = base + free @ found
        left = self.design.weights @ np.abs(self.y - u @ self.design.z)
        with np.errstate(divide="ignore"):
            scale = levels[on_scale][0] if on_scale.any() else np.log(left / self.total)
        v = np.append(u, scale)
        return Outcome(v, self.value(v), n_iter, 0.0, np.zeros_like(v), True)


def least_absolute(z: Array, y: Array, weights: Array) -> tuple[Array, int]:
    r"""The u (r,) with the least :math:`\sum_i w_i |y_i - u^\top z_i|` for z (r, n), and the iterations it took.

    By the dual programme: maximise a'y over :math:`-w \le a \le w` with Z a = 0. Rows whose a lies within its
    bounds are fitted exactly; they give u to the last digit.
    """
    if not len(z):
        return np.empty(0), 1
    size = float(np.abs(y).max()) or 1.0
    bounds = np.column_stack([-weights, weights])
    found = linprog(-y / size, A_eq=z, b_eq=np.zeros(len(z)), bounds=bounds, method="highs")
    u = -size * found.eqlin.marginals
    inside = np.flatnonzero(np.abs(found.x) < (1.0 - AT_BOUND) * weights)
    if len(inside) == len(z) and np.linalg.cond(z[:, inside]) < 1.0 / EXACT:
        u = np.linalg.solve(z[:, inside].T, y[inside])
    return np.asarray(u), max(int(found.nit), 1)
