"""Siblings: which there are, what is tried, and what is adopted."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import BaggingClassifier, GradientBoostingRegressor, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPRegressor as SklearnMLP
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.tree import DecisionTreeClassifier as SklearnTree
from sklearn.tree import DecisionTreeRegressor as SklearnTreeRegressor

import heldout.diagnosis.search
import heldout.study
from heldout import (
    DecisionTreeRegressor,
    Lasso,
    LinearRegression,
    MLPClassifier,
    NearestNeighborsRegressor,
    PolynomialRegression,
    RandomForestClassifier,
    SoftmaxClassifier,
    Study,
)
from heldout.asked import EncodedRows, GivenRows
from heldout.data.encode import Encoder
from heldout.data.read import read
from heldout.diagnosis.comparison import FAMILY_ERROR
from heldout.diagnosis.spaces import Among
from heldout.diagnosis.variants import variants
from heldout.errors import InputError, WorkError

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(60, 2)), rng.normal(size=60)
LABELS = (Y > 0).astype(int)

CASES: list[tuple[Any, list[str], list[str]]] = [  # fitted, parameters of the simpler siblings, and of the richer
    (LinearRegression(), ["Ridge", "Lasso"], ["PolynomialRegression", "RandomForestRegressor"]),
    (Lasso(alpha=0.1), ["alpha 10", "alpha 1"], ["alpha 0.01", "PolynomialRegression", "RandomForestRegressor"]),
    (SklearnRidge(alpha=0), ["alpha 10", "alpha 1"], ["PolynomialRegression", "RandomForestRegressor"]),
    (PolynomialRegression(degree=8), ["degree 2", "degree 4", "degree 1"], ["degree 9"]),
    (SoftmaxClassifier(), ["C 0.01", "C 0.1"], ["C 10", "RandomForestClassifier"]),
    (NearestNeighborsRegressor(n_neighbors=1), ["n_neighbors 15", "n_neighbors 5"], []),
    (KNeighborsClassifier(), ["n_neighbors 25"], ["n_neighbors 1"]),
    (
        DecisionTreeRegressor(max_depth=3),
        ["min_samples_leaf 20", "prune cv", "min_samples_leaf 5", "max_depth 1"],
        ["max_depth 6"],
    ),
    (SklearnTree(min_samples_leaf=5), ["min_samples_leaf 25"], ["min_samples_leaf 1"]),
    (RandomForestClassifier(n_estimators=5), ["min_samples_split 10", "min_samples_leaf 20"], []),
    (GradientBoostingRegressor(), ["n_estimators 20", "max_depth 1"], ["n_estimators 300"]),
    (HistGradientBoostingClassifier(max_iter=20), ["max_iter 4", "max_leaf_nodes 4"], ["max_iter 60"]),
    (
        MLPClassifier(max_iter=2, early_stopping=False),
        ["early_stopping True", "alpha 1", "dropout 0.5", "hidden_layer_sizes (12,)"],
        ["hidden_layer_sizes (400,)", "max_iter 8"],
    ),
    (
        SklearnMLP(hidden_layer_sizes=(16, 4), max_iter=2),
        ["early_stopping True", "alpha 1", "hidden_layer_sizes (4, 4)"],
        ["hidden_layer_sizes (64, 16)", "max_iter 8"],
    ),
    (make_pipeline(StandardScaler(), LogisticRegression(C=100.0)), ["C 1", "C 10"], ["C 1000"]),
    (
        make_pipeline(PolynomialFeatures(4), SklearnRidge()),
        ["degree 1", "degree 2", "alpha 100", "alpha 10"],
        ["degree 5", "alpha 0.1"],
    ),
    (BaggingClassifier(SklearnTree(), n_estimators=3), ["min_samples_leaf 20", "min_samples_leaf 5"], []),
    (GridSearchCV(LogisticRegression(), {"C": [1.0, 10.0]}), [], []),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("learner, simpler, richer", CASES, ids=lambda case: type(case).__name__)
def test_each_learner_has_its_own_list(learner: Any, simpler: list[str], richer: list[str]) -> None:
    y = LABELS if learner.__sklearn_tags__().estimator_type == "classifier" else Y
    found = variants(learner.fit(X, y), 60)
    for relation, expected in (("simpler", simpler), ("richer", richer)):
        changes = [item.change for item in found if item.relation == relation]
        assert [next((text for text in expected if f"({text} in" in item), item) for item in changes] == expected
    for item in found[:1]:  # it is a learner of its own, not fitted yet
        assert item.estimator is not learner and not hasattr(item.estimator, "n_features_in_")
        item.estimator.fit(X, y)


def noisy(n: int = 600, seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, 3))
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": 2 * x[:, 0] + 1.5 * draw.normal(size=n)})


def finding(study: Study, code: str, learner: str) -> Any:
    return next(item for item in study.findings if (item.code, item.learner) == (code, learner))


def test_a_remedy_is_tried_adopted_kept_and_used(tmp_path: Path) -> None:
    study = Study(noisy(), "y", learners=["DecisionTreeRegressor"], folder=tmp_path / "s").fit()
    assert finding(study, "H102", "DecisionTreeRegressor").title == "Large gap"  # nothing simpler was fitted
    steps: list[str] = []
    study.diagnose(progress=lambda title, *_: steps.append(title))
    assert steps[1:-1] == [
        f"Decision tree: {row['change']}" for row in finding(study, "H103", "DecisionTreeRegressor").evidence["tried"]
    ]
    assert finding(study, "H102", "DecisionTreeRegressor").title == "Overfits"
    tried = finding(study, "H103", "DecisionTreeRegressor")
    (adopted,) = (row for row in tried.evidence["tried"] if row["adopted"])
    certain = [row for row in tried.evidence["tried"] if row["p"] <= FAMILY_ERROR]
    assert adopted["better_by"]["value"] == max(row["better_by"]["value"] for row in certain)
    best = study.leaderboard[0]
    assert best["remedy_of"] == "DecisionTreeRegressor" and best["validation"] == adopted["validation"]
    assert not [item for item in study.findings if item.learner == best["learner"] and item.code < "H200"]
    known = study.record["learned"]  # what the one that would be chosen relies on, and where it fails
    assert known["learner"] == best["learner"] and known["importance"][0]["column"] == "a"
    assert known["dependence"][0]["column"] == "a" and known["slices"]["judged"] == 12
    assert {item.code for item in study.findings} >= {"H601", "H602"} and steps[-1] == "What it learned"
    page = study.report().read_text()
    assert 'id="learned"' in page and "Partial dependence on a" in page
    loaded = Study.load(tmp_path / "s").fit()  # goes on where it was
    assert [item.to_json() for item in loaded.findings] == [item.to_json() for item in study.findings]
    assert loaded.leaderboard[0]["learner"] == best["learner"]
    assert loaded.open_test().learner == best["learner"]
    after = loaded.diagnose()  # the test set is open: nothing joins, nothing leaves
    assert [entry["learner"] for entry in after.leaderboard] == [entry["learner"] for entry in study.leaderboard]


def test_what_the_quick_diagnosis_claims_the_whole_one_claims_too() -> None:
    study = Study(noisy(), "y", learners=["DecisionTreeRegressor", "LinearRegression"]).fit()
    quick = [
        row for item in study.diagnose(quick=True).findings if item.code == "H103" for row in item.evidence["tried"]
    ]
    assert len(quick) == 2 and study.record["diagnosis"]["planned"] == 8
    left_out = next(item for item in study.findings if item.code == "H601")
    assert "leaves out" in left_out.message and "learned" not in study.record
    whole = {
        row["change"]: row
        for item in study.diagnose().findings
        if item.code == "H103"
        for row in item.evidence["tried"]
    }
    assert len(whole) > 2
    for row in quick:
        assert row["p"] >= whole[row["change"]]["p"] and row["better_by"] == whole[row["change"]]["better_by"]


def test_a_column_changed_in_the_matrix_is_one_changed_in_the_table() -> None:
    draw = np.random.default_rng(8)
    days = [date(2024, 1, 1) + timedelta(days=int(k)) for k in draw.integers(0, 400, 60)]
    given = {
        "a": draw.normal(size=60),
        "b": draw.choice(["x", "y", "z"], 60).tolist(),
        "c": [None, *draw.normal(size=59)],
    }
    table = read({**given, "day": days, "one": [1.0] * 60})
    encoder = Encoder().fit(table)
    rows, donor = EncodedRows(encoder.transform(table), table.frame, encoder.places), draw.permutation(60)
    assert sorted(at for places in encoder.places.values() for at in places) == list(range(encoder.n_features_out_))
    for j in range(len(rows.names)):
        anew = encoder.transform(replace(table, frame=GivenRows.of(table.frame).lent(j, donor)))
        np.testing.assert_array_equal(rows.lent(j, donor), anew)


def test_an_open_test_set_and_a_learner_that_fits_change_nothing() -> None:
    study = Study(noisy(), "y", learners=["DecisionTreeRegressor"]).fit()
    study.open_test()
    found = finding(study.diagnose(quick=True), "H103", "DecisionTreeRegressor")
    assert found.title == "Remedy found" and "test set is open" in found.message
    assert len(study.leaderboard) == 2


def test_an_interrupted_diagnosis_keeps_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(noisy(), "y", learners=["DecisionTreeRegressor"]).fit()
    real, calls = heldout.study.attempt, []

    def interrupted(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(heldout.study, "attempt", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study.diagnose()
    assert len(finding(study, "H103", "DecisionTreeRegressor").evidence["tried"]) == 2
    assert study.leaderboard[0]["remedy_of"] == "DecisionTreeRegressor"


def test_a_sibling_that_fails_is_said_and_claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(noisy(), "y", learners={"tree": SklearnTreeRegressor()}).fit()
    real = heldout.study.plan

    def broken(*given: Any, **options: Any) -> Any:
        made = real(*given, **options)
        made.trials[0].variant.estimator.set_params(min_samples_leaf=-1)
        return made

    monkeypatch.setattr(heldout.study, "plan", broken)
    row = finding(study.diagnose(), "H103", "tree").evidence["tried"][0]
    assert row["p"] == 1.0 and row["better_by"] is None and "min_samples_leaf" in row["error"]
    assert "failed:" in repr(study.findings) and "failed:" in study.findings._repr_html_()
    assert "What was tried" in study.findings._repr_html_()


def test_a_study_that_was_not_fitted_has_nothing_to_diagnose(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"study\.fit\(\) first"):
        Study(noisy(), "y").diagnose()
    Study(noisy(), "y", learners={"tree": SklearnTreeRegressor()}, folder=tmp_path / "s").fit()
    with pytest.raises(WorkError, match="passed in as objects"):
        Study.load(tmp_path / "s").diagnose()


def test_tuned_against_the_default_is_tested_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    learners = {"tree": DecisionTreeRegressor(), "right": DecisionTreeRegressor(min_samples_leaf=20)}
    study = Study(noisy(), "y", learners=learners).fit().diagnose(quick=True, tune=6)
    found = finding(study, "H105", "tree")
    assert found.title == "Tuning helps" and found.evidence["p_better"] < 0.05 and found.evidence["p_worse"] == 1.0
    assert finding(study, "H105", "right").title == "Tuning changes nothing beyond chance"
    assert study.record["diagnosis"]["planned"] == 12  # four siblings each, and two questions each of tuning
    rows = finding(study, "H103", "tree").evidence["tried"]
    assert [row["relation"] for row in rows] == ["simpler", "tuned"]
    best = study.leaderboard[0]  # what was adopted is the tree itself, not the search
    assert best["remedy_of"] == "tree" and best["parameters"]["min_samples_leaf"] > 1
    assert "study.diagnose(quick=True, tune=6)\nfinal" in study.record["reproduce"]["python"]
    wrong = {"max_depth": [1]}
    monkeypatch.setattr(heldout.diagnosis.search, "space_of", lambda *_: {k: Among(tuple(v)) for k, v in wrong.items()})
    monkeypatch.setattr(heldout.diagnosis.search._Trials, "loss", lambda self, settings, n=None: -len(settings))
    study = Study(noisy(), "y", learners={"right": DecisionTreeRegressor(min_samples_leaf=20)})
    worse = finding(study.fit().diagnose(quick=True, tune=1), "H105", "right")
    assert worse.title == "Tuning makes it worse" and worse.evidence["p_worse"] < 0.05
    with pytest.raises(InputError, match="tune is -1"):
        study.diagnose(tune=-1)


def test_a_diagnosis_ends_at_the_time_limit() -> None:
    study = Study(noisy(), "y", learners=["DecisionTreeRegressor"]).fit()
    study.time_limit = 0.0
    rows = finding(study.diagnose(), "H103", "DecisionTreeRegressor").evidence["tried"]
    assert len(rows) == 4 and all("time limit of 0 s" in row["error"] for row in rows)
