"""Files into frames: text tables with every cell as text, Parquet, Arrow, JSON and Excel with their own types."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import hashlib
import io
import json
import lzma
import os
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from heldout.data.table import Source
from heldout.errors import InputError, MissingExtraError, suggest

DELIMITERS = ",;\t|"
SNIFF_BYTES = 200_000
SNIFF_ROWS = 100
CHUNK = 1 << 24  # bytes looked at together when fields are counted
ZSTD = b"\x28\xb5\x2f\xfd"
EXCEL_ENDINGS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods")


@dataclass(frozen=True)
class Raw:
    """A table as it was found: text cells as text, typed cells as they are; and where it came from."""

    frame: pl.DataFrame
    source: Source
    notes: tuple[str, ...] = ()


def load(path: str | os.PathLike[str], delimiter: str | None = None, sheet: str | None = None) -> Raw:
    """The table in this file, by its content and its name.

    Raises InputError: the file is not there, not readable, empty, damaged, or no table.
    """
    path = Path(path)
    data = _bytes(path)
    source = Source(path.name, str(path), hashlib.sha256(data).hexdigest())
    data = _decompressed(data, path)
    if not data.strip():
        raise InputError(f"{path.name} is empty; it needs a line of column names and rows below it.")
    ending = _ending(path)
    if data[:4] == b"PAR1":
        frame = _polars(lambda: pl.read_parquet(io.BytesIO(data)), path, "Parquet")
    elif data[:6] == b"ARROW1":
        frame = _polars(lambda: pl.read_ipc(io.BytesIO(data)), path, "Arrow")
    elif ending in EXCEL_ENDINGS:
        frame = _excel(data, path, sheet)
    elif ending in (".json", ".jsonl", ".ndjson"):
        frame = _json(data, path)
    else:
        frame, notes = _text_table(data, path, delimiter)
        return Raw(frame, source, notes)
    _require_rows(frame, path)
    return Raw(frame, source)


def _bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise InputError(f"{path} is a directory, not a table; name a file in it.")
        return path.read_bytes()
    except FileNotFoundError:
        near = [item.name for item in path.parent.iterdir() if item.is_file()] if path.parent.is_dir() else []
        hint = suggest(path.name, near) if near else ""
        raise InputError(f"There is no file {path}.{hint if 'Did you mean' in hint else ''}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _ending(path: Path) -> str:
    endings = [ending.lower() for ending in path.suffixes]
    packed = endings and endings[-1] in (".gz", ".bz2", ".xz", ".zst")
    return (endings[:-1] if packed else endings)[-1:][0] if len(endings) > bool(packed) else ""


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
        raise InputError(f"{path.name} is a damaged compressed file ({error}).") from error
    return data


def _zstd(data: bytes) -> bytes:
    """Polars unpacks zstd while it reads a text table; here the table is one column of whole lines."""
    lines = pl.read_csv(
        io.BytesIO(data), separator="\x01", has_header=False, quote_char=None, infer_schema=False, encoding="utf8-lossy"
    )
    return "\n".join(lines.to_series().fill_null("").to_list()).encode()


def _polars(read: object, path: Path, what: str) -> pl.DataFrame:
    try:
        return read()  # type: ignore[operator,no-any-return]
    except Exception as error:  # Polars has many kinds
        raise InputError(f"{path.name} is not a whole {what} file: {str(error).splitlines()[0]}.") from error


def _excel(data: bytes, path: Path, sheet: str | None) -> pl.DataFrame:
    try:
        import fastexcel
    except ImportError as error:
        raise MissingExtraError(
            f"Reading {path.name} needs the extra 'excel': pip install 'heldout[excel]'; or save it as CSV."
        ) from error
    try:
        book = fastexcel.read_excel(data)
    except Exception as error:
        raise InputError(f"{path.name} is not a whole Excel file: {str(error).splitlines()[0]}.") from error
    if sheet is not None and sheet not in book.sheet_names:
        raise InputError(f"{path.name} has no sheet {sheet!r}.{suggest(sheet, book.sheet_names)}")
    return book.load_sheet(sheet if sheet is not None else 0).to_polars()  # type: ignore[no-any-return]


def _json(data: bytes, path: Path) -> pl.DataFrame:
    if data.lstrip()[:1] == b"[":
        try:
            records = json.loads(data)
        except ValueError as error:
            raise InputError(f"{path.name} is not whole JSON: {error}.") from error
    else:
        records = []
        for number, line in enumerate(data.decode("utf-8-sig").splitlines(), 1):
            if line.strip():
                try:
                    records.append(json.loads(line))
                except ValueError as error:
                    raise InputError(f"{path.name}, line {number} is not JSON: {error}.") from error
    for number, record in enumerate(records, 1):
        if not isinstance(record, dict):
            raise InputError(f"{path.name}: record {number} is not an object of column names and values.")
    return _polars(lambda: pl.DataFrame(records, infer_schema_length=None, strict=False), path, "JSON")


def _require_rows(frame: pl.DataFrame, path: Path) -> None:
    if frame.width == 0:
        raise InputError(f"{path.name} has no columns.")
    if frame.height == 0:
        raise InputError(f"{path.name} has column names but no rows.")


# Text tables -----------------------------------------------------------------------------------------------


def _text_table(data: bytes, path: Path, delimiter: str | None) -> tuple[pl.DataFrame, tuple[str, ...]]:
    text, notes = _utf8(data, path)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    blank = len(text) - len(text.lstrip(b"\n"))
    text = text[blank:]
    separator = _delimiter(text, delimiter, path)
    names, start = _header(text, separator, path)
    body = _without_blank_lines(text[start:]) if len(names) > 1 else text[start:]
    if not body.strip():
        raise InputError(f"{path.name} has column names but no rows.")
    quoted = _require_even_rows(text, start, separator, len(names), path, blank)
    frame = _polars(
        lambda: pl.read_csv(
            io.BytesIO(body),
            separator=separator,
            has_header=False,
            new_columns=names,
            schema=dict.fromkeys(names, pl.String),
            quote_char='"' if quoted else None,
            infer_schema=False,
        ),
        path,
        "text",
    )
    _require_rows(frame, path)
    return frame, notes


def _utf8(data: bytes, path: Path) -> tuple[bytes, tuple[str, ...]]:
    """The text as UTF-8: from UTF-8 with or without BOM, UTF-16, or else Latin-1 (Windows-1252)."""
    if data.startswith(codecs.BOM_UTF8):
        return data[3:], ()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _recoded(data, "utf-16", path), ("read as UTF-16",)
    head = data[:4000]
    if head.count(0) > len(head) // 4:
        ending = "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
        return _recoded(data, ending, path), ("read as UTF-16",)
    control = sum(byte < 32 and byte not in (9, 10, 13, 12) for byte in head)
    if control > 0.01 * len(head):
        raise InputError(f"{path.name} is not a text table, nor Parquet, Arrow, Excel or JSON.")
    try:
        data.decode("utf-8")
        return data, ()
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace").encode(), ("read as Latin-1 (Windows-1252)",)


def _recoded(data: bytes, encoding: str, path: Path) -> bytes:
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} looks like UTF-16 but is damaged at byte {error.start:,}.") from error


def _delimiter(text: bytes, given: str | None, path: Path) -> str:
    if given is not None:
        known = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
        chosen = known.get(given.lower(), given)
        if len(chosen) != 1 or len(chosen.encode()) != 1 or chosen in '"\n':
            raise InputError(f"The delimiter {given!r} is not a single character (or tab, comma, semicolon, pipe).")
        return chosen
    sample = text[:SNIFF_BYTES]
    if len(text) > SNIFF_BYTES:
        sample = sample[: sample.rfind(b"\n") + 1] or sample
    scores = {mark: _agreement(sample.decode("utf-8", errors="ignore"), mark) for mark in DELIMITERS}
    best = max(DELIMITERS, key=lambda mark: scores[mark])
    return best if scores[best] > (0, 0) else ","


def _agreement(sample: str, mark: str) -> tuple[float, int]:
    """How many of the first rows have the header's number of fields, and that number; (0, 0) for one field."""
    rows = [row for row, _ in zip(csv.reader(io.StringIO(sample), delimiter=mark), range(SNIFF_ROWS), strict=False)]
    widths = [len(row) for row in rows if row]
    if not widths or widths[0] < 2:
        return (0, 0)
    return (round(Counter(widths)[widths[0]] / len(widths), 1), widths[0])


def _header(text: bytes, separator: str, path: Path) -> tuple[list[str], int]:
    """The column names, and where the first row begins."""
    size = 1 << 16
    while True:
        lines = io.StringIO(text[:size].decode("utf-8", errors="ignore"), newline="")
        taken: list[str] = []
        fields = next(csv.reader(_remember(lines, taken), delimiter=separator))
        end = len("".join(taken).encode())
        if end < len(text[:size]) or size >= len(text):
            break
        size *= 8
    return checked_names([field.strip() for field in fields], path.name), end


def _remember(lines: io.StringIO, taken: list[str]) -> object:
    for line in lines:
        taken.append(line)
        yield line


def checked_names(names: Sequence[str], source: str) -> list[str]:
    """The names, each one there and different; an unnamed first column, an index, is called 'row'."""
    found = list(names)
    if found and not found[0] and "row" not in found:
        found[0] = "row"
    for position, name in enumerate(found, 1):
        if not name:
            raise InputError(f"{source}: column {position} has no name; give it one in the first line.")
        if found.index(name) != position - 1:
            first = found.index(name) + 1
            raise InputError(f"{source}: columns {first} and {position} are both called {name!r}; rename one.")
    return found


def _without_blank_lines(body: bytes) -> bytes:
    if b"\n\n" not in body and not body.startswith(b"\n"):
        return body
    if b'"' in body:  # a blank line may be inside a quoted field
        return body
    return b"\n".join(line for line in body.split(b"\n") if line)


def _require_even_rows(text: bytes, start: int, separator: str, width: int, path: Path, blank: int) -> bool:
    """Every row has the header's number of fields; returns whether quotes are quotes in this file."""
    data = np.frombuffer(text, np.uint8, offset=start)
    quoted = b'"' in text
    if quoted and not _closes(data):
        quoted = False
    position, fields, number = _first_uneven(data, ord(separator), width, quoted)
    if position is None:
        return quoted
    line = text[: start + position].count(b"\n") + 1 + blank
    raise InputError(
        f"{path.name}, line {line} has {fields} field{'s' * (fields != 1)}, but there are {width} columns (row {number:,}); "
        "put fields that hold the delimiter in quotes, or name another delimiter (--delimiter)."
    )


def _closes(data: np.ndarray) -> bool:
    return int(np.count_nonzero(data == 34)) % 2 == 0


def _first_uneven(data: np.ndarray, mark: int, width: int, quoted: bool) -> tuple[int | None, int, int]:
    """Where the first row with another number of fields begins, its fields, its number; None where all agree."""
    inside, pending, row_start, row = 0, 0, 0, 0
    for begin in range(0, len(data) + 1, CHUNK):
        chunk = data[begin : begin + CHUNK]
        last = begin + CHUNK > len(data)
        free = np.ones(len(chunk), bool)
        if quoted:
            parity = (np.cumsum(chunk == 34) + inside) & 1
            free, inside = parity == 0, int(parity[-1]) if len(parity) else inside
        ends = np.flatnonzero((chunk == 10) & free)
        marks = np.flatnonzero((chunk == mark) & free)
        if last and (not len(ends) or ends[-1] != len(chunk) - 1) and len(chunk):
            ends = np.append(ends, len(chunk))
        before = np.searchsorted(marks, ends)
        counts = np.diff(before, prepend=0)
        if len(counts):
            counts[0] += pending
        starts = np.concatenate([[row_start], begin + ends[:-1] + 1]) if len(ends) else np.empty(0, int)
        empty = (begin + ends) - starts == 0
        wrong = np.flatnonzero((counts != width - 1) & ~empty)
        if len(wrong):
            first = int(wrong[0])
            number = row + first + 1 - int(np.sum(empty[:first]))
            return int(starts[first]), int(counts[first]) + 1, number
        row += len(ends) - int(np.sum(empty))
        pending = len(marks) - int(before[-1]) if len(ends) else pending + len(marks)
        row_start = begin + int(ends[-1]) + 1 if len(ends) else row_start
    return None, 0, 0
