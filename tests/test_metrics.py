"""Criteria against scikit-learn.metrics, with and without weights."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as oracle

from heldout.errors import InputError, WorkError
from heldout.metrics import CRITERIA, Prediction, criterion

RNG = np.random.default_rng(7)
N = 400
Y = RNG.normal(10, 3, N)
F = Y + RNG.normal(0, 1, N)


def classes(k: int) -> tuple[np.ndarray, Prediction]:
    y = RNG.integers(0, k, N)
    scores = RNG.normal(size=(N, k)) + 1.5 * np.eye(k)[y]
    scores[: N // 4] = np.round(scores[: N // 4])  # ties
    probability = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return y, Prediction(label=probability.argmax(axis=1), probability=probability)


BINARY, MANY = classes(2), classes(4)
VALUES = {
    "rmse": lambda y, f, w: oracle.root_mean_squared_error(y, f, sample_weight=w),
    "mse": lambda y, f, w: oracle.mean_squared_error(y, f, sample_weight=w),
    "mae": lambda y, f, w: oracle.mean_absolute_error(y, f, sample_weight=w),
    "r2": lambda y, f, w: oracle.r2_score(y, f, sample_weight=w),
    "rmsle": lambda y, f, w: oracle.root_mean_squared_log_error(y, np.maximum(f, 0), sample_weight=w),
    "mape": lambda y, f, w: oracle.mean_absolute_percentage_error(y, f, sample_weight=w),
}
LABELS = {
    "accuracy": oracle.accuracy_score,
    "balanced_accuracy": oracle.balanced_accuracy_score,
    "f1": oracle.f1_score,
    "precision": oracle.precision_score,
    "recall": oracle.recall_score,
}


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("weighted", [False, True])
def test_regression_criteria_agree_with_sklearn(name: str, weighted: bool) -> None:
    weights = RNG.integers(0, 4, N).astype(float) if weighted else np.ones(N)
    y = np.abs(Y)
    ours = criterion(name).prepare(y, Prediction(value=F))(weights)
    assert ours == pytest.approx(VALUES[name](y, F, weights), rel=1e-12)


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("data", [BINARY, MANY], ids=["binary", "multiclass"])
def test_label_criteria_agree_with_sklearn(name: str, data: tuple[np.ndarray, Prediction]) -> None:
    y, prediction = data
    weights = RNG.integers(0, 4, N).astype(float)
    options = {} if "accuracy" in name else {"average": "binary" if prediction.probability.shape[1] == 2 else "macro"}
    expected = LABELS[name](y, prediction.label, sample_weight=weights, **options)
    assert criterion(name).prepare(y, prediction)(weights) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("data", [BINARY, MANY], ids=["binary", "multiclass"])
def test_probability_criteria_agree_with_sklearn(data: tuple[np.ndarray, Prediction]) -> None:
    y, prediction = data
    p = prediction.probability
    score = p[:, 1] if p.shape[1] == 2 else p
    weights = RNG.integers(0, 4, N).astype(float)
    expected = {
        "log_loss": oracle.log_loss(y, p, sample_weight=weights),
        "brier": oracle.brier_score_loss(y, score, sample_weight=weights),
        "roc_auc": oracle.roc_auc_score(y, score, multi_class="ovr", sample_weight=weights),
        "average_precision": oracle.average_precision_score(y, score, sample_weight=weights),
    }
    for name, value in expected.items():
        assert criterion(name).prepare(y, prediction)(weights) == pytest.approx(value, rel=1e-10), name


def test_weights_of_many_replicates_at_once_equal_one_by_one() -> None:
    weights = RNG.integers(0, 3, (5, N)).astype(float)
    for item in CRITERIA.values():
        y, prediction = (np.abs(Y), Prediction(value=F)) if item.needs == "value" else MANY
        statistic = item.prepare(y, prediction)
        np.testing.assert_allclose(statistic(weights), [statistic(row) for row in weights], rtol=1e-12)


def test_any_scorer_of_sklearn_can_be_named() -> None:
    y, prediction = BINARY
    found = criterion("matthews-corrcoef", "binary")
    assert found.greater_is_better
    assert found.score(y, prediction) == pytest.approx(oracle.matthews_corrcoef(y, prediction.label))
    worst = criterion("max_error", "regression")
    assert not worst.greater_is_better
    assert worst.score(Y, Prediction(value=F)) == pytest.approx(oracle.max_error(Y, F))


def test_perfect_predictions_score_perfectly() -> None:
    y, codes = np.abs(Y), BINARY[0]
    certain = Prediction(label=codes, probability=np.eye(2)[codes])
    for item in CRITERIA.values():
        score = item.score(y, Prediction(value=y)) if item.needs == "value" else item.score(codes, certain)
        assert score == pytest.approx(item.perfect, abs=1e-12), item.name


def test_wrong_names_and_tasks_are_said() -> None:
    with pytest.raises(InputError, match="Did you mean 'rmse'"):
        criterion("rsme")
    with pytest.raises(InputError, match="does not suit a binary problem"):
        criterion("rmse", "binary")
    with pytest.raises(WorkError, match="needs a predicted probability"):
        criterion("log_loss").score(BINARY[0], Prediction(label=BINARY[1].label))
    with pytest.raises(WorkError, match="not defined for a negative target"):
        criterion("rmsle").score(np.array([-1.0, 2.0]), Prediction(value=np.array([1.0, 2.0])))
