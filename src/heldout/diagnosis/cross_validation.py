"""Cross-validation with an interval that allows for what the splits share; nested where the estimator is a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heldout.diagnosis.resampled import (
    Array,
    CorrectedTTest,
    Fold,
    Judge,
    corrected_t_test,
    fitted_on,
    loss_on,
    mean_score,
)
from heldout.errors import InputError
from heldout.intervals import Score
from heldout.metrics import Criterion
from heldout.printed import Printed, Sheet
from heldout.words import capital, interval, number


@dataclass(frozen=True, repr=False, eq=False)
class CrossValidation(Printed):
    """Scores on J splits. Prints as a table, and plots.

    Attributes
    ----------
    train, validation : float arrays (J,), the score of each split on its training rows and on those held out
    searched : float array (J,), or None
        Of a search, the score that it reports of its winner in each split: not of the rows held out, and too good.
    settings : tuple of dict (J,), what a search chose in each split; empty where nothing is searched
    criterion : Criterion
    n_train, n_test : float, mean number of rows fitted and held out
    """

    train: Array
    validation: Array
    searched: Array | None
    settings: tuple[dict[str, Any], ...]
    criterion: Criterion
    n_train: float
    n_test: float
    widening: float

    @property
    def score(self) -> Score:
        """The mean score of the rows held out, with its corrected 95% interval (Nadeau and Bengio 2003)."""
        return self._mean(self.validation)

    def _mean(self, scores: Array) -> Score:
        losses = np.array([self.criterion.loss(float(score)) for score in scores])
        return mean_score(losses, self.widening, self.criterion)

    def compare(self, other: CrossValidation) -> CorrectedTTest:
        """This one's scores minus those of another on the same splits (same rows, cv, repeats and seed)."""
        if len(self.validation) != len(other.validation) or self.criterion.name != other.criterion.name:
            raise InputError("The two were not cross-validated alike: give both the same rows, cv, repeats, and seed.")
        sizes = {"n_train": round(self.n_train), "n_test": round(self.n_test)}
        return corrected_t_test(self.validation, other.validation, **sizes)

    def _table(self) -> Sheet:
        title = f"{capital(self.criterion.title)} over {len(self.validation)} splits, 95% intervals"
        parts = [("train", self.train), ("held out", self.validation)]
        notes = []
        if self.searched is not None:
            parts.insert(1, ("what the search reports", self.searched))
            notes = ["Nested: each split is searched anew, and the rows held out have no part in it."]
        body = [[name, number(s.value), interval(s.to_json())] for name, scores in parts for s in [self._mean(scores)]]
        return [title], ["rows", "mean", "interval"], body, notes

    def plot(self) -> Any:
        """An Altair chart: the score of each split, and the mean of each kind of rows with its interval."""
        import altair as alt

        parts = [("train", self.train), ("held out", self.validation)]
        if self.searched is not None:
            parts.insert(1, ("search reports", self.searched))
        order = [name for name, _ in parts]
        dots = [{"rows": name, "score": float(v)} for name, scores in parts for v in scores]
        means = [
            {"rows": name, "score": s.value, "low": s.low, "high": s.high}
            for name, scores in parts
            for s in [self._mean(scores)]
        ]
        better = "higher" if self.criterion.greater_is_better else "lower"
        x = alt.X("score:Q", title=f"{self.criterion.title} ({better} is better)", scale=alt.Scale(zero=False))
        y = alt.Y("rows:N", sort=order, title=None)
        each = alt.Chart(alt.Data(values=dots)).mark_circle(opacity=0.35, size=40, color="#8a93a0").encode(x=x, y=y)
        base = alt.Chart(alt.Data(values=means))
        bar = base.mark_rule(strokeWidth=2, color="#2f6fb0").encode(x=alt.X("low:Q"), x2="high:Q", y=y)
        mean = base.mark_point(filled=True, size=80, opacity=1, color="#2f6fb0").encode(x=x, y=y)
        title = f"{len(self.validation)} splits of the same rows: each, and the mean with its 95% interval"
        return (each + bar + mean).properties(width=440, height=alt.Step(34), title=title)


def cross_validate(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    *,
    cv: Any = 5,
    repeats: int = 2,
    groups: ArrayLike | None = None,
    time: ArrayLike | None = None,
    criterion: str | None = None,
    seed: int = 0,
    verbose: bool = False,
) -> CrossValidation:
    r"""Scores of an estimator on rows that it was not fitted to, and how certain their mean is.

    .. math:: \bar s \pm t_{J-1} \sqrt{\left(\frac1J + \frac{n_2}{n_1}\right) \hat\sigma^2}

    of J splits with :math:`n_1` rows fitted and :math:`n_2` held out: the splits share rows, so that the usual standard
    error would be too small (Nadeau and Bengio 2003). Whatever the estimator chooses by itself is chosen anew in each
    split, from its training rows: a pipeline's steps, and the settings of a `heldout.Search`. So of a search this is
    the nested cross-validation (Varma and Simon 2006), and the result shows beside it what the search reports.

    Parameters
    ----------
    estimator, X, y, criterion, verbose : as in `heldout.diagnose`
    cv : int from 2 up, or splitter, default 5
        Folds keep the same rows on one side and spread the classes, or the range of y, evenly (stratified).
    repeats : int from 1 up, default 2
        How often the folds are dealt anew; by time, folds are dealt once.
    groups : array-like (n,) or None, default None
        Whole groups are held out; a search keeps them whole, too.
    time : array-like (n,) or None, default None
        When each row was, as numbers or dates. Each fold is held out after training on all that was before it; rows of
        the same time stay together. `cv` folds are held out, and the first part of the time is only trained on.
    seed : int, not negative, default 0

    Raises
    ------
    InputError : rows, targets, groups or times do not fit, or there are fewer rows, groups or times than folds.

    References
    ----------
    C. Nadeau and Y. Bengio, Inference for the generalization error, Machine Learning 52, 2003. S. Varma and R. Simon,
    Bias in error estimation when using cross-validation for model selection, BMC Bioinformatics 7 (91), 2006.

    Examples
    --------
    >>> from heldout import Search
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(60, 20)), np.arange(60) % 2  # nothing to learn: the error is 50%
    >>> search = Search(DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2, 3, 5, 8]}, criterion="accuracy")
    >>> found = cross_validate(search, X, y, criterion="accuracy", repeats=1)
    >>> bool(found.searched.mean() > found.validation.mean()), found.score.low < 0.5 < found.score.high
    (True, True)
    """
    if time is not None:
        if groups is not None or hasattr(cv, "split"):
            raise InputError("time decides how the rows are split: leave groups out, and give cv as a number.")
        cv, repeats = ByTime(time, cv), 1
    judge = Judge.of(estimator, X, y, groups, criterion, cv, repeats, seed)
    kept: list[tuple[float, dict[str, Any]]] = []

    def done(_: int, split: int) -> tuple[float, float]:
        train, held = judge.folds[split]
        fitted = fitted_on(estimator, X, judge.y, train, groups)
        if hasattr(fitted, "tunes"):
            kept.append((fitted.best_score_, fitted.best_params_))
        return loss_on(fitted, X, judge.y, train, judge.problem), loss_on(fitted, X, judge.y, held, judge.problem)

    losses = judge.measure(done, 1, verbose)
    chosen = judge.problem.criterion
    train, validation = (np.array([chosen.loss(float(loss)) for loss in part[0]]) for part in losses)
    n_train, n_test = (float(np.mean([len(fold[part]) for fold in judge.folds])) for part in (0, 1))
    searched = np.array([score for score, _ in kept]) if kept else None
    settings = tuple(settings for _, settings in kept)
    return CrossValidation(train, validation, searched, settings, chosen, n_train, n_test, judge.widening)


@dataclass(frozen=True)
class ByTime:
    """A splitter: each of `cv` stretches of time is held out after training on all that was before it.

    >>> for train, held in ByTime([2021, 2020, 2022, 2020], 2).split(None):
    ...     print(train.tolist(), held.tolist())
    [1, 3] [0]
    [0, 1, 3] [2]
    """

    time: Any
    cv: int

    def split(self, X: Any, y: Any = None, groups: Any = None) -> list[Fold]:
        """The folds, the earliest first; rows of one time are never divided."""
        del y, groups
        when = np.asarray(self.time)
        if when.ndim != 1 or (X is not None and len(when) != (X.shape[0] if hasattr(X, "shape") else len(X))):
            raise InputError(f"time has the shape {when.shape} and must have one value for each row.")
        if np.any(when != when):  # NaN and NaT
            raise InputError("time holds values that are missing; fill them in or leave those rows out.")
        moments, place = np.unique(when, return_inverse=True)
        if not isinstance(self.cv, int | np.integer) or not 1 <= self.cv < len(moments):
            raise InputError(f"There are {len(moments)} different times: cv must be a whole number below that.")
        stretch = _cut(np.bincount(place), int(self.cv) + 1)[place]
        return [(np.flatnonzero(stretch < k), np.flatnonzero(stretch == k)) for k in range(1, int(self.cv) + 1)]


def _cut(sizes: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    """The part of each moment, in order: about as many rows each, and none empty."""
    middle = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    part: NDArray[np.int64] = np.floor(middle * parts).astype(np.int64)
    n = len(sizes)
    lowest = np.maximum(0, parts - n + np.arange(n))  # what is left suffices for one moment a part
    for at in range(n):
        before = part[at - 1] if at else -1
        part[at] = min(max(part[at], lowest[at], before), before + 1)
    return part
