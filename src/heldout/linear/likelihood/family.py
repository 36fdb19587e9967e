"""What a family of distributions for regression is: log-densities and their derivatives, row by row.

A family sees linear predictors eta (m, n), m for each row, and auxiliary parameters (q,) that all rows share (a
variance, a shape). Derivatives are taken with respect to both, in that order: d = m + q of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from heldout.errors import InputError
from heldout.linear.softmax.loss import Array


@dataclass(frozen=True)
class Derivatives:
    """Of the log-density: first (d, n) and second (d, d, n)."""

    first: Array
    second: Array


class Family(ABC):
    """A conditional distribution of y, given its linear predictors and auxiliary parameters."""

    name: ClassVar[str]
    link: str
    links: ClassVar[tuple[str, ...]]  # the first is the usual one
    labelled: ClassVar[bool] = False  # y are class codes 0..K-1
    limit: ClassVar[str] = ""  # where an auxiliary parameter may run to, and what to do then
    auxiliary: tuple[str, ...] = ()  # all of them above zero

    def check(self, y: Array) -> None:  # noqa: B027 - most families take any finite number
        """Raise InputError where a value of y cannot come from this family."""

    @abstractmethod
    def log_density(self, y: Array, eta: Array, auxiliary: Array) -> Array:
        """log p(y_i | eta_i) (n,); -inf or NaN where eta lies outside the link's domain."""

    @abstractmethod
    def derivatives(self, y: Array, eta: Array, auxiliary: Array) -> Derivatives:
        """First and second derivatives with respect to (eta, auxiliary)."""

    def expected(self, eta: Array, auxiliary: Array) -> Array | None:
        """Fisher's information for one row, -E[second derivatives] (d, d, n); None where there is no closed form."""
        return None

    @abstractmethod
    def start(self, y: Array, weights: Array) -> tuple[Array, Array]:
        """Rough predictors (m, n), which fitting projects on the columns, and rough auxiliary parameters (q,)."""

    def mean(self, eta: Array) -> Array:
        """What the model predicts: the mean for eta (m, n); probabilities (K, n) for classes."""
        return np.asarray(eta[0])


def stacked(first: list[Any], second: dict[tuple[int, int], Any], n: int) -> Derivatives:
    """Stack rows (n,) or numbers; what `second` leaves out is zero, and it is symmetric."""
    d = len(first)
    return Derivatives(np.stack([np.broadcast_to(row, n) for row in first]), symmetric(second, d, n))


def symmetric(entries: dict[tuple[int, int], Any], d: int, n: int) -> Array:
    full = np.zeros((d, d, n))
    for (a, b), row in entries.items():
        full[a, b] = full[b, a] = row
    return full


def refuse(bad: Any, y: Array, wanted: str) -> None:
    """InputError for the first row of y that is `bad`."""
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(f"Row {row} of y is {y[row]:g}, but {wanted}.")


def average(y: Array, weights: Array) -> float:
    return float(weights @ y / weights.sum())
