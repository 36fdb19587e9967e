"""Nested cross-validation: what tuning is worth, without the luck of the winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from heldout.candidates import require_estimator
from heldout.diagnosis import given
from heldout.diagnosis.resampled import Array, correction, losses, made_folds
from heldout.errors import InputError, suggest
from heldout.intervals import LEVEL, Score
from heldout.metrics import Criterion
from heldout.printed import Printed, Sheet
from heldout.progress import shown_progress
from heldout.words import capital, interval, number


@dataclass(frozen=True, repr=False, eq=False)
class NestedCV(Printed):
    """What cross-validation says of a tuned learner: of its winner, and nested. Prints as a table.

    Attributes
    ----------
    nested : Score
        Mean loss on the outer folds of learners tuned without them, with its corrected interval.
    winner : float
        Mean loss of the best setting in the same folds, which is what tuning reports of itself: too good by chance.
    best : mapping
        That setting: the one to use.
    chosen : tuple of mappings, one for each outer fold
    losses : float array (J,), of the outer folds
    criterion : Criterion
    """

    nested: Score
    winner: float
    best: Mapping[str, Any]
    chosen: tuple[Mapping[str, Any], ...]
    losses: Array
    criterion: Criterion

    @property
    def optimism(self) -> float:
        """By how much the winner's loss is lower than that of learners tuned without the rows they are judged by."""
        return self.nested.value - self.winner

    def _table(self) -> Sheet:
        agree = sum(item == self.best for item in self.chosen)
        body = [
            ["nested", number(self.nested.value), interval(self.nested.to_json())],
            ["the winner's own", number(self.winner), ""],
        ]
        notes = [
            f"Best: {', '.join(f'{name} {value}' for name, value in self.best.items())}, which {agree} of "
            f"{len(self.chosen)} outer folds choose, too."
        ]
        header = ["", f"{capital(self.criterion.title)}, as a loss", "95% interval"]
        return ["Cross-validation of a tuned learner"], header, body, notes


def nested_cross_validate(
    estimator: Any,
    grid: Mapping[str, Sequence[Any]],
    X: Any,
    y: ArrayLike,
    *,
    cv: Any = 5,
    inner: int = 5,
    groups: ArrayLike | None = None,
    criterion: str | None = None,
    seed: int = 0,
    verbose: bool = False,
) -> NestedCV:
    r"""How good is a learner that is tuned by cross-validation?

    In each outer fold every setting is cross-validated on the rows to train, the best is fitted to all of them, and
    judged by the rows held out, which no choice has seen. The interval is Nadeau and Bengio's (`corrected_t_test`).

    Parameters
    ----------
    estimator, X, y, groups, criterion, verbose : as in `heldout.diagnose`
    grid : mapping of parameter to values
        Every combination is a setting.
    cv : int or splitter, default 5
        The outer folds.
    inner : int, default 5
        The folds within.
    seed : int, not negative, default 0

    Raises
    ------
    InputError : there is no such parameter, no setting, or rows, folds or criterion do not fit.

    References
    ----------
    S. Varma and R. Simon, Bias in error estimation when using cross-validation for model selection, BMC Bioinformatics
    7:91, 2006. G. C. Cawley and N. L. C. Talbot, On over-fitting in model selection and subsequent selection bias in
    performance evaluation, JMLR 11, 2010.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> rng = np.random.default_rng(2)
    >>> X, y = rng.normal(size=(60, 5)), np.repeat([0, 1], 30)  # no signal: the truth is 0.5
    >>> grid = {"n_neighbors": [1, 3, 5, 9], "p": [1, 2]}
    >>> found = nested_cross_validate(KNeighborsClassifier(), grid, X, y, criterion="accuracy")
    >>> found.optimism > 0, found.nested.low < -0.5 < found.nested.high
    (True, True)
    """
    from sklearn.base import clone
    from sklearn.model_selection import ParameterGrid
    from sklearn.utils import _safe_indexing

    require_estimator(estimator)
    strange = next((name for name in grid if name not in estimator.get_params()), None)
    if strange is not None:
        near = suggest(strange, estimator.get_params())
        raise InputError(f"{type(estimator).__name__} has no parameter {strange!r}.{near}")
    settings = list(ParameterGrid(dict(grid)))
    if not grid or not settings:
        raise InputError("The grid has no setting: give each parameter at least one value.")
    ((_, target),) = given.parts(X, y, None)
    problem = given.stated(estimator, [target], criterion)
    coded = given.coded(target, problem)
    learners = [clone(estimator).set_params(**setting) for setting in settings]
    outer = made_folds(X, coded, groups, problem, cv, 1, seed)
    units = None if groups is None else np.asarray(groups)
    table = np.empty((len(settings), len(outer)))
    chosen, made = [], np.empty(len(outer))
    with shown_progress(not verbose) as progress:
        for at, (train, held) in enumerate(outer):
            if progress is not None:
                progress(f"Outer fold {at + 1}", at, len(outer))
            seen, truth = _safe_indexing(X, train), coded[train]
            within = made_folds(seen, truth, None if units is None else units[train], problem, inner, 1, seed + 1)
            own = [np.mean([losses(item, seen, truth, problem, fold)[1] for fold in within]) for item in learners]
            table[:, at] = [losses(item, X, coded, problem, (train, held))[1] for item in learners]
            best = int(np.argmin(own))
            chosen.append(settings[best])
            made[at] = table[best, at]
    means = table.mean(axis=1)
    sizes = np.array([(len(train), len(held)) for train, held in outer], float).mean(axis=0)
    se = float(made.std(ddof=1) / np.sqrt(len(made))) * correction(len(made), *sizes)
    half = float(stdtrit(len(made) - 1, (1 + LEVEL) / 2)) * se
    mean = float(made.mean())
    score = Score(mean, mean - half, mean + half, LEVEL, "corrected resampled t")
    winner = int(means.argmin())
    return NestedCV(score, float(means[winner]), settings[winner], tuple(chosen), made, problem.criterion)
