"""Columns of CSR with a single stored number, made one column for each row: most words and word pairs are such."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numba import njit
from scipy import sparse

from heldout.linear.softmax.loss import Array

Indices: TypeAlias = np.ndarray[Any, np.dtype[np.integer[Any]]]

WORTH = 0.1  # of the columns


@dataclass(frozen=True)
class Merged:
    r"""CSR in which columns a_1 e_i, a_2 e_i, ..., that only row i has, are one column |a| e_i.

    With an L2 penalty their coefficients at the minimum are w_j = u a_j / |a|, u being that of the one column: the
    scores and the penalty u^2 = sum_j w_j^2 are what they were, and the minimum is the same.
    """

    x: Any  # (n, k + rows with singles)
    kept: Indices  # (k,) columns that stayed, the first ones
    single: Indices  # (m,) columns that were merged
    into: Indices  # (m,) the column of x
    share: Array  # (m,) a_j / |a|

    def undo(self, coef: Array) -> Array:
        """Coefficients (r, p) of the columns as they were, for coefficients (r, q) of `x`."""
        own = np.zeros((len(coef), len(self.kept) + len(self.single)))
        own[:, self.kept] = coef[:, : len(self.kept)]
        own[:, self.single] = coef[:, self.into] * self.share
        return own


def merge_singles(x: Any) -> Merged | None:
    """The table with such columns merged; None where they are few."""
    n, p = x.shape
    alone = np.bincount(x.indices, minlength=p) == 1
    if alone.sum() < WORTH * p:
        return None
    kept, single = np.flatnonzero(~alone), np.flatnonzero(alone)
    name = np.full(p, -1)
    name[kept] = np.arange(len(kept))
    indptr, length = _measure(x.indptr, x.indices, x.data, name)
    if not np.isfinite(length).all():
        return None
    place = len(kept) + np.cumsum(length > 0.0) - 1  # of a row's own column
    data, indices = np.empty(indptr[-1]), np.empty(indptr[-1], dtype=x.indices.dtype)
    into, share = np.zeros(p, dtype=np.intp), np.zeros(p)
    _fill(x.indptr, x.indices, x.data, name, length, place, indptr, indices, data, into, share)
    merged = sparse.csr_array((data, indices, indptr), shape=(n, len(kept) + int((length > 0.0).sum())))
    return Merged(merged, kept, single, into[single], share[single])


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _measure(indptr: Indices, indices: Indices, data: Array, name: Indices) -> Any:
    """Where the merged rows begin (n + 1,), and the length of what each row merges (n,)."""
    n = len(indptr) - 1
    starts, length = np.zeros(n + 1, dtype=indptr.dtype), np.zeros(n)
    for i in range(n):
        stays, square = 0, 0.0
        for at in range(indptr[i], indptr[i + 1]):
            if name[indices[at]] >= 0:
                stays += 1
            else:
                square += data[at] * data[at]
        length[i] = np.sqrt(square)
        starts[i + 1] = starts[i] + stays + (square > 0.0)
    return starts, length


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator]
def _fill(
    indptr: Indices,
    indices: Indices,
    data: Array,
    name: Indices,
    length: Array,
    place: Indices,
    new_indptr: Indices,
    new_indices: Indices,
    new_data: Array,
    into: Indices,
    share: Array,
) -> None:
    """Writes the merged rows, and where single columns went with which share."""
    for i in range(len(length)):
        to = new_indptr[i]
        for at in range(indptr[i], indptr[i + 1]):
            j = indices[at]
            if name[j] >= 0:
                new_indices[to], new_data[to] = name[j], data[at]
                to += 1
            elif length[i] > 0.0:
                into[j], share[j] = place[i], data[at] / length[i]
        if length[i] > 0.0:
            new_indices[to], new_data[to] = place[i], length[i]
