"""Where a search for a minimum ends: the constants of every backtracking line search, and what was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

SUFFICIENT = 1e-4  # Armijo: the least share of the decrease that the slope promises
SHORTEST = 2.0**-30  # of a step
ROUNDING = 1e-14  # relative change of the objective below which only the gradient tells better from worse


@dataclass(frozen=True)
class Minimum:
    """Coefficients (p,) and the intercept for the columns as they were, steps, and the gradient's largest part."""

    w: Array
    b: float
    n_iter: int
    gradient: float
