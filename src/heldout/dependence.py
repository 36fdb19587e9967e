"""How what a learner says moves with one column: partial dependence, and each row's own curve."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from heldout.asked import AnyRows, Asked, GivenRows
from heldout.errors import InputError
from heldout.metrics import Prediction
from heldout.printed import Printed, Sheet
from heldout.words import number, percent

Array = NDArray[np.float64]
POINTS, LEVELS = 20, 12  # of a grid: of numbers, and of levels (the most frequent)
MOST_ROWS, CURVES = 500, 40  # rows that are asked about; curves that are drawn
TRIMMED = 0.025  # of each end of a column: few rows lie there
MISSING = "missing"


@dataclass(frozen=True, repr=False, eq=False)
class PartialDependence(Printed):
    """What a learner says with every row at one value of a column, value by value. Prints as a table, and plots.

    Attributes
    ----------
    column : str
    values : tuple (k,), of the grid: numbers, or levels (None where missing)
    numeric : bool
    mean, low, high : float arrays (k,), the partial dependence, each point with its own interval
    curves : float array (k, m), each row's own (individual conditional expectation, ICE)
    of : str, what is said: "prediction", or "probability of yes"
    confidence : float
    """

    column: str
    values: tuple[Any, ...]
    numeric: bool
    mean: Array
    low: Array
    high: Array
    curves: Array
    of: str
    confidence: float

    @property
    def span(self) -> float:
        """The greatest minus the least mean."""
        return float(np.ptp(self.mean))

    def shown(self) -> list[str]:
        """The values in words."""
        if self.numeric:
            return [number(float(value)) for value in self.values]
        return [MISSING if value is None else str(value) for value in self.values]

    def _table(self) -> Sheet:
        told = zip(self.shown(), self.mean.tolist(), self.low.tolist(), self.high.tolist(), strict=True)
        body = [[value, *map(number, row)] for value, *row in told]
        title = f"Mean {self.of} over {self.curves.shape[1]:,} rows, with {self.column} at each value"
        header = [self.column, self.of, f"{percent(self.confidence)} from", "to"]
        notes = ["Each row keeps its other columns: where columns go together, some of these rows cannot be."]
        return [title], header, body, notes

    def to_json(self) -> dict[str, Any]:
        """What a chart needs: points, and some of the rows' own curves."""
        rows = np.linspace(0, self.curves.shape[1] - 1, min(CURVES, self.curves.shape[1])).astype(int)
        return {
            "column": self.column,
            "numeric": self.numeric,
            "values": list(map(float, self.values)) if self.numeric else self.shown(),
            "mean": self.mean.tolist(),
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "curves": self.curves[:, rows].T.tolist(),
            "of": self.of,
        }

    def plot(self) -> Any:
        """An Altair chart: the mean with its band, and some rows' own curves behind it."""
        from heldout.report.learned import dependence_chart

        return dependence_chart(self.to_json())


def partial_dependence(
    estimator: Any,
    X: Any,
    column: Any,
    *,
    of: Any = None,
    seed: int = 0,
    confidence: float = 0.95,
) -> PartialDependence:
    r"""What a fitted learner says, on average, with one column held at each of its values.

    .. math:: \hat f_j(v) = \frac1m \sum_{i=1}^{m} \hat f(x_i \text{ with } x_{ij} = v)

    Each row's own curve (ICE) shows what the mean hides: a column that raises some and lowers others. It is the learner
    that is described, not the world; where columns go together, it is asked about rows that cannot be. The intervals
    are Student's, for the draw of the rows and this fitted learner.

    Parameters
    ----------
    estimator : fitted regressor or classifier of scikit-learn's interface
    X : array or frame (n, p), rows held out, or others; of more than 500 a random 500 are asked about
    column : name or number
        The grid: of a column of numbers 20 of its values, evenly in rank between 2.5% and 97.5%; of others its levels,
        the 12 most frequent.
    of : class or None, default None
        Of a classifier, whose probability (without `predict_proba`: the share of rows that are called so). None: the
        last class.
    seed : int, not negative, default 0
    confidence : float between 0 and 1, default 0.95

    Raises
    ------
    InputError : there is no such column or class, or fewer than 3 rows.

    References
    ----------
    J. H. Friedman, Greedy function approximation, Annals of Statistics 29, 2001, section 8.2. A. Goldstein, A.
    Kapelner, J. Bleich and E. Pitkin, Peeking inside the black box, Journal of Computational and Graphical Statistics
    24, 2015.

    Examples
    --------
    >>> from heldout import LinearRegression
    >>> X = np.random.default_rng(0).normal(size=(300, 2))
    >>> found = partial_dependence(LinearRegression().fit(X, 2.0 * X[:, 0] + X[:, 1]), X, 0)
    >>> slope = (found.mean[-1] - found.mean[0]) / (found.values[-1] - found.values[0])
    >>> round(float(slope), 6)
    2.0
    """
    if not isinstance(confidence, float) or not 0.0 < confidence < 1.0:
        raise InputError(f"confidence is {confidence!r} and must be a number between 0 and 1.")
    rows = GivenRows.of(X)
    classes = getattr(estimator, "classes_", None)
    truth = np.zeros(len(rows)) if classes is None else np.resize(np.asarray(classes), len(rows))
    asked = Asked.of(estimator, truth, None, len(rows))
    if asked.classes is not None and of is not None and of not in asked.classes:
        raise InputError(f"The learner knows no class {of!r}; it knows {', '.join(map(str, asked.classes))}.")
    code = -1 if asked.classes is None or of is None else asked.classes.index(of)
    title = "prediction" if asked.classes is None else f"probability of {asked.classes[code]}"
    return dependence_of(asked, rows, rows.place(column), code, title, seed, confidence)


def dependence_of(
    asked: Asked, rows: AnyRows, j: int, code: int, title: str, seed: int, confidence: float = 0.95
) -> PartialDependence:
    """The partial dependence on column j of what is said of class `code`, or of the value, whoever is asked."""
    if len(rows) > MOST_ROWS:
        rows = rows.take(np.sort(np.random.default_rng(seed).permutation(len(rows))[:MOST_ROWS]))
    values = rows.values(j)
    places, numeric = _grid(values)
    curves = np.stack([_said(asked.says(rows.lent(j, np.full(len(rows), at))), code) for at in places])
    mean = curves.mean(axis=1)
    n = curves.shape[1]
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * curves.std(axis=1, ddof=1) / np.sqrt(n)
    kept = tuple(values[at] for at in places)
    return PartialDependence(rows.names[j], kept, numeric, mean, mean - half, mean + half, curves, title, confidence)


def _grid(values: list[Any]) -> tuple[list[int], bool]:
    """The rows whose values make the grid, in order; and whether they are numbers."""
    filled = [at for at, value in enumerate(values) if value is not None]
    numeric = all(isinstance(values[at], int | float) and not isinstance(values[at], bool) for at in filled)
    if numeric and len({values[at] for at in filled}) > 2:
        order = sorted(filled, key=lambda at: values[at])
        ranks = np.round(np.linspace(TRIMMED, 1 - TRIMMED, POINTS) * (len(order) - 1)).astype(int)
        found = {values[order[rank]]: order[rank] for rank in ranks.tolist()}
        return list(found.values()), True
    first = {value: at for at, value in reversed(list(enumerate(values)))}
    levels = [value for value, _ in Counter(values).most_common(LEVELS)]
    return [first[value] for value in sorted(levels, key=lambda v: (v is None, str(v)))], False


def _said(prediction: Prediction, code: int) -> Array:
    if prediction.value is not None:
        return np.asarray(prediction.value)
    if prediction.probability is not None:
        return np.asarray(prediction.probability[:, code])
    labels = np.asarray(prediction.label)
    return np.asarray(labels == (code if code >= 0 else labels.max()), dtype=np.float64)
