"""Columns whose cells are series of one length: made of arrays, told apart by their hashes."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heldout.data.table import Column

Array = NDArray[Any]


def series_column(name: str, values: Array, unit: str = "") -> tuple[Column, pl.Series]:
    """A column of series `values` (n, T), NaN where a step is missing, and what its cells are.

    `unit` is the length of a step in words where the series end at one time, "1 day": steps are then counted back.

    >>> column, cells = series_column("load", np.array([[1.0, 2.0], [3.0, np.nan]]))
    >>> column.note, cells.to_list()
    ('series of 2 steps', [[1.0, 2.0], [3.0, nan]])
    """
    steps = values.shape[1]
    back = f" of {unit} each" if unit else ""
    note = f"series of {steps} step{'s' * (steps != 1)}{back}"
    values = np.ascontiguousarray(values, dtype=np.float64)
    return (
        Column(name, "series", {"steps": steps, "unit": unit}, note),
        pl.Series(name, values, dtype=pl.Array(pl.Float64, steps)),
    )


def as_hashes(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with a text for each series, the same for the same numbers."""
    columns = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Array)]
    made = [pl.Series(name, [_hash(row) for row in frame[name].to_numpy()], dtype=pl.String) for name in columns]
    return frame.with_columns(made)


def _hash(row: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(row, "<f8").tobytes()).hexdigest()[:32]


def step_names(name: str, steps: int, unit: str) -> list[str]:
    """A name for each step: "load, 2 steps before", or "load, step 1"."""
    if not unit:
        return [f"{name}, step {i + 1}" for i in range(steps)]
    return [f"{name}, {steps - i} step{'s' * (steps - i != 1)} before" for i in range(steps)]
