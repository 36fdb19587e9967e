"""The panel: the learners that a study may try and a model file may hold. A learner joins by one line.

The table is closed: model files name their learner by a key of it and nothing else is imported for them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

REGRESSION = frozenset({"regression"})
CLASSIFICATION = frozenset({"binary", "multiclass"})
TABLES = frozenset({"table"})
EVERYWHERE = frozenset({"table", "images", "series", "windows"})
IMAGES = frozenset({"images"})
WINDOWS = frozenset({"windows"})
SERIES = frozenset({"series", "windows"})
NEIGHBOURS = frozenset({"images", "series"})
TEXTS = frozenset({"texts"})
BUT_WINDOWS = EVERYWHERE - WINDOWS | TEXTS
SEQUENCES = SERIES | TEXTS
NOWHERE: frozenset[str] = frozenset()  # where it is not named


@dataclass(frozen=True)
class Entry:
    """A learner of the panel: its name, its title for people, the tasks it is for and where its class lives."""

    name: str
    title: str
    tasks: frozenset[str]
    module: str  # below heldout; the class is called as the entry
    baseline: bool = False
    tried: frozenset[str] = NOWHERE  # the forms of rows whose studies try it without being told (`Problem.form`)
    takes: frozenset[str] = NOWHERE  # the forms that it takes as they are; of the others it gets the encoder's matrix
    yardstick: bool = False  # networks that are no better are not worth their while

    @property
    def path(self) -> str:
        """Where the class is: "heldout.module:Class"."""
        return f"heldout.{self.module}:{self.name}"

    @property
    def streams(self) -> bool:
        """Whether it takes bytes as they are and rows chunk by chunk, so that they need not fit into memory."""
        return self.baseline or self.is_network

    @property
    def is_network(self) -> bool:
        return self.module.startswith("neural.")

    def load(self) -> type[Any]:
        loaded: type[Any] = getattr(importlib.import_module(f"heldout.{self.module}"), self.name)
        return loaded


LEARNERS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("BaselineRegressor", "Trivial answer", REGRESSION, "baseline", baseline=True, tried=BUT_WINDOWS),
        Entry("BaselineClassifier", "Trivial answer", CLASSIFICATION, "baseline", baseline=True, tried=BUT_WINDOWS),
        Entry(
            "PersistenceRegressor",
            "Persistence (the last value)",
            REGRESSION,
            "series.persistence",
            baseline=True,
            tried=WINDOWS,
            takes=SERIES,
        ),
        Entry(
            "LinearRegression",
            "Linear regression (least squares)",
            REGRESSION,
            "linear.squares.regression",
            tried=TABLES | WINDOWS,
        ),
        Entry("PolynomialRegression", "Polynomial (least squares)", REGRESSION, "linear.squares.polynomial"),
        Entry("Ridge", "Ridge regression (L2)", REGRESSION, "linear.penalised.ridge", tried=EVERYWHERE),
        Entry("Lasso", "Lasso (L1)", REGRESSION, "linear.penalised.lasso", tried=TABLES | WINDOWS),
        Entry("ElasticNet", "Elastic net (L1 and L2)", REGRESSION, "linear.penalised.lasso"),
        Entry("MaximumLikelihood", "Maximum likelihood", REGRESSION, "linear.likelihood.estimator"),
        Entry("MarginClassifier", "Margin classifier", CLASSIFICATION, "linear.margin.classifier"),
        Entry(
            "SoftmaxClassifier",
            "Softmax classifier (cross-entropy, L2)",
            CLASSIFICATION,
            "linear.softmax.classifier",
            tried=EVERYWHERE,
        ),
        Entry(
            "BagOfWordsClassifier",
            "Bag of words (softmax)",
            CLASSIFICATION,
            "texts.learners",
            tried=TEXTS,
            takes=TEXTS,
            yardstick=True,
        ),
        Entry(
            "BagOfWordsRegressor",
            "Bag of words (ridge)",
            REGRESSION,
            "texts.learners",
            tried=TEXTS,
            takes=TEXTS,
            yardstick=True,
        ),
        Entry("OneVsOneClassifier", "One-vs-one", CLASSIFICATION, "multiclass.one_vs_one"),
        Entry("OneVsRestClassifier", "One-vs-rest", CLASSIFICATION, "multiclass.one_vs_rest"),
        Entry("DecisionTreeRegressor", "Decision tree", REGRESSION, "trees.tree"),
        Entry("DecisionTreeClassifier", "Decision tree", CLASSIFICATION, "trees.tree"),
        Entry("RandomForestRegressor", "Random forest", REGRESSION, "trees.forest", tried=EVERYWHERE),
        Entry("RandomForestClassifier", "Random forest", CLASSIFICATION, "trees.forest", tried=EVERYWHERE),
        Entry("RandomSubspaceRegressor", "Random subspaces", REGRESSION, "ensemble.estimators"),
        Entry("RandomSubspaceClassifier", "Random subspaces", CLASSIFICATION, "ensemble.estimators"),
        Entry("BaggingRegressor", "Bagging", REGRESSION, "ensemble.estimators"),
        Entry("BaggingClassifier", "Bagging", CLASSIFICATION, "ensemble.estimators"),
        Entry("NearestNeighborsRegressor", "Nearest neighbours", REGRESSION, "neighbors.estimators", tried=NEIGHBOURS),
        Entry(
            "NearestNeighborsClassifier", "Nearest neighbours", CLASSIFICATION, "neighbors.estimators", tried=NEIGHBOURS
        ),
        Entry("MLPRegressor", "Multilayer perceptron", REGRESSION, "neural.estimators", tried=IMAGES),
        Entry("MLPClassifier", "Multilayer perceptron", CLASSIFICATION, "neural.estimators", tried=IMAGES),
        Entry("NeuralRegressor", "Neural network", REGRESSION, "neural.estimators", takes=IMAGES),
        Entry("NeuralClassifier", "Neural network", CLASSIFICATION, "neural.estimators", takes=IMAGES),
        Entry("ConvNetRegressor", "Convolutional network", REGRESSION, "neural.convnets", tried=IMAGES, takes=IMAGES),
        Entry(
            "ConvNetClassifier",
            "Convolutional network",
            CLASSIFICATION,
            "neural.convnets",
            tried=IMAGES,
            takes=IMAGES,
        ),
        Entry("RecurrentRegressor", "Recurrent network", REGRESSION, "neural.series", tried=SEQUENCES, takes=SEQUENCES),
        Entry(
            "RecurrentClassifier",
            "Recurrent network",
            CLASSIFICATION,
            "neural.series",
            tried=SEQUENCES,
            takes=SEQUENCES,
        ),
        Entry("TransformerRegressor", "Transformer", REGRESSION, "neural.encoders", tried=TEXTS, takes=SEQUENCES),
        Entry("TransformerClassifier", "Transformer", CLASSIFICATION, "neural.encoders", tried=TEXTS, takes=SEQUENCES),
    )
}


def entry_of(estimator: Any) -> Entry | None:
    """The panel's entry of an estimator's class, or None where it is not one of ours."""
    entry = LEARNERS.get(type(estimator).__name__)
    return entry if entry is not None and entry.load() is type(estimator) else None
