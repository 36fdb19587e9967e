"""How many neighbours: the error of every k from one pass over the sorted neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from heldout.neighbors.votes import Found, taken_without
from heldout.printed import Printed, Sheet
from heldout.words import number

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MOST, MOST_ROWS = 100, 10_000  # neighbours tried, and training rows left out in turn


@dataclass(frozen=True, eq=False, repr=False)
class KChoice(Printed):
    """The errors of k = 1, 2, ... and what they choose; it prints as a table and plots.

    Attributes
    ----------
    k : int array (m,)
    mean, se : float64 arrays (m,), the mean error and its standard error
    best : int, the k of the least error (the larger of equals: the smoother)
    one_se : int, the largest k whose error is within one standard error of the least
    """

    k: Array
    mean: Array
    se: Array

    @classmethod
    def of(cls, k: Array, losses: Sequence[Array], weights: Array | None) -> KChoice:
        """From the losses of every row, for each k."""
        v = np.ones(len(losses[0])) if weights is None else weights
        share = v / v.sum()
        mean = np.array([share @ loss for loss in losses])
        spread = np.array([share @ (loss - m) ** 2 for loss, m in zip(losses, mean, strict=True)])
        return cls(k, mean, np.sqrt(spread / max(v.sum() - 1.0, 1.0)))

    @property
    def best(self) -> int:
        return int(self.k[np.flatnonzero(self.mean == self.mean.min())[-1]])

    @property
    def one_se(self) -> int:
        at = int(np.flatnonzero(self.mean == self.mean.min())[-1])
        return int(self.k[np.flatnonzero(self.mean <= self.mean[at] + self.se[at])[-1]])

    def to_array(self) -> Array:
        """(3, m), for storing."""
        return np.vstack([self.k, self.mean, self.se]).astype(np.float64)

    def _table(self) -> Sheet:
        body = []
        for k in sorted({1, self.best, self.one_se, int(self.k[-1])}):
            at = int(np.flatnonzero(self.k == k)[0])
            note = "least" if k == self.best else "one standard error" if k == self.one_se else ""
            body.append([str(k), number(float(self.mean[at])), number(float(self.se[at])), note])
        return [f"Error of 1 to {self.k[-1]} neighbours"], ["k", "error", "standard error", "chosen by"], body, []

    def plot(self) -> Any:
        """An Altair chart of the error against k, with its standard errors."""
        import altair as alt

        columns = (self.k, self.mean, self.mean - self.se, self.mean + self.se)
        names = ("k", "error", "low", "high")
        values = [dict(zip(names, map(float, row), strict=True)) for row in zip(*columns, strict=True)]
        marks = [{"k": self.best, "chosen": "least error"}, {"k": self.one_se, "chosen": "one standard error"}]
        x = alt.X("k:Q", scale=alt.Scale(type="log"), title="neighbours k (more: smoother)")
        base = alt.Chart(alt.Data(values=values), title="Error by the number of neighbours")
        title = "error on rows held out (share wrong, or squared unit of the target)"
        bars = base.mark_rule(opacity=0.4).encode(
            x=x, y=alt.Y("low:Q", title=title, scale=alt.Scale(zero=False)), y2="high:Q"
        )
        points = base.mark_circle(size=18).encode(x=x, y=alt.Y("error:Q", title=title))
        rules = (
            alt.Chart(alt.Data(values=marks))
            .mark_rule(strokeDash=[4, 3])
            .encode(x=x, color=alt.Color("chosen:N", title="chosen by"))
        )
        return (bars + points + rules).properties(width=440, height=280)


def choice_of(stored: Array, state: State) -> KChoice:
    """What `to_array` stored, checked."""
    k = stored[0]
    if not len(k) or not np.array_equal(k, np.arange(1, len(k) + 1)):
        state.fail("the numbers of neighbours in 'choice' must be 1, 2, 3 and so on")
    return KChoice(k.astype(np.int64), stored[1], stored[2])


def leave_one_out(
    index: Any, weights: Array | None, loss: Callable[[Found, int], Array], n_jobs: int | None
) -> KChoice:
    """Every training row (or 10,000 spread evenly over them) predicted from the others, for all k at once.

    Rows that are the same throughout are left out together: a twin would give the answer away.
    """
    n = len(index.rows)
    total = float(n if weights is None else weights.sum())
    most = int(max(1, min(MOST, total / 2.0)))
    rows = np.unique(np.linspace(0, n - 1, min(n, MOST_ROWS)).round().astype(np.intp))
    found = taken_without(index, rows, most, weights, n_jobs)
    tried = np.arange(1, most + 1)
    return KChoice.of(tried, [loss(found, k) for k in tried.tolist()], None if weights is None else weights[rows])
