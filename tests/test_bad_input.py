"""Bad input at the command line: one clear sentence, exit code 1 or 2, no traceback, no half-written file."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import heldout.files
from heldout.cli import main

GOOD = "a,b,y\n" + "".join(f"{i * 0.37 % 5:.3f},{i * 0.91 % 7:.3f},{i * 1.7 % 11:.3f}\n" for i in range(60))


def good(folder: Path) -> Path:
    path = folder / "good.csv"
    path.write_text(GOOD)
    return path


def table(text: str) -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        (folder / "bad.csv").write_text(text)
        return ["fit", "bad.csv", "--target", "y"]

    return write


def classes(labels: list[str]) -> str:
    return "a,y\n" + "".join(f"{i * 0.37:.3f},{label}\n" for i, label in enumerate(labels))


def unreadable(folder: Path) -> list[str]:
    path = folder / "secret.csv"
    path.write_text(GOOD)
    path.chmod(0)
    return ["fit", "secret.csv", "--target", "y"]


def other_version(folder: Path) -> list[str]:
    (folder / "old").mkdir()
    (folder / "old" / "study.json").write_text(json.dumps({"format": 99, "heldout": "9.0", "problem": {}}))
    return ["test", "old"]


def damaged_study(folder: Path) -> list[str]:
    (folder / "torn").mkdir()
    (folder / "torn" / "study.json").write_text('{"format": 1, "prob')
    return ["report", "torn"]


def with_good(*words: str) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        good(folder)
        return list(words)

    return make


CASES: dict[str, tuple[Callable[[Path], list[str]], int, list[str]]] = {
    # name: (makes the input and returns the command, exit code, words that must be said)
    "empty file": (table(""), 2, ["bad.csv", "empty"]),
    "header only": (table("a,b,y\n"), 2, ["bad.csv", "no rows"]),
    "one row": (table("a,b,y\n1,2,3\n"), 2, ["bad.csv", "1 row", "at least 10"]),
    "one class": (table(classes(["x"] * 40)), 2, ["'y'", "one class only"]),
    "a class with one row": (table(classes(["x"] * 40 + ["z"])), 2, ["'y'", "1 row only", "(z)"]),
    "missing target": (with_good("fit", "good.csv"), 2, ["--target"]),
    "misspelled target": (with_good("fit", "good.csv", "--target", "Y "), 2, ["no column", "Did you mean 'y'"]),
    "duplicate column names": (table("a,a,y\n1,2,3\n"), 2, ["bad.csv", "'a'"]),
    "ragged rows": (table("a,b,y\n1,2,3\n4,5,6\n7,8\n"), 2, ["bad.csv", "line 4"]),
    "infinite values": (table(GOOD + "inf,1.0,2.0\n"), 2, ["bad.csv", "'a'", "61"]),
    "target with missing values": (table(GOOD + "1.0,2.0,\n"), 2, ["'y'", "missing in 1 of 61 rows", "61"]),
    "a directory": (lambda folder: ["fit", str(folder), "--target", "y"], 2, ["directory"]),
    "an unreadable file": (unreadable, 2, ["secret.csv"]),
    "a vanished file": (lambda _: ["fit", "nowhere.csv", "--target", "y"], 2, ["nowhere.csv"]),
    "a file that is no table": (
        lambda folder: [(folder / "x.csv").write_bytes(bytes(range(256)) * 9), "fit", "x.csv", "--target", "y"][1:],
        2,
        ["x.csv"],
    ),
    "a study of another version": (other_version, 2, ["heldout 9.0", "format 99"]),
    "a damaged study": (damaged_study, 2, ["study.json"]),
    "no study": (lambda _: ["test", "nothing"], 2, ["nothing", "not a study"]),
    "an unknown criterion": (with_good("fit", "good.csv", "--target", "y", "--criterion", "rsme"), 2, ["'rmse'"]),
    "a criterion of another task": (
        with_good("fit", "good.csv", "--target", "y", "--criterion", "accuracy"),
        2,
        ["regression"],
    ),
    "an unknown task": (with_good("fit", "good.csv", "--target", "y", "--task", "cluster"), 2, ["'cluster'"]),
    "an unknown learner": (with_good("fit", "good.csv", "--target", "y", "--learner", "Oracle"), 2, ["'Oracle'"]),
    "an unknown kind": (with_good("fit", "good.csv", "--target", "y", "--kind", "a=colour"), 2, ["colour"]),
    "a kind that does not fit": (with_good("fit", "good.csv", "--target", "y", "--kind", "a=date"), 2, ["'a'"]),
    "a kind without a column": (with_good("fit", "good.csv", "--target", "y", "--kind", "date"), 2, ["COLUMN=KIND"]),
    "wrong shares": (with_good("fit", "good.csv", "--target", "y", "--shares", "60/40"), 2, ["three positive"]),
    "a gap without time": (with_good("fit", "good.csv", "--target", "y", "--gap", "7d"), 2, ["time column"]),
    "an unknown example": (lambda _: ["fit", "example:irsi"], 2, ["'iris'"]),
    "an unknown option": (lambda _: ["fit", "--colour"], 2, ["--colour"]),
    "an unknown command": (lambda _: ["guess"], 2, ["guess"]),
    "a number that is none": (lambda _: ["fit", "x.csv", "--seed", "one"], 2, ["--seed"]),
    "predict with no model": (with_good("predict", "none.model", "good.csv"), 1, ["none.model"]),
    "predict with a file that is no model": (with_good("predict", "good.csv", "good.csv"), 1, ["good.csv"]),
    "a ledger that is none": (with_good("ledger", "--ledger", "good.csv"), 1, ["good.csv"]),
}


def run(command: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        main(command)
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    return int(stop.value.code or 0), said.err


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gets_one_clear_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make, expected, words = CASES[name]
    command = make(tmp_path)
    if name == "an unreadable file" and os.access(tmp_path / "secret.csv", os.R_OK):
        pytest.skip("this user may read everything")
    code, said = run(command, capsys)
    assert code == expected, said
    for word in words:
        assert word in said
    assert "inside heldout" not in said
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.glob("*-study/study.json"))


def test_a_full_disk_leaves_the_old_file_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    good(tmp_path)
    with pytest.raises(SystemExit):
        main(["fit", "good.csv", "--target", "y", "-o", "s", "-q"])
    before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}
    capsys.readouterr()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(heldout.files.os, "fsync", full)
    for command in (["report", "s"], ["test", "s"], ["predict", "s", "good.csv", "-o", "p.csv"]):
        code, said = run(command, capsys)
        assert code == 1
        assert "No space left on device" in said
    assert not (tmp_path / "p.csv").exists()
    assert {path: path.read_bytes() for path in before} == before
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".part")]


def test_two_runs_on_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    good(tmp_path)
    holder = (
        "import sys; from heldout.folder import StudyFolder as F\n"
        "f = F('s'); f.create(); c = f.locked(); c.__enter__(); print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin and process.stdout and process.stdout.readline() == "held\n"
    code, said = run(["fit", "good.csv", "--target", "y", "-o", "s", "-q"], capsys)
    assert code == 1 and "in use by another heldout process" in said
    process.communicate("")
    with pytest.raises(SystemExit) as stop:
        main(["fit", "good.csv", "--target", "y", "-o", "s", "-q"])
    assert not stop.value.code
    code, said = run(["fit", "good.csv", "--target", "y", "-o", "s", "-q"], capsys)
    assert code == 2 and "already holds a study" in said


def test_predict_says_what_new_data_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    good(tmp_path)
    with pytest.raises(SystemExit):
        main(["fit", "good.csv", "--target", "y", "-o", "s", "-q"])
    (tmp_path / "lacks.csv").write_text("a\n1\n2\n")
    (tmp_path / "wrong.csv").write_text("a,b\n1,2\n1,blue\n")
    code, said = run(["predict", "s", "lacks.csv"], capsys)
    assert code == 2 and "'b'" in said
    code, said = run(["predict", "s", "wrong.csv"], capsys)
    assert code == 2 and "'b'" in said and "blue" in said
    code, said = run(["predict", "s", "good.csv", "-o", "p.docx"], capsys)
    assert code == 2 and ".parquet" in said
    assert not list(tmp_path.glob("*predictions*"))
