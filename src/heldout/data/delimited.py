"""Text tables: bytes into UTF-8, the delimiter, the names, the rows. Every cell stays text.

A field is quoted where it begins with a quote and the quote that closes it stands before a delimiter or the end of
the line; every other quote is a character like any other (5" pipe). Files whose quotes are all of the first sort, or
all of the second, go to Polars whole; the few that mix both are taken apart here.
"""

from __future__ import annotations

import codecs
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heldout.data.table import checked_names
from heldout.errors import InputError

Array = NDArray[Any]
DELIMITERS = ",;\t|"
NAMED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
WHOLE_LINE = "\x1f"  # the delimiter of a file of one column: one that no cell holds
SNIFF_BYTES = 200_000
SNIFF_ROWS = 100
NAMELESS_ROWS = 1000  # looked at to tell whether the first line is one of them
NAMELESS_SHARE, NAMELESS_LEAST = 0.1, 3
NUMERIC = re.compile(rb"[-+]?[\d.,]+(?:[eE][-+]?\d+)?%?")
LABEL_WORDS, TEXT_WORDS = 2.0, 3.0  # a class has fewer words on average, a text more
CHUNK = 1 << 24  # bytes looked at together when fields are counted
QUOTE, LINE_END = 34, 10


def text_table(data: bytes, source: str, delimiter: str | None = None) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The cells of a delimited text table, each as text, null or "" where one is empty; and what is to be told of it.

    The first line names the columns, unless it is a row like the others: one of its texts is that of every tenth row
    and more, as a class is. Then the columns are numbered; of two, a class and a text, they are called label and text.

    Parameters
    ----------
    data : bytes
        UTF-8 with or without BOM, UTF-16, or else, where it is not UTF-8 but for a few bytes, Windows-1252 (Latin-1).
    source : str
        The file's name, for errors.
    delimiter : str, optional
        One character, or tab, comma, semicolon, pipe, space. Default: found from the first rows.

    Raises
    ------
    InputError
        No text in one of these, no rows, names that are empty or repeat, a row of too few or too many fields.

    >>> text_table(b'a;b\\n1;"x;y"\\n', "data.csv")[0].rows()
    [('1', 'x;y')]
    """
    text = _line_ends(_utf8(data, source))
    first = len(re.match(rb"(?:[ \t]*\n)*", text)[0])  # type: ignore[index]
    mark = _delimiter(text[first : first + SNIFF_BYTES], delimiter).encode()
    _, fields, start = next(_records(text, mark, first))
    sample = [row for _, row, _ in islice(_records(text, mark, start), NAMELESS_ROWS) if len(row) == len(fields)]
    notices: tuple[str, ...] = ()
    if _is_row(fields, sample):
        names, start = _invented(sample), first
        told = ", ".join(names) if len(names) <= 5 else f"{names[0]} to {names[-1]}"
        notices = (f"{source} has no line of column names: its columns are called {told}.",)
    else:
        names = checked_names([field.decode().strip() for field in fields], source)
    body = text[start:]
    if not body.strip(b" \t\n\f\v\r".replace(mark, b"")):  # two tabs are a row of three empty cells
        raise InputError(f"{source} has column names but no rows.")
    return _Body(body, mark, names, source, text.count(b"\n", 0, start) + 1).frame(), notices


def _is_row(fields: Sequence[bytes], rows: Sequence[Sequence[bytes]]) -> bool:
    """Whether a first line is a row like those below: one of its texts, no number, is that of many of them."""
    for place, field in enumerate(fields):
        if field.strip() and not NUMERIC.fullmatch(field.strip()):
            same = sum(row[place] == field for row in rows)
            if same >= max(NAMELESS_LEAST, NAMELESS_SHARE * len(rows)):
                return True
    return False


def _invented(rows: Sequence[Sequence[bytes]]) -> list[str]:
    """Names for columns that have none."""
    words = [sum(len(row[place].split()) for row in rows) / len(rows) for place in range(len(rows[0]))]
    if len(words) == 2 and min(words) < LABEL_WORDS and max(words) >= TEXT_WORDS:
        return ["label", "text"] if words[0] < words[1] else ["text", "label"]
    return [f"column_{place}" for place in range(1, len(words) + 1)]


def _utf8(data: bytes, source: str) -> bytes:
    if data.startswith(codecs.BOM_UTF8):
        data = data[3:]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _recoded(data, "utf-16", source)
    head = data[:4000]
    if head.count(0) > len(head) // 4:
        return _recoded(data, "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be", source)
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1f" for byte in head)
    if control > 0.01 * len(head):
        raise InputError(f"{source} is not a text table, nor Parquet, Arrow, Excel or JSON.")
    if data.isascii():
        return data
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _western(data, error.start, source)
    return data


def _western(data: bytes, wrong: int, source: str) -> bytes:
    """Windows-1252 as UTF-8; `wrong` is the first byte that is no UTF-8."""
    text = data.decode("utf-8", errors="replace")
    strange = text.count("\ufffd")
    letters = len(text) - int(np.count_nonzero(np.frombuffer(data, np.uint8) < 128)) - strange
    if letters > strange:
        raise InputError(
            f"{source}, line {_line(data, wrong):,} is damaged: its byte 0x{data[wrong]:02x} is no UTF-8, which the "
            "rest of the file is; mend that line."
        )
    try:
        return data.decode("cp1252").encode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source}, line {_line(data, error.start):,} has the byte 0x{data[error.start]:02x}, which is neither "
            "UTF-8 nor Windows-1252 (Latin-1); save the file as UTF-8."
        ) from error


def _line(data: bytes, at: int) -> int:
    """The line of this byte, as an editor counts: lines end in CR LF, LF or CR."""
    before = data[:at]
    return 1 + before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")


def _recoded(data: bytes, encoding: str, source: str) -> bytes:
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise InputError(f"{source} looks like UTF-16 but is damaged at byte {error.start:,}.") from error


def _line_ends(text: bytes) -> bytes:
    """Lines that end in a line feed; a carriage return ends a line where the file has no line feed."""
    if b"\r" not in text:
        return text
    return text.replace(b"\r\n", b"\n") if b"\n" in text else text.replace(b"\r", b"\n")


# Fields ----------------------------------------------------------------------------------------------------


def _delimiter(sample: bytes, given: str | None) -> str:
    """The one asked for; or that which gives the most of the first rows the header's number of fields."""
    if given is not None:
        mark = NAMED.get(given.lower(), given)
        if len(mark) != 1 or not mark.isascii() or mark in '"\r\n':
            raise InputError(f"The delimiter {given!r} is not one character (nor tab, comma, semicolon, pipe, space).")
        return mark
    whole = sample[: sample.rfind(b"\n") + 1] if len(sample) == SNIFF_BYTES else sample
    scores = {mark: _agreement(whole or sample, mark.encode()) for mark in DELIMITERS}
    best = max(DELIMITERS, key=lambda mark: scores[mark])
    return best if scores[best][2] > 1 else WHOLE_LINE


def _agreement(sample: bytes, mark: bytes) -> tuple[float, bool, int]:
    """The share of the first rows that have the header's number of fields; whether no space follows it; that number.

    The space tells the comma of a name, as in "price, EUR;size", from a delimiter where both would fit.
    """
    rows = [fields for _, fields, _ in islice(_records(sample, mark), SNIFF_ROWS) if fields != [b""]]
    if not rows or len(rows[0]) == 1:
        return (0.0, False, 1)
    widths = Counter(map(len, rows))
    tight = not any(field.startswith(b" ") for field in rows[0][1:])
    return (round(widths[len(rows[0])] / len(rows), 1), tight, len(rows[0]))


def _records(text: bytes, mark: bytes, start: int = 0) -> Iterator[tuple[int, list[bytes], int]]:
    """Each line's fields, with where it begins and where the next one does."""
    begin, fields = start, list[bytes]()
    for match in _field(mark).finditer(text, start):
        if match.start() == len(text) and not fields and begin > start:
            return  # nothing follows the last line's end
        quoted, plain, end = match.groups()
        fields.append(plain if quoted is None else quoted.replace(b'""', b'"'))
        if end != mark:
            yield begin, fields, match.end()
            begin, fields = match.end(), []


def _field(mark: bytes) -> re.Pattern[bytes]:
    """A field and what ends it. No alternative gives back what it took, so the time is linear."""
    stop, space = re.escape(mark), b"" if mark == b" " else b" *+"
    quoted = space + rb'"((?:[^"]++|"")*+)"' + space
    return re.compile(rb"(?:" + quoted + rb"|([^" + stop + rb"\n]*+))(" + stop + rb"|\n|\Z)")


# Rows ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lines:
    """Where the lines of a text end, how many delimiters each has, and whether its quotes are all where they belong."""

    ends: Array
    marks: Array
    regular: bool

    @property
    def starts(self) -> Array:
        return np.concatenate([[0], self.ends[:-1] + 1])


@dataclass(frozen=True)
class _Body:
    """The rows of a text table, still as bytes."""

    text: bytes
    mark: bytes
    names: list[str]
    source: str
    line: int  # of the first row

    def frame(self) -> pl.DataFrame:
        if b'"' in self.text:
            lines = self._lines(quotes=True)
            if lines.regular:
                return self._by_polars(self._even(lines), '"')
            if re.search(rb"(?:\A|\n|" + re.escape(self.mark) + rb') *"', self.text):
                return self._mixed()
        return self._by_polars(self._even(self._lines(quotes=False)), None)

    def _lines(self, quotes: bool) -> _Lines:
        """Count delimiters line by line, those inside quotes apart; vectorised, a chunk at a time."""
        data = np.frombuffer(self.text, np.uint8)
        ends, before, seen, inside, regular = [], [], 0, 0, True
        for begin in range(0, len(data), CHUNK):
            chunk = data[begin : begin + CHUNK]
            is_end, is_mark = chunk == LINE_END, chunk == self.mark[0]
            if quotes:
                within = np.bitwise_xor.accumulate((chunk == QUOTE).view(np.uint8)) ^ np.uint8(inside)
                regular = regular and self._quotes_fit(data, begin, chunk, within)
                inside = int(within[-1])
                is_end, is_mark = is_end & (within == 0), is_mark & (within == 0)
            stops, marks = np.flatnonzero(is_end), np.flatnonzero(is_mark)
            ends.append(stops + begin)
            before.append(np.searchsorted(marks, stops) + seen)
            seen += len(marks)
        if data[-1] != LINE_END or inside:
            ends.append(np.array([len(data)]))
            before.append(np.array([seen]))
        counts = np.diff(np.concatenate(before), prepend=0)
        return _Lines(np.concatenate(ends), counts, regular and not inside)

    def _quotes_fit(self, data: Array, begin: int, chunk: Array, within: Array) -> bool:
        """Each quote that opens follows a delimiter, each that closes comes before one (or another quote)."""
        at = np.flatnonzero(chunk == QUOTE)
        opens = within[at] == 1
        near = np.array([self.mark[0], LINE_END, QUOTE], np.uint8)
        before, after = begin + at[opens] - 1, begin + at[~opens] + 1
        before, after = before[before >= 0], after[after < len(data)]
        return bool(np.isin(data[before], near).all() and np.isin(data[after], near).all())

    def _even(self, lines: _Lines) -> bytes:
        """The text without its blank lines; InputError for a line with another number of fields."""
        uneven = np.flatnonzero(lines.marks != len(self.names) - 1)
        if not len(uneven):
            return self.text
        starts = lines.starts
        for row in uneven:
            if lines.marks[row] or not _blank(self.text[starts[row] : lines.ends[row]]):
                blanks = int(np.searchsorted(uneven, row))
                self._refuse(int(starts[row]), int(lines.marks[row]) + 1, int(row) + 1 - blanks)
        kept = np.delete(np.arange(len(starts)), uneven)
        return b"\n".join(self.text[starts[row] : lines.ends[row]] for row in kept)

    def _by_polars(self, text: bytes, quote: str | None) -> pl.DataFrame:
        read: Callable[[], pl.DataFrame] = lambda: pl.read_csv(  # noqa: E731
            io.BytesIO(text),
            separator=self.mark.decode(),
            has_header=False,
            new_columns=self.names,
            schema=dict.fromkeys(self.names, pl.String),
            quote_char=quote,
            infer_schema=False,
        )
        return guarded(read, self.source, "text")

    def _mixed(self) -> pl.DataFrame:
        """Quoted fields and stray quotes in one file: field by field."""
        rows = []
        for begin, fields, _ in _records(self.text, self.mark):
            if len(fields) == len(self.names):
                rows.append(fields)
            elif len(fields) > 1 or not _blank(fields[0]):
                literal = self._lines(quotes=False)
                if bool((literal.marks == len(self.names) - 1).all()):  # no quote means anything
                    return self._by_polars(self.text, None)
                self._refuse(begin, len(fields), len(rows) + 1)
        columns = zip(self.names, zip(*rows, strict=True), strict=True)
        return pl.DataFrame({name: [cell.decode() for cell in cells] for name, cells in columns})

    def _refuse(self, begin: int, fields: int, row: int) -> NoReturn:
        line = self.line + self.text.count(b"\n", 0, begin)
        width = "is 1 column" if len(self.names) == 1 else f"are {len(self.names)} columns"
        raise InputError(
            f"{self.source}, line {line:,} has {fields} field{'s' * (fields != 1)}, but there "
            f"{width} (row {row:,}); put fields that hold the delimiter in quotes, or name "
            "another delimiter (--delimiter)."
        )


def _blank(line: bytes) -> bool:
    return not line or line.isspace()


def guarded(read: Callable[[], pl.DataFrame], source: str, what: str) -> pl.DataFrame:
    """What `read` returns; every error of Polars, its panics too, as one InputError."""
    try:
        return read()
    except InputError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"{source} is not a whole {what} file: {reason}.") from error
