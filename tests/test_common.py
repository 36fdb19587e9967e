"""Every learner through the same checks: scikit-learn's own, whole, and ours."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone, is_classifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from heldout.baseline import BaselineClassifier, BaselineRegressor
from heldout.ensemble.estimators import (
    BaggingClassifier,
    BaggingRegressor,
    RandomSubspaceClassifier,
    RandomSubspaceRegressor,
)
from heldout.errors import ModelFileError
from heldout.linear.descent.steps import GradientDescent
from heldout.linear.likelihood.estimator import MaximumLikelihood
from heldout.linear.margin.classifier import MarginClassifier
from heldout.linear.penalised.lasso import ElasticNet, Lasso
from heldout.linear.penalised.ridge import Ridge
from heldout.linear.softmax.classifier import SoftmaxClassifier
from heldout.linear.squares.polynomial import PolynomialRegression
from heldout.linear.squares.regression import LinearRegression
from heldout.multiclass.one_vs_one import OneVsOneClassifier
from heldout.multiclass.one_vs_rest import OneVsRestClassifier
from heldout.neighbors.estimators import NearestNeighborsClassifier, NearestNeighborsRegressor
from heldout.neural.convnets import ConvNetClassifier, ConvNetRegressor
from heldout.neural.estimators import MLPClassifier, MLPRegressor, NeuralClassifier, NeuralRegressor
from heldout.neural.layers import Conv2D, Dense, Flatten, ReLU, Sequential
from heldout.neural.series import RecurrentClassifier, RecurrentRegressor
from heldout.trees.forest import RandomForestClassifier, RandomForestRegressor
from heldout.trees.tree import DecisionTreeClassifier, DecisionTreeRegressor

LEARNERS: list[Any] = [
    BaselineRegressor(),
    BaselineRegressor(statistic="median"),
    BaselineRegressor(statistic=0.9),
    BaselineClassifier(),
    BaselineClassifier(strategy="most_frequent"),
    LinearRegression(),
    LinearRegression(fit_intercept=False, tol=1e-10),
    LinearRegression(solver="qr"),
    LinearRegression(solver="svd"),
    LinearRegression(solver=GradientDescent(update="nesterov", tol=1e-13)),
    PolynomialRegression(),
    PolynomialRegression(degree=3, tol=1e-10),
    MaximumLikelihood(),
    MaximumLikelihood(fit_intercept=False, tol=1e-9),
    MaximumLikelihood(family="laplace"),
    MaximumLikelihood(family="student_t", df=4.0),
    Ridge(),
    Ridge(alpha=0.7, standardise=True),
    Lasso(),
    Lasso(alpha=0.05, fit_intercept=False),
    ElasticNet(rule="min", n_alphas=30),
    ElasticNet(alpha=0.05, l1_ratio=0.2, standardise=True),
    MarginClassifier(),
    MarginClassifier(loss="squared-hinge", C=0.5, tol=1e-9),
    MarginClassifier(loss="log", class_weight="balanced", tol=1e-9),
    MarginClassifier(probability=True),
    SoftmaxClassifier(),
    SoftmaxClassifier(solver="lbfgs", C=0.5, class_weight="balanced"),
    SoftmaxClassifier(solver="newton", C=10.0, tol=1e-8, max_iter=50),
    SoftmaxClassifier(solver="newton-cg", tol=1e-8),
    SoftmaxClassifier(l1_ratio=1.0, tol=1e-10),
    SoftmaxClassifier(l1_ratio=0.5, C=0.3, tol=1e-10),
    OneVsOneClassifier(),
    OneVsOneClassifier(MarginClassifier(loss="squared-hinge", tol=1e-9), decoding="confidence"),
    OneVsOneClassifier(decoding="coupling", coupling="hastie-tibshirani"),
    OneVsRestClassifier(),
    OneVsRestClassifier(SoftmaxClassifier(solver="newton-cg", tol=1e-10)),
    DecisionTreeClassifier(),
    DecisionTreeClassifier(criterion="entropy", max_leaf_nodes=3, ccp_alpha=0.01),
    DecisionTreeClassifier(prune="cv", cv=5),
    DecisionTreeRegressor(),
    DecisionTreeRegressor(prune="cv", cv=5, min_weight_fraction_leaf=0.15),
    DecisionTreeRegressor(splitter="histogram", min_weight_fraction_leaf=0.05, max_depth=4),
    RandomForestClassifier(n_estimators=4, bootstrap=False, max_features=None),
    RandomForestRegressor(n_estimators=4, bootstrap=False),
    RandomForestRegressor(n_estimators=4, bootstrap=False, leaf_members=True, max_depth=3),
    RandomSubspaceClassifier(n_estimators=3, max_features=None),
    RandomSubspaceClassifier(SoftmaxClassifier(), n_estimators=2, max_features=1.0, voting="hard"),
    RandomSubspaceRegressor(DecisionTreeRegressor(seed=5), n_estimators=3, max_features=1.0),
    BaggingClassifier(n_estimators=3, bootstrap=False, n_jobs=1),
    BaggingRegressor(Ridge(alpha=1.0), n_estimators=2, bootstrap=False),
    NearestNeighborsClassifier(),
    NearestNeighborsClassifier(n_neighbors="auto", weights="distance", metric="manhattan"),
    NearestNeighborsRegressor(algorithm="brute"),
    NearestNeighborsRegressor(n_neighbors="auto", weights="distance"),
    MLPClassifier(),
    MLPRegressor(learning_rate_init=0.01, max_iter=40),
    NeuralClassifier(n_iter_no_change=3),  # of the network that MLPClassifier has: what is compiled serves both
    NeuralRegressor(learning_rate_init=0.01, max_iter=40),
]
# Four columns as images of two by two pixels and as series of four steps; each step of training sees all rows.
SHORT: dict[str, Any] = {"batch_size": 200, "max_iter": 20, "precision": "double"}
SMALL = Sequential(Conv2D(3, 2), ReLU(), Flatten(), Dense())
OF_IMAGES_AND_SERIES: list[Any] = [
    ConvNetClassifier(SMALL, image_shape=(2, 2), **SHORT),
    ConvNetRegressor(SMALL, image_shape=(2, 2), **SHORT),
    RecurrentClassifier(units=3, cell="rnn", pooling="last", filters=0, **SHORT),
    RecurrentRegressor(units=3, bidirectional=False, **SHORT),
]
EVERY = LEARNERS + OF_IMAGES_AND_SERIES
FURTHER = [learner for i, learner in enumerate(LEARNERS) if type(learner) in map(type, LEARNERS[:i])]  # of a class
CLASSIFIERS = [learner for learner in EVERY if is_classifier(learner) and hasattr(learner, "predict_proba")]
NOT_STORED = {"descent_", "_last"}


def each(learners: list[Any]) -> Any:
    """A test for each; those of learners whose class comes with other parameters too are long."""
    marked = [pytest.param(one, marks=pytest.mark.long) if one in FURTHER else one for one in learners]
    return pytest.mark.parametrize("learner", marked, ids=named)


def named(learner: Any) -> str:
    return type(learner).__name__ if learner in OF_IMAGES_AND_SERIES else repr(learner)


every_learner, every_classifier = each(EVERY), each(CLASSIFIERS)


def table(learner: Any, *, n: int = 60, p: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * [1.0, 5.0, 0.2, 1.0] + [0.0, 3.0, 1.0, -2.0]
    y = X @ [1.0, -0.3, 2.0, 0.5] + rng.normal(size=n)
    return X, np.array(["low", "middle", "high"])[np.digitize(y, [-2.0, 1.0])] if is_classifier(learner) else y


def chances(learner: Any, X: Any) -> np.ndarray:
    """Probabilities, or scores where there are none."""
    return learner.predict_proba(X) if hasattr(learner, "predict_proba") else learner.decision_function(X)


def parameters(learner: Any) -> dict[str, Any]:
    """With those of a base learner, which is named by its type."""
    return {k: type(v) if hasattr(v, "get_params") else v for k, v in learner.get_params().items()}


def outputs(learner: Any, X: Any) -> list[np.ndarray]:
    methods = ("predict", "predict_proba", "decision_function")
    return [getattr(learner, name)(X) for name in methods if hasattr(learner, name)]


def assert_same(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.dtype.kind == b.dtype.kind
        np.testing.assert_array_equal(a, b)


@parametrize_with_checks([learner for learner in LEARNERS if learner not in FURTHER])
def test_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.long
@parametrize_with_checks(FURTHER)
def test_scikit_learn_with_other_parameters(estimator: Any, check: Any) -> None:
    check(estimator)


@every_learner
def test_clone_and_parameters(learner: Any) -> None:
    assert parameters(clone(learner)) == parameters(learner)
    assert parameters(type(learner)(**learner.get_params(deep=False))) == parameters(learner)
    assert vars(clone(learner)).keys() == learner.get_params(deep=False).keys()


@every_learner
def test_fit_leaves_its_inputs_alone(learner: Any) -> None:
    X, y = table(learner)
    weights = np.linspace(0.0, 2.0, len(y))
    before = X.copy(), y.copy(), weights.copy()
    clone(learner).fit(X, y, sample_weight=weights).predict(X)
    for now, then in zip((X, y, weights), before, strict=True):
        np.testing.assert_array_equal(now, then)


@every_learner
def test_fit_takes_read_only_and_column_ordered_arrays(learner: Any) -> None:
    X, y = table(learner)
    expected = outputs(clone(learner).fit(X, y), X)
    frozen = np.asfortranarray(X)
    frozen.flags.writeable = False
    assert_same(expected, outputs(clone(learner).fit(frozen, y), X))


@every_learner
def test_the_same_data_twice_gives_the_same_bits(learner: Any) -> None:
    X, y = table(learner, n=60 if learner in OF_IMAGES_AND_SERIES else 3000)
    assert_same(outputs(clone(learner).fit(X, y), X), outputs(clone(learner).fit(X, y), X))


@every_learner
def test_repeated_rows_equal_weights(learner: Any) -> None:
    X, y = table(learner)
    times = np.random.default_rng(1).integers(0, 3, size=len(y))  # 0, 1 or 2: as many rows as before, about
    weighted = clone(learner).fit(X, y, sample_weight=times)
    repeated = clone(learner).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    if is_classifier(learner):
        np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))
        np.testing.assert_allclose(chances(weighted, X), chances(repeated, X), atol=2e-5)
    else:
        np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-11)


@every_learner
def test_unit_weights_equal_none(learner: Any) -> None:
    X, y = table(learner)
    weighted = clone(learner).fit(X, y, sample_weight=np.ones(len(y)))
    if is_classifier(learner):
        np.testing.assert_allclose(chances(weighted, X), chances(clone(learner).fit(X, y), X), atol=1e-7)
    else:
        np.testing.assert_allclose(weighted.predict(X), clone(learner).fit(X, y).predict(X), rtol=1e-12)


@every_learner
def test_permuted_columns_permute_the_coefficients(learner: Any) -> None:
    if hasattr(learner, "learning_rate_range_test"):
        pytest.skip("a network's first weights belong to columns; test_mlp.py permutes them too")
    X, y = table(learner)
    order = [2, 0, 3, 1]
    plain, permuted = clone(learner).fit(X, y), clone(learner).fit(X[:, order], y)
    if is_classifier(learner):
        np.testing.assert_allclose(chances(permuted, X[:, order]), chances(plain, X), atol=2e-5)
    else:
        np.testing.assert_allclose(permuted.predict(X[:, order]), plain.predict(X), rtol=1e-11)
    if np.shape(getattr(plain, "coef_", None))[-1:] == (4,):  # one for each column
        tolerance = {"rtol": 1e-3, "atol": 1e-4} if is_classifier(learner) else {"rtol": 1e-10}
        np.testing.assert_allclose(permuted.coef_, plain.coef_[..., order], **tolerance)


@every_learner
def test_rows_are_predicted_one_by_one(learner: Any) -> None:
    X, y = table(learner)
    fitted = clone(learner).fit(X, y)
    singles = [outputs(fitted, X[[i]]) for i in range(5)]
    for whole, *single in zip(outputs(fitted, X[:5]), *singles, strict=True):
        if whole.dtype.kind in "UO":
            np.testing.assert_array_equal(whole, np.concatenate(single))
        else:
            np.testing.assert_allclose(whole, np.concatenate(single), rtol=1e-12, atol=1e-12)


@every_learner
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_frames_bring_their_column_names(learner: Any, frame: Any) -> None:
    X, y = table(learner)
    named = frame({f"column {j}": X[:, j] for j in range(4)})
    fitted = clone(learner).fit(named, y)
    assert fitted.feature_names_in_.tolist() == [f"column {j}" for j in range(4)]
    assert_same(outputs(clone(learner).fit(X, y), X), outputs(fitted, named))
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(frame({f"other {j}": X[:, j] for j in range(4)}))


@every_learner
def test_stored_and_restored(learner: Any) -> None:
    persist = pytest.importorskip("heldout.persist", reason="heldout.persist is not there")
    X, y = table(learner)
    for fitted in (clone(learner).fit(X, y), clone(learner).fit(pd.DataFrame(X, columns=list("abcd")), y)):
        restored = persist.loads(persist.dumps(fitted))
        named = pd.DataFrame(X, columns=list("abcd")) if hasattr(fitted, "feature_names_in_") else X
        assert_same(outputs(fitted, named), outputs(restored, named))
        assert parameters(restored) == parameters(fitted)
        assert vars(restored).keys() == vars(fitted).keys() - NOT_STORED


@every_classifier
@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", "yes"]),
        np.array(["nein", "ja"], dtype=object),
        np.array([False, True]),
        np.array([3, -7], dtype=np.int8),
        np.array([2**63, 1], dtype=np.uint64),
        np.array([2.0, -1.0], dtype=np.float32),
    ],
    ids=lambda labels: str(labels.dtype),
)
def test_labels_come_back_in_their_own_type(learner: Any, labels: np.ndarray) -> None:
    persist = pytest.importorskip("heldout.persist", reason="heldout.persist is not there")
    X, _ = table(learner)
    fitted = clone(learner).fit(X, labels[(X[:, 0] > 0).astype(int)])
    restored = persist.loads(persist.dumps(fitted))
    assert fitted.predict(X).dtype == labels.dtype
    assert restored.classes_.dtype.kind == fitted.classes_.dtype.kind
    assert restored.classes_.tolist() == fitted.classes_.tolist()
    np.testing.assert_array_equal(restored.predict(X), fitted.predict(X))


NONSENSE: dict[str, Any] = {
    "coef": np.zeros((7, 7)),
    "intercept": np.array([np.nan]),
    "rank": -1,
    "condition": 0.5,
    "solver_taken": "auto",
    "degree": 0,
    "basis_coef": np.zeros((2, 3)),
    "center": np.array([np.nan]),
    "scale": np.zeros(4),
    "family": "weibull",
    "link": "loglog",
    "df": -1.0,
    "auxiliary": np.array([-1.0]),
    "alpha": -1.0,
    "alpha_taken": "much",
    "cv": 1,
    "rule": "max",
    "n_alphas": 1,
    "standardise": 0,
    "choice": np.ones((3, 4)),
    "eps": 0.0,
    "dual_gap": -1.0,
    "loss": "zero-one",
    "intercept_scaling": 0.0,
    "average": 1,
    "probability": "yes",
    "calibration": np.zeros((1, 1)),
    "seed": -1,
    "decoding": "guess",
    "coupling": "loose",
    "workers": "elves",
    "voting": "loud",
    "base_seeds": {"luck": 7},
    "columns": np.array([[3, 1]]),
    "estimators": [],
    "properties": np.zeros((4, 1)),
    "n_rows": 0,
    "verbose": "loud",
    "leaf_members": 1,
    "missing": "some",
    "members": {},
    "default": "yes",
    "criterion": "guess",
    "splitter": "axe",
    "max_depth": 0,
    "max_leaf_nodes": 1,
    "min_samples_split": 1,
    "min_samples_leaf": 0,
    "min_weight_fraction_leaf": 0.7,
    "min_impurity_decrease": -1.0,
    "max_features": 1000,
    "monotonic_cst": [5],
    "categorical_features": [1000],
    "categories": {"0": ["b", "a"]},
    "ccp_alpha": -1.0,
    "ccp_alpha_taken": -1.0,
    "prune": "hedge",
    "pruning": {},
    "n_estimators": 0,
    "cuts": "none",
    "bootstrap": "yes",
    "max_samples": -1,
    "oob_score": "yes",
    "warm_start": "yes",
    "time_limit": -1.0,
    "trees": [],
    "oob": "yes",
    "tree": {},
    "n_neighbors": 0,
    "weights": "near",
    "algorithm": "oracle",
    "metric": "mahalanobis",
    "p": 0.5,
    "n_jobs": "all",
    "k": 10**6,
    "rows": np.zeros((0, 4)),
    "row_weights": np.zeros(3),
    "codes": np.array([0, 7]),
    "targets": np.zeros((1, 1)),
    "constant": None,
    "statistic": "mode",
    "strategy": "guess",
    "class_prior": np.array([0.5, 0.5, 0.5]),
    "labels": ["b", "a", "c"],
    "label_type": "complex128",
    "n_features": 9,
    "feature_names": ["only one"],
    "C": -1.0,
    "l1_ratio": 2.0,
    "tol": "small",
    "solver": "magic",
    "max_iter": 0,
    "class_weight": [["low", -1.0]],
    "n_iter": 0,
    "fit_intercept": 1,
    "hidden_layer_sizes": [0],
    "activation": "spline",
    "dropout": 1.0,
    "batch_norm": "yes",
    "initialization": "luck",
    "network": {"kind": "Wormhole"},
    "augment": "flip",
    "mixup": -1.0,
    "freeze": [7],
    "image_shape": [0, 4],
    "cell": "transistor",
    "tokens": "syllables",
    "tokens_learned": 7,
    "vocabulary": 0,
    "least": 0,
    "max_tokens": 0,
    "truncated": -1,
    "embedding": 0,
    "filters": -1,
    "units": 0,
    "layers": 0,
    "bidirectional": "yes",
    "pooling": "most",
    "network_fitted": {"kind": "Dense", "units": 0, "use_bias": True, "initialization": "he"},
    "in_shape": [3],
    "precision": "quadruple",
    "precision_taken": "quadruple",
    "params": {},
    "state": {"batchnorm_1": {"mean": np.zeros(1)}},
    "input_mean": np.array([np.nan]),
    "input_scale": np.zeros(4),
    "history": {},
    "losses": [1.0],
    "multilabel": "yes",
    "difference": "yes",
    "target_mean": np.zeros(9),
    "target_scale": np.zeros(9),
    "l1": -1.0,
    "weight_decay": -1.0,
    "clip_norm": -1.0,
    "momentum": -1.0,
    "beta_1": -1.0,
    "beta_2": -1.0,
    "epsilon": -1.0,
    "batch_size": 0,
    "learning_rate": "falling",
    "learning_rate_init": -1.0,
    "n_iter_no_change": "few",
    "early_stopping": "late",
    "validation_fraction": 1.0,
    "device": "abacus",
    "chunk_rows": 0,
    "checkpoint": 7,
}


@every_learner
def test_nonsense_in_a_file_is_refused(learner: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    persist = pytest.importorskip("heldout.persist", reason="heldout.persist is not there")
    X, y = table(learner)
    fitted = clone(learner).fit(X, y)
    state = fitted.to_state()
    harmless = {"n_features"} if type(learner).__name__.startswith("Baseline") else set()
    for key in state.keys() - harmless:
        with monkeypatch.context() as patch:
            patch.setattr(type(fitted), "to_state", lambda self, bad=key: {**state, bad: NONSENSE[bad]})
            data = persist.dumps(fitted)
        with pytest.raises(ModelFileError):
            persist.loads(data)


@every_learner
def test_pickling_keeps_working_for_joblib(learner: Any) -> None:
    X, y = table(learner)
    fitted = clone(learner).fit(X, y)
    assert_same(outputs(fitted, X), outputs(pickle.loads(pickle.dumps(fitted)), X))
