"""Pruning beside scikit-learn's, one predict a tree, and all pruned subtrees there are."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.tree
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_wine, make_classification
from sklearn.model_selection import StratifiedKFold

from heldout import DecisionTreeClassifier, DecisionTreeRegressor, persist
from heldout.dealing import folds
from heldout.errors import InputError, ModelFileError
from heldout.trees.nodes import LEAF, Tree
from heldout.trees.prune import cut_prices, pruned, pruning_path, without_branches
from heldout.trees.pruning_choice import PruningCurve, distinct_path

NUMBERS = ["squared_error", "absolute_error", "poisson"]
KINDS = ["gini", "entropy", *NUMBERS]


def rows(kind: str, n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    if kind in ("squared_error", "absolute_error"):
        return X, np.sin(2.0 * X[:, 0]) + X[:, 1] + 0.7 * rng.normal(size=n)
    if kind == "poisson":
        return X, rng.poisson(np.exp(X[:, 0] - 0.5)).astype(float)
    return X, np.array(["a", "b", "c"])[np.digitize(X[:, 0] + X[:, 1] + rng.normal(size=n), [-0.8, 0.8])]


def model(kind: str, **parameters: Any) -> Any:
    made = DecisionTreeRegressor if kind in NUMBERS else DecisionTreeClassifier
    return made(criterion=kind, **parameters)


def losses(kind: str, fitted: Any, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of every row, from `predict`."""
    said = fitted.predict(X)
    if kind in ("gini", "entropy"):
        return (said != y).astype(float)
    if kind == "squared_error":
        return np.asarray((said - y) ** 2)
    if kind == "absolute_error":
        return np.asarray(abs(said - y))
    return said - y + np.array([a * np.log(a / b) if a else 0.0 for a, b in zip(y, said, strict=True)])


def cut_by(fitted: Any, alpha: float) -> Any:
    """The same model with a smaller tree."""
    smaller = copy.copy(fitted)
    smaller.tree_ = pruned(fitted.tree_, alpha)
    return smaller


# The path ------------------------------------------------------------------------------------------------------


def path_by_definition(tree: Tree) -> tuple[list[float], list[int], np.ndarray]:
    """Step by step: of all nodes that are left, that whose leaves bring least each becomes a leaf."""
    risk, left = tree.impurity * tree.weight / tree.weight[0], tree.left.tolist()
    inner, gone = {t for t, child in enumerate(left) if child >= 0}, np.where(tree.left < 0, 0.0, np.inf)
    alphas, leaves = [0.0], [tree.n_leaves]

    def beneath(t: int) -> list[int]:
        return [t] if t not in inner else beneath(left[t]) + beneath(left[t] + 1)

    def inside(t: int) -> list[int]:
        return [] if t not in inner else [t, *inside(left[t]), *inside(left[t] + 1)]

    while 0 in inner:
        price = {t: (risk[t] - risk[beneath(t)].sum()) / (len(beneath(t)) - 1) for t in sorted(inner)}
        weakest = min(price, key=lambda t: price[t])
        cut = inside(weakest)
        gone[cut] = price[weakest]
        inner -= set(cut)
        alphas.append(price[weakest])
        leaves.append(len(beneath(0)))
    return alphas, leaves, gone


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_the_path_is_that_of_the_definition(kind: str, seed: int) -> None:
    tree = model(kind).fit(*rows(kind, 80, seed)).tree_
    alphas, leaves, gone = path_by_definition(tree)
    path = pruning_path(tree)
    last = np.append(np.diff(alphas) > 1e-12, True)  # of equal prices the smallest tree: their order is free
    assert_allclose(distinct_path(tree)[0], np.array(alphas)[last], atol=1e-12)
    assert_array_equal(distinct_path(tree)[1], np.array(leaves)[last])
    assert_allclose(cut_prices(tree), gone, atol=1e-12)
    assert_allclose(path.impurities[[0, -1]], [path.impurities.min(), tree.impurity[0]], atol=1e-12)
    assert np.all(np.diff(path.ccp_alphas) >= 0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_the_path_is_scikit_learns(kind: str, seed: int) -> None:
    X, y = rows(kind, 400, seed)
    y = y + 1e-3 * np.arange(400) if kind in NUMBERS else y
    ours = model(kind, min_samples_leaf=12)
    theirs = getattr(sklearn.tree, type(ours).__name__)(criterion=kind, min_samples_leaf=12, random_state=0)
    path, expected = ours.cost_complexity_pruning_path(X, y), theirs.cost_complexity_pruning_path(X, y)
    assert len(path.ccp_alphas) > 8
    assert_allclose(path.ccp_alphas, expected.ccp_alphas, atol=1e-12)
    assert_allclose(path.impurities, expected.impurities, atol=1e-12)
    for alpha in path.ccp_alphas + 1e-9:
        one, other = (each.set_params(ccp_alpha=alpha).fit(X, y) for each in (ours, theirs))
        assert one.get_n_leaves() == other.get_n_leaves()
    assert "trees by the price of a leaf" in str(path)


def test_a_path_of_many_leaves_and_one_of_a_chain() -> None:
    rng = np.random.default_rng(0)
    tree = DecisionTreeRegressor().fit(rng.normal(size=(30_000, 3)), rng.normal(size=30_000)).tree_
    path = pruning_path(tree)
    assert path.n_leaves[0] == tree.n_leaves > 29_000 and path.n_leaves[-1] == 1
    assert_allclose(path.impurities[-1], tree.impurity[0])
    chain = tree_of(np.arange(0, 600, 2), np.random.default_rng(0).exponential(size=300))
    assert chain.depths.max() == 300
    assert_allclose(cut_prices(chain), path_by_definition(chain)[2], atol=1e-9)


def tree_of(divided: Any, gains: Any) -> Tree:
    """The tree in which one node after the other is divided, with what each cut gains."""
    m = 2 * len(divided) + 1
    left, risk = np.full(m, LEAF, dtype=np.int32), np.zeros(m)
    for at, (node, gain) in enumerate(zip(divided, gains, strict=True)):
        left[node], risk[node] = 2 * at + 1, gain
    for node in range(m - 1, -1, -1):
        if left[node] != LEAF:
            risk[node] += risk[left[node]] + risk[left[node] + 1]
    plain, none = np.zeros(m, dtype=np.int32), np.empty((0, 8), dtype=np.uint32)
    feature = np.where(left == LEAF, LEAF, 0).astype(np.int32)
    return Tree(feature, np.zeros(m), left, plain == 1, plain - 1, none, np.zeros((m, 1)), risk, np.ones(m), plain)


@settings(deadline=None, max_examples=300)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 60),
    whole=st.booleans(),
    deep=st.booleans(),
)
def test_any_tree_is_pruned_as_defined(seed: int, n: int, whole: bool, deep: bool) -> None:
    """Whole gains make prices equal; a deep tree is one whose new leaves are divided rather than old ones."""
    rng, leaves, divided = np.random.default_rng(seed), [0], []
    for at in range(n):
        divided.append(leaves.pop(rng.integers(max(0, len(leaves) - 3) if deep else 0, len(leaves))))
        leaves += [2 * at + 1, 2 * at + 2]
    tree = tree_of(divided, rng.integers(0, 4, n) if whole else rng.exponential(size=n) ** 3)
    alphas, n_leaves, gone = path_by_definition(tree)
    last = np.append(np.diff(alphas) > 1e-12 * tree.impurity[0], True)
    assert_allclose(distinct_path(tree)[0], np.array(alphas)[last], atol=1e-9)
    assert_array_equal(distinct_path(tree)[1], np.array(n_leaves)[last])
    assert_allclose(cut_prices(tree), gone, atol=1e-9)


# Errors along the path -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_curve_is_that_of_one_predict_a_tree(kind: str, weighted: bool) -> None:
    X, y = rows(kind, 250, 1)
    X[::7, 2] = np.nan
    X_new, y_new = rows(kind, 170, 2)
    v = np.random.default_rng(3).integers(1, 4, 250).astype(float) if weighted else None
    v_new = np.random.default_rng(4).integers(0, 4, 170).astype(float) if weighted else None
    fitted = model(kind).fit(X, y, v)
    curve = fitted.pruning_curve(X_new, y_new, v_new)
    assert len(curve.mean) > 20 and curve.n_folds == 0
    repeated = np.repeat(np.arange(170), 1 if v_new is None else v_new.astype(int))
    for alpha, leaves, train, mean, se in zip(
        curve.ccp_alphas, curve.n_leaves, curve.train, curve.mean, curve.se, strict=True
    ):
        smaller = cut_by(fitted, alpha + 1e-12)
        assert smaller.get_n_leaves() == leaves
        seen = losses(kind, smaller, X, y)
        held = losses(kind, smaller, X_new, y_new)[repeated]
        assert train == pytest.approx(np.average(seen, weights=v), abs=1e-10)
        assert mean == pytest.approx(held.mean(), abs=1e-10)
        assert se == pytest.approx(held.std(ddof=1) / np.sqrt(len(held)), abs=1e-7)


def test_one_standard_error_and_the_least() -> None:
    parts = ([0.0, 0.1, 0.2, 0.3, 0.4], [9, 5, 3, 2, 1], [0.0] * 5)
    curve = PruningCurve(*map(np.array, parts), np.array([0.3, 0.2, 0.2, 0.24, 0.5]), np.full(5, 0.05), "one_se", 10, 0)
    assert (curve.best, curve.one_se, curve.chosen) == (2, 3, 3)
    assert curve.alpha == pytest.approx(np.sqrt(0.3 * 0.4))
    assert PruningCurve(**{**vars(curve), "rule": "min"}).chosen == 2
    assert PruningCurve(**{**vars(curve), "se": np.full(5, 0.4)}).alpha == 0.4
    assert "Chosen: the tree with 2 leaves." in str(curve) and "one standard error" in str(curve)
    assert "least error, one standard error" in str(PruningCurve(**{**vars(curve), "se": np.zeros(5)}))
    assert "1 leaf." in str(PruningCurve(**{**vars(curve), "se": np.full(5, 0.4)}))


def test_class_weights_count_in_both_errors() -> None:
    X, y = rows("gini", 300, 5)
    X_new, y_new = rows("gini", 200, 6)
    factors = {"a": 1.0, "b": 5.0, "c": 0.5}
    fitted = DecisionTreeClassifier(class_weight=factors).fit(X, y)
    curve = fitted.pruning_curve(X_new, y_new)
    c, c_new = (np.array([factors[label] for label in labels]) for labels in (y, y_new))
    for alpha, train, mean, se in zip(curve.ccp_alphas, curve.train, curve.mean, curve.se, strict=True):
        smaller = cut_by(fitted, alpha + 1e-12)
        assert train == pytest.approx(np.average(smaller.predict(X) != y, weights=c))
        wrong = smaller.predict(X_new) != y_new
        assert mean == pytest.approx(np.average(wrong, weights=c_new))
        spread = np.sum(c_new**2 * (wrong - mean) ** 2) * 200 / 199
        assert se == pytest.approx(np.sqrt(spread) / c_new.sum(), abs=1e-9)
    scaled = DecisionTreeClassifier(class_weight={k: 100.0 * f for k, f in factors.items()}).fit(X, y)
    assert_allclose(scaled.pruning_curve(X_new, y_new).se, curve.se, atol=1e-12)


# Cross-validation ----------------------------------------------------------------------------------------------


def test_the_choice_by_folds_is_that_of_scikit_learns_trees() -> None:
    """The same folds and prices, a tree of scikit-learn's fitted for each of them."""
    X, y = make_classification(500, 5, n_informative=4, n_redundant=0, flip_y=0.2, random_state=3)
    limits = {"min_samples_leaf": 8}
    ours = DecisionTreeClassifier(prune="cv", cv=5, **limits).fit(X, y)
    theirs = sklearn.tree.DecisionTreeClassifier(random_state=0, **limits)
    alphas = theirs.cost_complexity_pruning_path(X, y).ccp_alphas
    alphas = alphas[np.append(np.diff(alphas) > 1e-12, True)]
    assert_allclose(ours.pruning_.ccp_alphas, alphas, atol=1e-12)
    wrong = np.empty((len(alphas), 500))
    for train, held in folds(X, y.astype(float), None, 5, by_class=True):
        fit, out = train > 0.0, held > 0.0
        for k, alpha in enumerate([*np.sqrt(alphas[:-1] * alphas[1:]), 1e9]):
            theirs.set_params(ccp_alpha=alpha).fit(X[fit], y[fit])
            wrong[k, out] = theirs.predict(X[out]) != y[out]
    assert_allclose(ours.pruning_.mean, wrong.mean(axis=1), atol=1e-12)
    assert_allclose(ours.pruning_.se, wrong.std(axis=1, ddof=1) / np.sqrt(500), atol=1e-9)
    mean, se = wrong.mean(axis=1), wrong.std(axis=1, ddof=1) / np.sqrt(500)
    best = np.flatnonzero(mean == mean.min())[-1]
    chosen = np.flatnonzero(mean <= mean[best] + se[best])[-1]
    theirs.set_params(ccp_alpha=np.sqrt(alphas[chosen] * np.append(alphas, alphas[-1])[chosen + 1])).fit(X, y)
    assert 1 < ours.get_n_leaves() == theirs.get_n_leaves() < theirs.set_params(ccp_alpha=0).fit(X, y).get_n_leaves()
    assert ours.pruning_.best < ours.pruning_.one_se == ours.pruning_.chosen


@pytest.mark.parametrize("kind", KINDS)
def test_the_choice_by_folds_is_that_of_a_fit_for_each_price(kind: str) -> None:
    X, y = rows(kind, 200, 7)
    X[::9, 1] = np.nan
    v = np.random.default_rng(0).integers(1, 3, 200).astype(float)
    codes = np.unique(y, return_inverse=True)[1].astype(float) if kind in ("gini", "entropy") else y
    ours = model(kind, prune="cv", cv=4, rule="min").fit(X, y, v)
    found = ours.pruning_
    assert found.n_folds == 4
    prices = [*np.sqrt(found.ccp_alphas[:-1] * found.ccp_alphas[1:]), 1e9]
    loss = np.empty((len(prices), 200))
    for train, held in folds(X, codes, v, 4, by_class=kind in ("gini", "entropy")):
        fit, out = train > 0.0, held > 0.0
        for k, price in enumerate(prices):
            other = model(kind, ccp_alpha=price).fit(X[fit], y[fit], train[fit])
            loss[k, out] = losses(kind, other, X[out], y[out])
    mean = loss @ v / v.sum()
    assert_allclose(found.mean, mean, rtol=1e-9)
    se = np.sqrt((loss - mean[:, None]) ** 2 @ v / v.sum() / (v.sum() - 1.0))
    assert_allclose(found.se, se, rtol=1e-6, atol=1e-9)
    again = model(kind, ccp_alpha=ours.ccp_alpha_).fit(X, y, v)
    assert_array_equal(again.predict(X), ours.predict(X))
    assert ours.get_n_leaves() == found.n_leaves[found.best]


def test_folds_have_the_classes_and_keep_rows_together_that_are_the_same() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0.0, 1.0, 2.0], [200, 60, 4])
    X = rng.normal(size=(264, 3))
    X[10] = X[11]
    parts = folds(X, y, None, 10, by_class=True)
    counts = np.array([[np.sum(held[y == k]) for k in range(3)] for _, held in parts])
    assert len(parts) == 10 and np.ptp(counts[:, 0]) <= 2 and np.ptp(counts[:, 1]) <= 1 and counts[:, 2].max() == 1
    assert np.ptp(counts.sum(axis=1)) <= 2
    assert all(held[10] == held[11] and np.all(train + held == 1.0) for train, held in parts)


def test_given_folds_repeated_rows_order_and_weights() -> None:
    X, y = rows("gini", 240, 8)
    splitter = StratifiedKFold(5, shuffle=True, random_state=0)
    given = DecisionTreeClassifier(prune="cv", cv=splitter).fit(X, y)
    pairs = DecisionTreeClassifier(prune="cv", cv=list(splitter.split(X, y))).fit(X, y)
    assert_array_equal(given.pruning_.mean, pairs.pruning_.mean)
    assert persist.loads(persist.dumps(given)).cv == 10
    one_part = DecisionTreeClassifier(prune="cv", cv=[(np.arange(160), np.arange(160, 240))]).fit(X, y)
    direct = DecisionTreeClassifier().fit(X[:160], y[:160])
    last = (direct.pruning_curve(X[160:], y[160:]).mean[-1], one_part.pruning_.mean[-1])
    assert last[0] == pytest.approx(last[1])
    plain = DecisionTreeClassifier(prune="cv").fit(X, y)
    order = np.random.default_rng(0).permutation(240)
    moved = DecisionTreeClassifier(prune="cv").fit(X[order], y[order])
    assert_allclose(moved.pruning_.mean, plain.pruning_.mean)
    times = np.random.default_rng(1).integers(0, 4, 240)
    weighted = DecisionTreeClassifier(prune="cv").fit(X, y, times)
    repeated = DecisionTreeClassifier(prune="cv").fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    for name in ("n_leaves", "mean", "se"):
        assert_allclose(getattr(weighted.pruning_, name), getattr(repeated.pruning_, name), atol=1e-12)


def test_folds_without_an_event_are_judged_all_the_same() -> None:
    y = np.zeros(20)
    y[7] = 1.0
    found = DecisionTreeRegressor(criterion="poisson", prune="cv", cv=5).fit(np.arange(20.0)[:, None], y).pruning_
    without = 0.5 / 16.0  # what the tree says that was grown of 16 zeros
    assert found.mean[-1] == pytest.approx((16 / 16.0 + 4 * without - 1.0 + np.log(1.0 / without)) / 20.0)


def test_noise_is_pruned_to_the_root_and_a_rule_is_kept() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 5))
    assert DecisionTreeClassifier(prune="cv").fit(X, rng.integers(0, 2, 400)).get_n_leaves() == 1
    y = np.where(X[:, 0] > 0.3, 1, 0) ^ (rng.random(400) < 0.1)
    assert DecisionTreeClassifier(prune="cv").fit(X, y).get_n_leaves() == 2
    assert DecisionTreeClassifier().fit(X, y).get_n_leaves() > 30


# Rows that were held out ---------------------------------------------------------------------------------------


def all_subtrees(tree: Tree, node: int = 0) -> list[frozenset[int]]:
    """The sets of leaves of every pruned subtree."""
    if tree.feature[node] == LEAF:
        return [frozenset([node])]
    pairs = itertools.product(all_subtrees(tree, tree.left[node]), all_subtrees(tree, tree.left[node] + 1))
    return [frozenset([node]), *(a | b for a, b in pairs)]


@settings(deadline=None)  # the first example compiles
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["gini", *NUMBERS]),
    n_new=st.integers(1, 40),
    leaves=st.integers(2, 9),
)
def test_reduced_error_is_the_smallest_of_the_best_subtrees(seed: int, kind: str, n_new: int, leaves: int) -> None:
    fitted = model(kind, max_leaf_nodes=leaves).fit(*rows(kind, 60, seed))
    X_new, y_new = rows(kind, n_new, seed + 1)
    if kind == "poisson":
        y_new[0] = 1.0
    found = fitted.prune_on(X_new, y_new, method="reduced_error")
    scores = []
    for ends in all_subtrees(fitted.tree_):
        smaller = copy.copy(fitted)
        smaller.tree_ = without_branches(fitted.tree_, np.isin(np.arange(fitted.tree_.n_nodes), list(ends)))
        assert smaller.get_n_leaves() == len(ends)
        loss = losses(kind, smaller, X_new, y_new).sum()
        scores.append((loss, len(ends)))
    least = min(loss for loss, _ in scores)
    fewest = min(n for loss, n in scores if loss <= least * (1.0 + 1e-9))
    ours = losses(kind, found, X_new, y_new).sum()
    assert ours == pytest.approx(least, rel=1e-9, abs=1e-12) and found.get_n_leaves() == fewest


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["cost_complexity", "reduced_error"])
def test_weights_are_repetitions_and_the_old_tree_stays(kind: str, method: str) -> None:
    fitted = model(kind).fit(*rows(kind, 300, 9))
    X_new, y_new = rows(kind, 150, 10)
    before = copy.deepcopy(vars(fitted.tree_))
    times = np.random.default_rng(0).integers(0, 4, 150)
    weighted = fitted.prune_on(X_new, y_new, method=method, sample_weight=times)
    repeated = fitted.prune_on(np.repeat(X_new, times, axis=0), np.repeat(y_new, times), method=method)
    for name, values in vars(weighted.tree_).items():
        assert_array_equal(values, getattr(repeated.tree_, name))
    weighted.tree_.check(4, pytest.fail)
    assert weighted.get_n_leaves() < fitted.get_n_leaves()
    for name, values in before.items():
        assert_array_equal(values, getattr(fitted.tree_, name))
    assert hasattr(weighted, "pruning_") == hasattr(weighted, "ccp_alpha_") == (method == "cost_complexity")


def test_chosen_on_validation_rows() -> None:
    X, y = rows("squared_error", 600, 11)
    fitted = DecisionTreeRegressor(rule="min").fit(X[:300], y[:300])
    smaller = fitted.prune_on(X[300:], y[300:])
    curve = fitted.pruning_curve(X[300:], y[300:])
    assert smaller.pruning_.alpha == smaller.ccp_alpha_ == curve.alpha
    assert np.mean((smaller.predict(X[300:]) - y[300:]) ** 2) == pytest.approx(curve.mean.min())
    reduced = fitted.prune_on(X[300:], y[300:], method="reduced_error")
    assert reduced.score(X[300:], y[300:]) >= smaller.score(X[300:], y[300:])
    simple = fitted.set_params(rule="one_se").prune_on(X[300:], y[300:])
    assert simple.get_n_leaves() < smaller.get_n_leaves()
    assert simple.prune_on(X[300:], y[300:]).get_n_leaves() <= simple.get_n_leaves()


def test_frames_with_categories_and_labels_never_seen() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"town": rng.choice(["Ulm", "Bern", "Graz"], 400), "size": rng.normal(size=400)})
    y = np.where((frame["town"] == "Bern") ^ (rng.random(400) < 0.15), "yes", "no")
    fitted = DecisionTreeClassifier(prune="cv").fit(frame, y)
    assert fitted.get_n_leaves() == 2
    whole = DecisionTreeClassifier().fit(frame, y)
    odd = np.where(np.arange(400) < 40, "perhaps", y)
    assert whole.pruning_curve(frame, odd).mean[0] == pytest.approx(0.1)
    with pytest.raises(InputError, match="None of the labels"):
        whole.pruning_curve(frame, np.full(400, "perhaps"))


# What is said, drawn and stored --------------------------------------------------------------------------------


def test_the_plot_shows_both_errors_and_the_choice() -> None:
    X, y = rows("squared_error", 500)
    curve = DecisionTreeRegressor(prune="cv").fit(X, y).pruning_
    chart = curve.plot().to_dict()
    text = str(chart)
    for words in ("training rows", "held out, 10 folds", "one standard error", "least error", "mean squared error"):
        assert words in text
    assert len(curve.n_leaves) > 200 and len(chart["data"]["values"]) <= 2 * 202
    assert chart["layer"][0]["encoding"]["x"]["scale"]["type"] == "log"
    marks = {int(one["leaves"]) for one in chart["layer"][3]["data"]["values"]}
    assert marks == {int(curve.n_leaves[curve.best]), int(curve.n_leaves[curve.one_se])}
    new = DecisionTreeRegressor().fit(X, y).pruning_curve(*rows("squared_error", 50, 1))
    assert "validation rows" in str(new.plot().to_dict())


def test_stored_and_restored() -> None:
    X, y = load_wine(return_X_y=True)
    fitted = DecisionTreeClassifier().fit(X[::2], y[::2])
    for one in (
        DecisionTreeClassifier(prune="cv").fit(X, y),
        fitted.prune_on(X[1::2], y[1::2]),
        fitted.prune_on(X[1::2], y[1::2], method="reduced_error"),
    ):
        again = persist.loads(persist.dumps(one))
        assert vars(again).keys() == vars(one).keys()
        assert getattr(again, "ccp_alpha_", None) == getattr(one, "ccp_alpha_", None)
        if hasattr(one, "pruning_"):
            for name, values in vars(one.pruning_).items():
                assert_array_equal(getattr(again.pruning_, name), values)
    refitted = fitted.prune_on(X[1::2], y[1::2]).set_params(prune=None).fit(X, y)
    assert not hasattr(refitted, "pruning_") and refitted.ccp_alpha_ == 0.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda e: e[:, :-1], "leaves must fall to 1"),
        (lambda e: e[:, ::-1].copy(), "leaves must fall to 1"),
        (lambda e: e + 0.5, "leaves must fall to 1"),
        (lambda e: e * -1.0, "below 0.0"),
        (lambda e: e[:, -1:], "chose another tree"),
        (lambda e: e[:4], "shape"),
    ],
)
def test_a_curve_in_a_file_that_is_none(change: Any, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = DecisionTreeClassifier(prune="cv").fit(*load_breast_cancer(return_X_y=True))
    state = fitted.to_state()
    state["pruning"]["errors"] = change(state["pruning"]["errors"])
    monkeypatch.setattr(DecisionTreeClassifier, "to_state", lambda self: state)
    with pytest.raises(ModelFileError, match=sentence):
        persist.loads(persist.dumps(fitted))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"prune": "reduced"}, "prune is 'reduced' and must be None or 'cv'"),
        ({"prune": "cv", "ccp_alpha": 0.1}, "chooses the price of a leaf"),
        ({"prune": "cv", "cv": 1}, "2 folds or more"),
        ({"prune": "cv", "cv": "many"}, "cv is 'many'"),
        ({"rule": "1se"}, "no rule '1se'"),
    ],
)
def test_wrong_parameters_are_refused_in_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        DecisionTreeClassifier(**wrong).fit(*load_wine(return_X_y=True))


def test_too_few_rows_and_unknown_methods() -> None:
    with pytest.raises(InputError, match="fewer than three differ"):
        DecisionTreeClassifier(prune="cv").fit([[1.0], [1.0], [2.0]], [0, 0, 1])
    fitted = DecisionTreeClassifier().fit([[1.0], [2.0], [3.0]], [0, 1, 1])
    with pytest.raises(InputError, match="no pruning method 'reduced-error'"):
        fitted.prune_on([[1.0]], [0], method="reduced-error")
