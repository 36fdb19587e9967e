"""`heldout.diagnose`: one estimator and its rows, without a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heldout.candidates import candidates, require_estimator
from heldout.diagnosis import findings, given
from heldout.diagnosis.base import Evidence, Finding
from heldout.diagnosis.comparison import WORSE, Comparison, judged
from heldout.diagnosis.leaks.parts import NotLookedAt
from heldout.diagnosis.leaks.seen import Seen
from heldout.diagnosis.remedies import Attempt, Trial, attempt, best_remedies, plan
from heldout.errors import InputError, WorkError
from heldout.fitting import Rows, fit
from heldout.intervals import Sample
from heldout.printed import Printed, Sheet
from heldout.problem import Problem
from heldout.progress import shown_progress
from heldout.split import a_quarter
from heldout.words import interval, number, p_value, seconds

LEAST_ROWS = 20
ENOUGH_ROWS = 24  # to validate, of few
WIDTH = 110
Places = NDArray[np.intp]


@dataclass(frozen=True, repr=False, eq=False)
class Diagnosis(Printed):
    """What `heldout.diagnose` found. Prints as the verdict and the table of what was tried.

    Attributes
    ----------
    verdict : {"worse than trivial", "overfits", "underfits", "large gap, but harmless", "large gap", "fits"}
    findings : tuple of Finding
        The verdict (H102), whether the trivial answer is beaten (H101), what was tried (H103), whether tuning helps
        (H105), leaks (H501 to H511), warnings.
    tried : tuple of Comparison
        The siblings, each beside the estimator, with adjusted p values.
    remedy : estimator or None
        The best sibling that is better beyond chance: not fitted, to be fitted to all rows.
    n_train, n_validation : int
    interrupted : bool
        Not all siblings were tried.
    """

    verdict: str
    findings: tuple[Finding, ...]
    tried: tuple[Comparison, ...]
    remedy: Any
    n_train: int
    n_validation: int
    criterion: str
    interrupted: bool

    def _table(self) -> Sheet:
        said = {item.code: item for item in self.findings}
        title = [f"{said['H102'].title} ({self.n_train:,} rows to train, {self.n_validation:,} to validate)"]
        for code in ("H102", "H101", "H103", "H105"):
            title += wrap(said[code].message, WIDTH) if code in said else []
        for item in self.findings:
            shown = item.code == NotLookedAt.code or (item.code.startswith("H5") and item.severity != "info")
            title += wrap(str(item), WIDTH) if shown else []
        header = ["sibling", f"{self.criterion} on validation", "better by", "95% interval", "p", "fit"]
        notes = wrap("Better by: than the estimator, row by row. p is adjusted for all comparisons together.", WIDTH)
        notes += ["Interrupted: not all siblings were tried."] if self.interrupted else []
        return title, header, [_line(item) for item in self.tried] or [["none was tried", *[""] * 5]], notes


def _line(item: Comparison) -> list[str]:
    if item.difference is None or item.validation is None:
        return [f"{item.other}: failed, {item.error}", *[""] * 5]
    score = item.difference.score()
    shown = (number(item.validation.value), number(score.value), interval(score.to_json()), p_value(item.p))
    return [f"{item.relation}: {item.other}", *shown, seconds(item.seconds)]


def diagnose(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    *,
    validation: tuple[Any, ArrayLike] | None = None,
    groups: ArrayLike | None = None,
    chosen_from: ArrayLike | None = None,
    criterion: str | None = None,
    quick: bool = False,
    tune: int = 0,
    seed: int = 0,
    verbose: bool = False,
) -> Diagnosis:
    """Does this estimator overfit or underfit, how sure is that, and which sibling is better?

    A clone of the estimator is fitted to train, and beside it simpler and richer siblings (`variants`); all are
    compared on the validation rows, paired, with a chance of at most 5% that anything false is claimed. See
    docs/diagnosis.md. Ctrl-C ends the trials; the diagnosis is then of what was tried.

    Parameters
    ----------
    estimator : regressor or classifier of scikit-learn's interface, or a Pipeline
    X : array, frame or sparse matrix (n, p)
        Whatever the estimator takes.
    y : array-like (n,)
    validation : (X, y) or None, default None
        Rows to compare on. None: a random quarter of the rows (more where there are fewer than 96), the classes or the
        range of y spread evenly.
        Rows of an array or a frame that are the same throughout stay on one side.
    groups : array-like (n,) or None, default None
        Rows of a group stay on one side, too, and count as one observation.
    chosen_from : array (n, q) or None, default None
        The wider table that the columns of X were chosen from, with the same rows: were they chosen with the
        validation rows in view (H511)? X is then an array of numbers.
    criterion : str or None, default None
        Any of `heldout.metrics.criterion`; None: RMSE for numbers, log loss for classes (accuracy without
        `predict_proba`).
    quick : bool, default False
        Only the most telling sibling.
    tune : int, not negative, default 0
        How many settings to search over, by `heldout.Search` on the rows to train. Whether that is better or worse than
        the estimator as it is, is tested with all siblings together (H105). 0: none.
    seed : int, not negative, default 0
        Of the split, and of what is drawn.
    verbose : bool, default False
        Show what is being fitted, and the time left, on stderr.

    Raises
    ------
    InputError : rows and targets do not fit, there are fewer than 20 rows to train or validate, a class is missing
        from train, or the criterion does not suit.
    WorkError : the estimator could not be fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1500, 3))
    >>> y = 2 * X[:, 0] + 2 * rng.normal(size=1500)
    >>> found = diagnose(DecisionTreeRegressor(random_state=0), X, y)
    >>> found.verdict, found.remedy
    ('overfits', DecisionTreeRegressor(min_samples_leaf=20, random_state=0))
    """
    from sklearn.base import clone

    require_estimator(estimator)
    parts = given.parts(X, y, validation)
    problem = given.stated(estimator, [target for _, target in parts], criterion)
    train, held, places = _rows(parts, problem, groups, int(seed))
    seen = Seen.of_rows((train, held), given=validation is not None, chosen_from=_wide(chosen_from, parts, places))
    trivial, own = candidates(problem, [estimator])
    learner = fit(own, problem, train, held)
    if learner.status != "fitted":
        raise WorkError(f"{learner.title} could not be fitted: {learner.error}.")
    blank = [replace(rows, X=np.zeros((len(rows.y), 1))) for rows in (train, held)]
    baseline = fit(trivial, problem, blank[0], blank[1])
    chosen = plan([learner], len(train.y), problem, quick=quick, tune=tune)
    results, interrupted = _try(chosen.trials, problem, train, held, verbose)
    tried = tuple(judged([item for item, _ in results], chosen.questions))
    best = best_remedies(tried).get(learner.name)
    made = tuple(item for item, _ in results)
    rows = {"unseen": seen} if isinstance(seen, str) else {"seen": seen}
    found = tuple(findings(Evidence(problem, (baseline, learner), tried=made, planned=chosen.questions, **rows)))
    return Diagnosis(
        next(item.evidence["verdict"] for item in found if item.code == "H102"),
        found,
        tuple(item for item in tried if item.relation != WORSE),
        None if best is None else clone(results[best][1].estimator),
        len(train.y),
        len(held.y),
        problem.criterion.title,
        interrupted,
    )


def _try(
    trials: Sequence[Trial], problem: Problem, train: Rows, held: Rows, verbose: bool
) -> tuple[list[Attempt], bool]:
    results: list[Attempt] = []
    try:
        with shown_progress(not verbose) as progress:
            for done, trial in enumerate(trials):
                if progress is not None:
                    progress(trial.title, done, len(trials))
                results += attempt(trial, problem, train, held)
    except KeyboardInterrupt:
        return results, True
    return results, False


def _rows(
    parts: Sequence[given.Part], problem: Problem, groups: ArrayLike | None, seed: int
) -> tuple[Rows, Rows, tuple[Places, ...]]:
    """Train and validation, in whole units; and where their rows stood, if all came together."""
    from sklearn.utils import _safe_indexing

    coded = [given.coded(target, problem) for _, target in parts]
    if len(parts) == 2:
        if groups is not None:
            raise InputError("groups decide how the rows are split, and validation rows were given: leave one out.")
        made = [(X, y, given.units(X, None)) for (X, _), y in zip(parts, coded, strict=True)]
        where: tuple[Places, ...] = ()
    else:
        units = given.units(parts[0][0], groups)
        share = min(0.5, max(0.25, ENOUGH_ROWS / max(1, len(units))))
        held = a_quarter(units, coded[0], problem, seed, share)
        where = (np.flatnonzero(~held), np.flatnonzero(held))
        made = [(_safe_indexing(parts[0][0], rows), coded[0][rows], units[rows]) for rows in where]
    for name, (_, y, _) in zip(("train", "validate"), made, strict=True):
        if len(y) < LEAST_ROWS:
            raise InputError(f"There are {len(y)} rows to {name}; a diagnosis needs at least {LEAST_ROWS}.")
    samples = [Sample.of(units, seed + turn) for turn, (_, _, units) in enumerate(made)]
    train, held_out = (Rows(None, None, X, y, s) for (X, y, _), s in zip(made, samples, strict=True))
    if problem.classes is not None and len(np.unique(train.y)) < len(problem.classes):
        raise InputError("A class is missing from the rows to train: give more rows of it, or another split.")
    return train, held_out, where


def _wide(
    chosen_from: ArrayLike | None, parts: Sequence[given.Part], where: tuple[Places, ...]
) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """The rows of train and of validation in the table that the columns were chosen from."""
    if chosen_from is None:
        return None
    wide, X = np.asarray(chosen_from), parts[0][0]
    if not where:
        raise InputError("chosen_from needs rows of train and of validation in one table: leave validation=... out.")
    if not isinstance(X, np.ndarray) or X.ndim != 2 or wide.ndim != 2 or {X.dtype.kind, wide.dtype.kind} - set("fiub"):
        raise InputError("With chosen_from, X and chosen_from are arrays of numbers, rows by columns.")
    if len(wide) != len(X):
        raise InputError(f"chosen_from has {len(wide)} rows and X {len(X)}: they must be the same rows.")
    wide = wide.astype(np.float64)
    return wide[where[0]], wide[where[1]]
