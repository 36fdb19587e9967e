"""What trees and forests share: their parameters, checked, stored and read again, and what they learn from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    assert_all_finite,
    check_array,
    check_consistent_length,
    column_or_1d,
)

from heldout.errors import InputError, suggest
from heldout.linear.states import (
    columns_to_state,
)
from heldout.trees.building import NO_LIMIT, Limits
from heldout.trees.columns import categorical_mask, categories_to_state
from heldout.trees.nodes import Tree

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

SPLITTERS = ("auto", "exact", "histogram")
CLASS_CRITERIA = ("gini", "entropy", "log_loss")
NUMBER_CRITERIA = ("squared_error", "absolute_error", "poisson")
SHARES = ("sqrt", "log2")
MOST_BINS = 255
LARGE = 10_000  # rows from which "auto" looks at histograms


class TreeBase(BaseEstimator):  # type: ignore[misc]
    """What trees and their ensembles share: the parameters of growth, and the door for rows."""

    criteria: tuple[str, ...] = ()
    criterion: Any
    splitter: Any
    max_depth: Any
    min_samples_split: Any
    min_samples_leaf: Any
    min_weight_fraction_leaf: Any
    max_features: Any
    max_leaf_nodes: Any
    min_impurity_decrease: Any
    monotonic_cst: Any
    categorical_features: Any
    seed: Any

    def _check_parameters(self) -> None:
        if self.criterion not in self.criteria:
            raise InputError(f"There is no criterion {self.criterion!r}.{suggest(str(self.criterion), self.criteria)}")
        if self.splitter not in SPLITTERS:
            raise InputError(f"There is no splitter {self.splitter!r}.{suggest(str(self.splitter), SPLITTERS)}")
        for name, low in (("max_depth", 1), ("max_leaf_nodes", 2)):
            value = getattr(self, name)
            if value is not None and not is_whole(value, low):
                raise InputError(f"{name} is {value!r} and must be None or a whole number from {low} up.")
        for name, low in (("min_samples_split", 2), ("min_samples_leaf", 1)):
            value = getattr(self, name)
            if not is_whole(value, low) and not is_share(value):
                raise InputError(
                    f"{name} is {value!r} and must be a whole number from {low} up, or a share of the rows."
                )
        for name, most in (("min_weight_fraction_leaf", 0.5), ("min_impurity_decrease", np.inf)):
            value = getattr(self, name)
            if not is_number(value) or not 0.0 <= value <= most:
                raise InputError(
                    f"{name} is {value!r} and must be a number, 0 or more{'' if most > 1 else ', to 0.5'}."
                )
        if not is_whole(self.seed, 0) or self.seed >= 2**32:
            raise InputError(f"seed is {self.seed!r} and must be a whole number from 0 to below {2**32:,}.")

    def _limits(self, n: int, p: int) -> Limits:
        """For `n` rows and `p` columns."""
        return Limits(
            self.criterion,
            NO_LIMIT if self.max_depth is None else int(self.max_depth),
            max(2, _rows(self.min_samples_split, n)),
            _rows(self.min_samples_leaf, n),
            float(self.min_weight_fraction_leaf),
            float(self.min_impurity_decrease),
            0 if self.max_leaf_nodes is None else int(self.max_leaf_nodes),
            n_columns_tried(self.max_features, p),
        )

    def _bins(self, n: int) -> int | None:
        """At most how many bins a column is cut in; None for as many as it has values."""
        exact = self.splitter == "exact" or (self.splitter == "auto" and n < LARGE)
        return None if exact else MOST_BINS

    def _monotonic(self, p: int, n_classes: int) -> Array:
        if self.monotonic_cst is None:
            return np.zeros(p, dtype=np.int8)
        found = np.asarray(self.monotonic_cst)
        if found.shape != (p,) or not np.isin(found, (-1, 0, 1)).all():
            raise InputError(f"monotonic_cst must be one of -1, 0 and 1 for each of the {p} columns.")
        if n_classes > 2 and found.any():
            raise InputError(f"monotonic_cst has no meaning for {n_classes} classes: give numbers or two classes.")
        if self.criterion == "absolute_error" and found.any():
            raise InputError("monotonic_cst orders means, and criterion='absolute_error' predicts medians.")
        if any(found[j] for j in self.categories_):
            raise InputError("monotonic_cst asks for an order of a column of categories, which have none.")
        return found.astype(np.int8)

    def _check_restored(self, state: State, p: int, n_values: int) -> None:
        """The parameters from a file suit each other and the columns."""
        try:
            self._check_parameters()
            self.max_features_ = n_columns_tried(self.max_features, p)
            self._monotonic(p, n_values)
            names = getattr(self, "feature_names_in_", np.arange(p).astype(str)).tolist()
            categorical_mask(self.categorical_features, names, [False] * p)
        except InputError as error:
            state.fail(str(error).rstrip("."))

    def _categorical_mask(self, p: int) -> Array:
        mask = np.zeros(p, dtype=bool)
        mask[list(self.categories_)] = True
        return mask

    def shap_values(self, X: Any) -> Array:
        """What each column adds to the prediction of each row: (n, p), or (n, p, K) for classes.

        With `expected_value_` they sum to `predict` or `predict_proba` (see `heldout.trees.shapley.shap_values`).
        """
        from heldout.trees.shapley import explained

        return explained(self, X)

    @property
    def expected_value_(self) -> Any:
        """What is predicted of a row of which nothing is known: a number, or the classes' shares (K,)."""
        from heldout.trees.shapley import expected

        return expected(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


@contextmanager
def as_before_if_it_fails(learner: Any, name: str) -> Iterator[None]:
    """A fit that fails before it sets the attribute `name` changes nothing: old trees would walk other columns."""
    before = dict(vars(learner))
    try:
        yield
    except BaseException:
        if vars(learner).get(name) is before.get(name):
            vars(learner).clear()
            vars(learner).update(before)
        raise


def importances(tree: Tree, p: int) -> Array:
    """By how much each column (p,) lessens the impurity, as shares of the rows' weight."""
    inner = np.flatnonzero(tree.left >= 0)
    risk, left = tree.impurity * tree.weight, tree.left[inner]
    gains = np.maximum(risk[inner] - risk[left] - risk[left + 1], 0.0)
    return np.asarray(np.bincount(tree.feature[inner], gains, minlength=p) / tree.weight[0])


def shares_of(values: Array) -> Array:
    total = values.sum()
    return np.asarray(values / total if total > 0.0 else values)


def is_whole(value: Any, low: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= low)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def is_share(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(0.0 < value <= 1.0)


def _rows(value: Any, n: int) -> int:
    """A number of rows, from a number or a share of `n`."""
    return int(np.ceil(value * n)) if is_share(value) else int(value)


def n_columns_tried(max_features: Any, p: int) -> int:
    """How many of `p` columns a node looks at."""
    if max_features is None:
        return p
    if isinstance(max_features, str) and max_features in SHARES:
        return max(1, int(np.sqrt(p) if max_features == "sqrt" else np.log2(p)))
    if is_whole(max_features, 1) and max_features <= p:
        return int(max_features)
    if is_share(max_features):
        return max(1, int(max_features * p))
    raise InputError(
        f"max_features is {max_features!r} and must be None, 'sqrt', 'log2', a whole number from 1 to {p}, or a share."
    )


def parameters_to_state(learner: TreeBase) -> dict[str, Any]:
    """The parameters of growth, and the columns."""
    plain = ("criterion", "splitter", "max_depth", "max_leaf_nodes")
    numbers = ("min_samples_split", "min_samples_leaf", "max_features")
    features = learner.categorical_features
    order = learner.monotonic_cst
    return {
        **{name: getattr(learner, name) for name in plain},
        **{name: _plain(getattr(learner, name)) for name in numbers},
        "min_weight_fraction_leaf": float(learner.min_weight_fraction_leaf),
        "min_impurity_decrease": float(learner.min_impurity_decrease),
        "monotonic_cst": None if order is None else np.asarray(order).tolist(),
        "categorical_features": features
        if features is None or isinstance(features, str)
        else [_plain(one) for one in features],
        "seed": int(learner.seed),
        **categories_to_state(learner.categories_),
        **columns_to_state(learner),
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def parameters_from_state(state: State, criteria: tuple[str, ...]) -> dict[str, Any]:
    """Restore what `parameters_to_state` stored of the parameters."""
    found: dict[str, Any] = {
        "criterion": state.choice("criterion", criteria),
        "splitter": state.choice("splitter", SPLITTERS),
        "min_weight_fraction_leaf": state.number("min_weight_fraction_leaf", low=0.0, high=0.5),
        "min_impurity_decrease": state.number("min_impurity_decrease", low=0.0),
        "seed": state.integer("seed", low=0, high=2**32 - 1),
    }
    for name, low in (("max_depth", 1), ("max_leaf_nodes", 2)):
        found[name] = state.integer(name, low=low) if state.optional(name) else None
    for name, low in (("min_samples_split", 2), ("min_samples_leaf", 1)):
        found[name] = state.json(name)
        if not is_whole(found[name], low) and not is_share(found[name]):
            state.fail(f"{name!r} must be a whole number from {low} up or a share")
    for name in ("max_features", "monotonic_cst", "categorical_features"):
        found[name] = state.json(name) if state.optional(name) else None
    return found


def labels_of(y: Any, X: Array) -> Array:
    """Class labels (n,), checked."""
    _check_given(y)
    labels = column_or_1d(y, warn=True)
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    check_consistent_length(X, labels)
    return labels  # type: ignore[no-any-return]


def numbers_of(y: Any, X: Array, criterion: str) -> Array:
    """Numbers (n,), finite; for Poisson not negative, and one above zero."""
    _check_given(y)
    numbers = column_or_1d(check_array(y, ensure_2d=False, dtype=np.float64), warn=True)
    check_consistent_length(X, numbers)
    if criterion == "poisson" and (numbers.min() < 0.0 or not numbers.any()):
        raise InputError("criterion='poisson' wants numbers that are not negative, and one above zero.")
    return np.asarray(numbers)


def _check_given(y: Any) -> None:
    if y is None:
        raise InputError("A tree requires y to be passed, but the target y is None.")
