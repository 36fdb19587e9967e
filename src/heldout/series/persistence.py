"""The trivial forecast: what was will be. A forecast that is no better has learned nothing from the past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.errors import InputError
from heldout.linear.states import columns_from_state, columns_to_state

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


class PersistenceRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""Predicts the value that a window of the past ends with, or one a season before.

    .. math:: \hat y_{t+h} = y_{t + 1 - k}

    Rows are windows (n, T) of the series itself, or (n, T, C) with it as the first channel. Nothing is learned.

    Parameters
    ----------
    back : int from 1 up, default 1
        k, counted from the window's end: 1 is the last value; season - h + 1 is the value one season before t + h.

    Attributes
    ----------
    in_shape_ : tuple of int, of a window (T, C)
    n_features_in_ : int

    Raises
    ------
    InputError : `back` is no whole number from 1 up to T, or rows are no windows.

    References
    ----------
    R. Hyndman and G. Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, 2021, section 5.2.

    Examples
    --------
    >>> model = PersistenceRegressor().fit([[1.0, 2.0, 3.0], [2.0, 3.0, 5.0]], [5.0, 8.0])
    >>> model.predict([[3.0, 5.0, 8.0]]).tolist()
    [8.0]
    """

    def __init__(self, *, back: int = 1) -> None:
        self.back = back

    def fit(self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Any:
        """Note the shape of the windows `X`; `y` and weights change nothing."""
        del y, sample_weight
        windows = self._windows(X, reset=True)
        self.in_shape_ = windows.shape[1:]
        if not isinstance(self.back, int) or isinstance(self.back, bool) or not 1 <= self.back <= windows.shape[1]:
            raise InputError(f"back is {self.back!r} and must be a whole number from 1 to {windows.shape[1]}.")
        return self

    def predict(self, X: ArrayLike) -> Array:
        """The value `back` steps before the end of each window (n,)."""
        check_is_fitted(self)
        windows = self._windows(X, reset=False)
        return np.array(windows[:, -self.back, 0])

    def _windows(self, X: ArrayLike, *, reset: bool) -> Array:
        found = validate_data(self, X, reset=reset, allow_nd=True, dtype=np.float64, ensure_all_finite="allow-nan")
        found = found[..., None] if found.ndim == 2 else found
        if found.ndim != 3 or (not reset and found.shape[1:] != self.in_shape_):
            raise InputError(f"X has the shape {found.shape} and must be windows (n, steps) or (n, steps, channels).")
        return np.asarray(found)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True
        tags.input_tags.allow_nan = True
        tags.target_tags.required = False
        return tags

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of it."""
        check_is_fitted(self)
        return {"back": self.back, "steps": self.in_shape_[0], "channels": self.in_shape_[1], **columns_to_state(self)}

    @classmethod
    def from_state(cls, state: State) -> PersistenceRegressor:
        """The learner that `to_state` described; ModelFileError where the values do not fit together."""
        made = cls(back=state.integer("back", low=1))
        columns_from_state(made, state)
        made.in_shape_ = state.integer("steps", low=1), state.integer("channels", low=1)
        if made.back > made.in_shape_[0]:
            state.fail("its windows are too short")
        return made
