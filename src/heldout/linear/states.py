"""What learners share at their two doors: row and class weights coming in, columns and labels stored and restored."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import _check_sample_weight

from heldout.errors import InputError

if TYPE_CHECKING:
    from heldout.persist import State

Labels: TypeAlias = np.ndarray[Any, np.dtype[Any]]
Codes: TypeAlias = np.ndarray[Any, np.dtype[np.intp]]
Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

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


def class_weights(
    class_weight: str | Mapping[Any, float] | None, classes: Labels, codes: Codes, weights: Array
) -> Array:
    """One factor for each class (K,)."""
    if class_weight is None:
        return np.ones(len(classes))
    if class_weight == "balanced":
        totals = np.bincount(codes, weights, minlength=len(classes))
        present = totals > 0
        return np.where(present, weights.sum() / (present.sum() * np.where(present, totals, 1.0)), 1.0)
    if not isinstance(class_weight, Mapping):
        raise InputError(f"class_weight is {class_weight!r} and must be None, 'balanced' or a dict.")
    known = classes.tolist()
    for label, factor in class_weight.items():
        if label not in known:
            raise InputError(f"class_weight names the class {label!r}, which the data does not have.")
        if not 0.0 <= factor < np.inf:
            raise InputError(f"class_weight[{label!r}] is {factor!r} and must be a finite number, 0 or more.")
    return np.array([float(class_weight.get(label, 1.0)) for label in known])


def class_weight_to_state(class_weight: str | Mapping[Any, float] | None) -> Any:
    if not isinstance(class_weight, Mapping):
        return class_weight
    labels = [label.item() if isinstance(label, np.generic) else label for label in class_weight]
    return [[label, float(class_weight[label])] for label in labels]


def class_weight_from_state(state: State) -> str | dict[Any, float] | None:
    if not state.optional("class_weight"):
        return None
    stored = state.json("class_weight")
    if stored == "balanced":
        return "balanced"
    if not isinstance(stored, list):
        state.fail("the class weights must be 'balanced' or pairs of a label and a number")
    for pair in stored:
        fits = isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str | int | float)
        if not fits or isinstance(pair[1], bool) or not isinstance(pair[1], int | float) or pair[1] < 0.0:
            state.fail("the class weights must be 'balanced' or pairs of a label and a number")
    return {label: float(factor) for label, factor in stored}
