"""A fitted learner asked about rows of which a column was changed: what its parts of an explanation share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from heldout import metrics
from heldout.errors import InputError
from heldout.metrics import Prediction, Statistic

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
LEAST_ROWS = 3


@dataclass(frozen=True)
class GivenRows:
    """The rows as they were given, an array or a frame, and how to change a column."""

    native: Any
    names: tuple[str, ...]
    frame: Any  # of narwhals, or None

    @classmethod
    def of(cls, X: Any) -> GivenRows:
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

    def lent(self, j: int, donor: Array) -> Any:
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

    def take(self, rows: Array) -> GivenRows:
        """These rows alone."""
        return GivenRows.of(self.native[rows] if self.frame is None else self.frame[rows.tolist()].to_native())

    def values(self, j: int) -> list[Any]:
        """Column j as a list, None where a value is missing."""
        given = self.native[:, j].tolist() if self.frame is None else self.frame[self.frame.columns[j]].to_list()
        return [None if value is None or value != value else value for value in given]

    def place(self, column: Any) -> int:
        """Where a column stands, by its name or number."""
        if isinstance(column, int | np.integer) and not isinstance(column, bool) and 0 <= column < len(self.names):
            return int(column)
        if column not in self.names:
            raise InputError(f"There is no column {column!r} among {', '.join(self.names[:8])}.")
        return self.names.index(column)


@dataclass(frozen=True)
class EncodedRows:
    """Rows of a frame as the matrix that a learner takes, in which a column of the frame has several places.

    An encoder goes row by row, so a changed column need not be encoded anew.
    """

    native: Array  # (n, d)
    frame: Any  # of Polars
    places: Mapping[str, Sequence[int]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.frame.columns)

    def __len__(self) -> int:
        return len(self.native)

    def lent(self, j: int, donor: Array) -> Array:
        """The rows, each with its donor's value of column j."""
        changed, places = self.native.copy(), list(self.places[self.names[j]])
        changed[:, places] = self.native[donor[:, None], places]
        return changed

    def take(self, rows: Array) -> EncodedRows:
        """These rows alone."""
        return EncodedRows(self.native[rows], self.frame[rows.tolist()], self.places)

    def values(self, j: int) -> list[Any]:
        """Column j of the frame as a list, None where a value is missing."""
        return GivenRows.of(self.frame).values(j)


AnyRows = GivenRows | EncodedRows


@dataclass(frozen=True)
class Asked:
    """What a learner says of rows, the truth of them, and the criterion that it is judged by."""

    says: Callable[[Any], Prediction]
    truth: Array
    criterion: metrics.Criterion
    classes: tuple[Any, ...] | None = None

    @classmethod
    def of(cls, estimator: Any, y: ArrayLike, name: str | None, n: int) -> Asked:
        """For `n` rows; the criterion suits the task."""
        from sklearn.base import is_classifier

        given = np.asarray(y)
        if given.shape != (n,) or n < LEAST_ROWS:
            raise InputError(
                f"X has {n:,} rows and y the shape {given.shape}: give {LEAST_ROWS} rows or more, and a value for each."
            )
        if not is_classifier(estimator):
            chosen = metrics.criterion(name or metrics.DEFAULT["regression"], "regression")
            return cls(_value_of(estimator), given.astype(np.float64), chosen)
        classes = np.asarray(estimator.classes_)
        codes = np.minimum(np.searchsorted(classes, given), len(classes) - 1)
        if not np.array_equal(classes[codes], given):
            unknown = given[classes[codes] != given].tolist()[0]
            raise InputError(f"y holds the class {unknown!r}, which the learner was not fitted to.")
        task = "binary" if len(classes) == 2 else "multiclass"
        usual = metrics.DEFAULT[task] if hasattr(estimator, "predict_proba") else "accuracy"
        found = metrics.criterion(name or usual, task)
        says = _class_of(estimator, classes, found.needs == "probability")
        return cls(says, codes, found, tuple(classes.tolist()))

    def statistic(self, X: Any) -> Statistic:
        """The criterion of what the learner says of these rows, as a function of their weights."""
        return self.criterion.prepare(self.truth, self.says(X))


def _value_of(estimator: Any) -> Callable[[Any], Prediction]:
    return lambda X: Prediction(value=np.asarray(estimator.predict(X), dtype=np.float64).reshape(-1))


def _class_of(estimator: Any, classes: Array, probability: bool) -> Callable[[Any], Prediction]:
    if probability and hasattr(estimator, "predict_proba"):
        return lambda X: Prediction(probability=np.asarray(estimator.predict_proba(X), dtype=np.float64))
    return lambda X: Prediction(label=np.searchsorted(classes, np.asarray(estimator.predict(X))))
