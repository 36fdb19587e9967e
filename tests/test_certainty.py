"""How sure: calibration, conformal prediction, the choice, the reusable holdout."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from heldout import (
    ConformalClassifier,
    ConformalRegressor,
    Ledger,
    Ridge,
    SoftmaxClassifier,
    Study,
    Thresholdout,
    calibration,
    persist,
)
from heldout.baseline import BaselineRegressor
from heldout.certainty.calibration import Calibrator, Isotonic, Temperature, cross_fitted
from heldout.certainty.choice import SIMPLICITY, Choice, choose, simplicity
from heldout.certainty.conformal import Conformal, cross_covered
from heldout.differences import difference
from heldout.errors import InputError, WorkError
from heldout.fitting import Fitted, Rows
from heldout.intervals import Sample
from heldout.metrics import CRITERIA, Prediction
from heldout.model import Model
from heldout.panel import LEARNERS
from heldout.trees.tree import DecisionTreeRegressor


def too_sure(n: int, classes: int, power: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities with logits `power` times as large as they should be."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, classes))
    return (z + rng.gumbel(size=z.shape)).argmax(axis=1), softmax(power * z, axis=1)


# Calibration ------------------------------------------------------------------------------------------------


def test_the_calibration_error_and_the_parts_of_the_brier_score() -> None:
    y, p = too_sure(1000, 2)
    found = calibration(y, p)
    bins = np.array_split(np.argsort(p[:, 1]), 10)
    assert found.ece == pytest.approx(sum(abs((y[b] - p[b, 1]).sum()) for b in bins) / 1000)
    fitted = IsotonicRegression().fit(p[:, 1], y).predict(p[:, 1])
    mean = y.mean()
    parts = (np.mean((p[:, 1] - y) ** 2) - np.mean((fitted - y) ** 2), np.var(y) - np.mean((fitted - y) ** 2))
    assert (found.miscalibration, found.discrimination) == pytest.approx(parts)
    assert found.brier == pytest.approx(found.miscalibration - found.discrimination + mean * (1 - mean))
    of_all = calibration(*too_sure(1000, 3))
    assert of_all.brier == pytest.approx(of_all.miscalibration - of_all.discrimination + of_all.uncertainty)
    assert of_all.brier == pytest.approx(CRITERIA["brier"].score(*_as_prediction(*too_sure(1000, 3))))


def _as_prediction(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, Prediction]:
    return y, Prediction(probability=p)


def test_right_probabilities_are_called_off_in_one_sample_of_twenty() -> None:
    off = [calibration(*too_sure(400, 2, 1.0, seed)).off for seed in range(200)]
    assert 2 <= sum(off) <= 20
    y, p = too_sure(400, 2)
    doubled = calibration(np.repeat(y, 4), np.repeat(p, 4, axis=0), groups=np.repeat(np.arange(400), 4))
    assert doubled.ece_by_chance == pytest.approx(calibration(y, p).ece_by_chance, rel=0.1)  # copies are no news


@pytest.mark.parametrize(
    ("y", "p"), [([0, 1], [0.5]), ([0, 1], [0.5, 1.5]), ([0, 2], [0.5, 0.5]), ([0.5, 1.0], [0.5, 0.5])]
)
def test_what_are_no_probabilities_is_refused(y: list[Any], p: list[float]) -> None:
    with pytest.raises(InputError):
        calibration(y, p)


def test_the_temperature_is_that_of_a_logistic_regression() -> None:
    y, p = too_sure(3000, 2)
    logit = np.log(p[:, 1] / p[:, 0])
    theirs = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-8).fit(logit[:, None], y)
    ours = Temperature.fit(p, y)
    assert 1 / ours.temperature == pytest.approx(theirs.coef_[0, 0], rel=1e-4)
    np.testing.assert_allclose(ours(p), theirs.predict_proba(logit[:, None]), atol=1e-4)
    y, p = too_sure(3000, 4)
    assert Temperature.fit(p, y).temperature == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_isotonic_curve_is_scikit_learns(classes: int) -> None:
    y, p = too_sure(500, classes)
    ours = Isotonic.fit(p, y)(p)
    edge = 1 / 502
    theirs = np.stack(
        [IsotonicRegression(y_min=edge, y_max=1 - edge).fit(q, y == k).predict(q) for k, q in enumerate(p.T)]
    )
    theirs /= theirs.sum(axis=0)
    np.testing.assert_allclose(ours, theirs.T, atol=1e-12 if classes == 3 else 0.02)
    np.testing.assert_allclose(ours.sum(axis=1), 1)


@pytest.mark.parametrize("made", [Temperature(1.7), Isotonic.fit(*too_sure(60, 3)[::-1])])
def test_calibrators_are_stored(made: Calibrator) -> None:
    p = too_sure(20, 3)[1]
    again = persist.loads(persist.dumps(made))
    np.testing.assert_array_equal(again(p), made(p))


def test_a_row_is_calibrated_without_its_own_fold() -> None:
    y, p = too_sure(90, 2)
    fold = np.arange(90) % 3
    changed = np.where(fold == 1, 1 - y, y)  # other labels in a fold change nothing of what is said of it
    np.testing.assert_array_equal(
        cross_fitted(Isotonic, p, y, fold)[fold == 1], cross_fitted(Isotonic, p, changed, fold)[fold == 1]
    )


# Conformal prediction ------------------------------------------------------------------------------------------


def test_the_threshold_covers_the_next_row_as_the_theorem_says() -> None:
    rng = np.random.default_rng(0)
    scores = rng.exponential(size=(4000, 40))
    covered = [row[0] <= Conformal.of(row[1:]).threshold(0.9) for row in scores]
    assert np.mean(covered) == pytest.approx(36 / 40, abs=0.015)  # ceil(0.9 * 40) / 40
    assert Conformal.of(np.arange(18.0)).threshold(0.95) == np.inf  # 18 rows cannot say what 19 in 20 keep to
    assert Conformal.of(np.arange(19.0)).threshold(0.95) == 18.0


def test_rows_of_a_unit_count_as_one() -> None:
    rng = np.random.default_rng(1)
    scores = rng.exponential(size=50)
    copies = Conformal.of(np.repeat(scores, 3), np.repeat(np.arange(50), 3))
    for level in (0.5, 0.8, 0.95):
        assert copies.threshold(level) == Conformal.of(scores).threshold(level)
    fold = np.arange(50) % 5
    alone = cross_covered(scores, np.arange(50), fold, 0.8)
    np.testing.assert_array_equal(
        cross_covered(np.repeat(scores, 3), np.repeat(np.arange(50), 3), np.repeat(fold, 3), 0.8), np.repeat(alone, 3)
    )


def line(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    return X, X[:, 0] + rng.normal(size=n)


def test_cv_plus_is_its_definition() -> None:
    X, y = line(45)
    new = line(7, 1)[0]
    folds = KFold(5)
    model = ConformalRegressor(KNeighborsRegressor(3), level=0.8, cv=folds).fit(X, y)
    ends = np.empty((45, 7, 2))
    for a, b in folds.split(X):
        fitted = KNeighborsRegressor(3).fit(X[a], y[a])
        for i in b:
            off = abs(y[i] - fitted.predict(X[i : i + 1])[0])
            ends[i] = np.stack([fitted.predict(new) - off, fitted.predict(new) + off], axis=1)
    low, high = (
        np.sort(ends[..., 0], axis=0)[int(0.2 * 46) - 1],
        np.sort(ends[..., 1], axis=0)[int(np.ceil(0.8 * 46)) - 1],
    )
    np.testing.assert_allclose(model.predict_interval(new), np.stack([low, high], axis=1))
    np.testing.assert_allclose(model.predict(new), KNeighborsRegressor(3).fit(X, y).predict(new))


def test_sets_of_cv_plus_are_their_definition() -> None:
    X, z = line(60)
    y = np.where(z > 0.5, "c", np.where(z > -0.5, "b", "a"))
    new = line(9, 1)[0]
    folds = StratifiedKFold(4)
    model = ConformalClassifier(KNeighborsClassifier(7), level=0.75, cv=folds).fit(X, y)
    nearer = np.zeros((9, 3))
    for a, b in folds.split(X, y):
        fitted = KNeighborsClassifier(7).fit(X[a], y[a])
        for i in b:
            own = 1 - fitted.predict_proba(X[i : i + 1])[0, list(model.classes_).index(y[i])]
            nearer += own < 1 - fitted.predict_proba(new)
    np.testing.assert_array_equal(model.predict_set(new), nearer < 0.75 * 61)
    assert set(model.predict(new)) <= set("abc") and clone(model).get_params()["level"] == 0.75


class _Quantiles(LinearRegression):
    """Predicts quantiles that are too narrow by half."""

    def predict_quantiles(self, X: Any, quantiles: Any) -> np.ndarray:
        return np.asarray(self.predict(X)[:, None] + np.array([-1.0, 1.0]))


@pytest.mark.parametrize("method", ["split", "cqr", "cv+"])
def test_intervals_cover_in_the_mean_of_many_samples(method: str) -> None:
    covered = []
    for seed in range(60):
        X, y = line(280, seed)
        model = ConformalRegressor(_Quantiles(), method=method, level=0.9, cv=5).fit(X[:80], y[:80])
        low, high = model.predict_interval(X[80:]).T
        covered.append(np.mean((low <= y[80:]) & (y[80:] <= high)))
    assert np.mean(covered) == pytest.approx(0.905, abs=0.03)


def test_conformal_errors_are_sentences() -> None:
    X, y = line(30)
    with pytest.raises(InputError, match="no method 'cv'"):
        ConformalRegressor(LinearRegression(), method="cv").fit(X, y)
    with pytest.raises(InputError, match="between 0 and 1"):
        ConformalRegressor(LinearRegression(), level=95).fit(X, y)
    with pytest.raises(InputError, match="gives no quantiles"):
        ConformalRegressor(LinearRegression(), method="cqr").fit(X, y)
    with pytest.raises(InputError, match="gives no probabilities"):
        ConformalClassifier(LinearRegression()).fit(X, y > 0)


# The choice -----------------------------------------------------------------------------------------------------


def learners(**predictions: tuple[Any, np.ndarray]) -> tuple[list[Fitted], Rows]:
    """Learners by name: an estimator, and what it predicts where the truth is 0."""
    n = len(next(iter(predictions.values()))[1])
    sample = Sample.of(np.arange(n), 0)
    rows = Rows(None, None, None, np.zeros(n), sample)
    made = []
    for name, (estimator, f) in predictions.items():
        train, held = (rows.replicates(CRITERIA["mse"], Prediction(value=v)) for v in (f[::-1] * 0.9, f))
        made.append(Fitted(name, name, "fitted", estimator=estimator, train=train, validation=held))
    return made, rows


def chosen(**predictions: tuple[Any, np.ndarray]) -> Choice:
    return choose(learners(**predictions)[0], CRITERIA["mse"])


def test_the_simplest_of_those_within_one_standard_error_is_chosen() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=300)
    tree, ridge, trivial = DecisionTreeRegressor(), Ridge(), BaselineRegressor()
    turns = np.where(np.argsort(np.argsort(np.abs(noise))) % 2, 1.0, -1.0)  # a little worse, a little better, in turn
    alike = noise + 0.05 * np.sign(noise) * turns
    found = chosen(tree=(tree, noise), ridge=(ridge, alike), trivial=(trivial, 2 * noise))
    assert found.best == "tree" and found.chosen == "ridge" and found.alike == ("tree", "ridge")
    assert "cannot be told apart" in found.sentence and "simplest" in found.sentence
    clear = chosen(tree=(tree, noise), ridge=(ridge, 1.3 * noise), trivial=(trivial, 2 * noise))
    assert clear.chosen == clear.best == "tree" and clear.alike == ("tree",)
    same = chosen(tree=(tree, noise), trivial=(trivial, noise))
    assert same.chosen == "trivial"  # nothing was learned: the trivial answer is as good


def test_the_matrix_has_every_pair_with_holms_p_values() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(3, 200))
    made, _ = learners(**{f"t{k}": (DecisionTreeRegressor(), (1 + 0.15 * k) * noise[k]) for k in range(3)})
    found = choose(made, CRITERIA["mse"])
    by_name = {item.name: item for item in made}
    plain = []
    for pair in found.pairs:
        gap = difference(by_name[pair.other].scored[1], by_name[pair.one].scored[1])
        assert pair.difference == gap and gap.value >= 0
        plain.append(min(1.0, 2 * min(gap.p, gap.turned().p)))
    ranked = np.sort(plain)
    holm = np.minimum(1, np.maximum.accumulate(ranked * np.array([3, 2, 1])))
    assert sorted(pair.p for pair in found.pairs) == pytest.approx(holm)


# The reusable holdout ------------------------------------------------------------------------------------------


def test_who_does_not_overfit_asks_for_nothing() -> None:
    guard = Thresholdout(threshold=0.2, noise=0.002, budget=1)
    assert [guard.ask(0.5 + k / 1000, 0.5) for k in range(50)] == [0.5 + k / 1000 for k in range(50)]
    assert (guard.asked, guard.left) == (50, 1)
    assert guard.ask(0.9, 0.5) == pytest.approx(0.5, abs=0.03)
    again = Thresholdout.from_json(json.loads(json.dumps(guard.to_json())))
    assert again.ask(0.9, 0.5) == guard.ask(0.9, 0.5) and guard.left == 0  # the same question costs nothing
    with pytest.raises(WorkError, match="budget"):
        again.ask(0.8, 0.5)
    with pytest.raises(InputError):
        Thresholdout(budget=0)


@pytest.mark.parametrize("strong", [0, 20])
def test_figure_1_of_dwork_et_al_in_small(strong: int) -> None:
    """No signal: variables chosen with the holdout's help look good on it; its guarded answers do not mislead."""
    n, d = 1000, 2000
    rng = np.random.default_rng(1)
    parts = []
    for _ in range(3):
        y = rng.choice([-1.0, 1.0], n)
        X = rng.normal(size=(n, d))
        X[:, :strong] += 6 / np.sqrt(n) * y[:, None]
        parts.append((X, y, X.T @ y / n))
    guard = Thresholdout(threshold=4 / np.sqrt(n), noise=0.25 / np.sqrt(n), budget=2 * d)
    seen, held = parts[0][2], parts[1][2]
    told = np.array([guard.ask(a, b) for a, b in zip(seen, held, strict=True)])
    accuracy = {}
    for name, answers in (("plain", held), ("guarded", told)):
        agree = (np.sign(seen) == np.sign(answers)) & (np.minimum(np.abs(seen), np.abs(answers)) > n**-0.5)
        kept = np.argsort(np.where(agree, -np.abs(seen), 0))[: min(100, agree.sum())]
        accuracy[name] = [np.mean(np.sign(X[:, kept] @ np.sign(seen[kept])) == y) for X, y, _ in parts]
        assert set(range(strong)) <= set(kept)
    plain, fresh = accuracy["plain"][1:]
    assert plain > fresh + 0.08
    answer = guard.ask(*accuracy["guarded"][:2])
    assert strong or abs(answer - accuracy["guarded"][2]) < 4 / np.sqrt(n)


# In a study ----------------------------------------------------------------------------------------------------


def table(n: int = 600, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    return pl.DataFrame({"a": X[:, 0], "b": X[:, 1], "y": 3 * X[:, 0] + rng.normal(size=n)})


def codes(study: Study) -> Counter[str]:
    return Counter(item.code for item in study.findings)


def test_a_study_of_numbers_gives_intervals_that_are_kept(tmp_path: Any) -> None:
    study = Study(table(), "y", learners=["LinearRegression", "Ridge"], folder=tmp_path / "s").fit()
    new = table(2000, 1)
    low, high = study.model.predict_interval(new).T
    assert np.mean((low <= new["y"].to_numpy()) & (new["y"].to_numpy() <= high)) == pytest.approx(0.95, abs=0.03)
    kept = Study.load(tmp_path / "s").model
    np.testing.assert_array_equal(kept.predict_interval(new, level=0.8), study.model.predict_interval(new, level=0.8))
    shown, _ = kept.predict_table(new, level=0.9)
    assert {"90% low", "90% high"} <= set(shown.columns)
    assert codes(study)["H703"] == codes(study)["H701"] == 1 and codes(study)["H702"] == 0
    with pytest.raises(InputError, match="predict_interval"):
        kept.predict_set(new)


def test_a_study_of_classes_calibrates_only_where_it_helps(tmp_path: Any) -> None:
    frame = table().with_columns(y=pl.when(pl.col("y") > 0).then(pl.lit("yes")).otherwise(pl.lit("no")))
    study = Study(frame, "y", learners={"wild": _TooSure(), "soft": SoftmaxClassifier()}).fit()
    (wild, soft) = (study._models[name] for name in ("wild", "soft"))
    assert study.leaderboard[0]["learner"] == "soft" and soft.calibrator is None and wild.calibrator is None
    study = Study(frame, "y", learners={"wild": _TooSure()}).fit()
    model = study.model
    assert isinstance(model.calibrator, Temperature | Isotonic)
    calibrated, plain = model.predict_proba(frame), model.estimator.predict_proba(frame.select("a", "b").to_numpy())
    y = (frame["y"] == "yes").to_numpy().astype(int)
    losses = [-np.mean(np.log(np.clip(p[np.arange(600), y], 1e-9, 1))) for p in (calibrated, plain)]
    assert losses[0] < losses[1]
    finding = next(item for item in study.findings if item.code == "H702")
    assert (
        finding.title == "Probabilities calibrated"
        and finding.evidence["calibrated"]["ece"] < finding.evidence["calibration"]["ece"]
    )
    assert model.predict_set(frame).shape == (600, 2)
    shown = persist.loads(persist.dumps(soft), expected=Model)
    assert shown.conformal is not None and study.report(tmp_path / "r.html").exists()
    final = study.open_test()  # the test score is that of the calibrated model
    assert final.score.value < 2 * finding.evidence["calibration"]["brier"] + 1


class _TooSure(LogisticRegression):
    """A logistic regression that is six times as sure as it should be."""

    def predict_proba(self, X: Any) -> np.ndarray:
        one = expit(6 * self.decision_function(X))
        return np.stack([1 - one, one], axis=1)


def test_looks_at_validation_are_counted_across_studies() -> None:
    first = Study(table(), "y", learners=["LinearRegression"]).fit()
    second = Study(table(), "y", learners=["Ridge", "LinearRegression"]).fit()
    assert first.record["looks"] == {"here": 2, "all": 2}
    assert second.record["looks"] == {"here": 3, "all": 5}
    assert [entry.body["fits"] for entry in Ledger().entries("looked")] == [2, 3]
    assert "5 with those of other studies" in next(item.message for item in second.findings if item.code == "H704")


def test_thresholdout_tells_the_scores_of_a_study(tmp_path: Any) -> None:
    deep, line = DecisionTreeRegressor(), Ridge()
    options = {"learners": {"deep": deep, "line": line}}
    plain = Study(table(), "y", **options).fit().leaderboard
    study = Study(
        table(), "y", thresholdout=2, folder=tmp_path / "s", learners=["DecisionTreeRegressor", "Ridge"]
    ).fit()
    told = {entry["learner"]: entry["validation"]["value"] for entry in study.leaderboard}
    true = {entry["title"]: entry["validation"]["value"] for entry in plain}
    ridge = next(entry for entry in study.leaderboard if entry["learner"] == "Ridge")
    assert ridge["validation"]["value"] == pytest.approx(ridge["train"]["value"])  # close to train: train's own
    assert told["DecisionTreeRegressor"] != true["Decision tree"]
    guard = study.record["looks"]["thresholdout"]
    assert (guard["asked"], guard["spent"], guard["budget"]) == (2, 1, 2)
    again = Study.load(tmp_path / "s").fit()
    assert {entry["learner"]: entry["validation"]["value"] for entry in again.leaderboard} == told
    spent = Study(table(), "y", thresholdout=1, learners=["DecisionTreeRegressor", "Ridge"]).fit().leaderboard[-1]
    assert spent["learner"] == "Ridge" and "budget" in spent["error"]
    assert "Thresholdout answered 2" in next(item.message for item in again.findings if item.code == "H704")


def test_every_learner_of_the_panel_has_a_place_in_the_order_of_simplicity() -> None:
    places = {name: simplicity(entry.load()()) for name, entry in LEARNERS.items()}
    assert max(places.values()) < len(SIMPLICITY)
    assert places["PersistenceRegressor"] < places["BagOfWordsClassifier"] < places["RecurrentClassifier"]
