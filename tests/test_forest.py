"""Random forests: every mean by its definition, the same forest from the same seed, quality beside scikit-learn's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl
import pytest
import sklearn.ensemble
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, make_classification, make_friedman1
from sklearn.metrics import r2_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

from heldout import DecisionTreeClassifier, RandomForestClassifier, RandomForestRegressor, persist
from heldout.ensemble.diversity import diversity_of
from heldout.errors import InputError
from heldout.trees.predict import leaves

DRAWN = "rows are drawn by number, so that a weight is not a repetition"


@parametrize_with_checks(
    [RandomForestClassifier(n_estimators=5), RandomForestRegressor(n_estimators=5, cuts="random")],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": DRAWN,
        "check_sample_weight_equivalence_on_sparse_data": DRAWN,
    },
)
def test_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def made(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return make_classification(n, 12, n_informative=6, n_classes=3, random_state=seed)


def tree_values(model: Any, X: np.ndarray) -> np.ndarray:
    """The values (trees, n, K) of every tree by itself."""
    found = []
    for tree in model.estimators_:
        leaf = np.empty(len(X), dtype=np.int64)
        leaves(X, *tree.walk, 0, leaf)
        found.append(tree.value[leaf])
    return np.stack(found)


def test_the_forest_is_the_mean_of_its_trees() -> None:
    X, y = made()
    X[::7, 3] = np.nan
    model = RandomForestClassifier(n_estimators=9).fit(X, y)
    assert_allclose(model.predict_proba(X), tree_values(model, X).mean(axis=0), rtol=1e-12)
    numbers = RandomForestRegressor(n_estimators=9).fit(X, y + 0.5)
    assert_allclose(numbers.predict(X), tree_values(numbers, X).mean(axis=0)[:, 0], rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_out_of_bag_by_hand(weighted: bool) -> None:
    X, y = made(200)
    v = np.random.default_rng(0).integers(0, 3, 200).astype(float) if weighted else None
    model = RandomForestClassifier(n_estimators=15, oob_score=True, max_samples=0.7).fit(X, y, v)
    seen = np.arange(200) if v is None else np.flatnonzero(v)
    bags = np.stack([model._bag(i, len(seen)) for i in range(15)])
    assert np.all(bags.sum(axis=1) == round(0.7 * len(seen)))
    values, out = tree_values(model, X[seen]), bags == 0.0
    mean = (values * out[:, :, None]).sum(axis=0) / np.maximum(out.sum(axis=0), 1)[:, None]
    told = out.any(axis=0)
    assert_allclose(model.oob_decision_function_[seen][told], mean[told], rtol=1e-12)
    assert model.oob_score_ == np.mean(mean[told].argmax(axis=1) == y[seen][told])
    numbers = RandomForestRegressor(n_estimators=15, oob_score=True).fit(X, X[:, 0])
    kept = ~np.isnan(numbers.oob_prediction_)
    assert numbers.oob_score_ == pytest.approx(r2_score(X[kept, 0], numbers.oob_prediction_[kept]))


def test_the_same_seed_gives_the_same_forest_whatever_the_threads() -> None:
    X, y = made()
    one = RandomForestClassifier(n_estimators=7, seed=3).fit(X, y)
    with threadpool_limits(1, "blas"):
        alone = RandomForestClassifier(n_estimators=7, seed=3).fit(X, y)
    assert_array_equal(one.predict_proba(X), alone.predict_proba(X))
    other = RandomForestClassifier(n_estimators=7, seed=4).fit(X, y)
    assert not np.array_equal(one.predict_proba(X), other.predict_proba(X))


def test_a_warm_start_grows_what_is_missing() -> None:
    X, y = made()
    whole = RandomForestClassifier(n_estimators=8).fit(X, y)
    part = RandomForestClassifier(n_estimators=3, warm_start=True).fit(X, y)
    assert len(part.estimators_) == 3
    part.set_params(n_estimators=8).fit(X, y)
    assert_array_equal(part.predict_proba(X), whole.predict_proba(X))
    with pytest.raises(InputError, match="8 trees are grown already"):
        part.set_params(n_estimators=2).fit(X, y)


def test_a_time_limit_leaves_a_valid_smaller_forest() -> None:
    X, y = made()
    with pytest.warns(UserWarning, match="The time limit of 1e-09 s was reached after \\d+ of 50 trees"):
        model = RandomForestClassifier(n_estimators=50, time_limit=1e-9).fit(X, y)
    assert 1 <= len(model.estimators_) < 50
    again = persist.loads(persist.dumps(model))
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))


@pytest.mark.long
@pytest.mark.parametrize("splitter", ["exact", "histogram"])
@pytest.mark.parametrize("cuts", ["best", "random"])
def test_quality_is_scikit_learns(cuts: str, splitter: str) -> None:
    X, y = made(3000)
    peers = sklearn.ensemble
    classes = {"best": peers.RandomForestClassifier, "random": peers.ExtraTreesClassifier}[cuts]
    ours = RandomForestClassifier(cuts=cuts, splitter=splitter, bootstrap=cuts == "best").fit(X[:2000], y[:2000])
    theirs = classes(random_state=0, n_jobs=2).fit(X[:2000], y[:2000])
    assert ours.score(X[2000:], y[2000:]) >= theirs.score(X[2000:], y[2000:]) - 0.025
    X, y = make_friedman1(1500, noise=1.0, random_state=0)
    numbers = {"best": peers.RandomForestRegressor, "random": peers.ExtraTreesRegressor}[cuts]
    ours = RandomForestRegressor(cuts=cuts, splitter=splitter, bootstrap=cuts == "best").fit(X[:1000], y[:1000])
    theirs = numbers(random_state=0, n_jobs=2).fit(X[:1000], y[:1000])
    assert ours.score(X[1000:], y[1000:]) >= theirs.score(X[1000:], y[1000:]) - 0.02


def test_balanced_bags_find_the_rare_class() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(4000) < 0.03).astype(int)
    X = rng.normal(size=(4000, 6)) + 0.9 * y[:, None]
    limits = {"min_samples_leaf": 20, "n_estimators": 30}
    plain, balanced = (
        RandomForestClassifier(class_weight=weight, **limits).fit(X[:2000], y[:2000])
        for weight in (None, "balanced_subsample")
    )
    found = [np.mean(model.predict(X[2000:])[y[2000:] == 1]) for model in (plain, balanced)]
    assert found[0] < 0.2 < 0.4 < found[1]


def test_importances_and_columns_with_texts() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "noise": rng.normal(size=400),
            "town": rng.choice(["Ulm", "Bern", "Graz", None], 400),
            "size": rng.normal(size=400),
        }
    )
    y = frame["town"].is_in(["Ulm", "Graz"]).fill_null(True).to_numpy()
    model = RandomForestClassifier(n_estimators=20, max_features=None).fit(frame, y)
    assert model.score(frame, y) == 1.0 and model.feature_importances_.argmax() == 1
    assert_allclose(model.feature_importances_.sum(), 1.0)
    again = persist.loads(persist.dumps(model))
    assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"n_estimators": 0}, "n_estimators is 0"),
        ({"cuts": "any"}, "no cuts 'any'"),
        ({"oob_score": True, "bootstrap": False}, "oob_score needs bootstrap"),
        ({"max_samples": 2.0}, "max_samples is 2.0"),
        ({"time_limit": 0}, "time_limit is 0"),
        ({"bootstrap": "yes"}, "bootstrap is 'yes'"),
        ({"max_features": 77}, "max_features is 77"),
        ({"oob_score": True, "max_samples": 1, "n_estimators": 1, "class_weight": "even"}, "class_weight is 'even'"),
    ],
)
def test_wrong_parameters_are_refused_in_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        RandomForestClassifier(**wrong).fit(*load_breast_cancer(return_X_y=True))


def test_numbers_lie_between_those_that_were_seen() -> None:
    X, y = load_diabetes(return_X_y=True)
    said = RandomForestRegressor(n_estimators=10, max_features="sqrt").fit(X, y).predict(100.0 * X)
    assert y.min() <= said.min() and said.max() <= y.max()


def test_hard_votes_are_counted() -> None:
    X, y = made()
    model = RandomForestClassifier(n_estimators=9, voting="hard", max_depth=3).fit(X, y)
    votes = tree_values(model, X).argmax(axis=2)
    shares = np.stack([(votes == k).mean(axis=0) for k in range(3)], axis=1)
    assert_allclose(model.predict_proba(X), shares, rtol=1e-12)
    soft = RandomForestClassifier(n_estimators=9, max_depth=3).fit(X, y)
    assert not np.allclose(soft.predict_proba(X), shares)
    again = persist.loads(persist.dumps(model))
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_out_of_bag_votes_by_hand() -> None:
    X, y = made(200)
    model = RandomForestClassifier(n_estimators=15, oob_score=True, voting="hard", max_depth=3).fit(X, y)
    out = np.stack([model._bag(i, 200) for i in range(15)]) == 0.0
    votes = tree_values(model, X).argmax(axis=2)
    shares = np.stack([((votes == k) & out).sum(axis=0) for k in range(3)], axis=1) / out.sum(axis=0)[:, None]
    assert_allclose(model.oob_decision_function_, shares, rtol=1e-12)


@pytest.mark.parametrize("classes", [True, False])
def test_a_forest_stops_when_more_trees_take_off_little(classes: bool) -> None:
    X, y = made(300)
    kind = RandomForestClassifier if classes else RandomForestRegressor
    model = kind(n_estimators="auto", max_depth=4).fit(X, y)
    found, n = model.settling_, len(model.estimators_)
    assert found.settled and found.n_trees[-1] == n < 1000
    assert not any(left <= 0.25 * se for left, se in zip(found.left[:-1], found.standard_errors[:-1], strict=True))
    out, values = np.stack([model._bag(i, 300) for i in range(n)]) == 0.0, tree_values(model, X)
    truth = np.eye(3)[y] if classes else y[:, None].astype(float)
    losses, spreads = [], []
    for i in range(300):
        own = values[out[:, i], i]
        losses.append(((own.mean(axis=0) - truth[i]) ** 2).sum())
        spreads.append(own.var(axis=0, ddof=1).sum())
    assert_allclose(found.errors[-1], np.mean(losses), rtol=1e-10)
    assert_allclose(found.standard_errors[-1], np.std(losses) / np.sqrt(300), rtol=1e-10)
    assert_allclose(found.left[-1], np.mean(spreads) / n, rtol=1e-9)
    assert "settled at" in str(found) and found.plot().to_dict()["layer"]
    again = persist.loads(persist.dumps(model))
    assert str(again.settling_) == str(found)


def test_what_more_trees_take_off_is_what_they_take_off() -> None:
    X, y = make_friedman1(400, noise=1.0, random_state=0)
    new, new_y = make_friedman1(4000, noise=0.0, random_state=1)
    sizes = {
        b: [
            np.mean((RandomForestRegressor(n_estimators=b, max_features=3, seed=s).fit(X, y).predict(new) - new_y) ** 2)
            for s in range(12)
        ]
        for b in (8, 200)
    }
    values = tree_values(RandomForestRegressor(n_estimators=200, max_features=3, seed=99).fit(X, y), new)
    by_rule = values.var(axis=0, ddof=1).mean() * (1 / 8 - 1 / 200)
    assert np.mean(sizes[8]) - np.mean(sizes[200]) == pytest.approx(by_rule, rel=0.15)


def test_an_interruption_leaves_a_forest_that_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from heldout.trees import forest

    X, y = made()
    real = forest.build

    def building(*args: Any) -> Any:
        if args[-1] == forest.tree_seed(0, 5):
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(forest, "build", building)
    model = RandomForestClassifier(n_estimators=20, oob_score=True, warm_start=True)
    with pytest.raises(KeyboardInterrupt, match="the forest holds the 5 trees"):
        model.fit(X, y)
    assert len(model.estimators_) == 5 and 0.5 < model.oob_score_ < 1.0
    monkeypatch.undo()
    model.fit(X, y)
    whole = RandomForestClassifier(n_estimators=20, oob_score=True).fit(X, y)
    assert_array_equal(model.predict_proba(X), whole.predict_proba(X))
    assert model.oob_score_ == whole.oob_score_


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from heldout.trees import forest

    steps: list[tuple[Any, ...]] = []

    @contextmanager
    def shown(quiet: bool) -> Iterator[Any]:
        yield None if quiet else lambda *step: steps.append(step)

    monkeypatch.setattr(forest, "shown_progress", shown)
    X, y = made(200)
    RandomForestClassifier(n_estimators=4).fit(X, y)
    assert steps == []
    RandomForestClassifier(n_estimators=4, verbose=True).fit(X, y)
    assert steps == [("Growing trees", done, 4) for done in (1, 2, 3, 4)]


@pytest.mark.parametrize("weighted", [False, True])
def test_quantiles_by_hand(weighted: bool) -> None:
    X, y = make_friedman1(150, noise=1.0, random_state=0)
    X[::9, 2] = np.nan
    v = np.random.default_rng(0).integers(0, 3, 150).astype(float) if weighted else None
    model = RandomForestRegressor(n_estimators=7, min_samples_leaf=4, leaf_members=True).fit(X, y, v)
    seen = np.arange(150) if v is None else np.flatnonzero(v)
    weights = np.zeros((150, 150))  # of the training rows, for each row
    for i, tree in enumerate(model.estimators_):
        bag = np.zeros(150)
        bag[seen] = model._bag(i, len(seen)) * (1.0 if v is None else v[seen])
        leaf = np.empty(150, dtype=np.int64)
        leaves(X, *tree.walk, 0, leaf)
        together = (leaf[:, None] == leaf) * bag
        weights += together / together.sum(axis=1, keepdims=True) / 7
    assert_allclose(weights @ y, model.predict(X), rtol=1e-9)
    order = np.argsort(y)
    reached = np.cumsum(weights[:, order], axis=1)
    levels = [0.9, 0.1, 0.5]
    by_hand = np.stack([y[order][(reached >= q - 1e-12).argmax(axis=1)] for q in levels], axis=1)
    assert_array_equal(model.predict_quantiles(X, levels), by_hand)
    again = persist.loads(persist.dumps(model))
    assert_array_equal(again.predict_quantiles(X, levels), by_hand)


def test_intervals_cover_new_rows() -> None:
    X, y = make_friedman1(6000, noise=2.0, random_state=0)
    model = RandomForestRegressor(n_estimators=60, oob_score=True, leaf_members=True, min_samples_leaf=5)
    model.fit(X[:2000], y[:2000])
    for coverage in (0.5, 0.9):
        low, high = model.predict_interval(X[2000:], coverage=coverage).T
        assert np.mean((low <= y[2000:]) & (y[2000:] <= high)) == pytest.approx(coverage, abs=0.03)
    quantiles = model.predict_quantiles(X[2000:], [0.05, 0.95])
    assert np.mean((quantiles[:, 0] <= y[2000:]) & (y[2000:] <= quantiles[:, 1])) >= 0.88
    again = persist.loads(persist.dumps(model))
    assert_array_equal(again.predict_interval(X[:9]), model.predict_interval(X[:9]))


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda model, X: model.predict_interval(X), "fit with oob_score=True"),
        (lambda model, X: model.predict_quantiles(X), "fit with leaf_members=True"),
        (lambda model, X: model.set_params(oob_score=True).fit(X, X[:, 0]).predict_interval(X, coverage=1), "coverage"),
        (lambda model, X: model.set_params(leaf_members=True).fit(X, X[:, 0]).predict_quantiles(X, [2]), "quantiles"),
        (lambda model, X: model.set_params(n_estimators="many").fit(X, X[:, 0]), "or 'auto'"),
        (lambda model, X: model.set_params(n_estimators="auto", bootstrap=False).fit(X, X[:, 0]), "needs bootstrap"),
    ],
)
def test_what_a_forest_does_not_know_is_said(ask: Any, sentence: str) -> None:
    X, _ = made(80)
    with pytest.raises(InputError, match=sentence):
        ask(RandomForestRegressor(n_estimators=4).fit(X, X[:, 0]), X)


def test_numbers_of_32_bits_stay_as_they_are() -> None:
    X, y = made()
    small = X.astype(np.float32)
    one = RandomForestClassifier(n_estimators=5).fit(small, y)
    other = RandomForestClassifier(n_estimators=5).fit(small.astype(np.float64), y)
    assert_array_equal(one.predict_proba(small), other.predict_proba(small.astype(np.float64)))


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_a_forest_tells_of_its_trees(voting: str) -> None:
    X, codes = load_iris(return_X_y=True)
    y = np.array(["setosa", "versicolor", "virginica"])[codes]
    forest = RandomForestClassifier(n_estimators=9, max_depth=2, voting=voting).fit(X[::2], y[::2])
    said = np.array([y[::50][tree.value[leaf].argmax(axis=1)] for tree, leaf in leaves_of(forest, X[1::2])])
    by_hand = diversity_of(said, y[1::2], task="classification")
    found = forest.diversity(X[1::2], y[1::2])
    assert (found.strength, found.correlation, found.error) == (by_hand.strength, by_hand.correlation, by_hand.error)
    assert found.own_error in (None, pytest.approx(1.0 - forest.score(X[1::2], y[1::2])))
    strange = forest.diversity(X[:4], ["rose"] * 4)
    assert strange.error == strange.mean_error == 1.0


def test_a_forest_of_numbers_tells_of_its_trees() -> None:
    X, y = load_diabetes(return_X_y=True)
    forest = RandomForestRegressor(n_estimators=9, min_samples_leaf=3).fit(X[::2], y[::2])
    found = forest.diversity(X[1::2], y[1::2])
    said = np.array([tree.value[leaf, 0] for tree, leaf in leaves_of(forest, X[1::2])])
    assert found.error == pytest.approx(np.mean((y[1::2] - said.mean(axis=0)) ** 2))
    assert found.mean_error == pytest.approx(np.mean((y[1::2] - said) ** 2)) and found.n_members == 9


def leaves_of(forest: Any, X: np.ndarray) -> list[tuple[Any, np.ndarray]]:
    """Each tree, and the leaf of each row, by the questions one after the other."""

    def leaf(tree: Any, row: np.ndarray) -> int:
        node = 0
        while tree.left[node] >= 0:
            node = int(tree.left[node]) + int(row[tree.feature[node]] > tree.threshold[node])
        return node

    return [(tree, np.array([leaf(tree, row) for row in X])) for tree in forest.estimators_]


@pytest.mark.parametrize("cuts", ["best", "random"])
@pytest.mark.parametrize("splitter", ["exact", "histogram"])
def test_rows_go_down_a_tree_as_they_did_when_it_grew(cuts: str, splitter: str) -> None:
    """Also where a cut parts the missing values from all others."""
    X, y = made(3000)
    X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
    model = RandomForestClassifier(n_estimators=5, cuts=cuts, splitter=splitter, bootstrap=False).fit(X, y)
    for tree in model.estimators_:
        leaf = np.empty(len(X), dtype=np.int64)
        leaves(X, *tree.walk, 0, leaf)
        assert_array_equal(np.bincount(leaf, minlength=tree.n_nodes), np.where(tree.left < 0, tree.count, 0))


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.zeros((6, 1)), [0, 1] * 3),
        (np.zeros((6, 2)), [0, 1, 2] * 2),
        (pl.DataFrame({"a": ["x", "z"] * 3, "b": [0.0] * 6}), [0, 1] * 3),
    ],
)
def test_a_warm_start_wants_the_columns_and_classes_that_the_trees_know(X: Any, y: list[int]) -> None:
    """And what it refuses leaves the forest as it was."""
    rows = pl.DataFrame({"a": ["x", "y"] * 3, "b": [0.0] * 6}) if isinstance(X, pl.DataFrame) else np.eye(6, 2)
    model = RandomForestClassifier(n_estimators=2, warm_start=True).fit(rows, [0, 1] * 3)
    before = model.predict_proba(rows)
    with pytest.raises(InputError, match="know other columns, categories or classes"):
        model.set_params(n_estimators=4).fit(X, y)
    assert_array_equal(model.predict_proba(rows), before)
    assert len(model.set_params(n_estimators=4).fit(rows, [0, 1] * 3).estimators_) == 4


@pytest.mark.parametrize("kind", [RandomForestClassifier, RandomForestRegressor, DecisionTreeClassifier])
def test_a_fit_that_fails_leaves_the_trees_and_their_columns(kind: Any) -> None:
    X, y = made(80)
    model = kind().fit(X, y)
    with pytest.raises(InputError, match="monotonic_cst"):
        model.set_params(monotonic_cst=[1] * 12).fit(X[:, :2], y)
    assert model.n_features_in_ == 12 and model.predict(X).shape == (80,)


def test_a_forest_that_had_no_time_to_be_judged_has_not_settled() -> None:
    X, y = made()
    with pytest.warns(UserWarning, match="The time limit"):
        model = RandomForestClassifier(n_estimators="auto", time_limit=1e-9).fit(X, y)
    if len(model.estimators_) == 1:
        assert not model.settling_.settled and "not settled" in str(model.settling_)
    again = persist.loads(persist.dumps(model))
    assert str(again.settling_) == str(model.settling_) and again.settling_.plot().to_dict()["layer"]


def test_a_warm_start_of_a_forest_that_has_settled_grows_nothing() -> None:
    X, y = made(300)
    model = RandomForestRegressor(n_estimators="auto", max_depth=3, warm_start=True).fit(X, y)
    n, found = len(model.estimators_), model.settling_
    again = model.fit(X, y)
    assert len(again.estimators_) == n and again.settling_.errors[-1] == pytest.approx(found.errors[-1])
    full = RandomForestRegressor(n_estimators=1000, max_depth=1, warm_start=True).fit(X[:50], y[:50])
    assert full.set_params(n_estimators="auto").fit(X[:50], y[:50]).settling_.n_trees.tolist() == [1000]


def test_the_least_weight_of_a_leaf_is_a_share_of_its_trees_bag() -> None:
    X, y = made(1000)
    model = RandomForestClassifier(n_estimators=5, max_samples=0.2, min_weight_fraction_leaf=0.1).fit(X, y)
    for tree in model.estimators_:
        assert tree.weight[0] == 200.0 and tree.n_leaves > 2 and tree.weight.min() >= 20.0


def test_the_greatest_quantile_is_the_greatest_number_however_shares_are_rounded() -> None:
    X, y = np.zeros((400, 1)), np.arange(400.0)
    model = RandomForestRegressor(n_estimators=3, leaf_members=True).fit(X, y)
    model._members.shares[:] *= 1.0 - 1e-9
    seen = np.unique(np.concatenate([np.flatnonzero(model._bag(i, 400)) for i in range(3)]))
    assert_array_equal(model.predict_quantiles(X[:2], [0.0, 1.0]), [[y[seen[0]], y[seen[-1]]]] * 2)


@pytest.mark.parametrize("learner", [RandomForestClassifier, RandomForestRegressor])
def test_a_forest_cut_back_is_the_one_that_is_grown_so(learner: Any) -> None:
    X, y = made(300)
    X[::7, 2] = np.nan
    options: dict[str, Any] = {"n_estimators": 3, "max_features": None, "seed": 4}  # without draws of columns
    cut, grown = learner(**options).fit(X, y).cut_back(30), learner(**options, min_samples_split=30).fit(X, y)
    assert cut.get_params() == grown.get_params() and cut.estimators_[0].n_leaves < 40
    for one, other in zip(cut.estimators_, grown.estimators_, strict=True):
        for name, values in vars(one).items():
            assert_allclose(values, vars(other)[name], rtol=1e-12, err_msg=name)
    assert_array_equal(cut.predict(X), grown.predict(X))
    if getattr(cut, "calls_the_likeliest", False):
        assert_array_equal(cut.predict(X), cut.classes_[cut.predict_proba(X).argmax(axis=1)])
    with pytest.raises(InputError, match="cannot be cut back"):
        learner(n_estimators=3, oob_score=True).fit(X[:40], y[:40]).cut_back(30)
