"""Frames, arrays and dicts into Polars, whatever library they come from."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from heldout.data.formats import checked_frame
from heldout.data.images import pixels
from heldout.data.raw import IMAGE, Raw, image_column
from heldout.data.series import series_column
from heldout.data.table import Source, checked_names
from heldout.errors import InputError

DENSE_LIMIT = 2 * 1024**3  # bytes that a sparse matrix may take when every cell is written out
PLAIN = (int, float, bool, str, datetime.date, datetime.datetime, datetime.time, datetime.timedelta)


def to_raw(data: Any) -> Raw:
    """Any frame, 2-D array, sparse matrix, array of images or dict of columns as a Polars frame.

    Raises InputError for anything else, for columns of different lengths, for two columns of one name, and for cells
    that are no number, text, yes or no, or date.

    >>> to_raw({"size": [1, None]}).frame.rows()
    [(1.0,), (None,)]
    """
    if isinstance(data, pl.LazyFrame):
        return _raw(_collected(data), "a Polars frame")
    if isinstance(data, pl.DataFrame):
        return _raw(data, "a Polars frame")
    if isinstance(data, np.ndarray) and data.ndim > 2:
        return _with_images({IMAGE: data}, "an array")
    if isinstance(data, Mapping):
        return _with_images(data, "data")
    if isinstance(data, np.ndarray):
        return _raw(_from_array(data), "an array")
    if hasattr(data, "tocsr") and hasattr(data, "nnz"):
        return _raw(_from_sparse(data), "a sparse matrix")
    if type(data).__module__.split(".")[0] == "pandas" and hasattr(data, "columns"):
        return _raw(_from_pandas(data), "a pandas frame")
    try:
        native = nw.from_native(data)
    except TypeError:
        kind = type(data).__name__
        raise InputError(f"A table is a path, a frame, an array or a dict of columns, not {kind}.") from None
    frame = native.collect() if isinstance(native, nw.LazyFrame) else native
    return _raw(frame.to_polars(), "a frame")


def _raw(frame: pl.DataFrame, name: str) -> Raw:
    return Raw(checked_frame(frame, name), Source(name))


def _with_images(data: Mapping[Any, Any], source: str) -> Raw:
    """Columns, one of which may be an array of images (n, height, width) or (n, height, width, channels)."""
    names = [name for name, values in data.items() if isinstance(values, np.ndarray) and values.ndim > 2]
    if not names:
        return _raw(_from_mapping(data), source)
    if len(names) > 1:
        raise InputError(f"{' and '.join(map(repr, names))} are both arrays of images; a table has one such column.")
    name = str(names[0])
    images = pixels.from_array(data[names[0]], source if source != "data" else f"The column {name!r}")
    marks = {key: pixels.fingerprints(images) if key == names[0] else values for key, values in data.items()}
    column = image_column(images.shape[1:], images.dtype.name, name)
    return Raw(checked_frame(_from_mapping(marks), source), Source(source), known={name: column}, pixels=images)


def _collected(lazy: pl.LazyFrame) -> pl.DataFrame:
    try:
        return lazy.collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"The lazy Polars frame cannot be collected: {str(error).splitlines()[0]}.") from error


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
    if isinstance(values, np.ndarray):
        return _from_vector(name, values)
    if type(values).__module__.split(".")[0] == "pandas" and hasattr(values, "iloc"):
        return _pandas_column(name, values)
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InputError(f"The column {name!r} is {values!r}, not a list of values.")
    return _from_objects(name, list(values))


def _from_vector(name: str, values: np.ndarray[Any, Any]) -> pl.Series:
    if values.ndim == 2 and values.dtype.kind in "fiub" and values.shape[1]:
        return series_column(name, values)[1]
    if values.ndim != 1:
        raise InputError(
            f"The column {name!r} is an array of {values.ndim} axes; a column has one, or two of series (rows, steps)."
        )
    if values.dtype.kind == "f":
        return pl.Series(name, values.astype(np.float64), nan_to_null=True)
    if values.dtype.kind in "iub":
        return pl.Series(name, values)
    if values.dtype.kind in "mM":
        return pl.Series(name, values.astype(f"{'datetime64' if values.dtype.kind == 'M' else 'timedelta64'}[us]"))
    return _from_objects(name, values.tolist())


def _from_array(data: np.ndarray[Any, Any]) -> pl.DataFrame:
    if data.ndim != 2:
        raise InputError(f"An array must have rows and columns (2 axes), not {data.ndim}.")
    return pl.DataFrame([_from_vector(f"x{i}", data[:, i]) for i in range(data.shape[1])])


def _from_sparse(data: Any) -> pl.DataFrame:
    if data.ndim != 2:
        raise InputError(f"A sparse matrix must have rows and columns (2 axes), not {data.ndim}.")
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
        return _from_vector(name, naive.to_numpy())
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "fiubm":
        return _from_vector(name, values.to_numpy())
    missing = values.isna().to_numpy()
    cells = [None if gone else cell for cell, gone in zip(values.astype(object).tolist(), missing, strict=True)]
    if kind == "category":
        return pl.Series(name, [None if cell is None else _level(cell) for cell in cells], dtype=pl.Categorical)
    return _from_objects(name, cells)


def _level(cell: Any) -> str:
    """A level as text, spelled as numbers and truth values are when they are read as categories."""
    if isinstance(cell, bool):
        return str(cell).lower()
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _from_objects(name: str, cells: Sequence[Any]) -> pl.Series:
    """Python objects: of one plain type as that type, mixed ones as text."""
    cells = [_plain(cell) for cell in cells]
    kinds = {type(cell) for cell in cells if cell is not None}
    odd = kinds - set(PLAIN)
    if odd:
        raise InputError(
            f"The column {name!r} holds values of the type {min(kind.__name__ for kind in odd)}; a cell is a number, a "
            "text, yes or no, or a date."
        )
    if not kinds:
        return pl.Series(name, cells, dtype=pl.Null)
    if kinds <= {int, float}:
        return pl.Series(name, [None if cell is None else _float(cell) for cell in cells], dtype=pl.Float64)
    if kinds <= {datetime.date, datetime.datetime}:
        return pl.Series(name, [_moment(cell) for cell in cells], dtype=pl.Datetime("us"))
    if len(kinds) == 1:
        return pl.Series(name, cells)
    return pl.Series(name, [None if cell is None else _level(cell) for cell in cells], dtype=pl.String)


def _float(cell: float) -> float:
    try:
        return float(cell)
    except OverflowError:  # a whole number beyond the largest float64
        return float("inf")


def _moment(cell: Any) -> datetime.datetime | None:
    """A date as its midnight; a moment with a time zone as UTC."""
    if cell is None or not isinstance(cell, datetime.datetime):
        return cell and datetime.datetime(cell.year, cell.month, cell.day)
    return cell if cell.tzinfo is None else cell.astimezone(datetime.UTC).replace(tzinfo=None)


def _plain(cell: Any) -> Any:
    if isinstance(cell, np.generic):
        cell = cell.astype("datetime64[us]").item() if isinstance(cell, np.datetime64) else cell.item()
    if isinstance(cell, decimal.Decimal):
        return None if cell.is_nan() else float(cell)
    if cell is None or (isinstance(cell, float) and cell != cell) or type(cell).__name__ in ("NAType", "NaTType"):
        return None
    return cell.to_pydatetime() if hasattr(cell, "to_pydatetime") else cell
