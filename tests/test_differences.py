"""Differences of losses: p values and intervals against other libraries and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from heldout.differences import Difference, difference
from heldout.intervals import Replicates, Sample, replicate
from heldout.metrics import Prediction, criterion


def replicates(rows: np.ndarray, units: np.ndarray | None = None) -> Replicates:
    """Of predictions with these absolute errors."""
    sample = Sample.of(np.arange(len(rows)) if units is None else units, 0)
    said = Prediction(value=np.asarray(rows, float))
    return replicate(criterion("mae"), np.zeros(len(rows)), said, sample, sample.cluster_draws()[:50])


def test_without_skewness_it_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    one, half = rng.exponential(size=80), rng.normal(0, 0.3, 40)
    other = one + 1.0 - np.concatenate([half, -half])  # differences that are symmetric
    found = difference(replicates(one + 1.1), replicates(other))
    reference = stats.ttest_rel(one + 1.1, other, alternative="greater")
    assert found.skewness == pytest.approx(0.0, abs=1e-9)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-6)
    interval = stats.ttest_rel(one + 1.1, other).confidence_interval(0.95)
    assert (found.score().low, found.score().high) == pytest.approx((interval.low, interval.high))


def test_p_and_interval_agree_and_skewness_only_weakens() -> None:
    for skewness in (-2.0, 0.0, 2.0):
        seen = Difference(0.3, 0.12, skewness, 60, 60)
        level = brentq(lambda level, seen=seen: seen.score(level).low, 0.01, 0.99999)
        assert seen.p == pytest.approx((1 - level) / 2, rel=1e-6)
        assert seen.p >= stats.t.sf(0.3 / 0.12, 59) - 1e-12
        assert seen.turned().turned() == seen
        assert seen.turned().score().low == pytest.approx(-seen.score().high)
        assert seen.detectable(0.01) == pytest.approx((stats.t.isf(0.01, 59) + stats.norm.ppf(0.8)) * 0.12)


def test_clusters_that_repeat_do_not_count_twice() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.exponential(size=(2, 50))
    single = difference(replicates(one), replicates(other))
    units = np.repeat(np.arange(50), 3)
    threefold = difference(replicates(one[units], units), replicates(other[units], units))
    assert threefold.p == pytest.approx(single.p) and threefold.clusters == 50


def test_few_rows_that_differ_are_about_what_the_sign_test_says() -> None:
    for wins, losses in ((5, 0), (6, 0), (10, 1), (12, 3)):
        right = np.r_[np.zeros(wins), np.ones(losses), np.zeros(200)]
        other = np.r_[np.ones(wins), np.zeros(losses), np.zeros(200)]
        found = difference(replicates(other), replicates(right))
        assert found.differing == wins + losses
        assert found.p >= 0.95 * stats.binomtest(wins, wins + losses, alternative="greater").pvalue
    same = difference(replicates(right), replicates(right))
    assert same.p == 1.0 and same.value == 0.0


@pytest.mark.parametrize("name", ["normal", "lognormal", "labels"])
def test_false_alarms_stay_below_the_level(name: str) -> None:
    rng, alarms = np.random.default_rng(2), 0
    for _ in range(2000):
        if name == "labels":
            drawn = rng.choice([-1.0, 0.0, 1.0], 150, p=[0.04, 0.92, 0.04])
        else:
            drawn = rng.normal(size=150) if name == "normal" else np.exp(0.5) - rng.lognormal(size=150)
        spread = drawn.std()
        skewness = float(((drawn - drawn.mean()) ** 3).mean()) / spread**3
        alarms += Difference(drawn.mean(), spread / np.sqrt(149), skewness, 150, int((drawn != 0).sum())).p <= 0.025
    assert alarms <= stats.binom.ppf(0.9999, 2000, 0.04 if name == "lognormal" else 0.025)


def test_a_criterion_without_a_jackknife_goes_by_the_bootstrap() -> None:
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1], 60)
    good, poor = y + rng.normal(0, 0.7, 120), y + rng.normal(0, 5.0, 120)
    sample = Sample.of(np.arange(120), 0)
    made = []
    for raw in (poor, good):
        chance = 1 / (1 + np.exp(-raw))
        said = Prediction(label=(chance > 0.5).astype(int), probability=np.column_stack([1 - chance, chance]))
        made.append(replicate(criterion("roc_auc"), y, said, sample, sample.cluster_draws()[:400]))
    found = difference(*made)
    assert found.value == pytest.approx(made[1].value - made[0].value) and found.p < 0.01
    assert found.se == pytest.approx(float((made[0].draws - made[1].draws).std(ddof=1)))
