"""Recurrent networks for series and texts: one architecture, described by parameters, for classes and for numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sklearn.base import is_classifier

from heldout.errors import InputError, suggest
from heldout.neural.layers import (
    GRU,
    LSTM,
    RNN,
    BatchNorm,
    Conv1D,
    Dense,
    Dropout,
    GlobalAveragePool,
    GlobalMaxPool,
    Layer,
    Masking,
    Parallel,
    ReLU,
    Sequential,
)
from heldout.neural.layers.recurrent import Recurrent
from heldout.neural.parameters import parameters
from heldout.neural.sequences import SequenceLearner, SequenceRegression
from heldout.neural.targets import NeuralClassification

if TYPE_CHECKING:
    from heldout.persist import State

CELLS: dict[str, type[Recurrent]] = {"gru": GRU, "lstm": LSTM, "rnn": RNN}
POOLINGS = ("all", "last")
WIDTHS = (7, 5)  # of the convolutions before the recurrent layers (Wang, Yan and Oates 2017 have 8, 5 and 3)
FILTERS, SERIES_DROPOUT = 32, 0.3  # for the classes of series


def recurrent_network(
    *,
    cell: str = "gru",
    units: int = 32,
    layers: int = 1,
    bidirectional: bool = True,
    pooling: str = "all",
    dropout: float = 0.0,
    filters: int = 0,
    outputs: int | None = None,
    beginning: Sequence[Layer] = (Masking(),),
) -> Sequential:
    """What reads the rows, recurrent layers, mean and maximum of their states (or the last one), a dense layer.

    With `filters` two convolutions along the steps, of widths 7 and 5 with so many filters and twice as many, come
    before the recurrent layers, each with batch norm and ReLU behind it.

    >>> recurrent_network(outputs=2).names
    ('masking_1', 'gru_1', 'parallel_1', 'dense_1')
    """
    if cell not in CELLS:
        raise InputError(f"There is no cell {cell!r}.{suggest(str(cell), CELLS)}")
    if pooling not in POOLINGS:
        raise InputError(f"There is no pooling {pooling!r}.{suggest(str(pooling), POOLINGS)}")
    rate, every = dropout, pooling == "all"
    body = CELLS[cell](units, layers, bool(bidirectional), return_sequences=every, dropout=rate, variational=True)
    summary: list[Layer] = [Parallel(GlobalAveragePool(), GlobalMaxPool())] if every else []
    dropped: list[Layer] = [Dropout(rate)] if rate else []
    return Sequential(
        *beginning,
        *(_front(filters) if filters else []),
        body,
        *summary,
        *dropped,
        Dense(outputs, initialization="xavier"),
    )


def _front(filters: int) -> list[Layer]:
    widths = zip((filters, 2 * filters), WIDTHS, strict=True)
    return [
        layer
        for count, width in widths
        for layer in (Conv1D(count, width, padding="same", use_bias=False), BatchNorm(), ReLU())
    ]


@parameters
class _Recurrent(SequenceLearner):
    """The recurrent network's parameters."""

    cell: str = "gru"
    units: int = 32
    layers: int = 1
    bidirectional: bool = True
    pooling: str = "all"
    filters: int | str = "auto"
    dropout: float | str = "auto"
    embedding: int = 64
    learning_rate_init: float = 1e-2

    def _width(self) -> int:
        return int(self.embedding)

    @property
    def filters_(self) -> int:
        """Filters of the first convolution before the recurrent layers, 0 where there is none."""
        if self.filters == "auto":
            return FILTERS if self.tokens_ is None and is_classifier(self) else 0
        if not isinstance(self.filters, int) or isinstance(self.filters, bool) or self.filters < 0:
            raise InputError(f"filters is {self.filters!r} and must be a whole number, 0 or more, or 'auto'.")
        return self.filters

    @property
    def dropout_(self) -> float:
        """The share of numbers that training sets to 0."""
        if self.dropout == "auto" and self.filters_ and self.tokens_ is None:
            return SERIES_DROPOUT
        return super().dropout_

    def _architecture(self) -> Sequential:
        given = {name: getattr(self, name) for name in PARAMETERS}
        beginning = self._beginning()
        return recurrent_network(beginning=beginning, filters=self.filters_, dropout=self.dropout_, **given)

    def _architecture_to_state(self) -> dict[str, Any]:
        return {
            **super()._architecture_to_state(),
            "embedding": int(self.embedding),
            "cell": self.cell,
            "units": int(self.units),
            "layers": int(self.layers),
            "bidirectional": bool(self.bidirectional),
            "pooling": self.pooling,
            "filters": self.filters if isinstance(self.filters, str) else int(self.filters),
        }

    @classmethod
    def _architecture_from_state(cls, state: State) -> dict[str, Any]:
        filters = state.json("filters")
        if filters != "auto" and (type(filters) is not int or filters < 0):
            state.fail("'filters' must be a whole number, 0 or more, or 'auto'")
        return {
            **super()._architecture_from_state(state),
            "filters": filters,
            "embedding": state.integer("embedding", low=1, high=2**31),
            "cell": state.choice("cell", CELLS),
            "units": state.integer("units", low=1, high=2**31),
            "layers": state.integer("layers", low=1, high=10_000),
            "bidirectional": state.boolean("bidirectional"),
            "pooling": state.choice("pooling", POOLINGS),
        }


PARAMETERS = ("cell", "units", "layers", "bidirectional", "pooling")


@parameters
class RecurrentClassifier(_Recurrent, NeuralClassification):
    r"""A recurrent network for the classes of texts or series: its states at all steps, or the last, become scores.

    .. math:: h_t = \text{cell}(x_t, h_{t-1}), \qquad z = \Big[ \tfrac1T \sum_t h_t, \max_t h_t \Big] W + b, \qquad
        p(y = k \mid x) = \text{softmax}(z)_k

    Rows are texts (a list, an array, a column of a frame), or series: arrays (n, T) or (n, T, C). A text is read token
    by token, each being a row of weights x_t. Series of several lengths are filled up with steps that are NaN
    throughout, which change nothing; each channel is standardised, over all steps.

    Parameters
    ----------
    tokens : {"words", "characters", "bytes", "bpe"}, default "words"
        What a text is read as: words in small letters and marks, characters, the bytes of UTF-8, or frequent runs of
        those (byte-pair encoding of small letters; extra `bpe`). They are learned from the training texts; what is not
        among them is read as one token that stands for all unknown ones, but byte-pair encoding knows all.
    vocabulary : int above 0, default 20,000
        At most so many tokens, the most frequent; of byte-pair encoding at least 256.
    least : int above 0, default 2
        How often a token must be there, or a pair that becomes one.
    max_tokens : int above 0, or "auto", default "auto"
        Of a text only the first so many tokens are read; `truncated_` tells how many texts that cuts. "auto": as many
        as 99 of 100 training texts have at most, up to 256.
    embedding : int above 0, default 64
        Numbers that stand for a token.
    cell : {"gru", "lstm", "rnn"}, default "gru"
    units : int above 0, default 32
        Numbers of a state.
    layers : int above 0, default 1
    bidirectional : bool, default True
        Read the series from its end as well.
    pooling : {"all", "last"}, default "all"
        What the last layer sees: mean and maximum of all states, or the last state.
    filters : int, 0 or more, or "auto", default "auto"
        Of the first of two convolutions along the steps (widths 7 and 5, the second with twice as many filters), each
        with batch norm and ReLU, before the recurrent layers; 0 for none. "auto": 32 for the classes of series, which
        few rows suffice to learn so, otherwise 0.
    dropout : float, 0 or more and below 1, or "auto", default "auto"
        Of what stands for tokens, between layers (the same numbers at all steps) and before the last layer. "auto": 0.5
        for texts, 0.3 behind convolutions, otherwise 0.
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
    tokens_ : what texts are read as, with `encode` and `decode`; None for series
    truncated_ : int, training texts of which the end is not read
    dropout_ : float
    The others are those of `MLPClassifier`, without `coefs_` and `intercepts_`.

    Raises
    ------
    InputError : a parameter is out of range, rows are neither texts nor series, or of another shape than at fit, or a
        step has some of its numbers and lacks others.
    WorkError : the loss was not finite before an epoch was over.

    References
    ----------
    K. Cho and others, EMNLP 2014. S. Hochreiter and J. Schmidhuber, Neural Computation 9, 1997. M. Schuster and
    K. Paliwal, Bidirectional Recurrent Neural Networks, IEEE Transactions on Signal Processing 45, 1997. Z. Wang,
    W. Yan and T. Oates, Time Series Classification from Scratch with Deep Neural Networks, IJCNN 2017.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(60, 10))
    >>> y = X.max(axis=1) > 1.5
    >>> model = RecurrentClassifier(units=16, max_iter=40).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    """


@parameters
class RecurrentRegressor(_Recurrent, SequenceRegression):
    r"""A recurrent network for numbers of texts or series: `RecurrentClassifier` without softmax at the end.

    The weights minimise the mean loss of the standardised target. All parameters but these are those of
    `RecurrentClassifier`.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber"} or Loss, default "squared_error"
        Of the standardised target.
    difference : bool, default False
        Learn the difference to a series' last number (of its first channel), and add that to what is predicted: a
        forecast that begins at persistence.

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
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(80, 10))
    >>> model = RecurrentRegressor(units=16, max_iter=40).fit(X, X.max(axis=1))
    >>> model.score(X, X.max(axis=1)) > 0.9
    True
    """
