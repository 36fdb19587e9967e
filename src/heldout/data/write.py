"""Tables out: CSV, TSV, Parquet or JSON lines, by the file's name, each written whole."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl

from heldout.errors import InputError
from heldout.files import write_whole


def _csv(frame: pl.DataFrame) -> bytes:
    return frame.write_csv().encode("utf-8")


def _tsv(frame: pl.DataFrame) -> bytes:
    return frame.write_csv(separator="\t").encode("utf-8")


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _json_lines(frame: pl.DataFrame) -> bytes:
    return frame.write_ndjson().encode("utf-8")


WRITERS: dict[str, Callable[[pl.DataFrame], bytes]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}


def write(frame: pl.DataFrame, path: str) -> None:
    """Write `frame` to `path`, or as CSV to standard output where path is "-".

    Parameters
    ----------
    frame : polars.DataFrame
    path : str
        Its ending (.csv, .tsv, .parquet, .jsonl, .ndjson) says what is written.

    Raises
    ------
    InputError
        The ending is another one, or a column holds what such a file cannot hold (lists in CSV).
    WorkError
        The file cannot be written.

    >>> write(pl.DataFrame({"size": [1.5]}), "-")
    size
    1.5
    """
    if path == "-":
        sys.stdout.write(_csv(frame).decode("utf-8"))
        return
    ending = Path(path).suffix.lower()
    if ending not in WRITERS:
        raise InputError(f"{path}: the name must end in one of {', '.join(WRITERS)}.")
    try:
        content = WRITERS[ending](frame)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path} cannot hold this table ({error}); a name in .parquet can.") from error
    write_whole(path, content)
