"""What a fitted learner loses on validation rows when the values of a column are dealt out anew, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.stats import t as student

from heldout import metrics
from heldout.errors import InputError
from heldout.metrics import Prediction, Repeated, RowMeans, Statistic
from heldout.multiplicity import holm
from heldout.printed import Printed, Sheet
from heldout.words import number, percent

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

GROUPS, FEW_GROUPS = 2000, 50  # of rows that are left out in turn: of means, and of criteria that are no means
MOST_SHOWN = 30  # columns of a printed table and of a chart
LEAST_ROWS = 3
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

    def plot(self) -> Any:
        """An Altair chart of the importances with their intervals."""
        import altair as alt

        shown = self.order[:MOST_SHOWN].tolist()
        values = [
            {"column": self.names[j], "lost": self.importance[j], "low": self.low[j], "high": self.high[j]}
            for j in shown
        ]
        rows = [{name: v if isinstance(v, str) else float(v) for name, v in row.items()} for row in values]
        title = f"Rise of the loss ({self.criterion}) when the column's values change rows"
        base = alt.Chart(alt.Data(values=rows), title="Permutation importance on rows held out")
        y = alt.Y("column:N", sort=[self.names[j] for j in shown], title="column")
        rule = base.mark_rule(strokeWidth=2, opacity=0.6).encode(
            x=alt.X("low:Q", title=f"{title}, {percent(self.confidence)} interval"), x2="high:Q", y=y
        )
        zero = alt.Chart(alt.Data(values=[{"zero": 0.0}])).mark_rule(strokeDash=[4, 3]).encode(x="zero:Q")
        return (zero + rule + base.mark_circle(size=60).encode(x="lost:Q", y=y)).properties(width=440)


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
    rows = _Rows.of(X)
    judge = _Judge.of(estimator, y, criterion, len(rows))
    asis = judge.statistic(rows.native)
    weights = _weights(sample_weight, asis, len(rows))
    rng = np.random.default_rng(int(seed))
    group = _groups(asis, weights, rng)
    donors = [_circle(weights, rng) for _ in range(n_repeats)]
    before = [judge.losses(asis, weights, group, donor) for donor in donors]
    rise, spread = np.empty((len(rows.names), n_repeats)), np.empty((len(rows.names), 2))
    for j in range(len(rows.names)):
        after = [judge.losses(judge.statistic(rows.given(j, donor)), weights, group, donor) for donor in donors]
        changes = [(a - b, c - d) for (a, c), (b, d) in zip(after, before, strict=True)]
        rise[j] = [change for change, _ in changes]
        spread[j] = _spread(rise[j], np.array([without for _, without in changes]))
    value, se = rise.mean(axis=1), np.sqrt(spread[:, 0])
    se = np.where(se > SAME * np.abs(value), se, 0.0)
    half, p_value = _inference(value, se, spread[:, 1], float(confidence))
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
        float(confidence),
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


@dataclass(frozen=True)
class _Rows:
    """The rows as they were given, an array or a frame, and how to change a column."""

    native: Any
    names: tuple[str, ...]
    frame: Any  # of narwhals, or None

    @classmethod
    def of(cls, X: Any) -> _Rows:
        if hasattr(X, "columns") and hasattr(X, "dtypes"):
            import narwhals as nw

            frame = nw.from_native(X, eager_only=True)
            return cls(X, tuple(str(name) for name in frame.columns), frame)
        if sparse.issparse(X):
            raise InputError("X is sparse: give X.toarray(), whose columns can be changed one by one.")
        values = np.asarray(X)
        if values.ndim != 2:
            raise InputError(f"X has {values.ndim} dimensions and must have 2: rows and columns.")
        return cls(values, tuple(f"column {j}" for j in range(values.shape[1])), None)

    def __len__(self) -> int:
        return len(self.native)

    def given(self, j: int, donor: Array) -> Any:
        """The rows, each with its donor's value of column j."""
        if self.frame is None:
            changed = self.native.copy()
            changed[:, j] = self.native[donor, j]
            return changed
        import narwhals as nw

        name = self.frame.columns[j]
        lent = self.frame.select(name)[donor.tolist()]
        if nw.get_native_namespace(self.frame).__name__ == "pandas":
            return nw.to_native(self.frame).assign(**{name: nw.to_native(lent)[name].array})
        return nw.to_native(self.frame.with_columns(lent[name]))


@dataclass(frozen=True)
class _Judge:
    """The learner, the truth, and the criterion that its predictions are judged by."""

    estimator: Any
    truth: Array
    criterion: metrics.Criterion
    classes: Array | None

    @classmethod
    def of(cls, estimator: Any, y: ArrayLike, name: str | None, n: int) -> _Judge:
        """For `n` rows; the criterion suits the task."""
        from sklearn.base import is_classifier

        given = np.asarray(y)
        if given.shape != (n,) or n < LEAST_ROWS:
            raise InputError(
                f"X has {n:,} rows and y the shape {given.shape}: give {LEAST_ROWS} rows or more, and a value for each."
            )
        if not is_classifier(estimator):
            chosen = metrics.criterion(name or metrics.DEFAULT["regression"], "regression")
            return cls(estimator, given.astype(np.float64), chosen, None)
        classes = np.asarray(estimator.classes_)
        codes = np.minimum(np.searchsorted(classes, given), len(classes) - 1)
        if not np.array_equal(classes[codes], given):
            unknown = given[classes[codes] != given].tolist()[0]
            raise InputError(f"y holds the class {unknown!r}, which the learner was not fitted to.")
        task = "binary" if len(classes) == 2 else "multiclass"
        usual = metrics.DEFAULT[task] if hasattr(estimator, "predict_proba") else "accuracy"
        return cls(estimator, codes, metrics.criterion(name or usual, task), classes)

    def statistic(self, X: Any) -> Statistic:
        """The criterion of what the learner says of these rows, as a function of their weights."""
        return self.criterion.prepare(self.truth, self._says(X))

    def _says(self, X: Any) -> Prediction:
        if self.classes is None:
            return Prediction(value=np.asarray(self.estimator.predict(X), dtype=np.float64).reshape(-1))
        if self.criterion.needs == "probability" and hasattr(self.estimator, "predict_proba"):
            return Prediction(probability=np.asarray(self.estimator.predict_proba(X), dtype=np.float64))
        return Prediction(label=np.searchsorted(self.classes, np.asarray(self.estimator.predict(X))))

    def losses(self, statistic: Statistic, weights: Array, group: Array, donor: Array) -> tuple[float, Array]:
        """The loss, and that without each group of rows (g,), be they predicted or donors."""
        pairs = weights * weights[donor]
        sign = -1.0 if self.criterion.greater_is_better else 1.0
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
