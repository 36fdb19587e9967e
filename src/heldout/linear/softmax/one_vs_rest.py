"""Several logistic regressions on the same rows, fitted as one problem: the rows are read once for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heldout.linear.blocks import Map
from heldout.linear.softmax.loss import Array, Codes
from heldout.linear.softmax.objective import Objective
from heldout.linear.softmax.proximal import minimise
from heldout.linear.softmax.rows import TableRows
from heldout.linear.softmax.standardise import Standardised, quick_copies

LEAST_SHARE = 1e-10  # of a class, as where a fit starts


@dataclass(frozen=True)
class OneVsRestRows(TableRows):
    """Rows of a table with K targets (K, n) of 0 and 1, each with a score of its own."""

    targets: Array | None = None

    def evaluate(self, basis: Array, coef: Array) -> tuple[float, Array, Array]:
        """sum_k sum_i v_i (log(1 + e^-|s_ik|) + max(0, -s_ik) or max(0, s_ik)), its gradient, sigmoid(s) (K, n)."""
        assert self.targets is not None
        z = self.features()
        scores = coef @ z.T
        rest = np.exp(-np.abs(scores))
        chances = np.where(scores >= 0.0, 1.0, rest) / (1.0 + rest)
        own = np.where(self.targets > 0.0, scores, -scores)
        value = float((np.log1p(rest) + np.maximum(-own, 0.0)).sum(axis=0) @ self.weights)
        return value, ((chances - self.targets) * self.weights) @ z, chances

    def product(self, basis: Array, chances: Array, direction: Array) -> Array:
        """sum_i v_i p_ik (1 - p_ik) (d_k'z_i) z_i for every k."""
        z = self.features()
        change = (direction.astype(z.dtype) @ z.T) * (chances * (1.0 - chances) * self.weights)
        return np.asarray(change.astype(z.dtype) @ z)


def solve_together(
    columns: Standardised,
    targets: Array,
    weights: Array,
    runs: list[slice],
    strength: float,
    tol: float,
    max_iter: int,
    map_: Map,
) -> tuple[Array, Array, int, float]:
    """Coefficients (K, p) and intercepts (K,) for the columns as they were, steps, and the gradient's largest part.

    The Hessian of the sum falls apart into one block for each target, which is what the preconditioner inverts, so that
    conjugate gradients need no more steps for all than for one.
    """
    nobody: Codes = np.zeros(columns.x.shape[0], dtype=np.intp)
    own = (columns.mean, columns.scale, columns.ones)
    blocks = [OneVsRestRows(columns.x[r], nobody[r], weights[r], *own, targets[:, r]) for r in runs]
    penalty = np.zeros(columns.width)
    penalty[: len(columns.scale)] = strength / columns.scale**2
    objective = Objective(blocks, np.eye(len(targets)), penalty, map_, None, quick_copies(list(blocks), map_))
    start = np.zeros((len(targets), columns.width))
    if columns.ones:
        shares = np.clip(targets @ weights, LEAST_SHARE, 1.0 - LEAST_SHARE)
        start[:, -1] = np.log(shares / (1.0 - shares))
    coef, n_iter, gradient = minimise(objective, start, tol, max_iter)
    return *columns.undo(coef), n_iter, gradient
