"""The problem as it is stated: task, classes, columns left out, words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heldout.data.read import read
from heldout.errors import InputError
from heldout.problem import Problem

N = 60
RNG = np.random.default_rng(0)


def columns(**more: Any) -> dict[str, Any]:
    return {"a": RNG.normal(size=N).tolist(), "b": RNG.normal(size=N).tolist(), **more}


def state(target: str = "y", given: dict[str, Any] | None = None, **options: Any) -> Problem:
    return Problem.state(read(given or columns(y=RNG.normal(size=N).tolist())), target, **options)


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (RNG.normal(size=N).tolist(), "regression", None),
        ([float(i % 2) for i in range(N)], "binary", (0, 1)),
        ([float(i % 5) for i in range(N)], "multiclass", (0, 1, 2, 3, 4)),
        ([float(i % 15) for i in range(N)], "regression", None),
        (["yes" if i % 3 else "no" for i in range(N)], "binary", (False, True)),
        (["red", "green", "blue"] * (N // 3), "multiclass", ("blue", "green", "red")),
    ],
)
def test_the_target_decides_the_task(values: list[Any], task: str, classes: Any) -> None:
    problem = state(given=columns(y=values))
    assert (problem.task, problem.classes) == (task, classes)


def test_a_numeric_target_with_few_values_is_asked_about() -> None:
    few = state(given=columns(y=[float(i % 5) for i in range(N)]))
    assert "say --task regression" in few.notices[0]
    assert "say --task multiclass" in state(given=columns(y=[float(i % 15) for i in range(N)])).notices[0]
    assert state(given=columns(y=[float(i % 5) for i in range(N)]), task="regression").task == "regression"


def test_columns_that_cannot_be_features_are_left_out_with_the_reason() -> None:
    y = [f"c{i % 2}" for i in range(N)]
    problem = state(
        given=columns(
            y=y,
            empty=[None] * N,
            same=["x"] * N,
            number=[float(i + 1) for i in range(N)],
            customer_id=[float(v) for v in RNG.permutation(100_000)[:N]],
            code=[f"k{i * 7919}" for i in range(N)],
            twin=[{"c0": "minus", "c1": "plus"}[v] for v in y],
        )
    )
    reasons = {item.name: item.reason for item in problem.left_out}
    assert problem.features == ("a", "b")
    assert reasons["empty"] == "it is empty"
    assert "same in every row" in reasons["same"]
    assert "numbers the rows" in reasons["number"] and "numbers the rows" in reasons["customer_id"]
    assert "names the rows" in reasons["code"]
    assert "copy of the target" in reasons["twin"]
    kept = state(given=columns(y=y, number=[float(i) for i in range(N)]), keep=["number"])
    assert "number" in kept.features


def test_a_linear_copy_of_a_numeric_target_is_left_out_and_a_good_feature_is_not() -> None:
    y = RNG.normal(size=N)
    given = columns(y=y.tolist(), fahrenheit=(y * 1.8 + 32).tolist(), near=(y + 0.01 * RNG.normal(size=N)).tolist())
    problem = state(given=given)
    assert [item.name for item in problem.left_out] == ["fahrenheit"]
    assert "near" in problem.features


def test_the_positive_class_is_the_last_and_can_be_chosen() -> None:
    given = columns(y=["no", "maybe"] * (N // 2))
    assert state(given=given).positive == "no"
    assert state(given=given, positive="maybe").classes == ("no", "maybe")


def test_it_prints_as_a_paragraph() -> None:
    text = repr(state(given=columns(y=["benign", "malignant"] * (N // 2), id=[float(i) for i in range(N)])))
    assert text == (
        "Predict y, yes or no (is it malignant rather than benign?), from 2 columns: 2 numbers. Learners are compared "
        "by log loss; lower is better. Left out: id (it numbers the rows)."
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"target": "Y"}, "has no column 'Y'. Did you mean 'y'"),
        ({"task": "guess"}, "no task 'guess'"),
        ({"criterion": "rsme"}, "Did you mean 'rmse'"),
        ({"criterion": "accuracy"}, "does not suit a regression problem"),
        ({"positive": "1"}, "predicted as a number"),
        ({"group": "g"}, "no column 'g'"),
        ({"drop": ["a", "b"]}, "No column is left"),
    ],
)
def test_wrong_statements_are_said(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        state(**options)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (["x"] * N, "one class only"),
        (["x"] * (N - 1) + ["z"], r"class with 1 row only \(z\)"),
        ([f"k{i % 30}" for i in range(N)], "too many for classes"),
        ([1.5] * (N - 2) + [None, 2.5], "missing in 1 of 60 rows"),
    ],
)
def test_targets_that_cannot_be_predicted_are_said(values: list[Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        state(given=columns(y=values))
