"""Recurrent networks for series: one architecture, described by parameters, for classes and for numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from heldout.errors import InputError, suggest
from heldout.neural.convnets import batch_size
from heldout.neural.layers import (
    GRU,
    LSTM,
    RNN,
    Dense,
    Dropout,
    GlobalAveragePool,
    GlobalMaxPool,
    Layer,
    Masking,
    Parallel,
    Sequential,
)
from heldout.neural.layers.base import shape_text
from heldout.neural.layers.recurrent import Recurrent
from heldout.neural.learner import NeuralLearner
from heldout.neural.parameters import parameters
from heldout.neural.schedules import Schedule
from heldout.neural.targets import NeuralClassification, NeuralRegression

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

CELLS: dict[str, type[Recurrent]] = {"gru": GRU, "lstm": LSTM, "rnn": RNN}
POOLINGS = ("all", "last")
LEAST_EPOCHS, MOST_EPOCHS = 12, 100
ROOT_OF_ROWS = 1000.0  # epochs times the root of the number of rows


def recurrent_network(
    *,
    cell: str = "gru",
    units: int = 32,
    layers: int = 1,
    bidirectional: bool = True,
    pooling: str = "all",
    dropout: float = 0.0,
    outputs: int | None = None,
) -> Sequential:
    """Masking, recurrent layers, the mean and the largest number of their states (or the last state), a dense layer.

    >>> recurrent_network(outputs=2).names
    ('masking_1', 'gru_1', 'parallel_1', 'dense_1')
    """
    if cell not in CELLS:
        raise InputError(f"There is no cell {cell!r}.{suggest(str(cell), CELLS)}")
    if pooling not in POOLINGS:
        raise InputError(f"There is no pooling {pooling!r}.{suggest(str(pooling), POOLINGS)}")
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0.0 <= dropout < 1.0:
        raise InputError(f"dropout is {dropout!r} and must be 0 or more and below 1.")
    rate, every = float(dropout), pooling == "all"
    body = CELLS[cell](units, layers, bool(bidirectional), return_sequences=every, dropout=rate, variational=True)
    summary: list[Layer] = [Parallel(GlobalAveragePool(), GlobalMaxPool())] if every else []
    dropped: list[Layer] = [Dropout(rate)] if rate else []
    return Sequential(Masking(), body, *summary, *dropped, Dense(outputs, initialization="xavier"))


def epochs(n: int) -> int:
    """How often the rows are gone through: the fewer, the more often.

    >>> [epochs(n) for n in (40, 1_000, 100_000)]
    [100, 32, 12]
    """
    return int(np.clip(round(ROOT_OF_ROWS / math.sqrt(n)), LEAST_EPOCHS, MOST_EPOCHS))


@parameters
class _Series(NeuralLearner):
    """Rows as series, padding as NaN, and the recurrent network's parameters."""

    cell: str = "gru"
    units: int = 32
    layers: int = 1
    bidirectional: bool = True
    pooling: str = "all"
    dropout: float = 0.0
    clip_norm: float | None = 1.0
    learning_rate: str | Schedule = "one_cycle"
    learning_rate_init: float = 1e-2
    early_stopping: bool | str = False
    precision: str = "single"

    @property
    def _padded(self) -> bool:
        return True

    def _door(self, X: Any, y: Any, sample_weight: Any, *, reset: bool = True) -> tuple[Array, Any, Array]:
        X, y, weights = super()._door(X, y, sample_weight, reset=reset)
        return self._series(X, reset), y, weights

    def _rows_in(self, X: Any) -> Array:
        return self._series(super()._rows_in(X), reset=False)

    def _series(self, X: Array, reset: bool) -> Array:
        """The rows as series (n, T, C); those of one channel may come as (n, T)."""
        X = X[..., None] if X.ndim == 2 else X
        if X.ndim != 3:
            raise InputError(f"X has the shape {X.shape} and must be series (n, steps) or (n, steps, channels).")
        if not reset and X.shape[1:] != self._in_shape:
            raise InputError(f"Series are {shape_text(X.shape[1:])} and must be {shape_text(self._in_shape)}.")
        return X

    def _architecture(self) -> Sequential:
        return recurrent_network(**{name: getattr(self, name) for name in PARAMETERS})

    def _auto(self, n: int) -> dict[str, Any]:
        return {"max_iter": epochs(n), "n_iter_no_change": None, "batch_size": batch_size(n)}

    def _architecture_to_state(self) -> dict[str, Any]:
        return {
            "cell": self.cell,
            "units": int(self.units),
            "layers": int(self.layers),
            "bidirectional": bool(self.bidirectional),
            "pooling": self.pooling,
            "dropout": float(self.dropout),
        }

    @classmethod
    def _architecture_from_state(cls, state: State) -> dict[str, Any]:
        dropout = state.number("dropout", low=0.0)
        if dropout >= 1.0:
            state.fail("'dropout' must be below 1")
        return {
            "cell": state.choice("cell", CELLS),
            "units": state.integer("units", low=1, high=2**31),
            "layers": state.integer("layers", low=1, high=10_000),
            "bidirectional": state.boolean("bidirectional"),
            "pooling": state.choice("pooling", POOLINGS),
            "dropout": dropout,
        }


PARAMETERS = ("cell", "units", "layers", "bidirectional", "pooling", "dropout")


@parameters
class RecurrentClassifier(_Series, NeuralClassification):
    r"""A recurrent network for the classes of series: its states at all steps, or the last, become scores.

    .. math:: h_t = \text{cell}(x_t, h_{t-1}), \qquad z = \Big[ \tfrac1T \sum_t h_t, \max_t h_t \Big] W + b, \qquad
        p(y = k \mid x) = \text{softmax}(z)_k

    Rows are arrays (n, T) or (n, T, C). Series of several lengths are filled up with steps that are NaN throughout,
    which change nothing. Each channel is standardised, over all steps.

    Parameters
    ----------
    cell : {"gru", "lstm", "rnn"}, default "gru"
    units : int above 0, default 32
        Numbers of a state.
    layers : int above 0, default 1
    bidirectional : bool, default True
        Read the series from its end as well.
    pooling : {"all", "last"}, default "all"
        What the last layer sees: mean and maximum of all states, or the last state.
    dropout : float, 0 or more and below 1, default 0.0
        Between layers (the same numbers at all steps) and before the last layer.
    clip_norm : float above 0, or None, default 1.0
    batch_size : int above 0, or "auto", default "auto"
        "auto": about the root of the number of rows, from 16 to 128.
    learning_rate : as that of `MLPClassifier`, default "one_cycle"
    learning_rate_init : float above 0, default 1e-2
    max_iter : int above 0, or "auto", default "auto"
        Epochs. "auto": from 100 for few rows to 12 for many.
    n_iter_no_change : int above 0, or "auto", default "auto"
        "auto": training goes through its whole schedule.
    early_stopping : bool or "auto", default False
    precision : {"auto", "single", "double"}, default "single"

    The others are those of `MLPClassifier`.

    Attributes
    ----------
    network_ : Sequential, the whole network
    params_ : nested dict of arrays, by the names of the layers
    The others are those of `MLPClassifier`, without `coefs_` and `intercepts_`.

    Raises
    ------
    InputError : a parameter is out of range, rows are no series or of another shape than at fit, or a step has some of
        its numbers and lacks others.
    WorkError : the loss was not finite before an epoch was over.

    References
    ----------
    K. Cho and others, EMNLP 2014. S. Hochreiter and J. Schmidhuber, Neural Computation 9, 1997. M. Schuster and
    K. Paliwal, Bidirectional Recurrent Neural Networks, IEEE Transactions on Signal Processing 45, 1997.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 10))
    >>> y = X.max(axis=1) > 1.5
    >>> model = RecurrentClassifier(units=16, max_iter=40).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    """


@parameters
class RecurrentRegressor(_Series, NeuralRegression):
    r"""A recurrent network for numbers that belong to series: `RecurrentClassifier` without softmax at the end.

    The weights minimise the mean loss of the standardised target. All parameters but these are those of
    `RecurrentClassifier`.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber"} or Loss, default "squared_error"
        Of the standardised target.

    Attributes
    ----------
    As those of `RecurrentClassifier`, and `target_mean_`, `target_scale_`, `target_shape_` of `MLPRegressor`.

    Raises
    ------
    InputError : as `RecurrentClassifier`.
    WorkError : the loss was not finite before an epoch was over.

    References
    ----------
    K. Cho and others, EMNLP 2014.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(80, 10))
    >>> model = RecurrentRegressor(units=16, max_iter=40).fit(X, X.max(axis=1))
    >>> model.score(X, X.max(axis=1)) > 0.9
    True
    """
