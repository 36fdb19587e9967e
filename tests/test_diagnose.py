"""The diagnosis: verdicts on learners made to fail in a known way, and what may not be handed to it."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from heldout import Study
from heldout.diagnose import CHECKS, Evidence, Finding, diagnose
from heldout.diagnose.base import Check
from heldout.errors import SealError


def table(n: int = 400, noise: float = 1.0, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    y = 2 * x[:, 0] - x[:, 1] + noise * rng.normal(size=n)
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y})


def verdicts(study: Study, code: str) -> dict[str | None, Finding]:
    return {item.learner: item for item in study.findings if item.code == code}


def test_a_deep_tree_on_noise_overfits_and_the_linear_model_fits() -> None:
    learners = {"tree": DecisionTreeRegressor(random_state=0), "linear": "LinearRegression"}
    found = verdicts(Study(table(noise=2.0), "y", learners=learners).fit(), "H102")
    assert found["tree"].title == "Overfits"
    assert found["linear"].title == "Fits"
    assert found["tree"].evidence["gap"]["low"] > 0
    assert found["tree"].evidence["share_of_gain_lost"] > 0.1


def test_a_learner_held_back_underfits_beside_a_better_one() -> None:
    learners = {"held back": Ridge(alpha=2000.0), "linear": "LinearRegression"}
    found = verdicts(Study(table(), "y", learners=learners).fit(), "H102")
    assert found["held back"].title == "Underfits"
    assert found["held back"].evidence["better_on_both"] == "linear"


def test_noise_is_not_better_than_trivial_and_remembering_it_is_worse() -> None:
    rng = np.random.default_rng(1)
    noise = table().with_columns(y=pl.Series(rng.normal(size=400)))
    learners = {"nearest": KNeighborsRegressor(1), "linear": "LinearRegression"}
    found = verdicts(Study(noise, "y", learners=learners).fit(), "H101")
    assert found["nearest"].title == "Worse than trivial" and found["nearest"].severity == "error"
    assert found["linear"].title == "Not better than trivial" and found["linear"].severity == "warning"


@pytest.mark.long
def test_false_alarms_on_a_learner_that_is_right_are_rare() -> None:
    called = 0
    for seed in range(40):
        study = Study(table(300, seed=seed), "y", seed=seed).fit()
        called += verdicts(study, "H102")["LinearRegression"].title != "Fits"
    assert called <= 2  # 5% or fewer of 40


def test_the_sealed_test_set_cannot_be_handed_in() -> None:
    study = Study(table(), "y").fit()
    with pytest.raises(SealError, match="train and validation only"):
        Evidence(problem=study.problem, learners=(), split_notes=study.split.sealed)  # type: ignore[arg-type]
    assert "SealedTest" not in {str(item.type) for item in dataclasses.fields(Evidence)}


def test_findings_are_data_and_print_as_sentences() -> None:
    study = Study(table(), "y").fit()
    for item in study.findings:
        assert Finding.from_json(item.to_json()) == item
        assert str(item).startswith(f"{item.code} {item.severity}: {item.title}")
        assert item.message.endswith((".", "!"))
    assert not diagnose(Evidence(study.problem, ()))


def test_every_check_has_a_code_and_a_title_of_its_own() -> None:
    assert len({check.code for check in CHECKS}) == len(CHECKS)
    assert all(issubclass(check, Check) and check.title for check in CHECKS)
