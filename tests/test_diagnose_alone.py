"""heldout.diagnose: one estimator and its rows, without a study."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.linear_model import LinearRegression as SklearnLinear
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor

import heldout.diagnosis.leaks.seen
from heldout import LinearRegression, diagnose
from heldout.diagnosis import alone
from heldout.errors import InputError, WorkError

rng = np.random.default_rng(0)
X = rng.normal(size=(900, 3))
Y = X[:, 0] + rng.normal(size=900)
LABELS = np.where(Y > 0, "yes", "no")


def test_one_neighbour_on_noisy_labels_overfits_and_more_are_the_remedy() -> None:
    found = diagnose(KNeighborsClassifier(1), X, LABELS, criterion="accuracy")
    assert found.verdict == "overfits" and found.criterion == "accuracy"
    assert found.remedy.n_neighbors == 15 and not hasattr(found.remedy, "classes_")
    assert (found.n_train, found.n_validation) == (675, 225)
    assert str(found).startswith("Overfits (675 rows to train, 225 to validate)\n") and "n_neighbors 15" in str(found)
    assert "<table>" in found._repr_html_()
    again = diagnose(KNeighborsClassifier(1), X, LABELS, criterion="accuracy")
    assert [item.difference for item in again.tried] == [item.difference for item in found.tried]


def test_a_learner_that_is_right_fits_and_one_held_back_underfits() -> None:
    assert diagnose(SklearnLinear(), X, Y, quick=True).verdict == "fits"
    wave = np.sin(4 * X[:, 0]) + 0.1 * rng.normal(size=900)
    found = diagnose(KNeighborsRegressor(100), X[:, :1], wave)
    assert found.verdict == "underfits" and found.remedy.n_neighbors == 20


def test_validation_rows_of_ones_own_and_matrices_that_are_sparse() -> None:
    found = diagnose(
        LinearSVC(), sparse.csr_array(X[:600]), LABELS[:600], validation=(sparse.csr_array(X[600:]), LABELS[600:])
    )
    assert (found.n_train, found.n_validation, found.criterion) == (600, 300, "accuracy")
    assert found.verdict == "fits" and found.remedy is None


def test_a_pipeline_gets_the_frame_as_it_is() -> None:
    frame = pd.DataFrame({"town": np.where(X[:, 0] > 0, "Ames", "Boone"), "number": np.arange(900) % 300})
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(C=1e4))
    found = diagnose(model, frame, LABELS)
    assert found.verdict == "worse than trivial" and found.remedy[-1].C == 100.0


def test_groups_and_same_rows_stay_on_one_side_and_count_as_one() -> None:
    groups = np.arange(900) // 9
    memory = np.column_stack([groups, rng.normal(size=900)]).astype(float)
    target = rng.normal(size=100)[groups]
    found = diagnose(KNeighborsRegressor(1), memory, target, groups=groups)
    assert {item.difference.clusters for item in found.tried} == {26}  # of 100 groups
    twice = np.repeat(rng.normal(size=(300, 2)), 3, axis=0)
    found = diagnose(KNeighborsRegressor(1), twice, np.repeat(rng.normal(size=300), 3))
    assert found.n_validation == 225 and found.tried[0].difference.clusters == 75  # no row is judged by its twin
    assert found.findings[-1].code != "H101"


def test_an_interruption_leaves_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = alone.attempt, []

    def interrupted(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(alone, "attempt", interrupted)
    found = diagnose(DecisionTreeRegressor(random_state=0), X, Y)
    assert found.interrupted and len(found.tried) == 1 and "Interrupted" in str(found)
    assert found.verdict == "overfits"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"y": Y[:10]}, r"900 rows of X and a y of shape \(10,\)"),
        ({"y": np.where(np.arange(900) == 3, np.nan, Y)}, "missing or infinite"),
        ({"X": X[:30], "y": Y[:30]}, "16 rows to train"),
        ({"groups": np.zeros(5)}, r"groups has the shape \(5,\)"),
        ({"groups": np.zeros(900), "validation": (X, Y)}, "leave one out"),
        ({"criterion": "log_loss"}, "does not suit a regression problem"),
        ({"estimator": KNeighborsClassifier(), "y": np.zeros(900)}, "one class only"),
        ({"estimator": KNeighborsClassifier(), "y": LABELS, "validation": (X, np.full(900, "x"))}, "'x'"),
        ({"estimator": 3}, "no estimator"),
    ],
)
def test_wrong_input_is_said(change: dict[str, Any], message: str) -> None:
    given = {"estimator": SklearnLinear(), "X": X, "y": Y} | change
    with pytest.raises(InputError, match=message):
        diagnose(given.pop("estimator"), given.pop("X"), given.pop("y"), **given)


def test_an_estimator_that_fails_is_said() -> None:
    with pytest.raises(WorkError, match="could not be fitted"):
        diagnose(KNeighborsRegressor(5000), X, Y)


def test_that_wide_rows_are_not_looked_at_for_leaks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heldout.diagnosis.leaks.seen, "MOST_COLUMNS", 3)
    draw = np.random.default_rng(0)
    X = draw.normal(size=(200, 4))
    found = diagnose(LinearRegression(), X, X[:, 0] + draw.normal(size=200), quick=True)
    assert {item.code for item in found.findings if item.code.startswith("H5")} == {"H500"}
    assert "4 columns, and 3 are the most" in " ".join(str(found).split())
    narrow = diagnose(LinearRegression(), X[:, :3], X[:, 0] + draw.normal(size=200), quick=True)
    assert "H500" not in {item.code for item in narrow.findings}
