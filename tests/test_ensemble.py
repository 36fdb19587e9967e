"""Random subspaces and bagging: what each member sees, every mean by hand, Breiman's quantities by brute force."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import ensemble as peers
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_breast_cancer, load_wine, make_classification, make_friedman1
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.metrics import r2_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier as TheirTree
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data
from threadpoolctl import threadpool_limits

import heldout
from heldout import (
    BaggingClassifier,
    BaggingRegressor,
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    NearestNeighborsClassifier,
    OneVsRestClassifier,
    RandomForestClassifier,
    RandomSubspaceClassifier,
    RandomSubspaceRegressor,
    SoftmaxClassifier,
    diversity_of,
    persist,
)
from heldout.ensemble.diversity import NumberDiversity, VoteDiversity
from heldout.ensemble.members import Lots, part_of
from heldout.errors import InputError, ModelFileError

DRAWN = "rows are drawn by number, so that a weight is not a repetition"
CLASSES = [RandomSubspaceClassifier, RandomSubspaceRegressor, BaggingClassifier, BaggingRegressor]
every_class = pytest.mark.parametrize("kind", CLASSES)


@parametrize_with_checks(
    [
        RandomSubspaceClassifier(n_estimators=4),
        RandomSubspaceRegressor(n_estimators=4),
        RandomSubspaceClassifier(LogisticRegression(), n_estimators=2, max_features=1.0),
        BaggingClassifier(n_estimators=4, max_features=0.7),
        BaggingClassifier(RidgeClassifier(), n_estimators=2),
        BaggingRegressor(n_estimators=4),
    ],
    expected_failed_checks=lambda learner: (
        {
            "check_sample_weight_equivalence_on_dense_data": DRAWN,
            "check_sample_weight_equivalence_on_sparse_data": DRAWN,
        }
        if "Bagging" in type(learner).__name__
        else {}
    ),
)
def test_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def made(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    X, y = make_classification(n, 12, n_informative=6, n_classes=3, random_state=seed)
    return X, np.array(["a", "b", "c"])[y]


def fitted(kind: Any, X: np.ndarray, y: np.ndarray, v: np.ndarray | None = None, **given: Any) -> Any:
    """With numbers instead of labels for regressors."""
    return kind(n_estimators=6, **given).fit(X, y if "Class" in kind.__name__ else X[:, 0] + (y == "a"), v)


class Recorder(ClassifierMixin, BaseEstimator):
    """A classifier that keeps what it was fitted to, takes no weights, and says the most frequent class."""

    def __init__(self, random_state: Any = None) -> None:
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Any:
        X, y = validate_data(self, X, y)
        self.X_, self.y_ = X, y
        self.classes_, counts = np.unique(y, return_counts=True)
        self.most_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.most_)


# What the members see -----------------------------------------------------------------------------------------


def test_every_member_sees_its_own_columns_and_rows() -> None:
    X, y = made()
    codes = np.unique(y, return_inverse=True)[1]
    subspaces = RandomSubspaceClassifier(Recorder(), n_estimators=5).fit(X, y)
    assert subspaces.estimators_features_.shape == (5, 6)
    for member, columns in zip(subspaces.estimators_, subspaces.estimators_features_, strict=True):
        assert len(set(columns)) == 6
        assert_array_equal(member.X_, X[:, columns])
        assert_array_equal(member.y_, codes)
    assert len({tuple(columns) for columns in subspaces.estimators_features_}) > 1
    bagged = BaggingClassifier(Recorder(), n_estimators=5, max_samples=0.8, max_features=3).fit(X, y)
    for i, (member, columns) in enumerate(zip(bagged.estimators_, bagged.estimators_features_, strict=True)):
        rows = np.repeat(np.arange(300), Lots(0, 300, 240, True, 12, 3, codes).bag(i))
        assert len(rows) == 240 and len(set(rows)) < 200
        assert_array_equal(member.X_, X[np.ix_(rows, columns)])
        assert_array_equal(member.y_, codes[rows])
    pasted = BaggingClassifier(Recorder(), n_estimators=2, max_samples=100, bootstrap=False).fit(X, y)
    assert all(len(np.unique(member.X_, axis=0)) == len(member.X_) == 100 for member in pasted.estimators_)


def test_columns_and_rows_are_drawn_evenly() -> None:
    lots = Lots(3, 40, 40, True, 10, 4)
    seen = np.bincount(np.concatenate([lots.columns(i) for i in range(4000)]), minlength=10)
    assert_allclose(seen / 4000, 0.4, atol=0.03)
    bags = np.stack([lots.bag(i) for i in range(4000)])
    assert_allclose(bags.mean(axis=0), 1.0, atol=0.06)
    assert np.mean(bags == 0) == pytest.approx((1.0 - 1.0 / 40.0) ** 40, abs=0.01)


def test_members_are_seeded_apart_and_the_base_is_left_alone() -> None:
    X, y = made()
    base = TheirTree(max_features=1, random_state=3)
    model = RandomSubspaceClassifier(base, n_estimators=4, max_features=None).fit(X, y)
    assert len({member.random_state for member in model.estimators_}) == 4 and base.random_state == 3
    nested = BaggingClassifier(make_pipeline(StandardScaler(), base), n_estimators=3).fit(X, y)
    assert len({member[-1].random_state for member in nested.estimators_}) == 3
    ours = RandomSubspaceClassifier(DecisionTreeClassifier(max_features=1), n_estimators=4).fit(X, y)
    assert len({member.seed for member in ours.estimators_}) == 4


def answers(model: Any, X: Any) -> np.ndarray:
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


@every_class
def test_the_same_seed_gives_the_same_ensemble_whatever_the_workers(kind: Any) -> None:
    X, y = made()
    X, new, y = X[:200], X[200:], y[:200]
    model = fitted(kind, X, y, seed=3)
    for given in ({"n_jobs": 1}, {"n_jobs": 2}, {"n_jobs": 2, "workers": "processes"}):
        assert_array_equal(answers(fitted(kind, X, y, seed=3, **given), new), answers(model, new))
    with threadpool_limits(1, "blas"):
        assert_array_equal(answers(fitted(kind, X, y, seed=3), new), answers(model, new))
    assert not np.array_equal(answers(fitted(kind, X, y, seed=4), new), answers(model, new))


def test_a_nested_ensemble() -> None:
    X, y = made()
    inner = RandomSubspaceClassifier(n_estimators=3, n_jobs=2)
    one, other = (
        BaggingClassifier(inner, n_estimators=3, n_jobs=n_jobs).fit(X, y).predict_proba(X) for n_jobs in (1, 2)
    )
    assert_array_equal(one, other)


# What they say together ---------------------------------------------------------------------------------------


def test_means_and_votes_by_hand() -> None:
    X, y = made()
    base = DecisionTreeClassifier(max_depth=3)
    soft = RandomSubspaceClassifier(base, n_estimators=7).fit(X, y)
    each = [m.predict_proba(X[:, c]) for m, c in zip(soft.estimators_, soft.estimators_features_, strict=True)]
    assert_allclose(soft.predict_proba(X), np.mean(each, axis=0), rtol=1e-14)
    assert_array_equal(soft.predict(X), soft.classes_[np.mean(each, axis=0).argmax(axis=1)])
    hard = RandomSubspaceClassifier(base, n_estimators=7, voting="hard").fit(X, y)
    shares = np.mean([np.eye(3)[one.argmax(axis=1)] for one in each], axis=0)
    assert_allclose(hard.predict_proba(X), shares, rtol=1e-14)
    assert np.any(hard.predict(X) != soft.predict(X))
    numbers = BaggingRegressor(n_estimators=7).fit(X, X[:, 0])
    assert_allclose(numbers.predict(X), np.mean([m.predict(X) for m in numbers.estimators_], axis=0), rtol=1e-14)


def test_a_base_without_probabilities_votes() -> None:
    X, y = made()
    model = RandomSubspaceClassifier(RidgeClassifier(), n_estimators=5).fit(X, y)
    said = [m.predict(X[:, c]) for m, c in zip(model.estimators_, model.estimators_features_, strict=True)]
    assert_allclose(model.predict_proba(X), np.mean([np.eye(3)[one] for one in said], axis=0))
    with pytest.raises(InputError, match="RidgeClassifier has no probabilities to average: take voting='hard'"):
        RandomSubspaceClassifier(RidgeClassifier(), voting="soft").fit(X, y)


def test_classes_that_a_bag_lacks_have_no_probability_there() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), np.repeat([10, 20, 30, 40], [28, 29, 2, 1])
    model = BaggingClassifier(n_estimators=20).fit(X, y)
    known = {tuple(member.classes_) for member in model.estimators_}
    assert len(known) > 2
    by_hand = np.zeros((60, 4))
    for member in model.estimators_:
        by_hand[:, member.classes_] += member.predict_proba(X) / 20
    assert_allclose(model.predict_proba(X), by_hand, rtol=1e-12)
    assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)
    again = persist.loads(persist.dumps(model))
    assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_a_bag_of_one_class_is_drawn_again() -> None:
    X, y = np.arange(40.0)[:, None], np.r_[np.zeros(39), 1.0]
    alone = sum(len(np.unique(y[Lots(0, 40, 40, True, 1, 1).bag(i) > 0])) == 1 for i in range(50))
    assert alone > 5
    model = BaggingClassifier(LogisticRegression(), n_estimators=50).fit(X, y)
    assert all(len(member.classes_) == 2 for member in model.estimators_)


# Weights ------------------------------------------------------------------------------------------------------


def test_bags_by_weights_are_bags_by_repetition() -> None:
    X, y = made()

    class NoWeights(DecisionTreeClassifier):
        def fit(self, X: Any, y: Any) -> Any:
            return super().fit(X, y)

    weighted = BaggingClassifier(DecisionTreeClassifier(), n_estimators=8).fit(X, y)
    repeated = BaggingClassifier(NoWeights(), n_estimators=8).fit(X, y)
    assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-12)


@every_class
def test_rows_without_weight_are_as_if_absent(kind: Any) -> None:
    X, y = made()
    v = np.where(np.arange(300) % 3 == 0, 0.0, 2.0)
    bag = {"oob_score": True} if "Bagging" in kind.__name__ else {}
    one, other = fitted(kind, X, y, v, **bag), fitted(kind, X[v > 0], y[v > 0], v[v > 0], **bag)
    assert_array_equal(answers(one, X), answers(other, X))
    if bag:
        assert one.oob_score_ == other.oob_score_
        name = "oob_decision_function_" if "Class" in kind.__name__ else "oob_prediction_"
        assert np.isnan(getattr(one, name)[v == 0.0]).all()
        assert_array_equal(getattr(one, name)[v > 0.0], getattr(other, name))


def test_weights_multiply_the_counts_of_the_bag() -> None:
    X, y = made()
    v = np.random.default_rng(0).uniform(0.5, 2.0, 300)
    codes = np.unique(y, return_inverse=True)[1]
    model = BaggingClassifier(DecisionTreeClassifier(max_depth=4), n_estimators=3).fit(X, y, v)
    for i, member in enumerate(model.estimators_):
        bag = Lots(0, 300, 300, True, 12, 12, codes).bag(i)
        rows = bag > 0
        alone = clone(member).fit(X[rows], codes[rows], sample_weight=(bag * v)[rows])
        assert_array_equal(member.predict_proba(X), alone.predict_proba(X))
    with pytest.raises(InputError, match="Recorder takes no sample_weight"):
        BaggingClassifier(Recorder()).fit(X, y, v)


# Out of bag ---------------------------------------------------------------------------------------------------


def test_out_of_bag_by_hand() -> None:
    X, y = made(120)
    codes = np.unique(y, return_inverse=True)[1]
    model = BaggingClassifier(n_estimators=12, oob_score=True, max_features=5).fit(X, y)
    lots = Lots(0, 120, 120, True, 12, 5, codes)
    asked = np.stack([lots.bag(i) == 0 for i in range(12)])
    total, votes = np.zeros((120, 3)), np.zeros((12, 120), dtype=int)
    for i, (member, columns) in enumerate(zip(model.estimators_, model.estimators_features_, strict=True)):
        chance = np.zeros((120, 3))
        chance[:, member.classes_] = member.predict_proba(X[:, columns])
        total += asked[i][:, None] * chance
        votes[i] = chance.argmax(axis=1)
    told = asked.any(axis=0)
    assert_allclose(model.oob_decision_function_[told], (total / np.maximum(asked.sum(0), 1)[:, None])[told])
    assert model.oob_score_ == np.mean(total[told].argmax(axis=1) == codes[told])
    by_hand = diversity_of(votes, codes, task="classification", asked=asked)
    assert model.diversity_.out_of_bag and "did not see it" in str(model.diversity_)
    for name in ("error", "strength", "correlation", "bound", "ambiguity"):
        assert_array_equal(getattr(model.diversity_, name), getattr(by_hand, name))
    assert model.diversity_.own_error == pytest.approx(1.0 - model.oob_score_)
    numbers = BaggingRegressor(n_estimators=12, oob_score=True).fit(X, X[:, 0])
    kept = ~np.isnan(numbers.oob_prediction_)
    assert numbers.oob_score_ == pytest.approx(r2_score(X[kept, 0], numbers.oob_prediction_[kept]))
    assert numbers.diversity_.error == pytest.approx(np.mean((X[kept, 0] - numbers.oob_prediction_[kept]) ** 2))
    again = persist.loads(persist.dumps(numbers))
    assert again.oob_score_ == numbers.oob_score_


def test_out_of_bag_needs_rows_out_of_bag() -> None:
    with pytest.raises(InputError, match="Every row is in every bag"):
        BaggingRegressor(n_estimators=2, oob_score=True).fit([[1.0]], [2.0])
    tiny = BaggingRegressor(n_estimators=30, oob_score=True).fit([[1.0], [2.0], [3.0]], [1.0, 2.0, 3.0])
    assert 0 < tiny.diversity_.n_members < 30


# Diversity ----------------------------------------------------------------------------------------------------


def random_votes(seed: int, members: int = 7, n: int = 90, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    hard = rng.random(n) < 0.3
    right = rng.random((members, n)) < np.where(hard, 0.3, 0.9)
    return np.where(right, y, rng.integers(0, k, (members, n))), y


@pytest.mark.parametrize("seed", range(3))
def test_breimans_quantities_by_brute_force(seed: int) -> None:
    votes, y = random_votes(seed)
    found = diversity_of(votes, y, task="classification")
    assert isinstance(found, VoteDiversity)
    members, n = votes.shape
    raw = np.empty((members, n))
    for i in range(n):
        shares = {j: np.mean(votes[:, i] == j) for j in range(4)}
        rival = max((j for j in range(4) if j != y[i]), key=lambda j: (shares[j], -j))
        raw[:, i] = (votes[:, i] == y[i]).astype(float) - (votes[:, i] == rival)
    assert found.strength == pytest.approx(raw.mean())
    assert_allclose(found.strengths, raw.mean(axis=1))
    assert_allclose(found.member_errors, np.mean(votes != y, axis=1))
    sd = raw.std(axis=1)
    above = below = 0.0
    for a, b in itertools.product(range(members), repeat=2):  # the mean over all pairs, as in section 2.2
        above += np.corrcoef(raw[a], raw[b])[0, 1] * sd[a] * sd[b]
        below += sd[a] * sd[b]
    assert found.correlation == pytest.approx(above / below)
    assert found.bound == pytest.approx(found.correlation * (1 - found.strength**2) / found.strength**2)
    assert found.correlation == pytest.approx(np.average(found.member_correlations, weights=sd))
    assert found.mean_error == pytest.approx(np.mean(votes != y))
    pairs = [np.mean(votes[a] != votes[b]) for a, b in itertools.product(range(members), repeat=2)]
    assert found.ambiguity == pytest.approx(np.mean(pairs) / 2.0)
    assert found.loss == pytest.approx(found.mean_error - found.ambiguity)
    for size in (1, 3, members):
        vote = [np.bincount(votes[:size, i], minlength=4).argmax() for i in range(n)]
        assert found.errors_by_size[size - 1] == pytest.approx(np.mean(vote != y))
    assert found.error == found.errors_by_size[-1]


@pytest.mark.parametrize("seed", range(20))
def test_the_bounds_hold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    votes, y = random_votes(seed, members=int(rng.integers(1, 9)), n=40, k=int(rng.integers(2, 5)))
    v = rng.uniform(0.1, 3.0, 40)
    found = diversity_of(votes, y, task="classification", sample_weight=v)
    assert found.strength > 0.0 and found.error <= found.bound
    numbers = diversity_of(rng.normal(size=(5, 40)) + y, y.astype(float), task="regression", sample_weight=v)
    assert numbers.error <= numbers.bound <= numbers.mean_error


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_error_is_that_of_a_member_less_the_ambiguity(weighted: bool, part: bool) -> None:
    rng = np.random.default_rng(0)
    y, said = rng.normal(size=50), rng.normal(size=(6, 50)) + 1.0
    v = rng.uniform(0.5, 2.0, 50) if weighted else np.ones(50)
    asked = rng.random((6, 50)) < 0.4 if part else np.ones((6, 50), dtype=bool)
    found = diversity_of(said, y, task="regression", sample_weight=v, asked=asked if part else None)
    assert isinstance(found, NumberDiversity)
    assert found.error == pytest.approx(found.mean_error - found.ambiguity, rel=1e-13)
    told = asked.any(axis=0)
    mean = np.array([said[asked[:, i], i].mean() for i in np.flatnonzero(told)])
    assert found.error == pytest.approx(np.average((y[told] - mean) ** 2, weights=v[told]))
    assert found.n_rows == told.sum()
    if not part:
        squares = np.average((said - y) ** 2, axis=1, weights=v)
        assert_allclose(found.member_errors, squares)
        roots, share = np.sqrt(squares), v / v.sum()
        above = sum(share @ ((said[a] - y) * (said[b] - y)) for a in range(6) for b in range(6))
        assert found.correlation == pytest.approx(above / roots.sum() ** 2)
        assert found.correlation == pytest.approx(np.average(found.member_correlations, weights=roots))
        first = np.average((y - said[:2].mean(axis=0)) ** 2, weights=v)
        assert found.errors_by_size[1] == pytest.approx(first)


def test_weights_are_repetitions_and_labels_are_any() -> None:
    votes, y = random_votes(1)
    times = np.random.default_rng(0).integers(0, 4, len(y))
    names = np.array(["ash", "beech", "cedar", "dogwood"])
    weighted = diversity_of(names[votes], names[y], task="classification", sample_weight=times)
    repeated = diversity_of(np.repeat(votes, times, axis=1), np.repeat(y, times), task="classification")
    for name in ("error", "mean_error", "strength", "correlation", "bound", "ambiguity", "loss"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name))


@every_class
def test_an_ensemble_tells_of_its_members(kind: Any) -> None:
    X, y = made(400)
    model = fitted(kind, X[:200], y[:200])
    truth = y[200:] if "Class" in kind.__name__ else X[200:, 0] + (y[200:] == "a")
    found = model.diversity(X[200:], truth)
    said = [
        model.classes_[m.predict(X[200:, c])] if "Class" in kind.__name__ else m.predict(X[200:, c])
        for m, c in zip(model.estimators_, model.estimators_features_, strict=True)
    ]
    task = "classification" if "Class" in kind.__name__ else "regression"
    by_hand = diversity_of(np.array(said), truth, task=task)
    assert found.error == pytest.approx(by_hand.error) and found.correlation == pytest.approx(by_hand.correlation)
    assert_allclose(found.member_errors, by_hand.member_errors)
    if task == "classification":
        assert found.own_error == pytest.approx(1.0 - model.score(X[200:], truth))
        odd = np.array(["z"] * 3)  # a class that no member knows
        assert model.diversity(X[:3], odd).mean_error == 1.0
    else:
        assert found.error == pytest.approx(np.mean((model.predict(X[200:]) - truth) ** 2))
    assert found.error < found.mean_error


def test_a_forests_members_are_told_of_too() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    forest = RandomForestClassifier(n_estimators=20).fit(X[::2], y[::2])
    apart = [RandomForestClassifier(n_estimators=1, seed=i, max_features=2).fit(X[::2], y[::2]) for i in range(20)]
    found = diversity_of([one.predict(X[1::2]) for one in apart], y[1::2], task="classification")
    assert found.error < found.mean_error and forest.score(X[1::2], y[1::2]) > 1.0 - found.mean_error


def test_it_says_why_the_ensemble_helps_or_does_not() -> None:
    votes, y = random_votes(0)
    helping = diversity_of(votes, y, task="classification")
    assert "outvote" in str(helping) and "bound on the error of the vote" in str(helping)
    alike = diversity_of(np.repeat(votes[:1], 3, axis=0), y, task="classification")
    assert "nearly alike" in str(alike) and alike.correlation == pytest.approx(1.0)
    wrong = diversity_of(1 - np.eye(3, dtype=int), [0, 0, 0], task="classification")
    assert wrong.error == 1.0 and wrong.mean_error == pytest.approx(2.0 / 3.0)
    assert np.isnan(wrong.bound) and "There is no bound" in str(wrong) and "most others get wrong too" in str(wrong)
    perfect = diversity_of([[0, 1], [0, 1]], [0, 1], task="classification")
    assert "nothing to win" in str(perfect) and perfect.error == 0.0
    same = diversity_of(np.ones((3, 4)), np.arange(4.0), task="regression")
    assert "nearly alike" in str(same) and same.correlation == pytest.approx(1.0)
    apart = diversity_of(np.arange(8.0).reshape(2, 4), np.arange(4.0), task="regression")
    assert "%" in str(apart)
    assert "nothing to win" in str(diversity_of(np.ones((2, 3)), np.ones(3), task="regression"))


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_plot_has_titles_and_a_legend(task: str) -> None:
    votes, y = random_votes(0)
    spec = diversity_of(votes, y, task=task).plot().to_dict()
    growth, cloud = spec["hconcat"]
    for chart in (growth, cloud):
        assert chart["title"] and all(chart["encoding"][axis]["title"] for axis in ("x", "y", "color"))
    assert len(cloud["data"]["values"]) == 7 and len(growth["data"]["values"]) == 9


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"task": "ranking"}, "no task 'ranking'"),
        ({"said": [1, 2]}, "give .members, n. and .n,."),
        ({"y": [1, 2, 3]}, "give .members, n. and .n,."),
        ({"asked": [[True, True]]}, "asked has shape"),
        ({"asked": [[True, True], [False, False]]}, "asked about no row"),
    ],
)
def test_what_is_told_of_members_must_fit_together(wrong: dict[str, Any], sentence: str) -> None:
    given: dict[str, Any] = {"said": [[1, 2], [1, 1]], "y": [1, 2], "task": "classification", **wrong}
    with pytest.raises(InputError, match=sentence):
        diversity_of(given.pop("said"), given.pop("y"), **given)


# Quality ------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("columns", [0.5, 1.0])
def test_quality_is_scikit_learns(columns: float) -> None:
    X, y = make_classification(2000, 20, n_informative=8, n_classes=3, random_state=0)
    subspace = columns < 1.0
    ours = (RandomSubspaceClassifier if subspace else BaggingClassifier)(n_estimators=50).fit(X[:1000], y[:1000])
    theirs = peers.BaggingClassifier(n_estimators=50, max_features=columns, bootstrap=not subspace, random_state=0).fit(
        X[:1000], y[:1000]
    )
    assert ours.score(X[1000:], y[1000:]) >= theirs.score(X[1000:], y[1000:]) - 0.02
    tree = DecisionTreeClassifier().fit(X[:1000], y[:1000])
    assert ours.score(X[1000:], y[1000:]) > tree.score(X[1000:], y[1000:]) + 0.05
    X, y = make_friedman1(1500, noise=1.0, random_state=0)
    ours = (RandomSubspaceRegressor if subspace else BaggingRegressor)(n_estimators=50).fit(X[:700], y[:700])
    theirs = peers.BaggingRegressor(n_estimators=50, max_features=columns, bootstrap=not subspace, random_state=0).fit(
        X[:700], y[:700]
    )
    assert ours.score(X[700:], y[700:]) >= theirs.score(X[700:], y[700:]) - 0.03


def test_the_members_of_scikit_learns_ensemble_average_to_its_answer() -> None:
    X, y = load_wine(return_X_y=True)
    model = RandomSubspaceClassifier(KNeighborsClassifier(3), n_estimators=9, max_features=4).fit(X, y)
    theirs = peers.VotingClassifier([("one", KNeighborsClassifier(3))], voting="soft")
    by_hand = np.mean([clone(theirs).fit(X[:, c], y).predict_proba(X[:, c]) for c in model.estimators_features_], 0)
    assert_allclose(model.predict_proba(X), by_hand, rtol=1e-12)


# Frames, gaps, sparse rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
@every_class
def test_members_see_frames_with_their_own_columns(kind: Any, frame: Any) -> None:
    rng = np.random.default_rng(0)
    columns = {
        "noise": rng.normal(size=200),
        "town": rng.choice(["Ulm", "Bern", "Graz"], 200),
        "size": rng.normal(size=200),
        "late": rng.random(200) < 0.5,
    }
    given, target = frame(columns), (columns["town"] == "Ulm") + 2 * columns["late"]
    model = kind(n_estimators=20, max_features=3).fit(given, target)
    for member, own in zip(model.estimators_, model.estimators_features_, strict=True):
        assert member.feature_names_in_.tolist() == [list(columns)[j] for j in own]
        assert set(member.categories_) == {i for i, j in enumerate(own) if j in (1, 3)}
    assert model.score(given, target) > 0.8
    assert_array_equal(answers(persist.loads(persist.dumps(model)), given), answers(model, given))
    assert model.diversity(given, target).n_rows == 200


def test_gaps_and_sparse_rows_go_where_the_base_takes_them() -> None:
    X, y = made()
    X[::5, 2] = np.nan
    assert BaggingClassifier(n_estimators=3).fit(X, y).score(X, y) > 0.9
    with pytest.raises(ValueError, match="NaN"):
        BaggingClassifier(LogisticRegression(), n_estimators=3).fit(X, y)
    thin = sparse.random_array((200, 12), density=0.2, rng=np.random.default_rng(0), format="csc")
    target = thin.toarray()[:, 0] > 0.0
    for base in (LogisticRegression(), RidgeClassifier()):
        model = BaggingClassifier(base, n_estimators=4, max_features=6).fit(thin, target)
        dense = BaggingClassifier(base, n_estimators=4, max_features=6).fit(thin.toarray(), target)
        assert_allclose(model.predict_proba(thin), dense.predict_proba(thin.toarray()), atol=2e-3)
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        BaggingClassifier(n_estimators=2).fit(thin, target)


def test_parts_of_rows() -> None:
    X = np.arange(12.0).reshape(4, 3)
    rows, columns = np.array([2, 0, 2]), np.array([2, 1])
    for given in (X, sparse.csr_array(X), pd.DataFrame(X), pl.DataFrame(X)):
        for r, c in itertools.product((None, rows), (None, columns)):
            found = part_of(given, r, c)
            assert type(found) is type(given)
            dense = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
            wanted = X if r is None else X[r]
            assert_array_equal(dense, wanted if c is None else wanted[:, c])


def test_a_base_that_names_columns_is_refused() -> None:
    X, y = load_wine(return_X_y=True)
    for base in (
        DecisionTreeClassifier(categorical_features=[0]),
        OneVsRestClassifier(DecisionTreeClassifier(monotonic_cst=[1] * 13)),
    ):
        with pytest.raises(InputError, match="names columns, and every member sees others"):
            RandomSubspaceClassifier(base).fit(X, y)
    BaggingClassifier(DecisionTreeClassifier(categorical_features=[0]), n_estimators=2).fit(np.round(X), y)


# Files and parameters -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        RandomSubspaceClassifier(DecisionTreeClassifier(max_depth=2, seed=9), n_estimators=3),
        BaggingClassifier(OneVsRestClassifier(SoftmaxClassifier(C=0.3)), n_estimators=3, max_features=0.4),
        BaggingClassifier(NearestNeighborsClassifier(), n_estimators=3, voting="hard", oob_score=True),
        RandomSubspaceRegressor(BaggingRegressor(DecisionTreeRegressor(seed=4), n_estimators=2), n_estimators=3),
        BaggingRegressor(heldout.Ridge(alpha=2.0), n_estimators=3, max_samples=0.5),
    ],
    ids=repr,
)
def test_stored_and_restored_with_the_base_and_its_own_seed(model: Any) -> None:
    X, y = load_wine(return_X_y=True)
    model.fit(X, y)
    again = persist.loads(persist.dumps(model))
    assert_array_equal(again.predict(X), model.predict(X))
    assert persist.dumps(again) == persist.dumps(model)
    assert repr(again.estimator) == repr(model.estimator)
    assert_array_equal(clone(again).fit(X, y).predict(X), model.predict(X))


def change(state: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    return {**state, key: value(state[key]) if callable(value) else value}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("estimators", lambda members: members[:-1]),
        (
            "estimators",
            lambda members: [*members[:-1], heldout.SoftmaxClassifier().fit([[0.0] * 6, [1.0] * 6], [0, 1])],
        ),
        ("estimators", lambda members: [m.fit([[0.0] * 6, [1.0] * 6], [0, 7]) for m in members]),
        ("estimators", lambda members: [m.fit([[0.0] * 6, [1.0] * 6], ["a", "b"]) for m in members]),
        ("estimators", lambda members: [m.fit(pd.DataFrame(np.eye(6), columns=[*"abcdef"]), [0] * 6) for m in members]),
        ("columns", lambda columns: columns[:, ::-1].copy()),
        ("columns", lambda columns: columns[:, :-1].copy()),
        ("columns", lambda columns: columns + 12),
        ("columns", lambda columns: columns.astype(np.float64)),
        ("base_seeds", {}),
        ("base_seeds", {"seed": -1}),
        ("base_seeds", {"seed": True}),
        ("base_seeds", [0]),
        ("max_features", 0.9),
        ("max_features", [1]),
        ("seed", 2**32),
    ],
)
def test_files_whose_parts_do_not_fit_are_refused(key: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = load_wine(return_X_y=True)
    model = RandomSubspaceClassifier(n_estimators=3).fit(X, y)
    state = change(model.to_state(), key, value)
    monkeypatch.setattr(RandomSubspaceClassifier, "to_state", lambda self: state)
    data = persist.dumps(model)
    with pytest.raises(ModelFileError):
        persist.loads(data)


def test_a_base_of_others_is_not_stored() -> None:
    X, y = load_wine(return_X_y=True)
    with pytest.raises(InputError, match="RidgeClassifier is not heldout's and cannot be stored"):
        persist.dumps(BaggingClassifier(RidgeClassifier(), n_estimators=2).fit(X, y))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"n_estimators": 0}, "n_estimators is 0"),
        ({"max_samples": 1.5}, "max_samples is 1.5"),
        ({"max_features": 99}, "max_features is 99"),
        ({"bootstrap": 1}, "bootstrap is 1"),
        ({"oob_score": True, "bootstrap": False}, "oob_score needs rows that are in no bag"),
        ({"voting": "loud"}, "no voting 'loud'"),
        ({"workers": "elves"}, "no workers 'elves'"),
        ({"seed": -1}, "seed is -1"),
        ({"estimator": LinearRegression()}, "wants a classifier as its base, which LinearRegression is not"),
    ],
)
def test_wrong_parameters_are_refused_in_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        BaggingClassifier(**wrong).fit(*load_wine(return_X_y=True))
    with pytest.raises(InputError, match="wants a regressor"):
        RandomSubspaceRegressor(RidgeClassifier()).fit(*load_wine(return_X_y=True))
