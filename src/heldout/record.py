"""The study's record: everything that study.json, the report and the terminal show, as plain JSON values.

Summaries of columns are of the training rows, charts of the validation rows.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from heldout.certainty.calibration import calibration
from heldout.certainty.choice import Choice
from heldout.certainty.validated import Certainty
from heldout.data.table import Column, Table
from heldout.fitting import Fitted
from heldout.intervals import Score
from heldout.metrics import Prediction
from heldout.problem import Problem, label_text
from heldout.split import SHARES

if TYPE_CHECKING:
    from heldout.study import Study

BARS = 20
LEVELS = 8
REMEDIES, OPENING = " --remedies", "\nfinal = study.open_test()"  # what stands last in the command and in the code
STEPS = 60  # of a forecast that are drawn
POINTS = 500
SHOWN_VERSIONS = ("heldout", "numpy", "scipy", "scikit-learn", "polars", "skrub")


# Data ------------------------------------------------------------------------------------------------------


def data(table: Table, train: Table, problem: Problem, rows: int, sha256: str | None) -> dict[str, Any]:
    """The columns with their roles, and summaries of the training rows."""
    reasons = {item.name: item.reason for item in problem.left_out}
    columns = []
    for column in table.columns:
        summary, missing, distinct = _summary(train.frame[column.name], column)
        columns.append(
            {
                "name": column.name,
                "kind": column.kind,
                "role": _role(column.name, problem, reasons),
                "reason": reasons.get(column.name, ""),
                "note": column.note,
                "missing": missing,
                "distinct": distinct,
                "summary": summary,
            }
        )
    return {"source": table.source.name, "sha256": sha256, "rows": rows, "columns": columns}


def _role(name: str, problem: Problem, reasons: Mapping[str, str]) -> str:
    roles = {problem.target: "target", problem.group: "group", problem.part: "split", problem.time: "time"}
    return roles.get(name) or ("left out" if name in reasons else "feature")


def _summary(values: pl.Series, column: Column) -> tuple[dict[str, Any], float, int]:
    filled = values.drop_nulls()
    missing = 1 - len(filled) / len(values) if len(values) else 0.0
    if filled.is_empty():
        return {}, missing, 0
    kinds = {"number": _numbers, "date": _dates, "text": _texts, "image": _images, "series": _series}
    summarise = kinds.get(column.kind, _levels)
    return summarise(filled), missing, filled.n_unique()


def _numbers(filled: pl.Series) -> dict[str, Any]:
    values = filled.to_numpy()
    counts, edges = np.histogram(values, bins=min(BARS, max(1, filled.n_unique())))
    return {
        "min": float(values.min()),
        "median": float(np.median(values)),
        "max": float(values.max()),
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def _levels(filled: pl.Series) -> dict[str, Any]:
    counted = filled.value_counts(sort=True).rows()
    counted.sort(key=lambda pair: (-pair[1], str(pair[0])))
    shown = [[label_text(level), count] for level, count in counted[:LEVELS]]
    return {"levels": shown, "other": sum(count for _, count in counted[LEVELS:])}


def _dates(filled: pl.Series) -> dict[str, Any]:
    return {"first": str(filled.min()), "last": str(filled.max())}


def _texts(filled: pl.Series) -> dict[str, Any]:
    words = [len(text.split()) for text in filled.head(1000).to_list()]
    return {"words": statistics.median(words), "example": str(filled[0])[:80]}


def _series(filled: pl.Series) -> dict[str, Any]:
    """All steps together."""
    values = filled.explode().fill_nan(None).drop_nulls()
    return {} if values.is_empty() else _numbers(values)


def _images(filled: pl.Series) -> dict[str, Any]:
    return {"images": filled.n_unique()}


# Leaderboard -----------------------------------------------------------------------------------------------


def leaderboard(learners: Sequence[Fitted], problem: Problem, choice: Choice) -> list[dict[str, Any]]:
    """One entry a learner, best on validation first; learners without a score at the end."""
    criterion = problem.criterion
    scored = [item for item in learners if item.status == "fitted"]
    scored.sort(key=lambda item: criterion.loss(item.scored[1].value))
    rest = [item for item in learners if item.status != "fitted"]
    return [_entry(item, choice) for item in [*scored, *rest]]


def _entry(item: Fitted, choice: Choice) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "learner": item.name,
        "title": item.title,
        "baseline": item.baseline,
        "remedy_of": item.remedy_of,
        "status": item.status,
        "error": item.error,
        "chosen": item.name == choice.chosen,
        "alike": item.name in choice.alike,
        "train": None,
        "validation": None,
        "gap": None,
        "other": [],
        "fit_seconds": item.fit_seconds,
        "predict_seconds": item.predict_seconds,
        "parameters": dict(item.parameters),
        "warnings": list(item.warnings),
    }
    if item.status == "fitted":
        train, validation = item.scored
        entry["train"], entry["validation"] = train.score().to_json(), validation.score().to_json()
        entry["gap"] = validation.loss_minus(train).to_json()
        entry["other"] = [named(criterion.name, criterion.title, score) for criterion, score in item.beside]
    return entry


def named(name: str, title: str, score: Score) -> dict[str, Any]:
    return {"name": name, "title": title, **score.to_json()}


# Charts ----------------------------------------------------------------------------------------------------


def charts(chosen: Fitted, y: NDArray[Any], problem: Problem, known: Certainty) -> dict[str, Any]:
    """What the charts of the chosen learner show, of validation rows."""
    assert chosen.prediction is not None
    made = (
        _regression_chart(chosen.prediction, y)
        if problem.classes is None
        else _class_charts(chosen.prediction, y, problem, known)
    )
    return {"predictions": {chosen.name: made}}


def course(problem: Problem, chosen: Fitted, validation: Table, y: NDArray[Any]) -> dict[str, Any]:
    """The last validation steps of a forecast's first series: their times, what came and what was predicted."""
    assert problem.windows is not None and chosen.prediction is not None
    frame, own = validation.frame, problem.windows.series
    name = None if own is None else frame[own][0]
    rows = np.arange(len(y)) if own is None else np.flatnonzero((frame[own] == name).to_numpy())
    rows = rows[-STEPS:]
    times = frame[problem.windows.time].gather(rows).to_list()
    return {
        "series": "" if name is None else str(name),
        "times": [time.isoformat() if hasattr(time, "isoformat") else float(time) for time in times],
        "actual": y[rows].tolist(),
        "predicted": np.asarray(chosen.prediction.value)[rows].tolist(),
    }


def _regression_chart(prediction: Prediction, y: NDArray[Any]) -> dict[str, Any]:
    rows = np.linspace(0, len(y) - 1, min(POINTS, len(y))).astype(int)
    return {"actual": y[rows].tolist(), "predicted": np.asarray(prediction.value)[rows].tolist()}


def _class_charts(prediction: Prediction, y: NDArray[Any], problem: Problem, known: Certainty) -> dict[str, Any]:
    classes = problem.classes or ()
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (y, np.asarray(prediction.label)), 1)
    made: dict[str, Any] = {"confusion": {"labels": [label_text(c) for c in classes], "counts": counts.tolist()}}
    if prediction.probability is not None:
        found = known.calibration or calibration(y, prediction.probability)
        made["calibration"] = found.to_json()
        made["calibrated"] = None if known.calibrated is None else known.calibrated.to_json()
        if len(classes) == 2:
            made["roc"] = _roc(prediction.probability[:, 1], y)
    return made


def _roc(score: NDArray[Any], y: NDArray[Any]) -> dict[str, Any]:
    from sklearn.metrics import roc_curve

    if len(np.unique(y)) < 2:
        return {"fpr": [0.0, 1.0], "tpr": [0.0, 1.0]}
    fpr, tpr, _ = roc_curve(y, score)
    kept = np.unique(np.linspace(0, len(fpr) - 1, min(300, len(fpr))).astype(int))
    return {"fpr": fpr[kept].tolist(), "tpr": tpr[kept].tolist()}


# How to reproduce ------------------------------------------------------------------------------------------


def reproduce(study: Study) -> dict[str, Any]:
    """The command, the code and the versions that make this study again."""
    return {
        "command": command(study),
        "python": code(study),
        "seed": study.seed,
        "versions": versions(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "jobs": study.jobs or os.cpu_count() or 1,
        "seconds": 0.0,
    }


def options(study: Study) -> dict[str, Any]:
    """What a study needs to go on after it is loaded from its folder."""
    names = study.learners
    own = names is None or (isinstance(names, list | tuple) and all(isinstance(item, str) for item in names))
    return {
        "seed": study.seed,
        "learners": list(names) if own and names else None,
        "resumable": own,  # learners that were passed in as objects are not in the folder
        "jobs": study.jobs,
        "time_limit": study.time_limit,
        "thresholdout": study.thresholdout,
        "ledger": None if study.ledger is None else str(Path(study.ledger).absolute()),
    }


def command(study: Study) -> str:
    """The command line of this study; empty where its data or learners were Python objects."""
    names = study.learners or []
    if not isinstance(study.data, str | Path) or not all(isinstance(item, str) for item in names):
        return ""
    words = ["heldout", "run", str(study.data)]
    if not str(study.data).startswith("example:"):
        words += ["--target", str(study.target)]
    for option, value in _given(study):
        values = value if isinstance(value, list) else [value]
        for item in values:
            words += [f"--{option}"] if item is True else [f"--{option}", str(item)]
    return f"{shlex.join([*words, '--seed', str(study.seed)])}{REMEDIES} none"


def _given(study: Study) -> list[tuple[str, Any]]:
    """The options that differ from their defaults, in the order of the command's help."""
    pairs: list[tuple[str, Any]] = [
        (name, getattr(study, name))
        for name in (
            "task",
            "criterion",
            "positive",
            "group",
            "time",
            "gap",
            "forecast",
            "window",
            "series",
            "validation",
            "test",
            "delimiter",
            "sheet",
            "size",
            "thresholdout",
        )
    ]
    pairs += [("grey", study.grey or None), ("damaged", None if study.damaged == "refuse" else study.damaged)]
    pairs += [("cuts", study.cuts if study.cuts is None or isinstance(study.cuts, str) else "/".join(study.cuts))]
    pairs += [("known", list(study.known))]
    pairs += [("split", study.part), ("drop", list(study.drop)), ("keep", list(study.keep))]
    pairs += [("missing", list(study.missing)), ("learner", list(study.learners or []))]
    pairs += [("kind", [f"{name}={kind}" for name, kind in (study.kinds or {}).items()])]
    if _unusual(study.shares):
        pairs.append(("shares", "/".join(f"{share:g}" for share in study.shares)))
    return [(name, value) for name, value in pairs if value is not None and value != []]


def _unusual(shares: Sequence[float]) -> bool:
    return not np.allclose(np.asarray(shares) / np.sum(shares), SHARES)


def code(study: Study) -> str:
    """The same in Python."""
    data = repr(str(study.data)) if isinstance(study.data, str | Path) else "data"
    given = "".join(f", {PYTHON_NAMES.get(name, name)}={value!r}" for name, value in _python_options(study))
    return (
        f"import heldout\n\nstudy = heldout.Study({data}, target={study.target!r}{given}, seed={study.seed})\n"
        f"study.fit(){OPENING}"
    )


def diagnosed(made: Mapping[str, Any], quick: bool, learn: bool, tune: int) -> dict[str, Any]:
    """Command and code of a study that was diagnosed before the seal was broken."""
    told = [f"quick={quick}"] * quick + [f"learn={learn}"] * (learn is quick) + [f"tune={tune}"] * (tune > 0)
    code = f"{made['python'].partition('study.fit()')[0]}study.fit()\nstudy.diagnose({', '.join(told)}){OPENING}"
    options = ("" if quick else f"{REMEDIES} all") + f" --tune {tune}" * (tune > 0)
    before = made["command"].partition(REMEDIES)[0].partition(" --tune")[0]
    return {"python": code, "command": before and before + options}


_version = functools.cache(importlib.metadata.version)  # it reads a file
PYTHON_NAMES = {"split": "part", "learner": "learners", "kind": "kinds"}


def _python_options(study: Study) -> list[tuple[str, Any]]:
    names = study.learners
    plain = names is None or (isinstance(names, list | tuple) and all(isinstance(item, str) for item in names))
    found = [(name, value) for name, value in _given(study) if name not in ("kind", "shares", "learner")]
    found += [("kind", dict(study.kinds))] if study.kinds else []
    found += [("shares", tuple(study.shares))] if _unusual(study.shares) else []
    found += [("learner", list(names))] if names and plain else []
    return [(name, str(value) if isinstance(value, Path) else value) for name, value in found]


def versions() -> dict[str, str]:
    """Of Python and the libraries that decide the numbers."""
    return {"python": platform.python_version(), **{name: _version(name) for name in SHOWN_VERSIONS}}
