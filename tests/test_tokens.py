"""Texts to codes and back: nothing is lost but what was not learned."""

from __future__ import annotations

import random

import pytest

from heldout.errors import InputError
from heldout.texts.tokens import TOKENS, Characters, Words

LETTERS = " \n\tab_1,.'é\u0301²½\ufffd\U0001f600"


@pytest.mark.parametrize("kind", TOKENS)
def test_any_text_comes_back(kind: str) -> None:
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
