"""What all neural learners share: the way from rows to a trained network, and from there to outputs and files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import jax
import numpy as np
from sklearn.base import BaseEstimator, is_regressor
from sklearn.utils.validation import check_is_fitted, validate_data

from heldout.errors import InputError, suggest
from heldout.linear.states import columns_from_state, columns_to_state, row_weights
from heldout.neural import choices, transfer
from heldout.neural.history import History
from heldout.neural.layers.base import Layer, shape_text
from heldout.neural.layers.masking import check_padding
from heldout.neural.layers.stored import as_numpy, from_json, to_json, weights_from_state
from heldout.neural.losses import Loss
from heldout.neural.optimizers import OPTIMIZERS, Optimizer
from heldout.neural.parameters import Training
from heldout.neural.program import Carried, Rows, Scaling, block_rows, memory_of, outputs_of
from heldout.neural.schedules import SCHEDULES, schedule_of
from heldout.neural.source import chosen
from heldout.neural.summary import Summary, count_parameters
from heldout.neural.train import Callback, Plan, RangeTest, as_type, fresh, range_test, train
from heldout.progress import shown_progress

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

MAX_ITER, PATIENCE = 200, 10  # epochs, where "auto" is asked for
LEAST_BUCKET = 8  # rows that are predicted are filled up to a power of two, so that few shapes are compiled


class NeuralLearner(Training, BaseEstimator):  # type: ignore[misc]
    """What classifiers and regressors share. Subclasses say what the targets are."""

    network_: Layer
    params_: Any
    state_: Any
    n_iter_: int

    # What subclasses give

    @property
    def _metric(self) -> str:
        """What is told of each epoch beside the loss."""
        raise NotImplementedError

    def _architecture(self) -> Layer:
        """The network as the parameters describe it, its last layer perhaps without its units."""
        raise NotImplementedError

    @property
    def _padded(self) -> bool:
        """Whether rows may be sequences with padding, as NaN."""
        return False

    def _outputs_wanted(self) -> tuple[tuple[int, ...], str]:
        """How many outputs the network may have, the usual number first, and what they are for, in words."""
        raise NotImplementedError

    def _loss(self, outputs: int) -> Loss:
        """The loss for a network with so many outputs."""
        raise NotImplementedError

    def _learn_targets(self, y: Any, X: Array, weights: Array) -> Array:
        """What fit learns of the targets; returns the row weights with those of the classes."""
        raise NotImplementedError

    def _coded(self, y: Any, loss: Loss, outputs: int, dtype: Any) -> Array:
        """The targets as the loss takes them."""
        raise NotImplementedError

    def _architecture_to_state(self) -> dict[str, Any]:
        """The parameters that describe the network, as a file stores them; so with the loss and what fit learned."""
        raise NotImplementedError

    def _loss_to_state(self) -> dict[str, Any]:
        raise NotImplementedError

    def _targets_to_state(self) -> dict[str, Any]:
        raise NotImplementedError

    @classmethod
    def _architecture_from_state(cls, state: State) -> dict[str, Any]:
        """Those parameters again; so with the loss."""
        raise NotImplementedError

    @classmethod
    def _loss_from_state(cls, state: State) -> dict[str, Any]:
        raise NotImplementedError

    def _read_targets(self, state: State) -> None:
        """Restore what fit learned of the targets."""
        raise NotImplementedError

    # Fit

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: Any,
        callbacks: Sequence[Callback],
        resume: str | Path | None,
        start: Any,
        *,
        going_on: bool,
        one_pass: bool = False,
    ) -> None:
        X, y, weights = self._door(X, y, sample_weight, reset=not going_on)
        if going_on:
            self._check_same_network(X.shape[1:])
        else:
            self._forget()
        weights = self._learn_targets(y, X, weights)
        keep = weights > 0.0
        if not keep.any():
            raise InputError("No row has a weight above zero: give at least one, by sample_weight and class_weight.")
        if not keep.all():  # rows without weight are as if absent
            X, y, weights = X[keep], y[keep], weights[keep]
        judged = None if validation is None else self._validation(validation)
        device = choices.device_of(self.device)
        if not going_on:
            self._learn_network(X, device)
        if judged is None and not one_pass:
            X, y, weights, judged = self._hold_out(X, y, weights)
        if not going_on:
            self._learn_scale(X, weights)
            self._learn_target_scale(y, weights)
        dtype = choices.PRECISIONS[self.precision_]
        outputs = self.network_.out_shape(X.shape[1:])[0]
        loss = self._loss(outputs)
        plan = self._plan(loss, len(X), one_pass)
        with choices.numbers(self.precision_, device), shown_progress(not self.verbose) as step:
            trained = train(
                self.network_,
                self._start(start, X.shape[1:], plan.optimizer, dtype, going_on),
                self._rows(X, y, weights, loss, outputs, dtype),
                plan,
                scaling=self._scaling(dtype),
                validation=None if judged is None else self._rows(*judged, loss, outputs, dtype),
                device=device,
                callbacks=callbacks,
                step=step,
                checkpoint=self.checkpoint,
                resume=resume,
            )
            self.params_, self.state_ = as_numpy((trained.params, trained.state))
            self._last = as_numpy(trained.last)
        self._tell(trained.history, one_pass)

    def _learn_network(self, X: Array, device: Any) -> None:
        """The network for these rows, and its precision."""
        wanted, what = self._outputs_wanted()
        self.network_ = choices.completed(self._architecture(), wanted[0])
        choices.check_outputs(self.network_, X.shape[1:], wanted, what)
        self.precision_ = self._precision(len(X), count_parameters(self.network_, X.shape[1:]), X.dtype, device)

    def _check_same_network(self, in_shape: tuple[int, ...]) -> None:
        """InputError where training cannot go on with the weights that there are."""
        if in_shape != tuple(self._in_shape):
            before = shape_text(tuple(self._in_shape))
            raise InputError(f"Training goes on with rows of the shape {before}, not {shape_text(in_shape)}.")
        outputs = self.network_.out_shape(in_shape)[0]
        if choices.completed(self._architecture(), outputs) != self.network_:
            raise InputError(
                "Training goes on with the network that was fitted, and the parameters now describe another: set "
                "warm_start=False, or fit a new learner."
            )

    def _tell(self, history: History, one_pass: bool) -> None:
        self.history_ = history
        self.n_iter_ = self.n_iter_ + len(history) if one_pass and hasattr(self, "n_iter_") else max(len(history), 1)
        best = max(history.best, 1) - 1
        judged = history.validation_loss if history.judged else history.train_loss
        self.loss_ = float(history.train_loss[-1]) if len(history) else math.nan
        self.best_loss_ = float(judged[best]) if len(history) else math.nan

    def _forget(self) -> None:
        for name in [name for name in vars(self) if name.endswith("_") or name == "_last"]:
            if name not in ("n_features_in_", "feature_names_in_"):
                delattr(self, name)

    def _door(self, X: Any, y: Any, sample_weight: Any, *, reset: bool = True) -> tuple[Array, Any, Array]:
        """Rows, targets and weights, checked."""
        X, y = validate_data(
            self,
            X,
            y,
            allow_nd=True,
            dtype=[np.float64, np.float32, np.uint8],
            order="C",
            multi_output=True,
            y_numeric=is_regressor(self),
            ensure_all_finite="allow-nan" if self._padded else True,
            reset=reset,
        )
        if self._padded:
            check_padding(X)
        weights = row_weights(sample_weight, X)
        return X, y, np.ones(len(X)) if weights is None else weights

    def _rows_in(self, X: Any) -> Array:
        checked = validate_data(
            self,
            X,
            allow_nd=True,
            dtype=[np.float64, np.float32, np.uint8],
            order="C",
            ensure_all_finite="allow-nan" if self._padded else True,
            reset=False,
        )
        if self._padded:
            check_padding(checked)
        return np.asarray(checked)

    def _validation(self, validation: Any) -> tuple[Array, Any, Array]:
        """The user's own validation rows: (X, y) or (X, y, sample_weight)."""
        if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
            raise InputError("validation must be (X, y) or (X, y, sample_weight): rows that training does not see.")
        given = validation[2] if len(validation) == 3 else None
        X, y, weights = self._door(validation[0], validation[1], given, reset=False)
        self._check_targets(y)
        return X, y, weights

    def _check_targets(self, y: Any) -> None:
        """InputError where validation targets do not fit those of training."""

    def _hold_out(self, X: Array, y: Any, weights: Array) -> tuple[Array, Any, Array, Any]:
        """Rows to learn from, and those that say when to stop, where some are to be held out."""
        early, n = self.early_stopping, len(X)
        if early not in (True, False, "auto"):
            raise InputError(f"early_stopping is {early!r} and must be True, False or 'auto'.")
        if early is False or (early == "auto" and n < choices.HOLD_OUT):
            return X, y, weights, None
        share = self.validation_fraction
        if share == "auto":
            share = choices.SHARE_OF_FEW if n < choices.FEW else choices.SHARE_OF_MANY
        if isinstance(share, str) or not 0.0 < share < 1.0:
            raise InputError(f"validation_fraction is {share!r} and must be between 0 and 1, or 'auto'.")
        by_class = self._metric == "accuracy"
        codes = np.unique(y, return_inverse=True)[1] if by_class else y
        found = choices.held_out(X, codes, weights, share, int(self.seed), by_class)
        if found is None:
            if early is True:
                raise InputError(f"{n} rows are too few to hold any out: set early_stopping=False.")
            return X, y, weights, None
        learn, judge = found[0] > 0.0, found[1] > 0.0
        return chosen(X, learn), y[learn], found[0][learn], (chosen(X, judge), y[judge], found[1][judge])

    def _learn_scale(self, X: Array, weights: Array) -> None:
        """How inputs are read: bytes as shares of 255, other numbers standardised."""
        if self.standardise not in (True, False, "auto"):
            raise InputError(f"standardise is {self.standardise!r} and must be True, False or 'auto'.")
        self.input_mean_, self.input_scale_ = np.zeros(()), np.ones(())
        if self.standardise == "auto" and X.dtype == np.uint8:
            self.input_scale_ = np.array(255.0)
        elif self.standardise:
            self.input_mean_, self.input_scale_ = self._moments(X, weights)

    def _moments(self, X: Array, weights: Array) -> tuple[Array, Array]:
        """The mean and standard deviation of the inputs, by which they are standardised."""
        return choices.series_moments(X, weights) if self._padded else choices.moments(X, weights)

    def _learn_target_scale(self, y: Any, weights: Array) -> None:
        """Nothing, for classes."""

    def _scaling(self, dtype: str) -> Scaling | None:
        if not self.input_mean_.any() and np.all(self.input_scale_ == 1.0):
            return None
        return Scaling(self.input_mean_.astype(dtype), (1.0 / self.input_scale_).astype(dtype))

    def _rows(self, X: Array, y: Any, weights: Array, loss: Loss, outputs: int, dtype: str) -> Rows:
        return Rows(X, self._coded(y, loss, outputs, dtype), (weights / weights.mean()).astype(dtype))

    def _start(
        self, start: Any, in_shape: tuple[int, ...], optimizer: Optimizer, dtype: str, going_on: bool
    ) -> Carried:
        if going_on and start is None:
            kept = getattr(self, "_last", (self.params_, self.state_, ()))  # a file holds no memory
            last = as_type(Carried(*kept), dtype)
            memory = memory_of(optimizer, last.params)
            same = str(jax.tree.structure(memory)) == str(jax.tree.structure(last.memory))
            return last if same else last._replace(memory=memory)  # another solver remembers nothing yet
        begin = fresh(self.network_, in_shape, optimizer, int(self.seed))
        if start is None:
            return begin
        params, state = transfer.begin(self.network_, (begin.params, begin.state), start)
        given = as_type(Carried(params, state, ()), dtype)
        return Carried(given.params, given.state, memory_of(optimizer, given.params))

    def _precision(self, n: int, parameters: int, inputs: Any, device: Any) -> str:
        if self.precision == "auto":
            return choices.precision(n, parameters, inputs, device)
        if self.precision not in choices.PRECISIONS:
            known = ["auto", *choices.PRECISIONS]
            raise InputError(f"There is no precision {self.precision!r}.{suggest(str(self.precision), known)}")
        return str(self.precision)

    def _plan(self, loss: Loss, n: int, one_pass: bool) -> Plan:
        whole = self._auto(n)
        for name, auto in whole.items():
            value = getattr(self, name)
            if isinstance(value, str):
                fits = value == "auto"
            else:
                fits = not isinstance(value, bool) and value == int(value) and value >= 1
            if not fits:
                raise InputError(f"{name} is {value!r} and must be a whole number above 0, or 'auto'.")
            whole[name] = auto if isinstance(value, str) else int(value)
        for name in ("alpha", "l1", "tol"):
            value = getattr(self, name)
            if not _is_number(value) or not 0.0 <= value < math.inf:
                raise InputError(f"{name} is {value!r} and must be a finite number, 0 or more.")
        if not _is_number(self.learning_rate_init) or not 0.0 < self.learning_rate_init < math.inf:
            raise InputError(f"learning_rate_init is {self.learning_rate_init!r} and must be a finite number above 0.")
        if self.chunk_rows is not None and (not isinstance(self.chunk_rows, int) or self.chunk_rows < 1):
            raise InputError(f"chunk_rows is {self.chunk_rows!r} and must be a whole number above 0, or None.")
        size = min(whole["batch_size"], n)
        return Plan(
            loss=loss,
            metric=self._metric,
            optimizer=self._optimizer(),
            schedule=schedule_of(self.learning_rate),
            learning_rate=float(self.learning_rate_init),
            batch_size=size,
            max_epochs=1 if one_pass else whole["max_iter"],
            passes=choices.passes(n, size) if self.max_iter == "auto" and not one_pass else 1,
            patience=whole["n_iter_no_change"],
            tol=float(self.tol),
            l1=float(self.l1),
            l2=float(self.alpha),
            seed=int(self.seed),
            chunk_rows=self.chunk_rows,
            metric_unit=self._unit(),
        )

    def _auto(self, n: int) -> dict[str, Any]:
        """What "auto" means for n rows."""
        return {"max_iter": MAX_ITER, "n_iter_no_change": PATIENCE, "batch_size": choices.batch_size(n)}

    def _unit(self) -> float:
        return 1.0

    def _optimizer(self) -> Optimizer:
        numbers = ("momentum", "beta_1", "beta_2", "epsilon", "weight_decay")
        values = {name: float(getattr(self, name)) for name in numbers}
        return Optimizer(self.solver, clip_norm=None if self.clip_norm is None else float(self.clip_norm), **values)

    def learning_rate_range_test(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        low: float = 1e-6,
        high: float = 1.0,
        steps: int = 200,
    ) -> RangeTest:
        """The loss while the learning rate rises from `low` to `high`: which rate to take. Nothing is fitted.

        Parameters
        ----------
        X, y, sample_weight : as for `fit`
        low, high : float above 0, default 1e-6 and 1.0
        steps : int from 10 up, default 200

        Returns
        -------
        RangeTest : prints, and plots the loss against the rate

        References
        ----------
        L. Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, section 3.3.
        """
        from sklearn.base import clone

        own = clone(self)
        X, y, weights = own._door(X, y, sample_weight)
        weights = own._learn_targets(y, X, weights)
        device = choices.device_of(own.device)
        own._learn_network(X, device)
        outputs = own.network_.out_shape(X.shape[1:])[0]
        own._learn_scale(X, weights)
        own._learn_target_scale(y, weights)
        dtype, loss = choices.PRECISIONS[own.precision_], own._loss(outputs)
        plan = own._plan(loss, len(X), one_pass=False)
        with choices.numbers(own.precision_, device):
            begin = own._start(None, X.shape[1:], plan.optimizer, dtype, going_on=False)
            rows = own._rows(X, y, weights, loss, outputs, dtype)
            own_scaling = own._scaling(dtype)
            return range_test(
                own.network_, begin, rows, plan, scaling=own_scaling, device=device, low=low, high=high, steps=steps
            )

    # Predict

    def _scores(self, X: Any) -> Array:
        """The network's outputs (n, m) as float64."""
        check_is_fitted(self)
        X = self._rows_in(X)
        dtype, device = choices.PRECISIONS[self.precision_], choices.device_of(self.device)
        size = block_rows(X.shape[1:], len(X))
        bucket = max(LEAST_BUCKET, 2 ** math.ceil(math.log2(size)))
        scaling, found = self._scaling(dtype), []
        with choices.numbers(self.precision_, device):
            params, state, scaling = jax.device_put((self.params_, self.state_, scaling), device)
            for first in range(0, len(X), bucket):
                part = X[first : first + bucket]
                filled = np.zeros((bucket, *X.shape[1:]), part.dtype if part.dtype == np.uint8 else dtype)
                filled[: len(part)] = part
                outputs = outputs_of(self.network_, dtype, params, state, filled, scaling)
                found.append(np.asarray(outputs, dtype=np.float64)[: len(part)])
        return np.concatenate(found)

    def summary(self) -> Summary:
        """The fitted network as a table: shapes, parameters, memory."""
        check_is_fitted(self)
        return self.network_.summary(self.in_shape_)

    @property
    def in_shape_(self) -> tuple[int, ...]:
        """The shape of a row."""
        check_is_fitted(self, "network_")
        shape: tuple[int, ...] = tuple(self._in_shape)
        return shape

    @property
    def loss_curve_(self) -> list[float]:
        """The training loss of each epoch, as scikit-learn calls it."""
        check_is_fitted(self)
        losses: list[float] = self.history_.train_loss.tolist()
        return losses

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.input_tags.allow_nan = self._padded
        return tags

    # Files

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted learner."""
        return {
            **self._architecture_to_state(),
            **self._loss_to_state(),
            **training_to_state(self),
            **self._targets_to_state(),
            **self._fitted_state(),
        }

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The fitted learner that `to_state` described; ModelFileError where the values do not fit together."""
        given = cls._architecture_from_state(state) | cls._loss_from_state(state) | training_from_state(state)
        learner = cls(**given)
        learner._read_targets(state)
        learner._read_fitted(state, learner._outputs_wanted()[0])
        return learner

    def _fitted_state(self) -> dict[str, Any]:
        return {
            "network_fitted": to_json(self.network_),
            "in_shape": list(self._in_shape),
            "precision_taken": self.precision_,
            "params": self.params_,
            "state": self.state_,
            "input_mean": self.input_mean_,
            "input_scale": self.input_scale_,
            "history": self.history_.to_state(),
            "n_iter": self.n_iter_,
            "losses": [None if math.isnan(value) else value for value in (self.loss_, self.best_loss_)],
            **columns_to_state(self),
        }

    def _columns_of(self, in_shape: tuple[int, ...]) -> int:
        """What scikit-learn counts as the columns of rows of this shape."""
        return in_shape[0]

    def _read_fitted(self, state: State, outputs: tuple[int, ...]) -> None:
        columns = columns_from_state(self, state)
        self.network_ = _network_from(state, "network_fitted")
        shape = state.json("in_shape")
        if not isinstance(shape, list) or not all(type(n) is int and 0 < n < 2**40 for n in shape) or not shape:
            state.fail("'in_shape' must be a list of whole numbers above 0")
        if self._columns_of(tuple(shape)) != columns:
            state.fail(f"rows of the shape {tuple(shape)} do not have {columns} columns")
        self._in_shape = tuple(shape)
        self.precision_ = state.choice("precision_taken", choices.PRECISIONS)
        dtype = choices.PRECISIONS[self.precision_]
        choices.check_outputs(self.network_, self._in_shape, outputs, f"{outputs[0]} wanted")
        with choices.numbers(self.precision_, choices.device_of("cpu")):
            self.params_, self.state_ = weights_from_state(state, self.network_, self._in_shape, dtype)
            row = np.zeros((1, *self._in_shape), dtype)
            jax.eval_shape(self.network_.apply, self.params_, self.state_, row)
        mean, scale = (state.array(name) for name in ("input_mean", "input_scale"))
        if mean.shape != scale.shape or mean.shape not in ((), self._in_shape) or not (scale > 0.0).all():
            state.fail("the scale of the inputs does not fit their shape, or is not above 0")
        self.input_mean_, self.input_scale_ = mean, scale
        self.history_ = History.from_state(state.part("history"))
        self.n_iter_ = state.integer("n_iter", low=1)
        losses = state.json("losses")
        if not isinstance(losses, list) or len(losses) != 2 or not all(v is None or _is_number(v) for v in losses):
            state.fail("'losses' must be two numbers")
        self.loss_, self.best_loss_ = (math.nan if value is None else float(value) for value in losses)


def _network_from(state: State, key: str) -> Layer:
    try:
        return from_json(state.json(key))
    except InputError as error:
        state.fail(f"{key!r} is no network: {str(error).rstrip('.')}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


TRAINING_NUMBERS = (
    "alpha",
    "l1",
    "weight_decay",
    "momentum",
    "beta_1",
    "beta_2",
    "epsilon",
    "tol",
    "learning_rate_init",
)
WHOLE_OR_AUTO = ("batch_size", "max_iter", "n_iter_no_change")


def training_to_state(learner: NeuralLearner) -> dict[str, Any]:
    """The parameters of training, as a file stores them."""
    from heldout.neural.stored import schedule_to_json

    return {
        "solver": learner.solver,
        **{name: float(getattr(learner, name)) for name in TRAINING_NUMBERS},
        **{name: _plain(getattr(learner, name)) for name in WHOLE_OR_AUTO},
        "clip_norm": None if learner.clip_norm is None else float(learner.clip_norm),
        "learning_rate": schedule_to_json(learner.learning_rate),
        "early_stopping": learner.early_stopping,
        "validation_fraction": _plain(learner.validation_fraction),
        "standardise": learner.standardise,
        "precision": learner.precision,
        "device": learner.device,
        "chunk_rows": learner.chunk_rows,
        "checkpoint": None if learner.checkpoint is None else str(learner.checkpoint),
        "warm_start": bool(learner.warm_start),
        "verbose": bool(learner.verbose),
        "seed": int(learner.seed),
    }


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def training_from_state(state: State) -> dict[str, Any]:
    """Restore what `training_to_state` stored."""
    from heldout.neural.stored import schedule_from_state

    found: dict[str, Any] = {"solver": state.choice("solver", OPTIMIZERS)}
    for name in TRAINING_NUMBERS:
        found[name] = state.number(name, low=0.0)
    for name in WHOLE_OR_AUTO:
        value = state.json(name)
        if value != "auto" and (type(value) is not int or value < 1):
            state.fail(f"{name!r} must be a whole number above 0, or 'auto'")
        found[name] = value
    found["clip_norm"] = state.number("clip_norm", low=0.0) if state.optional("clip_norm") else None
    found["learning_rate"] = schedule_from_state(state, "learning_rate", SCHEDULES)
    for name, allowed in (("early_stopping", (True, False, "auto")), ("standardise", (True, False, "auto"))):
        value = state.json(name)
        if not isinstance(value, bool | str) or value not in allowed:
            state.fail(f"{name!r} must be true, false or 'auto'")
        found[name] = value
    share = state.json("validation_fraction")
    if share != "auto" and (not _is_number(share) or not 0.0 < share < 1.0):
        state.fail("'validation_fraction' must be between 0 and 1, or 'auto'")
    found["validation_fraction"] = share
    found["precision"] = state.choice("precision", ["auto", *choices.PRECISIONS])
    found["device"] = (
        state.choice("device", ["cpu", "gpu", "tpu", "cuda", "rocm"]) if state.optional("device") else None
    )
    found["chunk_rows"] = state.integer("chunk_rows", low=1) if state.optional("chunk_rows") else None
    found["checkpoint"] = state.text("checkpoint") if state.optional("checkpoint") else None
    found["warm_start"], found["verbose"] = state.boolean("warm_start"), state.boolean("verbose")
    found["seed"] = state.integer("seed", low=0, high=2**32 - 1)
    return found
