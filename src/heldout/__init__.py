"""heldout: from a problem statement to an honest test score.

    import heldout

    study = heldout.Study("houses.csv", target="SalePrice")
    study.fit()
    study.leaderboard, study.findings
    final = study.open_test()
    study.report("report.html")
    final.model.predict(frame)

The names below are in the order of the data's way through. Each is imported when it is first used, so that
`import heldout` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heldout.baseline import BaselineClassifier, BaselineRegressor
    from heldout.certainty.calibration import calibration
    from heldout.certainty.conformal_estimators import ConformalClassifier, ConformalRegressor
    from heldout.certainty.thresholdout import Thresholdout
    from heldout.data.encode import Encoder
    from heldout.data.read import read
    from heldout.data.table import Table
    from heldout.dependence import partial_dependence
    from heldout.diagnosis import Check, Evidence, Finding
    from heldout.diagnosis.alone import diagnose
    from heldout.diagnosis.cross_validation import cross_validate
    from heldout.diagnosis.curves import learning_curve, validation_curve
    from heldout.diagnosis.resampled import corrected_t_test
    from heldout.diagnosis.search import Search
    from heldout.diagnosis.spaces import Between, space_of
    from heldout.ensemble.diversity import diversity_of
    from heldout.ensemble.estimators import (
        BaggingClassifier,
        BaggingRegressor,
        RandomSubspaceClassifier,
        RandomSubspaceRegressor,
    )
    from heldout.errors import HeldoutError
    from heldout.final import Final
    from heldout.importance import permutation_importance
    from heldout.intervals import Score
    from heldout.ledger import Ledger
    from heldout.linear.descent.steps import GradientDescent
    from heldout.linear.inference.assumptions import assumptions
    from heldout.linear.inference.inference import inference
    from heldout.linear.likelihood.estimator import MaximumLikelihood
    from heldout.linear.likelihood.maximum import maximum_likelihood
    from heldout.linear.margin.classifier import MarginClassifier
    from heldout.linear.margin.losses import margin_loss
    from heldout.linear.penalised.lasso import ElasticNet, Lasso
    from heldout.linear.penalised.ridge import Ridge
    from heldout.linear.softmax.classifier import SoftmaxClassifier
    from heldout.linear.softmax.divergence import cross_entropy, kl_divergence
    from heldout.linear.softmax.inference import logistic_inference
    from heldout.linear.squares.polynomial import PolynomialRegression
    from heldout.linear.squares.regression import LinearRegression
    from heldout.model import Model
    from heldout.multiclass.comparison import compare_reductions
    from heldout.multiclass.one_vs_one import OneVsOneClassifier
    from heldout.multiclass.one_vs_rest import OneVsRestClassifier
    from heldout.neighbors.curse import curse_of_dimensionality
    from heldout.neighbors.estimators import NearestNeighborsClassifier, NearestNeighborsRegressor
    from heldout.neural.attention_maps import attention_maps
    from heldout.neural.backprop import backprop
    from heldout.neural.convnets import ConvNetClassifier, ConvNetRegressor
    from heldout.neural.convolving import convolve, cross_correlate
    from heldout.neural.encoders import TransformerClassifier, TransformerRegressor
    from heldout.neural.estimators import MLPClassifier, MLPRegressor, NeuralClassifier, NeuralRegressor
    from heldout.neural.exchange.imported import from_torch, to_torch
    from heldout.neural.gradients import check_gradients
    from heldout.neural.language import RecurrentLanguageModel, TransformerLanguageModel
    from heldout.neural.pictures import augmented, first_filters, grad_cam, saliency
    from heldout.neural.series import RecurrentClassifier, RecurrentRegressor
    from heldout.occlusion import occlusion_sensitivity
    from heldout.persist import load, save
    from heldout.problem import Problem
    from heldout.seal import SealedTest
    from heldout.series.forecaster import SequenceForecaster
    from heldout.series.persistence import PersistenceRegressor
    from heldout.slices import slice_scores
    from heldout.split import Split, train_validation_test_split
    from heldout.study import Study
    from heldout.texts.learners import BagOfWordsClassifier, BagOfWordsRegressor
    from heldout.trees.forest import RandomForestClassifier, RandomForestRegressor
    from heldout.trees.tree import DecisionTreeClassifier, DecisionTreeRegressor

_PLACES = {
    "Study": "heldout.study",
    "read": "heldout.data.read",
    "Table": "heldout.data.table",
    "Problem": "heldout.problem",
    "train_validation_test_split": "heldout.split",
    "Split": "heldout.split",
    "SealedTest": "heldout.seal",
    "Encoder": "heldout.data.encode",
    "BaselineRegressor": "heldout.baseline",
    "BaselineClassifier": "heldout.baseline",
    "LinearRegression": "heldout.linear.squares.regression",
    "Ridge": "heldout.linear.penalised.ridge",
    "Lasso": "heldout.linear.penalised.lasso",
    "ElasticNet": "heldout.linear.penalised.lasso",
    "PolynomialRegression": "heldout.linear.squares.polynomial",
    "GradientDescent": "heldout.linear.descent.steps",
    "inference": "heldout.linear.inference.inference",
    "assumptions": "heldout.linear.inference.assumptions",
    "MaximumLikelihood": "heldout.linear.likelihood.estimator",
    "maximum_likelihood": "heldout.linear.likelihood.maximum",
    "MarginClassifier": "heldout.linear.margin.classifier",
    "margin_loss": "heldout.linear.margin.losses",
    "SoftmaxClassifier": "heldout.linear.softmax.classifier",
    "logistic_inference": "heldout.linear.softmax.inference",
    "cross_entropy": "heldout.linear.softmax.divergence",
    "kl_divergence": "heldout.linear.softmax.divergence",
    "NearestNeighborsClassifier": "heldout.neighbors.estimators",
    "NearestNeighborsRegressor": "heldout.neighbors.estimators",
    "DecisionTreeClassifier": "heldout.trees.tree",
    "DecisionTreeRegressor": "heldout.trees.tree",
    "RandomForestClassifier": "heldout.trees.forest",
    "RandomForestRegressor": "heldout.trees.forest",
    "RandomSubspaceClassifier": "heldout.ensemble.estimators",
    "RandomSubspaceRegressor": "heldout.ensemble.estimators",
    "BaggingClassifier": "heldout.ensemble.estimators",
    "BaggingRegressor": "heldout.ensemble.estimators",
    "diversity_of": "heldout.ensemble.diversity",
    "curse_of_dimensionality": "heldout.neighbors.curse",
    "BagOfWordsClassifier": "heldout.texts.learners",
    "BagOfWordsRegressor": "heldout.texts.learners",
    "OneVsOneClassifier": "heldout.multiclass.one_vs_one",
    "OneVsRestClassifier": "heldout.multiclass.one_vs_rest",
    "compare_reductions": "heldout.multiclass.comparison",
    "MLPClassifier": "heldout.neural.estimators",
    "MLPRegressor": "heldout.neural.estimators",
    "NeuralClassifier": "heldout.neural.estimators",
    "NeuralRegressor": "heldout.neural.estimators",
    "ConvNetClassifier": "heldout.neural.convnets",
    "ConvNetRegressor": "heldout.neural.convnets",
    "TransformerClassifier": "heldout.neural.encoders",
    "TransformerRegressor": "heldout.neural.encoders",
    "RecurrentClassifier": "heldout.neural.series",
    "RecurrentRegressor": "heldout.neural.series",
    "TransformerLanguageModel": "heldout.neural.language",
    "RecurrentLanguageModel": "heldout.neural.language",
    "PersistenceRegressor": "heldout.series.persistence",
    "SequenceForecaster": "heldout.series.forecaster",
    "convolve": "heldout.neural.convolving",
    "cross_correlate": "heldout.neural.convolving",
    "first_filters": "heldout.neural.pictures",
    "saliency": "heldout.neural.pictures",
    "grad_cam": "heldout.neural.pictures",
    "augmented": "heldout.neural.pictures",
    "backprop": "heldout.neural.backprop",
    "attention_maps": "heldout.neural.attention_maps",
    "check_gradients": "heldout.neural.gradients",
    "from_torch": "heldout.neural.exchange.imported",
    "to_torch": "heldout.neural.exchange.imported",
    "permutation_importance": "heldout.importance",
    "partial_dependence": "heldout.dependence",
    "slice_scores": "heldout.slices",
    "occlusion_sensitivity": "heldout.occlusion",
    "Score": "heldout.intervals",
    "diagnose": "heldout.diagnosis.alone",
    "Search": "heldout.diagnosis.search",
    "Between": "heldout.diagnosis.spaces",
    "space_of": "heldout.diagnosis.spaces",
    "cross_validate": "heldout.diagnosis.cross_validation",
    "learning_curve": "heldout.diagnosis.curves",
    "validation_curve": "heldout.diagnosis.curves",
    "corrected_t_test": "heldout.diagnosis.resampled",
    "calibration": "heldout.certainty.calibration",
    "ConformalClassifier": "heldout.certainty.conformal_estimators",
    "ConformalRegressor": "heldout.certainty.conformal_estimators",
    "Thresholdout": "heldout.certainty.thresholdout",
    "Check": "heldout.diagnosis",
    "Evidence": "heldout.diagnosis",
    "Finding": "heldout.diagnosis",
    "Final": "heldout.final",
    "Ledger": "heldout.ledger",
    "Model": "heldout.model",
    "load": "heldout.persist",
    "save": "heldout.persist",
    "HeldoutError": "heldout.errors",
}

__all__ = [
    "BagOfWordsClassifier",
    "BagOfWordsRegressor",
    "BaggingClassifier",
    "BaggingRegressor",
    "BaselineClassifier",
    "BaselineRegressor",
    "Between",
    "Check",
    "ConformalClassifier",
    "ConformalRegressor",
    "ConvNetClassifier",
    "ConvNetRegressor",
    "DecisionTreeClassifier",
    "DecisionTreeRegressor",
    "ElasticNet",
    "Encoder",
    "Evidence",
    "Final",
    "Finding",
    "GradientDescent",
    "HeldoutError",
    "Lasso",
    "Ledger",
    "LinearRegression",
    "MLPClassifier",
    "MLPRegressor",
    "MarginClassifier",
    "MaximumLikelihood",
    "Model",
    "NearestNeighborsClassifier",
    "NearestNeighborsRegressor",
    "NeuralClassifier",
    "NeuralRegressor",
    "OneVsOneClassifier",
    "OneVsRestClassifier",
    "PersistenceRegressor",
    "PolynomialRegression",
    "Problem",
    "RandomForestClassifier",
    "RandomForestRegressor",
    "RandomSubspaceClassifier",
    "RandomSubspaceRegressor",
    "RecurrentClassifier",
    "RecurrentLanguageModel",
    "RecurrentRegressor",
    "Ridge",
    "Score",
    "SealedTest",
    "Search",
    "SequenceForecaster",
    "SoftmaxClassifier",
    "Split",
    "Study",
    "Table",
    "Thresholdout",
    "TransformerClassifier",
    "TransformerLanguageModel",
    "TransformerRegressor",
    "assumptions",
    "attention_maps",
    "augmented",
    "backprop",
    "calibration",
    "check_gradients",
    "compare_reductions",
    "convolve",
    "corrected_t_test",
    "cross_correlate",
    "cross_entropy",
    "cross_validate",
    "curse_of_dimensionality",
    "diagnose",
    "diversity_of",
    "first_filters",
    "from_torch",
    "grad_cam",
    "inference",
    "kl_divergence",
    "learning_curve",
    "load",
    "logistic_inference",
    "margin_loss",
    "maximum_likelihood",
    "occlusion_sensitivity",
    "partial_dependence",
    "permutation_importance",
    "read",
    "saliency",
    "save",
    "slice_scores",
    "space_of",
    "to_torch",
    "train_validation_test_split",
    "validation_curve",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'heldout' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
