"""Decision trees beside scikit-learn's and beside brute force; missing values, categories, order, pruning, files."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn.tree
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    load_wine,
    make_classification,
    make_friedman1,
    make_regression,
)

from heldout import DecisionTreeClassifier, DecisionTreeRegressor, persist
from heldout.errors import InputError, ModelFileError
from heldout.trees.binning import bin_columns
from heldout.trees.columns import _values_of, rows_of
from heldout.trees.nodes import LEAF, Tree

CLASSES = {
    "iris": lambda: load_iris(return_X_y=True),
    "wine": lambda: load_wine(return_X_y=True),
    "breast cancer": lambda: load_breast_cancer(return_X_y=True),
    "digits": lambda: load_digits(return_X_y=True),
    **{
        f"made {seed}": lambda seed=seed: make_classification(
            600, 8, n_informative=5, n_classes=2 + seed % 3, n_clusters_per_class=1, random_state=seed
        )
        for seed in range(6)
    },
}
NUMBERS = {
    "diabetes": lambda: load_diabetes(return_X_y=True),
    **{f"friedman {seed}": lambda seed=seed: make_friedman1(500, noise=1.0, random_state=seed) for seed in range(5)},
    **{f"lines {seed}": lambda seed=seed: make_regression(400, 6, noise=5.0, random_state=seed) for seed in range(4)},
}


def same_cuts(ours: Tree, theirs: Any) -> int:
    """Walk both trees side by side; where equal gains lead to other parts, a branch ends. How many nodes were seen."""
    seen, waiting = 0, [(0, 0)]
    while waiting:
        a, b = waiting.pop()
        seen += 1
        assert_allclose(ours.impurity[a], theirs.impurity[b], rtol=1e-9, atol=1e-9 * theirs.impurity[0])
        assert_allclose(ours.weight[a], theirs.weighted_n_node_samples[b], rtol=1e-9)
        assert (ours.feature[a] == LEAF) == (theirs.children_left[b] < 0)
        if ours.feature[a] == LEAF:
            continue
        ours_next = (ours.left[a], ours.left[a] + 1)
        theirs_next = (theirs.children_left[b], theirs.children_right[b])
        risk = [sum(ours.impurity[i] * ours.weight[i] for i in ours_next)]
        risk.append(sum(theirs.impurity[i] * theirs.weighted_n_node_samples[i] for i in theirs_next))
        assert_allclose(*risk, rtol=1e-9, atol=1e-8 * theirs.impurity[0] * ours.weight[0])
        if ours.feature[a] == theirs.feature[b] and np.isclose(ours.threshold[a], theirs.threshold[b], rtol=1e-6):
            waiting += zip(ours_next, theirs_next, strict=True)
    return seen


@pytest.mark.parametrize("criterion", ["gini", "entropy"])
@pytest.mark.parametrize("name", CLASSES)
def test_classes_are_divided_as_by_scikit_learn(name: str, criterion: str) -> None:
    X, y = CLASSES[name]()
    v = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    for weights, limits in ((None, {}), (v, {"min_samples_leaf": 4}), (None, {"max_leaf_nodes": 9, "max_depth": 5})):
        ours = DecisionTreeClassifier(criterion=criterion, splitter="exact", **limits).fit(X, y, weights)
        theirs = sklearn.tree.DecisionTreeClassifier(criterion=criterion, random_state=0, **limits).fit(X, y, weights)
        assert same_cuts(ours.tree_, theirs.tree_) >= (1 if name == "iris" else 3)  # iris has equal gains at the root
        assert ours.score(X, y) == pytest.approx(theirs.score(X, y), abs=0.02)


@pytest.mark.parametrize("criterion", ["squared_error", "absolute_error", "poisson"])
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_divided_as_by_scikit_learn(name: str, criterion: str) -> None:
    X, y = NUMBERS[name]()
    y = y - y.min() + 1.0
    v = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    for weights, limits in ((None, {"max_depth": 6}), (v, {"max_leaf_nodes": 12}), (None, {"min_samples_split": 0.1})):
        ours = DecisionTreeRegressor(criterion=criterion, splitter="exact", **limits).fit(X, y, weights)
        theirs = sklearn.tree.DecisionTreeRegressor(criterion=criterion, random_state=0, **limits).fit(X, y, weights)
        assert same_cuts(ours.tree_, theirs.tree_) >= 5
        if ours.tree_.n_nodes == same_cuts(ours.tree_, theirs.tree_):
            assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9)


def impurity_of(y: np.ndarray, criterion: str) -> float:
    if criterion == "squared_error":
        return float(((y - y.mean()) ** 2).sum())
    if criterion == "absolute_error":
        return float(np.abs(y - np.median(y)).sum())
    if criterion == "poisson":
        return float(sum(value * np.log(value / y.mean()) for value in y if value))
    shares = np.bincount(y.astype(int)) / len(y)
    if criterion == "gini":
        return float(len(y) * (1.0 - (shares**2).sum()))
    return float(-len(y) * (shares[shares > 0] * np.log2(shares[shares > 0])).sum())


def best_by_brute_force(x: np.ndarray, y: np.ndarray, criterion: str, ordered: bool) -> float:
    """The least impurity of any two parts: all cuts or all subsets, missing rows on either side or as a category.

    By absolute error, the categories are cut in the order of their means.
    """
    known, best = sorted(set(x[~np.isnan(x)].tolist())), np.inf
    if ordered:
        sides = [x <= value for value in known]
        sides += [side | np.isnan(x) for side in sides] + [~np.isnan(x)]
    elif criterion == "absolute_error":
        parts = [x == value for value in known] + ([np.isnan(x)] if np.isnan(x).any() else [])
        parts.sort(key=lambda part: y[part].mean())
        sides = [np.any(parts[:size], axis=0) for size in range(1, len(parts))]
    else:
        values = [*known, np.nan]
        sides = [
            np.isin(x, subset) | (np.isnan(x) & any(np.isnan(subset)))
            for size in range(1, len(values))
            for subset in itertools.combinations(values, size)
        ]
    for side in sides:
        if side.any() and not side.all():
            best = min(best, impurity_of(y[side], criterion) + impurity_of(y[~side], criterion))
    return best


@settings(deadline=None)  # the first example compiles
@given(
    rows=st.lists(st.tuples(st.none() | st.integers(0, 5), st.integers(0, 4)), min_size=2, max_size=40),
    criterion=st.sampled_from(["gini", "entropy", "squared_error", "absolute_error", "poisson"]),
    ordered=st.booleans(),
)
def test_one_cut_is_the_best_of_all(rows: list[tuple[int | None, int]], ordered: bool, criterion: str) -> None:
    x, y = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    y += criterion == "poisson"  # a part without events is no part there
    assume(len(np.unique(y)) > 1 and len(np.unique(x)) > 1 and not np.isnan(x).all())
    kind = DecisionTreeClassifier if criterion in ("gini", "entropy") else DecisionTreeRegressor
    model = kind(criterion=criterion, max_depth=1, categorical_features=None if ordered else [0]).fit(x[:, None], y)
    leaf, whole = model.apply(x[:, None]), impurity_of(y, criterion)
    found = sum(impurity_of(y[leaf == node], criterion) for node in np.unique(leaf))
    least = min(best_by_brute_force(x, y, criterion, ordered), whole)  # where no cut gains there is none
    assert found == pytest.approx(least, rel=1e-9, abs=1e-9)
    risk = model.tree_.impurity * model.tree_.weight
    assert risk[model.tree_.feature == LEAF].sum() == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize("criterion", ["gini", "entropy"])
@pytest.mark.parametrize("n_classes", [2, 3, 9])
def test_weights_of_any_size_give_the_same_tree(criterion: str, n_classes: int) -> None:
    """Whole weights are added four classes at a time, others one by one, and so are those of more than 65,535."""
    X, y = make_classification(700, 8, n_informative=6, n_classes=n_classes, random_state=1)
    X[::5, 0] = np.nan
    whole, part, much = (
        DecisionTreeClassifier(criterion=criterion).fit(X, y, np.full(700, w)).tree_ for w in (1.0, 0.75, 1000.0)
    )
    for other, factor in ((part, 0.75), (much, 1000.0)):
        assert_array_equal(other.feature, whole.feature)
        assert_array_equal(other.threshold, whole.threshold)
        assert_allclose(other.weight, factor * whole.weight)
        assert_allclose(other.impurity, whole.impurity, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_leaves_of_absolute_error_say_medians(weighted: bool) -> None:
    X, y = NUMBERS["diabetes"]()
    v = np.random.default_rng(0).integers(1, 4, len(y)).astype(float) if weighted else np.ones(len(y))
    model = DecisionTreeRegressor(criterion="absolute_error", max_depth=4).fit(X, y, v)
    leaf, times = model.apply(X), v.astype(int)
    for node in np.unique(leaf):
        own = np.repeat(y[leaf == node], times[leaf == node])
        assert model.tree_.value[node, 0] == np.median(own)
        assert model.tree_.impurity[node] == pytest.approx(np.abs(own - np.median(own)).mean())
    everything = np.repeat(y, times)
    assert model.tree_.value[0, 0] == np.median(everything)
    assert model.tree_.impurity[0] == pytest.approx(np.abs(everything - np.median(everything)).mean())


def test_monotone_changes_of_a_column_change_nothing() -> None:
    X, y = CLASSES["made 1"]()
    for splitter in ("exact", "histogram"):
        one = DecisionTreeClassifier(splitter=splitter).fit(X, y)
        other = DecisionTreeClassifier(splitter=splitter).fit(np.exp(X), y)
        assert_array_equal(one.tree_.feature, other.tree_.feature)
        assert_array_equal(one.apply(X), other.apply(np.exp(X)))


@pytest.mark.parametrize("name", [*CLASSES, *NUMBERS])
def test_the_order_of_columns_changes_nothing(name: str) -> None:
    """Where two columns gain the same the first is taken, and the branches may part."""
    X, y = (CLASSES | NUMBERS)[name]()
    kind = DecisionTreeClassifier if name in CLASSES else DecisionTreeRegressor
    order = np.random.default_rng(0).permutation(X.shape[1])
    one, other = (kind(max_depth=4, splitter="exact").fit(rows, y).tree_ for rows in (X, X[:, order]))
    back = SimpleNamespace(
        impurity=other.impurity,
        weighted_n_node_samples=other.weight,
        children_left=other.left,
        children_right=np.where(other.left < 0, LEAF, other.left + 1),
        feature=np.where(other.feature < 0, other.feature, order[other.feature]),
        threshold=other.threshold,
    )
    assert same_cuts(one, back) >= (1 if name == "iris" else 5)


@pytest.mark.parametrize("name", [*CLASSES, *NUMBERS])
def test_weights_are_repetitions(name: str) -> None:
    X, y = (CLASSES | NUMBERS)[name]()
    times = np.random.default_rng(0).integers(0, 4, len(y))
    kind = DecisionTreeClassifier if name in CLASSES else DecisionTreeRegressor
    weighted = kind(splitter="exact", max_depth=5).fit(X, y, times).tree_
    repeated = kind(splitter="exact", max_depth=5).fit(np.repeat(X, times, axis=0), np.repeat(y, times)).tree_
    for field in ("feature", "threshold", "left", "missing_left"):
        assert_array_equal(getattr(weighted, field), getattr(repeated, field))
    for field in ("weight", "value", "impurity"):
        assert_allclose(getattr(weighted, field), getattr(repeated, field), rtol=1e-9, atol=1e-9)


def test_histograms_of_few_values_are_exact() -> None:
    X, y = CLASSES["digits"]()
    one, other = (DecisionTreeClassifier(splitter=splitter).fit(X, y).tree_ for splitter in ("exact", "histogram"))
    for name, values in vars(one).items():
        assert_array_equal(values, getattr(other, name))


def test_bins_are_about_equally_full_and_cover_all() -> None:
    x = np.random.default_rng(0).lognormal(size=(20_000, 1))
    x[:100] = np.nan
    binned = bin_columns(x, most_bins=50, categorical=np.zeros(1, dtype=bool))
    counts = np.bincount(binned.codes[0])
    assert counts[0] == 100 and len(counts) == 51 and counts[1:].max() < 2 * counts[1:].min()
    assert np.all(binned.low[1:] <= binned.high[1:]) and np.all(binned.high[1:-1] < binned.low[2:])


def test_missing_values_that_a_node_did_not_see_go_with_the_larger_part() -> None:
    model = DecisionTreeClassifier().fit([[0.0], [1.0], [2.0], [9.0]], ["few", "many", "many", "many"])
    assert model.predict([[np.nan]]) == ["many"]
    frame = pl.DataFrame({"town": ["a", "a", "b", "c", "c", "c"]})
    model = DecisionTreeClassifier().fit(frame, [0, 0, 0, 1, 1, 1])
    assert model.predict(pl.DataFrame({"town": ["a", "b", "c", None, "never seen"]})).tolist() == [0, 0, 1, 0, 0]


def test_frames_with_texts() -> None:
    rng = np.random.default_rng(0)
    town, size = rng.choice(["Ulm", "Bern", "Graz", "Linz"], 300), rng.normal(size=300)
    y = np.isin(town, ["Ulm", "Linz"]) ^ (size > 1.0)
    frames = [
        pd.DataFrame({"town": town, "size": size}),
        pd.DataFrame({"town": pd.Categorical(town), "size": size}),
        pl.DataFrame({"town": town, "size": size}),
    ]
    found = [DecisionTreeClassifier(max_depth=2).fit(frame, y) for frame in frames]
    for model, frame in zip(found, frames, strict=True):
        assert model.score(frame, y) == 1.0
        assert model.categories_[0].tolist() == ["Bern", "Graz", "Linz", "Ulm"]
        again = persist.loads(persist.dumps(model))
        assert_array_equal(again.predict(frame), model.predict(frame))
    codes = np.column_stack([np.unique(town, return_inverse=True)[1] + 7.0, size])
    by_number = DecisionTreeClassifier(max_depth=2, categorical_features=[0]).fit(codes, y)
    assert_array_equal(by_number.apply(codes), found[0].apply(frames[0]))
    with pytest.raises(InputError, match="Column town holds"):
        DecisionTreeClassifier(categorical_features=None).fit(frames[0], y)
    with pytest.raises(InputError, match="260 categories"):
        DecisionTreeClassifier().fit(pl.DataFrame({"id": [f"row {i}" for i in range(260)]}), np.arange(260) % 2)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_order_is_kept(kind: str, sign: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(800, 3))
    y = sign * (X[:, 0] + 0.3 * np.sin(12.0 * X[:, 0])) + X[:, 1] + 0.3 * rng.normal(size=800)
    made = DecisionTreeRegressor if kind == "numbers" else DecisionTreeClassifier
    y = y if kind == "numbers" else y > np.median(y)
    new = np.repeat(rng.uniform(size=(60, 3)), 40, axis=0)
    new[:, 0] = np.tile(np.linspace(0.0, 1.0, 40), 60)

    def steps(model: Any) -> np.ndarray:
        said = model.predict(new) if kind == "numbers" else model.predict_proba(new)[:, 1]
        return sign * np.diff(said.reshape(60, 40), axis=1)

    assert steps(made(max_depth=6).fit(X, y)).min() < 0.0
    assert steps(made(max_depth=6, monotonic_cst=[sign, 0, 0]).fit(X, y)).min() >= 0.0


def test_decision_path_and_importances_are_scikit_learns() -> None:
    X, y = load_iris(return_X_y=True)
    ours = DecisionTreeClassifier(max_depth=3).fit(X, y)
    theirs = sklearn.tree.DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, y)
    assert ours.get_depth() == 3 and ours.get_n_leaves() == theirs.get_n_leaves()
    path = ours.decision_path(X)
    assert_array_equal(path.sum(axis=1), theirs.decision_path(X).sum(axis=1))
    assert path[np.arange(150), ours.apply(X)].all()
    assert_allclose(ours.feature_importances_.sum(), 1.0)
    assert ours.feature_importances_[2:].sum() > 0.9


def test_several_threads_at_once() -> None:
    X, y = CLASSES["made 4"]()
    expected = DecisionTreeClassifier(max_features=3, seed=5).fit(X, y).predict_proba(X)
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda _: DecisionTreeClassifier(max_features=3, seed=5).fit(X, y).predict_proba(X), range(8))
        )
    for one in found:
        assert_array_equal(one, expected)
    assert (DecisionTreeClassifier(max_features=3, seed=6).fit(X, y).tree_.feature[0], 0) != (-1, 0)


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("left", lambda a: np.r_[a[2], a[1:]].astype(a.dtype), "no parent, or several"),
        ("left", lambda a: np.where(a == a.max(), len(a), a), "before its parent, or outside"),
        ("left", lambda a: np.where(a == 1, 0, a), "before its parent, or outside"),
        ("left", lambda a: np.where(a < 0, 1, a), "leaf has children"),
        ("feature", lambda a: a + 50, "outside the 4 there are"),
        ("categories", lambda a: np.zeros_like(a), "set of categories that is not there"),
        ("threshold", lambda a: np.full_like(a, np.nan), "threshold is no number"),
        ("n_columns", lambda a: 9, "another width"),
    ],
)
def test_a_file_that_would_lead_a_walk_astray(
    name: str, change: Any, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = DecisionTreeClassifier().fit(*load_iris(return_X_y=True))
    state = model.to_state()
    tree = {**state["tree"], name: change(state["tree"][name])}
    monkeypatch.setattr(DecisionTreeClassifier, "to_state", lambda self: {**state, "tree": tree})
    with pytest.raises(ModelFileError, match=sentence):
        persist.loads(persist.dumps(model))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"criterion": "gin"}, "no criterion 'gin'. Did you mean 'gini'"),
        ({"splitter": "best"}, "no splitter 'best'"),
        ({"max_depth": 0}, "max_depth is 0"),
        ({"min_samples_leaf": 0}, "min_samples_leaf is 0"),
        ({"min_samples_split": 1.5}, "min_samples_split is 1.5"),
        ({"max_features": 9}, "max_features is 9"),
        ({"max_features": "all"}, "max_features is 'all'"),
        ({"min_impurity_decrease": -1.0}, "min_impurity_decrease is -1.0"),
        ({"monotonic_cst": [1, 0, 0, 0]}, "no meaning for 3 classes"),
        ({"monotonic_cst": [1]}, "for each of the 4 columns"),
        ({"categorical_features": [7]}, "names the column 7"),
        ({"ccp_alpha": -1.0}, "ccp_alpha is -1.0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_wrong_parameters_are_refused_in_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        DecisionTreeClassifier(**wrong).fit(*load_iris(return_X_y=True))


def test_poisson_wants_numbers_that_are_not_negative() -> None:
    with pytest.raises(InputError, match="not negative"):
        DecisionTreeRegressor(criterion="poisson").fit([[0.0], [1.0]], [-1.0, 2.0])


def test_pruned_trees_stay_trees() -> None:
    X, y = CLASSES["breast cancer"]()
    whole = DecisionTreeClassifier().fit(X, y)
    for alpha in whole.cost_complexity_pruning_path(X, y).ccp_alphas[::3]:
        tree = DecisionTreeClassifier(ccp_alpha=alpha).fit(X, y).tree_
        tree.check(30, pytest.fail)
        assert tree.n_nodes == 2 * tree.n_leaves - 1
    assert replace(tree).nbytes == tree.nbytes


@pytest.mark.parametrize("kind", ["pandas", "pandas with NA", "polars"])
def test_gaps_of_every_kind_of_frame_are_missing_values(kind: str) -> None:
    whole, town = [1, 2, None, 4, 5, None] * 20, ["Ulm", None, "Bern", "Graz", None, "Bern"] * 20
    flag, y = [True, None, False] * 40, [0, 0, 1, 1, 2, 1] * 20
    if kind == "polars":
        frame = pl.DataFrame({"whole": whole, "town": town, "flag": flag})
    else:
        kinds = ("Int64", "string", "boolean") if "NA" in kind else (float, object, object)
        columns = zip(("whole", "town", "flag"), (whole, town, flag), kinds, strict=True)
        frame = pd.DataFrame({name: pd.Series(values, dtype=dtype) for name, values, dtype in columns})
    model = DecisionTreeClassifier(categorical_features=["town", "flag"]).fit(frame, y)
    assert model.score(frame, y) == 1.0 and model.missing_.all()
    assert model.categories_[1].tolist() == ["Bern", "Graz", "Ulm"] and model.categories_[2].tolist() == [0.0, 1.0]
    codes = np.array([[np.nan if v is None else v for v in whole]]).T
    assert_array_equal(rows_of(model, frame)[:, :1], codes)


def test_numbers_in_a_frame_are_read_as_an_array_is() -> None:
    """Column by column, and not value by value."""

    class Silent(pl.Series):
        def to_list(self) -> list[Any]:
            raise AssertionError("a number at a time")

    values = [Silent("a", [1, 2, 3]), Silent("b", [0.5, None, 1.5])]
    import narwhals as nw

    found = [_values_of(nw.from_native(one, series_only=True)) for one in values]
    assert_array_equal(found[0], [1, 2, 3])
    assert_array_equal(found[1], [0.5, np.nan, 1.5])


@pytest.mark.parametrize("which", [[0], np.array([0]), np.array([True, False, False, False]), (np.int64(0),)])
def test_columns_of_categories_may_be_named_by_an_array(which: Any) -> None:
    X, y = load_iris(return_X_y=True)
    model = DecisionTreeClassifier(categorical_features=which).fit(X, y)
    again = persist.loads(persist.dumps(model))
    assert list(again.categories_) == [0] and again.categorical_features == list(np.asarray(which).tolist())
    assert_array_equal(again.predict(X), model.predict(X))


@pytest.mark.parametrize("seed", range(4))
def test_a_value_that_most_rows_have_takes_one_bin_and_leaves_the_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(20_000) < 0.9, rng.choice([0.0, 0.5], 20_000), rng.normal(size=20_000))[:, None]
    binned = bin_columns(x, most_bins=50, categorical=np.zeros(1, dtype=bool))
    counts = np.bincount(binned.codes[0])[1:]
    assert 49 <= len(counts) <= 50 and np.sort(counts)[-3] < 120  # 2,000 rows to the 48 that are left: 42 each
