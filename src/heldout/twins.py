"""Rows that belong together: exact twins and groups become units; near twins and twins that disagree are counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heldout.data.table import Table
from heldout.errors import InputError
from heldout.problem import Problem

Ints = NDArray[np.int64]
NEAR_DIGITS = 2  # near twins agree to this many significant digits
ROUNDED: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "number": lambda column: column.round_sig_figs(NEAR_DIGITS),
    "category": lambda column: column.str.to_lowercase().str.strip_chars(),
    "text": lambda column: column.str.to_lowercase().str.strip_chars(),
}


def codes(frame: pl.DataFrame) -> Ints:
    """A number for each distinct row."""
    hashes = frame.hash_rows(seed=0).to_numpy()
    return np.unique(hashes, return_inverse=True)[1].astype(np.int64)


def joined(twins: Ints, table: Table, group: str | None) -> Ints:
    """The unit of each row: its twins, and its group with all their twins (connected components)."""
    if group is None:
        return twins
    if table.frame[group].null_count():
        raise InputError(f"{table.source.name}: the group column {group!r} has missing values; fill them in.")
    return components(twins, codes(table.frame.select(group)))


def components(twins: Ints, groups: Ints) -> Ints:
    """The connected component of each row: rows with the same twin number or the same group hang together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    other = groups + twins.max() + 1
    size = int(other.max()) + 1
    graph = coo_array((np.ones(len(twins), bool), (twins, other)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)[twins]


def twin_notes(table: Table, problem: Problem, twins: Ints, part: Ints) -> list[str]:
    """Sentences about rows that repeat exactly or nearly, and whether their targets and parts agree."""
    notes = []
    counts = np.bincount(twins)
    together = int(counts[counts > 1].sum())
    if together:
        differ = _differing(twins, problem.y(table))
        tail = f"; {differ:,} of them have a twin with another {problem.target}" if differ else ""
        across = _across(twins, part)
        side = f", {across:,} of them with a twin in another part" if across else ", kept on one side"
        notes.append(f"{together:,} rows have an exact twin (the same features){side}{tail}.")
    near = _near_twins(table, problem, twins)
    if near:
        notes.append(f"{near:,} rows have a near twin (the same to {NEAR_DIGITS} digits) that is not an exact one.")
    return notes


def _differing(twins: Ints, y: NDArray[Any]) -> int:
    low, high = np.full(twins.max() + 1, np.inf), np.full(twins.max() + 1, -np.inf)
    np.minimum.at(low, twins, y)
    np.maximum.at(high, twins, y)
    return int(np.sum((low < high)[twins]))


def _across(twins: Ints, part: Ints) -> int:
    rows = part >= 0
    return int(np.sum((_spread(twins[rows], part[rows]) > 0)[twins[rows]]))


def _spread(twins: Ints, part: Ints) -> Ints:
    low, high = np.full(twins.max() + 1, 9, np.int64), np.full(twins.max() + 1, -1, np.int64)
    np.minimum.at(low, twins, part)
    np.maximum.at(high, twins, part)
    return np.asarray(np.maximum(high - low, 0))


def _as_it_is(column: pl.Expr) -> pl.Expr:
    return column


def _near_twins(table: Table, problem: Problem, twins: Ints) -> int:
    rounded = table.select(problem.features).frame.select(
        ROUNDED.get(table.column(name).kind, _as_it_is)(pl.col(name)) for name in problem.features
    )
    near = codes(rounded)
    distinct = np.unique(np.stack([near, twins]), axis=1)[0]  # exact twins count once
    return int(np.sum((np.bincount(distinct, minlength=near.max() + 1) > 1)[near]))
