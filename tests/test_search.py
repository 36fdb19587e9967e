"""Searching for settings, and cross-validation: nested, grouped, by time."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone, is_classifier
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    GroupKFold,
    TimeSeriesSplit,
    cross_val_score,
)
from sklearn.model_selection import (
    cross_validate as sklearn_cross_validate,
)
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier as SklearnTree

from heldout import Between, MLPClassifier, RandomForestRegressor, Search, cross_validate, space_of
from heldout.diagnosis.cross_validation import ByTime
from heldout.errors import HeldoutError, InputError, MissingExtraError

rng = np.random.default_rng(0)
X = rng.normal(size=(320, 3))
Y = X[:, 0] + 0.5 * rng.normal(size=320)
LABELS = np.where(X[:, 0] + rng.normal(size=320) > 0, "yes", "no")


@pytest.mark.parametrize("method", ["random", "halving"])
def test_the_best_setting_is_the_one_that_scikit_learn_finds(method: str) -> None:
    values = [1, 3, 9, 27, 81]
    found = Search(KNeighborsRegressor(2), {"n_neighbors": values}, method=method, cv=4, criterion="mse").fit(X, Y)
    tried = found.tuning_
    assert tried.settings[0] == {} and len(tried.settings) == 6
    for settings, score, rows in zip(tried.settings, tried.scores, tried.rows, strict=True):
        changed = clone(KNeighborsRegressor(2)).set_params(**settings)
        reference = -cross_val_score(changed, X, Y, cv=4, scoring="neg_mean_squared_error").mean()
        assert rows < 240 or score == pytest.approx(reference, rel=0.1)  # other folds
    assert found.best_params_["n_neighbors"] in (3, 9, 27)
    assert found.best_score_ == np.nanmin(tried.scores[tried.rows == 240])
    np.testing.assert_array_equal(
        found.predict(X), clone(KNeighborsRegressor()).set_params(**found.best_params_).fit(X, Y).predict(X)
    )
    again = found.fit(X, Y).tuning_
    np.testing.assert_array_equal(again.scores, tried.scores)
    assert "settings tried" in str(tried) and tried.plot().to_dict()


def test_halving_drops_settings_on_few_rows_and_keeps_the_given_one() -> None:
    big, y = np.tile(X, (4, 1)) + 0.01 * rng.normal(size=(1280, 3)), np.tile(Y, 4)
    tried = Search(Ridge(), {"alpha": Between(1e-3, 1e6, log=True)}, n_settings=17, cv=2).fit(big, y).tuning_
    assert sorted(set(tried.rows.tolist())) == [213, 640]  # two rounds: below 100 rows there is none
    assert tried.rows[0] == 640 and np.sum(tried.rows == 640) in (6, 7)
    assert tried.criterion.name == "rmse"


def test_where_nothing_is_better_nothing_changes() -> None:
    found = Search(Ridge(alpha=1e-3), {"alpha": [1e6]}).fit(X, Y)
    assert found.best_params_ == {} and found.best_estimator_.alpha == 1e-3


def test_classes_probabilities_and_groups_go_through() -> None:
    groups = np.arange(320) // 4
    found = Search(LogisticRegression(), n_settings=3).fit(X, LABELS, groups=groups)
    assert is_classifier(found) and found.classes_.tolist() == ["no", "yes"] and found.n_features_in_ == 3
    assert found.predict_proba(X).shape == (320, 2) and set(found.predict(X)) == {"no", "yes"}
    assert not hasattr(Search(Ridge()), "predict_proba") and not is_classifier(Search(Ridge()))
    assert 0.5 < found.score(X, LABELS) <= 1


def test_settings_that_fail_are_left_out() -> None:
    tried = Search(KNeighborsRegressor(), {"n_neighbors": [3, 100_000]}).fit(X, Y).tuning_
    assert np.isnan(tried.scores).sum() == 1 and tried.settings[tried.best].get("n_neighbors") in (None, 3)
    with pytest.raises(ValueError, match="n_neighbors"):
        Search(KNeighborsRegressor(100_000), {"n_neighbors": [100_001]}).fit(X, Y)


@pytest.mark.parametrize(
    "learner, expected",
    [
        (Ridge(), {"alpha"}),
        (KNeighborsClassifier(), {"n_neighbors", "weights"}),
        (RandomForestRegressor(), {"min_samples_leaf", "max_features"}),
        (HistGradientBoostingRegressor(), {"learning_rate", "max_iter", "max_leaf_nodes"}),
        (MLPClassifier(), {"learning_rate_init", "alpha", "dropout", "hidden_layer_sizes"}),
        (make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C"}),
    ],
    ids=lambda case: type(case).__name__,
)
def test_each_learner_has_its_space(learner: Any, expected: set[str]) -> None:
    found = space_of(learner, 1000)
    assert set(found) == expected
    for _ in range(20):
        clone(learner).set_params(**{name: range_.draw(rng) for name, range_ in found.items()})


def test_numbers_are_drawn_evenly_between_their_ends() -> None:
    draw = np.random.default_rng(1)
    logs = [math.log(Between(1e-3, 10, log=True).draw(draw)) for _ in range(2000)]
    assert stats.kstest(logs, stats.uniform(math.log(1e-3), math.log(1e4)).cdf).pvalue > 1e-4
    whole = np.bincount([Between(1, 4, whole=True).draw(draw) for _ in range(2000)], minlength=5)
    assert whole[0] == 0 and stats.chisquare(whole[1:]).pvalue > 1e-4
    found = Search(Ridge(), {"alpha": stats.loguniform(0.1, 1.0)}, n_settings=5).fit(X, Y).tuning_
    assert all(0.1 <= item["alpha"] <= 1.0 for item in found.settings[1:])


def test_optuna_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "optuna":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"heldout\[optuna\]"):
        Search(Ridge(), method="optuna").fit(X, Y)


def test_optuna_searches() -> None:
    pytest.importorskip("optuna")
    space = {"n_neighbors": Between(1, 50, log=True, whole=True), "weights": ["uniform", "distance"]}
    found = Search(KNeighborsRegressor(1), space, method="optuna", n_settings=8).fit(X, Y)
    assert found.best_params_["n_neighbors"] > 1 and len(found.tuning_.settings) == 9


@pytest.mark.parametrize(
    "change, message",
    [
        ({"method": "grid"}, "no method 'grid'"),
        ({"n_settings": 0}, "n_settings is 0"),
        ({"space": {"alpah": [1]}}, "no parameter 'alpah'. Did you mean 'alpha'"),
        ({"space": {}}, "space is empty"),
        ({"space": {"alpha": 3}}, "no range of settings"),
        ({"space": {"alpha": Between(2, 1)}}, "is empty: low must lie below high"),
        ({"estimator": StandardScaler()}, "no estimator"),
    ],
)
def test_wrong_searches_are_said(change: dict[str, Any], message: str) -> None:
    with pytest.raises(HeldoutError, match=message):
        Search(**({"estimator": Ridge()} | change)).fit(X, Y)


# Cross-validation -------------------------------------------------------------------------------------------


def test_scores_are_those_of_scikit_learn_and_the_interval_is_corrected() -> None:
    folds = GroupKFold(4)
    groups = np.arange(320) // 8
    found = cross_validate(Ridge(), X, Y, cv=folds, groups=groups, criterion="mae")
    reference = sklearn_cross_validate(
        Ridge(), X, Y, cv=folds, groups=groups, scoring="neg_mean_absolute_error", return_train_score=True
    )
    np.testing.assert_allclose(found.validation, -reference["test_score"])
    np.testing.assert_allclose(found.train, -reference["train_score"])
    half = stats.t.ppf(0.975, 3) * found.validation.std(ddof=1) * np.sqrt(1 / 4 + 80 / 240)
    assert found.score.high - found.score.value == pytest.approx(half)
    assert found.searched is None and found.plot().to_dict() and "held out" in str(found)
    other = cross_validate(Ridge(alpha=1e5), X, Y, cv=folds, groups=groups, criterion="mae")
    assert found.compare(other).difference < 0 and found.compare(other).p < 0.01
    with pytest.raises(InputError, match="not cross-validated alike"):
        found.compare(cross_validate(Ridge(), X, Y, cv=3, repeats=1))


def test_by_time_each_stretch_is_held_out_after_all_before_it() -> None:
    time = np.repeat(np.arange(40), 8)[rng.permutation(320)]
    order = np.argsort(time, kind="stable")
    for (train, held), (before, after) in zip(ByTime(time, 4).split(X), TimeSeriesSplit(4).split(X), strict=True):
        assert set(train) == set(order[before]) and set(held) == set(order[after])
        assert time[train].max() < time[held].min()
    found = cross_validate(Ridge(), X, Y, time=time.astype("datetime64[D]"), cv=4)
    assert len(found.validation) == 4
    few = [held.tolist() for _, held in ByTime([0, 0, 0, 0, 0, 1, 2], 2).split(None)]
    assert few == [[5], [6]]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"time": np.arange(320), "groups": np.arange(320)}, "leave groups out"),
        ({"time": np.arange(320), "cv": TimeSeriesSplit(2)}, "cv as a number"),
        ({"time": np.arange(3)}, "one value for each row"),
        ({"time": np.zeros(320)}, "1 different times"),
        ({"time": np.where(np.arange(320) == 5, np.nan, 1.0)}, "missing"),
    ],
)
def test_wrong_times_are_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cross_validate(Ridge(), X, Y, **options)


def test_nested_a_search_is_judged_by_rows_that_had_no_part_in_it() -> None:
    """A column each for many groups of noise: the search finds something, the rows held out do not."""
    draw = np.random.default_rng(3)
    noise, coin = draw.normal(size=(40, 30)), np.arange(40) % 2
    tree = SklearnTree(random_state=0)
    search = Search(tree, {"min_samples_leaf": [1, 2, 3, 5, 8, 12]}, criterion="accuracy", n_settings=6)
    found = cross_validate(search, noise, coin, criterion="accuracy", repeats=1, groups=np.arange(40) // 2, cv=3)
    assert found.searched is not None and found.searched.mean() > found.validation.mean() + 0.05
    assert found.score.low < 0.5 < found.score.high and len(found.settings) == 3
    assert "Nested" in str(found) and "search reports" in str(found)
