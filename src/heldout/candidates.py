"""What a study fits: learners of the panel that suit the problem, or what the user passes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from heldout.errors import InputError, suggest
from heldout.panel import LEARNERS, Entry, entry_of
from heldout.problem import Problem, label_text
from heldout.words import number

SEASONAL = "SeasonalPersistence"
FORECASTING: dict[str, dict[str, Any]] = {
    # Lags that share a penalty are shrunk too far within one standard error
    "Ridge": {"rule": "min"},
    "Lasso": {"rule": "min"},
    "ElasticNet": {"rule": "min"},
    # A few years of days are soon learned by heart, and the level is known
    "RecurrentRegressor": {"difference": True, "dropout": 0.5, "pooling": "last", "max_iter": 12},
    "TransformerRegressor": {"difference": True, "dropout": 0.5, "max_iter": 12},
}


@dataclass(frozen=True)
class Candidate:
    """A learner about to be fitted. `raw`: it takes the columns as they are and encodes them itself."""

    name: str
    title: str
    estimator: Any
    baseline: bool = False
    raw: bool = False
    ours: bool = True


def candidates(problem: Problem, learners: Any = None) -> list[Candidate]:
    """The learners to try on this problem, the trivial answer first.

    Parameters
    ----------
    problem : Problem
    learners : None, or a list or mapping of names of LEARNERS and scikit-learn estimators
        None takes every learner of the panel that suits the task and the rows. A scikit-learn Pipeline is given the
        columns of a table as a pandas frame, because its first steps encode them; every other estimator gets the
        encoded matrix. Images are a matrix of their pixels, (n, height, width, channels) for networks that take that.

    Raises
    ------
    InputError
        An unknown name, a learner for another task, or something that is no estimator.
    """
    suited = [e for e in LEARNERS.values() if problem.task in e.tasks and problem.form in e.tried]
    baseline = next(entry for entry in suited if entry.baseline)
    first = Candidate(baseline.name, baseline.title, baseline.load()(**_trivial_parameters(problem)), baseline=True)
    if learners is None:
        chosen = [Candidate(e.name, e.title, _made(e, problem)) for e in suited if not e.baseline]
        return [first, *_seasonal(problem, baseline), *chosen]
    named = learners.items() if isinstance(learners, Mapping) else [(None, item) for item in _as_list(learners)]
    asked = [_candidate(name, item, problem) for name, item in named]
    if not asked:
        raise InputError("The list of learners is empty; leave it out to take the panel.")
    return _unique([first, *asked])


def _as_list(learners: Any) -> list[Any]:
    return list(learners) if isinstance(learners, list | tuple) else [learners]


def _candidate(name: str | None, item: Any, problem: Problem) -> Candidate:
    if isinstance(item, str):
        known = [entry.name for entry in LEARNERS.values() if problem.task in entry.tasks and not entry.baseline]
        if item not in known:
            raise InputError(f"There is no learner {item!r} for a {problem.task} problem.{suggest(item, known)}")
        entry = LEARNERS[item]
        return Candidate(name or entry.name, entry.title, _made(entry, problem))
    require_estimator(item)
    from sklearn.base import clone
    from sklearn.pipeline import Pipeline

    own, kind = entry_of(item), type(item).__name__
    title = own.title if own else (name or kind)
    raw = isinstance(item, Pipeline) and problem.form == "table"
    return Candidate(name or kind, title, clone(item), raw=raw, ours=own is not None)


def _made(entry: Entry, problem: Problem) -> Any:
    """A learner of the panel with its defaults, which for forecasts are others."""
    return entry.load()(**FORECASTING.get(entry.name, {}) if problem.windows is not None else {})


def require_estimator(item: Any) -> None:
    """Raise InputError for what has not scikit-learn's interface."""
    if isinstance(item, type) or not all(hasattr(item, name) for name in ("fit", "predict", "get_params")):
        raise InputError(f"{item!r} is no estimator: it needs fit, predict and get_params, as scikit-learn has them.")


def _unique(found: list[Candidate]) -> list[Candidate]:
    names = [candidate.name for candidate in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"Two learners are called {name!r}; pass a dict to give them names of their own.")
    return found


def _seasonal(problem: Problem, baseline: Entry) -> list[Candidate]:
    """Of a forecast: the value one season ago, where windows reach back to it."""
    windows = problem.windows
    if windows is None or windows.seasonal_back is None:
        return []
    title = f"Seasonal persistence (the value {windows.clock.words(windows.clock.season)} before)"
    return [Candidate(SEASONAL, title, baseline.load()(back=windows.seasonal_back), baseline=True)]


def _trivial_parameters(problem: Problem) -> dict[str, Any]:
    """The constant that the criterion likes best; of a forecast nothing."""
    criterion = problem.criterion
    if problem.windows is not None:
        return {}
    if problem.task == "regression":
        return {"statistic": "median" if criterion.name in ("mae", "mape", "rmsle") else "mean"}
    return {"strategy": "prior" if criterion.needs == "probability" else "most_frequent"}


def says(estimator: Any, problem: Problem) -> str:
    """The trivial answer in words."""
    if problem.windows is not None:
        return f"always the last value ({problem.windows.clock.words(problem.windows.horizon)} before)"
    if problem.classes is None:
        return f"always the {estimator.statistic} of train, {number(float(np.ravel(estimator.constant_)[0]))}"
    shares = np.asarray(estimator.class_prior_)
    if estimator.strategy == "most_frequent":
        return f"always {label_text(problem.classes[int(shares.argmax())])}"
    listed = [f"{label_text(c)} {share:.0%}" for c, share in zip(problem.classes, shares, strict=True)]
    return f"the shares of the classes in train ({', '.join(listed[:5])}{', …' if len(listed) > 5 else ''})"
