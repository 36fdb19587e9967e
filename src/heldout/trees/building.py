"""From checked rows to a tree: codes, targets and limits as the compiled code takes them, and its sums as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from heldout.trees.binning import Binned
from heldout.trees.criteria import ABSOLUTE, CRITERIA, ENTROPY, GINI, POISSON
from heldout.trees.nodes import Tree
from heldout.trees.splitting import Rules

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

NO_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Target:
    """What is predicted: class codes (n,) of `n_classes`, or numbers (n,) about their mean `centre`."""

    codes: Array
    values: Array
    n_classes: int
    centre: float

    @classmethod
    def of_classes(cls, codes: Array, n_classes: int) -> Target:
        return cls(codes.astype(np.uint32), np.empty(0), n_classes, 0.0)

    @classmethod
    def of_numbers(cls, y: Array, criterion: str) -> Target:
        """Squared errors are measured about the mean, so that large numbers lose no digits."""
        centre = float(y.mean()) if criterion == "squared_error" else 0.0
        return cls(np.empty(0, dtype=np.uint32), y - centre, 0, centre)

    @property
    def n_sums(self) -> int:
        return self.n_classes or 2

    def extras(self, criterion: int) -> Array:
        """What each number adds to the impurity however the rows are divided."""
        if self.n_classes:
            return np.empty(0)
        if criterion == POISSON:
            return np.where(self.values > 0.0, self.values * np.log(np.where(self.values > 0.0, self.values, 1.0)), 0.0)
        return self.values**2


@dataclass(frozen=True)
class Limits:
    """When a node is not divided, and what is looked at."""

    criterion: str
    max_depth: int = NO_LIMIT
    least_to_split: int = 2
    least_rows: int = 1
    least_weight: float = 0.0  # share of that of all rows
    least_decrease: float = 0.0
    most_leaves: int = 0
    n_tried: int = NO_LIMIT
    at_random: bool = False

    def rules(self, n_columns: int, weight: float, whole: bool) -> Rules:
        """As the compiled code takes them, for rows of this weight, each `whole` or not."""
        own = {**vars(self), "criterion": CRITERIA[self.criterion], "n_tried": min(self.n_tried, n_columns)}
        own["whole"] = whole
        for share in ("least_weight", "least_decrease"):
            own[share] *= weight
        return Rules(**own)


def build(binned: Binned, monotonic: Array, target: Target, weights: Array, limits: Limits, seed: int) -> Tree:
    """A tree of the rows with a weight (n,) above zero."""
    from heldout.trees.absolute import middles, room_for_sweep
    from heldout.trees.grow import Columns, add_up_nodes, desk_for, grow, room_for_nodes
    from heldout.trees.histogram import Rows, room_for
    from heldout.trees.packed import MOST_WEIGHT, logs_up_to

    columns = Columns(binned.codes, binned.n_codes, binned.low, binned.high, binned.starts, monotonic)
    categorical = binned.categorical if binned.categorical.any() else None
    ids, weight = np.flatnonzero(weights > 0.0).astype(np.uint32), float(weights.sum())
    whole = target.n_classes > 0 and bool(np.all(weights == np.rint(weights)))
    rules = limits.rules(len(binned.codes), weight, whole)
    sweep = None
    if rules.criterion == ABSOLUTE:
        ids = ids[np.argsort(target.values[ids], kind="stable")]
        sweep = room_for_sweep(int(binned.n_codes.max()), len(ids))
    labels, values, own = target.codes, target.values, weights[ids]
    if target.n_classes:
        labels = labels[ids]
    else:
        values = values[ids] * own
    rows = Rows(ids, labels, values, own)
    spare = Rows(*(np.empty_like(values) for values in rows))
    logs = logs_up_to(int(min(weight, MOST_WEIGHT))) if whole and rules.criterion == ENTROPY else np.zeros(1)
    room = room_for(int(binned.n_codes.max()), len(ids), target.n_classes, logs)
    nodes, waiting = room_for_nodes(len(ids), rules.most_leaves, target.n_sums, categorical is not None)
    desk = desk_for(len(ids), len(binned.codes), seed)
    m = grow(columns, rows, spare, room, desk, rules, nodes, waiting, categorical, sweep)
    sums, left, n_rows = nodes.sums[:m], nodes.left[:m].copy(), nodes.n_rows[:m].copy()
    node_weights = sums.sum(axis=1) if target.n_classes else sums[:, 0].copy()
    value = (sums if target.n_classes else sums[:, 1:]) / node_weights[:, None]
    totals, first = np.zeros(m), np.zeros(m, dtype=np.int64)
    if not target.n_classes:
        extras = target.extras(rules.criterion)[rows.ids] * rows.weights
        add_up_nodes(left, n_rows, extras, first, totals)
    impurity = _impurity(rules.criterion, value, totals / node_weights)
    if rules.criterion == ABSOLUTE:
        found = np.empty((m, 2))
        middles(left, n_rows, first, target.values[rows.ids], rows.weights, np.empty((2, len(ids))), found)
        value, impurity = found[:, :1].copy(), found[:, 1].copy()
    by_set = nodes.categories[:m] >= 0
    categories = np.where(by_set, np.cumsum(by_set) - 1, -1).astype(np.int32)
    return Tree(
        feature=nodes.feature[:m].copy(),
        threshold=nodes.threshold[:m].copy(),
        left=left,
        missing_left=nodes.missing_left[:m].copy(),
        categories=categories,
        sets=nodes.sets[np.flatnonzero(by_set)],
        value=value + target.centre,
        impurity=impurity,
        weight=node_weights,
        count=n_rows,
    )


def _impurity(criterion: int, value: Array, extra: Array) -> Array:
    """Of every node (m,), from its values and its rows' mean extra."""
    if criterion == GINI:
        return np.asarray(1.0 - (value**2).sum(axis=1))
    if criterion == ENTROPY:
        logs = np.log2(np.where(value > 0.0, value, 1.0))
        return np.asarray(-(value * logs).sum(axis=1) + 0.0)
    mean = value[:, 0]
    if criterion == POISSON:
        return np.asarray(extra - np.where(mean > 0.0, mean * np.log(np.where(mean > 0.0, mean, 1.0)), 0.0))
    return np.asarray(np.maximum(extra - mean**2, 0.0))
