"""Frames, arrays and dicts into Polars, whatever library they come from."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from heldout.data.formats import Raw, checked_names
from heldout.data.table import Source
from heldout.errors import InputError

DENSE_LIMIT = 2 * 1024**3  # bytes that a sparse matrix may take when every cell is written out


def to_raw(data: Any) -> Raw:
    """Any frame, 2-D array, sparse matrix or dict of columns as a Polars frame.

    Raises InputError for anything else, for columns of different lengths, and for two columns of one name.
    """
    if isinstance(data, pl.LazyFrame):
        data = data.collect()
    if isinstance(data, pl.DataFrame):
        return _raw(data, "a Polars frame")
    if isinstance(data, Mapping):
        return _raw(_from_mapping(data), "data")
    if isinstance(data, np.ndarray):
        return _raw(_from_array(data), "an array")
    if hasattr(data, "tocsr") and hasattr(data, "nnz"):
        return _raw(_from_sparse(data), "a sparse matrix")
    if type(data).__module__.split(".")[0] == "pandas" and hasattr(data, "columns"):
        return _raw(_from_pandas(data), "a pandas frame")
    try:
        native = nw.from_native(data)
        frame = native.collect() if isinstance(native, nw.LazyFrame) else native
        return _raw(frame.to_polars(), "a frame")
    except TypeError:
        kind = type(data).__name__
        raise InputError(f"A table is a path, a frame, a 2-D array or a dict of columns, not {kind}.") from None


def _raw(frame: pl.DataFrame, name: str) -> Raw:
    if frame.width == 0:
        raise InputError(f"{name} has no columns.")
    if frame.height == 0:
        raise InputError(f"{name} has column names but no rows.")
    return Raw(frame, Source(name))


def _from_mapping(data: Mapping[Any, Any]) -> pl.DataFrame:
    names = checked_names([str(name) for name in data], "data")
    columns = [_series(name, values) for name, values in zip(names, data.values(), strict=True)]
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise InputError(f"The columns do not have the same length: {sorted(lengths)}.")
    return pl.DataFrame(columns)


def _series(name: str, values: Any) -> pl.Series:
    if isinstance(values, pl.Series):
        return values.alias(name)
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return pl.Series(name, values)
    return _from_objects(name, list(values))


def _from_array(data: np.ndarray[Any, Any]) -> pl.DataFrame:
    if data.ndim != 2:
        raise InputError(f"An array must have rows and columns (2 axes), not {data.ndim}.")
    names = [f"x{i}" for i in range(data.shape[1])]
    return pl.DataFrame([_series(name, data[:, i]) for i, name in enumerate(names)])


def _from_sparse(data: Any) -> pl.DataFrame:
    rows, columns = data.shape
    if rows * columns * 8 > DENSE_LIMIT:
        raise InputError(
            f"The sparse matrix has {rows:,} x {columns:,} cells, too many to write out; keep fewer columns "
            "(the most frequent, or components of a TruncatedSVD)."
        )
    return _from_array(data.toarray())


def _from_pandas(data: Any) -> pl.DataFrame:
    """Column by column through NumPy, which needs no pyarrow."""
    names = checked_names([str(name) for name in data.columns], "the pandas frame")
    return pl.DataFrame([_pandas_column(name, data.iloc[:, i]) for i, name in enumerate(names)])


def _pandas_column(name: str, values: Any) -> pl.Series:
    kind = str(values.dtype)
    if kind.startswith("datetime64"):
        naive = values.dt.tz_convert("UTC").dt.tz_localize(None) if getattr(values.dtype, "tz", None) else values
        return pl.Series(name, naive.to_numpy().astype("datetime64[us]"))
    if kind.startswith("timedelta64"):
        return pl.Series(name, values.to_numpy().astype("timedelta64[us]"))
    if (
        isinstance(values.to_numpy(), np.ndarray)
        and getattr(values.dtype, "kind", "O") in "fiub"
        and not hasattr(values.dtype, "na_value")
    ):
        return pl.Series(name, values.to_numpy(), nan_to_null=values.dtype.kind == "f")
    missing = values.isna().to_numpy()
    cells = values.astype(object).tolist()
    return _from_objects(name, [None if gone else cell for cell, gone in zip(cells, missing, strict=True)])


def _from_objects(name: str, cells: Sequence[Any]) -> pl.Series:
    """Python objects: of one plain type as that type, mixed ones as text."""
    cells = [_plain(cell) for cell in cells]
    kinds = {type(cell) for cell in cells if cell is not None}
    if (
        kinds <= {int, float}
        or kinds <= {bool}
        or kinds <= {str}
        or kinds <= {datetime.date}
        or kinds <= {datetime.datetime}
    ):
        return pl.Series(
            name, [float(c) if isinstance(c, int) and not isinstance(c, bool) else c for c in cells], strict=False
        )
    if kinds <= {datetime.timedelta}:
        return pl.Series(name, cells)
    odd = kinds - {str, int, float, bool, datetime.date, datetime.datetime}
    if odd:
        raise InputError(
            f"The column {name!r} holds values of the type {sorted(k.__name__ for k in odd)[0]}; a cell is a number, a text, yes or no, or a date."
        )
    return pl.Series(name, [None if cell is None else str(cell) for cell in cells], dtype=pl.String)


def _plain(cell: Any) -> Any:
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, decimal.Decimal):
        return float(cell)
    if cell is None or (isinstance(cell, float) and cell != cell) or type(cell).__name__ in ("NAType", "NaTType"):
        return None
    return cell.to_pydatetime() if hasattr(cell, "to_pydatetime") else cell
