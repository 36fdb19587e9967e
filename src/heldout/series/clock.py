"""The clock of a series: how far apart its rows are, and the place of each on that grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heldout.data.table import Table
from heldout.errors import InputError

Array = NDArray[Any]
SECOND = 1_000_000  # microseconds
LENGTHS = {"week": 604_800, "day": 86_400, "hour": 3_600, "minute": 60, "second": 1}  # in seconds
MONTH = "month"
DAYS_OF_A_MONTH = 28
OFF = 1e-6  # of a step: what rounding leaves between a time and its place
SPARSE = 20  # steps for each row: beyond that the rows do not lie on a grid
SEASONS = {"minute": 60, "hour": 24, "day": 7, "week": 52}  # steps of one


@dataclass(frozen=True)
class Clock:
    """The distance of neighbouring rows: so many units, which are weeks to seconds, months, or plain numbers ("").

    >>> times = pl.Series("day", ["2024-01-31", "2024-02-29", "2024-03-31"]).str.to_datetime(time_unit="us")
    >>> Clock.of(times, "an example").words(2)
    '2 months'
    """

    length: float
    unit: str

    @classmethod
    def of(cls, times: pl.Series, source: str) -> Clock:
        """The most frequent distance of times that follow each other; months where all end or begin one."""
        distinct = times.drop_nulls().unique().sort()
        if len(distinct) < 3:
            raise InputError(f"{source}: {times.name!r} has {len(distinct)} different times; a series needs more.")
        if times.dtype != pl.Datetime:
            return cls(_mode(np.diff(distinct.to_numpy())), "")
        months = _months(distinct)
        if months is not None:
            return cls(_mode(np.diff(months)), MONTH)
        seconds = _mode(np.diff(distinct.dt.timestamp("us").to_numpy())) / SECOND
        unit = next((name for name, length in LENGTHS.items() if seconds % length == 0), "second")
        return cls(seconds / LENGTHS[unit], unit)

    def places(self, times: pl.Series, table: Table) -> NDArray[np.int64]:
        """The number of each row's step, the first is 0; InputError for a row that lies between two steps."""
        if self.unit == MONTH:
            months = _months(times)
            if months is None:
                raise InputError(f"{table.source.name}: {times.name!r} should hold one day of each month.")
            raw = (months - months.min()) / self.length
        elif self.unit:
            stamps = times.dt.timestamp("us").to_numpy()
            raw = (stamps - stamps.min()) / (self.length * LENGTHS[self.unit] * SECOND)
        else:
            raw = (times.to_numpy() - float(times.min())) / self.length  # type: ignore[arg-type]
        places = np.rint(raw).astype(np.int64)
        between = np.abs(raw - places) > OFF
        if between.any():
            row = int(np.argmax(between))
            raise InputError(
                f"{table.source.name}, row {row + 1:,}: {shown(times[row])} lies between two steps of {self.words(1)}, "
                f"counted from {shown(times.min())}; a series needs rows at even distances (take the mean of each "
                "hour or day, say)."
            )
        if len(places) and places.max() > SPARSE * len(places) + SPARSE:
            raise InputError(
                f"{table.source.name}: {len(places):,} rows in {places.max() + 1:,} steps of {self.words(1)} are too "
                "few; a series needs rows at even distances."
            )
        return np.asarray(places)

    def at(self, first: Any, places: Array) -> pl.Series:
        """The times of these steps, counted from the time `first`."""
        if not self.unit:
            return pl.Series([float(first) + place * self.length for place in places.tolist()], dtype=pl.Float64)
        start = pl.Series([first], dtype=pl.Datetime("us"))
        if self.unit != MONTH:
            step = round(self.length * LENGTHS[self.unit] * SECOND)
            return (int(start.dt.timestamp("us")[0]) + pl.Series(places) * step).cast(pl.Datetime("us"))
        frame = pl.DataFrame({"by": [f"{round(place * self.length)}mo" for place in places.tolist()]})
        moved = frame.select(pl.lit(start[0], pl.Datetime("us")).dt.offset_by(pl.col("by")).alias("at"))["at"]
        ends = start.dt.month_end()[0].date() == start[0].date()  # the last day of a month stays the last
        return pl.DataFrame({"at": moved}).select(
            (pl.col("at").dt.month_end() if ends else pl.col("at")).cast(pl.Datetime("us"))
        )["at"]

    def words(self, steps: int) -> str:
        """So many steps in words: "14 days", "1 hour", "3 steps"."""
        count = steps * self.length
        unit = self.unit or "step"
        count = count if self.unit else steps
        return f"{count:g} {unit}{'s' * (count != 1)}"

    @property
    def season(self) -> int:
        """Steps after which a series may begin anew: a day of hours, a week of days, a year of months; 0 if unknown."""
        whole = {MONTH: 12, **SEASONS}.get(self.unit, 0) / self.length
        return int(whole) if whole == int(whole) and whole > 1 else 0


def shown(time: Any) -> str:
    """A time as people write it, without a midnight."""
    return f"{time:g}" if isinstance(time, float) else str(time).removesuffix(" 00:00:00")


def _mode(distances: Array) -> float:
    values, counts = np.unique(np.round(distances, 9), return_counts=True)
    return float(values[counts.argmax()])


def _months(times: pl.Series) -> Array | None:
    """The number of each time's month, where all are on one day of it, or on its last, at one hour."""
    frame = pl.DataFrame({"t": times}).select(
        (pl.col("t").dt.year().cast(pl.Int64) * 12 + pl.col("t").dt.month()).alias("month"),
        pl.col("t").dt.day().alias("day"),
        (pl.col("t").dt.month_end().dt.day() == pl.col("t").dt.day()).alias("last"),
        pl.col("t").dt.time().alias("hour"),
    )
    same = frame["day"].n_unique() == 1 or bool(frame["last"].all())
    if not same or frame["hour"].n_unique() > 1:
        return None
    return np.asarray(frame["month"].to_numpy(), np.int64)
