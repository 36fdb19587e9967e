"""What the checks of leaks look at: the rows of train and validation as columns, and how they were split.

The sealed test rows are no part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heldout.data.encode import Encoder
from heldout.data.read import conform, read
from heldout.data.table import Table
from heldout.errors import InputError
from heldout.fitting import Rows
from heldout.problem import Problem
from heldout.words import joined

Array = NDArray[Any]
Ints = NDArray[np.int64]
T = TypeVar("T")
MOST_ROWS = 20_000  # that the columns are looked at in
MOST_COLUMNS = 2_000  # of rows without a study: each is read and encoded


@dataclass(frozen=True, repr=False, eq=False)
class Seen:
    """Train and validation, as tables and as numbers.

    Attributes
    ----------
    tables : Table of train, Table of validation
        With the columns that learners do not see, too: groups, time, what was left out.
    features : tuple of str
        The columns that learners see.
    rows : Rows of train and of validation, as learners get them
    given : bool
        Validation came with the rows; it was not drawn from them.
    chosen_from : arrays (n, p) of train and of validation, or None
        The table that the columns were chosen from.
    """

    tables: tuple[Table, Table]
    features: tuple[str, ...]
    rows: tuple[Rows, Rows]
    given: bool
    chosen_from: tuple[Array, Array] | None = None
    _known: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, find: Callable[[], T], *key: Hashable) -> T:
        """What `find` finds in these rows alone, whatever is fitted to them: looked for once."""
        if key not in self._known:
            self._known[key] = find()
        found: T = self._known[key]
        return found

    @classmethod
    def of_study(cls, rows: tuple[Rows, Rows], problem: Problem, *, given: bool) -> Seen:
        """The parts of a study with their encoded rows; series are in these alone."""
        train, validation = (item.part.table for item in rows if item.part is not None)
        plain = [column.name for column in train.columns if column.kind != "series"]
        return cls(
            (replace(train.select(plain), pixels=None), replace(validation.select(plain), pixels=None)),
            tuple(name for name in problem.features if name in plain),
            rows,
            given,
        )

    @classmethod
    def of_rows(
        cls, rows: tuple[Rows, Rows], *, given: bool, chosen_from: tuple[Array, Array] | None = None
    ) -> Seen | str:
        """Rows as people hand them over; or why they cannot be looked at: no table, or more than MOST_COLUMNS columns.

        Raises InputError where that leaves nothing to ask of `chosen_from`.
        """
        shape: tuple[int, ...] = getattr(rows[0].X, "shape", ())
        if len(shape) != 2 or shape[1] > MOST_COLUMNS:
            if chosen_from is not None:
                raise InputError(
                    f"With chosen_from, X is a table of {MOST_COLUMNS:,} columns or fewer; it has the shape {shape}."
                )
            shown = (
                f"{shape[1]:,} columns, and {MOST_COLUMNS:,} are the most" if len(shape) == 2 else f"the shape {shape}"
            )
            return f"X has {shown}"
        try:
            train = read(rows[0].X)
            validation, _ = conform(rows[1].X, train.columns)
        except InputError as error:
            if chosen_from is not None:
                raise
            return f"X cannot be read as a table ({str(error).rstrip('.')})"
        return cls((train, validation), tuple(train.names), rows, given, chosen_from)

    @property
    def n_train(self) -> int:
        return len(self.rows[0].y)

    @property
    def n_validation(self) -> int:
        return len(self.rows[1].y)

    @property
    def is_table(self) -> bool:
        """The features are columns of their own, not the pixels of images or series alone."""
        return self.tables[0].image is None and bool(self.features)

    def encoded(self, train: Ints, validation: Ints) -> tuple[Array, Array]:
        """The features of these rows as numbers, in the encoding that train gives; padding of series as 0."""
        if self.rows[0].encoder is not None:
            chosen = (self.rows[0].X[train], self.rows[1].X[validation])
            train_X, held_X = (np.nan_to_num(X.astype(np.float64)).reshape(len(X), -1) for X in chosen)
            return train_X, held_X
        parts = [table.take(at) for table, at in zip(self.tables, (train, validation), strict=True)]
        encoder = Encoder().fit(parts[0])
        return encoder.transform(parts[0]), encoder.transform(parts[1])

    def taken(self, most: tuple[int, int]) -> tuple[Ints, Ints]:
        """So many rows of train and of validation at random, in their order; all where there are no more."""
        rng, sizes = np.random.default_rng(0), (self.n_train, self.n_validation)
        train, held = (np.sort(rng.choice(n, min(n, k), replace=False)) for n, k in zip(sizes, most, strict=True))
        return train, held

    @cached_property
    def sampled(self) -> tuple[Ints, Ints]:
        """The rows of train and of validation that the columns are looked at in: all, or MOST_ROWS at random."""
        share = min(1.0, MOST_ROWS / (self.n_train + self.n_validation))
        return self.taken((math.ceil(share * self.n_train), math.ceil(share * self.n_validation)))

    @cached_property
    def n_sampled_train(self) -> int:
        return len(self.sampled[0])

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The sampled rows, those of train first, with all columns."""
        return pl.concat([table.frame[rows] for table, rows in zip(self.tables, self.sampled, strict=True)])

    @cached_property
    def y(self) -> Array:
        """Their targets."""
        return np.concatenate([part.y[rows] for part, rows in zip(self.rows, self.sampled, strict=True)])

    @property
    def is_train(self) -> NDArray[np.bool_]:
        return np.arange(len(self.y)) < self.n_sampled_train

    def kind(self, name: str) -> str:
        return self.tables[0].column(name).kind

    def of_kind(self, *kinds: str) -> list[str]:
        """The features of these kinds."""
        return [name for name in self.features if self.kind(name) in kinds]

    def numbers(self, name: str) -> Array:
        """The sampled values of a column of numbers or dates as float64, NaN where missing."""
        return np.asarray(self.frame[name].cast(pl.Float64).to_numpy())


def listed(names: Sequence[str], most: int = 5) -> str:
    """ "a, b and c", the first few of many."""
    rest = len(names) - most
    return joined([*names[:most], f"{rest} more"] if rest > 0 else names)
