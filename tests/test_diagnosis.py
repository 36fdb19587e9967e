"""The diagnosis: verdicts on learners made to fail in a known way, and what may not be handed to it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

from heldout import RandomForestRegressor, Study
from heldout.diagnosis import CHECKS, Evidence, Finding, findings
from heldout.diagnosis.base import Check
from heldout.diagnosis.comparison import Comparison
from heldout.errors import SealError


def table(n: int = 400, noise: float = 1.0, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    y = 2 * x[:, 0] - x[:, 1] + noise * rng.normal(size=n)
    return pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": y})


def verdicts(study: Study, code: str) -> dict[str | None, Finding]:
    return {item.learner: item for item in study.findings if item.code == code}


def test_a_deep_tree_overfits_beside_a_shallow_one_and_the_linear_model_fits() -> None:
    learners = {
        "tree": DecisionTreeRegressor(random_state=0),
        "shallow": DecisionTreeRegressor(max_depth=3, random_state=0),
        "linear": "LinearRegression",
    }
    found = verdicts(Study(table(noise=2.0), "y", learners=learners).fit(), "H102")
    assert found["tree"].title == "Overfits" and found["tree"].evidence["better"] == "shallow"
    assert found["tree"].evidence["gap"]["low"] > 0 and found["tree"].evidence["p"] < 0.05
    assert found["linear"].title == "Fits"


def test_a_gap_alone_is_no_overfitting() -> None:
    """The same tree without a sibling: the gap is said, and nothing is claimed of it."""
    learners = {"tree": DecisionTreeRegressor(random_state=0), "linear": "LinearRegression"}
    found = verdicts(Study(table(noise=1.5), "y", learners=learners).fit(), "H102")["tree"]
    assert found.title == "Large gap" and found.severity == "info" and "heldout diagnose STUDY" in found.message
    assert found.evidence["share_of_gain_lost"] > 0.1 and found.evidence["siblings"] == 0


def test_a_gap_that_no_sibling_does_without_is_harmless() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(-3, 3, (400, 2))
    wiggly = pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": np.sin(3 * x[:, 0]) + 0.05 * rng.normal(size=400)})
    learners = {"one": KNeighborsRegressor(1), "many": KNeighborsRegressor(40)}
    found = verdicts(Study(wiggly, "y", learners=learners).fit(), "H102")
    assert found["one"].title == "Large gap, but harmless" and found["one"].evidence["detectable"] > 0
    assert found["many"].title == "Underfits" and found["many"].evidence["better"] == "one"


def test_a_learner_held_back_underfits_beside_a_better_one() -> None:
    learners = {"held back": Ridge(alpha=2000.0), "linear": "LinearRegression"}
    found = verdicts(Study(table(), "y", learners=learners).fit(), "H102")
    assert found["held back"].title == "Underfits"
    assert found["held back"].evidence["better"] == "linear"
    assert found["linear"].title == "Fits"


def test_noise_is_not_better_than_trivial_and_remembering_it_is_worse() -> None:
    rng = np.random.default_rng(1)
    noise = table().with_columns(y=pl.Series(rng.normal(size=400)))
    learners = {"nearest": KNeighborsRegressor(1), "linear": "LinearRegression"}
    study = Study(noise, "y", learners=learners).fit()
    found = verdicts(study, "H102")
    assert found["nearest"].title == "Worse than trivial" and found["nearest"].severity == "error"
    assert found["linear"].title == "Fits"
    better = verdicts(study, "H101")
    assert better["linear"].title == "Not better than trivial" and better["linear"].severity == "warning"
    assert "nearest" not in better  # the verdict says it


def test_p_values_are_those_of_all_questions_together() -> None:
    """Two learners: two questions each about the trivial answer, one about the sibling; half of the error rate."""
    study = Study(table(), "y", learners=["LinearRegression", "Ridge"])
    evidence: list[Evidence] = []
    study._evidence = lambda *a, real=study._evidence: evidence.append(real(*a)) or evidence[-1]  # type: ignore[method-assign]
    study.fit()
    made = evidence[-1].comparisons
    assert len(made) == 6 and {item.relation for item in made} == {"beats trivial", "trivial", "simpler", "richer"}
    p = np.array([item.difference.p for item in made])  # type: ignore[union-attr]
    order = np.argsort(p)
    holm = np.minimum(1, 2 * np.maximum.accumulate(p[order] * (6 - np.arange(6))))
    np.testing.assert_allclose(np.array([item.p for item in made])[order], np.minimum(holm, 1))
    for item in made:
        assert Comparison.from_json(json.loads(json.dumps(item.to_json()))) == item


@pytest.mark.long
def test_false_alarms_on_a_learner_that_is_right_are_rare() -> None:
    called = 0
    richer = {"forest": RandomForestRegressor(n_estimators=20), "polynomial": "PolynomialRegression"}
    for seed in range(40):
        learners = {"LinearRegression": "LinearRegression", **richer}
        study = Study(table(300, seed=seed), "y", seed=seed, learners=learners).fit()
        called += verdicts(study, "H102")["LinearRegression"].title in ("Overfits", "Underfits", "Worse than trivial")
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
    assert not findings(Evidence(study.problem, ()))


def test_every_check_has_a_code_and_a_title_of_its_own() -> None:
    assert len({check.code for check in CHECKS}) == len(CHECKS)
    assert all(issubclass(check, Check) and check.title for check in CHECKS)
