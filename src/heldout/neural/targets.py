"""What learners learn of their targets: labels of classes, or numbers and their scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d

from heldout.errors import InputError, suggest
from heldout.linear.states import (
    Labels,
    class_weight_from_state,
    class_weight_to_state,
    class_weights,
    labels_from_state,
    labels_to_state,
)
from heldout.neural.learner import NeuralLearner
from heldout.neural.losses import CrossEntropy, Hinge, Logistic, Loss, loss_of
from heldout.neural.parameters import parameters
from heldout.neural.stored import loss_from_state, loss_to_json
from heldout.neural.train import Callback

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

CLASS_LOSSES = ("log_loss", "hinge")
NUMBER_LOSSES = ("squared_error", "absolute_error", "huber")


def _has_probabilities(learner: NeuralClassification) -> bool:
    return not (learner.loss == "hinge" or isinstance(learner.loss, Hinge))


@parameters
class NeuralClassification(ClassifierMixin, NeuralLearner):  # type: ignore[misc]
    """Class labels as targets: one of them a row, or several yes-or-no labels."""

    loss: str | Loss = "log_loss"
    class_weight: str | Mapping[Any, float] | None = None

    @property
    def _metric(self) -> str:
        return "label_accuracy" if self.multilabel_ else "accuracy"

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        validation: Any = None,
        callbacks: Sequence[Callback] = (),
        resume: str | Path | None = None,
        start: Any = None,
    ) -> Any:
        """Fit to `X` (n, ...) and labels `y` (n,), or (n, L) of zeros and ones, with optional row weights (n,).

        Parameters
        ----------
        X : array (n, p), or (n, ...) where the network takes such rows; bytes (uint8) are kept as they are
        y : labels (n,), or an indicator matrix (n, L)
        sample_weight : array (n,), default None
        validation : (X, y) or (X, y, sample_weight), default None
            Rows of your own that say when to stop and which weights are best. None: see `early_stopping`.
        callbacks : sequence of objects with `on_epoch_end(epoch)`, default ()
            Told of each epoch; True ends the training.
        resume : path, default None
            A checkpoint of this same training, to go on from.
        start : fitted neural learner, or (params, state), default None
            Weights to begin with: those of a learner's layers but the last, where this network has layers of the same
            names; or all weights and running statistics, from `from_torch`, say.
        """
        going_on = bool(self.warm_start) and hasattr(self, "params_")
        self._fit(X, y, sample_weight, validation, callbacks, resume, start, going_on=going_on)
        return self

    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Any:
        """One pass over these rows. `classes`, all labels there are, must be given at the first call.

        The scale of the inputs is learned from the rows of the first call.
        """
        going_on = hasattr(self, "params_")
        if not going_on:
            if classes is None:
                raise InputError("classes must be passed on the first call to partial_fit: all labels there are.")
            self._classes_to_come = np.unique(np.asarray(classes))
        elif classes is not None and not np.array_equal(np.unique(np.asarray(classes)), self.classes_):
            raise InputError(f"classes is not the same as on the last call to partial_fit: {self.classes_.tolist()}.")
        try:
            self._fit(X, y, sample_weight, None, (), None, None, going_on=going_on, one_pass=True)
        finally:
            self.__dict__.pop("_classes_to_come", None)
        return self

    def _learn_targets(self, y: Any, X: Array, weights: Array) -> Array:
        self._in_shape = X.shape[1:]
        if hasattr(self, "classes_"):  # a later part, or a warm start
            self._check_targets(y)
        else:
            check_classification_targets(y)
            self.multilabel_ = type_of_target(y) == "multilabel-indicator"
            to_come = getattr(self, "_classes_to_come", None)
            if self.multilabel_:
                self.classes_ = np.arange(y.shape[1])
            else:
                self.classes_ = np.unique(column_or_1d(y, warn=True)) if to_come is None else to_come
                if to_come is not None:
                    self._check_targets(y)
            if len(self.classes_) < 2 and not self.multilabel_:
                raise InputError(
                    f"All rows belong to one class, {self.classes_.tolist()[0]!r}: a classifier needs 2 classes or "
                    "more."
                )
        if self.multilabel_:
            if self.class_weight is not None:
                raise InputError("class_weight is for one label a row; weigh rows by sample_weight instead.")
            return weights
        codes = self._codes(y)
        factors: Array = class_weights(self.class_weight, self.classes_, codes, weights)[codes]
        return weights * factors

    def _codes(self, y: Any) -> np.ndarray[Any, np.dtype[np.intp]]:
        codes: np.ndarray[Any, np.dtype[np.intp]] = np.searchsorted(self.classes_, column_or_1d(y))
        return codes

    def _check_targets(self, y: Any) -> None:
        if self.multilabel_:
            if np.ndim(y) != 2 or np.shape(y)[1] != len(self.classes_):
                raise InputError(f"y has the shape {np.shape(y)} and must have {len(self.classes_)} labels a row.")
            return
        unknown = np.setdiff1d(np.asarray(column_or_1d(y, warn=True)), self.classes_)
        if len(unknown):
            raise InputError(
                f"y has the label {unknown.tolist()[0]!r}, which is none of the classes of the training rows: "
                f"{', '.join(map(repr, self.classes_.tolist()[:10]))}."
            )

    def _outputs_wanted(self) -> tuple[tuple[int, ...], str]:
        if self.multilabel_:
            return (len(self.classes_),), f"{len(self.classes_)} labels"
        count = len(self.classes_)
        if count > 2 or isinstance(self.loss, CrossEntropy):
            return (count,), f"{count} classes"
        return (1, 2), "2 classes"

    def _loss(self, outputs: int) -> Loss:
        loss = self.loss
        if not isinstance(loss, Loss) and loss not in CLASS_LOSSES:
            raise InputError(f"There is no loss {loss!r} for classes.{suggest(str(loss), CLASS_LOSSES)}")
        if loss == "log_loss":
            loss = Logistic() if outputs == 1 or self.multilabel_ else CrossEntropy()
        loss = loss_of(loss)
        several = self.multilabel_ and not isinstance(loss, Logistic)
        single = outputs == 1 and isinstance(loss, CrossEntropy)
        if several or single or (loss.targets == "numbers"):
            raise InputError(f"The loss {loss!r} does not go with {'several labels a row' if several else 'classes'}.")
        return loss

    def _coded(self, y: Any, loss: Loss, outputs: int, dtype: Any) -> Array:
        if self.multilabel_:
            return np.asarray(y, dtype=dtype)
        codes = self._codes(y)
        if loss.targets == "codes":
            return codes.astype(np.int32)
        if outputs == 1:
            return codes[:, None].astype(dtype)
        return np.asarray(codes[:, None] == np.arange(outputs), dtype=dtype)

    def decision_function(self, X: Any) -> Array:
        """The scores z for `X` (n, ...): (n, K), or (n,) for two classes, where above 0 means `classes_[1]`."""
        scores = self._scores(X)
        if self.multilabel_ or len(self.classes_) > 2:
            return scores
        return np.asarray(scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0])

    def predict(self, X: Any) -> Labels:
        """The class of the highest score for every row (n,), or the labels above a chance of one half (n, L)."""
        scores = self.decision_function(X)
        if self.multilabel_:
            return np.asarray(scores > 0.0, dtype=np.int64)
        codes = (scores > 0.0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)
        return np.asarray(self.classes_[codes])

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """p(y=k | x) (n, K), in the order of `classes_`; every row sums to 1. For several labels each one's chance."""
        scores = self.decision_function(X)
        if self.multilabel_:
            return np.asarray(expit(scores))
        if scores.ndim == 1:
            return np.column_stack([expit(-scores), expit(scores)])
        return np.asarray(softmax(scores, axis=1))

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Array:
        """log p(y=k | x) (n, K), in the order of `classes_`."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = _has_probabilities(self)
        tags.target_tags.multi_output = False
        return tags

    def _loss_to_state(self) -> dict[str, Any]:
        return {"loss": loss_to_json(self.loss), "class_weight": class_weight_to_state(self.class_weight)}

    @classmethod
    def _loss_from_state(cls, state: State) -> dict[str, Any]:
        return {"loss": loss_from_state(state, "loss", CLASS_LOSSES), "class_weight": class_weight_from_state(state)}

    def _targets_to_state(self) -> dict[str, Any]:
        return {"multilabel": bool(self.multilabel_), **labels_to_state(self.classes_)}

    def _read_targets(self, state: State) -> None:
        self.multilabel_ = state.boolean("multilabel")
        self.classes_ = labels_from_state(state, at_least=1 if self.multilabel_ else 2)


@parameters
class NeuralRegression(RegressorMixin, NeuralLearner):  # type: ignore[misc]
    """Numbers as targets, one or several a row."""

    loss: str | Loss = "squared_error"

    @property
    def _metric(self) -> str:
        return "squared_error"

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        validation: Any = None,
        callbacks: Sequence[Callback] = (),
        resume: str | Path | None = None,
        start: Any = None,
    ) -> Any:
        """Fit to `X` (n, ...) and numbers `y` (n,) or (n, m), with optional row weights (n,).

        Parameters
        ----------
        X : array (n, p), or (n, ...) where the network takes such rows; bytes (uint8) are kept as they are
        y : numbers (n,) or (n, m)
        sample_weight : array (n,), default None
        validation : (X, y) or (X, y, sample_weight), default None
            Rows of your own that say when to stop and which weights are best. None: see `early_stopping`.
        callbacks : sequence of objects with `on_epoch_end(epoch)`, default ()
            Told of each epoch; True ends the training.
        resume : path, default None
            A checkpoint of this same training, to go on from.
        start : fitted neural learner, or (params, state), default None
            Weights to begin with: those of a learner's layers but the last, where this network has layers of the same
            names; or all weights and running statistics, from `from_torch`, say.
        """
        going_on = bool(self.warm_start) and hasattr(self, "params_")
        self._fit(X, y, sample_weight, validation, callbacks, resume, start, going_on=going_on)
        return self

    def partial_fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """One pass over these rows. The scales of inputs and targets are learned from the rows of the first call."""
        going_on = hasattr(self, "params_")
        self._fit(X, y, sample_weight, None, (), None, None, going_on=going_on, one_pass=True)
        return self

    def _learn_targets(self, y: Any, X: Array, weights: Array) -> Array:
        self._in_shape = X.shape[1:]
        if hasattr(self, "target_shape_"):
            self._check_targets(y)
        else:
            self.target_shape_ = y.shape[1:]
        return weights

    def _check_targets(self, y: Any) -> None:
        if np.shape(y)[1:] != self.target_shape_:
            raise InputError(f"y has rows of the shape {np.shape(y)[1:]}, and those of training {self.target_shape_}.")

    def _learn_target_scale(self, y: Any, weights: Array) -> None:
        from heldout.neural.choices import moments

        columns = y.reshape(len(y), -1)
        mean, deviation = moments(columns, weights)
        self.target_mean_, self.target_scale_ = mean, deviation

    def _unit(self) -> float:
        return float(np.sqrt(np.mean(np.square(self.target_scale_))))

    def _outputs_wanted(self) -> tuple[tuple[int, ...], str]:
        count = math.prod(self.target_shape_)
        return (count,), f"{count} numbers to predict" if count > 1 else "one number to predict"

    def _loss(self, outputs: int) -> Loss:
        loss = self.loss
        if not isinstance(loss, Loss) and loss not in NUMBER_LOSSES:
            raise InputError(f"There is no loss {loss!r} for numbers.{suggest(str(loss), NUMBER_LOSSES)}")
        loss = loss_of(loss)
        if loss.targets != "numbers":
            raise InputError(f"The loss {loss!r} does not go with numbers.")
        return loss

    def _coded(self, y: Any, loss: Loss, outputs: int, dtype: Any) -> Array:
        columns = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        return np.asarray((columns - self.target_mean_) / self.target_scale_, dtype=dtype)

    def predict(self, X: Any) -> Array:
        """The predicted numbers (n,) or (n, m)."""
        check_is_fitted(self)
        found = self._scores(X) * self.target_scale_ + self.target_mean_
        return found if self.target_shape_ else found[:, 0]

    def _loss_to_state(self) -> dict[str, Any]:
        return {"loss": loss_to_json(self.loss)}

    @classmethod
    def _loss_from_state(cls, state: State) -> dict[str, Any]:
        return {"loss": loss_from_state(state, "loss", NUMBER_LOSSES)}

    def _targets_to_state(self) -> dict[str, Any]:
        shape = self.target_shape_[0] if self.target_shape_ else None
        return {"targets": shape, "target_mean": self.target_mean_, "target_scale": self.target_scale_}

    def _read_targets(self, state: State) -> None:
        self.target_shape_ = (state.integer("targets", low=1),) if state.optional("targets") else ()
        count = (math.prod(self.target_shape_),)
        self.target_mean_ = state.array("target_mean", shape=count)
        self.target_scale_ = state.array("target_scale", shape=count, low=0.0)
