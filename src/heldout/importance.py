"""What a fitted learner loses on validation rows when the values of a column are dealt out anew, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from heldout.asked import LEAST_ROWS, AnyRows, Asked, GivenRows
from heldout.errors import InputError
from heldout.metrics import Repeated, RowMeans, Statistic
from heldout.multiplicity import holm
from heldout.printed import Printed, Sheet
from heldout.words import number, percent

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

GROUPS, FEW_GROUPS = 2000, 50  # of rows that are left out in turn: of means, and of criteria that are no means
MOST_SHOWN = 30  # columns of a printed table and of a chart
SAME = 1e-12  # of a value: differences by rounding


@dataclass(frozen=True, eq=False, repr=False)
class PermutationImportance(Printed):
    """By how much the loss rises without each column's help; it prints as a table, the most important first, and plots.

    Attributes
    ----------
    names : tuple of str (p,), the columns as they stand in the rows
    importance : float64 array (p,), the mean rise of the loss over the repeats, in the criterion's unit
    se : float64 array (p,), its standard error over validation rows and repeats
    low, high : float64 arrays (p,), each an interval by itself, not all of them together
    p_value : float64 array (p,), of "no importance" (a rise of 0 or less), corrected for p columns by Holm
    repeats : float64 array (p, n_repeats), the rise of the loss in each repeat
    criterion : str, its title; score : float, of the rows as they are; confidence : float; n_rows : int
    """

    names: tuple[str, ...]
    importance: Array
    se: Array
    low: Array
    high: Array
    p_value: Array
    repeats: Array
    criterion: str
    score: float
    confidence: float
    n_rows: int

    @property
    def order(self) -> Array:
        """The columns (p,) by falling importance."""
        return np.argsort(-self.importance, kind="stable")

    def _table(self) -> Sheet:
        title = (
            f"{self.criterion} {number(self.score)} on {self.n_rows:,} rows, and how much is lost when the values of a "
            f"column change rows ({self.repeats.shape[1]} times)"
        )
        shown = self.order[:MOST_SHOWN]
        columns = (self.importance[shown], self.low[shown], self.high[shown], self.p_value[shown])
        body = [
            [self.names[j], *(number(float(value)) for value in row)]
            for j, row in zip(shown.tolist(), zip(*columns, strict=True), strict=True)
        ]
        level = percent(self.confidence)
        return [title], ["column", "lost", f"{level} from", "to", "p (Holm)"], body, self._notes()

    def _notes(self) -> list[str]:
        left = len(self.names) - MOST_SHOWN
        return [
            *([f"{left:,} columns of less importance are not shown."] if left > 0 else []),
            "Each interval is for its column alone; the p values of no importance hold for all columns together.",
            "Columns that tell the same stand in for each other: each may seem of little use, and both be needed.",
        ]

    def to_json(self) -> list[dict[str, Any]]:
        """A row for each column, the most important first."""
        shown = self.order[:MOST_SHOWN].tolist()
        columns = {"lost": self.importance, "low": self.low, "high": self.high, "p": self.p_value}
        return [{"column": self.names[j], **{name: float(v[j]) for name, v in columns.items()}} for j in shown]

    def plot(self) -> Any:
        """An Altair chart of the importances with their intervals."""
        from heldout.report.learned import importance_chart

        return importance_chart(self.to_json(), self.criterion, self.confidence)


def permutation_importance(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    *,
    criterion: str | None = None,
    n_repeats: int = 10,
    seed: int = 0,
    confidence: float = 0.95,
    sample_weight: ArrayLike | None = None,
) -> PermutationImportance:
    r"""How much a fitted learner's loss rises when each row is given another row's value of a column.

    .. math:: I_j = \frac{1}{R} \sum_{r=1}^{R} L\big(y, \hat f(X^{(j, r)})\big) - L\big(y, \hat f(X)\big)

    In repeat r the rows stand in a random circle, the same for all columns, and each takes the value of the next: no
    row keeps its own. I_j estimates how much the loss would rise on new rows whose column j were drawn apart from the
    rest.

    The intervals are for that number and this fitted learner. They cover the draw of the validation rows and of the
    circles, and not that other training rows would give another learner. A row counts twice, as the one that is
    predicted and as the one whose value is lent; so rows are left out in both roles (the jackknife, over rows or over
    2,000 random groups of them; 50 for criteria that are no means over rows), with Student's t. Rows are taken to be
    independent. A column that the learner does not use loses nothing, for certain.

    Parameters
    ----------
    estimator : fitted regressor or classifier of scikit-learn's interface
    X : array or frame (n, p), rows that the estimator was not fitted to
    y : array-like (n,)
    criterion : str or None, default None
        Any of `heldout.metrics.criterion`; None: RMSE for numbers, log loss for classes (accuracy without
        `predict_proba`).
    n_repeats : int from 1 up, default 10
        R; few are enough, for each predicts every row.
    seed : int, not negative, default 0
    confidence : float between 0 and 1, default 0.95
    sample_weight : array-like (n,) or None, default None
        The weight of a row in both roles.

    Raises
    ------
    InputError : a parameter is out of range, rows and targets do not fit, or there are fewer than 3 rows.

    References
    ----------
    L. Breiman, Machine Learning 45, 2001. A. Fisher, C. Rudin and F. Dominici, Journal of Machine Learning Research 20
    (177), 2019. S. Holm, Scandinavian Journal of Statistics 6, 1979.

    Examples
    --------
    >>> import numpy as np
    >>> from heldout import LinearRegression
    >>> X = np.random.default_rng(0).normal(size=(300, 3))
    >>> y = 2.0 * X[:, 0] + X[:, 1]
    >>> found = permutation_importance(LinearRegression().fit(X[:200], y[:200]), X[200:], y[200:], criterion="mse")
    >>> [found.names[j] for j in found.order], bool(found.low[0] > found.high[1])
    (['column 0', 'column 1', 'column 2'], True)
    """
    _check(n_repeats, seed, confidence)
    rows = GivenRows.of(X)
    judge = Asked.of(estimator, y, criterion, len(rows))
    return importance_of(judge, rows, n_repeats, seed, float(confidence), sample_weight)


def importance_of(
    judge: Asked,
    rows: AnyRows,
    n_repeats: int,
    seed: int,
    confidence: float = 0.95,
    sample_weight: ArrayLike | None = None,
) -> PermutationImportance:
    """The importance of every column, whoever is asked."""
    asis = judge.statistic(rows.native)
    weights = _weights(sample_weight, asis, len(rows))
    rng = np.random.default_rng(int(seed))
    group = _groups(asis, weights, rng)
    donors = [_circle(weights, rng) for _ in range(n_repeats)]
    before = [_losses(judge, asis, weights, group, donor) for donor in donors]
    rise, spread = np.empty((len(rows.names), n_repeats)), np.empty((len(rows.names), 2))
    for j in range(len(rows.names)):
        after = [_losses(judge, judge.statistic(rows.lent(j, donor)), weights, group, donor) for donor in donors]
        changes = [(a - b, c - d) for (a, c), (b, d) in zip(after, before, strict=True)]
        rise[j] = [change for change, _ in changes]
        spread[j] = _spread(rise[j], np.array([without for _, without in changes]))
    value, se = rise.mean(axis=1), np.sqrt(spread[:, 0])
    se = np.where(se > SAME * np.abs(value), se, 0.0)
    half, p_value = _inference(value, se, spread[:, 1], confidence)
    return PermutationImportance(
        rows.names,
        value,
        se,
        value - half,
        value + half,
        p_value,
        rise,
        judge.criterion.title,
        float(asis(weights)),
        confidence,
        int(np.sum(weights > 0.0)),
    )


def _spread(rise: Array, left: Array) -> tuple[float, float]:
    """The variance of the mean rise (R,), and its degrees of freedom; from the rises without each group of rows (R, g).

    The rows' part is the jackknife of the mean over the repeats, less what is left in it of the circles (as the repeats
    tell); the circles' part is the variance of the repeats. With one repeat the jackknife alone, which is too large.
    """
    repeats, g = left.shape
    about = left - left.mean(axis=1, keepdims=True)
    rows = float((g - 1) / g * (about.mean(axis=0) ** 2).sum())
    if repeats == 1:
        return rows, g - 1.0
    of_circles = float((g - 1) / g * about.var(axis=0, ddof=1).sum()) / repeats
    rows, circles = max(rows - of_circles, 0.0), float(rise.var(ddof=1)) / repeats
    parts = rows**2 / (g - 1) + circles**2 / (repeats - 1)
    return rows + circles, (rows + circles) ** 2 / parts if parts > 0.0 else g - 1.0


def _inference(value: Array, se: Array, df: Array, confidence: float) -> tuple[Array, Array]:
    """Half the length of each interval, and the p values (p,). What is not used loses nothing, with certainty."""
    half = student.ppf((1.0 + confidence) / 2.0, df) * se
    above = np.divide(value, se, out=np.where(value > 0.0, np.inf, -np.inf), where=se > 0.0)
    return half, np.array(holm(student.sf(above, df).tolist()))


def _check(n_repeats: Any, seed: Any, confidence: Any) -> None:
    for name, value, low in (("n_repeats", n_repeats, 1), ("seed", seed, 0)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < low:
            raise InputError(f"{name} is {value!r} and must be a whole number from {low} up.")
    if not isinstance(confidence, float | np.floating) or not 0.0 < confidence < 1.0:
        raise InputError(f"confidence is {confidence!r} and must be a number between 0 and 1.")


def _weights(given: ArrayLike | None, statistic: Statistic, n: int) -> Array:
    """The weights of the rows (n,), ones where none are given."""
    from heldout.linear.states import row_weights

    weights = row_weights(given, np.empty((n, 1)))
    if weights is None:
        return np.ones(n)
    if isinstance(statistic, Repeated):
        raise InputError("sample_weight has no meaning for a criterion of scikit-learn: choose one of heldout's own.")
    if np.sum(weights > 0.0) < LEAST_ROWS:
        raise InputError(f"Fewer than {LEAST_ROWS} rows have a weight above zero: give more.")
    return weights


def _groups(statistic: Statistic, weights: Array, rng: np.random.Generator) -> Array:
    """The group of each row (n,) that is left out with it; rows without a weight are in the first."""
    seen = np.flatnonzero(weights > 0.0)
    most = GROUPS if isinstance(statistic, RowMeans) else FEW_GROUPS
    group = np.zeros(len(weights), dtype=np.int64)
    group[seen] = rng.permutation(len(seen)) % min(len(seen), most)
    return group


def _circle(weights: Array, rng: np.random.Generator) -> Array:
    """Whose value each row takes (n,): the next one's in a random circle of the rows with a weight."""
    order, donor = rng.permutation(np.flatnonzero(weights > 0.0)), np.arange(len(weights))
    donor[order] = np.roll(order, -1)
    return donor


def _losses(judge: Asked, statistic: Statistic, weights: Array, group: Array, donor: Array) -> tuple[float, Array]:
    """The loss, and that without each group of rows (g,), be they predicted or donors."""
    pairs = weights * weights[donor]
    sign = -1.0 if judge.criterion.greater_is_better else 1.0
    return sign * float(statistic(pairs)), sign * _without(statistic, pairs, group, group[donor])


def _without(statistic: Statistic, weights: Array, own: Array, lent: Array) -> Array:
    """The statistic without each group (g,), where a row is in its own group and in the one that lent its value."""
    g = int(own.max()) + 1
    if not isinstance(statistic, RowMeans):
        left = np.arange(g)[:, None]
        return statistic(weights * ((own != left) & (lent != left)))
    rows = np.column_stack([statistic.rows, np.ones(len(own))]) * weights[:, None]
    gone = _sums(rows, own, g) + _sums(rows, lent, g) - _sums(rows * (own == lent)[:, None], own, g)
    left = rows.sum(axis=0) - gone
    return statistic.combine(left[:, :-1] / left[:, -1:])


def _sums(rows: Array, group: Array, g: int) -> Array:
    """The rows of each group, summed (g, m)."""
    return np.stack([np.bincount(group, column, g) for column in rows.T], axis=1)
