"""The reduced triangle factorised: rank and the solution of least norm, by pivoted QR or by singular values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import blas, lapack, qr, solve_triangular, svd

from heldout.linear.triangular import LAPACK_BLOCK, Array


@dataclass(frozen=True)
class Orthogonal:
    """The complete orthogonal decomposition R P = Q [T 0; 0 0] Z, truncated at `rank`, in compact form.

    Where the rank is full, Z is the identity and `reflections` is None.
    """

    triangle: Array  # (rank, p): T in its upper triangle, Z's reflections to the right of it
    reflections: Array | None  # (rank,)
    order: np.ndarray[Any, np.dtype[np.intp]]  # (p,) the pivots' columns
    rank: int
    condition: float  # of the columns in unit norm, as the pivots show it
    route: str = "qr"

    @property
    def loss(self) -> float:
        """By what factor rounding errors grow in `solve_normal`, beside which R is as good as exact."""
        return self.condition

    def solve(self, c: Array) -> Array:
        """The w (p, m) of least norm for which R w = Q [c; 0]."""
        w = np.zeros((len(self.order), c.shape[1]), order="F")
        w[: self.rank] = solve_triangular(self.triangle[:, : self.rank], c, check_finite=False)
        return self._leave(w)

    def solve_normal(self, g: Array) -> Array:
        """The w (p, m) of least norm with R'R w = g (p, m)."""
        inside = np.asfortranarray(g[self.order])
        if self.reflections is not None:
            inside = lapack.dormrz(self.triangle, self.reflections, inside, overwrite_c=1)[0]
        t = self.triangle[:, : self.rank]
        return self.solve(solve_triangular(t, inside[: self.rank], trans="T", check_finite=False))

    def root(self) -> Array:
        """M (p, rank) with M M' the pseudo-inverse of R'R."""
        return self.solve(np.eye(self.rank))

    def _leave(self, w: Array) -> Array:
        if self.reflections is not None:
            w = lapack.dormrz(self.triangle, self.reflections, w, trans="T", overwrite_c=1)[0]
        result = np.empty_like(w)
        result[self.order] = w
        return result


@dataclass(frozen=True)
class Singular:
    """M (p, rank) with M M' the pseudo-inverse of X'X, from the singular values of the columns in unit norm."""

    inverse_root: Array
    singular_values: Array  # (min(n, p),)
    rank: int
    route: str = "svd"

    @property
    def condition(self) -> float:
        return float(self.singular_values[0] / self.singular_values[self.rank - 1]) if self.rank else 1.0

    @property
    def loss(self) -> float:
        """By what factor rounding errors grow in `solve_normal`."""
        return self.condition

    def solve_normal(self, g: Array) -> Array:
        """The w (p, m) of least norm with X'X w = g (p, m)."""
        return self.inverse_root @ (self.inverse_root.T @ g)

    def root(self) -> Array:
        """M"""
        return self.inverse_root


def in_unit_norm(r: Array, negligible: Array) -> Array:
    """Bring the columns of `r` to unit norm, in place; those whose norm is at most `negligible` become zero.

    Returns the factors (p,) that undo it.
    """
    norms = np.array([blas.dnrm2(r[:, j]) for j in range(r.shape[1])])
    scale = np.where(norms > negligible, norms, 1.0)
    r *= (norms > negligible) / scale
    return scale


def by_pivoted_qr(r: Array, c: Array, negligible: Array, tol: float) -> tuple[Orthogonal, Array]:
    """Pivoted Householder QR of `r` with its columns in unit norm, and the solution (p, m) of least norm.

    A column whose norm is at most `negligible` counts as zero. The rank is the number of |r_kk| > tol |r_11|.
    The rows that remain, back in the columns' own units, are reduced from the right where they are fewer than
    the columns. Both `r` and `c` (Fortran order) are overwritten.
    """
    p = r.shape[1]
    scale = in_unit_norm(r, negligible)
    r, order, tau, _, _ = lapack.dgeqp3(r, lwork=2 * p + (p + 1) * LAPACK_BLOCK, overwrite_a=1)
    c, _, _ = lapack.dormqr("L", "T", r[:, : len(tau)], tau, c, lwork=LAPACK_BLOCK * c.shape[1], overwrite_c=1)
    order = order.astype(np.intp) - 1
    pivots = np.abs(r.diagonal())
    rank = int(np.count_nonzero(pivots > tol * pivots[0]))
    condition = float(pivots[0] / pivots[rank - 1]) if rank else 1.0
    triangle = _keep_rows(r, rank, scale[order])
    reflections = None
    if 0 < rank < p:
        triangle, reflections, _ = lapack.dtzrzf(triangle, lwork=LAPACK_BLOCK * rank, overwrite_a=1)
    factors = Orthogonal(triangle, reflections, order, rank, condition)
    return factors, factors.solve(c[:rank])


def _keep_rows(r: Array, rank: int, scale: Array) -> Array:
    """The first `rank` rows of `r`, column j times scale_j, in the memory of `r` (Fortran order)."""
    memory = r.reshape(-1, order="F")
    for j, factor in enumerate(scale):
        np.multiply(r[:rank, j], factor, out=memory[j * rank : (j + 1) * rank])
    return memory[: rank * len(scale)].reshape((rank, len(scale)), order="F")


def by_singular_values(r: Array, c: Array, negligible: Array, tol: float) -> tuple[Singular, Array]:
    """R D^-1 = U S V' with columns in unit norm, and the solution (p, m) of least norm in the columns' own units.

    The rank is the number of s_k > tol s_1. With B = V'D for those k, the pseudo-inverse of X'X is
    (B^+ S^-1)(B^+ S^-1)'. `r` (Fortran order) is overwritten.
    """
    scale = in_unit_norm(r, negligible)
    u, s, vt = svd(r, full_matrices=False, check_finite=False, overwrite_a=True)
    rank = int(np.count_nonzero(s > tol * s[0]))
    if rank == len(scale):
        root = vt.T / scale[:, None]
    else:
        q, t = qr((vt[:rank] * scale).T, mode="economic", check_finite=False)
        root = solve_triangular(t, q.T, check_finite=False).T if rank else q
    root = np.asarray(root / s[:rank])
    return Singular(root, s, rank), root @ (u[:, :rank].T @ c)
