"""What learners share at their two doors: row weights coming in, columns and class labels stored and restored."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import _check_sample_weight

from heldout.errors import InputError

if TYPE_CHECKING:
    from heldout.persist import State

Labels: TypeAlias = np.ndarray[Any, np.dtype[Any]]

NUMBER_LABELS = {
    "bool": bool,
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), int),
    **dict.fromkeys(("float16", "float32", "float64"), float),
}
TEXT_LABELS = {"text": np.str_, "object": np.object_}  # fixed-width texts; texts as Python objects, as frames give


def row_weights(sample_weight: ArrayLike | None, X: Any) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """The weights (n,) as float64, or None where there are none; none negative, at least one above zero."""
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise InputError("Every sample_weight is zero: give at least one row a weight above zero.")
    return np.asarray(weights)


def columns_to_state(learner: Any) -> dict[str, Any]:
    """What fit learned about the columns: how many, and their names where they had any."""
    names = getattr(learner, "feature_names_in_", None)
    return {"n_features": learner.n_features_in_, "feature_names": None if names is None else names.tolist()}


def columns_from_state(learner: Any, state: State) -> int:
    """Restore what `columns_to_state` stored, checked; returns the number of columns."""
    count = state.integer("n_features", low=1)
    if state.optional("feature_names"):
        names = state.texts("feature_names")
        if len(names) != count:
            state.fail(f"there are {len(names)} feature names for {count} columns")
        learner.feature_names_in_ = np.array(names, dtype=object)
    learner.n_features_in_ = count
    return count


def labels_to_state(labels: Labels) -> dict[str, Any]:
    """Class labels as JSON: a list, and the name of the type that brings the same labels back."""
    kind = {"U": "text", "O": "object"}.get(labels.dtype.kind, labels.dtype.name)
    values = labels.tolist()
    if kind not in NUMBER_LABELS and not (kind in TEXT_LABELS and all(isinstance(item, str) for item in values)):
        raise InputError(
            f"Class labels of type {labels.dtype} cannot be stored: give texts, integers, booleans or floats."
        )
    return {"labels": values, "label_type": kind}


def labels_from_state(state: State, *, at_least: int) -> Labels:
    """Restore what `labels_to_state` stored: `at_least` labels of one type, sorted, none of them twice."""
    kind = state.choice("label_type", [*NUMBER_LABELS, *TEXT_LABELS])
    values = state.json("labels")
    wanted = NUMBER_LABELS.get(kind, str)
    if not isinstance(values, list) or not all(type(item) is wanted for item in values):
        state.fail(f"the class labels must be a list of {wanted.__name__} values")
    if len(values) < at_least or any(low >= high for low, high in itertools.pairwise(values)):
        state.fail(f"there must be {at_least} or more class labels, sorted, none of them twice")
    labels = np.array(values, dtype=TEXT_LABELS.get(kind, kind))
    if labels.tolist() != values:
        state.fail(f"the class labels do not fit their type {kind}")
    return labels
