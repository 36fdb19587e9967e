"""The command line: every command on a real table, its exit codes, its JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from heldout.cli import main


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(list(words))
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run


def test_fit_then_test_then_report_then_predict(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, err = cli("fit", "example:iris", "-o", "s")
    assert code == 0, err
    assert "Softmax" in out and "heldout test s" in err
    assert json.loads((tmp_path / "s/study.json").read_text())["final"] is None
    code, out, err = cli("test", "s")
    assert code == 0 and "opened once" in out
    code, out, err = cli("test", "s")
    assert code == 1 and "opened once before" in err and "--again" in err
    code, out, _ = cli("test", "s", "--again")
    assert code == 0 and "opened 2 times" in out
    code, out, _ = cli("report", "s")
    assert code == 0 and "opened 2 times" in out
    html = (tmp_path / "s/report.html").read_text()
    assert "opened 2 times" in html
    (tmp_path / "new.csv").write_text(
        "note,petal width (cm),sepal length (cm),sepal width (cm),petal length (cm)\n"
        "x,0.2,5.1,3.5,1.4\ny,2.3,6.9,3.2,5.7\n"
    )
    code, _, err = cli("predict", "s", "new.csv")
    made = pl.read_csv(tmp_path / "new-predictions.csv")
    assert code == 0 and made["predicted species"].to_list() == ["setosa", "virginica"]
    assert made.columns[:2] == ["note", "petal width (cm)"] and "probability of setosa" in made.columns
    code, out, _ = cli("predict", "s/models/SoftmaxClassifier.model", "new.csv", "-o", "-")
    assert code == 0 and out.startswith("note,")


def test_a_study_is_diagnosed_before_its_test(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code, _, err = cli("fit", "example:diabetes", "-o", "s", "--learner", "DecisionTreeRegressor", "-q")
    assert code == 0, err
    code, out, err = cli("diagnose", "s", "--quick")
    assert code == 0 and "One sibling was fitted" in out and "larger leaves (min_samples_leaf 20" in out, err
    assert "What was tried" in (tmp_path / "s/report.html").read_text()
    code, out, _ = cli("diagnose", "s", "--json")
    record = json.loads(out)
    assert code == 0 and not record["diagnosis"]["quick"] and len(record["diagnosis"]["tried"]) == 4
    code, out, _ = cli("test", "s")
    assert code == 0 and "opened once" in out
    code, _, err = cli("diagnose", "nowhere")
    assert code == 2 and "not a study's folder" in err


def test_run_does_it_all_and_says_it_as_json(cli) -> None:  # type: ignore[no-untyped-def]
    code, out, err = cli("run", "example:diabetes", "--json", "--criterion", "mae", "--seed", "3")
    record = json.loads(out)
    assert code == 0, err
    assert record["final"]["openings"] == 1 and record["problem"]["criterion"]["name"] == "mae"
    assert record["reproduce"]["command"] == "heldout run example:diabetes --criterion mae --seed 3"
    assert Path("diabetes-study/report.html").exists()
    code, out, err = cli("run", "example:diabetes", "-q", "--remedies", "none")
    assert code == 1 and "opened once before" in err
    assert "is best on validation" in out and Path("diabetes-study-2/report.html").exists()
    code, out, _ = cli("run", "example:diabetes", "-q", "--again", "--remedies", "none")
    assert code == 0 and len(out.strip().splitlines()) == 1 and "opened 2 times" in out
    assert Path("diabetes-study-3/study.json").exists()


def test_the_ledger_is_shown_and_a_broken_one_is_exit_code_1(cli, own_ledger: Path) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = cli("ledger")
    assert code == 0
    cli("run", "example:wine", "-q", "-o", "w")
    code, out, _ = cli("ledger", "--study", "w")
    assert code == 0 and "opened" in out and "sealed" in out
    code, out, _ = cli("ledger", "--json")
    assert [entry["kind"] for entry in json.loads(out)["entries"]] == ["sealed", "looked", "looked", "opened", "scored"]
    own_ledger.unlink()
    code, out, _ = cli("ledger", "--study", "w")
    assert code == 1


def test_examples_and_help(cli) -> None:  # type: ignore[no-untyped-def]
    code, out, _ = cli("examples")
    assert code == 0 and "heldout run example:breast_cancer" in out
    code, out, _ = cli("--help")
    assert code == 0 and all(
        word in out for word in ("fit", "diagnose", "test", "run", "report", "predict", "ledger", "examples")
    )


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_keeps_what_was_finished(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    slow = (
        "import sys, time, heldout.study as s\nfrom heldout.cli import main\nreal = s.fit\n"
        "def slow(candidate, *rest):\n"
        "    if not candidate.baseline:\n        print('waiting', flush=True); time.sleep(60)\n"
        "    return real(candidate, *rest)\n"
        "s.fit = slow\nmain(['fit', 'example:iris', '-o', 's', '-q'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "waiting\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Interrupted" in err and "--resume" in err and "Traceback" not in err
    code, _, err = cli("fit", "--resume", "s", "-q")
    assert code == 0, err
    board = json.loads((tmp_path / "s/study.json").read_text())["leaderboard"]
    assert [entry["status"] for entry in board] == ["fitted"] * 3
