"""A learner's own list of siblings: the same learner made simpler or richer, by the parameters that it has.

Parameters mean the same in heldout's learners and in scikit-learn's, so one table serves both, and the steps of a
pipeline and the base of an ensemble, too. The list depends on the parameters and on what was learned from train, never
on validation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeGuard

from heldout.panel import LEARNERS

Settings = Mapping[str, Any]
Change = tuple[str, str, Settings]  # relation, remedy in words, parameters
Knob = Callable[[Any, Settings, int], Iterator[Change]]  # of a fitted part, its parameters, and the training rows
BY_TRAIN = "simpler or richer"  # many trees say less than one grown to the end, and more than one of few leaves
NETWORK = "batch_size"  # what networks have among their parameters, and no other learner
SMALL_NODES = "min_samples_split"
LEAST_EPOCHS = 8
MOST_COLUMNS = 20  # squares and products of more are too many


@dataclass(frozen=True)
class Variant:
    """A sibling that is not fitted yet: what was done, what changed by it, and whether it is "simpler" or "richer".

    `BY_TRAIN`: how closely it follows the training rows will tell. `ready` gives the fitted sibling where it can be had
    from the learner itself.
    """

    remedy: str
    change: str
    relation: str
    estimator: Any
    ready: Callable[[], Any] | None = None


def variants(fitted: Any, n_rows: int, present: Collection[str] = ()) -> list[Variant]:
    """The siblings of a fitted learner, the most telling of each kind first.

    Parameters
    ----------
    fitted : estimator
        heldout's, scikit-learn's or one of their kind; a Pipeline, or an ensemble of another estimator, is changed
        inside.
    n_rows : int
        How many rows it was fitted to.
    present : names of classes
        Learners that were fitted anyway and need not stand in for this one.

    Examples
    --------
    >>> from heldout import DecisionTreeRegressor
    >>> tree = DecisionTreeRegressor().fit([[1.0], [2.0], [3.0], [4.0]], [1.0, 2.0, 4.0, 3.0])
    >>> for item in variants(tree, 1000):
    ...     print(f"{item.relation}: {item.change}")
    simpler: larger leaves (min_samples_leaf 20 instead of 1)
    simpler: pruning (prune cv instead of None)
    simpler: larger leaves (min_samples_leaf 5 instead of 1)
    simpler or richer: many trees (RandomForestRegressor in its place)
    """
    from sklearn.base import clone

    found = []
    for prefix, part in parts_of(fitted):
        given = part.get_params(deep=False)
        for knob in KNOBS:
            for relation, remedy, settings in knob(part, given, n_rows):
                changed = clone(fitted).set_params(**{f"{prefix}{name}": value for name, value in settings.items()})
                listed = ", ".join(f"{k} {_text(v)} instead of {_text(given[k])}" for k, v in settings.items())
                free = not prefix and set(settings) == {SMALL_NODES} and getattr(part, "can_be_cut_back", False)
                ready = partial(part.cut_back, **settings) if free else None
                found.append(Variant(remedy, f"{remedy} ({listed})", relation, changed, ready))
    for relation, remedy, name, settings in _replacements(fitted):
        if name not in present:
            replaced = LEARNERS[name].load()(**settings)
            found.append(Variant(remedy, f"{remedy} ({name} in its place)", relation, replaced))
    return found


def _text(value: Any) -> str:
    return f"{value:.4g}" if is_number(value) else str(value)


def parts_of(fitted: Any) -> Iterator[tuple[str, Any]]:
    """The learner itself, the steps of a pipeline, the base of an ensemble: prefix of its parameters, and the part."""
    given = fitted.get_params(deep=False)
    if {"param_grid", "param_distributions"} & set(given):
        return  # a search has tried its settings
    yield "", fitted
    steps = given.get("steps")
    inner = list(steps) if isinstance(steps, list) else [(k, given.get(k)) for k in ("estimator", "regressor")]
    for name, part in inner:
        if hasattr(part, "get_params") and not isinstance(part, type):
            yield from ((f"{name}__{prefix}", deeper) for prefix, deeper in parts_of(part))


# The knobs -------------------------------------------------------------------------------------------------


def is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _penalty(part: Any, given: Settings, n: int) -> Iterator[Change]:
    """A penalty `alpha` of a model that is neither a network nor boosted; chosen by cross-validation or given."""
    if "alpha" not in given or {NETWORK, "n_estimators"} & set(given):
        return
    value = getattr(part, "alpha_", given["alpha"])
    if is_number(value) and value >= 0:
        for factor in (100, 10):
            yield "simpler", "a stronger penalty", {"alpha": float(value * factor) or factor / 10.0}
        if value > 0:
            yield "richer", "a weaker penalty", {"alpha": value / 10}


def _inverse_penalty(part: Any, given: Settings, n: int) -> Iterator[Change]:
    value = given.get("C")
    if is_number(value) and value > 0:
        for factor in (100, 10):
            yield "simpler", "a stronger penalty", {"C": value / factor if math.isfinite(value) else 10.0 / factor}
        if math.isfinite(value):
            yield "richer", "a weaker penalty", {"C": value * 10.0}


def _neighbours(part: Any, given: Settings, n: int) -> Iterator[Change]:
    value = getattr(part, "n_neighbors_", given.get("n_neighbors"))
    if "weights" not in given or not is_whole(value):
        return
    for factor in (15, 5):
        if value * factor <= n // 2:
            yield "simpler", "more neighbours", {"n_neighbors": value * factor}
    if value > 1:
        yield "richer", "fewer neighbours", {"n_neighbors": max(1, value // 5)}


def _tree(part: Any, given: Settings, n: int) -> Iterator[Change]:
    """Trees and forests, by their leaves and depth."""
    leaf, depth, node = given.get("min_samples_leaf"), given.get("max_depth"), given.get(SMALL_NODES)
    if "learning_rate" in given or not is_whole(leaf):
        return
    forest = "n_estimators" in given
    if forest and is_whole(node):
        for factor in (20, 5):
            if node * factor <= n // 2:
                yield "simpler", "cutting back small nodes", {SMALL_NODES: node * factor}
    for turn, factor in enumerate((20,) if forest else (20, 5)):
        if leaf * factor <= n // 2:
            yield "simpler", "larger leaves", {"min_samples_leaf": leaf * factor}
        if turn == 0 and not forest and given.get("prune", "") is None:
            yield "simpler", "pruning", {"prune": "cv"}
    if is_whole(depth):
        if depth > 1:
            yield "simpler", "less depth", {"max_depth": depth // 2}
        yield "richer", "more depth", {"max_depth": 2 * depth}
    if leaf > 1:
        yield "richer", "smaller leaves", {"min_samples_leaf": max(1, leaf // 5)}


def _boosting(part: Any, given: Settings, n: int) -> Iterator[Change]:
    rounds = "n_estimators" if "n_estimators" in given else "max_iter"
    if (
        "learning_rate" not in given
        or "hidden_layer_sizes" in given
        or not {"max_depth", "max_leaf_nodes"} & set(given)
    ):
        return
    if is_whole(given.get(rounds)):
        if given[rounds] >= 20:
            yield "simpler", "fewer rounds", {rounds: given[rounds] // 5}
        yield "richer", "more rounds", {rounds: given[rounds] * 3}
    if is_whole(given.get("max_leaf_nodes")) and given["max_leaf_nodes"] > 4:
        yield "simpler", "smaller trees", {"max_leaf_nodes": 4}
    elif is_whole(given.get("max_depth")) and given["max_depth"] > 1:
        yield "simpler", "smaller trees", {"max_depth": given["max_depth"] // 2}


def _polynomial(part: Any, given: Settings, n: int) -> Iterator[Change]:
    degree = given.get("degree")
    if type(part).__name__ not in ("PolynomialRegression", "PolynomialFeatures") or not is_whole(degree):
        return
    lower = dict.fromkeys((max(1, degree // 4), max(1, degree // 2), 1))
    for less in lower:
        if less < degree:
            yield "simpler", "a lower degree", {"degree": less}
    yield "richer", "a higher degree", {"degree": degree + 1}


def _network(part: Any, given: Settings, n: int) -> Iterator[Change]:
    if NETWORK not in given:
        return
    epochs = getattr(part, "n_iter_", 0)
    if given.get("early_stopping") is False:
        yield "simpler", "early stopping", {"early_stopping": True}
        if epochs >= LEAST_EPOCHS:
            yield "simpler", "an earlier epoch", {"max_iter": epochs // 4}
    if is_number(given.get("alpha")):
        yield "simpler", "a stronger penalty", {"alpha": max(1.0, 100.0 * given["alpha"])}
    if given.get("dropout") == 0.0:
        yield "simpler", "dropout", {"dropout": 0.5}
    layers = given.get("hidden_layer_sizes", ())
    widths = [layers] if is_whole(layers) else list(layers)
    if any(width >= 8 for width in widths):
        yield "simpler", "fewer units", {"hidden_layer_sizes": tuple(max(4, width // 8) for width in widths)}
    if widths:
        yield "richer", "more units", {"hidden_layer_sizes": tuple(4 * width for width in widths)}
    if is_whole(given.get("max_iter")) and epochs >= given["max_iter"]:  # it had not come to its end
        yield "richer", "more epochs", {"max_iter": 4 * given["max_iter"]}


KNOBS: tuple[Knob, ...] = (_penalty, _inverse_penalty, _neighbours, _tree, _boosting, _polynomial, _network)


def _replacements(fitted: Any) -> Iterator[tuple[str, str, str, Settings]]:
    """Another learner in its place: relation, remedy, name in the panel, parameters."""
    kind, columns = type(fitted).__name__, getattr(fitted, "n_features_in_", 0)
    if kind == "LinearRegression":
        yield "simpler", "a penalty", "Ridge", {}
        yield "simpler", "fewer features", "Lasso", {}
    if kind in ("LinearRegression", "Ridge", "Lasso", "ElasticNet") and columns <= MOST_COLUMNS:
        yield "richer", "squares and products", "PolynomialRegression", {}
    if kind in ("LinearRegression", "Ridge", "Lasso", "ElasticNet"):
        yield "richer", "more capacity", "RandomForestRegressor", {}
    if kind in ("SoftmaxClassifier", "LogisticRegression", "MarginClassifier"):
        yield "richer", "more capacity", "RandomForestClassifier", {}
    if kind in ("DecisionTreeRegressor", "DecisionTreeClassifier"):
        yield BY_TRAIN, "many trees", kind.replace("DecisionTree", "RandomForest"), {}
