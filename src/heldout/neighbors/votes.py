"""How much each neighbour counts: k counts weights, and a row of weight 2 is the same row twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from heldout.errors import InputError
from heldout.neighbors.search import nearest

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

WEIGHTS = ("uniform", "distance")


@dataclass(frozen=True)
class Found:
    """Neighbours (m, K) of some queries by rising distance, and how much of each row is taken (m, K)."""

    far: Array
    near: Array
    share: Array
    queries: Array  # (m,) which training rows they are, where they are that

    def first(self, k: float) -> Found:
        """As if only k were asked for."""
        before = np.cumsum(self.share, axis=1) - self.share
        return replace(self, share=np.clip(k - before, 0.0, self.share))


def taken(index: Any, queries: Array, k: int, weights: Array | None, n_jobs: int | None) -> Found:
    """The neighbours of new rows whose weights make up k."""
    nobody = np.empty(0, dtype=np.intp)
    if weights is None:
        far, near = nearest(index, queries, k, n_jobs=n_jobs)
        return Found(far, near, np.ones_like(far), nobody)
    wanted, n = min(k, len(index.rows)), len(index.rows)
    while True:
        far, near = nearest(index, queries, wanted, n_jobs=n_jobs)
        share = weights[near]
        if wanted == n or np.all(share.sum(axis=1) >= k):
            return Found(far, near, share, nobody).first(k)
        wanted = min(2 * wanted, n)


def taken_without(index: Any, rows: Array, k: int, weights: Array | None, n_jobs: int | None) -> Found:
    """The neighbours of training rows whose weights make up k, without rows that are the same as they are."""
    n = len(index.rows)
    wanted = min(k + 1, n)
    while True:
        far, near = nearest(index, index.rows[rows], wanted, n_jobs=n_jobs)
        share = np.ones_like(far) if weights is None else weights[near]
        share = np.where((far == 0.0) | (near == rows[:, None]), 0.0, share)
        if wanted == n or np.all(share.sum(axis=1) >= k):
            return Found(far, near, share, rows)
        wanted = min(2 * wanted, n)


def pull(found: Found, weights: str | Callable[[Array], Array]) -> Array:
    """What each neighbour weighs in the vote or the mean (m, K)."""
    if callable(weights):
        own = np.asarray(weights(found.far), dtype=np.float64)
        if own.shape != found.far.shape or not np.all(own >= 0.0):
            raise InputError(f"The function for weights must give {found.far.shape} numbers, none of them below 0.")
        return own * found.share
    if weights == "uniform":
        return found.share
    at_zero = (found.far == 0.0) & (found.share > 0.0)
    with np.errstate(divide="ignore"):
        inverse = np.where(found.far > 0.0, 1.0 / found.far, 0.0)
    return np.asarray(np.where(at_zero.any(axis=1, keepdims=True), at_zero, inverse) * found.share)
