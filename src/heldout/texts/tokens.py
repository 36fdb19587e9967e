"""Tokens: texts as sequences of codes, and back. Each kind is learned from the texts of training alone.

Code 0 of characters and words stands for all that was not learned; bytes, and pairs of them, know all. A learner that
fills up short rows takes the code behind the last, `size`, for padding.
"""

from __future__ import annotations

import codecs
import itertools
import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from heldout.errors import InputError, MissingExtraError

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
        return _shown(np.asarray(codes, dtype=np.uint8).tobytes() for codes in pieces)

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


LEAST_PAIRS = 2  # what is there once is no pattern
MOST_PAIRS = 4_096  # tokens, where nobody says how many
VISIBLE = {*range(33, 127), *range(161, 173), *range(174, 256)}  # bytes that are written as they are
_OTHERS = itertools.count(256)
PRINTED = [chr(byte if byte in VISIBLE else next(_OTHERS)) for byte in range(256)]


@dataclass(frozen=True)
class BytePairs(Tokens):
    """Byte-pair encoding: the 256 bytes of UTF-8, and runs of them, each made of the pair that was most frequent.

    Again and again the two neighbouring tokens that are most often side by side in the training texts become one, as
    long as there are at least two such places and fewer than `most` tokens. Words, with the space before them, numbers
    and marks are cut apart first, so that no token reaches over them. Nothing is unknown. Learning and encoding are
    those of the library `tokenizers` (extra `bpe`).

    Parameters
    ----------
    merges : tuple of str, "left right" each; the first makes code 256
        What was put together, in that order, each byte written as one visible character (a space as "Ġ").
    lower : bool, default False
        Capitals are read as small letters.

    Raises
    ------
    MissingExtraError : the library is not installed.

    References
    ----------
    R. Sennrich, B. Haddow and A. Birch, Neural Machine Translation of Rare Words with Subword Units, ACL 2016,
    section 3.2. Of bytes: A. Radford and others, Language Models are Unsupervised Multitask Learners, 2019,
    section 2.2.

    >>> BytePairs(("t h", "th e", "Ġ the")).decode([257, 258, 33])
    'the the!'
    """

    merges: tuple[str, ...]
    lower: bool = False

    unknown = None

    @classmethod
    def learn(cls, texts: Iterable[str], *, most: int | None = None, least: int = 1, lower: bool = False) -> Self:
        most = MOST_PAIRS if most is None else most
        if most < len(PRINTED) or least < 1:
            raise InputError(
                f"Pairs of bytes need a vocabulary of 256 and more and least above 0, not {most} and {least}."
            )
        empty, library = cls((), lower), _tokenizers()
        trainer = library.trainers.BpeTrainer(
            vocab_size=most,
            min_frequency=max(least, LEAST_PAIRS),
            initial_alphabet=PRINTED,
            show_progress=False,
        )
        learner = empty._tokenizer
        learner.train_from_iterator((empty._read(text) for text in texts), trainer)
        found = json.loads(learner.to_str())["model"]["merges"]
        return cls(tuple(" ".join(pair) for pair in found), lower)

    @property
    def size(self) -> int:
        return len(self._printed)

    def encode(self, text: str) -> Codes:
        return np.array(self._tokenizer.encode(self._read(text)).ids, np.int32)

    def streamed(self, pieces: Iterable[Sequence[int] | Codes]) -> Iterator[str]:
        return _shown(b"".join([self._bytes[code] for code in codes]) for codes in pieces)

    def _read(self, text: str) -> str:
        text = text.encode("utf-8", "replace").decode("utf-8")
        return text.lower() if self.lower else text

    @cached_property
    def _printed(self) -> list[str]:
        """All tokens by their codes, as they are written in `merges`."""
        return list(dict.fromkeys([*PRINTED, *(merge.replace(" ", "") for merge in self.merges)]))

    @cached_property
    def _bytes(self) -> list[bytes]:
        of = {character: byte for byte, character in enumerate(PRINTED)}
        return [bytes(of[character] for character in token) for token in self._printed]

    @cached_property
    def _tokenizer(self) -> Any:
        library = _tokenizers()
        codes = {token: code for code, token in enumerate(self._printed)}
        made = library.Tokenizer(library.models.BPE(codes, [tuple(merge.split(" ")) for merge in self.merges]))
        made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        return made

    def to_state(self) -> dict[str, Any]:
        return {"merges": list(self.merges), "lower": self.lower}

    @classmethod
    def from_state(cls, state: State) -> Self:
        merges = state.texts("merges")
        known = set(PRINTED)
        for merge in merges:
            parts = merge.split(" ")
            if len(parts) != 2 or not known.issuperset(parts):
                state.fail("'merges' puts together what is not there")
            known.add("".join(parts))
        if len(set(merges)) != len(merges):
            state.fail("'merges' has a pair twice")
        return cls(tuple(merges), state.boolean("lower"))


TOKENS: dict[str, type[Tokens]] = {"characters": Characters, "bytes": Bytes, "words": Words, "bpe": BytePairs}


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError("Tokens 'bpe' need the extra 'bpe': pip install 'heldout[bpe]'.") from error
    return tokenizers


def _shown(pieces: Iterable[bytes]) -> Iterator[str]:
    """The text of UTF-8 that comes in pieces, which may end within a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


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
