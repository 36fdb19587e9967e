"""Transformers for texts and series: one architecture, described by parameters, for classes and for numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from heldout.errors import InputError, suggest
from heldout.neural.layers import (
    Dense,
    Dropout,
    GlobalAveragePool,
    GlobalMaxPool,
    Layer,
    LayerNorm,
    Masking,
    Parallel,
    Positions,
    Sequential,
)
from heldout.neural.parameters import parameters
from heldout.neural.sequences import SequenceLearner, SequenceRegression, check_number
from heldout.neural.targets import NeuralClassification
from heldout.neural.transformers import encoder_block

if TYPE_CHECKING:
    from heldout.persist import State

POSITIONS = ("alibi", "rotary", "sinusoidal", "learned", "none")


def transformer_network(
    width: int = 64,
    *,
    heads: int = 4,
    layers: int = 1,
    hidden: int = 128,
    positions: str = "alibi",
    dropout: float = 0.0,
    outputs: int | None = None,
    beginning: Sequence[Layer] = (Masking(), Dense(64)),
) -> Sequential:
    """What reads the rows, blocks of a transformer, the mean and the largest number over all steps, a dense layer.

    >>> transformer_network(outputs=2).names
    ('masking_1', 'dense_1', 'sequential_1', 'layernorm_1', 'parallel_1', 'dense_2')
    """
    if positions not in POSITIONS:
        raise InputError(f"There are no positions {positions!r}.{suggest(str(positions), POSITIONS)}")
    inside = positions if positions in ("alibi", "rotary") else None
    added = [Positions(learned=positions == "learned")] if positions in ("sinusoidal", "learned") else []
    blocks = [encoder_block(width, heads, hidden=hidden, positions=inside, dropout=dropout) for _ in range(layers)]
    dropped = [Dropout(dropout)] if dropout else []
    summary = [LayerNorm(), Parallel(GlobalAveragePool(), GlobalMaxPool()), *dropped]
    return Sequential(*beginning, *added, *blocks, *summary, Dense(outputs, initialization="xavier"))


@parameters
class _Transformer(SequenceLearner):
    """The transformer's parameters."""

    width: int = 64
    heads: int = 4
    layers: int = 1
    hidden: int = 128
    positions: str = "alibi"
    dropout: float | str = "auto"
    learning_rate_init: float = 2e-3

    def _width(self) -> int:
        return int(self.width)

    def _architecture(self) -> Sequential:
        for name in WHOLE:
            check_number(name, getattr(self, name))
        given = {name: int(getattr(self, name)) for name in WHOLE}
        made = self._beginning()
        made += [Dense(given["width"], initialization="xavier")] if self.tokens_ is None else []
        return transformer_network(beginning=made, positions=self.positions, dropout=self.dropout_, **given)

    def _architecture_to_state(self) -> dict[str, Any]:
        own = {name: int(getattr(self, name)) for name in WHOLE}
        return {**super()._architecture_to_state(), **own, "positions": self.positions}

    @classmethod
    def _architecture_from_state(cls, state: State) -> dict[str, Any]:
        own: dict[str, Any] = {name: state.integer(name, low=1, high=10_000) for name in WHOLE}
        return {**super()._architecture_from_state(state), **own, "positions": state.choice("positions", POSITIONS)}


WHOLE = ("width", "heads", "layers", "hidden")


@parameters
class TransformerClassifier(_Transformer, NeuralClassification):
    r"""A transformer for the classes of texts or series: each step looks at all others, and the steps become scores.

    .. math:: H = \text{blocks}(E), \qquad z = \Big[ \tfrac1T \sum_t h_t, \max_t h_t \Big] W + b, \qquad
        p(y = k \mid x) = \text{softmax}(z)_k

    E holds a row of weights for each token of a text, or a linear function of each step of a series. A block is
    attention with several heads and a perceptron, each behind a norm and around a shortcut (`MultiHeadAttention`).

    Parameters
    ----------
    width : int above 0, default 64
        Numbers of a step.
    heads : int above 0, default 4
        Which divide the width.
    layers : int above 0, default 1
        Blocks.
    hidden : int above 0, default 128
        Units of each block's perceptron.
    positions : {"alibi", "rotary", "sinusoidal", "learned", "none"}, default "alibi"
        How attention knows where steps stand: see `MultiHeadAttention` and `Positions`.
    learning_rate_init : float above 0, default 2e-3

    The others are those of `RecurrentClassifier`.

    Attributes
    ----------
    As those of `RecurrentClassifier`.

    Raises
    ------
    InputError : as `RecurrentClassifier`.
    WorkError : the loss was not finite before an epoch was over.

    References
    ----------
    A. Vaswani and others, Attention Is All You Need, NIPS 2017, section 3.1. Norms first:
    R. Xiong and others, ICML 2020.

    Examples
    --------
    >>> texts = ["free prize now", "call me later", "win a prize", "see you later"] * 10
    >>> model = TransformerClassifier(width=16, heads=2, max_iter=10).fit(texts, ["spam", "ham"] * 20)
    >>> model.predict(["a prize", "later"]).tolist()
    ['spam', 'ham']
    """


@parameters
class TransformerRegressor(_Transformer, SequenceRegression):
    r"""A transformer for numbers that belong to texts or series: `TransformerClassifier` without softmax at the end.

    The weights minimise the mean loss of the standardised target. All parameters but these are those of
    `TransformerClassifier`.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber"} or Loss, default "squared_error"
        Of the standardised target.
    difference : bool, default False
        Learn the difference to a series' last number (of its first channel), and add that to what is predicted: a
        forecast that begins at persistence.

    Attributes
    ----------
    As those of `TransformerClassifier`, and `target_mean_`, `target_scale_`, `target_shape_` of `MLPRegressor`.

    Raises
    ------
    InputError : as `TransformerClassifier`.
    WorkError : the loss was not finite before an epoch was over.

    References
    ----------
    A. Vaswani and others, NIPS 2017.

    Examples
    --------
    >>> TransformerRegressor(width=32, loss="huber")
    TransformerRegressor(loss='huber', width=32)
    """
