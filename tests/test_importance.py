"""Permutation importance beside its definition, beside scikit-learn, and its intervals on worlds that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn.inspection
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from heldout import DecisionTreeClassifier, DecisionTreeRegressor, LinearRegression, RandomForestRegressor, metrics
from heldout.errors import InputError, WorkError
from heldout.importance import permutation_importance
from heldout.metrics import Prediction
from heldout.multiplicity import holm


class Known(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted learner whose formula is known; the last column says nothing to it."""

    def predict(self, X: Any) -> np.ndarray:
        X = np.asarray(X)
        return X[:, 0] + 0.5 * X[:, 1] + 0.3 * X[:, 2] ** 2


def world(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Two columns that matter and go together, one of noise that `Known` takes for signal, one that it leaves alone."""
    X = rng.normal(size=(n, 4))
    X[:, 1] = 0.7 * X[:, 0] + 0.7 * X[:, 1]
    return X, X[:, 0] + 0.5 * X[:, 1] + rng.normal(size=n)


TRUTH = np.array([2.0, 0.49, 0.0, 0.0])
# y - f = noise - 0.3 x2^2; giving x0 anew adds 2 Var(x0) = 2 and no more, for the error does not go with x0 and x1;
# giving x1 anew adds 0.25 * 2 Var(x1) = 0.49; x2 is independent of all else, so nothing is lost.


def every_circle(n: int, n_repeats: int, seed: int) -> list[np.ndarray]:
    """The donors of `permutation_importance`, drawn as it says: one order of the rows for the groups, then circles."""
    rng = np.random.default_rng(seed)
    rng.permutation(n)
    donors = []
    for _ in range(n_repeats):
        order, donor = rng.permutation(n), np.empty(n, dtype=int)
        for here, there in zip(order, np.roll(order, -1), strict=True):
            donor[here] = there
        donors.append(donor)
    return donors


def by_hand(X: np.ndarray, y: np.ndarray, score: Any, n_repeats: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rises (p, R), their standard errors and degrees of freedom, every row left out in turn in both roles."""
    n, p = X.shape
    donors, rows = every_circle(n, n_repeats, 0), np.arange(n)
    rise, se, df = np.empty((p, n_repeats)), np.empty(p), np.empty(p)
    for j in range(p):
        left = np.empty((n_repeats, n))
        for r, donor in enumerate(donors):
            changed = X.copy()
            changed[:, j] = X[donor, j]
            rise[j, r] = score(changed, y, rows) - score(X, y, rows)
            for i in range(n):
                stay = rows[(rows != i) & (donor != i)]
                left[r, i] = score(changed, y, stay) - score(X, y, stay)
        about = left - left.mean(axis=1, keepdims=True)
        chance = (n - 1) / n * about.var(axis=0, ddof=1).sum() / n_repeats
        of_rows = max((n - 1) / n * (about.mean(axis=0) ** 2).sum() - chance, 0.0)
        of_circles = rise[j].var(ddof=1) / n_repeats
        se[j] = np.sqrt(of_rows + of_circles)
        total = of_rows**2 / (n - 1) + of_circles**2 / (n_repeats - 1)
        df[j] = se[j] ** 4 / total if total > 0.0 else n - 1
    return rise, se, df


@pytest.mark.parametrize("name", ["mse", "rmse", "r2"])
def test_numbers_by_hand(name: str) -> None:
    X, y = world(np.random.default_rng(3), 25)
    criterion = metrics.criterion(name)

    def loss(changed: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> float:
        said = Prediction(value=Known().predict(changed[rows]))
        return criterion.loss(criterion.score(truth[rows], said))

    rise, se, df = by_hand(X, y, loss, 4)
    found = permutation_importance(Known(), X, y, criterion=name, n_repeats=4, confidence=0.9)
    assert_allclose(found.repeats, rise, atol=1e-12)
    assert_allclose(found.se, se, rtol=1e-8, atol=1e-12)
    half = stats.t.ppf(0.95, df) * se
    assert_allclose(found.high - found.low, 2.0 * half, rtol=1e-8, atol=1e-12)
    raw = [stats.t.sf(v / s, d) if s > 0.0 else 1.0 for v, s, d in zip(rise.mean(axis=1), se, df, strict=True)]
    assert_allclose(found.p_value, holm(raw), rtol=1e-7)
    assert found.score == pytest.approx(criterion.score(y, Prediction(value=Known().predict(X))))


def test_areas_by_hand() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[:40, :3], y[:40]
    model = LogisticRegression().fit(X, y)

    def loss(changed: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> float:
        return -roc_auc_score(truth[rows], model.predict_proba(changed[rows])[:, 1])

    rise, se, _ = by_hand(X, y, loss, 3)
    found = permutation_importance(model, X, y, criterion="roc_auc", n_repeats=3)
    assert_allclose(found.repeats, rise, atol=1e-12)
    assert_allclose(found.se, se, rtol=1e-8)
    again = permutation_importance(model, X, y, criterion="neg_log_loss", n_repeats=3)
    donor = every_circle(40, 1, 0)[0]
    changed = np.column_stack([X[:, 0], X[donor, 1], X[:, 2]])
    expected = log_loss(y, model.predict_proba(changed)) - log_loss(y, model.predict_proba(X))
    assert again.repeats[1, 0] == pytest.approx(expected)


def test_it_is_scikit_learns_within_the_noise_of_the_shuffles() -> None:
    X, y = load_diabetes(return_X_y=True)
    train, held, y_train, y_held = train_test_split(X, y, random_state=0)
    model = RandomForestRegressor(n_estimators=30).fit(train, y_train)
    ours = permutation_importance(model, held, y_held, criterion="mse", n_repeats=60)
    theirs = sklearn.inspection.permutation_importance(
        model, held, y_held, scoring="neg_mean_squared_error", n_repeats=60, random_state=0
    )
    noise = np.sqrt((ours.repeats.var(axis=1) + theirs.importances_std**2) / 60)
    assert np.all(np.abs(ours.importance - theirs.importances_mean) < 4.0 * noise + 1e-12)


def test_many_circles_come_to_all_pairs() -> None:
    """The mean loss over all pairs of different rows: Fisher, Rudin and Dominici's estimate, without bias."""
    X, y = world(np.random.default_rng(0), 12)
    pairs = np.zeros(4)
    for j in range(4):
        for i in range(12):
            for k in set(range(12)) - {i}:
                row = X[i].copy()
                row[j] = X[k, j]
                pairs[j] += (y[i] - Known().predict(row[None])[0]) ** 2 / (12 * 11)
    found = permutation_importance(Known(), X, y, criterion="mse", n_repeats=4000)
    expected = pairs - mean_squared_error(y, Known().predict(X))
    noise = found.repeats.std(axis=1) / np.sqrt(4000)
    assert np.all(np.abs(found.importance - expected) < 4.0 * noise + 1e-12)


def test_intervals_hold_as_often_as_they_say() -> None:
    """In 400 samples of 60 rows, 95% intervals hold what is lost in truth; the noise column is rarely called useful."""
    holds, called = np.zeros(4), 0
    for seed in range(400):
        X, y = world(np.random.default_rng(seed), 60)
        found = permutation_importance(Known(), X, y, criterion="mse", n_repeats=8, seed=seed)
        holds += (found.low <= TRUTH) & (found.high >= TRUTH)
        alone = stats.norm.sf(found.importance[2] / found.se[2])
        called += alone < 0.05
    assert np.all(holds[:3] / 400 > 0.90) and np.all(holds[:3] / 400 < 0.985)
    assert holds[3] == 400 and called / 400 < 0.09


def test_a_column_that_is_not_used_loses_nothing_for_certain() -> None:
    X, y = world(np.random.default_rng(0), 50)
    for repeats in (1, 5):
        found = permutation_importance(Known(), X, y, n_repeats=repeats)
        assert found.importance[3] == found.low[3] == found.high[3] == 0.0 and found.p_value[3] == 1.0
        assert found.p_value[0] < 0.05 and found.order[0] == 0


def test_columns_and_rows_in_another_order() -> None:
    X, y = load_diabetes(return_X_y=True)
    order = np.random.default_rng(0).permutation(10)
    one = permutation_importance(LinearRegression().fit(X, y), X, y, n_repeats=3)
    other = permutation_importance(LinearRegression().fit(X[:, order], y), X[:, order], y, n_repeats=3)
    assert_allclose(other.importance, one.importance[order], rtol=1e-8)
    assert_allclose(other.low, one.low[order], rtol=1e-6, atol=1e-9)
    again = permutation_importance(LinearRegression().fit(X, y), X, y, n_repeats=3)
    assert_array_equal(again.repeats, one.repeats)
    apart = permutation_importance(LinearRegression().fit(X, y), X, y, n_repeats=3, seed=1)
    assert not np.array_equal(apart.repeats, one.repeats)


def test_frames_of_all_kinds_are_arrays() -> None:
    rng = np.random.default_rng(0)
    town, size = rng.choice(["Ulm", "Bern", "Graz"], 200), rng.normal(size=200)
    y = size + (town == "Ulm")
    index = rng.permutation(200) + 7
    frames = [
        pl.DataFrame({"town": town, "size": size}),
        pd.DataFrame({"town": town, "size": size}, index=index),
        pd.DataFrame({"town": pd.Categorical(town), "size": size}, index=index),
    ]
    found = [permutation_importance(DecisionTreeRegressor(max_depth=4).fit(frame, y), frame, y) for frame in frames]
    codes = np.column_stack([np.unique(town, return_inverse=True)[1].astype(float), size])
    model = DecisionTreeRegressor(max_depth=4, categorical_features=[0]).fit(codes, y)
    expected = permutation_importance(model, codes, y)
    for one in found:
        assert one.names == ("town", "size")
        assert_allclose(one.repeats, expected.repeats, rtol=1e-12)
    assert frames[1].index.tolist() == index.tolist() and frames[0]["town"].to_list() == town.tolist()
    as_lists = permutation_importance(model, codes.tolist(), y.tolist())
    assert_array_equal(as_lists.repeats, expected.repeats)


def test_weights() -> None:
    X, y = world(np.random.default_rng(0), 80)
    plain = permutation_importance(Known(), X, y)
    for weights in (np.ones(80), np.full(80, 3.0)):
        weighted = permutation_importance(Known(), X, y, sample_weight=weights)
        assert_allclose(weighted.repeats, plain.repeats, rtol=1e-12)
        assert_allclose(weighted.se, plain.se, rtol=1e-9)
    some = np.arange(80) % 4 != 0
    without = permutation_importance(Known(), X[some], y[some])
    nought = permutation_importance(Known(), X, y, sample_weight=some.astype(float))
    assert nought.n_rows == 60
    assert_allclose(nought.importance, without.importance, rtol=1e-12)
    assert_allclose(nought.low, without.low, rtol=1e-9, atol=1e-12)
    v = np.random.default_rng(1).integers(1, 4, 80)
    weighted = permutation_importance(Known(), X, y, criterion="mse", n_repeats=400, sample_weight=v)
    repeated = permutation_importance(Known(), np.repeat(X, v, axis=0), np.repeat(y, v), criterion="mse", n_repeats=400)
    assert_allclose(weighted.importance, repeated.importance, rtol=0.06, atol=0.02)


def test_many_rows_are_left_out_in_groups() -> None:
    X, y = world(np.random.default_rng(0), 9000)
    found = permutation_importance(Known(), X, y, criterion="mse", n_repeats=5)
    few = permutation_importance(Known(), X[:1500], y[:1500], criterion="mse", n_repeats=5)
    assert_allclose(few.se[:3] / found.se[:3], np.sqrt(6.0), rtol=0.25)
    assert np.all((found.low <= TRUTH + 1e-12) & (found.high >= TRUTH - 1e-12))


def test_classes() -> None:
    X, y = load_iris(return_X_y=True, as_frame=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    for model, criterion, title in (
        (make_pipeline(StandardScaler(), LogisticRegression()), None, "log loss"),
        (RidgeClassifier(), None, "accuracy"),
        (DecisionTreeClassifier(max_depth=3), "brier", "Brier score"),
        (DecisionTreeClassifier(max_depth=3), "matthews_corrcoef", "matthews corrcoef"),
        (DecisionTreeClassifier(max_depth=3), "balanced-accuracy", "balanced accuracy"),
    ):
        found = permutation_importance(model.fit(X, names), X, names, criterion=criterion, n_repeats=3)
        assert found.criterion == title and found.names[int(found.order[0])].startswith("petal")
        assert np.all(found.low <= found.importance) and np.all(found.importance <= found.high)
    with pytest.raises(WorkError, match="needs a predicted probability"):
        permutation_importance(RidgeClassifier().fit(X, names), X, names, criterion="log_loss")


def test_it_prints_and_plots() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 40))
    y = X[:, 7] + 0.1 * rng.normal(size=60)
    found = permutation_importance(LinearRegression(fit_intercept=False).fit(X, y), X, y, n_repeats=2, confidence=0.9)
    lines = str(found).splitlines()
    assert lines[0].startswith("RMSE 0.0") and "on 60 rows" in lines[0] and "90% from" in lines[2]
    assert lines[4].startswith("column 7 ") and "10 columns of less importance are not shown." in lines[-3]
    assert "stand in for each other" in lines[-1] and "<table>" in found._repr_html_()
    chart = found.plot().to_dict()
    assert len(chart["layer"]) == 3 and "Permutation importance" in str(chart)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"n_repeats": 0}, "n_repeats is 0 and must be a whole number from 1 up"),
        ({"seed": -1}, "seed is -1"),
        ({"confidence": 95}, "confidence is 95 and must be a number between 0 and 1"),
        ({"criterion": "rms"}, "There is no criterion 'rms'. Did you mean 'rmse'"),
        ({"criterion": "accuracy"}, "does not suit a regression"),
        ({"y": np.ones(3)}, "X has 20 rows and y the shape (3,)"),
        ({"X": np.ones(20)}, "X has 1 dimensions"),
        ({"X": sparse.csr_matrix(np.ones((20, 4)))}, "X is sparse"),
        ({"sample_weight": np.eye(20)[0]}, "Fewer than 3 rows have a weight above zero"),
        ({"criterion": "max_error", "sample_weight": np.ones(20)}, "sample_weight has no meaning"),
    ],
)
def test_what_is_refused(wrong: dict[str, Any], sentence: str) -> None:
    X, y = world(np.random.default_rng(0), 20)
    given = {"X": X, "y": y, **wrong}
    with pytest.raises(InputError) as caught:
        permutation_importance(Known(), given.pop("X"), given.pop("y"), **given)
    assert sentence in str(caught.value)


def test_a_class_that_the_learner_never_saw() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.raises(InputError, match="class 2, which the learner was not fitted to"):
        permutation_importance(DecisionTreeClassifier().fit(X[:100], y[:100]), X, y)
