"""Schedules: the learning rate of every step, as a share of the highest."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from heldout.errors import InputError, suggest

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Schedule(ABC):
    """Which part of the learning rate is used when.

    Parameters
    ----------
    warm_up : float from 0 to below 1, default 0.0
        Share of all steps over which the rate first rises in a line from 0.
    """

    warm_up: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.warm_up < 1.0:
            raise InputError(f"warm_up is {self.warm_up!r} and must be from 0 to below 1.")

    def __call__(self, steps: Array, total: int) -> Array:
        """The factors (k,) at the step numbers (k,), counted from 0, of `total` steps."""
        at = np.asarray(steps, dtype=np.float64)
        rise = self.warm_up * total
        after = np.clip((at - rise) / max(total - rise, 1.0), 0.0, 1.0)
        factors = self.factor(after)
        return np.where(at < rise, (at + 1.0) / max(rise, 1.0), factors)

    @abstractmethod
    def factor(self, done: Array) -> Array:
        """The factor where the share `done` (0 to 1) of the steps after the warm-up is over."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate throughout.

    >>> Constant(warm_up=0.5)(np.arange(4), 4).tolist()
    [0.5, 1.0, 1.0, 1.0]
    """

    def factor(self, done: Array) -> Array:
        return np.ones_like(done)


@dataclass(frozen=True)
class Step(Schedule):
    """The rate falls by a factor at even distances.

    Parameters
    ----------
    drops : int above 0, default 2
        How often it falls.
    decay : float above 0 and below 1, default 0.1
        To which share, each time.

    >>> Step(drops=1)(np.arange(4), 4).tolist()
    [1.0, 1.0, 0.1, 0.1]
    """

    drops: int = 2
    decay: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.drops < 1 or not 0.0 < self.decay < 1.0:
            raise InputError(f"Step needs drops above 0 and decay between 0 and 1, not {self.drops!r}, {self.decay!r}.")

    def factor(self, done: Array) -> Array:
        return np.asarray(self.decay ** np.minimum(np.floor(done * (self.drops + 1)), self.drops))


@dataclass(frozen=True)
class Cosine(Schedule):
    r"""Half a cosine: :math:`\alpha (e + (1 - e) \frac12 (1 + \cos \pi t))`.

    Parameters
    ----------
    end : float from 0 to 1, default 0.0
        e, what is left at the end.

    >>> Cosine()(np.arange(5), 4).round(3).tolist()
    [1.0, 0.854, 0.5, 0.146, 0.0]

    References
    ----------
    I. Loshchilov and F. Hutter, SGDR, ICLR 2017, equation 5.
    """

    end: float = 0.0

    def factor(self, done: Array) -> Array:
        return np.asarray(self.end + (1.0 - self.end) * 0.5 * (1.0 + np.cos(math.pi * done)))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """A rise from a small rate to the highest and a fall to nearly nothing, both along a cosine.

    Parameters
    ----------
    peak : float between 0 and 1, default 0.3
        Where the highest is.
    start, end : float above 0, default 0.04 and 1e-4
        The factors at the beginning and at the end.

    >>> OneCycle(peak=0.5)(np.arange(5), 4).round(3).tolist()
    [0.04, 0.52, 1.0, 0.5, 0.0]

    References
    ----------
    L. Smith and N. Topin, Super-Convergence, 2018.
    """

    peak: float = 0.3
    start: float = 0.04
    end: float = 1e-4

    def factor(self, done: Array) -> Array:
        rising = 0.5 * (1.0 - np.cos(math.pi * np.minimum(done / self.peak, 1.0)))
        falling = 0.5 * (1.0 - np.cos(math.pi * np.maximum(done - self.peak, 0.0) / (1.0 - self.peak)))
        up, down = self.start + (1.0 - self.start) * rising, 1.0 - (1.0 - self.end) * falling
        return np.where(done < self.peak, up, down)


@dataclass(frozen=True)
class Plateau(Schedule):
    """The rate falls by a factor whenever the judged loss has not improved for some epochs.

    Parameters
    ----------
    patience : int above 0, default 5
        How many epochs. An estimator's `n_iter_no_change` must be larger for it to have an effect.
    decay : float above 0 and below 1, default 0.2

    >>> Plateau()(np.arange(2), 4).tolist()
    [1.0, 1.0]
    """

    patience: int = 5
    decay: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patience < 1 or not 0.0 < self.decay < 1.0:
            raise InputError(
                f"Plateau needs patience above 0 and decay between 0 and 1, not {self.patience!r}, {self.decay!r}."
            )

    def factor(self, done: Array) -> Array:
        return np.ones_like(done)  # training multiplies by what the plateaus so far have left


SCHEDULES: dict[str, Schedule] = {
    "constant": Constant(),
    "step": Step(),
    "cosine": Cosine(),
    "warm_up": Constant(warm_up=0.1),
    "warm_up_cosine": Cosine(warm_up=0.1),
    "one_cycle": OneCycle(),
    "plateau": Plateau(),
}


def schedule_of(schedule: Any) -> Schedule:
    """A schedule by its name, or as it is; InputError for anything else."""
    if isinstance(schedule, Schedule):
        return schedule
    if not isinstance(schedule, str) or schedule not in SCHEDULES:
        raise InputError(f"There is no schedule {schedule!r}.{suggest(str(schedule), SCHEDULES)}")
    return SCHEDULES[schedule]
