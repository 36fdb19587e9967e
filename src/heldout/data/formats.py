"""Files into frames: text tables with every cell as text, Parquet, Arrow, JSON, Excel and arrays with their types."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import os
import zlib
from pathlib import Path
from typing import Any

import polars as pl

from heldout.data.delimited import guarded, text_table
from heldout.data.images.idx import idx_images, is_idx
from heldout.data.images.npz import npz_table
from heldout.data.images.wanted import Wanted
from heldout.data.raw import Raw
from heldout.data.table import Source, checked_names
from heldout.errors import InputError, MissingExtraError, suggest

PACKED = (".gz", ".bz2", ".xz", ".zst")
EXCEL = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")
JSON = (".json", ".jsonl", ".ndjson")
IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm")
ZSTD = b"\x28\xb5\x2f\xfd"
LONG_WHOLE = 19  # digits of a whole number that may be beyond 64 bits and is kept as text
ZIP = b"PK\x03\x04"  # of Excel files as well
ARROW_STREAM = b"\xff\xff\xff\xff"


def load(
    path: str | os.PathLike[str],
    delimiter: str | None = None,
    sheet: str | None = None,
    wanted: Wanted = Wanted(),  # noqa: B008  # frozen
) -> Raw:
    """The table in this file, by its content and its name; a folder is one of images.

    Parameters
    ----------
    path : path
    delimiter : str, optional
        Of a text table. Default: found from its first rows.
    sheet : str, optional
        Of an Excel file. Default: the first.
    wanted : Wanted, optional
        Size and colours of images, and what becomes of damaged files.

    Raises
    ------
    InputError
        The file is not there, not readable, empty, damaged, or no table.
    MissingExtraError
        It is an Excel file and the extra "excel" is not installed.

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "towns.csv"
    >>> _ = path.write_text("town,size\\nAmes,3\\n")
    >>> load(path).frame.columns
    ['town', 'size']
    """
    path = Path(path)
    if _is_folder(path) or (path.suffix.lower() in IMAGES and path.is_file()):
        from heldout.data.images.folder import load_images

        return load_images(path, wanted)
    data = _bytes(path)
    source = Source(path.name, str(path), hashlib.sha256(data).hexdigest())
    data = _decompressed(data, path)
    if is_idx(data):
        return idx_images(data, path, source, _unpacked).as_wanted(wanted)
    if _ending(path) == ".npz":
        return npz_table(data, source).as_wanted(wanted)
    if not data or data.isspace():
        raise InputError(f"{path.name} is empty; it needs a line of column names and rows below it.")
    frame, notices = _frame(data, path, delimiter, sheet)
    return Raw(checked_frame(frame, path.name), source, notices=notices)


def _frame(data: bytes, path: Path, delimiter: str | None, sheet: str | None) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The frame, and what is to be told of it."""
    made = _typed(data, path, sheet)
    return text_table(data, path.name, delimiter) if made is None else (made, ())


def _typed(data: bytes, path: Path, sheet: str | None) -> pl.DataFrame | None:
    """The frame of a file that says what it is; None where it must be text."""
    ending = _ending(path)
    if data[:4] == b"PAR1":
        return guarded(lambda: pl.read_parquet(io.BytesIO(data)), path.name, "Parquet")
    if data[:6] == b"ARROW1":
        return guarded(lambda: pl.read_ipc(io.BytesIO(data)), path.name, "Arrow")
    if data[:4] == ARROW_STREAM:
        return guarded(lambda: pl.read_ipc_stream(io.BytesIO(data)), path.name, "Arrow")
    if ending in EXCEL:
        return _excel(data, path, sheet)
    if ending in JSON:
        return _json(data, path.name)
    if data[:4] == ZIP:
        raise InputError(
            f"{path.name} is a zip archive; unpack it and name the table in it (or end its name in .xlsx)."
        )
    return None


def checked_frame(frame: pl.DataFrame, source: str) -> pl.DataFrame:
    """The frame, if it has columns, names for all of them, and rows; InputError otherwise."""
    if frame.width == 0:
        raise InputError(f"{source} has no columns.")
    if frame.height == 0:
        raise InputError(f"{source} has column names but no rows.")
    return frame.rename(dict(zip(frame.columns, checked_names(frame.columns, source), strict=True)))


def _is_folder(path: Path) -> bool:
    if "\0" in str(path):
        raise InputError(f"{str(path)!r} is not a file's name.")
    return path.is_dir()


def _unpacked(path: Path) -> bytes:
    return _decompressed(_bytes(path), path)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.{_near(path)}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _near(path: Path) -> str:
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = [item.name for item in path.parent.iterdir() if item.is_file()]
    hint = suggest(path.name, names)
    return hint if "Did you mean" in hint else ""


def _ending(path: Path) -> str:
    """The ending that says what is in the file: ".csv" of "a.csv.gz"."""
    endings = [ending.lower() for ending in path.suffixes]
    if endings and endings[-1] in PACKED:
        endings.pop()
    return endings[-1] if endings else ""


def _decompressed(data: bytes, path: Path) -> bytes:
    try:
        if data[:2] == b"\x1f\x8b":
            return gzip.decompress(data)
        if data[:3] == b"BZh":
            return bz2.decompress(data)
        if data[:6] == b"\xfd7zXZ\x00":
            return lzma.decompress(data)
        if data[:4] == ZSTD:
            return _zstd(data)
    except (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError, pl.exceptions.PolarsError) as error:
        reason = (str(error).splitlines() or ["it ends too early"])[0].rstrip(".")
        raise InputError(f"{path.name} is a damaged compressed file ({reason}).") from error
    return data


def _zstd(data: bytes) -> bytes:
    """Polars unpacks zstd while it reads a text table; here the table is one column of whole lines."""
    lines = pl.read_csv(io.BytesIO(data), separator="\x01", has_header=False, quote_char=None, infer_schema=False)
    return "\n".join(lines.to_series().fill_null("").to_list()).encode()


def _excel(data: bytes, path: Path, sheet: str | None) -> pl.DataFrame:
    try:
        import fastexcel
    except ImportError as error:
        raise MissingExtraError(
            f"Reading {path.name} needs the extra 'excel': pip install 'heldout[excel]'; or save it as CSV."
        ) from error

    def load_sheet() -> pl.DataFrame:
        book = fastexcel.read_excel(data)
        if sheet is not None and sheet not in book.sheet_names:
            raise InputError(f"{path.name} has no sheet {sheet!r}.{suggest(sheet, book.sheet_names)}")
        return book.load_sheet(sheet if sheet is not None else 0).to_polars()  # type: ignore[no-any-return]

    return guarded(load_sheet, path.name, "Excel")


# JSON ------------------------------------------------------------------------------------------------------


def _json(data: bytes, source: str) -> pl.DataFrame:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not UTF-8, as JSON must be (byte {error.start:,}).") from error
    if text.lstrip()[:1] == "[":
        records = _parsed(text, source)
    else:
        lines = enumerate(text.split("\n"), 1)
        records = [_parsed(line, f"{source}, line {number}") for number, line in lines if line.strip()]
    for number, record in enumerate(records, 1):
        _require_cells(record, f"{source}: record {number:,}")
    return guarded(lambda: pl.DataFrame(records, infer_schema_length=None, strict=False), source, "JSON")


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < LONG_WHOLE else digits)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}.") from error


def _require_cells(record: Any, where: str) -> None:
    if not isinstance(record, dict):
        raise InputError(f"{where} is not an object of column names and values.")
    for name, value in record.items():
        if isinstance(value, dict | list):
            raise InputError(
                f"{where} holds {'a list' if isinstance(value, list) else 'an object'} in the column {name!r}; a cell "
                "must be a number, a text, yes or no, or a date."
            )
