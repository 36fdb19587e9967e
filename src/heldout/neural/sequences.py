"""What learners of sequences share: rows as texts, read token by token, or as series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from sklearn.base import is_regressor
from sklearn.utils.validation import check_array, check_consistent_length

from heldout.errors import InputError, suggest
from heldout.linear.states import row_weights
from heldout.neural.convnets import batch_size
from heldout.neural.layers import Dropout, Embedding, Layer, Masking, Sequential
from heldout.neural.layers.base import shape_text
from heldout.neural.learner import NeuralLearner
from heldout.neural.parameters import parameters
from heldout.neural.schedules import Schedule
from heldout.neural.targets import NeuralRegression
from heldout.texts.given import texts_of
from heldout.texts.tokens import TOKENS, UNKNOWN, Tokens

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

LEAST_EPOCHS, MOST_EPOCHS = 12, 100
ROOT_OF_ROWS = 1000.0  # epochs times the root of the number of rows
LONGEST = 256  # tokens of a text that are read where nobody says how many
NEARLY_ALL = 0.99  # of the training texts are read to their end
TEXT_DROPOUT = 0.5  # a few thousand texts, word by word, are soon learned by heart
READING = {"words": {"lower": True, "spaces": False}, "bpe": {"lower": True}}  # of tokens that are not written
SCALE = 0.1  # of the numbers that stand for a token, at the beginning


def epochs(n: int) -> int:
    """How often the rows are gone through: the fewer, the more often.

    >>> [epochs(n) for n in (40, 1_000, 100_000)]
    [100, 32, 12]
    """
    return int(np.clip(round(ROOT_OF_ROWS / math.sqrt(n)), LEAST_EPOCHS, MOST_EPOCHS))


def learned_tokens(kind: str, texts: Sequence[str], most: int, least: int) -> Tokens:
    """The tokens of these texts for a learner that only reads: words in small letters, without white space, say.

    >>> learned_tokens("words", ["The cat", "the dog"], 100, 2).words
    ('the',)
    """
    if kind not in TOKENS:
        raise InputError(f"There are no tokens {kind!r}.{suggest(str(kind), TOKENS)}")
    return TOKENS[kind].learn(texts, most=most, least=least, **READING.get(kind, {}))


def steps_for(lengths: Sequence[int]) -> int:
    """As many tokens as all but one in a hundred texts have at most, up to 256.

    >>> steps_for([3, 5, 4]), steps_for([5] * 200 + [1_000]), steps_for([1_000])
    (5, 5, 256)
    """
    return int(
        np.clip(np.quantile(lengths, NEARLY_ALL, method="higher" if len(lengths) < 100 else "lower"), 1, LONGEST)
    )


@parameters
class SequenceLearner(NeuralLearner):
    """Rows as texts or series, and how a network begins that reads them."""

    tokens: str = "words"
    vocabulary: int = 20_000
    least: int = 2
    max_tokens: int | str = "auto"
    clip_norm: float | None = 1.0
    learning_rate: str | Schedule = "one_cycle"
    early_stopping: bool | str = False
    precision: str = "single"

    # What subclasses give

    dropout: float | str

    def _width(self) -> int:
        """Numbers that stand for a token."""
        raise NotImplementedError

    # Rows

    @property
    def tokens_(self) -> Tokens | None:
        """What texts are read as; None where the learner was fitted to series."""
        found: Tokens | None = self._read_as
        return found

    @property
    def truncated_(self) -> int:
        """How many training texts have more tokens than are read: their ends were cut off."""
        return int(self._truncated)

    @property
    def dropout_(self) -> float:
        """The share of numbers that training sets to 0."""
        if self.dropout == "auto":
            return 0.0 if self.tokens_ is None else TEXT_DROPOUT
        return float(self.dropout)

    @property
    def reads_texts_(self) -> bool:
        """Whether it was fitted to texts."""
        return self.tokens_ is not None

    @property
    def _padded(self) -> bool:
        return True

    def _door(self, X: Any, y: Any, sample_weight: Any, *, reset: bool = True) -> tuple[Array, Any, Array]:
        texts = texts_of(X)
        if texts is None:
            self._require_series(reset)
            X, y, weights = super()._door(X, y, sample_weight, reset=reset)
            return self._series(X, reset), y, weights
        check_consistent_length(texts, y)
        numbers = np.float64 if is_regressor(self) else None
        y = check_array(y, ensure_2d=False, dtype=numbers, input_name="y")
        codes = self._codes_of(texts, reset)
        given = row_weights(sample_weight, codes)
        return codes, y, np.ones(len(codes)) if given is None else given

    def _rows_in(self, X: Any) -> Array:
        texts = texts_of(X)
        if texts is not None:
            return self._codes_of(texts, reset=False)
        self._require_series(reset=False)
        return self._series(super()._rows_in(X), reset=False)

    def _require_series(self, reset: bool) -> None:
        """InputError where a learner that was fitted to texts is given numbers."""
        if not reset and self.tokens_ is not None:
            raise InputError(f"{type(self).__name__} was fitted to texts, and X holds none.")

    def _series(self, X: Array, reset: bool) -> Array:
        """The rows as series (n, T, C); those of one channel may come as (n, T)."""
        if reset:
            self._read_as: Tokens | None = None
            self._truncated = 0
        X = X[..., None] if X.ndim == 2 else X
        if X.ndim != 3:
            raise InputError(f"X has the shape {X.shape} and must be series (n, steps) or (n, steps, channels).")
        if not reset and X.shape[1:] != self._in_shape:
            raise InputError(f"Series are {shape_text(X.shape[1:])} and must be {shape_text(self._in_shape)}.")
        return X

    def _codes_of(self, texts: Sequence[str], reset: bool) -> Array:
        """The texts as codes (n, T), int32: each as far as it is read, and padding behind it."""
        if reset:
            for name in ("vocabulary", "least"):
                check_number(name, getattr(self, name))
            self._read_as = tokens = learned_tokens(self.tokens, texts, int(self.vocabulary), int(self.least))
        elif self.tokens_ is not None:
            tokens = self.tokens_
        else:
            raise InputError(f"{type(self).__name__} was fitted to series, and X holds texts.")
        found = [tokens.encode(text) for text in texts]
        if reset:
            lengths = [len(codes) for codes in found]
            if not isinstance(self.max_tokens, str):
                check_number("max_tokens", self.max_tokens)
                steps = max(1, min(int(self.max_tokens), max(lengths)))
            elif self.max_tokens == "auto":
                steps = steps_for(lengths)
            else:
                raise InputError(f"max_tokens is {self.max_tokens!r} and must be a whole number above 0, or 'auto'.")
            self.n_features_in_, self._truncated = steps, sum(length > steps for length in lengths)
            self.__dict__.pop("feature_names_in_", None)
        rows = np.full((len(found), self.n_features_in_), tokens.size, np.int32)
        for row, codes in zip(rows, found, strict=True):
            row[: len(codes)] = codes[: len(row)]
            if not len(codes):
                row[0] = UNKNOWN  # there is no mean over no steps
        return rows

    def _learn_scale(self, X: Array, weights: Array) -> None:
        if self.tokens_ is None:
            super()._learn_scale(X, weights)
        else:
            self.input_mean_, self.input_scale_ = np.zeros(()), np.ones(())

    # Network

    def _check_dropout(self) -> None:
        rate = self.dropout
        fits = rate == "auto" if isinstance(rate, str) else not isinstance(rate, bool) and 0.0 <= rate < 1.0
        if not fits:
            raise InputError(f"dropout is {rate!r} and must be 0 or more and below 1, or 'auto'.")

    def _beginning(self) -> list[Layer]:
        """The layers that read rows: an embedding of tokens, or padding told from steps."""
        self._check_dropout()
        if self.tokens_ is None:
            return [Masking()]
        rate, size = self.dropout_, self.tokens_.size
        embedding = Embedding(size + 1, self._width(), padding=size, scale=SCALE)
        return [embedding, *([Dropout(rate)] if rate else [])]

    def _auto(self, n: int) -> dict[str, Any]:
        return {"max_iter": epochs(n), "n_iter_no_change": None, "batch_size": batch_size(n)}

    # Files

    def _architecture_to_state(self) -> dict[str, Any]:
        most = self.max_tokens
        return {
            "tokens": self.tokens,
            "vocabulary": int(self.vocabulary),
            "least": int(self.least),
            "max_tokens": most if isinstance(most, str) else int(most),
            "dropout": self.dropout if isinstance(self.dropout, str) else float(self.dropout),
        }

    @classmethod
    def _architecture_from_state(cls, state: State) -> dict[str, Any]:
        most = state.json("max_tokens")
        if most != "auto" and (type(most) is not int or most < 1):
            state.fail("'max_tokens' must be a whole number above 0, or 'auto'")
        dropout = state.json("dropout")
        if dropout != "auto" and (type(dropout) is not float or not 0.0 <= dropout < 1.0):
            state.fail("'dropout' must be 0 or more and below 1, or 'auto'")
        return {
            "tokens": state.choice("tokens", TOKENS),
            "vocabulary": state.integer("vocabulary", low=1),
            "least": state.integer("least", low=1),
            "max_tokens": most,
            "dropout": dropout,
        }

    def _fitted_state(self) -> dict[str, Any]:
        return {**super()._fitted_state(), "tokens_learned": self.tokens_, "truncated": self._truncated}

    def _read_fitted(self, state: State, outputs: tuple[int, ...]) -> None:
        self._read_as, self._truncated = None, state.integer("truncated", low=0)
        if state.optional("tokens_learned"):
            self._read_as = state.object("tokens_learned", tuple(TOKENS.values()))
        super()._read_fitted(state, outputs)
        first = self.network_.layers[0] if isinstance(self.network_, Sequential) else self.network_
        expected = None if self.tokens_ is None else (self.tokens_.size + 1, self.tokens_.size)
        found = (first.vocabulary, first.padding) if isinstance(first, Embedding) else None
        if found != expected:
            state.fail("its network does not read its tokens")


@parameters
class SequenceRegression(SequenceLearner, NeuralRegression):
    """Numbers that belong to texts or series: as they are, or as differences to where a series ends."""

    difference: bool = False

    def _door(self, X: Any, y: Any, sample_weight: Any, *, reset: bool = True) -> tuple[Array, Any, Array]:
        X, y, weights = super()._door(X, y, sample_weight, reset=reset)
        return X, self._less(y, self._ends(X)), weights

    def predict(self, X: Any) -> Array:
        """The predicted numbers (n,) or (n, m)."""
        found = super().predict(X)
        return self._less(found, -self._ends(self._rows_in(X))) if self.difference else found

    def _ends(self, X: Array) -> Array:
        """Of each series the first channel's number at the last step that is there (n,), or 0."""
        if not self.difference:
            return np.zeros(len(X))
        if self.tokens_ is not None:
            raise InputError("difference=True is for series, which end with a number; leave it out for texts.")
        steps = X[:, :, 0]
        there = ~np.isnan(steps)
        last = steps.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
        return np.where(there.any(axis=1), steps[np.arange(len(X)), last], 0.0)

    def _less(self, y: Array, ends: Array) -> Array:
        return np.asarray(y - ends.reshape(-1, *[1] * (y.ndim - 1)))

    def _loss_to_state(self) -> dict[str, Any]:
        return {**super()._loss_to_state(), "difference": bool(self.difference)}

    @classmethod
    def _loss_from_state(cls, state: State) -> dict[str, Any]:
        return {**super()._loss_from_state(state), "difference": state.boolean("difference")}


def check_number(name: str, value: Any) -> None:
    if isinstance(value, bool | str) or value != int(value) or value < 1:
        raise InputError(f"{name} is {value!r} and must be a whole number above 0.")
