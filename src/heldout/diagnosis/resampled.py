"""Scores on many splits of the same rows: the folds, the scores, and the test that allows for what the splits share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from heldout.candidates import require_estimator
from heldout.diagnosis import given
from heldout.errors import InputError
from heldout.fitting import predict
from heldout.intervals import LEVEL, Score
from heldout.metrics import Criterion
from heldout.printed import Printed, Sheet
from heldout.problem import Problem
from heldout.progress import shown_progress
from heldout.split import folds
from heldout.words import number, p_value, percent

Array = NDArray[np.float64]
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows to train, rows to judge by


@dataclass(frozen=True, repr=False, eq=False)
class CorrectedTTest(Printed):
    """Two learners on J splits of the same rows: the corrected test, and the naive one beside it.

    Attributes
    ----------
    difference : float, the mean over the splits of the first minus the second
    se, t, p, low, high : float, corrected: standard error, statistic, two-sided p value, interval
    naive_se, naive_t, naive_p, naive_low, naive_high : float, as if the splits were independent
    splits : int, J
    level : float, of the intervals
    """

    difference: float
    se: float
    t: float
    p: float
    low: float
    high: float
    naive_se: float
    naive_t: float
    naive_p: float
    naive_low: float
    naive_high: float
    splits: int
    level: float

    def _table(self) -> Sheet:
        header = ["", "difference", "standard error", "t", "p", f"{percent(self.level)} interval"]
        rows = [
            [name, number(self.difference), number(se), number(t), p_value(p), f"{number(low)} to {number(high)}"]
            for name, (se, t, p, low, high) in (("corrected", self._one("")), ("naive", self._one("naive_")))
        ]
        note = (
            "The naive test takes the splits for independent; they share rows, so it finds differences where none are."
        )
        return [f"Difference over {self.splits} splits"], header, rows, [note]

    def _one(self, prefix: str) -> list[float]:
        return [getattr(self, prefix + name) for name in ("se", "t", "p", "low", "high")]

    def plot(self) -> Any:
        """An Altair chart of the difference with both intervals."""
        import altair as alt

        rows = [
            {"test": name, "difference": self.difference, "low": low, "high": high}
            for name, (_, _, _, low, high) in (("corrected", self._one("")), ("naive", self._one("naive_")))
        ]
        base = alt.Chart(alt.Data(values=rows), title=f"Difference over {self.splits} splits of the same rows")
        y = alt.Y("test:N", title=None)
        x = alt.X("low:Q", title=f"first minus second, {percent(self.level)} interval", scale=alt.Scale(zero=False))
        zero = alt.Chart(alt.Data(values=[{"zero": 0.0}])).mark_rule(strokeDash=[4, 3]).encode(x="zero:Q")
        bars, points = base.mark_rule(strokeWidth=2).encode(x=x, x2="high:Q", y=y), base.mark_circle(size=60)
        return (zero + bars + points.encode(x="difference:Q", y=y)).properties(width=440, height=alt.Step(30))


def corrected_t_test(
    first: ArrayLike, second: ArrayLike, *, n_train: int, n_test: int, level: float = 0.95
) -> CorrectedTTest:
    r"""Do two learners differ, by their scores on J splits of the same rows (cross-validation, repeated hold-out)?

    .. math:: t = \frac{\bar d}{\sqrt{\left(\frac1J + \frac{n_2}{n_1}\right) \hat\sigma^2_d}} \sim t_{J - 1}

    The splits share training rows, so their differences d go up and down together, and the naive test
    (:math:`\hat\sigma_d / \sqrt J`) takes them for more than they are. :math:`n_2 / n_1` allows for that: the more rows
    are held out of few, the more the splits have in common.

    Parameters
    ----------
    first, second : array-like (J,)
        The scores or losses of both on the same splits, in the same order.
    n_train, n_test : int
        Rows fitted and rows held out in each split, :math:`n_1` and :math:`n_2`.
    level : float between 0 and 1, default 0.95

    Raises
    ------
    InputError : the scores do not pair, there are fewer than 2, or a size or the level is out of range.

    References
    ----------
    C. Nadeau and Y. Bengio, Inference for the generalization error, Machine Learning 52, 2003, 239-281.

    Examples
    --------
    >>> found = corrected_t_test([0.30, 0.28, 0.33, 0.31], [0.27, 0.27, 0.29, 0.30], n_train=300, n_test=100)
    >>> round(found.t, 3), round(found.naive_t, 3)
    (1.964, 3.0)
    """
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.shape != two.shape or one.ndim != 1 or len(one) < 2 or not np.isfinite(one - two).all():
        raise InputError(
            f"The scores have shapes {one.shape} and {two.shape}: give two lists of the same length, 2 or more, finite."
        )
    if min(n_train, n_test) < 1 or not 0.0 < level < 1.0:
        raise InputError("n_train and n_test must be 1 or more, and level between 0 and 1.")
    d = one - two
    naive = float(d.std(ddof=1) / np.sqrt(len(d)))
    se = naive * correction(len(d), n_train, n_test)
    half = float(stdtrit(len(d) - 1, (1 + level) / 2))
    mean = float(d.mean())

    def tested(spread: float) -> tuple[float, float, float, float, float]:
        t = mean / spread if spread > 0 else (float(np.copysign(np.inf, mean)) if mean else 0.0)
        return spread, t, float(2 * stdtr(len(d) - 1, -abs(t))), mean - half * spread, mean + half * spread

    return CorrectedTTest(mean, *tested(se), *tested(naive), len(d), float(level))


def correction(splits: int, n_train: float, n_test: float) -> float:
    """What the standard error of a mean over splits is multiplied by: sqrt(1 + J n2 / n1)."""
    return float(np.sqrt(1 + splits * n_test / n_train))


def made_folds(X: Any, y: Array, groups: Any, problem: Problem, cv: Any, repeats: int, seed: int) -> list[Fold]:
    """The splits of `cv`: a number of folds, dealt anew `repeats` times, or a splitter of scikit-learn's."""
    if hasattr(cv, "split"):
        found = [(np.asarray(a), np.asarray(b)) for a, b in cv.split(X, y, groups)]
    else:
        units = given.units(X, groups)
        whole = all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in (cv, repeats))
        if not whole or not 2 <= cv <= len(np.unique(units)) or repeats < 1:
            raise InputError(
                f"cv is {cv!r} and repeats {repeats!r}: give 2 folds or more, no more than there are rows (groups), or "
                "a splitter, and 1 repeat or more."
            )
        dealt = [folds(units, y, problem, int(cv), seed + turn) for turn in range(int(repeats))]
        found = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for fold in dealt for k in range(int(cv))]
    if len(found) < 2:
        raise InputError("cv gives fewer than two splits; a spread needs at least two.")
    return found


@dataclass(frozen=True, repr=False)
class Judge:
    """Targets as codes, and the splits that an estimator is judged by."""

    y: Array
    problem: Any
    folds: Any
    widening: float

    @classmethod
    def of(cls, estimator: Any, X: Any, y: Any, groups: Any, criterion: Any, cv: Any, repeats: int, seed: int) -> Judge:
        require_estimator(estimator)
        ((_, target),) = given.parts(X, y, None)
        problem = given.stated(estimator, [target], criterion)
        coded = given.coded(target, problem)
        made = made_folds(X, coded, groups, problem, cv, repeats, seed)
        sizes = np.array([(len(train), len(held)) for train, held in made], float).mean(axis=0)
        return cls(coded, problem, made, correction(len(made), *sizes))

    def measure(self, done: Any, n_settings: int, verbose: bool) -> tuple[Array, Array]:
        with shown_progress(not verbose) as progress:
            tell = progress or (lambda *_: None)
            return table_of(done, n_settings, len(self.folds), lambda at, total: tell("Fitting", at, total))


def mean_score(splits: Array, widening: float, criterion: Criterion) -> Score:
    """The mean over splits that share rows, with its corrected 95% interval."""
    spread = float(splits.std(ddof=1) / np.sqrt(len(splits))) * widening
    half = float(stdtrit(len(splits) - 1, (1 + LEVEL) / 2)) * spread
    value = criterion.loss(float(splits.mean()))
    lower, upper = criterion.bounds
    return Score(value, max(lower, value - half), min(upper, value + half), LEVEL, "corrected resampled t")


def fitted_on(estimator: Any, X: Any, y: Array, rows: NDArray[np.int64], groups: Any = None) -> Any:
    """A clone of the estimator, fitted to these rows; a search is told their groups, too."""
    from sklearn.base import clone
    from sklearn.utils import _safe_indexing

    told = {"groups": np.asarray(groups)[rows]} if groups is not None and hasattr(estimator, "tunes") else {}
    return clone(estimator).fit(_safe_indexing(X, rows), y[rows], **told)


def loss_on(fitted: Any, X: Any, y: Array, rows: NDArray[np.int64], problem: Problem) -> float:
    """The loss of a fitted estimator on these rows."""
    from sklearn.utils import _safe_indexing

    score = problem.criterion
    return score.loss(score.score(y[rows], predict(fitted, _safe_indexing(X, rows), problem)))


def losses(
    estimator: Any, X: Any, y: Array, problem: Problem, fold: Fold, n_rows: int | None = None
) -> tuple[float, float]:
    """Loss on train and on the rows held out, of a clone fitted to the first `n_rows` of the fold's rows to train."""
    train, held = fold[0][:n_rows], fold[1]
    fitted = fitted_on(estimator, X, y, train)
    return loss_on(fitted, X, y, train, problem), loss_on(fitted, X, y, held, problem)


def table_of(
    done: Callable[[int, int], tuple[float, float]], n_settings: int, n_splits: int, tell: Callable[[int, int], None]
) -> tuple[Array, Array]:
    """Losses on train and held-out rows of every setting on every split, two arrays (settings, splits)."""
    made = np.empty((2, n_settings, n_splits))
    for split in range(n_splits):
        for setting in range(n_settings):
            tell(split * n_settings + setting, n_settings * n_splits)
            made[:, setting, split] = done(setting, split)
    return made[0], made[1]


def curve_chart(rows: Sequence[dict[str, Any]], x: Any, title: str, criterion: str, note: str = "") -> Any:
    """Train and validation loss with intervals along `x`; each row has part, value, low, high and the x field."""
    import altair as alt

    from heldout.report.plots import COLOURS, PARTS, SHAPES

    base = alt.Chart(alt.Data(values=list(rows)), title=alt.Title(title, subtitle=wrap(note, 80), anchor="start"))
    colour = alt.Color("part:N", title="rows", scale=alt.Scale(domain=PARTS, range=COLOURS))
    shape = alt.Shape("part:N", title="rows", scale=alt.Scale(domain=PARTS, range=SHAPES))
    y = alt.Y("value:Q", title=criterion, scale=alt.Scale(zero=False))
    bars = base.mark_rule(opacity=0.5).encode(x=x, y=alt.Y("low:Q", title=criterion), y2="high:Q", color=colour)
    points = base.mark_point(size=60, filled=True, opacity=1).encode(x=x, y=y, color=colour, shape=shape)
    return bars + base.mark_line().encode(x=x, y=y, color=colour) + points
