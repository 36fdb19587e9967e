"""The panel: the learners that a study may try and a model file may hold. A learner joins by one line.

The table is closed: model files name their learner by a key of it and nothing else is imported for them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

REGRESSION = frozenset({"regression"})
CLASSIFICATION = frozenset({"binary", "multiclass"})


@dataclass(frozen=True)
class Entry:
    """A learner of the panel: its name, its title for people, the tasks it is for and where its class lives."""

    name: str
    title: str
    tasks: frozenset[str]
    path: str  # "module:Class"
    baseline: bool = False

    def load(self) -> type[Any]:
        module, _, name = self.path.partition(":")
        loaded: type[Any] = getattr(importlib.import_module(module), name)
        return loaded


LEARNERS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("BaselineRegressor", "Trivial answer", REGRESSION, "heldout.baseline:BaselineRegressor", baseline=True),
        Entry("BaselineClassifier", "Trivial answer", CLASSIFICATION, "heldout.baseline:BaselineClassifier", baseline=True),
        Entry("LinearRegression", "Linear regression (least squares)", REGRESSION, "heldout.linear.regression:LinearRegression"),
        Entry("SoftmaxClassifier", "Softmax classifier (cross-entropy, L2)", CLASSIFICATION, "heldout.linear.softmax:SoftmaxClassifier"),
    )
}  # fmt: skip
