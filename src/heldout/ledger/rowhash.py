"""Values to tokens of 16 bytes, tokens to hashes of rows and columns: the arithmetic under a fingerprint."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import numbers
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from heldout.errors import InputError

Values: TypeAlias = "Sequence[Any] | np.ndarray[Any, np.dtype[Any]]"
Tokens: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"  # (n, 2): the value's bits, then its type

BLOCK = 16_384  # rows made into tokens at a time: 50 columns take 13 MB
NUMBER, DATE, MISSING = 1, 2, 3  # the second word of a token; a text fills both words with its hash
_WORD = np.dtype("<u8")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_PLAIN = {int, float, bool, type(None)}


def row_digests(columns: Mapping[str, Values], target: str) -> Iterator[bytes]:
    """A digest of 16 bytes for each row: the features in the order of their names, then the target."""
    order = [*sorted(name for name in columns if name != target), target]
    width = 16 * len(order)
    for start in range(0, len(columns[target]), BLOCK):
        block = [tokens(columns[name][start : start + BLOCK], name) for name in order]
        data = np.concatenate(block, axis=1).tobytes()
        for row in range(0, len(data), width):
            yield hashlib.blake2b(data[row : row + width], digest_size=16).digest()


def rows_hash(digests: Sequence[bytes]) -> str:
    """SHA-256 over sorted digests, in hexadecimal: one hash of the rows, whatever their order."""
    return hashlib.sha256(b"".join(digests)).hexdigest()


def numbered(digests: Sequence[bytes]) -> Iterator[int]:
    """A 64-bit hash for each of the sorted digests; of equal rows the second, third, ... get hashes of their own."""
    for digest, equal in itertools.groupby(digests):
        for copy, _ in enumerate(equal):
            own = hashlib.blake2b(digest + copy.to_bytes(8, "little"), digest_size=8).digest()
            yield int.from_bytes(own, "big")


def column_hashes(columns: Mapping[str, Values], target: str) -> dict[str, str]:
    """For each feature that is not constant a hash of its (value, target) pairs, whatever their order."""
    goal = tokens(columns[target], target)
    by_target = np.lexsort((goal[:, 0], goal[:, 1]))
    hashes = {}
    for name in sorted(columns):
        values = tokens(columns[name], name)[by_target]
        if name == target or not (values != values[:1]).any():
            continue
        order = np.lexsort((values[:, 0], values[:, 1]))  # stable: equal values stay in the target's order
        pairs = np.concatenate([values[order], goal[by_target][order]], axis=1)
        hashes[name] = hashlib.blake2b(pairs.tobytes(), digest_size=16).hexdigest()
    return hashes


def tokens(values: Values, name: str) -> Tokens:
    """The tokens (n, 2) of a column's values; `name` is for errors."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        return _of_numbers(values.astype(np.float64))
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return _of_dates(values)
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    types = set(map(type, plain))
    if types <= _PLAIN:
        filled = [np.nan if value is None else value for value in plain] if type(None) in types else plain
        try:
            return _of_numbers(np.array(filled, dtype=np.float64))
        except OverflowError as error:
            raise InputError(f"Column {name!r} holds a whole number too large for a float.") from error
    return _of_objects(plain, name)


def _of_numbers(values: np.ndarray[Any, np.dtype[np.float64]]) -> Tokens:
    result = np.empty((len(values), 2), dtype=_WORD)
    result[:, 0] = (values + 0.0).view(np.uint64)  # -0.0 + 0.0 is 0.0
    result[:, 1] = NUMBER
    result[np.isnan(values)] = (0, MISSING)
    return result


def _of_dates(values: np.ndarray[Any, np.dtype[Any]]) -> Tokens:
    result = np.empty((len(values), 2), dtype=_WORD)
    result[:, 0] = values.astype("datetime64[us]").astype(np.int64).view(np.uint64)
    result[:, 1] = DATE
    result[np.isnat(values)] = (0, MISSING)
    return result


def _of_objects(values: Sequence[Any], name: str) -> Tokens:
    """Each distinct value once: Python's equality (1 == 1.0 == True) is the one that tokens have."""
    try:
        index = {value: position for position, value in enumerate(dict.fromkeys(values))}
        table = np.array([_token(value) for value in index], dtype=_WORD)
    except (TypeError, OverflowError) as error:
        raise InputError(f"Column {name!r} cannot have a fingerprint: {error}.") from error
    codes = np.fromiter((index[value] for value in values), dtype=np.int64, count=len(values))
    return table[codes]


def _token(value: Any) -> tuple[int, int]:
    if value is None or value != value:  # NaN and NaT differ from themselves
        return 0, MISSING
    if isinstance(value, str):
        return _text_token(value)
    if isinstance(value, datetime.date):
        return _date_token(value)
    if isinstance(value, numbers.Real | np.bool_) or hasattr(value, "as_integer_ratio"):
        first, second = _of_numbers(np.array([float(value)]))[0].tolist()
        return first, second
    raise TypeError(f"it holds a {type(value).__name__}")


def _text_token(value: str) -> tuple[int, int]:
    composed = value if value.isascii() else unicodedata.normalize("NFC", value)
    digest = hashlib.blake2b(composed.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def _date_token(value: datetime.date) -> tuple[int, int]:
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    moment = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    return (moment - _EPOCH) // _MICROSECOND % 2**64, DATE
