"""Texts to codes and back: nothing is lost but what was not learned."""

from __future__ import annotations

import random
import sys
from collections import Counter
from itertools import pairwise

import pytest

from heldout.errors import InputError, MissingExtraError
from heldout.neural.sequences import learned_tokens
from heldout.texts.tokens import PRINTED, TOKENS, BytePairs, Characters, Words

LETTERS = " \n\tab_1,.'é\u0301²½\ufffd\U0001f600"


@pytest.mark.parametrize("kind", TOKENS)
def test_any_text_comes_back(kind: str) -> None:
    if kind == "bpe":
        pytest.importorskip("tokenizers")
    drawn = random.Random(0)
    for _ in range(300):
        text = "".join(drawn.choice(LETTERS) for _ in range(drawn.randint(0, 12)))
        tokens = TOKENS[kind].learn([text])
        codes = tokens.encode(text)
        assert tokens.decode(codes) == text
        assert "".join(tokens.streamed(code[None] for code in codes)) == text
        assert codes.dtype == "int32"
        assert all(0 <= code < tokens.size and code != tokens.unknown for code in codes)


def test_what_was_not_learned_is_unknown() -> None:
    characters = Characters.learn(["aab", "b", "cc"], least=2, most=2)
    assert characters.encode("abc\0\U0001f600").tolist() == [1, 2, 0, 0, 0]  # equal counts: in their own order
    assert Characters.learn([]).encode("a").tolist() == [0]
    words = Words.learn(["A cat. A dog", "a cat"], lower=True, spaces=False, least=2)
    assert words.words == ("a", "cat")
    assert words.encode("The CAT ran; a dog's").tolist() == [0, 2, 0, 0, 1, 0]
    assert words.decode([1, 2, 0]) == "a cat \ufffd"


@pytest.mark.parametrize("options", [{"most": 0}, {"least": 0}])
def test_an_empty_vocabulary_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="most and least"):
        Words.learn(["a"], **options)


def joined(words: Counter[tuple[bytes, ...]], pair: tuple[bytes, bytes]) -> Counter[tuple[bytes, ...]]:
    found: Counter[tuple[bytes, ...]] = Counter()
    for word, count in words.items():
        left, made = list(word), list[bytes]()
        while left:
            made.append(left.pop(0))
            if left and (made[-1], left[0]) == pair:
                made[-1] += left.pop(0)
        found[tuple(made)] += count
    return found


def test_byte_pairs_are_those_of_the_definition() -> None:
    """Sennrich and others, algorithm 1, on words cut at spaces: of the pairs in turn each is a most frequent one."""
    library = pytest.importorskip("tokenizers")
    assert set(PRINTED) == set(library.pre_tokenizers.ByteLevel.alphabet())
    text = "low lower né né newest low newer wider new Rome"
    learned = BytePairs.learn([text, "\ud800"], most=270)
    assert learned.size <= 270 and len(learned.merges) == learned.size - 256 > 8
    words = Counter(
        tuple(bytes([byte]) for byte in word.encode()) for word in (" " + text).replace(" ", "\0 ").split("\0")
    )
    words[tuple(bytes([byte]) for byte in b"low")], words[tuple(bytes([byte]) for byte in b" low")] = 1, 1
    for code in range(256, learned.size):
        pairs = Counter[tuple[bytes, bytes]]()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        left, right = learned.merges[code - 256].split(" ")
        pair = tuple(bytes(PRINTED.index(character) for character in part) for part in (left, right))
        assert pairs[pair] == max(pairs.values()) >= 2
        words = joined(words, pair)
    assert BytePairs.learn([text, "\ud800"], most=270) == learned
    assert learned.decode(learned.encode("\ud800 \x80")) == "? \x80"
    assert learned_tokens("bpe", ["LOW Low low"], 300, 1).encode("loW").shape == (1,)
    with pytest.raises(InputError, match="a vocabulary of 256"):
        BytePairs.learn([text], most=255)


def test_byte_pairs_tell_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match="heldout\\[bpe\\]"):
        BytePairs.learn(["a"])
