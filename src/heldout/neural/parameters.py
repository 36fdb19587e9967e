"""The parameters of a learner as fields of its class, and those of training, which all neural learners share."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, dataclass_transform

from heldout.neural.schedules import Schedule

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
def parameters(cls: type[T]) -> type[T]:
    """A constructor that stores the class's fields, and those of its bases, by keyword: what `get_params` reads.

    >>> @parameters
    ... class Slow(Training):
    ...     max_iter: int | str = 1_000
    >>> Slow(alpha=0.1).max_iter
    1000
    """
    made = dataclass(kw_only=True, eq=False, repr=False)(cls)
    signature = inspect.signature(made.__init__)
    own_first = ["self", *(name for base in cls.__mro__ for name in inspect.get_annotations(base))]
    shown = sorted(signature.parameters.values(), key=lambda given: (given.kind, own_first.index(given.name)))
    made.__init__.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    return made


@parameters
class Training:
    """How weights are learned. `MLPClassifier` says what each parameter means."""

    solver: str = "adam"
    alpha: float = 1e-4
    l1: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    momentum: float = 0.9
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    batch_size: int | str = "auto"
    learning_rate: str | Schedule = "constant"
    learning_rate_init: float = 1e-3
    max_iter: int | str = "auto"
    tol: float = 1e-4
    n_iter_no_change: int | str = "auto"
    early_stopping: bool | str = "auto"
    validation_fraction: float | str = "auto"
    standardise: bool | str = "auto"
    precision: str = "auto"
    device: str | None = None
    chunk_rows: int | None = None
    checkpoint: str | Path | None = None
    warm_start: bool = False
    verbose: bool = False
    seed: int = 0
