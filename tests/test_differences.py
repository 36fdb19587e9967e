"""Differences of losses: p values and intervals against other libraries and by simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from heldout.diagnosis.comparison import Comparison
from heldout.differences import Difference, Side, difference, of_clusters
from heldout.intervals import Replicates, Sample, replicate
from heldout.metrics import Prediction, criterion


def replicates(rows: np.ndarray, units: np.ndarray | None = None, name: str = "mae") -> Replicates:
    """Of predictions with these errors."""
    sample = Sample.of(np.arange(len(rows)) if units is None else units, 0)
    said = Prediction(value=np.asarray(rows, float))
    return replicate(criterion(name), np.zeros(len(rows)), said, sample, np.ones((2, sample.n_clusters)))


def test_without_skewness_it_is_the_paired_t_test_of_differences_whose_greatest_are_cut() -> None:
    rng = np.random.default_rng(0)
    one, half = rng.exponential(size=80), rng.normal(0, 0.3, 40)
    other = one + 1.0 - np.concatenate([half, -half])
    found = difference(replicates(one + 1.1), replicates(other))
    pairs = one + 1.1 - other
    cut = np.sort(np.abs(pairs))[-5]  # four of 80: the root of 80, halved
    for side, given in ((found.gains, np.minimum(pairs, cut)), (found.losses, np.minimum(-pairs, cut))):
        assert (side.value, side.se) == pytest.approx((given.mean(), stats.sem(given)))
        assert side.skewness == pytest.approx(stats.skew(given))
    plain = replace(found, gains=replace(found.gains, skewness=0.0), losses=replace(found.losses, skewness=0.0))
    reference = stats.ttest_1samp(np.minimum(pairs, cut), 0.0, alternative="greater")
    assert plain.p == pytest.approx(reference.pvalue, rel=1e-6)
    low = stats.ttest_1samp(np.minimum(pairs, cut), 0.0).confidence_interval(0.95).low
    high = stats.ttest_1samp(np.maximum(pairs, -cut), 0.0).confidence_interval(0.95).high
    assert (plain.score().low, plain.score().high) == pytest.approx((low, high))


def test_p_and_interval_agree_and_skewness_only_weakens() -> None:
    for skewness, held in ((-2.0, None), (0.0, None), (2.0, None), (-2.0, 0.5)):
        seen = Difference(0.3, Side(0.3, 0.12, skewness), Side(-0.3, 0.12, -skewness), 60, 60, held)
        level = brentq(lambda level, seen=seen: seen.score(level).low, 0.01, 0.99999)
        assert seen.p == pytest.approx((1 - level) / 2, rel=1e-6)
        assert seen.p >= stats.t.sf(0.3 / 0.12, 59) - 1e-12
        assert seen.turned().turned() == seen == Difference.from_json(seen.to_json())
        assert seen.turned().score().low == pytest.approx(-seen.score().high)
        size = (stats.t.isf(0.01, 59) + stats.norm.ppf(0.8)) * 0.12
        assert seen.detectable(0.01) == pytest.approx(size if held is None else np.sqrt(0.5 + size) - np.sqrt(0.5))


def test_roots_are_compared_by_their_means() -> None:
    """The RMSE tells what the MSE tells, in other units."""
    rng = np.random.default_rng(4)
    one, other = rng.normal(size=(2, 60)) * [[1.3], [1.0]]
    roots, means = (difference(*(replicates(rows, name=name) for rows in (one, other))) for name in ("rmse", "mse"))
    assert roots.p == pytest.approx(means.p) and roots.value == pytest.approx(rms(one) - rms(other))
    for end in ("low", "high"):
        kept = np.sqrt(rms(other) ** 2 + getattr(means.score(), end)) - rms(other)
        assert getattr(roots.score(), end) == pytest.approx(kept)


def rms(rows: np.ndarray) -> float:
    return float(np.sqrt(np.mean(rows**2)))


def test_great_failures_of_few_rows_do_not_hide_that_the_other_is_better() -> None:
    rng = np.random.default_rng(5)
    one = 0.5 + rng.exponential(size=100)
    one[:3] = 1e3, 1e4, 1e5
    found = difference(replicates(one), replicates(one - 0.4 + rng.normal(0, 0.3, 100) - (one > 100) * (one - 1)))
    assert found.value > 500 and found.p < 1e-6 and found.score().low > 0
    assert stats.ttest_1samp(one, 0.0, alternative="greater").pvalue > 0.1  # the t-test sees nothing
    assert found.turned().losses == found.gains and found.turned().p > 0.9


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


@pytest.mark.parametrize("name", ["normal", "lognormal", "heavy", "labels"])
def test_false_alarms_stay_below_the_level(name: str) -> None:
    rng, alarms = np.random.default_rng(2), 0
    for _ in range(2000):
        if name == "labels":
            drawn = rng.choice([-1.0, 0.0, 1.0], 150, p=[0.04, 0.92, 0.04])
        else:
            drawn = {
                "normal": rng.normal(size=150),
                "lognormal": np.exp(0.5) - rng.lognormal(size=150),
                "heavy": rng.standard_t(3, size=150),
            }[name]
        alarms += of_clusters(float(drawn.mean()), drawn).p <= 0.025
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
        made.append(replicate(criterion("matthews_corrcoef"), y, said, sample))
    found = difference(*made)
    assert found.value == pytest.approx(made[1].value - made[0].value) and found.p < 0.01
    assert found.gains.se == pytest.approx(float((made[0].draws - made[1].draws).std(ddof=1)))


def test_a_comparison_says_how_much_better_or_worse_with_the_interval_of_just_that() -> None:
    seen = Difference(0.3, Side(0.3, 0.1), Side(-0.3, 0.1), clusters=100, differing=100)
    better, worse = (
        Comparison("ours", "theirs", "beats trivial", one, None, None, 0.02) for one in (seen, seen.turned())
    )
    told = "by 0.3000 (95% interval 0.1016 to 0.4984, adjusted p = 0.02)"
    assert (str(better), str(worse)) == (f"better {told}", f"worse {told}")
