"""Series to be classified: a long table, arrays and NPZ files, from the command line to the model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from heldout import Study, persist, read
from heldout.cli import main
from heldout.data.encode import Encoder
from heldout.data.read import conform
from heldout.errors import InputError
from heldout.series.cases import Cases


def long_table(seed: int = 0, n: int = 60) -> pl.DataFrame:
    """Series of 3 to 6 steps that rise or fall, their steps in disorder."""
    rng = np.random.default_rng(seed)
    rows = []
    for case in range(n):
        up = bool(rng.integers(2))
        for step in range(rng.integers(3, 7)):
            height = (1 if up else -1) * step + 0.3 * rng.normal()
            rows.append({"who": f"w{case}", "step": step, "height": height, "noise": rng.normal(), "way": "ud"[up]})
    return pl.DataFrame(rows).sample(fraction=1.0, shuffle=True, seed=seed)


def test_cases_are_put_together() -> None:
    frame = long_table()
    table = read(frame)
    cases = Cases.of(table, "way", series="who", time="step")
    made = cases.learning(table, "way")
    assert made.names == ["height", "noise", "way"] and len(made) == 60 and cases.steps == 6
    who = frame["who"].unique(maintain_order=True).to_list()
    for row in (0, 17, 59):
        own = frame.filter(pl.col("who") == who[row]).sort("step")
        cells = made.frame["height"][row].to_numpy()
        assert_array_equal(cells[: len(own)], own["height"].to_numpy())
        assert np.isnan(cells[len(own) :]).all() and made.frame["way"][row] == own["way"][0]
    encoder = Encoder().fit(made.select(["height", "noise"]))
    X = encoder.transform(made.select(["height", "noise"]))
    assert encoder.series_ is not None and X.shape == (60, 12)
    assert encoder.feature_names_out_[:3] == ["height, step 1", "noise, step 1", "height, step 2"]
    assert_array_equal(encoder.series_.as_series(X)[:, :, 0], made.frame["height"].to_numpy())
    assert np.isfinite(encoder.series_.as_matrix(X)).all()
    assert_array_equal(persist.loads(persist.dumps(encoder)).transform(made.select(["height", "noise"])), X)


def test_what_does_not_fit_is_said() -> None:
    frame = long_table(n=12)
    table = read(frame)
    twice = read(pl.concat([frame, frame[:1]]))
    with pytest.raises(InputError, match=rf"rows 1 and {len(frame) + 1} are the same step of"):
        Cases.of(twice, "way", series="who", time="step")
    with pytest.raises(InputError, match=r"the series 'w\d+' has several values of 'way'"):
        odd = read(frame.with_columns(way=pl.Series(["u", "d"] * (len(frame) // 2) + ["u"] * (len(frame) % 2))))
        Cases.of(odd, "way", series="who").learning(odd, "way")
    cases = Cases.of(table, "way", series="who", time="step")
    longer = pl.DataFrame({"who": ["w"] * 7, "step": range(7), "height": [0.5] * 7, "noise": [0.5] * 7})
    with pytest.raises(InputError, match="made for at most 6"):
        cases.unseen(read(longer))
    with pytest.raises(InputError, match="should hold series of 3 steps, and they are of 4 steps"):
        conform({"x": np.zeros((2, 4))}, read({"x": np.zeros((2, 3))}).columns)


def run(*words: str) -> None:
    with pytest.raises(SystemExit) as done:
        main(list(words))
    assert done.value.code == 0


def test_a_long_table_from_the_command_line(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("HELDOUT_LEDGER", str(tmp_path / "ledger.sqlite"))
    long_table().write_csv(tmp_path / "steps.csv")
    study = tmp_path / "study"
    options = ["--target", "way", "--series", "who", "--time", "step", "--learner", "SoftmaxClassifier"]
    run("run", str(tmp_path / "steps.csv"), *options, "-o", str(study))
    assert "from 2 columns: 2 series" in capsys.readouterr().out
    long_table(seed=1, n=20).drop("way").write_csv(tmp_path / "new.csv")
    run("predict", str(study), str(tmp_path / "new.csv"), "-o", str(tmp_path / "out.csv"))
    found = pl.read_csv(tmp_path / "out.csv")
    truth = long_table(seed=1, n=20).unique("who", maintain_order=True)
    assert found["who"].to_list() == truth["who"].to_list()
    assert (found["predicted way"] == truth["way"]).mean() > 0.9


def test_npz_of_series(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HELDOUT_LEDGER", str(tmp_path / "ledger.sqlite"))
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 2, 9)).cumsum(axis=2).astype(np.float32)
    y = np.where(X[:, 1, -1] > 0, "up", "down")
    np.savez(tmp_path / "walks.npz", X_train=X[:60], y_train=y[:60], X_test=X[60:], y_test=y[60:])
    table = read(tmp_path / "walks.npz")
    assert [(c.name, c.kind) for c in table.columns][:2] == [("channel 1", "series"), ("channel 2", "series")]
    assert "taken as series of 9 steps, 2 channels" in table.notices[0]
    assert_array_equal(table.frame["channel 2"].to_numpy(), X[:, 1])
    study = Study(tmp_path / "walks.npz", learners=["SoftmaxClassifier"], folder=tmp_path / "study").fit()
    assert study.problem.form == "series"
    study.open_test()
    study.report()
    again = Study.load(tmp_path / "study")
    assert_array_equal(again.model.predict({f"channel {i + 1}": X[:, i] for i in range(2)}), study.model.predict(table))
