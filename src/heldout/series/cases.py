"""A long table, with a row for each step of each series, into one row a series."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from heldout.data.series import series_column
from heldout.data.table import MOST_STEPS, Column, Table, columns_from_schema
from heldout.errors import InputError, suggest
from heldout.persist import State

CHANNELS = ("number", "boolean")


@dataclass(frozen=True)
class Cases:
    """How series are put together from the rows of a long table.

    Attributes
    ----------
    series : str
        The column that tells series apart.
    time : str or None
        The column that orders the steps; None: the rows' own order.
    steps : int
        Of the longest series; shorter ones end with steps that are missing.
    columns : tuple of Column
        The columns of the long table that are needed: series, time, and the channels.
    """

    series: str
    time: str | None
    steps: int
    columns: tuple[Column, ...]

    @classmethod
    def of(
        cls, table: Table, target: str, *, series: str, time: str | None = None, drop: Collection[str] = ()
    ) -> Cases:
        """How the series of this table are to be put together.

        Raises InputError for columns that are not there, a time or series that is missing in a row, and where no column
        of numbers is left.
        """
        for name in (target, series, time, *drop):
            if name is not None and name not in table.names:
                raise InputError(f"{table.source.name} has no column {name!r}.{suggest(name, table.names)}")
        taken = {target, series, time, *drop}
        channels = [c for c in table.columns if c.kind in CHANNELS and c.name not in taken]
        if not channels:
            raise InputError(f"{table.source.name} has no column of numbers beside {target!r} to make series of.")
        own = [table.column(name) for name in (series, time) if name is not None]
        made = cls(series, time, 1, (*own, *channels))
        return replace(made, steps=max(len(rows) for rows in made._rows(table)))

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns that stand beside a prediction."""
        return (self.series,)

    def learning(self, table: Table, target: str) -> Table:
        """A row for each series, with its target."""
        rows, values = self._rows(table), table.frame[target]
        for own in rows:
            if values[own].n_unique() > 1:
                name = table.frame[self.series][int(own[0])]
                raise InputError(
                    f"{table.source.name}: the series {name!r} has several values of {target!r}; give it one."
                )
        made = self._cells(table, rows)
        cells = [cell for _, cell in made] + [values[np.array([own[0] for own in rows])]]
        return replace(
            table, frame=pl.DataFrame(cells), columns=(*(column for column, _ in made), table.column(target))
        )

    def unseen(self, table: Table) -> Table:
        """A row for each series of new data."""
        rows = self._rows(table)
        longest = max(len(own) for own in rows)
        if longest > self.steps:
            raise InputError(
                f"{table.source.name} has a series of {longest:,} steps; the model was made for at most {self.steps:,}."
            )
        made = self._cells(table, rows)
        names = table.frame[self.series][np.array([own[0] for own in rows])]
        frame = pl.DataFrame([names, *(cell for _, cell in made)])
        return replace(table, frame=frame, columns=(table.column(self.series), *(column for column, _ in made)))

    def _cells(self, table: Table, rows: list[Any]) -> list[tuple[Column, pl.Series]]:
        made = []
        for column in self.columns:
            if column.name in (self.series, self.time):
                continue
            values = table.frame[column.name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
            filled = np.full((len(rows), self.steps), np.nan)
            for case, own in enumerate(rows):
                filled[case, : len(own)] = values[own]
            made.append(series_column(column.name, filled))
        return made

    def _rows(self, table: Table) -> list[Any]:
        """The rows of each series, in order; the series in the order of their first rows."""
        for name in (self.series, self.time):
            if name is not None and table.frame[name].null_count():
                row = int(table.frame[name].is_null().arg_true()[0]) + 1
                raise InputError(f"{table.source.name}, row {row:,}: {name!r} is empty; fill it in or remove the row.")
        frame = table.frame.select(name for name in (self.series, self.time) if name).with_row_index("row number")
        found = []
        for group in frame.partition_by(self.series, maintain_order=True):
            if self.time is not None:
                twice = group[self.time].is_duplicated()
                if twice.any():
                    one, other = (int(group["row number"][int(i)]) + 1 for i in twice.arg_true()[:2])
                    raise InputError(
                        f"{table.source.name}: rows {one:,} and {other:,} are the same step of "
                        f"{group[self.series][0]!r}; remove one of them."
                    )
                group = group.sort(self.time)
            found.append(group["row number"].to_numpy().astype(np.int64))
        return found

    def to_state(self) -> dict[str, Any]:
        columns = [column.to_json() for column in self.columns]
        return {"series": self.series, "time": self.time, "steps": self.steps, "columns": columns}

    @classmethod
    def from_state(cls, state: State) -> Cases:
        columns = columns_from_schema(state.json("columns"), state)
        time = state.text("time") if state.optional("time") else None
        made = cls(state.text("series"), time, state.integer("steps", low=1, high=MOST_STEPS), columns)
        if not {made.series, *([time] if time else [])} <= {column.name for column in columns}:
            state.fail("its series are made of columns that it does not have")
        return made
