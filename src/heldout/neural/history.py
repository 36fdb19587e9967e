"""What training tells of each epoch, as numbers, a table and a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from heldout.printed import Printed, Sheet
from heldout.words import number

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

SHOWN = 12  # epochs of a printed history
COLOURS = ["#2f6fb0", "#e07b39"]  # train, validation
METRICS = {
    "accuracy": "accuracy",
    "label_accuracy": "share of right labels",
    "squared_error": "root mean squared error",
}
BETTER_HIGH = ("accuracy", "label_accuracy")


class Epoch(NamedTuple):
    """One epoch. Its training loss and metric are those of the mini-batches as they were learned from.

    Without validation rows their two numbers are nan.
    """

    epoch: int
    train_loss: float
    validation_loss: float
    train_metric: float
    validation_metric: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, eq=False, repr=False)
class History(Printed):
    """The course of a training.

    Attributes
    ----------
    metric : str, what `train_metric` and `validation_metric` are: "accuracy", "label_accuracy" or "squared_error",
        whose root is told, in the target's unit
    best : int, the epoch whose weights were kept, counted from 1
    stopped : str, why it ended, in words
    train_loss, validation_loss, train_metric, validation_metric, learning_rate, seconds : float64 arrays (epochs,)
        The training numbers are those of the mini-batches as they were learned from, with dropout. Losses are without
        penalties. Where there were no validation rows, theirs are nan.
    """

    metric: str
    best: int
    stopped: str
    train_loss: Array
    validation_loss: Array
    train_metric: Array
    validation_metric: Array
    learning_rate: Array
    seconds: Array

    @classmethod
    def of(cls, epochs: list[Epoch], metric: str, best: int, stopped: str) -> History:
        columns = [np.array(values, dtype=np.float64) for values in zip(*epochs, strict=True)] or [np.zeros(0)] * 7
        return cls(metric, best, stopped, *columns[1:])

    def __len__(self) -> int:
        return len(self.train_loss)

    def epochs(self) -> Iterator[Epoch]:
        """The epochs one by one."""
        columns = (getattr(self, item.name) for item in fields(self)[3:])
        for i, values in enumerate(zip(*columns, strict=True)):
            yield Epoch(i + 1, *map(float, values))

    @property
    def judged(self) -> bool:
        """Whether there were validation rows."""
        return bool(np.isfinite(self.validation_loss).any())

    def _table(self) -> Sheet:
        told = METRICS[self.metric]
        header = ["epoch", "loss", told] + (["validation loss", f"validation {told}"] if self.judged else [])
        shown = {*np.geomspace(1, max(len(self), 1), SHOWN).round().astype(int).tolist(), self.best}
        body = []
        for line in self.epochs():
            if line.epoch not in shown:
                continue
            values = [line.train_loss, line.train_metric]
            values += [line.validation_loss, line.validation_metric] if self.judged else []
            body.append([str(line.epoch), *map(number, values)])
        title = [f"{len(self)} epochs in {self.seconds.sum():.1f} s: {self.stopped}"]
        return title, header, body, [f"The weights of epoch {self.best} were kept."]

    def plot(self) -> Any:
        """An Altair chart: loss and metric against the epochs, for train and validation; a rule at the best epoch."""
        import altair as alt

        told = METRICS[self.metric]
        charts = []
        for title, train, validation in (
            ("Loss", self.train_loss, self.validation_loss),
            (told.capitalize(), self.train_metric, self.validation_metric),
        ):
            points = [
                {"epoch": i + 1, "value": float(value), "rows": name}
                for name, values in (("train", train), ("validation", validation))
                for i, value in enumerate(values)
                if np.isfinite(value)
            ]
            lines = (
                alt.Chart(alt.Data(values=points), title=f"{title} by epoch")
                .mark_line()
                .encode(
                    x=alt.X("epoch:Q", title="epochs"),
                    y=alt.Y("value:Q", title=title.lower(), scale=alt.Scale(zero=False)),
                    color=alt.Color(
                        "rows:N", title="rows", scale=alt.Scale(domain=["train", "validation"], range=COLOURS)
                    ),
                )
            )
            rule = alt.Chart(alt.Data(values=[{"best": self.best}])).mark_rule(strokeDash=[4, 4]).encode(x="best:Q")
            charts.append((lines + rule).properties(width=320, height=240))
        return alt.hconcat(*charts)

    def to_state(self) -> dict[str, Any]:
        """What a file stores."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_state(cls, state: State) -> History:
        """The history that `to_state` described."""
        metric = state.choice("metric", METRICS)
        names = [item.name for item in fields(cls)[3:]]
        columns = [state.array(name, shape=(None,), finite=False) for name in names]
        if len({len(column) for column in columns}) != 1:
            state.fail("the columns of a history are of different lengths")
        best = state.integer("best", low=0, high=len(columns[0]))
        return cls(metric, best, state.text("stopped"), *columns)
