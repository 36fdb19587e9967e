"""Losses of the margin m = y s: the label, -1 or +1, times the score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from heldout.errors import InputError, suggest

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class MarginLoss:
    """A loss and its slope, both functions of margins (n,)."""

    name: str
    formula: str
    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    consistent: bool  # the best scores have the right sign for the likelier class (Bartlett, Jordan, McAuliffe 2006)
    note: str
    curvature: Callable[[Array], Array] | None = None  # the slope's slope, where the loss is smooth


def _exponential(m: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(-m))


LOSSES: dict[str, MarginLoss] = {
    loss.name: loss
    for loss in (
        MarginLoss(
            "zero-one", "1 if m ≤ 0 else 0", lambda m: (m <= 0.0).astype(np.float64), np.zeros_like, True,
            "what is reported; its slope is zero wherever there is one",
        ),
        MarginLoss(
            "log", "log(1 + exp(-m))", lambda m: np.logaddexp(0.0, -m), lambda m: -expit(-m), True,
            "logistic regression; its scores are log odds", lambda m: expit(m) * expit(-m),
        ),
        MarginLoss(
            "hinge", "max(0, 1 - m)", lambda m: np.maximum(0.0, 1.0 - m), lambda m: np.where(m < 1.0, -1.0, 0.0), True,
            "the support vector machine; rows beyond the margin do not count",
        ),
        MarginLoss(
            "squared-hinge", "max(0, 1 - m)²", lambda m: np.maximum(0.0, 1.0 - m) ** 2,
            lambda m: -2.0 * np.maximum(0.0, 1.0 - m), True, "a smooth hinge, harder on rows far on the wrong side",
            lambda m: np.where(m < 1.0, 2.0, 0.0),
        ),
        MarginLoss(
            "exponential", "exp(-m)", _exponential, lambda m: -_exponential(m), True,
            "boosting's; a single mislabelled row can outweigh all others", _exponential,
        ),
        MarginLoss(
            "perceptron", "max(0, -m)", lambda m: np.maximum(0.0, -m), lambda m: np.where(m <= 0.0, -1.0, 0.0), False,
            "content with any separation; its minimum, all scores zero, says nothing where classes overlap",
        ),
    )
}  # fmt: skip
OPTIMISED = tuple(name for name in LOSSES if name != "zero-one")


def margin_loss(name: str, margin: ArrayLike) -> Array:
    r"""A loss of the margins :math:`m = y s` with :math:`y \in \{-1, +1\}`.

    ============== ============================= =========================================================
    zero-one       1 where :math:`m \le 0`       the share of errors; reported, never optimised
    log            :math:`\log(1 + e^{-m})`      logistic regression
    hinge          :math:`\max(0, 1 - m)`        support vector machine
    squared-hinge  :math:`\max(0, 1 - m)^2`      a smooth hinge
    exponential    :math:`e^{-m}`                boosting
    perceptron     :math:`\max(0, -m)`           Rosenblatt's rule
    ============== ============================= =========================================================

    Parameters
    ----------
    name : str, one of the names above
    margin : array-like of any shape

    Raises
    ------
    InputError : there is no such loss.

    References
    ----------
    P. Bartlett, M. Jordan and J. McAuliffe, J. American Statistical Association 101, 2006.

    Examples
    --------
    >>> margin_loss("hinge", [-1.0, 0.5, 2.0]).tolist()
    [2.0, 0.5, 0.0]
    """
    return known(name).value(np.asarray(margin, dtype=np.float64))


def known(name: Any) -> MarginLoss:
    if name not in LOSSES:
        raise InputError(f"There is no loss {name!r}.{suggest(str(name), LOSSES)}")
    return LOSSES[name]


def losses_plot() -> Any:
    """An Altair chart of all losses against the margin."""
    import altair as alt

    margins = np.linspace(-2.0, 3.0, 251)
    values = [
        {"margin": float(m), "loss": float(v), "name": name}
        for name, loss in LOSSES.items()
        for m, v in zip(margins, loss.value(margins), strict=True)
        if v <= 5.0
    ]
    return (
        alt.Chart(alt.Data(values=values), title="Losses of the margin")
        .mark_line()
        .encode(
            x=alt.X("margin:Q", title="margin, label times score (right and sure to the right)"),
            y=alt.Y("loss:Q", title="loss of one row"),
            color=alt.Color("name:N", title="loss", scale=alt.Scale(domain=list(LOSSES))),
        )
        .properties(width=440, height=280)
    )
