"""The trivial answers beside their definitions and scikit-learn's Dummy estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from sklearn.dummy import DummyClassifier, DummyRegressor

from heldout.baseline import BaselineClassifier, BaselineRegressor, weighted_quantile
from heldout.errors import InputError

X = np.zeros((9, 2))
TARGETS = np.array([3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0, 5.0])
LABELS = np.array(["b", "a", "c", "b", "a", "b", "c", "b", "a"])


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_regressor_gives_what_scikit_learn_gives(statistic: str) -> None:
    ours = BaselineRegressor(statistic=statistic).fit(X, TARGETS)
    assert ours.constant_ == pytest.approx(DummyRegressor(strategy=statistic).fit(X, TARGETS).constant_[0, 0])
    assert ours.predict(X[:2]).tolist() == [ours.constant_] * 2


@pytest.mark.parametrize("level", [0.0, 0.1, 0.25, 0.5, 1 / 3, 0.9, 1.0])
def test_quantiles_are_numpys(level: float) -> None:
    expected = np.quantile(TARGETS, level, method="averaged_inverted_cdf")
    assert BaselineRegressor(statistic=level).fit(X, TARGETS).constant_ == pytest.approx(expected)


@pytest.mark.parametrize("level", [0.2, 0.5, 0.83])
def test_a_weighted_quantile_minimises_the_pinball_loss(level: float) -> None:
    rng = np.random.default_rng(0)
    values, weights = rng.normal(size=25), rng.uniform(0, 1, 25)

    def pinball(c: float) -> float:
        return float(weights @ np.maximum(level * (values - c), (level - 1) * (values - c)))

    best = minimize_scalar(pinball, bounds=(values.min(), values.max()), method="bounded")
    assert pinball(weighted_quantile(values, weights, level)) <= best.fun + 1e-12


def test_a_quantile_between_two_values_is_their_middle_for_any_weights() -> None:
    values = np.arange(10.0)
    for weight in (1.0, 0.1, 1 / 3, 1e-9):
        assert weighted_quantile(values, np.full(10, weight), 0.5) == 4.5
    assert weighted_quantile(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 1.0]), 0.5) == 2.0


def test_weighted_mean() -> None:
    weights = np.arange(9.0)
    model = BaselineRegressor().fit(X, TARGETS, weights)
    assert model.constant_ == pytest.approx(weights @ TARGETS / weights.sum())


@pytest.mark.parametrize("strategy", ["prior", "most_frequent"])
def test_classifier_gives_what_scikit_learn_gives(strategy: str) -> None:
    weights = np.linspace(0, 1, 9)
    ours = BaselineClassifier(strategy=strategy).fit(X, LABELS, weights)
    theirs = DummyClassifier(strategy=strategy).fit(X, LABELS, weights)
    assert_allclose(ours.class_prior_, theirs.class_prior_)
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X))
    assert ours.predict(X).tolist() == theirs.predict(X).tolist()


def test_ties_go_to_the_first_class() -> None:
    model = BaselineClassifier(strategy="most_frequent").fit(X[:4], ["b", "a", "a", "b"])
    assert model.predict(X[:1]).tolist() == ["a"]
    assert model.predict_proba(X[:1]).tolist() == [[1.0, 0.0]]
    assert model.predict_log_proba(X[:1]).tolist() == [[0.0, -np.inf]]


def test_one_class_is_enough() -> None:
    assert BaselineClassifier().fit(X[:2], [7, 7]).predict_proba(X[:1]).tolist() == [[1.0]]


def test_any_features_will_do() -> None:
    frame = pd.DataFrame({"place": ["here", None], "size": [np.nan, np.inf]})
    assert BaselineRegressor().fit(frame, [1.0, 2.0]).predict(frame).tolist() == [1.5, 1.5]


@pytest.mark.parametrize("statistic", ["mode", 1.5, -0.1, None, True, float("nan")])
def test_unknown_statistics(statistic: Any) -> None:
    with pytest.raises(InputError, match="must be 'mean', 'median' or a number from 0 to 1"):
        BaselineRegressor(statistic=statistic).fit(X, TARGETS)


def test_unknown_strategy() -> None:
    with pytest.raises(InputError, match=r"no strategy 'priors'\. Did you mean 'prior'"):
        BaselineClassifier(strategy="priors").fit(X, LABELS)


@pytest.mark.parametrize("model", [BaselineRegressor(), BaselineClassifier()])
def test_weights_all_zero(model: Any) -> None:
    with pytest.raises(ValueError, match="zero"):
        model.fit(X, LABELS if isinstance(model, BaselineClassifier) else TARGETS, np.zeros(9))
