"""The path of a descent: the loss, the gradient and the step at up to about a thousand of its steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from heldout.words import number

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

MOST_POINTS = 1000
SHOWN = 8  # points of a printed path
HEADINGS = ("step", "epoch", "loss", "gradient", "step size")
COLOURS = ["#2f6fb0", "#e07b39"]  # the descent, the closed form
DASHES = [[1, 0], [5, 4]]


class Point(NamedTuple):
    """Where a descent was after `step` steps."""

    step: int
    epoch: float
    loss: float
    gradient: float
    step_size: float


@dataclass(frozen=True, eq=False)
class Path:
    """The points of a descent, from its start to its end, thinned evenly where they would be more than a thousand.

    Attributes
    ----------
    steps : int64 array (k,): how many steps were made, 0 first
    epochs : float64 array (k,): passes over the rows
    loss : float64 array (k,): L, summed over the targets, in the squared unit of the target
    gradient : float64 array (k,): the largest correlation of a column with the residuals, what `tol` is compared with
    step_size : float64 array (k,): α of the step that led there; NaN at the start
    """

    steps: np.ndarray[Any, np.dtype[np.int64]]
    epochs: Array
    loss: Array
    gradient: Array
    step_size: Array

    def __len__(self) -> int:
        return len(self.steps)

    def _rows(self) -> Iterator[tuple[str, ...]]:
        """The points that are printed, as texts: geometrically spaced, as a descent's progress is."""
        spaced = np.geomspace(1, len(self), min(SHOWN, len(self))).round().astype(int) - 1
        for i in dict.fromkeys(spaced.tolist()):
            values = (self.epochs[i], self.loss[i], self.gradient[i], self.step_size[i])
            yield (f"{self.steps[i]:,}", *(number(float(value)) for value in values))

    def __str__(self) -> str:
        rows = [HEADINGS, *self._rows()]
        widths = [max(len(row[j]) for row in rows) for j in range(len(HEADINGS))]
        lines = ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
        body = "".join("<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>" for row in self._rows())
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def plot(self, closed_form_loss: float | None = None) -> Any:
        """An Altair chart of the loss against the steps, with a logarithmic axis for the loss.

        Parameters
        ----------
        closed_form_loss : float, default None
            The least loss there is, drawn as a dashed line.
        """
        import altair as alt

        lines = {"gradient descent": zip(self.steps.tolist(), self.loss.tolist(), strict=True)}
        if closed_form_loss is not None:
            lines["closed form"] = zip((0, self.steps.tolist()[-1]), (closed_form_loss,) * 2, strict=True)
        points = [
            {"steps": step, "loss": loss, "line": name}
            for name, line in lines.items()
            for step, loss in line
            if 0.0 < loss < np.inf  # what a logarithmic axis can show
        ]
        domain, n = list(lines), len(lines)
        return (
            alt.Chart(alt.Data(values=points), title="Loss along the descent")
            .mark_line()
            .encode(
                x=alt.X("steps:Q", title="steps"),
                y=alt.Y("loss:Q", title="mean squared error (squared unit of the target)", scale=alt.Scale(type="log")),
                color=alt.Color("line:N", title="loss of", scale=alt.Scale(domain=domain, range=COLOURS[:n])),
                strokeDash=alt.StrokeDash("line:N", title="loss of", scale=alt.Scale(domain=domain, range=DASHES[:n])),
            )
            .properties(width=440, height=280)
        )


class Recorder:
    """Keeps the points at every multiple of a stride; where they grow too many, every other one goes."""

    def __init__(self) -> None:
        self._points: list[Point] = []
        self._stride = 1

    def next_after(self, step: int) -> int:
        """The next step whose point is wanted."""
        return (step // self._stride + 1) * self._stride

    def add(self, point: Point) -> None:
        if point.step % self._stride:
            return
        self._points.append(point)
        if len(self._points) > MOST_POINTS:
            self._points = self._points[::2]
            self._stride *= 2

    def path(self, end: Point, *, floor: float) -> Path:
        """All that was kept, and the end in any case; `floor` is added to the losses."""
        points = [*(point for point in self._points if point.step < end.step), end]
        steps, epochs, losses, gradients, sizes = (np.array(values) for values in zip(*points, strict=True))
        return Path(steps, epochs, floor + losses, gradients, sizes)
