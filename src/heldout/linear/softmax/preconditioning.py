"""What makes conjugate gradients quick on the softmax Hessian: the inverse of its blocks on the diagonal, nearly."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from heldout.linear.softmax.loss import Array
from heldout.linear.softmax.objective import Evaluation, Objective
from heldout.linear.softmax.rows import SparseRows

Preconditioner: TypeAlias = Callable[[Array], Array]

WIDEST = 2000  # columns whose Gram matrices are worth their factors
ROWS_PER_COLUMN = 8  # sampled for a Gram matrix of the rows' features
CERTAIN = 1e-6  # added to a row's curvature p (1 - p), so that no row is out of reach
DAMPING = 1e-6  # of the greatest diagonal element: Cholesky in single precision needs it


def precondition(objective: Objective, here: Evaluation, free: Any) -> Preconditioner:
    """An approximate inverse of the Hessian's part between the `free` coefficients (r, q)."""
    q = len(objective.penalty)
    quick = objective.quick or objective.blocks
    n = sum(len(block.codes) for block in quick)
    if isinstance(quick[0], SparseRows) or q > WIDEST or n < q:
        return _by_diagonal(objective, here)
    return _by_class(objective, here, free)


def _by_diagonal(objective: Objective, here: Evaluation) -> Preconditioner:
    diagonal = objective.diagonal(here)
    diagonal += DAMPING * diagonal.max()
    return lambda residual: residual / diagonal


def _by_class(objective: Objective, here: Evaluation, free: Any) -> Preconditioner:
    """sum_k b_k b_k' (x) D_k^-1 with D_k = sum_i v_i p_ik (1 - p_ik) z_i z_i' + diag(lambda), b_k the basis's rows.

    A class at a time, though the basis has a free score less: two classes that are hard to tell apart are then coupled
    with each other only, where an orthonormal basis spreads them over all its scores and conjugate gradients take
    twice the products. Each D_k is made of rows sampled in proportion to their part in it.
    """
    frame = objective.basis if len(objective.basis) > 2 else np.ones((1, 1))
    open_ = np.ones((len(frame), len(objective.penalty)), dtype=bool) if free.all() else free
    weights = np.concatenate([rows.weights for rows in objective.blocks])
    chances = np.concatenate(here.chances, axis=1)

    def factor(k: int) -> Any:
        scaled = _sample(objective, weights * (chances[k] * (1.0 - chances[k]) + CERTAIN))
        gram = scaled.T @ scaled
        gram[np.diag_indices_from(gram)] += objective.penalty
        gram[~open_[k]] = 0.0
        gram[:, ~open_[k]] = 0.0
        largest = gram.diagonal().max() or 1.0
        gram[np.diag_indices_from(gram)] += np.where(open_[k], DAMPING * largest, 1.0)
        return cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)

    factors = objective.map(factor, range(len(frame)))
    precision = factors[0][0].dtype

    def apply(residual: Array) -> Array:
        rows = zip(factors, frame @ residual, strict=True)
        solved = [cho_solve(found, row.astype(precision), check_finite=False) for found, row in rows]
        return np.asarray(frame.T @ np.stack(solved).astype(np.float64))

    return apply


def _sample(objective: Objective, parts: Array) -> Any:
    """Rows sqrt(h_i / pi_i) z_i (m, q) whose products stand for sum_i h_i z_i z_i', for h = `parts` (n,).

    Systematic sampling: row i is taken wherever the running sum of the chances pi_i passes a whole number.
    """
    quick = objective.quick or objective.blocks
    wanted = min(len(parts), ROWS_PER_COLUMN * len(objective.penalty))
    share = np.minimum(1.0, wanted * parts / parts.sum())
    chosen = (np.diff(np.floor(np.cumsum(share)), prepend=0.0) > 0.0) | (share >= 1.0)
    starts = np.cumsum([0, *(len(rows.codes) for rows in quick)])
    root = np.sqrt(parts[chosen] / share[chosen])
    z = np.concatenate(
        [rows.features()[chosen[low:high]] for rows, (low, high) in zip(quick, itertools.pairwise(starts), strict=True)]
    )
    z *= root.astype(z.dtype)[:, None]
    return z
