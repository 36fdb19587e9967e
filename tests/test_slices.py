"""Scores by slices, and partial dependence, beside scikit-learn and on laws that are known."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.inspection import partial_dependence as sklearn_partial_dependence
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score

from heldout import partial_dependence, slice_scores
from heldout.errors import InputError

rng = np.random.default_rng(0)
X = rng.normal(size=(600, 3))
TOWN = np.where(rng.random(600) < 0.2, "Ames", "Boone")
Y = X[:, 0] - X[:, 1] + np.where(TOWN == "Ames", 2.0, 1.0) * rng.normal(size=600)
LINE = LinearRegression().fit(X, Y)


def test_a_slice_is_compared_with_the_rest_by_welchs_test() -> None:
    found = slice_scores(LINE, X, Y, by={"town": TOWN}, criterion="mae")
    worst, other = found.slices
    error = np.abs(Y - LINE.predict(X))
    here, there = error[TOWN == "Ames"], error[TOWN == "Boone"]
    assert worst.name == "town: Ames" and worst.is_worse and found.worst == (worst,)
    assert (worst.score.value, worst.elsewhere, found.overall) == pytest.approx(
        (here.mean(), there.mean(), error.mean())
    )
    reference = stats.ttest_ind(here, there, equal_var=False, alternative="greater")
    assert worst.p == pytest.approx(2 * reference.pvalue, rel=1e-6) and other.p > 0.999  # Holm, of two
    two_sided = stats.ttest_ind(here, there, equal_var=False).confidence_interval(0.95)
    assert (worst.worse_by.low, worst.worse_by.high) == pytest.approx((two_sided.low, two_sided.high))
    assert "town: Ames" in str(found) and found.plot().to_dict()


def test_numbers_are_cut_at_quantiles_and_missing_values_are_a_slice() -> None:
    frame = pl.DataFrame(
        {"a": np.where(np.arange(600) < 100, None, X[:, 0]), "town": TOWN, "few": ["x"] * 590 + ["y"] * 10}
    )
    found = slice_scores(LINE, X, Y, by=frame, bins=2)
    assert sorted(item.column for item in found.slices) == ["a", "a", "a", "town", "town"]
    sizes = {item.name: item.n_rows for item in found.slices}
    assert sizes["a: missing"] == 100 and sorted(sizes.values())[-2:] == [250, (TOWN == "Boone").sum()]
    assert found.left_out == 1  # ten rows are too few


def test_dates_are_cut_at_quantiles() -> None:
    days = [date(2024, 1, 1) + timedelta(days=int(k)) for k in range(599)]
    found = slice_scores(LINE, X, Y, by={"day": [None, *days]}, bins=2, least_rows=3)
    assert sorted(item.level for item in found.slices) == ["2024-01-01 to 2024-10-26", "2024-10-26 to 2025-08-21"]
    assert sorted(item.n_rows for item in found.slices) == [299, 300]
    times = [datetime(2024, 1, 1) + timedelta(hours=int(k)) for k in range(600)]
    found = slice_scores(LINE, X, Y, by={"hour": times}, bins=3)
    assert sorted(item.n_rows for item in found.slices) == [199, 200, 201]
    assert all(":00:00 to 2024-" in item.level for item in found.slices)


def test_other_criteria_and_groups() -> None:
    labels = (Y > 0).astype(int)
    model = LogisticRegression().fit(X, labels)
    found = slice_scores(model, X, labels, by={"town": TOWN}, criterion="roc_auc")
    for item in found.slices:
        rows = item.level == TOWN
        assert item.score.value == pytest.approx(roc_auc_score(labels[rows], model.predict_proba(X[rows])[:, 1]))
    one = slice_scores(LINE, X, Y, by={"town": TOWN}).slices[0]
    doubled = np.tile(np.arange(600), 2)
    two = slice_scores(LINE, X[doubled], Y[doubled], by={"town": TOWN[doubled]}, groups=doubled).slices[0]
    assert two.p == pytest.approx(one.p) and two.worse_by.low == pytest.approx(one.worse_by.low)


def test_slices_of_a_learner_that_fails_alike_everywhere_are_not_called() -> None:
    called = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        noise = draw.normal(size=(200, 5))
        called += bool(slice_scores(LINE, noise[:, :3], LINE.predict(noise[:, :3]) + draw.normal(size=200)).worst)
    assert called <= stats.binom.ppf(0.999, 60, 0.05)


@pytest.mark.parametrize("kind", ["array", "pandas", "polars"])
def test_partial_dependence_is_that_of_scikit_learn(kind: str) -> None:
    given = {"array": X, "pandas": pd.DataFrame(X, columns=list("abc")), "polars": pl.DataFrame(X, schema=list("abc"))}[
        kind
    ]
    labels = np.where(Y > 0, "yes", "no")
    model = (
        LogisticRegression().fit(X, labels)
        if kind == "array"
        else LogisticRegression().fit(pd.DataFrame(X, columns=list("abc")), labels)
    )
    rows, same = given[:400], (X if kind == "array" else pd.DataFrame(X, columns=list("abc")))[:400]
    found = partial_dependence(model, rows, 1 if kind == "array" else "b")
    grid = {1: np.array(found.values)}
    reference = sklearn_partial_dependence(model, same, [1], custom_values=grid, kind="both")
    np.testing.assert_allclose(found.mean, reference["average"][0])
    np.testing.assert_allclose(found.curves, reference["individual"][0].T)
    half = stats.t.ppf(0.975, 399) * stats.sem(found.curves, axis=1)
    np.testing.assert_allclose(found.high - found.mean, half)
    assert found.of == "probability of yes" and len(found.values) == 20 and found.span > 0.1
    turned = partial_dependence(model, rows, 1, of="no")
    np.testing.assert_allclose(turned.mean, 1 - found.mean)
    assert found.plot().to_dict() and "with b at each value" in str(found).replace("column 1", "b")


class ByTown(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Says what the town says, and nothing where it is missing."""

    def predict(self, frame: Any) -> np.ndarray:
        return np.array([{"Ames": 1.0, "Boone": 2.0}.get(town, 0.0) for town in frame["town"].to_list()])


def test_levels_and_missing_values_are_a_grid_too() -> None:
    frame = pl.DataFrame({"town": ["Ames", None, "Boone", "Boone"] * 200, "other": range(800)})
    found = partial_dependence(ByTown(), frame, "town")
    assert (found.values, found.mean.tolist()) == (("Ames", "Boone", None), [1.0, 2.0, 0.0])
    assert found.shown()[-1] == "missing" and found.curves.shape == (3, 500) and found.plot().to_dict()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: slice_scores(LINE, X, Y, bins=1), "bins is 1"),
        (lambda: slice_scores(LINE, X, Y, by={"town": TOWN[:5]}), "by has 5 rows"),
        (lambda: slice_scores(LINE, X, Y, groups=TOWN[:5]), "groups has 5 values"),
        (lambda: slice_scores(LINE, X, Y[:5]), "600 rows"),
        (lambda: partial_dependence(LINE, X, "age"), "no column 'age'"),
        (lambda: partial_dependence(LINE, X, 0, confidence=2.0), "confidence is 2.0"),
        (lambda: partial_dependence(LogisticRegression().fit(X, TOWN), X, 0, of="Cody"), "no class 'Cody'"),
    ],
)
def test_wrong_input_is_said(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
