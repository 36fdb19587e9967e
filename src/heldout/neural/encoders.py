"""Transformers for texts and series: one architecture, described by parameters, for classes and for numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from heldout.errors import InputError, suggest
from heldout.neural.layers import (
    GELU,
    Conv1D,
    Dense,
    Dropout,
    GlobalAveragePool,
    GlobalMaxPool,
    Layer,
    LayerNorm,
    Masking,
    Parallel,
    Positions,
    Residual,
    Sequential,
)
from heldout.neural.parameters import parameters
from heldout.neural.sequences import SequenceLearner, SequenceRegression, check_number
from heldout.neural.targets import NeuralClassification
from heldout.neural.transformers import encoder_block

if TYPE_CHECKING:
    from heldout.persist import State

POSITIONS = ("alibi", "rotary", "sinusoidal", "learned", "none")
NEAR = 3  # steps that the convolution sees in texts
TEXT_DROPOUT = 0.3


def transformer_network(
    width: int = 64,
    *,
    heads: int = 4,
    layers: int = 1,
    hidden: int = 128,
    positions: str = "alibi",
    dropout: float = 0.0,
    kernel_size: int = 0,
    outputs: int | None = None,
    beginning: Sequence[Layer] = (Masking(), Dense(64)),
) -> Sequential:
    """What reads the rows, blocks of a transformer, the mean and the largest number over all steps, a dense layer.

    With `kernel_size` above 0 a convolution along the steps comes before the blocks, around a shortcut.

    >>> transformer_network(outputs=2).names
    ('masking_1', 'dense_1', 'sequential_1', 'layernorm_1', 'parallel_1', 'dense_2')
    """
    if positions not in POSITIONS:
        raise InputError(f"There are no positions {positions!r}.{suggest(str(positions), POSITIONS)}")
    inside = positions if positions in ("alibi", "rotary") else None
    added = [Positions(learned=positions == "learned")] if positions in ("sinusoidal", "learned") else []
    dropped = [Dropout(dropout)] if dropout else []
    near = [Residual(Sequential(Conv1D(width, kernel_size, padding="same"), GELU(), *dropped))] if kernel_size else []
    blocks = [encoder_block(width, heads, hidden=hidden, positions=inside, dropout=dropout) for _ in range(layers)]
    summary = [LayerNorm(), Parallel(GlobalAveragePool(), GlobalMaxPool()), *dropped]
    return Sequential(*beginning, *near, *added, *blocks, *summary, Dense(outputs, initialization="xavier"))


@parameters
class _Transformer(SequenceLearner):
    """The transformer's parameters."""

    width: int = 64
    heads: int = 4
    layers: int = 1
    hidden: int = 128
    positions: str = "alibi"
    kernel_size: int | str = "auto"
    dropout: float | str = "auto"
    learning_rate_init: float = 2e-3

    @property
    def kernel_size_(self) -> int:
        """Steps that the convolution before the blocks sees, 0 where there is none."""
        if self.kernel_size == "auto":
            return 0 if self.tokens_ is None else NEAR
        if not isinstance(self.kernel_size, int) or isinstance(self.kernel_size, bool) or self.kernel_size < 0:
            raise InputError(f"kernel_size is {self.kernel_size!r} and must be a whole number, 0 or more, or 'auto'.")
        return self.kernel_size

    @property
    def dropout_(self) -> float:
        """The share of numbers that training sets to 0."""
        return TEXT_DROPOUT if self.dropout == "auto" and self.tokens_ is not None else super().dropout_

    def _width(self) -> int:
        return int(self.width)

    def _architecture(self) -> Sequential:
        for name in WHOLE:
            check_number(name, getattr(self, name))
        given = {name: int(getattr(self, name)) for name in WHOLE}
        made = self._beginning()
        made += [Dense(given["width"], initialization="xavier")] if self.tokens_ is None else []
        given |= {"kernel_size": self.kernel_size_}
        return transformer_network(beginning=made, positions=self.positions, dropout=self.dropout_, **given)

    def _architecture_to_state(self) -> dict[str, Any]:
        own = {name: int(getattr(self, name)) for name in WHOLE}
        near = self.kernel_size if isinstance(self.kernel_size, str) else int(self.kernel_size)
        return {**super()._architecture_to_state(), **own, "positions": self.positions, "kernel_size": near}

    @classmethod
    def _architecture_from_state(cls, state: State) -> dict[str, Any]:
        own: dict[str, Any] = {name: state.integer(name, low=1, high=10_000) for name in WHOLE}
        own["kernel_size"] = state.json("kernel_size")
        near = own["kernel_size"]
        if near != "auto" and (type(near) is not int or not 0 <= near <= 10_000):
            state.fail("'kernel_size' must be a whole number from 0 to 10,000, or 'auto'")
        return {**super()._architecture_from_state(state), **own, "positions": state.choice("positions", POSITIONS)}


WHOLE = ("width", "heads", "layers", "hidden")


@parameters
class TransformerClassifier(_Transformer, NeuralClassification):
    r"""A transformer for the classes of texts or series: each step looks at all others, and the steps become scores.

    .. math:: H = \text{blocks}(E), \qquad z = \Big[ \tfrac1T \sum_t h_t, \max_t h_t \Big] W + b, \qquad
        p(y = k \mid x) = \text{softmax}(z)_k

    E holds a row of weights for each token of a text, and what a convolution makes of its neighbours, or a linear
    function of each step of a series. A block is
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
    kernel_size : int, 0 or more, or "auto", default "auto"
        Steps that a convolution (GELU) before the blocks sees, whose result is added to its input: a few thousand texts
        do not teach attention which words are neighbours. 0 for none. "auto": 3 for texts, 0 for series.
    dropout : float, 0 or more and below 1, or "auto", default "auto"
        Of what stands for tokens, in the blocks and before the last layer. "auto": 0.3 for texts, otherwise 0.
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
    R. Xiong and others, ICML 2020. Convolutions beside attention: H. Wu and others, CvT, ICCV 2021.

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
