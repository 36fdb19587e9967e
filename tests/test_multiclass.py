"""One-vs-one and one-vs-rest beside scikit-learn's, the decodings beside their definitions, and what they tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_digits, load_wine
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier
from sklearn.multiclass import OneVsOneClassifier as TheirOneVsOne
from sklearn.multiclass import OneVsRestClassifier as TheirOneVsRest
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.validation import validate_data

from heldout import (
    MarginClassifier,
    OneVsOneClassifier,
    OneVsRestClassifier,
    SoftmaxClassifier,
    compare_reductions,
    persist,
)
from heldout.errors import InputError
from heldout.linear import together
from heldout.linear.margin import losses as margin_losses
from heldout.linear.margin import solvers as margin
from heldout.linear.softmax import classifier as softmax
from heldout.multiclass import decoding


def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return X / 16.0, y


BASES = [
    LogisticRegression(),
    RidgeClassifier(),
    LinearSVC(),
    DecisionTreeClassifier(max_depth=4, random_state=0),
    Perceptron(random_state=0),
]


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_the_same_base_and_decoding_predict_as_scikit_learn(n_classes: int, base: Any) -> None:
    X, y = digits()
    kept = y < n_classes
    X, names = X[kept], np.array([f"digit {k}" for k in range(10)])[y[kept]]
    train = np.arange(len(X)) % 3 > 0
    for ours, theirs in ((OneVsOneClassifier, TheirOneVsOne), (OneVsRestClassifier, TheirOneVsRest)):
        mine, other = ours(base).fit(X[train], names[train]), theirs(base).fit(X[train], names[train])
        assert_array_equal(mine.predict(X[~train]), other.predict(X[~train]))
        if ours is OneVsRestClassifier and hasattr(base, "predict_proba"):
            assert_allclose(mine.predict_proba(X[~train]), other.predict_proba(X[~train]), rtol=1e-12)
        if hasattr(base, "decision_function") and n_classes > 2:  # for two, theirs are votes and ours the score
            assert_allclose(mine.decision_function(X[~train]), other.decision_function(X[~train]), rtol=1e-12)


class OnlyAnswers(ClassifierMixin, BaseEstimator):
    """A classifier without scores and without probabilities: the nearer of the classes' means."""

    def fit(self, X: Any, y: Any) -> Any:
        X, y = validate_data(self, X, y)
        self.classes_ = np.unique(y)
        self.means_ = np.stack([X[y == label].mean(axis=0) for label in self.classes_])
        return self

    def predict(self, X: Any) -> Any:
        away = ((np.asarray(X)[:, None] - self.means_) ** 2).sum(axis=2)
        return self.classes_[away.argmin(axis=1)]


@pytest.mark.parametrize("decoding_name", ["votes", "confidence"])
def test_a_base_that_only_answers(decoding_name: str) -> None:
    X, y = load_wine(return_X_y=True)
    assert OneVsRestClassifier(OnlyAnswers()).fit(X, y).score(X, y) > 0.5
    model = OneVsOneClassifier(OnlyAnswers(), decoding=decoding_name).fit(X, y)
    assert model.score(X, y) > 0.65
    assert not hasattr(model, "predict_proba")


def table_of_pairs(n_classes: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.05, 0.95, (6, n_classes * (n_classes - 1) // 2))


@pytest.mark.parametrize("n_classes", [3, 4, 7])
def test_coupling_minimises_what_it_says(n_classes: int) -> None:
    r = decoding.matrix_of(table_of_pairs(n_classes, 0), n_classes)
    found, other = decoding.wu_lin_weng(r), decoding.hastie_tibshirani(r)
    off = ~np.eye(n_classes, dtype=bool)
    for i in range(len(r)):

        def squares(p: np.ndarray, r: np.ndarray = r[i]) -> float:
            return float((((r.T * p[:, None] - r * p) ** 2)[off]).sum())

        def divergence(p: np.ndarray, r: np.ndarray = r[i]) -> float:
            mu = p[:, None] / (p[:, None] + p)
            return float(-(r * np.log(mu))[off].sum())

        def best(loss: Any) -> np.ndarray:
            def of_logits(t: np.ndarray) -> float:
                p = np.exp(t - t.max())
                return float(loss(p / p.sum()))

            t = minimize(of_logits, np.zeros(n_classes), method="BFGS", options={"gtol": 1e-10}).x
            p = np.exp(t - t.max())
            return np.asarray(p / p.sum())

        assert_allclose(found[i], best(squares), atol=2e-5)
        assert_allclose(other[i], best(divergence), atol=2e-5)
    assert_allclose(found.sum(axis=1), 1.0)


@pytest.mark.parametrize("coupling", ["wu-lin-weng", "hastie-tibshirani"])
def test_coupling_gives_back_probabilities_that_fit_together(coupling: str) -> None:
    p = np.random.default_rng(1).dirichlet(np.ones(5), 8)
    chances = np.column_stack([p[:, b] / (p[:, a] + p[:, b]) for a, b in decoding.pairs(5)])
    assert_allclose(decoding.COUPLINGS[coupling](decoding.matrix_of(chances, 5)), p, atol=1e-6)


BASES_TOGETHER = [
    SoftmaxClassifier(tol=1e-9),
    SoftmaxClassifier(tol=1e-9, C=0.1, fit_intercept=False),
    MarginClassifier(loss="log", tol=1e-9),
    MarginClassifier(loss="squared-hinge", tol=1e-9),
    MarginClassifier(loss="exponential", C=0.01, tol=1e-9),
]


@pytest.mark.parametrize("way", ["compiled", "matrices", "apart"])
@pytest.mark.parametrize("base", BASES_TOGETHER, ids=repr)
@pytest.mark.parametrize("reduction", [OneVsOneClassifier, OneVsRestClassifier])
@pytest.mark.parametrize("weighted", [False, True])
def test_problems_solved_together_are_each_alone(
    weighted: bool, reduction: Any, base: Any, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = digits()
    kept = y < 5
    X, y = X[kept][:400, 20:50] + 2.0, y[kept][:400]
    v = np.random.default_rng(0).uniform(0.5, 2.0, 400) if weighted else None
    if way == "matrices":
        monkeypatch.setattr(softmax, "SMALL", 0)
        monkeypatch.setattr(margin, "NARROW_COLUMNS", 0)
        monkeypatch.setattr(together, "block_rows", lambda p: 37)  # several blocks of a class
    elif way == "apart":
        monkeypatch.delattr(type(base), "fit_many")
    many = reduction(base).fit(X, y, v)
    for fitted, sides in zip(many.estimators_, many._roles(5).T, strict=True):
        rows = sides[y] != 0
        target, own = (sides[y[rows]] > 0).astype(int), np.ones(rows.sum()) if v is None else v[rows]
        assert_allclose(slopes_of(base, fitted, X[rows], target, own), 0.0, atol=2e-7 * own.sum() * base.C)
        assert_array_equal(fitted.classes_, [0, 1])
        assert fitted.intercept_.any() == base.fit_intercept and fitted.n_iter_ >= 1


def slopes_of(base: Any, fitted: Any, X: np.ndarray, target: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The gradient of |w|^2 / 2 + C sum_i v_i loss(margin_i), by w and b, from the losses' definitions."""
    sign = 2.0 * target - 1.0
    loss = margin_losses.LOSSES[getattr(base, "loss", "log")]
    pull = base.C * v * loss.slope(sign * fitted.decision_function(X)) * sign
    return np.append(fitted.coef_[0] + X.T @ pull, pull.sum() * base.fit_intercept)


def test_what_is_not_solved_together_is_solved_apart() -> None:
    X, y = digits()
    X, y = X[:300, 20:40], y[:300]
    for base in (
        SoftmaxClassifier(tol=1e-9, class_weight="balanced"),
        SoftmaxClassifier(tol=1e-9, l1_ratio=0.5),
        MarginClassifier(probability=True, loss="log"),
        MarginClassifier(),
    ):
        for data in (X, sparse.csr_array(X)):
            apart, alone = OneVsRestClassifier(base).fit(data, y), clone(base).fit(data, (y == 3).astype(int))
            assert_allclose(apart.estimators_[3].coef_, alone.coef_, rtol=0, atol=1e-9)


def test_threads_and_processes_change_nothing() -> None:
    X, y = load_wine(return_X_y=True)
    plain = OneVsOneClassifier(MarginClassifier(loss="squared-hinge")).fit(X, y)
    for workers in ("threads", "processes"):
        other = OneVsOneClassifier(MarginClassifier(loss="squared-hinge"), n_jobs=2, workers=workers).fit(X, y)
        assert_array_equal(plain.decision_function(X), other.decision_function(X))


def test_what_each_classifier_faced() -> None:
    X, y = digits()
    kept = (y > 3) | (np.arange(len(y)) % 10 == 0)
    X, y = X[kept], y[kept]
    counts = np.bincount(y)
    one = OneVsOneClassifier().fit(X, y).properties_
    assert one.rows.tolist() == [counts[a] + counts[b] for a, b in decoding.pairs(10)]
    rest = OneVsRestClassifier().fit(X, y).properties_
    assert_allclose(rest.imbalance, (len(y) - counts) / counts)
    assert "45 classifiers for 10 classes" in str(one) and "10 classifiers see all" in str(rest)


def test_reductions_are_compared() -> None:
    X, y = digits()
    found = compare_reductions(SoftmaxClassifier(tol=1e-3), X, y)
    assert found.contenders[0].accuracy >= found.contenders[-1].accuracy > 0.9
    assert len(found.pairs) == 3 and "accuracy" in str(found)
    worse = compare_reductions(OnlyAnswers(), X[:900], y[:900], validation=(X[900:], y[900:]))
    assert {pair.better for pair in worse.pairs} <= {one.name for one in worse.contenders}
    best, last = worse.contenders[0], worse.contenders[-1]
    assert "more than chance" in worse.verdict or worse.pairs[0].p_value > 0.05
    assert best.accuracy - last.accuracy == pytest.approx(max(pair.gain for pair in worse.pairs))
    with pytest.raises(InputError, match="three classes or more"):
        compare_reductions(SoftmaxClassifier(), X[y < 2], y[y < 2])


def test_a_base_of_others_is_not_stored() -> None:
    X, y = load_wine(return_X_y=True)
    with pytest.raises(InputError, match="LogisticRegression is not heldout's and cannot be stored"):
        persist.dumps(OneVsOneClassifier(LogisticRegression(max_iter=5000)).fit(X, y))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"decoding": "vote"}, "no decoding 'vote'"),
        ({"coupling": "platt"}, "no coupling 'platt'"),
        ({"workers": "gpu"}, "no workers 'gpu'"),
        ({"estimator": RidgeClassifier(), "decoding": "coupling"}, "RidgeClassifier has no probabilities"),
    ],
)
def test_wrong_parameters_are_refused_in_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    X, y = load_wine(return_X_y=True)
    with pytest.raises(InputError, match=sentence):
        OneVsOneClassifier(**wrong).fit(X, y)


def test_weights_that_the_base_does_not_take() -> None:
    X, y = load_wine(return_X_y=True)
    with pytest.raises(InputError, match="OnlyAnswers takes no sample_weight"):
        OneVsRestClassifier(OnlyAnswers()).fit(X, y, np.ones(len(y)))
