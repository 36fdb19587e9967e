"""Forecasts of a series from its own past and from other columns, by any regressor that learns from windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from heldout.certainty.conformal import Conformal
from heldout.errors import InputError
from heldout.panel import LEARNERS, entry_of
from heldout.series.sliding import carried, windows_until

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Places: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

HELD = 0.2  # of the windows, the latest: how far off the forecasts are
LEAST_HELD = 20


class SequenceForecaster(BaseEstimator):  # type: ignore[misc]
    r"""The next values of a series, from a window of the past: one regressor for each step ahead.

    .. math:: \hat y_{t+k} = f_k\big(y_{t-T+1}, \dots, y_t;\; x_{t-T+1}, \dots, x_t;\; u_{t+k}\big),
        \qquad k = 1, \dots, H

    x are columns whose past alone is known, u those that are known in advance (a holiday, the turn of the year). A
    missing value of y or x is replaced by the last one before it; nothing is learned where y is missing.

    Parameters
    ----------
    estimator : regressor, default None
        f: heldout's recurrent networks get windows (n, T, channels), y first, others the same numbers as a matrix.
        None: `Ridge()`.
    window : int above 0, default 14
        T, in steps.
    horizon : int above 0, default 1
        H.
    known : sequence of int, default ()
        The columns of X, counted from 0, that are known in advance.
    intervals : bool, default True
        Whether f is also fitted without the latest fifth of the windows, where its errors are noted for
        `predict_interval`.

    Attributes
    ----------
    estimators_ : list of H fitted regressors
    conformal_ : list of H Conformal, or None
    past_ : float64 array (T + H - 1, 1 + columns of X), the end of the series
    n_features_in_ : int, the columns of X

    Raises
    ------
    InputError : a parameter is out of range, the series is too short, y or X hold something else than numbers, or X has
        other rows or columns than needed.

    References
    ----------
    R. Hyndman and G. Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, 2021, sections 5.4 and 7.4.
    S. Ben Taieb and others, Expert Systems with Applications 39, 2012, section 2.3 (the direct strategy).

    Examples
    --------
    >>> t = np.arange(200)
    >>> model = SequenceForecaster(window=24, horizon=3).fit(np.sin(t / 4))
    >>> np.allclose(model.predict(), np.sin(np.arange(200, 203) / 4), atol=0.01)
    True
    >>> model.predict_rolling(np.sin(np.arange(200, 240) / 4)).shape
    (40,)
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        window: int = 14,
        horizon: int = 1,
        known: Sequence[int] = (),
        intervals: bool = True,
    ) -> None:
        self.estimator = estimator
        self.window = window
        self.horizon = horizon
        self.known = known
        self.intervals = intervals

    def fit(self, y: ArrayLike, X: Any = None) -> SequenceForecaster:
        """Learn from a series `y` (n,), one value a step, and columns `X` (n, p) at the same steps."""
        for name, value in (("window", self.window), ("horizon", self.horizon)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} is {value!r} and must be a whole number above 0.")
        values = _series(y)
        columns = _columns(X, len(values))
        self.n_features_in_: int = columns.shape[1]
        self._check_known()
        least = self.window + self.horizon
        if len(values) <= least:
            raise InputError(f"y has {len(values)} values; a window of {self.window} needs more than {least}.")
        start = _start(self.estimator)
        self.estimators_: list[Any] = []
        found: list[Conformal] = []
        for step in range(1, self.horizon + 1):
            places = self._learnable(values, columns, step)
            rows, targets = self._rows(values, columns, places, step), values[places]
            if self.intervals:
                found.append(self._off(start, rows, targets, step))
            self.estimators_.append(clone(start).fit(rows, targets))
        self.conformal_: list[Conformal] | None = found or None
        past = np.column_stack([values, columns])
        self.past_: Array = np.column_stack([carried(column) for column in past.T])[-self._kept :]
        return self

    def predict(self, horizon: int | None = None, X: Any = None) -> Array:
        """The values of the next steps (H,), or of the first `horizon` of them.

        `X` (steps, p) are the rows of those steps, of which the known columns alone are looked at; needed where there
        are such.
        """
        check_is_fitted(self)
        steps = self._steps(horizon)
        columns = self._future(X, steps)
        values = np.append(self.past_[:, 0], np.full(steps, np.nan))
        columns = np.concatenate([self.past_[:, 1:], columns])
        last = self._kept - 1
        made = [self._predicted(values, columns, np.array([last + step]), step) for step in range(1, steps + 1)]
        return np.concatenate(made)

    def predict_rolling(self, y: ArrayLike, X: Any = None, *, step: int = 1) -> Array:
        """The forecast of each of the values `y` (m,) that follow on the series, made `step` steps before it (m,).

        Each is made from the series and the values of `y` and rows of `X` (m, p) up to then; of later rows the known
        columns at its own step.
        """
        check_is_fitted(self)
        if not isinstance(step, int) or not 1 <= step <= self.horizon:
            raise InputError(f"step is {step!r} and must be from 1 to the horizon, {self.horizon}.")
        later = _series(y)
        columns = np.concatenate([self.past_[:, 1:], self._future(X, len(later))])
        values = np.append(self.past_[:, 0], later)
        return self._predicted(values, columns, self._kept + np.arange(len(later)), step)

    def predict_interval(self, level: float = 0.95, X: Any = None) -> Array:
        """An interval for each of the next H values that holds it with this chance (H, 2).

        It reaches as far as the forecasts of the latest fifth of the windows were off (split conformal), which is right
        for a future that is like that past.
        """
        check_is_fitted(self)
        if self.conformal_ is None:
            raise InputError("There are no intervals: fit with intervals=True.")
        made = zip(self.predict(X=X), self.conformal_, strict=True)
        return np.concatenate([conformal.intervals(np.array([value]), level) for value, conformal in made])

    # Rows

    @property
    def _kept(self) -> int:
        """Steps of the past that forecasts of all steps go back to."""
        return self.window + self.horizon - 1

    def _learnable(self, values: Array, columns: Array, step: int) -> Places:
        """The places of values that are there, with a window before them in which every column has begun."""
        there = ~np.isnan(np.column_stack([values, columns]))
        begun = int(there.argmax(axis=0).max()) if there.any(axis=0).all() else len(values)
        places = np.arange(self.window + step - 1, len(values))
        good = ~np.isnan(values[places]) & (places - step - self.window + 1 >= begun)
        if good.sum() < 2:
            raise InputError("Too few values of y have a whole window before them; give more, or a shorter window.")
        return np.asarray(places[good])

    def _rows(self, values: Array, columns: Array, places: Places, step: int) -> Array:
        """Windows that end `step` before each of `places`, as the estimator takes them."""
        known = list(self.known)
        past = [i for i in range(columns.shape[1]) if i not in known]
        channels = [carried(values), *(carried(columns[:, i]) for i in past)]
        windows = np.stack([windows_until(c, places - step, self.window) for c in channels], axis=2)  # (n, T, channels)
        then = columns[places][:, known]
        if known and np.isnan(then).any():
            raise InputError("A known column of X is missing at a step that is learned or predicted; fill it in.")
        if not _takes_series(self.estimator):
            return np.concatenate([windows.reshape(len(windows), -1), then], axis=1)
        repeated = np.broadcast_to(then[:, None, :], (len(then), self.window, len(known)))
        return np.concatenate([windows, repeated], axis=2)

    def _predicted(self, values: Array, columns: Array, places: Places, step: int) -> Array:
        if not len(places):
            return np.empty(0)
        rows = self._rows(values, columns, places, step)
        return np.asarray(self.estimators_[step - 1].predict(rows), dtype=np.float64).reshape(-1)

    def _off(self, start: Any, rows: Array, targets: Array, step: int) -> Conformal:
        """How far off forecasts of the latest windows are, by a learner that has not seen them."""
        held = max(LEAST_HELD, round(HELD * len(rows)))
        learn = len(rows) - held - (step - 1)
        if learn < 2:
            raise InputError(
                f"y is too short to say how far off forecasts are: it gives {len(rows)} windows; set intervals=False."
            )
        early = clone(start).fit(rows[:learn], targets[:learn])
        return Conformal.of(np.abs(targets[-held:] - np.asarray(early.predict(rows[-held:])).reshape(-1)))

    def _steps(self, horizon: int | None) -> int:
        steps = self.horizon if horizon is None else horizon
        if not isinstance(steps, int) or not 1 <= steps <= self.horizon:
            raise InputError(f"horizon is {horizon!r} and must be from 1 to {self.horizon}, as it was fitted.")
        return steps

    def _check_known(self) -> None:
        for column in self.known:
            if not isinstance(column, int) or isinstance(column, bool) or not 0 <= column < self.n_features_in_:
                raise InputError(f"known names the column {column!r}, and X has {self.n_features_in_}, counted from 0.")

    def _future(self, X: Any, steps: int) -> Array:
        """The rows of steps to come; NaN where they are not given and need not be."""
        if X is None and len(self.known):
            raise InputError("X is needed: its known columns at the steps that are predicted.")
        if X is None:
            return np.full((steps, self.n_features_in_), np.nan)
        columns = _columns(X, None)
        if columns.shape[1] != self.n_features_in_ or len(columns) < steps:
            wanted = f"{steps} rows of {self.n_features_in_} columns"
            raise InputError(f"X has the shape {columns.shape} and must have {wanted}.")
        return columns[:steps]

    def to_state(self) -> dict[str, Any]:
        """What a file stores of it, where its regressors are heldout's own."""
        check_is_fitted(self)
        return {
            "window": self.window,
            "horizon": self.horizon,
            "known": list(self.known),
            "estimators": self.estimators_,
            "conformal": self.conformal_ or [],
            "past": self.past_,
        }

    @classmethod
    def from_state(cls, state: State) -> SequenceForecaster:
        """The forecaster that `to_state` described; ModelFileError where the values do not fit together."""
        window, horizon = state.integer("window", low=1), state.integer("horizon", low=1)
        fitted = state.objects("estimators", tuple(entry.load() for entry in LEARNERS.values()))
        found = state.objects("conformal", Conformal)
        past = state.array("past", shape=(window + horizon - 1, None))
        known = state.json("known")
        count = past.shape[1] - 1
        right = isinstance(known, list) and all(type(i) is int and 0 <= i < count for i in known)
        if count < 0 or not right or len(fitted) != horizon or len(found) not in (0, horizon):
            state.fail("its regressors, its columns and its steps do not fit together")
        made = cls(clone(fitted[0]), window=window, horizon=horizon, known=tuple(known), intervals=bool(found))
        made.estimators_, made.conformal_, made.past_, made.n_features_in_ = fitted, found or None, past, count
        return made


def _start(estimator: Any) -> Any:
    if estimator is not None:
        return estimator
    from heldout.linear.penalised.ridge import Ridge

    return Ridge()


def _takes_series(estimator: Any) -> bool:
    entry = None if estimator is None else entry_of(estimator)
    return entry is not None and "series" in entry.takes


def _series(y: ArrayLike) -> Array:
    values = _numbers(y, "y")
    if values.ndim != 1 or not len(values):
        raise InputError(f"y has the shape {values.shape} and must be a series (n,).")
    return values


def _columns(X: Any, rows: int | None) -> Array:
    if X is None:
        return np.empty((rows or 0, 0))
    columns = _numbers(X, "X")
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or (rows is not None and len(columns) != rows):
        raise InputError(f"X has the shape {columns.shape} and must have a row for each of the {rows} values of y.")
    return columns


def _numbers(values: Any, name: str) -> Array:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must hold numbers.") from None
    if np.isinf(found).any():
        raise InputError(f"{name} holds a number that is infinite; replace it, or make it NaN.")
    return found
