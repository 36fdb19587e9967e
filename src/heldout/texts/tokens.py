"""Tokens: texts as sequences of codes, and back. Each kind is learned from the texts of training alone.

Code 0 of characters and words stands for all that was not learned. A learner that fills up short rows takes the code
behind the last, `size`, for padding.
"""

from __future__ import annotations

import codecs
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from heldout.errors import InputError

if TYPE_CHECKING:
    from heldout.persist import State

Codes: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]

UNKNOWN = 0
MARK = "\ufffd"  # what an unknown token is shown as
WORD = re.compile(r"\w+(?:'\w+)*|[^\w\s]|\s+")


class Tokens(ABC):
    """What all kinds share: texts to codes from 0 to `size` - 1, and back."""

    unknown: int | None  # the code of what was not learned, where there is one

    @classmethod
    @abstractmethod
    def learn(cls, texts: Iterable[str], *, most: int | None = None, least: int = 1) -> Self:
        """The tokens of these texts: at most `most`, the most frequent, each at least `least` times there."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many codes there are."""

    @abstractmethod
    def encode(self, text: str) -> Codes:
        """The codes of a text (T,), int32."""

    def decode(self, codes: Sequence[int] | Codes) -> str:
        """The text that has these codes."""
        return "".join(self.streamed([codes]))

    @abstractmethod
    def streamed(self, pieces: Iterable[Sequence[int] | Codes]) -> Iterator[str]:
        """The same text, piece by piece as the codes come."""

    @abstractmethod
    def to_state(self) -> dict[str, Any]:
        """What a file stores."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: State) -> Self:
        """The tokens that `to_state` described."""


@dataclass(frozen=True)
class Bytes(Tokens):
    """The 256 bytes of UTF-8: nothing is unknown, nothing has to be learned, and sequences are longest.

    Bytes that are no UTF-8 are shown as the replacement character.

    >>> Bytes().decode(Bytes().encode("né"))
    'né'
    """

    unknown = None

    @classmethod
    def learn(cls, texts: Iterable[str], *, most: int | None = None, least: int = 1) -> Self:
        return cls()

    @property
    def size(self) -> int:
        return 256

    def encode(self, text: str) -> Codes:
        return np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int32)

    def streamed(self, pieces: Iterable[Sequence[int] | Codes]) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for codes in pieces:
            yield decoder.decode(np.asarray(codes, dtype=np.uint8).tobytes())
        yield decoder.decode(b"", final=True)

    def to_state(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_state(cls, state: State) -> Self:
        return cls()


@dataclass(frozen=True)
class Characters(Tokens):
    """Unicode's characters, of those that were learned; code 0 for all others.

    Parameters
    ----------
    characters : str, each once; the first has code 1

    >>> learned = Characters.learn(["abba", "b"])
    >>> learned.characters, learned.encode("abc").tolist(), learned.decode([1, 2, 0])
    ('ba', [2, 1, 0], 'ba�')
    """

    characters: str

    unknown = UNKNOWN

    @classmethod
    def learn(cls, texts: Iterable[str], *, most: int | None = None, least: int = 1) -> Self:
        points, counts = np.unique(_points("".join(texts)), return_counts=True)
        return cls("".join(_most_frequent([chr(point) for point in points], counts.tolist(), most, least)))

    @property
    def size(self) -> int:
        return len(self.characters) + 1

    def encode(self, text: str) -> Codes:
        points = _points(text)
        return np.where(points < len(self._codes), self._codes[np.minimum(points, len(self._codes) - 1)], UNKNOWN)

    def streamed(self, pieces: Iterable[Sequence[int] | Codes]) -> Iterator[str]:
        shown = MARK + self.characters
        for codes in pieces:
            yield "".join([shown[code] for code in codes])

    @cached_property
    def _codes(self) -> Codes:
        """The codes by code points, up to one behind the highest that was learned."""
        points = _points(self.characters)
        codes = np.zeros(int(points.max(initial=0)) + 2, np.int32)
        codes[points] = np.arange(1, self.size)
        return codes

    def to_state(self) -> dict[str, Any]:
        return {"characters": self.characters}

    @classmethod
    def from_state(cls, state: State) -> Self:
        characters = state.text("characters")
        if len(set(characters)) != len(characters):
            state.fail("'characters' has a character twice")
        return cls(characters)


@dataclass(frozen=True)
class Words(Tokens):
    r"""Words, marks and white space, of those that were learned; code 0 for all others.

    A word is a run of letters, digits and underscores, with apostrophes inside; every other visible character is a mark
    by itself. A single space between two words goes without saying, other white space is a token: so a text comes
    back as it was, but for its unknown words. For learners that only read, white space is left out (`spaces=False`).

    Parameters
    ----------
    words : tuple of str, each once; the first has code 1
    lower : bool, default False
        Capitals are read as small letters.
    spaces : bool, default True
        White space is a token.

    >>> learned = Words.learn(["the cat, the dog"])
    >>> learned.words
    ('the', ' ', ',', 'cat', 'dog')
    >>> learned.decode(learned.encode("the dog, the rat"))
    'the dog, the �'
    """

    words: tuple[str, ...]
    lower: bool = False
    spaces: bool = True

    unknown = UNKNOWN

    @classmethod
    def learn(
        cls,
        texts: Iterable[str],
        *,
        most: int | None = None,
        least: int = 1,
        lower: bool = False,
        spaces: bool = True,
    ) -> Self:
        empty = cls((), lower, spaces)
        counts = Counter(word for text in texts for word in empty.split(text))
        return cls(tuple(_most_frequent(list(counts), list(counts.values()), most, least)), lower, spaces)

    @property
    def size(self) -> int:
        return len(self.words) + 1

    def split(self, text: str) -> list[str]:
        """A text's words, marks and white space, in their order."""
        found = WORD.findall(text.lower() if self.lower else text)
        if not self.spaces:
            return [word for word in found if not word.isspace()]
        around = zip(found, ["", *found], [*found[1:], ""], strict=False)
        return [word for word, before, after in around if not (word == " " and _is_word(before) and _is_word(after))]

    def encode(self, text: str) -> Codes:
        return np.array([self._codes.get(word, UNKNOWN) for word in self.split(text)], np.int32)

    def streamed(self, pieces: Iterable[Sequence[int] | Codes]) -> Iterator[str]:
        begun = after_word = False
        for codes in pieces:
            parts: list[str] = []
            for code in codes:
                word = self.words[code - 1] if code else MARK
                is_word = not code or _is_word(word)
                parts += [" "] if (is_word and after_word if self.spaces else begun) else []
                parts.append(word)
                begun, after_word = True, is_word
            yield "".join(parts)

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {word: code for code, word in enumerate(self.words, 1)}

    def to_state(self) -> dict[str, Any]:
        return {"words": list(self.words), "lower": self.lower, "spaces": self.spaces}

    @classmethod
    def from_state(cls, state: State) -> Self:
        words = state.texts("words")
        if len(set(words)) != len(words) or "" in words:
            state.fail("'words' has a word twice, or an empty one")
        return cls(tuple(words), state.boolean("lower"), state.boolean("spaces"))


TOKENS: dict[str, type[Tokens]] = {"characters": Characters, "bytes": Bytes, "words": Words}


def _points(text: str) -> Codes:
    """The code points of a text, int32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<i4").astype(np.int32, copy=False)


def _is_word(token: str) -> bool:
    return token[:1].isalnum() or token[:1] == "_"


def _most_frequent(found: list[str], counts: list[int], most: int | None, least: int) -> list[str]:
    """Those that are there often enough, the most frequent first, equal ones in their own order."""
    if least < 1 or (most is not None and most < 1):
        raise InputError(f"A vocabulary needs most and least above 0, not {most!r} and {least!r}.")
    ranked = sorted((-count, token) for token, count in zip(found, counts, strict=True) if count >= least)
    return [token for _, token in ranked[:most]]
