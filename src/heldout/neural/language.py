"""Language models: networks that learn from a text which token comes next, and write on."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from heldout.errors import InputError, suggest
from heldout.neural import choices
from heldout.neural.generation import Sampling, generated
from heldout.neural.history import History
from heldout.neural.layers import Dense, Dropout, Embedding, Layer, LayerNorm, Positions, Sequential
from heldout.neural.layers.stored import MOST_LAYERS, as_numpy, weights_from_state
from heldout.neural.losses import CrossEntropy, softmax_cross_entropy
from heldout.neural.optimizers import Optimizer
from heldout.neural.parameters import parameters
from heldout.neural.program import Rows
from heldout.neural.schedules import Cosine
from heldout.neural.series import CELLS
from heldout.neural.summary import Summary
from heldout.neural.train import Callback, Plan, Step, fresh, train
from heldout.neural.transformers import encoder_block
from heldout.progress import shown_progress
from heldout.texts.bigram import bigram_loss
from heldout.texts.tokens import TOKENS, Codes, Tokens

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

LOOKS = 20  # at the validation text, in the course of a training
LOOKED_AT = 2**13  # tokens of it, each time
BLOCK = 64  # windows judged at once
WARM_UP, LAST = 0.05, 0.1  # share of the steps in which the learning rate rises; what is left of it at the end
ENDLESS = 2**30  # places
POSITIONS = ("learned", "sinusoidal", "rotary", "alibi")


@parameters
class LanguageModel(BaseEstimator):  # type: ignore[misc]
    """What both share: from a text to tokens, windows and a trained network, and from there to texts and files."""

    layers: int = 1
    tokens: str = "characters"
    vocabulary: int | None = None
    context: int = 64
    dropout: float = 0.0
    batch_size: int = 12
    max_steps: int = 2_000
    learning_rate_init: float = 1e-3
    weight_decay: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.99
    clip_norm: float | None = 1.0
    validation_fraction: float = 0.1
    device: str | None = None
    checkpoint: str | Path | None = None
    verbose: bool = False
    seed: int = 0

    def _architecture(self, size: int) -> Sequential:
        """The network for so many tokens, from codes (T,) to scores (T, size)."""
        raise NotImplementedError

    def fit(
        self,
        text: str,
        *,
        validation: str | None = None,
        callbacks: Sequence[Callback] = (),
        resume: str | Path | None = None,
        progress: Step | None = None,
    ) -> Self:
        """Learn from a text.

        Parameters
        ----------
        text : str
        validation : str, default None
            A text to judge by. None: the end of `text`, which is not learned from.
        callbacks : sequence, default ()
            Each is told of the losses, `on_epoch_end(epoch)`, 20 times in a training; where it returns True, it ends.
        resume : path, default None
            A checkpoint to go on from.
        progress : callable, default None
            Told how far it is: `progress(title, done, total)`. None: a bar where `verbose`.
        """
        self._check()
        learned, judged = self._parts(text, validation)
        self.tokens_ = TOKENS[self.tokens].learn([learned], most=self.vocabulary)
        codes, held = self.tokens_.encode(learned), self.tokens_.encode(judged)
        self.network_ = self._architecture(self.tokens_.size)
        self.network_.out_shape((self.context,))
        self._check_length(codes, "The part of the text to learn from")
        self._check_length(held, "The validation text")
        self.bigram_loss_ = bigram_loss(codes, held, self.tokens_.size)
        device, windows = choices.device_of(self.device), self._windows(held)
        plan = self._plan(len(codes) - 1)
        with choices.numbers("single", device), shown_progress(progress is not None or not self.verbose) as bar:
            trained = train(
                self.network_,
                fresh(self.network_, (self.context,), plan.optimizer, int(self.seed)),
                Rows(codes[:-1], codes[1:], np.ones(len(codes) - 1, np.float32)),
                plan,
                validation=Rows(*windows, np.ones(len(windows[0]), np.float32)),
                device=device,
                callbacks=callbacks,
                step=progress or bar,
                checkpoint=self.checkpoint,
                resume=resume,
            )
            self.params_, self.state_ = as_numpy((trained.params, trained.state))
        self.history_ = trained.history
        self.n_steps_ = len(self.history_) * self.steps_per_look
        self.validation_loss_ = self._loss(held)
        return self

    def loss(self, text: str) -> float:
        """The mean loss of a text's tokens from the second on, in nats: -log of the probability that they are given.

        The text is cut into windows of `context` tokens, within which a token sees those before it.
        """
        check_is_fitted(self)
        codes = self.tokens_.encode(_text(text, "The text"))
        if len(codes) < 2:
            raise InputError("The text has fewer than two tokens, and there is no loss without a token to be guessed.")
        return self._loss(codes)

    def perplexity(self, text: str) -> float:
        """e to the loss: so many equally likely tokens would be as hard to guess."""
        return math.exp(self.loss(text))

    def generate(
        self,
        prompt: str = "\n",
        length: int = 500,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> Iterator[str]:
        """How a text may go on: pieces of it, as they are drawn.

        Parameters
        ----------
        prompt : str, default a line break
            What is gone on from, as much of it as fits into the context. It is not given back.
        length : int above 0, default 500
            Tokens to draw.
        temperature : float, not negative, default 1.0
            Below 1 likely tokens become likelier still; 0 takes the likeliest.
        top_k : int above 0, or None, default None
            Only so many tokens are in question, the likeliest.
        top_p : float above 0 and up to 1, or None, default None
            Only the likeliest tokens are in question that together have at least this probability.
        seed : int, not negative, default 0

        Raises
        ------
        InputError : a parameter is out of range, or the prompt has a token that the model does not know.
        """
        check_is_fitted(self)
        how = self._sampling(length, temperature, top_k, top_p)
        codes = self._prompt(prompt)
        return self._generate(codes, length, how, seed)

    def _generate(self, codes: Codes, length: int, how: Sampling, seed: int) -> Iterator[str]:
        device = choices.device_of(self.device)

        def pieces() -> Iterator[Sequence[int]]:
            with choices.numbers("single", device):
                params, state = jax.device_put((self.params_, self.state_), device)
            drawn = generated(
                self.network_, params, state, codes.tolist(), self._reach, how, never=self.tokens_.unknown, seed=seed
            )
            left = length
            while left > 0:
                with choices.numbers("single", device):  # not while who reads it is at work
                    found = next(drawn)[:left]
                left -= len(found)
                yield found

        return (piece for piece in self.tokens_.streamed(pieces()) if piece)

    @property
    def steps_per_look(self) -> int:
        """Steps from one look at the validation text to the next."""
        return -(-self.max_steps // min(LOOKS, self.max_steps))

    def summary(self) -> Summary:
        """The fitted network as a table: shapes, parameters, memory."""
        check_is_fitted(self)
        return self.network_.summary((self.context,))

    # What is given, checked

    def _check(self) -> None:
        if self.tokens not in TOKENS:
            raise InputError(f"There are no tokens {self.tokens!r}.{suggest(str(self.tokens), TOKENS)}")
        for name in ("context", "batch_size", "max_steps", "layers", *self._whole):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} is {value!r} and must be a whole number above 0.")
        for name, low, high in (("learning_rate_init", 0.0, math.inf), ("validation_fraction", 0.0, 1.0)):
            if not low < getattr(self, name) < high:
                raise InputError(f"{name} is {getattr(self, name)!r} and must be above 0 and below {high:g}.")

    @property
    def _whole(self) -> tuple[str, ...]:
        """Those parameters of the architecture that are whole numbers above 0."""
        return ()

    @property
    def _reach(self) -> int:
        """How many places a text that is written has, before it is begun anew."""
        return self.context

    def _parts(self, text: Any, validation: Any) -> tuple[str, str]:
        """The text to learn from and the one to judge by."""
        text = _text(text, "The text")
        if validation is not None:
            return text, _text(validation, "The validation text")
        cut = round(len(text) * (1.0 - self.validation_fraction))
        return text[:cut], text[cut:]

    def _check_length(self, codes: Codes, what: str) -> None:
        if len(codes) <= self.context:
            raise InputError(
                f"{what} has {len(codes):,} tokens, and a window takes {self.context} and one to be guessed: give more "
                "text, or set context lower."
            )

    def _prompt(self, prompt: Any) -> Codes:
        codes = self.tokens_.encode(_text(prompt, "The prompt"))
        if not len(codes):
            raise InputError("The prompt is empty: give at least one token to go on from.")
        if self.tokens_.unknown is not None and (codes == self.tokens_.unknown).any():
            shown = self.tokens_.decode(codes)
            raise InputError(
                f"The prompt has tokens that are not in the text that was learned from, marked here: {shown!r}. "
                "Write it without them."
            )
        return codes

    def _sampling(self, length: Any, temperature: Any, top_k: Any, top_p: Any) -> Sampling:
        for name, value in (("length", length), ("top_k", top_k)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(f"{name} is {value!r} and must be a whole number above 0.")
        if not 0.0 <= temperature < math.inf:
            raise InputError(f"temperature is {temperature!r} and must be 0 or more.")
        if top_p is not None and not 0.0 < top_p <= 1.0:
            raise InputError(f"top_p is {top_p!r} and must be above 0 and at most 1.")
        most, share = top_k or self.tokens_.size, 1.0 if top_p is None else top_p
        return Sampling(np.float32(temperature), np.int32(min(most, 2**31 - 1)), np.float32(share))

    # Training and judging

    def _plan(self, places: int) -> Plan:
        optimizer = Optimizer(
            "adamw",
            beta_1=float(self.beta_1),
            beta_2=float(self.beta_2),
            weight_decay=float(self.weight_decay),
            clip_norm=None if self.clip_norm is None else float(self.clip_norm),
        )
        return Plan(
            CrossEntropy(),
            "accuracy",
            optimizer,
            Cosine(warm_up=WARM_UP, end=LAST),
            learning_rate=float(self.learning_rate_init),
            batch_size=self.batch_size,
            max_epochs=min(LOOKS, self.max_steps),
            patience=None,
            tol=0.0,
            seed=int(self.seed),
            chunk_rows=places,  # windows are not cut off anywhere
            window=self.context,
            steps=self.steps_per_look,
            block=BLOCK,
        )

    def _windows(self, codes: Codes) -> tuple[Array, Array]:
        """Some windows of a text, evenly spread, and what follows each of their tokens."""
        count = (len(codes) - 1) // self.context
        x, y = (part[: count * self.context].reshape(count, -1) for part in (codes[:-1], codes[1:]))
        taken = np.linspace(0, count - 1, max(1, min(count, LOOKED_AT // self.context))).astype(int)
        return x[taken], y[taken]

    def _loss(self, codes: Codes) -> float:
        """The mean loss of all tokens from the second on."""
        total, width = 0.0, self.context * BLOCK
        device = choices.device_of(self.device)
        with choices.numbers("single", device):
            weights = jax.device_put((self.params_, self.state_), device)
            for first in range(0, len(codes) - 1, width):
                x, y = (codes[first + more : min(first + width, len(codes) - 1) + more] for more in (0, 1))
                filled = (np.pad(part, (0, width - len(part))).reshape(BLOCK, -1) for part in (x, y))
                losses = _token_losses(self.network_, *weights, *filled)
                total += float(np.asarray(losses, np.float64).ravel()[: len(x)].sum())
        return total / (len(codes) - 1)

    # Files

    def to_state(self) -> dict[str, Any]:
        """What a model file stores of a fitted model."""
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        numbers = (self.n_steps_, self.validation_loss_, self.bigram_loss_)
        return {
            "given": given | {"checkpoint": None if self.checkpoint is None else str(self.checkpoint)},
            "tokens": self.tokens_,
            "params": self.params_,
            "state": self.state_,
            "history": self.history_.to_state(),
            **dict(zip(("n_steps", "validation_loss", "bigram_loss"), numbers, strict=True)),
        }

    @classmethod
    def from_state(cls, state: State) -> Self:
        """The fitted model that `to_state` described; ModelFileError where the values do not fit together."""
        part = state.part("given")
        given = {item.name: part.json(item.name) for item in fields(cls)}
        model = cls(**given)
        model._check()
        if model.layers > MOST_LAYERS:
            state.fail(f"'layers' is {model.layers} and must be at most {MOST_LAYERS}")
        model.tokens_ = state.object("tokens", Tokens)
        model.network_ = model._architecture(model.tokens_.size)
        with choices.numbers("single", choices.device_of("cpu")):
            model.params_, model.state_ = weights_from_state(state, model.network_, (model.context,), "float32")
        model.history_ = History.from_state(state.part("history"))
        model.n_steps_ = state.integer("n_steps", low=0)
        model.validation_loss_, model.bigram_loss_ = (
            state.number(name, low=0.0) for name in ("validation_loss", "bigram_loss")
        )
        return model


@functools.partial(jax.jit, static_argnames=("network",))
def _token_losses(network: Layer, params: Any, state: Any, x: Any, y: Any) -> Any:
    """The loss of each token `y` (m, T) after those of `x` up to its place."""
    return softmax_cross_entropy(network.apply(params, state, x.astype(jnp.float32))[0], y)


def _text(given: Any, what: str) -> str:
    if not isinstance(given, str):
        raise InputError(f"{what} must be a str, not {type(given).__name__}: read a file with Path(...).read_text().")
    return given


@parameters
class TransformerLanguageModel(LanguageModel):
    r"""A transformer that learns from a text which token comes next, and writes on.

    .. math:: p(x_{t+1} = k \mid x_1, \dots, x_t) = \text{softmax}\big(W^T f(x_1, \dots, x_t) + b\big)_k

    f is an embedding of tokens with positions, then blocks of causal attention and perceptrons with the norm first.
    Each step of training takes windows that begin anywhere in the text, and makes the mean of -log p of the tokens that
    follow small, by AdamW; the learning rate rises over the first 5% of the steps and falls along a cosine to a tenth.

    Parameters
    ----------
    layers : int above 0, default 4
        Blocks.
    heads : int above 0, which divides the width, default 4
    width : int above 0, default 128
        Numbers by which a step is described; perceptrons are four times as wide.
    positions : {"learned", "sinusoidal", "rotary", "alibi"}, default "learned"
    tokens : {"characters", "bytes", "words", "bpe"}, default "characters"
        "bpe": byte-pair encoding, frequent runs of bytes (extra `bpe`).
    vocabulary : int above 0, or None, default None
        Only so many tokens are told apart, the most frequent. None: all that the text has; of "bpe" 4,096 at most.
    context : int above 0, default 64
        Tokens of a window, and how many the network looks back on.
    dropout : float, 0 or more and below 1, default 0.0
    batch_size : int above 0, default 12
        Windows of a step.
    max_steps : int above 0, default 2000
        Steps, rounded up to a multiple of 20 (beyond 20): so often the loss of the validation text is looked at, and
        the weights with the lowest are kept.
    learning_rate_init : float above 0, default 1e-3
        The highest.
    weight_decay, beta_1, beta_2 : float, default 0.1, 0.9 and 0.99, as of `Optimizer`
    clip_norm : float above 0, or None, default 1.0
    validation_fraction : float between 0 and 1, default 0.1
        Share of the text, its end, that is judged by. Neither weights nor tokens are learned from it.
    device : str or None, default None
        "cpu", "gpu", "tpu". None: JAX's own choice.
    checkpoint : path or None, default None
        Written after each look at the validation text; `fit(..., resume=path)` goes on from it.
    verbose : bool, default False
        Show a progress bar.
    seed : int, not negative, default 0

    Attributes
    ----------
    tokens_ : the tokens that were learned
    network_ : Sequential
    params_ : nested dict of arrays, by the names of the layers
    history_ : History, of the 20 looks
    validation_loss_ : float, nats a token, of the whole validation text
    bigram_loss_ : float, the same for counts of pairs with one added: what a model must beat
    n_steps_ : int

    Since the validation text chooses among 20 moments, its loss is slightly too good; `loss` of a text that was kept
    aside is not.

    Raises
    ------
    InputError : a parameter is out of range, or a text is too short.
    WorkError : the loss was not finite before the first look.

    References
    ----------
    A. Vaswani and others, NIPS 2017. A. Radford and others, Improving Language Understanding by Generative
    Pre-Training, 2018.

    Examples
    --------
    >>> model = TransformerLanguageModel(layers=1, heads=2, width=16, context=8, max_steps=200, learning_rate_init=1e-2)
    >>> model = model.fit("one two three four. " * 60)
    >>> model.perplexity("two three four. one") < math.exp(model.bigram_loss_)
    True
    >>> "".join(model.generate("one two ", 10, temperature=0.0))
    'three four'
    """

    layers: int = 4
    heads: int = 4
    width: int = 128
    positions: str = "learned"

    @property
    def _whole(self) -> tuple[str, ...]:
        return ("heads", "width")

    def _architecture(self, size: int) -> Sequential:
        if self.positions not in POSITIONS:
            raise InputError(f"There are no positions {self.positions!r}.{suggest(str(self.positions), POSITIONS)}")
        added, dropped = self.positions in ("learned", "sinusoidal"), float(self.dropout)
        block = encoder_block(
            self.width,
            self.heads,
            causal=True,
            positions=None if added else self.positions,
            activation="gelu_tanh",
            dropout=dropped,
        )
        begin: list[Layer] = [Embedding(size, self.width)]
        begin += [Positions(learned=self.positions == "learned")] if added else []
        begin += [Dropout(dropped)] if dropped else []
        return Sequential(*begin, *[block] * self.layers, LayerNorm(), Dense(size, initialization="xavier"))


@parameters
class RecurrentLanguageModel(LanguageModel):
    r"""A recurrent network that learns from a text which token comes next, and writes on.

    .. math::
        h_t = \text{cell}(E_{x_t}, h_{t-1}), \qquad p(x_{t+1} = k \mid x_1, \dots, x_t) = \text{softmax}(h_t W + b)_k

    In training the state begins at 0 in each window; in writing it goes on through the whole text.

    Parameters
    ----------
    cell : {"gru", "lstm", "rnn"}, default "gru"
    units : int above 0, default 256
        Numbers of a state, and of a token's embedding.
    layers : int above 0, default 1
    dropout : float, 0 or more and below 1, default 0.0
        Between layers and before the scores.
    learning_rate_init : float above 0, default 4e-3

    The others are those of `TransformerLanguageModel`.

    Attributes
    ----------
    As those of `TransformerLanguageModel`.

    Raises
    ------
    InputError, WorkError : as `TransformerLanguageModel`.

    References
    ----------
    T. Mikolov and others, Recurrent Neural Network Based Language Model, Interspeech 2010.

    Examples
    --------
    >>> model = RecurrentLanguageModel(units=16, context=8, max_steps=200, learning_rate_init=2e-2)
    >>> "".join(model.fit("one two three four. " * 60).generate("one two ", 10, temperature=0.0))
    'three four'
    """

    cell: str = "gru"
    units: int = 256
    learning_rate_init: float = 4e-3

    @property
    def _whole(self) -> tuple[str, ...]:
        return ("units",)

    @property
    def _reach(self) -> int:
        return ENDLESS

    def _architecture(self, size: int) -> Sequential:
        if self.cell not in CELLS:
            raise InputError(f"There is no cell {self.cell!r}.{suggest(str(self.cell), CELLS)}")
        rate = float(self.dropout)
        body = CELLS[self.cell](self.units, self.layers, return_sequences=True, dropout=rate)
        dropped: list[Layer] = [Dropout(rate)] if rate else []
        return Sequential(Embedding(size, self.units), body, *dropped, Dense(size, initialization="xavier"))
