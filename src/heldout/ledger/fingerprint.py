"""The fingerprint of a test set: hashes that recognise its rows in whatever order, and how much two sets share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from heldout.errors import InputError, LedgerError

if TYPE_CHECKING:
    from heldout.ledger.rowhash import Values

SKETCH = 2048  # hashes kept: 16 KiB, and a standard error of at most 0.011 for sets of one size
_HEX = re.compile(r"[0-9a-f]*")


@dataclass(frozen=True)
class Fingerprint:
    """What is on record of a test set: enough to recognise its rows, not to read them.

    n_rows: rows; rows: SHA-256 over the sorted hashes of the rows; sketch: the smallest 2048 of the rows' 64-bit
    hashes, in rising order (all of them where there are no more); columns: for each column that is not constant,
    a hash of its (value, target) pairs in whatever order.
    """

    n_rows: int
    rows: str
    sketch: tuple[int, ...]
    columns: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON; the sketch as one text, 16 hexadecimal digits a hash."""
        sketch = "".join(f"{item:016x}" for item in self.sketch)
        return {"n_rows": self.n_rows, "rows": self.rows, "sketch": sketch, "columns": dict(self.columns)}

    @classmethod
    def from_json(cls, data: Any) -> Fingerprint:
        """The fingerprint that `to_json` gave, everything checked; LedgerError for anything else.

        >>> one = fingerprint({"x": [1, 2], "y": ["a", "b"]}, "y")
        >>> Fingerprint.from_json(one.to_json()) == one
        True
        """
        if not isinstance(data, dict) or data.keys() != {"n_rows", "rows", "sketch", "columns"}:
            raise LedgerError("This is not the fingerprint of a test set: it has other fields.")
        n_rows, rows, columns = data["n_rows"], data["rows"], data["columns"]
        if type(n_rows) is not int or n_rows < 0 or not _is_hex(rows, 64):
            raise LedgerError("The fingerprint of a test set is damaged: its row count or row hash is none.")
        if not isinstance(columns, dict) or not all(_is_hex(item, 32) for item in columns.values()):
            raise LedgerError("The fingerprint of a test set is damaged: its column hashes are none.")
        return cls(n_rows, rows, _sketch_from(data["sketch"], n_rows), dict(columns))


def fingerprint(columns: Mapping[str, Values], target: str) -> Fingerprint:
    """The fingerprint of a table given as columns, the same for any order of its rows and of its columns.

    columns: name -> values (lists or NumPy arrays of one length): None, NaN, bool, numbers, text, dates;
    target: the name of the target among them, which counts by its role and not by its name.
    Numbers count as float64 (1 is 1.0 is True, -0.0 is 0.0), text as UTF-8 in Unicode's composed form (NFC),
    dates as microseconds of UTC (a date without a zone is taken as UTC), missing values as one and the same,
    so that a CSV file and a Parquet file of one table agree. Names do not enter the rows' hashes.
    Raises InputError for columns of different lengths, a missing target or a value of another kind.

    >>> a = fingerprint({"x": [1, 2, 3], "y": [0, 1, 0]}, target="y")
    >>> b = fingerprint({"label": [1.0, 0.0, 0.0], "x": [2.0, 3.0, 1.0]}, target="label")
    >>> a.rows == b.rows, same_rows(a, b)
    (True, 1.0)
    """
    from heldout.ledger.rowhash import column_hashes, numbered, row_digests, rows_hash

    if target not in columns:
        raise InputError(f"The target {target!r} is not among the columns to take a fingerprint of.")
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise InputError(f"The columns to take a fingerprint of have different lengths: {sorted(lengths)}.")
    digests = sorted(row_digests(columns, target))
    sketch = tuple(sorted(numbered(digests))[:SKETCH])
    return Fingerprint(len(digests), rows_hash(digests), sketch, column_hashes(columns, target))


def overlap(a: Fingerprint, b: Fingerprint) -> float:
    r"""The share of the rows of `a` that are in `b` too (0 to 1); a row that is there k times counts k times.

    Exact where both have at most 2048 rows. Above that an estimate from the rows whose hash lies below the end of
    both sketches: with m such rows and a true share p, its standard error is :math:`\sqrt{p(1-p)/m}`. For sets of
    one size m is 2047 (at most 0.011); for a set of n rows and one c times as large it is about 2047/c (or n/c,
    n < 2048), so that a small set inside a very large one may go unseen. With no such row the answer is 0.

    References: Broder (1997), "On the resemblance and containment of documents", section 3;
    Cohen and Kaplan (2007), "Summarizing data using bottom-k sketches", section 4.

    >>> a = fingerprint({"x": [1, 2, 3, 4], "y": [0, 0, 0, 0]}, "y")
    >>> b = fingerprint({"x": [4, 5], "y": [0, 0]}, "y")
    >>> overlap(a, b), overlap(b, a)
    (0.25, 0.5)
    """
    end = min(_end(a), _end(b))
    comparable = {item for item in a.sketch if item < end}
    return len(comparable.intersection(b.sketch)) / len(comparable) if comparable else 0.0


def same_rows(a: Fingerprint, b: Fingerprint) -> float:
    """How far `b` is the same test set as `a`: the `overlap`, or 1.0 for the same rows with other columns.

    The latter is so where both have the same number of rows and at least half of the columns of the narrower one
    are, with the target beside them, columns of the other too, under whatever names.

    >>> table = {"x": [1, 2, 3], "z": [5, 6, 6], "y": [0, 1, 0]}
    >>> wide = fingerprint(table, "y")
    >>> same_rows(wide, fingerprint({"x": [1, 2, 3], "y": [0, 1, 0]}, "y"))
    1.0
    """
    ours, theirs = set(a.columns.values()), set(b.columns.values())
    narrower = min(len(ours), len(theirs))
    if a.n_rows == b.n_rows and narrower and 2 * len(ours & theirs) >= narrower:
        return 1.0
    return overlap(a, b)


def _end(mark: Fingerprint) -> int:
    """Below this hash the sketch is complete."""
    return mark.sketch[-1] if mark.n_rows > SKETCH else 2**64


def _is_hex(value: object, length: int) -> bool:
    return isinstance(value, str) and len(value) == length and _HEX.fullmatch(value) is not None


def _sketch_from(text: object, n_rows: int) -> tuple[int, ...]:
    length = 16 * min(n_rows, SKETCH)
    if not isinstance(text, str) or not _is_hex(text, length):
        raise LedgerError("The fingerprint of a test set is damaged: its sketch has the wrong length.")
    sketch = tuple(int(text[start : start + 16], 16) for start in range(0, length, 16))
    if any(first > second for first, second in pairwise(sketch)):
        raise LedgerError("The fingerprint of a test set is damaged: its sketch is not in order.")
    return sketch
