"""Leaks and traps: planted ones are found, clean tables left alone, and each measure agrees with an oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, kstest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from heldout import Study, diagnosis, read
from heldout.candidates import candidates
from heldout.data.encode import Encoder
from heldout.diagnosis import Check, Evidence, Finding, Suspicion, findings
from heldout.diagnosis.alone import diagnose
from heldout.diagnosis.leaks import columns, copies, order, parts, preparation, selection
from heldout.diagnosis.leaks.seen import Seen
from heldout.errors import InputError
from heldout.fitting import Rows, fit
from heldout.problem import Problem
from heldout.split import train_validation_test_split

Frame = dict[str, Any]
N = 400
PART = np.repeat(["train", "validation", "test"], [240, 80, 80])


def table(seed: int = 0, n: int = N) -> Frame:
    """A number from three others and a kind, none of them standardised."""
    rng = np.random.default_rng(seed)
    x = 7 + 3 * rng.normal(size=(n, 3))
    kind = rng.integers(3, size=n)
    y = x[:, 0] - x[:, 1] + kind + 2 * rng.normal(size=n)
    return {"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "kind": np.array(["p", "q", "r"])[kind], "y": y}


def found(frame: Mapping[str, Any], target: str = "y", **options: Any) -> dict[str, Finding]:
    """What is called of leaks, by code: the checks alone, as a study makes them."""
    data = read(dict(frame))
    problem = Problem.state(data, target, **options)
    split = train_validation_test_split(data, problem)
    encoder = Encoder().fit(split.train.table.select(problem.features))
    rows = tuple(Rows.of(part, problem, encoder, 0) for part in (split.train, split.validation))
    fitted = [
        fit(item, problem, *rows)
        for item in candidates(problem, [Ridge()] if problem.classes is None else [GaussianNB()])
    ]
    seen = Seen.of_study(rows, problem, given=split.given)
    told = findings(Evidence(problem, tuple(fitted), seen=seen))
    return {item.code: item for item in told if item.code.startswith("H5") and item.severity != "info"}


# What is planted is found -----------------------------------------------------------------------------------


def copied(frame: Frame) -> Frame:
    """Twenty validation rows are rows of train once more."""
    return {name: np.concatenate([v[:240], v[:20], v[260:]]) for name, v in frame.items()} | {"part": PART}


def nearly_copied(frame: Frame) -> Frame:
    rng = np.random.default_rng(1)
    twins = {name: v[:80] * (1 + 1e-4 * rng.normal(size=80)) if name in "abc" else v[:80] for name, v in frame.items()}
    shuffled = rng.permutation(N + 80)
    return {name: np.concatenate([v, twins[name]])[shuffled] for name, v in frame.items()}


def told_later(frame: Frame) -> Frame:
    return frame | {"paid": frame["y"] + 0.05 * np.random.default_rng(1).normal(size=N)}


def numbered(frame: Frame) -> Frame:
    by = np.argsort(frame["y"])
    slips = 1000 + np.cumsum(np.random.default_rng(1).integers(1, 9, N))
    return {name: v[by] for name, v in frame.items()} | {"slip": slips.astype(float)}


def older(frame: Frame) -> Frame:
    return frame | {"year": np.repeat([2010.0, 2008.0, 2012.0], [240, 80, 80]), "part": PART}


def drifting(frame: Frame) -> Frame:
    """A random split of a course of time."""
    days = np.datetime64("2020-01-01") + np.arange(N)
    mixed = np.random.default_rng(1).permutation(N)
    waves = {"y": frame["y"] + 8 * np.sin(np.arange(N) / 30), "day": days}
    return {name: v[mixed] for name, v in (frame | waves).items()}


def patients(frame: Frame) -> Frame:
    """Each row four times, at another time of its patient."""
    whose = np.random.default_rng(1).permutation(np.repeat(np.arange(100), 4))
    moved = {name: frame[name] for name in "abc"}
    return moved | {"y": frame["y"][whose], "patient": whose.astype(float)}


def named_patients(frame: Frame) -> Frame:
    return patients(frame) | {"part": PART}


def centred(frame: Frame) -> Frame:
    """On train and validation together."""
    made = {name: (frame[name] - frame[name][:320].mean()) / frame[name][:320].std() for name in "abc"}
    return frame | made | {"part": PART}


def standardised(frame: Frame) -> Frame:
    """On all rows, the sealed ones among them, in many columns."""
    many = 5 + np.random.default_rng(1).normal(size=(N, 14))
    return {f"m{j}": (v - v.mean()) / v.std() for j, v in enumerate(many.T)} | {"y": frame["y"]}


def bounded(frame: Frame) -> Frame:
    seen = {name: frame[name][:320] for name in "abc"}
    for name, at in zip("abc", (250, 260, 270), strict=True):
        seen[name][at] = 30.0  # the end is in validation
    made = {name: (frame[name] - v.min()) / (v.max() - v.min()) for name, v in seen.items()}
    return made | {"y": frame["y"], "part": PART}


def encoded(frame: Frame) -> Frame:
    level = np.random.default_rng(1).integers(40, size=N)
    means = np.bincount(level[:320], frame["y"][:320]) / np.bincount(level[:320])
    return frame | {"town": means[level], "part": PART}


def summed(frame: Frame) -> Frame:
    return frame | {"rest": frame["y"] - frame["c"]}


def divided(frame: Frame) -> Frame:
    y = np.exp(frame["y"] / 9)
    return frame | {"y": y, "rate": y / frame["c"] ** 2, "c": np.abs(frame["c"])}


def without_class(frame: Frame) -> Frame:
    label = np.where(np.arange(N) % 9 == 0, "rare", np.where(frame["y"] > 0, "up", "down"))
    label[240:320][label[240:320] == "rare"] = "up"
    return frame | {"y": label, "part": PART}


def moved(frame: Frame) -> Frame:
    return frame | {"c": frame["c"] + np.where(PART == "validation", 6.0, 0.0), "part": PART}


@pytest.mark.parametrize(
    "plant, code, said, options",
    [
        (copied, "H501", "20 of 80 validation rows (25%) have an exact twin", {"part": "part"}),
        (nearly_copied, "H501", "have a near twin in train", {}),
        (told_later, "H502", "paid alone predicts y", {}),
        (numbered, "H503", "slip follows the order of the rows", {}),
        (older, "H504", "By year, 100% of the rows of train are later", {"part": "part"}),
        (drifting, "H504", "y changes along day", {}),
        (patients, "H505", "rows of one patient are alike in the target", {}),
        (named_patients, "H505", "the score is one for known ones", {"part": "part", "group": "patient"}),
        (centred, "H506", "a, b and c were centred (their mean over train and validation is 0", {"part": "part"}),
        (standardised, "H506", "were standardised together with rows beyond train (they are closer", {}),
        (bounded, "H506", "were scaled from 0 to 1", {"part": "part"}),
        (encoded, "H506", "town was made of the target", {"part": "part"}),
        (summed, "H507", "y is a weighted sum of c and rest, exactly", {}),
        (divided, "H507", "y is a product of powers of c and rate, exactly", {}),
        (without_class, "H508", "No validation row has the class rare", {"part": "part"}),
        (moved, "H510", "A forest tells validation rows from train rows", {"part": "part"}),
    ],
)
def test_a_planted_leak_is_found(
    plant: Callable[[Frame], Frame], code: str, said: str, options: dict[str, Any]
) -> None:
    called = found(plant(table()), **options)
    assert code in called and said in called[code].message, called


@pytest.mark.parametrize("options", [{}, {"part": "part"}, {"drop": ["part"], "time": "day"}])
def test_a_table_as_it_is_is_left_alone(options: dict[str, Any]) -> None:
    days = np.datetime64("2020-01-01") + np.arange(N)
    for seed in range(2):
        mixed = np.random.default_rng(seed).permutation(N)
        frame = table(seed) | {"part": PART[mixed]} | ({"day": days} if "time" in options else {})
        assert found(frame if options else {k: v for k, v in frame.items() if k != "part"}, **options) == {}


# Measures and their oracles ---------------------------------------------------------------------------------


def test_the_score_without_twins_is_that_of_the_other_rows() -> None:
    study = Study(copied(table()), "y", part="part", learners=["LinearRegression"]).fit()
    told = next(item.evidence for item in study.findings if item.code == "H501")
    held = study.split.validation.table.frame
    y, said = held["y"].to_numpy(), study.model.predict(held)
    assert told["with"]["value"] == pytest.approx(root_mean_squared_error(y, said))
    assert told["without"]["value"] == pytest.approx(root_mean_squared_error(y[20:], said[20:]))
    assert told["rows"] == 20 and told["agree"] == 1.0


def test_twins_by_chance_are_none() -> None:
    """Rows of two coarse columns meet everywhere."""
    rng = np.random.default_rng(0)
    frame = {"a": rng.integers(4, size=N).astype(float), "b": rng.integers(3, size=N).astype(float)}
    assert found(frame | {"y": frame["a"] + rng.normal(size=N), "part": PART}, part="part") == {}


def test_the_nearest_rows_and_the_agreement_of_twins() -> None:
    rng = np.random.default_rng(0)
    rows, queries = rng.normal(size=(700, 5)), rng.normal(size=(300, 5))
    far, place = copies._nearest(queries, rows)
    far_too, place_too = NearestNeighbors(n_neighbors=1).fit(rows).kneighbors(queries)
    np.testing.assert_array_equal(place, place_too[:, 0])
    np.testing.assert_allclose(far, far_too[:, 0])
    own, _ = copies._nearest(rows[:300], rows, skip_own=True)
    np.testing.assert_allclose(own, NearestNeighbors(n_neighbors=1).fit(rows).kneighbors()[0][:300, 0])


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("levels", [4, 300])
def test_a_column_alone_answers_each_row_by_the_others(classes: int | None, levels: int) -> None:
    rng = np.random.default_rng(levels)
    x = rng.choice(np.arange(levels), 120, replace=levels < 120).astype(float)
    x[:2] = np.nan
    y = rng.integers(3, size=120) if classes else x % 7 + rng.normal(size=120)
    y = np.where(np.isnan(y), 0.0, y) if classes is None else y
    by_rank, wrong = np.argsort(np.where(np.isnan(x), np.inf, x), kind="stable"), []
    for at, row in enumerate(by_rank):
        if levels == 4:
            others = [k for k in range(120) if k != row and (x[k] == x[row] or (np.isnan(x[k]) and np.isnan(x[row])))]
        else:
            others = [k for k in by_rank[max(0, at - 3) : at + 4] if k != row]
        answer = np.bincount(y[others], minlength=3).argmax() if classes else y[others].mean()
        wrong.append(answer != y[row] if classes else (answer - y[row]) ** 2)
    trivial = 120 - np.bincount(y).max() if classes else np.sum((y - y.mean()) ** 2)
    share, low = columns.share_alone(x, y, classes)
    assert share == pytest.approx(1 - np.sum(wrong) / trivial) and low < share


def test_an_exact_law_holds_on_validation_and_names_its_columns() -> None:
    rng = np.random.default_rng(0)
    x, is_train = rng.normal(size=(200, 4)), np.arange(200) < 150
    law = (x @ [2.0, 0.0, -1.0, 0.0] + 3)[:, None]
    assert columns.exact_law(x, law, is_train) == [0, 2]
    assert columns.exact_law(x, law + 0.01 * rng.normal(size=(200, 1)), is_train) is None
    law[-1] += 1  # of train only
    assert columns.exact_law(x, law, is_train) is None


def test_the_tests_of_order_and_of_preparation_keep_their_level() -> None:
    """p values of null data are uniform or larger; the lower tail of chi-squared is SciPy's."""
    rng = np.random.default_rng(0)
    for classes in (False, True):
        p = [
            order._along(rng.integers(3, size=80) if classes else rng.normal(size=80), classes=classes)
            for _ in range(300)
        ]
        assert np.mean(np.array(p) <= 0.05) <= 0.07
    drawn = rng.exponential(size=(300, 200, 4)) - 1
    tails = [preparation._lower_tail(terms) for terms in drawn]
    assert kstest(tails, "uniform").pvalue > 0.001
    mean, inverse = drawn[0].mean(axis=0), np.linalg.inv(np.cov(drawn[0], rowvar=False))
    assert tails[0] == pytest.approx(chi2.cdf(200 * mean @ inverse @ mean, 4))


def test_groups_that_stay_together_are_no_drift() -> None:
    """Rows of a group are alike, so that rows of validation differ from train, but groups do not."""
    rng = np.random.default_rng(0)
    whose = np.repeat(np.arange(60), 8)
    frame = table(n=480) | {"a": (9 + rng.normal(size=60))[whose], "who": whose.astype(str)}
    frame["part"] = np.repeat(rng.permutation(np.repeat(["train", "validation", "test"], 20)), 8)
    assert "H510" not in found(frame, part="part", group="who")


def test_suspicions_are_judged_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holm's procedure over all checks: 0.04 is beyond chance beside two that are, and not beside two others."""

    def made(*p_values: float) -> list[float]:
        class One(Check):
            def examine(self, evidence: Evidence) -> Any:
                for p in p_values:
                    yield Suspicion(p, lambda p: Finding("H599", "x", "info", "x", evidence={"p": p}))

        monkeypatch.setattr(diagnosis, "CHECKS", (One,))
        return [item.evidence["p"] for item in findings(None)]  # type: ignore[arg-type]

    assert made(0.04, 0.001, 0.01) == pytest.approx([0.04, 0.003, 0.02])
    assert made(0.04, 0.5, 0.01) == pytest.approx([0.03])


# Without a study --------------------------------------------------------------------------------------------


def chosen(seed: int, *, by: slice = slice(None)) -> tuple[Any, Any, Any]:
    """Fifty rows, 2,000 useless columns, and of them the 60 that go most with the labels of some of the rows."""
    rng = np.random.default_rng([seed, 5])
    wide, y = rng.normal(size=(50, 2000)), np.arange(50) % 2
    strength = np.abs((wide[by] - wide[by].mean(axis=0)).T @ y[by] / wide[by].std(axis=0))
    return wide, y, np.argsort(-strength)[:60]


def test_columns_chosen_outside_are_found_and_the_score_without_is_said() -> None:
    wide, y, best = chosen(0)
    seen = diagnose(KNeighborsClassifier(1), wide[:, best], y, chosen_from=wide, criterion="accuracy", quick=True)
    told = next(item for item in seen.findings if item.code == "H511")
    score = told.evidence["chosen_on_train"]
    assert told.severity == "error" and score.low <= 0.5 <= score.high and "H511" in str(seen)
    assert seen.n_validation >= 20
    fair = diagnose(KNeighborsClassifier(1), wide[:, :60], y, chosen_from=wide, criterion="accuracy", quick=True)
    assert "H511" not in {item.code for item in fair.findings}


def test_choosing_by_train_alone_is_no_leak() -> None:
    """Whatever the rule, being chosen by train says nothing of validation: p values are uniform."""
    p_values = []
    for seed in range(40):
        wide, y, best = chosen(seed, by=slice(0, 26))
        kept = np.concatenate([best[::2], np.arange(30)])  # not the very best, so that there are others like them
        targets = np.eye(2)[y]
        on_train = selection._along(wide[:26], targets[:26])
        p_values.append(selection.excess(on_train, wide[26:], targets[26:], np.unique(kept))[1])
    assert kstest(p_values, "uniform").pvalue > 0.001


@pytest.mark.parametrize(
    "change, message",
    [
        ({"chosen_from": np.zeros((50, 3))}, "not among those of chosen_from"),
        ({"chosen_from": np.zeros((40, 3))}, "must be the same rows"),
        ({"chosen_from": np.array([["a"]] * 50)}, "arrays of numbers"),
        ({"validation": (np.zeros((30, 60)), np.arange(30) % 2), "chosen_from": np.zeros((50, 3))}, "leave validation"),
    ],
)
def test_a_wrong_table_to_choose_from_is_said(change: dict[str, Any], message: str) -> None:
    wide, y, best = chosen(0)
    with pytest.raises(InputError, match=message):
        diagnose(KNeighborsClassifier(1), wide[:, best], y, quick=True, **change)


def test_a_frozen_step_and_copies_in_rows_that_are_given() -> None:
    frame = table()
    x, y = np.column_stack([frame[name] for name in "abc"]), frame["y"]
    model = make_pipeline(FrozenEstimator(StandardScaler().fit(x)), LinearRegression())
    validation = (np.concatenate([x[300:], x[:30]]), np.concatenate([y[300:], y[:30]]))
    seen = diagnose(model, x[:300], y[:300], validation=validation, quick=True)
    told = {item.code: item.message for item in seen.findings}
    assert "has seen 400 rows, more than there are to train" in told["H506"] and "30 of 130" in told["H501"]
    held = (pd.DataFrame(validation[0]), validation[1])
    seen = diagnose(LinearRegression(), pd.DataFrame(x[:300]), y[:300], validation=held, quick=True)
    assert "30 of 130" in {item.code: item.message for item in seen.findings}["H501"]


def test_labels_that_the_learner_is_sure_are_wrong() -> None:
    frame = table()
    label = np.where(frame["a"] > frame["b"], "up", "down")
    wrong = np.arange(245, 310, 8)
    label[wrong] = np.where(label[wrong] == "up", "down", "up")
    study = Study(
        {k: frame[k] for k in "abc"} | {"y": label, "row": PART}, "y", part="row", learners=["SoftmaxClassifier"]
    )
    called = {item.code: item for item in study.fit().findings}["H509"]
    assert called.severity == "info" and set(called.evidence["rows"]) <= {int(at) - 240 for at in wrong}
    frame["y"][250] += 500
    study = Study(frame | {"part": PART}, "y", part="part", learners=["LinearRegression"]).fit()
    assert next(item.evidence["rows"] for item in study.findings if item.code == "H509") == [10]


def test_what_a_small_validation_part_could_have_seen() -> None:
    """Two learners that each err on rows of their own, and hardly gain: their difference would have to be larger."""
    frame = table(3, 100)
    frame["y"] = frame["a"] + 6 * np.random.default_rng(3).normal(size=100)
    learners = {"line": LinearRegression(), "nearest": KNeighborsRegressor(9)}
    found = {item.code: item for item in Study(frame, "y", learners=learners).fit().findings}
    told = found["H202"].evidence
    assert told["detectable"] > 0.5 * told["gain"] > 0 and "four times in five" in found["H202"].message
    assert "H202" not in {item.code for item in Study(table(n=2000), "y", learners=learners).fit().findings}


def test_no_rows_are_sealed_in_what_is_seen() -> None:
    study = Study(table(), "y", learners=["LinearRegression"])
    held: list[Any] = []
    real = study._evidence
    study._evidence = lambda *given: held.append(real(*given)) or held[-1]  # type: ignore[method-assign, func-returns-value]
    study.fit()
    seen = held[-1].seen
    assert (seen.n_train, seen.n_validation) == tuple(map(len, seen.tables)) == (240, 80)
    assert len(seen.frame) == 320
    assert parts.told_apart(seen, list("abc"))[1] > 0.001
