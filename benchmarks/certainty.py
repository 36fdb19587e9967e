"""Whether intervals, sets and choices hold what they promise: coverage, calibration, Thresholdout, nested tuning.

The truth is known: rows are drawn from a law. These are cases of benchmarks/diagnosis.py, or run alone:

    python benchmarks/certainty.py [--case CASE] [--sets N]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from heldout import (
    ConformalClassifier,
    ConformalRegressor,
    RandomForestRegressor,
    Search,
    Thresholdout,
    cross_validate,
)
from heldout.certainty.calibration import calibration
from heldout.certainty.validated import certainty
from heldout.fitting import Fitted, Rows
from heldout.intervals import Sample, replicate
from heldout.metrics import CRITERIA, Prediction, criterion
from heldout.problem import Problem
from simulated import main, share

Array = np.ndarray[Any, Any]
NUMBERS = ("rmse", "mae", "mse", "r2")
LABELS = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "log_loss",
    "brier",
    "roc_auc",
    "average_precision",
)


# Intervals of scores ----------------------------------------------------------------------------------------


def numbers(rng: np.random.Generator, n: int, groups: int) -> tuple[Array, Prediction, Array]:
    """Predictions and truths; with `groups`, rows of a group share half of the error's variance."""
    unit = np.arange(n) if groups == 0 else rng.permutation(n) % groups
    f = rng.normal(0, 2, n)
    noise = rng.normal(size=n) if groups == 0 else np.sqrt(0.5) * (rng.normal(size=groups)[unit] + rng.normal(size=n))
    return f + noise, Prediction(value=f), unit


def labels(rng: np.random.Generator, n: int, groups: int) -> tuple[Array, Prediction, Array]:
    """Two classes, a third of the second; a logistic learner that is a little too sure."""
    unit = np.arange(n) if groups == 0 else rng.permutation(n) % groups
    shift = 0.0 if groups == 0 else rng.normal(size=groups)[unit]
    x = rng.normal(size=n)
    y = (rng.uniform(size=n) < expit(1.5 * x - 0.8 + shift)).astype(np.int64)
    p = expit(2 * x - 0.8)
    return y, Prediction(label=(p > 0.5).astype(np.int64), probability=np.stack([1 - p, p], axis=1)), unit


def coverage(sets: int) -> None:
    """How often a 95% interval covers what the score is on ever so many rows."""
    for n, groups in ((50, 0), (200, 0), (400, 40), (2000, 0)):
        for draw, names in ((labels, LABELS), (numbers, NUMBERS)):
            rng = np.random.default_rng([n, groups])
            y, said, _ = draw(rng, 2_000_000, 2_000_000 // 10 if groups else 0)
            truth = {name: criterion(name).score(y, said) for name in names}
            covered = dict.fromkeys(names, 0)
            for turn in range(sets):
                y, said, unit = draw(np.random.default_rng([turn, n, groups]), n, groups)
                sample = Sample.of(unit, turn)
                for name in names:
                    score = replicate(criterion(name), y, said, sample).score()
                    covered[name] += score.low <= truth[name] <= score.high
            how = f"{n} rows" + f" in {groups} groups" * (groups > 0)
            for name in names:
                print(f"coverage, {how}, {name}: {share(covered[name], sets)}", flush=True)


# Conformal prediction ----------------------------------------------------------------------------------------


def uneven(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    """A bent line with noise that grows."""
    X = rng.uniform(-2, 2, size=(n, 1))
    return X, np.sin(2 * X[:, 0]) + (0.2 + np.abs(X[:, 0]) / 2) * rng.normal(size=n)


def three(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    X = rng.normal(size=(n, 3))
    return X, (rng.gumbel(size=(n, 3)) + 1.5 * X).argmax(axis=1)


def conformal(sets: int) -> None:
    """How often the interval or the set of one new row holds the truth, over so many training sets."""
    line, forest = LinearRegression(), RandomForestRegressor(n_estimators=30, leaf_members=True, min_samples_leaf=10)
    logistic, votes = LogisticRegression(), KNeighborsClassifier(15)
    cases: list[tuple[str, Any, Callable[..., tuple[Array, Array]], int]] = [
        ("a line", ConformalRegressor(line, method="split"), uneven, 200),
        ("a line", ConformalRegressor(line), uneven, 50),
        ("a line", ConformalRegressor(line), uneven, 200),
        ("a forest", ConformalRegressor(forest, method="cqr"), uneven, 400),
        ("logistic", ConformalClassifier(logistic, method="split"), three, 200),
        ("logistic", ConformalClassifier(logistic), three, 50),
        ("logistic", ConformalClassifier(logistic), three, 200),
        ("15 neighbours", ConformalClassifier(votes), three, 200),
    ]
    for name, model, draw, n in cases:
        covered, sizes = 0, []
        for turn in range(sets):
            rng = np.random.default_rng([turn, n])
            X, y = draw(rng, n)
            new, truth = draw(rng, 1)
            model.set_params(random_state=turn).fit(X, y)
            if isinstance(model, ConformalRegressor):
                low, high = model.predict_interval(new)[0]
                covered += low <= truth[0] <= high
                sizes.append(high - low)
            else:
                inside = model.predict_set(new)[0]
                covered += inside[truth[0]]
                sizes.append(inside.sum())
        size = f"mean size {np.mean(sizes):.2f}"
        print(f"conformal {model.method}, {name}, {n} rows: covered in {share(int(covered), sets)}, {size}", flush=True)


# Calibration ------------------------------------------------------------------------------------------------


def recalibration(sets: int) -> None:
    """How often a remedy is adopted where probabilities are right or too sure, and whether it helps."""
    problem = Problem("multiclass", "y", ("a", "b", "c"), CRITERIA["log_loss"], (), ())
    for power in (1.0, 1.5, 2.0):
        adopted = better = off = 0
        for turn in range(sets):
            rng = np.random.default_rng([turn, int(10 * power)])

            def draw(n: int, rng: np.random.Generator = rng, power: float = power) -> tuple[Array, Array]:
                z = 1.5 * rng.normal(size=(n, 3))
                return (rng.gumbel(size=z.shape) + z).argmax(axis=1), softmax(power * z, axis=1)

            y, p = draw(600)
            sample = Sample.of(np.arange(600), turn)
            rows = Rows(None, None, None, y, sample)
            said = Prediction(label=p.argmax(axis=1), probability=p)
            scores = rows.replicates(problem.criterion, said)
            item = Fitted("one", "one", "fitted", train=scores, validation=scores, prediction=said)
            known = certainty([item], problem, rows)
            off += calibration(y, p).off
            if known.calibrator is not None:
                adopted += 1
                y, p = draw(20_000)
                before, after = (-np.log(q[np.arange(len(y)), y]).mean() for q in (p, known.calibrator(p)))
                better += after < before
        print(
            f"calibration, logits times {power}: off beyond chance in {share(off, sets)}, a remedy adopted in "
            f"{share(adopted, sets)}, better on fresh rows in {share(better, adopted)}",
            flush=True,
        )


# The reusable holdout ----------------------------------------------------------------------------------------


def thresholdout(sets: int) -> None:
    """Dwork et al. 2015, figure 1: n = d = 10,000, the best 500 variables, chosen with the holdout's help."""
    n, d, best = 10_000, 10_000, 500
    for strong in (0, 20):
        found: dict[str, list[float]] = {"plain": [], "thresholdout": []}
        truth: dict[str, list[float]] = {"plain": [], "thresholdout": []}
        true_found: dict[str, list[int]] = {"plain": [], "thresholdout": []}
        for turn in range(sets):
            y = [np.random.default_rng([turn, part, d]).choice([-1.0, 1.0], n).astype(np.float32) for part in range(3)]
            seen = [_correlations(turn, part, y[part], d, strong) for part in (0, 1)]
            guard = Thresholdout(threshold=4 / np.sqrt(n), noise=GUARD_NOISE / np.sqrt(n), budget=2 * d, seed=turn)
            told = np.array([guard.ask(a, b) for a, b in zip(*seen, strict=True)])
            for name, held in (("plain", seen[1]), ("thresholdout", told)):
                agree = (np.sign(seen[0]) == np.sign(held)) & (np.minimum(np.abs(seen[0]), np.abs(held)) > n**-0.5)
                order = np.argsort(np.where(agree, -np.abs(seen[0]), 0.0), kind="stable")[:best]
                chosen = order[agree[order]]
                votes = [_votes(turn, part, y[part], chosen, np.sign(seen[0][chosen]), strong) for part in range(3)]
                accuracy = [float(np.mean(np.sign(v) == labels)) for v, labels in zip(votes, y, strict=True)]
                answer = accuracy[1] if name == "plain" else guard.ask(accuracy[0], accuracy[1])
                found[name].append(answer)
                truth[name].append(accuracy[2])
                true_found[name].append(int(np.sum(chosen < strong)))
        for name in found:
            said = f"says {np.mean(found[name]):.1%} ({min(found[name]):.1%} to {max(found[name]):.1%})"
            print(
                f"thresholdout, {strong} true variables, {sets} sets, {name}: {said}, fresh rows "
                f"{np.mean(truth[name]):.1%}; {np.mean(true_found[name]):.1f} of {strong} true ones chosen",
                flush=True,
            )


GUARD_NOISE = 0.25  # of 1 / sqrt(n)
STRENGTH = 6.0  # of a true variable, in 1 / sqrt(n)


def _variable(turn: int, part: int, y: Array, at: int, strong: int) -> Array:
    x = np.random.default_rng([turn, part, at]).standard_normal(len(y), dtype=np.float32)
    return x + np.float32(STRENGTH / np.sqrt(len(y))) * y if at < strong else x


def _correlations(turn: int, part: int, y: Array, d: int, strong: int) -> Array:
    return np.array([float(_variable(turn, part, y, at, strong) @ y) / len(y) for at in range(d)])


def _votes(turn: int, part: int, y: Array, chosen: Array, signs: Array, strong: int) -> Array:
    votes = np.zeros(len(y), np.float32)
    for at, sign in zip(chosen, signs, strict=True):
        votes += np.float32(sign) * _variable(turn, part, y, int(at), strong)
    return votes


# Tuning -----------------------------------------------------------------------------------------------------


def varma_simon(sets: int) -> None:
    """No signal, 40 rows, 200 columns: the error that tuned cross-validation reports of its winner, and nested."""
    winners, nested = [], []
    model = make_pipeline(SelectKBest(f_classif), KNeighborsClassifier())
    space = {"selectkbest__k": [1, 2, 5, 10, 20, 50, 100], "kneighborsclassifier__n_neighbors": [1, 3, 5, 7, 9]}
    for turn in range(sets):
        rng = np.random.default_rng([turn, 5])
        X, y = rng.normal(size=(40, 200)), np.repeat([0, 1], 20)
        search = Search(model, space, method="random", n_settings=35, cv=5, criterion="accuracy", seed=turn)
        winners.append(1 - search.fit(X, y).best_score_)
        nested.append(1 - cross_validate(search, X, y, criterion="accuracy", repeats=1, seed=turn).score.value)
    low = [int(np.sum(np.array(errors) < 0.3)) for errors in (winners, nested)]
    print(
        f"Varma-Simon: the winner's own error is {np.mean(winners):.1%} in the mean and below 30% in "
        f"{share(low[0], sets)}; nested {np.mean(nested):.1%}, below 30% in {share(low[1], sets)} (truth 50%)",
        flush=True,
    )


CASES: dict[str, tuple[Callable[[int], None], int]] = {
    "coverage": (coverage, 500),
    "conformal": (conformal, 500),
    "recalibration": (recalibration, 200),
    "thresholdout": (thresholdout, 5),
    "varma-simon": (varma_simon, 100),
}

if __name__ == "__main__":
    main(CASES, __doc__ or "")
