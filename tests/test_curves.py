"""Learning and validation curves, the power law, and the corrected t-test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import TimeSeriesSplit, cross_val_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from heldout import corrected_t_test, learning_curve, validation_curve
from heldout.diagnosis.power_law import fit_power_law
from heldout.errors import InputError

rng = np.random.default_rng(0)
X = rng.normal(size=(240, 4))
Y = X[:, 0] + rng.normal(size=240)


def test_the_corrected_test_agrees_with_a_hand_calculation() -> None:
    """d = 0.03, 0.01, 0.04, 0.00: mean 0.02, variance 0.001 / 3; corrected by 1/4 + 1/2, naive by 1/4."""
    found = corrected_t_test([0.33, 0.21, 0.34, 0.30], [0.30, 0.20, 0.30, 0.30], n_train=200, n_test=100)
    sigma = np.sqrt(0.001 / 3)
    assert found.difference == pytest.approx(0.02)
    assert found.t == pytest.approx(0.02 / (sigma * np.sqrt(0.75)))
    assert found.naive_t == pytest.approx(0.02 / (sigma * 0.5))
    assert found.p == pytest.approx(2 * stats.t.sf(found.t, 3))
    naive = stats.ttest_rel([0.33, 0.21, 0.34, 0.30], [0.30, 0.20, 0.30, 0.30])
    assert (found.naive_t, found.naive_p) == pytest.approx((naive.statistic, naive.pvalue))
    assert (found.naive_low, found.naive_high) == pytest.approx(tuple(naive.confidence_interval(0.95)))
    assert found.high - found.low == pytest.approx((found.naive_high - found.naive_low) * np.sqrt(3))
    assert "corrected" in str(found) and found.plot().to_dict()
    same = corrected_t_test([1, 2], [1, 2], n_train=1, n_test=1)
    assert (same.t, same.p) == (0.0, 1.0)


@pytest.mark.long
def test_the_naive_test_finds_differences_where_none_are() -> None:
    """Two useless columns, one each: neither learner is better in truth."""
    naive = corrected = 0
    for seed in range(300):
        draw = np.random.default_rng(seed)
        x, y = draw.normal(size=(60, 2)), draw.normal(size=60)
        scores: list[list[float]] = [[], []]
        for _ in range(15):
            order = draw.permutation(60)
            train, held = order[:40], order[40:]
            for k in range(2):
                slope, level = np.polyfit(x[train, k], y[train], 1)
                scores[k].append(float(np.mean((y[held] - slope * x[held, k] - level) ** 2)))
        found = corrected_t_test(*scores, n_train=40, n_test=20)
        naive, corrected = naive + (found.naive_p <= 0.05), corrected + (found.p <= 0.05)
    assert corrected <= stats.binom.ppf(0.999, 300, 0.05)
    assert naive > 30


@pytest.mark.parametrize(
    "given, message",
    [
        (([1.0], [2.0], 10, 5), "2 or more"),
        (([1.0, 2.0], [2.0], 10, 5), "same length"),
        (([1.0, np.nan], [2.0, 1.0], 10, 5), "finite"),
        (([1.0, 3.0], [2.0, 1.0], 0, 5), "1 or more"),
    ],
)
def test_scores_that_do_not_pair_are_said(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        corrected_t_test(given[0], given[1], n_train=given[2], n_test=given[3])


def test_a_power_law_is_found_again() -> None:
    sizes = np.array([50, 100, 200, 400, 800, 1600])
    truth = 0.5 + 4.0 * sizes**-0.7
    losses = truth[:, None] + 1e-5 * np.random.default_rng(0).normal(size=(6, 10))
    law = fit_power_law(sizes, losses, 0.0, 1.9, seed=0)
    assert (law.a, law.b, law.c) == pytest.approx((0.5, 4.0, 0.7), rel=0.02)
    far = law.at(6400)
    assert far.low <= 0.5 + 4.0 * 6400**-0.7 <= far.high and far.high - far.low < 1e-3
    assert law.gain(1600, 2).value == pytest.approx(4.0 * (1600**-0.7 - 3200**-0.7), rel=0.02)
    below = fit_power_law(sizes, 0.01 * losses - losses.min() * 0.01, 0.0, 1.9, seed=0)
    assert below.a >= 0.0 and below.at(1e9).value >= 0.0  # a loss is never better than perfect


def test_more_rows_help_a_learner_with_many_columns() -> None:
    x = np.random.default_rng(1).normal(size=(300, 30))
    y = x[:, 0] + np.random.default_rng(2).normal(size=300)
    found = learning_curve(LinearRegression(), x, y, seed=3)
    assert found.sizes[-1] == 240 and found.validation.shape == (7, 10)
    assert "More rows would help" in found.answer and found.gain().low > 0
    assert np.all(found.train.mean(axis=1) < found.validation.mean(axis=1))
    assert found.expected(1e6).value >= 0.8 and "rows" in str(found)
    again = learning_curve(LinearRegression(), x, y, seed=3)
    np.testing.assert_array_equal(again.validation, found.validation)
    layers = found.plot().to_dict()["layer"]
    assert len(layers) == 3  # band, law, what was measured


class Perverse(KNeighborsRegressor):
    """Worse with more rows: a learning curve that rises."""

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.n_samples_fit_ / 20.0)


def test_a_curve_that_rises_is_said_and_no_law_is_fitted() -> None:
    found = learning_curve(Perverse(), X, Y, sizes=[20, 60, 180])
    assert found.rises == ((20, 60), (60, 180)) and found.law is None
    assert "gets worse from 20 to 60 rows" in found.answer and found.plot().to_dict()
    with pytest.raises(InputError, match="no power law"):
        found.gain()


def test_rows_do_not_help_the_mean() -> None:
    found = learning_curve(DummyRegressor(), X, Y, criterion="mse")
    assert not found.rises and found.gain().low <= 0 and "not certain" in found.answer


def test_a_validation_curve_agrees_with_cross_validation_elsewhere() -> None:
    split = TimeSeriesSplit(4)
    found = validation_curve(KNeighborsRegressor(), X, Y, "n_neighbors", [1, 5, 25], cv=split, criterion="mse")
    for value, losses in zip((1, 5, 25), found.validation, strict=True):
        scores = cross_val_score(KNeighborsRegressor(value), X, Y, cv=split, scoring="neg_mean_squared_error")
        np.testing.assert_allclose(losses, -scores)
    assert found.best in (5, 25) and found.best in found.alike
    assert "n_neighbors" in str(found) and found.plot().to_dict()


def test_the_best_value_and_those_that_cannot_be_told_from_it() -> None:
    x = np.random.default_rng(4).normal(size=(400, 2))
    y = (x[:, 0] > 0) + 0.3 * np.random.default_rng(5).normal(size=400)
    found = validation_curve(
        make_pipeline(StandardScaler(), DecisionTreeRegressor(random_state=0)),
        x,
        y,
        "decisiontreeregressor__max_depth",
        [1, None],
    )
    assert (found.best, found.alike) == (1, (1,)) and "all others are worse" in str(found)
    classes = validation_curve(KNeighborsClassifier(), X, Y > 0, "weights", ["uniform", "distance"], repeats=1)
    assert classes.validation.shape == (2, 5) and classes.plot().to_dict()


def test_groups_are_held_out_whole() -> None:
    """A target that is the group's own: seen rows of the group give it away, held-out groups do not."""
    group = np.repeat(np.arange(40), 6)
    x = np.column_stack([group, rng.normal(size=240)]).astype(float)
    y = np.random.default_rng(6).normal(size=40)[group]
    tree = DecisionTreeRegressor(random_state=0)
    mixed, whole = (validation_curve(tree, x, y, "max_depth", [None, 20], groups=g) for g in (None, group))
    assert mixed.validation.mean() < 0.3 < 0.8 < whole.validation.mean()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sizes": [20, 10, 5]}, "rising"),
        ({"sizes": [20, 100, 5000]}, "from 2 to 192"),
        ({"cv": 1}, "2 folds or more"),
        ({"groups": np.zeros(240), "cv": 5}, "no more than there are rows"),
    ],
)
def test_wrong_options_are_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        learning_curve(LinearRegression(), X, Y, **options)


def test_a_parameter_that_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match="Did you mean 'n_neighbors'"):
        validation_curve(KNeighborsRegressor(), X, Y, "n_neighbours", [1, 2])
    with pytest.raises(InputError, match="at least two"):
        validation_curve(KNeighborsRegressor(), X, Y, "n_neighbors", [1])
