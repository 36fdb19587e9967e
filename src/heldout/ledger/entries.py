"""Entries of the ledger, the chain of hashes that ties each to the one before, and the verdict on a chain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from heldout.errors import InputError, LedgerError

KINDS = ("sealed", "looked", "opened", "scored")
GENESIS = "0" * 64  # what the first entry has as the hash of the one before
FIELDS = ("number", "time", "kind", "study", "body", "previous", "hash")

Row = tuple[Any, ...]  # an entry as the database has it, the body as text, every value possibly tampered with


@dataclass(frozen=True)
class Entry:
    """One line of the ledger: its number from 1, UTC time (ISO 8601), kind, study, body, and two hashes."""

    number: int
    time: str
    kind: str
    study: str
    body: dict[str, Any]
    previous: str
    hash: str

    def to_json(self) -> dict[str, Any]:
        """As plain JSON, for the copy in a study's folder."""
        return {name: getattr(self, name) for name in FIELDS}

    @classmethod
    def from_json(cls, data: Any) -> Entry:
        """The entry that `to_json` gave; LedgerError for anything else. Whether its hash is right, `sound` says.

        >>> entry = Entry.from_json({"number": 1, "time": "2025-01-31T12:00:00.000+00:00", "kind": "sealed",
        ...     "study": "a", "body": {}, "previous": GENESIS, "hash": "no"})
        >>> entry.sound
        False
        """
        if not isinstance(data, Mapping) or data.keys() != set(FIELDS):
            raise LedgerError("This is not an entry of a ledger: it has other fields.")
        texts = ("time", "kind", "study", "previous", "hash")
        if type(data["number"]) is not int or not all(isinstance(data[name], str) for name in texts):
            raise LedgerError("This is not an entry of a ledger: a field has the wrong type.")
        if not isinstance(data["body"], dict):
            raise LedgerError("This is not an entry of a ledger: its body is no JSON object.")
        return cls(**data)

    @property
    def sound(self) -> bool:
        """True where the entry's own hash is the hash of its contents."""
        try:
            return self.hash == chained(
                self.number, self.time, self.kind, self.study, canonical(self.body), self.previous
            )
        except InputError:
            return False


@dataclass(frozen=True)
class Verdict:
    """Whether a ledger is whole: how many entries it has, the hash of the last one, and what is wrong."""

    count: int
    head: str
    problems: tuple[str, ...] = field(default=())

    @property
    def whole(self) -> bool:
        """True where nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        if self.whole:
            return f"The ledger is whole: {self.count} entries, head {self.head[:16]}."
        more = f", and {len(self.problems) - 3} more" if len(self.problems) > 3 else ""
        return f"The ledger was tampered with: {'; '.join(self.problems[:3])}{more}."


def canonical(body: Mapping[str, Any]) -> str:
    """A JSON object as the one text that is hashed: keys sorted, no spaces, ASCII; InputError where it is no JSON."""
    try:
        return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"The body of a ledger entry must be plain, finite JSON: {error}.") from error


def chained(number: int, time: str, kind: str, study: str, body: str, previous: str) -> str:
    """SHA-256, in hexadecimal, over an entry's contents and the hash of the entry before."""
    text = json.dumps([number, time, kind, study, body, previous], separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def read_row(row: Row) -> Entry:
    """The entry in a row of the database; a row that was tampered with gives an entry that is not `sound`."""
    number, *texts = row
    time, kind, study, body, previous, own = (item if isinstance(item, str) else repr(item) for item in texts)
    try:
        parsed = json.loads(body)
        genuine = isinstance(parsed, dict) and canonical(parsed) == body
    except (ValueError, RecursionError, InputError):
        genuine = False
    return Entry(number, time, kind, study, parsed if genuine else {"unreadable": body}, previous, own)


def judge(
    rows: Iterable[Row],
    head: tuple[int, str] | None,
    issued: int,
    copies: Iterable[Mapping[str, Any]] = (),
) -> Verdict:
    """The verdict on a chain.

    rows: the entries by rising number; head: the record of the last number and hash, None where it is gone;
    issued: the highest number that SQLite ever gave out; copies: entries that a study's folder kept.
    """
    problems: list[str] = []
    hashes: dict[int, str] = {}
    last, last_hash, doubtful = 0, GENESIS, False
    for row in rows:
        entry = read_row(row)
        fault = _entry_fault(entry, last, last_hash, doubtful)
        if entry.number > last + 1:
            problems.append(_missing(last + 1, entry.number - 1))
        if fault:
            problems.append(fault)
        hashes[entry.number] = entry.hash
        if entry.number < 1:
            continue
        last, last_hash, doubtful = entry.number, entry.hash, not entry.sound
    problems += _end_faults(last, last_hash, head, issued, doubtful)
    for copy in copies:
        problems += _copy_faults(copy, hashes)
    return Verdict(len(hashes), last_hash, tuple(problems))


def _entry_fault(entry: Entry, last: int, last_hash: str, doubtful: bool) -> str | None:
    """What is wrong with an entry; `doubtful` says that the one before has been found edited already."""
    if entry.number < 1:
        return f"entry {entry.number} was inserted"
    if not entry.sound:
        return f"entry {entry.number} was edited"
    if entry.number == last + 1 and entry.previous != last_hash and not doubtful:
        if last == 0:
            return "entry 1 was replaced: it does not begin a ledger"
        return f"entry {entry.number} does not follow entry {last}: one of the two was replaced or inserted"
    return None


def _end_faults(last: int, last_hash: str, head: tuple[int, str] | None, issued: int, doubtful: bool) -> list[str]:
    count, own = head or (0, GENESIS)
    known = max(count, issued)
    if known > last:
        return [f"the end is missing: {_missing(last + 1, known)}"]
    if last and head is None:
        return ["the record of the ledger's head was deleted"]
    if last > count:
        return [f"entry {last} was inserted past the ledger's head, which is entry {count}"]
    if own != last_hash and not doubtful:
        return [f"entry {last} is not the one that the ledger's head records: it was replaced"]
    if issued < last:
        return ["the count of the entries ever written was set back"]
    return []


def _copy_faults(copy: Mapping[str, Any], hashes: Mapping[int, str]) -> list[str]:
    try:
        entry = Entry.from_json(copy)
    except LedgerError:
        return ["a copy in the study's folder is not an entry of a ledger"]
    if not entry.sound:
        return [f"the study's copy of entry {entry.number} was edited"]
    if entry.number not in hashes:
        return [f"entry {entry.number}, of which the study keeps a copy, is not there: the ledger was cut or replaced"]
    if hashes[entry.number] != entry.hash:
        return [f"entry {entry.number} is not the one of which the study keeps a copy: the ledger was replaced"]
    return []


def _missing(first: int, last: int) -> str:
    if first == last:
        return f"entry {first} was deleted"
    return f"entries {first} to {last} were deleted"
