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
    module: str  # below heldout; the class is called as the entry
    baseline: bool = False
    tried: bool = True  # by a study of a table that was not told which learners to try
    images: bool = False  # tried by a study of images
    shaped: bool = False  # takes images as (n, height, width, channels); others take their pixels as columns

    @property
    def path(self) -> str:
        """Where the class is: "heldout.module:Class"."""
        return f"heldout.{self.module}:{self.name}"

    @property
    def streams(self) -> bool:
        """Whether it takes bytes as they are and rows chunk by chunk, so that they need not fit into memory."""
        return self.baseline or self.module.startswith("neural.")

    def load(self) -> type[Any]:
        loaded: type[Any] = getattr(importlib.import_module(f"heldout.{self.module}"), self.name)
        return loaded


LEARNERS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("BaselineRegressor", "Trivial answer", REGRESSION, "baseline", baseline=True),
        Entry("BaselineClassifier", "Trivial answer", CLASSIFICATION, "baseline", baseline=True),
        Entry("LinearRegression", "Linear regression (least squares)", REGRESSION, "linear.squares.regression"),
        Entry(
            "PolynomialRegression", "Polynomial (least squares)", REGRESSION, "linear.squares.polynomial", tried=False
        ),
        Entry("Ridge", "Ridge regression (L2)", REGRESSION, "linear.penalised.ridge", images=True),
        Entry("Lasso", "Lasso (L1)", REGRESSION, "linear.penalised.lasso"),
        Entry("ElasticNet", "Elastic net (L1 and L2)", REGRESSION, "linear.penalised.lasso", tried=False),
        Entry("MaximumLikelihood", "Maximum likelihood", REGRESSION, "linear.likelihood.estimator", tried=False),
        Entry("MarginClassifier", "Margin classifier", CLASSIFICATION, "linear.margin.classifier", tried=False),
        Entry(
            "SoftmaxClassifier",
            "Softmax classifier (cross-entropy, L2)",
            CLASSIFICATION,
            "linear.softmax.classifier",
            images=True,
        ),
        Entry("OneVsOneClassifier", "One-vs-one", CLASSIFICATION, "multiclass.one_vs_one", tried=False),
        Entry("OneVsRestClassifier", "One-vs-rest", CLASSIFICATION, "multiclass.one_vs_rest", tried=False),
        Entry("DecisionTreeRegressor", "Decision tree", REGRESSION, "trees.tree", tried=False),
        Entry("DecisionTreeClassifier", "Decision tree", CLASSIFICATION, "trees.tree", tried=False),
        Entry("RandomForestRegressor", "Random forest", REGRESSION, "trees.forest", tried=False, images=True),
        Entry("RandomForestClassifier", "Random forest", CLASSIFICATION, "trees.forest", tried=False, images=True),
        Entry("RandomSubspaceRegressor", "Random subspaces", REGRESSION, "ensemble.estimators", tried=False),
        Entry("RandomSubspaceClassifier", "Random subspaces", CLASSIFICATION, "ensemble.estimators", tried=False),
        Entry("BaggingRegressor", "Bagging", REGRESSION, "ensemble.estimators", tried=False),
        Entry("BaggingClassifier", "Bagging", CLASSIFICATION, "ensemble.estimators", tried=False),
        Entry(
            "NearestNeighborsRegressor",
            "Nearest neighbours",
            REGRESSION,
            "neighbors.estimators",
            tried=False,
            images=True,
        ),
        Entry(
            "NearestNeighborsClassifier",
            "Nearest neighbours",
            CLASSIFICATION,
            "neighbors.estimators",
            tried=False,
            images=True,
        ),
        Entry("MLPRegressor", "Multilayer perceptron", REGRESSION, "neural.estimators", tried=False, images=True),
        Entry("MLPClassifier", "Multilayer perceptron", CLASSIFICATION, "neural.estimators", tried=False, images=True),
        Entry("NeuralRegressor", "Neural network", REGRESSION, "neural.estimators", tried=False, shaped=True),
        Entry("NeuralClassifier", "Neural network", CLASSIFICATION, "neural.estimators", tried=False, shaped=True),
        Entry(
            "ConvNetRegressor",
            "Convolutional network",
            REGRESSION,
            "neural.convnets",
            tried=False,
            images=True,
            shaped=True,
        ),
        Entry(
            "ConvNetClassifier",
            "Convolutional network",
            CLASSIFICATION,
            "neural.convnets",
            tried=False,
            images=True,
            shaped=True,
        ),
        Entry("RecurrentRegressor", "Recurrent network", REGRESSION, "neural.series", tried=False),
        Entry("RecurrentClassifier", "Recurrent network", CLASSIFICATION, "neural.series", tried=False),
    )
}


def entry_of(estimator: Any) -> Entry | None:
    """The panel's entry of an estimator's class, or None where it is not one of ours."""
    entry = LEARNERS.get(type(estimator).__name__)
    return entry if entry is not None and entry.load() is type(estimator) else None
