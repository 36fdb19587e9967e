"""Bags of words: how often a text has each word, each run of words and each form of a number, as numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from scipy import sparse

from heldout.errors import InputError
from heldout.texts.tokens import Words

if TYPE_CHECKING:
    from heldout.persist import State

Array: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

DIGIT = re.compile(r"\d")
SPACES, LOWER = Words((), lower=False, spaces=False), Words((), lower=True, spaces=False)


@dataclass(frozen=True, eq=False)
class Bags:
    r"""Words, runs of words and forms of numbers of the training texts, and how rare each is there.

    .. math:: x_j = (1 + \log n_j) \Big( 1 + \log \frac{1 + N}{1 + N_j} \Big), \qquad x \leftarrow x / \lVert x \rVert,

    for the terms j that a text has n_j times, and 0 for others; N_j of N training texts have j. What was not there in
    training is passed over. A word with digits is a term, and so is its form, "#" with each digit read as 0, so that
    of a number that was never there its length is known.

    Parameters
    ----------
    terms : list of str, each once
        Words, runs of words with a space between them, and forms.
    idf : array (terms,)
    words : int above 0
        The longest run.
    lower : bool
        Capitals are read as small letters.

    References
    ----------
    G. Salton and C. Buckley, Term-weighting approaches in automatic text retrieval, Information Processing and
    Management 24, 1988.

    >>> bags = Bags.learn(["a cat", "a dog"], words=2)
    >>> bags.terms
    ['a', 'a cat', 'a dog', 'cat', 'dog']
    >>> bags(["the cat", "a dog"]).toarray().round(2).tolist()
    [[0.0, 0.0, 0.0, 1.0, 0.0], [0.45, 0.0, 0.63, 0.0, 0.63]]
    >>> Bags.learn(["call 0815", "at 6pm"]).terms
    ['#0000', '#0pm', '0815', '6pm', 'at', 'call']
    """

    terms: list[str]
    idf: Array
    words: int = 1
    lower: bool = True

    @classmethod
    def learn(cls, texts: Sequence[str], *, words: int = 1, least: int = 1, lower: bool = True) -> Self:
        """The terms that at least `least` of these texts have."""
        for name, value in (("words", words), ("least", least)):
            if isinstance(value, bool) or value != int(value) or value < 1:
                raise InputError(f"{name} is {value!r} and must be a whole number above 0.")
        counts = Counter(term for text in texts for term in set(_terms(text, words, lower)))
        terms = sorted(term for term, count in counts.items() if count >= least)
        if not terms:
            raise InputError(f"The texts have no words{f' that {least} of them share' if least > 1 else ''}.")
        within = np.array([counts[term] for term in terms], dtype=np.float64)
        return cls(terms, 1.0 + np.log((1.0 + len(texts)) / (1.0 + within)), int(words), bool(lower))

    def __call__(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """The texts as rows of numbers (n, terms), of length 1 where a text has any term."""
        places, values, ends = list[int](), list[float](), [0]
        for text in texts:
            found = Counter(self._places[term] for term in _terms(text, self.words, self.lower) if term in self._places)
            own = sorted(found)
            row = (1.0 + np.log([found[place] for place in own])) * self.idf[own] if own else np.empty(0)
            places += own
            values += (row / np.linalg.norm(row)).tolist() if own else []
            ends.append(len(places))
        return sparse.csr_matrix((np.array(values), places, ends), shape=(len(texts), len(self.terms)))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {term: place for place, term in enumerate(self.terms)}

    def to_state(self) -> dict[str, Any]:
        return {"terms": self.terms, "idf": self.idf, "words": self.words, "lower": self.lower}

    @classmethod
    def from_state(cls, state: State) -> Self:
        terms = state.texts("terms")
        if not terms or len(set(terms)) != len(terms):
            state.fail("it has no terms, or one of them twice")
        idf = state.array("idf", shape=(len(terms),), low=0.0)
        return cls(terms, idf, state.integer("words", low=1, high=100), state.boolean("lower"))


def _terms(text: str, words: int, lower: bool) -> list[str]:
    """The words and marks of a text, its runs of up to so many of them, and the forms of those with digits."""
    found = (LOWER if lower else SPACES).split(text)
    runs = (found[i : i + size] for size in range(2, words + 1) for i in range(len(found) - size + 1))
    forms = (f"#{DIGIT.sub('0', word)}" for word in found if DIGIT.search(word))
    return [*found, *map(" ".join, runs), *forms]
