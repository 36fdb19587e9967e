"""Shapley values of trees beside the definition, all subsets of columns at a time, and beside shap."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import threadpoolctl
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, make_classification
from sklearn.exceptions import NotFittedError

from heldout import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    persist,
)
from heldout.trees.nodes import LEAF, Tree
from heldout.trees.shapley import expected_value, shap_values


def goes_left(tree: Tree, node: int, x: np.ndarray) -> bool:
    value = x[tree.feature[node]]
    if np.isnan(value):
        return bool(tree.missing_left[node])
    if tree.categories[node] < 0:
        return bool(value <= tree.threshold[node])
    code = int(value) + 1
    return bool(int(tree.sets[tree.categories[node], code // 32]) >> (code % 32) & 1)


def expectation(tree: Tree, x: np.ndarray, known: frozenset[int], node: int = 0) -> np.ndarray:
    """What the tree expects that knows some columns of x: where it does not, both branches by their rows' weight."""
    if tree.feature[node] == LEAF:
        return tree.value[node]
    left, right = int(tree.left[node]), int(tree.left[node]) + 1
    if tree.feature[node] in known:
        return expectation(tree, x, known, left if goes_left(tree, node, x) else right)
    both = [tree.weight[child] * expectation(tree, x, known, child) for child in (left, right)]
    return (both[0] + both[1]) / tree.weight[node]


def by_definition(tree: Tree, x: np.ndarray) -> np.ndarray:
    """The Shapley values (p, K), from all 2^p subsets."""
    p = len(x)
    subsets = [frozenset(s) for size in range(p + 1) for s in itertools.combinations(range(p), size)]
    worth = {known: expectation(tree, x, known) for known in subsets}
    found = np.zeros((p, tree.value.shape[1]))
    for known in subsets:
        for j in set(range(p)) - known:
            share = math.factorial(len(known)) * math.factorial(p - len(known) - 1) / math.factorial(p)
            found[j] += share * (worth[known | {j}] - worth[known])
    return found


def gaps(X: np.ndarray, seed: int, share: float = 0.15) -> np.ndarray:
    return np.where(np.random.default_rng(seed).random(X.shape) < share, np.nan, X)


@pytest.mark.parametrize("seed", range(6))
def test_they_are_what_the_definition_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, p = 150, 2 + seed
    X = np.column_stack([rng.integers(0, 9, n), *rng.normal(size=(p - 1, n))]).astype(float)
    X = gaps(X, seed) if seed % 2 else X
    y = np.nan_to_num(X).sum(axis=1) + np.nan_to_num(X[:, 0]) % 3 * np.nan_to_num(X[:, 1]) + rng.normal(size=n)
    weights = rng.uniform(0.2, 3.0, n) if seed > 2 else None
    sort = {"categorical_features": [0], "max_depth": 5, "min_samples_leaf": 2}
    numbers = DecisionTreeRegressor(**sort).fit(X, y, weights)
    classes = DecisionTreeClassifier(**sort).fit(X, np.digitize(y, np.quantile(y, [0.3, 0.7])), weights)
    codes = X.copy()
    codes[:, 0] = [np.nan if np.isnan(v) else numbers.categories_[0].tolist().index(v) for v in X[:, 0]]
    for i in range(0, n, 15):
        assert_allclose(numbers.shap_values(X[i : i + 1])[0], by_definition(numbers.tree_, codes[i])[:, 0], atol=1e-11)
        assert_allclose(classes.shap_values(X[i : i + 1])[0], by_definition(classes.tree_, codes[i]), atol=1e-13)


def test_with_what_is_expected_they_sum_to_the_prediction() -> None:
    X, y = load_diabetes(return_X_y=True)
    X = gaps(X, 0, 0.05)
    for model in (DecisionTreeRegressor().fit(X, y), RandomForestRegressor(n_estimators=20).fit(X, y)):
        found = model.shap_values(X[:100])
        assert found.shape == (100, 10) and isinstance(model.expected_value_, float)
        assert_allclose(found.sum(axis=1) + model.expected_value_, model.predict(X[:100]), rtol=1e-11)
    assert DecisionTreeRegressor().fit(X, y).expected_value_ == pytest.approx(y.mean())
    X, y = load_iris(return_X_y=True)
    for model in (DecisionTreeClassifier(ccp_alpha=0.01).fit(X, y), RandomForestClassifier(n_estimators=20).fit(X, y)):
        found = model.shap_values(X)
        assert found.shape == (150, 4, 3)
        assert_allclose(found.sum(axis=1) + model.expected_value_, model.predict_proba(X), atol=1e-13)
        assert_allclose(found.sum(axis=2), 0.0, atol=1e-13)  # what one class gains, others lose


def test_a_frame_with_categories_and_a_file() -> None:
    rng = np.random.default_rng(0)
    towns = np.array([f"town {i}" for i in range(60)])
    town, size = rng.choice(towns, 500), rng.normal(size=500)
    frame = pl.DataFrame({"town": [None if i % 9 == 0 else t for i, t in enumerate(town)], "size": size})
    model = RandomForestRegressor(n_estimators=5).fit(frame, size + (np.char.str_len(town) - 6) * 2.0)
    found = model.shap_values(frame)
    assert_allclose(found.sum(axis=1) + model.expected_value_, model.predict(frame), atol=1e-12)
    again = persist.loads(persist.dumps(model))
    assert_array_equal(again.shap_values(frame), found)
    unknown = pl.DataFrame({"town": ["never seen"], "size": [0.0]})
    assert_array_equal(model.shap_values(unknown), model.shap_values(pl.DataFrame({"town": [None], "size": [0.0]})))


def test_columns_that_are_not_asked_for_have_none() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    model = DecisionTreeClassifier(max_depth=2).fit(X, y)
    asked = set(model.tree_.feature[model.tree_.feature >= 0].tolist())
    found = model.shap_values(X)
    assert all((found[:, j] == 0.0).all() == (j not in asked) for j in range(30))
    alone = DecisionTreeClassifier().fit(X, np.zeros(len(X)))
    assert not alone.shap_values(X).any() and alone.expected_value_.tolist() == [1.0]


def test_columns_that_say_the_same_have_the_same() -> None:
    """The product of three bits: each is worth as much as the others, by symmetry."""
    X = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
    model = DecisionTreeRegressor().fit(X, X.prod(axis=1))
    assert_allclose(model.shap_values([[1.0, 1.0, 1.0]])[0], 7.0 / 24.0)
    assert_allclose(model.shap_values([[0.0, 0.0, 0.0]]).sum(), -1.0 / 8.0)


def test_a_long_chain_loses_no_digits() -> None:
    """120 columns, one after the other: the product of as many factors, and an integral by 60 points."""
    p = 120
    X = np.vstack([np.ones((1, p)), np.ones((p, p)) - np.eye(p)])
    y = np.r_[0.0, np.arange(1.0, p + 1.0)]
    model = DecisionTreeRegressor().fit(X, y)
    assert model.get_depth() > 20
    found = model.shap_values(X)
    assert_allclose(found.sum(axis=1) + model.expected_value_, y, atol=1e-9)


def test_threads_change_nothing() -> None:
    X, y = make_classification(400, 8, n_informative=5, random_state=0)
    model = RandomForestClassifier(n_estimators=8).fit(X, y)
    found = []
    for threads in (1, 3):
        with threadpoolctl.threadpool_limits(threads):
            found.append(model.shap_values(X))
    assert_array_equal(*found)
    assert_array_equal(found[0][::7], model.shap_values(X[::7]))


def test_permuted_columns_and_repeated_rows() -> None:
    X, y = load_diabetes(return_X_y=True)
    order, v = np.random.default_rng(0).permutation(10), np.random.default_rng(0).integers(1, 4, len(y))
    limits = {"max_depth": 4, "min_samples_leaf": 0.05}
    one = DecisionTreeRegressor(**limits).fit(X, y).shap_values(X)
    assert_allclose(
        DecisionTreeRegressor(**limits).fit(X[:, order], y).shap_values(X[:, order]), one[:, order], atol=1e-10
    )
    weighted = DecisionTreeRegressor(max_depth=4).fit(X, y, v).shap_values(X)
    repeated = DecisionTreeRegressor(max_depth=4).fit(np.repeat(X, v, axis=0), np.repeat(y, v)).shap_values(X)
    assert_allclose(weighted, repeated, atol=1e-9)


def as_dictionary(tree: Tree) -> dict[str, Any]:
    """A tree without sets of categories, as shap takes it."""
    left = tree.left.astype(np.int64)
    right = np.where(left >= 0, left + 1, -1)
    return {
        "children_left": left,
        "children_right": right,
        "children_default": np.where(tree.missing_left, left, right),
        "features": np.where(tree.feature < 0, -2, tree.feature),
        "thresholds": np.where(left < 0, -2.0, tree.threshold),
        "values": tree.value,
        "node_sample_weight": tree.weight,
    }


@pytest.mark.parametrize("with_gaps", [False, True])
def test_they_are_shaps(with_gaps: bool) -> None:
    shap = pytest.importorskip("shap")
    X, y = make_classification(500, 10, n_informative=6, n_classes=3, random_state=0)
    X = gaps(X, 1) if with_gaps else X
    model = RandomForestClassifier(n_estimators=5).fit(X, y)
    explainer = shap.TreeExplainer({"trees": [as_dictionary(tree) for tree in model.estimators_]})
    expected = np.asarray(explainer.shap_values(X[:50], check_additivity=False)) / 5.0
    assert_allclose(shap_values(model.estimators_, X[:50]), expected, atol=1e-12)
    assert_allclose(expected_value(model.estimators_), explainer.expected_value / 5.0)


def test_a_tree_that_is_not_fitted() -> None:
    with pytest.raises(NotFittedError):
        DecisionTreeClassifier().shap_values([[1.0]])
    assert not hasattr(DecisionTreeClassifier(), "expected_value_")
