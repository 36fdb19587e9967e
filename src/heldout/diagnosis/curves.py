"""Learning curves (error against rows) and validation curves (error against a parameter), from cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtr

from heldout.diagnosis.power_law import PowerLaw, fit_power_law
from heldout.diagnosis.resampled import Array, Judge, curve_chart, losses, mean_score
from heldout.errors import InputError
from heldout.intervals import Score
from heldout.metrics import Criterion
from heldout.multiplicity import holm
from heldout.printed import Printed, Sheet
from heldout.words import capital, interval, number

SIZES = 7
LEAST_SIZE = 20
CERTAIN = 0.05
NO_LAW = "It gets worse with more rows somewhere, beyond chance; no power law says what still more would give."


@dataclass(frozen=True, repr=False, eq=False)
class LearningCurve(Printed):
    """Error against the number of rows learned from, with a power law. Prints as a table, and says what more rows give.

    Attributes
    ----------
    sizes : int array (k,)
    train, validation : float arrays (k, J), losses of each size on each of J splits
    criterion : Criterion
    law : PowerLaw or None
        None where the error rises somewhere beyond chance: then nothing is said of more rows.
    rises : tuple of (int, int)
        Neighbouring sizes between which the validation loss rises beyond chance.
    widening : float
        What standard errors over the splits are multiplied by, because the splits share rows.
    """

    sizes: Array
    train: Array
    validation: Array
    criterion: Criterion
    law: PowerLaw | None
    rises: tuple[tuple[int, int], ...]
    widening: float

    def gain(self, times: float = 2.0) -> Score:
        """How much lower the loss would be with so many times the rows, by the power law, with its 95% interval.

        Raises InputError where the error rises with the rows, so that no law holds.
        """
        if self.law is None:
            raise InputError(
                "The error rises with the rows somewhere, beyond chance; no power law tells what more give."
            )
        return self.law.gain(float(self.sizes[-1]), times)

    def expected(self, n: float) -> Score:
        """The score with n rows by the power law, with its 95% interval; beyond the rows there are, if it goes on."""
        if self.law is None:
            raise InputError(NO_LAW)
        found, turn = self.law.at(n), self.criterion.loss
        low, high = sorted((turn(found.low), turn(found.high)))
        return Score(turn(found.value), low, high, found.level, found.method)

    @property
    def answer(self) -> str:
        """Would more data help, and how much? In a sentence."""
        if self.law is None:
            where = "; ".join(f"from {a:,} to {b:,} rows" for a, b in self.rises)
            return f"It gets worse {where}, beyond chance: more rows are no sure help, and no law is fitted."
        gain = self.gain()
        way = "raise" if self.criterion.greater_is_better else "lower"
        by = f"twice as many {way} the {self.criterion.title} by {number(gain.value)} (95% interval "
        by += f"{interval(gain.to_json())}), if the law goes on."
        return f"More rows would help: {by}" if gain.low > 0 else f"Whether more rows would help is not certain: {by}"

    def _table(self) -> Sheet:
        return _sheet("rows", [f"{n:,}" for n in self.sizes], self, [self.answer])

    def plot(self) -> Any:
        """An Altair chart: measured losses with 95% intervals, the power law and its band up to four times the rows."""
        import altair as alt

        x = alt.X("x:Q", title="rows learned from", scale=alt.Scale(type="log", nice=False))
        chart = curve_chart(_points(self.sizes.tolist(), self), x, "Learning curve", _unit(self.criterion), self.answer)
        if self.law is None:
            return chart.properties(width=440, height=280)
        at = np.geomspace(self.sizes[0], 4 * self.sizes[-1], 40)
        rows = [{"x": float(n), "value": s.value, "low": s.low, "high": s.high} for n in at for s in [self.expected(n)]]
        base = alt.Chart(alt.Data(values=rows))
        band = base.mark_area(opacity=0.15, color="#2f6fb0").encode(x=x, y="low:Q", y2="high:Q")
        line = base.mark_line(strokeDash=[5, 4], color="#2f6fb0").encode(x=x, y="value:Q")
        return (band + line + chart).properties(width=440, height=280)


@dataclass(frozen=True, repr=False, eq=False)
class ValidationCurve(Printed):
    """Error against the values of one parameter. Prints as a table.

    Attributes
    ----------
    parameter : str
    values : tuple
    train, validation : float arrays (k, J), losses of each value on each of J splits
    criterion : Criterion
    best : the value with the least mean validation loss
    alike : tuple
        The values that cannot be told from the best (corrected resampled t-test, Holm): choose by other reasons.
    widening : float, as in `LearningCurve`
    """

    parameter: str
    values: tuple[Any, ...]
    train: Array
    validation: Array
    criterion: Criterion
    best: Any
    alike: tuple[Any, ...]
    widening: float

    def _table(self) -> Sheet:
        others = ", ".join(str(value) for value in self.alike if value != self.best)
        told = f"; it cannot be told from {others}" if others else "; all others are worse, beyond chance"
        return _sheet(
            self.parameter, list(map(str, self.values)), self, [f"Best is {self.parameter} {self.best}{told}."]
        )

    def plot(self) -> Any:
        """An Altair chart: losses with 95% intervals against the values, on a logarithmic axis where they span much."""
        import altair as alt

        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in self.values)
        wide = numeric and min(self.values) > 0 and max(self.values) >= 50 * min(self.values)
        scale = alt.Scale(type="log") if wide else alt.Scale(zero=False)
        names = list(map(str, self.values))
        x = (
            alt.X("x:Q", title=self.parameter, scale=scale)
            if numeric
            else alt.X("x:N", title=self.parameter, sort=names)
        )
        points = _points(list(self.values) if numeric else names, self)
        note = f"best: {self.best}"
        return curve_chart(points, x, "Validation curve", _unit(self.criterion), note).properties(width=440, height=280)


def learning_curve(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    *,
    sizes: Sequence[int] | None = None,
    cv: Any = 5,
    repeats: int = 2,
    groups: ArrayLike | None = None,
    criterion: str | None = None,
    seed: int = 0,
    verbose: bool = False,
) -> LearningCurve:
    r"""Error against the number of rows learned from: would more data help, and how much?

    In each split of a cross-validation the estimator is fitted to random parts of the rows to train, each within the
    next, and judged by the rows held out. To the mean validation losses a power law is fitted,

    .. math:: L(n) = a + b \, n^{-c}, \qquad b \ge 0, \; 0.05 \le c \le 2,

    and its uncertainty is that of curves drawn anew from the splits (bootstrap), widened for what the splits share
    (Nadeau and Bengio 2003). Nothing makes the measured curve fall: where it rises beyond chance, no law is fitted,
    and `rises` says where.

    Parameters
    ----------
    estimator, X, y, groups, criterion, verbose : as in `heldout.diagnose`
    sizes : sequence of int, or None, default None
        Numbers of rows, rising. None: 7, evenly in the logarithm, from a tenth of the rows to train (20 or more) up.
    cv : int from 2 up, or splitter, default 5
        Folds keep the same rows and groups on one side and spread the target evenly.
    repeats : int from 1 up, default 2
        How often the folds are dealt anew.
    seed : int, not negative, default 0

    Raises
    ------
    InputError : rows and targets do not fit, sizes that are not there, or fewer than two splits.

    References
    ----------
    C. Cortes and others, Learning curves: asymptotic values and rate of convergence, NIPS 1993. T. Viering and M. Loog,
    The shape of learning curves: a review, IEEE Transactions on Pattern Analysis 45, 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 15))
    >>> y = X.sum(axis=1) + rng.normal(size=300)
    >>> found = learning_curve(LinearRegression(), X, y)
    >>> found.sizes.tolist(), bool(found.validation[0].mean() > found.validation[-1].mean())
    ([24, 35, 52, 76, 111, 164, 240], True)
    """
    judge = Judge.of(estimator, X, y, groups, criterion, cv, repeats, seed)
    chosen = _sizes(sizes, min(len(train) for train, _ in judge.folds))
    rng = np.random.default_rng(seed)
    mixed = [(rng.permutation(train), held) for train, held in judge.folds]

    def done(setting: int, split: int) -> tuple[float, float]:
        return losses(estimator, X, judge.y, judge.problem, mixed[split], int(chosen[setting]))

    train, validation = judge.measure(done, len(chosen), verbose)
    steps = np.diff(validation, axis=0)
    rising = holm([_one_sided(step, judge.widening) for step in steps])
    rises = tuple((int(a), int(b)) for a, b, p in zip(chosen, chosen[1:], rising, strict=False) if p <= CERTAIN)
    perfect = judge.problem.criterion.perfect
    floor = -np.inf if perfect is None else judge.problem.criterion.loss(perfect)
    law = None if rises else fit_power_law(chosen, validation, floor, judge.widening, seed)
    return LearningCurve(chosen, train, validation, judge.problem.criterion, law, rises, judge.widening)


def validation_curve(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    parameter: str,
    values: Sequence[Any],
    *,
    cv: Any = 5,
    repeats: int = 2,
    groups: ArrayLike | None = None,
    criterion: str | None = None,
    seed: int = 0,
    verbose: bool = False,
) -> ValidationCurve:
    """Error against the values of one parameter (depth, k, penalty, epochs), by cross-validation.

    The best value's loss is that of a winner, and a little too good; other rows must say what it is worth.

    Parameters
    ----------
    estimator, X, y, groups, criterion, verbose : as in `heldout.diagnose`
    parameter : str
        A parameter of the estimator; "step__parameter" of a pipeline.
    values : sequence
    cv, repeats, seed : as in `learning_curve`

    Raises
    ------
    InputError : there is no such parameter, fewer than two values, or as in `learning_curve`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2))
    >>> y = (X[:, 0] > 0) + 0.5 * rng.normal(size=300)
    >>> found = validation_curve(DecisionTreeRegressor(random_state=0), X, y, "max_depth", [1, 2, 4, 8])
    >>> found.best, 8 in found.alike
    (1, False)
    """
    from sklearn.base import clone

    judge = Judge.of(estimator, X, y, groups, criterion, cv, repeats, seed)
    if parameter not in estimator.get_params():
        raise InputError(
            f"{type(estimator).__name__} has no parameter {parameter!r}.{_parameters(estimator, parameter)}"
        )
    if len(values) < 2:
        raise InputError("A validation curve needs at least two values.")
    settings = [clone(estimator).set_params(**{parameter: value}) for value in values]

    def done(setting: int, split: int) -> tuple[float, float]:
        return losses(settings[setting], X, judge.y, judge.problem, judge.folds[split])

    train, validation = judge.measure(done, len(values), verbose)
    best = int(validation.mean(axis=1).argmin())
    others = [k for k in range(len(values)) if k != best]
    worse = holm([_one_sided(validation[k] - validation[best], judge.widening) for k in others])
    told = {k for k, p in zip(others, worse, strict=True) if p <= CERTAIN}
    alike = tuple(value for k, value in enumerate(values) if k not in told)
    found = (parameter, tuple(values), train, validation, judge.problem.criterion, values[best], alike, judge.widening)
    return ValidationCurve(*found)


# What both share -------------------------------------------------------------------------------------------


def _parameters(estimator: Any, name: str) -> str:
    from heldout.errors import suggest

    return suggest(name, estimator.get_params())


def _sizes(sizes: Sequence[int] | None, most: int) -> Any:
    if sizes is None:
        least = min(max(LEAST_SIZE, most // 10), most // 2)
        return np.unique(np.round(np.geomspace(least, most, SIZES)).astype(np.int64))
    chosen = np.asarray(sizes, np.int64)
    if len(chosen) < 3 or np.any(np.diff(chosen) <= 0) or chosen[0] < 2 or chosen[-1] > most:
        raise InputError(f"sizes must be 3 numbers of rows or more, rising, from 2 to {most:,} (the rows to train).")
    return chosen


def _one_sided(differences: Array, widening: float) -> float:
    """The corrected resampled t-test's p value for a mean above zero."""
    n, spread = len(differences), float(differences.std(ddof=1))
    if spread == 0.0:
        return 1.0 if differences[0] <= 0 else 0.0
    return float(stdtr(n - 1, -differences.mean() * np.sqrt(n) / (spread * widening)))


def _points(x: Sequence[Any], curve: Any) -> list[dict[str, Any]]:
    """Mean scores with 95% intervals, a row for each part and value."""
    rows = []
    for part in ("train", "validation"):
        for at, splits in zip(x, getattr(curve, part), strict=True):
            score = mean_score(splits, curve.widening, curve.criterion)
            rows.append({"x": at, "part": part, "value": score.value, "low": score.low, "high": score.high})
    return rows


def _sheet(name: str, values: Sequence[str], curve: Any, notes: list[str]) -> Sheet:
    title = f"{capital(curve.criterion.title)} over {curve.validation.shape[1]} splits, 95% intervals"
    body = []
    for value, train, held in zip(values, curve.train, curve.validation, strict=True):
        scores = [mean_score(part, curve.widening, curve.criterion) for part in (train, held)]
        body.append([value, *(cell for s in scores for cell in (number(s.value), interval(s.to_json())))])
    return [title], [name, "train", "", "validation", ""], body, notes


def _unit(criterion: Criterion) -> str:
    return f"{criterion.title} ({'higher' if criterion.greater_is_better else 'lower'} is better)"
