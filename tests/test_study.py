"""The study in Python: fit, stop and go on, open once and again, keep and load, foreign learners."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

import heldout.study
from heldout import Study, persist
from heldout.errors import InputError, SealError, WorkError


def numbers(n: int = 300, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n), rng.choice(["red", "green", "blue"], n)
    y = 3 * x + (z == "red") + rng.normal(0, 0.5, n)
    return pl.DataFrame({"x": x, "colour": z, "y": y})


def labels(n: int = 300) -> pl.DataFrame:
    frame = numbers(n)
    return frame.with_columns(y=pl.when(pl.col("y") > 0.4).then(pl.lit("high")).otherwise(pl.lit("low")))


def said(study: Study) -> list[dict[str, Any]]:
    """The findings, without those that depend on what the ledger has seen before."""
    return [item.to_json() for item in study.findings if item.code != "H704"]


def test_the_five_lines_of_the_readme(tmp_path: Path) -> None:
    numbers().write_csv(tmp_path / "houses.csv")
    study = Study(tmp_path / "houses.csv", target="y")
    study.fit()
    assert study.leaderboard[0]["learner"] in ("LinearRegression", "Ridge", "Lasso")
    assert {item.code for item in study.findings} >= {"H101", "H102"}
    final = study.open_test()
    assert study.report(tmp_path / "report.html").stat().st_size > 100_000
    new = pd.DataFrame({"colour": ["red", "violet"], "x": [1.0, 2.0]})
    assert final.model.predict(new).shape == (2,)
    assert final.score.low < 0.5 < final.score.high
    for shown in (study, study.leaderboard, study.findings):
        assert "LinearRegression" in repr(shown) or "Linear regression" in repr(shown)
        assert "<" in str(shown._repr_html_())


def test_the_same_seed_gives_the_same_study() -> None:
    one, two = (Study(labels(), "y", seed=5).fit() for _ in range(2))
    strip = {"fit_seconds": 0, "predict_seconds": 0}
    assert [{**a, **strip} for a in one.leaderboard] == [{**b, **strip} for b in two.leaderboard]
    other = Study(labels(), "y", seed=6).fit()
    assert other.leaderboard[0]["validation"] != one.leaderboard[0]["validation"]


def test_opening_again_is_refused_counted_and_widened(tmp_path: Path) -> None:
    study = Study(numbers(), "y", folder=tmp_path / "s").fit()
    first = study.open_test()
    assert first.openings == 1 and first.score.level == 0.95
    with pytest.raises(SealError, match="opened once before"):
        study.open_test()
    second = study.open_test(again=True)
    assert second.openings == 2 and second.score.level == 0.975
    assert second.score.value == first.score.value
    assert second.score.low < first.score.low and second.score.high > first.score.high


def test_another_study_of_the_same_rows_counts_and_widens_the_first(tmp_path: Path) -> None:
    first = Study(numbers(), "y", folder=tmp_path / "a").fit()
    opened = first.open_test()
    with_more = numbers().with_columns(square=pl.col("x") ** 2)
    for again in (Study(numbers(), "y", seed=9), Study(with_more, "y")):  # another seed; the same rows, a column more
        again.fit()
        with pytest.raises(SealError):
            again.open_test()
    assert again.open_test(again=True).openings == 2
    shown = Study.load(tmp_path / "a").record["final"]
    assert shown["openings"] == 2
    assert shown["score"]["low"] < opened.score.low
    unrelated = Study(numbers(seed=3), "y").fit()
    assert unrelated.open_test().openings == 1


def test_a_study_goes_on_after_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels().write_csv(tmp_path / "t.csv")
    real = heldout.study.fit
    calls: list[str] = []

    def interrupted(candidate: Any, *rest: Any) -> Any:
        calls.append(candidate.name)
        if candidate.name == "SoftmaxClassifier":
            raise KeyboardInterrupt
        return real(candidate, *rest)

    monkeypatch.setattr(heldout.study, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Study(tmp_path / "t.csv", "y", learners=["SoftmaxClassifier"], folder=tmp_path / "s").fit()
    halfway = Study.load(tmp_path / "s")
    assert [entry["learner"] for entry in halfway.leaderboard] == ["BaselineClassifier"]
    monkeypatch.setattr(heldout.study, "fit", lambda *given: calls.append("again " + given[0].name) or real(*given))
    (tmp_path / "t.csv").unlink()  # a study goes on without its source
    whole = Study.load(tmp_path / "s").fit()
    assert calls == ["BaselineClassifier", "SoftmaxClassifier", "again SoftmaxClassifier"]
    straight = Study(labels(), "y", learners=["SoftmaxClassifier"]).fit()
    assert whole.leaderboard[0]["validation"] == straight.leaderboard[0]["validation"]
    assert said(whole) == said(straight)


def test_a_time_limit_skips_what_would_begin_too_late(tmp_path: Path) -> None:
    study = Study(labels(), "y", time_limit=0.0, folder=tmp_path / "s").fit()
    assert {entry["status"] for entry in study.leaderboard[1:]} == {"skipped"}
    later = Study.load(tmp_path / "s")
    later.time_limit = None
    assert later.fit().leaderboard[0]["status"] == "fitted"


def test_a_kept_study_opens_and_predicts_as_the_one_in_memory(tmp_path: Path) -> None:
    study = Study(labels(), "y").fit()
    study.save(tmp_path / "kept")
    loaded = Study.load(tmp_path / "kept")
    new = labels(50).drop("y")
    np.testing.assert_array_equal(loaded.model.predict_proba(new), study.model.predict_proba(new))
    final = loaded.open_test()
    stored = json.loads((tmp_path / "kept" / "study.json").read_text())
    assert stored["final"]["openings"] == final.openings == 1
    assert study.open_test(again=True).score.value == final.score.value
    with pytest.raises(InputError, match="already holds a study"):
        study.save(tmp_path / "kept")


def test_foreign_learners_take_part(tmp_path: Path) -> None:
    forest = RandomForestClassifier(20, random_state=0)
    own_encoding = make_pipeline(OneHotEncoder(handle_unknown="ignore"), DummyClassifier())
    study = Study(labels(), "y", learners={"forest": forest, "pipeline": own_encoding}, folder=tmp_path / "s").fit()
    assert {entry["learner"] for entry in study.leaderboard} == {"forest", "pipeline", "BaselineClassifier"}
    assert all(entry["status"] == "fitted" for entry in study.leaderboard)
    assert not hasattr(forest, "classes_")  # a clone was fitted, not the user's own
    with pytest.raises(WorkError, match="cannot be stored without pickle"):
        Study.load(tmp_path / "s").open_test()
    assert study.open_test().learner == "forest"


def test_a_learner_that_fails_is_reported_and_the_others_go_on() -> None:
    study = Study(labels(), "y", learners=[LinearSVC(), "SoftmaxClassifier"]).fit()
    failed = study.leaderboard[-1]
    assert (failed["learner"], failed["status"]) == ("LinearSVC", "failed")
    assert "needs a predicted probability" in failed["error"]
    assert study.leaderboard[0]["learner"] == "SoftmaxClassifier"
    assert [f.learner for f in study.findings if f.code == "H204"] == ["LinearSVC"]
    assert Study(labels(), "y", criterion="accuracy", learners=[LinearSVC()]).fit().leaderboard[0]["status"] == "fitted"


def test_parts_in_files_of_their_own(tmp_path: Path) -> None:
    frame = numbers(400)
    for name, rows in (("train", frame[:250]), ("val", frame[250:320]), ("test", frame[320:])):
        rows.write_csv(tmp_path / f"{name}.csv")
    study = Study(tmp_path / "train.csv", "y", validation=tmp_path / "val.csv", test=tmp_path / "test.csv").fit()
    assert [len(study.split.train), len(study.split.validation), study.split.sealed.n_rows] == [250, 70, 80]
    only_test = Study(tmp_path / "train.csv", "y", test=tmp_path / "test.csv").fit()
    assert only_test.split.sealed.n_rows == 80 and len(only_test.split.train) < 250


def test_what_is_not_there_yet_is_said() -> None:
    study = Study(numbers(), "y")
    with pytest.raises(WorkError, match=r"study\.fit\(\) first"):
        study.open_test()
    with pytest.raises(InputError, match="Say where the report should go"):
        study.fit().report()


def test_findings_do_not_change_with_the_test_rows() -> None:
    """The diagnosis is blind to the test part: other sealed rows, the same findings."""
    frame = numbers(300).with_columns(part=pl.Series(["train"] * 180 + ["val"] * 60 + ["test"] * 60))
    changed = frame.with_columns(y=pl.when(pl.col("part") == "test").then(pl.col("y") * 100).otherwise(pl.col("y")))
    one, two = (Study(given, "y", part="part").fit() for given in (frame, changed))
    assert said(one) == said(two)
    assert one.leaderboard[0]["validation"] == two.leaderboard[0]["validation"]


def test_everything_learned_is_learned_from_train() -> None:
    """Other validation and test rows, the same encoder and the same learner, bit for bit."""
    frame = numbers(300).with_columns(part=pl.Series(["train"] * 180 + ["val"] * 60 + ["test"] * 60))
    elsewhere = pl.col("part") != "train"
    changed = frame.with_columns(
        x=pl.when(elsewhere).then(pl.col("x") * 50).otherwise(pl.col("x")),
        colour=pl.when(elsewhere).then(pl.lit("violet")).otherwise(pl.col("colour")),
    )
    one, two = (Study(given, "y", part="part").fit()._model("LinearRegression") for given in (frame, changed))
    assert persist.dumps(one.encoder) == persist.dumps(two.encoder)
    assert persist.dumps(one.estimator) == persist.dumps(two.estimator)
