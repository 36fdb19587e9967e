"""Windows over a series, and what stands in for missing values: never anything from later."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]


def carried(values: Array) -> Array:
    """Each missing value of `values` (n,) as the last one before it that is there; NaN before the first.

    >>> carried(np.array([np.nan, 1.0, np.nan, 3.0])).tolist()
    [nan, 1.0, 1.0, 3.0]
    """
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(len(values))))
    return np.where(last < 0, np.nan, values[last])


def windows_until(values: Array, ends: Array, window: int) -> Array:
    """The `window` values that end with each of `ends`, (m, window).

    >>> windows_until(np.arange(5), np.array([2, 4]), 3).tolist()
    [[0, 1, 2], [2, 3, 4]]
    """
    return np.asarray(sliding_window_view(values, window)[np.asarray(ends) - window + 1])
