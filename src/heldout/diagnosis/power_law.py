"""A power law through a learning curve, a + b / n^c, and how certain it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heldout.intervals import LEVEL, Score

Array = NDArray[np.float64]
EXPONENTS = np.linspace(0.05, 2.0, 79)
DRAWS = 500


@dataclass(frozen=True, repr=False, eq=False)
class PowerLaw:
    """L(n) = a + b n^-c, and the laws of curves drawn anew.

    Attributes
    ----------
    a, b, c : float, the loss that is left with endless rows, the part that falls, and how fast
    draws : float array (500, 3), a, b and c of the bootstrap's curves
    widening : float, what the bootstrap's spread is multiplied by
    """

    a: float
    b: float
    c: float
    draws: Array
    widening: float

    def __repr__(self) -> str:
        return f"PowerLaw({self.a:.4g} + {self.b:.4g} / n^{self.c:.3g})"

    def at(self, n: float) -> Score:
        """The loss with n rows, with its 95% interval; beyond the rows measured it holds only if the law goes on."""
        return self._score(self.a + self.b * n**-self.c, self.draws[:, 0] + self.draws[:, 1] * n ** -self.draws[:, 2])

    def gain(self, n: float, times: float) -> Score:
        """How much lower the loss is with `times` n rows than with n."""
        _, b, c = self.draws.T
        return self._score(self.b * (n**-self.c - (times * n) ** -self.c), b * (n**-c - (times * n) ** -c))

    def _score(self, value: float, drawn: Array) -> Score:
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        down, up = (self.widening * max(0.0, gap) for gap in (value - low, high - value))
        return Score(float(value), float(value - down), float(value + up), LEVEL, "bootstrap of the splits")


def fit_power_law(sizes: Array, losses: Array, floor: float, widening: float, seed: int) -> PowerLaw:
    """The law nearest to the mean losses of the splits (k, J), weighed by their certainty; a from `floor` up."""
    n = np.asarray(sizes, np.float64)
    splits = losses.shape[1]
    spread = losses.std(axis=1, ddof=1)
    weights = 1.0 / np.maximum(spread, max(0.05 * spread.max(), 1e-12))
    rng = np.random.default_rng([seed, 2])
    counts = rng.multinomial(splits, np.full(splits, 1 / splits), size=DRAWS) / splits
    means = np.vstack([losses.mean(axis=1), counts @ losses.T])  # (1 + DRAWS, k)
    a, b, c = _nearest(n, means, weights, floor)
    return PowerLaw(float(a[0]), float(b[0]), float(c[0]), np.column_stack([a, b, c])[1:], widening)


def _nearest(n: Array, means: Array, w: Array, floor: float) -> tuple[Array, Array, Array]:
    """Least squares of every curve (m, k): a and b in closed form for each exponent, the best exponent of those."""
    best = np.full(len(means), np.inf)
    found = np.zeros((3, len(means)))
    v = w**2 / np.sum(w**2)
    for c in EXPONENTS:
        x = n**-c
        centre = v @ x
        slope = np.maximum(0.0, (means - (means @ v)[:, None]) @ (v * (x - centre)) / (v @ (x - centre) ** 2))
        level = means @ v - slope * centre
        if np.isfinite(floor):
            low = level < floor
            through = np.maximum(0.0, (means - floor) @ (v * x) / (v @ x**2))
            slope, level = np.where(low, through, slope), np.where(low, floor, level)
        error = ((means - level[:, None] - slope[:, None] * x) ** 2) @ v
        better = error < best
        best = np.where(better, error, best)
        found = np.where(better, np.stack([level, slope, np.full(len(means), c)]), found)
    return found[0], found[1], found[2]
