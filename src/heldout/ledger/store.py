"""The ledger in its SQLite file: append, read, verify, and the opening of a test set in one transaction."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from heldout.errors import InputError, LedgerError, SealError, suggest
from heldout.ledger.entries import GENESIS, KINDS, Entry, Verdict, canonical, chained, judge, read_row
from heldout.ledger.fingerprint import Fingerprint, same_rows

SAME = 0.05  # a fresh random fifth of a table shares about a fifth of its rows with another; strangers share none
BUSY_SECONDS = 30.0  # how long to wait for another process
APPLICATION = 0x68656C64  # "held": marks the file as a ledger among SQLite files
VERSION = 1
_SCHEMA = f"""
CREATE TABLE entries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    time TEXT NOT NULL, kind TEXT NOT NULL, study TEXT NOT NULL,
    body TEXT NOT NULL, previous TEXT NOT NULL, hash TEXT NOT NULL
);
CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), count INTEGER NOT NULL, hash TEXT NOT NULL);
CREATE TRIGGER entries_stay BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END;
CREATE TRIGGER entries_keep BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END;
CREATE TRIGGER entries_last BEFORE INSERT ON entries WHEN EXISTS (SELECT 1 FROM entries WHERE number >= NEW.number)
    BEGIN SELECT RAISE(ABORT, 'entries are only appended'); END;
CREATE TRIGGER head_stays BEFORE DELETE ON head BEGIN SELECT RAISE(ABORT, 'the head is never deleted'); END;
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {VERSION};
"""
_GUARDS = {"entries_stay", "entries_keep", "entries_last", "head_stays"}
_SET_HEAD = """
INSERT INTO head (id, count, hash) VALUES (1, ?, ?)
ON CONFLICT (id) DO UPDATE SET count = excluded.count, hash = excluded.hash
"""
_COLUMNS = "number, time, kind, study, body, previous, hash"
_REASONS = {
    sqlite3.SQLITE_BUSY: "another process holds it; try again when that one is done",
    sqlite3.SQLITE_LOCKED: "another process holds it; try again when that one is done",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk refused to read or write",
    sqlite3.SQLITE_READONLY: "it may not be written to",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened or created there",
    sqlite3.SQLITE_PERM: "access to it is not allowed",
    sqlite3.SQLITE_NOTADB: "it is not a ledger, nor any SQLite file",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
}


@dataclass(frozen=True)
class Earlier:
    """An opening in the past: when (UTC), by which study, what share of the rows asked about it held."""

    time: str
    study: str
    share: float


@dataclass(frozen=True)
class Opening:
    """A test set that was just opened: for the how many-th time, its entry, the earlier ones, the ledger's state.

    `entry.hash` is the ledger's head right after; `verdict` judges the ledger as it was found right before.
    """

    number: int
    entry: Entry
    earlier: tuple[Earlier, ...]
    verdict: Verdict


class Ledger:
    """The append-only record of sealed, opened and scored test sets, one for each user.

    path: the SQLite file; None takes the environment's HELDOUT_LEDGER, or else `ledger.sqlite` in the user's data
    folder. Nothing is opened before it is needed, and nothing is created before the first entry.
    Every method raises LedgerError, in one sentence, where the file cannot be used.

    >>> import tempfile
    >>> ledger = Ledger(tempfile.mkdtemp() + "/ledger.sqlite")
    >>> ledger.append("sealed", "study-1", {"rows": 120}).number
    1
    >>> ledger.verify().whole
    True
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = Path(path).expanduser() if path is not None else _default_path()

    def __repr__(self) -> str:
        return f"Ledger({str(self.path)!r})"

    @property
    def head(self) -> tuple[int, str]:
        """The number and the hash of the last entry; (0, 64 zeros) for an empty ledger."""
        with self._reading() as connection:
            return (connection and _head(connection)) or (0, GENESIS)

    def append(self, kind: str, study: str, body: Mapping[str, Any]) -> Entry:
        """Write one entry, durably, and return it.

        kind: "sealed", "opened" or "scored"; study: the id of the study; body: finite JSON.
        Raises InputError for a kind, study or body that no entry can have. To open a test set, use `open_test`.
        """
        text = _checked(kind, study, body)
        with self._writing() as connection:
            return _append(connection, kind, study, text)

    def entries(self, kind: str | None = None, study: str | None = None) -> list[Entry]:
        """The entries by rising number, all or those of a kind and of a study."""
        with self._reading() as connection:
            found = [read_row(row) for row in _rows(connection)] if connection else []
        return [entry for entry in found if kind in (None, entry.kind) and study in (None, entry.study)]

    def verify(self, study_entries: Iterable[Mapping[str, Any]] = ()) -> Verdict:
        """Check the whole chain, and against the copies of entries that a study's folder holds."""
        with self._reading() as connection:
            return _verdict(connection, study_entries)

    def looks(self, fingerprint: Fingerprint) -> int:
        """How many fits were scored on the validation rows with this fingerprint, or on some of them, by any study."""
        with self._reading() as connection:
            found = _same(connection, "looked", fingerprint) if connection else []
        return sum(fits for entry, _ in found if type(fits := entry.body.get("fits")) is int)

    def count(self, fingerprint: Fingerprint) -> int:
        """How many times the test set with this fingerprint has been opened, by any study."""
        with self._reading() as connection:
            return len(_openings(connection, fingerprint)) if connection else 0

    def open_test(
        self,
        fingerprint: Fingerprint,
        study: str,
        body: Mapping[str, Any],
        *,
        again: bool = False,
        study_entries: Iterable[Mapping[str, Any]] = (),
    ) -> Opening:
        """Record that a test set is opened, before anyone sees its rows; of two processes only one is the first.

        An opening counts as of the same test set where at least a twentieth of this one's rows are in it, or where
        they are the same rows with other columns (`same_rows`).
        again: whether to open a test set that has been opened before. A tampered ledger stops nothing; the
        opening's `verdict` tells. The entry's body is `body` with the fingerprint added.
        Raises SealError where there are earlier openings and `again` is False.
        """
        text = _checked("opened", study, {**body, "fingerprint": fingerprint.to_json()})
        with self._writing() as connection:
            verdict = _verdict(connection, study_entries)
            earlier = _openings(connection, fingerprint)
            if earlier and not again:
                raise SealError(_opened_before(earlier))
            entry = _append(connection, "opened", study, text)
        return Opening(len(earlier) + 1, entry, tuple(earlier), verdict)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection to the ledger, or None where there is none yet."""
        with self._translated("read"):
            if not self.path.exists() or not self.path.stat().st_size:
                yield None
                return
            with contextlib.closing(self._connect()) as connection:
                connection.execute("BEGIN")  # every query sees the same state
                yield connection if self._is_ledger(connection) else None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A connection inside one transaction that excludes every other writer; committed at the end."""
        with self._translated("write to"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(self._connect()) as connection:
                connection.execute("BEGIN")  # one state for the whole check, whoever creates the ledger meanwhile
                self._is_ledger(connection)
                connection.execute("ROLLBACK")
                _patiently(connection, "PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                _patiently(connection, "BEGIN IMMEDIATE")
                try:
                    self._create(connection)
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")  # tampered text must be readable too
        return connection

    def _is_ledger(self, connection: sqlite3.Connection) -> bool:
        """False for an empty database; LedgerError for one of another application or version."""
        application = _number(connection, "PRAGMA application_id")
        if application == 0 and not _number(connection, "SELECT count(*) FROM sqlite_master"):
            return False
        if application != APPLICATION:
            raise LedgerError(f"{self.path} is a SQLite file of another program, not a ledger; give another path.")
        version = _number(connection, "PRAGMA user_version")
        if version != VERSION:
            raise LedgerError(
                f"The ledger {self.path} has format {version} and this heldout reads format {VERSION}; "
                "use the version of heldout that wrote it, or another ledger."
            )
        return True

    def _create(self, connection: sqlite3.Connection) -> None:
        if not self._is_ledger(connection):
            for statement in _statements(_SCHEMA):
                connection.execute(statement)

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OverflowError) as error:  # a tampered number may be past 64 bits
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
            reason = _REASONS.get(code, str(error))
            raise LedgerError(f"Could not {doing} the ledger {self.path}: {reason}.") from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise LedgerError(f"Could not {doing} the ledger {self.path}: {reason}.") from error


def _default_path() -> Path:
    moved = os.environ.get("HELDOUT_LEDGER")
    if moved:
        return Path(moved).expanduser()
    import platformdirs

    return platformdirs.user_data_path("heldout") / "ledger.sqlite"


def _checked(kind: str, study: str, body: Mapping[str, Any]) -> str:
    if kind not in KINDS:
        raise InputError(f"{kind!r} is not a kind of ledger entry.{suggest(str(kind), KINDS)}")
    if not isinstance(study, str) or not study:
        raise InputError("A ledger entry needs the id of its study, a text that is not empty.")
    return canonical(dict(body))


def _append(connection: sqlite3.Connection, kind: str, study: str, body: str) -> Entry:
    """After the highest number ever known, so that a deleted end leaves its gap for good."""
    count, previous = _head(connection) or _last(connection)
    number = max(count, _issued(connection), _last(connection)[0]) + 1
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    own = chained(number, moment, kind, study, body, previous)
    row = (number, moment, kind, study, body, previous, own)
    connection.execute(f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    connection.execute(_SET_HEAD, (number, own))
    return Entry(number, moment, kind, study, json.loads(body), previous, own)


def _rows(connection: sqlite3.Connection, kind: str | None = None) -> Iterable[tuple[Any, ...]]:
    where = "" if kind is None else " WHERE kind = ?"
    return connection.execute(f"SELECT {_COLUMNS} FROM entries{where} ORDER BY number", () if kind is None else (kind,))


def _head(connection: sqlite3.Connection) -> tuple[int, str] | None:
    row: tuple[Any, Any] | None = connection.execute("SELECT count, hash FROM head").fetchone()
    return (row[0], str(row[1])) if row and isinstance(row[0], int) else None


def _last(connection: sqlite3.Connection) -> tuple[int, str]:
    row = connection.execute("SELECT number, hash FROM entries ORDER BY number DESC LIMIT 1").fetchone()
    return (row[0], str(row[1])) if row else (0, GENESIS)


def _issued(connection: sqlite3.Connection) -> int:
    return _number(connection, "SELECT max(seq) FROM sqlite_sequence WHERE name = 'entries'")


def _number(connection: sqlite3.Connection, query: str) -> int:
    value = connection.execute(query).fetchone()[0]
    return value if isinstance(value, int) else 0


def _verdict(connection: sqlite3.Connection | None, copies: Iterable[Mapping[str, Any]]) -> Verdict:
    if connection is None:
        return judge((), None, 0, copies)
    verdict = judge(_rows(connection), _head(connection), _issued(connection), copies)
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}
    if names >= _GUARDS:
        return verdict
    guards = "the triggers that keep entries from being changed were removed"
    return Verdict(verdict.count, verdict.head, (*verdict.problems, guards))


def _openings(connection: sqlite3.Connection, fingerprint: Fingerprint) -> list[Earlier]:
    """The recorded openings of the same test set."""
    return [Earlier(entry.time, entry.study, share) for entry, share in _same(connection, "opened", fingerprint)]


def _same(connection: sqlite3.Connection, kind: str, fingerprint: Fingerprint) -> list[tuple[Entry, float]]:
    """Entries about the same rows, and what share they hold; a destroyed fingerprint is the verdict's business."""
    found = []
    for row in _rows(connection, kind):
        entry = read_row(row)
        with contextlib.suppress(LedgerError):
            share = same_rows(fingerprint, Fingerprint.from_json(entry.body.get("fingerprint")))
            if share >= SAME:
                found.append((entry, share))
    return found


def _opened_before(earlier: list[Earlier]) -> str:
    last = earlier[-1]
    times = "once" if len(earlier) == 1 else f"{len(earlier)} times"
    return (
        f"This test set, or part of it, has been opened {times} before, last on {last.time[:10]} at "
        f"{last.time[11:16]} UTC by study {last.study}; to open it once more, counted and marked as such, "
        "say so: --again (in Python, again=True)."
    )


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Run a statement, waiting for other processes also where SQLite itself does not (the change to WAL)."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit the transaction that holds them."""
    statement = ""
    for line in script.strip().splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
