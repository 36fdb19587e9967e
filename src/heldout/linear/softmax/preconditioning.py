"""What makes conjugate gradients quick on the softmax Hessian: the inverse of its blocks on the diagonal, nearly."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from scipy.linalg import cho_factor, cho_solve

from heldout.linear.softmax.loss import Array
from heldout.linear.softmax.objective import Evaluation, Objective

Preconditioner: TypeAlias = Callable[[Array], Array]

WIDEST = 2000  # columns whose Gram matrices are worth their factors
ROWS_PER_COLUMN = 16  # sampled for a Gram matrix of the rows' features
CERTAIN = 1e-4  # added to a row's uncertainty 1 - sum_k p_k^2, so that no row is out of reach
DAMPING = 1e-6  # of the greatest diagonal element: Cholesky in single precision needs it


def precondition(objective: Objective, here: Evaluation, free: Any) -> Preconditioner:
    """An approximate inverse of the Hessian's part between the `free` coefficients (r, q)."""
    q = len(objective.penalty)
    quick = objective.quick or objective.blocks
    n = sum(len(block.codes) for block in quick)
    if sparse.issparse(quick[0].x) or q > WIDEST or n < q:
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
    twice the products. The D_k are made of rows sampled in proportion to their uncertainty.
    """
    frame = objective.basis if len(objective.basis) > 2 else np.ones((1, 1))
    open_ = np.ones((len(frame), len(objective.penalty)), dtype=bool) if free.all() else free
    z, curvature = _sample(objective, here, len(frame))

    def factor(k: int) -> Any:
        scaled = z * np.sqrt(curvature[k]).astype(z.dtype)[:, None]
        gram = scaled.T @ scaled
        gram[np.diag_indices_from(gram)] += objective.penalty
        gram[~open_[k]] = 0.0
        gram[:, ~open_[k]] = 0.0
        largest = gram.diagonal().max() or 1.0
        gram[np.diag_indices_from(gram)] += np.where(open_[k], DAMPING * largest, 1.0)
        return cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)

    factors = objective.map(factor, range(len(frame)))

    def apply(residual: Array) -> Array:
        rows = zip(factors, frame @ residual, strict=True)
        solved = [cho_solve(found, row.astype(z.dtype), check_finite=False) for found, row in rows]
        return np.asarray(frame.T @ np.stack(solved).astype(np.float64))

    return apply


def _sample(objective: Objective, here: Evaluation, n_classes: int) -> tuple[Any, Array]:
    """Features (m, q) of some rows, and v_i p_ik (1 - p_ik) (n_classes, m) as if they stood for all.

    Systematic sampling: row i is taken wherever the running sum of the chances pi_i passes a whole number, and counts
    1 / pi_i times.
    """
    quick = objective.quick or objective.blocks
    chances = np.concatenate(here.chances, axis=1)
    weights = np.concatenate([block.weights for block in quick])
    doubt = weights * (1.0 - (chances**2).sum(axis=0) + CERTAIN)
    wanted = min(len(weights), ROWS_PER_COLUMN * len(objective.penalty))
    share = np.minimum(1.0, wanted * doubt / doubt.sum())
    chosen = np.diff(np.floor(np.cumsum(share)), prepend=0.0) > 0.0
    chosen |= share >= 1.0
    starts = np.cumsum([0, *(len(block.codes) for block in quick)])
    runs = [chosen[low:high] for low, high in itertools.pairwise(starts.tolist())]
    z = np.concatenate([block.features()[run] for block, run in zip(quick, runs, strict=True)])
    p = chances[:n_classes, chosen]
    return z, p * (1.0 - p) * (weights[chosen] / share[chosen])
