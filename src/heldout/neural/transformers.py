"""Transformers' blocks as stacks of layers: encoder, decoder, both, and a network for images."""

from __future__ import annotations

from heldout.errors import InputError
from heldout.neural.layers import (
    GELU,
    Conv2D,
    Dense,
    Dropout,
    GlobalAveragePool,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    Positions,
    ReLU,
    Reshape,
    Residual,
    Sequential,
    Steps,
)

ACTIVATIONS: dict[str, Layer] = {"gelu": GELU(), "gelu_tanh": GELU(approximate=True), "relu": ReLU()}


def encoder_block(
    width: int,
    heads: int,
    *,
    hidden: int | None = None,
    causal: bool = False,
    positions: str | None = None,
    norm_first: bool = True,
    activation: str = "gelu",
    dropout: float = 0.0,
    attention_dropout: float = 0.0,
) -> Sequential:
    """A block of a transformer: each step looks at the others, and then goes through a perceptron by itself.

    With `causal=True` it is the block of a language model. Blocks follow each other in a Sequential; where norms are
    first, a LayerNorm belongs behind the last one.

    Parameters
    ----------
    width : int above 0, the channels of a step
    heads : int above 0, which divides the width
    hidden : int above 0, or None, default None
        Units of the perceptron. None: four times the width.
    causal, positions : as of `MultiHeadAttention`
    norm_first : bool, default True
        Normalize what goes into each half, x + f(norm(x)), and not what comes out of it, norm(x + f(x)).
    activation : {"gelu", "gelu_tanh", "relu"}, default "gelu"
    dropout : float, 0 or more and below 1, default 0.0
        Of what attention and perceptron give, and of the perceptron's hidden units.
    attention_dropout : float, 0 or more and below 1, default 0.0
        Of attention's weights.

    References
    ----------
    A. Vaswani and others, NIPS 2017, section 3.1. Norms first: R. Xiong and others, ICML 2020.

    >>> encoder_block(8, 2).out_shape((5, 8))
    (5, 8)
    """
    attention = MultiHeadAttention(heads, causal=causal, positions=positions, dropout=attention_dropout)
    parts: list[list[Layer]] = [[attention], _perceptron(width, hidden, activation, dropout)]
    return Sequential(*(layer for part in parts for layer in _around(part, norm_first, dropout)))


def decoder_block(
    width: int,
    heads: int,
    memory: int,
    *,
    hidden: int | None = None,
    norm_first: bool = True,
    activation: str = "gelu",
    dropout: float = 0.0,
) -> Sequential:
    """A decoder's block: self-attention that looks back only, attention to the encoder's output, a perceptron.

    A row's first `memory` steps are the encoder's output, which the block leaves as it is; the others are the
    decoder's. So an encoder-decoder is `Sequential(Steps(encoder, 0, memory), decoder_block(..., memory), ...)`.

    Parameters
    ----------
    memory : int above 0
        Steps of the encoder's output.

    The others are those of `encoder_block`.

    References
    ----------
    A. Vaswani and others, NIPS 2017, section 3.1.

    >>> decoder_block(8, 2, memory=3).out_shape((5, 8))
    (5, 8)
    """

    def own(layers: list[Layer]) -> list[Layer]:
        return [Steps(Sequential(*layers), memory)]

    cross = _around([MultiHeadAttention(heads, memory=memory)], norm_first, dropout, memory)
    return Sequential(
        *own(_around([MultiHeadAttention(heads, causal=True)], norm_first, dropout)),
        *cross,
        *own(_around(_perceptron(width, hidden, activation, dropout), norm_first, dropout)),
    )


def vision_transformer(
    *,
    patch: int = 4,
    width: int = 64,
    layers: int = 4,
    heads: int = 4,
    dropout: float = 0.0,
    outputs: int | None = None,
) -> Sequential:
    """A transformer for images: their patches are its steps, and the mean of what comes out becomes scores.

    A patch of `patch` by `patch` pixels becomes a step by a weighted sum; to each place its own learned position is
    added. What is left over at the right and at the bottom is not seen.

    Parameters
    ----------
    patch : int above 0, default 4
    width : int above 0, default 64
        The channels of a step.
    layers : int above 0, default 4
        Encoder blocks, with the norm first.
    heads : int above 0, which divides the width, default 4
    dropout : float, 0 or more and below 1, default 0.0
    outputs : int above 0, or None, default None
        None: as many as the targets need, in an estimator: `ConvNetClassifier(network=vision_transformer())`.

    References
    ----------
    A. Dosovitskiy and others, An Image is Worth 16x16 Words, ICLR 2021, with the mean in place of a class token.

    >>> vision_transformer(patch=7, outputs=10).out_shape((28, 28, 1))
    (10,)
    """
    blocks = [encoder_block(width, heads, activation="gelu_tanh", dropout=dropout) for _ in range(layers)]
    return Sequential(
        Conv2D(width, patch, stride=patch, initialization="xavier"),
        Reshape((-1, width)),
        Positions(learned=True),
        *blocks,
        LayerNorm(),
        GlobalAveragePool(),
        Dense(outputs, initialization="xavier"),
    )


def _perceptron(width: int, hidden: int | None, activation: str, dropout: float) -> list[Layer]:
    if activation not in ACTIVATIONS:
        raise InputError(f"There is no activation {activation!r} of a transformer: {', '.join(ACTIVATIONS)}.")
    between = [ACTIVATIONS[activation], *([Dropout(dropout)] if dropout else [])]
    return [Dense(hidden or 4 * width, initialization="xavier"), *between, Dense(width, initialization="xavier")]


def _around(part: list[Layer], norm_first: bool, dropout: float, memory: int = 0) -> list[Layer]:
    """A part with its shortcut and its norm, of the steps behind the memory."""
    norm: Layer = Steps(LayerNorm(), memory) if memory else LayerNorm()
    inner = [*part, *([Dropout(dropout)] if dropout else [])]
    if norm_first:
        return [Residual(Sequential(norm, *inner))]
    return [Residual(Sequential(*inner)), norm]
