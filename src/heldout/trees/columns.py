"""The door for rows of trees: numbers stay as they are, missing ones too; categories become whole numbers."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.utils.validation import check_array, validate_data

from heldout.errors import InputError

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MOST_CATEGORIES = 255
KINDS = (np.float64, np.float32)  # of numbers, which stay as they are


def rows_of(learner: Any, X: Any, *, reset: bool = False) -> Array:
    """The rows (n, p), NaN for what is missing or unknown; categories as their place in `categories_`.

    Numbers are float64, or float32 where they were. At fit (`reset`) the categories are learned. Columns of texts,
    categories or truth values in a frame are categorical where `categorical_features` is "from_dtype".
    """
    by_dtype = isinstance(learner.categorical_features, str) and learner.categorical_features == "from_dtype"
    plain = learner.categorical_features is None or by_dtype if reset else not learner.categories_
    if plain and not _is_frame(X):
        X = validate_data(learner, X, dtype=KINDS, ensure_all_finite="allow-nan", order="C", reset=reset)
        if reset:
            learner.categories_ = {}
        return np.asarray(X)
    if _is_frame(X):
        validate_data(learner, X, skip_check_array=True, reset=reset)
        names, columns, texts = _frame_columns(X)
    else:
        X = validate_data(learner, X, dtype=None, ensure_all_finite=False, reset=reset)
        names, columns, texts = [str(j) for j in range(X.shape[1])], X.T, [False] * X.shape[1]
    if reset:
        mask = categorical_mask(learner.categorical_features, names, texts)
        learner.categories_ = {j: _categories_of(names[j], columns[j]) for j in np.flatnonzero(mask).tolist()}
    found = np.empty((len(columns[0]), len(columns)))
    for j, column in enumerate(columns):
        found[:, j] = _codes(column, learner.categories_[j]) if j in learner.categories_ else _numbers(names[j], column)
    return np.asarray(check_array(found, dtype=np.float64, ensure_all_finite="allow-nan", order="C"))


def _is_frame(X: Any) -> bool:
    return hasattr(X, "columns") and hasattr(X, "dtypes")


def _frame_columns(X: Any) -> tuple[list[str], list[Array], list[bool]]:
    import narwhals as nw

    frame = nw.from_native(X, eager_only=True)
    kinds = (nw.String, nw.Categorical, nw.Enum, nw.Boolean, nw.Object)
    columns = [_values_of(column) for column in frame.iter_columns()]
    return [str(name) for name in frame.columns], columns, [isinstance(kind, kinds) for kind in frame.schema.values()]


def _values_of(column: Any) -> Array:
    """The values of a frame's column, numbers as they are: as Python's objects they would take ten times as long."""
    if column.dtype.is_float() or column.dtype.is_integer():
        found = np.asarray(column.to_numpy())
        if found.dtype.kind in "fiu":
            return found
    return np.asarray(column.to_list(), dtype=object)


def categorical_mask(asked: Any, names: list[str], texts: list[bool]) -> Array:
    """Which columns (p,) hold categories."""
    if asked is None:
        return np.zeros(len(names), dtype=bool)
    if isinstance(asked, str) and asked == "from_dtype":
        return np.array(texts)
    found = np.zeros(len(names), dtype=bool)
    given = np.asarray(asked)
    if given.dtype == bool:
        if given.shape != found.shape:
            raise InputError(f"categorical_features has {given.size} truth values for {len(names)} columns.")
        return given
    for one in given.tolist():
        place = names.index(one) if one in names else one
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < len(names):
            raise InputError(f"categorical_features names the column {one!r}, which is not there.")
        found[place] = True
    return found


def _categories_of(name: str, column: Array) -> Array:
    """The distinct values, sorted: numbers as numbers, all others as texts."""
    known = [value for value in column.tolist() if not _is_missing(value)]
    numbers = all(isinstance(value, int | float) for value in known)
    found = np.unique(np.array(known if numbers else [str(value) for value in known], dtype=None if known else float))
    if len(found) > MOST_CATEGORIES:
        raise InputError(
            f"Column {name} has {len(found):,} categories, and a tree divides at most {MOST_CATEGORIES}: group the "
            "rare ones."
        )
    return found.astype(np.float64) if numbers else found


def _codes(column: Array, categories: Array) -> Array:
    """Places in the sorted categories; NaN for missing and unknown ones."""
    places = {value: float(at) for at, value in enumerate(categories.tolist())}
    texts = categories.dtype.kind == "U"

    def code(value: Any) -> float:
        if _is_missing(value):
            return np.nan
        return places.get(str(value) if texts else value, np.nan)

    return np.array([code(value) for value in column.tolist()])


def _numbers(name: str, column: Array) -> Array:
    if column.dtype.kind in "fiu":
        return column.astype(np.float64)
    try:
        return np.array([np.nan if _is_missing(value) else float(value) for value in column.tolist()])
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Column {name} holds {error.args[0].split(': ')[-1]}, which is no number: name it in categorical_features."
        ) from None


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType" or value != value  # pandas' NA equals nothing it can say


def categories_to_state(categories: dict[int, Array]) -> dict[str, Any]:
    """What a model file stores of the columns' categories."""
    return {"categories": {str(j): values.tolist() for j, values in categories.items()}}


def categories_from_state(state: State, n_columns: int) -> dict[int, Array]:
    """Restore what `categories_to_state` stored: sorted texts or numbers, at most 255, of columns that are there."""
    stored, found = state.json("categories"), {}
    if not isinstance(stored, dict):
        state.fail("the categories must be lists by column")
    for key, values in stored.items():
        if (
            not key.isdecimal()
            or int(key) >= n_columns
            or not isinstance(values, list)
            or len(values) > MOST_CATEGORIES
        ):
            state.fail(f"the categories of column {key!r} do not fit")
        texts = all(isinstance(value, str) for value in values) and len(values) > 0
        if not texts and not all(type(value) is float for value in values):
            state.fail(f"the categories of column {key!r} are neither texts nor numbers")
        if any(a >= b for a, b in itertools.pairwise(values)):
            state.fail(f"the categories of column {key!r} are not sorted")
        found[int(key)] = np.array(values, dtype=np.str_ if texts else np.float64)
    return found
