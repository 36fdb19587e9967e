"""Where a learner fails more than elsewhere: its score by slices of the rows, all of them judged together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from heldout.asked import Asked, GivenRows
from heldout.errors import InputError
from heldout.intervals import LEVEL, Replicates, Sample, Score, replicate
from heldout.metrics import Criterion, Prediction
from heldout.multiplicity import holm
from heldout.printed import Printed, Sheet
from heldout.words import interval, number, p_value

Array = NDArray[Any]
BINS, LEVELS, LEAST_ROWS = 4, 20, 30
FEW_DRAWS = 200  # of criteria that have no jackknife
MOST_SHOWN = 10
CERTAIN = 0.05


@dataclass(frozen=True)
class Slice:
    """The rows with one level, or one range, of a column.

    Attributes
    ----------
    column, level : str
    n_rows : int
    score : Score, of these rows
    elsewhere : float, the score of all others
    worse_by : Score, the loss here minus the loss elsewhere
    p : float, of "not worse than elsewhere", adjusted for all slices (Holm)
    """

    column: str
    level: str
    n_rows: int
    score: Score
    elsewhere: float
    worse_by: Score
    p: float = 1.0

    @property
    def is_worse(self) -> bool:
        """Worse than elsewhere, beyond chance, all slices judged together."""
        return self.p <= CERTAIN

    @property
    def name(self) -> str:
        return f"{self.column}: {self.level}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"score": self.score.to_json(), "worse_by": self.worse_by.to_json()}


@dataclass(frozen=True, repr=False, eq=False)
class Slices(Printed):
    """The slices, the worst first. Prints as a table, and plots.

    Attributes
    ----------
    slices : tuple of Slice
    criterion : Criterion
    overall : float, the score of all rows
    left_out : int, slices of fewer rows than `least_rows`
    """

    slices: tuple[Slice, ...]
    criterion: Criterion
    overall: float
    left_out: int

    @property
    def worst(self) -> tuple[Slice, ...]:
        """Those that are worse than elsewhere beyond chance."""
        return tuple(item for item in self.slices if item.is_worse)

    def _table(self) -> Sheet:
        title = f"{self.criterion.title} by slices, the worst first; of all rows {number(self.overall)}"
        header = ["slice", "rows", "score", "95% interval", "elsewhere", "worse by", "p (Holm)"]
        body = [
            [
                item.name,
                f"{item.n_rows:,}",
                number(item.score.value),
                interval(item.score.to_json()),
                number(item.elsewhere),
                number(item.worse_by.value),
                p_value(item.p),
            ]
            for item in self.slices[:MOST_SHOWN]
        ]
        left = len(self.slices) - len(body)
        notes = [f"{left:,} more slices are not shown."] if left > 0 else []
        notes += [f"{self.left_out:,} slices of few rows were left out."] if self.left_out else []
        return [title], header, body or [["no slice is large enough", *[""] * 6]], notes

    def to_json(self) -> dict[str, Any]:
        return {
            "slices": [item.to_json() for item in self.slices[: 2 * MOST_SHOWN]],
            "judged": len(self.slices),
            "overall": self.overall,
            "left_out": self.left_out,
        }

    def plot(self) -> Any:
        """An Altair chart: the score of each of the worst slices with its interval, beside that of all rows."""
        from heldout.report.learned import slices_chart

        return slices_chart(self.to_json(), self.criterion.title, self.criterion.greater_is_better)


def slice_scores(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    *,
    by: Any = None,
    criterion: str | None = None,
    groups: ArrayLike | None = None,
    bins: int = BINS,
    least_rows: int = LEAST_ROWS,
) -> Slices:
    """The score of a fitted learner by slices of rows it was not fitted to, and where it is worse than elsewhere.

    A slice is a level of a column, or a range of its numbers or dates (cut at quantiles), or its missing values. Each
    is compared with all other rows: the losses' difference, Welch's t with the jackknife's variances (the bootstrap's
    of criteria of scikit-learn). Many slices are looked at, and some look bad by chance: the p values of all are
    adjusted together, so that with a chance of 5% at most one is called worse that is not.

    Parameters
    ----------
    estimator : fitted regressor or classifier of scikit-learn's interface
    X : array or frame (n, p)
    y : array-like (n,)
    by : frame or mapping of name to values (n,), or None, default None
        Columns to slice by, also such as the learner does not see. None: those of X.
    criterion : str or None, default None
        As in `heldout.permutation_importance`.
    groups : array-like (n,) or None, default None
        Rows of a group are one observation.
    bins : int from 2 up, default 4
        Ranges of a column of numbers.
    least_rows : int from 3 up, default 30
        Smaller slices are left out, and counted.

    Raises
    ------
    InputError : rows, targets or columns do not fit, or a number is out of range.

    References
    ----------
    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.

    Examples
    --------
    >>> from heldout import LinearRegression
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(400, 2))
    >>> town = np.where(rng.random(400) < 0.2, "Ames", "Boone")
    >>> y = X[:, 0] + np.where(town == "Ames", 3.0, 1.0) * rng.normal(size=400)
    >>> found = slice_scores(LinearRegression().fit(X, y), X, y, by={"town": town})
    >>> [item.name for item in found.worst]
    ['town: Ames']
    """
    for name, value, least in (("bins", bins, 2), ("least_rows", least_rows, 3)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise InputError(f"{name} is {value!r} and must be a whole number from {least} up.")
    rows = GivenRows.of(X)
    asked = Asked.of(estimator, y, criterion, len(rows))
    given = rows if by is None else None
    if given is None:
        import polars as pl

        given = GivenRows.of(pl.DataFrame({k: list(v) for k, v in by.items()}) if isinstance(by, Mapping) else by)
    if len(given) != len(rows):
        raise InputError(f"by has {len(given):,} rows and X {len(rows):,}: they must be the same rows.")
    units = np.arange(len(rows)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(units) != len(rows):
        raise InputError(f"groups has {len(units):,} values and X {len(rows):,} rows.")
    columns = [(name, given.values(j)) for j, name in enumerate(given.names)]
    return slices_of(columns, asked.criterion, asked.truth, asked.says(X), units, int(bins), int(least_rows))


def slices_of(
    columns: Sequence[tuple[str, Sequence[Any]]],
    criterion: Criterion,
    truth: Array,
    said: Prediction,
    units: Array,
    bins: int = BINS,
    least_rows: int = LEAST_ROWS,
) -> Slices:
    """The slices of these columns, of what was said of the rows; rows of a unit are one observation."""
    found, small = [], 0
    for name, values in columns:
        for level, inside in _levels(values, bins):
            size = int(inside.sum())
            if min(size, len(inside) - size) < least_rows:
                small += 0 < size < least_rows
                continue
            here, there = (_part(criterion, truth, said, units, rows) for rows in (inside, ~inside))
            if here is not None and there is not None:
                found.append(_slice(name, level, criterion, here, there))
    adjusted = holm([item.p for item in found])
    judged = [Slice(**{**vars(item), "p": p}) for item, p in zip(found, adjusted, strict=True)]
    judged.sort(key=lambda item: (item.p, -item.worse_by.value))
    overall = criterion.score(truth, said)
    return Slices(tuple(judged), criterion, overall, small)


def _levels(values: Sequence[Any], bins: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The slices of a column: what each is called, and which rows are in it."""
    filled = np.array([value is not None for value in values])
    kept = [value for value in values if value is not None]
    if kept and not filled.all():
        yield "missing", ~filled
    distinct = Counter(kept)
    dated = bool(distinct) and all(isinstance(value, date) for value in distinct)
    numeric = dated or all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct)
    if not numeric or len(distinct) <= bins:
        if len(distinct) <= LEVELS:
            for level in sorted(distinct, key=str):
                yield str(level), np.array([value == level for value in values])
        return
    places = _times(kept) if dated else np.array(kept, np.float64)
    numbers = np.full(len(values), np.nan)
    numbers[filled] = places
    how: Any = "nearest" if dated else "linear"  # a date between two is none of the table's
    edges = np.unique(np.quantile(places, np.linspace(0, 1, bins + 1), method=how))
    shown = dict(zip(places.tolist(), map(str, kept), strict=True)) if dated else {}
    for at, (low, high) in enumerate(pairwise(edges)):
        last = at == len(edges) - 2
        inside = filled & (numbers >= low) & ((numbers <= high) if last else (numbers < high))
        ends = (shown[float(end)] if dated else number(float(end)) for end in (low, high))
        yield " to ".join(ends), inside


def _times(dates: Sequence[Any]) -> Array:
    """Dates, or dates with a time, in days since the first of them."""
    first = dates[0]
    return np.array([(value - first).total_seconds() / 86_400 for value in dates])


def _part(
    criterion: Criterion, truth: Array, said: Prediction, units: Array, rows: NDArray[np.bool_]
) -> Replicates | None:
    """The score of these rows with its jackknife; None where there is none (one class, of an area under a curve)."""
    sample = Sample.of(units[rows], 0)
    taken = Prediction(*(None if part is None else part[rows] for part in (said.value, said.label, said.probability)))
    made = replicate(criterion, truth[rows], taken, sample, FEW_DRAWS)
    if len(made.jackknife) < 3 and said.value is None and len(np.unique(truth[rows])) < 2:
        return None
    return made


def _variance(made: Replicates) -> tuple[float, int]:
    """Of the score, and its degrees of freedom."""
    return made.se**2, len(made.jackknife) - 1 if len(made.jackknife) else made.smallest_class


def _slice(column: str, level: str, criterion: Criterion, here: Replicates, there: Replicates) -> Slice:
    (own, df), (other, rest) = _variance(here), _variance(there)
    by, se = criterion.loss(here.value) - criterion.loss(there.value), float(np.sqrt(own + other))
    welch = (own + other) ** 2 / (own**2 / df + other**2 / rest) if se > 0 else 1.0
    half, wide = float(stdtrit(df, (1 + LEVEL) / 2)) * own**0.5, float(stdtrit(welch, (1 + LEVEL) / 2)) * se
    low, high = (min(max(v, criterion.bounds[0]), criterion.bounds[1]) for v in (here.value - half, here.value + half))
    score = Score(here.value, low, high, LEVEL, "jackknife t")
    p = float(stdtr(welch, -by / se)) if se > 0 else (0.0 if by > 0 else 1.0)
    return Slice(column, level, here.n_rows, score, there.value, Score(by, by - wide, by + wide, LEVEL, "Welch's t"), p)
