"""How often the diagnosis is wrong, how often it finds what was planted, and whether its remedies help on fresh rows.

The truth is known here: every data set is drawn from a law, and each claim is checked on 20,000 rows drawn anew.

    python benchmarks/diagnosis.py [--case CASE] [--sets N]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import binomtest
from sklearn.base import clone
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

import certainty
import leaks as leaks_of
from common import DATA
from heldout import (
    DecisionTreeRegressor,
    Finding,
    MLPClassifier,
    PolynomialRegression,
    Study,
    corrected_t_test,
    diagnose,
    read,
)
from heldout.diagnosis.curves import validation_curve
from simulated import main, share

FRESH = 20_000
FAULTS = ("Overfits", "Underfits", "Worse than trivial")
Array = np.ndarray[Any, Any]


# Whole studies of linear models: no signal, and a learner that is right -------------------------------------


def numbers(rng: np.random.Generator, n: int, signal: float) -> tuple[Array, Array]:
    X = rng.normal(size=(n, 6))
    return X, signal * (X[:, 0] - X[:, 1]) + rng.normal(size=n)


def labels(rng: np.random.Generator, n: int, signal: float) -> tuple[Array, Array]:
    X = rng.normal(size=(n, 6))
    return X, np.where(signal * (X[:, 0] - X[:, 1]) + rng.logistic(size=n) > 0, "yes", "no")


def frame(X: Array, y: Array) -> pl.DataFrame:
    return pl.DataFrame({**{f"x{j}": X[:, j] for j in range(X.shape[1])}, "y": y})


LINEAR = (["LinearRegression", "Ridge", "Lasso"], ["SoftmaxClassifier"])
TREES = (
    ["LinearRegression", "DecisionTreeRegressor", "RandomForestRegressor"],
    ["SoftmaxClassifier", "DecisionTreeClassifier", "RandomForestClassifier"],
)


def studies(name: str, signal: float, sets: int, panels: tuple[Any, Any] = LINEAR) -> None:
    """Studies half of numbers and half of labels, with these panels: fitted and diagnosed in full."""
    over = faults = wrong = 0
    for turn in range(sets):
        draw = numbers if turn % 2 == 0 else labels
        rng = np.random.default_rng([turn, 0])
        with tempfile.TemporaryDirectory() as folder:
            table = frame(*draw(rng, 500, signal))
            study = (
                Study(table, "y", learners=panels[turn % 2], seed=turn, ledger=Path(folder) / "ledger.sqlite")
                .fit()
                .diagnose()
            )
        called = [item for item in study.findings if item.code == "H102" and item.title in FAULTS]
        over += any(item.title == "Overfits" for item in called)
        faults += bool(called)
        fresh = frame(*draw(rng, FRESH, signal)) if called else table
        wrong += any(is_wrong(item, study, fresh) for item in called)
    print(f"{name}: overfitting called in {share(over, sets)} studies", flush=True)
    print(f"{name}: a fault called in {share(faults, sets)} studies, wrongly in {share(wrong, sets)}", flush=True)


def is_wrong(finding: Finding, study: Study, fresh: pl.DataFrame) -> bool:
    """What was said to be better is not, on rows drawn anew."""
    named = {entry["title"]: entry["learner"] for entry in study.leaderboard}
    trivial = next(entry["learner"] for entry in study.leaderboard if entry["baseline"])
    better = named.get(str(finding.evidence["better"]), f"{finding.learner}-remedy")
    other = trivial if finding.title == "Worse than trivial" else better
    table, problem = read(fresh), study.problem
    y, criterion = problem.y(table), problem.criterion
    one, two = (criterion.loss(criterion.score(y, study._model(key).says(table))) for key in (finding.learner, other))
    return one <= two


# Planted overfitting ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Planted:
    """A law to draw rows from, and a learner with too much freedom for so many of them."""

    learner: Any
    draw: Callable[[np.random.Generator, int], tuple[Array, Array]]
    rows: int
    criterion: str


def slope(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    X = rng.normal(size=(n, 3))
    return X, X[:, 0] + rng.normal(size=n)


def wave(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    X = rng.uniform(-1, 1, size=(n, 2))
    return X, np.sin(2 * X[:, 0]) + 0.5 * rng.normal(size=n)


def noisy_labels(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    X = rng.normal(size=(n, 3))
    return X, ((X[:, 0] > 0) ^ (rng.random(n) < 0.3)).astype(int)


def wide(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    X = rng.normal(size=(n, 20))
    return X, (X[:, 0] + X[:, 1] + rng.logistic(size=n) > 0).astype(int)


WIDE = MLPClassifier(hidden_layer_sizes=(256,), alpha=0.0, early_stopping=False, max_iter=60)
PLANTED = {
    "depth": Planted(DecisionTreeRegressor(), slope, 600, "rmse"),
    "degree": Planted(PolynomialRegression(degree=14), wave, 400, "mae"),
    "degree-squared": Planted(PolynomialRegression(degree=14), wave, 400, "rmse"),
    "1-NN": Planted(KNeighborsClassifier(1), noisy_labels, 3000, "accuracy"),
    "width": Planted(WIDE, wide, 600, "log_loss"),
}


def planted(name: str, sets: int) -> None:
    case, found, adopted, better = PLANTED[name], 0, 0, 0
    for turn in range(sets):
        rng = np.random.default_rng([turn, 1])
        X, y = case.draw(rng, case.rows)
        said = diagnose(case.learner, X, y, criterion=case.criterion, seed=turn)
        found += any(item.certain and item.relation == "simpler" for item in said.tried)
        if said.remedy is not None:
            adopted += 1
            fresh = case.draw(rng, FRESH)
            before, after = (
                fresh_loss(learner, X, y, fresh, case.criterion) for learner in (case.learner, said.remedy)
            )
            better += after < before
    print(
        f"planted {name}: found in {share(found, sets)}; the remedy is better on fresh rows in "
        f"{share(better, adopted)}",
        flush=True,
    )


def fresh_loss(learner: Any, X: Array, y: Array, fresh: tuple[Array, Array], name: str) -> float:
    """Of the learner fitted to all rows, on rows drawn anew."""
    fitted = clone(learner).fit(X, y)
    if name == "rmse":
        return float(np.mean((fitted.predict(fresh[0]) - fresh[1]) ** 2))
    if name == "mae":
        return float(np.mean(np.abs(fitted.predict(fresh[0]) - fresh[1])))
    if name == "accuracy":
        return float(np.mean(fitted.predict(fresh[0]) != fresh[1]))
    chance = np.asarray(fitted.predict_proba(fresh[0]))[np.arange(FRESH), fresh[1]]
    return float(-np.mean(np.log(np.clip(chance, 1e-15, 1))))


# Selection outside cross-validation, and splits that share rows ---------------------------------------------


def esl(sets: int) -> None:
    """Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2nd edition 2009, section 7.10.2."""
    outside, inside, covered = [], [], 0
    for turn in range(sets):
        rng = np.random.default_rng([turn, 2])
        X, y = rng.normal(size=(50, 5000)), np.repeat([0, 1], 25)
        chosen = SelectKBest(f_classif, k=100).fit(X, y).get_support()
        folds = list(StratifiedKFold(5, shuffle=True, random_state=turn).split(X, y))
        leaky = [
            np.mean(KNeighborsClassifier(1).fit(X[a][:, chosen], y[a]).predict(X[b][:, chosen]) != y[b])
            for a, b in folds
        ]
        outside.append(float(np.mean(leaky)))
        model = make_pipeline(SelectKBest(f_classif, k=100), KNeighborsClassifier(1))
        options = {"criterion": "accuracy", "repeats": 1, "seed": turn}
        errors = 1 + validation_curve(model, X, y, "kneighborsclassifier__n_neighbors", [1, 3], **options).validation[0]
        told = corrected_t_test(errors, np.zeros(len(errors)), n_train=40, n_test=10)
        inside.append(told.difference)
        covered += told.low <= 0.5 <= told.high
    print(
        f"ESL 7.10.2: selection outside the folds reports {np.mean(outside):.1%}, inside {np.mean(inside):.1%} (truth "
        f"50%); its 95% interval covers 50% in {share(covered, sets)}",
        flush=True,
    )


def nadeau_bengio(sets: int) -> None:
    """Two regressions on one useless column each, 15 random splits of 60 rows: neither is better in truth."""
    naive = corrected = 0
    for turn in range(sets):
        rng = np.random.default_rng([turn, 3])
        x, y = rng.normal(size=(60, 2)), rng.normal(size=60)
        scores: list[list[float]] = [[], []]
        for _ in range(15):
            order = rng.permutation(60)
            train, held = order[:40], order[40:]
            for k in range(2):
                line = np.polyfit(x[train, k], y[train], 1)
                scores[k].append(float(np.mean((y[held] - np.polyval(line, x[held, k])) ** 2)))
        found = corrected_t_test(scores[0], scores[1], n_train=40, n_test=20)
        naive, corrected = naive + (found.naive_p <= 0.05), corrected + (found.p <= 0.05)
    print(
        f"splits that share rows, no difference: the naive test finds one in {share(naive, sets)}, the corrected in "
        f"{share(corrected, sets)}",
        flush=True,
    )


def adult(sets: int) -> None:
    """The time of the diagnosis of the default panel, against the learners' own fits, on Adult's training table.

    Each of `sets` turns is a study of its own, in this process: its fits are those that its diagnosis is held against.
    The first turn, which reads compiled code, counts for nothing.
    """
    ratios: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(sets + 1):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            table = DATA / "adult_income" / "adult_train.csv.gz"
            study = Study(table, "income", ledger=Path(folder) / "l.sqlite").fit()
            whole = time.perf_counter() - start
            fits = sum(entry["fit_seconds"] for entry in study.leaderboard)
            print(f"adult: study.fit() {whole:.2f} s, of which the learners' fit calls {fits:.2f} s", flush=True)
            for quick in (True, False):
                start = time.perf_counter()
                study.diagnose(quick=quick)
                seconds = time.perf_counter() - start
                tried = study.record["diagnosis"]["tried"]
                own = sum(item["seconds"] for item in tried)
                print(
                    f"adult: diagnosis{', quick' * quick} {seconds:.2f} s, {seconds / fits:.2f} times the fits; "
                    f"{len(tried)} siblings, their fits {own:.2f} s",
                    flush=True,
                )
                if turn:
                    ratios[quick].append(seconds / fits)
    for quick, found in ratios.items():
        name = "quick" if quick else "whole"
        print(
            f"adult: {name}, {np.median(found):.2f} times the fits ({min(found):.2f} to {max(found):.2f})", flush=True
        )


def preselected(sets: int) -> None:
    """ESL 7.10.2 by `diagnose`: the columns with the table that they were chosen from, and a pipeline that chooses."""
    outside, again, inside = [], [], []
    called = covered = whole = fair = 0
    options = {"criterion": "accuracy", "quick": True}
    for turn in range(sets):
        rng = np.random.default_rng([turn, 2])
        X, y = rng.normal(size=(50, 5000)), np.arange(50) % 2
        best = SelectKBest(f_classif, k=100).fit(X, y).get_support()
        found = diagnose(KNeighborsClassifier(1), X[:, best], y, chosen_from=X, seed=turn, **options)
        outside.append(_of_validation(found)["learner"])
        told = [item for item in found.findings if item.code == "H511"]
        called += bool(told)
        if told:
            score = told[0].evidence["chosen_on_train"]
            again.append(score.value)
            covered += score.low <= 0.5 <= score.high
        model = make_pipeline(SelectKBest(f_classif, k=100), KNeighborsClassifier(1))
        found = diagnose(model, X, y, seed=turn, **options)
        inside.append(_of_validation(found)["learner"])
        whole += _of_validation(found)["covers"]
        fair += selected_elsewhere(turn)
    print(
        f"ESL 7.10.2, diagnose: chosen on all rows {1 - np.mean(outside):.1%} error is reported; the choice is called "
        f"in {share(called, sets)}, and chosen again on train it is {1 - np.mean(again):.1%}, whose interval covers "
        f"50% in {share(covered, len(again))}; a pipeline {1 - np.mean(inside):.1%}, covers in {share(whole, sets)}; "
        f"columns chosen on other rows, with 20 that count: called in {share(fair, sets)}",
        flush=True,
    )


def _of_validation(found: Any) -> dict[str, Any]:
    """The accuracy on validation, and whether its interval (Wilson's) covers 50%."""
    told = next(item for item in found.findings if item.code in ("H101", "H102") and "learner" in item.evidence)
    right = round(told.evidence["learner"] * found.n_validation)
    ends = binomtest(right, found.n_validation).proportion_ci(0.95, "wilson")
    return {"learner": told.evidence["learner"], "covers": ends.low <= 0.5 <= ends.high}


def selected_elsewhere(turn: int) -> bool:
    """Sixty of 2,000 columns, chosen by 120 rows that are not diagnosed; twenty count. Is a leak called?"""
    rng = np.random.default_rng([turn, 4])
    X = rng.normal(size=(240, 2000))
    y = (X[:, :20].sum(axis=1) / 2 + rng.logistic(size=240) > 0).astype(int)
    best = SelectKBest(f_classif, k=60).fit(X[:120], y[:120]).get_support()
    options = {"criterion": "accuracy", "quick": True, "seed": turn}
    found = diagnose(KNeighborsClassifier(15), X[120:, best], y[120:], chosen_from=X[120:], **options)
    return any(item.code == "H511" for item in found.findings)


def duplicates(sets: int) -> None:
    """Like the tables of wine quality: grades, and a fifth of the rows twice, dealt out one by one."""
    called, told, truth = 0, [], []
    for seed in range(sets):
        frame = leaks_of.graded(seed)
        with tempfile.TemporaryDirectory() as folder:
            options = {"part": "part", "criterion": "accuracy", "learners": ["RandomForestClassifier"]}
            study = Study(frame, "grade", ledger=Path(folder) / "l.sqlite", seed=seed, **options).fit()
        found = [item.evidence for item in study.findings if item.code == "H501"]
        called += bool(found)
        told += [[item["with"]["value"], item["without"]["value"], item["rows"] / item["looked_at"]] for item in found]
        held = leaks_of.fresh(seed)
        truth.append(float(np.mean(study.model.predict(held) == held["grade"].cast(pl.Int64).to_numpy())))
    whole, without, rows = np.mean(told, axis=0)
    print(
        f"duplicates: called in {share(called, sets)}; {rows:.1%} of validation are twins; a forest's accuracy with "
        f"them {whole:.3f}, without {without:.3f}, on rows that were never there {np.mean(truth):.3f}",
        flush=True,
    )


# Leaks ------------------------------------------------------------------------------------------------------


def leaks(cases: Callable[[int], list[leaks_of.Case]], sets: int, first: int = 1) -> None:
    """Studies of real tables with a leak planted in each, or none: is it found, and is anything else? `sets` times."""
    right = 0
    made = [(seed, case) for seed in range(first, first + sets) for case in cases(seed)]
    for seed, case in made:
        with tempfile.TemporaryDirectory() as folder:
            ledger = Path(folder) / "ledger.sqlite"
            study = Study(case.frame, case.target, ledger=ledger, seed=seed, **case.options).fit()
        called = [item for item in study.findings if item.code.startswith("H5") and item.severity != "info"]
        codes = [item.code for item in called]
        good = bool(set(codes) & set(case.codes)) if case.codes else not codes
        right += good
        print(
            f"  {'' if good else 'MISSED ' if case.codes else 'FALSE '}{case.name}: {', '.join(codes) or 'nothing'}",
            flush=True,
        )
        for item in () if good else called:
            print(f"      {item}", flush=True)
    print(f"leaks: {'found' if made[0][1].codes else 'nothing called'} in {share(right, len(made))} tables", flush=True)


CASES: dict[str, tuple[Callable[[int], None], int]] = {
    "null": (lambda sets: studies("no signal", 0.0, sets), 200),
    "right": (lambda sets: studies("the learner is right", 1.0, sets), 200),
    "null-trees": (lambda sets: studies("no signal, with a tree and a forest", 0.0, sets, TREES), 200),
    "right-trees": (lambda sets: studies("a straight line, with a tree and a forest", 1.0, sets, TREES), 200),
    **{f"planted-{name}": (lambda sets, name=name: planted(name, sets), 50) for name in PLANTED},
    "esl": (esl, 50),
    "nadeau-bengio": (nadeau_bengio, 1000),
    "preselected": (preselected, 50),
    "duplicates": (duplicates, 20),
    "leaks": (lambda sets: leaks(leaks_of.planted, sets), 2),
    "clean": (lambda sets: leaks(leaks_of.clean, sets), 2),
    "adult": (adult, 5),
    **certainty.CASES,
}


if __name__ == "__main__":
    main(CASES, __doc__ or "")
