"""Rows and targets as people hand them over, without a study: checked, coded, and what belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from heldout import metrics
from heldout.errors import InputError
from heldout.problem import Problem
from heldout.twins import codes, components

Part = tuple[Any, NDArray[Any]]


def parts(X: Any, y: ArrayLike, validation: tuple[Any, ArrayLike] | None) -> list[Part]:
    """The rows as they were given, and those of validation if they were."""
    made = []
    for rows, target in ((X, y), *([] if validation is None else [validation])):
        values = np.asarray(target)
        if values.ndim != 1 or len(values) != count(rows):
            raise InputError(
                f"There are {count(rows)} rows of X and a y of shape {values.shape}: it must be ({count(rows)},)."
            )
        made.append((rows, values))
    return made


def stated(estimator: Any, targets: Sequence[NDArray[Any]], criterion: str | None) -> Problem:
    """The problem of this estimator: regression, or the classes that occur in the first targets."""
    from sklearn.base import is_classifier

    if not is_classifier(estimator):
        return Problem("regression", "y", None, metrics.criterion(criterion or "rmse", "regression"), (), ())
    classes = tuple(np.unique(targets[0]).tolist())
    if len(classes) < 2:
        raise InputError(f"y has one class only, {classes[0]!r}: there is nothing to tell apart.")
    task: metrics.Task = "binary" if len(classes) == 2 else "multiclass"
    default = "log_loss" if hasattr(estimator, "predict_proba") else "accuracy"
    return Problem(task, "y", classes, metrics.criterion(criterion or default, task), (), ())


def coded(target: NDArray[Any], problem: Problem) -> NDArray[Any]:
    """The target as values, or codes of the classes."""
    if problem.classes is None:
        values = np.asarray(target, dtype=np.float64)
        if not np.isfinite(values).all():
            raise InputError("y holds values that are missing or infinite; fill them in or remove those rows.")
        return values
    known = np.asarray(problem.classes)
    place = np.minimum(np.searchsorted(known, target), len(known) - 1)
    if not np.all(known[place] == target):
        strange = target[known[place] != target][0]
        raise InputError(f"The validation rows have a class, {strange!r}, that the rows to train do not have.")
    return place


def units(X: Any, groups: ArrayLike | None) -> NDArray[np.int64]:
    """What stays on one side: the same rows, and groups with all of theirs."""
    twins = _twins(X)
    if groups is None:
        return twins
    given = np.asarray(groups)
    if given.shape != (len(twins),):
        raise InputError(f"groups has the shape {given.shape} and must be ({len(twins)},): one for each row.")
    return components(twins, np.unique(given, return_inverse=True)[1])


def _twins(X: Any) -> NDArray[np.int64]:
    """A number for each distinct row of a frame or a matrix of numbers; elsewhere every row is its own."""
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "fiub":
        return codes(pl.DataFrame(X))
    if isinstance(X, pl.DataFrame):
        return codes(X)
    if hasattr(X, "iloc"):
        from pandas.util import hash_pandas_object

        return np.unique(hash_pandas_object(X, index=False), return_inverse=True)[1].astype(np.int64)
    return np.arange(count(X), dtype=np.int64)


def count(X: Any) -> int:
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)
