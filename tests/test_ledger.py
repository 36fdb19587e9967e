"""The ledger: its chain against every kind of tampering, its fingerprints, and openings that race."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from dataclasses import FrozenInstanceError
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heldout.errors import InputError, LedgerError, SealError
from heldout.ledger import GENESIS, Entry, Fingerprint, Ledger, fingerprint, overlap, same_rows, store
from heldout.ledger.entries import canonical, chained

# The chain -------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "deep" / "ledger.sqlite")


def filled(ledger: Ledger, entries: int = 5) -> Ledger:
    for number in range(entries):
        ledger.append(("sealed", "scored")[number % 2], f"study-{number % 2}", {"n": number, "word": "é"})
    return ledger


def tamper(ledger: Ledger, *statements: str, guards: bool = True) -> None:
    """Change the file as its owner can: drop the triggers, do it, put the triggers back (or not)."""
    with contextlib.closing(sqlite3.connect(ledger.path, isolation_level=None)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        for _, sql in triggers if guards else ():
            connection.execute(sql)


def test_an_absent_ledger_reads_as_empty_and_is_not_created(ledger: Ledger) -> None:
    assert ledger.entries() == []
    assert ledger.head == (0, GENESIS)
    assert ledger.verify().whole
    assert not ledger.path.parent.exists()


def test_entries_come_back_as_they_were_appended(ledger: Ledger) -> None:
    first = ledger.append("sealed", "a", {"rows": 7, "nested": {"x": [1, 2.5, None, True, "ü"]}})
    second = ledger.append("opened", "b", {})
    assert (first.number, second.number) == (1, 2)
    assert (first.previous, second.previous) == (GENESIS, first.hash)
    assert ledger.entries() == [first, second]
    assert ledger.entries(kind="opened") == [second] == ledger.entries(study="b")
    assert ledger.entries(kind="opened", study="a") == []
    assert ledger.head == (2, second.hash)
    assert datetime.fromisoformat(first.time).utcoffset() == timedelta(0)
    with pytest.raises(FrozenInstanceError):
        first.number = 3  # type: ignore[misc]


def test_the_hash_is_what_the_documentation_says(ledger: Ledger) -> None:
    import hashlib

    entry = ledger.append("sealed", "a", {"b": 1, "a": "é"})
    text = json.dumps([1, entry.time, "sealed", "a", '{"a":"\\u00e9","b":1}', "0" * 64], separators=(",", ":"))
    assert entry.hash == hashlib.sha256(text.encode()).hexdigest()


def test_the_file_is_durable_and_in_wal_mode(ledger: Ledger) -> None:
    filled(ledger)
    with contextlib.closing(sqlite3.connect(ledger.path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with ledger._writing() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


@pytest.mark.parametrize(
    ("kind", "study", "body", "words"),
    [
        ("seald", "a", {}, "Did you mean 'sealed'"),
        ("sealed", "", {}, "id of its study"),
        ("sealed", "a", {"x": float("nan")}, "finite JSON"),
        ("sealed", "a", {"x": object()}, "finite JSON"),
    ],
)
def test_what_no_entry_can_hold_is_refused(ledger: Ledger, kind: str, study: str, body: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ledger.append(kind, study, body)
    assert not ledger.path.exists()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM entries WHERE number = 5",
        "UPDATE entries SET study = 'x' WHERE number = 2",
        "DELETE FROM head",
        "INSERT OR REPLACE INTO entries VALUES (2, '', '', '', '', '', '')",
        "INSERT INTO entries VALUES (-1, '', '', '', '', '', '')",
    ],
)
def test_the_file_itself_refuses_changes(ledger: Ledger, statement: str) -> None:
    filled(ledger)
    with contextlib.closing(sqlite3.connect(ledger.path)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
    assert ledger.verify().whole


SWAP = [
    "UPDATE entries SET number = -1 WHERE number = 2",
    "UPDATE entries SET number = 2 WHERE number = 3",
    "UPDATE entries SET number = 3 WHERE number = -1",
]


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["UPDATE entries SET body = '{\"n\":9}' WHERE number = 3"], "entry 3 was edited"),
        (["UPDATE entries SET body = body || ' ' WHERE number = 3"], "entry 3 was edited"),
        (["UPDATE entries SET body = x'ff00' WHERE number = 3"], "entry 3 was edited"),
        (["UPDATE entries SET body = CAST(x'ff' AS TEXT) WHERE number = 3"], "entry 3 was edited"),
        (["UPDATE entries SET body = '[' WHERE number = 1"], "entry 1 was edited"),
        (["UPDATE entries SET time = '2020' WHERE number = 5"], "entry 5 was edited"),
        (["UPDATE entries SET kind = 'sealed' WHERE number = 2"], "entry 2 was edited"),
        (["UPDATE entries SET study = 7 WHERE number = 2"], "entry 2 was edited"),
        (["UPDATE entries SET previous = hash WHERE number = 4"], "entry 4 was edited"),
        (["UPDATE entries SET hash = previous WHERE number = 4"], "entry 4 was edited"),
        (["DELETE FROM entries WHERE number = 1"], "entry 1 was deleted"),
        (["DELETE FROM entries WHERE number IN (2, 3)"], "entries 2 to 3 were deleted"),
        (["DELETE FROM entries WHERE number = 5"], "the end is missing: entry 5 was deleted"),
        (["DELETE FROM entries"], "the end is missing: entries 1 to 5 were deleted"),
        (["DELETE FROM entries WHERE number > 3", "DELETE FROM head"], "the end is missing"),
        (
            [
                "DELETE FROM entries WHERE number = 5",
                "UPDATE head SET count = 4, hash = (SELECT hash FROM entries WHERE number = 4)",
            ],
            "the end is missing: entry 5 was deleted",
        ),
        (["DELETE FROM head"], "head was deleted"),
        (["UPDATE head SET hash = 'x'"], "not the one that the ledger's head records"),
        (["UPDATE head SET count = 99"], "entries 6 to 99 were deleted"),
        (["UPDATE sqlite_sequence SET seq = 2"], "count of the entries ever written was set back"),
        (["DELETE FROM sqlite_sequence"], "count of the entries ever written was set back"),
        (
            ["INSERT INTO entries SELECT 6, time, kind, study, body, previous, hash FROM entries WHERE number = 5"],
            "entry 6 was edited",
        ),
        (
            ["INSERT INTO entries SELECT -5, time, kind, study, body, previous, hash FROM entries WHERE number = 1"],
            "with: entry -5 was inserted.",
        ),
        (SWAP, "entry 2 was edited; entry 3 was edited"),
    ],
)
def test_every_change_is_detected_and_said(ledger: Ledger, statements: list[str], words: str) -> None:
    filled(ledger)
    tamper(ledger, *statements)
    verdict = ledger.verify()
    assert not verdict.whole
    assert words in str(verdict)
    assert "triggers" not in str(verdict)
    ledger.entries()  # still readable


def rehashed(ledger: Ledger, number: int, body: dict[str, Any], previous: str | None = None) -> str:
    """SQL that rewrites one entry with a hash of its own that is right."""
    old = ledger.entries()[number - 1]
    text = canonical(body)
    own = chained(number, old.time, old.kind, old.study, text, previous or old.previous)
    return f"UPDATE entries SET body = '{text}', hash = '{own}' WHERE number = {number}"


def test_an_edit_with_a_right_hash_breaks_the_chain(ledger: Ledger) -> None:
    filled(ledger)
    tamper(ledger, rehashed(ledger, 3, {"n": 99}))
    assert "entry 4 does not follow entry 3: one of the two was replaced or inserted" in str(ledger.verify())


def test_a_last_entry_with_a_right_hash_differs_from_the_head(ledger: Ledger) -> None:
    filled(ledger)
    tamper(ledger, rehashed(ledger, 5, {"n": 99}))
    assert "entry 5 is not the one that the ledger's head records" in str(ledger.verify())


def test_a_well_made_entry_past_the_head_is_called_inserted(ledger: Ledger) -> None:
    filled(ledger)
    last = ledger.entries()[-1]
    own = chained(6, last.time, "opened", "x", "{}", last.hash)
    tamper(ledger, f"INSERT INTO entries VALUES (6, '{last.time}', 'opened', 'x', '{{}}', '{last.hash}', '{own}')")
    assert "entry 6 was inserted past the ledger's head, which is entry 5" in str(ledger.verify())


def test_a_first_entry_that_continues_another_ledger_is_found(ledger: Ledger) -> None:
    filled(ledger, 1)
    old = ledger.entries()[0]
    own = chained(1, old.time, old.kind, old.study, canonical(old.body), "f" * 64)
    change = f"UPDATE entries SET previous = '{'f' * 64}', hash = '{own}'"
    tamper(ledger, change, f"UPDATE head SET hash = '{own}'")
    assert "entry 1 was replaced" in str(ledger.verify())


def test_removed_triggers_are_said(ledger: Ledger) -> None:
    filled(ledger)
    tamper(ledger, guards=False)
    assert ledger.verify().problems == ("the triggers that keep entries from being changed were removed",)


def test_a_deleted_end_shows_for_good(ledger: Ledger) -> None:
    filled(ledger)
    tamper(ledger, "DELETE FROM entries WHERE number > 3")
    assert ledger.append("sealed", "later", {}).number == 6
    assert ledger.verify().problems == ("entries 4 to 5 were deleted",)


def test_copies_in_the_study_find_a_replaced_or_cut_ledger(ledger: Ledger, tmp_path: Path) -> None:
    copies = [entry.to_json() for entry in filled(ledger).entries()]
    copies = json.loads(json.dumps(copies))
    assert ledger.verify(copies).whole
    other = filled(Ledger(tmp_path / "other.sqlite"), 3)
    shutil.copy(other.path, ledger.path)
    assert ledger.verify().whole
    problems = ledger.verify(copies).problems
    assert "entry 1 is not the one of which the study keeps a copy: the ledger was replaced" in problems
    assert "entry 5, of which the study keeps a copy, is not there: the ledger was cut or replaced" in problems
    assert "and 2 more" in str(ledger.verify(copies))
    ledger.path.unlink()
    assert len(ledger.verify(copies).problems) == 5


def test_a_rewritten_chain_is_whole_but_has_another_head(ledger: Ledger) -> None:
    """The limit of it, said in docs/ledger.md: only a head that was noted elsewhere tells."""
    noted = filled(ledger, 1).head
    change = rehashed(ledger, 1, {"n": 99})
    tamper(ledger, change, "UPDATE head SET hash = (SELECT hash FROM entries)")
    assert ledger.verify().whole
    assert ledger.head != noted


def test_edited_copies_are_said(ledger: Ledger) -> None:
    copy = filled(ledger).entries()[1].to_json()
    assert "study's copy of entry 2 was edited" in str(ledger.verify([{**copy, "kind": "opened"}]))
    assert "is not an entry" in str(ledger.verify([{"number": 1}]))


@pytest.mark.parametrize(
    "change",
    [{"number": "1"}, {"number": True}, {"body": []}, {"hash": None}, {"more": 1}, {"time": 5}],
)
def test_entries_from_json_are_checked(ledger: Ledger, change: dict[str, Any]) -> None:
    entry = ledger.append("sealed", "a", {})
    assert Entry.from_json(entry.to_json()) == entry
    with pytest.raises(LedgerError, match="not an entry"):
        Entry.from_json({**entry.to_json(), **change})


def test_ten_thousand_entries_are_verified(ledger: Ledger) -> None:
    filled(ledger, 1)
    with ledger._writing() as connection:
        for number in range(9_999):
            store._append(connection, "scored", "a", f'{{"n":{number}}}')
    assert ledger.verify().count == 10_000
    assert ledger.verify().whole


def test_the_path_comes_from_the_argument_the_environment_or_the_platform(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import platformdirs

    monkeypatch.setenv("HELDOUT_LEDGER", str(tmp_path / "moved.sqlite"))
    assert Ledger().path == tmp_path / "moved.sqlite"
    assert Ledger(tmp_path / "given.sqlite").path == tmp_path / "given.sqlite"
    monkeypatch.delenv("HELDOUT_LEDGER")
    assert Ledger().path == platformdirs.user_data_path("heldout") / "ledger.sqlite"


def test_importing_the_ledger_loads_only_the_standard_library() -> None:
    code = "import sys, heldout.ledger; print([m for m in ('numpy', 'polars', 'sklearn') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# Files that cannot serve -----------------------------------------------------------------------------------


def refused(ledger: Ledger, words: str) -> None:
    for action in (lambda: ledger.append("sealed", "a", {}), ledger.entries, ledger.verify, lambda: ledger.head):
        with pytest.raises(LedgerError, match=words) as caught:
            action()
        assert "\n" not in str(caught.value)


def test_files_that_are_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("These are notes, and long enough for SQLite to look at. " * 20)
    refused(Ledger(tmp_path / "notes.txt"), "not a ledger, nor any SQLite file")
    refused(Ledger(tmp_path), "cannot be opened")
    with pytest.raises(LedgerError, match=r"write to .* directory|write to .* exists"):
        Ledger(tmp_path / "notes.txt" / "ledger.sqlite").append("sealed", "a", {})
    with contextlib.closing(sqlite3.connect(tmp_path / "other.sqlite")) as connection:
        connection.execute("CREATE TABLE t (x)")
    refused(Ledger(tmp_path / "other.sqlite"), "another program")
    with contextlib.closing(sqlite3.connect(tmp_path / "other.sqlite")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)  # left as it was


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    ledger = Ledger(tmp_path / "empty")
    assert ledger.entries() == []
    assert ledger.append("sealed", "a", {}).number == 1


def test_a_ledger_of_another_version(ledger: Ledger) -> None:
    filled(ledger)
    tamper(ledger, "PRAGMA user_version = 9")
    refused(ledger, "has format 9 and this heldout reads format 1")


def test_a_damaged_file_is_said_to_be_damaged(ledger: Ledger) -> None:
    filled(ledger, 60)
    data = bytearray(ledger.path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)  # all but the first page
    ledger.path.write_bytes(data)
    refused(ledger, "damaged")


def test_a_tampered_number_past_64_bits(ledger: Ledger) -> None:
    filled(ledger)
    tamper(ledger, f"UPDATE head SET count = {2**63 - 1}")
    with pytest.raises(LedgerError):
        ledger.append("sealed", "a", {})


def test_a_locked_ledger(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(ledger)
    monkeypatch.setattr(store, "BUSY_SECONDS", 0.05)
    with contextlib.closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="another process holds it"):
            ledger.append("sealed", "a", {})
        assert len(ledger.entries()) == 5  # readers do not wait
    assert ledger.append("sealed", "a", {}).number == 6


def test_an_unwritable_folder(tmp_path: Path) -> None:
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("this user may write everywhere")
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(LedgerError, match="cannot be opened or created"):
        Ledger(folder / "ledger.sqlite").append("sealed", "a", {})


def test_a_full_disk_leaves_the_ledger_as_it_was(ledger: Ledger) -> None:
    pytest.importorskip("resource")
    filled(ledger)
    size = ledger.path.stat().st_size
    code = (
        "import resource, sys; from heldout.ledger import Ledger; from heldout.errors import LedgerError\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
        "try:\n    Ledger(sys.argv[1]).append('sealed', 'a', {'long': 'x' * 200_000})\n"
        "except LedgerError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, ledger.path], capture_output=True, text=True)
    assert done.stdout.startswith("Could not write to the ledger"), done
    assert "disk" in done.stdout
    assert ledger.verify().whole
    assert len(ledger.entries()) == 5


# Fingerprints ----------------------------------------------------------------------------------------------

CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(),
    st.text(max_size=5),
    st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=5))])),
)


def numbers(n: int, seed: int = 0, columns: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {**{f"x{i}": rng.normal(size=n) for i in range(columns)}, "y": rng.integers(0, 2, n)}


def taken(columns: dict[str, Any], rows: Any) -> dict[str, Any]:
    return {name: np.asarray(values)[rows] for name, values in columns.items()}


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=12), st.randoms())
def test_the_order_of_rows_and_columns_does_not_count(rows: list[tuple[Any, ...]], random: Any) -> None:
    names = ("a", "b", "y")
    plain = fingerprint({name: [row[i] for row in rows] for i, name in enumerate(names)}, "y")
    random.shuffle(rows)
    shuffled = {name: [row[i] for row in rows] for i, name in reversed(list(enumerate(names)))}
    assert fingerprint(shuffled, "y") == plain
    assert Fingerprint.from_json(json.loads(json.dumps(plain.to_json()))) == plain
    assert overlap(plain, plain) == (1.0 if rows else 0.0)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=30), st.data())
def test_overlap_of_small_sets_is_exactly_that_of_the_multisets(rows: list[tuple[int, int]], data: Any) -> None:
    from collections import Counter

    others = data.draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=30))
    a, b = (fingerprint({"x": [r[0] for r in part], "y": [r[1] for r in part]}, "y") for part in (rows, others))
    common = (Counter(rows) & Counter(others)).total()
    assert overlap(a, b) == (common / len(rows) if rows else 0.0)
    assert (a.rows == b.rows) == (Counter(rows) == Counter(others))


def test_any_change_of_a_cell_changes_the_rows() -> None:
    columns = {"x": [1, 2, 3], "z": ["a", "b", ""], "y": [0, 1, 1]}
    plain = fingerprint(columns, "y").rows
    for name, row, value in [("x", 0, 1.0000000000000002), ("z", 2, None), ("z", 0, "A"), ("y", 2, 0)]:
        changed = {key: list(values) for key, values in columns.items()}
        changed[name][row] = value
        assert fingerprint(changed, "y").rows != plain
    assert fingerprint(columns, "x").rows != plain  # the target's role counts
    assert fingerprint({"z": columns["x"], "x": columns["z"], "y": columns["y"]}, "y").rows != plain


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([1, 0, -3], [1.0, -0.0, -3.0]),
        ([True, False], [1, 0]),
        ([None, 1.5], [float("nan"), 1.5]),
        ([None, 1.5], [-float("nan"), 1.5]),
        ([1.5, None, "x"], [1.5, float("nan"), "x"]),
        (["é"], ["e\u0301"]),
        ([datetime(2020, 1, 1, 12)], [datetime(2020, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))]),
        ([date(2020, 1, 1)], [datetime(2020, 1, 1)]),
        ([datetime(1969, 12, 31, 23), None], np.array(["1969-12-31T23:00:00", "NaT"], "datetime64[s]")),
        ([1.5, 2.5], np.array([1.5, 2.5], np.float32)),
        ([1, 2], np.array([1, 2], np.int8)),
        (["a", None], np.array(["a", None], object)),
        (["a", "b"], np.array(["a", "b"])),
        ([None, None], ["a", "b"][:0] + [float("nan")] * 2),
    ],
)
def test_values_that_are_the_same_however_they_are_held(left: Any, right: Any) -> None:
    y = list(range(len(left)))
    assert fingerprint({"x": left, "y": y}, "y") == fingerprint({"x": right, "y": y}, "y")
    assert fingerprint({"x": y, "y": left}, "y") == fingerprint({"x": y, "y": right}, "y")


@pytest.mark.parametrize(
    ("left", "right"),
    [([1], ["1"]), ([None], [""]), ([None], [0]), ([0], ["False"]), ([datetime(1970, 1, 1)], [0]), (["a"], ["A"])],
)
def test_values_that_differ(left: Any, right: Any) -> None:
    assert fingerprint({"x": left, "y": [0]}, "y").rows != fingerprint({"x": right, "y": [0]}, "y").rows


def test_a_csv_and_a_parquet_file_of_one_table_agree(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "price": [1.1, None, 3e20, -0.0],
            "rooms": [1, 2, None, 4],
            "garden": [True, False, None, True],
            "town": ["Köln", None, 'a "b", c', "Aix"],
            "sold": [datetime(2020, 1, 1, 3, 4, 5, 678000), None, datetime(1960, 1, 1), datetime(2020, 1, 2)],
            "y": [1, 0, 1, 0],
        }
    )
    frame.write_csv(tmp_path / "a.csv")
    frame.write_parquet(tmp_path / "a.parquet")
    read = [pl.read_csv(tmp_path / "a.csv", try_parse_dates=True), pl.read_parquet(tmp_path / "a.parquet")]
    marks = [fingerprint(part.to_dict(as_series=False), "y") for part in read]
    assert marks[0] == marks[1]
    assert marks[0] == fingerprint({name: frame[name].to_numpy() for name in frame.columns}, "y")


def test_overlap_of_large_sets_is_estimated_within_its_stated_error() -> None:
    table = numbers(40_000)
    a = fingerprint(taken(table, slice(0, 20_000)), "y")
    assert len(a.sketch) == 2048
    for share in (0.0, 0.05, 0.2, 1.0):
        start = round(20_000 * (1 - share))
        b = fingerprint(taken(table, slice(start, start + 20_000)), "y")
        error = (share * (1 - share) / 2047) ** 0.5
        assert abs(overlap(a, b) - share) <= 4 * error
    small = fingerprint(taken(table, slice(0, 5_000)), "y")
    assert overlap(small, a) == 1.0
    assert abs(overlap(a, small) - 0.25) <= 4 * (0.25 * 0.75 / 2047) ** 0.5


def test_the_same_rows_with_columns_added_dropped_and_renamed_are_recognised() -> None:
    table = numbers(500, columns=6)
    mark = fingerprint(table, "y")
    rows = np.random.default_rng(1).permutation(500)
    dropped = {name: values[rows] for name, values in table.items() if name not in ("x0", "x1")}
    added = {**{f"new {name}": values for name, values in table.items() if name != "y"}, "y": table["y"]}
    added |= {f"extra{i}": np.random.default_rng(i).normal(size=500) for i in range(20)}
    for other in (fingerprint(dropped, "y"), fingerprint(added, "y")):
        assert overlap(mark, other) == 0.0
        assert same_rows(mark, other) == same_rows(other, mark) == 1.0


def test_fewer_than_half_of_the_columns_are_not_enough() -> None:
    table = numbers(100, columns=5)
    mark = fingerprint(table, "y")
    for kept, expected in [(2, 0.0), (3, 1.0)]:
        fresh = {name: np.roll(table[name], 1) for name in list(table)[kept:5]}
        assert same_rows(mark, fingerprint({**table, **fresh}, "y")) == expected


def test_columns_count_only_where_the_numbers_of_rows_agree() -> None:
    mark = fingerprint({"x": [1, 2], "y": [0, 1]}, "y")
    other = Fingerprint(3, "0" * 64, (1, 2, 3), mark.columns)
    assert same_rows(mark, other) == 0.0


def test_other_rows_of_the_same_table_are_not_the_same_test_set() -> None:
    table = numbers(1000, columns=4)
    table["constant"] = np.ones(1000)
    table["empty"] = np.full(1000, np.nan)
    first, second = (fingerprint(taken(table, rows), "y") for rows in (slice(0, 500), slice(500, 1000)))
    assert same_rows(first, second) == 0.0
    assert "constant" not in first.columns
    assert "empty" not in first.columns


@pytest.mark.parametrize(
    ("columns", "target", "words"),
    [
        ({"x": [1], "y": [1, 2]}, "y", "different lengths"),
        ({"x": [1]}, "y", "target 'y' is not among"),
        ({"x": [[1]], "y": [1]}, "y", "'x' cannot have a fingerprint"),
        ({"x": [b"raw"], "y": [1]}, "y", "'x' cannot have a fingerprint: it holds a bytes"),
        ({"x": [10**400], "y": [1]}, "y", "too large"),
        ({"x": [1 + 2j], "y": [1]}, "y", "complex"),
    ],
)
def test_columns_without_a_fingerprint(columns: Any, target: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        fingerprint(columns, target)


@pytest.mark.parametrize(
    "change",
    [
        {"n_rows": 3},
        {"n_rows": -1},
        {"n_rows": True},
        {"rows": "0"},
        {"rows": "G" * 64},
        {"sketch": "f" * 16 + "0" * 16},
        {"sketch": [1, 2]},
        {"sketch": "0" * 31 + "x"},
        {"columns": {"x": 5}},
        {"columns": []},
        {"more": 1},
    ],
)
def test_fingerprints_from_json_are_checked(change: dict[str, Any]) -> None:
    data = fingerprint({"x": [1, 2], "y": [0, 1]}, "y").to_json()
    with pytest.raises(LedgerError, match="fingerprint"):
        Fingerprint.from_json({**data, **change})
    with pytest.raises(LedgerError, match="fingerprint"):
        Fingerprint.from_json("text")


# Openings --------------------------------------------------------------------------------------------------


def test_a_test_set_is_opened_once_unless_one_says_so(ledger: Ledger) -> None:
    mark = fingerprint(numbers(50), "y")
    assert ledger.count(mark) == 0
    first = ledger.open_test(mark, "one", {"learner": "A"})
    assert (first.number, first.earlier) == (1, ())
    assert first.verdict.whole
    assert first.entry.body == {"learner": "A", "fingerprint": mark.to_json()}
    assert ledger.head == (1, first.entry.hash)
    with pytest.raises(SealError, match=r"opened once before, last on 20.* by study one; .*--again"):
        ledger.open_test(mark, "two", {})
    assert ledger.count(mark) == len(ledger.entries()) == 1
    second = ledger.open_test(mark, "two", {}, again=True)
    assert second.number == 2
    assert [(item.study, item.share, item.time) for item in second.earlier] == [("one", 1.0, first.entry.time)]
    with pytest.raises(SealError, match=r"opened 2 times before, last on .* by study two"):
        ledger.open_test(mark, "three", {})


def test_a_fresh_split_of_the_same_table_counts_and_a_stranger_does_not(ledger: Ledger) -> None:
    table, rng = numbers(1000), np.random.default_rng(3)
    fifths = [fingerprint(taken(table, rng.permutation(1000)[:200]), "y") for _ in range(2)]
    ledger.open_test(fifths[0], "one", {})
    assert ledger.count(fifths[1]) == 1
    with pytest.raises(SealError):
        ledger.open_test(fifths[1], "one", {})
    assert ledger.open_test(fingerprint(numbers(200, seed=9), "y"), "one", {}).number == 1


def test_other_kinds_of_entries_are_no_openings(ledger: Ledger) -> None:
    mark = fingerprint(numbers(20), "y")
    ledger.append("sealed", "one", {"fingerprint": mark.to_json()})
    assert ledger.count(mark) == 0


def test_a_tampered_ledger_opens_and_says_so(ledger: Ledger) -> None:
    mark = fingerprint(numbers(20), "y")
    copies = [ledger.open_test(mark, "one", {}).entry.to_json()]
    tamper(ledger, "UPDATE entries SET body = '{}'")
    opening = ledger.open_test(mark, "two", {}, study_entries=copies)
    assert opening.number == 1
    assert str(opening.verdict) == "The ledger was tampered with: entry 1 was edited."
    ledger.path.unlink()
    assert "is not there" in str(ledger.open_test(mark, "two", {}, study_entries=copies).verdict)


def test_of_many_threads_one_is_first(ledger: Ledger) -> None:
    mark, outcomes = fingerprint(numbers(20), "y"), []
    barrier = threading.Barrier(8)

    def work(name: str) -> None:
        barrier.wait()
        try:
            outcomes.append(ledger.open_test(mark, name, {}).number)
        except SealError:
            outcomes.append(0)

    threads = [threading.Thread(target=work, args=(f"study-{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [0] * 7 + [1]
    assert ledger.verify().whole


RACE = """
import json, sys, time
from pathlib import Path
from heldout.errors import SealError
from heldout.ledger import Fingerprint, Ledger

folder, me, others, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
start = time.monotonic()
mark = Fingerprint.from_json(json.loads((folder / "mark.json").read_text()))
for turn in range(rounds):
    (folder / f"ready-{turn}-{me}").touch()
    while len(list(folder.glob(f"ready-{turn}-*"))) < others:
        time.sleep(0.0005)
        assert time.monotonic() < start + 60, "the others have gone"
    try:
        print(Ledger(folder / f"{turn}.sqlite").open_test(mark, me, {}).number)
    except SealError:
        print(0)
"""


def test_of_racing_processes_one_is_first(tmp_path: Path) -> None:
    processes, rounds = 4, 12
    (tmp_path / "mark.json").write_text(json.dumps(fingerprint(numbers(20), "y").to_json()))
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    running = [
        subprocess.Popen(
            [*command, f"p{i}", str(processes), str(rounds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for i in range(processes)
    ]
    finished = [process.communicate() for process in running]
    assert [errors for _, errors in finished] == [""] * processes
    outcomes = [output.split() for output, _ in finished]
    for turn in range(rounds):
        assert sorted(outcome[turn] for outcome in outcomes) == ["0"] * (processes - 1) + ["1"]
        assert Ledger(tmp_path / f"{turn}.sqlite").verify().whole


def test_a_ledger_that_appears_while_one_looks_is_no_other_programs_file(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.path.parent.mkdir()
    look, appended = store._number, []

    def look_slowly(connection: sqlite3.Connection, query: str) -> int:
        found = look(connection, query)
        if not appended:
            appended.append(query)
            Ledger(ledger.path).append("sealed", "other", {})
        return found

    for action in (ledger.entries, lambda: ledger.append("sealed", "a", {})):
        for file in ledger.path.parent.iterdir():
            file.unlink()
        with contextlib.closing(sqlite3.connect(ledger.path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")  # begun, but not yet a ledger
        appended.clear()
        monkeypatch.setattr(store, "_number", look_slowly)
        action()
        assert appended == ["PRAGMA application_id"]
        assert ledger.verify().whole


def test_readers_beside_writers_always_see_a_whole_ledger(ledger: Ledger) -> None:
    filled(ledger, 1)
    done = threading.Event()
    verdicts = []

    def watch() -> None:
        while not done.is_set():
            verdicts.append(ledger.verify())

    watcher = threading.Thread(target=watch)
    watcher.start()
    filled(ledger, 60)
    done.set()
    watcher.join()
    assert verdicts
    assert all(verdict.whole for verdict in verdicts)
