"""Reading: files, frames, arrays and dicts into a Table; new data the way the training data was read."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from heldout.data import frames
from heldout.data.formats import load
from heldout.data.images import pixels as of_images
from heldout.data.images.wanted import Wanted
from heldout.data.raw import Raw
from heldout.data.recognise import LONG_CODES, divided, missing_marks, padded, parse_for, read_as, recognise
from heldout.data.series import series_column
from heldout.data.table import KINDS, Column, Source, Table
from heldout.errors import InputError, suggest

if TYPE_CHECKING:
    from heldout.data.images.pixels import Pixels

NUMBER_MARK = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
MOST_WHOLE = 2**53  # whole numbers beyond it are not all different as float64


def read(
    data: Any,
    *,
    kinds: Mapping[str, str] | None = None,
    missing: str | Sequence[str] = (),
    delimiter: str | None = None,
    sheet: str | None = None,
    size: str | int | tuple[int, int] | None = None,
    grey: bool = False,
    damaged: str = "refuse",
) -> Table:
    """Read a table, or images, and recognise the kind of each column.

    Parameters
    ----------
    data : path, pandas, Polars or any narwhals frame, 2-D array, scipy sparse matrix, dict of columns, or Table
        Files: CSV, TSV and other delimited text (UTF-8, UTF-16, Latin-1), Parquet, Arrow, JSON lines, Excel (extra
        "excel"); text may be packed by gz, bz2, xz or zst. Images: a folder with a subfolder a class, IDX and NPZ
        files, an array (n, height, width) or (n, height, width, channels), alone or as one column of a dict.
    kinds : mapping of name to kind, optional
        Overrides what is recognised: "number", "boolean", "category", "date" or "text".
    missing : str or sequence of str, optional
        Texts that stand for a missing value, besides the usual ones.
    delimiter : str, optional
        Of a text file. Default: the one of `, ; tab |` that gives the most rows the header's number of fields.
    sheet : str, optional
        Of an Excel file. Default: the first.
    size : "WIDTHxHEIGHT", int or (width, height), optional
        Of images, whatever shape they had (bilinear). Default: as they are; of files the median height and width,
        made smaller where a side is above 64.
    grey : bool, default False
        Read images in grey. Default: in colour, unless all of them are grey.
    damaged : {"refuse", "skip"}
        What becomes of a folder's files that cannot be read as images; those left out are named in the notices.

    Returns
    -------
    Table

    Raises
    ------
    InputError
        The file is not there, unreadable, empty or no table; names repeat; rows are ragged; a number is infinite; a
        value is not of the kind that was asked for.

    >>> read({"price": ["$3", "$1,250"], "sold": ["2024-05-01", "2024-06-02"]}).schema()[0]["kind"]
    'number'
    """
    asked, marks, wanted = dict(kinds or {}), _marks(missing), Wanted.of(size, grey, damaged)
    if isinstance(data, Table) and data.image is None:
        return _with_kinds(data, asked, marks)
    return _table(as_raw(data, delimiter=delimiter, sheet=sheet, wanted=wanted), asked, marks)


def _marks(missing: str | Sequence[str]) -> list[str]:
    return [missing] if isinstance(missing, str) else [str(mark) for mark in missing]


def as_raw(
    data: Any,
    *,
    delimiter: str | None = None,
    sheet: str | None = None,
    wanted: Wanted = Wanted(),  # noqa: B008  # frozen
) -> Raw:
    """The table as it was found, nothing recognised yet; images in the size and colours that are wanted."""
    if isinstance(data, str | os.PathLike):
        return load(data, delimiter, sheet, wanted)
    if isinstance(data, Table):
        known = {column.name: column for column in data.columns} if data.image else {}
        return Raw(data.frame, data.source, known, data.pixels, data.notices).as_wanted(wanted)
    return frames.to_raw(data).as_wanted(wanted)


def _check_kinds(kinds: Mapping[str, str], names: Sequence[str], source: Source, images: Collection[str] = ()) -> None:
    for name, kind in kinds.items():
        if name not in names:
            raise InputError(f"{source.name} has no column {name!r}.{suggest(name, names)}")
        if kind not in KINDS:
            raise InputError(f"There is no kind {kind!r}.{suggest(str(kind), KINDS)}")
        if (kind == "image") != (name in images):
            what = "no images" if kind == "image" else "images"
            raise InputError(f"{source.name}: the column {name!r} holds {what} and cannot be read as {kind}.")


def _with_kinds(table: Table, kinds: Mapping[str, str], missing: Sequence[str]) -> Table:
    """The table with some columns read anew, from the values that it has."""
    if not kinds:
        return table
    _check_kinds(kinds, table.names, table.source)
    anew = _table(Raw(table.frame.select(list(kinds)), table.source), kinds, missing)
    columns = tuple(anew.column(column.name) if column.name in kinds else column for column in table.columns)
    return Table(table.frame.with_columns(anew.frame.get_columns()), columns, table.source)


def _table(raw: Raw, kinds: Mapping[str, str], missing: Sequence[str]) -> Table:
    _check_kinds(kinds, raw.frame.columns, raw.source, [raw.image.name] if raw.image else [])
    columns, values = [], []
    for series in raw.frame.get_columns():
        asked = kinds.get(series.name)
        known = raw.known.get(series.name)
        column = known if known and asked in (None, known.kind) else _column(series, asked, missing, raw.source)
        columns.append(column)
        values.append(_values(series, column, raw.source))
    return Table(pl.DataFrame(values), tuple(columns), raw.source, raw.pixels, raw.notices)


def _column(series: pl.Series, asked: str | None, missing: Sequence[str], source: Source) -> Column:
    found, note = _typed_kind(series, source)
    if found == "series" and asked in (None, found):
        steps = int(cast("pl.Array", series.dtype).shape[0])
        return series_column(series.name, np.zeros((1, steps)))[0]
    if found is not None:
        parse: dict[str, Any] = {"missing": missing_marks(asked or found, missing)} if missing else {}
        if (found, asked) == ("date", "number"):
            parse["dates"] = True  # as seconds since 1970
        return Column(series.name, asked or found, parse, note if asked is None else "as asked")
    if asked is not None:
        return Column(series.name, asked, parse_for(series.cast(pl.String), asked, missing), "as asked")
    kind, parse, note = recognise(series.cast(pl.String), missing)
    return Column(series.name, kind, parse, note)


def _typed_kind(series: pl.Series, source: Source) -> tuple[str | None, str]:
    """The kind of a column that has a type of its own; None for texts, which are looked at."""
    kind = series.dtype
    if kind == pl.String:
        return None, ""
    if kind == pl.Boolean:
        return "boolean", ""
    if isinstance(kind, pl.Array) and kind.inner.is_numeric():
        return "series", ""
    if kind.is_integer() and max(abs(int(series.min() or 0)), abs(int(series.max() or 0))) > MOST_WHOLE:  # type: ignore[arg-type]
        return "category", LONG_CODES
    if kind.is_numeric():
        return "number", ""
    if kind in (pl.Date, pl.Datetime):
        return "date", ""
    if kind in (pl.Duration, pl.Time):
        return "number", "lengths of time, in seconds"
    if kind in (pl.Categorical, pl.Enum):
        return "category", ""
    if kind == pl.Null:
        return "category", "no value at all"
    raise InputError(
        f"{source.name}: the column {series.name!r} holds {str(kind).split('(')[0].lower()} values; a cell must be a "
        "number, a text, yes or no, or a date."
    )


def _values(series: pl.Series, column: Column, source: Source) -> pl.Series:
    """The column's values in the type of its kind, checked."""
    if column.kind == "series":
        return _steps(series, column, source)
    if series.dtype in (pl.Categorical, pl.Enum, pl.Null):
        series = series.cast(pl.String)
    if series.dtype == pl.String:
        values, wrong = read_as(series, column.kind, column.parse)
    else:
        values, wrong = _converted(series, column)
    if wrong.any():
        _refuse(series, column, wrong, source)
    if column.kind == "category" and "pad" in column.parse:
        values = padded(values, str(column.parse["pad"]))
    if column.kind == "number":
        values = _finite(_without(values, column.parse.get("missing", ())), series, column, source)
    return values.alias(column.name)


def _steps(series: pl.Series, column: Column, source: Source) -> pl.Series:
    """A column of series of the right length, finite but where a step is missing."""
    wanted = column.parse["steps"]
    if not isinstance(series.dtype, pl.Array) or series.dtype.shape != (wanted,):
        found = f"of {series.dtype.shape[0]} steps" if isinstance(series.dtype, pl.Array) else "none"
        raise InputError(f"{source.name}: {column.name!r} should hold series of {wanted} steps, and they are {found}.")
    values = np.array(series.cast(pl.Array(pl.Float64, wanted)).to_numpy(), np.float64)
    if np.isinf(values).any():
        row = int(np.argmax(np.isinf(values).any(axis=1)))
        raise InputError(f"{source.name}: {column.name!r} is infinite in row {row + 1:,}; replace it by a number.")
    return pl.Series(column.name, values, dtype=pl.Array(pl.Float64, wanted))


def _converted(series: pl.Series, column: Column) -> tuple[pl.Series, pl.Series]:
    """Typed values as another kind, and a mask of those that cannot be."""
    none, kind = pl.zeros(len(series), pl.Boolean, eager=True), column.kind
    if kind == "number" and (series.dtype not in (pl.Date, pl.Datetime) or "dates" in column.parse):
        return _as_number(series), none
    if kind in ("category", "text"):
        return _as_text(series), none
    if kind == "date" and series.dtype in (pl.Date, pl.Datetime):
        return _naive(series), none
    if kind == "boolean" and series.dtype == pl.Boolean:
        return series, none
    if kind == "boolean" and series.dtype.is_numeric():
        numbers = series.cast(pl.Float64).fill_nan(None)
        return numbers == 1, ~numbers.is_in([0.0, 1.0]) & numbers.is_not_null()
    return series, series.is_not_null()


def _as_number(series: pl.Series) -> pl.Series:
    if series.dtype == pl.Duration:
        return divided(series.dt.total_microseconds(), 1e6)
    if series.dtype == pl.Time:
        return divided(series.cast(pl.Int64), 1e9)
    if series.dtype in (pl.Date, pl.Datetime):
        return divided(_naive(series).dt.timestamp("us"), 1e6)
    return series.cast(pl.Float64).fill_nan(None)


def _without(values: pl.Series, marks: Sequence[str]) -> pl.Series:
    """Numbers that stand for a missing value, like "-999", however they are written."""
    numbers = [float(mark) for mark in marks if NUMBER_MARK.fullmatch(mark)]
    return values.set(values.is_in(numbers), None) if numbers else values


def _as_text(series: pl.Series) -> pl.Series:
    if series.dtype in (pl.Duration, pl.Time, pl.Decimal):
        series = _as_number(series)
    if series.dtype.is_float():
        whole = (series == series.round(0)) & (series.abs() < 1e15)
        return pl.select(
            pl.when(whole)
            .then(series.cast(pl.Int64, strict=False).cast(pl.String))
            .otherwise(series.fill_nan(None).cast(pl.String))
        ).to_series()
    return series.cast(pl.String)


def _naive(series: pl.Series) -> pl.Series:
    if isinstance(series.dtype, pl.Datetime) and series.dtype.time_zone is not None:
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return series.cast(pl.Datetime("us"))


def _finite(values: pl.Series, series: pl.Series, column: Column, source: Source) -> pl.Series:
    values = values.fill_nan(None)
    infinite = values.is_infinite().fill_null(False)
    if infinite.any():
        row = int(infinite.arg_true()[0])
        raise InputError(
            f"{source.name}: the column {column.name!r} is infinite in row {row + 1:,} ({str(series[row])[:60]}); "
            "replace it by a number or leave it empty."
        )
    return values


def _refuse(series: pl.Series, column: Column, wrong: pl.Series, source: Source) -> None:
    row = int(wrong.arg_true()[0])
    count = int(wrong.sum())
    more = f" (and {count - 1:,} more row{'s' * (count > 2)})" if count > 1 else ""
    raise InputError(
        f"{source.name}: the column {column.name!r} should hold {_plural(column.kind)}, but row {row + 1:,} holds "
        f"{str(series[row])[:60]!r}{more}."
    )


def _plural(kind: str) -> str:
    return {"number": "numbers", "date": "dates", "boolean": "yes or no"}.get(kind, f"{kind} values")


def conform(
    data: Any,
    columns: Sequence[Column],
    *,
    optional: Collection[str] = (),
    missing: str | Sequence[str] = (),
    delimiter: str | None = None,
    sheet: str | None = None,
    damaged: str = "refuse",
) -> tuple[Table, list[str]]:
    """New data read the way `columns` were: in their order, as their kinds; images in their size and colours.

    Other columns are ignored; those named in `optional` may be absent. Returns the table and notices for a person.

    Raises
    ------
    InputError
        A column is missing, or holds a value that cannot be read as its kind (column, row and value are named).
    """
    wanted = wanted_for(columns, damaged)
    raw = data if isinstance(data, Raw) else as_raw(data, delimiter=delimiter, sheet=sheet, wanted=wanted)
    raw = _with_image_named(raw, columns)
    there = set(raw.frame.columns)
    lacking = [column.name for column in columns if column.name not in there and column.name not in optional]
    if lacking:
        _lacks(lacking, raw)
    chosen = tuple(column for column in columns if column.name in there)
    if missing:
        chosen = tuple(
            replace(
                c, parse={**c.parse, "missing": [*c.parse.get("missing", missing_marks(c.kind, ())), *_marks(missing)]}
            )
            for c in chosen
        )
    values = [_values(raw.frame[column.name], column, raw.source) for column in chosen]
    unused = sorted(there - {column.name for column in columns} - set(raw.known))
    notices = [f"Not used: {', '.join(repr(name) for name in unused)}."] if unused else []
    images = _images(raw, chosen)
    return Table(pl.DataFrame(values), chosen, raw.source, images), [*notices, *raw.notices]


def wanted_for(columns: Sequence[Column], damaged: str = "refuse") -> Wanted:
    """How images must be read to be like those of `columns`."""
    shape = next((column.parse["shape"] for column in columns if column.kind == "image"), None)
    asked = Wanted.of(damaged=damaged)
    return asked if shape is None else Wanted((shape[0], shape[1]), shape[2], asked.damaged)


def _with_image_named(raw: Raw, columns: Sequence[Column]) -> Raw:
    """The column of images called as in `columns`: there is one, whatever its name."""
    wanted = next((column.name for column in columns if column.kind == "image"), None)
    if wanted is None:
        return raw
    if raw.image is None:
        raise InputError(
            f"{raw.source.name} holds no images, which are needed; give a folder, an IDX or NPZ file, or an array."
        )
    known = {**raw.known, wanted: raw.image}
    return replace(raw, frame=raw.frame.rename({raw.image.name: wanted}), known=known)


def _images(raw: Raw, chosen: Sequence[Column]) -> Pixels | None:
    """The images in the type of those that were learned from."""
    column = next((column for column in chosen if column.kind == "image"), None)
    if column is None or raw.pixels is None:
        return None
    return of_images.fitted_to(raw.pixels, column.parse["shape"], column.parse["dtype"], raw.source.name)[0]


def _lacks(lacking: Sequence[str], raw: Raw) -> None:
    if raw.source.target is None and raw.source.lacks:
        raise InputError(raw.source.lacks)
    listed = ", ".join(repr(name) for name in lacking[:10]) + (", …" if len(lacking) > 10 else "")
    hint = suggest(lacking[0], raw.frame.columns)
    hint = hint if "Did you mean" in hint else ""
    columns = "column" if len(lacking) == 1 else f"{len(lacking)} columns"
    raise InputError(f"{Path(raw.source.name).name} lacks the {columns} {listed} that the model needs.{hint}")
