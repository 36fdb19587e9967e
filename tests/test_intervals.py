"""Intervals: coverage by simulation, agreement with formulas, pairing, clusters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from heldout.differences import difference
from heldout.intervals import CLUSTERS, Replicates, Sample, Score, replicate
from heldout.metrics import Prediction, criterion


def replicates(
    name: str, y: np.ndarray, prediction: Prediction, units: np.ndarray | None = None, seed: int = 0
) -> Replicates:
    sample = Sample.of(np.arange(len(y)) if units is None else units, seed)
    return replicate(criterion(name), y, prediction, sample)


def test_the_interval_of_a_mean_is_near_scipys_bootstrap() -> None:
    rng = np.random.default_rng(0)
    y, f = rng.exponential(size=120), np.zeros(120)
    ours = replicates("mae", y, Prediction(value=f)).score()
    theirs = stats.bootstrap((y,), np.mean, n_resamples=20_000, method="BCa", random_state=rng).confidence_interval
    assert ours.value == pytest.approx(y.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs), rel=0.02)


def test_accuracy_has_wilsons_interval() -> None:
    y = np.zeros(40, int)
    label = np.r_[np.zeros(31, int), np.ones(9, int)]
    expected = stats.binomtest(31, 40).proportion_ci(method="wilson")
    score = replicates("accuracy", y, Prediction(label=label)).score()
    assert (score.low, score.high) == pytest.approx((expected.low, expected.high))
    assert replicates("accuracy", y, Prediction(label=y)).score().low < 1  # no mistake seen is not no mistake


@pytest.mark.long
@pytest.mark.parametrize("name", ["rmse", "mae", "r2"])
def test_95_percent_intervals_cover_95_percent(name: str) -> None:
    truth = {"rmse": 1.0, "mae": np.sqrt(2 / np.pi), "r2": 0.8}[name]
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        f = rng.normal(0, 2, 150)
        score = replicates(name, f + rng.normal(0, 1, 150), Prediction(value=f), seed=seed).score()
        covered += score.low <= truth <= score.high
    assert stats.binomtest(covered, 300, 0.95).pvalue > 0.001, covered / 300


def test_clusters_widen_the_interval_as_theory_says() -> None:
    rng = np.random.default_rng(1)
    errors = np.repeat(rng.normal(size=100), 9)  # nine copies of each row carry the news of one
    y = np.zeros(900)
    together = replicates("mse", y, Prediction(value=errors), np.repeat(np.arange(100), 9)).score()
    apart = replicates("mse", y, Prediction(value=errors)).score()
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(3, rel=0.15)


def test_many_rows_are_put_together_without_changing_the_interval() -> None:
    rng = np.random.default_rng(2)
    n = 20 * CLUSTERS
    errors = rng.normal(size=n)
    score = replicates("mse", np.zeros(n), Prediction(value=errors)).score()
    half = 1.96 * np.std(errors**2) / np.sqrt(n)
    assert len(np.unique(Sample.of(np.arange(n), 0).cluster)) == CLUSTERS
    assert score.high - score.low == pytest.approx(2 * half, rel=0.08)


def test_differences_on_the_same_rows_are_paired() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=500)
    noise = rng.normal(size=500)
    good, worse = (
        replicates("mse", y, Prediction(value=y + noise)),
        replicates("mse", y, Prediction(value=y + 1.05 * noise)),
    )
    paired, apart = difference(worse, good).score(), worse.loss_minus(good)
    assert paired.low > 0 > apart.low
    assert paired.value == pytest.approx(apart.value) == pytest.approx(worse.value - good.value)
    welch = stats.ttest_ind(1.05**2 * noise**2, noise**2, equal_var=False).confidence_interval()
    assert (apart.low, apart.high) == pytest.approx(tuple(welch), abs=0.02)
    assert good.loss_minus(worse).low == pytest.approx(-apart.high)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_areas_know_how_they_fall_without_a_row(name: str, classes: int) -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(0, classes, 90)
    chance = np.round(rng.dirichlet(np.ones(classes), 90) + 0.6 * np.eye(classes)[y], 1)  # with ties
    said = Prediction(label=y, probability=chance)
    whole = np.ones(90)
    without = criterion(name).prepare(y, said)(whole - np.eye(90))
    found = replicates(name, y, said)
    near = (
        {"roc_auc": 1e-12, "average_precision": 0.08} if classes == 2 else {"roc_auc": 0.01, "average_precision": 0.08}
    )
    assert found.jackknife - found.value == pytest.approx(without - found.value, abs=near[name] * np.ptp(without))
    assert found.se == pytest.approx(np.sqrt(89) * without.std(), rel=max(near[name], 1e-9))
    assert found.score().method.startswith("Wilson")


def test_a_higher_level_gives_a_wider_interval_and_the_same_seed_the_same() -> None:
    rng = np.random.default_rng(4)
    y = rng.normal(size=200)
    found = replicates("rmse", y, Prediction(value=y + rng.normal(size=200)))
    wide, narrow = found.score(0.99), found.score(0.9)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    again = replicates("rmse", y, Prediction(value=y + 0 * y + (found.value * 0)))
    assert again.value == 0
    assert (
        replicates("rmse", y, Prediction(value=y * 0.5)).score()
        == replicates("rmse", y, Prediction(value=y * 0.5)).score()
    )


def test_a_perfect_rate_still_leaves_room_for_the_unseen() -> None:
    y = np.r_[np.zeros(30, int), np.ones(20, int)]
    certain = Prediction(label=y, probability=np.eye(2)[y] * 0.9 + 0.05)
    for name in ("f1", "balanced_accuracy", "roc_auc", "average_precision"):
        score = replicates(name, y, certain).score()
        assert score.value == pytest.approx(1) and score.high == 1
        assert score.low == pytest.approx(0.025 ** (1 / 20)), name
    ragged = np.linspace(0.1, 0.4, 50) + 0.5 * y  # perfect ranks whose sum is 1 but for rounding
    score = replicates("average_precision", y, Prediction(label=y, probability=np.c_[1 - ragged, ragged])).score()
    assert score.low == pytest.approx(0.025 ** (1 / 20))


def test_score_prints_as_a_person_would_write_it() -> None:
    assert repr(Score(0.25, 0.2, 0.3, 0.975, "Wilson")) == "Score(0.25, 97.5% interval 0.2 to 0.3, Wilson)"
