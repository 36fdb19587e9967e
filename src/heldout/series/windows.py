"""Dated rows into rows that a forecast learns from: the past of each time, and the value that came then.

A row of the new table belongs to a time t. It holds the window of the steps up to t - h (h is the horizon), what is
known of t in advance, and the value at t. Nothing in it but that value is later than t - h, unless it is known before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heldout.data.series import series_column
from heldout.data.table import Column, Table, columns_from_schema
from heldout.errors import InputError, suggest
from heldout.persist import State
from heldout.series.clock import Clock, shown
from heldout.series.sliding import carried, windows_until

Array = NDArray[Any]
WINDOW = 14  # steps, where the clock has no longer season
MOST_SEASON = 48  # steps of a season of which two are taken
LISTED = 5
BEFORE = " before"  # behind a column's name: its past


@dataclass(frozen=True)
class Windows:
    """How rows of the past are made of a table of dated rows.

    Attributes
    ----------
    target, time : str
    series : str or None
        The column that tells several series apart.
    horizon, window : int
        Steps from the end of a window to the value that is predicted, and steps of a window.
    clock : Clock
    columns : tuple of Column
        The columns of the dated table that are needed: time, series, target, and what else goes in.
    known : tuple of str
        Those of them whose values are known for the time that is predicted.
    """

    target: str
    time: str
    series: str | None
    horizon: int
    window: int
    clock: Clock
    columns: tuple[Column, ...]
    known: tuple[str, ...]

    @classmethod
    def of(
        cls,
        table: Table,
        target: str,
        *,
        horizon: int = 1,
        window: int | None = None,
        time: str | None = None,
        series: str | None = None,
        known: Collection[str] = (),
        drop: Collection[str] = (),
    ) -> Windows:
        """How the windows of this table are to be made.

        Parameters
        ----------
        table : Table
            A row for each time (of each series), in whatever order.
        target : str
            A column of numbers; where it is missing nothing is learned.
        horizon : int, default 1
            Steps ahead.
        window : int, optional
            Steps of the past that a learner sees. Default: 14, or two days of hours, two years of months.
        time : str, optional
            Default: the only column of dates.
        series : str, optional
            The column that tells series apart.
        known : names, optional
            Columns that are known in advance, such as holidays; of the others the past alone is seen.
        drop : names, optional

        Raises
        ------
        InputError
            A column is not there or of the wrong kind, no time column or several of them, times that do not lie on a
            grid or occur twice, a window longer than the series.
        """
        for name in (target, time, series, *known, *drop):
            if name is not None and name not in table.names:
                raise InputError(f"{table.source.name} has no column {name!r}.{suggest(name, table.names)}")
        horizon = _whole("horizon (--forecast)", horizon)
        if table.column(target).kind != "number":
            kind = table.column(target).kind
            raise InputError(f"A forecast is of numbers, and {target!r} was read as {kind} (--kind {target}=number).")
        time = time or _only_date(table, drop)
        if table.column(time).kind not in ("date", "number"):
            kind = table.column(time).kind
            raise InputError(f"The time column {time!r} was read as {kind}; it must hold dates or numbers.")
        for name in (time, series):
            if name is not None and table.frame[name].null_count():
                row = int(table.frame[name].is_null().arg_true()[0]) + 1
                raise InputError(f"{table.source.name}, row {row:,}: {name!r} is empty; fill it in or remove the row.")
        clock = Clock.of(table.frame[time], table.source.name)
        size = _default_window(clock) if window is None else _whole("window (--window)", window)
        used = [
            c for c in table.columns if c.name not in drop and (c.kind in _USED or c.name in (time, target, series))
        ]
        made = cls(target, time, series, horizon, size, clock, tuple(used), tuple(known))
        if set(known) & {target, time, series}:
            raise InputError("The target, the time and the series cannot be named as known in advance (--known).")
        return made

    # Rows ----------------------------------------------------------------------------------------------------

    def learning(self, table: Table) -> Table:
        """The rows to learn and to be judged by: those times whose value is there, and whose window is."""
        made = self._rows(table, ahead=False)
        if not len(made):
            raise InputError(
                f"{table.source.name}: no series has the {self.clock.words(self.window + self.horizon)} that a window "
                f"of {self.window} steps and a horizon of {self.horizon} need; take a shorter window (--window)."
            )
        return made

    def unseen(self, table: Table) -> Table:
        """A row for each time that can be forecast from this table: those in it, and the one that is still to come."""
        made = self._rows(table, ahead=True)
        if not len(made):
            raise InputError(
                f"{table.source.name} holds fewer than the {self.clock.words(self.window)} of the past that the model "
                "looks at; give it more rows."
            )
        return made

    def said(self, table: Table) -> list[str]:
        """Sentences about rows that are missing, and columns that cannot be used."""
        notes = []
        left = [c.name for c in table.columns if c.name not in {own.name for own in self.columns}]
        if left:
            notes.append(f"Not used for the forecast: {', '.join(left)}.")
        gaps = [time for grid in self._grids(table) for time in self._absent(grid)]
        if gaps:
            listed = ", ".join(shown(time) for time in gaps[:LISTED]) + (", …" if len(gaps) > LISTED else "")
            steps = "step is" if len(gaps) == 1 else "steps are"
            notes.append(
                f"{len(gaps):,} {steps} missing between the first and the last ({listed}): nothing is predicted for "
                "them, and in windows the value before stands in."
            )
        empty = int(table.frame[self.target].is_null().sum())
        if empty:
            notes.append(
                f"{self.target} is empty in {empty:,} rows: they are not predicted, the value before stands in."
            )
        return notes

    def _absent(self, grid: _Grid) -> list[Any]:
        places = np.flatnonzero(grid.row < 0)
        return self.clock.at(grid.first, places).to_list() if len(places) else []

    def _rows(self, table: Table, *, ahead: bool) -> Table:
        past = [c for c in self.columns if c.name not in {*self.known, self.time, self.series} and c.kind in _NUMBERS]
        past = [c for c in past if c.name == self.target] + [c for c in past if c.name != self.target]
        last = [c for c in self.columns if c.name not in self.known and c.kind == "category" and c.name != self.series]
        parts = [self._part(table, grid, past, last, ahead) for grid in self._grids(table)]
        frames = [frame for frame in parts if frame is not None and frame.height]
        columns = tuple(self._columns(past, last))
        if not frames:
            return replace(table, frame=pl.DataFrame(schema=[column.name for column in columns]), columns=columns)
        frame = pl.concat(frames).select(column.name for column in columns)
        if not ahead:
            frame = frame.filter(pl.col(self.target).is_not_null())
        return replace(table, frame=frame.sort(self.time, maintain_order=True), columns=columns)

    def _columns(self, past: list[Column], last: list[Column]) -> list[Column]:
        unit = self.clock.words(1)
        own = [c for c in self.columns if c.name in (self.time, self.series) or c.name in self.known]
        made = [series_column(f"{c.name}{BEFORE}", np.empty((0, self.window)), unit)[0] for c in past]
        behind = [replace(c, name=f"{c.name}{BEFORE}", note=f"{self.clock.words(self.horizon)} before") for c in last]
        target = next(c for c in self.columns if c.name == self.target)
        return [*own, *made, *behind, target]

    def _part(
        self, table: Table, grid: _Grid, past: list[Column], last: list[Column], ahead: bool
    ) -> pl.DataFrame | None:
        """The rows of one series."""
        source = np.where(grid.row < 0, 0, grid.row)
        there = grid.row >= 0
        values = [_numbers(table.frame[c.name])[source] for c in past]
        values = [np.where(there, v, np.nan) for v in values]
        told = ~np.isnan(values[0])
        if ahead and not told.any():
            return None
        end = int(np.flatnonzero(told)[-1]) + self.horizon if ahead else len(grid.row) - 1
        first = self.window + self.horizon - 1
        places = np.arange(first, end + 1)
        if not len(places):
            return None
        ends = places - self.horizon  # of the windows
        seen = windows_until(told, ends, self.window)
        good = (2 * seen.sum(axis=1) >= self.window) & (ends - self.window + 1 >= np.argmax(told))
        places, ends = places[good], ends[good]
        windows = [windows_until(carried(v), ends, self.window) for v in values]
        have = np.append(grid.row, np.full(max(0, end + 1 - len(grid.row)), -1))
        now = have[places]
        if self.known and (now < 0).any() and ahead:
            missing = self.clock.at(grid.first, places[now < 0])[0]
            raise InputError(
                f"{table.source.name} has no row for {shown(missing)}, and {', '.join(self.known)} of that time must "
                f"be known for its forecast; add the row, with {self.target} empty."
            )
        made = [self.clock.at(grid.first, places).alias(self.time)]
        if self.series is not None:
            made.append(pl.Series(self.series, [grid.name] * len(places), dtype=table.frame[self.series].dtype))
        made += [series_column(f"{c.name}{BEFORE}", w)[1] for c, w in zip(past, windows, strict=True)]
        for column in last:
            text = pl.Series(
                [None if row < 0 else table.frame[column.name][int(row)] for row in grid.row], dtype=pl.String
            )
            made.append(text.fill_null(strategy="forward")[ends].alias(f"{column.name}{BEFORE}"))
        rows = pl.Series([None if row < 0 else int(row) for row in now], dtype=pl.Int64)
        made += [table.frame[name].gather(rows).alias(name) for name in (*self.known, self.target)]
        return pl.DataFrame(made)

    def _grids(self, table: Table) -> Iterator[_Grid]:
        """The rows of each series by their steps."""
        frame = table.frame.select(self.time, *([self.series] if self.series else [])).with_row_index("row")
        groups = frame.partition_by(self.series, maintain_order=True) if self.series else [frame]
        for group in groups:
            places = self.clock.places(group[self.time], replace(table, frame=group))
            self._require_once(group, places, table)
            row = np.full(int(places.max()) + 1, -1, np.int64)
            row[places] = group["row"].to_numpy()
            yield _Grid(group[self.series][0] if self.series else None, group[self.time].min(), row)

    def _require_once(self, group: pl.DataFrame, places: Array, table: Table) -> None:
        values, counts = np.unique(places, return_counts=True)
        if counts.max(initial=1) > 1:
            twice = np.flatnonzero(places == values[counts.argmax()])
            rows = " and ".join(f"{int(group['row'][int(i)]) + 1:,}" for i in twice[:2])
            of = f" of {group[self.series][0]}" if self.series else ""
            hint = "" if self.series else ", or name the column that tells several series apart (--series COLUMN)"
            raise InputError(
                f"{table.source.name}: rows {rows} are both of {shown(group[self.time][int(twice[0])])}{of}; remove "
                f"one of them{hint}."
            )

    # In words and in files -----------------------------------------------------------------------------------

    @property
    def words(self) -> str:
        """ "1 day ahead, from the 14 days before"."""
        return f"{self.clock.words(self.horizon)} ahead, from the {self.clock.words(self.window)} before"

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns that stand beside a prediction."""
        return tuple(name for name in (self.series, self.time, self.target) if name is not None)

    @property
    def seasonal_back(self) -> int | None:
        """How far from a window's end the value one season before the predicted time lies; None: no such value."""
        back = self.clock.season - self.horizon + 1
        return back if 1 < back <= self.window else None

    def to_state(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "time": self.time,
            "series": self.series,
            "horizon": self.horizon,
            "window": self.window,
            "length": self.clock.length,
            "unit": self.clock.unit,
            "columns": [column.to_json() for column in self.columns],
            "known": list(self.known),
        }

    @classmethod
    def from_state(cls, state: State) -> Windows:
        columns = columns_from_schema(state.json("columns"), state)
        series = state.text("series") if state.optional("series") else None
        made = cls(
            state.text("target"),
            state.text("time"),
            series,
            state.integer("horizon", low=1),
            state.integer("window", low=1),
            Clock(state.number("length", low=1e-300), state.text("unit")),
            columns,
            tuple(state.texts("known")),
        )
        names = {column.name for column in columns}
        if not {made.target, made.time, *made.known, *([series] if series else [])} <= names:
            state.fail("its windows are made of columns that it does not have")
        return made


@dataclass(frozen=True)
class _Grid:
    """One series: its name, its first time, and the row of each step, -1 where there is none."""

    name: Any
    first: Any
    row: NDArray[np.int64]


_NUMBERS = ("number", "boolean")
_USED = (*_NUMBERS, "category")


def _whole(what: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"The {what} is {value!r} and must be a whole number of steps, 1 or more.")
    return value


def _only_date(table: Table, drop: Collection[str]) -> str:
    dates = [column.name for column in table.columns if column.kind == "date" and column.name not in drop]
    if len(dates) != 1:
        found = f"several columns of dates ({', '.join(dates)})" if dates else "no column of dates"
        raise InputError(f"{table.source.name} has {found}; say which column gives the time (--time COLUMN).")
    return dates[0]


def _default_window(clock: Clock) -> int:
    return max(WINDOW, 2 * clock.season) if clock.season <= MOST_SEASON else WINDOW


def _numbers(values: pl.Series) -> Array:
    return np.asarray(values.cast(pl.Float64).fill_null(float("nan")).to_numpy())
