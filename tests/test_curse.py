"""Distances in many columns: every measure beside its definition, and what is claimed of columns by error rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group, skew
from sklearn.datasets import load_diabetes, load_wine
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors

from heldout import NearestNeighborsClassifier, NearestNeighborsRegressor, Study, curse_of_dimensionality
from heldout.errors import InputError
from heldout.neighbors import curse

METRICS = {"euclidean": "euclidean", "manhattan": "cityblock", "chebyshev": "chebyshev", "cosine": "cosine"}


def codes(found: Any) -> list[str]:
    return [finding.code for finding in found.findings]


@pytest.mark.parametrize("metric", METRICS)
def test_contrast_and_hubs_by_their_definitions(metric: str) -> None:
    X = np.random.default_rng(0).normal(size=(240, 7))
    found = curse_of_dimensionality(X, metric=metric).neighbourhood
    away = cdist(X, X, METRICS[metric])
    np.fill_diagonal(away, 0.0)
    least = np.where(away > 0.0, away, np.inf).min(axis=1)
    assert_allclose(found.contrast, np.median((away.max(axis=1) - least) / least), rtol=1e-9)
    near = NearestNeighbors(n_neighbors=10, metric=metric).fit(X).kneighbors(return_distance=False)
    often = np.bincount(near.ravel(), minlength=len(X))
    assert_allclose(found.hubness, skew(often))
    assert found.never == np.mean(often == 0)
    twins = curse_of_dimensionality(np.repeat(X, 2, axis=0), metric=metric).neighbourhood
    assert_allclose(twins.contrast, found.contrast, rtol=1e-6)


@pytest.mark.parametrize("dimension", [1, 3, 6])
def test_the_dimension_of_a_surface(dimension: int) -> None:
    rng = np.random.default_rng(1)
    X = rng.uniform(size=(4000, dimension)) @ ortho_group.rvs(20, random_state=2)[:dimension]
    found = curse_of_dimensionality(X).neighbourhood
    assert found.dimension == pytest.approx(dimension, rel=0.12)
    moved = curse_of_dimensionality(np.vstack([3.0 * X - 7.0, X[:0]])).neighbourhood
    assert moved.dimension == pytest.approx(found.dimension, rel=1e-6)
    assert moved.contrast == pytest.approx(found.contrast, rel=1e-6)
    bent = np.column_stack([np.cos(X), np.sin(X)])
    assert curse_of_dimensionality(bent).neighbourhood.dimension == pytest.approx(dimension, rel=0.15)


def test_the_angle_has_the_dimension_of_the_sphere() -> None:
    X = np.random.default_rng(2).normal(size=(3000, 4))
    assert curse_of_dimensionality(X, metric="cosine").neighbourhood.dimension == pytest.approx(3.0, rel=0.12)
    assert np.isnan(curse_of_dimensionality((X > 0).astype(float), metric="hamming").neighbourhood.dimension)


def test_many_columns_of_noise_have_little_contrast() -> None:
    rng = np.random.default_rng(3)
    few, many = (curse_of_dimensionality(rng.normal(size=(400, p))) for p in (2, 200))
    assert few.findings[0].severity == "good" and many.findings[0].severity == "warning"
    assert many.neighbourhood.contrast == pytest.approx(many.neighbourhood.shuffled, rel=0.05)
    assert few.neighbourhood.hubness < 1.4 < many.neighbourhood.hubness


def test_a_column_that_rules_is_named() -> None:
    X, y = load_wine(as_frame=True, return_X_y=True)
    found = curse_of_dimensionality(X, y)
    assert "proline alone makes up" in str(found) and {"H304", "H305"} <= set(codes(found))
    assert_allclose(found.neighbourhood.shares.sum(), 1.0)
    scaled = curse_of_dimensionality((X - X.mean()) / X.std(), y)
    assert not {"H304", "H305"} & set(codes(scaled))


def test_errors_are_those_of_the_learners() -> None:
    X, y = load_wine(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(y))
    train, new = rows[:120], rows[120:]
    found = curse_of_dimensionality(X[train], y[train], validation=(X[new], y[new]), n_neighbors=3, metric="manhattan")
    theirs = KNeighborsClassifier(n_neighbors=3, metric="manhattan").fit(X[train], y[train])
    assert_allclose(found.trials[0].error, 1.0 - theirs.score(X[new], y[new]))
    assert found.criterion == "share wrong" and found.trials[0].columns == 13
    X, y = load_diabetes(return_X_y=True)
    found = curse_of_dimensionality(X[:300], y[:300], validation=(X[300:], y[300:]))
    error = KNeighborsRegressor().fit(X[:300], y[:300]).predict(X[300:]) - y[300:]
    assert_allclose(found.trials[0].error, np.mean(error**2))
    assert "squared unit" in found.criterion
    counts = np.arange(442) % 5
    by_task = curse_of_dimensionality(X, counts, task="regression"), curse_of_dimensionality(X, counts)
    assert [one.criterion for one in by_task] == [found.criterion, "share wrong"]


def test_columns_that_say_nothing_are_found_to_harm() -> None:
    rng = np.random.default_rng(4)
    X = rng.normal(size=(600, 40))
    found = curse_of_dimensionality(X, X[:, 7] + 0.1 * rng.normal(size=600))
    assert codes(found)[-1] == "H306" and found.findings[-1].evidence["way"] == "most related"
    assert found.findings[-1].evidence["columns"] == 1


@pytest.mark.long
def test_false_alarms_about_columns_are_rare() -> None:
    alarms, rng = 0, np.random.default_rng(5)
    for _ in range(60):
        X, y = rng.normal(size=(160, 8)), rng.integers(0, 2, 160)
        alarms += bool({"H305", "H306"} & set(codes(curse_of_dimensionality(X, y))))
    assert alarms <= 8  # at most 5% are expected: more than 8 of 60 come with a chance below 0.2%


def test_samples_of_large_tables_are_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MOST_ROWS": 300, "MOST_QUERIES": 100, "FAR_ROWS": 200}.items():
        monkeypatch.setattr(curse, name, value)
    X = np.random.default_rng(6).normal(size=(1000, 5))
    one, same, other = (str(curse_of_dimensionality(X, X[:, 0] > 0, seed=seed)) for seed in (0, 0, 1))
    assert one == same != other


def test_constant_columns_and_twins() -> None:
    X = np.ones((40, 3))
    found = curse_of_dimensionality(X)
    assert np.isnan(found.neighbourhood.contrast) and np.isnan(found.neighbourhood.dimension)
    assert "–" in str(found)
    X[:20, 0] = 0.0
    assert curse_of_dimensionality(X, X[:, 0]).trials[0].error == 0.0


def test_it_prints_and_plots() -> None:
    X, y = load_wine(return_X_y=True)
    found = curse_of_dimensionality(pd.DataFrame(X), y)
    assert "most related" in str(found) and "<table>" in found._repr_html_()
    chart = found.plot().to_dict()
    assert (
        {row["way"] for row in next(iter(chart["layer"]))["data"]["values"]} if "data" in chart["layer"][0] else chart
    )
    with pytest.raises(InputError, match="no validation error to plot"):
        curse_of_dimensionality(X).plot()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"X": np.ones((5, 2))}, "5 rows are too few"),
        ({"metric": "euclid"}, "no metric 'euclid'"),
        ({"task": "ranking"}, "no task 'ranking'"),
        ({"y": np.arange(30) % 2, "validation": (np.ones((3, 4)), [0, 1, 1])}, "The validation rows have 4 columns"),
    ],
)
def test_wrong_input_is_refused_in_a_sentence(change: dict[str, Any], sentence: str) -> None:
    given = {"X": np.random.default_rng(0).normal(size=(30, 2)), **change}
    with pytest.raises(InputError, match=sentence):
        curse_of_dimensionality(**given)


def test_a_study_says_it_of_learners_that_go_by_distances() -> None:
    rng = np.random.default_rng(7)
    frame = pl.DataFrame({f"x{j}": rng.normal(size=300) for j in range(4)}).with_columns(
        heavy=pl.Series(rng.standard_cauchy(300))
    )
    frame = frame.with_columns(y=(pl.col("x0") + pl.col("x1") > 0).replace_strict({True: "up", False: "down"}))
    study = Study(frame, target="y", learners=[NearestNeighborsClassifier(), "SoftmaxClassifier"])
    study.fit()
    said = [finding for finding in study.findings if finding.code.startswith("H30")]
    assert {finding.learner for finding in said} == {"NearestNeighborsClassifier"}
    assert {finding.code for finding in said} >= {"H301", "H302", "H303"}
    assert next(f for f in said if f.code == "H304").evidence["column"] == "heavy"


def test_a_study_says_how_many_of_the_nearest_a_graph_finds() -> None:
    pytest.importorskip("faiss", reason="the extra faiss is not installed")
    rng = np.random.default_rng(8)
    frame = pl.DataFrame({f"x{j}": rng.normal(size=400) for j in range(4)}).with_columns(y=rng.normal(size=400))
    study = Study(frame, target="y", learners=[NearestNeighborsRegressor(algorithm="hnsw")]).fit()
    said = next(finding for finding in study.findings if finding.code == "H307")
    assert "of the nearest rows of a sample" in said.message
